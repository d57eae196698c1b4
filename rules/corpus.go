package rules

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"io/fs"
	"path"
	"strings"
	"unicode/utf8"

	"github.com/weir-moderation/weir/internal/strictyaml"
	"github.com/weir-moderation/weir/pipeline/event"
)

// MaxCorpusBytes is how long a file of posts may be: some 500,000 posts.
const MaxCorpusBytes = 64 << 20

// EventsSuffix is how the name of a file ends that holds events, one JSON object a line.
const EventsSuffix = ".jsonl"

// maxCorpusProblems are told of one file.
const maxCorpusProblems = 20

// Corpus is a list of posts and pushes, each with its place in a file.
type Corpus struct {
	posts []corpusPost
}

// corpusPost is a line that is not blank.
type corpusPost struct {
	*corpusFile
	line int // from 1
	text []byte
}

type corpusFile struct {
	name   string
	events bool // a line is an event
	limits event.Config
}

// Len returns how many posts and pushes there are.
func (c *Corpus) Len() int { return len(c.posts) }

// Join puts the posts of another corpus behind those of c.
func (c *Corpus) Join(more *Corpus) { c.posts = append(c.posts, more.posts...) }

// ReadCorpus reads a corpus. In a file whose name ends in [EventsSuffix] every line is an event as a
// platform sends it, a post or a push, within the limits (of which 0 stands for the default). In any
// other every line is a text, that of the field "text" of a post. Blank lines are passed over; the
// name is used in messages. When a line is at fault there is no corpus, and the error lists the faults
// by line, without what stands there ([strictyaml.Problems]).
func ReadCorpus(r io.Reader, name string, limits event.Config) (*Corpus, error) {
	src, err := io.ReadAll(io.LimitReader(r, MaxCorpusBytes+1))
	if err != nil {
		return nil, fmt.Errorf("read corpus: %w", err)
	}
	if len(src) > MaxCorpusBytes {
		return nil, fmt.Errorf("read corpus: %s is longer than %s (rules.MaxCorpusBytes); take every second post of it, or fewer",
			name, Bytes(MaxCorpusBytes))
	}
	if limits.MaxBytes == 0 {
		limits.MaxBytes = event.DefaultConfig().MaxBytes
	}
	c := new(Corpus)
	file := &corpusFile{name: name, events: strings.HasSuffix(name, EventsSuffix), limits: limits}
	decoder := event.NewDecoder(limits)
	var problems strictyaml.Problems
	n := 0
	for line := range bytes.Lines(src) {
		n++
		text := bytes.TrimSpace(line)
		if len(text) == 0 {
			continue
		}
		if why := file.fault(decoder, text); why != "" {
			column := 1
			if !utf8.Valid(line) {
				column = firstInvalid(line)
			}
			problems = append(problems, &strictyaml.Problem{File: name, Line: n, Column: column, Message: why})
			if len(problems) > maxCorpusProblems {
				problems[maxCorpusProblems].Message = "and perhaps more from here on; correct these first"
				break
			}
		}
		c.posts = append(c.posts, corpusPost{file, n, text})
	}
	if len(problems) > 0 {
		return nil, problems
	}
	if len(c.posts) == 0 {
		return nil, fmt.Errorf("read corpus: %s has no posts; give one a line", name)
	}
	return c, nil
}

// fault says what is wrong with a line; nothing if it is well.
func (f *corpusFile) fault(d *event.Decoder, text []byte) string {
	switch {
	case !utf8.Valid(text):
		return "is not UTF-8; save the file as UTF-8, a post a line"
	case f.events:
		var e event.Event
		defer d.Reset()
		if err := d.Decode(0, nil, text, &e); err != nil {
			return fmt.Sprintf("%s; a line is one post or push", err)
		}
		if e.Kind != event.Post && e.Kind != event.Push {
			return fmt.Sprintf("an event of kind %s has no text to be judged; give posts and pushes", e.Kind)
		}
	case len(text) > f.limits.MaxBytes:
		return fmt.Sprintf("is longer than the %d bytes that an event may have; a line is one post", f.limits.MaxBytes)
	case text[0] == '{' && json.Valid(text):
		return fmt.Sprintf("is a JSON object; events stand in a file whose name ends in %s", EventsSuffix)
	}
	return ""
}

// firstInvalid returns the column, from 1, of the first byte of a line that is not UTF-8.
func firstInvalid(line []byte) int {
	for column := 1; ; column++ {
		r, size := utf8.DecodeRune(line)
		if r == utf8.RuneError && size <= 1 {
			return column
		}
		line = line[size:]
	}
}

// LoadCorpus reads all files at the root of fsys whose names end in .txt or [EventsSuffix], in the
// order of their names, as one corpus; see [ReadCorpus]. Dir is put before the names in messages.
func LoadCorpus(fsys fs.FS, dir string, limits event.Config) (*Corpus, error) {
	entries, err := fs.ReadDir(fsys, ".")
	if err != nil {
		return nil, fmt.Errorf("read corpus: %w", err)
	}
	all := new(Corpus)
	for _, e := range entries {
		name := e.Name()
		if e.IsDir() || !strings.HasSuffix(name, ".txt") && !strings.HasSuffix(name, EventsSuffix) {
			continue
		}
		src, err := fs.ReadFile(fsys, name)
		if err != nil {
			return nil, fmt.Errorf("read corpus: %w", err)
		}
		c, err := ReadCorpus(bytes.NewReader(src), path.Join(dir, name), limits)
		if err != nil {
			return nil, err
		}
		all.Join(c)
	}
	if all.Len() == 0 {
		return nil, fmt.Errorf("read corpus: no posts in %s; put them into files whose names end in .txt or %s", dirName(dir), EventsSuffix)
	}
	return all, nil
}

// Text returns the text that an alarm about the corpus is about: that of the whole field. It is for
// a screen, not for a log.
func (c *Corpus) Text(a *Alarm) string {
	var r corpusReader
	e, err := r.event(&c.posts[a.post])
	if err != nil || a.field >= len(e.Fields) {
		return "" // does not happen: it was read before
	}
	return string(e.Fields[a.field].Text)
}

// corpusReader makes events of posts. The zero one is ready.
type corpusReader struct {
	of      *corpusFile // that the decoder is for
	decoder *event.Decoder
	fields  [1]event.Field
	e       event.Event
}

// event returns the event of a post, valid until the next one.
func (r *corpusReader) event(p *corpusPost) (*event.Event, error) {
	if !p.events {
		r.fields[0] = event.Field{Name: []byte(textField), Text: p.text}
		r.e = event.Event{Kind: event.Post, Fields: r.fields[:]}
		return &r.e, nil
	}
	if r.of != p.corpusFile {
		r.of, r.decoder = p.corpusFile, event.NewDecoder(p.limits)
	}
	r.decoder.Reset()
	return &r.e, r.decoder.Decode(0, nil, p.text, &r.e)
}

package main

import (
	"bufio"
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/weir-moderation/weir/pipeline/event"
	"github.com/weir-moderation/weir/rules"
	"github.com/weir-moderation/weir/rules/fold"
	"github.com/weir-moderation/weir/rules/form"
)

type learnCmd struct {
	ruleFlags
	Corpus string `required:"" help:"Benign texts, one a line." placeholder:"FILE" type:"path"`
	Out    string `help:"The file to write, for rules.exclusions; what it holds already is kept. Without it stdout." placeholder:"FILE" type:"path"`
}

// Help says what kong cannot know.
func (learnCmd) Help() string {
	return `Looks for hits by sound or by shape (pinyin, initials, shape) in texts of which you know that they are benign, and writes what stood there, folded and without separators, the most frequent first, with how often. Name the file in rules.exclusions of the configuration. Look it over: a disguise in the texts would be excluded too. Learning the same texts again changes nothing; of several sets of texts the greatest number is kept. What is read by emoji or out of escapes is not learned.`
}

// maxSurfaces bounds how many different surfaces of a corpus are counted, and maxSurface how long
// one may be: far beyond any term, however it is typed.
const (
	maxSurfaces = 100_000
	maxSurface  = 1024
)

// Run learns from a file.
func (c *learnCmd) Run(ctx context.Context, s streams) error {
	cfg, set, err := c.loadAlone()
	if err != nil {
		return err
	}
	if !slices.ContainsFunc(set.Rules(), func(r *rules.Rule) bool { return r.Forms.Weak() }) {
		fmt.Fprintln(s.err, "weir: no rule is read by sound or by shape; nothing can be learned")
	}
	// Before the texts are read, which can take long: a file that cannot be used is said at once.
	list, err := readExclusions(c.Out)
	if err != nil {
		return err
	}
	if _, err := os.Stat(filepath.Dir(c.Out)); err != nil {
		return fmt.Errorf("write exclusions: %w", err)
	}
	in, err := os.Open(c.Corpus)
	if err != nil {
		return fmt.Errorf("read corpus: %w", err)
	}
	defer in.Close() //nolint:errcheck // only read
	l := learner{set: set, times: make(map[string]int)}
	if err := l.read(ctx, in, cfg.Events.MaxBytes); err != nil {
		return fmt.Errorf("read corpus: %w", err)
	}
	learned := list.merge(l.times)
	if c.Out == "" {
		_, err = list.WriteTo(s.out)
	} else {
		err = list.save(c.Out)
	}
	if err != nil {
		return fmt.Errorf("write exclusions: %w", err)
	}
	l.tell(s.err, learned)
	return nil
}

// learner counts what stands at hits of lower confidence.
type learner struct {
	set   *rules.Set
	times map[string]int // by surface, of which there are at most maxSurfaces

	texts, hits int
	// What was passed over: lines that are no text of an event, hits for which an exclusion would
	// not do, such as are too long, and those for which there was no room.
	unread, unfit, beyond, full int
}

// read learns from texts, one a line.
func (l *learner) read(ctx context.Context, r io.Reader, limit int) error {
	in := lineReader{r: bufio.NewReaderSize(r, 64<<10), limit: limit}
	var sc rules.Scratch
	e := event.Event{Kind: event.Post, Fields: []event.Field{{Name: []byte("text")}}}
	for {
		if ctx.Err() != nil {
			return errors.New("interrupted; nothing is written")
		}
		line, err := in.next()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if len(line) > limit || !utf8.Valid(line) {
			l.unread++
			continue
		}
		if line = bytes.TrimSpace(line); len(line) == 0 {
			continue
		}
		l.texts++
		e.Fields[0].Text = line
		for _, h := range l.set.Match(&sc, &e) {
			if h.Form.Weak() {
				l.learn(line[h.Start:h.End], h.Form)
			}
		}
	}
}

// learn counts what stood at a hit.
func (l *learner) learn(text []byte, f form.Form) {
	l.hits++
	// Pictures mean something else in every text, so what one meant in benign ones says little of
	// the next. What stands in an escape is compared after decoding, so an exclusion of the escape
	// would never apply.
	if f&(form.Emoji|form.Decode) != 0 {
		l.unfit++
		return
	}
	surface := bare(string(text))
	switch {
	case surface == "" || len(surface) > maxSurface:
		l.beyond++
	case l.times[surface] == 0 && len(l.times) == maxSurfaces:
		l.full++
	default:
		l.times[surface]++
	}
}

// tell says what was done, and what was not.
func (l *learner) tell(w io.Writer, learned int) {
	fmt.Fprintf(w, "weir: %s, %s by sound or shape, %s learned\n", count(l.texts, "text"), count(l.hits, "hit"), count(learned, "exclusion"))
	for _, left := range []struct {
		n    int
		what string
		why  string
	}{
		{l.unread, "line", "not UTF-8, or longer than an event may be"},
		{l.unfit, "hit", "read by emoji or out of escapes, which are not learned"},
		{l.beyond, "hit", fmt.Sprintf("longer than %d bytes", maxSurface)},
		{l.full, "hit", fmt.Sprintf("beyond %d different texts; learn from less at a time", maxSurfaces)},
	} {
		if left.n > 0 {
			fmt.Fprintf(w, "weir: %s passed over: %s\n", count(left.n, left.what), left.why)
		}
	}
	if learned > 0 {
		fmt.Fprintln(w, "weir: the texts were taken for benign; look the exclusions over, for a disguise among them is no hit any more")
	}
}

// bare is a text as exclusions are compared: folded and without separators.
func bare(text string) string {
	return strings.Map(func(r rune) rune {
		if fold.ClassOf(r) == fold.Separator {
			return -1
		}
		return r
	}, fold.String(text))
}

// exclusions are what a file for rules.exclusions holds.
type exclusions struct {
	list []exclusion
	tail []string // comments after the last one
}

type exclusion struct {
	comments []string // that stand before it
	text     string   // as written
	times    int      // it was seen in benign texts; 0 if somebody wrote it by hand
}

const exclusionsHead = "# What is no hit by sound or by shape, learned from benign texts by weir rules learn-exclusions."

// readExclusions reads a file, or nothing if there is none.
func readExclusions(file string) (*exclusions, error) {
	x := new(exclusions)
	if file == "" {
		return x, nil
	}
	src, err := rules.ReadList(file)
	if errors.Is(err, fs.ErrNotExist) {
		return x, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read exclusions: %w", err)
	}
	if !utf8.Valid(src) {
		return nil, fmt.Errorf("read exclusions: %s is not UTF-8; save it as UTF-8, a text a line", file)
	}
	timesOf := regexp.MustCompile(`^# (\d+) times?$`)
	var next exclusion
	for line := range strings.Lines(string(src)) {
		line = strings.TrimSpace(line)
		switch m := timesOf.FindStringSubmatch(line); {
		case line == "" || line == exclusionsHead:
		case m != nil:
			next.times, _ = strconv.Atoi(m[1]) // a number too large for counting is none
		case line[0] == '#':
			next.comments = append(next.comments, line)
		default:
			next.text = line
			x.list = append(x.list, next)
			next = exclusion{}
		}
	}
	x.tail = next.comments
	return x, nil
}

// merge adds what was learned and sorts by how often. It returns how many are new.
func (x *exclusions) merge(times map[string]int) int {
	known := make(map[string]bool, len(x.list))
	for i := range x.list {
		k := bare(x.list[i].text)
		known[k] = true
		// The greater number, not the sum: whoever learns from the same texts twice has the same file.
		x.list[i].times = max(x.list[i].times, times[k])
	}
	learned := 0
	for text, n := range times {
		if !known[text] {
			x.list = append(x.list, exclusion{text: text, times: n})
			learned++
		}
	}
	slices.SortStableFunc(x.list, func(a, b exclusion) int {
		return cmp.Or(cmp.Compare(b.times, a.times), cmp.Compare(a.text, b.text))
	})
	return learned
}

// WriteTo writes the file.
func (x *exclusions) WriteTo(w io.Writer) (int64, error) {
	var b bytes.Buffer
	fmt.Fprintln(&b, exclusionsHead)
	for i := range x.list {
		k := &x.list[i]
		for _, c := range k.comments {
			fmt.Fprintln(&b, c)
		}
		if k.times > 0 {
			fmt.Fprintf(&b, "# %s\n", count(k.times, "time"))
		}
		fmt.Fprintln(&b, k.text)
	}
	for _, c := range x.tail {
		fmt.Fprintln(&b, c)
	}
	return b.WriteTo(w)
}

// save puts the file in the place of the old one.
func (x *exclusions) save(file string) error {
	var b bytes.Buffer
	if _, err := x.WriteTo(&b); err != nil {
		return err
	}
	return replaceFile(file, b.Bytes(), 0o644)
}

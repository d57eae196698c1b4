package rules

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"
	"testing/iotest"

	"github.com/weir-moderation/weir/internal/strictyaml"
	"github.com/weir-moderation/weir/pipeline/event"
)

// corpus reads a corpus of texts.
func corpus(tb testing.TB, name string, lines ...string) *Corpus {
	tb.Helper()
	c, err := ReadCorpus(strings.NewReader(strings.Join(lines, "\n")), name, event.Config{})
	if err != nil {
		tb.Fatal(err)
	}
	return c
}

// told returns place, kind and texts of all posts of a corpus.
func told(tb testing.TB, c *Corpus) []string {
	tb.Helper()
	var r corpusReader
	var list []string
	for i := range c.posts {
		p := &c.posts[i]
		e, err := r.event(p)
		if err != nil {
			tb.Fatal(err)
		}
		s := fmt.Sprintf("%s:%d %s", p.name, p.line, e.Kind)
		for _, f := range e.Fields {
			s += fmt.Sprintf(" %s=%s", f.Name, f.Text)
		}
		list = append(list, s)
	}
	return list
}

const pushLine = `{"id":"1","time":"2026-01-01T00:00:00Z","user":{"id":"u"},"fields":{"title":"早","body":"天气"},"class":"service","channel":"app"}`

// Texts and events are read with their lines, and corpora may be joined.
func TestReadCorpus(t *testing.T) {
	c := corpus(t, "a.txt", "\ufeff#早安#", "", " \t", "  {not JSON} \r", "# no comment")
	more := corpus(t, "b.jsonl", "", pushLine,
		`{"id":"2","time":"2026-01-01T00:00:00Z","user":{"id":"u"},"fields":{"text":"hello"}}`)
	c.Join(more)
	want := []string{"a.txt:1 post text=\ufeff#早安#", "a.txt:4 post text={not JSON}", "a.txt:5 post text=# no comment",
		"b.jsonl:2 push title=早 body=天气", "b.jsonl:3 post text=hello"}
	if got := told(t, c); !slices.Equal(got, want) || c.Len() != 5 {
		t.Errorf("%d posts, got %q, want %q", c.Len(), got, want)
	}
	// Each file keeps its limits.
	small, err := ReadCorpus(strings.NewReader(pushLine), "s.jsonl", event.Config{MaxFields: 2})
	if err != nil {
		t.Fatal(err)
	}
	small.Join(corpus(t, "l.jsonl", strings.Replace(pushLine, `"title"`, `"a":"1","title"`, 1)))
	want = []string{"s.jsonl:1 push title=早 body=天气", "l.jsonl:1 push a=1 title=早 body=天气"}
	if got := told(t, small); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
	loaded, err := LoadCorpus(packs("b.jsonl", pushLine, "a.txt", "one\ntwo", "README.md", "no", "sub/c.txt", "no"), "dir", event.Config{})
	if err != nil {
		t.Fatal(err)
	}
	want = []string{"dir/a.txt:1 post text=one", "dir/a.txt:2 post text=two", "dir/b.jsonl:1 push title=早 body=天气"}
	if got := told(t, loaded); !slices.Equal(got, want) {
		t.Errorf("got %q, want %q", got, want)
	}
}

// Every line that is at fault is told by its place, never by what stands in it.
func TestReadCorpusRefuses(t *testing.T) {
	limits := event.Config{MaxBytes: 2000}
	for _, test := range []struct {
		name, src string
		want      []string
	}{
		{"a.txt", "", []string{"read corpus: a.txt has no posts; give one a line"}},
		{"a.txt", " \n\n", []string{"read corpus: a.txt has no posts; give one a line"}},
		{"a.txt", "ok\n \xff密\n密早\xe4\xb8 \n\ufffd", []string{
			"a.txt:2:2: is not UTF-8; save the file as UTF-8, a post a line", "a.txt:3:3: is not UTF-8; save the file as UTF-8, a post a line"}},
		{"a.txt", "ok\n" + strings.Repeat("密", 667) + "\nok", []string{"a.txt:2:1: is longer than the 2000 bytes that an event may have; a line is one post"}},
		{"a.txt", "ok\n" + pushLine, []string{"a.txt:2:1: is a JSON object; events stand in a file whose name ends in .jsonl"}},
		{"a.jsonl", pushLine + "\n密\n\n" + strings.Replace(pushLine, "id", "ID", 1) + "\n" +
			`{"id":"c","kind":"consent","time":"2026-11-24T08:30:00Z","user":{"id":"u"},"version":1,"grants":[]}`, []string{
			"a.jsonl:2:1: event: syntax; a line is one post or push", "a.jsonl:4:1: event: unknown-name at byte 2; ", "a.jsonl:5:1: an event of kind consent has no text to be judged; give posts and pushes"}},
	} {
		c, err := ReadCorpus(strings.NewReader(test.src), test.name, limits)
		if c != nil || err == nil {
			t.Errorf("%q is taken", test.src)
			continue
		}
		got := strings.Split(err.Error(), "\n")
		if !slices.EqualFunc(got, test.want, strings.HasPrefix) || strings.Contains(err.Error(), "密") {
			t.Errorf("%q:\ngot  %q\nwant %q", test.src, got, test.want)
		}
	}
	_, err := ReadCorpus(strings.NewReader(strings.Repeat("\xff\n", 1000)), "a.txt", limits)
	if problems, ok := errors.AsType[strictyaml.Problems](err); !ok || len(problems) != maxCorpusProblems+1 {
		t.Errorf("%d lines told: %v", len(problems), err)
	}
	long := io.MultiReader(bytes.NewReader(make([]byte, MaxCorpusBytes)), strings.NewReader("x"))
	if _, err := ReadCorpus(long, "a.txt", limits); err == nil || err.Error() != "read corpus: a.txt is longer than 64MiB (rules.MaxCorpusBytes); take every second post of it, or fewer" {
		t.Error(err)
	}
	broken := errors.New("broken")
	if _, err := ReadCorpus(iotest.ErrReader(broken), "a.txt", limits); !errors.Is(err, broken) {
		t.Error(err)
	}
	if _, err := LoadCorpus(packs("README.md", "no"), "dir", limits); err == nil || err.Error() != "read corpus: no posts in dir; put them into files whose names end in .txt or .jsonl" {
		t.Error(err)
	}
	if _, err := LoadCorpus(packs("a.txt", "ok", "b.txt", "\xff"), "dir", limits); err == nil || !strings.HasPrefix(err.Error(), "dir/b.txt:1:1: ") {
		t.Error(err)
	}
}

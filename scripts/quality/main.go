// Command quality measures how well terms are found when they are disguised, and how often ordinary texts are hit in
// each form. It prints the tables of docs/quality.md, or puts them in there:
//
//	go run ./scripts/quality -data DIR -write docs/quality.md
//
// Run it at the root of the repository. The directory holds posts_zh_short.txt, posts_en.txt, posts_mixed.txt,
// patterns_zh_1000.txt, patterns_zh_10000.txt and patterns_mix_all.txt, a post or a term a line.
//
// Terms are disguised by rules that stand in disguise.go, and by tables that are not the engine's. With the same data
// and seed the same texts come out.
package main

import (
	"bytes"
	"flag"
	"fmt"
	"io"
	"os"
	"runtime"
	"strings"
	"time"
)

func main() {
	var o options
	flag.StringVar(&o.data, "data", "", "`directory` of posts and terms")
	flag.StringVar(&o.words, "words", "configs/words", "`directory` of the lists of ordinary words")
	flag.StringVar(&o.texts, "texts", "", "`file` of further ordinary texts, one a line, to look for false alarms in")
	flag.StringVar(&o.write, "write", "", "`document` to put the tables in, instead of printing them")
	flag.StringVar(&o.samples, "samples", "", "`file` to write every disguised text to, as lines of JSON")
	flag.IntVar(&o.posts, "posts", 400, "posts for each disguise")
	flag.IntVar(&o.misses, "misses", 0, "misses of each disguise to show, on standard error")
	flag.Uint64Var(&o.seed, "seed", 20261128, "what the texts are drawn by")
	flag.Parse()
	if o.data == "" || flag.NArg() > 0 {
		fmt.Fprintln(os.Stderr, "quality: error: give -data DIR, and nothing else behind the flags")
		os.Exit(2)
	}
	if err := run(o, os.Stdout, os.Stderr); err != nil {
		fmt.Fprintln(os.Stderr, "quality: error:", err)
		os.Exit(1)
	}
}

type options struct {
	data, words, texts, write, samples string
	posts, misses                      int
	seed                               uint64
}

func run(o options, out, log io.Writer) error {
	t, err := readTables()
	if err != nil {
		return err
	}
	c, err := readCorpus(o)
	if err != nil {
		return err
	}
	m := measuring{o: o, corpus: c, log: log}
	if o.samples != "" {
		f, err := os.Create(o.samples)
		if err != nil {
			return err
		}
		defer f.Close() //nolint:errcheck // what could not be written is missed at once
		m.samples = f
	}
	blocks := []block{{"machine", machine()}}
	for _, s := range []struct {
		name      string
		disguises []disguise
		terms     []string
		posts     []string
		insert    insertion
	}{
		{"recall-chinese", t.chinese(), c.chinese, c.posts["zh"], betweenClauses},
		{"recall-latin", t.latin(), c.latin, c.posts["en"], betweenWords},
	} {
		table, err := m.recall(s.disguises, s.terms, s.posts, s.insert)
		if err != nil {
			return err
		}
		blocks = append(blocks, block{s.name, table})
	}
	alarms, protection, err := m.alarms()
	if err != nil {
		return err
	}
	blocks = append(blocks, block{"alarms", alarms}, block{"protection", protection})
	if o.write != "" {
		return rewrite(o.write, blocks)
	}
	for _, b := range blocks {
		fmt.Fprintf(out, "%s:\n\n%s\n", b.name, b.text)
	}
	return nil
}

// machine says when and on what was measured.
func machine() string {
	return fmt.Sprintf("Measured on %s with %s on %s/%s.\n",
		time.Now().UTC().Format(time.DateOnly), runtime.Version(), runtime.GOOS, runtime.GOARCH)
}

// block is a part of the document that this command writes.
type block struct{ name, text string }

// rewrite puts each block between its two marks in the document.
func rewrite(document string, blocks []block) error {
	text, err := os.ReadFile(document)
	if err != nil {
		return err
	}
	for _, b := range blocks {
		begin, end := []byte("<!-- "+b.name+" -->\n"), []byte("<!-- /"+b.name+" -->\n")
		i, j := bytes.Index(text, begin), bytes.Index(text, end)
		if i < 0 || j < i {
			return fmt.Errorf("%s has no place for %s; put the lines %q and %q where the table belongs", document, b.name, begin, end)
		}
		i += len(begin)
		text = bytes.Join([][]byte{text[:i], []byte("\n" + b.text + "\n"), text[j:]}, nil)
	}
	return os.WriteFile(document, text, 0o644)
}

// table is a table of Markdown: the first row is its head.
type table [][]string

func (t *table) row(cells ...string) { *t = append(*t, cells) }

// String returns the table with numbers to the right and all else to the left.
func (t table) String() string {
	var b strings.Builder
	for i, row := range t {
		fmt.Fprintf(&b, "| %s |\n", strings.Join(row, " | "))
		if i > 0 {
			continue
		}
		for column := range row {
			rule := "|---"
			if len(t) > 1 && strings.Trim(t[1][column], "0123456789.-") == "" {
				rule = "|--:"
			}
			b.WriteString(rule)
		}
		b.WriteString("|\n")
	}
	return b.String()
}

// percent returns n of all as a percentage.
func percent(n, all, digits int) string {
	if all == 0 {
		return "-"
	}
	return fmt.Sprintf("%.*f", digits, 100*float64(n)/float64(all))
}

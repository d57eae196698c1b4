package form

import (
	"bufio"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// testWords are the lists of ordinary words that ship with Weir.
func testWords(tb testing.TB) *Words {
	han, err := os.ReadFile("../../configs/words/zh.txt")
	if err != nil {
		tb.Fatal(err)
	}
	latin, err := os.ReadFile("../../configs/words/en.txt")
	if err != nil {
		tb.Fatal(err)
	}
	w, err := NewWords("zh.txt", han, latin)
	if err != nil {
		tb.Fatal(err)
	}
	return w
}

// row is a line of a table of texts.
type row struct {
	line   int
	fields []string
}

func rows(tb testing.TB, path string, fields int) []row {
	f, err := os.Open(path)
	if err != nil {
		tb.Fatal(err)
	}
	defer f.Close()
	var list []row
	sc := bufio.NewScanner(f)
	for n := 1; sc.Scan(); n++ {
		if sc.Text() == "" || sc.Text()[0] == '#' {
			continue
		}
		fs := strings.Split(sc.Text(), "\t")
		if len(fs) != fields {
			tb.Fatalf("%s:%d: %d fields, want %d", path, n, len(fs), fields)
		}
		if !testing.Short() || n%5 == 0 { // a short run takes a fifth
			list = append(list, row{n, fs})
		}
	}
	if err := sc.Err(); err != nil {
		tb.Fatal(err)
	}
	return list
}

// unescape undoes \u{HEX}, \n, \t and \\ of the tables.
func unescapeRow(tb testing.TB, s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '\\' {
			b.WriteByte(s[i])
			continue
		}
		i++
		if i == len(s) {
			tb.Fatalf("%q ends with a backslash", s)
		}
		switch s[i] {
		case 'n':
			b.WriteByte('\n')
		case 't':
			b.WriteByte('\t')
		case '\\':
			b.WriteByte('\\')
		case 'u':
			end := strings.IndexByte(s[i:], '}')
			if end < 0 || s[i+1] != '{' {
				tb.Fatalf("%q: not \\u{HEX}", s)
			}
			r, err := strconv.ParseUint(s[i+2:i+end], 16, 32)
			if err != nil {
				tb.Fatalf("%q: %v", s, err)
			}
			b.WriteRune(rune(r))
			i += end
		default:
			tb.Fatalf("%q: unknown escape \\%c", s, s[i])
		}
	}
	return b.String()
}

func tableDir() string {
	if d := os.Getenv("WEIR_TEST_TABLES"); d != "" {
		return d
	}
	return "testdata"
}

func findAll(m *Matcher, sc *Scratch, text string) []Hit {
	var hits []Hit
	m.Find(sc, []byte(text), func(h Hit) bool {
		hits = append(hits, h)
		return true
	})
	return plainest(hits)
}

// plainest keeps one of several readings of a place: the first sure one.
func plainest(hits []Hit) []Hit {
	var kept []Hit
next:
	for _, h := range hits {
		for i, k := range kept {
			if k.Term == h.Term && k.Start < h.End && h.Start < k.End && (k.Pass != h.Pass || k.Start == h.Start && k.End == h.End) {
				if k.Form.Weak() && !h.Form.Weak() {
					kept[i] = h
				}
				continue next
			}
		}
		kept = append(kept, h)
	}
	return kept
}

// Every evasion of the table is found, in its form and with its span.
func TestEvasions(t *testing.T) {
	words := testWords(t)
	var sc Scratch
	missed := 0
	for _, r := range rows(t, filepath.Join(tableDir(), "evasions.tsv"), 3) {
		form, term := r.fields[0], unescapeRow(t, r.fields[1])
		marked := unescapeRow(t, r.fields[2])
		start := strings.Index(marked, "⟦")
		rest := strings.Replace(marked, "⟦", "", 1)
		end := strings.Index(rest, "⟧")
		text := strings.Replace(rest, "⟧", "", 1)
		m, err := New([]Term{{Text: term, Forms: All}}, Options{Words: words})
		if err != nil {
			t.Fatal(err)
		}
		hits := findAll(m, &sc, text)
		ok := slices.ContainsFunc(hits, func(h Hit) bool { return h.Start == start && h.End == end && h.Form.String() == form })
		if !ok || len(hits) != 1 {
			missed++
			var got []string
			for _, h := range hits {
				got = append(got, h.Form.String()+" "+strconv.Quote(text[h.Start:h.End]))
			}
			t.Errorf("evasions.tsv:%d: %s, %q in %q:\n got %v\nwant %s %q", r.line, form, term, text, got, form, text[start:end])
		}
	}
	t.Logf("%d missed", missed)
}

// No innocent text of the table is hit in any form.
func TestInnocent(t *testing.T) {
	words := testWords(t)
	var sc Scratch
	for _, r := range rows(t, filepath.Join(tableDir(), "innocent.tsv"), 3) {
		var terms []Term
		for w := range strings.SplitSeq(unescapeRow(t, r.fields[0]), "|") {
			terms = append(terms, Term{Text: w, Forms: All})
		}
		text := unescapeRow(t, r.fields[1])
		m, err := New(terms, Options{Words: words})
		if err != nil {
			t.Fatal(err)
		}
		for _, h := range findAll(m, &sc, text) {
			t.Errorf("innocent.tsv:%d: %s: %q hit by %q as %s: %q", r.line, r.fields[2], text, terms[h.Term].Text, h.Form, text[h.Start:h.End])
		}
	}
}

// What is known to go wrong still does. When a row goes right, it belongs into another table.
func TestKnown(t *testing.T) {
	words := testWords(t)
	var sc Scratch
	for _, r := range rows(t, filepath.Join("testdata", "known.tsv"), 4) {
		var terms []Term
		for w := range strings.SplitSeq(unescapeRow(t, r.fields[1]), "|") {
			terms = append(terms, Term{Text: w, Forms: All})
		}
		m, err := New(terms, Options{Words: words})
		if err != nil {
			t.Fatal(err)
		}
		hits := findAll(m, &sc, unescapeRow(t, r.fields[2]))
		if (len(hits) > 0) != (r.fields[0] == "hit") {
			t.Errorf("known.tsv:%d: %q goes right now; move it to its table", r.line, r.fields[2])
		}
	}
}

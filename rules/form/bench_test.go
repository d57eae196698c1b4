package form

import (
	"bytes"
	"os"
	"testing"
)

// dataDir is where the large samples lie.
func dataDir() string {
	if d := os.Getenv("WEIR_TEST_DATA"); d != "" {
		return d
	}
	return "../../../shared/data"
}

func dataLines(tb testing.TB, name string) [][]byte {
	tb.Helper()
	b, err := os.ReadFile(dataDir() + "/" + name + ".txt")
	if err != nil {
		tb.Skip("no sample: ", err)
	}
	return bytes.Split(bytes.TrimSpace(b), []byte("\n"))
}

// What the forms cost over fold alone on ordinary posts.
func BenchmarkForms(b *testing.B) {
	words := testWords(b)
	for _, set := range []string{"zh_10000", "mix_10000"} {
		list := dataLines(b, "patterns_"+set)
		for _, forms := range []struct {
			name string
			f    Form
		}{
			{"fold", Fold},
			{"squeeze", Fold | Squeeze},
			{"decode", Fold | Decode},
			{"five", Fold | Squeeze | Repeat | Decode | Split},
			{"more", Fold | Squeeze | Repeat | Decode | Split | Spaced | Leet | Digits},
			{"pinyin", Fold | Squeeze | Repeat | Decode | Split | Pinyin},
		} {
			terms := make([]Term, len(list))
			for i, l := range list {
				terms[i] = Term{Text: string(l), Forms: forms.f, Substring: set == "zh_10000"}
			}
			m, err := New(terms, Options{Words: words})
			if err != nil {
				b.Fatal(err)
			}
			for _, text := range []string{"zh_short", "zh_long", "en", "mixed"} {
				posts := dataLines(b, "posts_"+text)
				b.Run(set+"/"+text+"/"+forms.name, func(b *testing.B) {
					var sc Scratch
					i, hits := 0, 0
					for b.Loop() {
						m.Find(&sc, posts[i%len(posts)], func(Hit) bool { hits++; return true })
						i++
					}
					b.ReportMetric(float64(hits)/float64(i), "hits/op")
				})
			}
		}
	}
}

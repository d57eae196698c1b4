package fold

import (
	"testing"
	"unicode/utf8"

	"golang.org/x/text/cases"
	"golang.org/x/text/unicode/norm"
)

// Append on real posts, beside NFKC and case folding by the libraries, which do less.
func BenchmarkAppend(b *testing.B) {
	for _, name := range []string{"posts_zh_short", "posts_zh_long", "posts_en"} {
		lines := posts(b, name+".txt")
		size := 0
		for _, l := range lines {
			size += len(l)
		}
		measure := func(engine string, f func(dst, src []byte) []byte) {
			b.Run(name+"/"+engine, func(b *testing.B) {
				var dst []byte
				b.ReportAllocs()
				b.SetBytes(int64(size / len(lines)))
				i := 0
				for b.Loop() {
					dst = f(dst[:0], lines[i%len(lines)])
					i++
				}
			})
		}
		measure("fold", Append)
		caser := cases.Fold()
		measure("text", func(dst, src []byte) []byte {
			return norm.NFKC.Append(dst, caser.Bytes(src)...)
		})
	}
}

// What a rule set costs that asks for every character of the first plane.
func BenchmarkRune(b *testing.B) {
	var sum rune
	for b.Loop() {
		for r := range rune(1 << 16) {
			to, _ := Rune(r)
			sum += to
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/(1<<16), "ns/rune")
	if sum == 0 {
		b.Fatal("nothing folded")
	}
}

func BenchmarkClassOf(b *testing.B) {
	var sum int
	for b.Loop() {
		for r := range rune(1 << 16) {
			sum += int(ClassOf(r))
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/(1<<16), "ns/rune")
	if sum == 0 {
		b.Fatal("no classes")
	}
}

func BenchmarkTable(b *testing.B) {
	for b.Loop() {
		if t := build(); t.ascii['A'] != 'a' || utf8.RuneCountInString(t.expansions[0]) < 2 {
			b.Fatal("wrong table")
		}
	}
}

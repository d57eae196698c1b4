package automaton

import "testing"

func BenchmarkDecode(b *testing.B) {
	a := compiled(b, terms(b, "zh_10000"), Options{})
	for _, n := range []string{"zh_short", "en", "zh_long"} {
		posts := lines(b, "posts_"+n)
		b.Run(n, func(b *testing.B) {
			var t Text
			i := 0
			total := 0
			for b.Loop() {
				a.Decode(&t, posts[i%len(posts)])
				total += len(t.Symbols)
				i++
			}
			b.ReportMetric(float64(total)/float64(b.N), "symbols/op")
		})
	}
}

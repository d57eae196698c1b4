package desk

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/weir-moderation/weir/sinks/evidence"
)

// BenchmarkErase erases one person of a thousand, of whom there are 200 records, from a sealed log of
// 200,000, in memory. Most of it is reading what the log says of itself.
func BenchmarkErase(b *testing.B) {
	const records, people = 200_000, 1000
	w := newWorld(b)
	w.classes["content"] = retentionWithoutMinimum(w)
	w.now = at("2026-01-10")
	l, ring := w.open()
	var recs []evidence.Record
	for i := range records {
		user := fmt.Sprintf("u%d", i%people)
		recs = append(recs, evidence.Record{ID: idOf(fmt.Sprintf("r%d", i)), Kind: evidence.KindHit, Class: evidence.ClassContent, Subject: user, Body: fmt.Appendf(nil, "{\"n\":%d}", i),
			Terms: []evidence.Term{{Name: "account", Value: user}}})
		if len(recs) == 4000 {
			if err := l.Append(context.Background(), recs); err != nil {
				b.Fatal(err)
			}
			recs = recs[:0]
		}
	}
	if err := errors.Join(l.Seal(context.Background()), l.Close(), ring.Close()); err != nil {
		b.Fatal(err)
	}
	w.now = at("2026-05-10")
	c := w.dial()
	n := 0
	for b.Loop() {
		n++
		done, err := c.Erase(context.Background(), EraseRequest{Subject: fmt.Sprintf("u%d", n), By: "x", Basis: "x", Reason: "x"})
		if err != nil || done.Records != records/people {
			b.Fatalf("%+v, %v", done, err)
		}
	}
	if err := c.Close(); err != nil {
		b.Fatal(err)
	}
}

package export

import (
	"context"
	"fmt"
	"path/filepath"
	"testing"

	"github.com/weir-moderation/weir/sinks/evidence"
	"github.com/weir-moderation/weir/sinks/evidence/keys"
)

// What it costs to hand out one person's records of a large sealed log, and to write its tiles. The size
// is that of a busy day of hits on a small platform.
func BenchmarkHandOut(b *testing.B) {
	const size, people = 200_000, 10_000
	dir := b.TempDir()
	ring, err := evidence.OpenKeys(dir, keys.Options{})
	if err != nil {
		b.Fatal(err)
	}
	defer ring.Close()
	l, err := evidence.Open(evidence.Options{Dir: dir, Origin: testOrigin, Keys: ring})
	if err != nil {
		b.Fatal(err)
	}
	n := 0
	for n < size {
		var recs []evidence.Record
		for range 2000 {
			r := hit(fmt.Sprint("e", n), fmt.Sprint("u", n%people), "illegal.drugs", "d-1", "a text of a usual length, not a long one")
			r.ID = evidence.ID{byte(n >> 16), byte(n >> 8), byte(n)}
			recs = append(recs, r)
			n++
		}
		if err := l.Append(b.Context(), recs); err != nil {
			b.Fatal(err)
		}
	}
	if err := l.Seal(b.Context()); err != nil {
		b.Fatal(err)
	}
	vkey := l.VerifierKey()
	if err := l.Close(); err != nil {
		b.Fatal(err)
	}
	s, err := Open(dir, "", ring)
	if err != nil {
		b.Fatal(err)
	}
	defer s.Close()
	nothing := func(context.Context, evidence.Kind, any) (int64, evidence.ID, error) { return 0, evidence.ID{}, nil }
	i := 0
	b.Run("look up a person", func(b *testing.B) {
		for b.Loop() {
			i++
			r := Request{Query: Query{Subject: fmt.Sprint("u", i%people)}, Who: "w", Purpose: "p", Basis: "b"}
			err := s.Release(b.Context(), r, nothing, func(list []Found) error {
				if len(list) != size/people {
					return fmt.Errorf("%d records", len(list))
				}
				return nil
			})
			if err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("package of a person", func(b *testing.B) {
		w := &world{dir: dir, log: l}
		for b.Loop() {
			i++
			o := w.orderOf(b, Query{Subject: fmt.Sprint("u", i%people)})
			if _, err := s.Export(b.Context(), o, nothing); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("tiles", func(b *testing.B) {
		for b.Loop() {
			i++
			if _, err := Tiles(dir, "", vkey, filepath.Join(b.TempDir(), fmt.Sprint(i))); err != nil {
				b.Fatal(err)
			}
		}
	})
}

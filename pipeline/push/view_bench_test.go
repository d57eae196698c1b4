package push

import (
	"fmt"
	"os"
	"strconv"
	"testing"

	"github.com/weir-moderation/weir/pipeline/event"
)

// BenchmarkView is what it costs to read the marker of the view with the profiles (beside
// the same without a view), and how fast a view is rebuilt, on the Redis WEIR_TEST_REDIS
// names.
func BenchmarkView(b *testing.B) {
	addr := os.Getenv("WEIR_TEST_REDIS")
	if addr == "" {
		b.Skip("WEIR_TEST_REDIS is not set; give it host:port of a redis-server")
	}
	p := loadBenchPolicy(b)
	for _, batch := range []int{1, 128} {
		for _, on := range []bool{false, true} {
			b.Run(fmt.Sprintf("deny/batch=%d/view=%v", batch, on), func(b *testing.B) {
				s := newStore(b, addr)
				if on {
					s = viewing(b, configFor(b, addr))
					rebuild(b, s, p)
					defer s.client.Del(b.Context(), s.view.markerKey(0))
				}
				var reqs []Request
				for i := range batch {
					reqs = append(reqs, pushTo(fmt.Sprint("u", i), "", "content"))
				}
				spent := newRedisCPU(b, s.client)
				for i := 0; b.Loop(); i++ {
					for k := range reqs {
						reqs[k].ID = strconv.AppendInt(reqs[k].ID[:0], int64(i*batch+k), 10)
					}
					if d, err := s.Decide(b.Context(), p, noon, reqs); err != nil || d[0].Decision != Deny {
						b.Fatal(err, word(d[0]))
					}
				}
				spent.report(b, batch)
			})
		}
	}
	b.Run("restore", func(b *testing.B) {
		s := newStore(b, addr)
		var events []*event.Event
		for i := range maxBatch {
			events = append(events, consentEvent(fmt.Sprint("u", i), 1, true))
		}
		messages := consentAt(0, events...)
		spent := newRedisCPU(b, s.client)
		for b.Loop() {
			for _, e := range events {
				e.Consent.Version++
			}
			if err := s.Restore(b.Context(), p, noon, messages); err != nil {
				b.Fatal(err)
			}
		}
		spent.report(b, len(events))
	})
}

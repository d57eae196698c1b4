package push

import (
	"fmt"
	"strconv"
	"testing"

	"github.com/weir-moderation/weir/pipeline/event"
)

// BenchmarkView is what it costs to read the marker of the view with the profiles (beside
// the same without a view), and how fast a view is rebuilt.
func BenchmarkView(b *testing.B) {
	addr := sharedServer(b)
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
				x := &bench{Store: s}
				spent := x.redisCPU(b)
				for i := 0; b.Loop(); i++ {
					for k := range reqs {
						reqs[k].ID = strconv.AppendInt(reqs[k].ID[:0], int64(i*batch+k), 10)
					}
					if d, err := s.Decide(b.Context(), p, noon, reqs); err != nil || d[0].Decision != Deny {
						b.Fatal(err, word(d[0]))
					}
				}
				b.ReportMetric((x.redisCPU(b)-spent)*1e6/float64(b.N*batch), "redis-us/push")
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
		x := &bench{Store: s}
		spent := x.redisCPU(b)
		for b.Loop() {
			for _, e := range events {
				e.Consent.Version++
			}
			if err := s.Restore(b.Context(), p, noon, messages); err != nil {
				b.Fatal(err)
			}
		}
		b.ReportMetric((x.redisCPU(b)-spent)*1e6/float64(b.N*len(events)), "redis-us/user")
	})
}

package status

import (
	"fmt"
	"sync"
	"testing"

	"github.com/prometheus/client_golang/prometheus/collectors"
)

// A look of the monitor at a registry with 64 partitions and what every Go process has.
func BenchmarkLook(b *testing.B) {
	w := newWorld(b)
	w.reg.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	for i := range 64 {
		w.lag.WithLabelValues("weir.posts", fmt.Sprint(i)).Set(float64(i))
		w.behind.WithLabelValues("weir.posts", fmt.Sprint(i)).Set(1)
	}
	w.fill()
	var asking sync.WaitGroup
	for b.Loop() {
		w.monitor.look(b.Context(), &asking)
	}
	asking.Wait()
}

package app

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"time"
)

// probe is one thing that must be well for Weir to do its work.
type probe struct {
	name string
	ask  func(context.Context) error
}

func (d *daemon) probes() []probe {
	list := []probe{
		{"consumer", func(context.Context) error { return d.source.Ready() }},
		// Rules that are loaded but do not fire are as good as none.
		{"rules", func(context.Context) error { return d.pipeline.InForce().Rules.SelfTest() }},
		{"evidence", func(context.Context) error { return d.evidence.Err() }},
	}
	if d.store != nil {
		list = append(list, probe{"redis", d.store.Check})
	}
	return list
}

// readiness answers 200 when every probe is well, else 503, and a line for each
// probe: what is not ready, and why.
func readiness(probes []probe) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), 2*time.Second)
		defer cancel()
		var text string
		status := http.StatusOK
		for _, p := range probes {
			if err := p.ask(ctx); err != nil {
				status = http.StatusServiceUnavailable
				text += fmt.Sprintf("%s: not ready: %v\n", p.name, err)
				continue
			}
			text += p.name + ": ready\n"
		}
		w.WriteHeader(status)
		_, _ = io.WriteString(w, text)
	})
}

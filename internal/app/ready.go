package app

import (
	"context"
	"errors"
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

// degraded says that something is not well with which Weir does its work all the
// same.
type degraded struct{ error }

func (d *daemon) probes() []probe {
	list := []probe{
		{"consumer", func(context.Context) error { return d.source.Ready() }},
		// Rules that are loaded but do not fire are as good as none.
		{"rules", func(context.Context) error { return d.pipeline.InForce().Rules.SelfTest() }},
		{"evidence", func(context.Context) error { return d.evidence.Err() }},
	}
	if d.store != nil {
		list = append(list, probe{"redis", func(ctx context.Context) error {
			// The pushes that nothing may hold back go on: to be taken out of service
			// would stop them.
			if err := d.fallback.Settled(); err != nil {
				return &degraded{err}
			}
			return d.store.Check(ctx)
		}})
	}
	return list
}

// readiness answers 200 when every probe is well, else 503, and a line for each
// probe: what is not ready, and why. What is degraded does not make Weir not
// ready.
func readiness(probes []probe) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		ctx, cancel := context.WithTimeout(r.Context(), 2*time.Second)
		defer cancel()
		var text string
		status := http.StatusOK
		for _, p := range probes {
			err := p.ask(ctx)
			if less, ok := errors.AsType[*degraded](err); ok {
				text += fmt.Sprintf("%s: ready, but degraded: %v\n", p.name, less)
				continue
			}
			if err != nil {
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

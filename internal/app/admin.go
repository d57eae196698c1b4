package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/pprof"
	"time"

	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// admin is the listener for operators: metrics, health, reload. It is bound to
// loopback by default, because whoever reaches it can reload the rules.
type admin struct {
	listener net.Listener
	server   *http.Server
}

func newAdmin(d *daemon) (*admin, error) {
	l, err := net.Listen("tcp", d.o.Listen)
	if err != nil {
		return nil, fmt.Errorf("open the admin listener: %w", err)
	}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(d.registry, promhttp.HandlerOpts{Registry: d.registry, EnableOpenMetrics: true}))
	mux.HandleFunc("GET /-/healthy", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "healthy\n") })
	mux.HandleFunc("GET /-/ready", d.serveReady)
	mux.HandleFunc("POST /-/reload", d.serveReload)
	mux.HandleFunc("GET /debug/pprof/", pprof.Index)
	mux.HandleFunc("GET /debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	return &admin{l, &http.Server{
		Handler:           mux,
		ReadHeaderTimeout: 5 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    16 << 10,
	}}, nil
}

// close lets go of the address if run never did.
func (a *admin) close() error {
	if err := a.listener.Close(); !errors.Is(err, net.ErrClosed) {
		return err
	}
	return nil
}

func (a *admin) addr() string { return a.listener.Addr().String() }

// run serves until ctx ends.
func (a *admin) run(ctx context.Context) error {
	stop := context.AfterFunc(ctx, func() {
		late, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
		defer cancel()
		if a.server.Shutdown(late) != nil {
			_ = a.server.Close() // a scrape that hangs must not hold the process
		}
	})
	defer stop()
	if err := a.server.Serve(a.listener); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("admin listener: %w", err)
	}
	return nil
}

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

// serveReady answers 200 when every probe is well, else 503 and what is not.
func (d *daemon) serveReady(w http.ResponseWriter, r *http.Request) {
	ctx, cancel := context.WithTimeout(r.Context(), 2*time.Second)
	defer cancel()
	var text string
	ready := true
	for _, p := range d.probes() {
		if err := p.ask(ctx); err != nil {
			ready = false
			text += fmt.Sprintf("%s: not ready: %v\n", p.name, err)
			continue
		}
		text += p.name + ": ready\n"
	}
	if !ready {
		w.WriteHeader(http.StatusServiceUnavailable)
	}
	_, _ = io.WriteString(w, text)
}

func (d *daemon) serveReload(w http.ResponseWriter, r *http.Request) {
	if err := d.reloader.reload(r.Context()); err != nil {
		http.Error(w, err.Error(), http.StatusUnprocessableEntity)
		return
	}
	_, _ = io.WriteString(w, "reloaded\n")
}

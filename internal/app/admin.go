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

	"github.com/weir-moderation/weir/internal/status"
	"github.com/weir-moderation/weir/sinks/evidence/anchor"
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
	mux.Handle("GET /-/ready", readiness(d.probes()))
	mux.HandleFunc("POST /-/reload", d.serveReload)
	mux.HandleFunc("GET /-/rules/tripped", d.serveTripped)
	mux.HandleFunc("POST /-/rules/restore", d.serveRestore)
	anchor.Serve(mux, d.evidence)
	status.Serve(mux, d.status)
	mux.HandleFunc("GET /debug/pprof/", pprof.Index)
	mux.HandleFunc("GET /debug/pprof/cmdline", pprof.Cmdline)
	mux.HandleFunc("GET /debug/pprof/profile", pprof.Profile)
	mux.HandleFunc("GET /debug/pprof/symbol", pprof.Symbol)
	mux.HandleFunc("GET /debug/pprof/trace", pprof.Trace)
	return &admin{l, &http.Server{
		Handler:           newRequestMetrics(d.registry).around(mux),
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

func (d *daemon) serveReload(w http.ResponseWriter, r *http.Request) {
	if err := d.reloader.reload(r.Context()); err != nil {
		http.Error(w, err.Error(), http.StatusUnprocessableEntity)
		return
	}
	_, _ = io.WriteString(w, "reloaded\n")
}

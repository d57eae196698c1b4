package app

import (
	"context"
	"io"
	"net/http"
	"net/http/pprof"

	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/weir-moderation/weir/internal/admin"
	"github.com/weir-moderation/weir/internal/status"
	"github.com/weir-moderation/weir/sinks/evidence/anchor"
)

// adminServer is the listener for operators: metrics, health, reload. Who may
// come in, and who may use verbs, is the matter of its door.
type adminServer struct {
	door    *admin.Door
	handler http.Handler
}

func newAdmin(d *daemon) (*adminServer, error) {
	door, err := admin.Open(d.o.Listen, d.cfg.Admin, d.log)
	if err != nil {
		return nil, err
	}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(d.registry, promhttp.HandlerOpts{Registry: d.registry, EnableOpenMetrics: true}))
	mux.HandleFunc("GET /-/healthy", func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "healthy\n") })
	mux.Handle("GET /-/ready", readiness(d.probes()))
	mux.Handle("POST /-/reload", door.Verb(d.serveReload))
	mux.HandleFunc("GET /-/rules/tripped", d.serveTripped)
	mux.Handle("POST /-/rules/restore", door.Verb(d.serveRestore))
	anchor.Serve(mux, d.evidence)
	status.Serve(mux, d.status)
	// A profile costs a second processor for as long as it runs, and shows what is
	// in memory: where content passes by, that is no matter of metrics.
	mux.Handle("GET /debug/pprof/", door.Verb(pprof.Index))
	mux.Handle("GET /debug/pprof/cmdline", door.Verb(pprof.Cmdline))
	mux.Handle("GET /debug/pprof/profile", door.Verb(pprof.Profile))
	mux.Handle("GET /debug/pprof/symbol", door.Verb(pprof.Symbol))
	mux.Handle("GET /debug/pprof/trace", door.Verb(pprof.Trace))
	return &adminServer{door, newRequestMetrics(d.registry).around(mux)}, nil
}

// run serves until ctx ends.
func (a *adminServer) run(ctx context.Context) error { return a.door.Run(ctx, a.handler) }

func (d *daemon) serveReload(w http.ResponseWriter, r *http.Request) {
	if err := d.reloader.reload(r.Context()); err != nil {
		http.Error(w, err.Error(), http.StatusUnprocessableEntity)
		return
	}
	_, _ = io.WriteString(w, "reloaded\n")
}

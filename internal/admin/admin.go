// Package admin is the door of the admin listener: TLS, who may come in, and
// what only those may do who said who they are.
//
// What it is not: what is served there; that is mounted by internal/app. The one
// thing to know: what changes anything, or costs much, is a verb, and a verb is
// refused where anybody on a network could ask for it ([Door.Verb]).
//
// Beyond loopback an address without TLS and users serves what can be read
// (metrics, health, the page) and no verbs. Users without TLS are refused there,
// because their passwords would cross the network in clear.
package admin

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"time"

	"github.com/prometheus/exporter-toolkit/web"
	"go.yaml.in/yaml/v2"
	"golang.org/x/net/netutil"

	"github.com/weir-moderation/weir/internal/dial"
)

// Limits of what is taken from whoever reaches the listener.
const (
	headerTimeout = 5 * time.Second  // from the first byte of a request to the last of its headers
	bodyTimeout   = 10 * time.Second // to the last of its body, if it has one
	idleTimeout   = 2 * time.Minute
	maxHeader     = 16 << 10 // bytes
	maxBody       = 64 << 10 // bytes; nothing that is served needs one
	maxConns      = 256      // at once; who comes next waits
)

// Door is an admin listener. It listens from [Open] on and serves from Run on.
type Door struct {
	listener net.Listener
	config   string // web.config.file; empty for none
	loopback bool
	logger   *slog.Logger
}

// Open listens at an address, host:port.
func Open(address string, c Config, logger *slog.Logger) (*Door, error) {
	d := &Door{config: c.WebConfigFile, logger: logger}
	if err := d.validate(address); err != nil {
		return nil, err
	}
	l, err := net.Listen("tcp", address)
	if err != nil {
		return nil, fmt.Errorf("open the admin listener: %w", err)
	}
	d.listener = l
	d.loopback = dial.IsLoopback(l.Addr().String())
	return d, nil
}

// validate refuses a file that cannot be used, and users whose passwords would
// cross a network in clear.
func (d *Door) validate(address string) error {
	if d.config == "" {
		return nil
	}
	if err := web.Validate(d.config); err != nil {
		return fmt.Errorf("admin.web_config_file %s: %s", d.config, hide(err))
	}
	c, err := d.read()
	if err != nil {
		return err
	}
	a, err := net.ResolveTCPAddr("tcp", address)
	if err != nil {
		return nil // net.Listen says it better
	}
	if len(c.Users) > 0 && !c.TLSConfig.IsEnabled() && !dial.IsLoopback(a.String()) {
		return fmt.Errorf("admin.web_config_file %s: it names users and no TLS, so at %s their passwords would cross the network in clear; add tls_server_config, or listen on 127.0.0.1", d.config, address)
	}
	return nil
}

// Check reports what is wrong with the file that c names, as [Open] would, and
// listens nowhere.
func Check(c Config) error { return (&Door{config: c.WebConfigFile}).validate("127.0.0.1:0") }

// read reads the file as the toolkit does.
func (d *Door) read() (*web.Config, error) {
	c := new(web.Config)
	if d.config == "" {
		return c, nil
	}
	text, err := os.ReadFile(d.config)
	if err != nil {
		return nil, fmt.Errorf("admin.web_config_file: %w", err)
	}
	if err := yaml.UnmarshalStrict(text, c); err != nil {
		return nil, fmt.Errorf("admin.web_config_file %s: %s", d.config, hide(err))
	}
	c.TLSConfig.SetDirectory(filepath.Dir(d.config))
	return c, nil
}

// Credentials returns the files that the web config names, and itself.
func (d *Door) Credentials() []dial.File {
	c, err := d.read()
	if err != nil || d.config == "" {
		return nil // that it cannot be read is said by every request
	}
	files := []dial.File{{Setting: "admin.web_config_file", Path: d.config, Kind: dial.Private}}
	for _, f := range []dial.File{
		{Setting: "admin.web_config_file: cert_file", Path: c.TLSConfig.TLSCertPath, Kind: dial.Certificate},
		{Setting: "admin.web_config_file: key_file", Path: c.TLSConfig.TLSKeyPath, Kind: dial.Private},
		{Setting: "admin.web_config_file: client_ca_file", Path: c.TLSConfig.ClientCAs, Kind: dial.Authorities},
	} {
		if f.Path != "" {
			files = append(files, f)
		}
	}
	return files
}

// URL returns where the listener is.
func (d *Door) URL() string {
	scheme := "http"
	if c, err := d.read(); err == nil && c.TLSConfig.IsEnabled() {
		scheme = "https"
	}
	return scheme + "://" + d.listener.Addr().String()
}

// Warning says in words what is less safe than it could be, "" if nothing.
func (d *Door) Warning() string {
	if d.loopback {
		return ""
	}
	c, err := d.read()
	if err == nil && (len(c.Users) > 0 || c.TLSConfig.ClientAuth == "RequireAndVerifyClientCert") {
		return ""
	}
	return fmt.Sprintf("%s can be reached from other machines, and everybody there may read metrics and state; reload, restore and pprof are refused. Name TLS and users, or client certificates, in admin.web_config_file (--web.config.file), or listen on 127.0.0.1", d.listener.Addr())
}

// Verb guards what changes anything or costs much. Who may: everybody on loopback
// while no users are named, else who logged in as a user or by a certificate. A
// page of another origin in an operator's browser may not, even if the browser
// logs in for it.
func (d *Door) Verb(h http.HandlerFunc) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		// Profiles are asked for by GET, which CrossOriginProtection lets pass.
		if site := r.Header.Get("Sec-Fetch-Site"); site != "" && site != "same-origin" && site != "none" {
			http.Error(w, "refused: a page of another origin asks for this", http.StatusForbidden)
			return
		}
		if err := d.may(r); err != nil {
			http.Error(w, err.Error(), http.StatusForbidden)
			return
		}
		h(w, r)
	})
}

// may reports why a request may not use verbs.
func (d *Door) may(r *http.Request) error {
	c, err := d.read()
	switch {
	case err != nil:
		d.logger.Error("the file that says who may use the admin listener cannot be read", "err", err)
		return errors.New("refused: the file that says who may do this cannot be read; the log says why")
	case len(c.Users) > 0:
		return nil // the toolkit has let in nobody else
	case r.TLS != nil && len(r.TLS.VerifiedChains) > 0:
		return nil
	case d.loopback && c.TLSConfig.ClientAuth == "":
		return nil
	}
	return errors.New("refused: this is for whoever logs in; name users, or client certificates, in admin.web_config_file, or listen on 127.0.0.1")
}

// guard refuses what browsers are made to send: requests that change something
// from pages of other origins, and, on loopback, requests under names that are
// made to point here (DNS rebinding).
func (d *Door) guard(h http.Handler) http.Handler {
	sameOrigin := http.NewCrossOriginProtection().Handler(h)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if d.loopback && !dial.IsLoopback(r.Host) {
			http.Error(w, "refused: this is 127.0.0.1 or localhost and no other name", http.StatusMisdirectedRequest)
			return
		}
		w.Header().Set("X-Content-Type-Options", "nosniff")
		if r.ContentLength != 0 {
			// Not by ReadTimeout: that would end what streams and what profiles, too.
			_ = http.NewResponseController(w).SetReadDeadline(time.Now().Add(bodyTimeout))
			r.Body = http.MaxBytesReader(w, r.Body, maxBody)
		}
		sameOrigin.ServeHTTP(w, r)
	})
}

// Run serves until ctx ends.
func (d *Door) Run(ctx context.Context, h http.Handler) error {
	server := &http.Server{
		Handler:           d.guard(h),
		ReadHeaderTimeout: headerTimeout,
		IdleTimeout:       idleTimeout,
		MaxHeaderBytes:    maxHeader,
		// What strangers send to a port, such as broken handshakes, is not news.
		ErrorLog:     slog.NewLogLogger(d.logger.Handler(), slog.LevelDebug),
		TLSNextProto: map[string]func(*http.Server, *tls.Conn, http.Handler){}, // HTTP/1.1: nothing here gains by more
	}
	ended := make(chan struct{})
	stop := context.AfterFunc(ctx, func() {
		defer close(ended)
		late, cancel := context.WithTimeout(context.WithoutCancel(ctx), 2*time.Second)
		defer cancel()
		if server.Shutdown(late) != nil {
			_ = server.Close() // a scrape that hangs must not hold the process
		}
	})
	defer func() {
		if !stop() {
			<-ended // answers under way are finished before what they need goes away
		}
	}()
	toolkit := slog.New(&told{d.logger.Handler()})
	err := web.Serve(netutil.LimitListener(d.listener, maxConns), server, &web.FlagConfig{WebConfigFile: &d.config}, toolkit)
	if !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("admin listener: %w", err)
	}
	return nil
}

// Close lets go of the address if Run never did.
func (d *Door) Close() error {
	if err := d.listener.Close(); !errors.Is(err, net.ErrClosed) {
		return err
	}
	return nil
}

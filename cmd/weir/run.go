package main

import (
	"context"
	"errors"
	"io/fs"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/weir-moderation/weir/internal/app"
	"github.com/weir-moderation/weir/internal/config"
)

type runCmd struct {
	Config    string `default:"weir.yaml" help:"The configuration file." type:"path"`
	Listen    string `default:"127.0.0.1:9464" help:"Address of the admin listener (metrics, health, reload); empty turns it off. Beyond loopback it serves what can be read, and reload, restore and pprof only with TLS and a login."`
	WebConfig string `name:"web.config.file" help:"TLS, client certificates and users of the admin listener, in the format of Prometheus' exporters; instead of admin.web_config_file." type:"path" placeholder:"FILE"`
	LogFormat string `default:"json" enum:"json,text" help:"Form of the log on stderr: json or text."`
	LogLevel  string `default:"info" enum:"debug,info,warn,error" help:"The least level that is logged."`
}

// Run runs the daemon until a signal ends it.
func (c *runCmd) Run(ctx context.Context, s streams) error {
	read := func() (*config.Config, error) {
		cfg, err := loadConfig(c.Config)
		if err == nil && c.WebConfig != "" {
			cfg.Admin.WebConfigFile = c.WebConfig
		}
		return cfg, err
	}
	cfg, err := read()
	if err != nil {
		return err
	}
	return app.Run(ctx, app.Options{
		Config: cfg,
		Load:   read,
		Reload: hangups(ctx),
		Listen: c.Listen,
		Build:  version(),
		Status: s.out,
		Logger: logger(s, c.LogFormat, c.LogLevel),
	})
}

// loadConfig reads a configuration and knows what to say when there is none.
func loadConfig(path string) (*config.Config, error) {
	cfg, err := config.Load(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, &hintError{err, "name a file with --config, or see all of Weir without one: weir demo"}
	}
	return cfg, err
}

// hangups turns each SIGHUP into a request to reload. Requests that come while
// one is waiting are the same request.
func hangups(ctx context.Context) <-chan struct{} {
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGHUP)
	requests := make(chan struct{}, 1)
	go func() {
		defer signal.Stop(signals)
		for {
			select {
			case <-ctx.Done():
				return
			case <-signals:
				select {
				case requests <- struct{}{}:
				default:
				}
			}
		}
	}()
	return requests
}

func logger(s streams, format, level string) *slog.Logger {
	var l slog.Level
	_ = l.UnmarshalText([]byte(level)) // one of the four words of the flag
	o := &slog.HandlerOptions{Level: l}
	if format == "text" {
		return slog.New(slog.NewTextHandler(s.err, o))
	}
	return slog.New(slog.NewJSONHandler(s.err, o))
}

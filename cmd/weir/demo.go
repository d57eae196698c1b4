package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/weir-moderation/weir/internal/app"
	"github.com/weir-moderation/weir/internal/config"
	"github.com/weir-moderation/weir/internal/demo"
	"github.com/weir-moderation/weir/sinks/evidence"
	"github.com/weir-moderation/weir/sinks/evidence/keys"
)

type demoCmd struct {
	Duration time.Duration `help:"End after this time, such as 20s; without it the demo runs until Ctrl-C." placeholder:"TIME"`
	Keep     string        `help:"Leave configuration and evidence in this directory (evidence in DIR/evidence)." placeholder:"DIR" type:"path"`
	Rate     float64       `help:"Messages a second in the city; 0 takes its own pace." placeholder:"N"`
	Seed     int64         `default:"1" help:"Seed of the city: the same seed tells the same story."`
	Listen   string        `default:"127.0.0.1:0" help:"Address of the admin listener; port 0 takes a free one."`
}

// Validate refuses what would mean to run for ever.
func (c *demoCmd) Validate() error {
	if c.Duration < 0 {
		return fmt.Errorf("--duration: %s is over before it begins; give a time such as 20s, or take it out to run until Ctrl-C", c.Duration)
	}
	return nil
}

// Run starts a broker, Redis, a city and Weir in one process, and checks Weir's
// evidence on the way out.
func (c *demoCmd) Run(ctx context.Context, s streams) (err error) {
	dir := c.Keep
	if dir == "" {
		if dir, err = os.MkdirTemp("", "weir-demo-"); err != nil {
			return fmt.Errorf("make a place for the demo: %w", err)
		}
		defer func() { err = errors.Join(err, os.RemoveAll(dir)) }()
	}
	// What an operator must know, that a key was made for instance, a visitor need not.
	log := slog.New(slog.NewTextHandler(s.err, &slog.HandlerOptions{Level: slog.LevelError}))
	world, err := demo.Start(ctx, demo.Options{Dir: dir, Seed: c.Seed, Rate: c.Rate, Logger: log})
	if err != nil {
		return err
	}
	err = errors.Join(c.live(ctx, s, world, log), world.Close())
	if err != nil {
		return err
	}
	fmt.Fprintf(s.out, "\n%s", world.Counts().Summary(time.Since(world.Began())))
	return c.verify(s, world.EvidenceDir())
}

// live lets the city and Weir live together until it is time to end.
func (c *demoCmd) live(ctx context.Context, s streams, world *demo.World, log *slog.Logger) error {
	file := world.ConfigPath()
	cfg, err := config.Load(file)
	if err != nil {
		return err
	}
	// Three lives, the inner ones ending first: the visit, the city, Weir.
	weirCtx, endWeir := context.WithCancel(context.WithoutCancel(ctx))
	defer endWeir()
	g, weirCtx := errgroup.WithContext(weirCtx)
	visit, endVisit := context.WithCancel(ctx)
	defer endVisit()
	context.AfterFunc(weirCtx, endVisit) // Weir failed

	fmt.Fprintf(s.out, "weir %s, demo: everything runs in this process and listens on the loopback address only\n\n", version())
	up := make(chan struct{})
	g.Go(func() error {
		return app.Run(weirCtx, app.Options{
			Config: cfg,
			Load:   func() (*config.Config, error) { return config.Load(file) },
			Reload: hangups(weirCtx),
			Listen: c.Listen,
			Build:  version(),
			Status: s.out,
			Up:     func() { close(up) },
			Logger: log,
		})
	})
	select {
	case <-up:
		fmt.Fprintf(s.out, "\n%s\n", world.Guide())
	case <-visit.Done():
	}
	line := demo.Live{Out: s.out, Terminal: demo.IsTerminal(s.out), Counts: world.Counts, Began: world.Began()}
	city, visitCtx := errgroup.WithContext(visit)
	if c.Duration > 0 {
		city.Go(func() error { // A visit lasts as long as it was asked to, however long it takes until there is something to see.
			select {
			case <-world.Talking():
			case <-visitCtx.Done():
			}
			time.AfterFunc(c.Duration, endVisit)
			return nil
		})
	}
	city.Go(func() error { return world.Run(visitCtx) })
	city.Go(func() error { return line.Run(visitCtx) })
	err = city.Wait()

	// The city is silent now; what it said last is judged before the account is drawn.
	drain, cancel := context.WithTimeout(weirCtx, 10*time.Second)
	defer cancel()
	err = errors.Join(err, world.Drain(drain))
	endWeir()
	return errors.Join(err, g.Wait())
}

// verify checks the demo's own evidence, as a regulator would who was given the keys.
func (c *demoCmd) verify(s streams, dir string) error {
	ring, err := evidence.OpenKeys(dir, keys.Options{ReadOnly: true})
	if err != nil {
		return err
	}
	defer ring.Close() //nolint:errcheck // only read
	report, err := evidence.VerifyAll(dir, nil, evidence.VerifyOptions{Keys: ring})
	if err != nil {
		return fmt.Errorf("verify the evidence: %w", err)
	}
	fmt.Fprintln(s.out, "\nthe evidence of all this, verified from its first byte:")
	if err := printReport(s.out, report); err != nil {
		return err
	}
	if !report.OK() {
		return errors.New("the evidence does not verify")
	}
	if c.Keep != "" {
		fmt.Fprintf(s.out, "\nconfiguration and evidence stay in %s; check them again with:\n  weir evidence verify %s\n", c.Keep, dir)
	}
	return nil
}

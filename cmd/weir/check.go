package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/weir-moderation/weir/internal/app"
	"github.com/weir-moderation/weir/pipeline"
	"github.com/weir-moderation/weir/pipeline/push"
)

type checkCmd struct {
	Config string `default:"weir.yaml" help:"The configuration file." type:"path"`
	Online bool   `help:"Also ask the brokers and Redis whether they are there and have what Weir needs."`
}

// Run says what it found, not just that it is well.
func (c *checkCmd) Run(ctx context.Context, s streams) error {
	cfg, err := loadConfig(c.Config)
	if err != nil {
		return err
	}
	fmt.Fprintf(s.out, "configuration  %s\n", c.Config)
	var found push.Report
	var online error
	if c.Online {
		found, online = app.CheckOnline(ctx, cfg)
	}
	load := func() (pipeline.Force, error) { return app.LoadForce(cfg) }
	if cfg.Rules.Topic != "" {
		load = func() (pipeline.Force, error) {
			if c.Online && online == nil { // else it is known why they cannot be read
				return app.LoadTopicForce(ctx, cfg)
			}
			return app.LoadPolicyOnly(cfg)
		}
	}
	force, err := load()
	if err := errors.Join(err, app.CheckFiles(cfg)); err != nil {
		return errors.Join(err, online)
	}
	for _, line := range app.Describe(cfg, force) {
		fmt.Fprintln(s.out, line)
	}
	for _, line := range app.Exposed(cfg) {
		fmt.Fprintf(s.out, "%-14s %s\n", "warning", line)
	}
	if c.Online {
		for _, line := range found.Facts {
			fmt.Fprintf(s.out, "%-14s %s\n", "redis", line)
		}
		for _, line := range found.Warnings {
			fmt.Fprintf(s.out, "%-14s %s\n", "warning", line)
		}
		if online != nil {
			return online
		}
		answer := "brokers and topics answer"
		if cfg.PushesOn() {
			answer = "brokers, topics and Redis answer"
		}
		fmt.Fprintf(s.out, "%-14s %s\n", "online", answer)
	}
	return nil
}

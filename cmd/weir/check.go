package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/weir-moderation/weir/internal/app"
	"github.com/weir-moderation/weir/internal/checkup"
	"github.com/weir-moderation/weir/internal/config"
	"github.com/weir-moderation/weir/pipeline"
)

type checkCmd struct {
	Config     string `default:"weir.yaml" help:"The configuration file." type:"path"`
	Online     bool   `help:"Also look at brokers, topics, producers, the group, Redis, the disk of the evidence and this machine."`
	Create     bool   `help:"With --online: make the topics that are missing, with three replicas where there are so many brokers."`
	Partitions int    `help:"With --create: how many partitions topics have that may have any number; without it by their use, 12 for most." placeholder:"N"`
	Strict     bool   `help:"With --online: fail for warnings, too."`
	JSON       bool   `name:"json" help:"With --online: write one JSON object instead of text for people."`
}

// Help says what kong cannot know.
func (checkCmd) Help() string {
	return `Reads the configuration with all it names, tests rules and policy as a start would, and says what it found. With --online it then looks at everything outside the process and tells all that is wrong at once, each with what would be right; docs/operations.md lists what it looks at. It writes no message, is a member of no group, and changes nothing but the topics that --create makes; for some seconds it writes a file beside the evidence to see how fast the disk is. Limits of files and memory are those of this process: run it as the daemon is run. Exit code 1 if there is an error, with --strict for a warning, too. What could not be looked at is said as unknown and counts as nothing.`
}

// Run says what it found, not just that it is well.
func (c *checkCmd) Run(ctx context.Context, s streams) error {
	if err := c.misuse(); err != nil {
		return &codeError{err, exitMisuse}
	}
	cfg, err := loadConfig(c.Config)
	if err != nil {
		return err
	}
	if c.Online {
		return c.online(ctx, s, cfg)
	}
	fmt.Fprintf(s.out, "configuration  %s\n", c.Config)
	load := app.LoadForce
	if cfg.Rules.Topic != "" {
		load = app.LoadPolicyOnly
	}
	force, err := load(cfg)
	if err := errors.Join(err, app.CheckFiles(cfg)); err != nil {
		return err
	}
	c.describe(s.out, cfg, force)
	for _, line := range app.Exposed(cfg) {
		fmt.Fprintf(s.out, "%-14s %s\n", "warning", line)
	}
	return nil
}

// misuse says what has no meaning by itself.
func (c *checkCmd) misuse() error {
	switch {
	case !c.Online && (c.Create || c.Strict || c.JSON):
		return errors.New("--create, --strict and --json are about what --online looks at; add --online")
	case c.Partitions != 0 && !c.Create:
		return errors.New("--partitions is about the topics that --create makes; add --online --create")
	case c.Partitions < 0 || c.Partitions > maxPartitions:
		return fmt.Errorf("--partitions: %d; use 1 up to %d", c.Partitions, maxPartitions)
	}
	return nil
}

// maxPartitions is more than any topic of Weir's needs.
const maxPartitions = 10_000

// describe says what the configuration comes to.
func (c *checkCmd) describe(w io.Writer, cfg *config.Config, force pipeline.Force) {
	for _, line := range app.Describe(cfg, force) {
		fmt.Fprintln(w, line)
	}
}

// online looks at everything there is.
func (c *checkCmd) online(ctx context.Context, s streams, cfg *config.Config) error {
	found := checkup.Run(ctx, cfg, checkup.Options{Create: c.Create, Partitions: c.Partitions})
	var force pipeline.Force
	var err error
	switch {
	case cfg.Rules.Topic == "":
		force, err = app.LoadForce(cfg)
	case found.Has("topic", cfg.Rules.Topic):
		force, err = app.LoadTopicForce(ctx, cfg)
	default: // why they cannot be read is known
		force, err = app.LoadPolicyOnly(cfg)
	}
	found.AddErrors("files", err)
	found.AddErrors("files", app.CheckFiles(cfg))
	found.AddWarnings("files", app.Exposed(cfg))
	if ctx.Err() != nil {
		return errInterrupted
	}
	if c.JSON {
		err = jsonTo(s.out).Encode(struct {
			checkup.Report
			Errors   int `json:"errors"`
			Warnings int `json:"warnings"`
		}{found, found.Count(checkup.Error), found.Count(checkup.Warning)})
	} else {
		fmt.Fprintf(s.out, "configuration  %s\n", c.Config)
		if err == nil {
			c.describe(s.out, cfg, force)
		}
		err = c.print(s.out, &found)
	}
	if err != nil {
		return err
	}
	if err = c.verdict(&found); err == nil && !c.JSON {
		fmt.Fprintf(s.out, "\n%s\n", sum(&found))
	}
	return err
}

// verdict is the error of what was found, if any.
func (c *checkCmd) verdict(found *checkup.Report) error {
	if found.Count(checkup.Error) > 0 || c.Strict && found.Count(checkup.Warning) > 0 {
		err := errors.New(sum(found))
		if found.Missing > 0 {
			return &hintError{err, fmt.Sprintf("weir check --online --create --config %s makes the topics that are missing", c.Config)}
		}
		return err
	}
	return nil
}

func sum(found *checkup.Report) string {
	return count(found.Count(checkup.Error), "error") + " and " + count(found.Count(checkup.Warning), "warning")
}

// print writes what was found for people: a line for each, and below what is wrong what
// would be right.
func (c *checkCmd) print(w io.Writer, found *checkup.Report) error {
	p := paletteFor(w)
	var b strings.Builder
	b.WriteByte('\n')
	for _, t := range found.Created {
		fmt.Fprintf(&b, "%s  created    %s\n", p.paint(green, "ok     "), t)
	}
	for i := range found.Findings {
		f := &found.Findings[i]
		what := f.What
		if f.About != "" {
			what = f.About + ": " + what
		}
		fmt.Fprintf(&b, "%s  %-9s  %s\n", p.paint(statusColours[f.Status], fmt.Sprintf("%-7s", f.Status)), f.Area, printable(what))
		if f.Remedy != "" {
			fmt.Fprintf(&b, "%20s-> %s\n", "", printable(f.Remedy))
		}
	}
	_, err := io.WriteString(w, b.String())
	return err
}

var statusColours = map[checkup.Status]colour{checkup.OK: green, checkup.Warning: yellow, checkup.Error: red}

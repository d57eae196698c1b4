package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/weir-moderation/weir/internal/app"
	"github.com/weir-moderation/weir/internal/config"
	"github.com/weir-moderation/weir/rules"
)

// recordedFlags name a rule set that was in force before.
type recordedFlags struct {
	At       string `help:"Take the rules that were in force under this digest, of which 8 characters are enough, from evidence." placeholder:"DIGEST"`
	Evidence string `help:"The evidence directory for --at; without it that of --config." placeholder:"DIR" type:"existingdir"`
}

// loader loads rules.
type loader func() (*config.Config, *rules.Set, error)

// loadRecorded loads the rules that were in force. Without --at load loads those that the other flags name.
func (r *recordedFlags) loadRecorded(ctx context.Context, f *ruleFlags, load loader) (*config.Config, *rules.Set, error) {
	if r.At == "" {
		if r.Evidence != "" {
			return nil, nil, &codeError{errors.New("--evidence: for the rules of which digest? give --at"), exitMisuse}
		}
		return load()
	}
	if f.Rules != "" || f.Categories != "" {
		return nil, nil, &codeError{errors.New("--at takes the rules and their categories from evidence; leave --rules and --categories out"), exitMisuse}
	}
	cfg, err := f.read()
	if err != nil {
		return nil, nil, err
	}
	dir, err := r.in(cfg, f.Config != "")
	if err != nil {
		return nil, nil, err
	}
	set, err := app.RecordedRules(ctx, &cfg.Rules, dir, strings.ToLower(r.At))
	if err != nil {
		return nil, nil, unrecorded(err)
	}
	return cfg, set.Set, nil
}

// in returns the evidence directory, once the digest may be one.
func (r *recordedFlags) in(cfg *config.Config, configured bool) (string, error) {
	switch {
	case !isDigest(strings.ToLower(r.At)):
		return "", &codeError{fmt.Errorf("--at: %q is no digest; give at least its first %d characters, of 0-9 a-f", r.At, app.MinDigest), exitMisuse}
	case r.Evidence != "":
		return r.Evidence, nil
	case configured:
		return cfg.Evidence.Dir, nil
	}
	return "", &codeError{errors.New("--at: by which evidence? give --evidence, or --config"), exitMisuse}
}

// isDigest reports whether a text may be the beginning of a digest that is long enough.
func isDigest(s string) bool {
	return len(s) >= app.MinDigest && len(s) <= 64 && strings.Trim(s, "0123456789abcdef") == ""
}

// unrecorded is the error of a digest, with the verb that lists them.
func unrecorded(err error) error {
	if d, ok := errors.AsType[*app.DigestError](err); ok && len(d.Near) == 0 {
		return &hintError{err, fmt.Sprintf("weir rules log --evidence %s lists the rules that were in force", d.Dir)}
	}
	return err
}

type ruleLogCmd struct {
	Evidence string `help:"The evidence directory; without it that of --config." placeholder:"DIR" type:"existingdir"`
	Config   string `help:"The configuration file of the daemon." placeholder:"FILE" type:"path"`
	JSON     bool   `name:"json" help:"Write a JSON object a line instead of text for people."`
}

// Help says what kong cannot know.
func (ruleLogCmd) Help() string {
	return `One line for each time at which rules came into force, newest first: when, the first twelve characters of their digest, and why (start, reload, files or topic that changed, expiry of an exception). weir rules explain --at DIGEST explains with them. Whether the evidence can be trusted says weir evidence verify.`
}

// activationReport is what came into force once, as programs read it.
type activationReport struct {
	Time     string   `json:"time"`
	Rules    string   `json:"rules"`
	Policy   string   `json:"policy,omitempty"`
	Why      string   `json:"why"`
	Build    string   `json:"build,omitempty"`
	InShadow []string `json:"in_shadow,omitempty"`
}

// Run lists what was in force.
func (c *ruleLogCmd) Run(ctx context.Context, s streams) error {
	dir := c.Evidence
	switch {
	case dir != "":
	case c.Config == "":
		return &codeError{errors.New("by which evidence? give --evidence, or --config"), exitMisuse}
	default:
		cfg, err := loadConfig(c.Config)
		if err != nil {
			return err
		}
		dir = cfg.Evidence.Dir
	}
	list, err := app.Activations(ctx, dir)
	if err != nil {
		return err
	}
	if len(list) == 0 {
		return fmt.Errorf("no rules came into force by the evidence in %s", dir)
	}
	enc := jsonTo(s.out)
	for _, a := range slices.Backward(list) {
		at := a.Time.UTC().Format(time.RFC3339)
		if c.JSON {
			if err := enc.Encode(activationReport{at, a.Rules, a.Policy, a.Why, a.Build, a.InShadow}); err != nil {
				return err
			}
			continue
		}
		fmt.Fprintf(s.out, "%s  %.12s  %s", at, a.Rules, a.Why)
		if len(a.InShadow) > 0 {
			fmt.Fprintf(s.out, "; in shadow: %s", strings.Join(a.InShadow, ", "))
		}
		fmt.Fprintln(s.out)
	}
	return nil
}

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/weir-moderation/weir/internal/app"
	"github.com/weir-moderation/weir/internal/config"
	"github.com/weir-moderation/weir/internal/kafka"
	"github.com/weir-moderation/weir/rules"
)

type ruleStatusCmd struct {
	fleetFlags
	Digest string `help:"Expect every instance to have these rules in force: a digest of a set or of its text, of which 8 characters are enough." placeholder:"DIGEST"`
	JSON   bool   `name:"json" help:"Write one JSON object instead of text for people."`
}

// Help says what kong cannot know.
func (ruleStatusCmd) Help() string {
	return `Reads what every instance last said: the first twelve characters of the digest of its rules, since when they are in force, and what it refused after that and why. Exit code 3 if two instances judge by different rules, if one refused some, if one has other rules than the topic carries (--topic, or rules.topic in the configuration) or than --digest says. An instance that has said nothing for a day is told and does not count.`
}

// fleetStatus is what all instances have in force, as programs read it.
type fleetStatus struct {
	Topic     string           `json:"topic,omitempty"`    // that carries the rules, where one is known
	Bundle    string           `json:"bundle,omitempty"`   // digest of the text it carries
	Expected  string           `json:"expected,omitempty"` // --digest
	Instances []instanceStatus `json:"instances"`          // by name
	Findings  []string         `json:"findings"`
}

// instanceStatus is what an instance said last.
type instanceStatus struct {
	app.Receipt

	Seen   string `json:"seen"`   // when it said so, RFC 3339
	Silent bool   `json:"silent"` // it said nothing for a day
}

// Run says whether all instances judge by the same rules.
func (c *ruleStatusCmd) Run(ctx context.Context, s streams) (err error) {
	digest := strings.ToLower(c.Digest)
	if digest != "" && !isDigest(digest) {
		return &codeError{fmt.Errorf("--digest: %q is no digest; give at least its first %d characters, of 0-9 a-f", c.Digest, app.MinDigest), exitMisuse}
	}
	cfg, err := c.read()
	if err != nil {
		return err
	}
	if cfg.Rules.Receipts == "" {
		return &codeError{errors.New("on which topic do instances say what they have in force? give --receipts, or rules.receipts in the configuration"), exitMisuse}
	}
	client, err := kafka.NewClient(cfg.Kafka, kafka.Options{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, client.Close()) }()
	status, err := readStatus(ctx, s, client, cfg)
	if err != nil {
		return err
	}
	status.Expected = digest
	status.find()
	if c.JSON {
		if err := jsonTo(s.out).Encode(status); err != nil {
			return err
		}
	} else {
		status.print(s.out)
	}
	switch {
	case !status.heard():
		return fmt.Errorf("no instance has said within a day what it has in force on the topic %s; they do where rules.receipts names it", cfg.Rules.Receipts)
	case len(status.Findings) > 0:
		return errDiffers
	}
	return nil
}

// readStatus reads the receipts, and the rules that a topic carries where one is known.
func readStatus(ctx context.Context, s streams, client *kafka.Client, cfg *config.Config) (*fleetStatus, error) {
	status := &fleetStatus{Topic: cfg.Rules.Topic, Instances: []instanceStatus{}, Findings: []string{}}
	receipts, others, err := app.ReadReceipts(ctx, client, cfg.Rules.Receipts)
	if err != nil {
		return nil, noReceipts(err)
	}
	if others > 0 {
		fmt.Fprintf(s.err, "weir: %s on the topic %s passed over that are no receipts\n", count(others, "message"), cfg.Rules.Receipts)
	}
	now := time.Now()
	for _, key := range slices.Sorted(maps.Keys(receipts)) {
		r := receipts[key]
		status.Instances = append(status.Instances, instanceStatus{r, r.Seen.UTC().Format(time.RFC3339), r.Silent(now)})
	}
	if status.Topic == "" {
		return status, nil
	}
	text, err := app.ReadRules(ctx, client, status.Topic)
	if errors.Is(err, app.ErrNoRules) {
		return status, nil
	}
	if err != nil {
		return nil, err
	}
	bundle, err := rules.ParseBundle(text)
	if err != nil {
		return nil, fmt.Errorf("topic %s: %w", status.Topic, err)
	}
	status.Bundle = bundle.Digest()
	return status, nil
}

// noReceipts is an error of reading receipts, with what to do where there is no such topic.
func noReceipts(err error) error {
	if errors.Is(err, kafka.ErrNoTopic) {
		return &hintError{err, "create it with cleanup.policy=compact, and name it in rules.receipts of every instance"}
	}
	return err
}

// find fills in what is not as it should be.
func (f *fleetStatus) find() {
	found := func(format string, args ...any) { f.Findings = append(f.Findings, fmt.Sprintf(format, args...)) }
	in := make(map[string]int)
	heard, refused, behind, other := 0, 0, 0, 0
	for i := range f.Instances {
		r := &f.Instances[i]
		if r.Silent {
			continue
		}
		heard++
		in[r.Rules]++
		if r.Refused != nil {
			refused++
		}
		if f.Bundle != "" && r.Bundle != f.Bundle {
			behind++
		}
		if !strings.HasPrefix(r.Rules, f.Expected) && !strings.HasPrefix(r.Bundle, f.Expected) {
			other++
		}
	}
	of := count(heard, "instance")
	if len(in) > 1 {
		found("%d different rule sets are in force", len(in))
	}
	if refused > 0 {
		found("%d of %s refused rules", refused, of)
	}
	if behind > 0 {
		found("%d of %s %s not what the topic %s carries", behind, of, has(behind), f.Topic)
	}
	if other > 0 {
		found("%d of %s %s not the rules %.12s", other, of, has(other), f.Expected)
	}
}

func has(n int) string {
	if n == 1 {
		return "has"
	}
	return "have"
}

func (f *fleetStatus) print(w io.Writer) {
	if f.Bundle != "" {
		fmt.Fprintf(w, "topic %s carries the text %.12s\n", f.Topic, f.Bundle)
	}
	if len(f.Instances) == 0 {
		return
	}
	width := len("instance")
	for i := range f.Instances {
		width = max(width, len(f.Instances[i].Key()))
	}
	fmt.Fprintf(w, "%-*s  %-12s  %-12s  %s\n", width, "instance", "rules", "text", "since")
	for i := range f.Instances {
		r := &f.Instances[i]
		fmt.Fprintf(w, "%-*s  %-12.12s  %-12.12s  %s", width, printable(r.Key()), r.Rules, r.Bundle, seconds(r.Since))
		if r.Silent {
			fmt.Fprintf(w, "  silent since %s", r.Receipt.Seen.UTC().Format(time.RFC3339))
		}
		fmt.Fprintln(w)
		if len(r.InShadow) > 0 {
			fmt.Fprintf(w, "    in shadow: %s\n", strings.Join(r.InShadow, ", "))
		}
		if r.Refused != nil {
			what := "rules"
			if r.Refused.Bundle != "" {
				what = fmt.Sprintf("the text %.12s", r.Refused.Bundle)
			}
			fmt.Fprintf(w, "    refused %s at %s\n", what, seconds(r.Refused.Time))
			for line := range strings.Lines(r.Refused.Why) {
				fmt.Fprintf(w, "        %s\n", printable(strings.TrimSuffix(line, "\n")))
			}
		}
	}
	for _, x := range f.Findings {
		fmt.Fprintln(w, x)
	}
	if len(f.Findings) == 0 && f.heard() {
		fmt.Fprintln(w, "all judge by the same rules")
	}
}

// heard reports whether any instance has said something within a day.
func (f *fleetStatus) heard() bool {
	return slices.ContainsFunc(f.Instances, func(i instanceStatus) bool { return !i.Silent })
}

// printable is a text of somebody else with ? for what would steer a terminal.
func printable(text string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return '?'
		}
		return r
	}, text)
}

// seconds shortens a time to seconds.
func seconds(at string) string {
	t, err := time.Parse(time.RFC3339Nano, at)
	if err != nil {
		return at
	}
	return t.UTC().Format(time.RFC3339)
}

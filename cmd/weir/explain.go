package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"github.com/weir-moderation/weir/internal/config"
	"github.com/weir-moderation/weir/pipeline"
	"github.com/weir-moderation/weir/pipeline/event"
	"github.com/weir-moderation/weir/rules"
	"github.com/weir-moderation/weir/rules/fold"
)

type explainCmd struct {
	ruleFlags
	JSON bool    `name:"json" help:"Write one JSON object instead of text for people."`
	Text *string `arg:"" optional:"" help:"The text; without it stdin is read."`
}

// Help says what kong cannot know.
func (explainCmd) Help() string {
	return `The text is judged as the field "text" of a post. For each hit: the rule, what stood there, the place in bytes and in UTF-16 units as browsers count, the forms in which it had to be read, the term as it is written in the pack, and the rule's category, severity and action. Then what reads like a term and is no hit, and why; at last the verdict. What cannot be seen is shown as \u{...}. In the line under a short text ^ marks hits and ~ what is nearly one.`
}

// Run explains one text.
func (c *explainCmd) Run(ctx context.Context, s streams) error {
	cfg, set, err := c.loadAlone()
	if err != nil {
		return err
	}
	var text []byte
	if c.Text != nil {
		text = []byte(*c.Text)
	} else if text, err = readText(ctx, s.in, cfg.Events.MaxBytes); err != nil {
		return err
	}
	x, err := explain(cfg, set, text)
	if err != nil {
		return err
	}
	if c.JSON {
		enc := json.NewEncoder(s.out)
		enc.SetEscapeHTML(false)
		return enc.Encode(x)
	}
	x.print(s.out, string(text))
	return nil
}

// readText reads a text without the line feed at its end.
func readText(ctx context.Context, in io.Reader, limit int) ([]byte, error) {
	var text []byte
	var err error
	done := make(chan struct{})
	go func() {
		defer close(done)
		text, err = io.ReadAll(io.LimitReader(in, int64(limit)+1))
	}()
	select {
	case <-done:
	case <-ctx.Done():
		// Nothing can interrupt a read from a terminal, so it is left behind: the process ends.
		return nil, errors.New("interrupted")
	}
	if err != nil {
		return nil, fmt.Errorf("read stdin: %w", err)
	}
	if len(text) > limit {
		return nil, fmt.Errorf("the text is longer than %d bytes; give a piece of it", limit)
	}
	line := strings.TrimSuffix(string(text), "\n")
	return []byte(strings.TrimSuffix(line, "\r")), nil
}

// explanation is what explain finds out.
type explanation struct {
	Action  string      `json:"action"`
	Folded  string      `json:"folded"`
	Hits    []hitReport `json:"hits"`
	Near    []hitReport `json:"near_misses"`
	LeftOut int         `json:"near_misses_left_out,omitempty"`
	Rules   string      `json:"rules"`
	Fold    string      `json:"fold"`
}

// hitReport is a hit or a near miss as verdicts report it, with what those who write rules want to know.
type hitReport struct {
	pipeline.HitReport
	Term   string `json:"term"`
	Action string `json:"action"`        // of its rule
	Why    string `json:"why,omitempty"` // a near miss is no hit
}

// explain judges a text as the daemon would judge a post with it.
func explain(cfg *config.Config, set *rules.Set, text []byte) (*explanation, error) {
	if !utf8.Valid(text) {
		return nil, errors.New("the text is not UTF-8; save it as UTF-8, or a post with it is a dead letter")
	}
	message, err := json.Marshal(map[string]any{
		"id": "explain", "time": "2026-01-01T00:00:00Z", "user": map[string]string{"id": "explain"},
		"fields": map[string]string{"text": string(text)},
	})
	if err != nil {
		return nil, err
	}
	var e event.Event
	v, err := pipeline.NewJudge(cfg.Events).Judge(set, event.Post, nil, message, &e)
	if refused, ok := errors.AsType[*event.Error](err); ok {
		return nil, fmt.Errorf("a post with this text is a dead letter, for the reason %s; nothing in it is judged", refused.Reason)
	}
	if err != nil {
		return nil, err
	}
	seen := set.Explain(&e)
	near := make([]rules.Hit, len(seen.Near))
	for i := range seen.Near {
		near[i] = seen.Near[i].Hit
	}
	x := &explanation{Action: v.Action.String(), Folded: fold.String(string(text)), LeftOut: seen.More, Rules: set.Digest(), Fold: fold.Version,
		Hits: reportHits(&e, v.Hits), Near: reportHits(&e, near)}
	for i := range x.Near {
		x.Near[i].Why = seen.Near[i].Why
	}
	return x, nil
}

func reportHits(e *event.Event, hits []rules.Hit) []hitReport {
	v := pipeline.Verdict{Event: e, Hits: hits}
	list := make([]hitReport, len(hits))
	for i, h := range v.Report().Hits {
		list[i] = hitReport{HitReport: h, Term: hits[i].Term, Action: hits[i].Rule.Action.String()}
	}
	return list
}

func (x *explanation) print(w io.Writer, text string) {
	if under := x.marker(text); under != "" {
		fmt.Fprintf(w, "text    %s\n        %s\n", visible(text), under)
	}
	fmt.Fprintf(w, "folded  %s\n", visible(x.Folded))
	for i := range x.Hits {
		h := &x.Hits[i]
		fmt.Fprintf(w, "hit     %s; %s, %s, %s", h.place(), h.Category, h.Severity, h.Action)
		if h.State != "" {
			fmt.Fprintf(w, "; %s: does nothing", h.State)
		}
		if h.Confidence == "low" {
			fmt.Fprint(w, "; of low confidence: never rejects by itself")
		}
		fmt.Fprintln(w)
	}
	if len(x.Hits) == 0 {
		fmt.Fprintln(w, "no hit")
	}
	for i := range x.Near {
		fmt.Fprintf(w, "near    %s, is no hit: %s\n", x.Near[i].place(), x.Near[i].Why)
	}
	if x.LeftOut > 0 {
		fmt.Fprintf(w, "near    and %d more\n", x.LeftOut)
	}
	fmt.Fprintf(w, "verdict %s\n", x.Action)
}

// place says what was read where, and as what.
func (h *hitReport) place() string {
	return fmt.Sprintf("%s: %s, bytes %d to %d (UTF-16 %d to %d), read by %s as %s",
		h.Rule, visible(h.Text), h.Start, h.End, h.StartUTF16, h.EndUTF16, h.Form, visible(h.Term))
}

// maxMarked is how many columns a text may take that is shown with a line of marks: wider
// ones are broken by most terminals, and the marks then stand under nothing.
const maxMarked = 100

// marker returns the line of marks under a visible text, nothing if there is nothing to mark or
// no room.
func (x *explanation) marker(text string) string {
	// No character takes more than four bytes a column.
	if len(text) > 4*maxMarked || columns(visible(text)) > maxMarked {
		return ""
	}
	marks := make([]byte, columns(visible(text)))
	for i := range marks {
		marks[i] = ' '
	}
	mark := func(list []hitReport, with byte) {
		for i := range list {
			from := columns(visible(text[:list[i].Start])) - 1 // without the closing quote
			to := columns(visible(text[:list[i].End])) - 1
			for at := from; at < to; at++ {
				marks[at] = with
			}
		}
	}
	mark(x.Near, '~')
	mark(x.Hits, '^')
	return strings.TrimRight(string(marks), " ")
}

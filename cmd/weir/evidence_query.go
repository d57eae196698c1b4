package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/weir-moderation/weir/pipeline/backtest"
	"github.com/weir-moderation/weir/sinks/evidence"
	"github.com/weir-moderation/weir/sinks/evidence/export"
)

type queryCmd struct {
	Dir string `arg:"" help:"The evidence directory." type:"existingdir"`
	sourceFlags
	requestFlags
	ShowContent bool `help:"Show what users wrote and who they are. Without it letters and digits are masked."`
	Limit       int  `help:"How many records may be shown at most." default:"1000"`
	JSON        bool `name:"json" help:"Write a JSON object a line instead of a table."`
}

// Help says what kong cannot know.
func (queryCmd) Help() string {
	return `Looks records up by what all of the flags say together. Before the first of them is shown, an access record with who, purpose, basis, scope and count is durable in the log; where that fails nothing is shown. It goes through the daemon if one holds the log. What users wrote and who they are is masked (Han characters are 字, letters x, digits 0, symbols *) unless --show-content asks for it, which the record says. A record whose body is gone is shown with the reason: destroyed or erased (see #n), n being the index of the record that says so, or (see #n of G) if that is in the log of generation G.`
}

// Run looks records up and shows them.
//
// Clause: rn-query
// What is on record about a user is found by their id, and shown to them or to whoever may see it.
func (c *queryCmd) Run(ctx context.Context, s streams) (err error) {
	r, err := c.request()
	if err != nil {
		return &codeError{err, exitMisuse}
	}
	r.Content, r.Query.Limit = c.ShowContent, c.Limit
	src, err := c.open(c.Dir)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, src.close()) }()
	return src.Release(ctx, r, src.record, func(list []export.Found) error {
		if c.JSON {
			enc := jsonTo(s.out)
			for i := range list {
				if err := enc.Encode(c.report(&list[i])); err != nil {
					return err
				}
			}
			return nil
		}
		if len(list) == 0 {
			fmt.Fprintln(s.err, "weir: no record matches")
			return nil
		}
		t := table{{"record", "time", "kind", "id", "event", "user", "said", "rules", "message", "body"}}
		for i := range list {
			t = append(t, c.row(&list[i]))
		}
		t.print(s.out, paletteFor(s.out))
		return nil
	})
}

// foundReport is a record as programs read it.
type foundReport struct {
	Index   int64  `json:"index"`
	ID      string `json:"id"`
	Kind    string `json:"kind"`
	Class   string `json:"class"`
	Time    string `json:"time"`
	Verdict string `json:"verdict"`
	Masked  bool   `json:"masked"`
	Body    any    `json:"body,omitempty"`
}

func (c *queryCmd) report(f *export.Found) foundReport {
	return foundReport{
		Index: f.Index, ID: f.ID().String(), Kind: f.Kind().String(), Class: f.Class().String(),
		Time: f.Time().Format(time.RFC3339Nano), Verdict: f.Fate, Masked: c.masks(f), Body: c.body(f),
	}
}

// masks reports whether a record's body is shown without what users wrote. What a
// log says of itself is no user's.
func (c *queryCmd) masks(f *export.Found) bool {
	return !c.ShowContent && (f.Class() == evidence.ClassContent || f.Class() == evidence.ClassPush)
}

// body returns what a record says, nil if it is gone.
func (c *queryCmd) body(f *export.Found) any {
	if f.Reading == nil {
		return nil
	}
	var v any
	dec := json.NewDecoder(strings.NewReader(string(f.Reading)))
	dec.UseNumber()
	if dec.Decode(&v) != nil {
		return nil
	}
	if c.masks(f) {
		return masked("", v)
	}
	return v
}

// open words are those strings of a body that come from closed lists, from the
// operator's own rules, or are hashes. All others are masked: what a later version
// adds is hidden until somebody has thought about it.
var openWords = []string{"kind", "action", "decision", "reason", "stage", "rule", "category", "severity", "state", "field", "form", "confidence", "rules",
	"fold", "policy", "policy_version", "time", "at", "operation", "class", "channel", "topic", "source", "timestamp", "sha256", "key_sha256", "media_type",
	"limit", "by", "from", "to", "flags", "group_source", "zone_source", "not_before", "not_after", "release", "deadline", "since", "quiet", "scope",
	"cause", "window_from", "window_to", "allowed_at", "mark", "pseudonym_key", "method", "text_version"}

// masked hides what a body says of people.
func masked(name string, v any) any {
	switch v := v.(type) {
	case map[string]any:
		out := make(map[string]any, len(v))
		for k, x := range v {
			if k == "value" {
				continue // the message itself
			}
			out[k] = masked(k, x)
		}
		return out
	case []any:
		out := make([]any, len(v))
		for i, x := range v {
			out[i] = masked(name, x)
		}
		return out
	case string:
		if !slices.Contains(openWords, name) {
			return backtest.Mask(v)
		}
	}
	return v
}

// shownColumns is how many characters of a message a table shows.
const shownColumns = 40

// row is a record as people read it.
func (c *queryCmd) row(f *export.Found) []string {
	var b struct {
		Event    string `json:"event_id"`
		Action   string `json:"action"`
		Decision string `json:"decision"`
		Stage    string `json:"stage"`
		Reason   string `json:"reason"`
		User     struct {
			ID string `json:"id"`
		} `json:"user"`
		Pseudonym string `json:"pseudonym"`
		Hits      []struct {
			Rule string `json:"rule"`
			Text string `json:"text"`
		} `json:"hits"`
	}
	if f.Reading != nil && json.Unmarshal(f.Reading, &b) != nil {
		b.Event = "" // a body that has none of these
	}
	hide := func(text string) string {
		if c.masks(f) {
			text = backtest.Mask(text)
		}
		if utf8.RuneCountInString(text) > shownColumns {
			text = string([]rune(text)[:shownColumns]) + "..."
		}
		return text
	}
	quoted := func(text string) string {
		if text == "" {
			return ""
		}
		return visible(hide(text))
	}
	user := b.User.ID
	if user == "" && b.Pseudonym != "" {
		user = "pseudonym:" + b.Pseudonym
	}
	said := strings.Join(slices.DeleteFunc([]string{b.Action, b.Decision, b.Stage, b.Reason}, func(w string) bool { return w == "" }), " ")
	var rules, texts []string
	for _, h := range b.Hits {
		if !slices.Contains(rules, h.Rule) {
			rules = append(rules, h.Rule)
		}
		texts = append(texts, h.Text)
	}
	return []string{
		fmt.Sprint(f.Index), f.Time().Format(time.DateTime), f.Kind().String(), f.ID().String(), quoted(b.Event), quoted(user), said,
		strings.Join(rules, ", "), quoted(strings.Join(texts, " | ")), f.Fate,
	}
}

package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/weir-moderation/weir/pipeline/event"
	"github.com/weir-moderation/weir/rules"
	"github.com/weir-moderation/weir/rules/automaton"
	"github.com/weir-moderation/weir/rules/form"
)

type benchCmd struct {
	Match benchMatchCmd `cmd:"" help:"Compare engines on your own rules and texts."`
}

type benchMatchCmd struct {
	ruleFlags
	Texts  string `required:"" help:"Texts, one a line." placeholder:"FILE" type:"path"`
	Rounds int    `default:"15" help:"How many turns each engine gets."`
}

// Help says what kong cannot know.
func (benchMatchCmd) Help() string {
	return `Judges the texts by the rules as they are, by the rules with folding alone, and by cloudflare/ahocorasick as the engine of the latter, in turns of some milliseconds in one process, so that what disturbs the machine disturbs all alike. Trust the ratios more than the times.`
}

// benchTurn is how long an engine runs before the next one does.
const benchTurn = 20 * time.Millisecond

// contender is a rule set that takes part.
type contender struct {
	name    string
	set     *rules.Set
	scratch rules.Scratch
	at      int // the next text
	hits    int // in all texts, each once
	cost    []float64
}

// Run measures.
func (c *benchMatchCmd) Run(s streams) error {
	if c.Rounds < 1 {
		return errors.New("--rounds: give at least 1")
	}
	src, err := os.ReadFile(c.Texts)
	if err != nil {
		return fmt.Errorf("read texts: %w", err)
	}
	var texts [][]byte
	for line := range bytes.Lines(src) {
		if line = bytes.TrimSpace(line); len(line) > 0 {
			texts = append(texts, line)
		}
	}
	if len(texts) == 0 {
		return fmt.Errorf("%s holds no text; give one a line", c.Texts)
	}
	var all []*contender
	for _, k := range []struct {
		name   string
		change func(*rules.Config)
	}{
		{"as written", func(r *rules.Config) { r.SecondOpinion.Every = 0 }},
		{"folding alone", func(r *rules.Config) { r.SecondOpinion.Every, r.Only = 0, form.Fold }},
		{"folding alone, cloudflare", func(r *rules.Config) {
			r.SecondOpinion.Every, r.Only, r.Engine = 0, form.Fold, rules.EngineCloudflare
		}},
	} {
		set, err := c.load(k.change)
		if budget, ok := errors.AsType[*automaton.BudgetError](err); ok && budget.Engine == automaton.Cloudflare {
			fmt.Fprintf(s.err, "weir: %s is left out: %v\n", k.name, err)
			continue
		}
		if err != nil {
			return err
		}
		all = append(all, &contender{name: k.name, set: set})
	}
	measureMatch(all, texts, c.Rounds)
	w := tabwriter.NewWriter(s.out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(w, "rules\tns a text\tMB/s\thits\tmemory\ttimes the first\t\n")
	mean := float64(len(src)) / float64(len(texts))
	for _, k := range all {
		m := medianOf(k.cost)
		ratios := make([]float64, len(k.cost))
		for i := range ratios {
			ratios[i] = k.cost[i] / all[0].cost[i]
		}
		fmt.Fprintf(w, "%s\t%.0f\t%.0f\t%d\t%.1f MB\t%.2f\t\n", k.name, m, mean/m*1000, k.hits, float64(k.set.Stats().Memory)/1e6, medianOf(ratios))
	}
	return w.Flush()
}

// measureMatch lets the contenders take turns.
func measureMatch(all []*contender, texts [][]byte, rounds int) {
	judge := func(k *contender, text []byte) int {
		e := event.Event{Kind: event.Post, Fields: []event.Field{{Name: []byte("text"), Text: text}}}
		return len(k.set.Match(&k.scratch, &e))
	}
	for _, k := range all {
		for _, text := range texts {
			k.hits += judge(k, text)
		}
	}
	for range rounds {
		for _, k := range all {
			n := 0
			began := time.Now()
			for time.Since(began) < benchTurn {
				for range 16 {
					judge(k, texts[k.at])
					k.at = (k.at + 1) % len(texts)
					n++
				}
			}
			k.cost = append(k.cost, float64(time.Since(began))/float64(n))
		}
	}
}

func medianOf(v []float64) float64 {
	v = slices.Sorted(slices.Values(v))
	return v[len(v)/2]
}

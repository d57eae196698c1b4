package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"runtime"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/weir-moderation/weir/internal/app"
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
	Rounds int    `default:"60" help:"How many turns each engine gets."`
}

// Help says what kong cannot know.
func (benchMatchCmd) Help() string {
	return `Judges the texts by the rules as they are, by the rules with folding alone, and by cloudflare/ahocorasick as the engine of the latter, in turns of some milliseconds in one process, so that what disturbs the machine disturbs all alike. In one round all judge the same texts, and "times the first" compares them round by round: the median, and the least to the greatest. Trust it more than the times, which on Linux are those of the CPU and elsewhere those of the clock on the wall.`
}

// benchTurn is about how long the first contender runs before the next one does.
const benchTurn = 5 * time.Millisecond

// maxBenchBytes is how large a file of texts may be; all of it is held in memory.
const maxBenchBytes = 256 << 20

// contender is a rule set that takes part.
type contender struct {
	name    string
	set     *rules.Set
	scratch rules.Scratch
	hits    int       // in all texts, each once
	cost    []float64 // ns a text, by round
	rate    []float64 // MB/s, by round
}

// Run measures.
func (c *benchMatchCmd) Run(ctx context.Context, s streams) error {
	if c.Rounds < 1 {
		return errors.New("--rounds: give at least 1")
	}
	texts, err := readTexts(c.Texts)
	if err != nil {
		return err
	}
	var all []*contender
	for _, k := range []struct {
		name   string
		only   form.Form
		engine rules.Engine
	}{
		{name: "as written"},
		{name: "folding alone", only: form.Fold},
		{name: "folding alone, cloudflare", only: form.Fold, engine: rules.EngineCloudflare},
	} {
		cfg, err := c.read()
		if err != nil {
			return err
		}
		cfg.Rules.SecondOpinion.Every = 0
		cfg.Rules.Only = k.only
		if k.engine != "" {
			cfg.Rules.Engine = k.engine
		}
		set, err := app.LoadRules(&cfg.Rules)
		if budget, ok := errors.AsType[*automaton.BudgetError](err); ok && budget.Engine == automaton.Cloudflare && len(all) > 0 {
			fmt.Fprintf(s.err, "weir: %s is left out: %v\n", k.name, err)
			continue
		}
		if err != nil {
			return err
		}
		all = append(all, &contender{name: k.name, set: set})
	}
	if err := measureMatch(ctx, all, texts, c.Rounds); err != nil {
		return err
	}
	w := tabwriter.NewWriter(s.out, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(w, "rules\tns a text\tMB/s\thits\tmemory\ttimes the first\t\n")
	for _, k := range all {
		ratios := make([]float64, len(k.cost))
		for i := range ratios {
			ratios[i] = k.cost[i] / all[0].cost[i]
		}
		times := "1"
		if k != all[0] {
			times = fmt.Sprintf("%.2f (%.2f to %.2f)", medianOf(ratios), slices.Min(ratios), slices.Max(ratios))
		}
		fmt.Fprintf(w, "%s\t%.0f\t%.0f\t%d\t%.1f MB\t%s\t\n", k.name, medianOf(k.cost), medianOf(k.rate), k.hits, float64(k.set.Stats().Memory)/1e6, times)
	}
	return w.Flush()
}

// readTexts reads the texts of a file, one a line.
func readTexts(file string) ([][]byte, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, fmt.Errorf("read texts: %w", err)
	}
	defer f.Close() //nolint:errcheck // only read
	src, err := io.ReadAll(io.LimitReader(f, maxBenchBytes+1))
	if err != nil {
		return nil, fmt.Errorf("read texts: %w", err)
	}
	if len(src) > maxBenchBytes {
		return nil, fmt.Errorf("%s is larger than %d bytes; give a sample of it", file, maxBenchBytes)
	}
	var texts [][]byte
	for line := range bytes.Lines(src) {
		if line = bytes.TrimSpace(line); len(line) > 0 {
			texts = append(texts, line)
		}
	}
	if len(texts) == 0 {
		return nil, fmt.Errorf("%s holds no text; give one a line", file)
	}
	return texts, nil
}

// measureMatch lets the contenders take turns.
func measureMatch(ctx context.Context, all []*contender, texts [][]byte, rounds int) error {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	e := event.Event{Kind: event.Post, Fields: []event.Field{{Name: []byte("text")}}}
	judge := func(k *contender, at int) (hits, size int) {
		text := texts[at%len(texts)]
		e.Fields[0].Text = text
		return len(k.set.Match(&k.scratch, &e)), len(text)
	}
	for _, k := range all {
		for at := range texts {
			if ctx.Err() != nil {
				return errors.New("interrupted")
			}
			n, _ := judge(k, at)
			k.hits += n
		}
	}
	turn := 0 // texts a turn
	for elapsed := stopwatch(); elapsed() < benchTurn; turn++ {
		judge(all[0], turn)
	}
	for round := range rounds {
		// Who comes first finds the texts in no cache, so each does in turn.
		for i := range all {
			if ctx.Err() != nil {
				return errors.New("interrupted")
			}
			k := all[(round+i)%len(all)]
			size := 0
			elapsed := stopwatch()
			for at := range turn {
				_, n := judge(k, round*turn+at)
				size += n
			}
			spent := float64(max(elapsed(), 1)) // a clock may stand still
			k.cost = append(k.cost, spent/float64(turn))
			k.rate = append(k.rate, float64(size)/spent*1000)
		}
	}
	return nil
}

func medianOf(v []float64) float64 {
	v = slices.Sorted(slices.Values(v))
	return v[len(v)/2]
}

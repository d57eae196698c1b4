package pipeline

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/weir-moderation/weir/pipeline/trace"
	"github.com/weir-moderation/weir/rules"
)

// LogConfig is the section log of the configuration.
type LogConfig struct {
	// Verdicts is the level at which each message that something stood against has a line in the log:
	// debug, info, or off.
	Verdicts string `yaml:"verdicts"`
	// VerdictsPerSecond is how many of those lines are written at most; how many were left out
	// stands in the next one.
	VerdictsPerSecond int `yaml:"verdicts_per_second"`
}

const (
	defaultLines = 100
	maxLines     = 100_000
)

// verdictsOff turns the lines off.
const verdictsOff = "off"

// DefaultLogConfig returns what is not set.
func DefaultLogConfig() LogConfig {
	return LogConfig{Verdicts: "debug", VerdictsPerSecond: defaultLines}
}

// Validate reports what is wrong.
func (c *LogConfig) Validate() error {
	var errs []error
	switch c.Verdicts {
	case "debug", "info", verdictsOff:
	default:
		errs = append(errs, fmt.Errorf("verdicts: %q is not known; use debug, info or off", c.Verdicts))
	}
	if c.VerdictsPerSecond < 1 || c.VerdictsPerSecond > maxLines {
		errs = append(errs, fmt.Errorf("verdicts_per_second: %d; use 1 to %d, or verdicts: off for none", c.VerdictsPerSecond, maxLines))
	}
	return errors.Join(errs...)
}

// lines write one line for each flagged message: what was decided, why, and under which id it is in
// the evidence. What the message says and whom it is about is there, not here.
type lines struct {
	log   *slog.Logger
	on    bool
	level slog.Level
	now   func() time.Time
	left  prometheus.Counter // left out

	mu     sync.Mutex
	second int64 // the one in which lines are counted
	room   int   // how many it may still have
	most   int
	missed int64 // left out since the last line
}

func newLines(c LogConfig, log *slog.Logger, now func() time.Time, reg prometheus.Registerer) *lines {
	l := &lines{log: log, on: c.Verdicts != verdictsOff, level: slog.LevelDebug, now: now, most: c.VerdictsPerSecond,
		left: prometheus.NewCounter(prometheus.CounterOpts{Name: "weir_verdict_lines_left_out_total", Help: "Flagged messages that have no line in the log, because there were more in their second than the configuration allows."})}
	if c.Verdicts == "info" {
		l.level = slog.LevelInfo
	}
	if reg != nil {
		reg.MustRegister(l.left)
	}
	return l
}

// wanted reports whether there are lines at all.
func (l *lines) wanted() bool { return l.on && l.log.Enabled(context.Background(), l.level) }

// admit reports whether there is room for a line, and how many were left out before it.
func (l *lines) admit() (missed int64, ok bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if s := l.now().Unix(); s != l.second {
		l.second, l.room = s, l.most
	}
	if l.room == 0 {
		l.missed++
		l.left.Inc()
		return 0, false
	}
	l.room--
	missed, l.missed = l.missed, 0
	return missed, true
}

// verdict writes the line of a verdict. Its keys are always the same; those of a post that belong to
// pushes are empty.
func (l *lines) verdict(v *Verdict) {
	missed, ok := l.admit()
	if !ok {
		return
	}
	decision, severity := "", ""
	if v.Decision != nil {
		decision = string(v.Decision.Decision)
	}
	worst := rules.Severity(0)
	for i := range v.Hits {
		if h := &v.Hits[i]; h.State == rules.Live && h.Rule.Severity > worst {
			worst, severity = h.Rule.Severity, h.Rule.Severity.String()
		}
	}
	l.log.LogAttrs(context.Background(), l.level, "verdict",
		slog.String("evidence", v.ID.String()),
		slog.String("kind", v.Event.Kind.String()),
		slog.String("action", v.Action.String()),
		slog.String("decision", decision),
		slog.String("reason", string(v.Reason)),
		slog.Any("categories", categoriesOf(v.Hits)),
		slog.String("severity", severity),
		slog.String("topic", v.Origin.Topic),
		slog.Int("partition", int(v.Origin.Partition)),
		slog.Int64("offset", v.Record.Offset),
		slog.String("rules", v.Rules),
		slog.String("policy", v.Policy),
		slog.String("trace_id", trace.Of(v.Record.Headers).ID()),
		slog.Int64("left_out", missed))
}

// tell makes the spans and the lines of the flagged messages of a batch, when all of it is durable. If
// the process dies before, they are made when the batch is judged again; if it dies after, they are
// made twice.
func (p *Pipeline) tell(w *worker, b *Batch, began time.Time) {
	wanted := p.lines.wanted()
	if p.spans == nil && !wanted {
		return
	}
	ended := p.now()
	for i := range w.out.Verdicts {
		v := &w.out.Verdicts[i]
		if v.Outcome() != Flagged {
			continue
		}
		if wanted {
			p.lines.verdict(v)
		}
		c := trace.Of(v.Record.Headers)
		if !p.spans.Wants(c) {
			continue
		}
		f := trace.Flagged{Context: c, Topic: b.Topic, Partition: b.Partition, Offset: v.Record.Offset,
			Kind: v.Event.Kind.String(), Action: v.Action.String(), Reason: string(v.Reason), Evidence: v.ID.String(), Rules: v.Rules,
			Began: began, Steps: w.steps, Ended: ended}
		if v.Decision != nil {
			f.Decision = string(v.Decision.Decision)
		}
		p.spans.Flagged(&f)
	}
}

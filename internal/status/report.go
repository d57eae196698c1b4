package status

import (
	"fmt"
	"math"
	"strings"
	"time"
	"unicode/utf8"
)

// Tone is what a piece of a report is, for whoever gives it a colour.
type Tone string

// The tones.
const (
	Plain  Tone = ""
	Strong Tone = "strong"
	Good   Tone = "good"
	Amber  Tone = "amber"
	Red    Tone = "red"
)

// Report writes a snapshot in lines of at most so many columns, for a terminal; what does not fit is cut. It
// says the same as the page, in its order: what is wrong comes first, so a screen that shows only the beginning
// shows what matters. Paint colours a text that is not empty; nil leaves all as it is.
func Report(s *Snapshot, columns int, paint func(Tone, string) string) []string {
	if paint == nil {
		paint = func(_ Tone, text string) string { return text }
	}
	r := &report{s: s, columns: max(columns, 40), paint: paint}
	r.top()
	r.charts()
	r.flow()
	r.parts()
	r.hits()
	r.push()
	r.force()
	r.lag()
	return r.lines
}

// report is the lines so far.
type report struct {
	s       *Snapshot
	columns int
	paint   func(Tone, string) string
	lines   []string
}

// piece is a text in one tone.
type piece struct {
	tone Tone
	text string
}

// line adds a line of pieces, cut where the screen ends.
func (r *report) line(pieces ...piece) {
	var b strings.Builder
	left := r.columns
	for _, p := range pieces {
		text := p.text
		if n := utf8.RuneCountInString(text); n > left {
			text = string([]rune(text)[:max(0, left-1)]) + "…"
		}
		if text == "" || left <= 0 {
			continue
		}
		left -= utf8.RuneCountInString(text)
		b.WriteString(r.paint(p.tone, text))
	}
	r.lines = append(r.lines, strings.TrimRight(b.String(), " "))
}

// folded adds a text, indented, in as many lines as it takes.
func (r *report) folded(text string) {
	const indent = "  "
	line := indent
	used := false
	for word := range strings.FieldsSeq(text) {
		if used && utf8.RuneCountInString(line)+1+utf8.RuneCountInString(word) > r.columns {
			r.line(piece{Plain, line})
			line, used = indent, false
		}
		if used {
			line += " "
		}
		line, used = line+word, true
	}
	r.line(piece{Plain, line})
}

func (r *report) head(text, note string) {
	r.line()
	if note != "" {
		note = "  " + note
	}
	r.line(piece{Strong, text}, piece{Plain, note})
}

func toneOf(l Level) Tone {
	switch l {
	case Down:
		return Red
	case Warn:
		return Amber
	}
	return Good
}

func (r *report) top() {
	s := r.s
	r.line(piece{Strong, "weir "}, piece{Plain, fmt.Sprintf("%s/%s  up %s  %s UTC", s.Instance.Source, s.Instance.Name,
		english.span(s.Time.Sub(s.Instance.Started)), s.Time.UTC().Format(time.TimeOnly))})
	title := texts[map[Level]string{OK: "well", Warn: "impaired", Down: "broken"}[s.Level]].en
	r.line(piece{toneOf(s.Level), "● "}, piece{Strong, title})
	r.folded(summary(s, english))
	for _, p := range s.Problems {
		r.line()
		r.line(piece{toneOf(p.Level), "! "}, piece{Strong, p.What}, piece{Plain, "  since " + p.Since.UTC().Format(time.TimeOnly)})
		if p.Detail != "" {
			r.folded(p.Detail)
		}
		r.folded(p.Next)
		r.folded(p.Runbook)
	}
}

// blocks draw a line of text as a chart.
var blocks = []rune("▁▂▃▄▅▆▇█")

// spark draws the last values of a line in so many columns, each the largest of those it stands for.
func spark(values []Value, width int) string {
	per := max(1, (len(values)+width-1)/width)
	most := 0.0
	for _, v := range values {
		if !math.IsNaN(float64(v)) {
			most = max(most, float64(v))
		}
	}
	var b strings.Builder
	for i := len(values) % per; i < len(values); i += per {
		v := math.NaN()
		for _, x := range values[i : i+per] {
			if !math.IsNaN(float64(x)) {
				v = max(float64(x), map[bool]float64{true: 0, false: v}[math.IsNaN(v)])
			}
		}
		switch {
		case math.IsNaN(v):
			b.WriteByte(' ')
		case most == 0:
			b.WriteRune(blocks[0])
		default:
			b.WriteRune(blocks[int(v/most*float64(len(blocks)-1)+.5)])
		}
	}
	return b.String()
}

func (r *report) charts() {
	r.line()
	width := max(10, r.columns-52)
	for _, c := range r.s.Charts {
		v := newChart(c, english)
		if len(v.Lines) == 0 {
			continue
		}
		now := v.Lines[len(v.Lines)-1].Now
		switch c.Unit {
		case "per_second":
			now += " /s"
		case "seconds":
			now += " p99"
		}
		line := c.Lines[len(c.Lines)-1]
		r.line(piece{Plain, fmt.Sprintf("%-22s %12s  ", texts["chart-"+c.Name].en, now)}, piece{Good, spark(line.Values, width)},
			piece{Plain, "  max " + v.Highest})
	}
}

func (r *report) flow() {
	f := r.s.Flow
	r.head("flow", "the last "+english.span(time.Duration(f.WindowSeconds)*time.Second))
	r.line(piece{Plain, fmt.Sprintf("%-10s %12s %12s %12s %12s %12s", "", "in", "passed", "flagged", "dead letters", "skipped")})
	for _, x := range f.Streams {
		if x.In.Total == 0 && r.s.InForce.Policy == "" && x.Name != "post" {
			continue
		}
		r.line(piece{Plain, fmt.Sprintf("%-10s %12s %12s %12s %12s %12s", texts[x.Name].en, number(x.In.Window), number(x.Passed.Window),
			number(x.Flagged.Window), number(x.DeadLettered.Window), number(x.Skipped.Window))})
	}
	if r.s.InForce.Policy != "" {
		r.line(piece{Plain, fmt.Sprintf("pushes: %s allowed, %s deferred, %s denied", number(f.Allowed.Window), number(f.Deferred.Window), number(f.Denied.Window))})
	}
}

func (r *report) parts() {
	r.head("health", "")
	for _, p := range r.s.Parts {
		facts := "answered in " + seconds(p.Seconds)
		switch p.Name {
		case Disk:
			facts = size(r.s.Evidence.Free) + " free"
		case EvidenceLog:
			e := r.s.Evidence
			facts = fmt.Sprintf("%s records, %s not signed, head %.12s", number(e.Records), number(e.Records-e.Signed), e.Root)
		case Rules:
			facts = number(r.s.InForce.Rules) + " in force"
		case Consumer:
			facts = fmt.Sprintf("%s, %s waiting", count(float64(r.s.Lag.Assigned), "partition"), number(r.s.Lag.Messages))
		}
		r.line(piece{Plain, fmt.Sprintf("%-10s ", texts[string(p.Name)].en)}, piece{toneOf(p.Level), fmt.Sprintf("%-10s ", texts[string(p.Level)].en)}, piece{Plain, facts})
	}
}

// shownLines is how many hits and decisions a report names.
const shownLines = 8

func (r *report) hits() {
	h := r.s.Hits
	window := english.span(time.Duration(h.WindowSeconds * float64(time.Second)))
	note := "the last " + window + "; there is nothing to compare it with yet"
	if h.Comparable {
		note = "the last " + window + " against what was before"
	}
	r.head("hits", note)
	if len(h.Rules) == 0 {
		r.line(piece{Plain, "no rule has hit"})
	}
	for _, x := range h.Rules[:min(len(h.Rules), shownLines)] {
		b := bar{N: x.Hits, Before: x.Before, Times: h.times()}
		state := ""
		if x.State != "live" {
			state = "  " + texts[x.State].en
		}
		r.line(piece{Plain, fmt.Sprintf("%-40s %10s %10s%s", x.ID, number(x.Hits), b.Change(), state)})
	}
}

func (r *report) push() {
	if r.s.InForce.Policy == "" {
		return
	}
	r.head("push decisions", "the last "+english.span(time.Duration(r.s.Flow.WindowSeconds)*time.Second))
	n := 0
	for _, d := range r.s.Push {
		if d.Window > 0 {
			n++
			r.line(piece{Plain, fmt.Sprintf("%-10s %-29s %10s", texts[d.Decision].en, d.Reason, number(d.Window))})
		}
	}
	if n == 0 {
		r.line(piece{Plain, "no push has been decided"})
	}
}

func (r *report) force() {
	f := r.s.InForce
	r.head("in force", "")
	r.line(piece{Plain, fmt.Sprintf("rules      %s, %s terms, %.12s, from %s, for %s", number(f.Rules), number(f.Terms), f.Digest, f.From, english.span(r.s.Time.Sub(f.Since)))})
	if f.Policy != "" {
		r.line(piece{Plain, fmt.Sprintf("policy     %s, %.12s", f.Policy, f.PolicyHash)})
	}
}

func (r *report) lag() {
	waiting := 0
	for _, p := range r.s.Lag.Partitions[:min(len(r.s.Lag.Partitions), shownLines)] {
		if p.Lag == 0 {
			continue
		}
		if waiting++; waiting == 1 {
			r.head("partitions", "that wait most")
		}
		r.line(piece{Plain, fmt.Sprintf("%-40s %10s %10s", fmt.Sprintf("%s/%d", p.Topic, p.Partition), number(p.Lag), seconds(p.Seconds))})
	}
}

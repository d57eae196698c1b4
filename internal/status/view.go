package status

import (
	"fmt"
	"html/template"
	"math"
	"strings"
	"time"
)

// view is a snapshot with what is drawn of it.
type view struct {
	*Snapshot
	L              language
	Title          string // of the window
	Summary        string
	Faults         []fault
	Charts         []chartView // the large ones
	Timings        []chartView
	Flow           flowView
	Cats, MoreCats []bar
	Rules          []bar
	MoreRules      []bar
	Push           []pushGroup
	Dead           []bar
	First          []Partition // that wait most
	Rest           []Partition
}

// fault is a problem in a language.
type fault struct {
	Problem
	Says, Do string
}

// bar is a row with a share of the largest one.
type bar struct {
	Name, Note, Code string
	N, Before        int64
	Share            float64 // 0 to 100
	State            string
	Times            float64 // of [Hits.times]
}

// pushGroup is decisions of one kind.
type pushGroup struct {
	Word  string
	Total int64
	Bars  []bar
}

const (
	shownRules      = 10 // and categories
	shownPartitions = 8
)

func newView(s *Snapshot, l language) *view {
	v := &view{Snapshot: s, L: l}
	for _, p := range s.Problems {
		a := kinds[p.Kind]
		v.Faults = append(v.Faults, fault{p, a.what.of(l), a.next.of(l)})
	}
	v.Title = map[Level]words{OK: texts["well"], Warn: texts["impaired"], Down: texts["broken"]}[s.Level].of(l)
	if len(v.Faults) > 0 {
		v.Title = v.Faults[0].Says
	}
	v.Summary = summary(s, l)
	for _, c := range s.Charts {
		switch c.Name {
		case "in", "flagged", "age", "lag":
			v.Charts = append(v.Charts, newChart(c, l))
		default:
			v.Timings = append(v.Timings, newChart(c, l))
		}
	}
	v.Flow = newFlow(s, l)
	most := int64(1)
	for _, c := range s.Hits.Categories {
		most = max(most, c.Hits, c.Before)
	}
	for i, c := range s.Hits.Categories {
		list := &v.Cats
		if i >= shownRules {
			list = &v.MoreCats
		}
		*list = append(*list, bar{Name: words{c.Name, c.NameZH}.of(l), Code: c.Code, N: c.Hits, Before: c.Before, Times: s.Hits.times(), Share: share(c.Hits, most)})
	}
	most = 1
	for _, r := range s.Hits.Rules {
		most = max(most, r.Hits, r.Before)
	}
	for i, r := range s.Hits.Rules {
		b := bar{Name: r.ID, Note: r.Severity, N: r.Hits, Before: r.Before, Times: s.Hits.times(), Share: share(r.Hits, most), State: r.State}
		if i < shownRules {
			v.Rules = append(v.Rules, b)
		} else {
			v.MoreRules = append(v.MoreRules, b)
		}
	}
	v.Push = pushGroups(s, l)
	for _, d := range s.Dead {
		if d.Window > 0 {
			v.Dead = append(v.Dead, bar{Name: d.Reason, N: d.Window, Share: share(d.Window, s.Dead[0].Window)})
		}
	}
	n := min(len(s.Lag.Partitions), shownPartitions)
	v.First, v.Rest = s.Lag.Partitions[:n], s.Lag.Partitions[n:]
	return v
}

func pushGroups(s *Snapshot, l language) []pushGroup {
	most := int64(1)
	for _, d := range s.Push {
		most = max(most, d.Window)
	}
	var groups []pushGroup
	for _, word := range []string{"allow", "defer", "deny"} {
		g := pushGroup{Word: word}
		for _, d := range s.Push {
			if d.Decision == word && d.Window > 0 {
				g.Total += d.Window
				g.Bars = append(g.Bars, bar{Name: d.Reason, Note: reasons[d.Reason].of(l), N: d.Window, Share: share(d.Window, most)})
			}
		}
		if g.Total > 0 {
			groups = append(groups, g)
		}
	}
	return groups
}

// summary says in a sentence how much comes in and how fresh it is.
func summary(s *Snapshot, l language) string {
	age := math.NaN()
	for _, c := range s.Charts {
		if c.Name == "age" && len(c.Lines) == 2 {
			age = float64(c.Lines[1].Now)
		}
	}
	switch {
	case s.Flow.In.PerSecond == 0:
		return texts["idle"].of(l)
	case math.IsNaN(age):
		return fmt.Sprintf(words{"%s messages a second.", "每秒 %s 条消息。"}.of(l), rate(s.Flow.In.PerSecond))
	}
	return fmt.Sprintf(words{"%s messages a second; 99 of 100 are done within %s of their writing.", "每秒 %s 条消息；其中 99%% 在写入后 %s 内处理完成。"}.of(l),
		rate(s.Flow.In.PerSecond), seconds(age))
}

func share(n, most int64) float64 {
	if n <= 0 || most <= 0 {
		return 0
	}
	return max(1, math.Round(1000*float64(n)/float64(most))/10)
}

// Change says how much more or less often something happens than before, such as +12 % or ×3, or new.
func (b bar) Change() string {
	switch {
	case b.Times == 0:
		return "–"
	case b.Before == 0:
		return "new"
	}
	ratio := float64(b.N) / float64(b.Before) * b.Times
	switch d := math.Round(100 * (ratio - 1)); {
	case ratio >= 2.95:
		return fmt.Sprintf("×%.0f", ratio)
	case d > 0:
		return fmt.Sprintf("+%.0f %%", d)
	case d < 0:
		return fmt.Sprintf("−%.0f %%", -d)
	}
	return "±0 %"
}

// times returns what a ratio of hits is to be multiplied by to be one of hits a second; 0 where there is nothing
// to compare with.
func (h *Hits) times() float64 {
	if !h.Comparable || h.WindowSeconds == 0 {
		return 0
	}
	return h.BeforeSeconds / h.WindowSeconds
}

// Age returns how long ago something was when the snapshot was made.
func (v *view) Age(t time.Time) string { return v.L.span(v.Time.Sub(t)) }

// A chart is drawn in a box of this size, which is stretched to whatever width there is.
const (
	chartWidth  = 300.0
	chartHeight = 64.0
)

// chartView is a chart as it is drawn.
type chartView struct {
	Name, Unit string
	Now        string // what is worth saying large
	NowUnit    string
	Lines      []lineView
	Highest    string
	Span       string // how much time it shows
	From       time.Time
	Rows       []row // the same as a table
	Empty      bool
}

type lineView struct {
	Name, Now  string
	Path, Area template.HTMLAttr // what SVG calls d
}

type row struct {
	At     time.Time
	Values []string
}

// tableRows is how many rows the table behind a chart has at most.
const tableRows = 12

func newChart(c Chart, l language) chartView {
	text := func(v Value) string {
		switch {
		case math.IsNaN(float64(v)):
			return "–"
		case c.Unit == "seconds":
			return seconds(float64(v))
		case c.Unit == "messages":
			return number(int64(v))
		}
		return rate(float64(v))
	}
	v := chartView{Name: c.Name, Unit: c.Unit, Empty: true}
	most, n := 0.0, 0
	for _, line := range c.Lines {
		n = max(n, len(line.Values))
		for _, x := range line.Values {
			if !math.IsNaN(float64(x)) {
				most, v.Empty = max(most, float64(x)), false
			}
		}
	}
	v.Highest = text(Value(most))
	step := time.Duration(c.StepSeconds) * time.Second
	v.Span = l.span(time.Duration(n) * step)
	v.From = c.End.Add(-time.Duration(n) * step)
	for _, line := range c.Lines {
		x := lineView{Name: line.Name, Now: text(line.Now)}
		x.Path, x.Area = paths(line.Values, most)
		v.Lines = append(v.Lines, x)
	}
	if n := len(v.Lines); n > 0 {
		v.Now = v.Lines[n-1].Now
		if number, unit, ok := strings.Cut(v.Now, " "); ok {
			v.Now, v.NowUnit = number, unit
		}
	}
	every := max(1, (n+tableRows-1)/tableRows)
	for i := n - 1; i >= 0; i -= every {
		r := row{At: c.End.Add(-time.Duration(n-1-i) * step)}
		for _, line := range c.Lines {
			r.Values = append(r.Values, text(line.Values[i]))
		}
		v.Rows = append(v.Rows, r)
	}
	return v
}

// paths draws a line, broken where there is nothing, and the area below it.
func paths(values []Value, most float64) (line, area template.HTMLAttr) {
	if most == 0 {
		most = 1
	}
	var l, a strings.Builder
	place := func(i int) float64 {
		if len(values) < 2 {
			return chartWidth
		}
		return chartWidth * float64(i) / float64(len(values)-1)
	}
	began := -1
	end := func(i int) {
		if began >= 0 {
			fmt.Fprintf(&a, "L%.1f %.1fL%.1f %.1fZ", place(i), chartHeight, place(began), chartHeight)
		}
		began = -1
	}
	for i, v := range values {
		if math.IsNaN(float64(v)) {
			end(i - 1)
			continue
		}
		y := chartHeight - (chartHeight-4)*float64(v)/most - 1
		word := "L"
		if began < 0 {
			word, began = "M", i
		}
		fmt.Fprintf(&l, "%s%.1f %.1f", word, place(i), y)
		fmt.Fprintf(&a, "%s%.1f %.1f", word, place(i), y)
		if began == i && (i+1 == len(values) || math.IsNaN(float64(values[i+1]))) {
			fmt.Fprintf(&l, "h0.1") // a point alone is a dot
		}
	}
	end(len(values) - 1)
	// Numbers alone: nothing of it needs an escape.
	return template.HTMLAttr(`d="` + l.String() + `"`), template.HTMLAttr(`d="` + a.String() + `"`)
}

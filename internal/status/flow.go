package status

import (
	"fmt"
	"html/template"
	"time"
)

// The picture of the flow: on the left what comes in, in the middle a bar where it is judged, on the right where
// it ends. A band is as wide as its share; what is there at all is never thinner than a line. The box is
// stretched to whatever width there is, its height is as it is.
const (
	flowWidth  = 100.0
	flowRow    = 34.0 // of one end
	flowBand   = 26.0 // the widest one
	flowThin   = 1.5
	flowMiddle = 46.0 // where the bar begins
	flowBar    = 3.0
)

type flowView struct {
	Height float64
	In     []end
	Out    []end
	Bar    box
	Bands  []band
	Rows   []Stream // as a table
	Window string
}

// end is where a band begins or ends.
type end struct {
	Name string // key of its words
	Tone string // pass, wait, stop, dead or past
	Amount
	Part string // of all, in percent
}

type box struct{ Y, Height float64 }

type band struct {
	Tone string
	Path template.HTMLAttr
}

func newFlow(s *Snapshot, l language) flowView {
	f := s.Flow
	v := flowView{Rows: f.Streams, Window: l.span(time.Duration(f.WindowSeconds) * time.Second)}
	by := make(map[string]Stream)
	for _, x := range f.Streams {
		by[x.Name] = x
	}
	pushes := s.InForce.Policy != ""
	names := []string{"post"}
	if pushes {
		names = []string{"post", "push", "consent", "outcome"}
	}
	for _, n := range names {
		v.In = append(v.In, end{Name: n, Tone: "in", Amount: by[n].In})
	}
	v.Out = []end{{Name: "passed", Tone: "pass", Amount: by["post"].Passed}, {Name: "flagged", Tone: "stop", Amount: by["post"].Flagged}}
	if pushes {
		applied := by["consent"].Passed.plus(by["outcome"].Passed).plus(by["consent"].Flagged).plus(by["outcome"].Flagged)
		v.Out = append(v.Out, end{Name: "allow", Tone: "pass", Amount: f.Allowed}, end{Name: "defer", Tone: "wait", Amount: f.Deferred},
			end{Name: "deny", Tone: "stop", Amount: f.Denied}, end{Name: "applied", Tone: "pass", Amount: applied})
	}
	v.Out = append(v.Out, end{Name: "dead", Tone: "dead", Amount: f.DeadLettered}, end{Name: "skipped", Tone: "past", Amount: f.Skipped})

	v.Height = flowRow * float64(len(v.Out))
	most, all := int64(1), int64(0)
	for _, x := range v.Out {
		most = max(most, x.Window)
		all += x.Window
	}
	for i := range v.Out {
		v.Out[i].Part = percent(v.Out[i].Window, all)
	}
	for i := range v.In {
		v.In[i].Part = percent(v.In[i].Window, f.In.Window)
	}
	scale := flowBand / float64(most)
	v.bands(v.In, scale, true)
	v.Bar = v.bands(v.Out, scale, false)
	return v
}

// bands draws one side and returns where it meets the middle.
func (v *flowView) bands(ends []end, scale float64, left bool) box {
	sum := 0.0
	for _, e := range ends {
		sum += width(e.Window, scale)
	}
	sum = max(sum, 2*flowThin)
	at := (v.Height - sum) / 2
	middle := box{at, sum}
	rowHeight := v.Height / float64(len(ends))
	for i, e := range ends {
		w := width(e.Window, scale)
		if w == 0 {
			continue
		}
		outer := rowHeight*(float64(i)+.5) - w/2
		x0, x1 := 0.0, flowMiddle
		y0, y1 := outer, at
		if !left {
			x0, x1 = flowMiddle+flowBar, flowWidth
			y0, y1 = at, outer
		}
		mid := (x0 + x1) / 2
		path := fmt.Sprintf(`d="M%.1f %.1fC%.1f %.1f %.1f %.1f %.1f %.1fV%.1fC%.1f %.1f %.1f %.1f %.1f %.1fZ"`,
			x0, y0, mid, y0, mid, y1, x1, y1, y1+w, mid, y1+w, mid, y0+w, x0, y0+w)
		// Numbers alone: nothing of it needs an escape.
		v.Bands = append(v.Bands, band{e.Tone, template.HTMLAttr(path)})
		at += w
	}
	return middle
}

func width(n int64, scale float64) float64 {
	if n == 0 {
		return 0
	}
	return max(flowThin, float64(n)*scale)
}

func (a Amount) plus(b Amount) Amount {
	return Amount{a.Total + b.Total, a.Window + b.Window, a.PerSecond + b.PerSecond}
}

func percent(n, of int64) string {
	switch p := 100 * float64(n) / float64(max(of, 1)); {
	case n == 0:
		return ""
	case p < 0.1:
		return "< 0.1 %"
	case p < 9.95:
		return fmt.Sprintf("%.1f %%", p)
	default:
		return fmt.Sprintf("%.0f %%", p)
	}
}

package rules

import (
	"github.com/weir-moderation/weir/pipeline/event"
	"github.com/weir-moderation/weir/rules/detect"
	"github.com/weir-moderation/weir/rules/form"
)

// shapedRules are the rules with detectors and patterns.
type shapedRules struct {
	list []shapedRule
	// alone says that one of them hits with shapes alone: each of its lists has one.
	alone bool
}

type shapedRule struct {
	rule      *Rule
	detectors detect.Set
	patterns  bool
}

// rulesOf returns the rules of shapes, which are in the order of the rules.
func rulesOf(shapes []use) shapedRules {
	var s shapedRules
	for i := range shapes {
		u := &shapes[i]
		if n := len(s.list); n == 0 || s.list[n-1].rule != u.rule {
			s.list = append(s.list, shapedRule{rule: u.rule})
			s.alone = s.alone || u.rule.shaped == u.rule.everyList()
		}
		last := &s.list[len(s.list)-1]
		last.detectors |= u.term.Detect
		last.patterns = last.patterns || u.term.Pattern != nil
	}
	return s
}

// findShapes looks for the detectors and patterns of rules that could hit with them: a rule of which
// something must stand in every list is only asked about where a term of each list without shapes
// was found.
func (s *Set) findShapes(sc *Scratch, e *event.Event) {
	if len(sc.parts) == 0 && !s.shaped.alone && sc.dropped == nil {
		return // as in most events: no rule asks
	}
	var wanted detect.Set
	patterns := false
	for i := range s.shaped.list {
		if r := &s.shaped.list[i]; sc.asks(r.rule) {
			wanted |= r.detectors
			patterns = patterns || r.patterns
		}
	}
	if wanted == 0 && !patterns {
		return
	}
	base := len(s.uses) - len(s.shapes)
	for field := range e.Fields {
		f := &e.Fields[field]
		found := func(i, start, end int) {
			u := &s.shapes[i]
			h := form.Hit{Start: start, End: end, Form: form.Fold}
			if sc.asks(u.rule) && u.rule.applies(e.Kind, f.Name) {
				sc.part(int32(base+i), u, field, &h)
			}
		}
		if wanted != 0 {
			wanted.Find(&sc.detect, f.Text, func(d detect.Detector, start, end int) bool {
				for i := range s.shapes {
					if s.shapes[i].term.Detect == d.Set() {
						found(i, start, end)
					}
				}
				return true
			})
		}
		if !patterns {
			continue
		}
		folded := foldPlaces(f.Text)
		for i := range s.shapes {
			u := &s.shapes[i]
			if p := u.term.Pattern; p != nil && sc.asks(u.rule) && u.rule.applies(e.Kind, f.Name) {
				for _, at := range p.FindAllStringIndex(folded.text, MaxParts) {
					if at[1] > at[0] {
						start, end := folded.place(at[0], at[1])
						found(i, start, end)
					}
				}
			}
		}
	}
}

// asks reports whether shapes can make a rule hit: each of its lists has a shape, or a part of it
// was found. Who wants to know what is missing asks always.
func (sc *Scratch) asks(r *Rule) bool {
	if sc.dropped != nil {
		return true
	}
	seen := &sc.seen[r.number]
	lists := r.shaped
	if seen.round == sc.round {
		lists |= seen.lists
	}
	return lists == r.everyList()
}

// everyList is the set of its lists as bits.
func (r *Rule) everyList() uint16 { return 1<<len(r.Lists) - 1 }

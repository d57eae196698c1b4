package backtest

import (
	"cmp"
	"errors"
	"slices"

	"github.com/weir-moderation/weir/pipeline"
	"github.com/weir-moderation/weir/pipeline/event"
	"github.com/weir-moderation/weir/rules"
)

// worker judges and compares. It belongs to one goroutine.
type worker struct {
	o       *Options
	names   *index
	totals  totals
	decoder *event.Decoder
	sides   [2]side // by the old and by the new set

	// Of the event in hand.
	rules, categories touched
}

// side is what one set finds in the event in hand.
type side struct {
	set     *rules.Set
	scratch rules.Scratch
	hits    []found
	action  rules.Action
}

// found is a hit with what it is told apart by: two hits are the same if rule, category,
// field and place are. What may differ is the form in which, or the term as which, it is read.
type found struct {
	*rules.Hit
	numbers
}

func (a found) compare(b found) int {
	return cmp.Or(a.Field-b.Field, a.Start-b.Start, a.End-b.End, a.rule-b.rule, a.category-b.category)
}

func newWorker(o *Options, names *index) *worker {
	w := &worker{o: o, names: names, totals: newTotals(names), rules: make(touched), categories: make(touched)}
	w.sides[0].set, w.sides[1].set = o.Old, o.New
	w.renew()
	return w
}

// renew forgets everything that a panic may have left half done.
func (w *worker) renew() {
	w.decoder = event.NewDecoder(w.o.Limits)
	for i := range w.sides {
		w.sides[i].scratch = rules.Scratch{}
	}
}

// judge judges the messages of a block by both sets and notes what differs.
func (w *worker) judge(b *block) {
	for i := range b.messages {
		w.message(&b.messages[i], &b.found)
	}
	b.found.messages = int64(len(b.messages))
	w.decoder.Reset()
}

func (w *worker) message(m *Message, f *findings) {
	if m.Corrupt != "" {
		f.dead(Dead{pipeline.StageFetch, m.Corrupt, 1, m.Place})
		return
	}
	var e event.Event
	switch err := w.match(m, &e); {
	case err == nil:
		w.compare(m, &e, f)
	case errors.Is(err, errPanic):
		w.renew()
		f.dead(Dead{pipeline.StageJudge, pipeline.ReasonPanic, 1, m.Place})
	default:
		var refused *event.Error
		if !errors.As(err, &refused) {
			panic(err) // the decoder returns no other
		}
		f.dead(Dead{pipeline.StageDecode, pipeline.Reason(refused.Reason), 1, m.Place})
	}
}

// errPanic says that judging a message panicked. What it said may be content and is not kept.
var errPanic = errors.New("panic while judging")

// match decodes a message and finds the hits of both sets.
func (w *worker) match(m *Message, e *event.Event) (err error) {
	defer func() {
		if recover() != nil {
			err = errPanic
		}
	}()
	w.decoder.Format = m.Format
	if err := w.decoder.Decode(m.Kind, m.Headers, m.Value, e); err != nil {
		return err
	}
	if w.o.trap != nil {
		w.o.trap(e)
	}
	for i := range w.sides {
		s := &w.sides[i]
		s.hits, s.action = s.hits[:0], rules.Pass
		if e.Kind != event.Post && e.Kind != event.Push {
			continue
		}
		hits := s.set.Match(&s.scratch, e)
		if len(hits) == 0 {
			continue
		}
		s.action = rules.ActionOf(hits)
		for k := range hits {
			s.hits = append(s.hits, found{&hits[k], w.names.of[hits[k].Rule]})
		}
		// Of hits that are the same the one that calls for most comes first and stays.
		slices.SortStableFunc(s.hits, func(a, b found) int {
			return cmp.Or(a.compare(b), cmp.Compare(says(b.Hit), says(a.Hit)))
		})
		s.hits = slices.CompactFunc(s.hits, func(a, b found) bool { return a.compare(b) == 0 })
	}
	return nil
}

// says is what a hit alone calls for.
func says(h *rules.Hit) rules.Action { return rules.ActionOf([]rules.Hit{*h}) }

// touched are the rules, or categories, with a hit in the event in hand, by number.
type touched map[int]*touch

// touch is what becomes of a rule, or category, in one event.
type touch struct {
	says  [2]rules.Action // by the old and by the new set
	moved bool            // a hit is new or lost
	told  [numChanges]bool
}

func (t touched) of(n int) *touch {
	k := t[n]
	if k == nil {
		k = new(touch)
		t[n] = k
	}
	return k
}

// compare counts and notes what differs in an event.
func (w *worker) compare(m *Message, e *event.Event, f *findings) {
	before, after := &w.sides[0], &w.sides[1]
	w.totals.actions[before.action][after.action]++
	if len(before.hits) == 0 && len(after.hits) == 0 {
		return
	}
	clear(w.rules)
	clear(w.categories)
	for a, b := before.hits, after.hits; len(a) > 0 || len(b) > 0; {
		switch c := order(a, b); {
		case c < 0:
			w.count(&a[0], nil)
			w.sample(Lost, &a[0], m, e, f)
			a = a[1:]
		case c > 0:
			w.count(nil, &b[0])
			w.sample(New, &b[0], m, e, f)
			b = b[1:]
		default:
			w.count(&a[0], &b[0])
			a, b = a[1:], b[1:]
		}
	}
	w.settle(w.rules, w.totals.rules)
	w.settle(w.categories, w.totals.categories)
	if before.action == after.action {
		return
	}
	// A rule that finds the same may call for something else now.
	for i := range after.hits {
		h := &after.hits[i]
		if t := w.rules[h.rule]; !t.moved && t.says[0] != t.says[1] {
			w.sample(Acts, h, m, e, f)
		}
	}
}

// order says which list is to be taken from: below 0 the first, above 0 the second, 0 both.
func order(a, b []found) int {
	switch {
	case len(a) == 0:
		return 1
	case len(b) == 0:
		return -1
	}
	return a[0].compare(b[0])
}

// count counts a hit of the old, of the new or of both sets.
func (w *worker) count(a, b *found) {
	for side, h := range [...]*found{a, b} {
		if h == nil {
			continue
		}
		for _, x := range []struct {
			rows    []counts
			touched touched
			n       int
		}{{w.totals.rules, w.rules, h.rule}, {w.totals.categories, w.categories, h.category}} {
			row, t := &x.rows[x.n], x.touched.of(x.n)
			row.hits[side]++
			t.says[side] = max(t.says[side], says(h.Hit))
			if a == nil || b == nil {
				row.moved[side]++
				t.moved = true
			}
		}
	}
}

// settle counts the event for what had a hit in it.
func (w *worker) settle(t touched, rows []counts) {
	before, after := w.sides[0].action, w.sides[1].action
	for n, k := range t {
		// An action that changes is laid to those that call for something else than before.
		changed := before != after && k.says[0] != k.says[1]
		if k.moved || changed {
			rows[n].events++
		}
		switch {
		case changed && after > before:
			rows[n].stronger++
		case changed:
			rows[n].weaker++
		}
	}
}

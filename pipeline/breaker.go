package pipeline

import (
	"math"
	"slices"
	"sync"
	"time"

	"github.com/weir-moderation/weir/rules"
)

// A Breaker watches what the rules in force hit and tells which live rules hit so much more than they
// used to, or when they are new so much of all, that they are rather wrong than right. Such a rule is
// to lose its action: whoever asks puts it in shadow with [rules.Set.Shadowed].
//
// What is counted are windows. Those that are over make up what a rule usually does, each worth half as
// much after a week, so that day and night, working days and holidays are in it. A window is compared
// with that by the conditional test for two Poisson rates (Przyborowski and Wilenski 1940, "Homogeneity
// of results in testing samples from Poisson series", Biometrika 31, 313-323): were its rate at most
// Factor times the usual one, its hits would be a binomial share of the hits of both. So a rule of which
// little is known trips later than one that is known well, and there is no estimate whose error nobody
// counts. Real traffic comes in bursts, more uneven than Poisson's; that is what Factor is for. Hits in
// older windows weigh less than one each, which varies less than Poisson's: the test errs towards leaving
// a rule its action.
//
// It watches one process: another instance judges what it sees itself. What rules usually do is forgotten
// with the process; what was decided about them is [Memory].
type Breaker struct {
	pipeline *Pipeline

	mu      sync.Mutex
	tally   *tally
	watched map[string]*watched // by rule; those of the tally's set
}

// Count is how many events a rule was asked about, and how many of them it hit. Of windows that are
// over it is a part.
type Count struct {
	Events float64 `json:"events"`
	Hits   float64 `json:"hits"`
}

// share returns which part of the events it hit.
func (c Count) share() float64 {
	if c.Events == 0 {
		return 0
	}
	return c.Hits / c.Events
}

// A Trip is a rule that has lost its action, and why.
type Trip struct {
	Rule string    `json:"rule"`
	Time time.Time `json:"time"`
	// Events and Hits are those of the window in which it tripped.
	Events int64 `json:"events"`
	Hits   int64 `json:"hits"`
	// Usual is the share of events it used to hit, from 0 to 1; nil of a new rule.
	Usual *float64 `json:"usual,omitempty"`
}

// watched is what is known of a rule.
type watched struct {
	Decided
	began  time.Time // when the window began
	window Count
	usual  Count // of windows that are over
}

// Memory is what was decided about rules, by their ids. It is what is to outlive a process.
type Memory map[string]Decided

// Decided is what was decided about a rule.
type Decided struct {
	Fingerprint string `json:"fingerprint"` // of [rules.Set.Fingerprint]; of another rule it says nothing
	// Trip is nil while it has its action.
	Trip *Trip `json:"trip,omitempty"`
	// Most is of the windows since it tripped the one in which it hit the largest share.
	Most Count `json:"most,omitzero"`
	// Accepted is the Most of the trip after which it got its action back.
	Accepted Count `json:"accepted,omitzero"`
}

const (
	// remembered is after how long a window is worth half.
	remembered = 7 * 24 * time.Hour
	// longest is after how many times its length a window ends on little traffic.
	longest = 60
	// chance is how improbable hits by chance must be. With ten thousand rules, each looked at once a
	// minute and each at the very limit, one would trip by chance in two months.
	chance = 1e-9
)

// NewBreaker returns the breaker of a pipeline.
func NewBreaker(p *Pipeline) *Breaker { return &Breaker{pipeline: p} }

// Look takes in what was counted since the last time and returns the live rules that are to lose their
// action. It is to be called once in every window. What it returns is said again the next time, if it
// still holds and the rules are not in shadow by then.
func (b *Breaker) Look(now time.Time) []Trip {
	b.mu.Lock()
	defer b.mu.Unlock()
	force := b.pipeline.force.Load()
	b.tally.take(b.count)
	if b.tally != force.toWatch() {
		b.follow(force, now)
		b.tally.take(b.count)
	}
	if b.tally == nil {
		return nil
	}
	s := force.Breaker
	inShadow := force.Rules.InShadow()
	var trips []Trip
	for _, r := range force.Rules.Rules() {
		w := b.watched[r.ID]
		_, shadowed := slices.BinarySearch(inShadow, r.ID)
		if !shadowed {
			w.Trip = nil
			if r.State == rules.Live && tooMuch(s, w.window, w.known(s)) {
				w.tripped(s, r.ID, now)
				trips = append(trips, *w.Trip)
				continue // the window stays open until the rule is in shadow
			}
		}
		if !w.over(s, now) {
			continue
		}
		switch {
		case !shadowed:
			w.usual.pass(w.window, now.Sub(w.began))
		case w.window.Hits >= float64(s.MinHits) && w.window.share() > w.Most.share():
			w.Most = w.window
		}
		w.window, w.began = Count{}, now
	}
	return trips
}

// Tripped returns the rules in force that have lost their action, by id.
func (b *Breaker) Tripped() []Trip {
	b.mu.Lock()
	defer b.mu.Unlock()
	trips := []Trip{}
	for _, id := range b.pipeline.InForce().Rules.InShadow() {
		if w := b.watched[id]; w != nil && w.Trip != nil {
			trips = append(trips, *w.Trip)
		}
	}
	return trips
}

// Restored tells that a rule got its action back. What it did since it tripped is accepted from now on:
// it trips again only for so many times as much.
func (b *Breaker) Restored(id string, now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if w := b.watched[id]; w != nil {
		*w = watched{Decided: Decided{Fingerprint: w.Fingerprint, Accepted: w.Most}, began: now}
	}
}

// Memory returns what was decided.
func (b *Breaker) Memory() Memory {
	b.mu.Lock()
	defer b.mu.Unlock()
	m := make(Memory)
	for id, w := range b.watched {
		if w.Trip != nil || w.Accepted.Events > 0 {
			m[id] = w.Decided
		}
	}
	return m
}

// Remember takes in what was decided by a process before. It is to be called before the first Look, which
// forgets what was decided about rules that are not the same any more.
func (b *Breaker) Remember(m Memory) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.watched = make(map[string]*watched, len(m))
	for id, d := range m {
		b.watched[id] = &watched{Decided: d, began: time.Now()}
	}
}

func (b *Breaker) count(r *rules.Rule, c Count) {
	w := &b.watched[r.ID].window
	w.Events += c.Events
	w.Hits += c.Hits
}

// toWatch returns the tally for the breaker, nil where it is off.
func (f *Force) toWatch() *tally {
	if !f.tally.watched {
		return nil
	}
	return f.tally
}

// follow begins to watch another set. What is known of a rule stays known if it is the same there.
func (b *Breaker) follow(force *Force, now time.Time) {
	old := b.watched
	b.tally, b.watched = force.toWatch(), make(map[string]*watched)
	if b.tally == nil {
		return
	}
	for _, r := range force.Rules.Rules() {
		w, fingerprint := old[r.ID], force.Rules.Fingerprint(r.ID)
		if w == nil || w.Fingerprint != fingerprint {
			w = &watched{Decided: Decided{Fingerprint: fingerprint}, began: now}
		}
		b.watched[r.ID] = w
	}
}

// known returns what the rule may be expected to do. Nothing is known of a new one: of what it was asked
// about so far, not even the share that trips would make enough hits.
func (w *watched) known(s rules.Breaker) []Count {
	var known []Count
	if w.usual.Events >= enough(s) {
		known = append(known, w.usual)
	}
	if w.Accepted.Events > 0 {
		known = append(known, w.Accepted)
	}
	return known
}

func (w *watched) tripped(s rules.Breaker, id string, now time.Time) {
	w.Trip = &Trip{Rule: id, Time: now.UTC(), Events: int64(w.window.Events), Hits: int64(w.window.Hits)}
	if w.usual.Events >= enough(s) {
		usual := w.usual.share()
		w.Trip.Usual = &usual
	}
	w.Most = w.window
}

// over reports whether the window is long enough: for the least hits at the share that trips, or where
// few events come an hour of windows of a minute.
func (w *watched) over(s rules.Breaker, now time.Time) bool {
	d := now.Sub(w.began)
	return d >= s.Window && w.window.Events >= enough(s) || d >= longest*s.Window
}

// enough is in how many events the share that trips is the least number of hits.
func enough(s rules.Breaker) float64 { return float64(s.MinHits) / s.Share.Fraction() }

// pass adds a window that is over and lasted d; what was there before is worth less for it.
func (c *Count) pass(window Count, d time.Duration) {
	c.Events = decayed(c.Events, d) + window.Events
	c.Hits = decayed(c.Hits, d) + window.Hits
}

// decayed returns what a number is worth after a time.
func decayed(n float64, d time.Duration) float64 {
	return n * math.Exp2(-float64(d)/float64(remembered))
}

// tooMuch reports whether a window has so many hits that its rule is rather wrong than right: enough of
// them, clearly more than the share, and clearly more than Factor times all that is known of the rule.
func tooMuch(s rules.Breaker, window Count, known []Count) bool {
	if window.Hits < float64(s.MinHits) || !clearlyMore(window.Hits, window.Events, s.Share.Fraction()) {
		return false
	}
	for _, c := range known {
		// Of the hits of both, those of the window would be this share or less.
		p := s.Factor * window.Events / (s.Factor*window.Events + c.Events)
		if !clearlyMore(window.Hits, window.Hits+c.Hits, p) {
			return false
		}
	}
	return true
}

// clearlyMore reports whether k of n are so many that each of them having a chance of p does not explain
// it. The binomial tail is bounded by exp(-n D(k/n, p)), D being the relative entropy (Hoeffding 1963,
// "Probability inequalities for sums of bounded random variables", theorem 1), which needs no tables and
// errs on the side of no.
func clearlyMore(k, n, p float64) bool {
	q := k / n
	if q <= p {
		return false
	}
	d := q * math.Log(q/p)
	if q < 1 {
		d += (1 - q) * math.Log((1-q)/(1-p))
	}
	return -n*d < math.Log(chance)
}

package push

import (
	"cmp"
	"slices"
	"strings"
	"time"
	"unicode/utf8"
)

// Scope is what kind of thing a halt stops.
type Scope string

// The scopes of halts, the widest last.
const (
	ScopeCampaign Scope = "campaign"
	ScopeSender   Scope = "sender"
	ScopeClass    Scope = "class"
)

// Scopes returns all scopes, in the order in which a push is looked up.
func Scopes() []Scope { return []Scope{ScopeCampaign, ScopeSender, ScopeClass} }

// Target is what a halt stops: one campaign, sender or class.
type Target struct {
	Scope Scope  `json:"scope"`
	Value string `json:"value"`
}

// Value returns which campaign, sender or class a push is of; empty if it says nothing of that.
func (r *Request) Value(s Scope) []byte {
	switch s {
	case ScopeCampaign:
		return r.Campaign
	case ScopeSender:
		return r.Sender
	}
	return r.Class
}

// Halt is an order in force: nothing of its target is sent.
type Halt struct {
	Target

	Since time.Time `json:"since"`         // when it was ordered
	Why   string    `json:"why,omitempty"` // its first MaxWhy bytes
	By    string    `json:"by,omitempty"`
	ID    string    `json:"id,omitempty"` // of the order
}

// MaxHalts is how many orders can be in force at once, and MaxWhy how many bytes
// of the reason of one are kept: every push that is denied for it says it again.
const (
	MaxHalts = 10_000
	MaxWhy   = 1024
)

// Halts is a list of what is stopped. It does not change and may be used by any
// number of goroutines. A nil list stops nothing.
type Halts struct {
	list []Halt
	by   [3]map[string]*Halt // in the order of Scopes, by value
	left int
}

// NewHalts returns the list of these orders; of several with one target the one
// that comes first in the list stands. When there are more than [MaxHalts] the
// widest and then the newest are kept, and [Halts.LeftOut] tells how many are not:
// a class that must stop is not to be lost among ten thousand campaigns that are over.
func NewHalts(orders []Halt) *Halts {
	h := new(Halts)
	known := make(map[Target]bool, len(orders))
	for _, o := range orders {
		if !slices.Contains(Scopes(), o.Scope) || o.Value == "" || known[o.Target] {
			continue
		}
		known[o.Target] = true
		o.Why = shortWhy(o.Why)
		h.list = append(h.list, o)
	}
	slices.SortStableFunc(h.list, func(a, b Halt) int {
		return cmp.Or(cmp.Compare(slices.Index(Scopes(), b.Scope), slices.Index(Scopes(), a.Scope)), b.Since.Compare(a.Since), cmp.Compare(a.Value, b.Value))
	})
	if n := len(h.list); n > MaxHalts {
		h.list, h.left = slices.Clip(h.list[:MaxHalts]), n-MaxHalts
	}
	for i := range h.by {
		h.by[i] = make(map[string]*Halt)
	}
	for i := range h.list {
		x := &h.list[i]
		h.by[slices.Index(Scopes(), x.Scope)][x.Value] = x
	}
	return h
}

func shortWhy(why string) string {
	if len(why) <= MaxWhy {
		return why
	}
	n := MaxWhy
	for n > 0 && !utf8.RuneStart(why[n]) {
		n--
	}
	return strings.Clone(why[:n])
}

// Find returns the halt that stops a push, nil for none: of several that of its
// campaign, else that of its sender. It does not allocate.
func (h *Halts) Find(r *Request) *Halt {
	if h == nil || len(h.list) == 0 {
		return nil
	}
	for i, s := range [...]Scope{ScopeCampaign, ScopeSender, ScopeClass} {
		if len(h.by[i]) == 0 {
			continue
		}
		if halt := h.by[i][string(r.Value(s))]; halt != nil {
			return halt
		}
	}
	return nil
}

// Has returns the halt of a target, nil for none.
func (h *Halts) Has(t Target) *Halt {
	i := slices.Index(Scopes(), t.Scope)
	if h == nil || i < 0 {
		return nil
	}
	return h.by[i][t.Value]
}

// List returns all halts in force: classes, senders, campaigns, of each the newest first.
func (h *Halts) List() []Halt {
	if h == nil {
		return nil
	}
	return slices.Clone(h.list)
}

// Count returns how many targets of a scope are stopped.
func (h *Halts) Count(s Scope) int {
	i := slices.Index(Scopes(), s)
	if h == nil || i < 0 {
		return 0
	}
	return len(h.by[i])
}

// LeftOut returns how many orders are not in force because there are more than MaxHalts.
func (h *Halts) LeftOut() int {
	if h == nil {
		return 0
	}
	return h.left
}

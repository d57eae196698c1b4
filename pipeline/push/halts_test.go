package push

import (
	"fmt"
	"strings"
	"testing"
	"time"
)

func order(s Scope, value string, since time.Time) Halt {
	return Halt{Target: Target{s, value}, Since: since, Why: "complaints", By: "officer-7", ID: "h-" + value}
}

// A push is stopped by its campaign, its sender or its class, and by nothing else of the same name.
func TestHaltsStopWhatTheyName(t *testing.T) {
	// Clause: push-monitor
	h := NewHalts([]Halt{order(ScopeCampaign, "spring", noon), order(ScopeSender, "shop", noon), order(ScopeClass, "content", noon),
		order(ScopeSender, "shop", noon.Add(time.Hour)), order("tenant", "x", noon), order(ScopeClass, "", noon)})
	if n := len(h.List()); n != 3 {
		t.Errorf("%d halts in force, want 3: one a target, of scopes there are", n)
	}
	for _, c := range []struct{ campaign, sender, class, want string }{
		{"", "", "marketing", ""},
		{"summer", "bank", "marketing", ""},
		{"spring", "bank", "marketing", "campaign spring"},
		{"summer", "shop", "marketing", "sender shop"},
		{"summer", "bank", "content", "class content"},
		{"spring", "shop", "content", "campaign spring"}, // the narrowest is the one that is told
		{"summer", "shop", "content", "sender shop"},
		{"shop", "spring", "marketing", ""}, // a campaign is no sender
		{"content", "content", "marketing", ""},
	} {
		r := Request{Campaign: []byte(c.campaign), Sender: []byte(c.sender), Class: []byte(c.class)}
		got := ""
		if halt := h.Find(&r); halt != nil {
			got = string(halt.Scope) + " " + halt.Value
			if !halt.Since.Equal(noon) {
				t.Errorf("%+v: since %s, want what the first of two orders says", c, halt.Since)
			}
		}
		if got != c.want {
			t.Errorf("%+v: stopped by %q, want %q", c, got, c.want)
		}
	}
	if none := (*Halts)(nil); none.Find(new(Request)) != nil || none.Has(Target{ScopeClass, "content"}) != nil || none.List() != nil || none.Count(ScopeClass) != 0 {
		t.Error("no list stops something")
	}
}

// Looking a push up costs no memory: it is done for every one.
func TestFindingAHaltDoesNotAllocate(t *testing.T) {
	h := NewHalts([]Halt{order(ScopeCampaign, "spring", noon), order(ScopeClass, "content", noon)})
	r := Request{Campaign: []byte("summer, a campaign with a name that is longer than what fits on a stack by chance"), Sender: []byte("shop"), Class: []byte("content")}
	if n := testing.AllocsPerRun(100, func() {
		if h.Find(&r) == nil {
			t.Fatal("not found")
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// A list has an end. What is over is told, and a class is never what is left out.
func TestTooManyHalts(t *testing.T) {
	var orders []Halt
	for i := range MaxHalts + 5 {
		orders = append(orders, order(ScopeCampaign, fmt.Sprint("c", i), noon.Add(time.Duration(i)*time.Second)))
	}
	orders = append(orders, order(ScopeClass, "marketing", noon.Add(-time.Hour)), order(ScopeSender, "shop", noon.Add(-time.Hour)))
	h := NewHalts(orders)
	if len(h.List()) != MaxHalts || h.LeftOut() != 7 {
		t.Errorf("%d in force and %d left out, want %d and 7", len(h.List()), h.LeftOut(), MaxHalts)
	}
	for _, want := range []Target{{ScopeClass, "marketing"}, {ScopeSender, "shop"}, {ScopeCampaign, fmt.Sprint("c", MaxHalts+4)}} {
		if h.Has(want) == nil {
			t.Errorf("%v is left out", want)
		}
	}
	if h.Has(Target{ScopeCampaign, "c6"}) != nil || h.Has(Target{ScopeCampaign, "c7"}) == nil {
		t.Error("not the oldest campaigns are left out")
	}
	if h.Count(ScopeCampaign) != MaxHalts-2 {
		t.Errorf("%d campaigns", h.Count(ScopeCampaign))
	}
}

// A reason as long as a book is cut where a letter ends: every push that is denied repeats it.
func TestLongReasonsAreCut(t *testing.T) {
	o := order(ScopeCampaign, "spring", noon)
	o.Why = "a" + strings.Repeat("很", MaxWhy)
	got := NewHalts([]Halt{o}).List()[0].Why
	if len(got) > MaxWhy || len(got) < MaxWhy-3 || !strings.HasPrefix(o.Why, got) || strings.ContainsRune(got, '�') {
		t.Errorf("%d bytes are kept: %q", len(got), got[max(0, len(got)-6):])
	}
}

// What it costs to look a push up that is not halted, among a thousand halts.
func BenchmarkFindHalt(b *testing.B) {
	var orders []Halt
	for i := range 1000 {
		orders = append(orders, order(ScopeCampaign, fmt.Sprint("campaign-", i), noon))
	}
	h := NewHalts(orders)
	r := Request{Campaign: []byte("campaign-of-spring"), Sender: []byte("shop"), Class: []byte("marketing")}
	b.ReportAllocs()
	for b.Loop() {
		if h.Find(&r) != nil {
			b.Fatal("found")
		}
	}
}

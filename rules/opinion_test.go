package rules

import (
	"slices"
	"strings"
	"testing"
)

const criticalRule = "id: p.a, category: gambling, severity: critical, state: live, terms: [赌博, casino]"

// Both engines find the same, so a second opinion changes nothing; and where one of them is
// broken, what the other finds is a hit all the same and the difference is known.
func TestSecondOpinion(t *testing.T) {
	set := load(t, Options{SecondOpinion: SecondOpinion{Every: 1}}, criticalRule, "id: p.b, category: fraud, state: live, terms: [刷单]")
	var sc Scratch
	e := post("text", "来赌-博，CASINO，刷单")
	whole := slices.Clone(set.Match(&sc, e))
	if len(whole) != 3 || len(sc.Diverged()) != 0 {
		t.Fatalf("%s, diverged %v", quote(e, whole), sc.Diverged())
	}

	other := load(t, Options{}, "id: p.a, category: gambling, severity: critical, state: live, terms: [赌博]")
	blind := *set
	blind.second = other // it misses a term
	if hits := blind.Match(&sc, e); !slices.Equal(hits, whole) || len(sc.Diverged()) != 1 || sc.Diverged()[0].ID != "p.a" {
		t.Errorf("second engine blind: %s, diverged %v", quote(e, hits), sc.Diverged())
	}
	blind = *set
	blind.forms, blind.uses = other.forms, other.uses
	blind.uses = slices.Clone(other.uses)
	for i := range blind.uses {
		blind.uses[i].rule = set.Rules()[0]
	}
	hits := blind.Match(&sc, e)
	if len(hits) != 2 || hits[1].Term != "casino" || hits[1].Rule != set.Rules()[0] || len(sc.Diverged()) != 1 {
		t.Errorf("first engine blind: %s, diverged %v", quote(e, hits), sc.Diverged())
	}
}

// A sample depends on the event's id alone, costs nothing for the others, and is about of the
// size that was asked for.
func TestSecondOpinionSample(t *testing.T) {
	set := load(t, Options{SecondOpinion: SecondOpinion{Every: 10}}, criticalRule)
	e := post("text", "calm")
	n := 0
	for i := range 10_000 {
		e.ID = []byte{byte(i), byte(i >> 8), 'x'}
		first := set.sampled(e)
		if first != set.sampled(e) {
			t.Fatal("an event is looked at twice at one time and not at another")
		}
		if first {
			n++
		}
	}
	if n < 800 || n > 1200 {
		t.Errorf("%d of 10000, want about 1000", n)
	}
	if load(t, Options{}, criticalRule).sampled(e) || load(t, Options{SecondOpinion: SecondOpinion{Every: 1}}, "id: p.b, category: fraud, state: live, terms: [刷单]").sampled(e) {
		t.Error("a second opinion without critical rules, or unasked")
	}
}

// Critical rules that are too many for the second engine are refused with both ways out.
func TestSecondOpinionBudget(t *testing.T) {
	src := "pack: p\nrules:\n  - {id: p.a, category: gambling, severity: critical, state: live, forms: [fold], terms: [" +
		strings.Repeat("赌", 60) + "博, " + strings.Repeat("casino ", 8) + "x]}\n"
	_, err := Load(packs("p.yaml", src), register(t), Options{SecondOpinion: SecondOpinion{Every: 1, MemoryBudget: 1 << 16}})
	if err == nil || !strings.Contains(err.Error(), "raise the budget") || !strings.Contains(err.Error(), "every: 0 to turn it off") {
		t.Errorf("%v", err)
	}
}

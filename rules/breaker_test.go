package rules

import (
	"testing"
	"time"
)

// Settings under which it could not work are refused, all at once.
func TestBreakerSettings(t *testing.T) {
	c := DefaultConfig()
	c.Breaker = Breaker{MinHits: 1, Factor: 1, Window: time.Millisecond}
	want := `breaker.share: 0% is none or all; give more than 0% and less than 100%, or enabled: false to turn it off
breaker.min_hits: 1 is out of range; choose from 10 to 1000000, or enabled: false to turn it off
breaker.factor: 1 is out of range; choose from 2 to 1000: how many times as much as it used to a rule must hit
breaker.window: 1ms is out of range; choose from 1s to 1h`
	if err := c.Validate(); err == nil || err.Error() != want {
		t.Errorf("%v, want\n%s", err, want)
	}
	c.Breaker = Breaker{Enabled: true, Share: Percent, MinHits: 10, Factor: 2, Window: time.Second}
	if err := c.Validate(); err != nil {
		t.Error(err)
	}
}

// A rule's fingerprint changes with what it hits and asks for, and with nothing else.
func TestFingerprint(t *testing.T) {
	of := func(rule string) string {
		t.Helper()
		return load(t, Options{}, "id: p.a, category: fraud, "+rule).Fingerprint("p.a")
	}
	is := of("state: live, terms: [赌博, 代孕]")
	for _, same := range []string{
		"state: shadow, terms: [赌博, 代孕]",
		"state: live, rollout: 5, terms: [赌博, 代孕]",
		"state: live, description: another, contact: a@example.com, terms: [代孕, 赌博]",
	} {
		if of(same) != is {
			t.Errorf("%s: another rule", same)
		}
	}
	for _, other := range []string{
		"state: live, terms: [赌博]",
		"state: live, terms: [赌博, 代孕], except: [反赌博]",
		"state: live, terms: [赌博, 代孕], forms: [fold]",
		"state: live, terms: [赌博, 代孕], kinds: [push]",
		"state: live, terms: [赌博, 代孕], when: event.user.group == \"minor\"",
		"state: live, terms: [赌博, 代孕], action: reject",
	} {
		if of(other) == is {
			t.Errorf("%s: the same rule", other)
		}
	}
	set := load(t, Options{}, "id: p.a, category: fraud, state: live, terms: [赌博]", "id: p.b, category: fraud, state: draft, terms: [赌博]")
	if set.Fingerprint("p.b") != "" || set.Fingerprint("p.c") != "" {
		t.Error("a rule that takes no part in matching has a fingerprint")
	}
}

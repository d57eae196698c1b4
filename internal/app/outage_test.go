package app

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/weir-moderation/weir/pipeline/push"
	"github.com/weir-moderation/weir/sinks"
	"github.com/weir-moderation/weir/sinks/evidence"
)

// What is unsettled is what was allowed without Redis since the last end of an
// outage and the last start with a policy, by the time of the decision and not by
// the place in the log; of it, what a window can still see.
func TestFindUnsettled(t *testing.T) {
	began := time.Date(2026, 11, 24, 4, 0, 0, 0, time.UTC)
	at := func(seconds float64) time.Time { return began.Add(time.Duration(seconds * float64(time.Second))) }
	type rec struct {
		kind evidence.Kind
		body any
	}
	incident := func(what string, from, until time.Time) rec {
		return rec{evidence.KindIncident, struct {
			What string `json:"what"`
			push.Outage
		}{what, push.Outage{From: from, Until: until, Error: "timeout"}}}
	}
	begin := func(s float64) rec { return incident(sinks.OutageBegin, at(s), time.Time{}) }
	end := func(s float64) rec { return incident(sinks.OutageEnd, began, at(s)) }
	start := func(policy string) rec { return rec{evidence.KindStart, map[string]string{"policy": policy}} }
	decision := func(id, word string, s float64, flags ...string) rec {
		return rec{evidence.KindPush, map[string]any{"event_id": id, "user": map[string]string{"id": "u", "group": "minor"},
			"push": map[string]any{"class": "service", "channel": "app", "decision": map[string]any{"decision": word, "at": at(s), "flags": flags}}}}
	}
	allow := func(id string, s float64) rec { return decision(id, "allow", s, "zone-defaulted", "degraded") }
	for name, c := range map[string]struct {
		list []rec
		want string
		from time.Time
	}{
		"nothing":                         {list: []rec{start("p"), decision("1", "allow", 0)}, want: "settled"},
		"an outage without end":           {list: []rec{start("p"), decision("0", "allow", -1), begin(0), allow("1", 1), decision("2", "defer", 1, "degraded"), allow("3", 2)}, want: "1 3", from: began},
		"an outage without pushes":        {list: []rec{start("p"), begin(0)}, want: "", from: began},
		"an outage with an end":           {list: []rec{start("p"), begin(0), allow("1", 1), end(5)}, want: "settled"},
		"an end that is written late":     {list: []rec{start("p"), begin(0), allow("1", 1), begin(5), allow("2", 5), end(5), allow("3", 6)}, want: "2 3"},
		"allowed before the begin stands": {list: []rec{start("p"), allow("1", 1), begin(0)}, want: "1", from: began},
		"the begin is not on record":      {list: []rec{start("p"), allow("1", 1)}, want: "1"},
		"settled by a start":              {list: []rec{start("p"), begin(0), allow("1", 1), start("p"), decision("2", "allow", 9)}, want: "settled"},
		"not by one without pushes":       {list: []rec{start("p"), begin(0), allow("1", 1), start("")}, want: "1", from: began},
		"another incident":                {list: []rec{start("p"), begin(0), allow("1", 1), {evidence.KindIncident, map[string]string{"what": "halt"}}}, want: "1", from: began},
		"too old for any window":          {list: []rec{start("p"), begin(0), allow("1", -7200), allow("2", 1)}, want: "2", from: began},
	} {
		a := newArchive(t)
		for i, r := range c.list {
			body, err := json.Marshal(r.body)
			if err != nil {
				t.Fatal(err)
			}
			e := evidence.Record{ID: evidence.ID{byte(i)}, Kind: r.kind, Class: evidence.ClassAudit, Body: body}
			if err := a.log.Append(t.Context(), []evidence.Record{e}); err != nil {
				t.Fatal(err)
			}
		}
		u, err := findUnsettled(t.Context(), a.dir, "1", nil, at(-3600))
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if u == nil {
			u = &unsettled{allowed: []push.Allowed{{ID: []byte("settled")}}}
		}
		var ids []string
		for _, p := range u.allowed {
			ids = append(ids, string(p.ID))
			if string(p.ID) != "settled" && (string(p.User) != "u" || p.Group != "minor" || p.Class != "service" || p.Channel != "app" || p.At.IsZero()) {
				t.Errorf("%s: push %+v", name, p)
			}
		}
		if got := strings.Join(ids, " "); got != c.want || !u.outage.From.Equal(c.from) {
			t.Errorf("%s: %q of an outage from %v, want %q from %v", name, got, u.outage.From, c.want, c.from)
		}
	}
	a := newArchive(t)
	if err := a.log.Append(t.Context(), []evidence.Record{{Kind: evidence.KindPush, Body: []byte(`{"degraded"`)}}); err != nil {
		t.Fatal(err)
	}
	if u, err := findUnsettled(t.Context(), a.dir, "1", nil, began); err == nil || !strings.Contains(err.Error(), "record 1") {
		t.Errorf("a record that cannot be read: %v, %v", u, fmt.Sprint(err))
	}
	if u, err := findUnsettled(t.Context(), t.TempDir(), "1", nil, began); u != nil || err != nil {
		t.Errorf("no log: %v, %v", u, err)
	}
}

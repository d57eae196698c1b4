package app_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/weir-moderation/weir/pipeline"
	"github.com/weir-moderation/weir/sinks/evidence"
	"github.com/weir-moderation/weir/sinks/evidence/body"
	"github.com/weir-moderation/weir/sinks/evidence/evidencetest"
)

// A rule that suddenly hits everything loses its action and nothing else: what it hits is still on record,
// as in shadow; everybody is told; a reload changes nothing about it, and one request gives it back.
func TestFloodTakesTheAction(t *testing.T) {
	d := startDaemon(t)
	d.write(t, "with-rules.yaml", string(d.world.Config())+"\nrules:\n  dir: rules\n  breaker: {window: 1s, min_hits: 20}\n")
	d.reload(t, http.StatusOK, "reloaded")
	d.await(t, "/-/rules/tripped", `{"tripped":[]}`)
	if code, body := d.ask(t, http.MethodPost, "/-/rules/restore?rule=gambling.x"); code != http.StatusUnprocessableEntity ||
		!strings.Contains(body, `rule "gambling.x" has not lost its action; those that have: none`) {
		t.Errorf("restore of a rule that acts: %d %s", code, body)
	}

	sent := 0
	flood := func() {
		for range 40 {
			sent++
			d.post(t, fmt.Sprint("flood", sent))
		}
	}
	flood()
	d.find(t, "weir.review", "flood1")
	tripped := d.await(t, "/-/rules/tripped", `"rule":"gambling.x"`)
	var answer struct{ Tripped []pipeline.Trip }
	if err := json.Unmarshal([]byte(tripped), &answer); err != nil || len(answer.Tripped) != 1 || answer.Tripped[0].Hits < 20 ||
		answer.Tripped[0].Usual != nil || answer.Tripped[0].Time.IsZero() {
		t.Errorf("tripped: %s, %v", tripped, err)
	}
	d.await(t, "/metrics", "weir_rules_tripped 1")
	metrics := d.await(t, "/metrics", "weir_rule_trips_total 1")
	docs, err := os.ReadFile("../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	listed, err := os.ReadFile("../../docs/metrics.md") // of a daemon with everything on
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range regexp.MustCompile(`weir_[a-z_]+`).FindAllString(string(docs), -1) {
		if !strings.Contains(metrics, "\n"+name) && !strings.Contains(string(listed), "`"+name) {
			t.Errorf("docs/operations.md speaks of %s, which is no metric", name)
		}
	}

	d.post(t, "in-shadow")
	d.reload(t, http.StatusOK, "reloaded")
	d.post(t, "in-shadow-after-reload")
	d.await(t, "/metrics", `weir_shadow_hits_total{category="gambling",severity="low"}`)
	d.recorded(t, "in-shadow-after-reload")

	if got := d.memory(t)["gambling.x"]; got.Trip == nil || got.Most.Hits < 20 {
		t.Errorf("kept for the next start: %+v", got)
	}

	if code, body := d.ask(t, http.MethodPost, "/-/rules/restore?rule=gambling.x"); code != http.StatusOK || body != "restored\n" {
		t.Errorf("restore: %d %s", code, body)
	}
	d.await(t, "/-/rules/tripped", `{"tripped":[]}`)
	d.await(t, "/metrics", "weir_rules_tripped 0")
	if got := d.memory(t)["gambling.x"]; got.Trip != nil || got.Accepted.Hits < 20 {
		t.Errorf("kept for the next start: %+v", got)
	}
	d.post(t, "acts-again")
	d.find(t, "weir.review", "acts-again")
	for _, r := range d.seen {
		if strings.Contains(string(r.Value), `"in-shadow`) {
			t.Errorf("what a rule in shadow hit is on %s", r.Topic)
		}
	}
	d.stop(t)

	// Evidence has every hit, as it was then, and what came into force and why.
	states, digests := make(map[string]string), []string{}
	var changes []string
	walk(t, d, func(kind evidence.Kind, body []byte) {
		var b struct {
			EventID  string `json:"event_id"`
			Action   string
			Hits     []struct{ State string }
			Rules    string
			InShadow []string `json:"in_shadow"`
			Tripped  []pipeline.Trip
			Restored string
		}
		if err := json.Unmarshal(body, &b); err != nil {
			t.Fatal(err)
		}
		switch kind {
		case evidence.KindStart, evidence.KindRuleSet:
			digests = append(digests, b.Rules)
			changes = append(changes, fmt.Sprintf("%s in shadow %v tripped %d restored %q", kind, b.InShadow, len(b.Tripped), b.Restored))
		case evidence.KindHit:
			if !slices.Contains(digests, b.Rules) {
				t.Error("a verdict names a rule set that came into force later")
			}
			states[b.EventID] = b.Action + " " + b.Hits[0].State
		}
	})
	want := []string{
		`start in shadow [] tripped 0 restored ""`,
		`ruleset in shadow [] tripped 0 restored ""`,
		`ruleset in shadow [gambling.x] tripped 1 restored ""`,
		`ruleset in shadow [gambling.x] tripped 0 restored ""`,
		`ruleset in shadow [] tripped 0 restored "gambling.x"`,
	}
	if !slices.Equal(changes, want) {
		t.Errorf("on record:\n%s\nwant:\n%s", strings.Join(changes, "\n"), strings.Join(want, "\n"))
	}
	for i := range sent {
		if states[fmt.Sprint("flood", i+1)] == "" {
			t.Errorf("the hit in flood%d is not on record", i+1)
		}
	}
	for id, state := range map[string]string{"flood1": "review ", "in-shadow": "pass shadow", "in-shadow-after-reload": "pass shadow", "acts-again": "review "} {
		if states[id] != state {
			t.Errorf("%s is on record as %q, want %q", id, states[id], state)
		}
	}
	report, err := evidence.Verify(d.world.EvidenceDir(), evidence.VerifyOptions{})
	if err != nil || !report.OK() {
		t.Errorf("evidence does not verify: %v, %v", err, report)
	}
	if !strings.Contains(d.log.String(), `"rule":"gambling.x"`) || strings.Contains(d.log.String(), "违禁测试词") {
		t.Error("the log does not name the rule, or quotes content")
	}
}

// post sends a post that the rule hits.
func (d *running) post(t *testing.T, id string) {
	t.Helper()
	d.send(t, "weir.posts", "u1", map[string]any{"id": id, "time": "2026-03-01T12:00:00Z", "user": map[string]any{"id": "u1"},
		"fields": map[string]string{"text": "这里有违禁测试词"}})
}

// memory is what the daemon keeps for its next start.
func (d *running) memory(t *testing.T) pipeline.Memory {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(d.world.EvidenceDir(), "breaker.json"))
	if err != nil {
		t.Fatal(err)
	}
	var m pipeline.Memory
	if err := json.Unmarshal(text, &m); err != nil {
		t.Fatal(err)
	}
	return m
}

// recorded waits until evidence has the hit of an event.
func (d *running) recorded(t *testing.T, id string) {
	t.Helper()
	for {
		found := false
		walk(t, d, func(kind evidence.Kind, body []byte) {
			found = found || kind == evidence.KindHit && strings.Contains(string(body), `"`+id+`"`)
		})
		if found {
			return
		}
		d.await(t, "/-/healthy", "healthy") // the daemon goes on
		if t.Context().Err() != nil {
			t.Fatalf("no record of %s", id)
		}
	}
}

func walk(t *testing.T, d *running, f func(evidence.Kind, []byte)) {
	t.Helper()
	if err := evidencetest.Walk(d.world.EvidenceDir(), func(e evidence.Entry) error {
		text, err := body.JSON(e.Kind, e.Encoding, e.Body)
		f(e.Kind, text)
		return err
	}); err != nil {
		t.Fatal(err)
	}
}

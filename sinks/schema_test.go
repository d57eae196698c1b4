package sinks_test

import (
	"bytes"
	"encoding/json"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/weir-moderation/weir/pipeline"
	"github.com/weir-moderation/weir/pipeline/push"
	"github.com/weir-moderation/weir/rules"
	"github.com/weir-moderation/weir/rules/form"
	"github.com/weir-moderation/weir/sinks"
	"github.com/weir-moderation/weir/sinks/evidence/anchor"
)

// written are the schemas of what Weir writes.
var written = []string{"verdict.json", "review.json", "decision.json", "evidence.json"}

// definitions returns what the schemas define, by name. What several define
// under one name must be the same, described, and used.
func definitions(t *testing.T) map[string]any {
	t.Helper()
	all := make(map[string]any)
	for _, name := range written {
		text := readFile(t, filepath.Join(docs, "schemas", name))
		var s struct {
			Description string
			Defs        map[string]map[string]any `json:"$defs"`
		}
		if err := json.Unmarshal([]byte(text), &s); err != nil {
			t.Fatal(err)
		}
		if s.Description == "" {
			t.Errorf("%s is not described", name)
		}
		for d, def := range s.Defs {
			if before, ok := all[d]; ok {
				if diff := cmp.Diff(before, any(def)); diff != "" {
					t.Errorf("%s: %s is defined otherwise elsewhere: %s", name, d, diff)
				}
			}
			all[d] = def
			if def["description"] == nil {
				t.Errorf("%s: %s is not described", name, d)
			}
			if !strings.Contains(text, `"#/$defs/`+d+`"`) {
				t.Errorf("%s: %s is not used", name, d)
			}
		}
	}
	return all
}

// enum returns the words a schema allows at a place.
func enum(t *testing.T, v any, path ...any) []string {
	t.Helper()
	var list []string
	for _, w := range at(t, v, append(path, "enum")...).([]any) {
		list = append(list, w.(string))
	}
	return list
}

// The words in the schemas are those of the code: none is missing, none is too many.
func TestSchemasKnowEveryWord(t *testing.T) {
	defs := any(definitions(t))
	same := func(what string, want, got []string) {
		t.Helper()
		slices.Sort(want)
		slices.Sort(got)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s, -code +schema:\n%s", what, diff)
		}
	}
	var reasons, decisions, passedOn []string
	for _, r := range push.Reasons() {
		reasons = append(reasons, string(r.Reason))
	}
	same("reasons", reasons, enum(t, defs, "reason"))
	for _, o := range push.Outcomes() {
		if !slices.Contains(decisions, string(o.Decision)) {
			decisions = append(decisions, string(o.Decision))
		}
		if o.Decision != push.Deny {
			passedOn = append(passedOn, string(o.Reason))
		}
	}
	same("decisions", decisions, enum(t, defs, "decided"))
	same("reasons of what is passed on", passedOn, readAsyncAPI(t).Components.Schemas["passedOn"].Properties["weir-reason"].Enum)
	same("actions", []string{rules.Pass.String(), rules.Review.String(), rules.Reject.String()}, enum(t, defs, "action"))
	same("severities", []string{rules.Low.String(), rules.Medium.String(), rules.High.String(), rules.Critical.String()},
		enum(t, defs, "hit", "properties", "severity"))
	same("forms", form.Names(), enum(t, defs, "form"))
	same("confidences", []string{"high", "low"}, enum(t, defs, "hit", "properties", "confidence"))
	stages := []string{string(pipeline.StageFetch), string(pipeline.StageDecode), string(pipeline.StageJudge), string(pipeline.StageOutput)}
	same("stages", stages, enum(t, defs, "deadLetterRecord", "properties", "stage"))
	same("stages in headers", stages, readAsyncAPI(t).Components.Schemas["deadLetter"].Properties["weir-stage"].Enum)

	if text := at(t, defs, "original", "properties", "value", "description").(string); !strings.Contains(text, "above 8 MiB") || sinks.MaxOriginalBytes != 8<<20 {
		t.Errorf("evidence keeps %d bytes of a message; the schema says: %s", sinks.MaxOriginalBytes, text)
	}

	decision := at(t, defs, "decision", "properties")
	same("flags", (^push.Flags(0)).Words(), enum(t, decision, "flags", "items"))
	var scopes []string
	for _, scope := range push.Scopes() {
		scopes = append(scopes, string(scope))
	}
	same("scopes of halts", scopes, enum(t, decision, "halt", "properties", "scope"))
	same("states of consent", []string{string(push.ConsentNotNeeded), string(push.ConsentNone), string(push.ConsentGranted), string(push.ConsentLater),
		string(push.ConsentWithdrawn), string(push.ConsentUnknown)}, enum(t, decision, "consent", "properties", "state"))
	same("sources of a group", []string{string(push.GroupFromPolicy), string(push.GroupFromEvent), string(push.GroupFromProfile), string(push.GroupFromBoth)},
		enum(t, decision, "group_source"))
	same("who sets limits", []string{string(push.ByPolicy), string(push.ByPreset), string(push.ByUser)},
		enum(t, decision, "limits", "items", "properties", "by"))
	var causes []string
	for _, c := range push.BreachCauses() {
		causes = append(causes, string(c))
	}
	same("causes of a breach", causes, enum(t, defs, "breachRecord", "properties", "cause"))
	same("what is said of an outage", []string{sinks.OutageBegin, sinks.OutageEnd}, enum(t, defs, "outageRecord", "properties", "what"))
	var alarms []string
	for _, a := range anchor.Alarms() {
		alarms = append(alarms, string(a))
	}
	same("alarms about other logs", alarms, enum(t, defs, "peerRecord", "properties", "what"))
	same("sources of a zone", []string{string(push.ZoneFromProfile), string(push.ZoneFromPolicy)}, enum(t, decision, "zone_source"))
}

// Every name of a decision is described, and every described name is one.
func TestSchemasDescribeEveryNameOfADecision(t *testing.T) {
	defs := any(definitions(t))
	for _, c := range []struct {
		of   reflect.Type
		path []any
	}{
		{reflect.TypeFor[push.Decision](), []any{"decision", "properties"}},
		{reflect.TypeFor[push.Halt](), []any{"decision", "properties", "halt", "properties"}},
		{reflect.TypeFor[push.ConsentUse](), []any{"decision", "properties", "consent", "properties"}},
		{reflect.TypeFor[push.LimitUse](), []any{"decision", "properties", "limits", "items", "properties"}},
		{reflect.TypeFor[push.Breach](), []any{"breachRecord", "properties"}},
		{reflect.TypeFor[pipeline.HitReport](), []any{"hit", "properties"}},
	} {
		var want, got []string
		for _, f := range reflect.VisibleFields(c.of) {
			if f.Anonymous {
				continue // its fields stand beside the others
			}
			name, _, _ := strings.Cut(f.Tag.Get("json"), ",")
			want = append(want, name)
		}
		for name, p := range at(t, defs, c.path...).(map[string]any) {
			got = append(got, name)
			if at(t, p, "description") == nil && at(t, p, "$ref") == nil {
				t.Errorf("%v: %s is not described", c.of, name)
			}
		}
		slices.Sort(want)
		slices.Sort(got)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%v, -code +schema:\n%s", c.of, diff)
		}
	}
}

// A verdict as weir judge prints it is what its schema says.
func TestVerdictLineKeepsItsSchema(t *testing.T) {
	d := newDesk(t)
	verdict := schema(t, "verdict.json")
	for _, v := range []*pipeline.Verdict{d.post(t, "nothing"), d.post(t, "forbiddenstuff shadowystuff"), d.push(t, "terriblestuff", noon, 5)} {
		text, err := json.Marshal(v.Report())
		if err != nil {
			t.Fatal(err)
		}
		validate(t, verdict, text)
	}
}

// A form is one word or several, as the code joins them, and nothing else.
func TestSchemaOfForms(t *testing.T) {
	d := newDesk(t)
	line := d.post(t, "forbiddenstuff").Report()
	verdict := schema(t, "verdict.json")
	valid := func(word string) bool {
		line.Hits[0].Form = word
		text, err := json.Marshal(line)
		if err != nil {
			t.Fatal(err)
		}
		v, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		return verdict.Validate(v) == nil
	}
	for f := form.Fold; f <= form.All; f++ {
		if !valid(f.String()) {
			t.Fatalf("%s is refused", f)
		}
	}
	for _, word := range []string{"", "fold+squeeze", "squeeze+fold", "squeeze+", "+squeeze", "squeeze,leet", "squeeze leet", "Squeeze", "sound"} {
		if valid(word) {
			t.Errorf("%q is taken for a form", word)
		}
	}
}

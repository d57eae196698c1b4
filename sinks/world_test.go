package sinks_test

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/weir-moderation/weir/configs"
	"github.com/weir-moderation/weir/pipeline"
	"github.com/weir-moderation/weir/pipeline/event"
	"github.com/weir-moderation/weir/pipeline/push"
	"github.com/weir-moderation/weir/rules"
)

// noon is a time at which nobody in Shanghai, the policy's zone, rests.
var noon = time.Date(2026, 11, 24, 4, 0, 0, 0, time.UTC)

// desk judges messages as the pipeline does, but for Redis: profiles and send
// logs are given.
type desk struct {
	set    *rules.Set
	policy *push.Policy
	offset int64
}

func newDesk(t testing.TB) *desk {
	t.Helper()
	register, err := rules.ParseRegister("categories.yaml", []byte("categories:\n  - code: test\n    name: Test\n    name_zh: 测试\n"))
	if err != nil {
		t.Fatal(err)
	}
	set, err := rules.Load(fstest.MapFS{"test.yaml": &fstest.MapFile{Data: []byte(`
pack: test
rules:
  - {id: test.review, category: test, severity: low, action: review, state: live, terms: [forbiddenstuff, 违禁品]}
  - {id: test.reject, category: test, severity: critical, action: reject, state: live, terms: [terriblestuff]}
  - {id: test.shadow, category: test, severity: critical, action: reject, state: shadow, terms: [shadowystuff]}
  - {id: test.twins, category: test, severity: low, action: review, state: live, terms: [qwertyuiop, wertyuiop, ertyuiop, rtyuiop, tyuiop, yuiop]}
`)}}, register, rules.Options{})
	if err != nil {
		t.Fatal(err)
	}
	src, err := configs.FS.ReadFile("push.yaml")
	if err != nil {
		t.Fatal(err)
	}
	policy, err := push.ParsePolicy("push.yaml", src)
	if err != nil {
		t.Fatal(err)
	}
	return &desk{set: set, policy: policy}
}

// judge returns the verdict on a message.
func (d *desk) judge(t testing.TB, kind event.Kind, value string, headers ...event.Header) *pipeline.Verdict {
	t.Helper()
	d.offset++
	local := noon.Add(-time.Second).In(time.FixedZone("", 3600)) // what a client makes of Kafka's timestamps
	r := &pipeline.Record{Offset: d.offset, Time: local, Key: []byte("as-received"), Value: []byte(value), Headers: headers}
	v, err := pipeline.NewJudge(event.DefaultConfig()).Judge(d.set, kind, headers, r.Value, new(event.Event))
	if err != nil {
		t.Fatalf("%s: %v", value, err)
	}
	topic := map[event.Kind]string{event.Post: "weir.posts", event.Push: "weir.pushes"}[kind]
	v.ID = pipeline.NewID("test", topic, 3, r.Offset, kind.String(), 0, v.Rules)
	v.Origin, v.Record = pipeline.Origin{Source: "test", Topic: topic, Partition: 3}, r
	return &v
}

// decide adds the decision on a push, at a time, to a user who agreed to all of
// it but to no more than daily pushes a day.
func (d *desk) decide(t testing.TB, v *pipeline.Verdict, now time.Time, daily int) *pipeline.Verdict {
	t.Helper()
	consent := &event.Event{Kind: event.Consent, User: event.User{ID: v.Event.User.ID}}
	consent.Consent = event.ConsentPart{Version: 3, Zone: []byte("Asia/Shanghai"), Quiet: []byte("23:00-07:00"), DailyMax: daily}
	consent.Consent.Grants = []event.Grant{{Class: v.Event.Push.Class, Channel: v.Event.Push.Channel, Granted: true, Time: noon.AddDate(0, -1, 0)}}
	profile, err := push.ProfileFrom(d.policy, consent)
	if err != nil {
		t.Fatal(err)
	}
	request := push.NewRequest(v.Event)
	decision, _ := push.Decide(now, d.policy, &profile, nil, &request)
	decision.Pseudonym, decision.PseudonymKey = "pseudonym-redis_", "01234567"
	if decision.Decision == push.Allow {
		decision.Mark = "0123456789abcdef"
	}
	v.Policy = d.policy.Digest()
	v.Decision = &decision
	if v.Action != rules.Pass {
		v.Decision = &push.Decision{Decision: push.Deny, Reason: push.ReasonContent, At: now}
	}
	v.Reason = pipeline.Reason(v.Decision.Reason)
	return v
}

func (d *desk) post(t testing.TB, text string) *pipeline.Verdict {
	t.Helper()
	return d.judge(t, event.Post, postOf(text))
}

// postOf returns a post with everything a post can have.
func postOf(text string) string {
	return `{"id":"post-1","time":"2026-11-24T04:00:00Z","user":{"id":"user-1","group":"minor","verified":true},` +
		`"operation":"comment","fields":{"title":"<hello> & \u2028 good bye","text":` + quote(text) + `},` +
		`"attachments":[{"uri":"s3://bucket/a.png","sha256":"` + strings.Repeat("ab", 32) + `","media_type":"image/png","scan":"clean"}],` +
		`"client":{"address":"203.0.113.7","port":50123,"device":{"model":"P60","os":"Android 16","id":"d-77","app":"reader/4.1"}},` +
		`"server":{"address":"2001:db8::1","port":443}}`
}

func (d *desk) push(t testing.TB, text string, now time.Time, daily int, headers ...event.Header) *pipeline.Verdict {
	t.Helper()
	return d.decide(t, d.judge(t, event.Push, pushOf(text), headers...), now, daily)
}

// pushOf returns a push with everything a push can have.
func pushOf(text string) string {
	return `{"id":"push-1","time":"2026-11-24T03:59:00Z","user":{"id":"user-1","group":"default"},"fields":{"text":` + quote(text) + `},` +
		`"class":"marketing","channel":"app","campaign":"c-1","sender":"s-1","label":"广告","personalised":true,"expires":"2026-11-25T03:00:00Z"}`
}

func quote(s string) string {
	b, err := json.Marshal(s)
	if err != nil {
		panic(err)
	}
	return string(b)
}

func dead(v *pipeline.Verdict) pipeline.DeadLetter {
	return pipeline.DeadLetter{
		ID:     pipeline.NewID("test", v.Origin.Topic, v.Origin.Partition, v.Record.Offset, "deadletter", 0, v.Rules),
		Origin: v.Origin, Record: v.Record, Kind: event.Post,
		Stage: pipeline.StageDecode, Reason: "missing", Detail: "event: user.id: missing", Rules: v.Rules,
	}
}

// broken returns a dead letter of a message.
func (d *desk) broken(r pipeline.Record) pipeline.DeadLetter {
	d.offset++
	r.Offset = d.offset
	return dead(&pipeline.Verdict{Origin: pipeline.Origin{Source: "test", Topic: "weir.posts", Partition: 3}, Record: &r, Rules: d.set.Digest()})
}

// output puts verdicts into an output.
func output(verdicts ...*pipeline.Verdict) *pipeline.Output {
	out := new(pipeline.Output)
	for _, v := range verdicts {
		out.Verdicts = append(out.Verdicts, *v)
	}
	return out
}

const docs = "../docs"

// schema compiles a published schema, or a part of it, and closes it: the
// published ones leave room for what later versions add, a message of today must
// hold nothing that is not described.
func schema(t testing.TB, name string) *jsonschema.Schema {
	t.Helper()
	file, _, _ := strings.Cut(name, "#")
	s, err := jsonschema.UnmarshalJSON(strings.NewReader(readFile(t, filepath.Join(docs, "schemas", file))))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	if err := c.AddResource("file:///"+file, closed(s)); err != nil {
		t.Fatal(err)
	}
	compiled, err := c.Compile("file:///" + name)
	if err != nil {
		t.Fatal(err)
	}
	return compiled
}

// closed lets every object have only the properties that are described.
func closed(s any) any {
	switch s := s.(type) {
	case map[string]any:
		for _, v := range s {
			closed(v)
		}
		// Schemas under "if" and "then" have no type of their own.
		if s["type"] == "object" && s["properties"] != nil {
			s["additionalProperties"] = false
		}
		delete(s, "$id")
	case []any:
		for _, v := range s {
			closed(v)
		}
	}
	return s
}

// validate reports what a schema has against a JSON text, and reads the text.
func validate(t testing.TB, s *jsonschema.Schema, text []byte) map[string]any {
	t.Helper()
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		t.Fatalf("%v: %s", err, text)
	}
	if err := s.Validate(v); err != nil {
		t.Errorf("%s\n%v", text, err)
	}
	var m map[string]any
	if err := json.Unmarshal(text, &m); err != nil {
		t.Fatal(err)
	}
	return m
}

// at returns what stands in a JSON value under a path of names and indices.
func at(t testing.TB, v any, path ...any) any {
	t.Helper()
	for _, p := range path {
		switch p := p.(type) {
		case string:
			m, ok := v.(map[string]any)
			if !ok {
				t.Fatalf("%v: no object at %v in %v", path, p, v)
			}
			v = m[p]
		case int:
			l, ok := v.([]any)
			if !ok || p >= len(l) {
				t.Fatalf("%v: no element %d in %v", path, p, v)
			}
			v = l[p]
		}
	}
	return v
}

func readFile(t testing.TB, name string) string {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

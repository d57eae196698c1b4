package sinks_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weir-moderation/weir/pipeline"
	"github.com/weir-moderation/weir/pipeline/push"
	"github.com/weir-moderation/weir/sinks"
)

// Of what the decisions topic gets, the allowed pushes are read back as they were
// decided, and nothing else is taken for one.
func TestReadAllowed(t *testing.T) {
	d := newDesk(t)
	brokers := testBrokers(t)
	reader := sinks.NewAllowedReader()
	odd := d.decide(t, d.judge(t, 0, strings.NewReplacer("push-1", `a\"b\u4e2d`, "user-1", `u\\1`).Replace(pushOf("come and buy"))), noon, 5)
	for _, c := range []struct {
		name string
		v    *pipeline.Verdict
		want push.Sent // empty for none
	}{
		{"allowed", d.push(t, "come and buy", noon, 5), push.Sent{User: []byte("user-1"), ID: []byte("push-1"), Class: []byte("marketing"), Channel: []byte("app"), Group: []byte("default"), At: noon}},
		{"odd ids", odd, push.Sent{User: []byte(`u\1`), ID: []byte(`a"b中`), Class: []byte("marketing"), Channel: []byte("app"), Group: []byte("default"), At: noon}},
		{"a shadow rule hit", d.push(t, "shadowystuff", noon, 5), push.Sent{User: []byte("user-1"), ID: []byte("push-1"), Class: []byte("marketing"), Channel: []byte("app"), Group: []byte("default"), At: noon}},
		{"deferred", d.push(t, "come and buy", noon.Add(11*time.Hour), 5), push.Sent{}},
		{"denied", d.push(t, "come and buy", noon, 0), push.Sent{}},
		{"a post", d.post(t, "forbiddenstuff"), push.Sent{}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s, read := newKafka(t, brokers)
			if err := s.Write(t.Context(), output(c.v)); err != nil {
				t.Fatal(err)
			}
			list := read(s.Config.Decisions)
			if len(list) != 1 {
				t.Fatalf("%d messages", len(list))
			}
			got, allowed, err := reader.Read(list[0].Value)
			if err != nil || allowed != (len(c.want.User) > 0) || allowed && !cmp.Equal(got, c.want) {
				t.Errorf("%v, %v:\n%s", allowed, err, cmp.Diff(c.want, got))
			}
		})
	}
	for _, value := range []string{"", "null", "[]", "{", `{"kind":"nothing"}`, `{"event_id":"1"}`,
		`{"kind":"push","decision":"allow","event_id":"1","user":{"id":"u"},"push":{"class":"c","channel":"d"}}`,
		`{"kind":"push","decision":"allow","event_id":"1","user":{"id":"u"},"push":{"class":"c","channel":"d","decision":{"at":"noon"}}}`,
		`{"kind":"push","decision":"allow","event_id":1,"user":"u","push":[],"id":{}}`} {
		if got, allowed, err := reader.Read([]byte(value)); err == nil || allowed {
			t.Errorf("%q was read as %+v", value, got)
		}
	}
}

func BenchmarkReadAllowed(b *testing.B) {
	value, err := json.Marshal(map[string]any{"kind": "push", "decision": "allow", "event_id": "push-1234567890", "user": map[string]string{"id": "user-12345678"},
		"push": map[string]any{"class": "marketing", "channel": "app", "decision": map[string]any{"at": "2026-11-24T04:00:00Z",
			"limits": make([]push.LimitUse, 4), "quiet": []string{"22:00-08:00"}, "group": "default", "zone": "Asia/Shanghai"}}})
	if err != nil {
		b.Fatal(err)
	}
	reader := sinks.NewAllowedReader()
	b.SetBytes(int64(len(value)))
	b.ReportAllocs()
	for b.Loop() {
		if _, allowed, err := reader.Read(value); !allowed || err != nil {
			b.Fatal(allowed, err)
		}
	}
}

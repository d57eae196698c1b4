package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/alicebob/miniredis/v2/server"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/weir-moderation/weir/sinks"
	"github.com/weir-moderation/weir/sinks/evidence"
)

// embeddedRedis returns the address of a Redis that says of itself what a daemon asks.
func embeddedRedis(t *testing.T) string {
	t.Helper()
	redis := miniredis.RunT(t)
	redis.Server().SetPreHook(func(p *server.Peer, cmd string, args ...string) bool {
		if !strings.EqualFold(cmd, "INFO") || len(args) == 0 {
			return false
		}
		p.WriteBulk("# it\r\nmaxmemory_policy:noeviction\r\nrole:master\r\nconnected_slaves:0\r\nrun_id:5b3f\r\nmaster_replid:9c1e\r\n")
		return true
	})
	return redis.Addr()
}

// The process is killed after the evidence of what it was asked is on disk, and before anybody has an answer. Nobody
// was told anything; nothing of the evidence is lost; who asks the same again has the same ids, and
// the push has taken one place of its limit.
func TestKilledBetweenEvidenceAndAnswer(t *testing.T) {
	t.Parallel()
	c := embeddedBroker(t)
	redis := embeddedRedis(t)
	k := newKillRun(t, c.ListenAddrs(), sinks.AtLeastOnce)
	topic := func(name string) string { return strings.TrimSuffix(k.in, "posts") + name }
	for _, name := range []string{"pushes", "decisions", "cleared", "deferred"} {
		if _, err := k.admin.CreateTopic(t.Context(), 4, -1, nil, topic(name)); err != nil {
			t.Fatal(err)
		}
	}
	config := filepath.Join(k.dir, "weir.yaml")
	text, err := os.ReadFile(config)
	if err != nil {
		t.Fatal(err)
	}
	changed := strings.NewReplacer("posts: "+k.in+",", "posts: "+k.in+", pushes: "+topic("pushes")+",",
		"output: {", "output: {decisions: "+topic("decisions")+", cleared: "+topic("cleared")+", deferred: "+topic("deferred")+", ").Replace(string(text)) +
		"push: {pseudonym_key_file: pseudonym.key, redis: {addrs: ['" + redis + "']}}\napi: {listen: '127.0.0.1:0', deadline: 30s}\n"
	for name, text := range map[string]string{"weir.yaml": changed, "pseudonym.key": strings.Repeat("k", 32)} {
		if err := os.WriteFile(filepath.Join(k.dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var away atomic.Bool // the outputs
	c.ControlKey(int16(kmsg.Produce), func(kmsg.Request) (kmsg.Response, error, bool) {
		c.KeepControl()
		if away.Load() {
			return nil, errors.New("away"), true
		}
		return nil, nil, false
	})

	now := time.Now().UTC()
	event := func(id string, more map[string]any) string {
		e := map[string]any{"id": id, "time": now.Format(time.RFC3339), "user": map[string]any{"id": "u1"}, "fields": map[string]string{"text": "北京"}}
		for name, v := range more {
			e[name] = v
		}
		b, err := json.Marshal(e)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	push := func(id string) string {
		return event(id, map[string]any{"class": "service", "channel": "app", "expires": now.Add(time.Hour).Format(time.RFC3339), "fields": map[string]string{"body": "your parcel is here"}})
	}
	ask := func(p *life, body string) (map[string]any, error) {
		var url string
		for deadline := time.Now().Add(time.Minute); url == ""; time.Sleep(10 * time.Millisecond) {
			if time.Now().After(deadline) {
				return nil, fmt.Errorf("weir is not up: %s %s", p.status, p.log)
			}
			url = regexp.MustCompile(`http://[0-9.:]+/v1/judge`).FindString(p.status.String())
		}
		resp, err := http.Post(url, "application/json", bytes.NewReader([]byte(body)))
		if err != nil {
			return nil, err
		}
		text, err := io.ReadAll(resp.Body)
		if err := errors.Join(err, resp.Body.Close()); err != nil {
			return nil, err
		}
		if resp.StatusCode != http.StatusOK {
			return nil, fmt.Errorf("%s: %s", resp.Status, text)
		}
		var m map[string]any
		return m, json.Unmarshal(text, &m)
	}
	// records are the ids of the evidence on posts and pushes.
	records := func() (hits, pushes []string) {
		err := evidence.Walk(filepath.Join(k.dir, "evidence"), nil, func(e evidence.Entry) error {
			switch e.Kind {
			case evidence.KindHit:
				hits = append(hits, fmt.Sprintf("%x", e.ID[:]))
			case evidence.KindPush:
				pushes = append(pushes, fmt.Sprintf("%x", e.ID[:]))
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		return hits, pushes
	}

	p := k.start(t)
	p.metric(t, "weir_build_info", "")
	away.Store(true)
	failed := make(chan error, 2)
	for _, body := range []string{event("p1", nil), push("n1")} {
		go func() {
			m, err := ask(p, body)
			if err == nil {
				err = fmt.Errorf("an answer: %v", m)
			} else if strings.Contains(err.Error(), ": {") {
				err = fmt.Errorf("not killed in time: %w", err)
			} else {
				err = nil
			}
			failed <- err
		}()
	}
	var hits, pushes []string
	for deadline := time.Now().Add(20 * time.Second); len(hits) < 1 || len(pushes) < 1; hits, pushes = records() {
		if time.Now().After(deadline) {
			t.Fatalf("nothing is on record\n%s", p.log)
		}
	}
	p.kill(t)
	for range 2 {
		if err := <-failed; err != nil {
			t.Error(err)
		}
	}
	k.forget(t)
	away.Store(false)

	p = k.start(t)
	post, err := ask(p, event("p1", nil))
	if err != nil {
		t.Fatal(err)
	}
	if id := hits[0]; post["id"] != id || post["action"] != "reject" {
		t.Errorf("the post: %v, want the id %s that is on record", post, id)
	}
	first, err := ask(p, push("n1"))
	if err != nil {
		t.Fatal(err)
	}
	said, _ := first["push"].(map[string]any)
	if id := pushes[0]; first["id"] != id || first["decision"] != "allow" || said["replay"] != true {
		t.Errorf("the push: %v, want the id %s that is on record, and allowed as before", first, id)
	}
	if second, err := ask(p, push("n2")); err != nil || second["decision"] != "allow" {
		t.Errorf("the next push: %v, %v", second, err)
	}
	if n := used(t, k, topic("decisions"), "n2"); n != 1 {
		t.Errorf("before the second push %v places of the limit were taken, want 1", n)
	}
	p.terminate(t)
	hits, pushes = records()
	if !slices.Contains(hits, post["id"].(string)) || !slices.Contains(pushes, first["id"].(string)) {
		t.Error("evidence is lost")
	}
	report, err := evidence.Verify(filepath.Join(k.dir, "evidence"), evidence.VerifyOptions{})
	if err != nil || !report.OK() {
		t.Errorf("evidence does not verify: %v %v", err, report.Findings)
	}
	out, err := exec.CommandContext(t.Context(), k.weir, "ledger", "--config", config).CombinedOutput()
	if err != nil || !strings.Contains(string(out), "(asked over HTTP: counted, without offsets)") || strings.Contains(string(out), "NOT WHOLE") {
		t.Errorf("the ledger: %v\n%s", err, out)
	}
	var g evidence.Group
	if err := g.Read(filepath.Join(k.dir, "evidence")); err != nil {
		t.Fatal(err)
	}
	var sum int64
	for _, lane := range g.Topics()["/v1/judge"] {
		sum += g.Sum("/v1/judge", lane).Fetched
	}
	if sum != 3 || len(g.Bad()) > 0 {
		t.Errorf("%d on the account of the second life, want 3; %v", sum, g.Bad())
	}
}

// used returns how many places of its first limit were taken when a push was decided, by
// the topic of decisions.
func used(t *testing.T, k *killRun, topic, id string) any {
	t.Helper()
	for _, r := range k.read(t, topic) {
		var m struct {
			EventID string `json:"event_id"`
			Push    struct {
				Decision struct {
					Limits []struct {
						Count int `json:"count"`
					} `json:"limits"`
				} `json:"decision"`
			} `json:"push"`
		}
		if err := json.Unmarshal(r.Value, &m); err != nil {
			t.Fatal(err)
		}
		if m.EventID == id && len(m.Push.Decision.Limits) > 0 {
			return m.Push.Decision.Limits[0].Count
		}
	}
	return nil
}

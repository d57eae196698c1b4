package app_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"go.uber.org/goleak"

	"github.com/weir-moderation/weir/configs"
	"github.com/weir-moderation/weir/internal/app"
	"github.com/weir-moderation/weir/internal/config"
	"github.com/weir-moderation/weir/internal/demo"
	"github.com/weir-moderation/weir/sinks/evidence"
)

func TestMain(m *testing.M) {
	if os.Getenv(stageProcess) != "" {
		if err := runStage(os.Args[1]); err != nil {
			fmt.Println(err)
		}
		return
	}
	goleak.VerifyTestMain(m)
}

// A daemon with everything on, in a world with an embedded broker and Redis:
// what comes in goes where it belongs, the admin listener tells, a reload takes
// up new rules and refuses broken ones, and the end commits what is finished.
func TestDaemon(t *testing.T) {
	d := startDaemon(t)
	d.rules(t, "违禁测试词")
	d.await(t, "/-/ready", "consumer: ready")

	now := time.Now().UTC().Format(time.RFC3339)
	user := func(id string) map[string]any { return map[string]any{"id": id} }
	post := func(id, text string) map[string]any {
		return map[string]any{"id": id, "time": now, "user": user("u1"), "fields": map[string]string{"text": text}}
	}
	push := func(id, to, class, text string) map[string]any {
		return map[string]any{"id": id, "time": now, "user": user(to), "class": class, "channel": "app", "label": "广告",
			"expires": time.Now().Add(time.Hour).UTC().Format(time.RFC3339), "fields": map[string]string{"body": text}}
	}

	t.Run("a flagged post goes to reviewers", func(t *testing.T) {
		d.send(t, "weir.posts", "u1", post("p1", "一条普通的消息"))
		d.send(t, "weir.posts", "u1", post("p2", "这里有违禁测试词"))
		m := d.find(t, "weir.review", "p2")
		if m["action"] != "review" || m["reason"] != "content" {
			t.Errorf("review item %v", m)
		}
		hit := m["hits"].([]any)[0].(map[string]any)
		if hit["text"] != "违禁测试词" {
			t.Errorf("hit %v", hit)
		}
	})
	t.Run("what cannot be read goes to the dead letters as it came", func(t *testing.T) {
		d.produce(t, "weir.posts", "u1", []byte(`{"id":"broken`))
		r := d.record(t, "weir.deadletter", func(r *kgo.Record) bool { return string(r.Value) == `{"id":"broken` })
		if got := header(r, "weir-reason"); got != "truncated" {
			t.Errorf("reason %q, want truncated", got)
		}
		if got := header(r, "__connect.errors.topic"); got != "weir.posts" {
			t.Errorf("topic %q", got)
		}
	})
	t.Run("a push without consent is denied, a service push is cleared as it came", func(t *testing.T) {
		d.send(t, "weir.pushes", "user-number-two", push("n1", "user-number-two", "marketing", "spring sale now"))
		if m := d.find(t, "weir.decisions", "n1"); m["decision"] != "deny" || m["reason"] != "no-consent" {
			t.Errorf("decision %v", m)
		}
		d.send(t, "weir.pushes", "user-number-two", push("n2", "user-number-two", "service", "your parcel is here"))
		if m := d.find(t, "weir.decisions", "n2"); m["decision"] != "allow" {
			t.Errorf("decision %v", m)
		}
		d.record(t, "weir.cleared", func(r *kgo.Record) bool {
			return strings.Contains(string(r.Value), `"n2"`) && header(r, "weir-decision") == "allow"
		})
	})
	t.Run("a push with prohibited content is denied and reviewed", func(t *testing.T) {
		d.send(t, "weir.pushes", "user-number-two", push("n3", "user-number-two", "service", "违禁测试词"))
		if m := d.find(t, "weir.decisions", "n3"); m["decision"] != "deny" || m["reason"] != "content" {
			t.Errorf("decision %v", m)
		}
		d.find(t, "weir.review", "n3")
	})
	t.Run("consent given lets a push pass, withdrawn stops it", func(t *testing.T) {
		consent := func(version int, granted bool) map[string]any {
			return map[string]any{"id": fmt.Sprint("c", version), "time": now, "user": user("user-number-three"), "version": version, "zone": dayZone(),
				"grants": []any{map[string]any{"class": "marketing", "channel": "app", "granted": granted, "time": now, "method": "settings", "text_version": "1"}}}
		}
		d.send(t, "weir.consent", "user-number-three", consent(1, true))
		d.send(t, "weir.posts", "user-number-three", post("after-consent", "违禁测试词"))
		d.find(t, "weir.review", "after-consent")
		d.decideUntil(t, "allow", func(id string) map[string]any { return push(id, "user-number-three", "marketing", "spring sale now") })
		d.send(t, "weir.consent", "user-number-three", consent(2, false))
		d.decideUntil(t, "withdrawn", func(id string) map[string]any { return push(id, "user-number-three", "marketing", "spring sale now") })
	})
	t.Run("a policy that promises what this Redis cannot keep is not taken up", func(t *testing.T) {
		if !regexp.MustCompile(`redis +127\.0\.0\.1:\d+: redis 7\.0\.0, noeviction, .*, 0 replicas, clock `).MatchString(d.status.String()) {
			t.Errorf("the start says nothing of what Redis keeps:\n%s", d.status)
		}
		if !strings.Contains(d.status.String(), "send logs of at most 106 entries") {
			t.Errorf("the start does not say how long send logs can be:\n%s", d.status)
		}
		policy := shippedPolicy(t)
		d.write(t, "policy.yaml", strings.Replace(policy, "durability: primary", "durability: replicated", 1))
		d.reload(t, http.StatusUnprocessableEntity, "has no connected replica, but the policy promises durability: replicated")
		d.write(t, "policy.yaml", strings.Replace(policy, "id: svc-day", "id: svc-daily", 1))
		d.reload(t, http.StatusOK, "reloaded")
		if text := d.await(t, "/metrics", `weir_push_limit_utilisation_count{limit="svc-daily"} 0`); strings.Contains(text, `{limit="svc-day"}`) {
			t.Error("a limit that is gone has metrics")
		}
	})
	t.Run("a reload takes up new rules and refuses broken ones", func(t *testing.T) {
		d.rules(t, "新的测试词")
		d.reload(t, http.StatusOK, "reloaded")
		d.send(t, "weir.posts", "u1", post("p3", "违禁测试词 passes now, 新的测试词 does not"))
		if m := d.find(t, "weir.review", "p3"); m["hits"].([]any)[0].(map[string]any)["text"] != "新的测试词" {
			t.Errorf("review item %v", m)
		}
		d.write(t, "rules/gambling.yaml", "pack: gambling\nrules:\n  - id: gambling.x\n    categroy: gambling\n")
		d.reload(t, http.StatusUnprocessableEntity, "categroy")
		d.await(t, "/metrics", "weir_ruleset_last_load_successful 0")
		d.send(t, "weir.posts", "u1", post("p4", "新的测试词"))
		d.find(t, "weir.review", "p4")
	})
	t.Run("metrics tell and keep secrets", func(t *testing.T) {
		text := d.await(t, "/metrics", `weir_messages_total{outcome="dead_lettered",stream="post"} 1`)
		for _, line := range []string{
			`weir_verdicts_total{action="review",stream="post"} `, `weir_produced_messages_total{topic="weir.deadletter"} 1`,
			`weir_push_consent_checks_total{result="none"} 1`, `weir_push_consent_checks_total{result="not-needed"} `,
		} {
			if i := strings.Index(text, line); i < 0 || text[i+len(line)] == '0' {
				t.Errorf("the metrics do not say %s", line)
			}
		}
		for _, secret := range []string{"user-number-three", "测试词", "your parcel is here"} {
			if strings.Contains(text, secret) {
				t.Errorf("%q is in the metrics", secret)
			}
		}
	})

	d.stop(t)
	report, err := evidence.Verify(d.world.EvidenceDir(), evidence.VerifyOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if !report.OK() {
		t.Errorf("evidence does not verify: %v", report.Findings)
	}
	for _, secret := range []string{"user-number-two", "user-number-three", "测试词", "your parcel is here", "spring sale now"} {
		if strings.Contains(d.log.String(), secret) {
			t.Errorf("%q is in the log", secret)
		}
	}
	// The rules are in the evidence in clear; what was written, by whom and to whom is not.
	for _, secret := range []string{"user-number-two", "user-number-three", "这里有", "passes now", `{"id":"broken`, "your parcel is here", "spring sale now", "text_version"} {
		namesNobody(t, d.world.EvidenceDir(), secret)
	}
}

// namesNobody checks that no file of an evidence directory has a secret in clear:
// segments, bodies, indexes, keys, heads.
func namesNobody(t *testing.T, dir, secret string) {
	t.Helper()
	files := 0
	err := filepath.WalkDir(dir, func(path string, f fs.DirEntry, err error) error {
		if err != nil || !f.Type().IsRegular() {
			return err
		}
		files++
		b, err := os.ReadFile(path)
		if bytes.Contains(b, []byte(secret)) {
			t.Errorf("%q is in clear in %s", secret, path)
		}
		return err
	})
	if err != nil || files < 8 {
		t.Errorf("%d files: %v", files, err)
	}
}

// When the evidence is gone nothing goes on: the daemon ends with an error, what
// came in is not committed, and the next one judges it.
func TestDeadEvidenceEndsTheDaemon(t *testing.T) {
	d := startDaemon(t)
	d.await(t, "/-/ready", "evidence: ready")
	loseEvidence(t, d.world.EvidenceDir())
	d.send(t, "weir.posts", "u1", map[string]any{"id": "p1", "time": "2026-03-01T12:00:00Z",
		"user": map[string]any{"id": "u1"}, "fields": map[string]string{"text": "违禁测试词"}})
	select {
	case err := <-d.done:
		if !errors.Is(err, evidence.ErrBroken) {
			t.Errorf("weir ended with %v, want that the evidence log is broken", err)
		}
	case <-time.After(time.Minute):
		t.Fatal("weir goes on without evidence")
	}
	offsets, err := kadm.NewClient(d.client).FetchOffsets(t.Context(), "weir-demo")
	if err != nil {
		t.Fatal(err)
	}
	offsets.Each(func(o kadm.OffsetResponse) {
		if o.Topic == "weir.posts" && o.At > 0 {
			t.Errorf("offset %d of %s/%d is committed without evidence", o.At, o.Topic, o.Partition)
		}
	})
}

// loseEvidence takes the log away under a daemon that has just begun.
func loseEvidence(t *testing.T, dir string) {
	t.Helper()
	segments, err := filepath.Glob(filepath.Join(dir, "log", "*", "seg", "*.seg"))
	if err != nil || len(segments) != 1 {
		t.Fatal(segments, err)
	}
	if err := os.Remove(segments[0]); err != nil {
		t.Fatal(err)
	}
}

// dayZone is a time zone where it is around noon, so that rest hours stand in
// nobody's way.
func dayZone() string {
	offset := (12 - time.Now().UTC().Hour() + 24) % 24
	if offset > 12 {
		offset -= 24
	}
	if offset == 0 {
		return "Etc/GMT"
	}
	return fmt.Sprintf("Etc/GMT%+d", -offset) // POSIX signs: Etc/GMT-8 is east
}

// running is a daemon with its world.
type running struct {
	hup    chan struct{} // asks for a reload, as a signal does
	world  *demo.World
	dir    string
	url    string
	client *kgo.Client
	log    *lockedBuffer
	status *lockedBuffer
	cancel context.CancelFunc
	done   chan error
	seen   []*kgo.Record
	count  int
}

type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

// startDaemon starts a daemon with rules and a policy of its own.
func startDaemon(t *testing.T) *running {
	t.Helper()
	return startWith(t, func(d *running) string {
		d.write(t, "with-rules.yaml", strings.Replace(string(d.world.Config()), "push:\n", "push:\n  policy: policy.yaml\n", 1)+"\nrules:\n  dir: rules\n")
		d.write(t, "policy.yaml", shippedPolicy(t))
		d.rules(t, "违禁测试词")
		return filepath.Join(d.dir, "with-rules.yaml")
	})
}

// startDemo starts one as weir demo does.
func startDemo(t *testing.T) *running {
	t.Helper()
	return startWith(t, func(d *running) string { return d.world.ConfigPath() })
}

// startWith starts one in a world of its own, by the configuration that configure returns.
func startWith(t *testing.T, configure func(*running) string) *running {
	t.Helper()
	d := &running{dir: filepath.Join(t.TempDir(), "demo"), log: new(lockedBuffer), done: make(chan error, 1), hup: make(chan struct{})}
	var err error
	if d.world, err = demo.Start(t.Context(), demo.Options{Dir: d.dir, Rate: -1}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.world.Close(); err != nil {
			t.Error(err)
		}
	})
	_, out := d.world.Topics()
	if d.client, err = kgo.NewClient(kgo.SeedBrokers(d.world.Brokers()...), kgo.ConsumeTopics(out...), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart())); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.client.Close)

	file := configure(d)
	cfg, err := config.Load(file)
	if err != nil {
		t.Fatal(err)
	}
	var ctx context.Context
	ctx, d.cancel = context.WithCancel(context.Background())
	d.status = new(lockedBuffer)
	up := make(chan struct{})
	go func() {
		d.done <- app.Run(ctx, app.Options{
			Config: cfg, Load: func() (*config.Config, error) { return config.Load(file) },
			Listen: "127.0.0.1:0", Build: "test", Status: d.status, Up: func() { close(up) }, Reload: d.hup,
			Logger: slog.New(slog.NewJSONHandler(d.log, &slog.HandlerOptions{Level: slog.LevelDebug})),
		})
	}()
	t.Cleanup(d.cancel)
	select {
	case <-up:
	case err := <-d.done:
		t.Fatalf("weir ended at once: %v", err)
	case <-time.After(time.Minute):
		t.Fatal("weir is not up")
	}
	d.url = regexp.MustCompile(`http://[0-9.:]+`).FindString(d.status.String())
	return d
}

// shippedPolicy is the policy in the binary.
func shippedPolicy(t *testing.T) string {
	t.Helper()
	b, err := configs.FS.ReadFile("push.yaml")
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

func (d *running) stop(t *testing.T) {
	t.Helper()
	d.cancel()
	select {
	case err := <-d.done:
		if err != nil {
			t.Errorf("weir ended with %v", err)
		}
	case <-time.After(time.Minute):
		t.Fatal("weir does not end")
	}
}

func (d *running) write(t *testing.T, name, text string) {
	t.Helper()
	path := filepath.Join(d.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

func (d *running) rules(t *testing.T, term string) {
	d.write(t, "rules/gambling.yaml", fmt.Sprintf(
		"pack: gambling\nrules:\n  - {id: gambling.x, category: gambling, severity: low, action: review, state: live, terms: [%s]}\n", term))
}

func (d *running) send(t *testing.T, topic, key string, event map[string]any) {
	t.Helper()
	b, err := json.Marshal(event)
	if err != nil {
		t.Fatal(err)
	}
	d.produce(t, topic, key, b)
}

func (d *running) produce(t *testing.T, topic, key string, value []byte) {
	t.Helper()
	r := &kgo.Record{Topic: topic, Key: []byte(key), Value: value}
	if err := d.client.ProduceSync(t.Context(), r).FirstErr(); err != nil {
		t.Fatal(err)
	}
}

// find waits for the message about an event on a topic.
func (d *running) find(t *testing.T, topic, event string) map[string]any {
	t.Helper()
	r := d.record(t, topic, func(r *kgo.Record) bool {
		var m struct {
			EventID string `json:"event_id"`
		}
		return json.Unmarshal(r.Value, &m) == nil && m.EventID == event
	})
	var m map[string]any
	if err := json.Unmarshal(r.Value, &m); err != nil {
		t.Fatal(err)
	}
	return m
}

func (d *running) record(t *testing.T, topic string, is func(*kgo.Record) bool) *kgo.Record {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	from := 0
	for {
		for _, r := range d.seen[from:] {
			if r.Topic == topic && is(r) {
				return r
			}
		}
		from = len(d.seen)
		f := d.client.PollFetches(ctx)
		if err := f.Err(); err != nil {
			t.Fatalf("no such message on %s: %v\nlog: %s", topic, err, d.log)
		}
		d.seen = append(d.seen, f.Records()...)
	}
}

// decideUntil sends pushes until one is decided as wanted: a consent change
// travels on another topic and may arrive a moment later.
func (d *running) decideUntil(t *testing.T, want string, push func(id string) map[string]any) {
	t.Helper()
	var m map[string]any
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); {
		d.count++
		id := fmt.Sprint("try", d.count)
		d.send(t, "weir.pushes", "user-number-three", push(id))
		m = d.find(t, "weir.decisions", id)
		if m["decision"] == want || m["reason"] == want {
			return
		}
	}
	t.Errorf("never %s, at last %v", want, m)
}

// await asks the admin listener until it answers as wanted.
func (d *running) await(t *testing.T, path, text string) string {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for {
		code, body := d.ask(t, http.MethodGet, path)
		if code == http.StatusOK && strings.Contains(body, text) {
			return body
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: %d %s", path, code, body)
		}
		time.Sleep(50 * time.Millisecond) // between two questions, not for an effect
	}
}

func (d *running) reload(t *testing.T, status int, text string) {
	t.Helper()
	if code, body := d.ask(t, http.MethodPost, "/-/reload"); code != status || !strings.Contains(body, text) {
		t.Errorf("reload: %d %s; want %d with %q", code, body, status, text)
	}
}

func (d *running) ask(t *testing.T, method, path string) (int, string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, d.url+path, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Close = true
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	b, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp.StatusCode, string(b)
}

func header(r *kgo.Record, key string) string {
	for _, h := range r.Headers {
		if h.Key == key {
			return string(h.Value)
		}
	}
	return ""
}

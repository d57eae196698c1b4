package app_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/alicebob/miniredis/v2/server"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-moderation/weir/configs"
	"github.com/weir-moderation/weir/internal/app"
	"github.com/weir-moderation/weir/internal/config"
	"github.com/weir-moderation/weir/internal/demo"
	"github.com/weir-moderation/weir/sinks/evidence"
	"github.com/weir-moderation/weir/sinks/evidence/body"
	"github.com/weir-moderation/weir/sinks/evidence/evidencetest"
)

// away is a world whose Redis can go away, with any number of instances.
type away struct {
	*running // what is common to all: broker, folder, reader of the topics
	redis    *miniredis.Miniredis
	manual   *kgo.Client // chooses partitions itself
}

func newAway(t *testing.T) *away {
	t.Helper()
	w := &away{running: &running{dir: filepath.Join(t.TempDir(), "demo")}, redis: miniredis.RunT(t)}
	w.answerInfo()
	var err error
	if w.world, err = demo.Start(t.Context(), demo.Options{Dir: w.dir, Rate: -1}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.world.Close(); err != nil {
			t.Error(err)
		}
	})
	_, out := w.world.Topics()
	for _, c := range []struct {
		to      **kgo.Client
		options []kgo.Opt
	}{
		{&w.client, []kgo.Opt{kgo.ConsumeTopics(out...), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart())}},
		{&w.manual, []kgo.Opt{kgo.RecordPartitioner(kgo.ManualPartitioner())}},
	} {
		if *c.to, err = kgo.NewClient(append(c.options, kgo.SeedBrokers(w.world.Brokers()...))...); err != nil {
			t.Fatal(err)
		}
		t.Cleanup((*c.to).Close)
	}
	w.rules(t, "违禁测试词")
	policy, err := configs.FS.ReadFile("push.yaml")
	if err != nil {
		t.Fatal(err)
	}
	// A test may run over midnight.
	text := strings.Replace(string(policy), "classes: [service], days: 1, max: 30", "classes: [service], rolling: 24h, max: 30", 1)
	if text == string(policy) {
		t.Fatal("the shipped policy says something else of services")
	}
	w.write(t, "policy.yaml", text)
	return w
}

// answerInfo has the embedded Redis say what a real one says of its memory.
func (w *away) answerInfo() {
	w.redis.Server().SetPreHook(func(c *server.Peer, cmd string, args ...string) bool {
		if !strings.EqualFold(cmd, "INFO") || len(args) == 0 {
			return false
		}
		c.WriteBulk("# it\r\nmaxmemory_policy:noeviction\r\nrole:master\r\nconnected_slaves:0\r\nrun_id:5b3f\r\nmaster_replid:9c1e\r\n")
		return true
	})
}

func (w *away) gone() { w.redis.Close() }

func (w *away) back(t *testing.T) {
	t.Helper()
	if err := w.redis.Restart(); err != nil {
		t.Fatal(err)
	}
	w.answerInfo()
}

// instance starts a daemon with evidence of its own. In its configuration every
// first text of a pair is replaced by the second.
func (w *away) instance(t *testing.T, name string, pairs ...string) *running {
	t.Helper()
	d := &running{world: w.world, dir: w.dir, client: w.client, log: new(lockedBuffer), done: make(chan error, 1)}
	text := string(w.world.Config())
	pairs = append(pairs, w.world.RedisAddr(), w.redis.Addr(),
		"dir: evidence", "dir: evidence-"+name, "key_file: evidence.key", "key_file: evidence-"+name+".key",
		"\npush:\n", "\npush:\n  policy: policy.yaml\n")
	for i := 0; i < len(pairs); i += 2 {
		if strings.Count(text, pairs[i]) != 1 {
			t.Fatalf("the configuration says %q %d times", pairs[i], strings.Count(text, pairs[i]))
		}
		text = strings.Replace(text, pairs[i], pairs[i+1], 1)
	}
	d.write(t, name+".yaml", text+"\ninstance: "+name+"\nrules:\n  dir: rules\n")
	file := filepath.Join(d.dir, name+".yaml")
	cfg, err := config.Load(file)
	if err != nil {
		t.Fatal(err)
	}
	var ctx context.Context
	ctx, d.cancel = context.WithCancel(context.Background())
	status, up := new(lockedBuffer), make(chan struct{})
	go func() {
		d.done <- app.Run(ctx, app.Options{
			Config: cfg, Load: func() (*config.Config, error) { return config.Load(file) },
			Listen: "127.0.0.1:0", Build: "test", Status: status, Up: func() { close(up) },
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
	d.status = status
	d.url = regexp.MustCompile(`http://[0-9.:]+`).FindString(status.String())
	d.await(t, "/-/ready", "consumer: ready")
	return d
}

func (w *away) evidence(name string) string { return filepath.Join(w.dir, "evidence-"+name) }

// push sends a push: by an even way to the first topic of pushes, by an odd one to
// the second.
func (w *away) push(t *testing.T, way int32, user, id, class string) {
	t.Helper()
	now := time.Now().UTC()
	b, err := json.Marshal(map[string]any{"id": id, "time": now.Format(time.RFC3339), "user": map[string]any{"id": user}, "class": class, "channel": "app", "label": "广告",
		"expires": now.Add(time.Hour).Format(time.RFC3339), "fields": map[string]string{"body": "your parcel is here"}})
	if err != nil {
		t.Fatal(err)
	}
	topic := [...]string{"weir.pushes", "weir.posts"}[way%2]
	r := &kgo.Record{Topic: topic, Key: []byte(user), Value: b, Partition: way}
	if err := w.manual.ProduceSync(t.Context(), r).FirstErr(); err != nil {
		t.Fatal(err)
	}
}

func (w *away) consent(t *testing.T, user string, version int, granted bool) {
	t.Helper()
	now := time.Now().UTC().Format(time.RFC3339)
	w.send(t, "weir.consent", user, map[string]any{"id": fmt.Sprint(user, version), "time": now, "user": map[string]any{"id": user}, "version": version, "zone": dayZone(),
		"grants": []any{map[string]any{"class": "marketing", "channel": "app", "granted": granted, "time": now, "method": "settings", "text_version": "1"}}})
}

// verdict is a push decision on the topic: "allow/none degraded".
func (w *away) verdict(t *testing.T, id string) string {
	t.Helper()
	m := w.find(t, "weir.decisions", id)
	s := fmt.Sprint(m["decision"], "/", m["reason"])
	d := m["push"].(map[string]any)["decision"].(map[string]any)
	if flags, ok := d["flags"].([]any); ok && slices.Contains(flags, any("degraded")) {
		s += " degraded"
	}
	return s
}

// recorded are the bodies of an evidence log by kind.
func recorded(t *testing.T, dir string) map[evidence.Kind][]map[string]any {
	t.Helper()
	list := make(map[evidence.Kind][]map[string]any)
	err := evidencetest.Walk(dir, func(e evidence.Entry) error {
		text, err := body.JSON(e.Kind, e.Encoding, e.Body)
		if err != nil {
			return err
		}
		var m map[string]any
		if err := json.Unmarshal(text, &m); err != nil {
			return err
		}
		list[e.Kind] = append(list[e.Kind], m)
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// onRecord returns the decisions of an evidence log on pushes to a user.
func onRecord(t *testing.T, dir, user string) (list []map[string]any) {
	t.Helper()
	for _, m := range recorded(t, dir)[evidence.KindPush] {
		if m["user"].(map[string]any)["id"] == user {
			d := m["push"].(map[string]any)["decision"].(map[string]any)
			d["id"] = m["event_id"]
			list = append(list, d)
		}
	}
	return list
}

// sendLog returns the entries of a send log in Redis by state: 1 counted, 2 taken back.
func (w *away) sendLog(pseudonym string) (counted, refunded int) {
	record, _ := w.redis.Get("pg:{" + pseudonym + "}:q") // none is empty
	for i := 8; i+14 <= len(record); i += 14 {
		if record[i+5] == 1 {
			counted++
		} else {
			refunded++
		}
	}
	return counted, refunded
}

func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !is(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain: %s", what)
		}
	}
}

// Redis goes away in the middle, under two instances that have pushes to the same
// user: each class gets what the policy promises for that, nobody waits, and when
// Redis is back every push that was allowed stands in its user's log once, consent
// and cancellations of the meantime are in effect, and what exceeds a limit is
// booked in the evidence with its cause and size.
func TestRedisGoesAwayInTheMiddle(t *testing.T) {
	// Clause: push-breach
	w := newAway(t)
	// Each has a topic of pushes of its own, and both have pushes to the same user.
	instances := map[string]*running{
		"a": w.instance(t, "a", "  posts: weir.posts\n", "  posts: ''\n"),
		"b": w.instance(t, "b", "  posts: weir.posts\n", "  posts: ''\n", "  pushes: weir.pushes\n", "  pushes: weir.posts\n",
			"  consent: weir.consent\n", "  consent: ''\n", "  outcomes: weir.outcomes\n", "  outcomes: ''\n"),
	}
	w.consent(t, "known", 1, true)

	allowed := make(map[string]bool) // to everywhere
	for p := range int32(4) {
		id := fmt.Sprint("before-", p)
		w.push(t, p, "everywhere", id, "service")
		if got := w.verdict(t, id); got != "allow/none" {
			t.Fatalf("before: %s", got)
		}
		allowed[id] = true
	}
	eventually(t, "the consent is in effect", func() bool {
		w.count++
		id := fmt.Sprint("consent-", w.count)
		w.push(t, 0, "known", id, "marketing")
		return !strings.Contains(w.verdict(t, id), "no-consent")
	})

	w.gone()
	for p := range int32(4) {
		for i := range 15 {
			w.push(t, p, "everywhere", fmt.Sprint("away-", p, "-", i), "service")
		}
	}
	w.push(t, 0, "known", "code", "security")
	w.push(t, 0, "known", "parcel", "service")
	w.push(t, 0, "known", "sale", "marketing")
	w.push(t, 0, "stranger", "hello", "service")
	w.consent(t, "known", 2, false)
	w.send(t, "weir.outcomes", "known", map[string]any{"id": "o1", "time": time.Now().UTC().Format(time.RFC3339),
		"user": map[string]any{"id": "known"}, "push_id": "parcel", "result": "cancelled"})
	for id, want := range map[string]string{"code": "allow/none degraded", "parcel": "allow/none degraded", "sale": "defer/store degraded", "hello": "allow/none degraded"} {
		if got := w.verdict(t, id); got != want {
			t.Errorf("away, %s: %s, want %s", id, got, want)
		}
	}
	w.record(t, "weir.cleared", func(r *kgo.Record) bool { return strings.Contains(string(r.Value), `"code"`) })
	w.record(t, "weir.deferred", func(r *kgo.Record) bool {
		return strings.Contains(string(r.Value), `"sale"`) && header(r, "weir-reason") == "store" && header(r, "weir-not-before") != ""
	})
	for p := range int32(4) {
		for i := range 15 {
			id := fmt.Sprint("away-", p, "-", i)
			switch got := w.verdict(t, id); got {
			case "allow/none degraded":
				allowed[id] = true
			case "deny/cap degraded":
			default:
				t.Errorf("away, %s: %s", id, got)
			}
		}
	}
	if len(allowed) <= 30 {
		t.Fatalf("%d allowed of at most 30: the test shows nothing", len(allowed))
	}
	for _, d := range instances {
		d.await(t, "/metrics", "weir_push_store_mode 1")
		d.await(t, "/-/ready", "redis: ready, but degraded")
	}

	w.back(t)
	for name, d := range instances {
		d.await(t, "/metrics", "weir_push_store_mode 0")
		d.await(t, "/-/ready", "redis: ready\n")
		eventually(t, "the end is on record", func() bool {
			return slices.ContainsFunc(recorded(t, w.evidence(name))[evidence.KindIncident], func(m map[string]any) bool { return m["what"] == "outage-end" })
		})
	}
	everywhere := onRecord(t, w.evidence("a"), "everywhere")[0]["pseudonym"].(string)
	if counted, refunded := w.sendLog(everywhere); counted != len(allowed) || refunded != 0 {
		t.Errorf("%d entries in the log, want the %d that were allowed", counted, len(allowed))
	}
	var known string
	for _, name := range []string{"a", "b"} {
		for _, d := range onRecord(t, w.evidence(name), "known") {
			known = d["pseudonym"].(string)
		}
	}
	eventually(t, "the cancellation is in effect", func() bool { _, refunded := w.sendLog(known); return refunded == 1 })
	eventually(t, "the withdrawal is in effect", func() bool {
		w.count++
		id := fmt.Sprint("withdrawn-", w.count)
		w.push(t, 0, "known", id, "marketing")
		return w.verdict(t, id) == "deny/withdrawn"
	})
	w.push(t, 2, "everywhere", "after", "service")
	if got := w.verdict(t, "after"); got != "deny/cap" {
		t.Errorf("after: %s, want that all that was allowed counts", got)
	}

	booked, size := 0, 0
	for name, d := range instances {
		d.stop(t)
		report, err := evidence.Verify(w.evidence(name), evidence.VerifyOptions{})
		if err != nil || !report.OK() {
			t.Errorf("evidence of %s: %v, %v", name, err, report)
		}
		list := recorded(t, w.evidence(name))
		var told []string
		for _, m := range list[evidence.KindIncident] {
			told = append(told, m["what"].(string))
		}
		if got := strings.Join(told, " "); got != "outage-begin outage-end" {
			t.Errorf("%s recorded %s", name, got)
		}
		for _, m := range list[evidence.KindBreach] {
			booked++
			size = max(size, int(m["size"].(float64)))
			if m["limit"] != "svc-day" || m["cause"] != "outage" || m["pseudonym"] != everywhere || m["user"] != nil || m["from"] == nil || m["to"] == nil {
				t.Errorf("breach %v", m)
			}
		}
		for _, secret := range []string{"everywhere", "known", "stranger"} {
			if strings.Contains(d.log.String(), `"`+secret) {
				t.Errorf("user %s is in the log of %s", secret, name)
			}
		}
	}
	if booked == 0 || size != len(allowed)-30 {
		t.Errorf("%d breaches booked, the largest of size %d; want one of size %d", booked, size, len(allowed)-30)
	}
	t.Logf("%d pushes allowed of at most 30, %d breaches", len(allowed), booked)
}

// A daemon that ends in an outage leaves what it allowed in its evidence; the next
// one enters it before it decides anything, and the one after that finds nothing
// more to do.
func TestStartSettlesWhatACrashLeftOpen(t *testing.T) {
	// Clause: push-breach
	w := newAway(t)
	d := w.instance(t, "a")
	w.push(t, 0, "u", "before", "service")
	w.verdict(t, "before")
	w.gone()
	for i := range 3 {
		w.push(t, 0, "u", fmt.Sprint("away-", i), "service")
	}
	w.push(t, 0, "u", "code", "security")
	for _, id := range []string{"away-0", "away-1", "away-2", "code"} {
		if got := w.verdict(t, id); got != "allow/none degraded" {
			t.Errorf("%s: %s", id, got)
		}
	}
	pseudonym := onRecord(t, w.evidence("a"), "u")[0]["pseudonym"].(string)
	d.stop(t)
	w.back(t)
	if n, _ := w.sendLog(pseudonym); n != 1 {
		t.Fatalf("%d entries before the start, want 1", n)
	}

	d = w.instance(t, "a")
	if n, _ := w.sendLog(pseudonym); n != 4 {
		t.Errorf("%d entries after the start, want 4", n)
	}
	ends := recorded(t, w.evidence("a"))[evidence.KindIncident]
	if m := ends[len(ends)-1]; m["what"] != "outage-end" || m["reapplied"] != 3. || m["from"] != ends[0]["from"] {
		t.Errorf("incidents %v", ends)
	}
	d.stop(t)
	d = w.instance(t, "a")
	d.stop(t)
	if n := len(recorded(t, w.evidence("a"))[evidence.KindIncident]); n != 2 {
		t.Errorf("%d incident records after one start more, want 2", n)
	}
}

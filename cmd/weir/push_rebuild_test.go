package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"math/rand"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/redis/go-redis/v9"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-moderation/weir/internal/demo"
	"github.com/weir-moderation/weir/pipeline/push"
)

// pushWorld is a daemon that decides pushes, with a broker and a Redis.
type pushWorld struct {
	t      *testing.T
	config string
	store  *push.Store
	kafka  *kgo.Client
	redis  *redis.Client
}

// startPushWorld starts a daemon on embedded servers, on the Redis at addr if
// that is not empty, under a policy without rest hours: tests run at night, too.
func startPushWorld(t *testing.T, addr string) *pushWorld {
	t.Helper()
	dir := t.TempDir()
	w, err := demo.Start(t.Context(), demo.Options{Dir: dir, Rate: -1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	})
	policy, err := os.ReadFile("testdata/push_explain.yaml")
	if err != nil {
		t.Fatal(err)
	}
	broker := w.Brokers()[0]
	config := strings.NewReplacer("$BROKER", broker, "$REDIS", cmp.Or(addr, w.RedisAddr())).Replace(`
kafka: {brokers: ["$BROKER"]}
input: {posts: weir.posts, pushes: weir.pushes, consent: weir.consent, outcomes: weir.outcomes}
output: {review: weir.review, deadletter: weir.deadletter, decisions: weir.decisions, cleared: weir.cleared, deferred: weir.deferred}
push: {policy: policy.yaml, pseudonym_key_file: key, redis: {addrs: ["$REDIS"]}}
evidence: {dir: evidence-2, key_file: evidence-2.key}
`)
	for name, text := range map[string]string{"rebuild.yaml": config, "key": fmt.Sprintf("%032d%d", rand.Int63(), time.Now().UnixNano()),
		"policy.yaml": strings.NewReplacer(`quiet: "22:00-08:00"`, "quiet: none", `quiet: "21:00-08:00"`, "quiet: none", `quiet: "20:00-08:00"`, "quiet: none").Replace(string(policy))} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	p := &pushWorld{t: t, config: filepath.Join(dir, "rebuild.yaml"), redis: redis.NewClient(&redis.Options{Addr: cmp.Or(addr, w.RedisAddr())})}
	if _, _, p.store, err = openPushes(p.config); err != nil {
		t.Fatal(err)
	}
	if p.kafka, err = kgo.NewClient(kgo.SeedBrokers(broker), kgo.ConsumeTopics("weir.decisions", "weir.consent")); err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan int, 1)
	var said bytes.Buffer
	go func() {
		done <- run(ctx, []string{"run", "--listen", "", "--config", p.config}, streams{strings.NewReader(""), &said, &said})
	}()
	t.Cleanup(func() {
		stop()
		if code := <-done; code != exitFine || t.Failed() {
			t.Errorf("the daemon ended with %d:\n%s", code, &said)
		}
		p.kafka.Close()
		if err := p.redis.Close(); err != nil {
			t.Error(err)
		}
		if err := p.store.Close(); err != nil {
			t.Error(err)
		}
	})
	return p
}

// send writes an event to a topic, under its user's id.
func (p *pushWorld) send(topic, user string, e map[string]any) {
	p.t.Helper()
	e["user"] = map[string]string{"id": user}
	e["time"] = time.Now().UTC().Format(time.RFC3339Nano)
	value, err := json.Marshal(e)
	if err != nil {
		p.t.Fatal(err)
	}
	if err := p.kafka.ProduceSync(p.t.Context(), &kgo.Record{Topic: topic, Key: []byte(user), Value: value}).FirstErr(); err != nil {
		p.t.Fatal(err)
	}
}

// user returns what Redis holds of a user.
func (p *pushWorld) user(id string) push.Inspection {
	p.t.Helper()
	u, err := p.store.InspectUser(p.t.Context(), []byte(id))
	if err != nil {
		p.t.Fatal(err)
	}
	return u
}

// until waits for the daemon.
func (p *pushWorld) until(what string, is func() bool) {
	p.t.Helper()
	for end := time.Now().Add(30 * time.Second); !is(); {
		if time.Now().After(end) {
			p.t.Fatalf("waited in vain: %s", what)
		}
		<-time.After(10 * time.Millisecond)
	}
}

// read returns the messages of a topic from where it was read last, up to one
// that is the last.
func (p *pushWorld) read(topic string, last func(*kgo.Record) bool) (list []*kgo.Record) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.t.Context(), 30*time.Second)
	defer cancel()
	for found := false; !found; {
		f := p.kafka.PollFetches(ctx)
		if err := f.Err(); err != nil {
			p.t.Fatalf("read %s: %v", topic, err)
		}
		f.EachRecord(func(r *kgo.Record) {
			if r.Topic == topic {
				list = append(list, r)
				found = found || last(r)
			}
		})
	}
	return list
}

// weir runs the command line and returns what it wrote.
func (p *pushWorld) weir(args ...string) string {
	p.t.Helper()
	var out, said bytes.Buffer
	if code := run(p.t.Context(), append(args, "--config", p.config), streams{strings.NewReader(""), &out, &said}); code != exitFine {
		p.t.Fatalf("weir %s: exit code %d\n%s", strings.Join(args, " "), code, &said)
	}
	return out.String()
}

func (p *pushWorld) logs(users int) map[string][]push.Entry {
	logs := make(map[string][]push.Entry)
	for u := range users {
		logs[userName(u)] = p.user(userName(u)).Log.Entries
	}
	return logs
}

func userName(u int) string { return fmt.Sprintf("reader-%04d", u) }

// What the daemon allowed comes back from its topics after Redis lost it, entry
// for entry and while the daemon runs; a user who is forgotten does not.
func TestPushRebuild(t *testing.T) {
	t.Run("embedded", func(t *testing.T) { testPushRebuild(t, "") })
	t.Run("real", func(t *testing.T) {
		addr := os.Getenv("WEIR_TEST_REDIS")
		if addr == "" {
			t.Skip("WEIR_TEST_REDIS is not set; give it host:port of a redis-server")
		}
		testPushRebuild(t, addr)
	})
}

func testPushRebuild(t *testing.T, addr string) {
	const users = 12
	p := startPushWorld(t, addr)
	rng := rand.New(rand.NewSource(1))
	for u := range users {
		var grants []map[string]any
		for _, class := range []string{"content", "marketing"} {
			grants = append(grants, map[string]any{"class": class, "channel": "app", "granted": true, "time": "2026-01-01T00:00:00Z", "method": "settings"})
		}
		p.send("weir.consent", userName(u), map[string]any{"id": fmt.Sprint("c", u), "version": 1, "grants": grants, "zone": "Asia/Shanghai"})
	}
	p.until("consent is in effect", func() bool { return p.user(userName(users-1)).HasProfile && p.user(userName(0)).HasProfile })

	allowed := make(map[string]string) // id to user
	send := func(id, user, class string) {
		p.send("weir.pushes", user, map[string]any{"id": id, "class": class, "channel": "app", "label": "广告", "fields": map[string]string{"text": "hello"}})
	}
	for i := range 300 {
		id := i
		if i > 0 && rng.Intn(6) == 0 {
			id = rng.Intn(i) // again
		}
		send(fmt.Sprint("p", id), userName(id%users), []string{"security", "service", "service", "content", "marketing"}[id%5])
	}
	decided := 0
	for _, r := range p.read("weir.decisions", func(r *kgo.Record) bool { decided++; return decided == 300 }) {
		var d struct {
			EventID  string `json:"event_id"`
			Decision string `json:"decision"`
			User     struct{ ID string }
		}
		if err := json.Unmarshal(r.Value, &d); err != nil {
			t.Fatal(err)
		}
		if d.Decision == "allow" {
			allowed[d.EventID] = d.User.ID
		}
	}
	cancelled := func() (n int) {
		for u := range users {
			log := p.user(userName(u)).Log
			n += log.Cancelled()
		}
		return n
	}
	last := ""                        // of those that are cancelled
	for i, n := 1, 0; n < 6; i += 5 { // of class service
		if id := fmt.Sprint("p", i); allowed[id] != "" {
			p.send("weir.outcomes", allowed[id], map[string]any{"id": "o" + id, "push_id": id, "result": "cancelled"})
			last, n = id, n+1
		}
	}
	p.until("pushes are cancelled", func() bool { return cancelled() == 6 })

	before := p.logs(users)
	if n := len(before[userName(1)]); n < 5 {
		t.Fatalf("a log has %d entries; the test shows nothing", n)
	}
	total := int64(0)
	for _, l := range before {
		total += int64(len(l))
	}
	rebuild := func(args ...string) (x rebuilt) {
		t.Helper()
		out := p.weir(append([]string{"push", "rebuild", "--json"}, args...)...)
		if err := json.Unmarshal([]byte(out), &x); err != nil {
			t.Fatal(err)
		}
		return x
	}
	if x := rebuild("--execute"); x.Inserted != 0 || x.Changed != 0 || x.Refunded != 0 || x.Known < total || len(x.OverCap) > 0 {
		t.Errorf("nothing was lost, and %+v", x)
	}
	lose := func() {
		for u := range users {
			if err := p.redis.Del(t.Context(), "pg:{"+p.user(userName(u)).Pseudonym+"}:q").Err(); err != nil {
				t.Fatal(err)
			}
		}
	}
	lose()
	if x := rebuild(); x.Executed || x.Inserted != total || len(p.user(userName(1)).Log.Entries) != 0 {
		t.Errorf("dry, of %d entries: %+v", total, x)
	}
	if x := rebuild("--execute"); !x.Executed || x.Decisions != 300 || x.Outcomes != 6 || x.Inserted != total || x.Users != users || x.Changed != users || len(x.OverCap) > 0 {
		t.Errorf("of %d entries: %+v", total, x)
	}
	if diff := gocmp.Diff(before, p.logs(users)); diff != "" {
		t.Errorf("logs before and after:\n%s", diff)
	}
	out := p.weir("push", "rebuild")
	for _, want := range []string{"300 decisions and 6 outcomes since ", "known in their logs\n", "nothing over the cap in the logs of 12 users\n", "nothing is written; do it with --execute\n"} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is not in\n%s", want, out)
		}
	}
	// A push that is delivered again is known by the log that came back.
	send(last, allowed[last], "service")
	for _, r := range p.read("weir.decisions", func(*kgo.Record) bool { return true }) {
		if !bytes.Contains(r.Value, []byte(`"reason":"cancelled"`)) {
			t.Errorf("a cancelled push, delivered again: %s", r.Value)
		}
	}

	// Forgotten: said first, then done.
	name := p.user(userName(2)).Pseudonym
	dry := p.weir("push", "forget", "--user", userName(2))
	if !strings.Contains(dry, "a tombstone would be written to the topic weir.consent\n") || !strings.Contains(dry, " of user "+name+" would be deleted in Redis\n") || !p.user(userName(2)).HasProfile {
		t.Errorf("dry: %s", dry)
	}
	done := p.weir("push", "forget", "--user", userName(2), "--execute")
	// The daemon reads the tombstone, too, and may be the one who deletes the profile.
	if !strings.Contains(done, "a tombstone is written to the topic weir.consent\n") || !strings.Contains(done, " of the send log of user "+name+" deleted in Redis\n") {
		t.Errorf("done: %s", done)
	}
	for _, said := range []string{dry, done, out, p.weir("push", "explain", "--user", userName(2)), p.weir("push", "explain", "--json", "--user", userName(2))} {
		if strings.Contains(said, "reader-") {
			t.Errorf("a user's id is shown: %s", said)
		}
	}
	p.read("weir.consent", func(r *kgo.Record) bool { return string(r.Key) == userName(2) && r.Value == nil })
	// What was allowed in the last minutes may have to be called back.
	left := p.user(userName(2))
	if left.HasProfile || slices.ContainsFunc(left.Log.Entries, func(e push.Entry) bool { return e.Tag>>3 < 2 }) {
		t.Errorf("not forgotten: %+v", left)
	}
	if x := rebuild("--execute"); x.Forgotten < int64(len(before[userName(2)])) || x.Users != users-1 {
		t.Errorf("%d pushes of a forgotten user: %+v", len(before[userName(2)]), x)
	}
	if u := p.user(userName(2)); len(u.Log.Entries) > len(left.Log.Entries) {
		t.Errorf("a rebuild brought back %+v", u)
	}
	if again := p.weir("push", "forget", "--user", userName(2), "--execute"); !strings.Contains(again, "0 pushes of the send log of user "+name) {
		t.Errorf("again: %s", again)
	}
}

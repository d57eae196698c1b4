package app_test

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"golang.org/x/mod/sumdb/note"

	"github.com/weir-moderation/weir/internal/app"
	"github.com/weir-moderation/weir/internal/config"
	"github.com/weir-moderation/weir/internal/kafka"
	"github.com/weir-moderation/weir/rules"
)

// Instances that take their rules from a topic change together: what is published is in force in all of
// them and their receipts say so; what is broken is in force in none, and all say why; what is published
// after that is taken up as if nothing had been. One that starts later has the newest.
func TestFleetChangesTogether(t *testing.T) {
	f := newFleet(t)
	v1 := f.signed(pack("一号测试词"))
	f.publishFirst(v1)
	f.start("a")
	f.start("b")
	f.agree(v1)

	v2 := f.signed(pack("二号测试词"))
	line := rulesInfo(t, v2)
	f.publish(v2)
	began := time.Now()
	f.awaitMetric("a", line)
	f.awaitMetric("b", line)
	t.Logf("in force in both instances %v after it was published", time.Since(began).Round(time.Millisecond))
	f.agree(v2)
	f.post("p2", "二号测试词")
	f.reviewed("p2")

	other, _, err := note.GenerateKey(rand.Reader, "stranger")
	if err != nil {
		t.Fatal(err)
	}
	changed := f.signed(pack("三号测试词"))
	changed["gambling.yaml"] = pack("三号测试词 ")["gambling.yaml"]
	for _, bad := range []struct {
		what string
		text []byte
		why  string
	}{
		{"a pack with a fault", text(t, f.signed(map[string]string{"gambling.yaml": "pack: gambling\nrules:\n  - id: gambling.x\n    categroy: gambling\n"})), "gambling.yaml:4:5"},
		{"a set that fails its own tests", text(t, f.signed(with(pack("三号测试词"), "gambling_test.yaml", "tests:\n  - text: 三号测试词\n    spares: [gambling.x]\n"))), "gambling_test.yaml:2"},
		{"no signature", text(t, pack("三号测试词")), "not signed"},
		{"no signature on what is in force", text(t, pack("二号测试词")), "not signed"},
		{"somebody else's signature", text(t, sign(t, pack("三号测试词"), other)), "the signature is none of the key"},
		{"a change after it was signed", text(t, changed), "were changed since they were signed"},
		{"no bundle", []byte("pack: gambling\n"), "not a bundle"},
		{"nothing", nil, "holds no rules"},
	} {
		t.Run(bad.what, func(t *testing.T) {
			f := f.with(t)
			f.publishText(bad.text)
			for _, name := range []string{"a", "b"} {
				f.refused(name, bad.why)
				r := f.receipt(name, "what it has", func(r app.Receipt) bool { return true })
				if want := digest(t, v2); r.Bundle != want {
					t.Errorf("%s has %s in force, want %s", name, r.Bundle, want)
				}
				f.awaitMetric(name, "weir_ruleset_last_load_successful 0")
				f.awaitMetric(name, line)
			}
		})
	}

	f.publish(v2) // what is in force is wanted again
	f.agree(v2)
	f.publishText(text(t, pack("四号测试词")))
	f.refused("a", "not signed")
	f.refused("b", "not signed")
	v4 := f.signed(pack("四号测试词")) // the same rules, now signed
	f.publish(v4)
	f.agree(v4)
	f.post("p4", "四号测试词")
	f.reviewed("p4")

	f.start("c")
	f.agree(v4)
	list, others, err := app.ReadReceipts(t.Context(), f.client, f.receipts)
	if err != nil || others != 0 || len(list) != 3 {
		t.Errorf("receipts %v, %d others, %v; want those of three instances", list, others, err)
	}

	// Whoever starts while the topic carries what is refused goes on with what it had last.
	f.publishText([]byte("pack: gambling\n"))
	f.refused("a", "not a bundle")
	before := f.receipt("a", "what it has", func(app.Receipt) bool { return true })
	f.stop("a")
	f.start("a")
	after := f.receipt("a", "what it has after a restart", func(r app.Receipt) bool { return r.Since > before.Since && r.Refused != nil })
	if want := digest(t, v4); after.Bundle != want || !strings.Contains(after.Refused.Why, "not a bundle") {
		t.Errorf("after a restart %+v, want %s in force", after, want)
	}
	f.awaitMetric("a", "weir_ruleset_last_load_successful 0")
	f.publish(v4)
	f.agree(v4)
	for _, name := range []string{"a", "b", "c"} {
		f.stop(name)
	}
}

// fleet are daemons that take their rules from one topic of one broker.
type fleet struct {
	t        *testing.T
	brokers  []string
	dir      string
	tag      string // begins the names of topics
	rules    string
	receipts string
	signer   string
	verifier string
	pushes   string            // a topic of pushes, if there are any
	extra    string            // the sections output and push, where there are pushes
	evidence map[string]string // of an instance, the section evidence; without it evidence-<name>
	client   *kafka.Client
	kgo      *kgo.Client
	members  map[string]*member
	seen     map[string]bool // ids of events on the review topic
}

type member struct {
	url    string
	log    *lockedBuffer
	cancel context.CancelFunc
	done   chan error
}

// newFleet returns one on the cluster that WEIR_TEST_KAFKA names, or on an embedded broker.
func newFleet(t *testing.T) *fleet {
	t.Helper()
	f := &fleet{t: t, dir: t.TempDir(), tag: fmt.Sprintf("fleet-%d", time.Now().UnixNano()), members: make(map[string]*member), seen: make(map[string]bool)}
	f.rules, f.receipts = f.tag+".rules", f.tag+".receipts"
	if a := os.Getenv("WEIR_TEST_KAFKA"); a != "" {
		f.brokers = strings.Split(a, ",")
	} else {
		c, err := kfake.NewCluster(kfake.NumBrokers(1))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(c.Close)
		f.brokers = c.ListenAddrs()
	}
	var err error
	if f.signer, f.verifier, err = note.GenerateKey(rand.Reader, "rules"); err != nil {
		t.Fatal(err)
	}
	cfg := kafka.DefaultConfig()
	cfg.Brokers = f.brokers
	if f.client, err = kafka.NewClient(cfg, kafka.Options{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := f.client.Close(); err != nil {
			t.Error(err)
		}
	})
	compact := map[string]string{"cleanup.policy": "compact"}
	if err := f.client.CreateTopics(t.Context(),
		kafka.NewTopic{Name: f.rules, Partitions: 1, Replication: 1, Config: compact},
		kafka.NewTopic{Name: f.receipts, Partitions: 3, Replication: 1, Config: compact},
		kafka.NewTopic{Name: f.tag + ".posts", Partitions: 4, Replication: 1},
		kafka.NewTopic{Name: f.tag + ".review", Partitions: 1, Replication: 1},
		kafka.NewTopic{Name: f.tag + ".dead", Partitions: 1, Replication: 1},
	); err != nil {
		t.Fatal(err)
	}
	if f.kgo, err = kgo.NewClient(kgo.SeedBrokers(f.brokers...), kgo.ConsumeTopics(f.tag+".review"), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart())); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.kgo.Close)
	return f
}

func (f *fleet) with(t *testing.T) *fleet {
	g := *f
	g.t = t
	return &g
}

// start starts an instance and waits until it is up.
func (f *fleet) start(name string) {
	f.t.Helper()
	if err := f.tryStart(name); err != nil {
		f.t.Fatalf("%s ended at once: %v", name, err)
	}
}

// tryStart starts an instance and waits until it is up or has ended. What stands before a
// colon in its name names its configuration only.
func (f *fleet) tryStart(who string) error {
	f.t.Helper()
	_, name, ok := strings.Cut(who, ":")
	if !ok {
		name = who
	}
	file := filepath.Join(f.dir, strings.ReplaceAll(who, ":", "-")+".yaml")
	if err := os.WriteFile(file, fmt.Appendf(nil, `
source: fleet
instance: %[1]s
kafka: {brokers: ["%[2]s"]}
input: {group: %[3]s, posts: %[3]s.posts, pushes: "%[7]s", session_timeout: 6s, rebalance_timeout: 6s, drain_timeout: 2s}
%[8]s
rules: {topic: %[4]s, receipts: %[5]s, verify_key: %[6]s}
evidence: {%[9]s}
`, name, strings.Join(f.brokers, `", "`), f.tag, f.rules, f.receipts, f.verifier, f.pushes, cmp.Or(f.extra, fmt.Sprintf("output: {review: %[1]s.review, deadletter: %[1]s.dead}", f.tag)),
		cmp.Or(f.evidence[who], "dir: evidence-"+name)), 0o600); err != nil {
		f.t.Fatal(err)
	}
	cfg, err := config.Load(file)
	if err != nil {
		f.t.Fatal(err)
	}
	m := &member{log: new(lockedBuffer), done: make(chan error, 1)}
	var ctx context.Context
	ctx, m.cancel = context.WithCancel(context.Background())
	status, up := new(lockedBuffer), make(chan struct{})
	go func() {
		m.done <- app.Run(ctx, app.Options{
			Config: cfg, Load: func() (*config.Config, error) { return config.Load(file) },
			Listen: "127.0.0.1:0", Build: "test", Status: status, Up: func() { close(up) },
			Logger: slog.New(slog.NewJSONHandler(m.log, nil)),
		})
	}()
	f.t.Cleanup(m.cancel)
	select {
	case <-up:
	case err := <-m.done:
		return err
	case <-time.After(time.Minute):
		f.t.Fatalf("%s is not up", name)
	}
	m.url = regexp.MustCompile(`http://[0-9.:]+`).FindString(status.String())
	f.members[who] = m
	return nil
}

func (f *fleet) stop(name string) {
	f.t.Helper()
	m := f.members[name]
	m.cancel()
	select {
	case err := <-m.done:
		if err != nil {
			f.t.Errorf("%s ended with %v", name, err)
		}
	case <-time.After(time.Minute):
		f.t.Fatalf("%s does not end", name)
	}
}

// pack is a pack of one rule.
func pack(term string) map[string]string {
	return map[string]string{"gambling.yaml": fmt.Sprintf(
		"pack: gambling\nrules:\n  - {id: gambling.x, category: gambling, severity: low, action: review, state: live, terms: [%q]}\n", term)}
}

func with(files map[string]string, name, text string) map[string]string {
	files[name] = text
	return files
}

func bundle(t *testing.T, files map[string]string) *rules.Bundle {
	t.Helper()
	fsys := fstest.MapFS{}
	for name, text := range files {
		fsys[name] = &fstest.MapFile{Data: []byte(text)}
	}
	b, err := rules.ReadBundle(fsys, "")
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func text(t *testing.T, files map[string]string) []byte { return bundle(t, files).Text() }

func digest(t *testing.T, files map[string]string) string { return bundle(t, files).Digest() }

// sign adds a signature to files.
func sign(t *testing.T, files map[string]string, key string) map[string]string {
	t.Helper()
	s, err := note.NewSigner(key)
	if err != nil {
		t.Fatal(err)
	}
	_, signature, err := bundle(t, files).Sign(s, time.Now())
	if err != nil {
		t.Fatal(err)
	}
	return with(files, rules.SignatureFile, string(signature))
}

func (f *fleet) signed(files map[string]string) map[string]string { return sign(f.t, files, f.signer) }

func (f *fleet) publish(files map[string]string) {
	f.t.Helper()
	if err := app.PublishRules(f.t.Context(), f.client, f.rules, bundle(f.t, files)); err != nil {
		f.t.Fatal(err)
	}
}

// publishFirst publishes on topics that were just made: a real broker takes a moment to lead them.
func (f *fleet) publishFirst(files map[string]string) {
	f.t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
		err := app.PublishRules(f.t.Context(), f.client, f.rules, bundle(f.t, files)) // waits for a leader by itself
		topics, topicsErr := f.client.Topics(f.t.Context(), f.receipts, f.tag+".posts", f.tag+".review", f.tag+".dead")
		if err = errors.Join(err, topicsErr); err == nil {
			for _, topic := range topics {
				err = errors.Join(err, topic.Err)
			}
		}
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			f.t.Fatal(err)
		}
	}
}

// publishText writes anything to the topic of rules; nil is a tombstone.
func (f *fleet) publishText(text []byte) {
	f.t.Helper()
	f.produce(f.rules, app.RulesKey, text)
}

func (f *fleet) produce(topic, key string, value []byte, headers ...kgo.RecordHeader) {
	f.t.Helper()
	ctx, cancel := context.WithTimeout(f.t.Context(), time.Minute)
	defer cancel()
	if err := f.kgo.ProduceSync(ctx, &kgo.Record{Topic: topic, Key: []byte(key), Value: value, Headers: headers}).FirstErr(); err != nil {
		f.t.Fatal(err)
	}
}

// agree waits until every instance says that it has these rules, and refused nothing after them.
func (f *fleet) agree(files map[string]string) {
	f.t.Helper()
	want := digest(f.t, files)
	digests := make(map[string]bool)
	for name := range f.members {
		r := f.receipt(name, "rules "+want, func(r app.Receipt) bool { return r.Bundle == want && r.Refused == nil })
		if _, err := time.Parse(time.RFC3339Nano, r.Since); err != nil || r.Build != "test" || len(r.Rules) != 64 {
			f.t.Errorf("receipt of %s: %+v", name, r)
		}
		digests[r.Rules] = true
		f.awaitMetric(name, "weir_ruleset_last_load_successful 1")
	}
	if len(digests) != 1 {
		f.t.Errorf("instances with the same rules do not judge alike: %v", digests)
	}
}

func (f *fleet) refused(name, why string) {
	f.t.Helper()
	f.receipt(name, "that it refused: "+why, func(r app.Receipt) bool { return r.Refused != nil && strings.Contains(r.Refused.Why, why) })
}

// receipt waits until the receipt of an instance is as it should be.
func (f *fleet) receipt(name, what string, is func(app.Receipt) bool) app.Receipt {
	f.t.Helper()
	for deadline := time.Now().Add(time.Minute); ; time.Sleep(20 * time.Millisecond) {
		list, _, err := app.ReadReceipts(f.t.Context(), f.client, f.receipts)
		if err != nil {
			f.t.Fatal(err)
		}
		r, ok := list["fleet/"+name]
		if ok && is(r) {
			return r
		}
		if time.Now().After(deadline) {
			f.t.Fatalf("the receipt of %s does not say %s; it is %+v, refused %+v\n%s", name, what, r, r.Refused, f.members[name].log)
		}
	}
}

// rulesInfo returns the line of metrics that names the digest of a set in force.
func rulesInfo(t *testing.T, files map[string]string) string {
	t.Helper()
	c := rules.DefaultConfig()
	set, err := app.OpenBundle(&c, bundle(t, files), "")
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("weir_ruleset_info{digest=%q,version=%q} 1", set.Digest(), digest(t, files)[:12])
}

// awaitMetric waits until the metrics of an instance have a line.
func (f *fleet) awaitMetric(name, want string) {
	f.t.Helper()
	var body []byte
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		req, err := http.NewRequestWithContext(f.t.Context(), http.MethodGet, f.members[name].url+"/metrics", nil)
		if err != nil {
			f.t.Fatal(err)
		}
		req.Close = true
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			f.t.Fatal(err)
		}
		if body, err = io.ReadAll(resp.Body); err != nil {
			f.t.Fatal(err)
		}
		_ = resp.Body.Close()
		if strings.Contains(string(body), want+"\n") {
			return
		}
	}
	f.t.Fatalf("%s has no metric %s\n%s", name, want, body)
}

// fleetUser writes all posts: a name that nothing made by chance contains.
const fleetUser = "fleet-user-1"

func (f *fleet) post(id, text string, headers ...kgo.RecordHeader) {
	f.t.Helper()
	b, err := json.Marshal(map[string]any{"id": id, "time": "2026-03-01T12:00:00Z", "user": map[string]any{"id": fleetUser}, "fields": map[string]string{"text": text}})
	if err != nil {
		f.t.Fatal(err)
	}
	f.produce(f.tag+".posts", fleetUser, b, headers...)
}

// reviewed waits until an event is on the review topic.
func (f *fleet) reviewed(id string) {
	f.t.Helper()
	ctx, cancel := context.WithTimeout(f.t.Context(), time.Minute)
	defer cancel()
	for !f.seen[id] {
		fetches := f.kgo.PollFetches(ctx)
		if err := fetches.Err(); err != nil {
			f.t.Fatalf("%s is not on the review topic: %v", id, err)
		}
		fetches.EachRecord(func(r *kgo.Record) {
			var m struct {
				EventID string `json:"event_id"`
			}
			if json.Unmarshal(r.Value, &m) == nil {
				f.seen[m.EventID] = true
			}
		})
	}
}

package checkup

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/alicebob/miniredis/v2/server"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-moderation/weir/internal/config"
)

// world is a cluster, an embedded one or the one that WEIR_TEST_KAFKA names, with a
// configuration whose topics have names that nobody else uses.
type world struct {
	t      *testing.T
	addrs  []string
	client *kgo.Client
	admin  *kadm.Client
	name   string
	redis  *miniredis.Miniredis
	// eviction is what Redis does when memory is short.
	eviction string
	cfg      *config.Config
}

// patience bounds every wait of the tests.
const patience = 30 * time.Second

// newWorld returns one of posts and pushes without any topic yet.
func newWorld(t *testing.T, brokers int) *world {
	t.Helper()
	if a := os.Getenv("WEIR_TEST_KAFKA"); a != "" {
		return joinWorld(t, strings.Split(a, ","))
	}
	return fakeWorld(t, kfake.NumBrokers(brokers))
}

func fakeWorld(t *testing.T, o ...kfake.Opt) *world {
	t.Helper()
	c, err := kfake.NewCluster(o...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return joinWorld(t, c.ListenAddrs())
}

func joinWorld(t *testing.T, addrs []string, o ...kgo.Opt) *world {
	t.Helper()
	w := &world{t: t, addrs: addrs, name: fmt.Sprintf("check-%x", rand.Int64()), eviction: "noeviction"}
	w.redis = miniredis.RunT(t)
	w.redis.Server().SetPreHook(func(c *server.Peer, cmd string, args ...string) bool {
		if !strings.EqualFold(cmd, "INFO") || len(args) != 1 {
			return false
		}
		c.WriteBulk("redis_version:7.0.0\r\nmaxmemory_policy:" + w.eviction + "\r\nrole:master\r\n")
		return true
	})
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "pseudonym.key"), []byte(strings.Repeat("k", 32)), 0o600); err != nil {
		t.Fatal(err)
	}
	var err error
	w.cfg, err = config.Parse(filepath.Join(dir, "weir.yaml"), fmt.Appendf(nil, `
kafka: {brokers: ["%[2]s"]}
input: {group: %[1]s, posts: %[1]s.posts, pushes: %[1]s.pushes, consent: %[1]s.consent, halts: %[1]s.halts}
output: {review: %[1]s.review, decisions: %[1]s.decisions, cleared: %[1]s.cleared, deferred: %[1]s.deferred, deadletter: %[1]s.deadletter, checkpoints: %[1]s.checkpoints}
push: {pseudonym_key_file: pseudonym.key, redis: {addrs: ["%[3]s"]}}
evidence: {dir: .}
`, w.name, strings.Join(addrs, `", "`), w.redis.Addr()))
	if err != nil {
		t.Fatal(err)
	}
	w.client, err = kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(addrs...), kgo.RecordPartitioner(kgo.ManualPartitioner())}, o...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.client.Close)
	w.admin = kadm.NewClient(w.client)
	return w
}

func (w *world) context() context.Context {
	ctx, cancel := context.WithTimeout(w.t.Context(), patience)
	w.t.Cleanup(cancel)
	return ctx
}

// topic is the whole name of a topic.
func (w *world) topic(name string) string { return w.name + "." + name }

// run looks at everything. The disk is not the matter of most tests.
func (w *world) run(o Options) Report {
	w.t.Helper()
	return Run(w.context(), w.cfg, o)
}

// made is a world with all its topics.
func (w *world) made() *world {
	w.t.Helper()
	if r := w.run(Options{Create: true, Partitions: 3}); r.Missing > 0 || len(r.Created) != 10 {
		w.t.Fatalf("%d topics missing, created: %q", r.Missing, r.Created)
	}
	return w
}

// set changes a setting of a topic.
func (w *world) set(topic, key, value string) {
	w.t.Helper()
	r, err := w.admin.AlterTopicConfigs(w.context(), []kadm.AlterConfig{{Op: kadm.SetConfig, Name: key, Value: &value}}, w.topic(topic))
	if err == nil {
		err = r[0].Err
	}
	if err != nil {
		w.t.Fatalf("%s of %s: %v", key, topic, err)
	}
	// A broker is told of it a little later.
	w.eventually(func() bool {
		c, err := w.admin.DescribeTopicConfigs(w.context(), w.topic(topic))
		if err != nil || c[0].Err != nil {
			return false
		}
		for _, s := range c[0].Configs {
			if s.Key == key {
				return s.MaybeValue() == value
			}
		}
		return false
	})
}

func (w *world) eventually(ok func() bool) {
	w.t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for end := time.Now().Add(patience); !ok(); <-tick.C {
		if time.Now().After(end) {
			w.t.Fatal("not within the time that a test waits")
		}
	}
}

func (w *world) produce(records ...*kgo.Record) {
	w.t.Helper()
	if err := w.client.ProduceSync(w.context(), records...).FirstErr(); err != nil {
		w.t.Fatal(err)
	}
}

// post is a message about a user.
func post(user string) []byte {
	return fmt.Appendf(nil, `{"id":"1","time":"2026-11-29T00:00:00Z","user":{"id":%q},"fields":{"text":"x"}}`, user)
}

// of returns the findings of an area about something, as "status what" and the remedy.
func of(r *Report, area, about string) string {
	var b strings.Builder
	for _, f := range r.Findings {
		if f.Area == area && (about == "" || f.About == about) {
			fmt.Fprintf(&b, "%s %s -> %s\n", f.Status, f.What, f.Remedy)
		}
	}
	return b.String()
}

// wants fails the test unless every phrase is in what was found, in this order.
func wants(t *testing.T, found string, phrases ...string) {
	t.Helper()
	rest := found
	for _, p := range phrases {
		_, after, ok := strings.Cut(rest, p)
		if !ok {
			t.Errorf("no %q in, or not in this order\n%s", p, found)
			return
		}
		rest = after
	}
}

package app

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/fstest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/weir-moderation/weir/internal/config"
	"github.com/weir-moderation/weir/internal/kafka"
	"github.com/weir-moderation/weir/internal/kafka/produce"
	"github.com/weir-moderation/weir/rules"
)

// cluster is an embedded broker with a client whose line can be cut.
type cluster struct {
	t      *testing.T
	client *kafka.Client // over the line
	direct *kafka.Client

	mu    sync.Mutex
	away  bool
	conns []net.Conn
}

func newCluster(t *testing.T, topics ...string) *cluster {
	t.Helper()
	broker, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.SeedTopics(2, topics...))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(broker.Close)
	c := &cluster{t: t}
	c.connect(broker.ListenAddrs())
	return c
}

// connect makes the clients.
func (c *cluster) connect(brokers []string) {
	c.t.Helper()
	connect := func(o kafka.Options) *kafka.Client {
		cfg := kafka.DefaultConfig()
		cfg.Brokers = brokers
		client, err := kafka.NewClient(cfg, o)
		if err != nil {
			c.t.Fatal(err)
		}
		c.t.Cleanup(func() {
			if err := client.Close(); err != nil {
				c.t.Error(err)
			}
		})
		return client
	}
	c.client, c.direct = connect(kafka.Options{Dial: c.dial}), connect(kafka.Options{})
}

func (c *cluster) dial(ctx context.Context, network, address string) (net.Conn, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.away {
		return nil, errors.New("no route to the broker")
	}
	conn, err := new(net.Dialer).DialContext(ctx, network, address)
	if err == nil {
		c.conns = append(c.conns, conn)
	}
	return conn, err
}

// cut ends every connection of the line, and lets no new one be made until it is mended.
func (c *cluster) cut() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.away = true
	for _, conn := range c.conns {
		_ = conn.Close()
	}
	c.conns = nil
}

func (c *cluster) mend() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.away = false
}

func (c *cluster) publish(files map[string]string) {
	c.t.Helper()
	fsys := fstest.MapFS{}
	for name, text := range files {
		fsys[name] = &fstest.MapFile{Data: []byte(text)}
	}
	b, err := rules.ReadBundle(fsys, "")
	if err != nil {
		c.t.Fatal(err)
	}
	if err := PublishRules(c.t.Context(), c.direct, "rules", b); err != nil {
		c.t.Fatal(err)
	}
}

// eventually waits for what has no channel to wait on.
func eventually(t *testing.T, what string, is func() bool) {
	t.Helper()
	for deadline := time.Now().Add(time.Minute); !is(); time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("waited in vain for %s", what)
		}
	}
}

// newTopicDesk is a desk whose rules come from the topic "rules".
func newTopicDesk(t *testing.T, c *cluster) *workbench {
	t.Helper()
	d := &workbench{t: t, dir: t.TempDir(), log: new(logBook), next: config.Default()}
	d.next.Rules.Topic = "rules"
	d.next.Rules.Words = filepath.Join(d.dir, "words.txt")
	d.next.Rules.Categories = filepath.Join(d.dir, "categories.yaml")
	d.write("words.txt", "天气 9\n")
	d.write("categories.yaml", "categories:\n  - {code: gambling, name: Gambling, name_zh: 赌博}\n")
	cfg := d.next
	topic := newRuleTopic(c.client, "rules")
	f, err := loadForce(&cfg, func() (*RuleSet, error) { return topicRules(t.Context(), &cfg, topic) })
	if err != nil {
		t.Fatal(err)
	}
	d.begin(&cfg, f)
	d.topic = topic
	return d
}

// A reload takes the rules that the topic carries, also those that were refused: what was wrong may
// have been the register here. It does not take the ones in force for the wanted ones.
func TestReloadTakesTheNewestOfTheTopic(t *testing.T) {
	c := newCluster(t, "rules")
	c.publish(map[string]string{"gambling.yaml": one("一号")})
	d := newTopicDesk(t, c)
	d.wants("at the start", "一号", "")
	house := strings.Replace(one("二号"), "category: gambling", "category: house", 1)
	c.publish(map[string]string{"gambling.yaml": house})
	d.lookAtTopic(t.Context())
	d.wants("published", "一号", "topic rules/gambling.yaml:3:32: ")
	if err := d.reload(t.Context()); err == nil {
		t.Error("a reload says that all is well, and the newest rules are not in force")
	}
	d.wants("reloaded", "一号", "topic rules/gambling.yaml:3:32: ")
	if got := d.receipt().Refused.Bundle; got == "" || got == d.set.Bundle.Digest() {
		t.Errorf("the receipt names %q as refused", got)
	}
	d.write("categories.yaml", "categories:\n  - {code: house, name: House rules, name_zh: 站规}\n")
	if err := d.reload(t.Context()); err != nil {
		t.Error(err)
	}
	d.wants("reloaded with a new register", "二号", "")
}

// Rules that are published again are tried again; other keys of the topic are nobody's rules.
func TestPublishedAgain(t *testing.T) {
	c := newCluster(t, "rules")
	c.publish(map[string]string{"gambling.yaml": one("一号")})
	d := newTopicDesk(t, c)
	for i := range 2 {
		c.publish(map[string]string{"gambling.yaml": "pack: 7"})
		d.lookAtTopic(t.Context())
		d.wants("broken", "一号", "topic rules/gambling.yaml:1:")
		if d.said() != i+1 {
			t.Errorf("said %d times, want %d", d.said(), i+1)
		}
	}
	p := c.direct.NewProducer(produce.Options{Topics: []string{"rules"}})
	if err := p.Produce(t.Context(), []produce.Message{{Topic: "rules", Key: []byte("other"), Value: []byte("x")}}); err != nil {
		t.Fatal(err)
	}
	d.lookAtTopic(t.Context())
	d.wants("another key", "一号", "topic rules/gambling.yaml:1:")
	if d.said() != 2 {
		t.Errorf("said %d times, want 2", d.said())
	}
	c.publish(map[string]string{"gambling.yaml": one("一号")})
	d.lookAtTopic(t.Context())
	d.wants("as in force", "一号", "")
	if n := len(d.activations()); n != 1 {
		t.Errorf("%d activations on record, want that of the start", n)
	}
}

// While brokers are away the rules in force stay, and that is said once; what is published meanwhile is
// taken up when they are back, and what was refused before is not refused anew.
func TestRulesWhileBrokersAreAway(t *testing.T) {
	c := newCluster(t, "rules")
	c.publish(map[string]string{"gambling.yaml": one("一号")})
	d := newTopicDesk(t, c)
	c.publish(map[string]string{"gambling.yaml": "pack: 7"})
	d.lookAtTopic(t.Context())
	away := func() {
		c.cut()
		for range 5 {
			d.lookAtTopic(t.Context())
		}
		d.wants("away", "一号", "topic rules/gambling.yaml:1:")
	}
	back := func() {
		c.mend()
		eventually(t, "the brokers", func() bool { d.lookAtTopic(t.Context()); return !d.topic.away })
	}
	away()
	if n := strings.Count(d.log.String(), "cannot look for new rules"); n != 1 {
		t.Errorf("said %d times that brokers are away, want once", n)
	}
	back()
	d.wants("back", "一号", "topic rules/gambling.yaml:1:")
	if d.said() != 1 {
		t.Errorf("said %d times that rules were refused, want once", d.said())
	}
	away()
	c.publish(map[string]string{"gambling.yaml": one("二号")})
	back()
	d.wants("back with new ones", "二号", "")
}

// Rules that somebody deletes from the topic stay in force, and the receipt says that there are none.
// Who starts then is told what to do.
func TestDeletedRules(t *testing.T) {
	c := newCluster(t, "rules")
	c.publish(map[string]string{"gambling.yaml": one("一号")})
	d := newTopicDesk(t, c)
	p := c.direct.NewProducer(produce.Options{Topics: []string{"rules"}})
	if err := p.Produce(t.Context(), []produce.Message{{Topic: "rules", Key: []byte(RulesKey)}}); err != nil {
		t.Fatal(err)
	}
	d.lookAtTopic(t.Context())
	d.wants("deleted", "一号", "the topic holds no rules; publish some with weir rules publish")
	cfg := d.next
	if _, err := topicRules(t.Context(), &cfg, newRuleTopic(c.client, "rules")); !errors.Is(err, ErrNoRules) {
		t.Errorf("a start without rules: %v", err)
	}
}

// Rules that are larger than their topic takes are refused with what would be right.
func TestPublishTooMuch(t *testing.T) {
	c := newCluster(t)
	if err := c.direct.CreateTopics(t.Context(), kafka.NewTopic{Name: "rules", Partitions: 1, Replication: 1, Config: map[string]string{"max.message.bytes": "1000"}}); err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	for i := range 3000 {
		fmt.Fprintf(&b, "# %x\n", i*i*7919)
	}
	bundle, err := rules.ReadBundle(fstest.MapFS{"a.yaml": &fstest.MapFile{Data: []byte(b.String())}}, "")
	if err != nil {
		t.Fatal(err)
	}
	err = PublishRules(t.Context(), c.direct, "rules", bundle)
	if err == nil || !strings.HasSuffix(err.Error(), "bytes are more than it takes; raise its max.message.bytes") {
		t.Errorf("%v", err)
	}
}

// Of the receipts of an instance the newest arrives, however long brokers are away; that they are is
// said once and counted. One that the topic never takes holds up nothing.
func TestReceiptsArrive(t *testing.T) {
	c := newCluster(t, "receipts")
	log := new(logBook)
	r := newReceipts(c.client, "receipts", slog.New(slog.NewJSONHandler(log, nil)), prometheus.NewRegistry())
	r.producer = c.client.NewProducer(produce.Options{Topics: []string{"receipts"}, MaxMessageBytes: 2000})
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- r.run(ctx) }()
	publish := func(bundle string, shadow ...string) {
		r.publish(Receipt{Source: "s", Instance: "i", Bundle: bundle, InShadow: shadow})
	}
	arrives := func(bundle string) {
		t.Helper()
		eventually(t, "receipt "+bundle, func() bool {
			list, others, err := ReadReceipts(t.Context(), c.direct, "receipts")
			if err != nil || others > 0 || len(list) > 1 {
				t.Fatalf("%v, %d others, %v", list, others, err)
			}
			return list["s/i"].Bundle == bundle
		})
	}
	publish("1")
	arrives("1")
	for i := range 200 { // many at once: the last one counts
		publish(fmt.Sprint("many ", i))
	}
	arrives("many 199")
	c.cut()
	publish("2")
	eventually(t, "two failures", func() bool { return testutil.ToFloat64(r.failed) >= 2 })
	if n := strings.Count(log.String(), "cannot publish"); n != 1 {
		t.Errorf("said %d times, want once:\n%s", n, log)
	}
	publish("3")
	c.mend()
	arrives("3")
	publish("too large", strings.Repeat("x", 3000))
	eventually(t, "the refusal of the large one", func() bool { return strings.Count(log.String(), "cannot publish") == 2 })
	publish("4")
	arrives("4")

	c.cut()
	publish("5")
	cancel() // it may be trying
	select {
	case err := <-done:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(time.Minute):
		t.Error("it does not end")
	}
}

// What is no receipt is passed over and counted; an instance that was taken out is none.
func TestReadReceipts(t *testing.T) {
	c := newCluster(t, "receipts")
	p := c.direct.NewProducer(produce.Options{Topics: []string{"receipts"}})
	for _, m := range []produce.Message{
		{Key: []byte("s/a"), Value: []byte(`{"source":"s","instance":"a","bundle":"old"}`)},
		{Key: []byte("s/a"), Value: []byte(`{"source":"s","instance":"a","bundle":"new","of a later version":1}`)},
		{Key: []byte("s/gone"), Value: []byte(`{"source":"s","instance":"gone"}`)},
		{Key: []byte("s/gone")},
		{Key: []byte("s/b"), Value: []byte(`{"source":"s","instance":"a"}`)},
		{Key: []byte("s/c"), Value: []byte(`{"source":`)},
		{Value: []byte(`{}`)},
	} {
		m.Topic = "receipts"
		if err := p.Produce(t.Context(), []produce.Message{m}); err != nil {
			t.Fatal(err)
		}
	}
	list, others, err := ReadReceipts(t.Context(), c.direct, "receipts")
	if err != nil || others != 3 || len(list) != 1 || list["s/a"].Bundle != "new" {
		t.Errorf("%+v, %d others, %v; want one receipt and three others", list, others, err)
	}
}

package app

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"math/rand/v2"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/weir-moderation/weir/internal/kafka"
	"github.com/weir-moderation/weir/internal/kafka/produce"
	"github.com/weir-moderation/weir/rules"
)

// What an instance says counts only for what was published: neither what it refused before, nor what
// it refuses of something else.
func TestUptakeIsAboutWhatWasPublished(t *testing.T) {
	refused := func(bundle, at string) *Refusal { return &Refusal{Bundle: bundle, Why: "why", Time: at} }
	for _, x := range []struct {
		name    string
		was, is *Receipt
		want    UptakeState
	}{
		{"taken up", &Receipt{Bundle: "old"}, &Receipt{Bundle: "new"}, UptakeLive},
		{"in force already", &Receipt{Bundle: "new"}, &Receipt{Bundle: "new"}, UptakeLive},
		{"in force, and something else refused since", &Receipt{Bundle: "old"}, &Receipt{Bundle: "new", Refused: refused("newer", "2")}, UptakeLive},
		{"refused", &Receipt{Bundle: "old"}, &Receipt{Bundle: "old", Refused: refused("new", "2")}, UptakeRefused},
		{"refused again", &Receipt{Bundle: "old", Refused: refused("new", "1")}, &Receipt{Bundle: "old", Refused: refused("new", "2")}, UptakeRefused},
		{"refused as no bundle", &Receipt{Bundle: "old"}, &Receipt{Bundle: "old", Refused: refused("", "2")}, UptakeRefused},
		{"refused before", &Receipt{Bundle: "old", Refused: refused("new", "1")}, &Receipt{Bundle: "old", Refused: refused("new", "1")}, UptakeWaiting},
		{"refused something else", &Receipt{Bundle: "old"}, &Receipt{Bundle: "old", Refused: refused("old", "2")}, UptakeWaiting},
		{"nothing said", &Receipt{Bundle: "old"}, &Receipt{Bundle: "old"}, UptakeWaiting},
	} {
		list, waiting := uptakes("new", map[string]Receipt{"a/0": *x.was}, map[string]Receipt{"a/0": *x.is, "a/new": {}})
		if len(list) != 1 || list[0].State != x.want || waiting != (x.want == UptakeWaiting) {
			t.Errorf("%s: %v, waiting %v; want %s", x.name, list, waiting, x.want)
		}
	}
	if list, waiting := uptakes("new", map[string]Receipt{"a/0": {Bundle: "old"}}, nil); len(list) > 0 || waiting {
		t.Error("an instance that was taken out is waited for")
	}
}

// newKafka returns a client of an embedded cluster, or of the one that WEIR_TEST_KAFKA names, and
// compacted topics.
func newKafka(t *testing.T, names ...string) (*kafka.Client, []string) {
	t.Helper()
	c := kafka.DefaultConfig()
	if c.Brokers = strings.Split(os.Getenv("WEIR_TEST_KAFKA"), ","); c.Brokers[0] == "" {
		fake, err := kfake.NewCluster(kfake.NumBrokers(1))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(fake.Close)
		c.Brokers = fake.ListenAddrs()
	}
	client, err := kafka.NewClient(c, kafka.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := client.Close(); err != nil {
			t.Error(err)
		}
	})
	for i := range names {
		names[i] = fmt.Sprintf("%s-%x", names[i], rand.Int64())
		if err := client.CreateTopics(t.Context(), kafka.NewTopic{Name: names[i], Partitions: 2, Replication: 1, Config: map[string]string{"cleanup.policy": "compact"}}); err != nil {
			t.Fatal(err)
		}
		// A real cluster takes a moment until all of it knows the topic.
		for end := time.Now().Add(30 * time.Second); ; {
			_, _, err := client.NewCompacted(names[i]).Poll(t.Context())
			if err == nil {
				break
			}
			if time.Now().After(end) {
				t.Fatal(err)
			}
		}
	}
	return client, names
}

// bundle returns the text of a pack.
func bundle(t *testing.T, pack string) *rules.Bundle {
	t.Helper()
	b, err := rules.ReadBundle(fs.FS(fstest.MapFS{"test.yaml": {Data: []byte(pack)}}), "test")
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// What is published is what is read, the newest of it; who publishes learns who took it up, who
// refused it and who said nothing until the time was over.
func TestPublishedRulesAreTakenUp(t *testing.T) {
	client, topics := newKafka(t, "rules", "receipts")
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if _, err := ReadRules(ctx, client, topics[0]); !errors.Is(err, ErrNoRules) {
		t.Errorf("an empty topic: %v", err)
	}
	old, fresh := bundle(t, "pack: test\n"), bundle(t, "pack: fresh\n")
	for _, b := range []*rules.Bundle{old, fresh} {
		if err := PublishRules(ctx, client, topics[0], b); err != nil {
			t.Fatal(err)
		}
	}
	if text, err := ReadRules(ctx, client, topics[0]); err != nil || string(text) != string(fresh.Text()) {
		t.Errorf("read %q, %v", text, err)
	}

	p := client.NewProducer(produce.Options{Topics: topics[1:]})
	say := func(r Receipt, age time.Duration) {
		t.Helper()
		value, err := json.Marshal(r)
		if err != nil {
			t.Fatal(err)
		}
		if err := p.Produce(ctx, []produce.Message{{Topic: topics[1], Key: []byte(r.Key()), Value: value, Time: time.Now().Add(-age)}}); err != nil {
			t.Fatal(err)
		}
	}
	receipt := func(instance string, b *rules.Bundle, refused *Refusal) Receipt {
		return Receipt{Source: "prod", Instance: instance, Bundle: b.Digest(), Refused: refused}
	}
	for _, i := range []string{"0", "1", "2"} {
		say(receipt(i, old, nil), 0)
	}
	say(receipt("gone", old, nil), SilentAfter+time.Hour)
	before, others, err := ReadReceipts(ctx, client, topics[1])
	if err != nil || others != 0 || len(before) != 4 {
		t.Fatal(before, others, err)
	}
	for key, r := range before {
		if r.Silent(time.Now()) != (key == "prod/gone") {
			t.Errorf("%s is silent: %v", key, r.Silent(time.Now()))
		}
	}
	delete(before, "prod/gone")

	states := func(list []Uptake) string {
		var b strings.Builder
		for _, u := range list {
			fmt.Fprintf(&b, "%s %s, ", u.Key(), u.State)
		}
		return b.String()
	}
	say(receipt("0", fresh, nil), 0)
	say(receipt("1", old, &Refusal{Bundle: fresh.Digest(), Why: "because"}), 0)
	short, stop := context.WithTimeout(ctx, time.Second)
	defer stop()
	list, err := AwaitUptake(short, client, topics[1], fresh.Digest(), before)
	if got := states(list); err != nil || got != "prod/0 live, prod/1 refused, prod/2 waiting, " {
		t.Errorf("%s, %v", got, err)
	}
	type answer struct {
		list []Uptake
		err  error
	}
	answers := make(chan answer)
	go func() {
		list, err := AwaitUptake(ctx, client, topics[1], fresh.Digest(), before)
		answers <- answer{list, err}
	}()
	say(receipt("2", fresh, nil), 0)
	a := <-answers
	if got := states(a.list); a.err != nil || got != "prod/0 live, prod/1 refused, prod/2 live, " {
		t.Errorf("%s, %v", got, a.err)
	}
	if i := slices.IndexFunc(a.list, func(u Uptake) bool { return u.State == UptakeRefused }); i < 0 || a.list[i].Refused.Why != "because" {
		t.Error("the reason is lost")
	}

	told, stopped := context.WithCancel(ctx)
	stopped()
	if _, err := AwaitUptake(told, client, topics[1], "never", before); !errors.Is(err, context.Canceled) {
		t.Errorf("told to stop: %v", err)
	}
}

// A receipt is published again from time to time, so that who is heard of no more is gone.
func TestReceiptsAreRepeated(t *testing.T) {
	client, topics := newKafka(t, "receipts")
	r := newReceipts(client, topics[0], slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	r.interval = 10 * time.Millisecond
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	done := make(chan error, 1)
	r.publish(Receipt{Source: "prod", Instance: "0", Rules: "aa"})
	go func() { done <- r.run(ctx) }()
	var seen []time.Time
	for len(seen) < 3 && ctx.Err() == nil {
		list, _, err := ReadReceipts(ctx, client, topics[0])
		if err != nil {
			t.Fatal(err)
		}
		if at := list["prod/0"].Seen; !at.IsZero() && !slices.Contains(seen, at) {
			seen = append(seen, at)
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
	if len(seen) < 3 {
		t.Errorf("seen %d times", len(seen))
	}
}

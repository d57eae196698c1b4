package kafka

import (
	"context"
	"fmt"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// put writes a value under a key, at a time; nil is a tombstone.
func (e *env) put(topic string, partition int32, key string, value []byte, at time.Time) {
	e.t.Helper()
	r := &kgo.Record{Topic: topic, Partition: partition, Key: []byte(key), Value: value, Timestamp: at}
	if err := e.admin.ProduceSync(e.context(), r).FirstErr(); err != nil {
		e.t.Fatal(err)
	}
}

// putFirst is put for a partition that was added just now. The broker may not know of it
// yet, and a client that was told of fewer asks again in five minutes: each try has its own.
func (e *env) putFirst(topic string, partition int32, key string, value []byte, at time.Time) {
	e.t.Helper()
	e.eventually("the added partition to take a message", func() bool {
		fresh := e.kgo()
		defer fresh.Close()
		r := &kgo.Record{Topic: topic, Partition: partition, Key: []byte(key), Value: value, Timestamp: at}
		return fresh.ProduceSync(e.context(), r).FirstErr() == nil
	})
}

// poll returns what a poll gives, as key=value; nil if nothing changed.
func (e *env) poll(l *Compacted) map[string]string {
	e.t.Helper()
	values, changed, err := l.Poll(e.context())
	if err != nil {
		e.t.Fatal(err)
	}
	if !changed {
		return nil
	}
	got := make(map[string]string)
	for k, v := range values {
		if got[k] = string(v.Value); v.Value == nil {
			got[k] = "deleted"
		}
	}
	return got
}

// polled fails the test if a poll gives something else.
func (e *env) polled(l *Compacted, want map[string]string) {
	e.t.Helper()
	if diff := cmp.Diff(want, e.poll(l)); diff != "" {
		e.t.Fatalf("-want +polled:\n%s", diff)
	}
}

// What follows a compacted topic sees the newest value of each key of every partition, once for each
// change: also what was deleted, what came with partitions that are new, and what is left when
// compaction or retention took the beginning of the log away.
func TestCompacted(t *testing.T) {
	e := setup(t, 2)
	topic := e.topic(3, "cleanup.policy", "compact,delete")
	l := e.client.NewCompacted(topic)
	defer l.Close()
	at := time.Now().Truncate(time.Millisecond)
	e.polled(l, map[string]string{})
	e.polled(l, nil)

	e.put(topic, 0, "a", []byte("a1"), at)
	e.put(topic, 2, "b", []byte("b1"), at)
	e.put(topic, 2, "c", []byte(""), at)
	e.polled(l, map[string]string{"a": "a1", "b": "b1", "c": ""})
	e.polled(l, nil)

	e.put(topic, 0, "a", []byte("a2"), at)
	e.put(topic, 2, "c", nil, at)
	e.polled(l, map[string]string{"a": "a2", "b": "b1", "c": "deleted"})

	// What somebody wrote past the usual rule: the clock decides between partitions.
	e.put(topic, 1, "b", []byte("older"), at.Add(-time.Second))
	e.put(topic, 1, "a", []byte("a3"), at.Add(time.Second))
	e.polled(l, map[string]string{"a": "a3", "b": "b1", "c": "deleted"})

	e.deleteRecords(topic, 0, 2)
	e.deleteRecords(topic, 2, 1)
	e.polled(l, nil) // the ends are where they were
	e.put(topic, 0, "d", []byte("d1"), at)
	e.polled(l, map[string]string{"a": "a3", "b": "older", "c": "deleted", "d": "d1"})

	if _, err := kadm.NewClient(e.admin).CreatePartitions(e.context(), 1, topic); err != nil {
		t.Fatal(err)
	}
	var got map[string]string
	e.eventually("the new partition", func() bool {
		values, changed, err := l.Poll(e.context())
		if err != nil || !changed {
			return false
		}
		got = map[string]string{"d": string(values["d"].Value)}
		return len(l.ends) == 4
	})
	if got["d"] != "d1" {
		t.Errorf("after a partition was added: %v", got)
	}
	e.putFirst(topic, 3, "e", []byte("e1"), at)
	e.polled(l, map[string]string{"a": "a3", "b": "older", "c": "deleted", "d": "d1", "e": "e1"})
}

// In one partition the later value counts, whatever the clock of who wrote it: that is what compaction
// keeps, so whoever comes later must not see another one than those who followed.
func TestCompactedGoesByOffset(t *testing.T) {
	e := setup(t, 1)
	topic := e.topic(1, "cleanup.policy", "compact")
	l := e.client.NewCompacted(topic)
	defer l.Close()
	at := time.Now()
	e.put(topic, 0, "k", []byte("by a clock that is ahead"), at.Add(10*time.Minute))
	e.put(topic, 0, "k", []byte("the newest"), at)
	e.polled(l, map[string]string{"k": "the newest"})
	e.put(topic, 0, "k", nil, at.Add(-time.Hour))
	e.polled(l, map[string]string{"k": "deleted"})
}

// A topic that was deleted and made again is another one, even if as much stands in it as before.
func TestCompactedTopicMadeAgain(t *testing.T) {
	e := setup(t, 1)
	topic := e.topic(1, "cleanup.policy", "compact")
	l := e.client.NewCompacted(topic)
	defer l.Close()
	e.put(topic, 0, "k", []byte("old"), time.Now())
	e.polled(l, map[string]string{"k": "old"})
	adm := kadm.NewClient(e.admin)
	if _, err := adm.DeleteTopic(e.context(), topic); err != nil {
		t.Fatal(err)
	}
	e.eventually("the topic to be gone", func() bool {
		_, _, err := l.Poll(e.context())
		return err != nil && strings.Contains(err.Error(), ErrNoTopic.Error())
	})
	if _, err := adm.CreateTopic(e.context(), 1, 1, nil, topic); err != nil {
		t.Fatal(err)
	}
	e.admin = e.kgo() // the other client may believe for a while that there is no such topic
	e.put(topic, 0, "k", []byte("new"), time.Now())
	e.eventually("the new topic", func() bool {
		values, changed, err := l.Poll(e.context())
		return err == nil && changed && string(values["k"].Value) == "new"
	})
}

// While brokers are away a poll says so and ends with its context; when they are back the next one
// works. An answer that is lost is no change that is lost.
func TestCompactedWhileBrokersAreAway(t *testing.T) {
	e := setupFake(t, 1)
	topic := e.topic(1)
	var mu sync.Mutex
	var conns []net.Conn
	away := false
	cl := dialing(t, e, func(ctx context.Context, network, address string) (net.Conn, error) {
		mu.Lock()
		defer mu.Unlock()
		if away {
			return nil, fmt.Errorf("no route to %s", address)
		}
		conn, err := new(net.Dialer).DialContext(ctx, network, address)
		if err == nil {
			conns = append(conns, conn)
		}
		return conn, err
	})
	leave := func(is bool) {
		mu.Lock()
		defer mu.Unlock()
		away = is
		for _, c := range conns {
			_ = c.Close()
		}
		conns = nil
	}
	l := cl.NewCompacted(topic)
	e.put(topic, 0, "k", []byte("1"), time.Now())
	e.polled(l, map[string]string{"k": "1"})

	leave(true)
	e.put(topic, 0, "k", []byte("2"), time.Now())
	if _, _, err := l.Poll(e.context()); err == nil || !strings.Contains(err.Error(), "no route") {
		t.Errorf("without brokers: %v", err)
	}
	ctx, cancel := context.WithCancel(e.context())
	cancel()
	if _, _, err := l.Poll(ctx); err == nil {
		t.Error("a poll whose context has ended returned nil")
	}
	leave(false)
	var got map[string]Value
	e.eventually("brokers to be back", func() bool {
		values, changed, err := l.Poll(e.context())
		got = values
		return err == nil && changed
	})
	if string(got["k"].Value) != "2" {
		t.Errorf("after brokers were away: %q, want 2", got["k"].Value)
	}
	e.polled(l, nil)
}

// To look whether anything changed makes no connection: it is done all the time by every instance.
func TestCompactedKeepsItsConnections(t *testing.T) {
	e := setupFake(t, 1)
	topic := e.topic(3)
	var dialed atomic.Int32
	cl := dialing(t, e, func(ctx context.Context, network, address string) (net.Conn, error) {
		dialed.Add(1)
		return new(net.Dialer).DialContext(ctx, network, address)
	})
	l := cl.NewCompacted(topic)
	e.put(topic, 0, "k", []byte("1"), time.Now())
	e.polled(l, map[string]string{"k": "1"})
	for range 5 {
		e.polled(l, nil)
	}
	before := dialed.Load()
	for range 50 {
		e.polled(l, nil)
	}
	if n := dialed.Load() - before; n > 2 { // one may have been idle for too long
		t.Errorf("%d connections for 50 looks", n)
	}
	l.Close()
	if n := len(cl.transports); n != 1 {
		t.Errorf("%d transports are left after Close, want that of the client", n)
	}
}

// dialing returns a client of the cluster that opens its connections so.
func dialing(t *testing.T, e *env, dial func(ctx context.Context, network, address string) (net.Conn, error)) *Client {
	t.Helper()
	c := DefaultConfig()
	c.Brokers = e.addrs
	cl, err := NewClient(c, Options{Dial: dial})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := cl.Close(); err != nil {
			t.Error(err)
		}
	})
	return cl
}

package kafka

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kadm"
)

// tailed returns what a poll hands out, as partition:value.
func (e *env) tailed(l *Tail) []string {
	e.t.Helper()
	var got []string
	err := l.Poll(e.context(), func(b *Batch) error {
		for i := range b.Records {
			got = append(got, fmt.Sprintf("%d:%s", b.Partition, b.Records[i].Value))
		}
		return nil
	})
	if err != nil {
		e.t.Fatal(err)
	}
	slices.Sort(got)
	return got
}

// Each record is handed out once: those that were there, those that come, those
// of partitions that are new; what was deleted meanwhile is passed over.
func TestTail(t *testing.T) {
	e := setup(t, 2)
	topic := e.topic(2)
	l := e.client.NewTail(topic)
	defer l.Close()
	want := func(list ...string) {
		t.Helper()
		if diff := cmp.Diff(list, e.tailed(l)); diff != "" {
			t.Fatalf("-want +tailed:\n%s", diff)
		}
	}
	now := time.Now()
	e.put(topic, 0, "k", []byte("a"), now)
	e.put(topic, 1, "k", []byte("b"), now)
	want("0:a", "1:b")
	want()
	e.put(topic, 0, "k", []byte("c"), now)
	e.put(topic, 0, "k", []byte("d"), now)
	want("0:c", "0:d")

	refused := errors.New("refused")
	e.put(topic, 1, "k", []byte("e"), now)
	if err := l.Poll(e.context(), func(*Batch) error { return refused }); !errors.Is(err, refused) {
		t.Errorf("what handle refuses: %v", err)
	}
	want("1:e")

	e.put(topic, 0, "k", []byte("f"), now)
	e.put(topic, 0, "k", []byte("g"), now)
	e.deleteRecords(topic, 0, 4)
	want("0:g")

	if _, err := kadm.NewClient(e.admin).CreatePartitions(e.context(), 1, topic); err != nil {
		t.Fatal(err)
	}
	e.putFirst(topic, 2, "k", []byte("h"), now)
	var got []string
	e.eventually("the new partition", func() bool { // a poll may fail until its leader is known
		err := l.Poll(e.context(), func(b *Batch) error {
			for i := range b.Records {
				got = append(got, fmt.Sprintf("%d:%s", b.Partition, b.Records[i].Value))
			}
			return nil
		})
		return err == nil && len(got) > 0
	})
	if diff := cmp.Diff([]string{"2:h"}, got); diff != "" {
		t.Errorf("of the new partition, -want +tailed:\n%s", diff)
	}
}

// A topic that was made anew is read from its beginning, and until it is there a
// poll says that it is not.
func TestTailOfATopicMadeAgain(t *testing.T) {
	e := setup(t, 1)
	topic := e.topic(1)
	l := e.client.NewTail(topic)
	defer l.Close()
	for _, v := range []string{"a", "b", "c"} {
		e.put(topic, 0, "k", []byte(v), time.Now())
	}
	e.tailed(l)
	adm := kadm.NewClient(e.admin)
	if _, err := adm.DeleteTopic(e.context(), topic); err != nil {
		t.Fatal(err)
	}
	e.eventually("the topic to be gone", func() bool {
		err := l.Poll(e.context(), func(*Batch) error { return nil })
		return err != nil && strings.Contains(err.Error(), ErrNoTopic.Error())
	})
	if _, err := adm.CreateTopic(e.context(), 1, 1, nil, topic); err != nil {
		t.Fatal(err)
	}
	e.admin = e.kgo()
	e.put(topic, 0, "k", []byte("new"), time.Now())
	var got []string
	e.eventually("the new topic", func() bool {
		err := l.Poll(e.context(), func(b *Batch) error {
			for i := range b.Records {
				got = append(got, string(b.Records[i].Value))
			}
			return nil
		})
		return err == nil && len(got) > 0
	})
	if diff := cmp.Diff([]string{"new"}, got); diff != "" {
		t.Errorf("-want +tailed:\n%s", diff)
	}
}

// To look for more makes no connection: it is done all the time by every instance.
func TestTailKeepsItsConnections(t *testing.T) {
	e := setupFake(t, 1)
	topic := e.topic(3)
	var dialed atomic.Int32
	cl := dialing(t, e, func(ctx context.Context, network, address string) (net.Conn, error) {
		dialed.Add(1)
		return new(net.Dialer).DialContext(ctx, network, address)
	})
	l := cl.NewTail(topic)
	for range 5 {
		e.tailed(l)
	}
	before := dialed.Load()
	for i := range 50 {
		e.put(topic, 0, "k", []byte("x"), time.Now())
		if n := len(e.tailed(l)); n != 1 {
			t.Fatalf("poll %d: %d records", i, n)
		}
	}
	if n := dialed.Load() - before; n > 2 { // one may have been idle for too long
		t.Errorf("%d connections for 50 polls", n)
	}
	l.Close()
	if n := len(cl.transports); n != 1 {
		t.Errorf("%d transports are left after Close, want that of the client", n)
	}
}

// A tail that begins at a time, or at the end, hands out nothing older, also of a partition
// in which nothing has come since; and when its connections were lost it goes on where it was.
func TestTailFrom(t *testing.T) {
	e := setup(t, 1)
	now := time.Now()
	for _, c := range []struct {
		name string
		from time.Time
		want []string
	}{
		{"beginning", time.Time{}, []string{"0:new", "0:old", "1:new", "1:old"}},
		{"time", now.Add(-time.Minute), []string{"0:new", "1:new"}},
		{"end", End, nil},
	} {
		topic := e.topic(3)
		for p := range int32(2) {
			e.put(topic, p, "k", []byte("old"), now.Add(-time.Hour))
			e.put(topic, p, "k", []byte("new"), now)
		}
		l := e.client.NewTail(topic)
		l.From(c.from)
		want := func(list []string) {
			t.Helper()
			if diff := cmp.Diff(list, e.tailed(l)); diff != "" {
				t.Errorf("%s: -want +tailed:\n%s", c.name, diff)
			}
		}
		want(c.want)
		want(nil)
		l.Close() // as when connections are lost
		e.put(topic, 2, "k", []byte("late"), now.Add(-2*time.Hour))
		want([]string{"2:late"})
		want(nil)
		l.Close()
	}
}

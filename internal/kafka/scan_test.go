package kafka

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-moderation/weir/internal/kafka/batch"
)

// scan returns what a scan reads, as partition:value.
func (e *env) scan(topic string, from, to time.Time) []string {
	e.t.Helper()
	s, err := e.client.OpenScan(e.context(), topic, from, to)
	if err != nil {
		e.t.Fatal(err)
	}
	defer s.Close()
	return e.drain(s)
}

func (e *env) drain(s *Scan) []string {
	e.t.Helper()
	got := []string{}
	at := make(map[int32]int64)
	for _, r := range s.Ranges {
		at[r.Partition] = r.First
	}
	err := s.Read(e.context(), func(b *Batch) error {
		if b.First != at[b.Partition] || b.Next <= b.First {
			e.t.Errorf("batch from %d to %d of partition %d, want it to begin at %d", b.First, b.Next, b.Partition, at[b.Partition])
		}
		at[b.Partition] = b.Next
		for i := range b.Records {
			r := &b.Records[i]
			if r.Offset < b.First || r.Offset >= b.Next {
				e.t.Errorf("offset %d in a batch from %d to %d", r.Offset, b.First, b.Next)
			}
			got = append(got, fmt.Sprintf("%d:%s%s", b.Partition, r.Corrupt, r.Value))
		}
		return nil
	})
	if err != nil {
		e.t.Fatal(err)
	}
	for _, r := range s.Ranges {
		if at[r.Partition] != r.Next {
			e.t.Errorf("partition %d: read up to %d, want %d", r.Partition, at[r.Partition], r.Next)
		}
	}
	return got
}

// A scan finds exactly what a topic held between two times, for any times, partition by
// partition, whatever is written meanwhile, and is a member of no group.
func TestScan(t *testing.T) {
	e := setup(t, 2)
	topic := e.topic(3)
	r := rand.New(rand.NewPCG(5, 2))
	epoch := time.UnixMilli(1_790_000_000_000)
	type message struct {
		value string
		time  time.Time
	}
	var logs [3][]message // the third one stays empty
	for p := range 2 {
		at := epoch
		for i := range 300 {
			at = at.Add(time.Duration(r.IntN(3)) * time.Second)
			m := message{fmt.Sprintf("%d:%d", p, i), at}
			logs[p] = append(logs[p], m)
			rec := &kgo.Record{Topic: topic, Partition: int32(p), Value: fmt.Appendf(nil, "%d", i), Timestamp: m.time}
			if err := e.admin.ProduceSync(e.context(), rec).FirstErr(); err != nil {
				t.Fatal(err)
			}
		}
	}
	want := func(from, to time.Time) []string {
		list := []string{}
		for _, log := range logs {
			for _, m := range log {
				if !m.time.Before(from) && (to.IsZero() || m.time.Before(to)) {
					list = append(list, m.value)
				}
			}
		}
		return list
	}
	times := []time.Time{{}, epoch.Add(-time.Hour), epoch, epoch.Add(time.Hour)}
	for range 6 {
		times = append(times, epoch.Add(time.Duration(r.IntN(600))*time.Second))
	}
	for _, from := range times {
		for _, to := range times {
			if diff := cmp.Diff(want(from, to), e.scan(topic, from, to)); diff != "" {
				t.Fatalf("from %v to %v: %s", from, to, diff)
			}
		}
	}

	s, err := e.client.OpenScan(e.context(), topic, time.Time{}, time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	e.produce(topic, 0, "later")
	if got := e.drain(s); slices.Contains(got, "0:later") || len(got) != 600 {
		t.Errorf("read %d messages, want those there were when it was opened", len(got))
	}

	// What retention took before is not missed; what it takes while it is to be read is said.
	e.deleteRecords(topic, 0, 290)
	if got := e.scan(topic, time.Time{}, time.Time{}); len(got) != 11+300 {
		t.Errorf("read %d messages after the first were deleted, want 311", len(got))
	}
	if err := s.Read(e.context(), func(*Batch) error { return nil }); err == nil || !strings.Contains(err.Error(), "from offset 0 on were deleted before they were read; begin later") {
		t.Errorf("reading what was deleted: %v", err)
	}
}

// A scan can be narrowed to offsets, which must be there.
func TestScanOffsets(t *testing.T) {
	e := setup(t, 1)
	topic := e.topic(2)
	e.produce(topic, 0, numbered(0, 10)...)
	e.produce(topic, 1, numbered(0, 10)...)
	e.deleteRecords(topic, 0, 2)
	open := func() *Scan {
		s, err := e.client.OpenScan(e.context(), topic, time.Time{}, time.Time{})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(s.Close)
		return s
	}
	s := open()
	if err := s.Narrow(Range{topic, 1, 8, -1}, Range{topic, 0, 2, 4}); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"1:v000008", "1:v000009", "0:v000002", "0:v000003"}, e.drain(s)); diff != "" {
		t.Error(diff)
	}
	for _, c := range []struct {
		r    Range
		want string
	}{
		{Range{topic, 2, 0, 1}, "has no partition 2"},
		{Range{topic, 0, 1, 4}, "/0 holds the offsets from 2 up to 10; 1 up to 4 are not all there"},
		{Range{topic, 1, 0, 11}, "/1 holds the offsets from 0 up to 10; 0 up to 11 are not all there"},
		{Range{topic, 1, 5, 4}, "5 up to 4 are not all there"},
	} {
		if err := open().Narrow(c.r); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %v, want %q", c.r, err, c.want)
		}
	}
}

// Of transactions only what is committed is read, and what cannot be read is handed out as
// it is to a consumer.
func TestScanTransactionsAndCorruption(t *testing.T) {
	e := setup(t, 1)
	topic := e.topic(1)
	cl := e.kgo(kgo.TransactionalID(unique("tx")))
	for i, keep := range []kgo.TransactionEndTry{kgo.TryCommit, kgo.TryAbort, kgo.TryCommit} {
		if err := cl.BeginTransaction(); err != nil {
			t.Fatal(err)
		}
		if err := cl.ProduceSync(e.context(), &kgo.Record{Topic: topic, Value: fmt.Appendf(nil, "%d", i)}).FirstErr(); err != nil {
			t.Fatal(err)
		}
		if err := cl.EndTransaction(e.context(), keep); err != nil {
			t.Fatal(err)
		}
	}
	if diff := cmp.Diff([]string{"0:0", "0:2"}, e.scan(topic, time.Time{}, time.Time{})); diff != "" {
		t.Error(diff)
	}

	e = setupFake(t, 1)
	topic = e.topic(1)
	e.produce(topic, 0, numbered(0, 5)...) // the ends of the log
	bad := crafted(2, "c")
	bad[len(bad)-1] ^= 1
	serveLog(e.fake, [][]byte{crafted(0, "a", "b"), bad, crafted(3, "d", "e", "beyond")}, []int64{0, 2, 3}, 6)
	if diff := cmp.Diff([]string{"0:a", "0:b", "0:" + string(batch.ReasonCRC) + string(bad), "0:d", "0:e"}, e.scan(topic, time.Time{}, time.Time{})); diff != "" {
		t.Error(diff)
	}
}

// A scan says what is wrong: it is somebody at a terminal who waits for it.
func TestScanRefusals(t *testing.T) {
	e := setupFake(t, 1)
	if _, err := e.client.OpenScan(e.context(), "nowhere", time.Time{}, time.Time{}); !errors.Is(err, ErrNoTopic) {
		t.Errorf("a topic that is not there: %v", err)
	}
	topic := e.topic(1)
	e.produce(topic, 0, "a", "b")
	s, err := e.client.OpenScan(e.context(), topic, time.Time{}, time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	mine := errors.New("mine")
	calls := 0
	if err := s.Read(e.context(), func(*Batch) error { calls++; return mine }); !errors.Is(err, mine) || calls != 1 {
		t.Errorf("a handler that fails: %v after %d calls", err, calls)
	}
	e.fake.Close()
	if _, err := e.client.OpenScan(e.context(), topic, time.Time{}, time.Time{}); err == nil || !strings.Contains(err.Error(), "nobody listens there") {
		t.Errorf("a broker that is gone: %v", err)
	}
}

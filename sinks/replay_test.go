package sinks_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/weir-moderation/weir/internal/kafka"
	"github.com/weir-moderation/weir/internal/kafka/produce"
	"github.com/weir-moderation/weir/pipeline"
	"github.com/weir-moderation/weir/pipeline/event"
	"github.com/weir-moderation/weir/sinks"
)

// deadLetters reads what lies on a dead-letter topic.
func deadLetters(t *testing.T, brokers []string, topic string) map[sinks.Place]sinks.DeadLetter {
	t.Helper()
	cfg := kafka.DefaultConfig()
	cfg.Brokers = brokers
	client, err := kafka.NewClient(cfg, kafka.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := client.Close(); err != nil {
			t.Error(err)
		}
	}()
	scan, err := client.OpenScan(t.Context(), topic, time.Time{}, time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	defer scan.Close()
	found := make(map[sinks.Place]sinks.DeadLetter)
	err = scan.Read(t.Context(), func(b *kafka.Batch) error {
		for i := range b.Records {
			r := &b.Records[i]
			if d, ok := sinks.ReadDeadLetter(r); ok {
				d.Key, d.Value = slices.Clone(d.Key), slices.Clone(d.Value)
				for i := range d.Headers {
					d.Headers[i].Value = slices.Clone(d.Headers[i].Value)
				}
				found[sinks.Place{Topic: b.Topic, Partition: b.Partition, Offset: r.Offset}] = d
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// A dead letter is read as it was written: the message with the headers that it
// came with, whatever their names, and apart from them what Weir says of it.
func TestReadDeadLetter(t *testing.T) {
	d := newDesk(t)
	brokers := testBrokers(t)
	made := func(names ...string) (list []event.Header) {
		for _, name := range names {
			list = append(list, event.Header{Key: name, Value: []byte("made-up")})
		}
		return list
	}
	for name, r := range map[string]pipeline.Record{
		"ordinary":     {Key: []byte("k"), Value: []byte(`{"id":`), Headers: []event.Header{{Key: "x", Value: []byte("1")}, {Key: "x"}, {Key: "y", Value: []byte{}}}},
		"null":         {},
		"empty":        {Key: []byte{}, Value: []byte{}},
		"from Connect": {Value: []byte("v"), Headers: made("__connect.errors.topic", "__connect.errors.partition", "__connect.errors.offset", "a")},
		"made up": {Value: []byte("v"), Headers: made("weir-value-omitted", "weir-id", "weir-reason", "weir-original-bytes",
			"__connect.errors.topic", "__connect.errors.topic", "weir-stage")},
	} {
		t.Run(name, func(t *testing.T) {
			s, _ := newKafka(t, brokers)
			letter := d.broken(r)
			write := func(d pipeline.DeadLetter) sinks.DeadLetter {
				t.Helper()
				before := deadLetters(t, brokers, s.Config.DeadLetter)
				if err := s.Write(t.Context(), &pipeline.Output{DeadLetters: []pipeline.DeadLetter{d}}); err != nil {
					t.Fatal(err)
				}
				for place, got := range deadLetters(t, brokers, s.Config.DeadLetter) {
					if _, old := before[place]; !old {
						return got
					}
				}
				t.Fatal("it cannot be read")
				return sinks.DeadLetter{}
			}
			var headers []kafka.Header
			for _, h := range r.Headers {
				headers = append(headers, kafka.Header(h))
			}
			want := sinks.DeadLetter{
				ID: letter.ID.String(), Source: "test", Origin: sinks.Place{Topic: "weir.posts", Partition: 3, Offset: letter.Record.Offset},
				Stage: "decode", Reason: "missing", Detail: "event: user.id: missing", Rules: letter.Rules,
				Key: r.Key, Value: r.Value, Headers: headers, Bytes: len(r.Value),
			}
			got := write(letter)
			// What holds no headers may be nil or not; what holds no bytes may not: that is null.
			noHeaders := cmpopts.EquateEmpty()
			headersOnly := cmp.FilterPath(func(p cmp.Path) bool { return p.Last().Type().String() == "[]batch.Header" }, noHeaders)
			if diff := cmp.Diff(want, got, headersOnly); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
			if lacks := got.Lacks(); lacks != "" {
				t.Errorf("it lacks %s", lacks)
			}

			// Replayed it is the same message with a word about it; dead once more it says so.
			from := sinks.Place{Topic: "dead", Partition: 1, Offset: 2}
			m := got.Replay("weir.posts", from)
			marked := append(slices.Clone(headers), kafka.Header{Key: "weir-replayed-from", Value: []byte("dead/1/2")})
			if diff := cmp.Diff(produce.Message{Topic: "weir.posts", Key: r.Key, Value: r.Value, Headers: marked}, m); diff != "" {
				t.Errorf("replayed, -want +got:\n%s", diff)
			}
			again := pipeline.Record{Key: m.Key, Value: m.Value}
			for _, h := range m.Headers {
				again.Headers = append(again.Headers, event.Header(h))
			}
			second := write(d.broken(again))
			if diff := cmp.Diff([]string{"dead/1/2"}, second.Replayed); diff != "" {
				t.Errorf("replayed: %s", diff)
			}
			if diff := cmp.Diff(marked, second.Headers); diff != "" {
				t.Errorf("dead once more, headers: %s", diff)
			}
		})
	}
}

// What is not the whole message says what it lacks.
func TestDeadLetterLacks(t *testing.T) {
	d := newDesk(t)
	brokers := testBrokers(t)
	s, _ := newKafka(t, brokers)
	s.Config.MaxMessageBytes = 2000
	large := d.broken(pipeline.Record{Key: []byte("k"), Value: []byte(noise(3000))})
	raw := d.broken(pipeline.Record{Value: []byte("raw")})
	raw.Stage, raw.Reason = pipeline.StageFetch, "batch-checksum"
	many := d.broken(pipeline.Record{Value: []byte("v")})
	many.Stage, many.Reason = pipeline.StageFetch, pipeline.ReasonHeaders
	if err := s.Write(t.Context(), &pipeline.Output{DeadLetters: []pipeline.DeadLetter{large, raw, many}}); err != nil {
		t.Fatal(err)
	}
	got := make(map[string]string)
	for _, x := range deadLetters(t, brokers, s.Config.DeadLetter) {
		got[x.ID] = x.Lacks()
		if x.ID == large.ID.String() && (!x.Omitted || x.Bytes != 3000 || x.Value != nil) {
			t.Errorf("a value left out: omitted %t, %d bytes, value of %d", x.Omitted, x.Bytes, len(x.Value))
		}
	}
	for _, want := range []struct {
		d     pipeline.DeadLetter
		lacks string
	}{{large, "its value, "}, {raw, "the message: "}, {many, "its headers, "}} {
		if lacks := got[want.d.ID.String()]; !strings.HasPrefix(lacks, want.lacks) {
			t.Errorf("reason %s lacks %q, want %q", want.d.Reason, lacks, want.lacks)
		}
	}
}

// What is no dead letter of Weir is none.
func TestReadDeadLetterOfOthers(t *testing.T) {
	brokers := testBrokers(t)
	s, _ := newKafka(t, brokers)
	h := func(pairs ...string) (list []kafka.Header) {
		for i := 0; i < len(pairs); i += 2 {
			list = append(list, kafka.Header{Key: pairs[i], Value: []byte(pairs[i+1])})
		}
		return list
	}
	good := []string{"__connect.errors.topic", "t", "__connect.errors.partition", "0", "__connect.errors.offset", "7", "weir-id", "00:deadletter", "weir-stage", "decode", "weir-reason", "missing"}
	with := func(name, value string) []kafka.Header {
		pairs := slices.Clone(good)
		for i := 0; i < len(pairs); i += 2 {
			if pairs[i] == name {
				pairs[i+1] = value
			}
		}
		return h(pairs...)
	}
	list := [][]kafka.Header{
		nil, h("x", "1"), with("__connect.errors.partition", "-1"), with("__connect.errors.partition", "2147483648"), with("__connect.errors.offset", "x"),
		with("__connect.errors.topic", "a/b"), with("weir-id", "00:review"), with("weir-reason", ""),
		append(h(good...), h("__connect.errors.topic", "later", "__connect.errors.partition", "0", "__connect.errors.offset", "1")...), // Connect's, of ours
		append(h(good...), h("weir-value-omitted", "too-large", "weir-original-bytes", "many")...),
	}
	for _, headers := range append(list, h(good...)) {
		if err := s.Producer.Produce(t.Context(), []produce.Message{{Topic: s.Config.DeadLetter, Value: []byte("v"), Headers: headers}}); err != nil {
			t.Fatal(err)
		}
	}
	if found := deadLetters(t, brokers, s.Config.DeadLetter); len(found) != 1 {
		t.Errorf("%d dead letters, want the one that is whole: %v", len(found), found)
	}
}

// A place is read as it is written, and nothing else is one.
func TestPlace(t *testing.T) {
	for _, text := range []string{"weir.deadletter/0/17", "a/2147483647/9223372036854775807"} {
		p, err := sinks.ParsePlace(text)
		if err != nil || p.String() != text {
			t.Errorf("%s: %v, %v", text, p, err)
		}
	}
	for _, text := range []string{"", "a", "a/1", "a/1/2/3", "/1/2", "a b/1/2", "a/-1/2", "a/1/-2", "a/2147483648/0", "a/0/9223372036854775808", "../0/1/", "a/x/1", "a/1/x"} {
		if _, err := sinks.ParsePlace(text); err == nil || !strings.Contains(err.Error(), "such as weir.deadletter/0/17") {
			t.Errorf("%q: %v", text, err)
		}
	}
}

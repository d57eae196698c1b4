package sinks_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weir-moderation/weir/pipeline"
	"github.com/weir-moderation/weir/pipeline/event"
)

// A dead letter is the message as it was received, whatever it is, with headers
// that say where it was read and why nobody could judge it.
func TestDeadLetterIsTheMessageAsReceived(t *testing.T) {
	d := newDesk(t)
	brokers := testBrokers(t)
	doc := readAsyncAPI(t)
	for name, r := range map[string]pipeline.Record{
		"ordinary": {Key: []byte("k"), Value: []byte(`{"id":`), Headers: []event.Header{
			{Key: "x", Value: []byte("1")}, {Key: "x", Value: nil}, {Key: "__connect.errors.topic", Value: []byte("upstream")}, {Key: "weir-reason", Value: []byte("made-up")}}},
		"not text":         {Key: []byte{0xff}, Value: []byte{0, 0xff, 0xfe}},
		"no key, no value": {},
		"empty":            {Key: []byte{}, Value: []byte{}},
	} {
		t.Run(name, func(t *testing.T) {
			s, read := newKafka(t, brokers)
			letter := d.broken(r)
			if err := s.Write(t.Context(), &pipeline.Output{DeadLetters: []pipeline.DeadLetter{letter}}); err != nil {
				t.Fatal(err)
			}
			got := one(t, read(s.Config.DeadLetter))
			if diff := cmp.Diff(r.Key, got.Key); diff != "" {
				t.Errorf("key: %s", diff)
			}
			if diff := cmp.Diff(r.Value, got.Value); diff != "" {
				t.Errorf("value: %s", diff)
			}
			var want []string
			if len(r.Headers) > 0 {
				want = []string{"x=1", "x is null", "__connect.errors.topic=upstream", "weir-reason=made-up"}
			}
			want = append(want,
				"__connect.errors.topic=weir.posts", "__connect.errors.partition=3", fmt.Sprintf("__connect.errors.offset=%d", letter.Record.Offset),
				"__connect.errors.connector.name=test", "__connect.errors.task.id=0", "__connect.errors.stage=decode",
				"__connect.errors.class.name=weir", "__connect.errors.exception.class.name=missing",
				"__connect.errors.exception.message=event: user.id: missing",
				"weir-id="+letter.ID.String()+":deadletter", "weir-stage=decode", "weir-reason=missing", "weir-ruleset="+d.set.Digest())
			if diff := cmp.Diff(want, pairs(got)); diff != "" {
				t.Errorf("headers, -want +got:\n%s", diff)
			}
			doc.checkHeaders(t, "deadletter", got)
		})
	}
}

// A dead letter too large for its topic goes without its value, whether we or
// the broker find out: with its length and hash, and with its key unless that is
// what is too large. The rest of the output is written.
func TestDeadLetterTooLargeForItsTopic(t *testing.T) {
	const limit = 20_000
	brokers := testBrokers(t)
	doc := readAsyncAPI(t)
	for name, ours := range map[string]int{"by our count": limit, "by the broker's": 10 * limit} {
		t.Run(name, func(t *testing.T) {
			d := newDesk(t)
			s, read := newKafka(t, brokers, "max.message.bytes", fmt.Sprint(limit))
			s.Config.MaxMessageBytes = ours
			letters := []pipeline.DeadLetter{
				d.broken(pipeline.Record{Key: []byte("k"), Value: []byte("{")}),
				d.broken(pipeline.Record{Key: []byte("k"), Value: []byte(noise(limit)), Headers: []event.Header{{Key: "x", Value: []byte("1")}}}),
				d.broken(pipeline.Record{Key: []byte(noise(limit)), Value: []byte("{")}),
				d.broken(pipeline.Record{Value: []byte("{"), Headers: []event.Header{{Key: "x", Value: []byte(noise(limit))}}}),
			}
			if err := s.Write(t.Context(), &pipeline.Output{DeadLetters: letters}); err != nil {
				t.Fatal(err)
			}
			list := read(s.Config.DeadLetter)
			if len(list) != len(letters) {
				t.Fatalf("%d dead letters, want %d", len(list), len(letters))
			}
			for _, r := range list {
				doc.checkHeaders(t, "deadletter", r)
				h := headers(r)
				for i := range letters {
					letter := &letters[i]
					if h["weir-id"] != letter.ID.String()+":deadletter" {
						continue
					}
					if i == 0 {
						if string(r.Value) != "{" || h["weir-value-omitted"] != "" {
							t.Errorf("one that fits has value %q and headers %v", r.Value, h)
						}
						continue
					}
					sum := sha256.Sum256(letter.Record.Value)
					if r.Value != nil || h["weir-value-omitted"] != "too-large" || h["x"] != "" ||
						h["weir-original-bytes"] != fmt.Sprint(len(letter.Record.Value)) || h["weir-original-sha256"] != hex.EncodeToString(sum[:]) {
						t.Errorf("one that does not fit has %d bytes and headers %v", len(r.Value), h)
					}
					if want := letter.Record.Key; len(want) > 100 && r.Key != nil || len(want) < 100 && !bytes.Equal(r.Key, want) {
						t.Errorf("key %.20q, of %.20q", r.Key, want)
					}
				}
			}
		})
	}
}

// A topic that takes no dead letters at all ends the daemon with words that say
// what to do: nothing may be lost, and waiting helps nobody.
func TestTopicThatTakesNoDeadLetters(t *testing.T) {
	d := newDesk(t)
	s, _ := newKafka(t, testBrokers(t), "max.message.bytes", "200")
	p := pipelineOf(t, d, s)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	err := p.Handle(ctx, &pipeline.Batch{Kind: event.Post, Topic: "weir.posts", Next: 1, Records: []pipeline.Record{{Value: []byte("{")}}})
	if err == nil || ctx.Err() != nil || !strings.Contains(err.Error(), "raise its max.message.bytes") {
		t.Errorf("Handle returned %v; want an error that says what to do, before its context ends", err)
	}
}

// Whatever is wrong with a message, no header that Weir adds holds anything of
// it: no text, no user id, no name the producer made up.
func TestDeadLetterHeadersHoldNothingOfTheMessage(t *testing.T) {
	d := newDesk(t)
	s, read := newKafka(t, testBrokers(t))
	const secret = "secret" // in every value, key and header name below
	good := `{"id":"secret-event","time":"2026-11-24T04:00:00Z","user":{"id":"secret-user"},"fields":{"secret-field":"secret-text"}}`
	change := func(from, to string) pipeline.Record {
		v := strings.Replace(good, from, to, 1)
		if v == good {
			t.Fatalf("%s is not there", from)
		}
		return pipeline.Record{Value: []byte(v)}
	}
	with := func(name, value string) pipeline.Record {
		return pipeline.Record{Value: []byte(good), Headers: []event.Header{{Key: name, Value: []byte(value)}}}
	}
	list := []pipeline.Record{
		{Value: []byte(good[:len(good)/2])},
		{Value: []byte("secret")},
		{Value: []byte(good + `"secret"`)},
		{Value: []byte("secret batch"), Corrupt: "batch-checksum"},
		change(`"id":`, `"secret-name":`),
		change(`{"id"`, `{"id":"secret","id"`),
		change(`"secret-field":`, `"secret-field":"secret","secret-field":`),
		change(`"secret-text"`, `{"secret":"secret"}`),
		change(`"secret-text"`, `"secret\ud800"`),
		change(`"secret-text"`, `"secret\x"`),
		change(`"secret-text"`, "\"secret\xff\""),
		change(`"secret-text"`, "\"secret\x00\""),
		change(`"secret-text"`, strings.Repeat(`[`, 100)+`"secret"`+strings.Repeat(`]`, 100)),
		change(`"secret-text"`, quote(strings.Repeat("secret", 200_000))),
		change(`"secret-user"`, `"secret`+strings.Repeat("x", 300)+`"`),
		change(`"secret-user"`, `"13800138000"`), // a phone number, looked for below
		change(`2026-11-24T04:00:00Z`, `secret o'clock`),
		change(`{"id":`, `{"kind":"secret","id":`),
		change(`{"id":`, `{"client":{"address":"secret"},"id":`),
		change(`{"id":`, `{"client":{"secret":"secret"},"id":`),
		change(`{"id":`, `{"attachments":[{"uri":"secret","sha256":"secret"}],"id":`),
		with("content-type", "secret/secret"),
		with("content-encoding", "secret"),
		with("ce_specversion", "secret"),
		with("ce_type", "weir.secret"),
		with("ce_time", "secret"),
	}
	for i := range list {
		list[i].Offset, list[i].Key = int64(i), []byte("secret-key")
		list[i].Headers = append(list[i].Headers, event.Header{Key: "secret-header", Value: []byte("secret")})
	}
	b := &pipeline.Batch{Kind: event.Post, Topic: "weir.posts", Next: int64(len(list)), Records: list}
	if err := pipelineOf(t, d, s).Handle(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	letters := read(s.Config.DeadLetter)
	if len(letters) != len(list) {
		t.Errorf("%d dead letters of %d messages", len(letters), len(list))
	}
	doc := readAsyncAPI(t)
	reasons := make(map[string]bool)
	for _, r := range letters {
		doc.checkHeaders(t, "deadletter", r)
		reasons[headers(r)["weir-reason"]] = true
		for _, h := range r.Headers {
			if !strings.HasPrefix(h.Key, "weir-") && !strings.HasPrefix(h.Key, "__connect.errors.") {
				continue // as received
			}
			if v := string(h.Value); strings.Contains(v, secret) || strings.Contains(v, "13800138000") {
				t.Errorf("offset %s: header %s tells of the message: %s", headers(r)["__connect.errors.offset"], h.Key, v)
			}
		}
	}
	if len(reasons) < 12 {
		t.Errorf("only the reasons %v: the messages are not broken in as many ways as they should be", reasons)
	}
}

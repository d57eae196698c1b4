package ingest

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-moderation/weir/pipeline"
	"github.com/weir-moderation/weir/pipeline/event"
)

// A replay hands out the records of a topic as a source does: with their headers, null not
// taken for empty, and what is no message marked.
func TestReplay(t *testing.T) {
	e := setup(t)
	topic := e.topic(1)
	many := make([]kgo.RecordHeader, pipeline.MaxHeaders+1)
	e.produce(
		&kgo.Record{Topic: topic, Key: []byte("k"), Value: []byte("v"), Headers: []kgo.RecordHeader{{Key: "h", Value: []byte("1")}}},
		&kgo.Record{Topic: topic, Value: nil},
		&kgo.Record{Topic: topic, Value: []byte{}},
		&kgo.Record{Topic: topic, Value: []byte("v"), Headers: many},
	)
	s, err := e.client.OpenScan(t.Context(), topic, time.Time{}, time.Time{})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	var got []string
	err = Replay(t.Context(), s, Stream{Kind: event.Push, Topic: Topic{Layout: event.Layout{Envelope: event.EnvelopeConfluent}}}, func(b *pipeline.Batch) error {
		if b.Kind != event.Push || b.Format == nil || b.Topic != topic {
			t.Errorf("a batch of %v from %s", b.Kind, b.Topic)
		}
		for _, r := range b.Records {
			got = append(got, fmt.Sprintf("%d %s %t %v %s", r.Offset, r.Value, r.Value == nil, r.Headers, r.Corrupt))
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"0 v false [{h [49]}] ", "1  true [] ", "2  false [] ", "3 v false [] too-many-headers"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

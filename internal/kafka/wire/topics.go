package wire

import (
	"errors"

	kafkago "github.com/segmentio/kafka-go"
)

// ErrNoTopic says that a topic does not exist.
var ErrNoTopic = errors.New("topic does not exist")

// Topic is what a broker knows of a topic.
type Topic struct {
	Name    string
	Err     error   // [ErrNoTopic] if there is none of this name
	Leaders []int32 // by partition; -1 for one that has none
}

// Leader returns who leads a partition, -1 for nobody.
func (t *Topic) Leader(partition int32) int32 {
	if partition < 0 || int(partition) >= len(t.Leaders) {
		return -1
	}
	return t.Leaders[partition]
}

// AskTopics asks any broker about topics: about all there are if names is nil.
func AskTopics(names []string) *Call {
	return &Call{API: Metadata, Body: func(w *Writer) {
		if names == nil {
			w.Len(-1)
		} else {
			w.Len(len(names))
		}
		for _, n := range names {
			w.Str(n)
		}
		w.Bool(false) // create nothing
		w.I8(0)
		w.I8(0)
	}}
}

// ReadTopics reads the answer to [AskTopics].
func ReadTopics(r *Reader) ([]Topic, error) {
	ids := func() { r.Each(func() { r.I32() }) }
	r.I32() // throttle
	r.Each(func() {
		r.I32()
		r.Str()
		r.I32()
		r.Str()
	})
	r.Str()
	r.I32()
	var topics []Topic
	r.Each(func() {
		t := Topic{Err: topicError(r.I16()), Name: r.Str()}
		r.I8()
		leaders := make(map[int32]int32)
		r.Each(func() {
			r.I16()
			n := r.I32()
			leaders[n] = r.I32()
			r.I32()
			ids()
			ids()
			ids()
		})
		r.I32()
		t.Leaders = make([]int32, len(leaders))
		for n := range t.Leaders {
			if leader, ok := leaders[int32(n)]; ok {
				t.Leaders[n] = leader
			} else {
				t.Leaders[n] = -1
			}
		}
		topics = append(topics, t)
	})
	return topics, r.Err
}

func topicError(code int16) error {
	switch e := kafkago.Error(code); e {
	case 0:
		return nil
	case kafkago.UnknownTopicOrPartition, kafkago.InvalidTopic:
		return ErrNoTopic
	default:
		return e
	}
}

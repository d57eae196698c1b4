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

// Operations are what somebody may do to a topic, a group or the cluster: bit n
// stands for the operation that Kafka has given the number n.
type Operations int32

// The operations that matter here.
const (
	Read            Operations = 1 << 3
	Write           Operations = 1 << 4
	Create          Operations = 1 << 5
	Describe        Operations = 1 << 8
	IdempotentWrite Operations = 1 << 12
)

// Known reports whether the broker told them.
func (o Operations) Known() bool { return o >= 0 }

// May reports whether all of what is among them.
func (o Operations) May(what Operations) bool { return o&what == what }

// Detail is what a broker knows of a topic beside its leaders.
type Detail struct {
	Topic
	Replicas []int // by partition: how many brokers are to have it
	InSync   []int // and how many of them have all of it now
	May      Operations
}

// Cluster is what a broker knows of the cluster.
type Cluster struct {
	Brokers int
	May     Operations
}

// AskTopics asks any broker about topics: about all there are if names is nil.
func AskTopics(names []string) *Call { return askMetadata(names, false) }

// AskDetails is AskTopics with what we may do to them, and to the cluster.
func AskDetails(names []string) *Call { return askMetadata(names, true) }

func askMetadata(names []string, operations bool) *Call {
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
		w.Bool(operations)
		w.Bool(operations)
	}}
}

// ReadTopics reads the answer to [AskTopics].
func ReadTopics(r *Reader) ([]Topic, error) {
	var topics []Topic
	_, err := readMetadata(r, func(t *Detail) { topics = append(topics, t.Topic) })
	return topics, err
}

// ReadDetails reads the answer to [AskDetails].
func ReadDetails(r *Reader) (c Cluster, topics []Detail, err error) {
	c, err = readMetadata(r, func(t *Detail) { topics = append(topics, *t) })
	return c, topics, err
}

func readMetadata(r *Reader, topic func(*Detail)) (c Cluster, err error) {
	ids := func() (n int) {
		r.Each(func() {
			r.I32()
			n++
		})
		return n
	}
	r.I32() // throttle
	r.Each(func() {
		r.I32()
		r.Str()
		r.I32()
		r.Str()
		c.Brokers++
	})
	r.Str()
	r.I32()
	r.Each(func() {
		t := Detail{Topic: Topic{Err: topicError(r.I16()), Name: r.Str()}}
		r.I8()
		type partition struct {
			leader           int32
			replicas, inSync int
		}
		found := make(map[int32]partition)
		r.Each(func() {
			r.I16()
			n := r.I32()
			leader := r.I32()
			r.I32()
			found[n] = partition{leader, ids(), ids()}
			ids()
		})
		t.May = Operations(r.I32())
		t.Leaders, t.Replicas, t.InSync = make([]int32, len(found)), make([]int, len(found)), make([]int, len(found))
		for n := range t.Leaders {
			p, ok := found[int32(n)]
			if !ok {
				p.leader = -1
			}
			t.Leaders[n], t.Replicas[n], t.InSync[n] = p.leader, p.replicas, p.inSync
		}
		topic(&t)
	})
	c.May = Operations(r.I32())
	return c, r.Err
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

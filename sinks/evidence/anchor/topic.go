package anchor

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/weir-moderation/weir/internal/kafka"
	"github.com/weir-moderation/weir/internal/kafka/batch"
	"github.com/weir-moderation/weir/internal/kafka/produce"
	"github.com/weir-moderation/weir/sinks/evidence"
)

// keyHeader is the header that names the key a head is signed with, so that who
// reads the topic can check it.
const keyHeader = "weir-verifier-key"

// message is a head as it is written.
func message(topic, origin, vkey string, checkpoint []byte) produce.Message {
	return produce.Message{Topic: topic, Key: []byte(origin), Value: checkpoint,
		Headers: []batch.Header{{Key: keyHeader, Value: []byte(vkey)}}}
}

// published is a message of the topic.
type published struct {
	head       evidence.Head // not checked against a signature
	checkpoint []byte
	vkey       string
	partition  int32
	offset     int64
	time       time.Time
}

var errNoHead = errors.New("it is no head under the name of its log")

// maxValue is the largest message that is looked at: a checkpoint with many signatures.
const maxValue = 64 << 10

// read takes a record of the topic apart. A tombstone is nil without an error.
func read(b *kafka.Batch, r *batch.Record) (*published, error) {
	switch {
	case r.Corrupt != "" || len(r.Value) > maxValue:
		return nil, errNoHead
	case r.Value == nil:
		return nil, nil
	}
	p := &published{partition: b.Partition, offset: r.Offset, time: time.UnixMilli(r.Time).UTC(),
		checkpoint: append([]byte(nil), r.Value...)}
	var err error
	if p.head, err = evidence.ParseCheckpoint(p.checkpoint, ""); err != nil || p.head.Origin != string(r.Key) {
		return nil, errNoHead
	}
	for k, v := range r.Headers {
		if string(k) == keyHeader {
			p.vkey = string(v)
		}
	}
	return p, nil
}

// Topic is the topic of heads, read up to a point.
type Topic struct {
	name   string
	tail   *kafka.Tail
	origin string
	own    []*published // the last ones of this log, oldest first
	before *published   // the last one of a log of the same instance with another generation
	others []*published // of each other log the last one, and before it what does not follow from the one before
	last   map[string]*published
	bad    int
}

// maxOwn is how many heads of this log are compared with it at its start.
const maxOwn = 4096

// ReadTopic reads all heads on the topic, before the log of origin is opened.
func ReadTopic(ctx context.Context, c *kafka.Client, name, origin string) (*Topic, error) {
	t := &Topic{name: name, tail: c.NewTail(name), origin: origin, last: make(map[string]*published)}
	err := t.poll(ctx, func(p *published, err error) error {
		switch {
		case err != nil:
			t.bad++
		case p.head.Origin == origin:
			if len(t.own) == maxOwn {
				t.own = t.own[1:]
			}
			t.own = append(t.own, p)
		default:
			t.other(p)
		}
		return nil
	})
	if err != nil {
		t.tail.Close()
		return nil, fmt.Errorf("read the published heads from topic %s: %w", name, err)
	}
	for _, p := range t.last {
		t.others = append(t.others, p)
	}
	t.last = nil
	return t, nil
}

// other keeps of another log what a watcher must see: of a head that grew from
// the one before only the last.
func (t *Topic) other(p *published) {
	if sameInstance(p.head.Origin, t.origin) && (t.before == nil || !p.time.Before(t.before.time)) {
		t.before = p
	}
	was := t.last[p.head.Origin]
	if was != nil && (p.head.Size < was.head.Size || p.head.Size == was.head.Size && p.head.Root != was.head.Root || p.vkey != was.vkey) {
		t.others = append(t.others, was)
	}
	t.last[p.head.Origin] = p
}

// sameInstance reports whether two origins differ in their generation only.
func sameInstance(a, b string) bool {
	return a[:strings.LastIndexByte(a, '/')+1] == b[:strings.LastIndexByte(b, '/')+1]
}

// poll hands out what came since the last poll. Tombstones are left out: who takes
// a log out of the topic does not make it another one.
func (t *Topic) poll(ctx context.Context, take func(p *published, err error) error) error {
	return t.tail.Poll(ctx, func(b *kafka.Batch) error {
		for i := range b.Records {
			p, err := read(b, &b.Records[i])
			if p == nil && err == nil {
				continue
			}
			if err := take(p, err); err != nil {
				return err
			}
		}
		return nil
	})
}

// Own returns the heads that were published under the name of this log, for
// [evidence.Options].
func (t *Topic) Own() [][]byte {
	var list [][]byte
	for _, p := range t.own {
		list = append(list, p.checkpoint)
	}
	return list
}

// Previous returns the last head that was published of this instance under
// another generation, nil if there is none.
func (t *Topic) Previous() []byte {
	if t.before == nil {
		return nil
	}
	return t.before.checkpoint
}

// Size returns of how many records the largest published head of this log is.
func (t *Topic) Size() int64 {
	var n int64
	for _, p := range t.own {
		n = max(n, p.head.Size)
	}
	return n
}

// Close ends its connections.
func (t *Topic) Close() { t.tail.Close() }

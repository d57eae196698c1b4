package kafka

import (
	"context"
	"fmt"
	"time"

	"github.com/weir-moderation/weir/internal/kafka/wire"
)

// Tail reads a topic from its beginning, or from a time on, and then what comes, as a
// member of no group: each record is handed out once. It belongs to one goroutine.
//
// What [Compacted] is for topics that change seldom, Tail is for those in which
// something is written all the time.
type Tail struct {
	client *Client
	topic  string
	scan   *Scan
	from   time.Time
	next   []int64 // of the partitions
}

// End stands for the end of a topic, as it is when a tail is first polled.
var End = time.Unix(1<<37, 0) // of the year 6325

// NewTail returns what reads a topic. It connects with the first poll.
func (c *Client) NewTail(topic string) *Tail { return &Tail{client: c, topic: topic} }

// From has the first poll begin each partition with its first record that is not older
// than a time, or at its [End]; it is called before that. A partition that is added later
// is read from its beginning.
func (l *Tail) From(at time.Time) { l.from = at }

// Close ends its connections, if the client is to live on.
func (l *Tail) Close() {
	if l.scan != nil {
		l.scan.Close()
		l.scan = nil
	}
}

// Poll hands out what came since the last poll, batch by batch, and returns when
// all of it was handed out that was there when it was called. A batch is valid
// until handle returns. After an error the next poll goes on behind the last batch
// that handle took without an error. A topic that was made anew is read from its
// beginning.
func (l *Tail) Poll(ctx context.Context, handle func(*Batch) error) error {
	if l.scan == nil {
		scan, err := l.client.OpenScan(ctx, l.topic, l.from, time.Time{}) // it has words for what is wrong
		if err != nil {
			return err
		}
		l.scan = scan
		if l.next == nil { // else that is where it goes on, whatever the time
			for _, r := range scan.Ranges {
				l.next = append(l.next, r.First)
			}
			l.from = time.Time{}
		}
	} else if err := l.look(ctx); err != nil {
		l.Close() // the topic may have been made anew, elsewhere
		return err
	}
	for len(l.next) < len(l.scan.Ranges) {
		l.next = append(l.next, 0)
	}
	l.next = l.next[:len(l.scan.Ranges)]
	for p := range l.scan.Ranges {
		r := &l.scan.Ranges[p]
		if l.next[p] > r.Next {
			l.next[p] = 0 // it was made anew
		}
		r.First = max(r.First, l.next[p])
	}
	return l.scan.Read(ctx, func(b *Batch) error {
		if err := handle(b); err != nil {
			return err
		}
		l.next[b.Partition] = b.Next
		return nil
	})
}

// look finds out how far the partitions reach now.
func (l *Tail) look(ctx context.Context) error {
	found, err := l.client.Topics(ctx, l.topic)
	if err != nil {
		return err
	}
	if found[0].Err != nil {
		return fmt.Errorf("topic %s: %w", l.topic, found[0].Err)
	}
	l.scan.Ranges = l.scan.Ranges[:0]
	for p := range int32(len(found[0].Leaders)) {
		first, next := int64(0), int64(0)
		for point, to := range map[int64]*int64{logStart: &first, logEnd: &next} {
			if *to, err = l.client.offsetOf(ctx, l.scan.transport, wire.ToLeader(l.topic, p), l.topic, p, point, true); err != nil {
				return err
			}
		}
		l.scan.Ranges = append(l.scan.Ranges, Range{Topic: l.topic, Partition: p, First: first, Next: max(first, next)})
	}
	return nil
}

package produce

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync/atomic"

	kafkago "github.com/segmentio/kafka-go"

	"github.com/weir-moderation/weir/internal/kafka/batch"
)

// lane is the way to one partition. One batch is under way on it at a time, and
// the next has its turn when the fate of that one is known.
type lane struct {
	topic     string
	partition int32
	rank      uint64 // orders lanes by topic, then by partition
	number    int    // among all lanes of the producer
	home      *lane  // of a transaction's: the producer's own for the same partition, which knows the leader
	leader    atomic.Int32
	gone      atomic.Bool // the topic has no such partition any more

	// Guarded by the producer's mutex.
	busy  bool // somebody has the lane in hand, or it waits for its broker
	queue []run

	// For whoever has the lane in hand.
	rest   []run   // taken from the queue, not yet in a batch
	cuts   []int   // how many messages the next batches have; set when one was too large
	parcel *parcel // the batch under way
	by     *identity
	lost   *identity // by whom nothing more may be written here
	next   int32     // sequence of the next message
	fixed  bool      // by is that of a transaction: never another
	torn   bool      // and the sequence is not to be mended
	err    error     // why the parcel must be sent again
}

// parcel is an encoded batch. It stays as it is until it is acknowledged, so that
// a broker that has it recognises it.
type parcel struct {
	bytes []byte
	runs  []run
	count int
	by    *identity
	// lent says that a request may still be reading the bytes though we have
	// given up on it: they must not be written to any more.
	lent bool
	// doubt says that a broker may have the batch though it did not say so.
	doubt bool
}

// holds reports whether the lane has anything to send.
func (l *lane) holds() bool { return l.parcel != nil || len(l.rest) > 0 }

// take takes what was queued. The producer's mutex is held.
func (l *lane) take() {
	if len(l.rest) == 0 {
		l.rest, l.queue = l.queue, l.rest[:0]
		return
	}
	l.rest = append(l.rest, l.queue...)
	clear(l.queue)
	l.queue = l.queue[:0]
}

// load makes sure that there is a parcel, if anything is left to be sent.
func (l *lane) load(ctx context.Context, p *Producer, now int64) error {
	if l.parcel == nil {
		if err := l.pack(p, now); err != nil || l.parcel == nil {
			return err
		}
	}
	if l.by == nil {
		by, err := p.identify(ctx, l.lost)
		if err != nil {
			return err
		}
		l.by, l.next = by, 0
	}
	if x := l.parcel; x.by != l.by {
		if x.lent { // somebody may be reading
			x.bytes, x.lent = slices.Clone(x.bytes), false
		}
		batch.Sign(x.bytes, l.by.sign(l.next))
		x.by = l.by
	}
	return nil
}

// pack encodes the next batch. Messages of callers that have gone are left out.
func (l *lane) pack(p *Producer, now int64) error {
	w := p.writers.get()
	defer func() {
		if w.Cap() <= p.largest() {
			p.writers.put(w)
		}
	}()
	x := p.parcels.get()
	w.Reset()
	at, most := 0, math.MaxInt
	if len(l.cuts) > 0 {
		most = l.cuts[0]
		l.cuts = l.cuts[1:]
	}
	for at < len(l.rest) && most > 0 {
		r := &l.rest[at]
		n, gone := r.encode(w, most, p.o.BatchBytes, now)
		some := run{r.d, l, r.index[:n:n]}
		r.index = r.index[n:]
		most -= n
		switch {
		case gone:
			r.d.settle(n, nil)
		case n > 0:
			x.runs = append(x.runs, some)
		}
		if len(r.index) > 0 {
			break
		}
		at++
	}
	l.rest = slices.Delete(l.rest, 0, at)
	if w.Count() == 0 {
		p.parcels.put(x)
		return nil
	}
	x.count = w.Count()
	signed := batch.Anybody
	if l.by != nil {
		signed = l.by.sign(l.next)
	}
	var err error
	if x.bytes, err = w.Finish(signed, x.bytes); err != nil {
		settle(x.runs, err)
		return err
	}
	x.by = l.by
	l.parcel = x
	return nil
}

// failed notes that nobody knows what became of the parcel.
func (l *lane) failed(err error) {
	if l.parcel != nil {
		l.parcel.lent, l.parcel.doubt = true, true
	}
	l.err = err
}

// stumble deals with what went wrong before the parcel could be sent.
func (l *lane) stumble(p *Producer, err error) {
	code, ok := errors.AsType[kafkago.Error](err)
	if l.parcel == nil || ok && verdictOn(code) == never {
		l.fail(p, err)
		return
	}
	l.err = err
}

// answered deals with what a broker says about the parcel.
func (l *lane) answered(p *Producer, code kafkago.Error) {
	x := l.parcel
	switch verdictOn(code) {
	case taken:
		l.next = sequenceAfter(l.next, x.count)
		if p.o.OnTaken != nil {
			p.o.OnTaken(l.topic, x.count, len(x.bytes))
		}
		settle(x.runs, nil)
		l.drop(p)
	case tooLarge:
		if x.count == 1 {
			x.runs[0].d.refuse(int(x.runs[0].index[0]))
			l.unload(p)
			return
		}
		// Halves, until single messages are left.
		l.rest = slices.Insert(l.rest, 0, x.runs...)
		l.cuts = slices.Insert(l.cuts, 0, x.count/2, x.count-x.count/2)
		l.unload(p)
	case unknownProducer:
		if l.fixed {
			l.fail(p, fmt.Errorf("%w: %w", ErrFenced, code))
			return
		}
		// The broker has forgotten us, or what we wrote. Under another identity
		// the batch is new to it: here, and only here, it could come twice.
		l.by, l.lost, l.err = nil, l.by, code
	case notNow:
		l.err = code
	case perhaps:
		x.doubt, l.err = true, code
	case never:
		l.fail(p, code)
	}
}

// worry tells the callers of everything on the lane what their messages wait for.
func (l *lane) worry(p *Producer) {
	p.mu.Lock()
	l.take()
	p.mu.Unlock()
	err := fmt.Errorf("produce to %s/%d: %w", l.topic, l.partition, l.err)
	runs := l.rest
	if l.parcel != nil {
		runs = slices.Concat(l.parcel.runs, runs)
	}
	for i := range runs {
		d := runs[i].d
		d.mu.Lock()
		d.worry = err
		d.mu.Unlock()
	}
}

// drop is done with the parcel.
func (l *lane) drop(p *Producer) {
	x := l.parcel
	l.parcel, l.err = nil, nil
	clear(x.runs)
	if !x.lent && cap(x.bytes) <= p.largest() {
		*x = parcel{bytes: x.bytes, runs: x.runs[:0]}
		p.parcels.put(x)
	}
}

// unload is done with a parcel that was not taken. If it may have been before,
// its sequence cannot be given to another.
func (l *lane) unload(p *Producer) {
	switch {
	case !l.parcel.doubt:
	case l.fixed:
		l.torn = true
	default:
		l.by, l.lost = nil, l.by
	}
	l.drop(p)
}

// fail settles everything the lane has in hand with an error.
func (l *lane) fail(p *Producer, err error) {
	err = fmt.Errorf("produce to %s/%d: %w", l.topic, l.partition, err)
	if l.parcel != nil {
		settle(l.parcel.runs, err)
		l.unload(p)
	}
	settle(l.rest, err)
	clear(l.rest)
	l.rest, l.cuts, l.err = l.rest[:0], nil, nil
}

func settle(runs []run, err error) {
	for i := range runs {
		runs[i].d.settle(len(runs[i].index), err)
	}
}

// sequenceAfter returns the sequence n messages later; they are counted to 2³¹-1
// and then from 0 again.
func sequenceAfter(sequence int32, n int) int32 {
	return int32((int64(sequence) + int64(n)) & math.MaxInt32)
}

// verdict is what an error code means for a batch.
type verdict int

const (
	taken           verdict = iota
	tooLarge                // for the topic
	unknownProducer         // the sequence is broken: go on under another identity
	notNow                  // the broker does not have it; again later
	perhaps                 // it may have it; the same bytes again
	never                   // again would be the same
)

func verdictOn(code kafkago.Error) verdict {
	switch code {
	case 0, kafkago.DuplicateSequenceNumber:
		return taken
	case kafkago.MessageSizeTooLarge, kafkago.RecordListTooLarge:
		return tooLarge
	case kafkago.OutOfOrderSequenceNumber, kafkago.UnknownProducerId, kafkago.InvalidProducerEpoch,
		kafkago.InvalidProducerIDMapping, kafkago.InvalidTransactionState, kafkago.ProducerFenced:
		return unknownProducer
	case kafkago.NotLeaderForPartition, kafkago.LeaderNotAvailable, kafkago.UnknownTopicOrPartition,
		kafkago.ReplicaNotAvailable, kafkago.NotEnoughReplicas, kafkago.FencedLeaderEpoch, kafkago.UnknownLeaderEpoch,
		kafkago.InvalidMessage: // its checksum was wrong when it came
		return notNow
	case kafkago.TopicAuthorizationFailed, kafkago.ClusterAuthorizationFailed, kafkago.TransactionalIDAuthorizationFailed,
		kafkago.InvalidTopic, kafkago.InvalidRequiredAcks, kafkago.InvalidTimestamp, kafkago.UnsupportedForMessageFormat,
		kafkago.PolicyViolation, kafkago.UnsupportedVersion, kafkago.InvalidRequest, kafkago.UnsupportedCompressionType, kafkago.InvalidRecord:
		return never
	default:
		// NOT_ENOUGH_REPLICAS_AFTER_APPEND, REQUEST_TIMED_OUT, disks, and what
		// nobody has thought of yet.
		return perhaps
	}
}

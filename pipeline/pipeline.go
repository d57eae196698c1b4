// Package pipeline is the heart of Weir: messages in, verdicts out.
//
// A [Source] delivers batches of records to a [Handler]; the [Pipeline] is that
// handler: it decodes each record, judges it under one rule set and one policy,
// and hands what must be kept to its sinks in order, evidence first. Within a
// partition there are only plain function calls, so order, errors and
// back-pressure need no machinery. What it is not: it knows no Kafka client and
// no Redis; [Source] and [Sink] stand for them.
//
// The one thing to know: [Handler.Handle] returns nil only when every effect of
// the batch is durable, and only [Handler.Checkpoint] after it allows an offset
// to be committed. A process may die anywhere between; the batch is then judged
// again, and every effect carries an id that makes its repetition harmless.
package pipeline

import (
	"context"
	"time"

	"github.com/weir-moderation/weir/pipeline/deferral"
	"github.com/weir-moderation/weir/pipeline/event"
)

// Source delivers batches to a Handler: those of one partition one after
// another, those of different partitions concurrently. A batch whose Handle
// failed is never passed over: the source delivers it again or Run returns the
// error. Run returns nil when ctx ends, after the calls in progress have
// returned and finished offsets are committed.
type Source interface {
	Run(ctx context.Context, h Handler) error
}

// Handler is what the pipeline is to a source.
type Handler interface {
	// Handle judges one batch. When it returns nil every effect of the batch is
	// durable; on an error nothing of it may be committed and it must be
	// delivered again, to this process or another. The batch and its bytes
	// belong to the handler only until Handle returns.
	Handle(ctx context.Context, b *Batch) error

	// Checkpoint makes the account of finished ranges durable (the ledger's
	// coverage record). Only after it returned nil may the offsets of those
	// ranges be committed. A range covers whole batches, each handled before. Those
	// that came with a claim may be committed by then; their account was durable
	// before.
	Checkpoint(ctx context.Context, done []Range) error
}

// Sink makes an output durable. When Write returns nil the output survives a
// crash of this process. The same output may be written again after one: every
// effect is keyed by the event, so that writing twice is harmless.
//
// An error wrapped by [Permanent] ends the daemon, a [*Refused] names the parts
// of the output that can never be written (all others then are durable); after
// any other error the same output is written again.
type Sink interface {
	Write(ctx context.Context, out *Output) error
}

// Record is one message of a batch.
type Record struct {
	Offset  int64
	Time    time.Time // the message's timestamp
	Key     []byte    // nil for none
	Value   []byte    // nil for none: a tombstone, or an empty message
	Headers []event.Header
	// Corrupt, if not empty, says why this cannot be taken for a message: the
	// bytes are not a record the broker's format allows (Value then holds them raw),
	// it has more than MaxHeaders headers (which then are left out), or it is a
	// deferred push that does not say where it comes from. It goes to the dead letters.
	Corrupt Reason
	// Past, of a push that was deferred, is what was before; nil for every other
	// message. Format is then how it is written, and not that of the batch: deferred
	// pushes of several topics lie on one.
	Past   *deferral.Past
	Format *event.Format
	// Name, of an event that was asked about, is made of every byte it has: it lies
	// nowhere that would name it when it comes again. Zero for every other message.
	Name ID
}

// MaxHeaders is how many headers of a message are read. Two bytes on the wire
// make one, so that a small compressed message could fill the memory with them.
const MaxHeaders = 128

// OwnHeaders is how the headers begin that only Weir writes. What others have
// written under such names is never passed on.
const OwnHeaders = "weir-"

// MaxOwnHeaders is how many headers Weir adds to a message at most.
const MaxOwnHeaders = 16

// Batch is what one fetch gave for one partition: the offsets First up to and
// not including Next.
type Batch struct {
	Kind        event.Kind    // what the topic carries
	Format      *event.Format // how its messages are written; nil: as docs/schemas says
	Topic       string
	Partition   int32
	First, Next int64
	Records     []Record // ascending offsets
	Skipped     int64    // control records and records of aborted transactions
	// Claim, if not nil, says that the batch's offsets are committed together with
	// what it leaves behind, by the sink that can; the source commits by itself only
	// what left nothing behind.
	Claim *Claim
	// Alive, if not nil, is called now and then while the batch waits for something
	// and knows it: the source takes one of which it hears nothing for one that hangs.
	Alive func()
	// Answer, if not nil, is told what became of each record, once all of it is
	// durable: the verdict, or the dead letter. Who asked has the messages and waits:
	// no push is passed on or deferred by a topic. Verdict and dead letter belong to
	// the pipeline again when it returns.
	Answer func(r *Record, v *Verdict, d *DeadLetter)
}

// Claim is what a member of a consumer group commits offsets with. It lapses when
// its partitions are given to others.
type Claim struct {
	Group, Member string
	Instance      string // of a static member, else empty
	Generation    int32
}

// Range is a run of offsets of one partition, First up to and not including Next.
type Range struct {
	Topic       string
	Partition   int32
	First, Next int64
}

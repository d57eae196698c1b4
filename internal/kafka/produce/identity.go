package produce

import (
	"context"
	"time"

	"github.com/weir-moderation/weir/internal/kafka/batch"
	"github.com/weir-moderation/weir/internal/kafka/wire"
)

// identity is what brokers know a producer by.
type identity struct {
	id            int64
	epoch         int16
	transactional bool
}

// sign returns how a batch is signed whose first message has a sequence.
func (x *identity) sign(sequence int32) batch.Producer {
	return batch.Producer{ID: x.id, Epoch: x.epoch, Sequence: sequence, Transactional: x.transactional}
}

// self is who a producer is at present.
type self struct {
	asking  chan struct{} // holds one token: one asks, the others wait for the answer
	current *identity
	failed  time.Time // when there was no answer
	err     error     // and why
}

// identify returns an identity to begin a sequence with, another than one that is
// lost. All lanes share one for as long as none of them loses it; those that did
// go on under the next while the others keep theirs.
func (p *Producer) identify(ctx context.Context, lost *identity) (*identity, error) {
	began := time.Now()
	select {
	case p.self.asking <- struct{}{}:
		defer func() { <-p.self.asking }()
	case <-ctx.Done():
		return nil, p.why(ctx.Err())
	}
	if x := p.self.current; x != nil && x != lost {
		return x, nil
	}
	if p.self.failed.After(began) {
		return nil, p.self.err // to ask once more right now would not help
	}
	x, err := p.initialize(ctx, askTimeout, "", 0, nil)
	if err != nil {
		p.self.failed, p.self.err = time.Now(), err
		return nil, err
	}
	p.self.current = x
	return x, nil
}

// initialize asks for a new identity: of nobody else, or of a transactional id, in
// which case whoever had that before has no say any more.
func (p *Producer) initialize(ctx context.Context, limit time.Duration, transaction string, timeout int32, route wire.Route) (*identity, error) {
	r, err := p.send.Ask(ctx, limit, p.client, &wire.Call{API: wire.InitProducerID, Body: func(w *wire.Writer) {
		w.StrOrNull(transaction)
		w.I32(timeout)
	}, Route: route})
	if err != nil {
		return nil, err
	}
	r.I32() // throttle
	if err := r.Code(); err != nil {
		return nil, err
	}
	x := &identity{id: r.I64(), epoch: r.I16(), transactional: transaction != ""}
	return x, r.Err
}

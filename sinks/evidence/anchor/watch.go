package anchor

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/weir-moderation/weir/internal/admin"
	"github.com/weir-moderation/weir/sinks/evidence"
)

// WatcherOptions says what to watch. All but Every, Peers and Poll are required.
type WatcherOptions struct {
	Topic     *Topic        // as [ReadTopic] has read it
	Log       *evidence.Log // the log of this process
	Publisher *Publisher
	Metrics   *Metrics
	Logger    *slog.Logger

	Every time.Duration   // after which the heads of others are put on record; 0 for never
	Peers []*admin.Client // admin listeners of others, which are asked for proofs
	Poll  time.Duration   // 0: one second
}

// Watcher follows the topic of heads: it ends the log of this process when another
// one publishes under its name, and puts on record how other logs grow, and which
// of them do not.
type Watcher struct {
	o     WatcherOptions
	topic *Topic
	log   *slog.Logger
	peers map[string]*peer // by origin
	away  bool             // the last look failed
}

// peer is another log, as far as it can be believed.
type peer struct {
	published           // the largest head
	checked   published // the head from which the next proof begins
	recorded  int64     // the size that is on record; 0 for none
	check     Check
	from      int64
	alarms    map[Alarm]bool // those that were raised
}

// NewWatcher returns a watcher.
func NewWatcher(o WatcherOptions) *Watcher {
	o.Poll = cmp.Or(o.Poll, time.Second)
	return &Watcher{o: o, topic: o.Topic, log: o.Logger, peers: make(map[string]*peer)}
}

// readTimeout is how long one look may take.
const readTimeout = 10 * time.Second

// Run watches until ctx ends; then it returns nil. Its error is that the log is
// broken, be it because another one has its name.
func (w *Watcher) Run(ctx context.Context) error {
	for _, p := range w.topic.others {
		if err := w.other(ctx, p); err != nil {
			return w.ended(ctx, err)
		}
	}
	w.topic.own, w.topic.others = nil, nil // the log has been compared with them
	w.o.Metrics.bad.Add(float64(w.topic.bad))
	poll := time.NewTicker(w.o.Poll)
	defer poll.Stop()
	var record <-chan time.Time
	if w.o.Every > 0 {
		t := time.NewTicker(w.o.Every)
		defer t.Stop()
		record = t.C
	}
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-poll.C:
			if err := w.look(ctx); err != nil {
				return w.ended(ctx, err)
			}
		case <-record:
			if err := w.record(ctx); err != nil {
				return w.ended(ctx, err)
			}
		}
	}
}

// ended is err, but for that of a context that has ended.
func (w *Watcher) ended(ctx context.Context, err error) error {
	if ctx.Err() != nil && !errors.Is(err, evidence.ErrBroken) {
		return nil
	}
	return fmt.Errorf("anchors: %w", err)
}

// look reads what came. That the topic is away ends nothing.
func (w *Watcher) look(ctx context.Context) error {
	limited, cancel := context.WithTimeout(ctx, readTimeout)
	defer cancel()
	var fatal error
	err := w.topic.poll(limited, func(p *published, err error) error {
		switch {
		case err != nil:
			w.o.Metrics.bad.Inc()
			return nil
		case p.head.Origin == w.o.Log.Origin():
			fatal = w.own(p)
		default:
			fatal = w.other(ctx, p)
		}
		return fatal
	})
	if fatal != nil {
		return fatal
	}
	if err == nil {
		w.o.Metrics.read.SetToCurrentTime()
	} else if ctx.Err() == nil {
		w.o.Metrics.readErrors.Inc()
		if !w.away {
			w.log.Warn("cannot look at the topic of heads; another instance of this name would not be noticed until it is back", "topic", w.topic.name, "err", err)
		}
	}
	w.away = err != nil
	return nil
}

// own looks at a head under the name of this log. One that this log has not signed
// says that two logs have its name: a cloned disk, a copied configuration. Nobody can
// tell which of them is the right one, and each record that one of them takes makes
// it worse. So whoever reads the other's head ends; both do, if both have published
// one; and whoever ended does not start again while the other's head is on the topic.
//
// Clause: rn-audit
// Of two logs under one name one ends within about a second of the other's publishing; what both have published is kept by who sees it.
func (w *Watcher) own(p *published) error {
	if w.o.Publisher.hasSent(p.checkpoint) {
		return nil
	}
	l := w.o.Log
	h, err := evidence.ParseCheckpoint(p.checkpoint, l.VerifierKey())
	if err != nil {
		return l.Break(fmt.Errorf("FORK: topic %s, partition %d, offset %d: a head of %d records under the name %s, and %w: another instance has this name; "+
			"give each instance a name of its own (instance)", w.topic.name, p.partition, p.offset, p.head.Size, l.Origin(), err))
	}
	// An earlier process of this instance may have died with a head under way.
	switch ok, err := l.HasSigned(h); {
	case err != nil:
		return l.Break(fmt.Errorf("look for a published head among those that were signed: %w", err))
	case ok:
		return nil
	}
	return l.Break(fmt.Errorf("FORK: topic %s, partition %d, offset %d: a head of %d records, signed with the key of this log %s and not by it, which holds %d records: "+
		"another instance runs with a copy of its directory; stop both, and start this one with a new evidence.generation", w.topic.name, p.partition, p.offset, h.Size, l.Origin(), l.Size()))
}

// other looks at a head of another log.
func (w *Watcher) other(ctx context.Context, p *published) error {
	origin := p.head.Origin
	known := w.peers[origin]
	again := known != nil && known.partition == p.partition && p.offset <= known.offset // brokers have lost or repeat something
	switch {
	case known == nil:
		err := checkKey(origin, p.vkey)
		if err == nil {
			_, err = evidence.ParseCheckpoint(p.checkpoint, p.vkey)
		}
		if err != nil {
			w.o.Metrics.bad.Inc()
			w.log.Warn("a head of another log is not signed with the key beside it", "topic", w.topic.name, "partition", p.partition, "offset", p.offset)
			return nil
		}
		w.peers[origin] = &peer{published: *p, check: First, checked: *p, alarms: make(map[Alarm]bool)}
		w.o.Metrics.peers.Set(float64(len(w.peers)))
		return nil
	case string(p.checkpoint) == string(known.checkpoint):
		return nil
	}
	if _, err := evidence.ParseCheckpoint(p.checkpoint, known.vkey); err != nil {
		// Signed by the key beside it, it is another log of that name. Else anybody may have written it.
		if checkKey(origin, p.vkey) == nil && p.vkey != known.vkey {
			if _, err := evidence.ParseCheckpoint(p.checkpoint, p.vkey); err == nil {
				return w.alarm(ctx, OtherKey, known, &known.published, p)
			}
		}
		w.o.Metrics.bad.Inc()
		return nil
	}
	switch {
	case p.head.Size == known.head.Size && p.head.Root != known.head.Root:
		return w.alarm(ctx, Forked, known, &known.published, p)
	case p.head.Size < known.head.Size && again:
		return nil
	case p.head.Size < known.head.Size:
		return w.alarm(ctx, RolledBack, known, &known.published, p)
	}
	known.published = *p
	return nil
}

// incident is the body of an incident record about another log.
type incident struct {
	What  Alarm `json:"what"`
	Known Head  `json:"known"` // the head that was believed
	Other Head  `json:"other"` // and the one that contradicts it
}

// alarm puts on record, once, that another log is not to be believed. What was
// known of it stays known.
func (w *Watcher) alarm(ctx context.Context, why Alarm, of *peer, known, p *published) error {
	if of.alarms[why] {
		return nil
	}
	// Its identity is what it says: a process that finds it again after a restart
	// records it once more under the same id.
	err := record(ctx, w.o.Log, evidence.KindIncident, incident{why, w.headOf(known), w.headOf(p)})
	if err != nil {
		return fmt.Errorf("record that another log is %s: %w", why, err)
	}
	of.alarms[why] = true
	w.o.Metrics.alarms.WithLabelValues(string(why)).Inc()
	w.log.Error("another evidence log is not to be believed", "alarm", string(why), "origin", p.head.Origin,
		"known_records", known.head.Size, "published_records", p.head.Size, "topic", w.topic.name, "partition", p.partition, "offset", p.offset)
	return nil
}

func (w *Watcher) headOf(p *published) Head {
	return Head{Origin: p.head.Origin, Checkpoint: string(p.checkpoint), VerifierKey: p.vkey,
		Topic: w.topic.name, Partition: p.partition, Offset: p.offset}
}

// record puts the heads of others on record that changed since it was last done.
func (w *Watcher) record(ctx context.Context) error {
	if err := w.prove(ctx); err != nil {
		return err
	}
	var body Body
	for _, origin := range slices.Sorted(maps.Keys(w.peers)) {
		p := w.peers[origin]
		if p.head.Size == p.recorded {
			continue
		}
		h := w.headOf(&p.published)
		h.Check, h.From = p.check, p.from
		body.Heads = append(body.Heads, h)
	}
	if len(body.Heads) == 0 {
		return nil
	}
	if err := record(ctx, w.o.Log, evidence.KindAnchor, body); err != nil {
		return fmt.Errorf("record the heads of others: %w", err)
	}
	for _, p := range w.peers {
		p.recorded = p.head.Size
	}
	return nil
}

// prove asks the other instances for proofs that their logs have only grown since
// the head from which that is known.
func (w *Watcher) prove(ctx context.Context) error {
	for _, p := range w.peers {
		if p.recorded > 0 {
			p.check, p.from = Grew, 0
		}
	}
	for _, peer := range w.o.Peers {
		origin, err := askOrigin(ctx, peer)
		p := w.peers[origin]
		if err != nil || p == nil || p.recorded == p.head.Size || p.checked.head.Size == p.head.Size {
			continue // nothing of it is to be recorded, or nothing to be proved
		}
		from := p.checked.head
		proof, err := askProof(ctx, peer, from.Size, p.head.Size)
		switch {
		case err != nil:
			p.check, p.from = Unreachable, from.Size
		case tlog.CheckTree(proof, p.head.Size, p.head.Root, from.Size, from.Root) != nil:
			if err := w.alarm(ctx, Inconsistent, p, &p.checked, &p.published); err != nil {
				return err
			}
		default:
			p.check, p.from, p.checked = Consistent, from.Size, p.published
		}
	}
	return nil
}

// Heartbeat puts on record that nothing else was for some time, again and again
// until ctx ends: a log that is idle differs from one that is dead.
func Heartbeat(ctx context.Context, log *evidence.Log, every time.Duration) error {
	t := time.NewTicker(every)
	defer t.Stop()
	size, since := log.Size(), time.Now()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
		}
		if now := log.Size(); now != size {
			size, since = now, time.Now()
			continue
		}
		err := record(ctx, log, evidence.KindHeartbeat, HeartbeatBody{Records: size, Since: since.UTC().Format(time.RFC3339Nano)})
		if err != nil {
			if ctx.Err() != nil && !errors.Is(err, evidence.ErrBroken) {
				return nil
			}
			return fmt.Errorf("heartbeat: %w", err)
		}
		size, since = log.Size(), time.Now()
	}
}

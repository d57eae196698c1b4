package app

import (
	"context"
	"fmt"

	"golang.org/x/sync/errgroup"

	"github.com/weir-moderation/weir/sinks/evidence"
	"github.com/weir-moderation/weir/sinks/evidence/anchor"
	"github.com/weir-moderation/weir/sinks/evidence/desk"
)

// anchors keep the heads of the evidence log where its directory cannot take them
// back; each of them is nil where it is off.
type anchors struct {
	publisher *anchor.Publisher
	watcher   *anchor.Watcher
	cosigner  *anchor.Cosigner
	stamper   *anchor.Stamper
	heartbeat func(context.Context) error
}

// openEvidence opens the log, once it is known what was published of it, and
// compares it with that before anything is appended.
//
// Clause: rn-audit
// A log that was put back to an older state, or that another one has continued, does not start: its last published head says so.
func (d *daemon) openEvidence(ctx context.Context) error {
	o := EvidenceOptions(d.cfg)
	o.Logger, o.Registerer = d.log, d.registry
	err := d.openStore(ctx, &o)
	if err != nil {
		return err
	}
	peers, err := d.cfg.Anchors.PeerClients()
	if err != nil {
		return fmt.Errorf("anchors.%w", err)
	}
	var topic *anchor.Topic
	if name := d.cfg.Output.Checkpoints; name != "" {
		if topic, err = anchor.ReadTopic(ctx, d.client, name, o.Origin); err != nil {
			return err
		}
		d.anchors.publisher = anchor.NewPublisher(anchor.PublisherOptions{Client: d.client, Topic: name,
			Limit: d.cfg.Anchors.UnpublishedLimit, Logger: d.log})
		o.OnCheckpoint = d.anchors.publisher.Take
		o.Published = topic.Own()
		o.Previous = func() (*evidence.Previous, error) { return d.previous(o.Dir, topic.Previous()) }
	}
	if !evidence.HasKeys(o.Dir) {
		// A directory that was emptied is refused before a master key is made in it, which would
		// stand in the way of the one that is put back.
		if err := evidence.CheckBegin(o); err != nil {
			return err
		}
	}
	if o.Keys, err = d.openKeys(); err != nil {
		return err
	}
	if d.keys != nil {
		o.Forgotten = desk.Forgotten(d.keys)
	}
	if d.evidence, err = evidence.Open(o); err != nil {
		return err
	}
	if p := d.anchors.publisher; p != nil {
		d.stops.push("publisher of heads", func(ctx context.Context) error {
			if d.evidence.Err() == nil {
				p.Flush(ctx) // the head that closing the log has just signed
			}
			return nil
		})
		m := anchor.NewMetrics(d.registry, p.Waiting)
		p.Attach(d.evidence, m)
		d.anchors.watcher = anchor.NewWatcher(anchor.WatcherOptions{Topic: topic, Log: d.evidence, Publisher: p, Metrics: m, Logger: d.log,
			Every: d.cfg.Anchors.Every, Peers: peers})
	}
	d.stops.push("evidence log", func(context.Context) error { return d.evidence.Close() })
	d.say("evidence", "%d records, origin %s", d.evidence.Size(), d.evidence.Origin())
	if topic != nil {
		if n := topic.Size(); n > 0 {
			d.say("heads", "on topic %s; the published head of %d records is one of this log", d.cfg.Output.Checkpoints, n)
		} else {
			d.say("heads", "on topic %s; none of this log was published before", d.cfg.Output.Checkpoints)
		}
	}
	return d.askElsewhere(ctx)
}

// previous says what became of the log before this one.
func (d *daemon) previous(dir string, checkpoint []byte) (*evidence.Previous, error) {
	if checkpoint == nil {
		return nil, nil
	}
	p, err := evidence.Follow(dir, checkpoint)
	if err != nil {
		return nil, err
	}
	if p.Why != evidence.FateKept {
		d.warn("evidence", "a new log begins because the one before, "+p.Origin+", is "+string(p.Why)+"; its first record says so")
	}
	return p, nil
}

// askElsewhere makes what asks a witness and an authority. The witness is asked at
// once: it may know more of this log than there is here.
func (d *daemon) askElsewhere(ctx context.Context) error {
	a := &d.cfg.Anchors
	var err error
	if a.Witness.URL != "" {
		if d.anchors.cosigner, err = anchor.NewCosigner(a.Witness, d.evidence, d.log, d.registry); err != nil {
			return err
		}
		if err := d.anchors.cosigner.Check(ctx); err != nil {
			return err
		}
	}
	if a.Timestamp.URL != "" {
		if d.anchors.stamper, err = anchor.NewStamper(a.Timestamp, d.evidence, d.log, d.registry); err != nil {
			return err
		}
	}
	if a.Heartbeat > 0 {
		d.anchors.heartbeat = func(ctx context.Context) error { return anchor.Heartbeat(ctx, d.evidence, a.Heartbeat) }
	}
	return nil
}

// run runs those that are on.
func (a *anchors) run(ctx context.Context, g *errgroup.Group) {
	if a.publisher != nil {
		g.Go(func() error { return a.publisher.Run(ctx) })
		g.Go(func() error { return a.watcher.Run(ctx) })
	}
	if a.cosigner != nil {
		g.Go(func() error { return a.cosigner.Run(ctx) })
	}
	if a.stamper != nil {
		g.Go(func() error { return a.stamper.Run(ctx) })
	}
	if a.heartbeat != nil {
		g.Go(func() error { return a.heartbeat(ctx) })
	}
}

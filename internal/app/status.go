package app

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"time"

	"github.com/weir-moderation/weir/internal/kafka"
	"github.com/weir-moderation/weir/internal/status"
	"github.com/weir-moderation/weir/pipeline/push"
	"github.com/weir-moderation/weir/rules"
	"github.com/weir-moderation/weir/sinks/evidence"
)

// newStatus makes what looks after the status page.
func newStatus(d *daemon) *status.Monitor {
	return status.New(status.Options{
		Instance: status.Instance{Source: d.cfg.Source, Name: d.cfg.Instance, Group: d.cfg.Input.Group, Build: d.o.Build, Started: time.Now().UTC()},
		Gatherer: d.registry,
		Checks:   d.statusChecks(),
		Hits:     d.pipeline.HitsByRule,
		Category: d.categoryNames,
		InForce:  d.statusInForce,
		Evidence: d.statusEvidence,
		Logger:   d.log,
	})
}

// statusChecks ask what Weir leans on. None of them may change anything.
func (d *daemon) statusChecks() []status.Check {
	list := []status.Check{
		{Part: status.Kafka, Slow: status.KafkaSlow, Stuck: status.KafkaAway, Ask: d.askKafka},
		{Part: status.Disk, Slow: status.DiskSlow, Stuck: status.DiskStuck, Ask: d.askDisk},
		{Part: status.EvidenceLog, Ask: func(context.Context) []status.Fault { return fault(status.EvidenceBroken, d.evidence.Err()) }},
		{Part: status.Rules, Ask: func(context.Context) []status.Fault {
			return fault(status.RulesSilent, d.pipeline.InForce().Rules.SelfTest())
		}},
		{Part: status.Consumer, Ask: func(context.Context) []status.Fault { return fault(status.ConsumerIdle, d.source.Ready()) }},
	}
	if d.api != nil {
		list = append(list, status.Check{Part: status.API, Ask: d.askAPI})
	}
	if d.store != nil {
		list = append(list, status.Check{Part: status.Redis, Slow: status.RedisSlow, Stuck: status.RedisAway, Ask: d.askRedis})
	}
	return list
}

// fault is an error as a fault, nil for none.
func fault(k status.Kind, err error) []status.Fault {
	if err == nil {
		return nil
	}
	return []status.Fault{{Kind: k, Detail: err.Error()}}
}

// askKafka asks for the topics that are read and written, over a connection that is there. If that fails, a
// new connection tells why in better words.
func (d *daemon) askKafka(ctx context.Context) []status.Fault {
	names := slices.Concat(d.cfg.Input.Topics(), d.cfg.Output.Topics())
	slices.Sort(names)
	topics, err := d.client.Topics(ctx, slices.Compact(names)...)
	if err != nil {
		limited, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		if why := d.client.Preflight(limited); why != nil && !errors.Is(why, context.DeadlineExceeded) {
			err = why
		}
		return fault(status.KafkaAway, err)
	}
	for _, t := range topics {
		switch {
		case errors.Is(t.Err, kafka.ErrNoTopic):
			return fault(status.KafkaTopics, fmt.Errorf("topic %s: %w", t.Name, t.Err))
		case t.Err != nil:
			return fault(status.KafkaTopics, fmt.Errorf("topic %s: %w", t.Name, t.Err))
		}
		if p := slices.Index(t.Leaders, -1); p >= 0 {
			return fault(status.KafkaTopics, fmt.Errorf("partition %s/%d has no leader", t.Name, p))
		}
	}
	return nil
}

// askAPI looks whether there is room for one more who asks for a verdict.
func (d *daemon) askAPI(context.Context) []status.Fault {
	if n, most := d.api.InHand(); n == most {
		return fault(status.APIRefuses, fmt.Errorf("%d requests are in hand, as many as api.max_requests allows", n))
	}
	return nil
}

func (d *daemon) askRedis(ctx context.Context) []status.Fault {
	err := d.store.Check(ctx)
	switch {
	case err != nil && push.Away(err):
		return fault(status.RedisAway, err)
	case err != nil:
		return fault(status.RedisUnsafe, err)
	}
	return fault(status.RedisCatchingUp, d.fallback.Settled())
}

// slowWrite is how long one write of evidence may take. It takes milliseconds when all is well.
const (
	slowWrite  = time.Second
	stuckWrite = 3 * time.Second
)

// askDisk asks the disk of the evidence, and notes how the log stands by the way: both may take as long as
// the disk takes.
func (d *daemon) askDisk(context.Context) []status.Fault {
	r, err := d.evidence.Room()
	d.shown.log.Store(&logState{d.evidence.State(), r.Free})
	switch {
	case err != nil:
		return fault(status.DiskStuck, err)
	case r.Writing > stuckWrite:
		return fault(status.DiskStuck, fmt.Errorf("a write has not come back for %v", r.Writing.Round(time.Second)))
	case r.Full:
		return fault(status.DiskFull, fmt.Errorf("%d MiB are free", r.Free>>20))
	case r.Writing > slowWrite:
		return fault(status.DiskSlow, fmt.Errorf("a write has not come back for %v", r.Writing.Round(100*time.Millisecond)))
	case r.Low:
		return fault(status.DiskLow, fmt.Errorf("%d MiB are free", r.Free>>20))
	}
	return nil
}

// logState is how the evidence log stood when its disk last answered.
type logState struct {
	evidence.State
	free int64
}

func (d *daemon) statusInForce() status.InForce {
	force := d.pipeline.InForce()
	f := status.InForce{Rules: len(force.Rules.Rules()), Terms: force.Rules.Stats().Terms, Digest: force.Rules.Digest(), Tripped: force.Rules.InShadow(),
		Halted: len(d.pipeline.Halts().List())}
	if force.Policy != nil {
		f.Policy, f.PolicyHash = force.Policy.Version(), force.Policy.Digest()
	}
	r := d.reloader.shown.Load()
	f.Since, f.From = r.since.UTC(), r.set.Dir
	if r.refused != nil {
		f.Refused, _, _ = strings.Cut(r.refused.Why, "\n")
		f.RefusedAt, _ = time.Parse(time.RFC3339Nano, r.refused.Time) // ours
	}
	return f
}

func (d *daemon) statusEvidence() status.Evidence {
	e := status.Evidence{Origin: d.evidence.Origin()}
	if s := d.shown.log.Load(); s != nil {
		e.Records, e.Signed, e.Root = s.Records, s.Signed, base64.StdEncoding.EncodeToString(s.Root[:])
		e.SignedAt, e.ScrubbedAt, e.Bytes, e.Unsealed, e.Free = s.SignedAt.UTC(), s.Scrubbed.UTC(), s.Bytes, s.Unsealed, s.free
	}
	if p := d.anchors.publisher; p != nil {
		e.Published, e.HeadAt, e.UnpublishedSeconds = true, p.Last().UTC(), p.Waiting().Seconds()
	}
	return e
}

// statusShown is what was last known for the page.
type statusShown struct {
	log        atomic.Pointer[logState]
	categories atomic.Pointer[categories]
}

// categories are those of the rules in force.
type categories struct {
	set   *RuleSet
	names *rules.Register
}

// categoryNames returns the names of a category in the register that the rules in force were read with.
func (d *daemon) categoryNames(code string) (en, zh string) {
	set := d.reloader.shown.Load().set
	c := d.shown.categories.Load()
	if c == nil || c.set != set {
		c = &categories{set: set}
		c.names, _ = rules.ParseRegister("categories", []byte(set.Categories)) // the set was built with it
		d.shown.categories.Store(c)
	}
	if c.names == nil {
		return "", ""
	}
	k, ok := c.names.Category(code)
	if !ok {
		return "", ""
	}
	return k.Name, k.NameZH
}

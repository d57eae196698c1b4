package app

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/weir-moderation/weir/internal/config"
	"github.com/weir-moderation/weir/internal/kafka"
	"github.com/weir-moderation/weir/internal/kafka/produce"
	"github.com/weir-moderation/weir/pipeline"
	"github.com/weir-moderation/weir/pipeline/event"
	"github.com/weir-moderation/weir/pipeline/push"
	"github.com/weir-moderation/weir/sinks"
)

// HaltOrder is an order to stop or to resume, as it stands in a topic.
type HaltOrder struct {
	push.Halt

	Halted bool

	Key       string
	Partition int32
	Offset    int64
	Timestamp time.Time // of the message
}

// HaltKey returns the key under which Weir writes orders about a target. Whoever
// else writes some may choose another: what is in force under one of its keys is.
func HaltKey(t push.Target) string { return string(t.Scope) + "/" + t.Value }

// BadHalt is a message in a topic of halts that is no order.
type BadHalt struct {
	Key       string
	Partition int32
	Offset    int64
	Err       error // never content
}

// HaltOrders is what a topic of halts says: of each key its newest message.
type HaltOrders struct {
	Orders []HaltOrder // by key
	Bad    []BadHalt   // by key
	gone   map[string]kafka.Value
}

// InForce returns what is halted: whatever one key says to halt, the newest order first.
func (h *HaltOrders) InForce() []HaltOrder {
	var list []HaltOrder
	for i := range h.Orders {
		if h.Orders[i].Halted {
			list = append(list, h.Orders[i])
		}
	}
	slices.SortStableFunc(list, func(a, b HaltOrder) int { return b.Since.Compare(a.Since) })
	return list
}

// Halts returns the list that pushes are looked up in.
func (h *HaltOrders) Halts() *push.Halts { return push.NewHalts(h.halts()) }

func (h *HaltOrders) halts() []push.Halt {
	var list []push.Halt
	for _, o := range h.InForce() {
		list = append(list, o.Halt)
	}
	return list
}

// ReadHalts returns what a topic of halts says now.
func ReadHalts(ctx context.Context, c *kafka.Client, topic string, events event.Config) (*HaltOrders, error) {
	newest := c.NewCompacted(topic)
	defer newest.Close()
	values, _, err := newest.Poll(ctx)
	if err != nil {
		return nil, fmt.Errorf("read halts from topic %s: %w", topic, err)
	}
	return haltsIn(values, events), nil
}

// haltsIn reads orders from what a topic holds.
func haltsIn(values map[string]kafka.Value, events event.Config) *HaltOrders {
	h := &HaltOrders{gone: make(map[string]kafka.Value)}
	d := event.NewDecoder(events)
	var e event.Event
	for _, key := range slices.Sorted(maps.Keys(values)) {
		v := values[key]
		if v.Value == nil {
			h.gone[key] = v
			continue
		}
		headers := make([]event.Header, len(v.Headers))
		for i := range v.Headers {
			headers[i] = event.Header(v.Headers[i])
		}
		d.Reset()
		if err := d.Decode(event.Halt, headers, v.Value, &e); err != nil {
			h.Bad = append(h.Bad, BadHalt{Key: key, Partition: v.Partition, Offset: v.Offset, Err: err})
			continue
		}
		h.Orders = append(h.Orders, HaltOrder{
			Halt: push.Halt{Target: push.Target{Scope: push.Scope(e.Halt.Scope), Value: string(e.Halt.Value)},
				Since: e.Time, Why: string(e.Halt.Why), By: string(e.Halt.By), ID: string(e.ID)},
			Halted: e.Halt.Halted, Key: key, Partition: v.Partition, Offset: v.Offset, Timestamp: v.Time,
		})
	}
	return h
}

// haltEvent is an order as it is written.
type haltEvent struct {
	Kind   string     `json:"kind"`
	ID     string     `json:"id"`
	Time   string     `json:"time"`
	Scope  push.Scope `json:"scope"`
	Value  string     `json:"value"`
	Halted bool       `json:"halted"`
	Why    string     `json:"why,omitempty"`
	By     string     `json:"by,omitempty"`
}

// PublishHalts writes orders to a topic, each under its key, or without one under
// that of its target. An order without an id gets one that is drawn.
func PublishHalts(ctx context.Context, c *kafka.Client, topic string, events event.Config, orders ...HaltOrder) error {
	p := c.NewProducer(produce.Options{Topics: []string{topic}})
	ctx, cancel := context.WithTimeout(ctx, publishPatience)
	defer cancel()
	return writeHalts(ctx, p, topic, events, orders)
}

func writeHalts(ctx context.Context, p *produce.Producer, topic string, events event.Config, orders []HaltOrder) error {
	messages := make([]produce.Message, 0, len(orders))
	for _, o := range orders {
		if o.ID == "" {
			o.ID = rand.Text()
		}
		value, err := json.Marshal(haltEvent{Kind: event.Halt.String(), ID: o.ID, Time: o.Since.UTC().Format(time.RFC3339Nano),
			Scope: o.Scope, Value: o.Value, Halted: o.Halted, Why: o.Why, By: o.By})
		if err != nil {
			return fmt.Errorf("write halt: %w", err)
		}
		// What nobody could read must not be what compaction keeps.
		if err := event.NewDecoder(events).Decode(event.Halt, nil, value, new(event.Event)); err != nil {
			return fmt.Errorf("write halt: %w", err)
		}
		messages = append(messages, produce.Message{Topic: topic, Key: []byte(cmp.Or(o.Key, HaltKey(o.Target))), Value: value})
	}
	if err := p.Produce(ctx, messages); err != nil {
		return fmt.Errorf("write halts to topic %s: %w", topic, err)
	}
	return nil
}

// halts follows the topic of halts, and tells it what this process halted itself.
type halts struct {
	topic    string
	newest   *kafka.Compacted
	producer *produce.Producer
	events   event.Config
	source   string
	pipeline *pipeline.Pipeline
	evidence *sinks.Evidence
	log      *slog.Logger
	metrics  *haltMetrics

	// Of what follows the topic.
	known   map[string]HaltOrder   // by key, as they are in force
	bad     map[string]int64       // by key, the offset of what was reported
	lost    map[string]bool        // keys whose order is gone from the topic
	pending map[string]kafka.Value // what was read and is not taken up yet
	away    bool                   // the last poll failed

	// Of what tells it: halts of our own that are on record, and those that are written.
	recorded, written map[*pipeline.HaltTrip]bool

	mu   sync.Mutex
	told []*pipeline.HaltTrip // written since the last poll
}

// haltWatch is how often a topic of halts is looked at. An order holds for every
// batch that is decided from so much later on, and the time the brokers take to answer.
const haltWatch = 250 * time.Millisecond

// haltPatience is how long to wait before a halt of our own is written again.
const haltPatience = time.Second

// haltTimeout is how long one attempt to write or to read may take, and haltStart
// how long a start waits for the list.
const (
	haltTimeout = 3 * time.Second
	haltStart   = 20 * time.Second
)

type haltMetrics struct {
	read      prometheus.Gauge
	bad       prometheus.Gauge
	failed    prometheus.Counter
	unwritten prometheus.Counter
}

func newHaltMetrics(reg prometheus.Registerer, waiting func() float64) *haltMetrics {
	m := &haltMetrics{
		read:      prometheus.NewGauge(prometheus.GaugeOpts{Name: "weir_push_halts_read_timestamp_seconds", Help: "When the topic of halts was last looked at; while it is away the last list holds."}),
		bad:       prometheus.NewGauge(prometheus.GaugeOpts{Name: "weir_push_halts_bad_messages", Help: "Newest messages of their keys in the topic of halts that are no orders."}),
		failed:    prometheus.NewCounter(prometheus.CounterOpts{Name: "weir_push_halts_read_errors_total", Help: "Attempts to look at the topic of halts that failed."}),
		unwritten: prometheus.NewCounter(prometheus.CounterOpts{Name: "weir_push_halts_write_errors_total", Help: "Attempts to write an automatic halt to the topic of halts that failed; until one works other processes do not follow."}),
	}
	reg.MustRegister(m.read, m.bad, m.failed, m.unwritten, prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "weir_push_halts_unshared", Help: "Automatic halts of this process that are not in the topic of halts yet."}, waiting))
	return m
}

func newHalts(c *kafka.Client, cfg *config.Config, p *pipeline.Pipeline, ev *sinks.Evidence, log *slog.Logger, reg prometheus.Registerer) *halts {
	topic := cfg.Input.Halts
	return &halts{
		topic: topic, newest: c.NewCompacted(topic), producer: c.NewProducer(produce.Options{Topics: []string{topic}}),
		events: cfg.Events, source: cfg.Source, pipeline: p, evidence: ev, log: log,
		metrics: newHaltMetrics(reg, func() float64 { return float64(len(p.Trips())) }),
		known:   make(map[string]HaltOrder), bad: make(map[string]int64), lost: make(map[string]bool),
	}
}

// start reads the whole list, before the first push is decided.
func (h *halts) start(ctx context.Context) error {
	if err := h.poll(ctx, haltStart); err != nil {
		return fmt.Errorf("%w; no push is decided before it is known what is halted", err)
	}
	return nil
}

// follow looks at the topic again and again until ctx ends.
func (h *halts) follow(ctx context.Context) error {
	tick := time.NewTicker(haltWatch)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
		}
		err := h.poll(ctx, haltTimeout)
		if h.evidence.Log.Err() != nil {
			return h.evidence.Log.Err() // nothing can go on record any more, so nothing may be resumed
		}
		first := err != nil && !h.away
		if h.away = err != nil; h.away && ctx.Err() == nil {
			h.metrics.failed.Inc()
		}
		if first && ctx.Err() == nil {
			h.log.Warn("cannot look at the topic of halts; what was halted stays halted, and an order to halt or to resume takes no effect until it is back", "topic", h.topic, "err", err)
		}
	}
}

// poll takes up what the topic says if it changed.
//
// On record first, then in force. If the process dies in between, the next one reads
// the topic whole and writes the same records again.
func (h *halts) poll(ctx context.Context, patience time.Duration) error {
	// What was written before the topic is read is in it, or something later is.
	h.mu.Lock()
	settled := h.told
	h.told = nil
	h.mu.Unlock()
	limited, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	values, changed, err := h.newest.Poll(limited)
	if err == nil {
		if changed {
			h.pending = values
		}
		switch {
		case h.pending != nil:
			err = h.take(ctx, haltsIn(h.pending, h.events), settled)
		case len(settled) > 0: // read already by the poll before
			h.pipeline.Ordered(h.orders().halts(), settled)
		}
	}
	if err != nil {
		h.mu.Lock()
		h.told = append(settled, h.told...)
		h.mu.Unlock()
		return fmt.Errorf("read halts from topic %s: %w", h.topic, err)
	}
	h.pending = nil
	h.metrics.read.SetToCurrentTime()
	return nil
}

// take puts on record what is new, and all of it in force.
func (h *halts) take(ctx context.Context, now *HaltOrders, settled []*pipeline.HaltTrip) error {
	next := make(map[string]HaltOrder, len(now.Orders))
	var incidents []sinks.Incident
	for _, o := range now.Orders {
		if was, ok := h.known[o.Key]; !ok || was.Partition != o.Partition || was.Offset != o.Offset {
			incidents = append(incidents, h.incident(&o))
		}
		next[o.Key] = o
	}
	h.metrics.bad.Set(float64(len(now.Bad)))
	bad := make(map[string]int64, len(now.Bad))
	for _, b := range now.Bad {
		bad[b.Key] = b.Offset
		was, ok := h.known[b.Key]
		if ok && was.Halted {
			next[b.Key] = was // stopped until somebody says that it is not
		}
		if before, said := h.bad[b.Key]; !said || before != b.Offset {
			h.log.Error("a message in the topic of halts is no order", "topic", h.topic, "partition", b.Partition, "offset", b.Offset, "err", b.Err, "halted_before", ok && was.Halted)
		}
	}
	for key, v := range now.gone {
		was, ok := h.known[key]
		if !ok || !was.Halted {
			continue
		}
		was.Since, was.Partition, was.Offset, was.Timestamp = v.Time.UTC(), v.Partition, v.Offset, v.Time
		was.Halted, was.Why, was.By, was.ID = false, "its order was deleted", "", ""
		incidents = append(incidents, h.incident(&was))
	}
	lost := make(map[string]bool)
	for key, was := range h.known {
		_, there := next[key]
		_, gone := now.gone[key]
		if there || gone || !was.Halted {
			continue
		}
		// Nobody said that it may go on: the topic was made anew, or throws away what is old.
		next[key], lost[key] = was, true
		if !h.lost[key] {
			h.log.Error("an order to halt is gone from the topic of halts; it stays in force here until there is one to resume; the topic needs cleanup.policy=compact", append([]any{"topic", h.topic}, shown(&was.Halt)...)...)
		}
	}
	if err := h.evidence.Incidents(ctx, incidents); err != nil {
		return fmt.Errorf("record what is halted: %w", err)
	}
	for key, o := range next { // the whole reason is on record
		o.Halt = push.NewHalts([]push.Halt{o.Halt}).List()[0]
		next[key] = o
	}
	before := h.pipeline.Halts()
	h.known, h.bad, h.lost = next, bad, lost
	ids := make(map[string]bool, len(next))
	for _, o := range next {
		ids[o.ID] = true
	}
	for _, t := range h.pipeline.Trips() {
		if ids[t.ID] { // a write that seemed to fail
			settled = append(settled, t)
		}
	}
	h.pipeline.Ordered(h.orders().halts(), settled)
	h.say(before, h.pipeline.Halts())
	return nil
}

// orders returns what is in force as it was read.
func (h *halts) orders() *HaltOrders {
	o := new(HaltOrders)
	for _, key := range slices.Sorted(maps.Keys(h.known)) {
		o.Orders = append(o.Orders, h.known[key])
	}
	return o
}

func (h *halts) incident(o *HaltOrder) sinks.Incident {
	return sinks.Incident{Halt: o.Halt, Resumed: !o.Halted, Offset: o.Offset, Timestamp: o.Timestamp,
		Origin: pipeline.Origin{Source: h.source, Topic: h.topic, Partition: o.Partition}}
}

// say logs what changed. Who sends may be a person, so senders go by the id of the order.
func (h *halts) say(before, now *push.Halts) {
	for _, x := range now.List() {
		if before.Has(x.Target) == nil {
			h.log.Warn("pushes are halted", shown(&x)...)
		}
	}
	for _, x := range before.List() {
		if now.Has(x.Target) == nil {
			h.log.Warn("pushes go on", shown(&x)...)
		}
	}
	if n := now.LeftOut(); n > 0 && n != before.LeftOut() {
		h.log.Error("there are more orders to halt than can be in force; the oldest of campaigns are not", "left_out", n, "at_most", push.MaxHalts)
	}
}

func shown(x *push.Halt) []any {
	list := []any{"scope", string(x.Scope), "order", x.ID}
	if x.Scope != push.ScopeSender {
		list = append(list, "value", x.Value)
	}
	return list
}

// share puts on record what this process halted itself, and writes it to the topic,
// again and again until it is there, until ctx ends.
//
// It is in force here before any of that. If the process dies before the record, or
// between the record and the topic, nobody else follows; what is abnormal is found
// again if it lasts, and is another incident then.
//
// Clause: push-monitor
// An automatic halt holds in the process that found it from the next batch on, and in all others as soon as its order is written.
func (h *halts) share(ctx context.Context) error {
	for failed := false; ; {
		recorded, written := make(map[*pipeline.HaltTrip]bool), make(map[*pipeline.HaltTrip]bool)
		var fresh []sinks.Incident
		var trips []*pipeline.HaltTrip
		var orders []HaltOrder
		for _, t := range h.pipeline.Trips() {
			recorded[t] = true
			if !h.recorded[t] {
				fresh = append(fresh, sinks.Incident{Halt: t.Halt, Trip: t})
				h.log.Warn("something is abnormal, and halted until a person lets it go on: weir push resume",
					append(shown(&t.Halt), "rule", t.Rule.ID, "cause", string(t.Rule.When), "count", t.Count, "of", t.Of, "window", t.Rule.Window.String())...)
			}
			if written[t] = h.written[t]; !written[t] {
				trips, orders = append(trips, t), append(orders, HaltOrder{Halt: t.Halt, Halted: true})
			}
		}
		if err := h.evidence.Incidents(ctx, fresh); err != nil {
			if ctx.Err() != nil {
				return nil
			}
			return fmt.Errorf("record an automatic halt: %w", err)
		}
		h.recorded, h.written = recorded, written
		var again <-chan time.Time
		if len(orders) > 0 {
			limited, cancel := context.WithTimeout(ctx, haltTimeout)
			err := writeHalts(limited, h.producer, h.topic, h.events, orders)
			cancel()
			switch {
			case err == nil:
				// Never once more: somebody may have resumed it by then.
				for _, t := range trips {
					written[t] = true
				}
				h.mu.Lock()
				h.told = append(h.told, trips...)
				h.mu.Unlock()
			case ctx.Err() == nil:
				h.metrics.unwritten.Inc()
				if !failed {
					h.log.Error("cannot write an automatic halt to the topic of halts; it holds in this process only; trying again", "topic", h.topic, "err", err)
				}
				again = time.After(haltPatience)
			}
			failed = err != nil
		}
		select {
		case <-ctx.Done():
			return nil
		case <-h.pipeline.Tripped():
		case <-again:
		}
	}
}

// errHaltsNeeded says that a policy halts what nobody could resume.
var errHaltsNeeded = errors.New("push.policy: it has auto_halt, but input.halts names no topic, so other processes would not follow and nobody could resume; name the topic, such as weir.halts, or take auto_halt out")

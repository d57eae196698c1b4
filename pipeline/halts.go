package pipeline

import (
	"sync"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/weir-moderation/weir/pipeline/push"
)

// halting is what stops pushes: what was ordered, and what was halted here by a
// rule of the policy and is no order yet. A push is looked up in the list in force
// when it is decided, so that a halt holds from the next batch on.
type halting struct {
	list atomic.Pointer[push.Halts]
	wake chan struct{} // something was halted here

	mu     sync.Mutex
	orders []push.Halt
	own    []*HaltTrip // of each target at most one

	total   map[push.Scope]map[string]prometheus.Counter
	resumed map[push.Scope]prometheus.Counter
}

// causeOrder is the cause of a halt that was ordered, here or elsewhere.
const causeOrder = "order"

func newHalting(reg prometheus.Registerer) *halting {
	if reg == nil {
		reg = prometheus.NewRegistry()
	}
	h := &halting{wake: make(chan struct{}, 1), total: make(map[push.Scope]map[string]prometheus.Counter), resumed: make(map[push.Scope]prometheus.Counter)}
	h.list.Store(push.NewHalts(nil))
	total := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "weir_push_halts_total",
		Help: "Campaigns, senders and classes that were halted, by what did it: an order, or what was abnormal here."}, []string{"scope", "cause"})
	resumed := prometheus.NewCounterVec(prometheus.CounterOpts{Name: "weir_push_resumes_total", Help: "Campaigns, senders and classes whose halt ended."}, []string{"scope"})
	reg.MustRegister(total, resumed)
	for _, s := range push.Scopes() {
		h.total[s] = map[string]prometheus.Counter{causeOrder: total.WithLabelValues(string(s), causeOrder)}
		for _, c := range push.Causes() {
			h.total[s][string(c)] = total.WithLabelValues(string(s), string(c))
		}
		h.resumed[s] = resumed.WithLabelValues(string(s))
		reg.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "weir_push_halted", Help: "Campaigns, senders and classes that are halted now.",
			ConstLabels: prometheus.Labels{"scope": string(s)}}, func() float64 { return float64(h.list.Load().Count(s)) }))
	}
	reg.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "weir_push_halts_left_out", Help: "Orders to halt that are not in force, because there are too many."},
		func() float64 { return float64(h.list.Load().LeftOut()) }))
	return h
}

// stop puts halts of this process's own in force.
func (h *halting) stop(trips []*HaltTrip) {
	if len(trips) == 0 {
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, t := range trips {
		if h.list.Load().Has(t.Target) != nil {
			continue // ordered meanwhile, or abnormal in two ways at once
		}
		h.own = append(h.own, t)
		h.total[t.Scope][string(t.Rule.When)].Inc()
		h.enforce()
	}
	select {
	case h.wake <- struct{}{}:
	default: // it is awake
	}
}

func (h *halting) enforce() {
	all := make([]push.Halt, 0, len(h.own)+len(h.orders))
	for _, t := range h.own {
		all = append(all, t.Halt)
	}
	h.list.Store(push.NewHalts(append(all, h.orders...)))
}

// Halts returns what is halted.
func (p *Pipeline) Halts() *push.Halts { return p.halting.list.Load() }

// Ordered puts orders in force, in place of those before, for every batch that is
// decided from now on. Settled are automatic halts of this process that the orders
// decide about by now: whether they say halt or resume, it is done.
func (p *Pipeline) Ordered(orders []push.Halt, settled []*HaltTrip) {
	h := p.halting
	h.mu.Lock()
	defer h.mu.Unlock()
	done := make(map[*HaltTrip]bool, len(settled))
	for _, t := range settled {
		done[t] = true
	}
	var own []*HaltTrip
	for _, t := range h.own {
		if !done[t] {
			own = append(own, t)
		}
	}
	before := h.list.Load()
	h.orders, h.own = orders, own
	h.enforce()
	now := h.list.Load()
	for _, x := range now.List() {
		if before.Has(x.Target) == nil {
			h.total[x.Scope][causeOrder].Inc()
		}
	}
	for _, x := range before.List() {
		if now.Has(x.Target) == nil {
			h.resumed[x.Scope].Inc()
			p.watch.resumed(x.Target)
		}
	}
}

// Trips returns the automatic halts of this process that no orders have decided
// about yet. [Pipeline.Tripped] tells when there are more.
func (p *Pipeline) Trips() []*HaltTrip {
	p.halting.mu.Lock()
	defer p.halting.mu.Unlock()
	return append([]*HaltTrip(nil), p.halting.own...)
}

// Tripped receives something after a halt by this process; several may be one.
func (p *Pipeline) Tripped() <-chan struct{} { return p.halting.wake }

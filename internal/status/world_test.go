package status

import (
	"context"
	"sync"
	"sync/atomic"
	"testing"
	"testing/fstest"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"github.com/weir-moderation/weir/rules"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// world is a daemon as far as the page sees it: a registry, rules, and parts that can fail.
type world struct {
	reg       *prometheus.Registry
	messages  *prometheus.CounterVec
	hits      *prometheus.CounterVec
	decisions *prometheus.CounterVec
	dead      *prometheus.CounterVec
	lag       *prometheus.GaugeVec
	behind    *prometheus.GaugeVec
	age       *prometheus.HistogramVec
	appends   prometheus.Histogram
	gauges    map[string]prometheus.Gauge
	counters  map[string]prometheus.Counter

	set     *rules.Set
	byRule  []atomic.Int64
	force   InForce
	log     Evidence
	mu      sync.Mutex
	faults  map[PartName][]Fault
	hang    map[PartName]chan struct{}
	monitor *Monitor
}

const pack = `pack: test
rules:
  - {id: test.one, category: one, severity: high, action: review, state: live, terms: [forbiddenstuff]}
  - {id: test.two, category: two, severity: low, action: review, state: shadow, terms: [otherstuff]}
`

func newWorld(t testing.TB) *world {
	t.Helper()
	register, err := rules.ParseRegister("categories.yaml", []byte("categories:\n  - {code: one, name: One, name_zh: 一类}\n  - {code: two, name: Two, name_zh: 二类}\n"))
	if err != nil {
		t.Fatal(err)
	}
	w := &world{reg: prometheus.NewRegistry(), gauges: make(map[string]prometheus.Gauge), counters: make(map[string]prometheus.Counter),
		faults: make(map[PartName][]Fault), hang: make(map[PartName]chan struct{}), byRule: make([]atomic.Int64, 2)}
	if w.set, err = rules.Load(fstest.MapFS{"test.yaml": {Data: []byte(pack)}}, register, rules.Options{}); err != nil {
		t.Fatal(err)
	}
	vec := func(name string, labels ...string) *prometheus.CounterVec {
		c := prometheus.NewCounterVec(prometheus.CounterOpts{Name: name}, labels)
		w.reg.MustRegister(c)
		return c
	}
	w.messages, w.hits = vec(mMessages, "stream", "outcome"), vec(mHits, "category", "severity")
	w.decisions, w.dead = vec(mDecisions, "decision", "reason"), vec(mDead, "reason")
	for _, name := range []string{mAssigned, mStopped, mStalled, mInFlight, mLoaded, mTripped, mTrusted, mHalted} {
		w.gauges[name] = prometheus.NewGauge(prometheus.GaugeOpts{Name: name})
		w.reg.MustRegister(w.gauges[name])
	}
	for _, name := range []string{mUnbalanced, mPanics, mDiverged, mDamaged} {
		w.counters[name] = prometheus.NewCounter(prometheus.CounterOpts{Name: name})
		w.reg.MustRegister(w.counters[name])
	}
	w.gauges[mLoaded].Set(1)
	w.gauges[mTrusted].Set(1)
	w.lag = prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: mLag}, []string{"topic", "partition"})
	w.behind = prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: mBehind}, []string{"topic", "partition"})
	w.age = prometheus.NewHistogramVec(prometheus.HistogramOpts{Name: mAge, Buckets: []float64{.1, .2, .4}}, []string{"stream"})
	w.appends = prometheus.NewHistogram(prometheus.HistogramOpts{Name: mAppend, Buckets: []float64{.1, 1, 2}})
	w.reg.MustRegister(w.lag, w.behind, w.age, w.appends)
	w.force = InForce{Rules: 2, Terms: 2, Digest: "abcdef0123456789", From: "rules", Since: time.Now(), Policy: "2026-11", PolicyHash: "0123456789abcdef"}
	w.log = Evidence{Origin: "weir/evidence/0/1", Records: 12, Signed: 10, Root: "cm9vdA==", Free: 3 << 30}

	var checks []Check
	for _, c := range []Check{
		{Part: Kafka, Slow: KafkaSlow, Stuck: KafkaAway}, {Part: Redis, Slow: RedisSlow, Stuck: RedisAway}, {Part: Disk, Slow: DiskSlow, Stuck: DiskStuck},
		{Part: EvidenceLog}, {Part: Rules}, {Part: Consumer},
	} {
		c.Ask = func(ctx context.Context) []Fault {
			w.mu.Lock()
			faults, hang := w.faults[c.Part], w.hang[c.Part]
			w.mu.Unlock()
			if hang != nil {
				<-hang // as a disk does, which knows no context
			}
			return faults
		}
		checks = append(checks, c)
	}
	w.monitor = New(Options{
		Instance: Instance{Source: "weir", Name: "0", Group: "weir", Build: "test", Started: time.Now().UTC()},
		Gatherer: w.reg, Checks: checks,
		Hits: func() (*rules.Set, []int64) {
			n := make([]int64, len(w.byRule))
			for i := range n {
				n[i] = w.byRule[i].Load()
			}
			return w.set, n
		},
		Category: func(code string) (en, zh string) {
			if c, ok := register.Category(code); ok {
				return c.Name, c.NameZH
			}
			return "", ""
		},
		InForce: func() InForce { return w.force }, Evidence: func() Evidence { return w.log },
	})
	return w
}

func (w *world) fail(p PartName, faults ...Fault) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.faults[p] = faults
}

// run runs the monitor until the test ends, or until what it returns is called.
func (w *world) run(t *testing.T) (stop func()) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- w.monitor.Run(ctx) }()
	var once sync.Once
	stop = func() {
		once.Do(func() {
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
		})
	}
	t.Cleanup(stop)
	return stop
}

// wait lets so many looks pass.
func wait(looks int) {
	time.Sleep(time.Duration(looks) * Every)
	synctest.Wait()
}

// hangs is a metric that does not come.
type hangs struct{ until chan struct{} }

func (h hangs) Describe(ch chan<- *prometheus.Desc) {
	ch <- prometheus.NewDesc("hangs", "Hangs.", nil, nil)
}
func (h hangs) Collect(chan<- prometheus.Metric) { <-h.until }

package capacity

import (
	"fmt"
	"math"
	"strings"
	"testing"
	"time"
)

// usualWith is the usual workload with something changed.
func usualWith(change func(*Workload)) Workload {
	w := Usual()
	change(&w)
	return w
}

// sized is the usual workload with bodies of so many bytes.
func sized(size float64) Workload {
	return usualWith(func(w *Workload) { w.Size, w.Text = size, size-294 })
}

// The formula gives what was measured in backlogs (docs/capacity.md, "How it grows"):
// medians of rounds that differ by a fifth, so within a fifth of them.
func TestModelIsWhatWasMeasured(t *testing.T) {
	for _, c := range []struct {
		name   string
		w      Workload
		micros float64
	}{
		{"usual", Usual(), 4.196},
		{"1,000 terms", usualWith(func(w *Workload) { w.Terms = 1_000 }), 4.420},
		{"60,000 terms", usualWith(func(w *Workload) { w.Terms = 60_000 }), 4.278},
		{"370 bytes", sized(370), 2.959},
		{"1,041 bytes", sized(1041), 9.739},
		{"4,397 bytes", sized(4397), 31.94},
		{"12,531 bytes", sized(12531), 99.99},
		{"no hits", usualWith(func(w *Workload) { w.Hits = 0 }), 2.779},
		{"5 % hits", usualWith(func(w *Workload) { w.Hits = 0.05 }), 5.977},
		{"20 % hits", usualWith(func(w *Workload) { w.Hits = 0.2 }), 12.28},
	} {
		near(t, c.name, micros(Measured().CPU(c.w)), c.micros)
	}
	for _, c := range []struct{ rate, micros float64 }{{500, 109}, {20_000, 10.3}} {
		near(t, fmt.Sprint(c.rate, " posts a second"), micros(Measured().CPUAt(Usual(), c.rate, 1, Pace)), c.micros)
	}
}

func micros(d time.Duration) float64 { return float64(d) / 1e3 }

// near reports what is more than a fifth away.
func near(t *testing.T, what string, got, want float64) {
	t.Helper()
	if math.Abs(got/want-1) > 0.2 {
		t.Errorf("%s: %.2f us, measured %.2f", what, got, want)
	}
}

// A machine that takes twice as long for what was measured on it takes twice as long for
// everything, whether that was measured in a backlog or at a rate.
func TestCalibrated(t *testing.T) {
	m, w := Measured(), sized(1500)
	for name, slow := range map[string]Model{
		"backlog": m.Calibrated(Usual(), 2*m.CPU(Usual())),
		"rate":    m.CalibratedAt(Usual(), 5000, 3, Pace, 2*m.CPUAt(Usual(), 5000, 3, Pace)),
	} {
		for what, ratio := range map[string]float64{
			"a backlog of others": float64(slow.CPU(w)) / float64(m.CPU(w)),
			"another rate":        float64(slow.CPUAt(w, 700, 1, Pace)) / float64(m.CPUAt(w, 700, 1, Pace)),
		} {
			if math.Abs(ratio-2) > 0.01 {
				t.Errorf("calibrated by a %s: %s takes %.3f times as long, want 2", name, what, ratio)
			}
		}
	}
}

// What is sized carries more than the rate with an instance away, and grows with what is
// asked for; no message takes less at a lower rate.
func TestSize(t *testing.T) {
	d := Demand{Workload: Usual(), Rate: 1e6, Cores: 4, Replicas: 3, Pace: Pace}
	p, err := Measured().Size(d)
	if err != nil {
		t.Fatal(err)
	}
	if p.CarriesLess < spare || p.Instances < 2 || p.Carries <= p.CarriesLess || p.Busy < p.Cores || p.Busy > float64(p.Instances)*d.Cores {
		t.Errorf("%d instances: %+v", p.Instances, p)
	}
	if p.Partitions%dozen != 0 || float64(p.Partitions) < float64(p.Instances)*corePartitions*d.Cores {
		t.Errorf("%d partitions for %d instances", p.Partitions, p.Instances)
	}
	if want := 10_000.0; p.Flagged != want {
		t.Errorf("%g flagged a second, want %g", p.Flagged, want)
	}
	// Of more brokers there are more polls: with a longer pace as few as before.
	double, slow := d, d
	slow.Pace = 5 * Pace
	if q, err := Measured().Size(slow); err != nil || q.Busy > 0.7*p.Busy || q.Cores != p.Cores {
		t.Errorf("at a pace of %v %+v, %v; at %v %+v", slow.Pace, q, err, d.Pace, p)
	}
	double.Brokers = p.Brokers
	double.Rate *= 2
	q, err := Measured().Size(double)
	if err != nil {
		t.Fatal(err)
	}
	if ratio := q.Cores / p.Cores; math.Abs(ratio-2) > 0.001 || q.Instances <= p.Instances || q.KafkaIn != 2*p.KafkaIn {
		t.Errorf("twice the rate: %+v, after %+v", q, p)
	}
	for rate := 1e6; rate > 1; rate /= 3 {
		if a, b := Measured().CPUAt(Usual(), rate, 3, Pace), Measured().CPUAt(Usual(), rate/3, 3, Pace); a > b {
			t.Errorf("a message takes %v at %.0f a second, %v at a third of that", a, rate, b)
		}
	}
	pushes := Demand{Workload: usualWith(func(w *Workload) { w.Pushes = 1 }), Rate: 1e4, Cores: 4, Replicas: 3, Pace: Pace}
	if r, err := Measured().Size(pushes); err != nil || r.RedisCalls != 2e4 || r.EvidenceBytes < 1e4*evidencePush {
		t.Errorf("pushes: %+v, %v", r, err)
	}
}

// What cannot be is refused, all of it at once and with what would be right.
func TestDemandThatCannotBe(t *testing.T) {
	d := Demand{Workload: Workload{Size: 10, Text: 20, Hits: 2, Pushes: math.NaN()}, Rate: -1, Cores: 0, Brokers: -1}
	_, err := Measured().Size(d)
	if err == nil {
		t.Fatal("taken")
	}
	for _, want := range []string{"rate: -1", "size: 10", "text: 20", "terms: 0", "hits: 200 %", "pushes: NaN", "cores: 0", "brokers: -1", "replicas: 0", "pace: 0s"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in %v", want, err)
		}
	}
}

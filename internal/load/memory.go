package load

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/weir-moderation/weir/internal/kafka/retry"
)

// Memory is what an instance held while messages came, early and late.
type Memory struct {
	Instance string  `json:"instance"`
	Samples  int     `json:"samples"`
	Messages float64 `json:"messages"` // that it judged from the middle of the early samples to that of the late ones

	Resident   Trend `json:"resident_bytes"`
	Heap       Trend `json:"live_heap_bytes"` // what the garbage collector found in use
	Goroutines Trend `json:"goroutines"`
	Files      Trend `json:"open_files"`

	PerMessage float64 `json:"live_heap_bytes_a_message"` // by which the live heap grew
}

// Trend is a quantity at its quietest, early and late: what a tenth of the samples did not
// exceed. A backlog that is worked off, the saw of a garbage collector and a reload raise
// the others; a leak raises those, too.
type Trend struct {
	Early float64 `json:"early"`
	Late  float64 `json:"late"`
	Most  float64 `json:"most"`
}

const (
	sampleEvery = 2 * time.Second
	// minSamples is how many there must be of an instance for anything to be told: half a
	// minute.
	minSamples = 15
	// maxSamples is how many are kept of an instance. When there are so many, every second
	// one is dropped and every second one to come.
	maxSamples = 1024
	// warmUp is which part of the samples is not looked at: caches fill.
	warmUp = 0.2
	// quiet is which part of the samples are the quietest.
	quiet = 0.1
	// slack is by how much a quantity may grow that does not grow with the messages: what
	// is under way differs from one moment to the next.
	slack = 0.1
	// fewMore is by how many more goroutines and files may be open in any case.
	fewMore = 16
)

// series are samples of one instance, in order.
type series struct {
	list  []usage
	seen  int
	every int // one of so many is kept; 0 for all
}

func (s *series) add(u usage) {
	s.seen++
	if s.every > 1 && s.seen%s.every != 0 {
		return
	}
	if s.list = append(s.list, u); len(s.list) < maxSamples {
		return
	}
	s.every = max(s.every, 1) * 2
	for i := range len(s.list) / 2 {
		s.list[i] = s.list[2*i+1]
	}
	s.list = s.list[:len(s.list)/2]
}

// memory compares the first third of the samples with the last one, once those of the
// warm-up are left out. It is nil if there are too few, or if it was not the same process
// all the time.
func (s *series) memory(instance string) *Memory {
	if len(s.list) < minSamples || slices.ContainsFunc(s.list, func(u usage) bool { return u.started != s.list[0].started }) {
		return nil
	}
	list := s.list[int(warmUp*float64(len(s.list))):]
	third := len(list) / 3
	early, late := list[:third], list[len(list)-third:]
	trend := func(of func(*usage) float64) Trend {
		t := Trend{Early: quantile(early, of, quiet), Late: quantile(late, of, quiet)}
		for i := range s.list {
			t.Most = max(t.Most, of(&s.list[i]))
		}
		return t
	}
	judged := func(u *usage) float64 { return u.judged }
	m := &Memory{
		Instance: instance, Samples: len(s.list), Messages: quantile(late, judged, 0.5) - quantile(early, judged, 0.5),
		Resident:   trend(func(u *usage) float64 { return u.resident }),
		Heap:       trend(func(u *usage) float64 { return u.heap }),
		Goroutines: trend(func(u *usage) float64 { return u.goroutines }),
		Files:      trend(func(u *usage) float64 { return u.files }),
	}
	if m.Messages > 0 {
		m.PerMessage = (m.Heap.Late - m.Heap.Early) / m.Messages
	}
	return m
}

// quantile returns what a share of the samples does not exceed.
func quantile(list []usage, of func(*usage) float64, share float64) float64 {
	values := make([]float64, len(list))
	for i := range list {
		values[i] = of(&list[i])
	}
	slices.Sort(values)
	return values[int(share*float64(len(values)))]
}

// grown says what has grown although nothing may but by so many bytes for each message.
// A leak shows in the live heap first, which has no saw: of a heap of 40 MB and five
// million messages judged from early to late, 2 bytes a message are 10 MB, and red where
// 1 is allowed. Resident memory is looked at for what is not the heap's.
func (m *Memory) grown(most float64) []string {
	var list []string
	bytes := func(what string, t Trend) {
		if by := t.Late - t.Early; by > most*m.Messages+slack*t.Early {
			list = append(list, fmt.Sprintf("%s: the %s has grown from %.1f MB to %.1f MB, by %.1f bytes for each message", m.Instance, what, t.Early/1e6, t.Late/1e6, by/max(m.Messages, 1)))
		}
	}
	bytes("live heap", m.Heap)
	bytes("resident memory", m.Resident)
	for _, n := range []struct {
		what string
		Trend
	}{{"goroutines", m.Goroutines}, {"open files", m.Files}} {
		if n.Late > n.Early*(1+slack)+fewMore {
			list = append(list, fmt.Sprintf("%s: there are %.0f %s, %.0f more than early on", m.Instance, n.Late, n.what, n.Late-n.Early))
		}
	}
	return list
}

// watch asks the instances for what they hold, again and again until ctx ends.
func (r *run) watch(ctx context.Context) {
	for retry.Pause(ctx, sampleEvery) {
		asking, cancel := context.WithTimeout(ctx, sampleEvery)
		list, _ := r.ask(asking) // who does not answer in time has a sample less
		cancel()
		for i, u := range list {
			if u != nil {
				r.samples[i].add(*u)
			}
		}
	}
}

// held draws up what the instances held, and what is wrong with it if most is not nil.
func (r *run) held(most *float64) (list []Memory, problems []string) {
	for i, c := range r.Admin {
		m := r.samples[i].memory(c.URL())
		switch {
		case m != nil:
			list = append(list, *m)
			if most != nil {
				problems = append(problems, m.grown(*most)...)
			}
		case most != nil:
			problems = append(problems, fmt.Sprintf("%s: nothing can be said of its memory: it was restarted, or did not answer for %v in all", c.URL(), minSamples*sampleEvery))
		}
	}
	return list, problems
}

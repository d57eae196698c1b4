package load

import (
	"math"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/weir-moderation/weir/internal/admin"
)

// run30 makes the samples of half an hour at 4,000 messages a second: caches fill for
// five minutes, the heap has its jitter and resident memory its saw, and each message
// leaves something behind.
func run30(leak, resident, goroutines float64) *series {
	r := rand.New(rand.NewPCG(1, 2))
	s := new(series)
	for at := 0.0; at < 1800; at += sampleEvery.Seconds() {
		judged := 4000 * at
		live := 40e6 + 20e6*min(at/300, 1) + leak*judged + 4e6*r.NormFloat64()
		s.add(usage{
			started: 7, judged: judged, heap: live,
			resident:   60e6 + live*(1+math.Mod(at/7, 1)) + resident*judged,
			goroutines: 80 + float64(r.IntN(9)) + goroutines*judged, files: 60,
		})
	}
	return s
}

// A memory that neither leaks nor is quiet is flat; one of which each message keeps three
// bytes is not, whether they are the heap's or others', nor is one that forgets to end a
// goroutine for every hundred thousandth message.
func TestMemoryThatLeaks(t *testing.T) {
	for _, c := range []struct {
		name                       string
		leak, resident, goroutines float64
		want                       string
	}{
		{"flat", 0, 0, 0, ""},
		{"within what may be", 0.5, 0, 0, ""},
		{"three bytes a message", 3, 0, 0, "a: the live heap has grown from "},
		{"outside of the heap", 0, 6, 0, "a: the resident memory has grown from "},
		{"a goroutine for 100,000", 0, 0, 1e-5, " goroutines, "},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := run30(c.leak, c.resident, c.goroutines).memory("a")
			if m == nil || m.Samples < 400 || m.Messages < 3e6 {
				t.Fatalf("%+v", m)
			}
			said := strings.Join(m.grown(1), "\n")
			if (said == "") != (c.want == "") || !strings.Contains(said, c.want) {
				t.Errorf("said %q, want %q: %+v", said, c.want, m)
			}
			if math.Abs(m.PerMessage-c.leak) > 0.5 {
				t.Errorf("%.2f bytes of live heap a message, want %.2f", m.PerMessage, c.leak)
			}
		})
	}
}

// Of a process that was restarted, and of a short run, nothing is told.
func TestMemoryOfAnotherProcess(t *testing.T) {
	s := new(series)
	for range minSamples - 1 {
		s.add(usage{started: 7})
	}
	if m := s.memory("a"); m != nil {
		t.Errorf("of %d samples: %+v", minSamples-1, m)
	}
	s.add(usage{started: 8})
	if m := s.memory("a"); m != nil {
		t.Errorf("of two processes: %+v", m)
	}
	s.list[minSamples-1].started = 7
	if s.memory("a") == nil {
		t.Errorf("nothing of %d samples of one process", minSamples)
	}
}

// Who asks for a memory that does not grow is told of a leak, and of an instance of which
// nothing can be said; who does not ask is told neither, but sees what was held.
func TestGrowthIsAskedFor(t *testing.T) {
	c, err := admin.NewClient(admin.Access{URL: "http://127.0.0.1:9464"})
	if err != nil {
		t.Fatal(err)
	}
	one := 1.0
	for _, row := range []struct {
		name     string
		samples  series
		most     *float64
		held     int
		problems []string
	}{
		{"flat", *run30(0, 0, 0), &one, 1, nil},
		{"a leak", *run30(5, 0, 0), &one, 1, []string{"http://127.0.0.1:9464: the live heap has grown", "http://127.0.0.1:9464: the resident memory has grown"}},
		{"a leak nobody asks about", *run30(5, 0, 0), nil, 1, nil},
		{"nothing known", series{}, &one, 0, []string{"http://127.0.0.1:9464: nothing can be said of its memory"}},
		{"nothing known, nor asked", series{}, nil, 0, nil},
	} {
		t.Run(row.name, func(t *testing.T) {
			r := &run{Options: Options{Admin: []*admin.Client{c}}, samples: []series{row.samples}}
			held, problems := r.held(row.most)
			if len(held) != row.held || !slices.EqualFunc(problems, row.problems, strings.HasPrefix) {
				t.Errorf("%d instances, problems %q; want %d, %q", len(held), problems, row.held, row.problems)
			}
		})
	}
}

// However long a run is, the samples that are kept are bounded, and those of its whole
// length.
func TestSamplesAreBounded(t *testing.T) {
	s := new(series)
	const n = 100 * maxSamples
	for i := range n {
		s.add(usage{started: 7, judged: float64(i)})
	}
	if len(s.list) >= maxSamples || len(s.list) < maxSamples/4 {
		t.Errorf("%d samples", len(s.list))
	}
	apart := s.list[1].judged - s.list[0].judged
	for i := range s.list[1:] {
		if d := s.list[i+1].judged - s.list[i].judged; d != apart {
			t.Fatalf("samples %d and %d are %.0f apart, the first two %.0f", i, i+1, d, apart)
		}
	}
	if last := s.list[len(s.list)-1].judged; s.list[0].judged > apart || last < n-2*apart {
		t.Errorf("samples from %.0f to %.0f, %.0f apart, of %d", s.list[0].judged, last, apart, n)
	}
}

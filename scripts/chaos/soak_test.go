package chaos

import (
	"context"
	"fmt"
	"os"
	"runtime"
	"slices"
	"strings"
	"syscall"
	"testing"
	"text/tabwriter"
	"time"

	"github.com/weir-moderation/weir/internal/load"
)

// A deployment with everything on works for a long time at four fifths of what it
// carries while rules and policy are changed, an instance comes and goes, brokers and
// Redis are restarted. Nothing is lost and nothing comes twice, the ledger balances, the
// evidence verifies, and no instance has grown.
func TestSoak(t *testing.T) {
	text := os.Getenv("WEIR_TEST_SOAK")
	if text == "" {
		t.Skip("WEIR_TEST_SOAK does not say for how long, such as 30m; make soak does")
	}
	length, err := time.ParseDuration(text)
	if err != nil {
		t.Fatal(err)
	}
	w := newSoakWorld(t)
	ctx, cancel := context.WithTimeout(t.Context(), 2*length+30*time.Minute)
	defer cancel()
	carried := w.carries(ctx)
	t.Logf("as fast as can be: %.0f messages a second", carried)

	args := []string{"--rate", fmt.Sprintf("%.0f", soakShare*carried), "--duration", "24h"}
	for _, m := range w.stay {
		args = append(args, "--admin", "http://"+m.listen)
	}
	if length >= grownUp {
		args = append(args, "--max-growth", fmt.Sprint(growth))
	}
	enough, stop := context.WithCancel(ctx)
	defer stop()
	var report *load.Report
	loaded := make(chan error, 1)
	go func() {
		var err error
		report, err = w.load(ctx, enough, args...)
		loaded <- err
	}()
	happened := w.disturb(ctx, length, loaded)
	stop()
	if err := <-loaded; err != nil {
		t.Fatal(err)
	}
	if length >= grownUp {
		// What was deferred while Redis was away waits its minutes and is decided again. After
		// a short run it is left where it waits: that it is, TestPushesWithoutRedis shows.
		if err := settled(ctx, w.admin, w.group, w.stay, w.inputs...); err != nil {
			t.Fatal(err)
		}
	}
	for _, m := range w.stay {
		if err := m.terminate(); err != nil {
			t.Error(err)
		}
	}
	ledger, err := audit(ctx, w.everybody(), "--no-repeats")
	if err != nil {
		t.Error(err)
		ledger = "does not balance, or the evidence does not verify"
	}
	t.Log("\n" + soakReport(carried, report, happened, ledger))
	for _, p := range report.Problems {
		t.Error(p)
	}
}

const (
	// growth is by how many bytes an instance may grow for each message, beside a tenth:
	// of a heap of 150 MB and five million messages judged from early to late, 5 bytes a
	// message are found.
	growth = 1
	// grownUp is how long a run must be for that to be asked: before, caches fill.
	grownUp = 10 * time.Minute
	// soakShare is which part of what the deployment carries it is loaded with.
	soakShare = 0.8
)

// carries returns how many messages a second the deployment judges when they are sent as
// fast as can be: the brokers, Redis and what sends share the machine with it then, as
// they will. The first round makes everything warm.
func (w *soakWorld) carries(ctx context.Context) (rate float64) {
	w.t.Helper()
	for range 2 {
		r, err := w.load(ctx, ctx, "--rate", "0", "--count", "200000")
		if err != nil {
			w.t.Fatal(err)
		}
		if len(r.Problems) > 0 {
			w.t.Fatal(r.Problems)
		}
		rate = float64(r.Sent()) / (r.Seconds + r.Drained)
	}
	return rate
}

// disturbance is something that happens to a deployment in its life. When do returns it
// is over: everybody is back.
type disturbance struct {
	name string
	do   func(ctx context.Context, w *soakWorld) error
}

var disturbances = []disturbance{
	{"rules reloaded", func(ctx context.Context, w *soakWorld) error { // which they see by themselves
		return w.reloaded(ctx, "weir_ruleset_info{", func() error {
			w.replace("rules/changing.yaml", w.changingRules())
			return nil
		})
	}},
	{"policy reloaded", func(ctx context.Context, w *soakWorld) error {
		return w.reloaded(ctx, "weir_push_policy_info{", func() error {
			w.writePolicy()
			for _, m := range w.stay {
				if err := m.signal(syscall.SIGHUP); err != nil {
					return err
				}
			}
			return nil
		})
	}},
	{"instance came and left", func(ctx context.Context, w *soakWorld) error {
		if err := w.guest.start(); err != nil {
			return err
		}
		if err := w.guest.ready(ctx); err != nil {
			return err
		}
		rest(ctx, time.Duration(5+w.rand.IntN(6))*time.Second)
		return w.guest.terminate()
	}},
	{"broker restarted", func(_ context.Context, w *soakWorld) error {
		id := 1 + w.rand.Int32N(nodes)
		if err := w.node("down", id); err != nil {
			return err
		}
		return w.node("up", id)
	}},
	{"redis restarted", func(ctx context.Context, w *soakWorld) error {
		w.redis.stop()
		rest(ctx, time.Duration(2+w.rand.IntN(4))*time.Second)
		w.redis.start()
		return nil
	}},
}

// disturb has everything happen in rounds, each in an order of its own, for so long, and
// once at least. It returns how often each did.
func (w *soakWorld) disturb(ctx context.Context, length time.Duration, loaded <-chan error) map[string]int {
	w.t.Helper()
	pause := max(2*time.Second, length/60) // what had to wait is worked off meanwhile
	happened := make(map[string]int)
	round := slices.Clone(disturbances)
	for began := time.Now(); time.Since(began) < length; {
		w.rand.Shuffle(len(round), func(i, j int) { round[i], round[j] = round[j], round[i] })
		for _, d := range round {
			rest(ctx, pause)
			select {
			case err := <-loaded:
				w.t.Fatalf("weir load has ended after %v: %v", time.Since(began), err)
			default:
			}
			at := time.Now()
			if err := d.do(ctx, w); err != nil {
				w.t.Fatalf("%s: %v", d.name, err)
			}
			happened[d.name]++
			w.t.Logf("%5.0f s  %s, in %.1f s", at.Sub(began).Seconds(), d.name, time.Since(at).Seconds())
			for _, m := range w.stay {
				if err := m.alive(); err != nil {
					w.t.Fatal(err)
				}
			}
		}
	}
	rest(ctx, pause)
	return happened
}

// soakReport writes what came of a soak.
func soakReport(carried float64, r *load.Report, happened map[string]int, ledger string) string {
	var b strings.Builder
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	say := func(what, format string, args ...any) { fmt.Fprintf(w, "%s\t%s\n", what, fmt.Sprintf(format, args...)) }
	say("soak", "%v on %d cores, which 2 instances and a third that comes and goes share with %d brokers, Redis and what sends",
		time.Duration(r.Seconds*1e9).Round(time.Second), runtime.NumCPU(), nodes)
	say("load", "%.0f messages a second: %.0f %% of the %.0f that are carried as fast as can be", r.Rate, 100*soakShare, carried)
	say("sent", "%d posts and %d pushes, at most %.1f s behind; all judged %.1f s after the last", r.Posts, r.Pushes, r.Behind/1000, r.Drained)
	for _, d := range disturbances {
		say("happened", "%d times: %s", happened[d.name], d.name)
	}
	var lost, repeated int64
	for _, word := range []string{"review", "decisions", "cleared", "deferred", "deadletter"} {
		o := r.Outputs[word]
		lost, repeated = lost+o.Lost, repeated+o.Repeated+o.Twice
		if l := o.Latency; l != nil {
			say(word, "%d messages; from due to there p50 %.0f ms, p99 %.1f s, at most %.1f s", o.Messages, l.P50, l.P99/1000, l.Max/1000)
		} else {
			say(word, "%d messages", o.Messages)
		}
	}
	say("lost", "%d", lost)
	say("repeated", "%d", repeated)
	say("ledger", "%s", ledger)
	if c := r.CPU; c != nil {
		say("CPU", "%.1f us a message", c.Micros)
	}
	for i, m := range r.Memory {
		say(fmt.Sprintf("instance %d", i), "early and late: resident %.1f and %.1f MB (at most %.1f), live heap %.1f and %.1f MB (%+.2f bytes a message), %.0f and %.0f goroutines, %.0f and %.0f open files",
			m.Resident.Early/1e6, m.Resident.Late/1e6, m.Resident.Most/1e6, m.Heap.Early/1e6, m.Heap.Late/1e6, m.PerMessage,
			m.Goroutines.Early, m.Goroutines.Late, m.Files.Early, m.Files.Late)
	}
	_ = w.Flush() // into memory
	return b.String()
}

package app_test

import (
	"bufio"
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// daemonConfig is the configuration of a whole daemon: what is not named has its default.
const daemonConfig = `source: cost
kafka: {brokers: ["%s"]}
input: {group: %s, posts: %s}
output: {review: %s, deadletter: %s}
rules: {%s}
evidence: {dir: evidence}
`

// weirRun is the command weir run, as it is installed.
type weirRun struct {
	cmd *exec.Cmd

	mu       sync.Mutex
	said     bytes.Buffer
	up, join time.Time // all is made; the group has given it partitions
}

// startWeir starts a daemon in a directory of its own.
func (w *costWorld) startWeir(binary, rules string) *weirRun {
	w.b.Helper()
	dir := w.b.TempDir()
	text := fmt.Sprintf(daemonConfig, w.job.Brokers[0], newGroup(), w.job.Posts, w.job.Review, w.job.DeadLetter, rules)
	for name, text := range map[string]string{"weir.yaml": text, "categories.yaml": costCategories} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			w.b.Fatal(err)
		}
	}
	out, in, err := os.Pipe()
	if err != nil {
		w.b.Fatal(err)
	}
	r := &weirRun{cmd: exec.Command(binary, "run", "--config", filepath.Join(dir, "weir.yaml"), "--listen", "127.0.0.1:0")}
	r.cmd.Stdout, r.cmd.Stderr = in, in
	if err := r.cmd.Start(); err != nil {
		w.b.Fatal(err)
	}
	in.Close() // the process has it
	go func() {
		defer out.Close()
		for lines := bufio.NewScanner(out); lines.Scan(); {
			r.read(lines.Text())
		}
	}()
	return r
}

// read looks at a line of what the daemon says.
func (r *weirRun) read(line string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	fmt.Fprintln(&r.said, line)
	switch {
	case strings.Contains(line, "/-/ready"): // the line of the admin listener is the last before it consumes
		r.up = time.Now()
	case strings.Contains(line, "partitions assigned") && r.join.IsZero():
		r.join = time.Now()
	}
}

// joined returns how long the group took to give it partitions.
func (r *weirRun) joined(b *testing.B) time.Duration {
	b.Helper()
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.up.IsZero() || r.join.IsZero() {
		b.Fatalf("not a member of its group:\n%s", &r.said)
	}
	return r.join.Sub(r.up)
}

func (r *weirRun) stop(b *testing.B) {
	b.Helper()
	if err := r.cmd.Process.Signal(os.Interrupt); err != nil {
		b.Fatal(err)
	}
	if err := r.cmd.Wait(); err != nil {
		b.Errorf("%v:\n%s", err, &r.said)
	}
}

// megabytes returns a line of what Linux says of its memory.
func (r *weirRun) megabytes(name string) float64 {
	return float64(memory(strconv.Itoa(r.cmd.Process.Pid), name)) / (1 << 20)
}

// BenchmarkCostOfStart starts weir run on a small backlog: how long it is from
// the start of the process to the first post with reviewers, with and without the
// group's join, and what is resident when it has had nothing to do for ten
// seconds. With the 10,000 terms, and with the starter packs, of which no post
// need hit: there only the memory is measured.
func BenchmarkCostOfStart(b *testing.B) {
	binary := filepath.Join(b.TempDir(), "weir")
	build := exec.Command("go", "build", "-trimpath", "-tags", "timetzdata", "-ldflags", "-s -w", "-o", binary, "../../cmd/weir")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if said, err := build.CombinedOutput(); err != nil {
		b.Fatalf("%v: %s", err, said)
	}
	for _, rules := range []string{"terms", "packs"} {
		b.Run(rules, func(b *testing.B) {
			w := newCostWorld(b)
			w.produce(costPosts / 100)
			packs := "" // those in the binary
			if rules == "terms" {
				packs = fmt.Sprintf("dir: %s, categories: categories.yaml", w.job.Rules)
			}
			var first, beside, idle, anonymous, most []float64
			for b.Loop() {
				reviewed := w.reviewed()
				began := time.Now()
				r := w.startWeir(binary, packs)
				for rules == "terms" && w.reviewed() == reviewed && time.Since(began) < time.Minute {
					time.Sleep(5 * time.Millisecond)
				}
				took := time.Since(began)
				time.Sleep(10 * time.Second) // of idleness
				first = append(first, took.Seconds())
				beside = append(beside, (took - r.joined(b)).Seconds())
				idle, anonymous, most = append(idle, r.megabytes("VmRSS:")), append(anonymous, r.megabytes("RssAnon:")), append(most, r.megabytes("VmHWM:"))
				r.stop(b)
			}
			b.ReportMetric(0, "ns/op")
			middle, _, _ := spread(idle)
			b.ReportMetric(middle, "idle-MB")
			b.Logf("resident when idle %s MB, of that not of its file %s MB; at most %s MB", ranged(idle), ranged(anonymous), ranged(most))
			if rules == "terms" {
				middle, _, _ = spread(beside)
				b.ReportMetric(middle, "s-to-first")
				b.Logf("start to the first post with reviewers %s s, %s s beside the join", ranged(first), ranged(beside))
			}
			b.Log(conditions())
		})
	}
}

package load

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"

	"github.com/weir-moderation/weir/internal/admin"
)

// usage is what the metrics of an instance say at one moment.
type usage struct {
	started  float64 // which process it is
	cpu      float64 // seconds
	judged   float64 // posts and pushes
	resident float64 // bytes

	heap       float64 // bytes in use, as the garbage collector last found
	goroutines float64
	files      float64 // open ones
}

// maxMetricsBytes is how much of an answer is read.
const maxMetricsBytes = 16 << 20

// ask asks an instance for its metrics.
func ask(ctx context.Context, c *admin.Client) (usage, error) {
	resp, err := c.Do(ctx, http.MethodGet, "/metrics", nil)
	if err != nil {
		return usage{}, err
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		return usage{}, fmt.Errorf("ask for metrics: %s", resp.Status)
	}
	return readUsage(io.LimitReader(resp.Body, maxMetricsBytes))
}

// readUsage reads metrics in their text form.
func readUsage(r io.Reader) (usage, error) {
	var u usage
	goal, percent := 0.0, 100.0
	seen := 0
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		name, value, ok := strings.Cut(lines.Text(), " ")
		if i := strings.IndexByte(lines.Text(), '}'); i >= 0 {
			name, value, ok = lines.Text()[:i+1], strings.TrimSpace(lines.Text()[i+1:]), true
		}
		n, err := strconv.ParseFloat(value, 64)
		if !ok || err != nil {
			continue
		}
		switch {
		case name == "process_cpu_seconds_total":
			u.cpu = n
			seen++
		case name == "process_start_time_seconds":
			u.started = n
			seen++
		case name == "process_resident_memory_bytes":
			u.resident = n
		case name == "go_memstats_next_gc_bytes":
			goal = n
		case name == "go_gc_gogc_percent":
			percent = n
		case name == "go_goroutines":
			u.goroutines = n
		case name == "process_open_fds":
			u.files = n
		case strings.HasPrefix(name, "weir_messages_total{") && (strings.Contains(name, `stream="post"`) || strings.Contains(name, `stream="push"`)):
			u.judged += n
			seen++
		}
	}
	if err := lines.Err(); err != nil {
		return u, fmt.Errorf("read metrics: %w", err)
	}
	if seen < 3 {
		return u, fmt.Errorf("read metrics: no CPU time and no weir_messages_total in them; is this the admin listener of a Weir?")
	}
	// Where the next collection begins is by so much above what the last one found, so it
	// tells of the heap without its saw.
	u.heap = goal / (1 + percent/100)
	return u, nil
}

// spent adds up what instances used between two moments: those that were the same
// process at both.
func spent(before, after []*usage) *CPU {
	c := new(CPU)
	for i, b := range before {
		a := after[i]
		if a == nil || b == nil || a.started != b.started {
			continue
		}
		c.Instances++
		c.Seconds += a.cpu - b.cpu
		c.Messages += a.judged - b.judged
		c.Resident = max(c.Resident, a.resident)
	}
	if c.Instances == 0 {
		return nil
	}
	if c.Messages > 0 {
		c.Micros = 1e6 * c.Seconds / c.Messages
	}
	return c
}

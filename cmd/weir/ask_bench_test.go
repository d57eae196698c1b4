package main

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-moderation/weir/sinks"
)

// The synchronous answer under an open load: requests are begun by the clock, whether those before have been
// answered or not, and each is measured from when it was to begin. Kafka and Redis are real, the daemon is
// a process of its own with everything on: 10,000 terms, evidence encrypted and synced, pushes decided. One post in a
// hundred is flagged, one request in ten is a push.
//
// Beside them, as many a second as a tenth of that, go requests that are answered without judging anything, by the same
// clock, client and listener: what those take is the machine's and its neighbours'.
//
// WEIR_TEST_API_RATE and WEIR_TEST_API_TIME change how many a second, and for how long.
func BenchmarkJudgeAPI(b *testing.B) {
	brokers, redis := os.Getenv("WEIR_TEST_KAFKA"), os.Getenv("WEIR_TEST_REDIS")
	if brokers == "" || redis == "" {
		b.Skip("needs a real Kafka and Redis: make api-load")
	}
	rate, lasts := 1000, 20*time.Second
	if n, err := strconv.Atoi(os.Getenv("WEIR_TEST_API_RATE")); err == nil && n > 0 {
		rate = n
	}
	if d, err := time.ParseDuration(os.Getenv("WEIR_TEST_API_TIME")); err == nil && d > 0 {
		lasts = d
	}
	w := newAskLoad(b, brokers, redis, sinks.AtLeastOnce)
	w.run(b, rate, 3*time.Second) // connections, caches
	for b.Loop() {
		r := w.run(b, rate, lasts)
		b.ReportMetric(at(r.took, 0.5), "p50-ms")
		b.ReportMetric(at(r.took, 0.99), "p99-ms")
		b.ReportMetric(at(r.took, 0.999), "p99.9-ms")
		b.ReportMetric(at(r.idle, 0.5), "idle-p50-ms")
		b.ReportMetric(at(r.idle, 0.99), "idle-p99-ms")
		b.ReportMetric(float64(r.cpu.Microseconds())/float64(len(r.took)), "cpu-us/request")
		b.ReportMetric(float64(r.refused), "503s")
		b.ReportMetric(float64(len(r.took))/lasts.Seconds(), "answers/s")
		b.ReportMetric(0, "ns/op")
	}
}

// askLoad is a daemon that is asked.
type askLoad struct {
	daemon *life
	kafka  *kgo.Client // reads the topic of reviews
	url    string
	client *http.Client
	terms  []string
	count  atomic.Int64
	life   string // of the ids
}

const askTerms = 10_000

func newAskLoad(b testing.TB, brokers, redis string, delivery sinks.Delivery) *askLoad {
	b.Helper()
	tag := fmt.Sprintf("api-%d", time.Now().UnixNano())
	client, err := kgo.NewClient(kgo.SeedBrokers(strings.Split(brokers, ",")...), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { client.Close() })
	topic := func(name string) string { return tag + "." + name }
	var topics []string
	for _, name := range []string{"posts", "pushes", "review", "decisions", "cleared", "deferred", "dead"} {
		topics = append(topics, topic(name))
	}
	admin := kadm.NewClient(client)
	if _, err := admin.CreateTopics(b.Context(), 4, -1, nil, topics...); err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { _, _ = admin.DeleteTopics(b.Context(), topics...) })

	dir := b.TempDir()
	w := &askLoad{client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 1024, MaxConnsPerHost: 1024}}, life: tag}
	b.Cleanup(w.client.CloseIdleConnections)
	r := rand.New(rand.NewPCG(1, 2))
	for range askTerms {
		word := make([]rune, 4+r.IntN(4))
		for i := range word {
			word[i] = rune('一' + r.IntN(8000))
		}
		w.terms = append(w.terms, string(word))
	}
	files := map[string]string{
		"rules/spam.yaml": "pack: spam\nrules:\n  - id: spam.load\n    category: gambling\n    severity: low\n    action: review\n    state: live\n    terms: [" + strings.Join(w.terms, ", ") + "]\n",
		"pseudonym.key":   strings.Repeat("k", 32),
		"weir.yaml": fmt.Sprintf(`
source: load
kafka: {brokers: ["%s"]}
input: {group: %s, posts: %s, pushes: %s}
output: {review: %s, decisions: %s, cleared: %s, deferred: %s, deadletter: %s, delivery: %s}
rules: {dir: rules, breaker: {enabled: false}}
push: {pseudonym_key_file: pseudonym.key, redis: {addrs: ["%s"]}}
evidence: {dir: evidence}
api: {listen: '127.0.0.1:0'}
`, strings.Join(strings.Split(brokers, ","), `", "`), tag, topics[0], topics[1], topics[2], topics[3], topics[4], topics[5], topics[6], delivery, redis),
	}
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			b.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			b.Fatal(err)
		}
	}
	k := &killRun{dir: dir, weir: binary(b)}
	p := k.start(b)
	b.Cleanup(func() {
		if p.cmd.Process.Signal(os.Interrupt) == nil {
			if err := <-p.exited; err != nil {
				b.Errorf("weir ended with %v\n%s", err, p.log)
			}
		}
	})
	w.daemon, w.kafka = p, client
	client.AddConsumeTopics(topics[2])
	for deadline := time.Now().Add(time.Minute); w.url == ""; time.Sleep(10 * time.Millisecond) {
		select {
		case err := <-p.exited:
			b.Fatalf("weir ended: %v\n%s", err, p.log)
		default:
		}
		if time.Now().After(deadline) {
			b.Fatalf("weir is not up\n%s", p.log)
		}
		w.url = regexp.MustCompile(`http://[0-9.:]+/v1/judge`).FindString(p.status.String())
	}
	return w
}

// event is the next one to ask about.
func (w *askLoad) event() []byte {
	n := w.count.Add(1)
	now := time.Now().UTC()
	text := strings.Repeat("今天的天气很好，我们去公园散步吧。", 6)
	if n%100 == 0 {
		text += w.terms[int(n/100)%len(w.terms)]
	}
	e := map[string]any{"id": fmt.Sprint(w.life, "-", n), "time": now.Format(time.RFC3339), "user": map[string]any{"id": fmt.Sprint("user-", n%100_000)},
		"fields": map[string]string{"text": text}, "client": map[string]any{"address": "203.0.113.7", "port": 40_000}}
	if n%10 == 0 {
		e["class"], e["channel"], e["expires"] = "service", "app", now.Add(time.Hour).Format(time.RFC3339)
	}
	b, err := json.Marshal(e)
	if err != nil {
		panic(err) // strings and numbers
	}
	return b
}

// askRun is how a run went.
type askRun struct {
	took    []time.Duration // of those that were answered, ascending
	idle    []time.Duration // of those that asked nothing
	refused int
	cpu     time.Duration // of the daemon
}

// at is a quantile in milliseconds.
func at(list []time.Duration, q float64) float64 {
	if len(list) == 0 {
		return 0
	}
	return float64(list[min(len(list)-1, int(q*float64(len(list))))].Microseconds()) / 1000
}

func (w *askLoad) run(b testing.TB, rate int, lasts time.Duration) askRun {
	b.Helper()
	var mu sync.Mutex
	var l askRun
	var wg sync.WaitGroup
	cpu := w.cpu(b)
	begin := time.Now()
	send := func(due time.Time, do func() (*http.Response, error), book func(status int, took time.Duration)) {
		wg.Go(func() {
			resp, err := do()
			if err != nil {
				b.Error(err)
				return
			}
			_, _ = io.Copy(io.Discard, resp.Body)
			_ = resp.Body.Close()
			took := time.Since(due)
			mu.Lock()
			defer mu.Unlock()
			book(resp.StatusCode, took)
		})
	}
	for i := range int(float64(rate) * lasts.Seconds()) {
		due := begin.Add(time.Duration(i) * time.Second / time.Duration(rate))
		time.Sleep(time.Until(due)) // the clock of the load
		if i%10 == 5 {
			send(due, func() (*http.Response, error) {
				return w.client.Get(strings.TrimSuffix(w.url, "/v1/judge") + "/-/ready")
			},
				func(_ int, took time.Duration) { l.idle = append(l.idle, took) })
		}
		send(due, func() (*http.Response, error) {
			return w.client.Post(w.url, "application/json", bytes.NewReader(w.event()))
		},
			func(status int, took time.Duration) {
				switch status {
				case http.StatusOK:
					l.took = append(l.took, took)
				case http.StatusServiceUnavailable:
					l.refused++
				default:
					b.Errorf("status %d", status)
				}
			})
	}
	wg.Wait()
	l.cpu = w.cpu(b) - cpu
	slices.Sort(l.took)
	slices.Sort(l.idle)
	return l
}

// cpu is what the daemon has used.
func (w *askLoad) cpu(b testing.TB) time.Duration {
	b.Helper()
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", w.daemon.cmd.Process.Pid))
	if err != nil {
		b.Fatal(err)
	}
	fields := strings.Fields(string(stat[bytes.LastIndexByte(stat, ')')+1:]))
	ticks := 0
	for _, f := range fields[11:13] { // user and system, in hundredths of a second
		n, err := strconv.Atoi(f)
		if err != nil {
			b.Fatal(err)
		}
		ticks += n
	}
	return time.Duration(ticks) * 10 * time.Millisecond
}

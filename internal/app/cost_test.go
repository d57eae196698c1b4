package app_test

import (
	"bufio"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
)

// What a post costs between two topics of a real Kafka, by stage and at a steady
// rate. The cluster is the one WEIR_TEST_KAFKA names, of one broker; the posts
// are those of the test data. What is measured runs in processes of its own
// (see coststage_test.go): this one writes the posts and looks on.

const (
	costPosts      = 500_000
	costPartitions = 4
)

// costHits is of how many posts one is flagged: 100, or what WEIR_TEST_COST_HITS says.
var costHits = sync.OnceValue(func() int {
	if n, err := strconv.Atoi(os.Getenv("WEIR_TEST_COST_HITS")); err == nil && n > 0 {
		return n
	}
	return 100
})

// costWorld is what the processes of a benchmark share.
type costWorld struct {
	b      *testing.B
	admin  *kgo.Client
	posts  *posts
	job    job // but for its stage
	topics []string
}

func newCostWorld(b *testing.B) *costWorld {
	b.Helper()
	return newCostWorldOf(b, costPartitions, func() *posts { return newPosts(b, costTerms, 0) })
}

// newCostWorldOf returns one with so many partitions of posts, and others' posts.
func newCostWorldOf(b *testing.B, partitions int32, posts func() *posts) *costWorld {
	b.Helper()
	brokers := os.Getenv("WEIR_TEST_KAFKA")
	if brokers == "" {
		b.Skip("needs a real broker: set WEIR_TEST_KAFKA, or run scripts/integration -run '^$' -bench Cost ./internal/app")
	}
	w := &costWorld{b: b, posts: posts()}
	w.job = job{Brokers: strings.Split(brokers, ","), Rules: b.TempDir()}
	if len(w.job.Brokers) > 1 {
		b.Skip("needs a cluster of one broker, which leads all partitions")
	}
	w.posts.writeRules(b, w.job.Rules)
	var err error
	w.admin, err = kgo.NewClient(kgo.SeedBrokers(w.job.Brokers...))
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() {
		_, err := kadm.NewClient(w.admin).DeleteTopics(context.Background(), w.topics...)
		if err != nil {
			b.Error(err)
		}
		w.admin.Close()
	})
	w.job.Posts, w.job.Review, w.job.DeadLetter = w.topic(partitions), w.topic(costPartitions), w.topic(1)
	return w
}

// topic makes a topic under a name nobody has.
func (w *costWorld) topic(partitions int32) string {
	w.b.Helper()
	name := fmt.Sprintf("weir-cost-%x", rand.Int64())
	if _, err := kadm.NewClient(w.admin).CreateTopic(w.b.Context(), partitions, 1, nil, name); err != nil {
		w.b.Fatal(err)
	}
	w.topics = append(w.topics, name)
	return name
}

// client returns a client that knows the topics soon after they were made.
func (w *costWorld) client(opts ...kgo.Opt) *kgo.Client {
	w.b.Helper()
	cl, err := kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(w.job.Brokers...), kgo.UnknownTopicRetries(-1)}, opts...)...)
	if err != nil {
		w.b.Fatal(err)
	}
	return cl
}

// fill writes the backlog, and says what it is.
func (w *costWorld) fill() string {
	w.b.Helper()
	bytes := w.produce(costPosts)
	return fmt.Sprintf("%d posts of %d bytes, one of %d flagged, %d terms", costPosts, bytes/costPosts, w.posts.hits, len(w.posts.terms))
}

// produce writes so many posts and returns how many bytes they have.
func (w *costWorld) produce(posts int) int {
	w.b.Helper()
	cl := w.client(kgo.ProducerBatchMaxBytes(16<<10), kgo.ProducerBatchCompression(kgo.NoCompression()),
		kgo.ProducerLinger(20*time.Millisecond), kgo.MaxBufferedRecords(50_000))
	defer cl.Close()
	var failed atomic.Pointer[error]
	bytes := 0
	now := time.Now()
	for i := range posts {
		key, value := w.posts.post(i, fmt.Sprintf("u-%07d", i*7919%1_000_000), now)
		bytes += len(value)
		cl.Produce(w.b.Context(), &kgo.Record{Topic: w.job.Posts, Key: key, Value: value}, func(_ *kgo.Record, err error) {
			if err != nil {
				failed.Store(&err)
			}
		})
	}
	if err := cl.Flush(w.b.Context()); err != nil {
		w.b.Fatal(err)
	}
	if err := failed.Load(); err != nil {
		w.b.Fatal(*err)
	}
	return bytes
}

// apart starts a stage in a process of its own.
func (w *costWorld) apart(stage string, enough int64) *apart {
	w.b.Helper()
	j := w.job
	j.Stage, j.Enough, j.Evidence = stage, enough, w.b.TempDir()
	j.Segment = max(2048, enough/int64(w.posts.hits)/4) // of what ships a sixth at most, so that most of what is flagged is sealed in the run
	text, err := json.Marshal(j)
	if err != nil {
		w.b.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(w.b.Context(), 3*time.Minute)
	cmd := exec.CommandContext(ctx, os.Args[0], string(text))
	cmd.Env = append(os.Environ(), stageProcess+"=1")
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		w.b.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		w.b.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		w.b.Fatal(err)
	}
	return &apart{b: w.b, stage: stage, cmd: cmd, in: in, out: bufio.NewReader(out), cancel: cancel}
}

// apart is a process with a stage.
type apart struct {
	b      *testing.B
	stage  string
	cmd    *exec.Cmd
	in     io.WriteCloser
	out    *bufio.Reader
	cancel context.CancelFunc
}

// look asks for what was used so far.
func (a *apart) look() usage {
	a.b.Helper()
	if _, err := io.WriteString(a.in, "\n"); err != nil {
		said, _ := io.ReadAll(a.out) // it has ended, and said why
		a.b.Fatalf("%s: %v: %s", a.stage, err, said)
	}
	return a.answer()
}

// answer waits for what was used.
func (a *apart) answer() usage {
	a.b.Helper()
	line, err := a.out.ReadString('\n')
	var u usage
	if err == nil {
		err = json.Unmarshal([]byte(line), &u)
	}
	if err != nil {
		a.b.Fatalf("%s: %v: %s", a.stage, err, line)
	}
	return u
}

func (a *apart) stop() {
	a.b.Helper()
	defer a.cancel()
	if err := a.in.Close(); err != nil {
		a.b.Error(err)
	}
	if err := a.cmd.Wait(); err != nil {
		a.b.Errorf("%s: %v", a.stage, err)
	}
}

// spread returns the median, the least and the greatest of some numbers.
func spread(list []float64) (middle, low, high float64) {
	s := slices.Sorted(slices.Values(list))
	n := len(s)
	return (s[(n-1)/2] + s[n/2]) / 2, s[0], s[n-1]
}

// rounds works through the backlog with each of some stages in turn, in a
// process of its own; an iteration of the benchmark is a round.
func (w *costWorld) rounds(stages []string) rounds {
	w.b.Helper()
	r := make(rounds)
	for turn := 0; w.b.Loop(); turn++ {
		for i := range stages {
			stage := stages[(i+turn)%len(stages)]
			before := w.reviewed()
			p := w.apart(stage, costPosts)
			u := p.answer()
			p.stop()
			u.Flagged = w.reviewed() - before
			r[stage] = append(r[stage], u)
		}
	}
	w.b.ReportMetric(0, "ns/op")
	return r
}

// reviewed returns how far the review topic reaches.
func (w *costWorld) reviewed() int64 {
	w.b.Helper()
	ends, err := kadm.NewClient(w.admin).ListEndOffsets(w.b.Context(), w.job.Review)
	if err == nil {
		err = ends.Error()
	}
	if err != nil {
		w.b.Fatal(err)
	}
	n := int64(0)
	ends.Each(func(o kadm.ListedOffset) { n += o.Offset })
	return n
}

// rounds are what the stages used, by stage and round.
type rounds map[string][]usage

// each returns something of a stage in all rounds.
func (r rounds) each(stage string, of func(usage) float64) []float64 {
	var list []float64
	for _, u := range r[stage] {
		list = append(list, of(u))
	}
	return list
}

// pairs returns something of two stages in each round.
func (r rounds) pairs(a, b string, of func(a, b usage) float64) []float64 {
	var list []float64
	for i := range r[a] {
		list = append(list, of(r[a][i], r[b][i]))
	}
	return list
}

func cpu(u usage) float64       { return float64(u.CPU) / float64(u.Records) }
func ratio(a, b usage) float64  { return cpu(a) / cpu(b) }
func more(a, b usage) float64   { return cpu(a) - cpu(b) }
func megabytes(u usage) float64 { return float64(u.Memory) / (1 << 20) }
func allocated(u usage) float64 { return float64(u.Objects) / float64(u.Records) }
func ranged(list []float64) string {
	middle, low, high := spread(list)
	return fmt.Sprintf("%.4g (%.4g to %.4g)", middle, low, high)
}

// conditions says what a figure depends on beside the code.
func conditions() string {
	load, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		load = []byte("not known")
	}
	return fmt.Sprintf("GOGC=%s, load average %s", cmp.Or(os.Getenv("GOGC"), "100"), strings.TrimSpace(string(load)))
}

// BenchmarkCostOfBacklog works through 500,000 posts, one time with each stage
// more than the time before; what a stage costs is the difference within a
// round. An iteration is a round: -benchtime 5x is five. The last two are what
// one would write first.
func BenchmarkCostOfBacklog(b *testing.B) {
	w := newCostWorld(b)
	backlog := w.fill()
	names := make([]string, len(stages))
	for i := range stages {
		names[i] = stages[i].name
	}
	r := w.rounds(names)
	var report strings.Builder
	for i, s := range names {
		middle, _, _ := spread(r.each(s, cpu))
		b.ReportMetric(middle, s+"-cpu-ns/post")
		fmt.Fprintf(&report, "%-8s %s ns a post", s, ranged(r.each(s, cpu)))
		if i > 0 && !isNaive(s) {
			fmt.Fprintf(&report, ", of that the stage %s", ranged(r.pairs(s, names[i-1], more)))
		}
		objects, _, _ := spread(r.each(s, allocated))
		fmt.Fprintf(&report, "; %.3f objects, %s MB", objects, ranged(r.each(s, megabytes)))
		if n := r[s][0].Flagged; n > 0 {
			fmt.Fprintf(&report, ", %d to reviewers", n)
		}
		report.WriteByte('\n')
	}
	want := int64(costPosts / w.posts.hits)
	for _, s := range names {
		if isNaive(s) {
			middle, _, _ := spread(r.pairs(s, "all", ratio))
			b.ReportMetric(middle, s+"/all")
			fmt.Fprintf(&report, "%s / all: %s\n", s, ranged(r.pairs(s, "all", ratio)))
		}
		for _, u := range r[s] {
			if u.Flagged != 0 && u.Flagged < want {
				b.Errorf("%s: %d posts came to reviewers, want %d", s, u.Flagged, want)
			}
		}
	}
	b.Logf("%s%s; %s", &report, backlog, conditions())
}

// isNaive reports whether a stage is one of the programs that one would write first.
func isNaive(stage string) bool { return stage == "franz-go" || stage == "Reader" }

// BenchmarkCostOfFlagged tells what a flagged post costs beside one that passes,
// where one of five is: what evidence, in clear and with keys and sealed, and
// the review topic take.
func BenchmarkCostOfFlagged(b *testing.B) {
	w := newCostWorld(b)
	w.posts.hits = 5
	backlog := w.fill()
	r := w.rounds([]string{"booked", "clear", "all"})
	var report strings.Builder
	flagged := func(a, b usage) float64 { return float64(w.posts.hits) * more(a, b) / 1000 }
	for _, s := range []string{"clear", "all"} {
		list := r.pairs(s, "booked", flagged)
		middle, _, _ := spread(list)
		b.ReportMetric(middle, s+"-cpu-us/flagged")
		objects, _, _ := spread(r.each(s, allocated))
		fmt.Fprintf(&report, "%-5s %s us for each flagged post, %s ns a post; %.1f objects, %s MB\n", s, ranged(list), ranged(r.each(s, cpu)), objects, ranged(r.each(s, megabytes)))
	}
	list := r.pairs("all", "clear", func(a, c usage) float64 { return flagged(a, c) })
	fmt.Fprintf(&report, "keys and sealing %s us\n", ranged(list))
	b.Logf("%s%s; %s", &report, backlog, conditions())
}

// BenchmarkCostAtRate sends posts at a steady rate to everything at its
// defaults, for ten seconds an iteration, and reports the CPU time of a post and
// how long it takes from the call that produces a post to a consumer of the
// review topic. The time from producing to a plain consumer of the posts is what
// of it is not ours.
func BenchmarkCostAtRate(b *testing.B) {
	for _, c := range []struct {
		rate  int
		stage string
	}{{20_000, "all"}, {500, "all"}, {20_000, "once"}, {500, "once"}} {
		b.Run(fmt.Sprintf("rate=%d/%s", c.rate, c.stage), func(b *testing.B) {
			w := newCostWorld(b)
			var cost, cores, batch, review, floor []float64
			for b.Loop() {
				p := w.apart(c.stage, 0)
				s := w.stream(c.rate)
				s.await(b, w.posts.hits) // the group has its partitions, and everything is warm
				s.forget()
				from := p.look()
				began := time.Now()
				time.Sleep(10 * time.Second) // what is measured is this time
				to := p.look()
				took := time.Since(began)
				reviewed, polled := s.end(b)
				p.stop()
				n := float64(to.Records - from.Records)
				cost = append(cost, float64(to.CPU-from.CPU)/n)
				cores = append(cores, 100*float64(to.CPU-from.CPU)/float64(took))
				batch = append(batch, n/float64(to.Batches-from.Batches))
				review, floor = append(review, reviewed...), append(floor, polled...)
			}
			b.ReportMetric(0, "ns/op")
			middle, low, high := spread(cost)
			b.ReportMetric(middle, "cpu-ns/post")
			share, _, _ := spread(cores)
			b.ReportMetric(share, "%-of-a-core")
			size, _, _ := spread(batch)
			b.ReportMetric(size, "posts/batch")
			b.ReportMetric(percentile(review, 50), "p50-ms")
			b.ReportMetric(percentile(review, 99), "p99-ms")
			b.Logf("%.0f ns a post (%.0f to %.0f), %.1f %% of a core, %.1f posts a batch", middle, low, high, share, size)
			b.Logf("to review: p50 %.1f, p99 %.1f, worst %.1f ms of %d; to a plain consumer: p50 %.1f, p99 %.1f ms",
				percentile(review, 50), percentile(review, 99), percentile(review, 100), len(review), percentile(floor, 50), percentile(floor, 99))
		})
	}
}

// percentile returns a percentile of some numbers.
func percentile(list []float64, p int) float64 {
	if len(list) == 0 {
		return 0
	}
	s := slices.Sorted(slices.Values(list))
	return s[(len(s)-1)*p/100]
}

// stream is a steady stream of posts that are awaited at both ends.
type stream struct {
	cancel  context.CancelFunc
	running sync.WaitGroup

	mu             sync.Mutex
	err            error
	review, polled []float64 // ms
}

// stream begins to send posts.
func (w *costWorld) stream(rate int) *stream {
	ctx, cancel := context.WithCancel(w.b.Context())
	s := &stream{cancel: cancel}
	// Each user's id, which is the key of both topics, tells when the post was made.
	s.running.Go(func() { s.consume(ctx, w, w.job.Review, &s.review, 1) })
	s.running.Go(func() { s.consume(ctx, w, w.job.Posts, &s.polled, 50) })
	s.running.Go(func() {
		cl := w.client(kgo.ProducerLinger(0), kgo.ProducerBatchCompression(kgo.SnappyCompression()))
		defer cl.Close()
		tick := time.NewTicker(2 * time.Millisecond)
		defer tick.Stop()
		began := time.Now()
		for sent := 0; ; {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
			}
			for want := int(time.Since(began).Seconds() * float64(rate)); sent < want; sent++ {
				now := time.Now()
				key, value := w.posts.post(sent, fmt.Sprintf("t-%d", now.UnixNano()), now)
				cl.Produce(ctx, &kgo.Record{Topic: w.job.Posts, Key: key, Value: value}, func(_ *kgo.Record, err error) {
					if err != nil && ctx.Err() == nil {
						s.fail(err)
					}
				})
			}
		}
	})
	return s
}

// consume notes how long ago one of so many records was made.
func (s *stream) consume(ctx context.Context, w *costWorld, topic string, list *[]float64, every int) {
	cl := w.client(kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtEnd()), kgo.FetchMaxWait(100*time.Millisecond),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()))
	defer cl.Close()
	for n := 0; ctx.Err() == nil; {
		fs := cl.PollFetches(ctx)
		now := time.Now().UnixNano()
		if err := fs.Err(); err != nil && ctx.Err() == nil {
			s.fail(err)
			return
		}
		s.mu.Lock()
		fs.EachRecord(func(r *kgo.Record) {
			made, err := strconv.ParseInt(strings.TrimPrefix(string(r.Key), "t-"), 10, 64)
			if n++; err == nil && n%every == 0 {
				*list = append(*list, float64(now-made)/1e6)
			}
		})
		s.mu.Unlock()
	}
}

func (s *stream) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.err = err
}

// await waits until so many posts have come to reviewers, at most a few seconds'
// worth of a slow stream.
func (s *stream) await(b *testing.B, n int) {
	b.Helper()
	deadline := time.Now().Add(time.Minute)
	var begun time.Time
	for ; ; time.Sleep(20 * time.Millisecond) {
		s.mu.Lock()
		got, err := len(s.review), s.err
		s.mu.Unlock()
		if got > 0 && begun.IsZero() {
			begun = time.Now()
		}
		switch {
		case err != nil:
			b.Fatal(err)
		case got >= n, !begun.IsZero() && time.Since(begun) > 3*time.Second:
			return
		case time.Now().After(deadline):
			b.Fatal("nothing came to reviewers within a minute")
		}
	}
}

// forget begins anew.
func (s *stream) forget() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.review, s.polled = nil, nil
}

// end stops the stream and returns what was noted.
func (s *stream) end(b *testing.B) (review, polled []float64) {
	b.Helper()
	s.cancel()
	s.running.Wait()
	if s.err != nil {
		b.Fatal(s.err)
	}
	return s.review, s.polled
}

package app_test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"net"
	"os"
	"path/filepath"
	"runtime"
	"runtime/pprof"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"github.com/weir-moderation/weir/internal/kafka"
	"github.com/weir-moderation/weir/internal/kafka/batch"
	"github.com/weir-moderation/weir/internal/kafka/fetch"
	"github.com/weir-moderation/weir/internal/kafka/produce"
	"github.com/weir-moderation/weir/pipeline"
	"github.com/weir-moderation/weir/pipeline/event"
	"github.com/weir-moderation/weir/pipeline/ingest"
	"github.com/weir-moderation/weir/rules"
	"github.com/weir-moderation/weir/sinks"
	"github.com/weir-moderation/weir/sinks/evidence"
	"github.com/weir-moderation/weir/sinks/evidence/keys"
)

// stageProcess makes this test binary a process that does the job its argument
// describes: heaps do not mix, and CPU time is that of one stage. With
// WEIR_TEST_PROFILE, a directory, it leaves a CPU profile of the stage there.
const stageProcess = "WEIR_TEST_STAGE_PROCESS"

// job is what such a process is to do.
type job struct {
	Stage   string
	Brokers []string
	Posts   string // topics
	Review  string
	DeadLetter,
	Rules, Evidence string // directories
	Segment int64 // records in a segment of the evidence
	// Enough is how many posts to measure. With 0 it goes on until its input ends,
	// and answers each line of it with what was used so far.
	Enough int64
}

// stages are what can be measured, each with all that stands before it.
var stages = []struct {
	name string
	run  func(context.Context, *job, *meter) error
}{
	{"fetch", fetchOnly},     // the bytes of the answers, and the heads of batches
	{"records", recordsOnly}, // membership, checksums, records, commits, and the adapter to the pipeline
	{"events", eventsOnly},   // strict decoding
	{"match", matchOnly},     // folding and matching of all fields
	{"booked", bookedOnly},   // the pipeline, with a sink that does nothing
	{"clear", inClear},       // evidence on the disk, neither encrypted nor sealed, then the review topic
	{"all", atLeastOnce},     // as the daemon is put together: with keys and sealing
	{"once", exactlyOnce},    // the same with the review topic and the offsets in transactions
	{"franz-go", naiveFranz}, // what one would write first, see costnaive_test.go
	{"Reader", naiveReader},
}

// runStage does a job, and tells what it used on standard output.
func runStage(text string) error {
	var j job
	if err := json.Unmarshal([]byte(text), &j); err != nil {
		return err
	}
	if dir := os.Getenv("WEIR_TEST_PROFILE"); dir != "" {
		f, err := os.Create(filepath.Join(dir, j.Stage+".cpu"))
		if err != nil {
			return err
		}
		defer f.Close()
		if err := pprof.StartCPUProfile(f); err != nil {
			return err
		}
		defer pprof.StopCPUProfile()
	}
	m := &meter{enough: j.Enough, done: make(chan struct{})}
	out := json.NewEncoder(os.Stdout)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	answered := make(chan error, 1)
	go func() {
		lines := bufio.NewScanner(os.Stdin)
		for lines.Scan() {
			u := used()
			u.Records, u.Batches = m.n.Load(), m.batches.Load()
			if err := out.Encode(u); err != nil {
				answered <- err
				return
			}
		}
		cancel()
		answered <- lines.Err()
	}()
	for _, s := range stages {
		if s.name != j.Stage {
			continue
		}
		if err := s.run(ctx, &j, m); err != nil {
			return err
		}
		if j.Enough > 0 {
			if err := out.Encode(m.used()); err != nil {
				return err
			}
		}
		return <-answered
	}
	return fmt.Errorf("no stage %q", j.Stage)
}

// usage is what a process used for some posts.
type usage struct {
	Records, Batches int64
	CPU              time.Duration
	Objects          uint64 // allocated
	Memory           int64  // bytes that were resident at most
	Flagged          int64  // messages to reviewers
}

func used() usage {
	var r syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &r); err != nil {
		return usage{}
	}
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return usage{CPU: time.Duration(r.Utime.Nano() + r.Stime.Nano()), Objects: m.Mallocs, Memory: memory("self", "VmHWM:")}
}

// memory returns a line of what Linux says of the memory of a process.
func memory(process, name string) int64 {
	status, err := os.ReadFile(filepath.Join("/proc", process, "status"))
	if err != nil {
		return 0 // not Linux
	}
	_, rest, _ := bytes.Cut(status, []byte(name))
	line, _, _ := bytes.Cut(rest, []byte("kB"))
	kb, _ := strconv.ParseInt(string(bytes.TrimSpace(line)), 10, 64)
	return kb << 10
}

// meter measures from the first posts that are counted, which are left out, to
// the one that makes enough.
type meter struct {
	enough   int64
	n        atomic.Int64
	batches  atomic.Int64
	begin    sync.Once
	from, to usage
	done     chan struct{} // closed when there is enough
}

func (m *meter) count(k int) {
	m.begin.Do(func() {
		m.from = used()
		m.from.Records = int64(k)
	})
	m.batches.Add(1)
	if n := m.n.Add(int64(k)); n >= m.enough && n-int64(k) < m.enough {
		m.to = used()
		m.to.Records = n
		close(m.done)
	}
}

// used returns what was used; done is closed by then.
func (m *meter) used() usage {
	return usage{Records: m.to.Records - m.from.Records, CPU: m.to.CPU - m.from.CPU, Objects: m.to.Objects - m.from.Objects, Memory: m.to.Memory}
}

// fetchOnly asks for what the consumer asks for, over a connection of its own,
// and walks over the heads of batches.
func fetchOnly(ctx context.Context, j *job, m *meter) error {
	conn, err := new(net.Dialer).DialContext(ctx, "tcp", j.Brokers[0])
	if err != nil {
		return err
	}
	defer conn.Close()
	buffers := new(fetch.Buffers)
	next := make([]int64, costPartitions)
	var parts []fetch.PartAnswer
	for {
		q := &fetch.Request{Client: "weir", Wait: 250 * time.Millisecond, MinBytes: 1, MaxBytes: 8 << 20, Limit: 16 << 20, Committed: true, Buffers: buffers}
		for p := range next {
			q.Parts = append(q.Parts, fetch.Part{Topic: j.Posts, Partition: int32(p), Offset: next[p], MaxBytes: 1 << 20})
		}
		answer, err := q.RawExchange(conn)
		if err != nil {
			return err
		}
		a := answer.(*fetch.Answer)
		if parts, _, err = a.Parse(parts[:0]); err != nil {
			return err
		}
		for i := range parts {
			p := &parts[i]
			switch end, ok := batch.End(p.Data, next[p.Partition]); {
			case p.Code != 0:
				return p.Code
			case len(p.Data) == 0:
			case !ok:
				return fmt.Errorf("offset %d: not a batch", next[p.Partition])
			default:
				m.count(int(end - next[p.Partition]))
				next[p.Partition] = end
			}
		}
		a.Release()
		select {
		case <-m.done:
			return nil
		default:
		}
	}
}

// handler counts what f has handled.
type handler struct {
	m          *meter
	handle     func(context.Context, *pipeline.Batch) error
	checkpoint func(context.Context, []pipeline.Range) error // nil: nothing to do
}

func (h handler) Handle(ctx context.Context, b *pipeline.Batch) error {
	if err := h.handle(ctx, b); err != nil {
		return err
	}
	h.m.count(len(b.Records))
	return nil
}

func (h handler) Checkpoint(ctx context.Context, done []pipeline.Range) error {
	if h.checkpoint == nil {
		return nil
	}
	return h.checkpoint(ctx, done)
}

// newGroup returns the name of a group that nobody has.
func newGroup() string { return fmt.Sprintf("weir-cost-%x", rand.Int64()) }

// consume reads the posts with a source until there is enough.
func consume(ctx context.Context, client *kafka.Client, group string, j *job, h handler, o ingest.Options) error {
	c := ingest.DefaultConfig()
	c.Group, c.Posts = group, ingest.Named(j.Posts)
	if j.Enough == 0 {
		c.Start = kafka.Latest // the rate is what counts, and not what stands before it
	}
	source := ingest.NewSource(client, c, o)
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		select {
		case <-h.m.done:
			cancel()
		case <-ctx.Done():
		}
	}()
	return source.Run(ctx, h)
}

func newClient(j *job) (*kafka.Client, error) {
	c := kafka.DefaultConfig()
	c.Brokers = j.Brokers
	return kafka.NewClient(c, kafka.Options{})
}

// consumeWith consumes with a function for batches.
func consumeWith(ctx context.Context, j *job, m *meter, handle func(context.Context, *pipeline.Batch) error) error {
	client, err := newClient(j)
	if err != nil {
		return err
	}
	err = consume(ctx, client, newGroup(), j, handler{m: m, handle: handle}, ingest.Options{Registerer: prometheus.NewRegistry()})
	return errors.Join(err, client.Close())
}

func recordsOnly(ctx context.Context, j *job, m *meter) error {
	return consumeWith(ctx, j, m, func(_ context.Context, b *pipeline.Batch) error {
		n := 0
		for i := range b.Records {
			n += len(b.Records[i].Value) + int(b.Records[i].Value[0])
		}
		if n == 0 {
			return errors.New("an empty batch")
		}
		return nil
	})
}

// reading is the memory of one batch.
type reading struct {
	decoder *event.Decoder
	event   event.Event
	scratch rules.Scratch
}

// judged decodes the posts of each batch and does something with each.
func judged(ctx context.Context, j *job, m *meter, look func(*reading)) error {
	pool := sync.Pool{New: func() any { return &reading{decoder: event.NewDecoder(event.DefaultConfig())} }}
	return consumeWith(ctx, j, m, func(_ context.Context, b *pipeline.Batch) error {
		r := pool.Get().(*reading)
		defer pool.Put(r)
		defer r.decoder.Reset()
		for i := range b.Records {
			if err := r.decoder.Decode(b.Kind, b.Records[i].Headers, b.Records[i].Value, &r.event); err != nil {
				return err
			}
			look(r)
		}
		return nil
	})
}

func eventsOnly(ctx context.Context, j *job, m *meter) error {
	return judged(ctx, j, m, func(*reading) {})
}

func matchOnly(ctx context.Context, j *job, m *meter) error {
	set, err := load(os.DirFS(j.Rules))
	if err != nil {
		return err
	}
	return judged(ctx, j, m, func(r *reading) { set.Match(&r.scratch, &r.event) })
}

// costCategories is the register with the category of the terms.
const costCategories = "categories:\n  - code: cost\n    name: Cost\n    name_zh: 成本\n"

// load loads the terms, as they are written and with nothing else that is asked.
func load(dir fs.FS) (*rules.Set, error) {
	register, err := rules.ParseRegister("categories.yaml", []byte(costCategories))
	if err != nil {
		return nil, err
	}
	return rules.Load(dir, register, rules.Options{})
}

func loadTerms(tb testing.TB, dir fs.FS) *rules.Set {
	tb.Helper()
	set, err := load(dir)
	if err != nil {
		tb.Fatal(err)
	}
	return set
}

// nothing is a sink that does nothing.
type nothing struct{}

func (nothing) Write(context.Context, *pipeline.Output) error { return nil }

func newPipeline(j *job, registry prometheus.Registerer, to ...pipeline.NamedSink) (*pipeline.Pipeline, error) {
	set, err := load(os.DirFS(j.Rules))
	if err != nil {
		return nil, err
	}
	return pipeline.New(pipeline.Options{
		Source: "cost", Force: pipeline.Force{Rules: set, Breaker: rules.DefaultBreaker()}, Events: event.DefaultConfig(), Sinks: to, Registerer: registry,
	})
}

func bookedOnly(ctx context.Context, j *job, m *meter) error {
	p, err := newPipeline(j, prometheus.NewRegistry(), pipeline.NamedSink{Name: "nothing", Sink: nothing{}})
	if err != nil {
		return err
	}
	return consumeWith(ctx, j, m, p.Handle)
}

func inClear(ctx context.Context, j *job, m *meter) error {
	return everything(ctx, j, m, evidence.Options{}, sinks.AtLeastOnce)
}

func atLeastOnce(ctx context.Context, j *job, m *meter) error {
	return encrypted(ctx, j, m, sinks.AtLeastOnce)
}

func exactlyOnce(ctx context.Context, j *job, m *meter) error {
	return encrypted(ctx, j, m, sinks.ExactlyOnce)
}

// encrypted is everything with keys for the evidence, and segments so small that
// some are sealed in the run.
func encrypted(ctx context.Context, j *job, m *meter, delivery sinks.Delivery) (err error) {
	ring, err := evidence.OpenKeys(j.Evidence, keys.Options{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, ring.Close()) }()
	return everything(ctx, j, m, evidence.Options{Keys: ring, Seal: true, SegmentRecords: j.Segment}, delivery)
}

// everything is put together as the daemon is, less what watches for changes.
func everything(ctx context.Context, j *job, m *meter, o evidence.Options, delivery sinks.Delivery) (err error) {
	registry := prometheus.NewRegistry()
	o.Dir, o.Origin, o.Registerer = j.Evidence, "cost/evidence/0/1", registry
	log, err := evidence.Open(o)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, log.Close()) }()
	client, err := newClient(j)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, client.Close()) }()
	topics := sinks.DefaultConfig()
	topics.Review, topics.DeadLetter, topics.Delivery = j.Review, j.DeadLetter, delivery
	producer := client.NewProducer(produce.Options{Topics: topics.Topics(), MaxMessageBytes: topics.MaxMessageBytes})
	ev := &sinks.Evidence{Log: log}
	out := &sinks.Kafka{Config: topics, Producer: producer, Origin: log.Origin(), Group: newGroup()}
	p, err := newPipeline(j, registry, pipeline.NamedSink{Name: "evidence", Sink: ev}, pipeline.NamedSink{Name: "kafka", Sink: out})
	if err != nil {
		return err
	}
	in := ingest.Options{OnGap: ev.Gap, Registerer: registry}
	if delivery == sinks.ExactlyOnce {
		in.Fence, in.Commit = out.Fence, out.Commit
	}
	run, cancel := context.WithCancel(ctx)
	defer cancel()
	g, run := errgroup.WithContext(run)
	g.Go(func() error { return log.Run(run) })
	g.Go(func() error {
		defer cancel()
		return consume(run, client, out.Group, j, handler{m, p.Handle, p.Checkpoint}, in)
	})
	return g.Wait()
}

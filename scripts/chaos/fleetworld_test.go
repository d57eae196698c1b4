package chaos

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/weir-moderation/weir/internal/capacity"
	"github.com/weir-moderation/weir/internal/load"
	"github.com/weir-moderation/weir/internal/speech"
)

const (
	fleetTerms = 10_000
	fleetLines = 20_000 // different posts of a stream
)

// fleetWorld is three brokers, a program and rules; streams of posts come and go.
type fleetWorld struct {
	*cluster
	rand   *rand.Rand
	binary string
	rules  string // directory
	terms  []string
}

func newFleetWorld(t *testing.T) *fleetWorld {
	t.Helper()
	if _, err := cpuOf(1); errors.Is(err, fs.ErrNotExist) {
		t.Skip("needs the CPU times of processes, under /proc")
	}
	w := &fleetWorld{rand: rand.New(rand.NewPCG(1, 2)), binary: weirBinary(t), rules: filepath.Join(t.TempDir(), "rules")}
	w.makeTerms(t)
	w.cluster = startCluster(t)
	return w
}

// say returns what somebody says, of about so many bytes.
func (w *fleetWorld) say(size int) string {
	languages := [...]*speech.Language{speech.Chinese(), speech.English()}
	of := w.rand.IntN(10) // four of ten Chinese, three English, three mixed
	var b strings.Builder
	for i := 0; b.Len() < size; i++ {
		l := languages[i%2]
		switch {
		case of < 4:
			l = languages[0]
		case of < 7:
			l = languages[1]
		}
		if i > 0 {
			b.WriteByte(' ')
		}
		b.WriteString(l.Say(w.rand, speech.Pick(w.rand, [][]string{l.Posts, l.Comments})))
	}
	s := b.String()
	for size < len(s) && !utf8.RuneStart(s[size]) {
		size--
	}
	return s[:size]
}

// makeTerms makes terms of what is said, so that looking for them is work, and of which
// none is said.
func (w *fleetWorld) makeTerms(t *testing.T) {
	t.Helper()
	var said []rune
	text := w.say(200_000)
	for _, r := range text {
		if unicode.Is(unicode.Han, r) {
			said = append(said, r)
		}
	}
	var b strings.Builder
	b.WriteString("pack: fleet\nrules:\n  - id: fleet.words\n    category: insult\n    severity: low\n    action: review\n    state: live\n    forms: [fold]\n    terms:\n")
	for seen := make(map[string]bool); len(w.terms) < fleetTerms; {
		i, j := w.rand.IntN(len(said)-2), w.rand.IntN(len(said)-2)
		term := string(said[i:i+2]) + string(said[j:j+2])
		if !seen[term] && !strings.Contains(string(said), term) {
			seen[term] = true
			w.terms = append(w.terms, term)
			fmt.Fprintf(&b, "      - {text: %q}\n", term)
		}
	}
	write(t, filepath.Join(w.rules, "fleet.yaml"), b.String())
}

// fleetPosts are posts of a kind.
type fleetPosts struct {
	body int // bytes
	hits int // of so many posts one is flagged
}

// stream is a topic with a backlog, and what is known of it.
type stream struct {
	*fleetWorld
	posts      fleetPosts
	workload   capacity.Workload
	count      int64
	tag        string // begins the names of topics and groups
	partitions int32
	loaded     chan loaded
}

// loaded is how weir load ended.
type loaded struct {
	report *load.Report
	err    error
}

// stream makes a topic and has weir load write a backlog. It goes on until the first run
// has judged everything, and accounts for that.
func (w *fleetWorld) stream(ctx context.Context, name string, partitions int32, posts fleetPosts, count int64) *stream {
	w.t.Helper()
	s := &stream{fleetWorld: w, posts: posts, count: count, tag: fmt.Sprintf("fleet-%d-%s", time.Now().UnixNano(), name), partitions: partitions, loaded: make(chan loaded, 1)}
	for word, n := range map[string]int32{"posts": partitions, "review": 12, "dead": 1} {
		w.topic(ctx, s.tag+"."+word, n, nil)
	}
	w.known(ctx, s.tag+".posts", s.tag+".review", s.tag+".dead")
	dir := w.t.TempDir()
	lines := filepath.Join(dir, "posts.jsonl")
	w.write(s, lines)
	config := filepath.Join(dir, "weir.yaml")
	write(w.t, config, s.config("load", s.tag))
	cmd := exec.CommandContext(ctx, w.binary, "load", "--json", "--config", config, "--file", lines, "--rate", "0", "--count", fmt.Sprint(count),
		"--wait", "10m", "--max-repeats", fmt.Sprint(count))
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	began := time.Now()
	if err := cmd.Start(); err != nil {
		w.t.Fatal(err)
	}
	go func() {
		var l loaded
		l.report, l.err = loadReport(cmd.Wait(), out.Bytes(), errs.Bytes())
		s.loaded <- l
	}()
	for written := int64(0); written < count; {
		rest(ctx, 200*time.Millisecond)
		ends, err := w.admin.ListEndOffsets(ctx, s.tag+".posts")
		if err != nil {
			w.t.Fatal(err)
		}
		written = 0
		ends.Each(func(e kadm.ListedOffset) { written += e.Offset })
		select {
		case l := <-s.loaded:
			w.t.Fatalf("weir load has ended, %d of %d posts are written: %v", written, count, l.err)
		default:
		}
	}
	w.t.Logf("%s: %d posts of %.0f bytes on %d partitions, written in %.0f s", name, count, s.workload.Size, partitions, time.Since(began).Seconds())
	return s
}

// write writes the posts of a stream, one a line, and finds what they are like.
func (w *fleetWorld) write(s *stream, path string) {
	w.t.Helper()
	var b strings.Builder
	size, text := 0, 0
	for i := range fleetLines {
		title, body := w.say(36), w.say(s.posts.body)
		if i%s.posts.hits == 0 {
			body += " " + w.terms[w.rand.IntN(len(w.terms))]
		}
		// The id and the time are as long as those that weir load puts in their place.
		n, err := fmt.Fprintf(&b, `{"id":"load-0123abcd-p%06d-1a2b3c4","kind":"post","time":"2026-01-01T00:00:00.000Z","user":{"id":"u-%07d","group":"default","verified":%v},"operation":"post.create",`+
			`"fields":{"title":%s,"body":%s},"client":{"address":"203.0.113.%d","port":%d,"device":{"id":"d-%012x","app":"ios/8.4.1"}}}`+"\n",
			i, i*7919%1_000_000, i%3 == 0, quoted(title), quoted(body), i%256, 1024+i%60_000, i)
		if err != nil {
			w.t.Fatal(err)
		}
		size, text = size+n-1, text+len(title)+len(body)
	}
	write(w.t, path, b.String())
	s.workload = capacity.Workload{Size: float64(size) / fleetLines, Text: float64(text) / fleetLines, Terms: fleetTerms, Hits: 1 / float64(s.posts.hits)}
}

// quoted writes a text as JSON, as others than Go do: < > & as they are.
func quoted(text string) string {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if err := enc.Encode(text); err != nil {
		panic(err) // a string can always be written
	}
	return strings.TrimSpace(b.String())
}

func (s *stream) config(instance, group string) string {
	return fmt.Sprintf(`
source: fleet
instance: %q
kafka:
  brokers: ["%s"]
input: {group: %s, posts: %s}
output: {review: %s, deadletter: %s}
rules: {dir: %q, breaker: {enabled: false}}
evidence: {dir: evidence}
`, instance, strings.Join(s.brokers(), `", "`), group, s.tag+".posts", s.tag+".review", s.tag+".dead", s.rules)
}

// fleetRun is instances that work through a stream as one group.
type fleetRun struct {
	*stream
	name     string
	group    string
	members  []*member // all that were ever there
	left     []*member // those that live
	yard     *fleetRun // of one instance on another stream, at the same time
	compared []compared

	known  map[*member]reading // when the last phase ended, or it was ready
	phases []*phase
	*progress
}

// run begins one as a group: the first of a stream as that which weir load waits for.
func (s *stream) run(ctx context.Context, name, suffix string) *fleetRun {
	s.t.Helper()
	r := &fleetRun{stream: s, name: name, group: s.tag + suffix, known: make(map[*member]reading)}
	ends, err := s.admin.ListEndOffsets(ctx, s.tag+".posts")
	if err != nil {
		s.t.Fatal(err)
	}
	r.progress = &progress{at: make(map[int32]int64), since: make(map[int32]time.Time), ends: make(map[int32]int64)}
	ends.Each(func(e kadm.ListedOffset) { r.ends[e.Partition] = e.Offset })
	watching, stop := context.WithCancel(ctx)
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		for ; watching.Err() == nil; rest(watching, 200*time.Millisecond) {
			// While a broker is busy it may not answer; then it is asked again.
			if offsets, err := s.admin.FetchOffsets(watching, r.group); err == nil {
				r.look(offsets, s.tag+".posts")
			}
		}
	}()
	s.t.Cleanup(func() {
		stop()
		<-watched
	})
	return r
}

// progress is how far a group has come, as its commits tell.
type progress struct {
	mu     sync.Mutex
	ends   map[int32]int64     // where partitions end
	at     map[int32]int64     // committed
	since  map[int32]time.Time // when that last grew
	silent time.Duration       // the longest in which it did not, of a partition with something left
}

func (p *progress) look(offsets kadm.OffsetResponses, topic string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	for partition, end := range p.ends {
		before, known := p.at[partition]
		if known && before < end {
			p.silent = max(p.silent, now.Sub(p.since[partition]))
		}
		o, ok := offsets.Lookup(topic, partition)
		if at := max(o.At, 0); !known || ok && at > before {
			p.at[partition], p.since[partition] = at, now
		}
	}
}

// take returns what is committed of partitions that have something left, and the longest
// silence of one since it was last asked.
func (p *progress) take() (left map[int32]int64, silent time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	left = make(map[int32]int64)
	for partition, at := range p.at {
		if at < p.ends[partition] {
			left[partition] = at
		}
	}
	silent, p.silent = p.silent, 0
	return left, silent
}

// done is how many posts are committed.
func (p *progress) done() int64 {
	p.mu.Lock()
	defer p.mu.Unlock()
	sum := int64(0)
	for _, at := range p.at {
		sum += at
	}
	return sum
}

// yard begins a run of one instance, by whose CPU time that of others is judged.
func (s *stream) yard(ctx context.Context) *fleetRun {
	s.t.Helper()
	suffix := ""
	if s.loaded == nil {
		suffix = "-again" // of what weir load has its accounts of
	}
	r := s.run(ctx, "one instance", suffix)
	r.join(ctx, 1, fleetQuota)
	return r
}

// join starts instances that may each use so much of a core. What they do counts from when
// they have loaded their rules and are about to join the group.
func (r *fleetRun) join(ctx context.Context, instances int, quota float64) {
	r.t.Helper()
	for range instances {
		name := fmt.Sprint(len(r.members))
		m := &member{name: r.name + ", instance " + name, dir: r.t.TempDir(), binary: r.binary, listen: freeAddr(r.t)}
		write(r.t, m.config(), r.config(name, r.group))
		m.begin(r.t)
		r.members = append(r.members, m)
	}
	r.left = r.members
	joined := r.members[len(r.members)-instances:]
	errs, first := make([]error, instances), make([]reading, instances)
	var begun sync.WaitGroup
	for i, m := range joined {
		begun.Go(func() {
			if errs[i] = m.await(ctx, "answer", func() bool {
				var err error
				first[i], err = m.reading(ctx)
				return err == nil
			}); errs[i] == nil {
				errs[i] = m.quota(quota)
			}
		})
	}
	begun.Wait()
	if err := errors.Join(errs...); err != nil {
		r.t.Fatal(err)
	}
	for i, m := range joined {
		r.known[m] = first[i]
		if err := m.ready(ctx); err != nil {
			r.t.Fatal(err)
		}
	}
}

// reading is what an instance says of itself at one moment.
type reading struct {
	at                                time.Time
	cpu, judged, partitions, resident float64
}

func (m *member) reading(ctx context.Context) (reading, error) {
	text, err := m.ask(ctx, "/metrics")
	v := reading{at: time.Now()}
	for line := range strings.Lines(text) {
		i := strings.LastIndexByte(line, ' ')
		if i < 0 {
			continue
		}
		n, bad := strconv.ParseFloat(strings.TrimSpace(line[i+1:]), 64)
		if bad != nil {
			continue
		}
		switch name := line[:i]; {
		case name == "process_cpu_seconds_total":
			v.cpu = n
		case name == "process_resident_memory_bytes":
			v.resident = n
		case name == "weir_assigned_partitions":
			v.partitions = n
		case strings.HasPrefix(name, "weir_messages_total{") && strings.Contains(name, `stream="post"`):
			v.judged += n
		}
	}
	return v, err
}

// readings asks members at the same time: who has used up its share answers late.
func (r *fleetRun) readings(ctx context.Context, of []*member) []reading {
	r.t.Helper()
	list, errs := make([]reading, len(of)), make([]error, len(of))
	var asked sync.WaitGroup
	for i, m := range of {
		asked.Go(func() {
			if list[i], errs[i] = m.reading(ctx); errs[i] != nil {
				errs[i] = errors.Join(errs[i], m.alive())
			}
		})
	}
	asked.Wait()
	if err := errors.Join(errs...); err != nil {
		r.t.Fatal(err)
	}
	return list
}

// settled reports whether those that live have all partitions, each as many as another or
// one more. It asks the group, for that costs the members nothing.
func (r *fleetRun) settled(ctx context.Context) bool {
	r.t.Helper()
	groups, err := r.admin.DescribeGroups(ctx, r.group)
	if err != nil {
		r.t.Fatal(err)
	}
	g := groups[r.group]
	sum, least, most := 0, int(r.partitions), 0
	for _, m := range g.Members {
		assigned, ok := m.Assigned.AsConsumer()
		if !ok {
			return false
		}
		n := 0
		for _, t := range assigned.Topics {
			n += len(t.Partitions)
		}
		sum, least, most = sum+n, min(least, n), max(most, n)
	}
	return g.State == "Stable" && len(g.Members) == len(r.left) && sum == int(r.partitions) && most-least <= 1
}

// phase is what happened between two moments.
type phase struct {
	name   string
	shares []stint
	fair   float64 // among instances, by rates
	even   float64 // among partitions that were not at their ends, by what was committed of them
	silent time.Duration
	yard   stint // what the one beside it did
}

// stint is what one instance did.
type stint struct {
	name       string
	judged     float64 // posts
	rate       float64 // of them a second
	micros     float64 // CPU time of a post
	partitions int
	resident   float64
}

// until waits until something holds, and says what happened since the last phase ended:
// nothing is done between them.
func (r *fleetRun) until(ctx context.Context, name string, holds func() bool) *phase {
	r.t.Helper()
	p := &phase{name: name}
	before, _ := r.take()
	for !holds() {
		if ctx.Err() != nil {
			r.t.Fatalf("%s, %s: %d of %d posts are committed: %v", r.name, name, r.done(), r.count, ctx.Err())
		}
		for _, m := range r.left {
			if err := m.alive(); err != nil {
				r.t.Fatal(err)
			}
		}
		rest(ctx, 200*time.Millisecond)
	}
	var rates, grown []float64
	for i, v := range r.readings(ctx, r.left) {
		m := r.left[i]
		from := r.known[m]
		judged := v.judged - from.judged
		p.shares = append(p.shares, stint{
			name: m.name, judged: judged, rate: judged / v.at.Sub(from.at).Seconds(), micros: 1e6 * (v.cpu - from.cpu) / max(judged, 1),
			partitions: int(v.partitions), resident: v.resident,
		})
		r.known[m] = v
		rates = append(rates, p.shares[i].rate)
	}
	after, silent := r.take()
	for partition, at := range after {
		grown = append(grown, float64(at-before[partition]))
	}
	p.silent, p.fair, p.even = silent, fairness(rates), fairness(grown)
	if r.yard != nil {
		p.yard = r.yard.until(ctx, name, func() bool { return true }).shares[0]
	}
	r.phases = append(r.phases, p)
	return p
}

// reached holds when so many posts are committed.
func (r *fleetRun) reached(posts int64) func() bool {
	return func() bool { return r.done() >= posts }
}

// finish waits until everything is judged, ends those that live, and has the accounts
// checked: of weir load where it waits for this run, of the ledger, of all evidence.
func (r *fleetRun) finish(ctx context.Context, repeats int64) {
	r.t.Helper()
	if err := settled(ctx, r.admin, r.group, r.left, r.tag+".posts"); err != nil {
		r.t.Fatal(err)
	}
	accounts := ""
	if r.loaded != nil {
		l := <-r.loaded
		r.loaded = nil
		if l.err != nil {
			r.t.Fatal(l.err)
		}
		r.workload.Hits = float64(l.report.Flagged) / float64(l.report.Posts) // a term may be said by chance
		review := l.report.Outputs["review"]
		again := review.Repeated + review.Twice
		accounts = fmt.Sprintf("%d posts, %d to be flagged, %d lost, %d there twice of %d that may be", l.report.Posts, l.report.Flagged, review.Lost, again, repeats)
		if review.Lost > 0 || l.report.Unjudged > 0 || l.report.Outputs["deadletter"].Messages > 0 || len(l.report.Problems) > 0 {
			r.t.Errorf("%s: %d are lost, %d unjudged: %v", r.name, review.Lost, l.report.Unjudged, l.report.Problems)
		}
		if l.report.Flagged == 0 || again > repeats {
			r.t.Errorf("%s: %s", r.name, accounts)
		}
	}
	for _, m := range r.left {
		if err := m.terminate(); err != nil {
			r.t.Error(err)
		}
	}
	ledger, err := audit(ctx, r.members)
	if err != nil {
		r.t.Error(err)
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s; ledger: %s\n", r.name, accounts, ledger)
	for _, p := range r.phases {
		sum := 0.0
		fmt.Fprintf(&b, "  %-14s", p.name)
		for _, s := range p.shares {
			sum += s.rate
		}
		fmt.Fprintf(&b, "  %7.0f posts/s, fair %.3f, partitions even %.3f, longest silence of one %.1f s\n", sum, p.fair, p.even, p.silent.Seconds())
		for _, s := range p.shares {
			fmt.Fprintf(&b, "    %-28s %7.0f posts/s  %6.2f us  %3d partitions  %4.0f MB\n", s.name, s.rate, s.micros, s.partitions, s.resident/1e6)
		}
	}
	r.t.Log(b.String())
}

// in has a part of the test say what is wrong as itself.
func (w *fleetWorld) in(t *testing.T, part func()) {
	whole := w.t
	w.t = t
	defer func() { w.t = whole }()
	part()
}

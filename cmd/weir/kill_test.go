package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/weir-moderation/weir/internal/app"
	"github.com/weir-moderation/weir/internal/config"
	"github.com/weir-moderation/weir/pipeline"
	"github.com/weir-moderation/weir/pipeline/event"
	"github.com/weir-moderation/weir/rules"
	"github.com/weir-moderation/weir/sinks"
	"github.com/weir-moderation/weir/sinks/evidence"
	"github.com/weir-moderation/weir/sinks/evidence/evidencetest"
)

// killPack fires on common words, so that some per cent of real posts are flagged.
const killPack = `
pack: insult
rules:
  - id: insult.common
    category: insult
    severity: low
    action: review
    state: live
    terms: [我们, 中国, people, 公司, 公布, 新闻]
  - id: insult.rejected
    category: insult
    severity: high
    action: reject
    state: live
    terms: [北京, 美国, nigger]
`

// The process is killed at random moments and started again, over and over,
// while it works through a backlog of real posts. In the end every event has
// exactly one outcome after repeated ids are dropped, none is missing, the
// evidence verifies and the ledger balances.
func TestKilledAtRandomMoments(t *testing.T) {
	t.Parallel() // it mostly waits for the group to notice a death, as the others do that kill
	for _, delivery := range []sinks.Delivery{sinks.AtLeastOnce, sinks.ExactlyOnce} {
		t.Run(string(delivery), func(t *testing.T) {
			t.Parallel()
			killAtRandomMoments(t, delivery)
		})
	}
}

func killAtRandomMoments(t *testing.T, delivery sinks.Delivery) {
	posts, kills := 30_000, 4
	brokers, embedded := testBrokers(t)
	if !embedded {
		posts, kills = 200_000, 12
	}
	k := newKillRun(t, brokers, delivery)
	k.produce(t, posts)

	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 1))
	for i := range kills {
		p := k.start(t)
		// Die anywhere from before the group is joined to deep in the work: some
		// lives end by time, the others when a share of the backlog is done.
		if i%2 == 0 {
			p.waitFor(t, time.Duration(r.IntN(800))*time.Millisecond, -1)
		} else {
			p.waitFor(t, 3*time.Minute, int64(posts)*int64(i+1)/int64(kills+2)+int64(r.IntN(posts/(4*kills))))
		}
		p.kill(t)
		if embedded {
			k.forget(t)
		}
	}
	p := k.start(t)
	p.waitFor(t, 5*time.Minute, int64(posts))
	p.terminate(t)
	k.check(t)
}

// killRun is the world around the process: topics, configuration, and what is to come out.
type killRun struct {
	brokers  []string
	dir      string
	weir     string // the binary
	in       string
	review   string
	dead     string
	group    string
	delivery sinks.Delivery
	admin    *kadm.Client
	client   *kgo.Client

	posts   int
	flagged map[string]string // event id → action
	broken  map[string]bool   // key of a broken message
}

func newKillRun(t *testing.T, brokers []string, delivery sinks.Delivery) *killRun {
	t.Helper()
	tag := fmt.Sprintf("kill-%d", time.Now().UnixNano())
	k := &killRun{
		brokers:  brokers,
		dir:      t.TempDir(),
		delivery: delivery,
		in:       tag + ".posts", review: tag + ".review", dead: tag + ".dead", group: tag,
		flagged: make(map[string]string), broken: make(map[string]bool),
	}
	k.weir = binary(t)
	var err error
	if k.client, err = kgo.NewClient(kgo.SeedBrokers(k.brokers...), kgo.RecordPartitioner(kgo.StickyKeyPartitioner(nil))); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(k.client.Close)
	k.admin = kadm.NewClient(k.client)
	if _, err := k.admin.CreateTopics(t.Context(), 4, -1, nil, k.in, k.review, k.dead); err != nil {
		t.Fatal(err)
	}
	write := func(name, text string) {
		path := filepath.Join(k.dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("rules/insult.yaml", killPack)
	write("weir.yaml", fmt.Sprintf(`
source: %s
kafka:
  brokers: ["%s"]
input: {group: %s, posts: %s, session_timeout: 6s, rebalance_timeout: 6s, drain_timeout: 2s}
output: {review: %s, deadletter: %s, delivery: %s}
rules: {dir: rules, breaker: {enabled: false}} # so many posts are flagged that rules would trip
evidence: {dir: evidence}
`, tag, strings.Join(k.brokers, `", "`), k.group, k.in, k.review, k.dead, delivery))
	return k
}

// binary returns the path of the daemon as it is shipped, which the first that asks builds for all.
// A short run does without: the race detector sees nothing of another process.
func binary(t testing.TB) string {
	t.Helper()
	if testing.Short() {
		t.Skip("runs the daemon as it is shipped; not with -short")
	}
	path, err := built()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

var built = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "weir-built-")
	if err != nil {
		return "", err
	}
	atEnd = append(atEnd, func() error { return os.RemoveAll(dir) })
	path := filepath.Join(dir, "weir")
	if out, err := exec.Command("go", "build", "-o", path, ".").CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build: %w\n%s", err, out)
	}
	return path, nil
})

// produce writes n posts, every 500th of them broken, and works out by itself
// what each must come to.
func (k *killRun) produce(t *testing.T, n int) {
	t.Helper()
	k.posts = n
	cfg, err := config.Load(filepath.Join(k.dir, "weir.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	set, err := app.LoadRules(&cfg.Rules)
	if err != nil {
		t.Fatal(err)
	}
	texts := realTexts(t)
	judge := pipeline.NewJudge(event.DefaultConfig())
	var e event.Event
	var produced error
	for i := range n {
		id := "e" + strconv.Itoa(i)
		value, err := json.Marshal(map[string]any{
			"id": id, "time": "2026-03-01T12:00:00Z", "user": map[string]any{"id": "u" + strconv.Itoa(i%997)},
			"operation": "post.create", "fields": map[string]string{"text": texts[i%len(texts)]},
		})
		if err != nil {
			t.Fatal(err)
		}
		key := []byte("u" + strconv.Itoa(i%997))
		if i%500 == 499 {
			value, key = value[:len(value)/2], []byte("broken-"+id)
			k.broken[string(key)] = true
		} else {
			v, err := judge.Judge(set, event.Post, nil, value, &e)
			if err != nil {
				t.Fatal(err)
			}
			if v.Action != rules.Pass {
				k.flagged[id] = v.Action.String()
			}
			judge.Reset()
		}
		k.client.Produce(t.Context(), &kgo.Record{Topic: k.in, Key: key, Value: value}, func(_ *kgo.Record, err error) {
			if err != nil {
				produced = err
			}
		})
	}
	if err := errors.Join(k.client.Flush(t.Context()), produced); err != nil {
		t.Fatal(err)
	}
	t.Logf("%d posts, %d to be flagged, %d broken", n, len(k.flagged), len(k.broken))
	if len(k.flagged) < n/200 || len(k.flagged) > n/2 {
		t.Fatalf("%d of %d posts are to be flagged: the test would show little", len(k.flagged), n)
	}
}

// realTexts returns real posts where they are at hand, else made-up ones.
func realTexts(t *testing.T) []string {
	t.Helper()
	dir := os.Getenv("WEIR_TEST_DATA")
	if dir == "" {
		dir = filepath.Join("..", "..", "..", "shared", "data")
	}
	src, err := os.ReadFile(filepath.Join(dir, "posts_mixed.txt"))
	if err != nil {
		t.Logf("no real posts (%v); using made-up ones", err)
		plain := []string{"今天天气很好", "good morning", "nothing to see", "晚饭吃什么", "train is late"}
		words := append([]string{"我们", "北京", "新闻"}, plain...) // three of eight are flagged
		var texts []string
		for i := range 500 {
			texts = append(texts, fmt.Sprintf("%s %d %s", words[i%len(words)], i, plain[i/len(words)%len(plain)]))
		}
		return texts
	}
	return strings.Split(strings.TrimSpace(string(src)), "\n")
}

// life is one life of the process.
type life struct {
	k      *killRun
	cmd    *exec.Cmd
	exited chan error
	log    *lockedBuffer
	status *lockedBuffer
}

// lockedBuffer is a buffer that a process or another goroutine writes and the test reads.
type lockedBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (b *lockedBuffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.Write(p)
}

func (b *lockedBuffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.b.String()
}

func (k *killRun) start(t testing.TB) *life {
	t.Helper()
	p := &life{k: k, exited: make(chan error, 1), log: new(lockedBuffer), status: new(lockedBuffer)}
	p.cmd = exec.Command(k.weir, "run", "--config", filepath.Join(k.dir, "weir.yaml"), "--listen", "127.0.0.1:0")
	p.cmd.Stdout, p.cmd.Stderr = p.status, p.log
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	go func() { p.exited <- p.cmd.Wait() }()
	t.Cleanup(func() { _ = p.cmd.Process.Kill() })
	return p
}

// waitFor waits until the group has committed so many offsets, or for a time.
func (p *life) waitFor(t *testing.T, d time.Duration, offsets int64) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), d)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case err := <-p.exited:
			t.Fatalf("weir ended by itself: %v\n%s", err, p.log)
		case <-ctx.Done():
			if offsets >= 0 {
				t.Fatalf("%d of %d offsets committed after %v\n%s", p.k.committed(t), offsets, d, p.log)
			}
			return
		case <-tick.C:
			if offsets >= 0 && p.k.committed(t) >= offsets {
				return
			}
		}
	}
}

// forget has the group let go of its members, all of whom are dead. The embedded broker
// never misses one that died while it waited to join: its partitions would be nobody's.
func (k *killRun) forget(t *testing.T) {
	t.Helper()
	groups, err := k.admin.DescribeGroups(t.Context(), k.group)
	if err != nil {
		t.Fatal(err)
	}
	leave := kmsg.NewPtrLeaveGroupRequest()
	leave.Group = k.group
	for _, m := range groups[k.group].Members {
		x := kmsg.NewLeaveGroupRequestMember()
		x.MemberID = m.MemberID
		leave.Members = append(leave.Members, x)
	}
	if _, err := leave.RequestWith(t.Context(), k.client); err != nil {
		t.Fatal(err)
	}
}

func (p *life) kill(t *testing.T) {
	t.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if err := <-p.exited; err == nil {
		t.Fatal("weir ended by itself just before it was killed")
	}
}

func (p *life) terminate(t *testing.T) {
	t.Helper()
	// Its last batch may have been committed by the life before, and until the first line it does not
	// listen to signals.
	for deadline := time.Now().Add(time.Minute); p.status.String() == "" && time.Now().Before(deadline); {
		time.Sleep(10 * time.Millisecond)
	}
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	select {
	case err := <-p.exited:
		if err != nil {
			t.Fatalf("weir ended with %v after SIGTERM\n%s", err, p.log)
		}
	case <-time.After(30 * time.Second):
		t.Fatalf("weir did not end after SIGTERM\n%s", p.log)
	}
}

func (k *killRun) committed(t *testing.T) int64 {
	t.Helper()
	offsets, err := k.admin.FetchOffsets(t.Context(), k.group)
	if err != nil {
		return 0 // the coordinator may be busy with the death of a member
	}
	var sum int64
	offsets.Each(func(o kadm.OffsetResponse) { sum += max(0, o.At) })
	return sum
}

// check compares what came out with what had to.
func (k *killRun) check(t *testing.T) {
	t.Helper()
	// Reviewers: one id per flagged event, and it says what we expect.
	seen := make(map[string]string) // ce_id → event id
	byEvent := make(map[string]int)
	repeats := 0
	for _, r := range k.read(t, k.review) {
		var m struct {
			EventID string `json:"event_id"`
			Action  string `json:"action"`
		}
		if err := json.Unmarshal(r.Value, &m); err != nil {
			t.Fatal(err)
		}
		id := header(r, "ce_id")
		if _, ok := seen[id]; ok {
			repeats++
			continue
		}
		seen[id] = m.EventID
		byEvent[m.EventID]++
		if want := k.flagged[m.EventID]; want != m.Action {
			t.Errorf("event %s: action %q, want %q", m.EventID, m.Action, want)
		}
	}
	for id := range k.flagged {
		if byEvent[id] != 1 {
			t.Errorf("event %s has %d outcomes on the review topic, want 1", id, byEvent[id])
		}
	}
	dead := make(map[string]int)
	ids := make(map[string]bool)
	for _, r := range k.read(t, k.dead) {
		if id := header(r, "weir-id"); !ids[id] {
			ids[id] = true
			dead[string(r.Key)]++
		}
	}
	for key := range k.broken {
		if dead[key] != 1 {
			t.Errorf("broken message %s has %d dead letters, want 1", key, dead[key])
		}
	}
	if len(byEvent) != len(k.flagged) || len(dead) != len(k.broken) {
		t.Errorf("%d flagged and %d dead, want %d and %d", len(byEvent), len(dead), len(k.flagged), len(k.broken))
	}

	report, err := evidence.Verify(filepath.Join(k.dir, "evidence"), evidence.VerifyOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if !report.OK() {
		t.Errorf("evidence does not verify: %v", report.Findings)
	}
	k.ledger(t)
	t.Logf("%d items on the review topic were repeated and dropped by id", repeats)
	if k.delivery == sinks.ExactlyOnce && repeats > 0 {
		t.Errorf("%d items on the review topic are there twice", repeats)
	}
}

// ledger checks by its own arithmetic that the coverage in the evidence
// accounts for every offset exactly once after repetitions are dropped.
func (k *killRun) ledger(t *testing.T) {
	t.Helper()
	covered := make(map[string]bool)
	err := evidencetest.Walk(filepath.Join(k.dir, "evidence"), func(e evidence.Entry) error {
		if e.Kind != evidence.KindCoverage {
			return nil
		}
		var body evidence.CoverageBody
		if err := json.Unmarshal(e.Body, &body); err != nil {
			return err
		}
		for _, c := range body.Ranges {
			if c.Fetched != c.Passed+c.Flagged+c.DeadLettered+c.Skipped {
				t.Errorf("account does not balance: %+v", c)
			}
			for o := c.First; o < c.Next; o++ {
				covered[fmt.Sprint(c.Partition, "/", o)] = true
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(covered) != k.posts {
		t.Errorf("coverage accounts for %d messages, want %d", len(covered), k.posts)
	}
	r := k.runLedger(t, exitFine, filepath.Join(k.dir, "weir.yaml"), k.dir)
	if r.Never != 0 || r.Once+r.Repeated != int64(k.posts) {
		t.Errorf("weir ledger: %d offsets once, %d repeated, %d never; want each of %d", r.Once, r.Repeated, r.Never, k.posts)
	}
	k.recount(t, r, k.dir)
	t.Logf("%d offsets were judged more than once", r.Repeated)
}

// read returns what a topic holds for who reads committed messages, all of it.
func (k *killRun) read(t *testing.T, topic string) []*kgo.Record {
	t.Helper()
	ends, err := k.admin.ListEndOffsets(t.Context(), topic)
	if err != nil {
		t.Fatal(err)
	}
	left := make(map[int32]int64) // where partitions end that were not read to there
	ends.Each(func(o kadm.ListedOffset) {
		if o.Offset > 0 {
			left[o.Partition] = o.Offset
		}
	})
	c, err := kgo.NewClient(kgo.SeedBrokers(k.brokers...), kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.KeepControlRecords()) // what ends a transaction is the last in the log
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var list []*kgo.Record
	for len(left) > 0 {
		f := c.PollFetches(ctx)
		if err := f.Err(); err != nil {
			t.Fatal(err)
		}
		f.EachRecord(func(r *kgo.Record) {
			if !r.Attrs.IsControl() {
				list = append(list, r)
			}
			if r.Offset+1 >= left[r.Partition] {
				delete(left, r.Partition)
			}
		})
	}
	return list
}

func header(r *kgo.Record, key string) string {
	for _, h := range r.Headers {
		if h.Key == key {
			return string(h.Value)
		}
	}
	return ""
}

// SIGHUP takes up changed rules, keeps the old ones where the new are broken,
// and says so; SIGTERM ends an idle daemon in order.
func TestHangupReloads(t *testing.T) {
	t.Parallel()
	k := newKillRun(t, embeddedBroker(t).ListenAddrs(), sinks.AtLeastOnce)
	p := k.start(t)
	before := p.metric(t, `weir_ruleset_info{digest="`, "")

	rules := filepath.Join(k.dir, "rules", "insult.yaml")
	if err := os.WriteFile(rules, []byte(killPack+"    except: [北京时间]\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	p.hangup(t)
	after := p.metric(t, `weir_ruleset_info{digest="`, before)

	if err := os.WriteFile(rules, []byte("pack: insult\nrules: 7\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	p.hangup(t)
	p.metric(t, "weir_ruleset_last_load_successful 0", "")
	if still := p.metric(t, `weir_ruleset_info{digest="`, ""); still != after {
		t.Errorf("in force is %s after a broken reload, want %s", still, after)
	}
	if log := p.log.String(); !strings.Contains(log, "insult.yaml:2:8") {
		t.Errorf("the log does not say where the pack is broken: %s", log)
	}
	p.terminate(t)
}

func (p *life) hangup(t *testing.T) {
	t.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGHUP); err != nil {
		t.Fatal(err)
	}
}

// metric waits until the metrics have a line that begins so and is not the given one.
func (p *life) metric(t *testing.T, prefix, not string) string {
	t.Helper()
	address := regexp.MustCompile(`http://[0-9.:]+`)
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		url := address.FindString(p.status.String())
		if url == "" {
			continue // not up yet
		}
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url+"/metrics", nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			continue
		}
		body, err := io.ReadAll(resp.Body)
		if err := errors.Join(err, resp.Body.Close()); err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(body)) {
			if strings.HasPrefix(line, prefix) && line != not {
				return line
			}
		}
	}
	t.Fatalf("no metric %s\n%s", prefix, p.log)
	return ""
}

// Whoever reads a line at a time sees the limit of a line, not of memory.
func TestLineReaderKeepsLittleOfALongLine(t *testing.T) {
	in := strings.NewReader("short\n" + strings.Repeat("x", 1<<20) + "\nlast")
	l := lineReader{r: bufio.NewReaderSize(in, 16), limit: 100}
	var lengths []int
	for {
		line, err := l.next()
		if err != nil {
			break
		}
		lengths = append(lengths, len(line))
	}
	if fmt.Sprint(lengths) != "[5 102 4]" {
		t.Errorf("line lengths %v, want [5 102 4]", lengths)
	}
}

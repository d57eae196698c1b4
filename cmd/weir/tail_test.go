package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-moderation/weir/internal/app"
	"github.com/weir-moderation/weir/internal/kafka"
	"github.com/weir-moderation/weir/internal/kafka/produce"
	"github.com/weir-moderation/weir/pipeline"
	"github.com/weir-moderation/weir/pipeline/event"
	"github.com/weir-moderation/weir/pipeline/push"
	"github.com/weir-moderation/weir/rules"
	"github.com/weir-moderation/weir/sinks"
)

// flows is a cluster, an embedded one or the one that WEIR_TEST_KAFKA names, with topics
// that nobody else uses, and a daemon's configuration.
type flows struct {
	t       *testing.T
	name    string
	config  string // its path
	brokers []string
	client  *kgo.Client
	sink    *sinks.Kafka
	set     *rules.Set
}

func newFlows(t *testing.T) *flows {
	t.Helper()
	f := &flows{t: t, name: fmt.Sprintf("tail-%016x", rand.Int64())}
	f.brokers, _ = testBrokers(t)
	var err error
	if f.client, err = kgo.NewClient(kgo.SeedBrokers(f.brokers...), kgo.RecordPartitioner(kgo.ManualPartitioner())); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(f.client.Close)
	var topics []string
	for _, what := range []string{"review", "decisions", "cleared", "deferred", "deadletter"} {
		topics = append(topics, f.topic(what))
	}
	if _, err := kadm.NewClient(f.client).CreateTopics(f.context(), 2, 1, nil, topics...); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	write := func(name, text string) string {
		t.Helper()
		path := filepath.Join(dir, name)
		if err := errors.Join(os.MkdirAll(filepath.Dir(path), 0o700), os.WriteFile(path, []byte(text), 0o600)); err != nil {
			t.Fatal(err)
		}
		return path
	}
	write("pseudonym.key", strings.Repeat("k", 32))
	write("packs/a.yaml", `pack: a
rules:
  - {id: a.bet, category: gambling, severity: high, action: reject, state: live, terms: [赌博]}
  - {id: a.drug, category: drugs, severity: critical, action: review, state: live, terms: [冰毒]}
`)
	f.config = write("weir.yaml", fmt.Sprintf(`
kafka: {brokers: ["%[2]s"]}
input: {posts: %[1]s.posts, pushes: %[1]s.pushes}
output: {review: %[1]s.review, decisions: %[1]s.decisions, cleared: %[1]s.cleared, deferred: %[1]s.deferred, deadletter: %[1]s.deadletter}
push: {pseudonym_key_file: pseudonym.key}
`, f.name, strings.Join(f.brokers, `", "`)))
	open, err := app.OpenRules(&rules.Config{Dir: filepath.Join(dir, "packs")})
	if err != nil {
		t.Fatal(err)
	}
	f.set = open.Set
	cfg, err := loadConfig(f.config)
	if err != nil {
		t.Fatal(err)
	}
	client, err := kafka.NewClient(cfg.Kafka, kafka.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := client.Close(); err != nil {
			t.Error(err)
		}
	})
	f.sink = &sinks.Kafka{Config: cfg.Output, Producer: client.NewProducer(produce.Options{Topics: topics}), Origin: "weir/test"}
	return f
}

func (f *flows) topic(what string) string { return f.name + "." + what }

func (f *flows) context() context.Context {
	ctx, cancel := context.WithTimeout(f.t.Context(), 30*time.Second)
	f.t.Cleanup(cancel)
	return ctx
}

// judged writes a verdict as the daemon does.
func (f *flows) judged(offset int64, kind event.Kind, message string, d *push.Decision) {
	f.t.Helper()
	var e event.Event
	v, err := pipeline.NewJudge(event.DefaultConfig()).Judge(f.set, kind, nil, []byte(message), &e)
	if err != nil {
		f.t.Fatal(err)
	}
	v.ID = pipeline.NewID("test", "t", 0, offset, "verdict", 0, "rules")
	v.Origin = pipeline.Origin{Source: "test", Topic: f.topic("posts")}
	v.Record = &pipeline.Record{Offset: offset, Key: e.User.ID, Value: []byte(message), Time: time.UnixMilli(1)}
	if v.Decision = d; d != nil && v.Reason == pipeline.ReasonNone {
		v.Reason = pipeline.Reason(d.Reason)
	}
	if err := f.sink.Write(f.context(), &pipeline.Output{Verdicts: []pipeline.Verdict{v}}); err != nil {
		f.t.Fatal(err)
	}
}

// put writes a message that Weir has not written, for reviewers.
func (f *flows) put(partition int32, at time.Time, value string) {
	f.t.Helper()
	r := &kgo.Record{Topic: f.topic("review"), Partition: partition, Value: []byte(value), Timestamp: at}
	if err := f.client.ProduceSync(f.context(), r).FirstErr(); err != nil {
		f.t.Fatal(err)
	}
}

// tail runs the verb on what is there, with other names for what differs from run to run.
func (f *flows) tail(flags ...string) (out, said string) {
	f.t.Helper()
	out, said = weir(f.t, "", append([]string{"tail", "--config", f.config, "--from", "beginning", "--no-follow"}, flags...)...)
	return f.scrub(out), f.scrub(said)
}

var tailTime = regexp.MustCompile(`\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z`)

func (f *flows) scrub(text string) string {
	return strings.ReplaceAll(tailTime.ReplaceAllString(text, "TIME"), f.name, "NAME")
}

const (
	betting = `{"id":"p1","time":"2026-11-29T00:00:00Z","user":{"id":"secret-user"},"fields":{"title":"hi","text":"来赌博吧\u001b[2J\u202e赌博 and no more"}}`
	drugged = `{"id":"p2","time":"2026-11-29T00:00:00Z","user":{"id":"other-user"},"fields":{"text":"冰毒"}}`
	shopped = `{"id":"x1","time":"2026-11-29T00:00:00Z","user":{"id":"secret-user"},"fields":{"title":"sale","text":"buy"},"class":"marketing","channel":"app","campaign":"c1"}`
)

// everything writes some of each.
func (f *flows) everything() *flows {
	f.t.Helper()
	f.judged(1, event.Post, betting, nil)
	f.judged(2, event.Post, drugged, nil)
	f.judged(3, event.Push, shopped, &push.Decision{Decision: push.Allow, Reason: push.ReasonNone, Mark: "abc"})
	f.judged(4, event.Push, shopped, &push.Decision{Decision: push.Defer, Reason: push.ReasonQuietHours, Release: time.Unix(1, 0), NotBefore: time.Unix(1, 0)})
	f.judged(5, event.Push, shopped, &push.Decision{Decision: push.Deny, Reason: push.ReasonNoConsent})
	letter := deadLetterOf(sinks.Place{Topic: "weir.posts", Partition: 0, Offset: 6}, pipeline.StageDecode, "syntax", &pipeline.Record{Key: []byte("secret-user"), Value: []byte("no \x1b[31m json")})
	if err := f.sink.Write(f.context(), &pipeline.Output{DeadLetters: []pipeline.DeadLetter{letter}}); err != nil {
		f.t.Fatal(err)
	}
	return f
}

// What flows on each topic is a line each, as it is in testdata/tail: masked, with content,
// and as JSON. Nobody's id is in any of it, and nothing that steers a terminal.
func TestTailLines(t *testing.T) {
	f := newFlows(t).everything()
	for _, what := range []string{"review", "decisions", "cleared", "deferred", "deadletter"} {
		t.Run(what, func(t *testing.T) {
			var all strings.Builder
			for _, flags := range [][]string{nil, {"--show-content"}, {"--json"}, {"--json", "--show-content"}} {
				out, said := f.tail(append([]string{what}, flags...)...)
				if said != "" {
					t.Errorf("%q said %s", flags, said)
				}
				if content := len(flags) > 0 && flags[len(flags)-1] == "--show-content"; !content && (strings.Contains(out, "赌博") || strings.Contains(out, "json\"") || strings.Contains(out, "sale")) {
					t.Errorf("%q shows what a user wrote: %s", flags, out)
				}
				for _, bad := range []string{"secret-user", "other-user", "\x1b", "\u202e"} {
					if strings.Contains(out, bad) {
						t.Errorf("%q has %q: %s", flags, bad, out)
					}
				}
				fmt.Fprintf(&all, "$ weir tail %s\n%s\n", strings.Join(append([]string{what}, flags...), " "), out)
			}
			file := filepath.Join("testdata", "tail", what+".txt")
			if *update {
				if err := os.WriteFile(file, []byte(all.String()), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), all.String()); diff != "" {
				t.Errorf("-want +tailed:\n%s", diff)
			}
		})
	}
}

// Filters leave what is asked for; the user is asked for by the pseudonym that evidence has.
func TestTailFilters(t *testing.T) {
	f := newFlows(t).everything()
	lines := func(flags ...string) int {
		t.Helper()
		out, _ := f.tail(flags...)
		return strings.Count(out, "\n")
	}
	cfg, err := loadConfig(f.config)
	if err != nil {
		t.Fatal(err)
	}
	store, err := push.NewStore(push.Options{Config: cfg.Push})
	if err != nil {
		t.Fatal(err)
	}
	name, _ := store.Pseudonym([]byte("secret-user"))
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		flags []string
		want  int
	}{
		{[]string{"review"}, 2},
		{[]string{"review", "--category", "gambling"}, 1},
		{[]string{"review", "--category", "gambling", "--category", "drugs"}, 2},
		{[]string{"review", "--category", "drugs", "--rule", "a.bet"}, 0},
		{[]string{"decisions"}, 5},
		{[]string{"decisions", "--rule", "a.drug"}, 1},
		{[]string{"decisions", "--reason", "quiet-hours", "--reason", "no-consent"}, 2},
		{[]string{"decisions", "--user=" + name}, 4},
		{[]string{"decisions", "--user=" + name, "--reason", "no-consent"}, 1},
		{[]string{"cleared", "--user=" + name}, 1},
		{[]string{"cleared", "--user", "nobody"}, 0},
		{[]string{"deadletter", "--reason", "syntax"}, 1},
		{[]string{"deadletter", "--reason", "panic"}, 0},
		{[]string{"decisions", "--count", "3"}, 3},
	} {
		if got := lines(c.flags...); got != c.want {
			t.Errorf("%q: %d lines, want %d", c.flags, got, c.want)
		}
	}
}

// What cannot mean anything is refused before anybody is asked.
func TestTailMisuse(t *testing.T) {
	for want, args := range map[string][]string{
		"where is the topic? give --config, or --brokers":                       {"review"},
		`--reason: "x" is none`:                                                 {"review", "--brokers", "127.0.0.1:1", "--reason", "x"},
		"messages of cleared do not say which rules hit":                        {"cleared", "--brokers", "127.0.0.1:1", "--rule", "x"},
		`"soon" is none; use end, beginning, a time`:                            {"review", "--brokers", "127.0.0.1:1", "--from", "soon"},
		"--count: -1; use 1 or more":                                            {"review", "--brokers", "127.0.0.1:1", "--count=-1"},
		"--user: there is no key of pseudonyms":                                 {"review", "--brokers", "127.0.0.1:1", "--user", "x"},
		`must be one of "review","decisions","cleared","deferred","deadletter"`: {"posts", "--brokers", "127.0.0.1:1"},
		`--topic: "/" is no name of a topic`:                                    {"review", "--brokers", "127.0.0.1:1", "--topic", "/"},
	} {
		var out, said bytes.Buffer
		if code := run(t.Context(), append([]string{"tail"}, args...), streams{strings.NewReader(""), &out, &said}); code != exitMisuse || !strings.Contains(said.String(), want) {
			t.Errorf("%q: exit code %d\n%s\nwant %s", args, code, &said, want)
		}
	}
}

// A message that is broken, or hostile, is said and ends nothing; places that are not in
// the text harm nobody.
func TestTailBroken(t *testing.T) {
	f := newFlows(t)
	now := time.Now()
	f.put(0, now, "\x1b]0;owned\x07 no json")
	f.put(0, now.Add(1*time.Millisecond), `{"kind":"post","action":"review\u009b31m","reason":"\u001b[31m","user":{"id":"u"},"queue":"\u202e","fields":[{"name":"t\u0007","text":"赌博"}],
		"hits":[{"rule":"\u001b[2J","category":"c\n","severity":"high","field":"t\u0007","start":-5,"end":99},{"rule":"r","field":"t\u0007","start":1,"end":4},{"rule":"r","field":"t\u0007","start":5,"end":2},{"rule":"r","field":"elsewhere","start":9223372036854775807,"end":3,"text":"\u001b[0m"}]}`)
	f.judged(1, event.Post, drugged, nil)
	for _, flags := range [][]string{{}, {"--show-content"}, {"--json"}, {"--json", "--show-content"}} {
		out, said := f.tail(append([]string{"review"}, flags...)...)
		if n := strings.Count(out, "\n"); n != 3 {
			t.Errorf("%q: %d lines, want 3:\n%s", flags, n, out)
		}
		if !strings.Contains(out, "it is no verdict") || !strings.Contains(out, "a.drug") {
			t.Errorf("%q: %s", flags, out)
		}
		if said != "weir: 1 message on the topic NAME.review passed over that Weir has not written, or that cannot be read\n" {
			t.Errorf("said %q", said)
		}
		for _, r := range out {
			if r < ' ' && r != '\n' || r >= 0x7f && r < 0xa0 || r == 0x202e {
				t.Fatalf("%q: %U goes to the terminal: %q", flags, r, out)
			}
		}
		for line := range strings.Lines(out) {
			if len(flags) > 0 && flags[0] == "--json" && !json.Valid([]byte(line)) {
				t.Errorf("no JSON: %s", line)
			}
		}
	}
}

// Colours mark what was hit at a terminal; what users wrote cannot make any.
func TestTailColours(t *testing.T) {
	f := &flow{Kind: "post", Action: "reject", Reason: "content", Place: "t/0/1", Fields: []flowField{{Name: "text", Bytes: 9, Text: new("a\x1b[31m赌博b")}},
		Hits: []flowHit{{Rule: "r", Category: "c", Severity: "high", Field: "text", Start: 6, End: 12, Text: new("赌博")}}}
	p := tailPrinter{palette: palette{on: true}, content: true}
	if got, want := p.line(f), "-  t/0/1  post  \x1b[31mreject\x1b[0m  content  \x1b[1mr (c, high)\x1b[0m  text \"a\\u{1B}[31m\x1b[31m赌博\x1b[0mb\"\n"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
	p.content = false
	if got, want := p.line(f), "-  t/0/1  post  \x1b[31mreject\x1b[0m  content  \x1b[1mr (c, high)\x1b[0m  text 9 bytes \x1b[31m6-12\x1b[0m\n"; got != want {
		t.Errorf("%q, want %q", got, want)
	}
}

// Of a long text only what is around the places is shown, cut at characters.
func TestTailContext(t *testing.T) {
	p := tailPrinter{content: true}
	text := strings.Repeat("长", 100) + "赌博" + strings.Repeat("尾", 100)
	if got, want := p.context(text, []textSpan{{300, 306}}), `"…`+strings.Repeat("长", 20)+"⟦赌博⟧"+strings.Repeat("尾", 20)+`…"`; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	for _, spans := range [][]textSpan{{{0, len(text) + 5}}, {{len(text) + 1, len(text) + 9}}, {{1, 2}, {3, 4}}, {{1<<62 + 1, 1 << 62}}} {
		got := p.context(text, spans)
		if len(got) > 4*maxShown || strings.ContainsRune(got, '\ufffd') {
			t.Errorf("%v: %s", spans, got)
		}
	}
	if got := spansOf([]flowHit{{Field: "x", Start: 5, End: 9}, {Field: "x", Start: 2, End: 5}, {Field: "y", Start: 0, End: 9}, {Field: "x", Start: 20, End: 21}}, "x"); !cmp.Equal(got, []textSpan{{2, 9}, {20, 21}}, cmp.AllowUnexported(textSpan{})) {
		t.Errorf("%v", got)
	}
}

// It begins where it is told to, goes on with what comes, of all partitions, and ends with
// Ctrl-C as with --count; no group has heard of it.
func TestTailFollows(t *testing.T) {
	f := newFlows(t)
	now := time.Now()
	f.put(0, now.Add(-time.Hour), "old")
	f.put(1, now.Add(-2*time.Hour), "more")
	f.put(1, now.Add(-time.Minute), "recent")
	out, _ := f.tail("review")
	if more, old, recent := strings.Index(out, "(4 bytes)"), strings.Index(out, "(3 bytes)"), strings.Index(out, "(6 bytes)"); more < 0 || more > old || old > recent {
		t.Errorf("not in the order of time:\n%s", out)
	}
	for from, want := range map[string]int{"beginning": 3, "10m": 1, now.Add(-30 * time.Minute).UTC().Format(time.RFC3339): 1, "end": 0} {
		out, _ := weir(t, "", "tail", "review", "--config", f.config, "--from", from, "--no-follow")
		if got := strings.Count(out, "\n"); got != want {
			t.Errorf("--from %s: %d lines, want %d", from, got, want)
		}
	}

	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	var shown, said lockedBuffer
	ended := make(chan int, 1)
	go func() {
		ended <- run(ctx, []string{"tail", "review", "--brokers", strings.Join(f.brokers, ","), "--topic", f.topic("review")}, streams{strings.NewReader(""), &shown, &said})
	}()
	// Messages that come before it has found the end are not shown: send until one is.
	sent := 0
	for end := time.Now().Add(30 * time.Second); shown.String() == ""; {
		if time.Now().After(end) {
			t.Fatalf("nothing is shown: %s", said.String())
		}
		f.put(int32(sent%2), time.Now(), fmt.Sprintf("m%d", sent))
		sent++
		retryPause()
	}
	f.put(0, time.Now(), "of twelve b.") // like no other
	f.put(1, time.Now(), "of twelve b.")
	for end := time.Now().Add(30 * time.Second); strings.Count(shown.String(), "(12 bytes)") < 2; retryPause() {
		if time.Now().After(end) {
			t.Fatalf("what came later is not shown:\n%s%s", shown.String(), said.String())
		}
	}
	stop()
	if code := <-ended; code != exitFine {
		t.Errorf("exit code %d: %s", code, said.String())
	}
	if strings.Contains(shown.String(), "(6 bytes)") {
		t.Error("what was there before is shown: recent")
	}
	if n := strings.Count(shown.String(), "\n"); n > sent+2 {
		t.Errorf("%d lines of %d messages", n, sent+2)
	}
	groups, err := kadm.NewClient(f.client).ListGroups(f.context())
	if err != nil {
		t.Fatal(err)
	}
	for name := range groups {
		if strings.Contains(name, f.name) || name == "weir" && os.Getenv("WEIR_TEST_KAFKA") == "" {
			t.Errorf("there is a group %s", name)
		}
	}
}

// retryPause is the time between two looks at something that has no channel to wait on.
func retryPause() { <-time.After(20 * time.Millisecond) }

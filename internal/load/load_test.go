package load

import (
	"bytes"
	"fmt"
	"hash/maphash"
	"io/fs"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weir-moderation/weir/configs"
	"github.com/weir-moderation/weir/internal/kafka"
	"github.com/weir-moderation/weir/pipeline"
	"github.com/weir-moderation/weir/pipeline/event"
	"github.com/weir-moderation/weir/rules"
	"github.com/weir-moderation/weir/sinks"
)

func starterSet(t *testing.T) *rules.Set {
	t.Helper()
	src, err := configs.FS.ReadFile("categories.yaml")
	if err != nil {
		t.Fatal(err)
	}
	register, err := rules.ParseRegister("categories.yaml", src)
	if err != nil {
		t.Fatal(err)
	}
	packs, err := fs.Sub(configs.FS, "rules")
	if err != nil {
		t.Fatal(err)
	}
	set, err := rules.Load(packs, register, rules.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return set
}

func testMix(seed uint64) Mix {
	return Mix{Seed: seed, Posts: true, Pushes: 0.25, Hits: 0.1, Evasions: 0.5, Users: 1000}
}

// drawn returns the first messages of a deck under one id and time.
func drawn(d *deck, n int) []string {
	var list []string
	for range n {
		c, user := d.draw()
		list = append(list, string(c.message([]byte("id"), time.Unix(0, 0), user)))
	}
	return list
}

// The same seed makes the same messages of the same users in the same order, another
// seed others.
func TestSeedMakesTheSameMessages(t *testing.T) {
	set := starterSet(t)
	deal := func(seed uint64) []string {
		d, err := makeDeck(testMix(seed), set, event.DefaultConfig())
		if err != nil {
			t.Fatal(err)
		}
		return drawn(d, 5000)
	}
	first := deal(7)
	if diff := cmp.Diff(first, deal(7)); diff != "" {
		t.Errorf("from the same seed:\n%s", diff)
	}
	if slices.Equal(first, deal(8)) {
		t.Error("another seed makes the same messages")
	}
}

// What is made up is as it was asked for: kinds, hits and hot users in their shares, more
// than one language, evasions; and the rules flag what is marked as flagged and nothing else.
func TestMixIsAsAsked(t *testing.T) {
	set := starterSet(t)
	d, err := makeDeck(testMix(1), set, event.DefaultConfig())
	if err != nil {
		t.Fatal(err)
	}
	const n = 20_000
	judge := pipeline.NewJudge(event.DefaultConfig())
	var pushes, planted, flagged, han, latin int
	users := make(map[string]int)
	sizes := make([]int, 0, n)
	for i := range n {
		c, user := d.draw()
		value := c.message(newName("0a").id(number{c.kind, int64(i)}, 1), time.Now(), user)
		var e event.Event
		v, err := judge.Judge(set, c.kind, nil, value, &e)
		if err != nil {
			t.Fatalf("%v: %s", err, value)
		}
		if (v.Action != rules.Pass) != c.flagged {
			t.Fatalf("marked as flagged %t, judged %s: %s", c.flagged, v.Action, value)
		}
		if string(e.User.ID) != user {
			t.Fatalf("the user is %s, the key %s", e.User.ID, user)
		}
		users[user]++
		sizes = append(sizes, len(value))
		text := string(e.Fields[len(e.Fields)-1].Text)
		if strings.ContainsFunc(text, func(r rune) bool { return r >= 0x4e00 && r < 0xa000 }) {
			han++
		}
		if strings.ContainsFunc(text, func(r rune) bool { return r >= 'a' && r <= 'z' }) {
			latin++
		}
		if c.kind == event.Push {
			pushes++
		}
		if c.planted {
			planted++
		}
		if c.flagged {
			flagged++
		}
		judge.Reset()
	}
	within := func(what string, got int, low, high float64) {
		t.Helper()
		if share := float64(got) / n; share < low || share > high {
			t.Errorf("%s: %.3f of the messages, want %.3f to %.3f", what, share, low, high)
		}
	}
	within("pushes", pushes, 0.23, 0.27)
	within("planted", planted, 0.09, 0.11)
	within("flagged", flagged, 0.05, 0.11)
	within("Chinese", han, 0.4, 0.9)
	within("Latin letters", latin, 0.4, 0.9)
	hottest := 0
	for _, k := range users {
		hottest = max(hottest, k)
	}
	within("of the hottest user", hottest, 0.01, 0.2)
	if len(users) < 500 {
		t.Errorf("%d users only", len(users))
	}
	slices.Sort(sizes)
	t.Logf("%d to %d bytes, half of them up to %d; %d of %d planted are flagged", sizes[0], sizes[n-1], sizes[n/2], flagged, planted)
	if sizes[n-1] < 2000 || sizes[n/2] > 700 {
		t.Error("lengths are not as they are found: most short, a few long")
	}
}

// Rules by which nothing can be planted, and numbers that are no share, are refused with
// what would be right.
func TestMixThatCannotBe(t *testing.T) {
	if err := (&Mix{Hits: 1.5, Users: 0}).Validate(); err == nil || !strings.Contains(err.Error(), "hits: 150 %") || !strings.Contains(err.Error(), "users: 0") {
		t.Errorf("got %v", err)
	}
	register, err := rules.ParseRegister("categories.yaml", []byte("categories:\n  - code: none\n    name: None\n    name_zh: 无\n"))
	if err != nil {
		t.Fatal(err)
	}
	set, err := rules.Load(fstest.MapFS{"none.yaml": {Data: []byte("pack: none\nrules:\n  - {id: none.x, category: none, severity: low, action: review, state: shadow, terms: [shadowed]}\n")}}, register, rules.Options{})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := makeDeck(testMix(1), set, event.DefaultConfig()); err == nil || !strings.Contains(err.Error(), "ask for no hits") {
		t.Errorf("got %v", err)
	}
}

// Percentiles are those of the sorted list, within the width of a bucket.
func TestPercentiles(t *testing.T) {
	r := rand.New(rand.NewPCG(1, 2))
	var l latency
	var list []time.Duration
	for range 100_000 {
		d := time.Duration(r.ExpFloat64() * float64(5*time.Millisecond))
		l.add(d)
		list = append(list, d)
	}
	slices.Sort(list)
	for _, p := range []float64{50, 90, 99, 99.9, 100} {
		want := list[int(p/100*float64(len(list)-1))]
		got := l.percentile(p)
		if got < want || float64(got) > float64(want)*1.016+1 {
			t.Errorf("p%v is %v, want %v", p, got, want)
		}
	}
	if (&latency{}).percentile(99) != 0 {
		t.Error("of nothing")
	}
	for _, d := range []time.Duration{0, 1, 63, 64, 65, 1000, time.Hour, 1<<62 + 12345} {
		if b := bucket(d); least(b) > d || b < len(l.counts)-1 && least(b+1) <= d && least(b+1) > 0 {
			t.Errorf("%v is counted in a bucket of %v", d, least(b))
		}
	}
}

// played is an account of some posts and pushes, with what comes out of them.
type played struct {
	a        *account
	review   *output
	decision *output
	posts    []number // flagged
	pushes   []number
}

func play(t *testing.T) *played {
	t.Helper()
	c := sinks.DefaultConfig()
	c.Decisions = "decisions"
	p := &played{a: newAccount(newName("0a"), &c)}
	p.a.begin(time.Now())
	for i := range 100 {
		p.a.add(&card{kind: event.Post}) // passes
		if i%10 == 0 {
			p.posts = append(p.posts, p.a.add(&card{kind: event.Post, planted: true, flagged: true}))
			p.pushes = append(p.pushes, p.a.add(&card{kind: event.Push}))
		}
	}
	p.review, p.decision = p.a.outputs[0], p.a.outputs[1]
	for _, x := range p.posts {
		p.come(p.review, x, "1")
		p.come(p.decision, x, "1")
	}
	for _, x := range p.pushes {
		p.come(p.decision, x, "1")
	}
	return p
}

// come has a message come out under an id.
func (p *played) come(o *output, x number, id string) {
	value := fmt.Appendf(nil, `{"id":"%s","event_id":"%s"}`, id, p.a.name.id(x, time.Millisecond))
	due := time.Millisecond
	got, at, ok := p.a.name.find(value, o.key)
	if !ok || got != x || at != due {
		panic(fmt.Sprintf("found %v at %v in %s", got, at, value))
	}
	p.a.mu.Lock()
	defer p.a.mu.Unlock()
	p.a.came(o, x, due, due, maphash.String(p.a.seed, x.String()+id))
}

func (p *played) problems(allowed int64) []string {
	var r Report
	p.a.settle(&r, allowed)
	return r.Problems
}

// An account without fault has none; one message lost, doubled, or not to be expected is
// found, and so is an event under a second id and a dead letter.
func TestAccountFindsWhatIsPlanted(t *testing.T) {
	for _, c := range []struct {
		name    string
		fault   func(p *played)
		allowed int64
		want    string // empty: no problem
	}{
		{"none", func(*played) {}, 0, ""},
		{"a flagged post lost", func(p *played) { delete(p.review.seen, p.posts[3]) }, 0, "1 events did not come on weir.review, such as post 34"},
		{"the decision of a push lost", func(p *played) { delete(p.decision.seen, p.pushes[9]) }, 0, "1 events did not come on decisions, such as push 9"},
		{"the decision of a flagged post lost", func(p *played) { delete(p.decision.seen, p.posts[0]) }, 0, "1 events did not come on decisions, such as post 1"},
		{"one came twice", func(p *played) { p.come(p.review, p.posts[2], "1") }, 0, "1 messages came more than once, 0 may"},
		{"one came twice, which it may", func(p *played) { p.come(p.review, p.posts[2], "1") }, 1, ""},
		{"a post under another id", func(p *played) { p.come(p.review, p.posts[2], "2") }, 0, "1 messages came more than once, 0 may"},
		{"a push decided once more", func(p *played) { p.come(p.decision, p.pushes[2], "2") }, 0, ""},
		{"a post that passes flagged", func(p *played) { p.come(p.review, number{event.Post, 0}, "1") }, 0, "1 events came on weir.review although the rules at hand do not flag them, such as post 0"},
		{"a dead letter", func(p *played) {
			p.a.came(p.a.outputs[len(p.a.outputs)-1], number{event.Post, 0}, 1, 1, 0)
		}, 0, "1 events became dead letters"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := play(t)
			c.fault(p)
			got := p.problems(c.allowed)
			switch {
			case c.want == "" && len(got) > 0:
				t.Errorf("problems: %q", got)
			case c.want != "" && !slices.Equal(got, []string{c.want}):
				t.Errorf("problems: %q\nwant: %q", got, c.want)
			}
		})
	}
}

// Messages of others are told from those of the run by their ids alone, and a text that
// holds such an id is not taken for one.
func TestOthersAreTold(t *testing.T) {
	p := play(t)
	p.a.take(p.review, []kafka.Record{
		{Value: []byte(`{"event_id":"load-0b-p1-1","text":"x"}`)},
		{Value: []byte(`{"event_id":"x","text":"\"event_id\":\"load-0a-p1-1\""}`)},
		{Value: []byte(`{"event_id":"load-0a-p`)},
		{Value: []byte(`{"event_id":"load-0a-"}`)},
		{Value: nil},
	})
	if p.review.others != 5 || len(p.problems(0)) > 0 {
		t.Errorf("%d messages of others, problems %q", p.review.others, p.problems(0))
	}
}

// A file is sent in its order over and over, each event as it is but for its id and time;
// what the rules flag is known, and a line that the daemon could not read is refused.
func TestFileIsLooped(t *testing.T) {
	set := starterSet(t)
	term := termsOf(set, event.Post)[0]
	text := `{"kind":"post","id":"a","time":"2026-01-01T00:00:00Z","user":{"id":"u1"},"fields":{"text":"a \u4f60 quiet day"}}

{"id":"b","time":"2026-01-01T00:00:00Z","user":{"id":"u2"},"class":"service","channel":"app","fields":{"body":"` + term + `"}}
`
	d, err := readDeck(strings.NewReader(text), set, event.DefaultConfig())
	if err != nil {
		t.Fatal(err)
	}
	if posts, pushes := d.kinds(); !posts || !pushes {
		t.Errorf("posts %t, pushes %t", posts, pushes)
	}
	first := `{"id":"id","time":"1970-01-01T00:00:00.000Z","fields":{"text":"a \u4f60 quiet day"},"kind":"post","user":{"id":"u1"}}`
	second := `{"id":"id","time":"1970-01-01T00:00:00.000Z","channel":"app","class":"service","fields":{"body":"` + term + `"},"user":{"id":"u2"}}`
	if diff := cmp.Diff([]string{first, second, first}, drawn(d, 3)); diff != "" {
		t.Error(diff)
	}
	if d.cards[0].flagged || !d.cards[1].flagged || d.cards[1].user != "u2" {
		t.Errorf("cards %+v", d.cards)
	}
	for bad, want := range map[string]string{
		"":                     "holds no message",
		"{}\n":                 "line 1: not a message that can be judged",
		text + "{\"id\":\"c\"": "line 4: ",
		`{"kind":"outcome","id":"c","time":"2026-01-01T00:00:00Z","user":{"id":"u"},"push_id":"p","result":"cancelled"}`: "a message of kind outcome",
	} {
		if _, err := readDeck(strings.NewReader(bad), set, event.DefaultConfig()); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", bad, err, want)
		}
	}
}

// CPU time and messages are read out of metrics; of an instance that was restarted
// meanwhile nothing is told, and what is no Weir is an error.
func TestUsage(t *testing.T) {
	text := func(cpu, posts, started string) string {
		return "# HELP x y\nprocess_cpu_seconds_total " + cpu + "\nprocess_start_time_seconds " + started + "\nprocess_resident_memory_bytes 5e+07\n" +
			"go_memstats_next_gc_bytes 6e+07\ngo_gc_gogc_percent 50\ngo_goroutines 33\nprocess_open_fds 44\n" +
			`weir_messages_total{outcome="passed",stream="post"} ` + posts + "\n" + `weir_messages_total{outcome="passed",stream="consent"} 99` + "\n" +
			`weir_messages_total{outcome="flagged",stream="push"} 10` + "\n"
	}
	read := func(s string) *usage {
		u, err := readUsage(strings.NewReader(s))
		if err != nil {
			t.Fatal(err)
		}
		return &u
	}
	if u := read(text("1", "1", "1")); u.heap != 4e7 || u.goroutines != 33 || u.files != 44 {
		t.Errorf("%+v", u)
	}
	before := []*usage{read(text("1.5", "100", "7")), read(text("1", "0", "8")), nil}
	after := []*usage{read(text("2.5", "1.001e+05", "7")), read(text("9", "5", "9")), read(text("1", "1", "1"))}
	want := &CPU{Instances: 1, Seconds: 1, Messages: 100_000, Micros: 10, Resident: 5e7}
	if diff := cmp.Diff(want, spent(before, after)); diff != "" {
		t.Error(diff)
	}
	if spent(before[:1], after[1:2]) != nil {
		t.Error("something is told of an instance that was restarted")
	}
	if _, err := readUsage(bytes.NewReader([]byte("up 1\n"))); err == nil {
		t.Error("metrics of another program are taken")
	}
}

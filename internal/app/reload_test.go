package app

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/weir-moderation/weir/internal/config"
	"github.com/weir-moderation/weir/pipeline"
	"github.com/weir-moderation/weir/pipeline/event"
	"github.com/weir-moderation/weir/rules"
	"github.com/weir-moderation/weir/rules/form"
	"github.com/weir-moderation/weir/sinks/evidence"
	"github.com/weir-moderation/weir/sinks/evidence/body"
	"github.com/weir-moderation/weir/sinks/evidence/evidencetest"
)

// rebuilt builds the set of an activation from its record alone, as somebody would who has nothing but
// the evidence, the binary and the list of ordinary words.
func rebuilt(t *testing.T, a activation, words *form.Words) *rules.Set {
	t.Helper()
	b, err := rules.ParseBundle([]byte(a.Bundle))
	if err != nil {
		t.Fatal(err)
	}
	packs, err := b.FS()
	if err != nil {
		t.Fatal(err)
	}
	register, err := rules.ParseRegister("categories.yaml", []byte(a.Categories))
	if err != nil {
		t.Fatal(err)
	}
	at, err := time.Parse(time.RFC3339Nano, a.LoadedAt)
	if err != nil {
		t.Fatal(err)
	}
	set, err := rules.Load(packs, register, rules.Options{MaxHits: a.MaxHits, Exclusions: a.Exclusions, Words: words, Now: at})
	if err != nil {
		t.Fatal(err)
	}
	if set, err = set.Shadowed(a.InShadow); err != nil {
		t.Fatal(err)
	}
	return set
}

// swapped are the terms of the sets that a test swaps: each set looks for one of its own and for some
// that others look for, too, under other actions.
var swapped = []string{"甲号词", "乙号词", "丙号词", "丁号词"}

func swapping(i int) string {
	var b strings.Builder
	b.WriteString("pack: gambling\nrules:\n")
	for j, term := range swapped {
		if j == (i+1)%len(swapped) {
			continue // not in this set
		}
		action, state := "review", "live"
		if j == i {
			action = "reject"
		}
		if j == (i+2)%len(swapped) {
			state = "shadow"
		}
		fmt.Fprintf(&b, "  - {id: gambling.r%d, category: gambling, severity: low, action: %s, state: %s, terms: [%s], except: [反%s]}\n", j, action, state, term, term)
	}
	return b.String()
}

// load is what a test judges while rules are swapped: posts, and what was known when each was judged.
type load struct {
	posts  []string
	before []int64 // size of the log when the batch of the post began
	after  []int64 // and when it was done
}

// While rules are swapped as fast as they can be read, under a load that leaves no processor idle,
// nothing is lost and nothing is misjudged: every verdict names a set that was in force while its batch
// was judged and that was on record before; and the set that is built anew from that record says the
// same of the post, as it does of every post that left no verdict.
func TestReloadUnderLoad(t *testing.T) {
	batches, size, swaps := 400, 25, 150
	if testing.Short() {
		batches, swaps = 40, 15
	}
	files := make(map[string]string)
	for i := range swapped {
		files[fmt.Sprintf("v%d/gambling.yaml", i)] = swapping(i)
	}
	version := func(i int) func(*config.Config) {
		return func(c *config.Config) {
			c.Rules.Dir = filepath.Join(strings.TrimSuffix(c.Rules.Dir, filepath.Base(c.Rules.Dir)), fmt.Sprintf("v%d", i))
		}
	}
	d := newDesk(t, files, func(c *config.Config) { c.Rules.Dir += "/v0" })
	began := len(d.activations())

	// Two judge, as two partitions would, and go on until all swaps are done.
	workers := max(2, runtime.GOMAXPROCS(0))
	loads := make([]load, workers)
	done := make(chan struct{})
	var judges sync.WaitGroup
	for w := range workers {
		judges.Go(func() {
			r := rand.New(rand.NewPCG(7, uint64(w)))
			l := &loads[w]
			for n := 0; ; n++ {
				select {
				case <-done:
					if n >= batches {
						return
					}
				default:
				}
				b := &pipeline.Batch{Kind: event.Post, Topic: "posts", Partition: int32(w), First: int64(len(l.posts))}
				for range size {
					value := fmt.Sprintf(`{"id":"p%d-%d","time":"2026-01-02T03:04:05Z","user":{"id":"u%d"},"fields":{"text":%q}}`, w, len(l.posts), r.IntN(9), text(r))
					b.Records = append(b.Records, pipeline.Record{Offset: int64(len(l.posts)), Time: time.Unix(1_700_000_000, 0), Value: []byte(value)})
					l.posts = append(l.posts, value)
				}
				b.Next = int64(len(l.posts))
				before := d.evidence.Size()
				if err := d.pipeline.Handle(t.Context(), b); err != nil {
					t.Error(err)
					return
				}
				if err := d.pipeline.Checkpoint(t.Context(), []pipeline.Range{{Topic: "posts", Partition: int32(w), First: b.First, Next: b.Next}}); err != nil {
					t.Error(err)
					return
				}
				after := d.evidence.Size()
				for range size {
					l.before, l.after = append(l.before, before), append(l.after, after)
				}
			}
		})
	}
	r := rand.New(rand.NewPCG(8, 8))
	for range swaps {
		d.config(version(r.IntN(len(swapped))), nil)
		if err := d.reload(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	close(done)
	judges.Wait()

	words, _, err := loadWords(filepath.Join(d.dir, "words.txt"))
	if err != nil {
		t.Fatal(err)
	}
	activations := d.activations()
	if len(activations) != began+swaps {
		t.Fatalf("%d activations on record, want %d", len(activations), began+swaps)
	}
	sets := make(map[string]*rules.Set) // by digest
	for _, a := range activations {
		if sets[a.Rules] == nil {
			sets[a.Rules] = rebuilt(t, a, words)
			if got := sets[a.Rules].Digest(); got != a.Rules {
				t.Fatalf("the set on record as %.12s is %.12s when it is built anew", a.Rules, got)
			}
		}
	}
	if len(sets) != len(swapped) {
		t.Fatalf("%d sets were in force, want %d", len(sets), len(swapped))
	}
	// inForce reports whether a digest can have been in force while the log grew from one size to another:
	// its activation is one of those that were on record at the end, the last two on record at the
	// beginning (the last one may not have been in force yet) or one of those that came between.
	inForce := func(digest string, before, after int64) bool {
		n := 0 // activations on record at the beginning
		for n < len(activations) && activations[n].index < before {
			n++
		}
		for _, a := range activations[max(0, n-2):] {
			if a.index < after && a.Rules == digest {
				return true
			}
		}
		return false
	}

	judge := pipeline.NewJudge(event.DefaultConfig())
	type hitBody struct {
		Rules    string `json:"rules"`
		Action   string `json:"action"`
		Reason   string `json:"reason"`
		Hits     []pipeline.HitReport
		Original struct {
			Value []byte `json:"value"`
		} `json:"original"`
		Origin struct {
			Partition int   `json:"partition"`
			Offset    int64 `json:"offset"`
		} `json:"origin"`
	}
	again := func(digest, value string) pipeline.Report {
		var e event.Event
		v, err := judge.Judge(sets[digest], event.Post, nil, []byte(value), &e)
		if err != nil {
			t.Fatal(err)
		}
		return v.Report()
	}
	verdicts := make(map[string]string) // partition/offset: digest
	ranges := 0
	covered := make(map[string]bool)
	changes := 0 // of the set between one batch of a partition and the next
	last := make(map[int]string)
	err = evidencetest.Walk(filepath.Join(d.dir, "evidence"), func(e evidence.Entry) error {
		switch e.Kind {
		case evidence.KindHit:
			text, err := body.JSON(e.Kind, e.Encoding, e.Body)
			if err != nil {
				return err
			}
			var b hitBody
			if err := json.Unmarshal(text, &b); err != nil {
				return err
			}
			place := fmt.Sprint(b.Origin.Partition, "/", b.Origin.Offset)
			l := &loads[b.Origin.Partition]
			value := l.posts[b.Origin.Offset]
			if verdicts[place] != "" {
				t.Errorf("%s has two verdicts", place)
			}
			verdicts[place] = b.Rules
			if string(b.Original.Value) != value {
				t.Errorf("%s: the record is about another post", place)
			}
			if !inForce(b.Rules, l.before[b.Origin.Offset], min(e.Index, l.after[b.Origin.Offset])) {
				t.Errorf("%s: judged under %.12s, which was not in force or not on record", place, b.Rules)
			}
			want := again(b.Rules, value)
			if diff := cmp.Diff(want, pipeline.Report{EventID: want.EventID, Kind: want.Kind, Action: b.Action, Reason: pipeline.Reason(b.Reason), Hits: b.Hits, Rules: b.Rules, Fold: want.Fold}); diff != "" {
				t.Errorf("%s: the rebuilt set judges otherwise, -rebuilt +on record:\n%s", place, diff)
			}
		case evidence.KindCoverage:
			var b evidence.CoverageBody
			if err := json.Unmarshal(e.Body, &b); err != nil {
				return err
			}
			for _, c := range b.Ranges {
				ranges++
				if c.Fetched != c.Passed+c.Flagged || c.Fetched != c.Next-c.First {
					t.Errorf("account does not balance: %+v", c)
				}
				l := &loads[c.Partition]
				flagged := int64(0)
				for o := c.First; o < c.Next; o++ {
					place := fmt.Sprint(c.Partition, "/", o)
					if covered[place] {
						t.Errorf("%s is accounted for twice", place)
					}
					covered[place] = true
					want := again(c.Rules, l.posts[o])
					if want.Action != "pass" {
						flagged++
					}
					switch got := verdicts[place]; {
					case len(want.Hits) > 0 && got != c.Rules:
						t.Errorf("%s: %s has the verdict of %.12q, want that of %.12q", place, l.posts[o], got, c.Rules)
					case len(want.Hits) == 0 && got != "":
						t.Errorf("%s: %s has a verdict, and nothing hits", place, l.posts[o])
					}
				}
				if flagged != c.Flagged {
					t.Errorf("%d flagged in %+v", flagged, c)
				}
				if !inForce(c.Rules, l.before[c.First], e.Index) {
					t.Errorf("%+v: %.12s was not in force", c, c.Rules)
				}
				if last[int(c.Partition)] != c.Rules {
					changes++
				}
				last[int(c.Partition)] = c.Rules
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	posts := 0
	for i := range loads {
		posts += len(loads[i].posts)
	}
	if len(covered) != posts {
		t.Errorf("%d posts are accounted for, want %d", len(covered), posts)
	}
	t.Logf("%d posts, %d verdicts, %d swaps; the set changed %d times between batches", posts, len(verdicts), swaps, changes)
	if changes < 20 || len(verdicts) < posts/10 || len(verdicts) > posts*9/10 {
		t.Error("the test shows little: too few changes of the set between batches, or too few or many verdicts")
	}
}

// text returns a text with some of the terms, some of them in exceptions.
func text(r *rand.Rand) string {
	var b strings.Builder
	for range r.IntN(3) {
		b.WriteString([]string{"今天", "hello ", "，", "反", "晚饭 "}[r.IntN(5)])
		b.WriteString(swapped[r.IntN(len(swapped))])
	}
	return b.String() + "。"
}

// Two hundred swaps of sets of equal size take no more memory than twenty.
func TestMemoryOfManySwapsIsFlat(t *testing.T) {
	if testing.Short() {
		t.Skip("swaps two hundred times, one after another; not with -short")
	}
	const swaps, terms = 200, 100
	several := func(generation int) string {
		var b strings.Builder
		b.WriteString("pack: gambling\nrules:\n  - {id: gambling.x, category: gambling, severity: high, action: review, state: live, terms: [")
		for i := range terms {
			fmt.Fprintf(&b, "%c%c%c%c, ", 0x4e00+generation*7, 0x5000+i, 0x6000+(generation+i)%997, 0x7000+i*3)
		}
		b.WriteString("]}\n")
		return b.String()
	}
	d := newDesk(t, map[string]string{"gambling.yaml": several(0)}, func(c *config.Config) { c.Rules.SecondOpinion.Every = 0 })
	heap := func() int64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.GC() // what finalizers held
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	var at20 int64
	for i := 1; i <= swaps; i++ {
		d.write("rules/gambling.yaml", several(i))
		if err := d.reload(t.Context()); err != nil {
			t.Fatal(err)
		}
		if i == 20 {
			at20 = heap()
		}
	}
	d.log.mu.Lock()
	d.log.b = bytes.Buffer{} // the log is ours
	d.log.mu.Unlock()
	grown, set := heap()-at20, int64(d.pipeline.InForce().Rules.Stats().Memory)
	t.Logf("heap after swap 20 %d bytes, after swap %d %+d; a set takes %d", at20, swaps, grown, set)
	if grown > set {
		t.Errorf("from swap 20 to %d the heap grew by %d bytes; a set takes %d", swaps, grown, set)
	}
}

// What comes in force is on record with all that it was made of, under the words of the published
// schema, and can be built again from that.
func TestActivationIsOnRecordWhole(t *testing.T) {
	files := map[string]string{
		"gambling.yaml": `pack: gambling
groups: [{id: gambling.many, terms: [{file: terms.txt}]}]
rules:
  - {id: gambling.x, category: gambling, severity: critical, action: review, state: live, terms: [{group: gambling.many}, 百家乐],
     except: [{texts: [反一号宣传], owner: o, reason: r, expires: 2001-01-01}, {texts: [一号电影], owner: o, reason: r, expires: 2999-01-01}]}
  - {id: gambling.y, category: house, severity: low, action: reject, state: live, rollout: 50, terms: [二号], when: event.user.group == "minor"}
`,
		"gambling_test.yaml": "tests:\n  - {text: 一号, hits: [{rule: gambling.x}]}\n",
		"terms.txt":          "# of the pack\n一号\n\"<&> 三号\n",
		"README.md":          "no part of the set",
	}
	d := newDesk(t, files, func(c *config.Config) {
		dir := filepath.Dir(c.Rules.Dir)
		for name, text := range map[string]string{
			"categories.yaml": "categories:\n  - {code: gambling, name: Gambling, name_zh: 赌博}\n  - {code: house, name: House rules, name_zh: 站规}\n",
			"exclusions.txt":  "# harmless\n佰家乐\n",
		} {
			if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		c.Rules.Categories, c.Rules.Exclusions, c.Rules.MaxHits = filepath.Join(dir, "categories.yaml"), filepath.Join(dir, "exclusions.txt"), 7
	})
	d.write("rules/terms.txt", files["terms.txt"]+"四号\n")
	if err := d.reload(t.Context()); err != nil {
		t.Fatal(err)
	}
	// A rule that is put in shadow while Weir runs.
	shadowed, err := d.set.Shadowed([]string{"gambling.x"})
	if err != nil {
		t.Fatal(err)
	}
	d.reloader.mu.Lock()
	err = d.enforce(t.Context(), &inForce{Force: pipeline.Force{Rules: shadowed}, set: d.set}, forceBody{Why: "breaker"})
	d.tell()
	d.reloader.mu.Unlock()
	if err != nil {
		t.Fatal(err)
	}
	if r := d.receipt(); !slices.Equal(r.InShadow, []string{"gambling.x"}) || r.Rules != shadowed.Digest() {
		t.Errorf("receipt %+v", r)
	}
	if err := d.record(t.Context(), evidence.KindStop, &inForce{Force: d.pipeline.InForce()}, forceBody{}); err != nil {
		t.Fatal(err)
	}

	words, _, err := loadWords(filepath.Join(d.dir, "words.txt"))
	if err != nil {
		t.Fatal(err)
	}
	list := d.activations()
	var whys []string
	for i, a := range list {
		whys = append(whys, a.kind.String()+" "+a.Why)
		keepsSchema(t, a.body)
		if a.kind == evidence.KindStop {
			continue
		}
		set := rebuilt(t, a, words)
		if set.Digest() != a.Rules {
			t.Errorf("activation %d: %.12s on record, %.12s when it is built anew", i, a.Rules, set.Digest())
		}
		b, err := rules.ParseBundle([]byte(a.Bundle))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]string{"gambling.yaml", "gambling_test.yaml", "terms.txt"}, b.Names()); diff != "" {
			t.Error(diff)
		}
		if !strings.Contains(a.Bundle, files["gambling.yaml"]) || !strings.Contains(a.Bundle, files["terms.txt"]) {
			t.Errorf("the text on record is not that of the files:\n%s", a.Bundle)
		}
	}
	if diff := cmp.Diff([]string{"start start", "ruleset reload", "ruleset breaker", "stop "}, whys); diff != "" {
		t.Error(diff)
	}
	if last := list[len(list)-1]; last.Rules != shadowed.Digest() || last.Bundle != "" {
		t.Errorf("the stop record is about %.12s", last.Rules)
	}
	if list[0].Rules == list[1].Rules || list[1].Rules == list[2].Rules || list[1].Bundle != list[2].Bundle {
		t.Error("digests do not change with what is in force")
	}
}

// keepsSchema checks the body of an activation against the published schema, and that it has no names
// that the schema does not know.
func keepsSchema(t *testing.T, body []byte) {
	t.Helper()
	const file = "../../docs/schemas/evidence.json"
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	s, err := c.Compile(file + "#/$defs/forceRecord")
	if err != nil {
		t.Fatal(err)
	}
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	if err := s.Validate(v); err != nil {
		t.Errorf("%s\n%v", body, err)
	}
	for name := range v.(map[string]any) {
		if s.Properties[name] == nil {
			t.Errorf("the schema does not know %q", name)
		}
	}
}

// Everything but the rules and the push policy needs a restart, and the refusal names the section; of
// the rules that is where they come from and where receipts go.
func TestChangesThatNeedARestart(t *testing.T) {
	d := newDesk(t, map[string]string{"gambling.yaml": one("一号")}, nil)
	d.write("rules/gambling.yaml", one("二号"))
	original := d.next
	for _, tt := range []struct {
		names  string
		change func(*config.Config)
	}{
		{"rules.topic", func(c *config.Config) { c.Rules.Topic = "weir.rules" }},
		{"rules.receipts", func(c *config.Config) { c.Rules.Receipts = "weir.receipts" }},
		{"rules.watch", func(c *config.Config) { c.Rules.Watch = 0 }},
		{"rules.topic rules.receipts rules.watch", func(c *config.Config) { c.Rules.Topic, c.Rules.Receipts, c.Rules.Watch = "t", "r", time.Minute }},
		{"source", func(c *config.Config) { c.Source = "other" }},
		{"instance", func(c *config.Config) { c.Instance = "7" }},
		{"kafka", func(c *config.Config) { c.Kafka.Brokers = []string{"elsewhere:9092"} }},
		{"events", func(c *config.Config) { c.Events.MaxBytes++ }},
		{"push", func(c *config.Config) { c.Push.Redis.Addrs = []string{"elsewhere:6379"} }},
	} {
		d.config(func(c *config.Config) { *c = original; tt.change(c) }, nil)
		err := d.reload(t.Context())
		want := "only rules and the push policy can change while Weir runs; restart it for changes of [" + tt.names + "]"
		if err == nil || err.Error() != want {
			t.Errorf("%s: %v", tt.names, err)
		}
		d.wants(tt.names, "一号", want)
	}
	// All else of the rules may change.
	for i, change := range []func(*config.Config){
		func(c *config.Config) { c.Rules.MaxHits = 3 },
		func(c *config.Config) { c.Rules.MemoryBudget = 1 << 30 },
		func(c *config.Config) { c.Rules.Engine = rules.EngineCloudflare },
		func(c *config.Config) { c.Rules.Breaker.Enabled = false },
		func(c *config.Config) { c.Rules.FalseAlarms.Set = rules.Percent },
		func(c *config.Config) { c.Push.Policy = "none, and pushes are off" },
	} {
		d.config(func(c *config.Config) { *c = original; change(c) }, nil)
		if err := d.reload(t.Context()); err != nil {
			t.Errorf("%d: %v", i, err)
		}
		d.wants(fmt.Sprint(i), "二号", "")
	}
	// Whoever adds a field to the rules decides whether it can change.
	if n := reflect.TypeFor[rules.Config]().NumField(); n != 16 {
		t.Errorf("rules.Config has %d fields; say above and in needRestart what becomes of the new one", n)
	}
}

// A change that is broken off because Weir stops is no refused one.
func TestChangeThatIsBrokenOff(t *testing.T) {
	d := newDesk(t, map[string]string{"gambling.yaml": one("一号")}, nil)
	d.write("rules/gambling.yaml", one("二号"))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := d.reload(ctx); err == nil {
		t.Fatal("it was taken up after its time")
	}
	d.wants("broken off", "一号", "")
	if d.said() != 0 {
		t.Errorf("%s", d.log)
	}
	d.look(3)
	d.wants("asked again", "二号", "")
}

// A receipt says what is wrong in some thousand bytes at most: a topic does not take more, and a receipt
// that it does not take would never tell anything.
func TestReceiptsAreShort(t *testing.T) {
	d := newDesk(t, map[string]string{"gambling.yaml": one("一号")}, nil)
	d.write("rules/gambling.yaml", "pack: gambling\nrules:\n"+strings.Repeat("  - {id: 赌}\n", 5000))
	if err := d.reload(t.Context()); err == nil || len(err.Error()) < 100_000 {
		t.Fatalf("%v", err)
	}
	why := d.receipt().Refused.Why
	if len(why) > 5000 || !strings.Contains(why, "gambling.yaml:3:") || !strings.HasSuffix(why, " …") || !json.Valid([]byte(`"`+strings.ReplaceAll(strings.ReplaceAll(why, "\n", " "), `"`, "'")+`"`)) {
		t.Errorf("%d bytes: %s", len(why), why)
	}
}

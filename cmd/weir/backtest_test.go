package main

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"

	"github.com/weir-moderation/weir/pipeline"
	"github.com/weir-moderation/weir/pipeline/backtest"
	"github.com/weir-moderation/weir/rules"
)

// A backtest tells exactly what judging the events by each set alone, with weir judge, and
// comparing the verdicts tells: for generated sets and events of every kind, broken ones too.
func TestBacktestIsTwoJudgements(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 4))
	pairs, differ := 24, 0
	if testing.Short() {
		pairs = 4
	}
	for range pairs {
		before, after := randomPacks(r), randomPacks(r)
		var in bytes.Buffer
		for range 300 {
			in.WriteString(randomLine(r) + "\n")
		}
		report := checkBacktest(t, before, after, in.Bytes())
		if t.Failed() {
			return
		}
		if len(report.Changes()) > 1 && len(report.Rules) > 1 {
			differ++
		}
	}
	if differ < pairs/2 {
		t.Errorf("only %d of %d pairs of sets judge differently in more than one way", differ, pairs)
	}
}

// The same for 100,000 real posts, by the starter packs and by packs made of them: rules
// taken out, put to sleep, and with other terms.
func TestBacktestOfRealPosts(t *testing.T) {
	posts := realPosts(t, 100_000)
	before, after := t.TempDir(), t.TempDir()
	files, err := filepath.Glob("../../configs/rules/*.yaml")
	if err != nil || len(files) == 0 {
		t.Fatal(files, err)
	}
	for i, file := range files {
		src, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		text := string(src)
		changed := text
		switch i % 3 {
		case 1:
			changed = strings.ReplaceAll(text, "state: live", "state: shadow")
		case 2:
			changed = strings.ReplaceAll(text, "action: review", "action: reject")
		}
		for dir, text := range map[string]string{before: text, after: changed} {
			if err := os.WriteFile(filepath.Join(dir, filepath.Base(file)), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	// What people write about in every other post, so that there is something to compare.
	common := map[string][]string{
		before: {
			"words, category: insult, terms: [女人, 黑人, bitch, money], forms: all, severity: high, action: review, state: live",
			"places, category: fraud, terms: [河南, 城市], action: review, state: live",
			"people, category: violence, terms: [男生, people], action: reject, state: live",
			"once, category: fraud, terms: [学校], action: review, state: live",
		},
		after: {
			"words, category: insult, terms: [女生, 黑人, bitches, money], except: [黑人文化], forms: all, severity: high, action: reject, state: live",
			"places, category: gambling, terms: [河南, 学校], action: review, state: live",
			"people, category: violence, terms: [男生, people, 朋友], action: reject, state: shadow",
			"fresh, category: fraud, terms: [老师, man], action: reject, state: live",
		},
	}
	for dir, list := range common {
		text := "pack: common\nrules:\n"
		for _, rule := range list {
			text += "  - {id: common." + rule + "}\n"
		}
		if err := os.WriteFile(filepath.Join(dir, "common.yaml"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	report := checkBacktest(t, before, after, posts)
	if len(report.Changes()) < 4 || len(report.Rules) < 5 {
		t.Errorf("too little differs to prove anything: %+v", report)
	}
}

// checkBacktest holds a backtest against two judgements of the same lines.
func checkBacktest(t *testing.T, before, after string, in []byte) *backtest.Report {
	t.Helper()
	dirs := [2]string{before, after}
	for i, d := range dirs {
		if strings.Contains(d, "\n") { // a pack, not a directory
			dirs[i] = t.TempDir()
			if err := os.WriteFile(filepath.Join(dirs[i], "p.yaml"), []byte(d), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	cfg, sets, err := new(setFlags).load(dirs[0], dirs[1])
	if err != nil {
		t.Fatal(err)
	}
	want := comparison{rules: make(map[string]*backtest.Row), categories: make(map[string]*backtest.Row), sets: sets}
	var verdicts [2]*bufio.Scanner
	for i := range sets {
		var out bytes.Buffer
		if _, err := judgeLines(t.Context(), sets[i].Set, cfg.Events, bytes.NewReader(in), &out); err != nil {
			t.Fatal(err)
		}
		verdicts[i] = bufio.NewScanner(&out)
		verdicts[i].Buffer(nil, 16<<20)
	}
	for line := int64(1); verdicts[0].Scan() && verdicts[1].Scan(); line++ {
		want.line(t, line, verdicts[0].Bytes(), verdicts[1].Bytes())
	}

	feed := linesOf(bytes.NewReader(in), cfg.Events.MaxBytes).feed
	got, err := backtest.Run(t.Context(), feed, backtest.Options{Old: sets[0].Set, New: sets[1].Set, Limits: cfg.Events, Samples: 5})
	if err != nil {
		t.Fatal(err)
	}
	for _, x := range []struct {
		what      string
		want, got any
	}{
		{"rules", rowsOf(want.rules), got.Rules},
		{"categories", rowsOf(want.categories), got.Categories},
		{"actions", want.actions, got.Actions},
		{"dead", want.dead, got.Dead},
		{"events", want.events, got.Events},
		{"messages", int64(bytes.Count(in, []byte("\n"))), got.Messages},
	} {
		if diff := gocmp.Diff(x.want, x.got); diff != "" {
			t.Errorf("%s: two judgements, a backtest: %s\n%s\n%s", x.what, diff, before, after)
		}
	}
	for _, s := range got.Samples {
		if key := fmt.Sprint(s.Rule, s.Category, s.Place.Line, s.Field, s.Start, s.End); want.moved[key] != s.Change.String() && s.Change != backtest.Acts {
			t.Errorf("sample %+v is %q", s, want.moved[key])
		}
	}
	return got
}

// comparison is what two runs of weir judge come to, computed from their output alone, in the
// plainest way.
type comparison struct {
	sets              [2]ruleSet
	rules, categories map[string]*backtest.Row
	actions           [3][3]int64
	events            int64
	dead              []backtest.Dead
	moved             map[string]string
}

// judgedLine is a line of weir judge.
type judgedLine struct {
	pipeline.Report
	Dead *deadLetter `json:"dead_letter"`
}

func (c *comparison) line(t *testing.T, line int64, before, after []byte) {
	t.Helper()
	var v [2]judgedLine
	for i, text := range [][]byte{before, after} {
		if err := json.Unmarshal(text, &v[i]); err != nil {
			t.Fatal(err)
		}
	}
	if d := v[0].Dead; d != nil {
		i := slices.IndexFunc(c.dead, func(k backtest.Dead) bool { return k.Stage == d.Stage && k.Reason == d.Reason })
		if i < 0 {
			i = len(c.dead)
			c.dead = append(c.dead, backtest.Dead{Stage: d.Stage, Reason: d.Reason, First: backtest.Place{Line: line}})
		}
		c.dead[i].Count++
		return
	}
	c.events++
	var actions [2]rules.Action
	// By rule or category: what its hits call for, and whether one is new or lost.
	said := make(map[string]*[2]rules.Action)
	moved := make(map[string]bool)
	var hits [2]map[string]pipeline.HitReport
	for i := range v {
		if err := actions[i].UnmarshalText([]byte(v[i].Action)); err != nil {
			t.Fatal(err)
		}
		hits[i] = make(map[string]pipeline.HitReport)
		for _, h := range v[i].Hits {
			hits[i][fmt.Sprint(h.Rule, h.Category, line, h.Field, h.Start, h.End)] = h
			for _, name := range []string{"rule " + h.Rule, "category " + h.Category} {
				if said[name] == nil {
					said[name] = new([2]rules.Action)
				}
				said[name][i] = max(said[name][i], c.calls(i, &h))
			}
		}
	}
	c.actions[actions[0]][actions[1]]++
	for i := range hits {
		for key, h := range hits[i] {
			_, both := hits[1-i][key]
			for name, row := range map[string]*backtest.Row{"rule " + h.Rule: rowOf(c.rules, h.Rule), "category " + h.Category: rowOf(c.categories, h.Category)} {
				*[]*int64{&row.OldHits, &row.NewHits}[i]++
				if !both {
					*[]*int64{&row.Lost, &row.New}[i]++
					moved[name] = true
				}
			}
			if !both {
				if c.moved == nil {
					c.moved = make(map[string]string)
				}
				c.moved[key] = []string{"lost", "new"}[i]
			}
		}
	}
	for name, s := range said {
		what, name, _ := strings.Cut(name, " ")
		row := rowOf(map[string]map[string]*backtest.Row{"rule": c.rules, "category": c.categories}[what], name)
		acts := actions[0] != actions[1] && s[0] != s[1]
		if acts || moved[what+" "+name] {
			row.Events++
		}
		if acts && actions[1] > actions[0] {
			row.Stronger++
		} else if acts {
			row.Weaker++
		}
	}
}

// calls is what a hit calls for.
func (c *comparison) calls(set int, h *pipeline.HitReport) rules.Action {
	if h.State != "" {
		return rules.Pass
	}
	list := c.sets[set].Rules()
	i := slices.IndexFunc(list, func(r *rules.Rule) bool { return r.ID == h.Rule })
	if h.Confidence == "low" {
		return min(list[i].Action, rules.Review)
	}
	return list[i].Action
}

func rowOf(m map[string]*backtest.Row, name string) *backtest.Row {
	if m[name] == nil {
		m[name] = &backtest.Row{Name: name}
	}
	return m[name]
}

func rowsOf(m map[string]*backtest.Row) []backtest.Row {
	var list []backtest.Row
	for _, row := range m {
		if row.Events > 0 {
			list = append(list, *row)
		}
	}
	slices.SortFunc(list, func(a, b backtest.Row) int { return cmp.Compare(a.Name, b.Name) })
	return list
}

// Words that rules look for and posts are made of, so that they meet.
var backtestWords = []string{"赌场", "百家乐", "赌博网站", "赌博", "casino", "bank pin", "pin", "河南", "加微信"}

// randomPacks makes a pack.
func randomPacks(r *rand.Rand) string {
	pick := func(list ...string) string { return list[r.IntN(len(list))] }
	var b strings.Builder
	b.WriteString("pack: p\nrules:\n  - {id: p.z, category: fraud, state: live, terms: [never said]}\n")
	for _, id := range []string{"a", "b", "c", "d"} {
		if r.IntN(6) == 0 {
			continue
		}
		words := slices.Clone(backtestWords)
		r.Shuffle(len(words), func(i, k int) { words[i], words[k] = words[k], words[i] })
		looksFor := fmt.Sprintf("terms: [%s]", strings.Join(words[:1+r.IntN(3)], ", "))
		switch r.IntN(6) {
		case 0:
			looksFor = fmt.Sprintf("all: [[%s], [%s, qq]], within: %s", words[0], words[1], pick("10", "sentence"))
		case 1:
			looksFor = fmt.Sprintf("terms: [%s, %s], ", words[0], words[1]) + pick("distinct: 2", "none: ["+words[4]+"]")
		}
		fmt.Fprintf(&b, "  - {id: p.%s, category: %s, severity: %s, action: %s, state: %s, %s%s%s%s}\n", id,
			pick("fraud", "gambling", "insult"), pick("low", "medium", "high", "critical"), pick("review", "reject"), pick("live", "live", "live", "shadow", "draft"),
			looksFor, pick("", "", ", kinds: [post]", ", fields: [title]"), pick("", ", forms: all", ", forms: fold"), pick("", "", ", rollout: 40"))
	}
	return b.String()
}

// randomLine makes an event, whole or broken.
func randomLine(r *rand.Rand) string {
	text := func() string {
		var b strings.Builder
		for range r.IntN(5) {
			word := backtestWords[r.IntN(len(backtestWords))]
			switch r.IntN(4) {
			case 0:
				word = strings.Join(strings.Split(word, ""), []string{"-", "\u200b", " ", "."}[r.IntN(4)])
			case 1:
				word = strings.ToUpper(strings.NewReplacer("赌", "堵", "微", "薇", "o", "0").Replace(word))
			}
			b.WriteString(word + []string{"", " ", "，", " hello "}[r.IntN(4)])
		}
		return b.String()
	}
	e := map[string]any{"id": "e", "time": "2026-11-24T08:30:00Z", "user": map[string]any{"id": fmt.Sprint("u", r.IntN(20))},
		"fields": map[string]string{"text": text(), "title": text()}}
	switch r.IntN(12) {
	case 0:
		e["class"], e["channel"] = "content", "app" // a push
	case 1:
		return `{"id":"c","kind":"consent","time":"2026-11-24T08:30:00Z","user":{"id":"u"},"version":1,"grants":[]}`
	case 2:
		delete(e, []string{"id", "user", "fields", "time"}[r.IntN(4)])
	}
	if r.IntN(60) == 0 { // more hits than are kept of an event
		e["fields"] = map[string]string{"text": strings.Repeat(text()+" ", rules.DefaultMaxHits)}
	}
	line, err := json.Marshal(e)
	if err != nil {
		panic(err)
	}
	if r.IntN(20) == 0 {
		return string(line[:r.IntN(len(line))])
	}
	return string(line)
}

// realPosts returns so many posts, a line each, of the large samples that are not part of the
// repository.
func realPosts(tb testing.TB, n int) []byte {
	tb.Helper()
	dir := cmp.Or(os.Getenv("WEIR_TEST_DATA"), "../../../shared/data")
	var texts []string
	for _, name := range []string{"posts_zh_short.txt", "posts_mixed.txt", "posts_en.txt"} {
		src, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			tb.Skipf("no test data (set WEIR_TEST_DATA): %v", err)
		}
		texts = append(texts, strings.Split(strings.TrimSpace(string(src)), "\n")...)
	}
	r := rand.New(rand.NewPCG(5, 5))
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	for i := range n {
		fields := map[string]string{"text": texts[i%len(texts)]}
		if i >= len(texts) { // each post comes once alone, then beside another
			fields["title"] = texts[r.IntN(len(texts))]
		}
		if err := enc.Encode(map[string]any{"id": fmt.Sprint("p", i), "time": "2026-11-24T08:30:00Z",
			"user": map[string]string{"id": fmt.Sprint("u", i%5000)}, "operation": "post.create", "fields": fields}); err != nil {
			tb.Fatal(err)
		}
	}
	return b.Bytes()
}

// BenchmarkBacktest measures a backtest of real posts by the starter packs and a copy of them,
// and what one would do without it: judge them twice, and compare the lines. The number to look
// at is cpu-ns/post, of both sets together, and the ratio of the two in one run.
func BenchmarkBacktest(b *testing.B) {
	const n = 100_000
	posts := realPosts(b, n)
	cfg, sets, err := new(setFlags).load("", "../../configs/rules")
	if err != nil {
		b.Fatal(err)
	}
	cpu := func() time.Duration {
		var u syscall.Rusage
		if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
			b.Fatal(err)
		}
		return time.Duration(u.Utime.Nano() + u.Stime.Nano())
	}
	measure := func(name string, do func(b *testing.B)) {
		b.Run(name, func(b *testing.B) {
			began := cpu()
			for b.Loop() {
				do(b)
			}
			b.ReportMetric(float64(cpu()-began)/float64(b.N)/n, "cpu-ns/post")
		})
	}
	measure("backtest", func(b *testing.B) {
		o := backtest.Options{Old: sets[0].Set, New: sets[1].Set, Limits: cfg.Events, Samples: 3}
		if _, err := backtest.Run(b.Context(), linesOf(bytes.NewReader(posts), cfg.Events.MaxBytes).feed, o); err != nil {
			b.Fatal(err)
		}
	})
	measure("judge-twice", func(b *testing.B) {
		var out [2]bytes.Buffer
		for i := range sets {
			if _, err := judgeLines(b.Context(), sets[i].Set, cfg.Events, bytes.NewReader(posts), &out[i]); err != nil {
				b.Fatal(err)
			}
		}
		if !bytes.Equal(out[0].Bytes(), out[1].Bytes()) {
			b.Fatal("the sets judge differently")
		}
	})
}

// hostileReport is a report of texts that want to be markup.
func hostileReport(t *testing.T, shown bool) string {
	t.Helper()
	dirs := [2]string{t.TempDir(), t.TempDir()}
	for i, state := range []string{"shadow", "live"} {
		src := "pack: p\nrules:\n  - {id: p.a, category: fraud, state: " + state + ", terms: ['<script>alert(1)</script>', 'x\" onload=\"y']}\n"
		if err := os.WriteFile(filepath.Join(dirs[i], "p.yaml"), []byte(src), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cfg, sets, err := new(setFlags).load(dirs[0], dirs[1])
	if err != nil {
		t.Fatal(err)
	}
	sets[0].dir = `<b>"&`
	line, err := json.Marshal(map[string]any{"id": "e", "time": time.Now(), "user": map[string]string{"id": "secretuser"},
		"fields": map[string]string{"<i>field": "secret before <script>alert(1)</script> 秘密123\u202e</mark></style>"}})
	if err != nil {
		t.Fatal(err)
	}
	got, err := backtest.Run(t.Context(), linesOf(bytes.NewReader(line), cfg.Events.MaxBytes).feed,
		backtest.Options{Old: sets[0].Set, New: sets[1].Set, Limits: cfg.Events, Samples: 1, ShowText: shown})
	if err != nil {
		t.Fatal(err)
	}
	var page bytes.Buffer
	if err := newBacktestReport(got, sets, shown).html(&page); err != nil {
		t.Fatal(err)
	}
	return page.String()
}

// The page asks a browser for nothing, lets no text become markup, and shows none unless asked.
func TestBacktestPage(t *testing.T) {
	for _, shown := range []bool{false, true} {
		page := hostileReport(t, shown)
		for _, bad := range []string{"<script", "<i>", "<b>\"", "http:", "https:", "src=", "href=", "url(", "@import", "secretuser", "\u202e", "</mark></style>"} {
			if strings.Contains(page, bad) {
				t.Errorf("shown %t: the page contains %q", shown, bad)
			}
		}
		if got := strings.Contains(page, "secret"); got != shown {
			t.Errorf("shown %t: the text is there: %t", shown, got)
		}
		if got := strings.Contains(page, "holds texts of users"); got != shown {
			t.Errorf("shown %t: a warning is there: %t", shown, got)
		}
		mark := regexp.MustCompile(`(?s)<mark>(.*?)</mark>`).FindStringSubmatch(page)
		want := map[bool]string{false: "*xxxxxx*xxxxx(0)*/xxxxxx*", true: "&lt;script&gt;alert(1)&lt;/script&gt;"}[shown]
		if mark == nil || mark[1] != want {
			t.Errorf("shown %t: marked is %q, want %q", shown, mark, want)
		}
		if !strings.Contains(page, `content="default-src 'none'; style-src 'unsafe-inline'"`) {
			t.Error("the page lets a browser load things")
		}
	}
}

// The line of progress is as long as the work is far, is rewritten in its place, and nobody but a
// terminal sees it.
func TestProgress(t *testing.T) {
	var b strings.Builder
	p := progress{w: &b, total: 200}
	p.show(1, 100)
	p.end()
	if b.Len() > 0 {
		t.Errorf("said %q where no terminal is", &b)
	}
	p.on = true
	p.end()
	p.show(7, 50)
	p.show(8, 51) // too soon
	p.end()
	want := "\r\x1b[?7l[" + strings.Repeat("=", 10) + strings.Repeat(" ", 30) + "]  25 %  7 messages\x1b[K\x1b[?7h\r\x1b[K"
	if b.String() != want {
		t.Errorf("said %q, want %q", &b, want)
	}
	if got := p.line(1, 500); got != "["+strings.Repeat("=", 40)+"] 100 %  1 message" {
		t.Error(got)
	}
	if got := (&progress{}).line(3, 500); got != "3 messages" {
		t.Error(got)
	}
}

package app

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/weir-moderation/weir/internal/config"
	"github.com/weir-moderation/weir/pipeline"
	"github.com/weir-moderation/weir/pipeline/event"
	"github.com/weir-moderation/weir/rules"
)

var memory = regexp.MustCompile(`[0-9]+\.[0-9] MiB`)

// shop writes files into a folder and returns a configuration whose packs are there.
func shop(t *testing.T, files map[string]string) *config.Config {
	t.Helper()
	dir := t.TempDir()
	files["packs/test.yaml"] = "pack: test\nrules:\n  - {id: test.a, category: gambling, severity: critical, state: live, terms: [百家乐, 大麻]}\n"
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	c := config.Default()
	c.Rules.Dir = filepath.Join(dir, "packs")
	return &c
}

// beside returns the path of a file beside the packs.
func beside(c *config.Config, name string) string {
	return filepath.Join(filepath.Dir(c.Rules.Dir), name)
}

// forms returns the forms of the hits in a text.
func forms(set *rules.Set, text string) string {
	e := event.Event{Kind: event.Post, Fields: []event.Field{{Name: []byte("text"), Text: []byte(text)}}}
	var words []string
	for _, h := range set.Match(new(rules.Scratch), &e) {
		words = append(words, h.Form.String())
	}
	return strings.Join(words, " ")
}

// The lists that a configuration names take effect: other words make other words ordinary, and what
// is excluded is no hit by its sound, however it is written and whatever ends the lines.
func TestListsTakeEffect(t *testing.T) {
	c := shop(t, map[string]string{
		"words.txt":      "# word and count\n麻烦 100\n大 50\n家 9\n",
		"few.txt":        "家 9\n",
		"exclusions.txt": "# harmless\r\n佰家乐\r\n\r\n",
	})
	for _, tt := range []struct{ words, exclusions, text, want string }{
		{"", "", "大麻烦", ""},
		{"words.txt", "", "大麻烦", ""},
		{"few.txt", "", "大麻烦", "fold"},
		{"", "", "佰家乐", "pinyin"},
		{"", "exclusions.txt", "佰家乐", ""},
		{"", "exclusions.txt", "佰-家-乐", ""},
		{"", "exclusions.txt", "百家乐", "fold"},
	} {
		c.Rules.Words, c.Rules.Exclusions = "", ""
		if tt.words != "" {
			c.Rules.Words = beside(c, tt.words)
		}
		if tt.exclusions != "" {
			c.Rules.Exclusions = beside(c, tt.exclusions)
		}
		set, err := LoadRules(&c.Rules)
		if err != nil {
			t.Fatal(err)
		}
		if got := forms(set, tt.text); got != tt.want {
			t.Errorf("words %q, exclusions %q: %s is hit in %q, want %q", tt.words, tt.exclusions, tt.text, got, tt.want)
		}
	}
}

// A list that cannot be read is refused with the setting, the file and what is wrong, and two of
// them at once.
func TestListsThatCannotBeRead(t *testing.T) {
	c := shop(t, map[string]string{"bad.txt": "# words\n麻烦\n", "latin1.txt": "gl\xfcck\n"})
	c.Rules.Words, c.Rules.Exclusions = beside(c, "bad.txt"), beside(c, "latin1.txt")
	set, err := LoadRules(&c.Rules)
	want := "rules.words: " + c.Rules.Words + ":2: not a word, a blank and a count above 0\n" +
		"rules.exclusions: " + c.Rules.Exclusions + " is not UTF-8; save it as UTF-8, a text a line"
	if set != nil || err == nil || err.Error() != want {
		t.Errorf("got %v\nwant %s", err, want)
	}
	c.Rules.Words, c.Rules.Exclusions = beside(c, "none.txt"), beside(c, "nothing.txt")
	_, err = LoadRules(&c.Rules)
	for _, want := range []string{"rules.words: open ", "none.txt: no such file", "rules.exclusions: open ", "nothing.txt: no such file"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %s", err, want)
		}
	}
}

// A list without end is refused with its limit, and none is read beyond that.
func TestListsThatAreTooLong(t *testing.T) {
	long := strings.Repeat("# harmless\n", rules.MaxListBytes/11+1)
	c := shop(t, map[string]string{"long.txt": long, "enough.txt": long[:rules.MaxListBytes-1] + "\n"})
	c.Rules.Words, c.Rules.Exclusions = beside(c, "long.txt"), beside(c, "long.txt")
	_, err := LoadRules(&c.Rules)
	const tail = "long.txt is longer than 16MiB (rules.MaxListBytes); name a file with an entry a line, and leave the rarest out"
	for _, key := range []string{"rules.words: ", "rules.exclusions: "} {
		if err == nil || !strings.Contains(err.Error(), key+beside(c, tail)) {
			t.Errorf("%s%v", key, err)
		}
	}
	// What never ends is not read to the end, and what is just short enough is taken.
	c.Rules.Words, c.Rules.Exclusions = "/dev/zero", beside(c, "enough.txt")
	if _, err := LoadRules(&c.Rules); err == nil || !strings.HasPrefix(err.Error(), "rules.words: /dev/zero is longer") || strings.Contains(err.Error(), "exclusions") {
		t.Errorf("%v", err)
	}
}

// A check says how the rules are matched: in which forms, by which lists and engines, in how much
// memory.
func TestDescribeTellsHowRulesAreMatched(t *testing.T) {
	c := shop(t, map[string]string{"words.txt": "麻烦 100\n", "exclusions.txt": "佰家乐\n又败家了\n", "calm/test.yaml": "" +
		"pack: test\nrules:\n  - {id: test.a, category: gambling, severity: low, state: live, forms: fold, terms: [百家乐]}\n"})
	// said returns the lines about matching, amounts of memory left out.
	said := func() []string {
		t.Helper()
		force, err := LoadForce(c)
		if err != nil {
			t.Fatal(err)
		}
		var list []string
		for _, line := range Describe(c, force) {
			line = strings.TrimSpace(line)
			if strings.HasPrefix(line, "read in") || strings.HasPrefix(line, "ordinary") || strings.Contains(line, "exclusions") ||
				strings.Contains(line, "engine") || strings.Contains(line, "second opinion") {
				list = append(list, memory.ReplaceAllString(line, "N MiB"))
			}
		}
		return list
	}
	want := []string{
		"read in the forms fold, squeeze, repeat, spaced, leet, decode, digits, split, pinyin",
		"ordinary words from the list in the binary",
		"no exclusions",
		"2 terms in N MiB with the engine weir",
		"second opinion on one event of 1000: 2 terms of severity critical in N MiB",
	}
	if diff := cmp.Diff(want, said()); diff != "" {
		t.Errorf("by default, -want +got:\n%s", diff)
	}
	c.Rules.Words, c.Rules.Exclusions, c.Rules.Engine = beside(c, "words.txt"), beside(c, "exclusions.txt"), rules.EngineCloudflare
	c.Rules.SecondOpinion.Every = 0
	want[1], want[2], want[3], want[4] = "ordinary words from "+c.Rules.Words, "2 exclusions from "+c.Rules.Exclusions, "2 terms in N MiB with the engine cloudflare", "second opinion off"
	if diff := cmp.Diff(want, said()); diff != "" {
		t.Errorf("by choice, -want +got:\n%s", diff)
	}
	c.Rules.Dir, c.Rules.SecondOpinion.Every = beside(c, "calm"), 7
	want[0], want[3], want[4] = "read in the forms fold", "1 term in N MiB with the engine cloudflare", "no second opinion: no rule in force is of severity critical"
	if diff := cmp.Diff(want, said()); diff != "" {
		t.Errorf("without critical rules, -want +got:\n%s", diff)
	}
}

// The gauge of memory counts the second engine too: it is there all the time.
func TestMemoryOfBothEngines(t *testing.T) {
	c := shop(t, map[string]string{})
	measured := func(every int) float64 {
		t.Helper()
		c.Rules.SecondOpinion.Every = every
		set, err := LoadRules(&c.Rules)
		if err != nil {
			t.Fatal(err)
		}
		m := newReloadMetrics(prometheus.NewRegistry())
		m.inForce(pipeline.Force{Rules: set}, "1")
		got := testutil.ToFloat64(m.memory)
		if want := set.Stats().Memory + set.Stats().Second.Memory; got != float64(want) {
			t.Errorf("one of %d: %v bytes, want %d", every, got, want)
		}
		return got
	}
	if one, two := measured(0), measured(1); two < one+10_000 {
		t.Errorf("%v bytes without a second engine, %v with one", one, two)
	}
}

// Where the second opinion has no room for some critical terms by default, check and a gauge say so.
func TestWhatTheSecondOpinionLeavesOutIsTold(t *testing.T) {
	var terms []string
	for i := range 1500 {
		terms = append(terms, "xyz"+string([]rune{'a' + rune(i/676), 'a' + rune(i/26%26), 'a' + rune(i%26)}))
	}
	c := shop(t, map[string]string{"packs/many.yaml": "pack: many\nrules:\n  - {id: many.a, category: gambling, severity: critical, state: live, forms: fold, terms: [" +
		strings.Join(terms, ", ") + "]}\n"})
	force, err := LoadForce(c)
	if err != nil {
		t.Fatal(err)
	}
	n := force.Rules.Stats().Second.LeftOut
	if n < 100 || n > 400 {
		t.Fatalf("%d terms left out", n)
	}
	want := fmt.Sprintf("%d terms of severity critical more have no room in the second engine's default budget of 64MiB; raise rules.second_opinion.memory_budget for all", n)
	if lines := strings.Join(Describe(c, force), "\n"); !strings.Contains(lines, want) {
		t.Errorf("%s\nhas no %q", lines, want)
	}
	m := newReloadMetrics(prometheus.NewRegistry())
	if m.inForce(force, "1"); testutil.ToFloat64(m.leftOut) != float64(n) {
		t.Errorf("the gauge says %v, want %d", testutil.ToFloat64(m.leftOut), n)
	}
	c.Rules.SecondOpinion.MemoryBudget = rules.DefaultSecondBudget
	if _, err := LoadForce(c); err == nil || !strings.Contains(err.Error(), "rules.second_opinion.memory_budget") {
		t.Errorf("a budget of one's own: %v", err)
	}
}

package configs_test

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/weir-moderation/weir/configs"
	"github.com/weir-moderation/weir/pipeline/event"
	"github.com/weir-moderation/weir/rules"
	"github.com/weir-moderation/weir/rules/fold"
)

// register returns the category register as shipped.
func register(t *testing.T) *rules.Register {
	t.Helper()
	src, err := configs.FS.ReadFile("categories.yaml")
	if err != nil {
		t.Fatal(err)
	}
	reg, err := rules.ParseRegister("categories.yaml", src)
	if err != nil {
		t.Fatal(err)
	}
	return reg
}

// starterPacks loads the packs as shipped, as one set.
func starterPacks(t *testing.T) *rules.Set {
	t.Helper()
	packs, err := fs.Sub(configs.FS, "rules")
	if err != nil {
		t.Fatal(err)
	}
	set, err := rules.Load(packs, register(t), rules.Options{Dir: "rules"})
	if err != nil {
		t.Fatal(err)
	}
	return set
}

// judge returns the hits of one text.
func judge(set *rules.Set, sc *rules.Scratch, text string) []rules.Hit {
	return set.Match(sc, &event.Event{Kind: event.Post, Fields: []event.Field{{Name: []byte("text"), Text: []byte(text)}}})
}

// lines returns the lines of a file; without the file the test is skipped if
// it may be absent.
func lines(t *testing.T, name string, optional bool) []string {
	t.Helper()
	data, err := os.ReadFile(name)
	if err != nil && optional {
		t.Skipf("no test data (set WEIR_TEST_DATA): %v", err)
	}
	if err != nil {
		t.Fatal(err)
	}
	return strings.Split(strings.TrimSuffix(string(data), "\n"), "\n")
}

// Whatever item of whatever list a report counts by, some category leads to it;
// and every category stands in the lists, or is a house rule and says so.
func TestEveryListItemIsReachable(t *testing.T) {
	reached := map[string]bool{}
	reach := func(list string, numbers []int) {
		for _, n := range numbers {
			reached[fmt.Sprint(list, " ", n)] = true
		}
	}
	for _, c := range register(t).Categories() {
		reach("list_a", c.ListA)
		reach("list_b", c.ListB)
		reach("never_publish", c.NeverPublish)
		reach("statute", c.Statute)
		switch {
		case len(c.DSA) == 0:
			t.Errorf("%s has no DSA category; the nearest one is better than none", c.Code)
		case len(c.ListA) == 0:
			t.Errorf("%s stands in no item of list A", c.Code)
		case c.HouseRule != slices.Contains(c.ListA, 8):
			t.Errorf("%s: item 8 of list A is the house rule, and only it is", c.Code)
		case c.Leak != (len(c.NeverPublish) > 0):
			t.Errorf("%s: what is never published is a leak, and only that", c.Code)
		case c.HouseRule && len(c.Statute) > 0:
			t.Errorf("%s is a house rule and no statute's", c.Code)
		case !c.HouseRule && (len(c.Statute) == 0 || len(c.ListB)+len(c.NeverPublish) == 0):
			t.Errorf("%s stands in no item of list B or of the statute", c.Code)
		}
		if !strings.ContainsFunc(c.NameZH, func(r rune) bool { return r >= 0x4e00 }) {
			t.Errorf("%s has no Chinese name: %q", c.Code, c.NameZH)
		}
	}
	for list, last := range map[string]int{"list_a": 9, "list_b": 6, "never_publish": 5, "statute": 9} {
		for n := 1; n <= last; n++ {
			if !reached[fmt.Sprint(list, " ", n)] {
				t.Errorf("no category leads to %s %d", list, n)
			}
		}
	}
}

// Each file of configs/rules is a pack of its own name that loads alone, so that
// an operator can take some and leave others.
func TestEveryPackLoadsAlone(t *testing.T) {
	names, err := fs.Glob(configs.FS, "rules/*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"canary", "drugs", "fraud", "gambling", "insult", "obscenity", "violence", "weapons"}
	var got []string
	for _, name := range names {
		if strings.HasSuffix(name, rules.TestSuffix) {
			continue
		}
		pack := strings.TrimSuffix(filepath.Base(name), ".yaml")
		got = append(got, pack)
		dir := t.TempDir()
		src, err := configs.FS.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, pack+".yaml"), src, 0o600); err != nil {
			t.Fatal(err)
		}
		set, err := rules.Load(os.DirFS(dir), register(t), rules.Options{})
		if err != nil {
			t.Error(err)
			continue
		}
		for _, r := range set.All() {
			if r.Pack != pack {
				t.Errorf("%s holds pack %q", name, r.Pack)
			}
			if r.State != rules.Live {
				t.Errorf("%s is %s; what ships is live", r.ID, r.State)
			}
		}
	}
	if !slices.Equal(got, want) {
		t.Errorf("packs %v, want %v", got, want)
	}
}

// Every category has exactly one canary, named for it, which hits however it is
// disguised and wherever it stands. Where politics decides what is prohibited,
// it is all that ships.
func TestEveryCategoryHasACanary(t *testing.T) {
	set := starterPacks(t)
	if err := set.SelfTest(); err != nil {
		t.Error(err)
	}
	canaries := map[string]rules.Canary{}
	for _, c := range set.Canaries() {
		if _, twice := canaries[c.Category]; twice {
			t.Errorf("%s has two canaries", c.Category)
		}
		canaries[c.Category] = c
	}
	var sc rules.Scratch
	for _, category := range register(t).Categories() {
		c, ok := canaries[category.Code]
		if !ok {
			t.Errorf("%s has no canary; add one to rules/canary.yaml", category.Code)
			continue
		}
		if want := "weircanary" + strings.ReplaceAll(category.Code, "-", ""); c.Rule != "canary."+category.Code || c.Text != want {
			t.Errorf("canary %s with the text %q, want canary.%s with %q", c.Rule, c.Text, category.Code, want)
		}
		for _, text := range []string{
			"hello " + c.Text + ", nice to meet you",
			"你好" + c.Text + "再见",
			strings.ToUpper(c.Text),
			wide(c.Text),
			strings.Join(strings.Split(c.Text, ""), "\u200b"),
		} {
			if hits := judge(set, &sc, text); len(hits) != 1 || hits[0].Rule.ID != c.Rule {
				t.Errorf("%q: %d hits, want one of %s", text, len(hits), c.Rule)
			}
		}
		if hits := judge(set, &sc, "x"+c.Text); len(hits) != 0 {
			t.Errorf("%s hits inside another word", c.Rule)
		}
	}
	for _, r := range set.All() {
		if c, _ := register(t).Category(r.Category); c.Political && r.Pack != rules.CanaryPack {
			t.Errorf("%s: %s is politically sensitive, its terms are the operator's to supply", r.ID, r.Category)
		}
	}
}

// wide writes Latin letters in their full-width forms.
func wide(s string) string {
	return strings.Map(func(r rune) rune { return r - '!' + '！' }, s)
}

// The packs are small, they speak both languages, and each rule says what it is
// for in both.
func TestStarterPacksAreSmallAndBilingual(t *testing.T) {
	terms := map[string]int{}
	for _, r := range starterPacks(t).All() {
		if r.Pack == rules.CanaryPack {
			continue
		}
		terms[r.Pack] += len(r.Terms())
		if r.Description == "" || r.DescriptionZH == "" {
			t.Errorf("%s has no description in English and Chinese", r.ID)
		}
		latin := func(s string) bool { return s[0] < 0x80 }
		if r.ID != "gambling.lottery" && r.ID != "weapons.delivery" && r.ID != "drugs.delivery" && !slices.ContainsFunc(r.Terms(), latin) {
			t.Errorf("%s has no English term", r.ID)
		}
		if !slices.ContainsFunc(r.Terms(), func(s string) bool { return !latin(s) }) {
			t.Errorf("%s has no Chinese term", r.ID)
		}
	}
	for pack, n := range terms {
		if n < 10 || n > 25 {
			t.Errorf("%s has %d terms, want 10 to 25", pack, n)
		}
	}
}

// A pack fires on no ordinary text: not on place names, medicine, cooking,
// novels, police reports, campaigns against the very thing, nor on the jargon of
// programmers.
func TestNothingHitsOrdinaryText(t *testing.T) {
	set := starterPacks(t)
	sentences := lines(t, "benign/traps.txt", false)
	if len(sentences) < 200 {
		t.Errorf("%d sentences, want at least 200", len(sentences))
	}
	var sc rules.Scratch
	for i, s := range sentences {
		if strings.TrimSpace(s) != s || s == "" {
			t.Errorf("traps.txt:%d: blanks around the sentence, or nothing", i+1)
		}
		for _, h := range judge(set, &sc, s) {
			t.Errorf("traps.txt:%d: %s hits %q in %q", i+1, h.Rule.ID, h.Term, s)
		}
	}
}

// The benign posts that ship are many, each stands there once, and the packs keep the default
// budget on them, under the ordinary words and limits as shipped.
func TestPacksKeepTheFalseAlarmBudget(t *testing.T) {
	benign, err := fs.Sub(configs.FS, "benign")
	if err != nil {
		t.Fatal(err)
	}
	corpus, err := rules.LoadCorpus(benign, "configs/benign", event.DefaultConfig())
	if err != nil {
		t.Fatal(err)
	}
	if corpus.Len() < 800 {
		t.Errorf("%d posts, want at least 800", corpus.Len())
	}
	names, err := fs.Glob(benign, "*")
	if err != nil {
		t.Fatal(err)
	}
	first := map[string]string{}
	for _, name := range names {
		for i, s := range lines(t, "benign/"+name, false) {
			at := fmt.Sprintf("%s:%d", name, i+1)
			if strings.TrimSpace(s) != s || s == "" {
				t.Errorf("%s: blanks around the post, or nothing", at)
			}
			if first[s] != "" {
				t.Errorf("%s: stands in %s already", at, first[s])
			}
			first[s] = at
		}
	}
	report, err := starterPacks(t).CheckBudget(t.Context(), corpus, rules.DefaultBudget())
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d of %d posts hit", report.Hit, report.Posts)
}

// No exception is there for nothing: each stands in an ordinary sentence that its
// rule would hit if it had no exceptions.
func TestEveryExceptionSavesASentence(t *testing.T) {
	strict, err := rules.Load(os.DirFS(withoutExceptions(t)), register(t), rules.Options{})
	if err != nil {
		t.Fatal(err)
	}
	sentences := lines(t, "benign/traps.txt", false)
	folded := make([]string, len(sentences))
	for i, s := range sentences {
		folded[i] = fold.String(s)
	}
	var sc rules.Scratch
	for _, r := range starterPacks(t).All() {
		for _, e := range r.Except {
			saves := false
			for i, s := range sentences {
				saves = saves || strings.Contains(folded[i], fold.String(e.Text)) &&
					slices.ContainsFunc(judge(strict, &sc, s), func(h rules.Hit) bool { return h.Rule.ID == r.ID })
			}
			if !saves {
				t.Errorf("%s: the exception %q saves no sentence of traps.txt", r.ID, e.Text)
			}
		}
	}
}

// The tests that ship beside the packs pass.
func TestStarterTestsPass(t *testing.T) {
	set := starterPacks(t)
	packs, err := fs.Sub(configs.FS, "rules")
	if err != nil {
		t.Fatal(err)
	}
	tests, err := rules.LoadTests(packs, "rules", set)
	if err != nil {
		t.Fatal(err)
	}
	if len(tests.Cases) == 0 {
		t.Error("no tests ship")
	}
	for _, f := range tests.Run(set) {
		t.Errorf("%v\n%s", &f, f.Diff())
	}
}

// withoutExceptions returns a directory with the starter packs less all exceptions.
func withoutExceptions(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	names, err := fs.Glob(configs.FS, "rules/*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range names {
		src, err := configs.FS.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		var kept strings.Builder
		inside := false
		for line := range strings.Lines(string(src)) {
			inside = strings.HasPrefix(line, "    except:") || inside && strings.HasPrefix(line, "      ")
			if !inside {
				kept.WriteString(line)
			}
		}
		if err := os.WriteFile(filepath.Join(dir, filepath.Base(name)), []byte(kept.String()), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// What the packs are for is hit by the rule that is meant, disguised or plain,
// at least twice for each rule.
func TestEvilIsHit(t *testing.T) {
	set := starterPacks(t)
	var sc rules.Scratch
	count := map[string]int{}
	for i, line := range lines(t, "testdata/evil.tsv", false) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		text, id, ok := strings.Cut(line, "\t")
		if !ok {
			t.Fatalf("evil.tsv:%d: no tab; write text, tab, rule", i+1)
		}
		count[id]++
		hits := judge(set, &sc, unescape(t, text))
		if !slices.ContainsFunc(hits, func(h rules.Hit) bool { return h.Rule.ID == id }) {
			t.Errorf("evil.tsv:%d: %s does not hit %q", i+1, id, text)
		}
	}
	for _, r := range set.All() {
		if n := count[r.ID]; n < 2 && r.Pack != rules.CanaryPack {
			t.Errorf("%s stands in evil.tsv %d times, want at least twice", r.ID, n)
		}
		delete(count, r.ID)
	}
	for id := range count {
		t.Errorf("evil.tsv names %s, which is no rule", id)
	}
}

// unescape replaces \uXXXX by the character.
func unescape(t *testing.T, s string) string {
	t.Helper()
	var b strings.Builder
	for {
		before, after, found := strings.Cut(s, `\u`)
		b.WriteString(before)
		if !found {
			return b.String()
		}
		var r rune
		if _, err := fmt.Sscanf(after[:min(4, len(after))], "%04x", &r); err != nil {
			t.Fatalf("bad escape in %q", s)
		}
		b.WriteRune(r)
		s = after[4:]
	}
}

// Real posts hit seldom. The sets are of toxic posts for a good part, so that
// insults are found in them rightly; of all other packs hardly any may be hit.
func TestRealPostsHitSeldom(t *testing.T) {
	dir := os.Getenv("WEIR_TEST_DATA")
	if dir == "" {
		dir = "../../shared/data"
	}
	set := starterPacks(t)
	const most, mostInsult = 0.0005, 0.003 // of all posts, per pack
	for _, name := range []string{"posts_zh_short.txt", "posts_en.txt"} {
		t.Run(name, func(t *testing.T) {
			posts := lines(t, filepath.Join(dir, name), true)
			var sc rules.Scratch
			hit := map[string]int{}
			for _, p := range posts {
				packs := map[string]bool{}
				for _, h := range judge(set, &sc, p) {
					packs[h.Rule.Pack] = true
				}
				for pack := range packs {
					hit[pack]++
				}
			}
			for _, pack := range []string{"canary", "drugs", "fraud", "gambling", "insult", "obscenity", "violence", "weapons"} {
				rate := float64(hit[pack]) / float64(len(posts))
				t.Logf("%-9s %3d of %d posts (%.3f %%)", pack, hit[pack], len(posts), 100*rate)
				limit := most
				switch pack {
				case "insult":
					limit = mostInsult
				case "canary":
					limit = 0
				}
				if rate > limit {
					t.Errorf("pack %s hits %.3f %% of the posts, want at most %.3f %%", pack, 100*rate, 100*limit)
				}
			}
		})
	}
}

package rules

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/weir-moderation/weir/pipeline/event"
	"github.com/weir-moderation/weir/rules/form"
)

// What the shipped packs say is tested beside them, in package configs. Here they
// are real packs to load and to judge real posts by.

// realPosts returns the posts of a file of the test data.
func realPosts(tb testing.TB, name string) []string {
	tb.Helper()
	dir := os.Getenv("WEIR_TEST_DATA")
	if dir == "" {
		dir = "../../shared/data"
	}
	data, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		tb.Skipf("no test data (set WEIR_TEST_DATA): %v", err)
	}
	return strings.Split(strings.TrimSpace(string(data)), "\n")
}

// On real posts, toxic ones among them, the packs hit little but insults. The
// rates are logged (-v); the bounds are there to notice when a term goes wrong.
func TestRealPosts(t *testing.T) {
	_, set := shipped(t, Options{Words: shippedWords(t)})
	if err := set.SelfTest(); err != nil {
		t.Error(err)
	}
	var sc Scratch
	for _, name := range []string{"posts_zh_short.txt", "posts_en.txt"} {
		texts := realPosts(t, name)
		packs := make(map[string]int)
		for _, text := range texts {
			seen := make(map[string]bool)
			for _, h := range set.Match(&sc, post("text", text)) {
				if !seen[h.Rule.Pack] {
					packs[h.Rule.Pack]++
				}
				seen[h.Rule.Pack] = true
			}
		}
		t.Logf("%s: posts hit of %d: %v", name, len(texts), packs)
		for pack, n := range packs {
			bound := 0.001
			if pack == "insult" {
				bound = 0.02 // the set was collected for its insults
			}
			if rate := float64(n) / float64(len(texts)); rate > bound {
				t.Errorf("%s: pack %s hits %.4f of all posts", name, pack, rate)
			}
		}
	}
}

// inForms returns the shipped packs with every rule in the given forms.
func inForms(tb testing.TB, forms string, o Options) *Set {
	tb.Helper()
	reg, set := shipped(tb, Options{})
	fsys := fstest.MapFS{}
	for _, r := range set.All() {
		name := filepath.Base(r.File)
		if fsys[name] != nil {
			continue
		}
		src, err := os.ReadFile(filepath.Join("..", "configs", "rules", name))
		if err != nil {
			tb.Fatal(err)
		}
		text := stateLine.ReplaceAllString(formsLine.ReplaceAllString(string(src), ""), "${0}\n${1}forms: "+forms)
		fsys[name] = &fstest.MapFile{Data: []byte(stateInBraces.ReplaceAllString(text, "${0} forms: "+forms+","))}
	}
	inForms, err := Load(fsys, reg, o)
	if err != nil {
		tb.Fatal(err)
	}
	for i, r := range inForms.Rules() {
		if r.ID != set.Rules()[i].ID || (r.Forms == form.Fold) != (forms == "fold") || (r.Forms == form.All) != (forms == "all") {
			tb.Fatalf("%s has %s", r.ID, r.Forms)
		}
	}
	return inForms
}

// formsLine is where a rule says its forms, stateLine where it says its state in a line of its own,
// stateInBraces where it is written in one line.
var (
	formsLine     = regexp.MustCompile(`(?m)^ +forms: .*\n`)
	stateLine     = regexp.MustCompile(`(?m)^( +)state: \w+$`)
	stateInBraces = regexp.MustCompile(`\bstate: \w+,`)
)

// Under the ordinary words as shipped the packs hit no ordinary text, and all that is meant: with their
// own forms, with one and with every one.
func TestPacksWithWords(t *testing.T) {
	data := func(name string) []string {
		src, err := os.ReadFile(filepath.Join("..", "configs", filepath.FromSlash(name)))
		if err != nil {
			t.Fatal(err)
		}
		return strings.Split(strings.TrimSuffix(string(src), "\n"), "\n")
	}
	var sc Scratch
	words := Options{Words: shippedWords(t)}
	_, set := shipped(t, words)
	var pushed []string // rules that judge no posts, which package configs tests
	for _, r := range set.Rules() {
		if !slices.Contains(r.Kinds, event.Post) {
			pushed = append(pushed, r.ID)
		}
	}
	for name, set := range map[string]*Set{"default": set, "fold": inForms(t, "fold", words), "all": inForms(t, "all", words)} {
		if err := set.SelfTest(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		for i, text := range data("benign/traps.txt") {
			e := post("text", text)
			for _, h := range set.Match(&sc, e) {
				t.Errorf("%s: traps.txt:%d: %s in %s", name, i+1, quote(e, []Hit{h}), h.Form)
			}
		}
		n := 0
		for i, line := range data("testdata/evil.tsv") {
			text, id, ok := strings.Cut(line, "\t")
			if strings.HasPrefix(line, "#") || !ok || slices.Contains(pushed, id) {
				continue
			}
			n++
			text = escape.ReplaceAllStringFunc(text, func(s string) string {
				r, err := strconv.ParseUint(s[2:], 16, 32)
				if err != nil {
					t.Fatal(err)
				}
				return string(rune(r))
			})
			if !slices.ContainsFunc(set.Match(&sc, post("text", text)), func(h Hit) bool { return h.Rule.ID == id }) {
				t.Errorf("%s: evil.tsv:%d: %s does not hit %q", name, i+1, id, text)
			}
		}
		if n < 50 {
			t.Errorf("%d texts in evil.tsv", n)
		}
	}
}

// escape is how evil.tsv writes a character that nobody sees.
var escape = regexp.MustCompile(`\\u[0-9a-fA-F]{4}`)

// The canaries of a set are the live rules of the pack of that name, and the self
// test notices one that does not hit.
func TestCanaries(t *testing.T) {
	set, err := Load(packs(
		"canary.yaml", "pack: canary\nrules:\n  - {id: canary.fraud, category: fraud, state: live, terms: [weircanaryfraud]}\n"+
			"  - {id: canary.gambling, category: gambling, state: draft, terms: [weircanarygambling]}\n",
		"other.yaml", "pack: other\nrules:\n  - {id: other.a, category: fraud, state: live, terms: [ab]}\n"), register(t), Options{})
	if err != nil {
		t.Fatal(err)
	}
	if c := set.Canaries(); len(c) != 1 || c[0] != (Canary{"fraud", "canary.fraud", "weircanaryfraud"}) {
		t.Errorf("%v", c)
	}
	if err := set.SelfTest(); err != nil {
		t.Error(err)
	}
	set.rules[0].Lists[0][0].Text = "something else" // as if the automaton had lost the term
	if err := set.SelfTest(); err == nil || err.Error() != "rule canary.fraud does not hit its own term 0" {
		t.Errorf("got %v", err)
	}
}

// Real posts, in the forms that the packs have and only as they stand.
func BenchmarkMatch(b *testing.B) {
	_, all := shipped(b, Options{Words: shippedWords(b)})
	for _, set := range []struct {
		name string
		set  *Set
	}{{"forms", all}, {"fold", inForms(b, "fold", Options{})}} {
		for _, name := range []string{"posts_zh_short.txt", "posts_en.txt", "posts_zh_long.txt"} {
			b.Run(set.name+"/"+strings.TrimSuffix(name, ".txt"), func(b *testing.B) {
				texts := realPosts(b, name)
				events := make([]*event.Event, len(texts))
				size := 0
				for i, text := range texts {
					events[i] = post("text", text)
					size += len(text)
				}
				var sc Scratch
				b.SetBytes(int64(size / len(texts)))
				b.ReportAllocs()
				i := 0
				for b.Loop() {
					set.set.Match(&sc, events[i%len(events)])
					i++
				}
			})
		}
	}
}

// Texts made to hit as often as can be, within exceptions and without.
func BenchmarkFlood(b *testing.B) {
	set := load(b, Options{}, "id: p.a, category: fraud, state: live, terms: [赌博, 赌博网], except: [反赌博宣传]")
	for name, text := range map[string]string{"hits": "赌博网", "exceptions": "反赌博宣传"} {
		b.Run(name, func(b *testing.B) {
			e := post("text", strings.Repeat(text, 1<<20/len(text)))
			b.SetBytes(int64(len(e.Fields[0].Text)))
			var sc Scratch
			for b.Loop() {
				set.Match(&sc, e)
			}
		})
	}
}

func BenchmarkLoad(b *testing.B) {
	for b.Loop() {
		shipped(b, Options{})
	}
}

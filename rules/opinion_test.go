package rules

import (
	"errors"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/weir-moderation/weir/rules/automaton"
)

const criticalRule = "id: p.a, category: gambling, severity: critical, state: live, terms: [赌博, casino]"

// Both engines find the same, so a second opinion changes nothing; and where one of them is
// broken, what the other finds is a hit all the same and the difference is known.
func TestSecondOpinion(t *testing.T) {
	set := load(t, Options{SecondOpinion: SecondOpinion{Every: 1}}, criticalRule, "id: p.b, category: fraud, state: live, terms: [刷单]")
	var sc Scratch
	e := post("text", "来赌-博，CASINO，刷单")
	whole := slices.Clone(set.Match(&sc, e))
	if len(whole) != 3 || len(sc.Diverged()) != 0 {
		t.Fatalf("%s, diverged %v", quote(e, whole), sc.Diverged())
	}

	other := load(t, Options{}, "id: p.a, category: gambling, severity: critical, state: live, terms: [赌博]")
	blind := *set
	blind.second = other // it misses a term
	if hits := blind.Match(&sc, e); !slices.Equal(hits, whole) || len(sc.Diverged()) != 1 || sc.Diverged()[0].ID != "p.a" {
		t.Errorf("second engine blind: %s, diverged %v", quote(e, hits), sc.Diverged())
	}
	blind = *set
	blind.forms, blind.uses = other.forms, other.uses
	blind.uses = slices.Clone(other.uses)
	for i := range blind.uses {
		blind.uses[i].rule = set.Rules()[0]
	}
	hits := blind.Match(&sc, e)
	if len(hits) != 2 || hits[1].Term != "casino" || hits[1].Rule != set.Rules()[0] || len(sc.Diverged()) != 1 {
		t.Errorf("first engine blind: %s, diverged %v", quote(e, hits), sc.Diverged())
	}
}

// A sample depends on the event's id alone, costs nothing for the others, and is about of the
// size that was asked for.
func TestSecondOpinionSample(t *testing.T) {
	set := load(t, Options{SecondOpinion: SecondOpinion{Every: 10}}, criticalRule)
	e := post("text", "calm")
	n := 0
	for i := range 10_000 {
		e.ID = []byte{byte(i), byte(i >> 8), 'x'}
		first := set.sampled(e)
		if first != set.sampled(e) {
			t.Fatal("an event is looked at twice at one time and not at another")
		}
		if first {
			n++
		}
	}
	if n < 800 || n > 1200 {
		t.Errorf("%d of 10000, want about 1000", n)
	}
	if load(t, Options{}, criticalRule).sampled(e) || load(t, Options{SecondOpinion: SecondOpinion{Every: 1}}, "id: p.b, category: fraud, state: live, terms: [刷单]").sampled(e) {
		t.Error("a second opinion without critical rules, or unasked")
	}
}

// Critical rules that are too many for the second engine are refused with both ways out.
func TestSecondOpinionBudget(t *testing.T) {
	src := "pack: p\nrules:\n  - {id: p.a, category: gambling, severity: critical, state: live, forms: [fold], terms: [" +
		strings.Repeat("赌", 60) + "博, " + strings.Repeat("casino ", 8) + "x]}\n"
	_, err := Load(packs("p.yaml", src), register(t), Options{SecondOpinion: SecondOpinion{Every: 1, MemoryBudget: 1 << 16}})
	if err == nil || !strings.Contains(err.Error(), "raise rules.second_opinion.memory_budget to 2MiB, or give rules.second_opinion.every: 0 to turn it off") {
		t.Errorf("%v", err)
	}
	if _, ok := errors.AsType[*automaton.BudgetError](err); !ok {
		t.Errorf("%T is no error of a budget", err)
	}
}

// The default budget refuses no list: as many of the critical terms as fit are asked of the second
// engine, the same ones however they are written, and of the others no difference is told. A budget
// that somebody chose refuses.
func TestSecondOpinionOfMoreThanFits(t *testing.T) {
	if testing.Short() || raceEnabled {
		t.Skip("fills the budget of the second engine")
	}
	var terms []string
	for i := range 4_000 {
		terms = append(terms, "xyz"+string([]rune{'a' + rune(i/676), 'a' + rune(i/26%26), 'a' + rune(i%26)}))
	}
	rule := func(terms []string) string {
		return "id: p.a, category: gambling, severity: critical, state: live, forms: [squeeze], terms: [" + strings.Join(terms, ", ") +
			"], except: [" + terms[0] + "片]"
	}
	set := load(t, Options{SecondOpinion: SecondOpinion{Every: 1}}, rule(terms), criticalRule[:len("id: p.")]+"b"+criticalRule[len("id: p.a"):])
	st := set.Stats().Second
	if st.LeftOut < 1000 || st.Terms < 1000 || st.Terms+st.LeftOut != 4_002 || st.Memory > DefaultSecondBudget || st.Memory < DefaultSecondBudget/2 {
		t.Errorf("%+v", st)
	}
	var sc Scratch
	for _, term := range terms[1:] {
		if hits := set.Match(&sc, post("text", term)); len(hits) != 1 || len(sc.Diverged()) != 0 {
			t.Fatalf("%s: %d hits, diverged %v", term, len(hits), sc.Diverged())
		}
	}
	blind := *set
	blind.second = load(t, Options{}, "id: p.a, category: gambling, severity: critical, state: live, terms: [ab]")
	told := 0
	for _, term := range terms[1:] {
		blind.Match(&sc, post("text", term))
		told += len(sc.Diverged())
	}
	if told < st.Terms-4 || told > st.Terms {
		t.Errorf("of %d terms that a blind engine is asked it is told of %d", st.Terms, told)
	}

	slices.Reverse(terms[1:])
	again := load(t, Options{SecondOpinion: SecondOpinion{Every: 1}}, rule(terms), criticalRule[:len("id: p.")]+"b"+criticalRule[len("id: p.a"):])
	if !maps.Equal(again.asked, set.asked) {
		t.Error("the order in which terms are written decides which are asked for")
	}
	_, err := Load(packs("p.yaml", "pack: p\nrules:\n  - {"+rule(terms)+"}\n"), register(t),
		Options{SecondOpinion: SecondOpinion{Every: 1, MemoryBudget: DefaultSecondBudget}})
	if err == nil || !strings.Contains(err.Error(), "raise rules.second_opinion.memory_budget to ") {
		t.Errorf("a budget of one's own: %v", err)
	}
}

// A set says what its second engine is asked, and nothing where there is none.
func TestSecondOpinionStats(t *testing.T) {
	shadow := "id: p.c, category: fraud, severity: critical, state: shadow, terms: [刷单]"
	got := load(t, Options{SecondOpinion: SecondOpinion{Every: 7}}, criticalRule, shadow, "id: p.b, category: fraud, severity: high, state: live, terms: [ab]").Stats().Second
	if got.Every != 7 || got.Rules != 2 || got.Terms != 3 || got.Memory < 1<<18 {
		t.Errorf("%+v", got)
	}
	if got := load(t, Options{}, criticalRule).Stats().Second; got != (Second{}) {
		t.Errorf("without a second opinion: %+v", got)
	}
}

// The counter of differences is an alarm that an engine is broken, so no text raises it while both
// are sound: whatever is mixed, in whatever forms the rules read it, whoever is the first.
func TestSoundEnginesAgree(t *testing.T) {
	pieces := []string{"赌博", "赌", "博", "反", "宣", "传", "ab", "a", "b", " ", "Ａ", "\u200b", "\xff", "，", "反赌博宣传", "-", "\n", "賭", "c", "d", "0", "百", "白",
		"家", "乐", "bai", "jia", "le", "c4s1n0", "casino", "&#36172;", "&#21338;", "%E8%B5%8C", "贝者", "🎰", "8", "九", "六", "四", "bjl", "哈", "老虎机", "<b>", "博赌博"}
	for _, engine := range []Engine{EngineWeir, EngineCloudflare} {
		for _, forms := range []string{"", ", forms: all", ", forms: [split, decode, leet, shape]"} {
			set := load(t, Options{Words: shippedWords(t), Engine: engine, MemoryBudget: 1 << 30, SecondOpinion: SecondOpinion{Every: 1}},
				"id: p.a, category: fraud, severity: critical, state: live, terms: [赌博, 博赌博, 百家乐, casino, 哈哈, aa], except: [反赌博宣传, 百家乐器]"+forms,
				`id: p.b, category: fraud, severity: critical, state: shadow, terms: ["8964", 老虎机, ab c]`+forms,
				"id: p.c, category: fraud, severity: low, state: live, terms: [赌博, 家乐, aa], except: [ab aa], forms: all",
				"id: p.d, category: fraud, severity: critical, state: live, terms: [赌博, c d], forms: fold, fields: [a]")
			var sc Scratch
			random := rand.New(rand.NewPCG(7, 8))
			critical := 0
			for range share(4_000) {
				var b strings.Builder
				for range random.IntN(14) {
					b.WriteString(pieces[random.IntN(len(pieces))])
				}
				e := post("a", b.String(), "b", "赌&#21338;")
				for _, h := range set.Match(&sc, e) {
					if h.Rule.Severity == Critical && h.Form&manySpellings == 0 {
						critical++
					}
				}
				if d := sc.Diverged(); len(d) > 0 {
					t.Errorf("%s first%s: %q: the engines differ on %s", engine, forms, b.String(), d[0].ID)
				}
			}
			if critical < share(1_000) {
				t.Errorf("%s first%s: only %d hits were compared", engine, forms, critical)
			}
		}
	}
}

// A reading that only the first engine looks for may take the place of one that both know. That is
// no difference between them, and nothing is lost by it; but a term that the first engine does not
// find at all still is one.
func TestSecondOpinionOfDisplacedReadings(t *testing.T) {
	set := load(t, Options{SecondOpinion: SecondOpinion{Every: 1}}, "id: p.a, category: fraud, severity: critical, state: live, terms: [博赌博, casino]")
	var sc Scratch
	e := post("text", "博贝者博&#36172;博")
	hits := slices.Clone(set.Match(&sc, e))
	if got, want := quoteForms(e, hits), "p.a@text:0=博贝者博/split p.a@text:9=博&#36172;博/decode"; got != want || len(sc.Diverged()) != 0 {
		t.Errorf("got %s, want %s; diverged %v", got, want, sc.Diverged())
	}
	broken := *set
	broken.second = load(t, Options{}, "id: p.a, category: fraud, severity: critical, state: live, terms: [博赌博]")
	if broken.Match(&sc, post("text", "博贝者博&#36172;博 casino")); len(sc.Diverged()) != 1 {
		t.Errorf("%d differences beside a displaced reading, want 1", len(sc.Diverged()))
	}
}

// Where any rule looks for a number every numeral of a row counts, also for the second engine, which
// knows only the critical rules.
func TestSecondOpinionOfNumerals(t *testing.T) {
	set := load(t, Options{SecondOpinion: SecondOpinion{Every: 1}},
		"id: p.a, category: fraud, severity: critical, state: live, terms: [第三者, 丁二烯], except: [抓第三者, 买丁二烯]",
		`id: p.b, category: fraud, severity: medium, state: live, terms: ["8964"]`)
	var sc Scratch
	for text, want := range map[string]string{
		"第三者": "p.a@text:0=第三者/fold", "第三三者": "", "丁二-二烯": "", "抓第三者": "", "抓第三三者": "", "买买丁二烯": "",
	} {
		e := post("text", text)
		if got := quoteForms(e, set.Match(&sc, e)); got != want || len(sc.Diverged()) != 0 {
			t.Errorf("%q: got %q, want %q; diverged %v", text, got, want, sc.Diverged())
		}
	}
}

// An event that is not in the sample costs no memory.
func TestSecondOpinionAllocations(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector allocates")
	}
	set := load(t, Options{SecondOpinion: SecondOpinion{Every: 1_000_000}}, criticalRule)
	e := post("text", "来赌-博，CASINO")
	e.ID = []byte("x")
	if set.sampled(e) {
		t.Fatal("the event is in the sample; choose another id")
	}
	var sc Scratch
	set.Match(&sc, e)
	if n := testing.AllocsPerRun(50, func() { set.Match(&sc, e) }); n != 0 || sc.second != nil {
		t.Errorf("%v allocations, second scratch %v", n, sc.second)
	}
}

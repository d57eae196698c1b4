package automaton

import (
	"cmp"
	"errors"
	"fmt"
	"math/rand"
	"runtime"
	"slices"
	"strings"
	"testing"
)

// pair is the same patterns in both engines.
type pair struct {
	own, ref *Automaton
	sc       Scratch
	text     Text
	blocks   map[int]int // how many blocks there were by size
}

func newPair(tb testing.TB, patterns []Pattern, o Options) *pair {
	tb.Helper()
	o.MemoryBudget = 4 << 30
	p := &pair{own: compiled(tb, patterns, o), blocks: make(map[int]int)}
	o.Engine = Cloudflare
	p.ref = compiled(tb, patterns, o)
	return p
}

func hitOrder(a, b Hit) int {
	return cmp.Or(cmp.Compare(a.Start, b.Start), cmp.Compare(a.End, b.End), cmp.Compare(a.Entry, b.Entry))
}

// search is a way to search, with what is wanted of it: either engine may find others
// that begin as those do.
type search struct {
	start  func(*Automaton, *Scratch, []Symbol)
	wanted func(*entry) bool
}

var everything = search{(*Automaton).Start, func(*entry) bool { return true }}

// next returns what is wanted of the next block, in order.
func (p *pair) next(a *Automaton, s search) ([]Hit, bool) {
	more := a.Next(&p.sc)
	hits := slices.DeleteFunc(slices.Clone(p.sc.Hits), func(h Hit) bool { return !s.wanted(&a.entries[h.Entry]) })
	slices.SortFunc(hits, hitOrder)
	return hits, more
}

// compare searches the text with both engines and returns how many hits there are. Then it
// searches again, and done says which entries are done with when they have been found: with
// either engine, each block must have the hits that begin in it of all entries not found and
// done with in a block before.
func (p *pair) compare(t *testing.T, s search, done func(entry uint32) bool) int {
	t.Helper()
	var all []Hit
	for s.start(p.ref, &p.sc, p.text.Symbols); ; {
		hits, more := p.next(p.ref, s)
		if !more {
			break
		}
		all = append(all, hits...)
	}
	for _, engine := range []struct {
		name string
		*Automaton
	}{{"own", p.own}, {"cloudflare", p.ref}} {
		rest, from := all, 0
		gone := make(map[uint32]bool)
		for s.start(engine.Automaton, &p.sc, p.text.Symbols); ; {
			got, more := p.next(engine.Automaton, s)
			if !more {
				break
			}
			size := p.sc.from - from
			if from = p.sc.from; size <= 0 || size > blockSize || size > floodBlock && len(p.sc.Hits) > floodHits {
				t.Fatalf("text %q, %s: a block of %d symbols with %d hits", p.text.Source, engine.name, size, len(p.sc.Hits))
			}
			p.blocks[size]++
			n, _ := slices.BinarySearchFunc(rest, Hit{Start: int32(from)}, hitOrder)
			want := slices.DeleteFunc(slices.Clone(rest[:n]), func(h Hit) bool { return gone[h.Entry] })
			if rest = rest[n:]; !slices.Equal(got, want) {
				t.Fatalf("text %q, %s, block of %d to symbol %d\n got %v\nwant %v", p.text.Source, engine.name, size, from, got, want)
			}
			for _, h := range got {
				if done(h.Entry) {
					gone[h.Entry] = true
					engine.Done(&p.sc, h.Entry)
				}
			}
		}
		if len(rest) > 0 {
			t.Fatalf("text %q, %s: no block for %v", p.text.Source, engine.name, rest)
		}
	}
	return len(all)
}

// rewrite leaves out and changes some of the symbols of a decoded text.
func rewrite(r *rand.Rand, t *Text) {
	out := t.Symbols[:0]
	for _, s := range t.Symbols {
		switch r.Intn(8) {
		case 0:
			continue
		case 1:
			s = s.Loose()
		case 2:
			s = s.Joined()
		}
		out = append(out, s)
	}
	clear(out[len(out) : len(out)+Padding])
	t.Symbols = out
}

// Both engines find the same, hit by hit, however the search is begun
// and whatever is done with on the way.
func TestReference(t *testing.T) {
	const texts = 20
	sets := 400
	if testing.Short() || raceEnabled {
		sets = 50
	}
	// With so many more characters, more frequent than the patterns' own, the codes of these
	// fit into 7 bits, are about where the first byte changes, and are far above.
	var more [3]string
	for i, n := range []int{0, 126, 5000} {
		more[i] = strings.Repeat(string(han(n)), 30)
	}
	nothing := func(uint32) bool { return false }
	for _, start := range []struct {
		name string
		search
	}{
		{"start", everything},
		{"rewritten", search{(*Automaton).StartRewritten, everything.wanted}},
		{"main", search{(*Automaton).Start, (*entry).main}},
		{"aside", search{(*Automaton).StartAside, (*entry).aside}},
	} {
		t.Run(start.name, func(t *testing.T) {
			t.Parallel()
			r := rand.New(rand.NewSource(5))
			hits, floods := 0, 0
			for range sets / 4 {
				letters := alphabets[r.Intn(len(alphabets))]
				patterns := randomPatterns(r, letters)
				for i := range patterns {
					patterns[i].Aside = (start.name == "main" || start.name == "aside") && r.Intn(2) == 0
				}
				p := newPair(t, patterns, Options{Alphabet: more[r.Intn(len(more))]})
				for range texts {
					p.own.Decode(&p.text, randomText(r, letters))
					if start.name == "rewritten" {
						rewrite(r, &p.text)
					}
					for _, done := range []func(uint32) bool{nothing, func(e uint32) bool { return e%3 != 0 }} {
						hits += p.compare(t, start.search, done)
					}
				}
				floods += p.blocks[floodBlock]
			}
			if floods == 0 {
				t.Error("there was no flood")
			}
			if hits < sets*texts {
				t.Errorf("%d hits: too few to compare anything", hits)
			}
		})
	}
}

// On real lists and posts both engines find the same.
func TestReferenceOnPosts(t *testing.T) {
	nothing := func(uint32) bool { return false }
	for _, c := range []struct {
		list  string
		posts []string
	}{
		{"zh_1000", []string{"zh_short"}},
		{"zh_10000", []string{"zh_short", "zh_long"}},
		{"mix_10000", []string{"mixed", "en"}},
	} {
		t.Run(c.list, func(t *testing.T) {
			list := terms(t, c.list)
			if testing.Short() || raceEnabled {
				// The whole lists take more than half a gigabyte each.
				few := list[:0]
				for i := 0; i < len(list); i += 1 + len(list)/1000 {
					few = append(few, list[i])
				}
				list = few
			}
			p := newPair(t, list, Options{})
			hits := 0
			for _, name := range c.posts {
				posts := lines(t, "posts_"+name)
				compared, before := 0, hits
				for i := 0; i < len(posts); i += 1 + len(posts)/4000 {
					p.own.Decode(&p.text, posts[i])
					hits += p.compare(t, everything, nothing)
					compared++
				}
				t.Logf("%s: %d posts, %d hits", name, compared, hits-before)
			}
			if hits == 0 {
				t.Error("nothing was found")
			}
		})
	}
}

// A code that two bytes cannot hold stands for no pattern, and none that has one is taken.
func TestReferenceCodes(t *testing.T) {
	letters := han(maxReferenceCode + 200)
	// The pattern's character is more frequent than the others, so it has code 1.
	p := newPair(t, []Pattern{{Text: "啊啊啊啊"}}, Options{Alphabet: string(letters)})
	if p.own.Codes() <= maxReferenceCode+2 || p.own.Symbol('啊').Code() != 1 {
		t.Fatalf("%d codes, and %d", p.own.Codes(), p.own.Symbol('啊').Code())
	}
	alias := p.own.Rune(maxReferenceCode + 2) // in two bytes it would be code 1
	p.own.Decode(&p.text, []byte(strings.Repeat(string(alias), 8)+"啊啊啊啊"))
	if hits := p.compare(t, everything, func(uint32) bool { return false }); hits != 1 {
		t.Errorf("%d hits, want 1", hits)
	}

	rare := Pattern{Text: string(letters[len(letters)-1])}
	if _, err := New([]Pattern{rare}, Options{Engine: Cloudflare, Alphabet: strings.Repeat(string(letters[:maxReferenceCode]), 2)}); !errors.Is(err, ErrReferenceTooLarge) {
		t.Errorf("got %v, want %v", err, ErrReferenceTooLarge)
	}
}

// What just fits is found. All patterns that are longer are named.
func TestReferenceTooLong(t *testing.T) {
	fits := strings.Repeat("中", MaxReferenceBytes/2)
	patterns := []Pattern{{Text: fits + "国"}, {Text: fits}, {Text: fits + "人"}, {Text: fits + "国", Substring: true}}
	_, err := New(patterns, Options{Engine: Cloudflare})
	want := []refusal{{0, ErrReferenceTooLong}, {2, ErrReferenceTooLong}, {3, ErrReferenceTooLong}}
	if got := refusals(t, err); !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	a := compiled(t, patterns[1:2], Options{Engine: Cloudflare})
	if got := found(a, new(Text), new(Scratch), []byte(fits)); len(got) != 1 {
		t.Errorf("got %v, want the whole text", got)
	}
	compiled(t, patterns, Options{})
}

// A list that would take gigabytes is refused before it takes them.
func TestReferenceBudget(t *testing.T) {
	var patterns []Pattern
	for i := range 200_000 {
		patterns = append(patterns, Pattern{Text: fmt.Sprint("term ", i)})
	}
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	_, err := New(patterns, Options{Engine: Cloudflare})
	runtime.ReadMemStats(&after)
	refused, ok := errors.AsType[*BudgetError](err)
	if !ok || refused.Need < 10<<30 || refused.Budget != DefaultMemoryBudget {
		t.Errorf("got %v, want a refusal of more than 10 GiB", err)
	}
	if n := after.TotalAlloc - before.TotalAlloc; n > 256<<20 {
		t.Errorf("%d MiB were allocated for it", n>>20)
	}
}

// What the budget is held against is what the engines take.
func TestMemory(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector changes what memory is taken")
	}
	words := lexicon(20_000)
	heap := func() int64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.GC()
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	for _, c := range []struct {
		engine  Engine
		words   int
		percent int64 // that the estimate may be off
	}{{Own, 20_000, 3}, {Cloudflare, 600, 10}} {
		var patterns []Pattern
		for _, w := range words[:c.words] {
			patterns = append(patterns, Pattern{Text: w})
		}
		before := heap()
		a := compiled(t, patterns, Options{Engine: c.engine})
		took := heap() - before
		if need := a.Memory(); took < need*(100-c.percent)/100 || took > need*(100+c.percent)/100 {
			t.Errorf("engine %d takes %d bytes, estimated %d", c.engine, took, need)
		}
		runtime.KeepAlive(patterns)
	}
}

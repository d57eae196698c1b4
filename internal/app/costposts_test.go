package app_test

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/fstest"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/weir-moderation/weir/pipeline/event"
	"github.com/weir-moderation/weir/rules"
	"github.com/weir-moderation/weir/rules/fold"
)

// posts makes posts of real texts, 40 % Chinese, 30 % mixed, 30 % English, and
// terms of which none is in them but where it is put.
type posts struct {
	terms  []string
	titles []json.RawMessage
	bodies []string
	hits   int // of so many posts one is flagged
	chance *rand.Rand
}

const costTerms = 10_000

// costTexts is about how many bytes of text there are at most.
const costTexts = 16 << 20

// newPosts reads the samples and chooses so many terms. With size, bodies have about so
// many bytes. Without the samples the benchmark is skipped.
func newPosts(b *testing.B, terms, size int) *posts {
	b.Helper()
	read := func(name string) []string {
		dir := os.Getenv("WEIR_TEST_DATA")
		if dir == "" {
			dir = "../../../shared/data"
		}
		data, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			b.Skipf("no test data (set WEIR_TEST_DATA): %v", err)
		}
		return strings.Split(strings.TrimSpace(string(data)), "\n")
	}
	p := &posts{hits: costHits(), chance: rand.New(rand.NewPCG(1, 2))}
	zh, mixed, en := read("posts_zh_short.txt"), read("posts_mixed.txt"), read("posts_en.txt")
	kinds := [][]string{zh, zh, zh, zh, mixed, mixed, mixed, en, en, en}
	pick := func() string {
		kind := kinds[p.chance.IntN(len(kinds))]
		return kind[p.chance.IntN(len(kind))]
	}
	var texts []string
	for range min(50_000, costTexts/max(size, 1)) {
		body := pick()
		for size == 0 && len(body) < 150 && p.chance.IntN(2) == 0 || len(body) < size {
			body += " " + pick()
			if size == 0 {
				break
			}
		}
		if size > 0 {
			body = cut(body, size)
		}
		p.bodies = append(p.bodies, body)
		title := cut(pick(), 36)
		p.titles = append(p.titles, quote(b, title))
		texts = append(texts, title, body)
	}
	p.chooseTerms(b, terms, read("patterns_mix_all.txt"), texts)
	return p
}

// chooseTerms takes terms, as many as are wanted or there are, that are in none of the texts.
func (p *posts) chooseTerms(b *testing.B, most int, from, texts []string) {
	b.Helper()
	p.chance.Shuffle(len(from), func(i, j int) { from[i], from[j] = from[j], from[i] })
	found := make(map[string]bool)
	for again := true; again; {
		p.terms = p.terms[:0]
		same := make(map[string]bool)
		for _, t := range from {
			folded := fold.String(t)
			if n := utf8.RuneCountInString(t); len(p.terms) < most && !found[t] && !same[folded] && n >= 2 && n <= 60 && !strings.ContainsFunc(t, unicode.IsControl) {
				same[folded] = true
				p.terms = append(p.terms, t)
			}
		}
		dir := make(fstest.MapFS)
		for name, text := range p.packs(b) {
			dir[name] = &fstest.MapFile{Data: text}
		}
		set := loadTerms(b, dir)
		var scratch rules.Scratch
		again = false
		for _, t := range texts {
			e := &event.Event{Kind: event.Post, Fields: []event.Field{{Name: []byte("text"), Text: []byte(t)}}}
			for _, h := range set.Match(&scratch, e) {
				again, found[h.Term] = true, true
			}
		}
	}
}

// packs are packs of one rule each with the terms, looked for folded and in no other form,
// by the names of their files: as many as the size of a file allows.
func (p *posts) packs(b *testing.B) map[string][]byte {
	b.Helper()
	files := make(map[string][]byte)
	for part := range slices.Chunk(p.terms, 20_000) {
		name := "cost"
		if n := len(files); n > 0 {
			name += strconv.Itoa(n)
		}
		var s strings.Builder
		fmt.Fprintf(&s, "pack: %[1]s\nrules:\n  - id: %[1]s.review\n    category: cost\n    severity: low\n    action: review\n    state: live\n    forms: [fold]\n    terms:\n", name)
		for _, t := range part {
			fmt.Fprintf(&s, "      - {text: %s}\n", quote(b, t))
		}
		files[name+".yaml"] = []byte(s.String())
	}
	return files
}

// writeRules writes the packs into a directory.
func (p *posts) writeRules(b *testing.B, dir string) {
	b.Helper()
	for name, text := range p.packs(b) {
		if err := os.WriteFile(filepath.Join(dir, name), text, 0o600); err != nil {
			b.Fatal(err)
		}
	}
}

// post returns the key and the value of a post. One of so many holds a term.
func (p *posts) post(i int, user string, now time.Time) (key, value []byte) {
	k := p.chance.IntN(len(p.bodies))
	body := p.bodies[k]
	if i%p.hits == 0 {
		body += " " + p.terms[p.chance.IntN(len(p.terms))]
	}
	text, _ := json.Marshal(body) // a string can always be written
	value = fmt.Appendf(nil, `{"id":"p-%016x","kind":"post","time":%q,"user":{"id":%q,"group":"default","verified":%v},"operation":"post.create",`+
		`"fields":{"title":%s,"body":%s},"client":{"address":"203.0.113.%d","port":%d,"device":{"id":"d-%012x","app":"ios/8.4.1"}}}`,
		i, now.UTC().Format("2006-01-02T15:04:05.000Z"), user, i%3 == 0, p.titles[k], text, i%256, 1024+i%60_000, i)
	return []byte(user), value
}

func quote(b *testing.B, s string) json.RawMessage {
	b.Helper()
	text, err := json.Marshal(s)
	if err != nil {
		b.Fatal(err)
	}
	return text
}

// cut shortens a text to some bytes, or a few less.
func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	for !utf8.RuneStart(s[n]) {
		n--
	}
	return s[:n]
}

package main

import (
	"encoding/json"
	"fmt"
	"hash/fnv"
	"io"
	"math/rand/v2"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/weir-moderation/weir/rules"
	"github.com/weir-moderation/weir/rules/fold"
	"github.com/weir-moderation/weir/rules/form"
)

// measuring is one run of the command.
type measuring struct {
	o options
	*corpus
	log     io.Writer
	samples io.Writer // nil if nobody wants them
	scratch rules.Scratch
}

// sample is a post with a disguised term in it.
type sample struct {
	Disguise string `json:"disguise"`
	Term     string `json:"term"`
	Text     string `json:"text"`
	Start    int    `json:"start"` // bytes of Text that the disguised term takes
	End      int    `json:"end"`
}

// asked are the choices of forms that recall is measured for, as a rule would have them.
var asked = []struct {
	head  string
	forms []string
}{
	{"fold only", form.Fold.Words()},
	{"high", rules.DefaultForms(rules.High).Words()},
	{"critical", rules.DefaultForms(rules.Critical).Words()},
	{"all", []string{"all"}},
}

// recall returns the table of how many of the disguised terms are found: by comparing text in small letters, and in
// the forms that are asked for. A term is found if it is hit where it was put; and exactly if the hit covers what was
// put there and nothing else.
func (m *measuring) recall(disguises []disguise, terms, posts []string, in insertion) (string, error) {
	var sets []*rules.Set
	head := []string{"disguise", "read by", "terms", "posts", "plain search"}
	for _, a := range asked {
		s, err := m.set([]rule{{terms: terms}}, a.forms, m.words)
		if err != nil {
			return "", err
		}
		sets = append(sets, s)
		head = append(head, a.head)
	}
	t := table{append(head, "exact span")}
	all := sets[len(sets)-1]
	for _, d := range disguises {
		samples := m.draw(d, terms, posts, in, all)
		distinct := map[string]bool{}
		searched, exact, missed := 0, 0, 0
		found := make([]int, len(sets))
		for _, s := range samples {
			distinct[s.Term] = true
			if strings.Contains(strings.ToLower(s.Text), strings.ToLower(s.Term)) {
				searched++
			}
			whole := false
			for i, set := range sets {
				var hit bool
				if hit, whole = m.found(set, s); hit {
					found[i]++
				}
			}
			switch {
			case whole:
				exact++
			case missed < m.o.misses:
				missed++
				m.explain(all, d, s)
			}
			if m.samples != nil {
				if err := json.NewEncoder(m.samples).Encode(s); err != nil {
					return "", err
				}
			}
		}
		n := len(samples)
		row := []string{d.name, d.form, fmt.Sprint(len(distinct)), fmt.Sprint(n), percent(searched, n, 1)}
		for _, f := range found {
			row = append(row, percent(f, n, 1))
		}
		t.row(append(row, percent(exact, found[len(found)-1], 1))...)
	}
	return t.String(), nil
}

// found reports whether the set finds the term of a sample, and whether a hit has its very span.
func (m *measuring) found(set *rules.Set, s sample) (hit, exact bool) {
	for _, h := range set.Match(&m.scratch, post(s.Text)) {
		if h.Term == s.Term && h.Start < s.End && s.Start < h.End {
			hit = true
			exact = exact || h.Start == s.Start && h.End == s.End
		}
	}
	return hit, exact
}

// explain says what was hit of a sample instead.
func (m *measuring) explain(set *rules.Set, d disguise, s sample) {
	fmt.Fprintf(m.log, "%s: %s as %q in %q\n", d.name, s.Term, s.Text[s.Start:s.End], s.Text)
	for _, h := range set.Match(&m.scratch, post(s.Text)) {
		if h.Start < s.End && s.Start < h.End {
			fmt.Fprintf(m.log, "\thit %s as %s: %q\n", h.Term, h.Form, s.Text[h.Start:h.End])
		}
	}
}

// draw disguises terms and puts them into posts, each in a post of its own and in one in which it is not found
// already. It goes through the terms again until there are enough posts; there are none if no term can be disguised so.
func (m *measuring) draw(d disguise, terms, posts []string, in insertion, all *rules.Set) []sample {
	h := fnv.New64a()
	h.Write([]byte(d.name))
	r := rand.New(rand.NewPCG(m.o.seed, h.Sum64()))
	var samples []sample
	for len(samples) < m.o.posts {
		before := len(samples)
		for _, i := range r.Perm(len(terms)) {
			// What is dropped behind the last character is not part of a span.
			written := strings.TrimRightFunc(d.write(r, []rune(terms[i])), func(c rune) bool { return unicode.Is(unicode.Mn, c) })
			if written == "" {
				continue
			}
			text := posts[r.IntN(len(posts))]
			if m.holds(all, text, terms[i]) {
				continue
			}
			s := in(r, text, written)
			s.Disguise, s.Term = d.name, terms[i]
			if samples = append(samples, s); len(samples) == m.o.posts {
				break
			}
		}
		if len(samples) == before {
			break
		}
	}
	return samples
}

// holds reports whether a term is found in a text.
func (m *measuring) holds(set *rules.Set, text, term string) bool {
	for _, h := range set.Match(&m.scratch, post(text)) {
		if h.Term == term {
			return true
		}
	}
	return false
}

// insertion puts something into a post.
type insertion func(r *rand.Rand, text, what string) sample

// betweenClauses puts it at the front, at the end or behind a punctuation mark, with nothing between: Chinese is
// written so, and on one side at least a character follows directly. Where a letter or digit, maybe an escaped one,
// meets another, and both would be one token, there is a blank.
func betweenClauses(r *rand.Rand, text, what string) sample {
	places := []int{0, len(text)}
	for i, c := range text {
		if strings.ContainsRune("，。！？；：、,.!?;:… ", c) {
			places = append(places, i+utf8.RuneLen(c))
		}
	}
	at := choice(r, places)
	if at > 0 && isToken(text[at-1]) && first(what) {
		text, at = text[:at]+" "+text[at:], at+1
	}
	if at < len(text) && isToken(text[at]) && last(what) {
		text = text[:at] + " " + text[at:]
	}
	return sample{Text: text[:at] + what + text[at:], Start: at, End: at + len(what)}
}

// betweenWords puts it in place of a blank, with blanks around, or at the front or the end.
func betweenWords(r *rand.Rand, text, what string) sample {
	text = " " + text + " "
	var places []int
	for i := range len(text) {
		if text[i] == ' ' {
			places = append(places, i)
		}
	}
	at := choice(r, places)
	return sample{Text: text[:at] + " " + what + " " + text[at+1:], Start: at + 1, End: at + 1 + len(what)}
}

// first and last report whether a text begins and ends with a character that may belong to a token, as it is or escaped.
func first(text string) bool { r, _ := utf8.DecodeRuneInString(text); return grows(r) }

func last(text string) bool { r, _ := utf8.DecodeLastRuneInString(text); return grows(r) }

func grows(r rune) bool {
	to, _ := fold.Rune(r)
	return r < utf8.RuneSelf || fold.ClassOf(to) == fold.Token
}

func isToken(b byte) bool { return isLetter(rune(b)) || b >= '0' && b <= '9' }

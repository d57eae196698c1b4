package rules

import (
	"bytes"
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/weir-moderation/weir/internal/strictyaml"
	"github.com/weir-moderation/weir/pipeline/event"
	"github.com/weir-moderation/weir/rules/form"
)

// hitBy is what hit a text: a term that decides alone, or a rule that combines.
type hitBy struct {
	rule *linted
	term *Term // nil for the rule
}

// place is where it is written.
func (h hitBy) place() *strictyaml.Problem {
	if h.term == nil {
		return h.rule.at("id")
	}
	return h.rule.written(h.term).problem()
}

// what is how findings name it.
func (h hitBy) what() string {
	if h.term == nil {
		return "this rule"
	}
	return show(h.term.Text)
}

// hitBy returns what a hit is by.
func (l *linter) hitBy(h *Hit) hitBy {
	r := l.by[h.Rule]
	if r.Combines() {
		return hitBy{r, nil}
	}
	return hitBy{r, r.term(h.Term)}
}

// maxWords is how many ordinary words a finding names.
const maxWords = 3

// ordinary tells of what hits in an ordinary word without being it, by judging each word alone.
func (l *linter) ordinary() {
	if slices.Contains(l.o.Disable, PartOfWord) {
		return
	}
	// What a rule looks at; one word is judged for all rules that look at the same.
	type look struct {
		kind  event.Kind
		field string
	}
	looks := make(map[look]bool)
	of := func(r *linted) look {
		return look{r.Kinds[0], cmp.Or(slices.Concat(r.Fields, []string{"text"})[0], "text")}
	}
	for _, r := range l.rules {
		looks[of(r)] = true
	}
	for _, list := range l.o.Ordinary {
		found := make(map[hitBy]*inWords)
		for k := range looks {
			e := event.Event{Kind: k.kind, Fields: []event.Field{{Name: []byte(k.field)}}}
			for line := range bytes.Lines(list.Text) {
				line = bytes.TrimSpace(line)
				if len(line) == 0 || line[0] == '#' {
					continue
				}
				word, number, _ := bytes.Cut(line, []byte(" "))
				times, _ := strconv.Atoi(string(number)) // 0 for one that was not counted
				e.Fields[0].Text = word
				hits := l.set.Match(&l.sc, &e)
				for i := range hits {
					h := &hits[i]
					if of(l.by[h.Rule]) != k || h.Form == form.Fold && h.End-h.Start == len(word) {
						continue
					}
					by := l.hitBy(h)
					if found[by] == nil {
						found[by] = new(inWords)
					}
					found[by].add(string(word), times, h.Form)
				}
			}
		}
		for by, in := range found {
			l.add(PartOfWord, by.rule, by.place(), "%s hits%s in %s of %s; give exceptions, a longer term, fewer forms or another boundary", by.what(), in.reading(), in, list.Name)
		}
	}
}

// inWords are ordinary words that hold a term, or read like one.
type inWords struct {
	n     int
	words []ordinaryWord // those that were counted most
	forms form.Form      // in which the term was read
	last  string         // the word that was counted last
}

type ordinaryWord struct {
	text  string
	times int
}

// add counts a word, which may come twice in a row if it holds the term twice.
func (w *inWords) add(text string, times int, f form.Form) {
	w.forms |= f
	if text == w.last {
		return
	}
	w.n++
	w.last = text
	i, _ := slices.BinarySearchFunc(w.words, times, func(k ordinaryWord, times int) int { return cmp.Compare(times, k.times) })
	for i < len(w.words) && w.words[i].times == times {
		i++
	}
	if i < maxWords {
		w.words = slices.Insert(w.words, i, ordinaryWord{text, times})
		w.words = w.words[:min(maxWords, len(w.words))]
	}
}

// reading tells in which forms the term was read, if in others than as it is written.
func (w *inWords) reading() string {
	if w.forms == form.Fold {
		return ""
	}
	return " by " + w.forms.String()
}

// String tells the words with how often they were counted.
func (w *inWords) String() string {
	var list []string
	for _, k := range w.words {
		word := show(k.text)
		if k.times > 0 {
			word += fmt.Sprintf(" (%d)", k.times)
		}
		list = append(list, word)
	}
	text := "the ordinary word " + list[0]
	if w.n > 1 {
		text = fmt.Sprintf("%d ordinary words, such as %s,", w.n, strings.Join(list, ", "))
	}
	return text
}

// benign tells of what hits more of the corpus than it may.
func (l *linter) benign() {
	if l.o.Corpus == nil {
		return
	}
	type count struct {
		texts int
		first int // the number of the first text
		last  int // how many texts had been read when it was counted last
	}
	found := make(map[hitBy]*count)
	for number, e := range l.o.Corpus {
		l.report.Texts++
		hits := l.set.Match(&l.sc, e)
		for i := range hits {
			by := l.hitBy(&hits[i])
			c := found[by]
			if c == nil {
				c = &count{first: number}
				found[by] = c
			}
			if c.last != l.report.Texts {
				c.texts, c.last = c.texts+1, l.report.Texts
			}
		}
	}
	for by, c := range found {
		if rate := float64(c.texts) / float64(l.report.Texts); rate > l.o.MaxRate {
			l.add(BenignHit, by.rule, by.place(), "%s hits %d of %d benign texts (%.3g %%), the first in line %d; give exceptions, or look for more beside it",
				by.what(), c.texts, l.report.Texts, 100*rate, c.first)
		}
	}
}

package main

import (
	"github.com/cloudflare/ahocorasick"
	"github.com/weir-moderation/weir/rules/fold"
	"github.com/weir-moderation/weir/rules/form"
)

// engine is a way to search for the patterns of one set.
type engine struct {
	name string
	bind func(*posts) func(from, to int) int // see runner
}

// cloudflareBytes is what cloudflare's engine takes for each byte of the patterns:
// a node with two tables of 256 pointers.
const cloudflareBytes = 4200

// newEngines builds the engines for a set. free releases what Go does not.
func newEngines(s *set, budget int64) (engines []engine, free func(), err error) {
	own, err := newSearcher(s)
	if err != nil {
		return nil, nil, err
	}
	engines = append(engines, engine{"own", func(p *posts) func(int, int) int { return p.with(own.search) }})
	if int64(s.bytes)*cloudflareBytes <= budget {
		engines = append(engines, newCloudflare(s)...)
	}
	hs, free, err := newHyperscan(s)
	if err != nil {
		return nil, nil, err
	}
	return append(engines, hs...), free, nil
}

func terms(s *set) []form.Term {
	list := make([]form.Term, len(s.words))
	for i, w := range s.words {
		list[i] = form.Term{Text: w, Forms: form.Fold, Substring: s.substring}
	}
	return list
}

func newSearcher(s *set) (*searcher, error) {
	m, err := form.New(terms(s), form.Options{})
	if err != nil {
		return nil, err
	}
	return &searcher{m: m}, nil
}

// searcher is the own engine, as the daemon uses it for rules that ask for no form beyond the
// fold, with what one goroutine needs.
type searcher struct {
	m       *form.Matcher
	scratch form.Scratch
	n       int // hits of the post at hand; a variable of search would go to the heap with each
	sum     int // of the spans: they are computed for something
}

// search finds everything and where it stands.
func (s *searcher) search(post []byte) int {
	s.n = 0
	s.m.Find(&s.scratch, post, func(h form.Hit) bool {
		s.sum += h.End - h.Start
		s.n++
		return true
	})
	return s.n
}

// hitLimit is how many hits of a post are reported before those of terms that have been
// reported are passed over.
const hitLimit = 100

// searchLimited is search with the limit that the daemon has.
func (s *searcher) searchLimited(post []byte) int {
	s.n = 0
	s.m.Find(&s.scratch, post, func(h form.Hit) bool {
		s.sum += h.End - h.Start
		s.n++
		return s.n < hitLimit
	})
	return s.n
}

func newCloudflare(s *set) []engine {
	m := ahocorasick.NewStringMatcher(s.words)
	var buf []byte
	return []engine{
		{"cf", func(p *posts) func(int, int) int {
			return func(from, to int) int {
				n := 0
				for _, post := range p.folded[from:to] {
					n += len(m.MatchThreadSafe(post))
				}
				return n
			}
		}},
		{"fold+cf", func(p *posts) func(int, int) int {
			return func(from, to int) int {
				n := 0
				for _, post := range p.posts[from:to] {
					buf = fold.Append(buf[:0], post)
					n += len(m.MatchThreadSafe(buf))
				}
				return n
			}
		}},
	}
}

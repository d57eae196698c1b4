// Command compare asks other programs for the terms that scripts/quality has disguised:
//
//	go run ./scripts/quality -data DIR -samples samples.jsonl
//	go run -C scripts/quality/compare . < samples.jsonl
//
// They are github.com/cloudflare/ahocorasick on the text in small letters, and github.com/TwiN/go-away with the term as
// its dictionary and everything that it can undo switched on. Both say whether the term is there; where, they do not
// say, so a term may be found elsewhere in the post or inside a word.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	goaway "github.com/TwiN/go-away"
	"github.com/cloudflare/ahocorasick"
)

func main() {
	if err := run(os.Stdin, os.Stdout); err != nil {
		fmt.Fprintln(os.Stderr, "compare: error:", err)
		os.Exit(1)
	}
}

// sample is a line of scripts/quality -samples, as far as it matters here.
type sample struct {
	Disguise string
	Term     string
	Text     string
}

// count is how many posts of a disguise there are, and in how many each program finds the term.
type count struct {
	posts, literal, goaway int
}

func run(in io.Reader, out io.Writer) error {
	var order []string
	counts := map[string]*count{}
	for d := json.NewDecoder(in); ; {
		var s sample
		if err := d.Decode(&s); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			return err
		}
		// Two disguises of one name, of Chinese and of Latin terms, are two.
		name := s.Disguise
		if strings.IndexFunc(s.Term, func(r rune) bool { return r >= 0x4E00 }) < 0 {
			name += " (Latin)"
		}
		c := counts[name]
		if c == nil {
			c = &count{}
			counts[name] = c
			order = append(order, name)
		}
		term := strings.ToLower(s.Term)
		c.posts++
		if ahocorasick.NewStringMatcher([]string{term}).Contains([]byte(strings.ToLower(s.Text))) {
			c.literal++
		}
		// It takes blanks out of the text, so out of the term too.
		if goaway.NewProfanityDetector().WithCustomDictionary([]string{strings.ReplaceAll(term, " ", "")}, nil, nil).IsProfane(s.Text) {
			c.goaway++
		}
	}
	fmt.Fprintln(out, "| disguise | posts | cloudflare/ahocorasick | go-away |\n|---|--:|--:|--:|")
	for _, name := range order {
		c := counts[name]
		percent := func(n int) float64 { return 100 * float64(n) / float64(c.posts) }
		fmt.Fprintf(out, "| %s | %d | %.1f | %.1f |\n", name, c.posts, percent(c.literal), percent(c.goaway))
	}
	return nil
}

package main

import (
	"embed"
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// The decisions that are no one's data but ours.
//
//go:embed data
var files embed.FS

// rule says what one character becomes, and where that is written.
type rule struct {
	from    rune
	to      string
	section string // the line with one word that stands above it, or ""
	at      string // file:line
}

// readRules reads a file of lines "target characters ..." below lines with the name
// of a section. A character is itself, U+ and its code point, or a range X..Y, of
// which each further one goes to the next target.
func readRules(name string) ([]rule, error) {
	var rules []rule
	section := ""
	err := lines(name, func(at string, words []string) error {
		if len(words) == 1 {
			section = words[0]
			return nil
		}
		to := words[0]
		switch to {
		case "(drop)":
			to = ""
		case "(space)":
			to = " "
		case "(line)":
			to = "\n"
		}
		for _, w := range words[1:] {
			lo, hi, ranged := strings.Cut(w, "..")
			first, err := character(lo)
			if err != nil {
				return fmt.Errorf("%s: %w", at, err)
			}
			last := first
			if ranged {
				if last, err = character(hi); err != nil {
					return fmt.Errorf("%s: %w", at, err)
				}
			}
			for r := first; r <= last; r++ {
				step := to
				if c, n := utf8.DecodeRuneInString(to); n == len(words[0]) {
					step = string(c + r - first)
				}
				rules = append(rules, rule{r, step, section, at})
			}
		}
		return nil
	})
	return rules, err
}

// readList returns the characters of the lines that begin with a word.
func readList(name, word string) (map[rune]bool, error) {
	list := map[rune]bool{}
	err := lines(name, func(at string, words []string) error {
		for _, w := range words[1:] {
			r, err := character(w)
			if err != nil {
				return fmt.Errorf("%s: %w", at, err)
			}
			if words[0] == word {
				list[r] = true
			}
		}
		return nil
	})
	return list, err
}

// lines calls f for every line that is neither blank nor a comment.
func lines(name string, f func(at string, words []string) error) error {
	data, err := files.ReadFile("data/" + name)
	if err != nil {
		return err
	}
	for i, line := range strings.Split(string(data), "\n") {
		if words := strings.Fields(line); len(words) > 0 && words[0] != "#" {
			if err := f(fmt.Sprintf("data/%s:%d", name, i+1), words); err != nil {
				return err
			}
		}
	}
	return nil
}

func character(s string) (rune, error) {
	if hex, ok := strings.CutPrefix(s, "U+"); ok {
		n, err := strconv.ParseInt(hex, 16, 32)
		return rune(n), err
	}
	r, n := utf8.DecodeRuneInString(s)
	if n != len(s) {
		return 0, fmt.Errorf("%q is not one character", s)
	}
	return r, nil
}

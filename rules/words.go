package rules

import (
	"fmt"
	"slices"
	"strings"

	"github.com/weir-moderation/weir/internal/strictyaml"
)

// Severity says how bad a hit of a rule is.
type Severity uint8

// The severities, each worse than the one before. The zero Severity is none.
const (
	Low Severity = iota + 1
	Medium
	High
	Critical
)

var severityWords = []string{"", "low", "medium", "high", "critical"}

// String returns the severity's word in packs, records and metrics.
func (s Severity) String() string { return wordOf(severityWords, int(s)) }

// UnmarshalText reads a severity's word.
func (s *Severity) UnmarshalText(text []byte) error {
	i, err := parseWord("severity", severityWords, text)
	*s = Severity(i)
	return err
}

// Action says what a hit of a live rule does to a post.
type Action uint8

// The actions, each stronger than the one before.
const (
	Pass   Action = iota // nothing was found
	Review               // a human decides
	Reject               // stop it now; a human sees it too
)

var actionWords = []string{"pass", "review", "reject"}

// String returns the action's word in packs, verdicts and metrics.
func (a Action) String() string { return wordOf(actionWords, int(a)) }

// UnmarshalText reads an action's word.
func (a *Action) UnmarshalText(text []byte) error {
	i, err := parseWord("action", actionWords, text)
	*a = Action(i)
	return err
}

// State says how far a rule is in its life.
type State uint8

// The states. The zero State is none.
const (
	Draft   State = iota + 1 // checked, never compiled
	Shadow                   // its hits are recorded and do nothing
	Live                     // its hits act
	Retired                  // kept for the record, checked, never compiled
)

var stateWords = []string{"", "draft", "shadow", "live", "retired"}

// String returns the state's word in packs and records.
func (s State) String() string { return wordOf(stateWords, int(s)) }

// UnmarshalText reads a state's word.
func (s *State) UnmarshalText(text []byte) error {
	i, err := parseWord("state", stateWords, text)
	*s = State(i)
	return err
}

func wordOf(words []string, i int) string {
	if i < len(words) {
		return words[i]
	}
	return "invalid"
}

// parseWord returns the number of a word, and an error that names the right ones.
func parseWord(what string, words []string, text []byte) (int, error) {
	known := words
	if words[0] == "" {
		known = words[1:]
	}
	word := string(text)
	if i := slices.Index(words, word); i >= 0 && word != "" {
		return i, nil
	}
	return 0, unknown(what, word, known)
}

// unknown says that a word is none of the known ones, and what may be meant.
func unknown(what, word string, known []string) error {
	if near, ok := strictyaml.Nearest(word, known); ok {
		return fmt.Errorf("unknown %s %q; did you mean %q?", what, word, near)
	}
	if len(known) == 0 {
		return fmt.Errorf("unknown %s %q; there are none", what, word)
	}
	return fmt.Errorf("unknown %s %q; known are %s", what, word, strings.Join(known, ", "))
}

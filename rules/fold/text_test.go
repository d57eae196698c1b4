package fold

import (
	"strings"
	"testing"
	"unicode"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/text/cases"
	"golang.org/x/text/unicode/norm"
)

// oracle folds by the libraries: NFKC, full case folding and dropping what Unicode
// calls ignorable, until nothing changes.
type oracle struct{ fold cases.Caser }

func newOracle() oracle { return oracle{cases.Fold(cases.HandleFinalSigma(false))} }

func (o oracle) character(r rune) string {
	s := string(r)
	for {
		var next strings.Builder
		for _, c := range s {
			next.WriteString(o.step(c))
		}
		if next.String() == s {
			return s
		}
		s = next.String()
	}
}

func (o oracle) step(r rune) string {
	switch {
	case unicode.In(r, unicode.White_Space, unicode.Prepended_Concatenation_Mark):
	case unicode.In(r, unicode.Cc, unicode.Cf, unicode.Variation_Selector, unicode.Other_Default_Ignorable_Code_Point):
		return ""
	case unicode.Is(unicode.Cherokee, r):
		// Its small letters fold to capitals; the library turns each into the other.
		return string(unicode.ToUpper(r))
	}
	return o.fold.String(norm.NFKC.String(string(r)))
}

// kinds are the ways in which the table means to differ from the libraries, with the
// number of characters of each kind in Unicode 15.0. Those named for a script are its
// letters and symbols that the table knows as look-alikes, styled or variants; Common
// has punctuation, blanks, enclosed letters and digits.
var kinds = map[string]int{
	"Armenian":                            25,
	"Braille":                             1,
	"Canadian_Aboriginal":                 29,
	"Cherokee":                            56,
	"Common":                              307,
	"Coptic":                              30,
	"Cyrillic":                            147,
	"Deseret":                             8,
	"Greek":                               268,
	"Han":                                 5990,
	"Hebrew":                              3,
	"Latin":                               589,
	"Lisu":                                26,
	"Ogham":                               1,
	"Osage":                               6,
	"diacritic":                           963,
	"digit":                               600,
	"instead: iota below is a mark":       65,
	"instead: lunate sigma":               2,
	"instead: quotation mark":             4,
	"instead: spacing form of a mark":     10,
	"instead: without brackets":           149,
	"instead: without full stop or comma": 31,
	"mark":                                1847,
}

// An independent fold of every character, by golang.org/x/text, differs only as it is
// meant to.
func TestAgainstText(t *testing.T) {
	o := newOracle()
	got := map[string]int{}
	for r := range every {
		if !unicode.In(r, unicode.L, unicode.M, unicode.N, unicode.P, unicode.S, unicode.Z, unicode.Cc, unicode.Cf, unicode.Co) {
			continue // not assigned
		}
		theirs, ours := o.character(r), String(string(r))
		if theirs == ours {
			continue
		}
		kind := difference(theirs, ours)
		if kind == "" {
			t.Errorf("%U %[1]c folds to %q, by the libraries to %q", r, ours, theirs)
		}
		got[kind]++
	}
	if norm.Version != "15.0.0" || unicode.Version != norm.Version {
		t.Skipf("kinds are counted for Unicode 15.0.0, this is %s", norm.Version)
	}
	if diff := cmp.Diff(kinds, got); diff != "" {
		t.Errorf("kinds of differences (-want +got):\n%s", diff)
	}
}

// difference names the way in which we differ, or returns "".
func difference(theirs, ours string) string {
	if String(theirs) != ours {
		// We go another way from the beginning.
		bare := strings.Trim(theirs, "()〔〕")
		number := strings.TrimRight(theirs, ".,")
		switch {
		case bare != theirs && String(bare) == ours:
			return "instead: without brackets"
		case number != theirs && number == ours:
			return "instead: without full stop or comma"
		case strings.HasSuffix(theirs, "ι") && String(strings.TrimSuffix(theirs, "ι")) == ours:
			return "instead: iota below is a mark"
		case strings.HasPrefix(theirs, " ") && ours == "":
			return "instead: spacing form of a mark"
		case ours == "'" || ours == "\"":
			return "instead: quotation mark"
		case theirs == "σ" && ours == "c":
			return "instead: lunate sigma"
		}
		return ""
	}
	// We go on where they stop: named for the first character that is changed.
	for _, r := range theirs {
		to, _ := Rune(r)
		switch {
		case to == r:
		case unicode.In(r, unicode.Mn, unicode.Me):
			return "mark"
		case norm.NFD.String(string(r)) != string(r):
			return "diacritic"
		case unicode.Is(unicode.Nd, r):
			return "digit"
		default:
			for name, script := range unicode.Scripts {
				if unicode.Is(script, r) {
					return name
				}
			}
		}
	}
	return ""
}

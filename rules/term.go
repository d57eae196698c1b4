package rules

import (
	"fmt"
	"regexp"
	"slices"
	"unicode"
	"unicode/utf8"

	"github.com/weir-moderation/weir/rules/detect"
	"github.com/weir-moderation/weir/rules/fold"
	"github.com/weir-moderation/weir/rules/form"
)

// Term is something a rule looks for.
type Term struct {
	// Text is the term as written; of what has a shape instead of a spelling "detector: url" or
	// "pattern: v[0-9]+".
	Text string
	// Detect is the one detector it is; 0 for a term.
	Detect detect.Set
	// Pattern is matched with the folded text; nil for a term.
	Pattern  *regexp.Regexp
	Boundary Boundary
	// ExactCase asks that its letters stand as written, in upper and lower case.
	ExactCase bool
	// Forms are those it is read in.
	Forms form.Form
	// Gap is how many characters may stand between two of its own that the form squeeze reads
	// over; 0 for as many as that form allows.
	Gap int
}

// shaped reports whether it has a shape and no spelling.
func (t *Term) shaped() bool { return t.Detect != 0 || t.Pattern != nil }

// Boundary says where a term may begin and end.
type Boundary uint8

// The boundaries.
const (
	Auto      Boundary = iota // Latin letters and digits as whole tokens, Han characters anywhere
	Token                     // no letter or digit of any script stands beside it
	Substring                 // anywhere
)

var boundaryWords = []string{"auto", "token", "substring"}

// String returns the boundary's word in packs.
func (b Boundary) String() string { return wordOf(boundaryWords, int(b)) }

// UnmarshalText reads a boundary's word.
func (b *Boundary) UnmarshalText(text []byte) error {
	i, err := parseWord("boundary", boundaryWords, text)
	*b = Boundary(i)
	return err
}

// exactForms are those in which the case of a term's letters can be told.
const exactForms = form.Fold | form.Squeeze | form.Spaced

// misfit is why a term may not stand at a place of a text.
type misfit uint8

const (
	fits misfit = iota
	misfitBoundary
	misfitCase
	misfitGap
)

// fit says whether the term may stand at this place of a text, beside what the automaton knows
// of it.
func (t *Term) fit(text []byte, start, end int) misfit {
	switch {
	case t.Boundary == Token && (letterBefore(text[:start]) || letterBehind(text[end:])):
		return misfitBoundary
	case t.ExactCase && !sameCase(text[start:end], t.Text):
		return misfitCase
	case t.Gap > 0 && widestGap(text[start:end]) > max(t.Gap, widestGap([]byte(t.Text))):
		return misfitGap
	}
	return fits
}

// letter reports whether a character is a letter or digit of any script; seen is false if it
// folds to nothing.
func letter(r rune) (is, seen bool) {
	to, more := fold.Rune(r)
	switch {
	case more != "":
		to, _ = utf8.DecodeRuneInString(more)
	case to == fold.Drop:
		return false, false
	}
	switch fold.ClassOf(to) {
	case fold.Token, fold.Han, fold.Letter:
		return true, true
	}
	return false, true
}

func letterBefore(text []byte) bool {
	for len(text) > 0 {
		r, n := utf8.DecodeLastRune(text)
		if is, seen := letter(r); seen {
			return is
		}
		text = text[:len(text)-n]
	}
	return false
}

func letterBehind(text []byte) bool {
	for len(text) > 0 {
		r, n := utf8.DecodeRune(text)
		if is, seen := letter(r); seen {
			return is
		}
		text = text[n:]
	}
	return false
}

// letterCase is the case of a letter: 'u', 'l', or 0 for one that has none.
func letterCase(r rune) byte {
	switch {
	case unicode.IsUpper(r) || unicode.IsTitle(r):
		return 'u'
	case unicode.IsLower(r):
		return 'l'
	}
	return 0
}

// cases returns the cases of the letters and digits of a text, one by one.
func cases(text string) []byte {
	var list []byte
	for _, r := range text {
		if is, _ := letter(r); is {
			list = append(list, letterCase(r))
		}
	}
	return list
}

// sameCase reports whether the letters of a text stand in the case of those of a term. A letter
// that has no case, such as one in a circle, stands in any. Where a character folds to several
// the letters cannot be told apart, and it is let pass.
func sameCase(text []byte, term string) bool {
	a, b := cases(string(text)), cases(term)
	if len(a) != len(b) {
		return true
	}
	for i := range a {
		if a[i] != 0 && b[i] != 0 && a[i] != b[i] {
			return false
		}
	}
	return true
}

// widestGap returns the most characters that stand between two letters or digits.
func widestGap(text []byte) int {
	widest, n := 0, 0
	for _, r := range string(text) {
		switch is, seen := letter(r); {
		case is:
			widest = max(widest, n)
			n = 0
		case seen:
			n++
		}
	}
	return widest
}

// overrides are what an entry, or a rule for its entries, says of how a term is read.
type overrides struct {
	Boundary *Boundary `yaml:"boundary"`
	Case     *caseWord `yaml:"case"`
	Forms    formList  `yaml:"forms"`
	Gap      int       `yaml:"gap"`
}

// caseWord is how the letters of a term stand.
type caseWord bool

var caseWords = []string{"fold", "exact"}

// UnmarshalText reads a word for the case of letters.
func (c *caseWord) UnmarshalText(text []byte) error {
	i, err := parseWord("case", caseWords, text)
	*c = i == 1
	return err
}

// apply puts what it says into a term.
func (o *overrides) apply(t *Term) {
	if o.Boundary != nil {
		t.Boundary = *o.Boundary
	}
	if o.Case != nil {
		t.ExactCase = bool(*o.Case)
	}
	if len(o.Forms) > 0 {
		t.Forms = o.Forms.forms()
	}
	if t.ExactCase {
		t.Forms &= exactForms
	}
	if o.Gap > 0 {
		t.Gap = o.Gap
	}
}

// forms returns the forms of the list, what it does not know left out.
func (l formList) forms() form.Form {
	forms := form.Fold
	for _, w := range l {
		if w == allForms {
			return form.All
		}
		if f, err := form.Parse(w); err == nil {
			forms |= f
		}
	}
	return forms
}

// overrides checks what an entry or a rule says of how terms are read.
func (c *checker) overrides(path string, o *overrides) {
	c.forms(path+".forms", o.Forms)
	if f := o.Forms.forms(); o.Case != nil && bool(*o.Case) && f&^exactForms != 0 {
		c.add(path+".forms", "%s cannot be read where the case of letters counts; case: exact goes with %s", f&^exactForms, exactForms&^form.Fold)
	}
	if c.doc.Has(path+".gap") && (o.Gap < 1 || o.Gap > form.MaxGapLength) {
		c.add(path+".gap", "%d is out of range; give 1 to %d (form.MaxGapLength), or forms without squeeze for none", o.Gap, form.MaxGapLength)
	}
}

// forms checks a list of forms.
func (c *checker) forms(path string, words formList) {
	if len(words) == 0 && c.doc.Has(path) {
		c.add(path, "is empty; name forms, write %s for every one, or take the line out for those that hold otherwise", allForms)
	}
	for i, w := range words {
		at := fmt.Sprintf("%s[%d]", path, i)
		if !c.doc.Has(at) {
			at = path // a single word
		}
		_, err := form.Parse(w)
		switch {
		case w == allForms && len(words) > 1:
			c.add(at, "%s stands alone; write forms: %s", allForms, allForms)
		case w != allForms && err != nil:
			c.add(at, "%s", unknown("form", w, append(form.Names(), allForms)))
		case slices.Contains(words[:i], w):
			c.add(at, "%s is given twice; keep one", w)
		}
	}
}

// allForms is the word for every form in a pack.
const allForms = "all"

// DefaultForms are the forms in which the terms of a rule are read that does not say. The
// worse a term is, the harder people try to hide it, and the less a needless look at a post
// weighs: by sound only what is critical is looked for. Forms that must be asked for
// (initials, emoji, shape) read much into a text that is not there.
func DefaultForms(s Severity) form.Form {
	f := form.Fold | form.Squeeze | form.Repeat | form.Spaced | form.Decode
	if s >= Medium {
		f |= form.Leet | form.Digits
	}
	if s >= High {
		f |= form.Split
	}
	if s >= Critical {
		f |= form.Pinyin
	}
	return f
}

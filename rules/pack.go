package rules

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/weir-moderation/weir/internal/strictyaml"
	"github.com/weir-moderation/weir/pipeline/event"
	"github.com/weir-moderation/weir/rules/automaton"
	"github.com/weir-moderation/weir/rules/condition"
	"github.com/weir-moderation/weir/rules/fold"
)

// Limits of packs. What exceeds one is refused with its name.
const (
	MaxTermLength = 64      // characters of one term or exception, folded
	MaxTerms      = 100_000 // terms of one rule, those of its groups and files included
	MaxExceptions = 10_000  // exceptions of one rule
	MaxLists      = 8       // lists of one combination
	MaxWithin     = 1_000   // characters of a window
	MaxPattern    = 500     // bytes of one pattern
	MaxRules      = 10_000  // rules of one set, drafts and retired ones included
	MaxPacks      = 1_000   // files of one set
)

// packFile is the shape of a pack.
type packFile struct {
	Pack          string       `yaml:"pack,required"`
	Description   string       `yaml:"description"`
	DescriptionZH string       `yaml:"description_zh"`
	Contact       string       `yaml:"contact"` // of its rules that name none
	Groups        []groupFile  `yaml:"groups"`
	Exceptions    []sharedFile `yaml:"exceptions"`
	Rules         []ruleFile   `yaml:"rules"`
}

// groupFile is the shape of a list of terms that rules share by name.
type groupFile struct {
	ID          string      `yaml:"id,required"`
	Description string      `yaml:"description"`
	Terms       []entryFile `yaml:"terms,required"`
}

// sharedFile is the shape of a list of exceptions that rules share by name.
type sharedFile struct {
	ID      string   `yaml:"id,required"`
	Texts   []string `yaml:"texts,required"`
	Owner   string   `yaml:"owner,required"`
	Reason  string   `yaml:"reason,required"`
	Expires expiry   `yaml:"expires,required"`
}

// exceptionFile is the shape of an exception of a rule: a text, some texts with what is to be
// said of them, or the name of a shared list.
type exceptionFile struct {
	Texts   []string `yaml:"texts"`
	Owner   string   `yaml:"owner"`
	Reason  string   `yaml:"reason"`
	Expires expiry   `yaml:"expires"`
	Use     string   `yaml:"use"`

	plain bool // a text
}

// UnmarshalText reads an exception that is only a text.
func (x *exceptionFile) UnmarshalText(text []byte) error {
	*x = exceptionFile{Texts: []string{string(text)}, plain: true}
	return nil
}

// entryFile is the shape of what a rule looks for: a text, or a mapping with one of the names
// that say what.
type entryFile struct {
	Text  string `yaml:"text"`
	Group string `yaml:"group"`
	File  string `yaml:"file"`
	// Detector is a shape to find (package detect), Pattern a regular expression in RE2 syntax.
	Detector string `yaml:"detector"`
	Pattern  string `yaml:"pattern"`
	overrides

	from origin // of a member of a group
}

// UnmarshalText reads a term that is only a text.
func (e *entryFile) UnmarshalText(text []byte) error {
	*e = entryFile{Text: string(text)}
	return nil
}

// ruleFile is the shape of a rule.
type ruleFile struct {
	ID             string          `yaml:"id,required"`
	Category       string          `yaml:"category,required"`
	Severity       Severity        `yaml:"severity"`
	Action         Action          `yaml:"action"`
	State          State           `yaml:"state,required"`
	Rollout        int             `yaml:"rollout"`
	Basis          []string        `yaml:"basis"`
	Contact        string          `yaml:"contact"`
	Terms          []entryFile     `yaml:"terms"`
	All            [][]entryFile   `yaml:"all"`
	Distinct       int             `yaml:"distinct"`
	Within         window          `yaml:"within"`
	None           []entryFile     `yaml:"none"`
	When           string          `yaml:"when"`
	Except         []exceptionFile `yaml:"except"`
	Fields         []string        `yaml:"fields"`
	Kinds          []string        `yaml:"kinds"`
	Description    string          `yaml:"description"`
	DescriptionZH  string          `yaml:"description_zh"`
	FalsePositives string          `yaml:"false_positives"`
	overrides
}

// formList is a list of forms, or the word all.
type formList []string

// UnmarshalText reads a single word.
func (l *formList) UnmarshalText(text []byte) error {
	*l = formList{string(text)}
	return nil
}

// expiry is the last day of an exception, or never.
type expiry struct {
	end   time.Time
	never bool
}

// UnmarshalText reads a day or the word never.
func (x *expiry) UnmarshalText(text []byte) error {
	if string(text) == "never" {
		*x = expiry{never: true}
		return nil
	}
	day, err := time.Parse(time.DateOnly, string(text))
	if err != nil {
		return fmt.Errorf("%q is not a day; write its last day, such as 2027-12-31, or never", text)
	}
	*x = expiry{end: day.AddDate(0, 0, 1)}
	return nil
}

// window is a number of characters, or the word sentence.
type window Window

// UnmarshalText reads either.
func (w *window) UnmarshalText(text []byte) error {
	if string(text) == "sentence" {
		*w = window{Sentence: true}
		return nil
	}
	n := 0
	for _, b := range text {
		if b < '0' || b > '9' || n > MaxWithin {
			n = -1
			break
		}
		n = n*10 + int(b-'0')
	}
	if n < 1 || n > MaxWithin {
		return fmt.Errorf("%q says not how near; give a number of characters from 1 to %d (rules.MaxWithin), or sentence", text, MaxWithin)
	}
	*w = window{Characters: n}
	return nil
}

var (
	packShape = regexp.MustCompile(`^[a-z0-9]+([_-][a-z0-9]+)*$`)
	idShape   = regexp.MustCompile(`^[a-z0-9]+([._-][a-z0-9]+)*$`)
)

// readPack reads the shape of one pack and checks its name.
func readPack(file string, src []byte) (packFile, *checker) {
	var f packFile
	doc, err := strictyaml.Decode(file, src, &f)
	c := newChecker(doc, err)
	if !doc.Has("") {
		return packFile{}, c // it could not be read at all
	}
	if doc.Has("pack") && (!packShape.MatchString(f.Pack) || len(f.Pack) > maxNameBytes) {
		c.add("pack", "%q is not a name; use a-z, 0-9 and single - or _ between them, at most %d", f.Pack, maxNameBytes)
	}
	switch {
	case doc.Has("rules") && len(f.Rules) == 0:
		c.add("rules", "is empty; give at least one rule, or take the file out")
	case !doc.Has("rules") && len(f.Groups)+len(f.Exceptions) == 0:
		c.add("rules", "missing; a pack has rules, or groups or exceptions that rules of others use")
	case len(f.Rules) > MaxRules:
		c.add("rules", "%d rules; at most %d (rules.MaxRules)", len(f.Rules), MaxRules)
		f.Rules = nil
	}
	return f, c
}

// rule checks one rule and makes it, with all defaults filled in.
func (c *checker) rule(path string, pack *packFile, f *ruleFile, l *library) *Rule {
	r := &Rule{
		ID: f.ID, Pack: pack.Pack, Category: f.Category, Severity: f.Severity, Action: f.Action, State: f.State,
		Rollout: cmp.Or(f.Rollout, 100), Basis: f.Basis, Contact: cmp.Or(f.Contact, pack.Contact),
		Distinct: max(f.Distinct, 1), Within: Window(f.Within), Fields: f.Fields,
		Description: f.Description, DescriptionZH: f.DescriptionZH, FalsePositives: f.FalsePositives,
		File: c.doc.File(), Line: c.doc.Problem(path, "").Line,
	}
	c.id(path+".id", pack.Pack, f.ID)
	category, ok := l.register.Category(f.Category)
	if !ok {
		c.add(path+".category", "%s", unknown("category", f.Category, l.register.Codes()))
		category = &Category{Severity: Medium, Action: Review}
	}
	if r.Severity == 0 {
		r.Severity = category.Severity
	}
	if r.Action == Pass {
		if c.doc.Has(path + ".action") {
			c.add(path+".action", "a rule cannot let pass; give review or reject, or state shadow for a rule that must not act")
		}
		r.Action = category.Action
	}
	if c.doc.Has(path+".rollout") && (f.Rollout < 1 || f.Rollout > 100) {
		c.add(path+".rollout", "%d is not a percentage; give 1 to 100, or state shadow for a rule that must not act", f.Rollout)
	}
	c.names(path+".basis", f.Basis)
	r.Kinds = c.kinds(path+".kinds", f.Kinds)
	c.fields(path+".fields", f.Fields)
	given := Term{Forms: DefaultForms(r.Severity)}
	c.overrides(path, &f.overrides)
	f.apply(&given)
	r.Forms = given.Forms
	found := len(c.problems)
	c.wanted(path, r, f, given, l)
	c.exceptions(path, r, f, l, len(c.problems) == found)
	return r
}

// wanted reads what a rule looks for and how it is to stand together.
func (c *checker) wanted(path string, r *Rule, f *ruleFile, given Term, l *library) {
	terms, all := c.doc.Has(path+".terms"), c.doc.Has(path+".all")
	switch {
	case terms && all:
		c.add(path+".all", "a rule has terms or all, not both; write the terms as one more list of all")
	case !terms && !all:
		c.add(path+".terms", "missing; give terms, or all with a list for each part of a combination")
	case all && len(f.All) < 2:
		c.add(path+".all", "has %d lists; a combination has at least two, write terms for one", len(f.All))
	case len(f.All) > MaxLists:
		c.add(path+".all", "%d lists; at most %d (rules.MaxLists)", len(f.All), MaxLists)
	}
	if terms {
		r.Lists = append(r.Lists, c.terms(path+".terms", f.Terms, given, l))
	}
	for i, list := range f.All {
		r.Lists = append(r.Lists, c.terms(fmt.Sprintf("%s.all[%d]", path, i), list, given, l))
	}
	if c.doc.Has(path + ".none") {
		r.None = c.terms(path+".none", f.None, given, l)
	}
	l.origins.rule(r)
	wanted := 0
	for _, list := range r.Lists {
		wanted += len(list)
	}
	if total := wanted + len(r.None); total > MaxTerms {
		at := path + ".terms"
		if all {
			at = path + ".all"
		}
		c.add(at, "%d terms in all; at most %d (rules.MaxTerms), split the rule", total, MaxTerms)
	}
	switch {
	case c.doc.Has(path+".distinct") && f.Distinct < 2:
		c.add(path+".distinct", "%d says nothing; give how many different terms there must be, at least 2", f.Distinct)
	case f.Distinct > wanted && !c.faulty[path+".terms"]:
		c.add(path+".distinct", "%d different terms are asked for, of a rule that has %d; it could never hit", f.Distinct, wanted)
	}
	c.shaped(path, r)
	if c.doc.Has(path + ".when") {
		r.When = c.condition(path+".when", f.When)
	}
	r.together = r.combines()
	if c.doc.Has(path+".within") && len(r.Lists) < 2 && r.Distinct < 2 && !c.doc.Has(path+".none") {
		c.add(path+".within", "says how near terms stand together, but one term of this rule is enough; give all, distinct or none with it, or take it out")
	}
}

// shaped checks that a pattern, which costs far more than terms do, is only asked where a term of
// another list was found.
func (c *checker) shaped(path string, r *Rule) {
	pattern := slices.ContainsFunc(r.None, func(t Term) bool { return t.Pattern != nil })
	terms := false
	for _, list := range r.Lists {
		all := len(list) > 0
		for j := range list {
			pattern = pattern || list[j].Pattern != nil
			all = all && !list[j].shaped()
		}
		terms = terms || all
	}
	if pattern && !terms {
		c.add(path, "has a pattern and no list of terms alone; write all, with a list of terms that must stand there too: only then the pattern is asked")
	}
}

// condition reads a condition. What is wrong with it has its place in the expression, counted
// from its beginning.
func (c *checker) condition(path, src string) *condition.Condition {
	cond, err := condition.Compile(src)
	for _, e := range split(err) {
		var at *condition.Error
		if errors.As(e, &at) {
			c.problems = append(c.problems, c.doc.Problem(path, "at %d:%d of the condition: %s", at.Line, at.Column, at.Message))
		} else {
			c.problems = append(c.problems, c.doc.Problem(path, "%s", e))
		}
		c.faulty[path] = true
	}
	return cond
}

// split takes joined errors apart.
func split(err error) []error {
	if many, ok := err.(interface{ Unwrap() []error }); ok {
		return many.Unwrap()
	}
	if err != nil {
		return []error{err}
	}
	return nil
}

// exceptions reads the exceptions of a rule and checks that each covers a term of it, if the terms
// are sound.
func (c *checker) exceptions(path string, r *Rule, f *ruleFile, l *library, sound bool) {
	at := path + ".except"
	var places []string
	add := func(place string, x Exception) {
		r.Except = append(r.Except, x)
		places = append(places, place)
	}
	for i := range f.Except {
		x := &f.Except[i]
		here := fmt.Sprintf("%s[%d]", at, i)
		switch {
		case c.faulty[here]:
		case x.plain:
			add(here, Exception{Text: x.Texts[0]})
		case x.Use != "":
			if len(x.Texts) > 0 || x.Owner+x.Reason != "" || x.Expires != (expiry{}) {
				c.add(here, "names a shared list and says more; what a shared list says stands where it is")
			}
			shared, ok := l.exceptions[x.Use]
			if !ok {
				c.add(here+".use", "%s", unknown("list of exceptions", x.Use, keys(l.exceptions)))
			}
			for _, e := range shared {
				add("", e) // what covers nothing here may do so in another rule
			}
		default:
			c.described(here, x)
			for j, text := range x.Texts {
				add(fmt.Sprintf("%s.texts[%d]", here, j), Exception{Text: text, Owner: x.Owner, Reason: x.Reason, Expires: x.Expires.end})
			}
		}
	}
	if len(r.Except) == 0 {
		return // an index folds every term
	}
	if len(r.Except) > MaxExceptions {
		c.add(at, "%d exceptions; at most %d (rules.MaxExceptions), split the rule", len(r.Except), MaxExceptions)
		return
	}
	index := r.index()
	first := make(map[string]int)
	for i := range r.Except {
		place, text := places[i], r.Except[i].Text
		if place == "" {
			continue
		}
		folded := fold.String(text)
		if err := checkPhrase(text, []byte(folded)); err != nil {
			c.add(place, "%s", err)
			continue
		}
		if j, ok := first[folded]; ok {
			c.add(place, "%q is the same as %q before it, after folding; keep one", text, r.Except[j].Text)
			continue
		}
		first[folded] = i
		covered := false
		for term := range index.within(folded) {
			covered = true
			if term == folded {
				c.add(place, "%q is a term of this rule, which could then never hit; give a longer phrase, or take one of them out", text)
			}
		}
		if !covered && sound {
			c.add(place, "%q covers no term of this rule; give a phrase that contains one as a whole, or take it out", text)
		}
	}
}

// described checks that texts of exceptions say what they must.
func (c *checker) described(path string, x *exceptionFile) {
	for _, want := range []struct {
		name string
		has  bool
	}{{"texts", len(x.Texts) > 0}, {"owner", x.Owner != ""}, {"reason", x.Reason != ""}, {"expires", x.Expires != expiry{}}} {
		if !want.has {
			c.add(path+"."+want.name, "missing; an exception says what it is, who wants it, why, and until when (a day, or never)")
		}
	}
}

func (c *checker) id(path, pack, id string) {
	switch prefix := pack + "."; {
	case !idShape.MatchString(id) || len(id) > maxNameBytes:
		c.add(path, "%q is not an id; use a-z, 0-9 and single . - or _ between them, at most %d", id, maxNameBytes)
	case pack != "" && !strings.HasPrefix(id, prefix):
		c.add(path, "%q does not begin with the name of its pack; write %q", id, prefix+id[strings.LastIndexByte(id, '.')+1:])
	}
}

// kinds returns the kinds of events a rule judges, both when none is given.
func (c *checker) kinds(path string, words []string) []event.Kind {
	if len(words) == 0 {
		if c.doc.Has(path) {
			c.add(path, "is empty; give post, push or both, or take the line out for both")
		}
		return []event.Kind{event.Post, event.Push}
	}
	known := []string{event.Post.String(), event.Push.String()}
	var kinds []event.Kind
	for i, w := range words {
		at := fmt.Sprintf("%s[%d]", path, i)
		k, _ := event.ParseKind(w)
		switch {
		case !slices.Contains(known, w):
			c.add(at, "%s", unknown("kind", w, known))
		case slices.Contains(kinds, k):
			c.add(at, "%s is given twice; keep one", w)
		default:
			kinds = append(kinds, k)
		}
	}
	slices.Sort(kinds)
	return kinds
}

func (c *checker) fields(path string, names []string) {
	if len(names) == 0 && c.doc.Has(path) {
		c.add(path, "is empty; name fields, or take the line out for all")
	}
	c.names(path, names)
}

// names checks a list of short names.
func (c *checker) names(path string, names []string) {
	for i, n := range names {
		at := fmt.Sprintf("%s[%d]", path, i)
		switch {
		case n == "" || len(n) > maxNameBytes:
			c.add(at, "is not a name; give 1 to %d bytes", maxNameBytes)
		case slices.Contains(names[:i], n):
			c.add(at, "%q is given twice; keep one", n)
		}
	}
}

// checkPhrase says what is wrong with one term or exception.
func checkPhrase(p string, folded []byte) error {
	n := utf8.RuneCount(folded)
	switch {
	case p == "":
		return errors.New("is empty; give a term, or take it out")
	case strings.TrimSpace(p) != p:
		return fmt.Errorf("%q begins or ends with white space; take it out", p)
	case strings.ContainsFunc(p, func(r rune) bool { return unicode.IsSpace(r) && unicode.IsControl(r) }):
		return fmt.Errorf("%q contains a line break or a tab; write a blank, or two terms", p)
	case n == 1:
		return fmt.Errorf("%q is one character; a term has at least two, or it hits everywhere", p)
	case n > MaxTermLength:
		return fmt.Errorf("%d characters long after folding; at most %d (rules.MaxTermLength)", n, MaxTermLength)
	}
	if n == 0 {
		return fmt.Errorf("%q: %w", p, automaton.ErrEmpty)
	}
	if bytes.ContainsRune(folded, fold.Replacement) {
		return fmt.Errorf("%q: %w", p, automaton.ErrReplacement)
	}
	return nil
}

package rules

import (
	"bytes"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/weir-moderation/weir/internal/strictyaml"
	"github.com/weir-moderation/weir/pipeline/event"
	"github.com/weir-moderation/weir/rules/automaton"
	"github.com/weir-moderation/weir/rules/fold"
	"github.com/weir-moderation/weir/rules/form"
)

// Limits of packs. What exceeds one is refused with its name.
const (
	MaxTermLength = 64     // characters of one term or exception, folded
	MaxTerms      = 10_000 // terms, and as many exceptions, of one rule
	MaxRules      = 10_000 // rules of one set, drafts and retired ones included
	MaxPacks      = 1_000  // files of one set
)

// packFile is the shape of a pack.
type packFile struct {
	Pack          string     `yaml:"pack,required"`
	Description   string     `yaml:"description"`
	DescriptionZH string     `yaml:"description_zh"`
	Rules         []ruleFile `yaml:"rules,required"`
}

// ruleFile is the shape of a rule.
type ruleFile struct {
	ID            string   `yaml:"id,required"`
	Category      string   `yaml:"category,required"`
	Severity      Severity `yaml:"severity"`
	Action        Action   `yaml:"action"`
	State         State    `yaml:"state,required"`
	Terms         []string `yaml:"terms,required"`
	Except        []string `yaml:"except"`
	Forms         formList `yaml:"forms"`
	Fields        []string `yaml:"fields"`
	Kinds         []string `yaml:"kinds"`
	Description   string   `yaml:"description"`
	DescriptionZH string   `yaml:"description_zh"`
	Notes         string   `yaml:"notes"`
}

// formList is a list of forms, or the word all.
type formList []string

// UnmarshalText reads a single word.
func (l *formList) UnmarshalText(text []byte) error {
	*l = formList{string(text)}
	return nil
}

var (
	packShape = regexp.MustCompile(`^[a-z0-9]+([_-][a-z0-9]+)*$`)
	idShape   = regexp.MustCompile(`^[a-z0-9]+([._-][a-z0-9]+)*$`)
)

// parsePack reads one pack and checks all that one file can show. A rule that
// could not be read is nil.
func parsePack(file string, src []byte, reg *Register) (packFile, []*Rule, *checker) {
	var f packFile
	doc, err := strictyaml.Decode(file, src, &f)
	c := newChecker(doc, err)
	if !doc.Has("") {
		return f, nil, c // it could not be read at all
	}
	if doc.Has("pack") && (!packShape.MatchString(f.Pack) || len(f.Pack) > maxNameBytes) {
		c.add("pack", "%q is not a name; use a-z, 0-9 and single - or _ between them, at most %d", f.Pack, maxNameBytes)
	}
	if doc.Has("rules") && len(f.Rules) == 0 {
		c.add("rules", "is empty; give at least one rule, or take the file out")
	}
	if len(f.Rules) > MaxRules {
		c.add("rules", "%d rules; at most %d (rules.MaxRules)", len(f.Rules), MaxRules)
		f.Rules = nil
	}
	var rules []*Rule
	for i := range f.Rules {
		if c.faulty[fmt.Sprintf("rules[%d]", i)] {
			rules = append(rules, nil) // not even a mapping
			continue
		}
		rules = append(rules, c.rule(fmt.Sprintf("rules[%d]", i), &f, &f.Rules[i], reg))
	}
	return f, rules, c
}

// rule checks one rule and makes it, with all defaults filled in.
func (c *checker) rule(path string, pack *packFile, f *ruleFile, reg *Register) *Rule {
	r := &Rule{
		ID: f.ID, Pack: pack.Pack, Category: f.Category, Severity: f.Severity, Action: f.Action, State: f.State,
		Terms: f.Terms, Except: f.Except, Fields: f.Fields,
		Description: f.Description, DescriptionZH: f.DescriptionZH, Notes: f.Notes,
		File: c.doc.File(), Line: c.doc.Problem(path, "").Line,
	}
	c.id(path+".id", pack.Pack, f.ID)
	category, ok := reg.Category(f.Category)
	if !ok {
		c.add(path+".category", "%s", unknown("category", f.Category, reg.Codes()))
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
	r.Kinds = c.kinds(path+".kinds", f.Kinds)
	c.fields(path+".fields", f.Fields)
	r.Forms = c.forms(path+".forms", f.Forms, r.Severity)
	c.terms(path, f.Terms, f.Except)
	return r
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

// forms reads a rule's list of forms.
func (c *checker) forms(path string, words []string, s Severity) form.Form {
	if len(words) == 0 {
		if c.doc.Has(path) {
			c.add(path, "is empty; name forms, write %s for every one, or take the line out for those that suit the severity", allForms)
		}
		return DefaultForms(s)
	}
	if len(words) == 1 && words[0] == allForms {
		return form.All
	}
	forms := form.Fold
	for i, w := range words {
		at := fmt.Sprintf("%s[%d]", path, i)
		if !c.doc.Has(at) {
			at = path // a single word
		}
		f, err := form.Parse(w)
		switch {
		case w == allForms:
			c.add(at, "%s stands alone; write forms: %s", allForms, allForms)
		case err != nil:
			c.add(at, "%s", unknown("form", w, append(form.Names(), allForms)))
		case slices.Contains(words[:i], w):
			c.add(at, "%s is given twice; keep one", w)
		}
		forms |= f
	}
	return forms
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
	for i, n := range names {
		at := fmt.Sprintf("%s[%d]", path, i)
		switch {
		case n == "" || len(n) > maxNameBytes:
			c.add(at, "is not the name of a field; give 1 to %d bytes", maxNameBytes)
		case slices.Contains(names[:i], n):
			c.add(at, "%q is given twice; keep one", n)
		}
	}
}

// terms checks the terms and exceptions of a rule, one by one and against each other.
func (c *checker) terms(path string, terms, except []string) {
	folded := c.phrases(path+".terms", terms)
	if len(terms) == 0 && c.doc.Has(path+".terms") {
		c.add(path+".terms", "is empty; give at least one term")
	}
	covers := c.phrases(path+".except", except)
	if len(folded) == 0 || slices.ContainsFunc(folded, func(t []byte) bool { return t == nil }) {
		return // what an exception covers is only known when all terms are
	}
	for i, e := range covers {
		if e == nil {
			continue
		}
		at := fmt.Sprintf("%s.except[%d]", path, i)
		covered := false
		for j, t := range folded {
			if string(t) == string(e) {
				c.add(at, "%q is the term %q itself, which could then never hit; give a longer phrase, or take one of them out", except[i], terms[j])
			}
			covered = covered || form.Contains(string(e), string(t))
		}
		if !covered {
			c.add(at, "%q covers no term of this rule; give a phrase that contains one as a whole, or take it out", except[i])
		}
	}
}

// phrases checks a list of terms or exceptions and returns them folded, nil for
// the faulty ones.
func (c *checker) phrases(path string, phrases []string) [][]byte {
	if len(phrases) > MaxTerms {
		c.add(path, "%d of them; at most %d (rules.MaxTerms), split the rule", len(phrases), MaxTerms)
		return nil
	}
	folded := make([][]byte, len(phrases))
	first := make(map[string]int, len(phrases))
	for i, p := range phrases {
		at := fmt.Sprintf("%s[%d]", path, i)
		f := fold.Append(nil, []byte(p))
		if err := checkPhrase(p, f); err != nil {
			c.add(at, "%s", err)
			continue
		}
		if j, ok := first[string(f)]; ok {
			c.add(at, "%q is the same as %q before it, after folding; keep one", p, phrases[j])
			continue
		}
		first[string(f)] = i
		folded[i] = f
	}
	return folded
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

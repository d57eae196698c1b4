package rules

import (
	"cmp"
	"fmt"
	"io/fs"
	"iter"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/weir-moderation/weir/internal/strictyaml"
	"github.com/weir-moderation/weir/pipeline/event"
)

// LintOptions are what Lint needs beside the packs and their tests.
type LintOptions struct {
	// Options are those of Load. What is lint of a set without ordinary words may be none with them.
	Options
	// Ordinary are lists of ordinary words in which no term should hit.
	Ordinary []WordList
	// Corpus are benign events with the numbers of their lines, each of which is not used any more
	// after the next. They are judged as the daemon would. Nil for none.
	Corpus iter.Seq2[int, *event.Event]
	// MaxRate is the share of the corpus, from 0 to 1, that a rule or a term may hit.
	MaxRate float64
	// Disable are kinds that are not looked for.
	Disable []FindingKind
}

// WordList is a list of ordinary words as [form.NewWords] takes it: a word a line, in some lists a
// blank and how often it was counted. Lines that begin with # are passed over.
type WordList struct {
	Name string // in findings
	Text []byte
}

// LintReport is what Lint finds.
type LintReport struct {
	Findings []Finding // sorted by file, line, column and kind
	Rules    int       // that were looked at: all but retired ones
	Terms    int       // of these
	Texts    int       // of the corpus
}

// Finding is something in a pack that is allowed and hardly meant.
type Finding struct {
	Kind   FindingKind
	File   string
	Line   int      // from 1; 0 if it is about a whole file
	Column int      // in characters, from 1; 0 without a line
	Rules  []string // ids of the rules it is about, sorted; none for what no rule names
	// Message is what is wrong, and what would be right.
	Message string
}

// maxFindingRules is how many rules are named in the text of a finding.
const maxFindingRules = 3

// String returns "file:line:column: kind: rule: message".
func (f *Finding) String() string {
	var b strings.Builder
	b.WriteString(f.File)
	if f.Line > 0 {
		fmt.Fprintf(&b, ":%d:%d", f.Line, f.Column)
	}
	fmt.Fprintf(&b, ": %s: ", f.Kind)
	if n := len(f.Rules); n > 0 {
		b.WriteString(strings.Join(f.Rules[:min(n, maxFindingRules)], ", "))
		if n > maxFindingRules {
			fmt.Fprintf(&b, " and %d more", n-maxFindingRules)
		}
		b.WriteString(": ")
	}
	b.WriteString(f.Message)
	return b.String()
}

// Lint reads, checks and compiles packs as [Load] does, reads their tests as [LoadTests] does, and
// looks for what is allowed and hardly meant. The error is theirs: when anything is wrong there
// are no findings. Retired rules are left alone; a draft is looked at as if it were in shadow. It takes
// time in proportion to the terms, and to the words and texts given.
func Lint(fsys fs.FS, reg *Register, o LintOptions) (*LintReport, error) {
	if o.Now.IsZero() {
		o.Now = time.Now()
	}
	w := &origins{terms: make(map[*Rule][]origin)}
	src, err := readPacks(fsys, reg, o.Options, w)
	if err != nil {
		return nil, err
	}
	set, err := compile(slices.Clone(src.rules), len(src.files), o.Options)
	if err != nil {
		return nil, err
	}
	tests, err := LoadTests(fsys, o.Dir, set)
	if err != nil {
		return nil, err
	}
	l := &linter{o: o, src: src, tests: tests, found: make(map[string]int)}
	if l.set, err = l.judge(set, w); err != nil {
		return nil, err
	}
	l.covers = make(map[*Term][]int32)
	for i := range l.set.uses {
		if u := &l.set.uses[i]; len(u.by) > 0 {
			l.covers[u.term] = u.by
		}
	}
	l.repeated(w)
	l.duplicates()
	l.wanted()
	l.exceptions()
	l.rulesAlone()
	if err := l.unused(fsys); err != nil {
		return nil, err
	}
	l.ordinary()
	l.benign()
	l.report.sort()
	return &l.report, nil
}

// linter looks at one set.
type linter struct {
	o     LintOptions
	src   *sources
	tests *Tests
	set   *Set // drafts as if in shadow, and every hit told
	rules []*linted
	by    map[*Rule]*linted // by the rules of the set
	sc    Scratch

	covers map[*Term][]int32 // exceptions of the set that can cover a term

	report LintReport
	found  map[string]int // findings by all but their rules, in the report
}

// linted is a rule that is looked at.
type linted struct {
	*Rule       // in the linter's set
	state State // as written
	doc   *strictyaml.Document
	path  string // of the rule in it
	file  *ruleFile
	terms []origin // list after list, then those of None

	byText map[string]*Term // see term
	byTerm map[*Term]origin // see written
}

// written is where a term of the rule is written.
func (r *linted) written(t *Term) origin {
	if r.byTerm == nil {
		r.byTerm = make(map[*Term]origin, len(r.terms))
		for i, t := range r.all() {
			r.byTerm[t] = r.terms[i]
		}
	}
	return r.byTerm[t]
}

// term returns the term of its one list that a rule that does not combine has hit with.
func (r *linted) term(text string) *Term {
	if r.byText == nil {
		r.byText = make(map[string]*Term, len(r.Lists[0]))
		for j := range r.Lists[0] {
			r.byText[r.Lists[0][j].Text] = &r.Lists[0][j]
		}
	}
	return r.byText[text]
}

// judge lists the rules that are looked at and returns the set by which they are judged.
func (l *linter) judge(set *Set, w *origins) (*Set, error) {
	l.by = make(map[*Rule]*linted)
	drafts, next := false, 0
	all := slices.Clone(l.src.rules)
	for i, c := range l.src.checkers {
		for j := range l.src.files[i].Rules {
			r := all[next]
			if r.State == Draft {
				shadow := *r
				shadow.State = Shadow
				all[next], drafts = &shadow, true
			}
			if r.State != Retired {
				x := &linted{Rule: all[next], state: r.State, doc: c.doc, path: fmt.Sprintf("rules[%d]", j), file: &l.src.files[i].Rules[j], terms: w.terms[r]}
				l.rules, l.by[x.Rule] = append(l.rules, x), x
				l.report.Terms += len(x.terms)
			}
			next++
		}
	}
	l.report.Rules = len(l.rules)
	if drafts {
		o := l.o.Options
		o.MemoryBudget = math.MaxInt64 / 2 // that of the set without them was kept
		var err error
		if set, err = compile(all, len(l.src.files), o); err != nil {
			return nil, err
		}
	}
	every := *set.forEveryone()
	every.max = math.MaxInt
	every.second = nil
	return &every, nil
}

// add notes a finding. What is found alike at one place, as in a group that several rules use, is one
// finding of all of them.
func (l *linter) add(kind FindingKind, r *linted, at *strictyaml.Problem, format string, args ...any) {
	if slices.Contains(l.o.Disable, kind) {
		return
	}
	f := Finding{Kind: kind, File: at.File, Line: at.Line, Column: at.Column, Message: fmt.Sprintf(format, args...)}
	key := f.String()
	i, ok := l.found[key]
	if !ok {
		i = len(l.report.Findings)
		l.found[key] = i
		l.report.Findings = append(l.report.Findings, f)
	}
	if r != nil {
		l.report.Findings[i].Rules = append(l.report.Findings[i].Rules, r.ID)
	}
}

// at returns the place of a name of the rule, or of its id if the rule does not say it.
func (r *linted) at(name string) *strictyaml.Problem {
	if path := r.path + "." + name; r.doc.Has(path) {
		return r.doc.Problem(path, "")
	}
	return r.doc.Problem(r.path+".id", "")
}

func (r *LintReport) sort() {
	for i := range r.Findings {
		ids := r.Findings[i].Rules
		slices.Sort(ids)
		r.Findings[i].Rules = slices.Compact(ids)
	}
	slices.SortStableFunc(r.Findings, func(a, b Finding) int {
		return cmp.Or(cmp.Compare(a.File, b.File), a.Line-b.Line, a.Column-b.Column, cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Message, b.Message))
	})
}

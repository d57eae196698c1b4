package rules

import (
	"bytes"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/weir-moderation/weir/internal/strictyaml"
	"github.com/weir-moderation/weir/pipeline/event"
	"github.com/weir-moderation/weir/rules/form"
)

// TestSuffix is how the name of a file of tests ends. Such a file lies beside the packs and is none.
const TestSuffix = "_test.yaml"

// Tests are the cases of all files of tests that lie beside some packs.
type Tests struct {
	Files []string // sorted
	Cases []*Case  // in the order of the files
}

// Case is an event, and what a set must make of it. It must not be changed.
type Case struct {
	Name  string // may be empty
	Event *event.Event
	// Hits are what must hit: each of them must be there, and no hit of a rule that is not among
	// them. Nil leaves open what hits, an empty list says that nothing does.
	Hits   []Expected
	Spares []string // ids of the rules that must not hit
	Action *Action  // that the hits call for; nil leaves it open

	// File and Line say where the case is written.
	File string
	Line int
}

// Expected is a hit that must be there. Only what is given is compared.
type Expected struct {
	Rule  string    // its id; always given
	Text  string    // what stands there, as it was received; empty: any
	Form  form.Form // 0: any
	Field string    // its name; empty: any
}

// Title returns the name of the case, or what tells it from others: the beginning of its first text.
func (c *Case) Title() string {
	if c.Name != "" || len(c.Event.Fields) == 0 {
		return c.Name
	}
	return quoted(string(c.Event.Fields[0].Text), 40)
}

// testFile is the shape of a file of tests.
type testFile struct {
	Tests []caseFile `yaml:"tests,required"`
}

// caseFile is the shape of a case.
type caseFile struct {
	Name   string         `yaml:"name"`
	Text   string         `yaml:"text"`
	Event  eventFile      `yaml:"event"`
	Hits   []expectedFile `yaml:"hits"`
	Spares []string       `yaml:"spares"`
	Action *Action        `yaml:"action"`
}

// expectedFile is the shape of a hit that is expected.
type expectedFile struct {
	Rule  string `yaml:"rule,required"`
	Text  string `yaml:"text"`
	Form  string `yaml:"form"`
	Field string `yaml:"field"`
}

// LoadTests reads and checks the files of tests at the root of fsys: every file whose name ends in
// [TestSuffix]. The set is the one that is to be tested: the rules that cases name must be in it, in
// whatever state. Dir is put before the names of the files in messages. Where there is no such file,
// the tests have no cases. When anything is wrong the error lists all problems of all files
// ([strictyaml.Problems]). A file looks like this:
//
//	tests:
//	  - name: separators between characters  # may be left out
//	    text: 来赌 博                         # a post of one field, text
//	    hits:                                # all that is listed is there, and no hit of another rule
//	      - {rule: gambling.betting, text: 赌 博, form: squeeze, field: text}  # compared is what is given
//	    action: review                       # may be left out
//	  - text: 反赌博宣传
//	    spares: [gambling.betting]           # these rules do not hit; others may
//	  - event:                               # as a platform sends it; id, time and the user's id may be left out
//	      kind: push
//	      user: {group: minor}
//	      fields: {title: 今日, body: 天气}
//	      class: service
//	      channel: app
//	    hits: []                             # nothing hits
func LoadTests(fsys fs.FS, dir string, set *Set) (*Tests, error) {
	entries, err := fs.ReadDir(fsys, ".")
	if err != nil {
		return nil, fmt.Errorf("read tests: %w", err)
	}
	known := make(map[string]bool)
	var ids []string
	for _, r := range set.All() {
		known[r.ID] = true
		ids = append(ids, r.ID)
	}
	t := new(Tests)
	var problems strictyaml.Problems
	for _, e := range entries {
		name := e.Name()
		if e.IsDir() || strings.HasPrefix(name, ".") {
			continue
		}
		if stem, ok := strings.CutSuffix(name, "_test.yml"); ok {
			problems = append(problems, &strictyaml.Problem{File: path.Join(dir, name),
				Message: fmt.Sprintf("the name of a file of tests ends in %s; rename it to %s%s, or it would be passed over", TestSuffix, stem, TestSuffix)})
			continue
		}
		if !strings.HasSuffix(name, TestSuffix) {
			continue
		}
		src, err := fs.ReadFile(fsys, name)
		if err != nil {
			return nil, fmt.Errorf("read tests: %w", err)
		}
		file := path.Join(dir, name)
		p := newTestParser(file, src, known, ids)
		t.Files = append(t.Files, file)
		t.Cases = append(t.Cases, p.cases()...)
		problems = append(problems, p.problems...)
	}
	if len(problems) > 0 {
		problems.Sort()
		return nil, problems
	}
	return t, nil
}

// testParser reads one file of tests.
type testParser struct {
	*checker
	file    testFile
	decoder *event.Decoder
	known   map[string]bool // ids of the set's rules
	ids     []string
}

func newTestParser(file string, src []byte, known map[string]bool, ids []string) *testParser {
	p := &testParser{known: known, ids: ids, decoder: event.NewDecoder(event.DefaultConfig())}
	doc, err := strictyaml.Decode(file, src, &p.file)
	p.checker = newChecker(doc, err)
	return p
}

// cases checks the cases and makes them. What is made of a faulty one is of no use.
func (p *testParser) cases() []*Case {
	if p.doc.Has("tests") && len(p.file.Tests) == 0 {
		p.add("tests", "is empty; give at least one case, or take the file out")
	}
	cases := make([]*Case, 0, len(p.file.Tests))
	for i := range p.file.Tests {
		if at := fmt.Sprintf("tests[%d]", i); !p.faulty[at] { // else it is not even a mapping
			cases = append(cases, p.testCase(at, &p.file.Tests[i]))
		}
	}
	return cases
}

func (p *testParser) testCase(at string, f *caseFile) *Case {
	c := &Case{Name: f.Name, Spares: f.Spares, Action: f.Action, File: p.doc.File(), Line: p.doc.Problem(at, "").Line}
	if strings.ContainsFunc(f.Name, unicode.IsControl) {
		p.add(at+".name", "has a line break or another control character; a name is a line")
	}
	hasText, hasEvent := p.doc.Has(at+".text"), p.doc.Has(at+".event")
	hasHits, hasSpares := p.doc.Has(at+".hits"), p.doc.Has(at+".spares")
	switch {
	case hasText && hasEvent:
		p.add(at+".event", "stands beside text, which is a whole post; keep one of the two")
	case hasText && !p.faulty[at+".text"]:
		c.Event = p.event(at, &eventFile{ID: testID, Time: testTime, User: userFile{ID: testID},
			Fields: textFields{texts: map[string]string{textField: f.Text}, names: []string{textField}}})
	case hasEvent && !p.within(at+".event"):
		p.defaults(at+".event", &f.Event)
		c.Event = p.event(at+".event", &f.Event)
	case !hasText && !hasEvent:
		p.add(at+".text", "missing, and event too; give the text to be judged, or an event as the platform sends it")
	}
	if !hasHits && !hasSpares {
		p.add(at+".hits", "missing, and spares too; say what must hit, or which rules must not; hits: [] says that nothing may hit")
	}
	if hasHits {
		c.Hits = make([]Expected, len(f.Hits))
		for i := range f.Hits {
			c.Hits[i] = p.expected(fmt.Sprintf("%s.hits[%d]", at, i), &f.Hits[i], c.Event)
			if slices.Contains(c.Hits[:i], c.Hits[i]) {
				p.add(fmt.Sprintf("%s.hits[%d]", at, i), "is given twice; keep one")
			}
		}
	}
	p.spares(at+".spares", f.Spares, c.Hits)
	return c
}

// expected checks a hit that is expected in an event, which is nil if it could not be read.
func (p *testParser) expected(at string, f *expectedFile, e *event.Event) Expected {
	x := Expected{Rule: f.Rule, Text: f.Text, Field: f.Field}
	p.rule(at+".rule", f.Rule)
	if p.doc.Has(at + ".form") {
		var err error
		if x.Form, err = ParseForms(f.Form); err != nil {
			p.add(at+".form", "%s", err)
		}
	}
	if f.Text == "" && p.doc.Has(at+".text") {
		p.add(at+".text", "is empty; give what stands there, or take it out")
	}
	if f.Field == "" && p.doc.Has(at+".field") {
		p.add(at+".field", "is empty; give the name of a field, or take it out")
	}
	if e == nil {
		return x
	}
	var names []string
	found := false
	for i := range e.Fields {
		name := string(e.Fields[i].Name)
		names = append(names, name)
		found = found || (f.Field == "" || f.Field == name) && bytes.Contains(e.Fields[i].Text, []byte(f.Text))
	}
	switch {
	case f.Field != "" && !slices.Contains(names, f.Field):
		p.add(at+".field", "%s", unknown("field", f.Field, names))
	case f.Text != "" && !found:
		p.add(at+".text", "%s does not occur in %s; give what stands there, with all that stands between its characters",
			quoted(f.Text, 60), where(f.Field, len(names)))
	}
	return x
}

// where says where a text was looked for.
func where(field string, fields int) string {
	switch {
	case field != "":
		return "the field " + field
	case fields == 1:
		return "the text"
	default:
		return "any field"
	}
}

func (p *testParser) spares(at string, ids []string, hits []Expected) {
	if len(ids) == 0 && p.doc.Has(at) {
		p.add(at, "is empty; name the rules that must not hit, or take it out; hits: [] says that nothing may hit")
	}
	for i, id := range ids {
		at := fmt.Sprintf("%s[%d]", at, i)
		p.rule(at, id)
		switch {
		case slices.Contains(ids[:i], id):
			p.add(at, "%s is given twice; keep one", id)
		case slices.ContainsFunc(hits, func(x Expected) bool { return x.Rule == id }):
			p.add(at, "%s is among the hits too; keep one of the two", id)
		}
	}
}

// rule checks the id of a rule.
func (p *testParser) rule(at, id string) {
	if p.known[id] || p.faulty[at] || !p.doc.Has(at) {
		return
	}
	if near, ok := strictyaml.Nearest(id, p.ids); ok {
		p.add(at, "unknown rule %q; did you mean %q?", id, near)
		return
	}
	p.add(at, "unknown rule %q; give the id of a rule of these packs", id)
}

// ParseForms reads forms as hits and verdicts tell them, joined by +. Fold is always among them.
func ParseForms(text string) (form.Form, error) {
	forms := form.Fold
	for word := range strings.SplitSeq(text, "+") {
		f, err := form.Parse(word)
		if err != nil {
			return 0, unknown("form", word, form.Names())
		}
		forms |= f
	}
	return forms, nil
}

// quoted quotes the beginning of a text, with escapes for what cannot be seen.
func quoted(text string, most int) string {
	if runes := []rune(text); len(runes) > most {
		return strconv.Quote(string(runes[:most])) + "…"
	}
	return strconv.Quote(text)
}

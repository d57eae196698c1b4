package rules

import (
	"bytes"
	"fmt"
	"io/fs"
	"iter"
	"maps"
	"path"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/weir-moderation/weir/internal/strictyaml"
	"github.com/weir-moderation/weir/rules/detect"
	"github.com/weir-moderation/weir/rules/fold"
	"github.com/weir-moderation/weir/rules/form"
)

// MaxTermFile is the size of the largest file of terms, in bytes.
const MaxTermFile = 4 << 20

// library is what the rules of a set share: the register, groups and exceptions by name, files of
// terms.
type library struct {
	fsys       fs.FS
	dir        string // before names in messages
	register   *Register
	groups     map[string][]entryFile // sound texts, of files too
	exceptions map[string][]Exception
	files      map[string][]fileTerm
	problems   strictyaml.Problems // of files of terms
	origins    *origins            // where the terms of rules stand; nil if nobody asks
}

// fileTerm is a term of a file of terms.
type fileTerm struct {
	text string
	line int
}

// share notes what a pack has for others.
func (l *library) share(c *checker, pack *packFile) {
	for i := range pack.Groups {
		g, at := &pack.Groups[i], fmt.Sprintf("groups[%d]", i)
		if c.faulty[at] {
			continue
		}
		c.id(at+".id", pack.Pack, g.ID)
		if _, ok := l.groups[g.ID]; ok {
			c.add(at+".id", "group %q is given twice; rename one", g.ID)
		}
		if len(g.Terms) == 0 && c.doc.Has(at+".terms") {
			c.add(at+".terms", "is empty; give at least one term, or take the group out")
		}
		l.groups[g.ID] = l.members(c, at+".terms", g.Terms)
	}
	for i := range pack.Exceptions {
		x, at := &pack.Exceptions[i], fmt.Sprintf("exceptions[%d]", i)
		if c.faulty[at] {
			continue
		}
		c.id(at+".id", pack.Pack, x.ID)
		if _, ok := l.exceptions[x.ID]; ok {
			c.add(at+".id", "list of exceptions %q is given twice; rename one", x.ID)
		}
		var list []Exception
		for j, text := range x.Texts {
			if err := checkPhrase(text, []byte(fold.String(text))); err != nil {
				c.add(fmt.Sprintf("%s.texts[%d]", at, j), "%s", err)
				continue
			}
			list = append(list, Exception{Text: text, Owner: x.Owner, Reason: x.Reason, Expires: x.Expires.end, Shared: x.ID})
		}
		l.exceptions[x.ID] = list
	}
}

// members checks the entries of a group and returns them one text each.
func (l *library) members(c *checker, path string, entries []entryFile) []entryFile {
	var list []entryFile
	first := make(map[string]string)
	for i := range entries {
		e, at := &entries[i], fmt.Sprintf("%s[%d]", path, i)
		if c.faulty[at] {
			continue
		}
		c.overrides(at, &e.overrides)
		switch {
		case e.kinds() > 1:
			c.add(at, "says twice what it is; give one of text, file, detector and pattern, and an entry for each")
		case e.Group != "":
			c.add(at+".group", "a group holds no groups; give terms")
		case e.Detector+e.Pattern != "":
			if _, ok := c.shape(at, e); ok {
				e.from = origin{c.doc, at, 0}
				list = append(list, *e)
			}
		case e.File != "":
			for _, t := range l.file(c, at+".file", e.File) {
				list = append(list, entryFile{Text: t.text, overrides: e.overrides, from: l.line(e.File, t)})
			}
		default:
			if c.once(at, e.Text, first) {
				e.from = origin{c.doc, at, 0}
				list = append(list, *e)
			}
		}
	}
	return list
}

// kinds returns how many things an entry says it is.
func (e *entryFile) kinds() int {
	n := 0
	for _, s := range []string{e.Text, e.Group, e.File, e.Detector, e.Pattern} {
		if s != "" {
			n++
		}
	}
	return n
}

// shape returns what an entry of a detector or a pattern looks for; false if it is none, or faulty.
func (e *entryFile) shape() (Term, bool) {
	switch {
	case e.Detector != "":
		d, err := detect.Parse(e.Detector)
		return Term{Text: "detector: " + e.Detector, Detect: d.Set()}, err == nil
	case e.Pattern != "" && len(e.Pattern) <= MaxPattern:
		p, err := regexp.Compile(e.Pattern)
		return Term{Text: "pattern: " + e.Pattern, Pattern: p}, err == nil
	}
	return Term{}, false
}

// shape checks a detector or a pattern.
func (c *checker) shape(at string, e *entryFile) (Term, bool) {
	if e.Boundary != nil || e.Case != nil || len(e.Forms) > 0 || e.Gap != 0 {
		c.add(at, "says how a term is read, but a detector or a pattern is none; take that out")
	}
	t, ok := e.shape()
	switch {
	case ok && t.Pattern != nil && t.Pattern.MatchString(""):
		c.add(at+".pattern", "%q matches nothing at all, too, and so would hit everywhere; write what must be there", e.Pattern)
		return t, false
	case ok:
	case e.Detector != "":
		c.add(at+".detector", "%s", unknown("detector", e.Detector, detect.Names()))
	case len(e.Pattern) > MaxPattern:
		c.add(at+".pattern", "%d bytes; at most %d (rules.MaxPattern)", len(e.Pattern), MaxPattern)
	default:
		_, err := regexp.Compile(e.Pattern)
		c.add(at+".pattern", "no regular expression in RE2 syntax: %s", err)
	}
	return t, ok
}

// once checks a term, and that it is not in its list already.
func (c *checker) once(at, text string, first map[string]string) bool {
	place := at
	if c.doc.Has(at + ".text") {
		place = at + ".text"
	}
	folded := fold.String(text)
	if err := checkPhrase(text, []byte(folded)); err != nil {
		c.add(place, "%s", err)
		return false
	}
	if before, ok := first[folded]; ok {
		c.add(place, "%q is the same as %q before it, after folding; keep one", text, before)
		return false
	}
	first[folded] = text
	return true
}

// terms reads a list of what a rule looks for. What comes from groups and files and is in the list
// already is passed over.
func (c *checker) terms(path string, entries []entryFile, given Term, l *library) []Term {
	if len(entries) == 0 {
		c.add(path, "is empty; give at least one term")
	}
	var list []Term
	first := make(map[string]string) // written here
	type member struct {
		text string
		from origin
	}
	known := make(map[string]member)
	add := func(text string, t Term, from origin) {
		folded := fold.String(text)
		if before, ok := known[folded]; ok {
			l.origins.repeat(text, from, before.text, before.from)
			return
		}
		known[folded] = member{text, from}
		t.Text = text
		list = append(list, t)
		l.origins.add(from)
	}
	addShape := func(t Term, from origin) {
		list = append(list, t)
		l.origins.add(from)
	}
	for i := range entries {
		e, at := &entries[i], fmt.Sprintf("%s[%d]", path, i)
		if c.faulty[at] {
			continue
		}
		c.overrides(at, &e.overrides)
		t, here := given, origin{c.doc, at, 0}
		e.apply(&t)
		switch {
		case e.kinds() > 1:
			c.add(at, "says twice what it is; give one of text, group, file, detector and pattern, and an entry for each")
		case e.Detector+e.Pattern != "":
			if shape, ok := c.shape(at, e); ok {
				addShape(shape, here)
			}
		case e.Group != "":
			group, ok := l.groups[e.Group]
			if !ok {
				c.add(at+".group", "%s", unknown("group", e.Group, keys(l.groups)))
			}
			for j := range group {
				member := t
				group[j].apply(&member)
				if shape, ok := group[j].shape(); ok {
					addShape(shape, group[j].from)
				} else {
					add(group[j].Text, member, group[j].from)
				}
			}
		case e.File != "":
			for _, term := range l.file(c, at+".file", e.File) {
				add(term.text, t, l.line(e.File, term))
			}
		default:
			if c.once(at, e.Text, first) {
				add(e.Text, t, here)
			}
		}
	}
	return list
}

// file returns the terms in a file beside the packs: one a line, nothing for empty lines and those
// that begin with #. What is wrong in it is noted once, however often it is named.
func (l *library) file(c *checker, at, name string) []fileTerm {
	if terms, ok := l.files[name]; ok {
		return terms
	}
	l.files[name] = nil
	if !fs.ValidPath(name) || strings.HasSuffix(name, ".yaml") {
		c.add(at, "%q is not the name of a file of terms beside the packs; give one such as terms.txt", name)
		return nil
	}
	info, err := fs.Stat(l.fsys, name)
	if err == nil && info.Size() > MaxTermFile {
		c.add(at, "%q has %d bytes; at most %d (rules.MaxTermFile), split it", name, info.Size(), MaxTermFile)
		return nil
	}
	var src []byte
	if err == nil {
		src, err = fs.ReadFile(l.fsys, name)
	}
	if err != nil {
		c.add(at, "%q cannot be read: %s", name, err)
		return nil
	}
	var terms []fileTerm
	line := 0
	for text := range bytes.Lines(bytes.TrimPrefix(src, []byte("\uFEFF"))) {
		line++
		term := string(bytes.TrimSpace(text))
		if term == "" || term[0] == '#' {
			continue
		}
		problem := ""
		if !utf8.ValidString(term) {
			problem = "is not UTF-8; save the file as UTF-8"
		} else if err := checkPhrase(term, []byte(fold.String(term))); err != nil {
			problem = err.Error()
		}
		if problem == "" {
			terms = append(terms, fileTerm{term, line})
		} else if len(l.problems) < maxFileProblems {
			l.problems = append(l.problems, &strictyaml.Problem{File: path.Join(l.dir, name), Line: line, Column: 1, Message: problem})
		}
	}
	if len(terms) == 0 && len(l.problems) == 0 {
		c.add(at, "%q has no terms; write one a line", name)
	}
	l.files[name] = terms
	return terms
}

// line is where a term of a file stands.
func (l *library) line(name string, t fileTerm) origin {
	return origin{path: path.Join(l.dir, name), line: t.line}
}

// maxFileProblems are told of files of terms.
const maxFileProblems = 200

func keys[V any](m map[string]V) []string { return slices.Sorted(maps.Keys(m)) }

// termIndex finds terms in a phrase, by their folded texts.
type termIndex struct {
	all   map[string][]int
	parts map[string][]int // those of all that may be a part of a longer token
}

// index returns the terms of the rule, numbered list after list.
func (r *Rule) index() termIndex {
	x := termIndex{make(map[string][]int), make(map[string][]int)}
	n := 0
	for _, list := range r.lists() {
		for i := range list {
			if !list[i].shaped() {
				folded := fold.String(list[i].Text)
				x.all[folded] = append(x.all[folded], n)
				if list[i].Boundary == Substring {
					x.parts[folded] = append(x.parts[folded], n)
				}
			}
			n++
		}
	}
	return x
}

// within yields the folded terms that stand in a folded phrase, of those inside a longer token only
// those that may be there, with their numbers. It takes time
// by the square of the phrase, which is short, and none by the number of terms.
func (x termIndex) within(phrase string) iter.Seq2[string, []int] {
	return func(yield func(string, []int) bool) {
		seen := make(map[string]bool)
		for from := range phrase {
			for to := range phrase[from:] {
				if !x.tell(phrase, phrase[from:from+to], seen, yield) {
					return
				}
			}
			if !x.tell(phrase, phrase[from:], seen, yield) {
				return
			}
		}
	}
}

func (x termIndex) tell(phrase, part string, seen map[string]bool, yield func(string, []int) bool) bool {
	terms := x.all[part]
	if len(terms) > 0 && !form.Contains(phrase, part) {
		terms = x.parts[part]
	}
	if len(terms) == 0 || seen[part] {
		return true
	}
	seen[part] = true
	return yield(part, terms)
}

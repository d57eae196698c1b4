package rules

import (
	"fmt"
	"io/fs"
	"path"
	"strings"
	"time"

	"github.com/weir-moderation/weir/internal/strictyaml"
	"github.com/weir-moderation/weir/rules/form"
)

// Options are what Load needs beside the packs.
type Options struct {
	// Dir is put before the names of the packs in messages.
	Dir          string
	MemoryBudget Bytes // of the compiled set; 0 means the default
	MaxHits      int   // of one event; 0 means DefaultMaxHits
	Engine       Engine
	// SecondOpinion asks another engine about some events; the zero one about none.
	SecondOpinion SecondOpinion
	// Words are ordinary words; a term that is only a part of them is no hit.
	Words *form.Words
	// Only cuts the forms of all rules down to these; 0 means as written. It is for
	// measuring.
	Only form.Form
	// Exclusions are texts that no term is found in by sound or by shape.
	Exclusions []string
	// Now is the time by which exceptions are in force or have expired; zero for the clock's.
	Now time.Time

	countNumerals bool // of a second opinion: as the first one does, see form.Options
}

// Load reads, checks and compiles the packs at the root of fsys: every file whose
// name ends in .yaml, but not in _test.yaml. Directories, names that begin with a dot
// and other files are passed over; files of terms are read where a rule names them. Draft and retired
// rules are checked like all others, and not compiled. When anything is wrong there is no set, and the
// error lists all problems of all packs ([strictyaml.Problems]).
func Load(fsys fs.FS, reg *Register, o Options) (*Set, error) {
	src, err := readPacks(fsys, reg, o, nil)
	if err != nil {
		return nil, err
	}
	return compile(src.rules, len(src.files), o)
}

// sources are the packs of a directory, read and checked.
type sources struct {
	files    []packFile
	checkers []*checker // of each file
	library  *library
	rules    []*Rule // file after file, as they are written
}

// readPacks reads and checks the packs of a directory. Where each term is written is noted in w, if
// it is not nil.
func readPacks(fsys fs.FS, reg *Register, o Options, w *origins) (*sources, error) {
	names, problems, err := packNames(fsys, o.Dir)
	if err != nil {
		return nil, err
	}
	l := library{fsys: fsys, dir: o.Dir, register: reg, origins: w,
		groups: make(map[string][]entryFile), exceptions: make(map[string][]Exception), files: make(map[string][]fileTerm)}
	files := make([]packFile, len(names))
	checkers := make([]*checker, len(names))
	packs := make(map[string]*strictyaml.Problem) // where each name was given first
	for i, name := range names {
		src, err := fs.ReadFile(fsys, name)
		if err != nil {
			return nil, fmt.Errorf("read pack: %w", err)
		}
		files[i], checkers[i] = readPack(path.Join(o.Dir, name), src)
		checkers[i].unique(packs, "pack", "pack", files[i].Pack)
		l.share(checkers[i], &files[i])
	}
	// Only now is all known that rules may name.
	var rules []*Rule
	ids := make(map[string]*strictyaml.Problem)
	for i, c := range checkers {
		for j := range files[i].Rules {
			at := fmt.Sprintf("rules[%d]", j)
			if c.faulty[at] {
				continue // not even a mapping
			}
			r := c.rule(at, &files[i], &files[i].Rules[j], &l)
			c.unique(ids, at+".id", "id", r.ID)
			rules = append(rules, r)
		}
		problems = append(problems, c.problems...)
	}
	problems = append(problems, l.problems...)
	if len(rules) > MaxRules {
		problems = append(problems, &strictyaml.Problem{File: dirName(o.Dir), Message: fmt.Sprintf("%d rules in all packs; at most %d (rules.MaxRules)", len(rules), MaxRules)})
	}
	if len(problems) > 0 {
		problems.Sort()
		return nil, problems
	}
	return &sources{files, checkers, &l, rules}, nil
}

// packNames lists the packs of a directory.
func packNames(fsys fs.FS, dir string) ([]string, strictyaml.Problems, error) {
	entries, err := fs.ReadDir(fsys, ".")
	if err != nil {
		return nil, nil, fmt.Errorf("read packs: %w", err)
	}
	var names []string
	var problems strictyaml.Problems
	for _, e := range entries {
		name := e.Name()
		switch {
		case e.IsDir() || strings.HasPrefix(name, ".") || strings.HasSuffix(name, TestSuffix):
		case strings.HasSuffix(name, ".yaml"):
			names = append(names, name)
		case strings.HasSuffix(name, ".yml"):
			problems = append(problems, &strictyaml.Problem{File: path.Join(dir, name),
				Message: fmt.Sprintf("a pack's name ends in .yaml; rename it to %s.yaml, or it would be passed over", strings.TrimSuffix(name, ".yml"))})
		}
	}
	if len(names) == 0 && len(problems) == 0 {
		return nil, nil, fmt.Errorf("read packs: no pack in %s; a pack is a file whose name ends in .yaml", dirName(dir))
	}
	if len(names) > MaxPacks {
		return nil, nil, fmt.Errorf("read packs: %d packs in %s; at most %d (rules.MaxPacks)", len(names), dirName(dir), MaxPacks)
	}
	return names, problems, nil
}

func dirName(dir string) string {
	if dir == "" {
		return "the directory"
	}
	return dir
}

// unique notes a name that was given before, in this file or another, with both places.
func (c *checker) unique(first map[string]*strictyaml.Problem, at, what, name string) {
	if name == "" || c.faulty[at] {
		return
	}
	here := c.doc.Problem(at, "")
	if before := first[name]; before != nil {
		c.add(at, "%s %q is given twice; first in %s:%d:%d, rename one", what, name, before.File, before.Line, before.Column)
		return
	}
	first[name] = here
}

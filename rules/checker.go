package rules

import (
	"errors"
	"fmt"

	"github.com/weir-moderation/weir/internal/strictyaml"
)

// maxNameBytes is the length of the longest name of a pack, rule, category or field.
const maxNameBytes = 128

// checker collects what is wrong with one document.
type checker struct {
	doc      *strictyaml.Document
	problems strictyaml.Problems
	faulty   map[string]bool // paths with a problem
}

// newChecker starts with the problems of reading the document.
func newChecker(doc *strictyaml.Document, err error) *checker {
	c := &checker{doc: doc, faulty: make(map[string]bool)}
	errors.As(err, &c.problems)
	for _, p := range c.problems {
		c.faulty[p.Path] = true
	}
	return c
}

// add notes a problem, unless its place has one already: a value that could not
// be read need not also be called empty.
func (c *checker) add(path, format string, args ...any) {
	if c.faulty[path] {
		return
	}
	c.faulty[path] = true
	c.problems = append(c.problems, c.doc.Problem(path, "%s", fmt.Sprintf(format, args...)))
}

// error returns all problems in the order of the file, nil if there are none.
func (c *checker) error() error {
	if len(c.problems) == 0 {
		return nil
	}
	c.problems.Sort()
	return c.problems
}

package main

import (
	"errors"
	"fmt"
	"strings"
)

// A section is a group of clauses under one heading.
type section struct {
	title   string
	clauses []clause
}

// A clause is one demand of one text.
type clause struct {
	id   string
	when string // now, later, or "operator: why"
	text string
}

// parse reads the list of clauses; all its faults are reported at once.
func parse(file, list string) ([]section, error) {
	var sections []section
	var faults []error
	first := make(map[string]int) // line of each id
	n := 0
	for line := range strings.Lines(list) {
		n++
		line = strings.TrimSpace(line)
		fault := func(format string, args ...any) {
			faults = append(faults, fmt.Errorf("%s:%d: %s", file, n, fmt.Sprintf(format, args...)))
		}
		if title, ok := strings.CutPrefix(line, "## "); ok {
			sections = append(sections, section{title: title})
			continue
		}
		if line == "" || line[0] == '#' {
			continue
		}
		parts := strings.Split(line, " | ")
		if len(parts) != 3 {
			fault("not a clause; a line is: id | when | what the text asks")
			continue
		}
		c := clause{id: parts[0], when: parts[1], text: parts[2]}
		why, operator := strings.CutPrefix(c.when, "operator: ")
		switch {
		case len(sections) == 0:
			fault("%s stands under no heading; begin a section with ## and its title", c.id)
			continue
		case !isID(c.id):
			fault("%q is not an id; use small letters, digits and hyphens", c.id)
		case first[c.id] != 0:
			fault("%s stands on line %d already; an id names one clause", c.id, first[c.id])
		case c.when != "now" && c.when != "later" && (!operator || why == ""):
			fault("%s: %q says not when; write now, later, or operator: and why", c.id, c.when)
		}
		first[c.id] = n
		last := &sections[len(sections)-1]
		last.clauses = append(last.clauses, c)
	}
	return sections, errors.Join(faults...)
}

func isID(s string) bool {
	return s != "" && strings.Trim(s, "abcdefghijklmnopqrstuvwxyz0123456789-") == ""
}

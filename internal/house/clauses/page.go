package main

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
)

// page renders docs/clauses.md. A citation of an unknown clause is an error.
func page(sections []section, citations []citation) ([]byte, error) {
	code := make(map[string][]citation)
	tests := make(map[string][]citation)
	for _, c := range citations {
		if c.test != "" {
			tests[c.id] = append(tests[c.id], c)
		} else {
			code[c.id] = append(code[c.id], c)
		}
	}

	known := make(map[string]bool)
	var kept, open, later, operator int
	for _, s := range sections {
		for _, c := range s.clauses {
			known[c.id] = true
			switch {
			case len(code[c.id]) > 0:
				kept++
			case c.when == "now":
				open++
			case c.when == "later":
				later++
			default:
				operator++
			}
		}
	}
	var faults []error
	for _, c := range citations {
		if !known[c.id] {
			faults = append(faults, fmt.Errorf("%s:%d: there is no clause %s; the list is internal/house/clauses/requirements.txt", c.file, c.line, c.id))
		}
	}
	if err := errors.Join(faults...); err != nil {
		return nil, err
	}

	var b bytes.Buffer
	b.WriteString(`# Clauses

<!-- Written by go generate ./internal/house from comments in the code; do not edit. -->

Platforms that push and publish sign or are bound by four kinds of text: a real-name rule (` + "`rn`" + `), a collection of
complaint and information-service rules (` + "`cmp`" + `), a push-compliance pledge (` + "`push`" + `) and a three-level publishing rule (` + "`pub`" + `).
This page shows, clause by clause, which code of Weir keeps it and which test would turn red if it no longer did.
`)
	fmt.Fprintf(&b, "\nOf %d clauses, code keeps %d (each as far as its sentence says); %d are not yet built, %d come later, %d are left to the operator.\n",
		len(known), kept, open, later, operator)
	for _, s := range sections {
		fmt.Fprintf(&b, "\n## %s\n\n| clause | the text asks | what Weir does | where | test |\n|---|---|---|---|---|\n", s.title)
		for _, c := range s.clauses {
			rows(&b, c, code[c.id], tests[c.id])
		}
	}
	return b.Bytes(), nil
}

// rows writes a clause: one row per line of code that keeps it.
func rows(b *bytes.Buffer, c clause, code, tests []citation) {
	id, text := "`"+c.id+"`", cell(c.text)
	for i := range max(1, len(code), len(tests)) {
		var what, where, test string
		switch {
		case i < len(code):
			what, where = cell(code[i].what), link(code[i].file, code[i])
		case i > 0:
		case c.when == "now":
			what = "*not yet*"
		case c.when == "later":
			what = "*later*"
		default:
			what = "*left to the " + cell(c.when) + "*"
		}
		if i < len(tests) {
			test = link(tests[i].test, tests[i])
		}
		fmt.Fprintf(b, "| %s | %s | %s | %s | %s |\n", id, text, what, where, test)
		id, text = "", ""
	}
}

// link leads to the file, not to the line: every change above a citation would make the page
// stale, and the clause's id is found in the file at once.
func link(text string, c citation) string {
	return fmt.Sprintf("[%s](../%s)", text, c.file)
}

// cell keeps a text from ending its table cell.
func cell(s string) string { return strings.ReplaceAll(s, "|", `\|`) }

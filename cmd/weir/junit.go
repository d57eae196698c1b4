package main

import (
	"encoding/xml"
	"os"
)

// The elements of JUnit XML that programs for continuous integration agree on: a suite for each
// file of tests.
type junitSuites struct {
	XMLName  xml.Name     `xml:"testsuites"`
	Tests    int          `xml:"tests,attr"`
	Failures int          `xml:"failures,attr"`
	Skipped  int          `xml:"skipped,attr"`
	Suites   []junitSuite `xml:"testsuite"`
}

type junitSuite struct {
	Name     string      `xml:"name,attr"`
	Tests    int         `xml:"tests,attr"`
	Failures int         `xml:"failures,attr"`
	Errors   int         `xml:"errors,attr"`
	Skipped  int         `xml:"skipped,attr"`
	Cases    []junitCase `xml:"testcase"`
}

type junitCase struct {
	Name    string        `xml:"name,attr"`
	Class   string        `xml:"classname,attr"`
	File    string        `xml:"file,attr"`
	Line    int           `xml:"line,attr"`
	Failure *junitFailure `xml:"failure,omitempty"`
	Skipped *junitSkipped `xml:"skipped,omitempty"`
}

type junitFailure struct {
	Message string `xml:"message,attr"`
	Type    string `xml:"type,attr"`
	Text    string `xml:",chardata"`
}

type junitSkipped struct {
	Message string `xml:"message,attr"`
}

// add counts a case in.
func (s *junitSuite) add(c junitCase) {
	s.Cases = append(s.Cases, c)
	s.Tests++
	if c.Failure != nil {
		s.Failures++
	}
	if c.Skipped != nil {
		s.Skipped++
	}
}

// ruleSuites are what JUnit XML says of the tests of rules.
func ruleSuites(files []*testedFile) []junitSuite {
	var suites []junitSuite
	for _, f := range files {
		s := junitSuite{Name: f.File}
		for _, c := range f.cases {
			j := junitCase{Name: c.Title(), Class: f.File, File: f.File, Line: c.Line}
			if c.skipped {
				j.Skipped = &junitSkipped{"it wants a rule to hit that is a draft or retired"}
			}
			switch {
			case c.lapsed():
				j.Skipped = &junitSkipped{"an exception that it is about has expired"}
			case c.failure != nil:
				j.Failure = &junitFailure{Message: c.failure.Error(), Type: "expectation", Text: "\n" + c.failure.Diff()}
			}
			s.add(j)
		}
		suites = append(suites, s)
	}
	return suites
}

// writeJUnit writes the results of tests as JUnit XML.
func writeJUnit(file string, suites []junitSuite) error {
	all := junitSuites{Suites: suites}
	for _, s := range suites {
		all.Tests, all.Failures, all.Skipped = all.Tests+s.Tests, all.Failures+s.Failures, all.Skipped+s.Skipped
	}
	out, err := xml.MarshalIndent(all, "", "  ")
	if err != nil {
		return err
	}
	return os.WriteFile(file, append([]byte(xml.Header), append(out, '\n')...), 0o644)
}

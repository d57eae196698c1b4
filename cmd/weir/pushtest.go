package main

import (
	"fmt"
	"io"
	"regexp"

	"github.com/weir-moderation/weir/internal/app"
	"github.com/weir-moderation/weir/pipeline/push/policytest"
)

type pushTestCmd struct {
	policyFlags
	Match string `name:"run" help:"Run only the cases whose name matches." placeholder:"REGEXP"`
	JUnit string `name:"junit" help:"Also write the results as JUnit XML." placeholder:"FILE" type:"path"`
}

// Help says what kong cannot know.
func (pushTestCmd) Help() string {
	return `Runs the tests that lie beside a push policy: of NAME.yaml those in NAME_test.yaml, of the policy in the binary its own. A case says who the user is, what they were sent lately, a push, and what must be decided about it; docs/push.md explains each name. A case that fails is shown with its place, and what it expects beside what came: - before what is missing, + before what came instead; below stand the limits that cover the push. Exit status 1 if a case fails.`
}

// policyTested is a case as it came out.
type policyTested struct {
	*policytest.Case
	failure *policytest.Failure // nil if it passed
}

// Run runs tests and says how they came out.
func (c *pushTestCmd) Run(s streams) error {
	pattern, err := regexp.Compile(c.Match)
	if err != nil {
		return &codeError{fmt.Errorf("--run: %w", err), exitMisuse}
	}
	cfg, policy, err := c.load()
	if err != nil {
		return err
	}
	tests, err := app.LoadPolicyTests(&cfg.Push, policy)
	if err != nil {
		return err
	}
	if len(tests.Cases) == 0 {
		return &hintError{fmt.Errorf("the push policy has no tests; they stand in %s", tests.File), "docs/push.md shows how to write one"}
	}
	failed := make(map[*policytest.Case]*policytest.Failure)
	for _, f := range policytest.Run(tests.Cases, policy) {
		failed[f.Case] = &f
	}
	var cases []policyTested
	failures := 0
	for _, t := range tests.Cases {
		if !pattern.MatchString(t.Name) {
			continue
		}
		cases = append(cases, policyTested{t, failed[t]})
		if failed[t] != nil {
			failures++
		}
	}
	if len(cases) == 0 {
		return fmt.Errorf("--run: no case has a name that matches %q", c.Match)
	}
	if c.JUnit != "" {
		if err := writeJUnit(c.JUnit, []junitSuite{policySuite(tests.File, cases)}); err != nil {
			return fmt.Errorf("write JUnit: %w", err)
		}
	}
	if err := printPolicyTested(s.out, tests.File, cases, failures); err != nil {
		return fmt.Errorf("write results: %w", err)
	}
	if failures > 0 {
		fmt.Fprintf(s.err, "weir: error: %d of %s failed\n", failures, count(len(cases), "case"))
		return errSaid
	}
	return nil
}

// printPolicyTested shows every failure, and how many there were.
func printPolicyTested(w io.Writer, file string, cases []policyTested, failures int) error {
	for _, c := range cases {
		if c.failure == nil {
			continue
		}
		if _, err := fmt.Fprintf(w, "%s\n%s\n", c.failure.Error(), c.failure.Diff()); err != nil {
			return err
		}
	}
	text := fmt.Sprintf("%d passed", len(cases)-failures)
	if failures > 0 {
		text += fmt.Sprintf(", %d failed", failures)
	}
	_, err := fmt.Fprintf(w, "%s: %s\n", file, text)
	return err
}

// policySuite is what JUnit XML says of the tests of a policy.
func policySuite(file string, cases []policyTested) junitSuite {
	s := junitSuite{Name: file}
	for _, c := range cases {
		j := junitCase{Name: c.Name, Class: file, File: c.File, Line: c.Line}
		if c.failure != nil {
			j.Failure = &junitFailure{Message: c.failure.Error(), Type: "expectation", Text: "\n" + c.failure.Diff()}
		}
		s.add(j)
	}
	return s
}

package main

import (
	"errors"
	"fmt"
	"io"
	"regexp"

	"github.com/weir-moderation/weir/internal/app"
	"github.com/weir-moderation/weir/internal/config"
	"github.com/weir-moderation/weir/rules"
)

type ruleTestCmd struct {
	ruleFlags
	Match string   `name:"run" help:"Run only the cases whose name matches; a case without one goes by the beginning of its text." placeholder:"REGEXP"`
	JUnit string   `name:"junit" help:"Also write the results as JUnit XML." placeholder:"FILE" type:"path"`
	JSON  bool     `name:"json" help:"Write one JSON object instead of text for people."`
	Dirs  []string `arg:"" optional:"" name:"dir" help:"Directories with tests; also with the packs that they test, each a set of its own, unless --rules or the directory of --config names those." type:"existingdir"`
}

// Help says what kong cannot know.
func (ruleTestCmd) Help() string {
	return `Runs the tests that lie beside packs, in files whose names end in _test.yaml. Without directories: those beside the rules that the flags name, or beside the starter packs in the binary. A case that fails is shown with its place, and what it expects beside what came: - before what is missing, + before what came instead. A case that wants a draft or retired rule to hit is not run. One that comes out as it says but for an exception that has expired is shown as lapsed; it does not fail, as rules are put in force without the exception, too. Exit status 1 if a case fails.`
}

// testedFile is a file of tests as it came out.
type testedFile struct {
	File    string `json:"file"`
	Passed  int    `json:"passed"`
	Failed  int    `json:"failed"`
	Skipped int    `json:"skipped"` // not run: of a rule that is a draft or retired
	Lapsed  int    `json:"lapsed"`  // about an exception that has expired

	cases []testedCase
}

// testedCase is a case as it came out.
type testedCase struct {
	*rules.Case
	skipped bool
	failure *rules.Failure // nil if it passed
}

// lapsed reports whether the case is about an exception that has expired.
func (t *testedCase) lapsed() bool { return t.failure != nil && t.failure.Lapsed }

// Run runs tests and says how they came out.
func (c *ruleTestCmd) Run(s streams) error {
	pattern, err := regexp.Compile(c.Match)
	if err != nil {
		return &codeError{fmt.Errorf("--run: %w", err), exitMisuse}
	}
	files, err := c.test(pattern)
	if err != nil {
		return err
	}
	var total testedFile
	for _, f := range files {
		total.Passed, total.Failed, total.Skipped = total.Passed+f.Passed, total.Failed+f.Failed, total.Skipped+f.Skipped
		total.Lapsed += f.Lapsed
	}
	if len(files) == 0 {
		return &hintError{fmt.Errorf("no tests; they stand in files whose names end in %s", rules.TestSuffix),
			"weir rules capture writes such a file from verdicts"}
	}
	if total.Passed+total.Failed+total.Skipped+total.Lapsed == 0 {
		return fmt.Errorf("--run: no case has a name that matches %q", c.Match)
	}
	if c.JUnit != "" {
		if err := writeJUnit(c.JUnit, ruleSuites(files)); err != nil {
			return fmt.Errorf("write JUnit: %w", err)
		}
	}
	if c.JSON {
		err = encodeTested(s.out, files)
	} else {
		err = printTested(s.out, files)
	}
	if err != nil {
		return fmt.Errorf("write results: %w", err)
	}
	if total.Failed > 0 {
		fmt.Fprintf(s.err, "weir: error: %d of %s failed\n", total.Failed, count(total.Failed+total.Passed+total.Lapsed, "case"))
		return errSaid
	}
	return nil
}

// test runs the tests of all directories.
func (c *ruleTestCmd) test(pattern *regexp.Regexp) (files []*testedFile, err error) {
	add := func(cfg *config.Config, set *rules.Set, failed error) {
		var tested []*testedFile
		if failed == nil {
			tested, failed = runTests(cfg, set, pattern)
		}
		files, err = append(files, tested...), errors.Join(err, failed)
	}
	switch {
	case len(c.Dirs) == 0:
		add(c.loadAlone())
	case c.Rules == "" && c.Config == "":
		for _, dir := range c.Dirs {
			flags := ruleFlags{Rules: dir, Categories: c.Categories}
			add(flags.loadAlone())
		}
	default:
		cfg, err := c.read()
		if err != nil {
			return nil, err
		}
		if cfg.Rules.Topic != "" {
			for _, dir := range c.Dirs {
				one := *cfg // its rules are not here, so the directory has them
				one.Rules.Dir, one.Rules.Topic, one.Rules.VerifyKey, one.Rules.SecondOpinion.Every = dir, "", "", 0
				set, err := app.LoadRules(&one.Rules)
				add(&one, set, err)
			}
			break
		}
		cfg, set, err := c.loadAlone()
		if err != nil {
			return nil, err
		}
		for _, dir := range c.Dirs {
			cfg.Rules.Dir = dir
			add(cfg, set, nil)
		}
	}
	return files, err
}

// runTests runs those tests of a directory whose names match.
func runTests(cfg *config.Config, set *rules.Set, pattern *regexp.Regexp) ([]*testedFile, error) {
	tests, err := app.LoadRuleTests(&cfg.Rules, set)
	if err != nil {
		return nil, err
	}
	some := rules.Tests{Files: tests.Files}
	for _, c := range tests.Cases {
		if pattern.MatchString(c.Title()) {
			some.Cases = append(some.Cases, c)
		}
	}
	failed := make(map[*rules.Case]*rules.Failure)
	for _, f := range some.Run(set) {
		failed[f.Case] = &f
	}
	var files []*testedFile
	byName := make(map[string]*testedFile)
	for _, name := range tests.Files {
		byName[name] = &testedFile{File: name}
		files = append(files, byName[name])
	}
	for _, c := range some.Cases {
		f, t := byName[c.File], testedCase{Case: c, failure: failed[c], skipped: !c.Runs(set)}
		switch {
		case t.skipped:
			f.Skipped++
		case t.lapsed():
			f.Lapsed++
		case t.failure != nil:
			f.Failed++
		default:
			f.Passed++
		}
		f.cases = append(f.cases, t)
	}
	return files, nil
}

// printTested shows every failure, and counts by file.
func printTested(w io.Writer, files []*testedFile) error {
	for _, f := range files {
		for _, c := range f.cases {
			if c.failure != nil {
				lapsed := ""
				if c.lapsed() {
					lapsed = "; lapsed: an exception that the case is about has expired"
				}
				if _, err := fmt.Fprintf(w, "%s%s\n%s\n", c.failure.Error(), lapsed, c.failure.Diff()); err != nil {
					return err
				}
			}
		}
	}
	for _, f := range files {
		if _, err := fmt.Fprintf(w, "%s: %s\n", f.File, f.counts()); err != nil {
			return err
		}
	}
	return nil
}

func (f *testedFile) counts() string {
	text := fmt.Sprintf("%d passed", f.Passed)
	if f.Failed > 0 {
		text += fmt.Sprintf(", %d failed", f.Failed)
	}
	if f.Lapsed > 0 {
		text += fmt.Sprintf(", %d lapsed", f.Lapsed)
	}
	if f.Skipped > 0 {
		text += fmt.Sprintf(", %d not run for a draft or retired rule", f.Skipped)
	}
	return text
}

// failureReport is a failure as programs read it.
type failureReport struct {
	File       string           `json:"file"`
	Line       int              `json:"line"`
	Name       string           `json:"name"`
	Missing    []expectedReport `json:"missing"`    // expected hits that are not there
	Unexpected []expectedReport `json:"unexpected"` // hits of rules that are not listed, or spared
	Hits       []expectedReport `json:"hits"`       // all that are there
	Action     string           `json:"action"`     // that they call for
	Expected   string           `json:"expected_action,omitempty"`
}

// expectedReport is a hit that is there, or that is expected with what is told of it.
type expectedReport struct {
	Rule  string `json:"rule"`
	Text  string `json:"text,omitempty"`
	Form  string `json:"form,omitempty"`
	Field string `json:"field,omitempty"`
}

func reportExpected(list []rules.Expected) []expectedReport {
	reports := make([]expectedReport, len(list))
	for i, x := range list {
		reports[i] = expectedReport{Rule: x.Rule, Text: x.Text, Field: x.Field}
		if x.Form != 0 {
			reports[i].Form = x.Form.String()
		}
	}
	return reports
}

// encodeTested writes the results for programs.
func encodeTested(w io.Writer, files []*testedFile) error {
	failures := []failureReport{}
	for _, f := range files {
		for _, c := range f.cases {
			if c.failure == nil || c.lapsed() {
				continue
			}
			got := func(hits []rules.Hit) []expectedReport {
				var list []rules.Expected
				for i := range hits {
					list = append(list, c.failure.Got(&hits[i]))
				}
				return reportExpected(list)
			}
			r := failureReport{File: c.File, Line: c.Line, Name: c.Name, Missing: reportExpected(c.failure.Missing),
				Unexpected: got(c.failure.Unexpected), Hits: got(c.failure.Hits), Action: c.failure.Action.String()}
			if c.Action != nil {
				r.Expected = c.Action.String()
			}
			failures = append(failures, r)
		}
	}
	return jsonTo(w).Encode(struct {
		Files    []*testedFile   `json:"files"`
		Failures []failureReport `json:"failures"`
	}{files, failures})
}

package main

import (
	"bufio"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/weir-moderation/weir/configs"
	"github.com/weir-moderation/weir/internal/app"
	"github.com/weir-moderation/weir/internal/strictyaml"
	"github.com/weir-moderation/weir/pipeline/event"
	"github.com/weir-moderation/weir/rules"
)

type lintCmd struct {
	Categories string   `help:"The register of categories; without it the one in the binary." placeholder:"FILE" type:"path" xor:"categories"`
	Config     string   `help:"Take rules and limits from this configuration file." placeholder:"FILE" type:"path" xor:"categories"`
	Corpus     string   `help:"Benign texts, one a line, in which hardly anything may hit; a line that begins with { is an event." placeholder:"FILE" type:"path"`
	MaxRate    float64  `help:"The share of the texts, from 0 to 1, that a rule or a term may hit." default:"0"`
	Disable    []string `help:"Kinds of findings that are not looked for." placeholder:"KIND"`
	JSON       bool     `name:"json" help:"Write one JSON object instead of text for people."`
	Paths      []string `arg:"" optional:"" name:"path" help:"Directories of packs, each a set of its own, and Markdown files with packs in them; without any the packs of --config, or the starter packs in the binary."`
}

// Help says what kong cannot know.
func (lintCmd) Help() string {
	var kinds []string
	for _, k := range rules.FindingKinds() {
		kinds = append(kinds, string(k.Kind))
	}
	return `Says what is wrong with packs and their tests, as weir check does, and what is allowed and hardly meant. A finding is a line: its place, its kind, the rules it is about, what is wrong and what would be right. Of a Markdown file, whose name ends in .md, those blocks fenced as yaml are read that are packs or tests, and of those fenced as text files of terms, which begin with a line "# NAME.txt"; all of a file are one set. The exit code is 0 if nothing was found, 1 if something is wrong, 3 if there are findings. The kinds, of which docs/lint.md says more: ` + strings.Join(kinds, ", ") + "."
}

// linted is what lint says of one path.
type linted struct {
	path   string // as given; empty for the starter packs
	report *rules.LintReport
	unread int // lines of the corpus that were passed over
}

// starterPacks is the name of those in the binary.
const starterPacks = "configs/rules"

// Run looks at rules.
func (c *lintCmd) Run(ctx context.Context, s streams) error {
	disable, err := c.misuse()
	if err != nil {
		return &codeError{err, exitMisuse}
	}
	flags := ruleFlags{Categories: c.Categories, Config: c.Config}
	cfg, err := flags.read()
	if err != nil {
		return err
	}
	o, reg, err := app.LintOptions(&cfg.Rules)
	if err != nil {
		return err
	}
	o.Disable, o.MaxRate = disable, c.MaxRate
	var list []linted
	var errs error
	paths := c.Paths
	if len(paths) == 0 {
		if cfg.Rules.Topic != "" {
			return fmt.Errorf("rules.topic: %w", app.ErrRulesInTopic)
		}
		paths = []string{cfg.Rules.Dir} // the empty path is the starter packs
	}
	for _, path := range paths {
		l, err := c.lint(ctx, path, cfg.Events, reg, o)
		list, errs = append(list, l), errors.Join(errs, err)
	}
	if errs != nil {
		return errs
	}
	return tellLint(s, list, c.JSON)
}

// misuse says what cannot be asked for; else it returns the kinds that are not looked for.
func (c *lintCmd) misuse() ([]rules.FindingKind, error) {
	if !(c.MaxRate >= 0 && c.MaxRate < 1) {
		return nil, errors.New("--max-rate: give a share from 0 to less than 1, such as 0.001")
	}
	if c.MaxRate > 0 && c.Corpus == "" {
		return nil, errors.New("--max-rate is about a corpus; give --corpus, too")
	}
	var known []string
	for _, k := range rules.FindingKinds() {
		known = append(known, string(k.Kind))
	}
	var kinds []rules.FindingKind
	for _, word := range c.Disable {
		if !slices.Contains(known, word) {
			hint := "known are " + strings.Join(known, ", ")
			if near, ok := strictyaml.Nearest(word, known); ok {
				hint = fmt.Sprintf("did you mean %q?", near)
			}
			return nil, fmt.Errorf("--disable: unknown kind %q; %s", word, hint)
		}
		kinds = append(kinds, rules.FindingKind(word))
	}
	return kinds, nil
}

// lint looks at one directory or file.
func (c *lintCmd) lint(ctx context.Context, path string, limits event.Config, reg *rules.Register, o rules.LintOptions) (l linted, err error) {
	l.path = path
	var corpus *benignTexts
	if c.Corpus != "" {
		in, err := os.Open(c.Corpus)
		if err != nil {
			return l, fmt.Errorf("read corpus: %w", err)
		}
		defer in.Close() //nolint:errcheck // only read
		corpus = &benignTexts{in: in, limits: limits}
		o.Corpus = corpus.all(ctx)
	}
	l.report, err = lintPath(path, reg, o)
	if corpus != nil && err == nil {
		l.unread, err = corpus.unread, corpus.err
		if err == nil && l.report.Texts == 0 {
			err = fmt.Errorf("read corpus: %s has no text; write one a line", c.Corpus)
		}
	}
	return l, err
}

// lintPath looks at a directory, a Markdown file, or the starter packs.
func lintPath(path string, reg *rules.Register, o rules.LintOptions) (*rules.LintReport, error) {
	if path == "" {
		packs, err := fs.Sub(configs.FS, "rules")
		if err != nil {
			return nil, err
		}
		o.Dir = starterPacks
		return rules.Lint(packs, reg, o)
	}
	info, err := os.Stat(path)
	switch {
	case err != nil:
		return nil, &codeError{fmt.Errorf("lint: %w", err), exitMisuse}
	case info.IsDir():
		o.Dir = path
		return rules.Lint(os.DirFS(path), reg, o)
	case strings.HasSuffix(path, ".md"):
		src, err := rules.ReadList(path)
		if err != nil {
			return nil, fmt.Errorf("lint: %w", err)
		}
		return rules.LintMarkdown(path, src, os.DirFS(filepath.Dir(path)), reg, o)
	}
	return nil, &codeError{fmt.Errorf("lint: %s is neither a directory nor a Markdown file; name the directory that holds the packs", path), exitMisuse}
}

// tellLint writes the findings, and says what was looked at.
func tellLint(s streams, list []linted, asJSON bool) error {
	out := bufio.NewWriter(s.out)
	findings := []findingReport{}
	for _, l := range list {
		for i := range l.report.Findings {
			f := &l.report.Findings[i]
			findings = append(findings, findingReport{f.Kind, f.File, f.Line, f.Column, f.Rules, f.Message})
			if !asJSON {
				fmt.Fprintln(out, f.String())
			}
		}
	}
	if asJSON {
		r := lintReport{Findings: findings}
		for _, l := range list {
			r.Looked = append(r.Looked, lookedReport{l.name(), l.report.Rules, l.report.Terms, l.report.Texts})
		}
		if err := jsonTo(out).Encode(r); err != nil {
			return fmt.Errorf("write findings: %w", err)
		}
	}
	if err := out.Flush(); err != nil {
		return fmt.Errorf("write findings: %w", err)
	}
	for _, l := range list {
		texts := ""
		if l.report.Texts > 0 {
			texts = ", " + count(l.report.Texts, "benign text")
		}
		fmt.Fprintf(s.err, "weir: %s: %s, %s%s: %s\n", l.name(), count(l.report.Rules, "rule"), count(l.report.Terms, "term"), texts, count(len(l.report.Findings), "finding"))
		if l.unread > 0 {
			fmt.Fprintf(s.err, "weir: %s of the corpus passed over: not UTF-8, too long, or no post or push\n", count(l.unread, "line"))
		}
	}
	if len(findings) > 0 {
		return &codeError{errSaid, exitFindings}
	}
	return nil
}

// name is how the path is called.
func (l *linted) name() string { return cmp.Or(l.path, starterPacks) }

// lintReport is what lint finds, as programs read it.
type lintReport struct {
	Looked   []lookedReport  `json:"looked_at"`
	Findings []findingReport `json:"findings"`
}

type lookedReport struct {
	Path  string `json:"path"`
	Rules int    `json:"rules"`
	Terms int    `json:"terms"`
	Texts int    `json:"texts"` // of the corpus
}

type findingReport struct {
	Kind    rules.FindingKind `json:"kind"`
	File    string            `json:"file"`
	Line    int               `json:"line,omitempty"`
	Column  int               `json:"column,omitempty"`
	Rules   []string          `json:"rules,omitempty"`
	Message string            `json:"message"`
}

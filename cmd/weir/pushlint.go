package main

import (
	"bufio"
	"fmt"
	"strings"

	"github.com/weir-moderation/weir/internal/app"
	"github.com/weir-moderation/weir/pipeline/push"
)

type pushLintCmd struct {
	policyFlags
	JSON bool `name:"json" help:"Write one JSON object instead of text for people."`
}

// Help says what kong cannot know.
func (pushLintCmd) Help() string {
	var kinds []string
	for _, k := range push.FindingKinds() {
		kinds = append(kinds, string(k.Kind))
	}
	return `Says what is wrong with a push policy and the tests beside it, as weir check does, and what is allowed and hardly meant. A finding is a line: its place, its kind, what is found and what would be right. Then come the policy's version and digest, and for each group how many pushes of a user must be remembered at most, and why. The exit code is 0 if nothing was found, 1 if something is wrong, 3 if there are findings. The kinds, of which docs/push.md says more: ` + strings.Join(kinds, ", ") + "."
}

// Run looks at a policy.
func (c *pushLintCmd) Run(s streams) error {
	cfg, policy, err := c.load()
	if err != nil {
		return err
	}
	if _, err := app.LoadPolicyTests(&cfg.Push, policy); err != nil {
		return err
	}
	findings := policy.Lint()
	out := bufio.NewWriter(s.out)
	if c.JSON {
		if err := jsonTo(out).Encode(reportPolicy(policy, findings)); err != nil {
			return fmt.Errorf("write findings: %w", err)
		}
	} else {
		for i := range findings {
			fmt.Fprintln(out, findings[i].String())
		}
	}
	if err := out.Flush(); err != nil {
		return fmt.Errorf("write findings: %w", err)
	}
	fmt.Fprintf(s.err, "weir: %s: version %s, digest %s: %s\n", policy.File(), policy.Version(), policy.Digest(), count(len(findings), "finding"))
	for _, b := range policy.Bounds() {
		fmt.Fprintf(s.err, "weir: group %s: at most %d pushes of a user are remembered%s\n", b.Group, b.Entries, because(b.Sum))
	}
	if len(findings) > 0 {
		return &codeError{errSaid, exitFindings}
	}
	return nil
}

func because(sum string) string {
	if sum == "" {
		return ""
	}
	return ": " + sum
}

// policyReport is what lint says of a policy, as programs read it.
type policyReport struct {
	File     string          `json:"file"`
	Version  string          `json:"version"`
	Digest   string          `json:"digest"`
	Groups   []groupReport   `json:"groups"`
	Findings []policyFinding `json:"findings"`
}

type groupReport struct {
	Group    string `json:"group"`
	LogBound int    `json:"log_bound"`
	Sum      string `json:"sum,omitempty"`
}

type policyFinding struct {
	Kind    push.FindingKind `json:"kind"`
	File    string           `json:"file"`
	Line    int              `json:"line"`
	Column  int              `json:"column"`
	Path    string           `json:"path"`
	Message string           `json:"message"`
}

func reportPolicy(policy *push.Policy, findings []push.Finding) policyReport {
	r := policyReport{File: policy.File(), Version: policy.Version(), Digest: policy.Digest(), Findings: []policyFinding{}}
	for _, b := range policy.Bounds() {
		r.Groups = append(r.Groups, groupReport{b.Group, b.Entries, b.Sum})
	}
	for _, f := range findings {
		r.Findings = append(r.Findings, policyFinding(f))
	}
	return r
}

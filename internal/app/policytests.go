package app

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"github.com/weir-moderation/weir/internal/config"
	"github.com/weir-moderation/weir/pipeline/push"
	"github.com/weir-moderation/weir/pipeline/push/policytest"
)

// PolicyTests are the tests that lie beside a push policy.
type PolicyTests struct {
	File  string // where they are, or would be
	Cases []*policytest.Case
}

// LoadPolicyTests reads the tests that lie beside the push policy that a
// configuration names, or beside the shipped one. There are none where there is
// no such file.
func LoadPolicyTests(c *push.Config, p *push.Policy) (PolicyTests, error) {
	file := c.Policy
	if file != "" {
		file = policytest.FileOf(file)
		// It would be passed over, and nobody would miss it.
		if other := strings.TrimSuffix(file, ".yaml") + ".yml"; exists(other) {
			return PolicyTests{}, fmt.Errorf("push.policy: the tests beside a policy have the name %s; rename %s", file, other)
		}
	}
	name, src, err := read(file, policytest.FileOf("push.yaml"))
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return PolicyTests{File: name}, nil
	case err != nil:
		return PolicyTests{}, fmt.Errorf("read push policy tests: %w", err)
	}
	cases, err := policytest.Parse(name, src, p)
	return PolicyTests{File: name, Cases: cases}, err
}

func exists(file string) bool {
	_, err := os.Stat(file)
	return err == nil
}

// provenPolicy is LoadPolicy for what is to be put in force: the policy fits what
// else the configuration names, and passes the tests that lie beside it.
func provenPolicy(c *config.Config) (*push.Policy, error) {
	p, err := LoadPolicy(&c.Push)
	if err != nil {
		return nil, err
	}
	errs := []error{CheckPolicy(c, p)}
	tests, err := LoadPolicyTests(&c.Push, p)
	errs = append(errs, err)
	for _, f := range policytest.Run(tests.Cases, p) {
		errs = append(errs, &f)
	}
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return p, nil
}

package main

import "fmt"

type pushLintCmd struct {
	policyFlags
}

// Run says what a policy comes to.
func (c *pushLintCmd) Run(s streams) error {
	_, policy, err := c.load()
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(s.out, "version        %s\ndigest         %s\nsend log       at most %d entries\n", policy.Version(), policy.Digest(), policy.LogBound())
	if err != nil {
		return fmt.Errorf("write what was found: %w", err)
	}
	return nil
}

package app

import (
	"context"
	"errors"
	"fmt"

	"github.com/weir-moderation/weir/configs"
	"github.com/weir-moderation/weir/internal/config"
	"github.com/weir-moderation/weir/internal/kafka"
	"github.com/weir-moderation/weir/pipeline"
	"github.com/weir-moderation/weir/pipeline/push"
	"github.com/weir-moderation/weir/rules"
)

// LoadForce builds the rule set and the push policy a configuration names and
// lets the set judge its own canaries. It changes nothing: what it returns is
// put in force by the caller, or not.
func LoadForce(c *config.Config) (pipeline.Force, error) {
	f, err := loadForce(c, func() (*RuleSet, error) { return OpenRules(&c.Rules) })
	if err != nil {
		return pipeline.Force{}, err
	}
	return f.Force, nil
}

// LoadTopicForce is LoadForce with the rules that the configuration's topic carries.
func LoadTopicForce(ctx context.Context, c *config.Config) (force pipeline.Force, err error) {
	client, err := kafka.NewClient(c.Kafka, kafka.Options{})
	if err != nil {
		return force, err
	}
	defer func() { err = errors.Join(err, client.Close()) }()
	f, err := loadForce(c, func() (*RuleSet, error) { return topicRules(ctx, c, newRuleTopic(client, c.Rules.Topic)) })
	if err != nil {
		return force, err
	}
	return f.Force, nil
}

// LoadPolicyOnly is LoadForce without rules, which are elsewhere.
func LoadPolicyOnly(c *config.Config) (force pipeline.Force, err error) {
	if c.PushesOn() {
		force.Policy, err = provenPolicy(c)
	}
	return force, err
}

// loadForce is LoadForce with rules from anywhere.
func loadForce(c *config.Config, open func() (*RuleSet, error)) (*inForce, error) {
	f := inForce{Force: pipeline.Force{Breaker: c.Rules.Breaker}}
	var errs [2]error
	if f.set, errs[0] = open(); errs[0] == nil {
		f.Rules = f.set.Set
		if errs[0] = f.set.Prove(); errs[0] == nil {
			errs[0] = f.set.checkBudget(c)
		}
	}
	if c.PushesOn() {
		f.Policy, errs[1] = provenPolicy(c)
	}
	// Both, so that whoever made two mistakes sees two.
	if err := errors.Join(errs[:]...); err != nil {
		return nil, err
	}
	return &f, nil
}

// CheckPolicy refuses a policy that does not fit what else a configuration names:
// the categories of rules that it looks for must be in the register, and what it halts
// somebody must be able to let go on.
func CheckPolicy(c *config.Config, p *push.Policy) error {
	if len(p.AutoHalts()) > 0 && c.Input.Halts == "" {
		return errHaltsNeeded
	}
	register, _, err := loadRegister(&c.Rules)
	if err != nil {
		return nil //nolint:nilerr // it is said where the rules are loaded
	}
	return p.CheckCategories(register.Codes())
}

// LoadPolicy builds the push policy a configuration names, or the shipped one.
func LoadPolicy(c *push.Config) (*push.Policy, error) {
	name, src, err := read(c.Policy, "push.yaml")
	if err != nil {
		return nil, fmt.Errorf("push.policy: %w", err)
	}
	return push.ParsePolicy(name, src)
}

// read returns the file at path, or where there is none the one in the binary. No more than
// rules.MaxListBytes of a file are read.
func read(path, shipped string) (name string, src []byte, err error) {
	if path == "" {
		src, err = configs.FS.ReadFile(shipped)
		return "configs/" + shipped, src, err
	}
	src, err = rules.ReadList(path)
	return path, src, err
}

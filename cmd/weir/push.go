package main

import (
	"github.com/weir-moderation/weir/internal/app"
	"github.com/weir-moderation/weir/internal/config"
	"github.com/weir-moderation/weir/pipeline/push"
)

type pushCmd struct {
	Test pushTestCmd `cmd:"" help:"Run the tests that lie beside a push policy."`
	Lint pushLintCmd `cmd:"" help:"Say what is wrong with a push policy, and what is allowed and hardly meant."`

	Explain pushExplainCmd `cmd:"" help:"Say what would be decided about pushes to a user now, and why."`
	Forget  pushForgetCmd  `cmd:"" help:"Delete all that Redis holds of a user, and see that it does not come back."`
	Rebuild pushRebuildCmd `cmd:"" help:"Enter into Redis what users were sent, from the decisions topic."`

	Halt   pushHaltCmd   `cmd:"" help:"Stop the pushes of a campaign, a sender or a class, everywhere and at once."`
	Resume pushResumeCmd `cmd:"" help:"Let the pushes of what is halted go on."`
	Halts  pushHaltsCmd  `cmd:"" help:"List what is halted, since when, by whom and why."`
}

// policyFlags say which push policy is meant.
type policyFlags struct {
	Policy string `help:"The policy file; without it the policy in the binary." placeholder:"FILE" type:"path" xor:"policy"`
	Config string `help:"Take the policy from this configuration file." placeholder:"FILE" type:"path" xor:"policy"`
}

// read returns the configuration that names the policy.
func (f *policyFlags) read() (*config.Config, error) {
	if f.Config != "" {
		return loadConfig(f.Config)
	}
	cfg := config.Default()
	cfg.Push.Policy = f.Policy
	return &cfg, nil
}

// load compiles the policy as the daemon would.
func (f *policyFlags) load() (*config.Config, *push.Policy, error) {
	cfg, err := f.read()
	if err != nil {
		return nil, nil, err
	}
	policy, err := app.LoadPolicy(&cfg.Push)
	if err == nil {
		err = app.CheckPolicy(cfg, policy)
	}
	return cfg, policy, err
}

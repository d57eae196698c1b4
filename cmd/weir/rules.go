package main

import (
	"github.com/weir-moderation/weir/internal/app"
	"github.com/weir-moderation/weir/internal/config"
	"github.com/weir-moderation/weir/rules"
)

type rulesCmd struct {
	Test            ruleTestCmd `cmd:"" help:"Run the tests that lie beside rules."`
	Capture         captureCmd  `cmd:"" help:"Make tests of verdicts."`
	Lint            lintCmd     `cmd:"" help:"Say what is wrong with rules, and what is allowed and hardly meant."`
	Explain         explainCmd  `cmd:"" help:"Say what the rules see in a text, in which form and where, and what is nearly a hit."`
	LearnExclusions learnCmd    `cmd:"" name:"learn-exclusions" help:"Learn from benign texts what is no hit although it sounds or looks like a term."`
	Budget          budgetCmd   `cmd:"" help:"Say which benign posts the rules hit, and whether the false-alarm budget allows it."`
	Diff            diffCmd     `cmd:"" help:"Say which rules differ between two sets, and in what."`
	Backtest        backtestCmd `cmd:"" help:"Judge the same events by two sets, and tell what they judge differently."`
	Restore         restoreCmd  `cmd:"" help:"Give a rule its action back that it lost because it hit too much."`

	Keygen  keygenCmd      `cmd:"" help:"Make a key pair to sign rules with."`
	Sign    signCmd        `cmd:"" help:"Sign the rules of a directory."`
	Verify  verifyRulesCmd `cmd:"" help:"Check the signature of the rules of a directory."`
	Publish publishCmd     `cmd:"" help:"Write rules into the topic from which every instance takes them up."`
	Status  ruleStatusCmd  `cmd:"" help:"Say which rules every instance has in force."`
	Log     ruleLogCmd     `cmd:"" help:"List the rules that were in force, by evidence."`
}

// ruleFlags say which rules are meant.
type ruleFlags struct {
	Rules      string `help:"Directory of packs; without it the starter packs in the binary." placeholder:"DIR" type:"path" xor:"rules"`
	Categories string `help:"The register of categories; without it the one in the binary." placeholder:"FILE" type:"path" xor:"categories"`
	Config     string `help:"Take rules and limits from this configuration file." placeholder:"FILE" type:"path" xor:"rules,categories"`
}

// read returns the configuration that names the rules.
func (f *ruleFlags) read() (*config.Config, error) {
	if f.Config != "" {
		return loadConfig(f.Config)
	}
	cfg := config.Default()
	cfg.Rules.Dir, cfg.Rules.Categories = f.Rules, f.Categories
	return &cfg, nil
}

// load loads the rules as the daemon would.
func (f *ruleFlags) load() (*config.Config, *rules.Set, error) {
	cfg, err := f.read()
	if err != nil {
		return nil, nil, err
	}
	set, err := app.LoadRules(&cfg.Rules)
	return cfg, set, err
}

// loadAlone loads the rules without a second opinion, which costs time and memory and is for
// traffic: it finds nothing else unless an engine has a bug.
func (f *ruleFlags) loadAlone() (*config.Config, *rules.Set, error) {
	cfg, err := f.read()
	if err != nil {
		return nil, nil, err
	}
	cfg.Rules.SecondOpinion.Every = 0
	set, err := app.LoadRules(&cfg.Rules)
	return cfg, set, err
}

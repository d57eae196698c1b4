package app

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/weir-moderation/weir/configs"
	"github.com/weir-moderation/weir/internal/config"
	"github.com/weir-moderation/weir/pipeline/event"
	"github.com/weir-moderation/weir/rules"
)

// BenignCorpus reads the benign posts in the binary, and those that a configuration names.
func BenignCorpus(c *config.Config) (*rules.Corpus, error) {
	shipped, err := fs.Sub(configs.FS, "benign")
	if err != nil {
		return nil, err
	}
	corpus, err := rules.LoadCorpus(shipped, "configs/benign", c.Events)
	if err != nil || c.Rules.Benign == "" {
		return corpus, err
	}
	own, err := ReadCorpus(c.Rules.Benign, c.Events)
	if err != nil {
		return nil, fmt.Errorf("rules.benign: %w", err)
	}
	corpus.Join(own)
	return corpus, nil
}

// ReadCorpus reads the benign posts in a file.
func ReadCorpus(name string, limits event.Config) (*rules.Corpus, error) {
	f, err := os.Open(filepath.Clean(name))
	if err != nil {
		return nil, fmt.Errorf("read corpus: %w", err)
	}
	defer f.Close() //nolint:errcheck // only read
	return rules.ReadCorpus(f, name, limits)
}

// checkBudget judges benign posts. Where the operator has named none of their own, to hit too many
// of those in the binary is a warning: they are few, and half of them are made to look like hits.
func (s *RuleSet) checkBudget(c *config.Config) error {
	if b := c.Rules.FalseAlarms; b.Set == 100*rules.Percent && b.Rule == 100*rules.Percent {
		return nil
	}
	corpus, err := BenignCorpus(c)
	if err != nil {
		return err
	}
	_, err = s.CheckBudget(context.Background(), corpus, c.Rules.FalseAlarms)
	if over, ok := errors.AsType[*rules.BudgetError](err); ok && c.Rules.Benign == "" {
		s.Warning = over
		return nil
	}
	return err
}

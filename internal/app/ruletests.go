package app

import (
	"github.com/weir-moderation/weir/rules"
)

// LoadRuleTests reads the tests that lie beside the packs a configuration names, or beside the
// starter packs, for the set that was built of them.
func LoadRuleTests(c *rules.Config, set *rules.Set) (*rules.Tests, error) {
	packs, dir, err := openPacks(c.Dir)
	if err != nil {
		return nil, err
	}
	return rules.LoadTests(packs, dir, set)
}

package app

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/weir-moderation/weir/configs"
	"github.com/weir-moderation/weir/internal/config"
	"github.com/weir-moderation/weir/pipeline"
	"github.com/weir-moderation/weir/pipeline/push"
	"github.com/weir-moderation/weir/rules"
)

// LoadForce builds the rule set and the push policy a configuration names and
// lets the set judge its own canaries. It changes nothing: what it returns is
// put in force by the caller, or not.
func LoadForce(c *config.Config) (pipeline.Force, error) {
	set, err := LoadRules(&c.Rules)
	if err != nil {
		return pipeline.Force{}, err
	}
	force := pipeline.Force{Rules: set}
	if c.PushesOn() {
		if force.Policy, err = LoadPolicy(&c.Push); err != nil {
			return pipeline.Force{}, err
		}
	}
	return force, nil
}

// LoadRules builds the rule set a configuration names, or the starter packs.
func LoadRules(c *rules.Config) (*rules.Set, error) {
	name, src, err := read(c.Categories, "categories.yaml")
	if err != nil {
		return nil, fmt.Errorf("read categories: %w", err)
	}
	register, err := rules.ParseRegister(name, src)
	if err != nil {
		return nil, err
	}
	packs, dir := fs.FS(nil), c.Dir
	if dir == "" {
		if packs, err = fs.Sub(configs.FS, "rules"); err != nil {
			return nil, err
		}
	} else {
		if _, err := os.Stat(dir); err != nil {
			return nil, fmt.Errorf("read rules: %w", err)
		}
		packs = os.DirFS(dir)
	}
	set, err := rules.Load(packs, register, rules.Options{Dir: dir, MemoryBudget: c.MemoryBudget, MaxHits: c.MaxHits})
	if err != nil {
		return nil, err
	}
	if err := set.SelfTest(); err != nil {
		return nil, fmt.Errorf("the rule set fails its own test: %w", err)
	}
	return set, nil
}

// LoadPolicy builds the push policy a configuration names, or the shipped one.
func LoadPolicy(c *push.Config) (*push.Policy, error) {
	name, src, err := read(c.Policy, "push.yaml")
	if err != nil {
		return nil, fmt.Errorf("read push policy: %w", err)
	}
	return push.ParsePolicy(name, src)
}

// read returns the file at path, or where there is none the one in the binary.
func read(path, shipped string) (name string, src []byte, err error) {
	if path == "" {
		src, err = configs.FS.ReadFile(shipped)
		return "configs/" + shipped, src, err
	}
	src, err = os.ReadFile(filepath.Clean(path))
	return path, src, err
}

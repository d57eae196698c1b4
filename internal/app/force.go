package app

import (
	"errors"
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
	var force pipeline.Force
	var errs [2]error
	force.Rules, errs[0] = LoadRules(&c.Rules)
	if c.PushesOn() {
		force.Policy, errs[1] = LoadPolicy(&c.Push)
	}
	// Both, so that whoever made two mistakes sees two.
	if err := errors.Join(errs[:]...); err != nil {
		return pipeline.Force{}, err
	}
	return force, nil
}

// LoadRules builds the rule set a configuration names, or the starter packs.
func LoadRules(c *rules.Config) (*rules.Set, error) {
	packs, dir, dirErr := openPacks(c.Dir)
	name, src, err := read(c.Categories, "categories.yaml")
	if err != nil {
		return nil, errors.Join(fmt.Errorf("rules.categories: %w", err), dirErr)
	}
	register, err := rules.ParseRegister(name, src)
	if err := errors.Join(err, dirErr); err != nil {
		return nil, err
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

// openPacks returns the directory of packs and the name it has in messages.
func openPacks(dir string) (fs.FS, string, error) {
	if dir == "" {
		packs, err := fs.Sub(configs.FS, "rules")
		return packs, "configs/rules", err
	}
	switch info, err := os.Stat(dir); {
	case err != nil:
		return nil, dir, fmt.Errorf("rules.dir: %w", err)
	case !info.IsDir():
		return nil, dir, fmt.Errorf("rules.dir: %s is a file; name the directory that holds the packs", dir)
	}
	return os.DirFS(dir), dir, nil
}

// LoadPolicy builds the push policy a configuration names, or the shipped one.
func LoadPolicy(c *push.Config) (*push.Policy, error) {
	name, src, err := read(c.Policy, "push.yaml")
	if err != nil {
		return nil, fmt.Errorf("push.policy: %w", err)
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

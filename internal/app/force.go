package app

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"

	"github.com/weir-moderation/weir/configs"
	"github.com/weir-moderation/weir/internal/config"
	"github.com/weir-moderation/weir/pipeline"
	"github.com/weir-moderation/weir/pipeline/push"
)

// LoadForce builds the rule set and the push policy a configuration names and
// lets the set judge its own canaries. It changes nothing: what it returns is
// put in force by the caller, or not.
func LoadForce(c *config.Config) (pipeline.Force, error) {
	var force pipeline.Force
	var errs [2]error
	var set *RuleSet
	if set, errs[0] = OpenRules(&c.Rules); errs[0] == nil {
		force.Rules, errs[0] = set.Set, set.Prove()
	}
	if c.PushesOn() {
		force.Policy, errs[1] = LoadPolicy(&c.Push)
	}
	// Both, so that whoever made two mistakes sees two.
	if err := errors.Join(errs[:]...); err != nil {
		return pipeline.Force{}, err
	}
	return force, nil
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

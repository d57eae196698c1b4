package app

import (
	"fmt"
	"strings"

	"github.com/weir-moderation/weir/internal/config"
	"github.com/weir-moderation/weir/pipeline"
)

// Describe says in lines what a configuration and what it names come to: what
// `weir check` found.
func Describe(c *config.Config, f pipeline.Force) []string {
	var lines []string
	say := func(what, format string, args ...any) {
		lines = append(lines, fmt.Sprintf("%-14s %s", what, fmt.Sprintf(format, args...)))
	}
	say("source", "%s, instance %s", c.Source, c.Instance)
	say("reads", "%s as group %s from %s", strings.Join(c.Input.Topics(), ", "), c.Input.Group, strings.Join(c.Kafka.Brokers, ", "))
	say("writes", "%s", strings.Join(c.Output.Topics(), ", "))
	from := c.Rules.Dir
	if from == "" {
		from = "the starter packs in the binary"
	}
	say("rules", "%d in force of %d, from %s", len(f.Rules.Rules()), len(f.Rules.All()), from)
	say("", "digest %s", f.Rules.Digest())
	if n := len(f.Rules.Canaries()); n > 0 {
		say("", "%d canaries, every one hits its rule", n)
	} else {
		say("", "no canaries: every term was tried alone, but nothing harmless can be sent to see that the rules fire")
	}
	if f.Policy == nil {
		say("pushes", "off: no topic of pushes is named")
	} else {
		say("pushes", "policy %s, digest %s", f.Policy.Version(), f.Policy.Digest())
		say("", "at most %d pushes of a user are remembered", f.Policy.LogBound())
		if c.Input.Consent == "" {
			say("", "no topic of consent is read: classes that need consent are denied to users Redis does not know")
		}
	}
	say("evidence", "%s", c.Evidence.Dir)
	return lines
}

package app

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/weir-moderation/weir/internal/config"
	"github.com/weir-moderation/weir/pipeline"
	"github.com/weir-moderation/weir/rules"
	"github.com/weir-moderation/weir/rules/form"
	"github.com/weir-moderation/weir/sinks/evidence/retention"
)

// Describe says in lines what a configuration and what it names come to: what
// `weir check` found.
func Describe(c *config.Config, f pipeline.Force) []string {
	var lines []string
	say := func(what, format string, args ...any) {
		lines = append(lines, fmt.Sprintf("%-14s %s", what, fmt.Sprintf(format, args...)))
	}
	say("source", "%s, instance %s", c.Source, c.Instance)
	say("reads", "%s as group %s from %s", strings.Join(slices.Concat(c.Input.Topics(), c.Input.Patterns()), ", "), c.Input.Group, strings.Join(c.Kafka.Brokers, ", "))
	say("writes", "%s", strings.Join(c.Output.Topics(), ", "))
	from := c.Rules.Dir
	switch {
	case c.Rules.Topic != "":
		from = "topic " + c.Rules.Topic
	case from == "":
		from = "the starter packs in the binary"
	}
	if f.Rules == nil {
		say("rules", "from %s, not looked at: --online reads them", from)
		describePushes(say, c, f)
		return lines
	}
	say("rules", "%d in force of %d, from %s", len(f.Rules.Rules()), len(f.Rules.All()), from)
	say("", "digest %s", f.Rules.Digest())
	if n := len(f.Rules.Canaries()); n > 0 {
		say("", "%d canaries, every one hits its rule", n)
	} else {
		say("", "no canaries: every term was tried alone, but nothing harmless can be sent to see that the rules fire")
	}
	st := f.Rules.Stats()
	say("", "read in the forms %s", formsInUse(st.Forms))
	say("", "ordinary words from %s", cmp.Or(c.Rules.Words, "the list in the binary"))
	if c.Rules.Exclusions != "" {
		say("", "%s from %s", count(st.Exclusions, "exclusion"), c.Rules.Exclusions)
	} else {
		say("", "no exclusions")
	}
	say("", "%s in %s with the engine %s", count(st.Terms, "term"), mib(st.Memory), cmp.Or(c.Rules.Engine, rules.EngineWeir))
	switch x := st.Second; {
	case x.Every > 0:
		say("", "second opinion on one event of %d: %s of severity critical in %s", x.Every, count(x.Terms, "term"), mib(x.Memory))
		if x.LeftOut > 0 {
			say("", "%s", leftOut(x))
		}
	case c.Rules.SecondOpinion.Every > 0:
		say("", "no second opinion: no rule in force is of severity critical")
	default:
		say("", "second opinion off")
	}
	describePushes(say, c, f)
	return lines
}

// describePushes says what holds for pushes, and where evidence goes.
func describePushes(say func(what, format string, args ...any), c *config.Config, f pipeline.Force) {
	if f.Policy == nil {
		say("pushes", "off: no topic of pushes is named")
	} else {
		say("pushes", "policy %s, digest %s", f.Policy.Version(), f.Policy.Digest())
		say("", "at most %d pushes of a user are remembered", f.Policy.LogBound())
		say("", "deferred ones wait on %s, and are decided again in turns of %v, spread over %v", c.Output.Deferred, c.Output.DeferredTurn, c.Output.DeferredSpread)
		if f.Policy.Replicated() {
			say("", "what is allowed waits for a replica of Redis to have it")
		}
		if len(c.Input.Consent) == 0 {
			say("", "no topic of consent is read: classes that need consent are denied to users Redis does not know")
		}
	}
	if f.Policy != nil && c.Input.Halts != "" {
		say("", "halted by orders on %s, and by %s of the policy", c.Input.Halts, count(len(f.Policy.AutoHalts()), "rule"))
	}
	say("evidence", "%s", c.Evidence.Dir)
	if c.Output.Checkpoints != "" {
		say("", "its signed heads are published on %s", c.Output.Checkpoints)
	} else {
		say("", "its heads are published nowhere (output.checkpoints): an older copy of the directory would pass for the log")
	}
	if c.Anchors.Every > 0 {
		say("", "heads of other instances are put on record every %v", c.Anchors.Every)
	}
	if c.Anchors.Witness.URL != "" {
		say("", "a witness signs its heads every %v", c.Anchors.Witness.Every)
	}
	if c.Anchors.Timestamp.URL != "" {
		say("", "a time-stamp authority signs its heads every %v", c.Anchors.Timestamp.Every)
	}
	describeRetention(say, c.Evidence.Retention)
}

// describeRetention says how long evidence is kept, and what nobody has decided yet.
func describeRetention(say func(what, format string, args ...any), classes retention.Classes) {
	what := "retention"
	for _, name := range retention.Names() {
		k := classes[name]
		if unset := classes.UnsetOf(name); len(unset) > 0 {
			say(what, "%s: nothing is destroyed, unset: %s", name, strings.Join(unset, ", "))
		} else {
			say(what, "%s: at least %s, at most %s, %s, approved by %s", name, k.Minimum, k.Maximum, k.Basis, strings.Join(k.Reviewers, " or "))
		}
		what = ""
	}
}

// formsInUse lists forms. Fold is always one of them.
func formsInUse(f form.Form) string {
	list := []string{form.Fold.String()}
	if f &^= form.Fold; f != 0 {
		list = append(list, f.Words()...)
	}
	return strings.Join(list, ", ")
}

// count says how many there are of something.
func count(n int, what string) string {
	if n == 1 {
		return "1 " + what
	}
	return fmt.Sprintf("%d %ss", n, what)
}

// mib is an amount of memory for people.
func mib(b rules.Bytes) string { return fmt.Sprintf("%.1f MiB", float64(b)/(1<<20)) }

// leftOut says that the second opinion looks at a part of what it could, and what would be all.
func leftOut(x rules.Second) string {
	return fmt.Sprintf("%s of severity critical more have no room in the second engine's default budget of %s; raise rules.second_opinion.memory_budget for all",
		count(x.LeftOut, "term"), rules.DefaultSecondBudget)
}

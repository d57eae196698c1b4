package main

import (
	"errors"
	"fmt"
	"io"

	"github.com/weir-moderation/weir/internal/app"
	"github.com/weir-moderation/weir/internal/config"
	"github.com/weir-moderation/weir/rules"
)

// errDiffers ends a verb with --exit-code. What differs has been said.
var errDiffers = &codeError{errSaid, exitFindings}

type diffCmd struct {
	setFlags
	JSON     bool   `name:"json" help:"Write one JSON object instead of text for people."`
	ExitCode bool   `help:"End with exit code 3 if anything differs."`
	Old      string `arg:"" help:"Directory of packs."`
	New      string `arg:"" optional:"" help:"Directory of packs to compare it with; without it the starter packs, or those of --config, are compared with the first, as the old ones."`
}

// Help says what kong cannot know.
func (diffCmd) Help() string {
	return `Both sets are loaded, so a fault in either is an error. Told is what the packs say, rule by rule: + a rule that was added, - one that was removed, ~ one that changed. Order, files and comments do not count. Where both sets have one digest they judge alike, whatever their packs say. The exit code is 0, also when they differ, unless --exit-code is given.`
}

// setFlags say what two sets are loaded with.
type setFlags struct {
	Categories string `help:"The register of categories; without it the one in the binary." placeholder:"FILE" type:"path" xor:"categories"`
	Config     string `help:"Take limits and lists from this configuration file, and its rules where no directory is given." placeholder:"FILE" type:"path" xor:"categories"`
}

// ruleSet is a rule set and where it comes from.
type ruleSet struct {
	*rules.Set
	dir string // in messages
}

// load loads two rule sets, the old and the new one; an empty directory stands for the rules of
// the configuration. They are loaded without a second opinion (see loadAlone).
func (f *setFlags) load(before, after string) (cfg *config.Config, sets [2]ruleSet, err error) {
	one := ruleFlags{Categories: f.Categories, Config: f.Config}
	if cfg, err = one.read(); err != nil {
		return nil, sets, err
	}
	cfg.Rules.SecondOpinion.Every = 0
	// Both, so that whoever has faults in two packs sees all of them.
	var errs [2]error
	for i, dir := range []string{before, after} {
		c := cfg.Rules
		if dir != "" { // to be looked at: wherever the daemon takes its rules from, and whoever signs them
			c.Dir, c.Topic, c.VerifyKey = dir, "", ""
		}
		sets[i].Set, errs[i] = app.LoadRules(&c)
		sets[i].dir = c.Dir
		if c.Dir == "" {
			sets[i].dir = "starter packs"
		}
	}
	return cfg, sets, errors.Join(errs[:]...)
}

// Run compares two sets.
func (c *diffCmd) Run(s streams) error {
	before, after := c.Old, c.New
	if after == "" {
		before, after = "", c.Old
	}
	_, sets, err := c.load(before, after)
	if err != nil {
		return err
	}
	d := newSetDiff(sets)
	if c.JSON {
		if err := jsonTo(s.out).Encode(d); err != nil {
			return err
		}
	} else {
		d.print(s.out)
	}
	if c.ExitCode && len(d.Rules) > 0 {
		return errDiffers
	}
	return nil
}

// setDiff is the difference of two sets, as other programs read it.
type setDiff struct {
	Old   setReport    `json:"old"`
	New   setReport    `json:"new"`
	Rules []ruleReport `json:"rules"` // those that differ
}

// setReport names a set.
type setReport struct {
	Dir    string `json:"dir"`
	Rules  int    `json:"rules"` // in every state
	Digest string `json:"digest"`
}

// ruleReport is what became of a rule.
type ruleReport struct {
	Rule    string         `json:"rule"`
	Change  string         `json:"change"` // added, removed or changed
	Changes []changeReport `json:"changes"`
}

// changeReport is one thing about a rule that is not the same.
type changeReport struct {
	What    string   `json:"what"`
	Removed []string `json:"removed,omitempty"`
	Added   []string `json:"added,omitempty"`

	line string // for people
}

func newSetDiff(sets [2]ruleSet) setDiff {
	d := setDiff{Old: sets[0].report(), New: sets[1].report(), Rules: []ruleReport{}}
	for _, r := range rules.Diff(sets[0].Set, sets[1].Set) {
		k := ruleReport{Rule: r.ID, Change: "changed"}
		switch {
		case r.Old == nil:
			k.Change = "added"
		case r.New == nil:
			k.Change = "removed"
		}
		for _, c := range r.Changes {
			line := c.String()
			if !c.List && k.Change != "changed" {
				line = append(c.Removed, c.Added...)[0]
			}
			k.Changes = append(k.Changes, changeReport{c.What, c.Removed, c.Added, line})
		}
		d.Rules = append(d.Rules, k)
	}
	return d
}

func (r *ruleSet) report() setReport { return setReport{r.dir, len(r.All()), r.Digest()} }

var changeSigns = map[string]string{"added": "+", "removed": "-", "changed": "~"}

func (d *setDiff) print(w io.Writer) {
	d.Old.print(w, "old")
	d.New.print(w, "new")
	if len(d.Rules) == 0 {
		fmt.Fprintln(w, "no rule differs")
		return
	}
	for _, r := range d.Rules {
		fmt.Fprintf(w, "%s %s\n", changeSigns[r.Change], r.Rule)
		width := 12
		for _, c := range r.Changes {
			width = max(width, len(c.What))
		}
		for _, c := range r.Changes {
			fmt.Fprintf(w, "    %-*s %s\n", width, c.What, c.line)
		}
	}
	fmt.Fprintf(w, "%d added, %d removed, %d changed", d.count("added"), d.count("removed"), d.count("changed"))
	if d.Old.Digest == d.New.Digest {
		fmt.Fprint(w, "; both sets have one digest and judge alike")
	}
	fmt.Fprintln(w)
}

// count returns how many rules were added, removed or changed.
func (d *setDiff) count(change string) int {
	n := 0
	for _, r := range d.Rules {
		if r.Change == change {
			n++
		}
	}
	return n
}

func (r *setReport) print(w io.Writer, name string) {
	fmt.Fprintf(w, "%s  %s  %s, %s\n", name, r.Digest, r.Dir, count(r.Rules, "rule"))
}

package app

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/weir-moderation/weir/rules"
	"github.com/weir-moderation/weir/rules/fold"
	"github.com/weir-moderation/weir/sinks/evidence"
)

// Activation is what an evidence log says of rules that came into force. The same rules may come into
// force many times.
type Activation struct {
	Time     time.Time
	Rules    string   // digest
	Policy   string   // digest; empty where pushes are off
	Why      string   // start, reload, files, topic, ...
	Build    string   // of the Weir that judged by them
	InShadow []string // rules in shadow whatever the packs said

	body forceBody // with what the set was made of, where that was asked for
}

// MinDigest is how many characters of a digest name a rule set at least.
const MinDigest = 8

// DigestError says that a digest names no rule set of an evidence log, or more than one.
type DigestError struct {
	Dir    string
	Digest string   // as it was given
	Near   []string // the digests that it may mean, newest first
	Many   bool     // all of them begin with it
}

// Error says what the digest may mean.
func (e *DigestError) Error() string {
	what := fmt.Sprintf("no rules with the digest %s were in force by the evidence in %s", e.Digest, e.Dir)
	switch {
	case e.Many:
		what = fmt.Sprintf("the digests of several rule sets in %s begin with %s; give more of one of %s", e.Dir, e.Digest, strings.Join(e.Near, ", "))
	case len(e.Near) > 0:
		what += "; did you mean " + strings.Join(e.Near, " or ") + "?"
	}
	return what
}

// Activations returns what came into force by the evidence log in dir, oldest first.
func Activations(ctx context.Context, dir string) ([]Activation, error) {
	var list []Activation
	err := activations(ctx, dir, func(a *Activation) {
		a.body = forceBody{} // texts take megabytes
		list = append(list, *a)
	})
	return list, err
}

// RecordedActivation returns the last activation, by the evidence log in dir, of the rules whose digest
// begins with so much of it. If there is none such, or they are several, the error is a *DigestError.
func RecordedActivation(ctx context.Context, dir, digest string) (*Activation, error) {
	var found *Activation
	var several, near []string
	err := activations(ctx, dir, func(a *Activation) {
		switch {
		case strings.HasPrefix(a.Rules, digest):
			several = moveToFront(several, a.Rules)
			// A record without the text is one of an older Weir: another may have it.
			if found == nil || found.Rules != a.Rules || a.body.Bundle != "" || found.body.Bundle == "" {
				found = a
			}
		case len(digest) >= nearDigest && strings.HasPrefix(a.Rules, digest[:nearDigest]):
			near = moveToFront(near, a.Rules)
		}
	})
	switch {
	case err != nil:
		return nil, err
	case len(several) > 1:
		return nil, &DigestError{Dir: dir, Digest: digest, Near: several, Many: true}
	case found == nil:
		return nil, &DigestError{Dir: dir, Digest: digest, Near: near}
	}
	return found, nil
}

// nearDigest is how many characters two digests have in common of which one was mistaken for the
// other: among a thousand sets only one pair in a hundred has them by chance.
const nearDigest = 4

// moveToFront returns the list with s at its front, once.
func moveToFront(list []string, s string) []string {
	front := []string{s}
	for _, x := range list {
		if x != s {
			front = append(front, x)
		}
	}
	return front
}

// lastActivation returns the last one whose record holds the text of the rules, nil if there is none.
func lastActivation(ctx context.Context, dir string) (*Activation, error) {
	var last *Activation
	err := activations(ctx, dir, func(a *Activation) {
		if a.body.Bundle != "" {
			last = a
		}
	})
	return last, err
}

// activations calls fn for each, oldest first.
func activations(ctx context.Context, dir string, fn func(*Activation)) error {
	err := evidence.Walk(dir, nil, func(e evidence.Entry) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		if e.Kind != evidence.KindStart && e.Kind != evidence.KindRuleSet || e.Body == nil {
			return nil
		}
		a := &Activation{Time: e.Time}
		if err := json.Unmarshal(e.Body, &a.body); err != nil {
			return fmt.Errorf("record %d: %w", e.Index, err)
		}
		a.Rules, a.Policy, a.Why, a.Build, a.InShadow = a.body.Rules, a.body.Policy, a.body.Why, a.body.Build, a.body.InShadow
		fn(a)
		return nil
	})
	if err != nil {
		return fmt.Errorf("read evidence in %s: %w", dir, err)
	}
	return nil
}

// RecordedRules builds the rule set that was in force under a digest, of which MinDigest characters are
// enough, from the evidence log in dir. The configuration gives the ordinary words, the engine and the
// memory; all else is on record. A set that would judge otherwise than the one in force did is an error.
func RecordedRules(ctx context.Context, c *rules.Config, dir, digest string) (*RuleSet, error) {
	a, err := RecordedActivation(ctx, dir, digest)
	if err != nil {
		return nil, err
	}
	return a.open(c)
}

// Bundle returns the text of the rules.
func (a *Activation) Bundle() (*rules.Bundle, error) {
	if a.body.Bundle == "" {
		return nil, fmt.Errorf("the record of the rules %.12s does not hold their text: it is of an older Weir", a.Rules)
	}
	b, err := rules.ParseBundle([]byte(a.body.Bundle))
	if err != nil {
		return nil, fmt.Errorf("the record of the rules %.12s: %w", a.Rules, err)
	}
	return b, nil
}

// open builds the set as it was in force.
func (a *Activation) open(c *rules.Config) (*RuleSet, error) {
	s := &RuleSet{Dir: fmt.Sprintf("rules %.12s", a.Rules), Categories: a.body.Categories, Exclusions: a.body.Exclusions, MaxHits: a.body.MaxHits}
	var err error
	if s.Bundle, err = a.Bundle(); err != nil {
		return nil, err
	}
	packs, err := s.Bundle.FS()
	if err != nil {
		return nil, err
	}
	loaded, err := time.Parse(time.RFC3339Nano, a.body.LoadedAt)
	if err != nil {
		return nil, fmt.Errorf("the record of the rules %.12s: %w", a.Rules, err)
	}
	words, _, err := loadWords(c.Words)
	if err != nil {
		return nil, err
	}
	register, err := rules.ParseRegister(s.Dir+"/categories", []byte(s.Categories))
	if err == nil {
		s.Set, err = rules.Load(packs, register, rules.Options{Dir: s.Dir, MemoryBudget: c.MemoryBudget, MaxHits: s.MaxHits,
			Engine: c.Engine, Words: words, Exclusions: s.Exclusions, Now: loaded})
	}
	if err == nil {
		s.Set, err = s.Shadowed(a.InShadow)
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("the rules %.12s were in force in the Weir %s and do not load in this one", a.Rules, a.Build), err)
	}
	if s.Digest() != a.Rules {
		other := "the fold, the forms or the ordinary words"
		switch {
		case a.body.Fold != "" && a.body.Fold != fold.Version:
			other = fmt.Sprintf("the fold (%s here, %s then)", fold.Version, a.body.Fold)
		case a.body.Forms != "" && a.body.Forms != s.Forms():
			other = fmt.Sprintf("the forms or the ordinary words (%s here, %s then)", s.Forms(), a.body.Forms)
		}
		return nil, fmt.Errorf("the text on record of the rules %.12s comes to %.12s here: %s of this Weir are others than those of the Weir %s, "+
			"so it cannot judge as they did; ask that build, or name the list of ordinary words of then in the configuration (rules.words)", a.Rules, s.Digest(), other, a.Build)
	}
	return s, nil
}

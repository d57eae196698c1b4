package rules

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/weir-moderation/weir/rules/automaton"
	"github.com/weir-moderation/weir/rules/form"
)

// Config is the section "rules" of the configuration.
type Config struct {
	// Dir is the directory of packs; empty for the starter packs in the binary.
	Dir string `yaml:"dir"`
	// Topic is a compacted topic that carries the rules instead, so that a fleet changes together.
	Topic string `yaml:"topic"`
	// VerifyKey is the key by which the rules must be signed (weir rules keygen); empty for none.
	VerifyKey string `yaml:"verify_key"`
	// Receipts is the topic on which each instance says what it has in force; empty for none.
	Receipts string `yaml:"receipts"`
	// Watch is how often the directory is looked at for changes; 0 for never.
	Watch time.Duration `yaml:"watch"`
	// Categories is the category register; empty for the one in the binary.
	Categories string `yaml:"categories"`
	// MemoryBudget bounds the heap of the compiled set. Measured with 10,000 terms: 0.6 MB
	// (as much again for exceptions, if there are any) and for each term 150 to 200 bytes,
	// 2 KB if it is read in the form split (default from severity high), 3 KB in all forms.
	// The ordinary words are not counted. The default has room for a million terms without
	// split and for 140,000 with it. A set that takes more is refused; while one is reloaded
	// the old and the new one both exist.
	MemoryBudget Bytes `yaml:"memory_budget"`
	// Engine is what searches: weir, or cloudflare for a small set.
	Engine Engine `yaml:"engine"`
	// Words is a list of ordinary Chinese words, each with how often it was counted; empty
	// for the one in the binary. A term that only such words make up is no hit. It has at
	// most MaxListBytes.
	Words string `yaml:"words"`
	// Exclusions is a list of texts that are no hit by sound or by shape; empty for none.
	// It has at most MaxListBytes.
	Exclusions string `yaml:"exclusions"`
	// Benign is a corpus of benign posts (see ReadCorpus), the operator's own, beside the one in the
	// binary; empty for none. Live rules may hit so many of both together as FalseAlarms allows.
	Benign      string `yaml:"benign"`
	FalseAlarms Budget `yaml:"false_alarms"`
	// Only cuts the forms of all rules down to these, for measuring; it is in no file.
	Only form.Form `yaml:"-"`
	// SecondOpinion asks another engine about some events.
	SecondOpinion SecondOpinion `yaml:"second_opinion"`
	// MaxHits bounds the hits reported of one event. Beyond it only the first hit
	// of each further rule is kept, so that a flood hides nothing.
	MaxHits int `yaml:"max_hits"`
	// Breaker takes the action from live rules that hit too much.
	Breaker Breaker `yaml:"breaker"`
}

// DefaultMaxHits is how many hits of one event are reported at least.
const DefaultMaxHits = 100

// DefaultConfig returns the starter packs under the default limits.
func DefaultConfig() Config {
	return Config{Watch: 2 * time.Second, MemoryBudget: automaton.DefaultMemoryBudget, MaxHits: DefaultMaxHits, FalseAlarms: DefaultBudget(),
		SecondOpinion: SecondOpinion{Every: 1000}, Breaker: DefaultBreaker()}
}

// DefaultSecondBudget is enough for some 2,500 critical terms of three characters in the
// cloudflare engine (4.2 KB a byte). The collector walks all of it, so no more is taken unasked;
// of more terms a fair sample is looked at, see [Second].
const DefaultSecondBudget Bytes = 64 << 20

// SecondOpinion says how often the rules of severity critical are asked of a second engine,
// which shares nothing with the first but the reading of texts.
type SecondOpinion struct {
	// Every is of how many posts and pushes one is looked at twice; 0 for none.
	Every int `yaml:"every"`
	// MemoryBudget bounds the heap of the second engine, beside that of the first: what would
	// take more is refused. 0 takes as many terms as DefaultSecondBudget has room for.
	MemoryBudget Bytes `yaml:"memory_budget"`
}

// Engine is the name of what searches.
type Engine string

// The engines.
const (
	EngineWeir       Engine = "weir" // also the empty Engine
	EngineCloudflare Engine = "cloudflare"
)

// UnmarshalText reads an engine's name.
func (e *Engine) UnmarshalText(text []byte) error {
	switch *e = Engine(text); *e {
	case EngineWeir, EngineCloudflare:
		return nil
	}
	return unknown("engine", string(text), []string{string(EngineWeir), string(EngineCloudflare)})
}

// engine is the automaton's.
func (e Engine) engine() automaton.Engine {
	if e == EngineCloudflare {
		return automaton.Cloudflare
	}
	return automaton.Own
}

// Validate says what is wrong with the settings, all at once.
func (c *Config) Validate() error {
	var errs []error
	if c.Topic != "" && c.Dir != "" {
		errs = append(errs, errors.New("topic: dir is given, too; the rules come from one of them, so take the other out"))
	}
	if c.VerifyKey != "" {
		if _, err := note.NewVerifier(c.VerifyKey); err != nil {
			errs = append(errs, errors.New("verify_key: not a verification key; give the line that weir rules keygen prints, such as rules+1a2b3c4d+AbCd and so on"))
		} else if c.Topic == "" && c.Dir == "" {
			errs = append(errs, errors.New("verify_key: neither dir nor topic is given, and the starter packs in the binary are not signed; name your rules, or take the key out"))
		}
	}
	if c.Watch != 0 && c.Watch < 100*time.Millisecond {
		errs = append(errs, fmt.Errorf("watch: %s is too often; give at least 100ms, or 0 for never", c.Watch))
	}
	if c.MemoryBudget < 1<<20 {
		errs = append(errs, fmt.Errorf("memory_budget: %s is too little; give at least 1MiB", c.MemoryBudget))
	}
	if c.MaxHits < 1 || c.MaxHits > 10_000 {
		errs = append(errs, fmt.Errorf("max_hits: %d is out of range; choose from 1 to 10000", c.MaxHits))
	}
	if c.SecondOpinion.Every < 0 {
		errs = append(errs, fmt.Errorf("second_opinion.every: %d is less than none; give 0 to turn it off, or of how many events one is looked at twice", c.SecondOpinion.Every))
	}
	if c.SecondOpinion.Every > 0 && c.SecondOpinion.MemoryBudget != 0 && c.SecondOpinion.MemoryBudget < 1<<20 {
		errs = append(errs, fmt.Errorf("second_opinion.memory_budget: %s is too little; give at least 1MiB, 0B for as many terms as fit in %s, or every: 0 to turn it off", c.SecondOpinion.MemoryBudget, DefaultSecondBudget))
	}
	return errors.Join(append(errs, c.FalseAlarms.Validate(), c.Breaker.validate())...)
}

// Bytes is an amount of memory, written as a number with the unit B, KiB, MiB or GiB.
type Bytes int64

var units = []struct {
	name string
	size Bytes
}{{"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10}, {"B", 1}}

// String returns the amount in the largest unit that leaves no fraction.
func (b Bytes) String() string {
	for _, u := range units {
		if b != 0 && b%u.size == 0 {
			return strconv.FormatInt(int64(b/u.size), 10) + u.name
		}
	}
	return "0B"
}

// UnmarshalText reads an amount such as 256MiB.
func (b *Bytes) UnmarshalText(text []byte) error {
	s := string(text)
	for _, u := range units {
		digits, ok := strings.CutSuffix(s, u.name)
		if !ok {
			continue
		}
		n, err := strconv.ParseInt(strings.TrimSpace(digits), 10, 64)
		if err != nil || n < 0 || n > int64((1<<63-1)/u.size) {
			break
		}
		*b = Bytes(n) * u.size
		return nil
	}
	return fmt.Errorf("%q is not an amount of memory; write a number with its unit, such as 256MiB", s)
}

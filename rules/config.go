package rules

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"github.com/weir-moderation/weir/rules/automaton"
)

// Config is the section "rules" of the configuration.
type Config struct {
	// Dir is the directory of packs; empty for the starter packs in the binary.
	Dir string `yaml:"dir"`
	// Categories is the category register; empty for the one in the binary.
	Categories string `yaml:"categories"`
	// MemoryBudget bounds the heap of the compiled set. A set that would take more
	// is refused.
	MemoryBudget Bytes `yaml:"memory_budget"`
	// MaxHits bounds the hits reported of one event. Beyond it only the first hit
	// of each further rule is kept, so that a flood hides nothing.
	MaxHits int `yaml:"max_hits"`
}

// DefaultMaxHits is how many hits of one event are reported at least.
const DefaultMaxHits = 100

// DefaultConfig returns the starter packs under the default limits.
func DefaultConfig() Config {
	return Config{MemoryBudget: automaton.DefaultMemoryBudget, MaxHits: DefaultMaxHits}
}

// Validate says what is wrong with the settings, all at once.
func (c *Config) Validate() error {
	var errs []error
	if c.MemoryBudget < 1<<20 {
		errs = append(errs, fmt.Errorf("memory_budget: %s is too little; give at least 1MiB", c.MemoryBudget))
	}
	if c.MaxHits < 1 || c.MaxHits > 10_000 {
		errs = append(errs, fmt.Errorf("max_hits: %d is out of range; choose from 1 to 10000", c.MaxHits))
	}
	return errors.Join(errs...)
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

package event

import (
	"cmp"
	"errors"
	"fmt"

	"github.com/weir-moderation/weir/internal/strictjson"
)

// Config bounds what one message may cost: section "events" of the
// configuration. What exceeds it goes to the dead letters.
type Config struct {
	// MaxBytes is the length of a message's value.
	MaxBytes int `yaml:"max_bytes"`
	// MaxDepth is how deep its JSON may be nested. The events themselves need 4.
	MaxDepth int `yaml:"max_depth"`
	// MaxFields is the number of texts in one post or push.
	MaxFields int `yaml:"max_fields"`
	// MaxItems is the number of attachments of one post or push, and of grants
	// of one consent event.
	MaxItems int `yaml:"max_items"`
	// MaxWordBytes is the length of a word: an id, a class, a name of a field, a
	// device, ... Texts and the URIs of attachments are bounded by MaxBytes only.
	MaxWordBytes int `yaml:"max_word_bytes"`
}

// DefaultConfig returns the limits that docs/schemas states.
func DefaultConfig() Config {
	return Config{MaxBytes: 1 << 20, MaxDepth: 32, MaxFields: 64, MaxItems: 256, MaxWordBytes: 256}
}

// Validate returns all that is wrong with c.
func (c *Config) Validate() error {
	return errors.Join(
		within("max_bytes", c.MaxBytes, 1<<10, 64<<20),
		within("max_depth", c.MaxDepth, 4, 1000),
		within("max_fields", c.MaxFields, 1, 4096),
		within("max_items", c.MaxItems, 1, 1024),
		within("max_word_bytes", c.MaxWordBytes, 64, 4096),
	)
}

func within(name string, v, least, most int) error {
	if v < least || v > most {
		return fmt.Errorf("%s: %d is out of range; choose from %d to %d", name, v, least, most)
	}
	return nil
}

// orDefaults returns c with the default for every limit that is 0.
func (c Config) orDefaults() Config {
	d := DefaultConfig()
	return Config{
		MaxBytes:     cmp.Or(c.MaxBytes, d.MaxBytes),
		MaxDepth:     cmp.Or(c.MaxDepth, d.MaxDepth),
		MaxFields:    cmp.Or(c.MaxFields, d.MaxFields),
		MaxItems:     cmp.Or(c.MaxItems, d.MaxItems),
		MaxWordBytes: cmp.Or(c.MaxWordBytes, d.MaxWordBytes),
	}
}

// json returns the limits of the JSON reader: room for the largest event there
// can be, so that too many fields or items are called by their name, and not
// for the memory that tokens of a hostile message would take.
func (c Config) json() strictjson.Limits {
	return strictjson.Limits{Bytes: c.MaxBytes, Depth: c.MaxDepth, Values: 128 + 2*c.MaxFields + 16*c.MaxItems}
}

package keys

import (
	"errors"
	"fmt"
	"time"
)

// Config is the "master_key" section of the evidence configuration: where the key
// is that wraps all others. At most one of File and Command is given.
type Config struct {
	// File holds the master key of each generation. It is made, readable by its
	// owner only, when there are no keys yet, and written by every rotation, so the
	// daemon must be able to replace it. Empty, and no command: master.key beside
	// the log; whoever then can read the directory can read the evidence, so outside
	// a trial name a file on other storage.
	File string `yaml:"file"`
	// Command is a program with its first arguments, for a key management service.
	// It is called with two more: create, wrap, unwrap or destroy, and the name of a
	// master key.
	Command []string `yaml:"command"`
	// Timeout is how long one call of the command may take. 0: ten seconds.
	Timeout time.Duration `yaml:"timeout"`
}

const (
	defaultTimeout = 10 * time.Second
	maxTimeout     = 10 * time.Minute
)

// DefaultConfig returns the settings of a master key in a file beside the log.
func DefaultConfig() Config { return Config{Timeout: defaultTimeout} }

// Validate reports what is wrong with the section, each error beginning with the
// field's name.
func (c *Config) Validate() error {
	var errs []error
	if c.File != "" && len(c.Command) > 0 {
		errs = append(errs, errors.New("command: there is a file, too; keep one of them: the master key is in one place"))
	}
	if len(c.Command) > 0 && c.Command[0] == "" {
		errs = append(errs, errors.New("command: it begins with nothing; name the program first, then its arguments, such as [/usr/local/bin/weir-kms, --region, north]"))
	}
	if c.Timeout < 0 || c.Timeout > maxTimeout {
		errs = append(errs, fmt.Errorf("timeout: %v; use 0 for %v, or up to %v", c.Timeout, defaultTimeout, maxTimeout))
	}
	return errors.Join(errs...)
}

package ask

import (
	"errors"
	"fmt"
	"net"
	"time"

	"github.com/weir-moderation/weir/internal/dial"
)

// Config is the section api of the configuration.
type Config struct {
	// Listen is the address, host:port; empty: nobody can ask.
	Listen string `yaml:"listen"`
	TLS    TLS    `yaml:"tls"`
	// TokenFiles hold a bearer token each; any of them lets in, so that one can be
	// replaced while the other is in use. They are read again while Weir runs.
	TokenFiles []string `yaml:"token_files"`
	// MaxRequests are in hand at once; who comes next is told to come again.
	MaxRequests int `yaml:"max_requests"`
	// Deadline is how long a request may wait for its answer.
	Deadline time.Duration `yaml:"deadline"`
}

// TLS says how connections are encrypted, and whose certificates let in.
type TLS struct {
	CertFile     string `yaml:"cert_file"`      // PEM; empty: no TLS
	KeyFile      string `yaml:"key_file"`       // PEM
	ClientCAFile string `yaml:"client_ca_file"` // PEM; who may sign the certificate each client must show; empty: none is asked for
}

const (
	maxRequests = 1 << 16
	maxDeadline = 30 * time.Second
	minDeadline = 10 * time.Millisecond
)

// DefaultConfig returns what is not set: off.
func DefaultConfig() Config { return Config{MaxRequests: 1024, Deadline: time.Second} }

// On reports whether there is a listener.
func (c *Config) On() bool { return c.Listen != "" }

// Validate reports what is wrong.
func (c *Config) Validate() error {
	var errs []error
	wrong := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if c.MaxRequests < 1 || c.MaxRequests > maxRequests {
		wrong("max_requests: %d; use 1 to %d", c.MaxRequests, maxRequests)
	}
	if c.Deadline < minDeadline || c.Deadline > maxDeadline {
		wrong("deadline: %v; use %v to %v", c.Deadline, minDeadline, maxDeadline)
	}
	t := &c.TLS
	if (t.CertFile == "") != (t.KeyFile == "") {
		wrong("tls: one of cert_file and key_file is not set; give both or none")
	}
	if t.ClientCAFile != "" && t.CertFile == "" {
		wrong("tls.client_ca_file: certificates of clients are shown within TLS; give cert_file and key_file, too")
	}
	for i, f := range c.TokenFiles {
		if f == "" {
			wrong("token_files[%d]: empty; name a file with a token", i)
		}
	}
	if !c.On() {
		if len(c.TokenFiles) > 0 || *t != (TLS{}) {
			wrong("listen: not set, but other fields of api are; name an address such as 127.0.0.1:9470, or remove them")
		}
		return errors.Join(errs...)
	}
	host, port, err := net.SplitHostPort(c.Listen)
	if err != nil || port == "" {
		wrong("listen: %q is no address; write host:port, such as 127.0.0.1:9470", c.Listen)
		return errors.Join(errs...)
	}
	if dial.IsLoopback(host) {
		return errors.Join(errs...)
	}
	switch {
	case len(c.TokenFiles) == 0 && t.ClientCAFile == "":
		wrong("listen: %s can be reached from other machines, and nobody would have to log in; give token_files or tls.client_ca_file, or listen on 127.0.0.1", c.Listen)
	case t.CertFile == "":
		wrong("listen: %s can be reached from other machines, and tokens and texts would cross the network in clear; give tls.cert_file and tls.key_file, or listen on 127.0.0.1", c.Listen)
	}
	return errors.Join(errs...)
}

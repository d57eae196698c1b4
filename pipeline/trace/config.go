package trace

import (
	"errors"
	"fmt"
	"net/url"

	"github.com/weir-moderation/weir/internal/dial"
)

// Config is the section tracing of the configuration. It is about spans of Weir's own:
// the context that messages bring is passed on in any case.
type Config struct {
	// Endpoint is where spans go, in OTLP over HTTP with protobuf bodies: a URL such as
	// http://127.0.0.1:4318/v1/traces. Empty turns spans off.
	Endpoint string `yaml:"endpoint"`
	// TLS is how an https endpoint is known, and we to it.
	TLS dial.TLS `yaml:"tls"`
	// TokenFile holds a bearer token that the endpoint asks for; empty for none.
	TokenFile string `yaml:"token_file"`
	// Queue is how many spans may wait for the endpoint; further ones are dropped and counted.
	Queue int `yaml:"queue"`
}

const (
	defaultQueue = 4096
	maxQueue     = 1 << 20
)

// DefaultConfig returns what is not set.
func DefaultConfig() Config { return Config{Queue: defaultQueue} }

// On reports whether spans are made.
func (c *Config) On() bool { return c.Endpoint != "" }

// Receiver returns the host and port that spans go to.
func (c *Config) Receiver() string {
	u, err := url.Parse(c.Endpoint)
	if err != nil {
		return "" // Validate has found none
	}
	return u.Host
}

// Validate reports what is wrong. It opens no files.
func (c *Config) Validate() error {
	var errs []error
	if c.On() {
		u, err := url.Parse(c.Endpoint)
		switch {
		case err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "":
			errs = append(errs, errors.New("endpoint: not the URL of an OTLP receiver; write it as http://host:4318/v1/traces, or with https, and a token into token_file"))
		case u.Scheme == "http" && c.TLS.Enabled:
			errs = append(errs, errors.New("endpoint: begins with http, but tls is enabled; write https or remove tls"))
		case u.Scheme == "http" && c.TokenFile != "":
			errs = append(errs, errors.New("endpoint: begins with http, but there is a token_file; a token is only sent over https"))
		}
	}
	errs = append(errs, c.TLS.Validate("tls"))
	if c.Queue < 1 || c.Queue > maxQueue {
		errs = append(errs, fmt.Errorf("queue: %d; use 1 to %d spans, such as %d", c.Queue, maxQueue, defaultQueue))
	}
	return errors.Join(errs...)
}

// CheckFiles reads the files that the configuration names, as a start would.
func (c *Config) CheckFiles() error {
	if !c.On() {
		return nil
	}
	_, err := newExporter(c)
	return err
}

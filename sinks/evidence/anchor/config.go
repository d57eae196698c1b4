package anchor

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/weir-moderation/weir/internal/admin"
	"github.com/weir-moderation/weir/internal/dial"
)

// Config is the section "anchors": what is done with heads beside publishing
// them (output.checkpoints). All of it is off until it is named.
type Config struct {
	// UnpublishedLimit is how long a signed head may wait for the topic until the
	// log takes nothing more; 0 for ever.
	UnpublishedLimit time.Duration `yaml:"unpublished_limit"`
	// Every is how often the heads of other instances are put on record; 0 for never.
	Every time.Duration `yaml:"every"`
	// Heartbeat is after how long without a record one says so; 0 for never.
	Heartbeat time.Duration `yaml:"heartbeat"`
	// Peers are the admin listeners of other instances, such as http://weir-1:9090:
	// they are asked for proofs that their logs only grew.
	Peers []string `yaml:"peers"`
	// PeerLogin is how to come in where their listeners ask who is there.
	PeerLogin PeerLogin `yaml:"peer_login"`

	Witness   WitnessConfig   `yaml:"witness"`
	Timestamp TimestampConfig `yaml:"timestamp"`
}

// PeerLogin is what the admin listeners of peers ask for: the same at all of them.
type PeerLogin struct {
	Username     string `yaml:"username"`
	PasswordFile string `yaml:"password_file"`
	CAFile       string `yaml:"ca_file"`   // PEM; who may sign their certificates; empty: the system's authorities
	CertFile     string `yaml:"cert_file"` // PEM; our own certificate
	KeyFile      string `yaml:"key_file"`  // PEM; its key
}

// PeerClients returns what asks the peers, in their order. It reads the files of the login, and asks nobody.
func (c *Config) PeerClients() ([]*admin.Client, error) {
	l := &c.PeerLogin
	var list []*admin.Client
	for i, p := range c.Peers {
		peer, err := admin.NewClient(admin.Access{URL: p, Username: l.Username, PasswordFile: l.PasswordFile,
			TLS: dial.TLS{CAFile: l.CAFile, CertFile: l.CertFile, KeyFile: l.KeyFile}})
		if err != nil {
			return nil, fmt.Errorf("peers[%d], %s: %w", i, p, err)
		}
		list = append(list, peer)
	}
	return list, nil
}

// WitnessConfig names a witness by C2SP tlog-witness.
type WitnessConfig struct {
	URL string `yaml:"url"` // the submission prefix, before /add-checkpoint; empty turns it off
	// VerifierKey is the witness's key, as <name>+<hash>+<key> of an Ed25519 cosigner.
	VerifierKey string        `yaml:"verifier_key"`
	Every       time.Duration `yaml:"every"`
}

// TimestampConfig names a time-stamp authority by RFC 3161.
type TimestampConfig struct {
	URL    string        `yaml:"url"`     // empty turns it off
	CAFile string        `yaml:"ca_file"` // PEM certificates that its own must come from
	Every  time.Duration `yaml:"every"`
}

// DefaultConfig returns everything off.
func DefaultConfig() Config {
	return Config{
		Witness:   WitnessConfig{Every: time.Minute},
		Timestamp: TimestampConfig{Every: 24 * time.Hour},
	}
}

// Bounds of how often something is done.
const (
	minEvery     = time.Second
	minLimit     = 5 * time.Second
	minTimestamp = time.Minute
)

// Validate reports what is wrong with the section, each error beginning with the
// field's name.
func (c *Config) Validate() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	atLeast := func(name string, d, least time.Duration) {
		if d != 0 && d < least {
			bad("%s: %v; use at least %v, or 0s to turn it off", name, d, least)
		}
	}
	atLeast("unpublished_limit", c.UnpublishedLimit, minLimit)
	atLeast("every", c.Every, minEvery)
	atLeast("heartbeat", c.Heartbeat, minEvery)
	for i, p := range c.Peers {
		if !isBase(p) {
			bad("peers[%d]: %q is no address of an admin listener; write it like http://weir-1:9090", i, p)
		}
	}
	if len(c.Peers) == 0 && c.PeerLogin != (PeerLogin{}) {
		bad("peer_login: set, but peers names nobody; name their admin listeners or remove it")
	}
	if len(c.Peers) > 0 && c.Every == 0 {
		bad("peers: proofs are asked for when heads are put on record, and every is 0s; set every, such as 1m")
	}
	if w := &c.Witness; w.URL != "" {
		if !isBase(w.URL) {
			bad("witness.url: not a URL; write it like https://witness.example.org/weir")
		}
		if _, err := newCosignatureVerifier(w.VerifierKey); err != nil {
			bad("witness.verifier_key: %w", err)
		}
		if w.Every < minEvery {
			bad("witness.every: %v; use at least %v", w.Every, minEvery)
		}
	}
	if t := &c.Timestamp; t.URL != "" {
		if !isBase(t.URL) {
			bad("timestamp.url: not a URL; write it like https://tsa.example.org/")
		}
		if t.CAFile == "" {
			bad("timestamp.ca_file: empty; name the file of certificates that the authority's own must come from")
		}
		if t.Every < minTimestamp {
			bad("timestamp.every: %v; use at least %v", t.Every, minTimestamp)
		}
	}
	return errors.Join(errs...)
}

// NeedsTopic reports whether something is on that works with the topic of heads only.
func (c *Config) NeedsTopic() bool { return c.Every > 0 || c.UnpublishedLimit > 0 }

func isBase(s string) bool {
	u, err := url.Parse(s)
	return err == nil && (u.Scheme == "http" || u.Scheme == "https") && u.Host != "" && u.User == nil && u.RawQuery == "" && u.Fragment == ""
}

// checkKey reports what is wrong with a log's key, which must have the log's name.
func checkKey(origin, vkey string) error {
	v, err := note.NewVerifier(strings.TrimSpace(vkey))
	if err != nil {
		return err
	}
	if v.Name() != origin {
		return fmt.Errorf("the key is of %s", v.Name())
	}
	return nil
}

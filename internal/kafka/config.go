package kafka

import (
	"errors"
	"fmt"

	"github.com/weir-moderation/weir/internal/dial"
)

// Config says how to reach the brokers (section "kafka").
type Config struct {
	Brokers  []string `yaml:"brokers"`   // host:port of one broker or more; the others are found through them
	ClientID string   `yaml:"client_id"` // how we call ourselves in the brokers' logs and quotas
	TLS      dial.TLS `yaml:"tls"`
	SASL     SASL     `yaml:"sasl"`
}

// SASL says how to log in. An empty Mechanism means not at all.
type SASL struct {
	Mechanism    string `yaml:"mechanism"` // plain, scram-sha-256, scram-sha-512 or oauthbearer
	Username     string `yaml:"username"`
	PasswordFile string `yaml:"password_file"` // its content without the newline at the end; read again at each login
	OAuth        OAuth  `yaml:"oauth"`         // where the token of oauthbearer comes from
}

// mechanisms are the logins there are, in words.
const mechanisms = "plain, scram-sha-256, scram-sha-512 or oauthbearer"

// DefaultConfig returns a broker on this machine, without TLS and login.
func DefaultConfig() Config {
	return Config{Brokers: []string{"127.0.0.1:9092"}, ClientID: "weir"}
}

// Validate reports what is wrong with the section, each error beginning with
// the field's name. It opens no files.
func (c *Config) Validate() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if len(c.Brokers) == 0 {
		bad("brokers: none given; name at least one host:port")
	}
	for i, b := range c.Brokers {
		if !dial.IsHostPort(b) {
			bad("brokers[%d]: %q is not host:port; write it like kafka-1.example.org:9092", i, b)
		}
	}
	if c.ClientID == "" {
		bad("client_id: empty; give a name such as weir")
	}
	if len(c.ClientID) > 200 {
		bad("client_id: %d bytes long; use at most 200", len(c.ClientID))
	}
	if err := c.TLS.Validate("tls"); err != nil {
		errs = append(errs, err)
	}
	switch c.SASL.Mechanism {
	case "":
		if c.SASL != (SASL{}) {
			bad("sasl.mechanism: empty, but other fields of sasl are set; use " + mechanisms)
		}
	case "plain", "scram-sha-256", "scram-sha-512":
		if c.SASL.Username == "" {
			bad("sasl.username: empty; name the user to log in as")
		}
		if c.SASL.PasswordFile == "" {
			bad("sasl.password_file: empty; name the file that holds the password")
		}
		if c.SASL.OAuth != (OAuth{}) {
			bad("sasl.oauth: set, but sasl.mechanism is %s; set it to oauthbearer or remove the section", c.SASL.Mechanism)
		}
	case "oauthbearer":
		if c.SASL.Username != "" || c.SASL.PasswordFile != "" {
			bad("sasl.username: set, but sasl.mechanism is oauthbearer, where the token says who we are; leave username and password_file out")
		}
		if err := c.SASL.OAuth.validate("sasl.oauth"); err != nil {
			errs = append(errs, err)
		}
	default:
		bad("sasl.mechanism: %q is not known; use "+mechanisms, c.SASL.Mechanism)
	}
	return errors.Join(errs...)
}

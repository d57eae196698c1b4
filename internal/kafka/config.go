package kafka

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"

	"github.com/segmentio/kafka-go/sasl"
	"github.com/segmentio/kafka-go/sasl/plain"
)

// Config says how to reach the brokers (section "kafka").
type Config struct {
	Brokers  []string `yaml:"brokers"`   // host:port of one broker or more; the others are found through them
	ClientID string   `yaml:"client_id"` // how we call ourselves in the brokers' logs and quotas
	TLS      TLS      `yaml:"tls"`
	SASL     SASL     `yaml:"sasl"`
}

// TLS says how connections are encrypted.
type TLS struct {
	Enabled    bool   `yaml:"enabled"`
	CAFile     string `yaml:"ca_file"`     // PEM; who may sign the brokers' certificates; empty: the system's authorities
	CertFile   string `yaml:"cert_file"`   // PEM; our own certificate, if the brokers want one
	KeyFile    string `yaml:"key_file"`    // PEM; its key
	ServerName string `yaml:"server_name"` // the name in the brokers' certificates; empty: the host they are reached by
}

// SASL says how to log in. An empty Mechanism means not at all.
type SASL struct {
	Mechanism    string `yaml:"mechanism"` // plain, scram-sha-256 or scram-sha-512
	Username     string `yaml:"username"`
	PasswordFile string `yaml:"password_file"` // its content without the newline at the end
}

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
		if !hostPort(b) {
			bad("brokers[%d]: %q is not host:port; write it like kafka-1.example.org:9092", i, b)
		}
	}
	if c.ClientID == "" {
		bad("client_id: empty; give a name such as weir")
	}
	if len(c.ClientID) > 200 {
		bad("client_id: %d bytes long; use at most 200", len(c.ClientID))
	}
	if !c.TLS.Enabled && c.TLS != (TLS{}) {
		bad("tls.enabled: not set, but other fields of tls are; set it to true or remove them")
	}
	if (c.TLS.CertFile == "") != (c.TLS.KeyFile == "") {
		field, other := "cert_file", "key_file"
		if c.TLS.KeyFile == "" {
			field, other = "key_file", "cert_file"
		}
		bad("tls.%s: empty, but tls.%s is set; give both or none", field, other)
	}
	switch c.SASL.Mechanism {
	case "":
		if c.SASL != (SASL{}) {
			bad("sasl.mechanism: empty, but other fields of sasl are set; use plain, scram-sha-256 or scram-sha-512")
		}
	case "plain", "scram-sha-256", "scram-sha-512":
		if c.SASL.Username == "" {
			bad("sasl.username: empty; name the user to log in as")
		}
		if c.SASL.PasswordFile == "" {
			bad("sasl.password_file: empty; name the file that holds the password")
		}
	default:
		bad("sasl.mechanism: %q is not known; use plain, scram-sha-256 or scram-sha-512", c.SASL.Mechanism)
	}
	return errors.Join(errs...)
}

func hostPort(s string) bool {
	host, port, err := net.SplitHostPort(s)
	if err != nil || host == "" {
		return false
	}
	n, err := strconv.ParseUint(port, 10, 16)
	return err == nil && n > 0
}

// tlsConfig reads the files of the section.
func (c *TLS) tlsConfig() (*tls.Config, error) {
	if !c.Enabled {
		return nil, nil
	}
	t := &tls.Config{ServerName: c.ServerName, MinVersion: tls.VersionTLS12}
	if c.CAFile != "" {
		pem, err := os.ReadFile(c.CAFile)
		if err != nil {
			return nil, fmt.Errorf("tls.ca_file: %w", err)
		}
		t.RootCAs = x509.NewCertPool()
		if !t.RootCAs.AppendCertsFromPEM(pem) {
			return nil, errors.New("tls.ca_file: no certificate in it; it must hold PEM blocks of type CERTIFICATE")
		}
	}
	if c.CertFile != "" {
		pair, err := tls.LoadX509KeyPair(c.CertFile, c.KeyFile)
		if err != nil {
			return nil, fmt.Errorf("tls.cert_file: %w", err)
		}
		t.Certificates = []tls.Certificate{pair}
	}
	return t, nil
}

// mechanism reads the password and returns the login, nil for none.
func (c *SASL) mechanism() (sasl.Mechanism, error) {
	if c.Mechanism == "" {
		return nil, nil
	}
	b, err := os.ReadFile(c.PasswordFile)
	if err != nil {
		return nil, fmt.Errorf("sasl.password_file: %w", err)
	}
	password := strings.TrimRight(string(b), "\r\n")
	if password == "" {
		return nil, errors.New("sasl.password_file: the file is empty; it must hold the password")
	}
	switch c.Mechanism {
	case "plain":
		return plain.Mechanism{Username: c.Username, Password: password}, nil
	case "scram-sha-256":
		return &scram{"SCRAM-SHA-256", sha256.New, c.Username, password, rand.Text}, nil
	case "scram-sha-512":
		return &scram{"SCRAM-SHA-512", sha512.New, c.Username, password, rand.Text}, nil
	}
	return nil, fmt.Errorf("sasl.mechanism: %q is not known", c.Mechanism)
}

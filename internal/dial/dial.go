// Package dial holds what every server Weir connects to asks of its
// configuration: an address, TLS, a password in a file.
//
// What it is not: a dialer. It opens files, never connections. The one thing to
// know: each error begins with the path the caller gives, so that the
// configuration can say in which line the mistake is.
package dial

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
)

// TLS says how connections to a server are encrypted.
type TLS struct {
	Enabled    bool   `yaml:"enabled"`
	CAFile     string `yaml:"ca_file"`     // PEM; who may sign the server's certificate; empty: the system's authorities
	CertFile   string `yaml:"cert_file"`   // PEM; our own certificate, if the server wants one
	KeyFile    string `yaml:"key_file"`    // PEM; its key
	ServerName string `yaml:"server_name"` // the name in the server's certificate; empty: the host it is reached by
}

// Validate reports what is wrong with the settings that stand at path. It opens
// no files.
func (t *TLS) Validate(path string) error {
	var errs []error
	if !t.Enabled && *t != (TLS{}) {
		errs = append(errs, fmt.Errorf("%s.enabled: not set, but other fields of tls are; set it to true or remove them", path))
	}
	if (t.CertFile == "") != (t.KeyFile == "") {
		empty, other := "cert_file", "key_file"
		if t.KeyFile == "" {
			empty, other = other, empty
		}
		errs = append(errs, fmt.Errorf("%s.%s: empty, but %s.%s is set; give both or none", path, empty, path, other))
	}
	return errors.Join(errs...)
}

// Config reads the files and returns what crypto/tls needs, nil where TLS is off.
func (t *TLS) Config(path string) (*tls.Config, error) {
	if !t.Enabled {
		return nil, nil
	}
	c := &tls.Config{ServerName: t.ServerName, MinVersion: tls.VersionTLS12}
	if t.CAFile != "" {
		pem, err := os.ReadFile(t.CAFile)
		if err != nil {
			return nil, fmt.Errorf("%s.ca_file: %w", path, err)
		}
		c.RootCAs = x509.NewCertPool()
		if !c.RootCAs.AppendCertsFromPEM(pem) {
			return nil, fmt.Errorf("%s.ca_file: no certificate in it; it must hold PEM blocks of type CERTIFICATE", path)
		}
	}
	if t.CertFile != "" {
		pair, err := tls.LoadX509KeyPair(t.CertFile, t.KeyFile)
		if err != nil {
			return nil, fmt.Errorf("%s.cert_file: %w", path, err)
		}
		c.Certificates = []tls.Certificate{pair}
	}
	return c, nil
}

// Password reads a password from a file: its content without the newline at the end.
func Password(path, file string) (string, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return "", fmt.Errorf("%s: %w", path, err)
	}
	password := strings.TrimRight(string(b), "\r\n")
	if password == "" {
		return "", fmt.Errorf("%s: the file is empty; it must hold the password", path)
	}
	return password, nil
}

// IsHostPort reports whether s is an address such as kafka-1.example.org:9092.
func IsHostPort(s string) bool {
	host, port, err := net.SplitHostPort(s)
	if err != nil || host == "" {
		return false
	}
	n, err := strconv.ParseUint(port, 10, 16)
	return err == nil && n > 0
}

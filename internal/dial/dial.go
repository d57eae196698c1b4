// Package dial holds what every server Weir connects to asks of its
// configuration: an address, TLS, a password in a file.
//
// What it is not: a dialer. It opens files, never connections. Two things to
// know: each error begins with the path the caller gives, so that the
// configuration can say in which line the mistake is; and files are read again
// for every connection, so that what was replaced counts from the next one on.
package dial

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
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

// IsHostPort reports whether s is an address such as kafka-1.example.org:9092.
func IsHostPort(s string) bool {
	host, port, err := net.SplitHostPort(s)
	if err != nil || host == "" {
		return false
	}
	n, err := strconv.ParseUint(port, 10, 16)
	return err == nil && n > 0
}

// IsLoopback reports whether a host, with or without a port, is this machine and no network
// leads to it. It asks no name server: a name other than localhost is not.
func IsLoopback(address string) bool {
	host := address
	if h, _, err := net.SplitHostPort(address); err == nil {
		host = h
	}
	if n := len(host); n > 2 && host[0] == '[' && host[n-1] == ']' {
		host = host[1 : n-1]
	}
	a, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && a.Unmap().IsLoopback()
}

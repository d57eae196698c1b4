package dial

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
)

// Handshake makes TLS connections. It reads its files again for each: a
// certificate or an authority that was replaced counts from the next connection
// on, and those that are open stay. It may be used by many goroutines.
type Handshake struct {
	settings TLS
	path     string

	mu   sync.Mutex
	last *tls.Config // as the files were when they could last be used
}

// Handshake reads the files that the settings at path name. It returns nil where
// TLS is off.
func (t *TLS) Handshake(path string) (*Handshake, error) {
	if !t.Enabled {
		return nil, nil
	}
	c, err := t.read(path)
	if err != nil {
		return nil, err
	}
	return &Handshake{settings: *t, path: path, last: c}, nil
}

// Config returns what crypto/tls needs, as the files are now. Where they cannot
// be used, as while they are being replaced, it is as they were before: somebody
// who exchanges two files one after the other shall not cut us off.
// [Usable] tells of them.
func (h *Handshake) Config() *tls.Config {
	c, err := h.settings.read(h.path)
	h.mu.Lock()
	defer h.mu.Unlock()
	if err == nil {
		h.last = c
	}
	return h.last.Clone()
}

// Client encrypts a connection to an address, host:port. It closes the connection
// if that fails. On a nil Handshake it returns the connection as it is.
func (h *Handshake) Client(ctx context.Context, conn net.Conn, address string) (net.Conn, error) {
	if h == nil {
		return conn, nil
	}
	c := h.Config()
	if c.ServerName == "" {
		host, _, err := net.SplitHostPort(address)
		if err != nil {
			return nil, errors.Join(err, conn.Close())
		}
		c.ServerName = host
	}
	client := tls.Client(conn, c)
	if err := client.HandshakeContext(ctx); err != nil {
		_ = conn.Close() // nothing was sent that could be lost
		return nil, err
	}
	return client, nil
}

// read reads the files.
func (t *TLS) read(path string) (*tls.Config, error) {
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

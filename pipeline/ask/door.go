package ask

import (
	"crypto/sha256"
	"crypto/subtle"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/weir-moderation/weir/internal/dial"
)

// door says who may ask.
type door struct {
	tls      *tls.Config // nil: none
	clients  bool        // who shows a certificate
	tokens   *tokens     // nil: none
	loopback bool
}

func newDoor(c *Config) (*door, error) {
	host, _, err := net.SplitHostPort(c.Listen)
	if err != nil {
		return nil, fmt.Errorf("api.listen: %w", err)
	}
	d := &door{loopback: dial.IsLoopback(host), clients: c.TLS.ClientCAFile != ""}
	if len(c.TokenFiles) > 0 {
		if d.tokens, err = openTokens(c.TokenFiles); err != nil {
			return nil, err
		}
	}
	if c.TLS.CertFile != "" {
		h := &handshake{settings: c.TLS}
		if h.last, err = h.read(); err != nil {
			return nil, err
		}
		d.tls = &tls.Config{MinVersion: tls.VersionTLS12, GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) { return h.config(), nil }}
	}
	return d, nil
}

// login says in words who is let in.
func (d *door) login() string {
	switch {
	case d.tokens != nil && d.clients:
		return "with a token and a certificate"
	case d.tokens != nil:
		return "with a token"
	case d.clients:
		return "with a certificate"
	}
	return "without a login, from this machine only"
}

// admits reports why a request is not let in. Who shows a certificate has shown it
// before any request can be read.
func (d *door) admits(r *http.Request) *problem {
	if d.loopback && !dial.IsLoopback(r.Host) { // a name that a web page makes point here (DNS rebinding)
		return misdirected
	}
	if d.tokens == nil {
		return nil
	}
	scheme, token, ok := strings.Cut(r.Header.Get("Authorization"), " ")
	if !ok || !strings.EqualFold(scheme, "Bearer") || len(r.Header.Values("Authorization")) > 1 || !d.tokens.has(token) {
		return unauthorized
	}
	return nil
}

const (
	// minToken is how long a token must be, in bytes: nobody guesses 16 random ones.
	minToken = 16
	// tokensAge is how long a token counts that was taken out of its file.
	tokensAge = time.Second
)

// tokens are the words that let in, in files that are read again once a second.
type tokens struct {
	files []*dial.Secret

	mu   sync.Mutex
	read time.Time
	sums [][sha256.Size]byte
}

func openTokens(files []string) (*tokens, error) {
	t := new(tokens)
	for i, f := range files {
		setting := fmt.Sprintf("api.token_files[%d]", i)
		s, err := dial.OpenSecret(setting, f)
		if err != nil {
			return nil, err
		}
		if len(s.Value()) < minToken {
			return nil, fmt.Errorf("%s: a token has %d bytes at least; make one by: head -c 32 /dev/urandom | base64 -w0", setting, minToken)
		}
		t.files = append(t.files, s)
	}
	return t, nil
}

// has compares with every token, in a time that says nothing of any of them.
func (t *tokens) has(token string) bool {
	sum, found := sha256.Sum256([]byte(token)), 0
	for _, s := range t.current() {
		found |= subtle.ConstantTimeCompare(sum[:], s[:])
	}
	return found == 1
}

func (t *tokens) current() [][sha256.Size]byte {
	t.mu.Lock()
	defer t.mu.Unlock()
	if time.Since(t.read) < tokensAge {
		return t.sums
	}
	t.read, t.sums = time.Now(), nil
	for _, f := range t.files {
		if v := f.Value(); len(v) >= minToken {
			t.sums = append(t.sums, sha256.Sum256([]byte(v)))
		}
	}
	return t.sums
}

// handshake makes TLS connections by files that are read again for each of them. What
// cannot be used, as while it is being replaced, leaves what it held last.
type handshake struct {
	settings TLS

	mu   sync.Mutex
	last *tls.Config
}

func (h *handshake) config() *tls.Config {
	c, err := h.read()
	h.mu.Lock()
	defer h.mu.Unlock()
	if err == nil {
		h.last = c
	}
	return h.last
}

func (h *handshake) read() (*tls.Config, error) {
	pair, err := tls.LoadX509KeyPair(h.settings.CertFile, h.settings.KeyFile)
	if err != nil {
		return nil, fmt.Errorf("api.tls.cert_file: %w", err)
	}
	c := &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{pair}, NextProtos: []string{"http/1.1"}}
	if f := h.settings.ClientCAFile; f != "" {
		pem, err := os.ReadFile(f)
		if err != nil {
			return nil, fmt.Errorf("api.tls.client_ca_file: %w", err)
		}
		c.ClientAuth, c.ClientCAs = tls.RequireAndVerifyClientCert, x509.NewCertPool()
		if !c.ClientCAs.AppendCertsFromPEM(pem) {
			return nil, errors.New("api.tls.client_ca_file: no certificate in it; it must hold PEM blocks of type CERTIFICATE")
		}
	}
	return c, nil
}

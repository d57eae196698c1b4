package admin

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"log/slog"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/crypto/bcrypt"

	"github.com/weir-moderation/weir/internal/dial"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// house is a folder with an authority and what it signs.
type house struct {
	t   *testing.T
	dir string
	ca  *x509.Certificate
	key *ecdsa.PrivateKey
}

func newHouse(t *testing.T) *house {
	t.Helper()
	h := &house{t: t, dir: t.TempDir()}
	h.key = newKey(t)
	h.ca = h.sign("ca", h.key, &x509.Certificate{IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign})
	return h
}

func newKey(t *testing.T) *ecdsa.PrivateKey {
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// sign writes NAME.pem and NAME.key.
func (h *house) sign(name string, key *ecdsa.PrivateKey, c *x509.Certificate) *x509.Certificate {
	h.t.Helper()
	c.SerialNumber, c.Subject = big.NewInt(time.Now().UnixNano()), pkix.Name{CommonName: name}
	c.NotBefore, c.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	parent, by := h.ca, h.key
	if parent == nil {
		parent, by = c, key
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, key.Public(), by)
	if err != nil {
		h.t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		h.t.Fatal(err)
	}
	h.write(name+".pem", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})))
	h.write(name+".key", string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private})))
	signed, err := x509.ParseCertificate(der)
	if err != nil {
		h.t.Fatal(err)
	}
	return signed
}

func (h *house) issue(name string) {
	h.t.Helper()
	h.sign(name, newKey(h.t), &x509.Certificate{
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, DNSNames: []string{"localhost"},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	})
}

func (h *house) path(name string) string { return filepath.Join(h.dir, name) }

func (h *house) write(name, text string) string {
	h.t.Helper()
	if err := os.WriteFile(h.path(name), []byte(text), 0o600); err != nil {
		h.t.Fatal(err)
	}
	return h.path(name)
}

// users is the part of a web config that names the user op.
func users(t *testing.T, password string) string {
	t.Helper()
	hash, err := bcrypt.GenerateFromPassword([]byte(password), bcrypt.MinCost)
	if err != nil {
		t.Fatal(err)
	}
	return "basic_auth_users: {op: '" + string(hash) + "'}\n"
}

const withTLS = "tls_server_config: {cert_file: server.pem, key_file: server.key"

// served is a door with a page to read and a verb behind it.
type served struct {
	door *Door
	log  *bytes.Buffer
}

func serve(t *testing.T, address, config string) *served {
	t.Helper()
	s := &served{log: new(bytes.Buffer)}
	var err error
	if s.door, err = Open(address, Config{WebConfigFile: config}, slog.New(slog.NewJSONHandler(s.log, nil))); err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET /read", func(http.ResponseWriter, *http.Request) {})
	mux.Handle("POST /verb", s.door.Verb(func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(w, r.Body) }))
	mux.Handle("GET /profile", s.door.Verb(func(http.ResponseWriter, *http.Request) {}))
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- s.door.Run(ctx, mux) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return s
}

// ask returns the status of an answer, or the words of an error.
func (s *served) ask(t *testing.T, a Access, method, path string) string {
	t.Helper()
	if a.URL == "" {
		a.URL = s.door.URL()
	}
	c, err := NewClient(a)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := c.Do(t.Context(), method, path, nil)
	if err != nil {
		return err.Error()
	}
	_ = resp.Body.Close()
	return resp.Status
}

// Who may do what: on loopback everybody, until users or client certificates are
// asked for; beyond it nobody may use verbs without having logged in.
func TestWhoMay(t *testing.T) {
	h := newHouse(t)
	h.issue("server")
	h.issue("client")
	stranger := newHouse(t)
	stranger.issue("client")
	password, wrong := h.write("password", "open sesame\n"), h.write("wrong", "open barley\n")
	ca := dial.TLS{CAFile: h.path("ca.pem")}
	user := Access{Username: "op", PasswordFile: password}
	const local, anywhere = "127.0.0.1:0", "0.0.0.0:0"
	for _, test := range []struct {
		name, address, config string
		as                    Access
		read, verb            string // beginnings of what is answered
	}{
		{"loopback", local, "", Access{}, "200", "200"},
		{"loopback, users", local, users(t, "open sesame"), user, "200", "200"},
		{"loopback, nobody", local, users(t, "open sesame"), Access{}, "the daemon wants a user", "the daemon wants a user"},
		{"loopback, wrong password", local, users(t, "open sesame"), Access{Username: "op", PasswordFile: wrong}, "the daemon does not take", "the daemon does not take"},
		{"loopback, unknown user", local, users(t, "open sesame"), Access{Username: "po", PasswordFile: password}, "the daemon does not take", "the daemon does not take"},
		{"loopback, TLS", local, withTLS + "}", Access{TLS: ca}, "200", "200"},
		{"loopback, TLS of an authority we do not know", local, withTLS + "}", Access{}, "ask the daemon: ", "ask the daemon: "},
		{"loopback, client certificates", local, withTLS + ", client_auth_type: RequireAndVerifyClientCert, client_ca_file: ca.pem}", Access{TLS: ca}, "ask the daemon: ", "ask the daemon: "},
		{"loopback, ours", local, withTLS + ", client_auth_type: RequireAndVerifyClientCert, client_ca_file: ca.pem}",
			Access{TLS: dial.TLS{CAFile: ca.CAFile, CertFile: h.path("client.pem"), KeyFile: h.path("client.key")}}, "200", "200"},
		{"loopback, a stranger's", local, withTLS + ", client_auth_type: RequireAndVerifyClientCert, client_ca_file: ca.pem}",
			Access{TLS: dial.TLS{CAFile: ca.CAFile, CertFile: stranger.path("client.pem"), KeyFile: stranger.path("client.key")}}, "ask the daemon: ", "ask the daemon: "},
		{"beyond", anywhere, "", Access{}, "200", "the daemon says: refused: this is for whoever logs in"},
		{"beyond, TLS alone", anywhere, withTLS + "}", Access{TLS: ca}, "200", "the daemon says: refused"},
		{"beyond, TLS and users", anywhere, withTLS + "}\n" + users(t, "open sesame"), Access{TLS: ca, Username: "op", PasswordFile: password}, "200", "200"},
		{"beyond, a certificate if there is one", anywhere, withTLS + ", client_auth_type: VerifyClientCertIfGiven, client_ca_file: ca.pem}", Access{TLS: ca}, "200", "the daemon says: refused"},
		{"beyond, that one", anywhere, withTLS + ", client_auth_type: VerifyClientCertIfGiven, client_ca_file: ca.pem}",
			Access{TLS: dial.TLS{CAFile: ca.CAFile, CertFile: h.path("client.pem"), KeyFile: h.path("client.key")}}, "200", "200"},
		{"beyond, a certificate nobody checked", anywhere, withTLS + ", client_auth_type: RequireAnyClientCert}",
			Access{TLS: dial.TLS{CAFile: ca.CAFile, CertFile: stranger.path("client.pem"), KeyFile: stranger.path("client.key")}}, "200", "the daemon says: refused"},
	} {
		t.Run(test.name, func(t *testing.T) {
			config := ""
			if test.config != "" {
				config = h.write("web.yaml", test.config)
			}
			s := serve(t, test.address, config)
			_, port, _ := net.SplitHostPort(s.door.listener.Addr().String())
			test.as.URL, _, _ = strings.Cut(s.door.URL(), "://")
			test.as.URL += "://127.0.0.1:" + port
			for _, ask := range []struct{ method, path, want string }{{"GET", "/read", test.read}, {"POST", "/verb", test.verb}, {"GET", "/profile", test.verb}} {
				if got := s.ask(t, test.as, ask.method, ask.path); !strings.HasPrefix(got, ask.want) {
					t.Errorf("%s %s: %s, want %s", ask.method, ask.path, got, ask.want)
				}
			}
			warns := test.address == anywhere && (test.config == "" || !strings.Contains(test.config, "users"))
			if got := s.door.Warning(); (got != "") != warns {
				t.Errorf("warning %q", got)
			}
		})
	}
}

// What cannot work, or would give passwords away, is refused at the start, and
// keys or hashes in the file are not repeated.
func TestOpenRefuses(t *testing.T) {
	h := newHouse(t)
	for _, test := range []struct{ address, config, want string }{
		{"127.0.0.1:0", h.path("none"), "no such file"},
		{"127.0.0.1:0", h.write("a", "basic_auth_user: {}"), "field basic_auth_user not found"},
		{"127.0.0.1:0", h.write("b", "basic_auth_users: {op: clear-text-password}"), "admin.web_config_file"},
		{"127.0.0.1:0", h.write("c", withTLS+"}"), "server.pem"},
		{"127.0.0.1:0", h.write("e", "basic_auth_users: clear-text-password"), "cannot unmarshal"},
		{"0.0.0.0:0", h.write("d", users(t, "x")), "their passwords would cross the network in clear; add tls_server_config, or listen on 127.0.0.1"},
		{"nonsense", "", "open the admin listener: listen tcp: address nonsense: missing port in address"},
	} {
		d, err := Open(test.address, Config{WebConfigFile: test.config}, slog.New(slog.DiscardHandler))
		if err == nil {
			_ = d.Close()
		}
		if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%v, want %q", err, test.want)
		}
		if err != nil && strings.Contains(err.Error(), "clear-text-password") {
			t.Errorf("the error repeats a secret: %v", err)
		}
	}
}

// A page that an operator has open in a browser can neither make it reload nor
// read through a name that is made to point to this machine; programs and the
// listener's own pages can.
func TestBrowsersAreNotMadeToAsk(t *testing.T) {
	s := serve(t, "127.0.0.1:0", "")
	for _, test := range []struct {
		name, method, path, host string
		header                   http.Header
		want                     int
	}{
		{"a program", "POST", "/verb", "", nil, 200},
		{"its own page", "POST", "/verb", "", http.Header{"Sec-Fetch-Site": {"same-origin"}, "Origin": {s.door.URL()}}, 200},
		{"another site", "POST", "/verb", "", http.Header{"Sec-Fetch-Site": {"cross-site"}}, 403},
		{"another port", "POST", "/verb", "", http.Header{"Sec-Fetch-Site": {"same-site"}}, 403},
		{"another site, an old browser", "POST", "/verb", "", http.Header{"Origin": {"https://evil.example.org"}}, 403},
		{"a picture that profiles", "GET", "/profile", "", http.Header{"Sec-Fetch-Site": {"cross-site"}}, 403},
		{"a link to read", "GET", "/read", "", http.Header{"Sec-Fetch-Site": {"cross-site"}}, 200},
		{"a name made to point here", "GET", "/read", "evil.example.org:9464", nil, 421},
		{"the same, with another port", "POST", "/verb", "evil.example.org", nil, 421},
		{"localhost", "GET", "/read", "localhost:9464", nil, 200},
		{"loopback of the other kind", "GET", "/read", "[::1]:9464", nil, 200},
		{"loopback without a port", "GET", "/read", "[::1]", nil, 200},
		{"a name that looks like it", "GET", "/read", "127.0.0.1.example.org", nil, 421},
	} {
		t.Run(test.name, func(t *testing.T) {
			req, err := http.NewRequestWithContext(t.Context(), test.method, s.door.URL()+test.path, nil)
			if err != nil {
				t.Fatal(err)
			}
			req.Host = test.host
			for k, v := range test.header {
				req.Header[k] = v
			}
			resp, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(req)
			if err != nil {
				t.Fatal(err)
			}
			_ = resp.Body.Close()
			if resp.StatusCode != test.want {
				t.Errorf("%s, want %d", resp.Status, test.want)
			}
		})
	}
}

// Headers and bodies are bounded.
func TestLargeRequests(t *testing.T) {
	s := serve(t, "127.0.0.1:0", "")
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	do := func(body io.Reader, header string) (*http.Response, error) {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.door.URL()+"/verb", body)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("X-Large", header)
		return client.Do(req)
	}
	resp, err := do(nil, strings.Repeat("x", 2*maxHeader))
	if err != nil {
		t.Fatal(err)
	}
	_ = resp.Body.Close()
	if resp.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("large headers: %s", resp.Status)
	}
	resp, err = do(strings.NewReader(strings.Repeat("x", 4*maxBody)), "")
	if err == nil {
		n, _ := io.Copy(io.Discard, resp.Body)
		_ = resp.Body.Close()
		if n > maxBody {
			t.Errorf("%d bytes of a body were read", n)
		}
	}
}

// Certificates and users that are replaced count from the next connection on,
// without a restart; a file that cannot be read lets nobody in.
func TestReplaced(t *testing.T) {
	h := newHouse(t)
	h.issue("server")
	config := h.write("web.yaml", withTLS+"}\n"+users(t, "old"))
	s := serve(t, "127.0.0.1:0", config)
	url := s.door.URL()
	ask := func(ca, password string) string {
		return s.ask(t, Access{URL: url, TLS: dial.TLS{CAFile: ca}, Username: "op", PasswordFile: h.write("p", password)}, "POST", "/verb")
	}
	if got := ask(h.path("ca.pem"), "old"); got != "200 OK" {
		t.Fatal(got)
	}
	h.write("web.yaml", withTLS+"}\n"+users(t, "new"))
	if got := ask(h.path("ca.pem"), "old"); !strings.HasPrefix(got, "the daemon does not take") {
		t.Errorf("the old password: %s", got)
	}
	if got := ask(h.path("ca.pem"), "new"); got != "200 OK" {
		t.Errorf("the new password: %s", got)
	}
	other := newHouse(t)
	other.issue("server")
	for _, name := range []string{"server.pem", "server.key"} {
		b, err := os.ReadFile(other.path(name))
		if err != nil {
			t.Fatal(err)
		}
		h.write(name, string(b))
	}
	if got := ask(h.path("ca.pem"), "new"); !strings.HasPrefix(got, "ask the daemon: ") {
		t.Errorf("the certificate that was replaced is still shown: %s", got)
	}
	if got := ask(other.path("ca.pem"), "new"); got != "200 OK" {
		t.Errorf("the new certificate: %s", got)
	}
	h.write("web.yaml", "basic_auth_users: secret-word")
	if got := ask(other.path("ca.pem"), "new"); got == "200 OK" {
		t.Error("whoever comes is let in while the file cannot be read")
	}
	if strings.Contains(s.log.String(), "secret-word") {
		t.Errorf("the log repeats the file: %s", s.log)
	}
}

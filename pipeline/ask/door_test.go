package ask

import (
	"bufio"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/weir-moderation/weir/pipeline/event"
	"github.com/weir-moderation/weir/pipeline/pipelinetest"
)

// Beyond this machine nobody is let in without a login, and none crosses the network in clear; what
// cannot be meant is refused.
func TestConfigRefuses(t *testing.T) {
	tls := TLS{CertFile: "c", KeyFile: "k"}
	for _, c := range []struct {
		change func(*Config)
		want   string // empty: fine
	}{
		{func(*Config) {}, ""},
		{func(c *Config) { c.Listen = "127.0.0.1:0" }, ""},
		{func(c *Config) { c.Listen = "[::1]:9470" }, ""},
		{func(c *Config) { c.Listen = "localhost:9470" }, ""},
		{func(c *Config) { c.Listen, c.TLS, c.TokenFiles = ":9470", tls, []string{"a", "b"} }, ""},
		{func(c *Config) {
			c.Listen, c.TLS = "0.0.0.0:9470", TLS{CertFile: "c", KeyFile: "k", ClientCAFile: "ca"}
		}, ""},
		{func(c *Config) { c.Listen = ":9470" }, "nobody would have to log in"},
		{func(c *Config) { c.Listen = "weir.example.org:9470" }, "nobody would have to log in"},
		{func(c *Config) { c.Listen, c.TLS = "0.0.0.0:9470", tls }, "nobody would have to log in"},
		{func(c *Config) { c.Listen, c.TokenFiles = "10.0.0.1:9470", []string{"a"} }, "would cross the network in clear"},
		{func(c *Config) { c.Listen = "9470" }, "write host:port"},
		{func(c *Config) { c.TokenFiles = []string{"a"} }, "listen: not set"},
		{func(c *Config) { c.TLS = tls }, "listen: not set"},
		{func(c *Config) { c.Listen, c.TLS = "127.0.0.1:1", TLS{CertFile: "c"} }, "give both or none"},
		{func(c *Config) { c.Listen, c.TLS = "127.0.0.1:1", TLS{ClientCAFile: "ca"} }, "tls.client_ca_file"},
		{func(c *Config) { c.Listen, c.TokenFiles = "127.0.0.1:1", []string{""} }, "token_files[0]: empty"},
		{func(c *Config) { c.MaxRequests = 0 }, "max_requests: 0"},
		{func(c *Config) { c.Deadline = time.Hour }, "deadline: 1h0m0s"},
	} {
		config := DefaultConfig()
		c.change(&config)
		err := config.Validate()
		if (err == nil) != (c.want == "") || err != nil && !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v: %v, want %q", config, err, c.want)
		}
		if c.want == "" || config.Listen == "" {
			continue
		}
		if s, err := Open(Options{Config: config, Events: event.DefaultConfig()}); err == nil {
			t.Errorf("%+v: it listens", config)
			_ = s.Close()
		}
	}
}

// Any of the tokens lets in, nothing else does, and one that was replaced in its file does not any more.
func TestTokens(t *testing.T) {
	dir := t.TempDir()
	file := func(name, token string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(token+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	old, other, fresh := rand.Text(), rand.Text(), rand.Text()
	c := patient()
	c.TokenFiles = []string{file("a", old), file("b", other)}
	s := new(pipelinetest.Sink)
	w := start(t, c, s)
	ask := func(header ...string) got {
		r := w.request(t, post("p", "terriblestuff"))
		r.Header["Authorization"] = header
		return w.send(t, r)
	}
	for _, header := range []string{"Bearer " + old, "bearer " + other} {
		if g := ask(header); g.status != 200 {
			t.Errorf("%d %s", g.status, g.body)
		}
	}
	n := len(s.Entries())
	for _, headers := range [][]string{nil, {"Bearer"}, {"Bearer "}, {"Bearer " + old[1:]}, {"Bearer " + old + "x"}, {"Bearer " + strings.ToLower(old)}, {"Bearer " + fresh}, {"Basic " + old}, {old}, {"Bearer " + old, "Bearer " + old}} {
		g := ask(headers...)
		if g.status != 401 || g.said["type"] != "urn:weir:problem:unauthorized" || !strings.HasPrefix(g.header.Get("WWW-Authenticate"), "Bearer") {
			t.Errorf("%q: %d %s", headers, g.status, g.body)
		}
		for _, token := range []string{old, other} {
			if strings.Contains(string(g.body), token) {
				t.Errorf("the answer tells a token: %s", g.body)
			}
		}
	}
	if len(s.Entries()) != n {
		t.Error("who was not let in has left something behind")
	}
	file("a", fresh)
	await := func(token string, status int) {
		t.Helper()
		for deadline := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
			if g := ask("Bearer " + token); g.status == status {
				return
			}
			if time.Now().After(deadline) {
				t.Fatalf("no %d in a minute", status)
			}
		}
	}
	await(fresh, 200)
	await(old, 401)
	await(other, 200)
	// While a file is being replaced, what it held counts.
	if err := os.Remove(filepath.Join(dir, "a")); err != nil {
		t.Fatal(err)
	}
	w.server.door.tokens.read = time.Time{}
	if g := ask("Bearer " + fresh); g.status != 200 {
		t.Errorf("without its file: %d", g.status)
	}
	for _, f := range []string{file("short", "secret"), file("empty", ""), filepath.Join(dir, "none")} {
		c.TokenFiles = []string{f}
		c.Listen = "127.0.0.1:0"
		if s, err := Open(Options{Config: c, Events: event.DefaultConfig()}); err == nil || !strings.Contains(err.Error(), "api.token_files[0]") {
			t.Errorf("%s: %v", f, err)
			if err == nil {
				_ = s.Close()
			}
		}
	}
}

// authority signs certificates for 127.0.0.1.
type authority struct {
	t    *testing.T
	dir  string
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

func newAuthority(t *testing.T, name string) *authority {
	a := &authority{t: t, dir: t.TempDir()}
	a.cert, a.key = a.issue(name, &x509.Certificate{IsCA: true, BasicConstraintsValid: true, KeyUsage: x509.KeyUsageCertSign})
	return a
}

// issue writes NAME.pem and NAME.key.
func (a *authority) issue(name string, c *x509.Certificate) (*x509.Certificate, *ecdsa.PrivateKey) {
	a.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		a.t.Fatal(err)
	}
	c.SerialNumber, c.Subject = big.NewInt(time.Now().UnixNano()), pkix.Name{CommonName: name}
	c.NotBefore, c.NotAfter = time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	c.IPAddresses = []net.IP{net.IPv4(127, 0, 0, 1)}
	parent, by := a.cert, a.key
	if parent == nil {
		parent, by = c, key
	}
	der, err := x509.CreateCertificate(rand.Reader, c, parent, key.Public(), by)
	if err != nil {
		a.t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		a.t.Fatal(err)
	}
	for file, block := range map[string]*pem.Block{name + ".pem": {Type: "CERTIFICATE", Bytes: der}, name + ".key": {Type: "PRIVATE KEY", Bytes: private}} {
		if err := os.WriteFile(a.path(file), pem.EncodeToMemory(block), 0o600); err != nil {
			a.t.Fatal(err)
		}
	}
	signed, err := x509.ParseCertificate(der)
	if err != nil {
		a.t.Fatal(err)
	}
	return signed, key
}

func (a *authority) path(name string) string { return filepath.Join(a.dir, name) }

// client returns one that trusts an authority and shows a certificate of another, if any.
func (a *authority) client(of *authority, name string) *http.Client {
	a.t.Helper()
	c := &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: x509.NewCertPool()}
	c.RootCAs.AddCert(a.cert)
	if of != nil {
		pair, err := tls.LoadX509KeyPair(of.path(name+".pem"), of.path(name+".key"))
		if err != nil {
			a.t.Fatal(err)
		}
		c.Certificates = []tls.Certificate{pair}
	}
	return &http.Client{Transport: &http.Transport{TLSClientConfig: c, DisableKeepAlives: true}}
}

// Where clients must show a certificate, only who has one of our authority comes as far as a request; a certificate that
// is replaced counts from the next connection on.
func TestCertificates(t *testing.T) {
	ours, stranger := newAuthority(t, "ca"), newAuthority(t, "ca")
	usage := []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth}
	for _, name := range []string{"server", "next", "client"} {
		ours.issue(name, &x509.Certificate{ExtKeyUsage: usage})
	}
	stranger.issue("client", &x509.Certificate{ExtKeyUsage: usage})
	c := patient()
	c.TLS = TLS{CertFile: ours.path("server.pem"), KeyFile: ours.path("server.key"), ClientCAFile: ours.path("ca.pem")}
	w := start(t, c, new(pipelinetest.Sink))
	if !strings.HasPrefix(w.server.URL(), "https://") {
		t.Errorf("it is at %s", w.server.URL())
	}
	shown := func() string {
		w.client = ours.client(ours, "client")
		r := w.request(t, post("p", "terriblestuff"))
		resp, err := w.client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		_ = resp.Body.Close()
		if resp.StatusCode != 200 {
			t.Errorf("%s", resp.Status)
		}
		return resp.TLS.PeerCertificates[0].Subject.CommonName
	}
	if name := shown(); name != "server" {
		t.Errorf("it shows %s", name)
	}
	for name, client := range map[string]*http.Client{"none": ours.client(nil, ""), "a stranger's": ours.client(stranger, "client")} {
		resp, err := client.Do(w.request(t, post("p", "harmless")))
		if err == nil {
			_ = resp.Body.Close()
			t.Errorf("%s certificate: %s", name, resp.Status)
		}
	}
	// Half of it first: what it held counts until both fit together.
	for _, ext := range []string{"key", "pem"} {
		b, err := os.ReadFile(ours.path("next." + ext))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(ours.path("server."+ext), b, 0o600); err != nil {
			t.Fatal(err)
		}
		want := map[string]string{"key": "server", "pem": "next"}[ext]
		if name := shown(); name != want {
			t.Errorf("after %s it shows %s, want %s", ext, name, want)
		}
	}
}

// Who sends headers or a body slowly is not waited for, and holds no place for long.
func TestSlowClients(t *testing.T) {
	w := start(t, patient(), new(pipelinetest.Sink))
	address := w.server.listener.Addr().String()
	for name, sent := range map[string]string{
		"headers": "POST /v1/judge HTTP/1.1\r\nHost: 127.0.0.1\r\nX-A: ",
		"body":    "POST /v1/judge HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{\"id\":",
		"many":    "POST /v1/judge HTTP/1.1\r\nHost: 127.0.0.1\r\nX-A: " + strings.Repeat("x", 64<<10),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			conn, err := net.Dial("tcp", address)
			if err != nil {
				t.Fatal(err)
			}
			defer func() { _ = conn.Close() }()
			if _, err := fmt.Fprint(conn, sent); err != nil {
				t.Fatal(err)
			}
			if err := conn.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
				t.Fatal(err)
			}
			in := bufio.NewReader(conn)
			for {
				line, err := in.ReadString('\n')
				if strings.HasPrefix(line, "HTTP/1.1 2") {
					t.Errorf("an answer: %s", line)
				}
				if err != nil {
					if errors.Is(err, os.ErrDeadlineExceeded) {
						t.Error("the connection stays for a minute")
					}
					break
				}
			}
		})
	}
	t.Cleanup(func() {
		if n := len(w.server.slots); n != 0 {
			t.Errorf("%d places are taken", n)
		}
	})
}

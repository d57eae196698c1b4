package anchor

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/weir-moderation/weir/sinks/evidence"
)

// authority is a time-stamp authority made of openssl.
type authority struct {
	t   *testing.T
	dir string
	url string
	// mangle changes an answer, where a test wants that.
	mangle func(reply []byte) []byte
}

func (a *authority) openssl(args ...string) []byte {
	a.t.Helper()
	cmd := exec.CommandContext(a.t.Context(), "openssl", args...)
	cmd.Dir = a.dir
	out, err := cmd.CombinedOutput()
	if err != nil {
		a.t.Fatalf("openssl %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

// newAuthority makes a root, and a certificate for time-stamps that comes from it
// through another one, with keys of a kind.
func newAuthority(t *testing.T, key []string, hash string) *authority {
	t.Helper()
	if _, err := exec.LookPath("openssl"); err != nil {
		t.Skip("openssl is not installed, and no other authority is at hand")
	}
	a := &authority{t: t, dir: t.TempDir()}
	write := func(name, text string) {
		if err := os.WriteFile(filepath.Join(a.dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("ca.ext", "basicConstraints=critical,CA:TRUE\n")
	write("tsa.ext", "extendedKeyUsage=critical,timeStamping\n")
	write("web.ext", "extendedKeyUsage=serverAuth\n")
	write("serial", "01\n")
	write("tsa.cnf", fmt.Sprintf(`[tsa]
default_tsa = it
[it]
serial = serial
default_policy = 1.2.3.4.1
digests = sha256, sha384, sha512
signer_digest = %s
accuracy = secs:1, millisecs:500
ordering = yes
tsa_name = yes
ess_cert_id_chain = no
ess_cert_id_alg = sha256
`, hash))
	made := func(name, ext, by string) {
		a.openssl(append([]string{"genpkey", "-out", name + ".key"}, key...)...)
		a.openssl("req", "-new", "-key", name+".key", "-subj", "/CN=test "+name, "-out", name+".csr")
		sign := []string{"x509", "-req", "-in", name + ".csr", "-days", "30", "-extfile", ext, "-out", name + ".pem"}
		if by == "" {
			sign = append(sign, "-signkey", name+".key")
		} else {
			sign = append(sign, "-CA", by+".pem", "-CAkey", by+".key", "-CAcreateserial")
		}
		a.openssl(sign...)
	}
	made("root", "ca.ext", "")
	made("middle", "ca.ext", "root")
	made("tsa", "tsa.ext", "middle")
	made("web", "web.ext", "middle")
	server := httptest.NewServer(http.HandlerFunc(a.serve))
	t.Cleanup(server.Close)
	a.url = server.URL
	return a
}

// serve answers a query with openssl ts.
func (a *authority) serve(w http.ResponseWriter, r *http.Request) {
	query, err := io.ReadAll(r.Body)
	if err == nil {
		err = os.WriteFile(filepath.Join(a.dir, "query.tsq"), query, 0o600)
	}
	if err != nil || r.Header.Get("Content-Type") != "application/timestamp-query" {
		a.t.Errorf("%v: query of type %s", err, r.Header.Get("Content-Type"))
		return
	}
	a.openssl("ts", "-reply", "-config", "tsa.cnf", "-queryfile", "query.tsq", "-inkey", "tsa.key", "-signer", "tsa.pem", "-chain", "middle.pem", "-out", "reply.tsr")
	reply, err := os.ReadFile(filepath.Join(a.dir, "reply.tsr"))
	if err != nil {
		a.t.Error(err)
	}
	if a.mangle != nil {
		reply = a.mangle(reply)
	}
	w.Header().Set("Content-Type", "application/timestamp-reply")
	_, _ = w.Write(reply)
}

func (a *authority) stamper(l *evidence.Log) *Stamper {
	a.t.Helper()
	s, err := NewStamper(TimestampConfig{URL: a.url, CAFile: filepath.Join(a.dir, "root.pem"), Every: time.Hour}, l, slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	if err != nil {
		a.t.Fatal(err)
	}
	return s
}

func (a *authority) roots(name string) *x509.CertPool {
	a.t.Helper()
	pem, err := os.ReadFile(filepath.Join(a.dir, name))
	if err != nil {
		a.t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(pem)
	return pool
}

// A head is stamped at the start; the token on record is one that openssl, which
// knows nothing of Weir, takes, and it is over the head that stands beside it.
func TestTimestamp(t *testing.T) {
	for _, tt := range []struct {
		name string
		key  []string
		hash string
	}{
		{"RSA", []string{"-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"}, "sha256"},
		{"ECDSA", []string{"-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"}, "sha512"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			a := newAuthority(t, tt.key, tt.hash)
			l := open(t, evidence.Options{Origin: origin("a")})
			l.grow(t, 2)
			s := a.stamper(l.Log)
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan error, 1)
			go func() { done <- s.Run(ctx) }()
			eventually(t, "a time-stamp", func() bool { return len(records(t, l.dir, evidence.KindTimestamp)) > 0 })
			cancel()
			if err := <-done; err != nil {
				t.Fatal(err)
			}
			var b TimestampBody
			if err := json.Unmarshal([]byte(records(t, l.dir, evidence.KindTimestamp)[0]), &b); err != nil {
				t.Fatal(err)
			}
			at, err := CheckToken(b.Token, []byte(b.Checkpoint), a.roots("root.pem"))
			if err != nil || at.UTC().Format(time.RFC3339Nano) != b.Time || time.Since(at).Abs() > time.Hour || b.Policy != "1.2.3.4.1" || b.Serial == "" {
				t.Errorf("%v: %v, body %+v", err, at, b)
			}
			if _, err := evidence.ParseCheckpoint([]byte(b.Checkpoint), l.VerifierKey()); err != nil {
				t.Error(err)
			}
			for name, data := range map[string][]byte{"head": []byte(b.Checkpoint), "token": b.Token} {
				if err := os.WriteFile(filepath.Join(a.dir, name), data, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			out := a.openssl("ts", "-verify", "-data", "head", "-in", "token", "-token_in", "-CAfile", "root.pem", "-untrusted", "middle.pem")
			if !bytes.Contains(out, []byte("OK")) {
				t.Errorf("openssl: %s", out)
			}
		})
	}
}

// A token over something else, of another authority, with another certificate, of
// another question, or with one byte changed is none.
func TestTimestampThatIsNone(t *testing.T) {
	a := newAuthority(t, []string{"-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"}, "sha256")
	l := open(t, evidence.Options{Origin: origin("a")})
	l.grow(t, 1)
	s := a.stamper(l.Log)
	msg := l.Checkpoint()
	body, err := s.stamp(t.Context(), msg)
	if err != nil {
		t.Fatal(err)
	}
	roots := a.roots("root.pem")
	if _, err := CheckToken(body.Token, append(msg, '\n'), roots); err == nil || !strings.Contains(err.Error(), "over something else") {
		t.Errorf("over other bytes: %v", err)
	}
	if _, err := CheckToken(body.Token, msg, a.roots("web.pem")); err == nil || !strings.Contains(err.Error(), "its certificate") {
		t.Errorf("from another root: %v", err)
	}
	if _, err := CheckToken(body.Token, msg, roots); err != nil {
		t.Errorf("the token itself: %v", err)
	}
	taken := 0
	for i := range body.Token {
		changed := bytes.Clone(body.Token)
		changed[i] ^= 1
		if at, err := CheckToken(changed, msg, roots); err == nil {
			// What is not signed and says nothing may differ: the encoding of versions and certificates that nobody asks.
			if taken++; at.UTC().Format(time.RFC3339Nano) != body.Time {
				t.Errorf("with byte %d changed it is of another time", i)
			}
		}
	}
	if taken > len(body.Token)/2 {
		t.Errorf("%d of %d bytes can be changed", taken, len(body.Token))
	}

	first, err := os.ReadFile(filepath.Join(a.dir, "reply.tsr"))
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name   string
		mangle func([]byte) []byte
		want   string
	}{
		{"an earlier answer", func([]byte) []byte { return first }, "another question"},
		{"nothing", func([]byte) []byte { return nil }, "not the DER"},
		{"more than an answer", func(b []byte) []byte { return append(b, 0) }, "behind its end"},
		{"a refusal", func([]byte) []byte { return []byte{0x30, 0x05, 0x30, 0x03, 0x02, 0x01, 0x02} }, "refuses with status 2"},
	} {
		a.mangle = tt.mangle
		if _, err := s.stamp(t.Context(), msg); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %s", tt.name, err, tt.want)
		}
	}
	a.mangle = nil
	broken := httptest.NewServer(http.NotFoundHandler())
	defer broken.Close()
	s.url = broken.URL
	if _, err := s.stamp(t.Context(), msg); err == nil || !strings.Contains(err.Error(), "status 404") {
		t.Errorf("no authority: %v", err)
	}
	if _, err := NewStamper(TimestampConfig{CAFile: filepath.Join(a.dir, "serial")}, l.Log, nil, nil); err == nil {
		t.Error("a file without certificates was taken")
	}
	if _, err := NewStamper(TimestampConfig{CAFile: filepath.Join(a.dir, "nowhere")}, l.Log, nil, nil); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("no file: %v", err)
	}
}

package dial_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/weir-moderation/weir/internal/dial"
)

// pair writes a certificate of its own signing for 127.0.0.1, and its key.
func pair(t *testing.T, dir, name string, end time.Time) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: end, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}}
	der, err := x509.CreateCertificate(rand.Reader, c, c, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, name+".pem"), pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}))
	write(t, filepath.Join(dir, name+".key"), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: private}))
}

func write(t *testing.T, path string, b []byte) {
	t.Helper()
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

func replace(t *testing.T, from, to string) {
	t.Helper()
	b, err := os.ReadFile(from)
	if err != nil {
		t.Fatal(err)
	}
	write(t, to, b)
}

// A certificate, an authority and a secret that are replaced count from the next
// connection on; while a file cannot be used, what it held last does.
func TestReplaced(t *testing.T) {
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	soon := time.Now().Add(time.Hour)
	for _, name := range []string{"server1", "server2", "client1", "client2"} {
		pair(t, dir, name, soon)
	}
	replace(t, at("server1.pem"), at("ca.pem"))
	replace(t, at("client1.pem"), at("client.pem"))
	replace(t, at("client1.key"), at("client.key"))

	var serves tls.Certificate
	present := func(name string) {
		var err error
		if serves, err = tls.LoadX509KeyPair(at(name+".pem"), at(name+".key")); err != nil {
			t.Fatal(err)
		}
	}
	present("server1")
	h, err := (&dial.TLS{Enabled: true, CAFile: at("ca.pem"), CertFile: at("client.pem"), KeyFile: at("client.key")}).Handshake("tls")
	if err != nil {
		t.Fatal(err)
	}
	// connect returns the name of the certificate that we showed.
	connect := func() (string, error) {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = l.Close() }()
		shown := make(chan string, 1)
		go func() {
			defer close(shown)
			conn, err := l.Accept()
			if err != nil {
				return
			}
			s := tls.Server(conn, &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{serves}, ClientAuth: tls.RequireAnyClientCert})
			if s.HandshakeContext(context.Background()) == nil {
				shown <- s.ConnectionState().PeerCertificates[0].Subject.CommonName
			}
			_ = s.Close()
		}()
		conn, err := net.Dial("tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		c, err := h.Client(t.Context(), conn, l.Addr().String())
		if err != nil {
			<-shown
			return "", err
		}
		name := <-shown
		_ = c.Close()
		return name, nil
	}
	want := func(name string, fine bool) {
		t.Helper()
		if got, err := connect(); got != name || (err == nil) != fine {
			t.Errorf("we show %q, %v; want %q", got, err, name)
		}
	}
	want("client1", true)
	replace(t, at("client2.pem"), at("client.pem")) // half done: the key is not its own
	want("client1", true)
	replace(t, at("client2.key"), at("client.key"))
	want("client2", true)
	present("server2")
	want("", false)
	replace(t, at("server2.pem"), at("ca.pem"))
	want("client2", true)
	if err := os.Remove(at("ca.pem")); err != nil {
		t.Fatal(err)
	}
	want("client2", true)

	write(t, at("password"), []byte("one\n"))
	s, err := dial.OpenSecret("p", at("password"))
	if err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct{ file, want string }{{"two\n", "two"}, {"", "two"}, {strings.Repeat("x", 1<<17), "two"}, {"three", "three"}} {
		write(t, at("password"), []byte(step.file))
		if got := s.Value(); got != step.want {
			t.Errorf("%.9q, want %q", got, step.want)
		}
	}
	if got := fmt.Sprintf("%v %+v %#v %s", s, s, s, s); strings.Contains(got, "three") {
		t.Errorf("a secret prints itself: %s", got)
	}
}

// What a file of a setting is worth: when its certificates end, whether it can be
// used, who else may read it.
func TestFile(t *testing.T) {
	dir := t.TempDir()
	soon, late := time.Now().Add(time.Hour).Truncate(time.Second), time.Now().Add(24*time.Hour).Truncate(time.Second)
	pair(t, dir, "soon", soon)
	pair(t, dir, "late", late)
	first, err := os.ReadFile(filepath.Join(dir, "late.pem"))
	if err != nil {
		t.Fatal(err)
	}
	second, err := os.ReadFile(filepath.Join(dir, "soon.pem"))
	if err != nil {
		t.Fatal(err)
	}
	both := filepath.Join(dir, "both.pem")
	write(t, both, append(first, second...))
	for kind, want := range map[dial.Kind]time.Time{dial.Authorities: late, dial.Certificate: soon} {
		f := dial.File{Setting: "tls.x", Path: both, Kind: kind}
		if got, err := f.NotAfter(); !got.Equal(want) || err != nil || f.Usable() != nil {
			t.Errorf("kind %d ends %v, %v; want %v", kind, got, err, want)
		}
	}
	for _, f := range []dial.File{
		{Setting: "tls.x", Path: filepath.Join(dir, "none")},
		{Setting: "tls.x", Path: filepath.Join(dir, "none"), Kind: dial.Private},
		{Setting: "tls.x", Path: filepath.Join(dir, "soon.key"), Kind: dial.Certificate},
	} {
		if err := f.Usable(); err == nil || !strings.HasPrefix(err.Error(), "tls.x: ") {
			t.Errorf("%+v: %v", f, err)
		}
	}
	private := dial.File{Setting: "tls.key_file", Path: filepath.Join(dir, "soon.key"), Kind: dial.Private}
	for mode, told := range map[os.FileMode]bool{0o600: false, 0o640: false, 0o644: true, 0o602: true} {
		if err := os.Chmod(private.Path, mode); err != nil {
			t.Fatal(err)
		}
		if got := private.Exposed(); (got != "") != told {
			t.Errorf("mode %o: %q", mode, got)
		}
	}
}

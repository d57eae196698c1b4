package dial_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/weir-moderation/weir/internal/dial"
)

// Settings that contradict each other are refused at their place.
func TestTLSRefusals(t *testing.T) {
	for _, c := range []struct {
		tls  dial.TLS
		want string // empty: fine
	}{
		{dial.TLS{}, ""},
		{dial.TLS{Enabled: true, CAFile: "ca.pem"}, ""},
		{dial.TLS{CAFile: "ca.pem"}, "redis.tls.enabled: not set"},
		{dial.TLS{Enabled: true, CertFile: "c"}, "redis.tls.key_file: empty, but redis.tls.cert_file is set"},
		{dial.TLS{Enabled: true, KeyFile: "k"}, "redis.tls.cert_file: empty, but redis.tls.key_file is set"},
	} {
		err := c.tls.Validate("redis.tls")
		if (err == nil) != (c.want == "") || err != nil && !strings.HasPrefix(err.Error(), c.want) {
			t.Errorf("%+v: %v, want %q", c.tls, err, c.want)
		}
	}
}

// Files that cannot be used are refused at the place that names them.
func TestFilesThatCannotBeUsed(t *testing.T) {
	dir := t.TempDir()
	file := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	for _, c := range []struct {
		tls  dial.TLS
		want string
	}{
		{dial.TLS{Enabled: true, CAFile: filepath.Join(dir, "none")}, "tls.ca_file: "},
		{dial.TLS{Enabled: true, CAFile: file("ca", "nonsense")}, "tls.ca_file: no certificate in it"},
		{dial.TLS{Enabled: true, CertFile: file("c", "x"), KeyFile: file("k", "x")}, "tls.cert_file: "},
	} {
		if _, err := c.tls.Handshake("tls"); err == nil || !strings.HasPrefix(err.Error(), c.want) {
			t.Errorf("%+v: %v, want %q", c.tls, err, c.want)
		}
	}
	if got, err := (&dial.TLS{CAFile: "none"}).Handshake("tls"); got != nil || err != nil {
		t.Errorf("TLS that is off: %v, %v; want neither", got, err)
	}
	good, err := dial.OpenSecret("p", file("good", "secret\r\n"))
	if err != nil || good.Value() != "secret" {
		t.Errorf("password %q, %v", good.Value(), err)
	}
	for _, f := range []string{file("empty", "\n"), filepath.Join(dir, "none")} {
		if _, err := dial.OpenSecret("sasl.password_file", f); err == nil || !strings.HasPrefix(err.Error(), "sasl.password_file: ") {
			t.Errorf("%s: %v", f, err)
		}
	}
}

// An address has a host and a port.
func TestIsHostPort(t *testing.T) {
	for s, want := range map[string]bool{
		"kafka-1:9092": true, "[::1]:6379": true, "127.0.0.1:1": true,
		"": false, "kafka": false, ":9092": false, "kafka:": false, "kafka:0": false, "kafka:65536": false, "kafka:http": false,
	} {
		if got := dial.IsHostPort(s); got != want {
			t.Errorf("%q: %v, want %v", s, got, want)
		}
	}
}

// Only what needs no name server to be known for this machine is.
func TestIsLoopback(t *testing.T) {
	for s, want := range map[string]bool{
		"localhost": true, "localhost:9092": true, "127.0.0.1": true, "127.8.0.1:1": true, "::1": true, "[::1]": true, "[::1]:6379": true, "::ffff:127.0.0.1": true,
		"": false, "[]": false, ":9464": false, "0.0.0.0": false, "[::]:9464": false, "localhost.example.org": false, "10.0.0.1:9092": false, "[localhost": false, "127.0.0.1.example.org:80": false,
	} {
		if got := dial.IsLoopback(s); got != want {
			t.Errorf("%q: %v, want %v", s, got, want)
		}
	}
}

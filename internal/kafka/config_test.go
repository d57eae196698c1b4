package kafka

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/weir-moderation/weir/internal/dial"
)

// Every mistake in the section is told at once, with the field and what would
// be right; and the defaults are none.
func TestConfigValidate(t *testing.T) {
	c := DefaultConfig()
	if err := c.Validate(); err != nil {
		t.Errorf("defaults: %v", err)
	}
	for _, test := range []struct {
		name   string
		change func(c *Config)
		want   []string
	}{
		{"nobody to ask", func(c *Config) { c.Brokers = nil }, []string{"brokers: none given; name at least one host:port"}},
		{"no port", func(c *Config) { c.Brokers = []string{"a:9092", "b", ":1", "c:0", "d:x"} }, []string{"brokers[1]: ", "brokers[2]: ", "brokers[3]: ", "brokers[4]: "}},
		{"no name", func(c *Config) { c.ClientID = "" }, []string{"client_id: empty"}},
		{"tls not enabled", func(c *Config) { c.TLS.CAFile = "ca.pem" }, []string{"tls.enabled: not set"}},
		{"half a certificate", func(c *Config) { c.TLS = dial.TLS{Enabled: true, CertFile: "c"} }, []string{"tls.key_file: empty"}},
		{"the other half", func(c *Config) { c.TLS = dial.TLS{Enabled: true, KeyFile: "k"} }, []string{"tls.cert_file: empty"}},
		{"login without mechanism", func(c *Config) { c.SASL.Username = "u" }, []string{"sasl.mechanism: empty"}},
		{"unknown mechanism", func(c *Config) { c.SASL.Mechanism = "gssapi" }, []string{`sasl.mechanism: "gssapi" is not known; use plain, scram-sha-256, scram-sha-512 or oauthbearer`}},
		{"nobody to log in", func(c *Config) { c.SASL.Mechanism = "plain" }, []string{"sasl.username: empty", "sasl.password_file: empty"}},
		{"all at once", func(c *Config) { *c = Config{SASL: SASL{Mechanism: "x"}} }, []string{"brokers: ", "client_id: ", "sasl.mechanism: "}},
	} {
		c := DefaultConfig()
		test.change(&c)
		err := c.Validate()
		if err == nil {
			t.Errorf("%s: accepted", test.name)
			continue
		}
		lines := strings.Split(err.Error(), "\n")
		if len(lines) != len(test.want) {
			t.Errorf("%s: %q", test.name, lines)
			continue
		}
		for i, w := range test.want {
			if !strings.HasPrefix(lines[i], w) {
				t.Errorf("%s: %q, want %q", test.name, lines[i], w)
			}
		}
	}
}

// Files that cannot be used are named by their field, and a password is never
// repeated.
func TestConfigFiles(t *testing.T) {
	dir := t.TempDir()
	file := func(name, content string) string {
		p := filepath.Join(dir, name)
		if err := os.WriteFile(p, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return p
	}
	for _, test := range []struct {
		name string
		c    Config
		want string
	}{
		{"no authority file", Config{TLS: dial.TLS{Enabled: true, CAFile: filepath.Join(dir, "none")}}, "tls.ca_file: "},
		{"no authority in it", Config{TLS: dial.TLS{Enabled: true, CAFile: file("ca", "nonsense")}}, "tls.ca_file: no certificate in it"},
		{"no certificate", Config{TLS: dial.TLS{Enabled: true, CertFile: file("c", "x"), KeyFile: file("k", "x")}}, "tls.cert_file: "},
		{"no password file", Config{SASL: SASL{Mechanism: "plain", Username: "u", PasswordFile: filepath.Join(dir, "none")}}, "sasl.password_file: "},
		{"empty password", Config{SASL: SASL{Mechanism: "scram-sha-256", Username: "u", PasswordFile: file("p", "\n")}}, "sasl.password_file: the file is empty"},
	} {
		test.c.Brokers, test.c.ClientID = []string{"127.0.0.1:1"}, "weir"
		_, err := NewClient(test.c, Options{})
		if err == nil || !strings.HasPrefix(err.Error(), test.want) {
			t.Errorf("%s: %v, want %q", test.name, err, test.want)
		}
	}
}

package push

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/google/go-cmp/cmp"

	"github.com/weir-moderation/weir/internal/dial"
	"github.com/weir-moderation/weir/internal/strictyaml"
)

// write puts a file into a folder of its own and returns its path.
func write(t testing.TB, name, content string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(file, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// Everything wrong with the section is said at once, each after the path of its field.
func TestValidate(t *testing.T) {
	good := DefaultConfig()
	good.PseudonymKeyFile = "pseudonym.key"
	if err := good.Validate(); err != nil {
		t.Error(err)
	}
	src := `
redis:
  addrs: [localhost, "h:99999", "127.0.0.1:6379"]
  db: 3
  username: weir
  tls: {cert_file: a.pem}
`
	c := DefaultConfig()
	if _, err := strictyaml.Decode("push", []byte(src), &c); err != nil {
		t.Fatal(err)
	}
	want := `pseudonym_key_file: none given; users have no names in Redis without a key; make one with: head -c 32 /dev/urandom > pseudonym.key && chmod 600 pseudonym.key
redis.addrs[0]: "localhost" is not host:port; write it like redis-1.example.org:6379
redis.addrs[1]: "h:99999" is not host:port; write it like redis-1.example.org:6379
redis.db: a cluster has only database 0; take the line out
redis.password_file: empty, but redis.username is set; name the file that holds the password
redis.tls.enabled: not set, but other fields of tls are; set it to true or remove them
redis.tls.key_file: empty, but redis.tls.cert_file is set; give both or none`
	if diff := cmp.Diff(want, c.Validate().Error()); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	for change, want := range map[string]func(*Config){
		"redis.addrs: none given":         func(c *Config) { c.Redis.Addrs = nil },
		"redis.db: -1 is no database":     func(c *Config) { c.Redis.DB = -1 },
		"redis.db: a cluster has only":    func(c *Config) { c.Redis.Cluster, c.Redis.DB = true, 1 },
		"redis.tls.cert_file: empty, but": func(c *Config) { c.Redis.TLS = dial.TLS{Enabled: true, KeyFile: "k"} },
	} {
		c := good
		want(&c)
		if err := c.Validate(); err == nil || !strings.HasPrefix(err.Error(), change) {
			t.Errorf("%v, want it to begin %q", err, change)
		}
	}
}

// A store is not made of files that are missing, too short or empty, and the
// message says how to make the right ones.
func TestSecretsComeFromFiles(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*Config)
		want   string
	}{
		{"no key", func(c *Config) { c.PseudonymKeyFile = "nowhere.key" }, "push.pseudonym_key_file: open nowhere.key: no such file or directory; make one with: head -c 32 /dev/urandom > pseudonym.key"},
		{"short key", func(c *Config) { c.PseudonymKeyFile = write(t, "short.key", strings.Repeat("s", 31)) }, "short.key has 31 bytes, a key needs 32 or more; make one with"},
		{"a folder", func(c *Config) { c.PseudonymKeyFile = t.TempDir() }, "push.pseudonym_key_file: "},
		{"nothing set", func(c *Config) { c.PseudonymKeyFile = "" }, "push: pseudonym_key_file: none given"},
		{"no password", func(c *Config) { c.Redis.PasswordFile = "nowhere" }, "push.redis.password_file: open nowhere"},
		{"empty password", func(c *Config) { c.Redis.PasswordFile = write(t, "empty", "\r\n") }, "push.redis.password_file: the file is empty; it must hold the password"},
		{"no authorities", func(c *Config) { c.Redis.TLS = dial.TLS{Enabled: true, CAFile: "nowhere"} }, "push.redis.tls.ca_file: open nowhere"},
		{"no certificate", func(c *Config) { c.Redis.TLS = dial.TLS{Enabled: true, CAFile: write(t, "ca", "x")} }, "push.redis.tls.ca_file: no certificate in it"},
		{"no own certificate", func(c *Config) { c.Redis.TLS = dial.TLS{Enabled: true, CertFile: "nowhere", KeyFile: "nowhere"} }, "push.redis.tls.cert_file: open nowhere"},
	} {
		config := configFor(t, "127.0.0.1:1")
		c.change(&config)
		s, err := NewStore(Options{Config: config})
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want it to say %q", c.name, err, c.want)
		}
		if s != nil {
			t.Errorf("%s: there is a store", c.name)
		}
	}
}

// A user's name in Redis stays the same as long as the key does: these are of
// the key 0123456789abcdef0123456789abcdef.
func TestPseudonymsStay(t *testing.T) {
	p, err := readPseudonyms(write(t, "key", "0123456789abcdef0123456789abcdef"))
	if err != nil {
		t.Fatal(err)
	}
	if u, m := p.user([]byte("u-0042")), p.push([]byte("u-0042")); u != "TyeOY38AXs1e0k0y" || m != 9493964563223866896 || p.id != "92ffef4c" {
		t.Errorf("user %q, push %d, key %q", u, m, p.id)
	}
	if logKey("x") != "pg:{x}:q" || profileKey("x") != "pg:{x}:c" {
		t.Error(logKey("x"), profileKey("x"))
	}
}

// Connections are encrypted when the configuration says so, and only to a Redis
// whose certificate an authority of ours has signed.
func TestTLS(t *testing.T) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "redis"}, NotAfter: time.Now().Add(time.Hour),
		DNSNames: []string{"redis.test"}, IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	m := miniredis.NewMiniRedis()
	if err := m.StartTLS(&tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}, MinVersion: tls.VersionTLS12}); err != nil {
		t.Fatal(err)
	}
	defer m.Close()
	ca := write(t, "ca.pem", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})))
	for _, c := range []struct {
		name string
		tls  dial.TLS
		ok   bool
	}{
		{"with its authority", dial.TLS{Enabled: true, CAFile: ca}, true},
		{"with its authority and a name", dial.TLS{Enabled: true, CAFile: ca, ServerName: "redis.test"}, true},
		{"with another name", dial.TLS{Enabled: true, CAFile: ca, ServerName: "kafka.test"}, false},
		{"with the system's authorities", dial.TLS{Enabled: true}, false},
		{"without encryption", dial.TLS{}, false},
	} {
		config := configFor(t, m.Addr())
		config.Redis.TLS = c.tls
		_, err := storeFor(t, config).Decide(t.Context(), loadPolicy(t, shippedPolicy), noon, []Request{pushTo("u", "1", "service")})
		if (err == nil) != c.ok {
			t.Errorf("%s: %v", c.name, err)
		}
	}
}

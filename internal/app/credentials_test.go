package app

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/weir-moderation/weir/internal/config"
)

// The end of each certificate is on metrics, and which file cannot be used; files
// that others may read are told.
func TestCredentials(t *testing.T) {
	dir := t.TempDir()
	authority, err := os.ReadFile("testdata/ends-2040.pem")
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"ca.pem": string(authority), "password": "secret"} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	c := config.Default()
	c.Kafka.TLS.CAFile, c.Kafka.SASL.PasswordFile = filepath.Join(dir, "ca.pem"), filepath.Join(dir, "password")
	c.Push.Redis.PasswordFile = filepath.Join(dir, "none")
	reg := prometheus.NewPedanticRegistry()
	reg.MustRegister(&credentials{&daemon{cfg: &c}})
	if err := testutil.GatherAndCompare(reg, strings.NewReader(`
# HELP weir_credential_file_usable 1 if the file of a setting with a certificate or a secret can be read and used, 0 if not: then what it held last is used.
# TYPE weir_credential_file_usable gauge
weir_credential_file_usable{setting="kafka.sasl.password_file"} 1
weir_credential_file_usable{setting="kafka.tls.ca_file"} 1
weir_credential_file_usable{setting="push.redis.password_file"} 0
# HELP weir_tls_certificate_not_after_timestamp_seconds When the certificates in the file of a setting end: of a chain the first, of authorities the last.
# TYPE weir_tls_certificate_not_after_timestamp_seconds gauge
weir_tls_certificate_not_after_timestamp_seconds{setting="kafka.tls.ca_file"} 2.2229856e+09
`)); err != nil {
		t.Error(err)
	}
	if problems, err := testutil.GatherAndLint(reg); err != nil || len(problems) > 0 {
		t.Errorf("%v, %v", problems, err)
	}
	if got := Exposed(&c); len(got) > 0 {
		t.Errorf("told of files that nobody else may read: %q", got)
	}
	if err := os.Chmod(c.Kafka.SASL.PasswordFile, 0o644); err != nil {
		t.Fatal(err)
	}
	if got := Exposed(&c); len(got) != 1 || !strings.HasPrefix(got[0], "kafka.sasl.password_file: everybody") {
		t.Errorf("told of a file that everybody may read: %q", got)
	}
}

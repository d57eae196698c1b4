package kafka

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"

	"github.com/weir-moderation/weir/internal/dial"

	"github.com/weir-moderation/weir/internal/kafka/produce"
)

// certificate makes a certificate that has signed itself, and the file that
// names it as an authority.
func certificate(t *testing.T, host string) (*tls.Config, string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: host}, IsCA: true, BasicConstraintsValid: true,
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		DNSNames: []string{host}, KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
	}
	der, err := x509.CreateCertificate(rand.Reader, c, c, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "ca.pem")
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return &tls.Config{Certificates: []tls.Certificate{{Certificate: [][]byte{der}, PrivateKey: key}}}, file
}

func secret(t *testing.T, s string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(file, []byte(s+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// Whatever keeps us from the brokers is said in words that name the setting to
// change; and with the right settings everything works, through every login.
func TestPreflight(t *testing.T) {
	t.Parallel()
	server, ca := certificate(t, "kafka.example.org")
	cluster := func(opts ...kfake.Opt) string {
		c, err := kfake.NewCluster(append([]kfake.Opt{kfake.NumBrokers(1), kfake.SeedTopics(1, "topic")}, opts...)...)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(c.Close)
		return c.ListenAddrs()[0]
	}
	users := []kfake.Opt{
		kfake.EnableSASL(), kfake.Superuser("PLAIN", "plain", "secret"),
		kfake.Superuser("SCRAM-SHA-256", "s256", "secret"), kfake.Superuser("SCRAM-SHA-512", "s512", "secret"),
	}
	open := cluster()
	encrypted := cluster(kfake.TLS(server))
	guarded := cluster(users...)
	both := cluster(append(users, kfake.TLS(server))...)
	trust := dial.TLS{Enabled: true, CAFile: ca, ServerName: "kafka.example.org"}

	mute, err := net.Listen("tcp", "127.0.0.1:0") // accepts and says nothing
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = mute.Close() })
	rude, err := net.Listen("tcp", "127.0.0.1:0") // hangs up
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = rude.Close() })
	go func() {
		for {
			c, err := rude.Accept()
			if err != nil {
				return
			}
			_, _ = io.CopyN(io.Discard, c, 4)
			_ = c.Close()
		}
	}()

	for _, test := range []struct {
		name   string
		broker string
		tls    dial.TLS
		sasl   SASL
		want   string // empty: works
	}{
		{"open", open, dial.TLS{}, SASL{}, ""},
		{"TLS", encrypted, trust, SASL{}, ""},
		{"PLAIN", guarded, dial.TLS{}, SASL{Mechanism: "plain", Username: "plain", PasswordFile: secret(t, "secret")}, ""},
		{"SCRAM-SHA-256 over TLS", both, trust, SASL{Mechanism: "scram-sha-256", Username: "s256", PasswordFile: secret(t, "secret")}, ""},
		{"SCRAM-SHA-512 over TLS", both, trust, SASL{Mechanism: "scram-sha-512", Username: "s512", PasswordFile: secret(t, "secret")}, ""},

		{"nobody there", "127.0.0.1:1", dial.TLS{}, SASL{}, "nobody listens there"},
		{"no such host", "kafka.invalid:9092", dial.TLS{}, SASL{}, "its name cannot be resolved"},
		{"unknown authority", encrypted, dial.TLS{Enabled: true, ServerName: "kafka.example.org"}, SASL{}, "name the authority in tls.ca_file"},
		{"wrong name", encrypted, dial.TLS{Enabled: true, CAFile: ca}, SASL{}, "set tls.server_name"},
		{"TLS to a plain port", open, trust, SASL{}, "tls.enabled"},
		{"plain to a TLS port", encrypted, dial.TLS{}, SASL{}, "it may want TLS (tls.enabled) or a login (sasl)"},
		{"no login", guarded, dial.TLS{}, SASL{}, "a login (sasl)"},
		{"wrong password", guarded, dial.TLS{}, SASL{Mechanism: "plain", Username: "plain", PasswordFile: secret(t, "wrong")}, "wrong user name or password"},
		{"wrong SCRAM password", both, trust, SASL{Mechanism: "scram-sha-512", Username: "s512", PasswordFile: secret(t, "wrong")}, "wrong user name or password"},
		{"unknown user", both, trust, SASL{Mechanism: "scram-sha-256", Username: "nobody", PasswordFile: secret(t, "secret")}, "wrong user name or password"},
		{"hangs up", rude.Addr().String(), dial.TLS{}, SASL{}, "it closed the connection"},
		{"says nothing", mute.Addr().String(), dial.TLS{}, SASL{}, "no answer"},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			c, err := NewClient(Config{Brokers: []string{test.broker}, ClientID: "weir", TLS: test.tls, SASL: test.sasl}, Options{})
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			err = c.Preflight(ctx)
			if test.want != "" {
				if err == nil || !strings.Contains(err.Error(), test.want) {
					t.Fatalf("%v, want %q", err, test.want)
				}
				if strings.Contains(err.Error(), "secret") || strings.Contains(err.Error(), "wrong\n") {
					t.Errorf("a password is in the error: %v", err)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			topics, err := c.Topics(ctx, "topic", "none")
			if err != nil || topics[0].Err != nil || len(topics[0].Leaders) != 1 || !errors.Is(topics[1].Err, ErrNoTopic) {
				t.Errorf("topics %v, %v", topics, err)
			}
			p := c.NewProducer(produce.Options{Topics: []string{"topic"}})
			if err := p.Produce(ctx, []produce.Message{{Topic: "topic", Value: []byte("x")}}); err != nil {
				t.Errorf("produce: %v", err)
			}
			e := &env{t: t, addrs: []string{test.broker}, client: c}
			m := e.start(c, quick(unique("g"), "topic"))
			m.reach("topic", 0, 1)
			if err := m.stop(); err != nil {
				t.Error(err)
			}
		})
	}
	// The first broker that answers is enough.
	c, err := NewClient(Config{Brokers: []string{"127.0.0.1:1", open}, ClientID: "weir"}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	if err := c.Preflight(t.Context()); err != nil {
		t.Error(err)
	}
}

package kafka

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/segmentio/kafka-go/sasl"

	"github.com/weir-moderation/weir/internal/dial"
	"github.com/weir-moderation/weir/internal/kafka/produce"
	"github.com/weir-moderation/weir/internal/kafka/wire"
)

// realTLS returns an address of a real broker's listener and the folder with the
// certificates that scripts/kafka/kafkactl has made for it.
func realTLS(t *testing.T, variable string) (addrs []string, file func(name string) string) {
	t.Helper()
	addr, dir := os.Getenv(variable), os.Getenv("WEIR_TEST_KAFKA_TLS")
	if addr == "" || dir == "" {
		t.Skip(variable + " and WEIR_TEST_KAFKA_TLS are not set")
	}
	return strings.Split(addr, ","), func(name string) string { return filepath.Join(dir, name) }
}

// token is an unsecured one, as Kafka takes them in tests, that ends after a time.
func token(t *testing.T, life time.Duration) string {
	t.Helper()
	now := time.Now()
	claims, err := json.Marshal(map[string]any{"sub": "weir", "iat": now.Add(-time.Hour).Unix(), "exp": now.Add(life).Unix()})
	if err != nil {
		t.Fatal(err)
	}
	return base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none"}`)) + "." + base64.RawURLEncoding.EncodeToString(claims) + "."
}

// bearerFile is a login by a token in a file.
func bearerFile(t *testing.T, token string) SASL {
	return SASL{Mechanism: "oauthbearer", OAuth: OAuth{TokenFile: secret(t, token)}}
}

// reachable fails the test unless a client can write and read.
func reachable(t *testing.T, c *Client) {
	t.Helper()
	e := &env{t: t, client: c}
	topic := unique("t")
	if err := c.CreateTopics(e.context(), NewTopic{Name: topic, Partitions: 1}); err != nil {
		t.Fatal(err)
	}
	p := c.NewProducer(produce.Options{Topics: []string{topic}})
	e.eventually("the topic to take a message", func() bool {
		return p.Produce(e.context(), []produce.Message{{Topic: topic, Value: []byte("x")}}) == nil
	})
	m := e.start(c, quick(unique("g"), topic))
	m.reach(topic, 0, 1)
	if err := m.stop(); err != nil {
		t.Error(err)
	}
}

// Against a real broker: every login works, and what is wrong is said in clear
// words. scripts/kafka/kafkactl starts one with KAFKA_SASL=1.
func TestLoginAtRealBroker(t *testing.T) {
	addrs, file := realTLS(t, "WEIR_TEST_KAFKA_SASL")
	trust := dial.TLS{Enabled: true, CAFile: file("ca.pem")}
	for _, test := range []struct {
		name string
		tls  dial.TLS
		sasl SASL
		want string
	}{
		{"SCRAM-SHA-512", trust, SASL{Mechanism: "scram-sha-512", Username: "user", PasswordFile: secret(t, "secret")}, ""},
		{"SCRAM-SHA-256", trust, SASL{Mechanism: "scram-sha-256", Username: "user", PasswordFile: secret(t, "secret")}, ""},
		{"PLAIN", trust, SASL{Mechanism: "plain", Username: "plain", PasswordFile: secret(t, "plain-secret")}, ""},
		{"OAUTHBEARER", trust, bearerFile(t, token(t, time.Hour)), ""},
		{"wrong SCRAM password", trust, SASL{Mechanism: "scram-sha-512", Username: "user", PasswordFile: secret(t, "wrong")}, "wrong user name or password"},
		{"wrong PLAIN password", trust, SASL{Mechanism: "plain", Username: "plain", PasswordFile: secret(t, "wrong")}, "wrong user name or password"},
		{"unknown user", trust, SASL{Mechanism: "scram-sha-256", Username: "nobody", PasswordFile: secret(t, "secret")}, "wrong user name or password"},
		{"a token that has ended", trust, bearerFile(t, token(t, -time.Minute)), "it does not take the token; see sasl.oauth"},
		{"no token", trust, bearerFile(t, "nonsense"), "it does not take the token; see sasl.oauth"},
		{"no login", trust, SASL{}, "it may want a login (sasl)"},
		{"no TLS", dial.TLS{}, SASL{}, "it may want TLS (tls.enabled)"},
		{"unknown authority", dial.TLS{Enabled: true}, SASL{}, "name the authority in tls.ca_file"},
	} {
		t.Run(test.name, func(t *testing.T) {
			c, err := NewClient(Config{Brokers: addrs, ClientID: "weir", TLS: test.tls, SASL: test.sasl}, Options{})
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			err = c.Preflight((&env{t: t, client: c}).context())
			if test.want != "" {
				if err == nil || !strings.Contains(err.Error(), test.want) {
					t.Errorf("%v, want %q", err, test.want)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			reachable(t, c)
		})
	}
}

// Certificates against a real broker: its own that ended, or is for another name,
// or of an authority that is not ours; and ours, which it wants.
func TestCertificatesAtRealBroker(t *testing.T) {
	_, file := realTLS(t, "WEIR_TEST_KAFKA_MTLS")
	_, other := certificate(t, "127.0.0.1")
	ca := file("ca.pem")
	for _, test := range []struct {
		name, variable string
		tls            dial.TLS
		want           string
	}{
		{"ours", "WEIR_TEST_KAFKA_MTLS", dial.TLS{Enabled: true, CAFile: ca, CertFile: file("client.pem"), KeyFile: file("client.key")}, ""},
		{"none of ours", "WEIR_TEST_KAFKA_MTLS", dial.TLS{Enabled: true, CAFile: ca}, "it may want a certificate of ours, or another, see tls.cert_file"},
		{"one of ours that has ended", "WEIR_TEST_KAFKA_MTLS", dial.TLS{Enabled: true, CAFile: ca, CertFile: file("expired.pem"), KeyFile: file("expired.key")}, "it refused our side of TLS"},
		{"another authority", "WEIR_TEST_KAFKA_MTLS", dial.TLS{Enabled: true, CAFile: other}, "its certificate is signed by an authority we do not know; name the authority in tls.ca_file"},
		{"its own has ended", "WEIR_TEST_KAFKA_EXPIRED", dial.TLS{Enabled: true, CAFile: ca}, "its certificate has ended or not begun"},
		{"its own is for another name", "WEIR_TEST_KAFKA_OTHERNAME", dial.TLS{Enabled: true, CAFile: ca}, "its certificate is for another name; set tls.server_name to the right one"},
		{"another name that is told", "WEIR_TEST_KAFKA_OTHERNAME", dial.TLS{Enabled: true, CAFile: ca, ServerName: "kafka.example.org"}, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			addrs, _ := realTLS(t, test.variable)
			c, err := NewClient(Config{Brokers: addrs, ClientID: "weir", TLS: test.tls}, Options{})
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			err = c.Preflight((&env{t: t, client: c}).context())
			if test.want == "" && err == nil {
				reachable(t, c)
			} else if test.want == "" || err == nil || !strings.Contains(err.Error(), test.want) {
				t.Errorf("%v, want %q", err, test.want)
			}
		})
	}
}

// A broker that lets a login live for two seconds closes connections, and what is
// written goes on: with the token, and the password, that its file has by then.
func TestLoginsEndAtRealBroker(t *testing.T) {
	addrs, file := realTLS(t, "WEIR_TEST_KAFKA_SASL")
	login := bearerFile(t, token(t, time.Hour))
	c, err := NewClient(Config{Brokers: addrs, ClientID: "weir", TLS: dial.TLS{Enabled: true, CAFile: file("ca.pem")}, SASL: login}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	// Each login is counted on its way.
	logins := new(atomic.Int32)
	inner := c.dialer.SASLMechanism
	c.dialer.SASLMechanism = &counted{inner, logins}
	e := &env{t: t, client: c}
	topic := unique("t")
	if err := c.CreateTopics(e.context(), NewTopic{Name: topic, Partitions: 1}); err != nil {
		t.Fatal(err)
	}
	p := c.NewProducer(produce.Options{Topics: []string{topic}})
	e.eventually("the topic to take a message", func() bool {
		return p.Produce(e.context(), []produce.Message{{Topic: topic, Value: []byte("first")}}) == nil
	})
	begun, sent := logins.Load(), 1
	for logins.Load() < begun+3 {
		if err := os.WriteFile(login.OAuth.TokenFile, []byte(token(t, time.Hour)), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := p.Produce(e.context(), []produce.Message{{Topic: topic, Value: []byte("x")}}); err != nil {
			t.Fatalf("message %d: %v", sent, err)
		}
		sent++
	}
	tr := c.transport([]string{topic})
	defer c.release(tr)
	end, err := c.offsetOf(e.context(), tr, wire.ToLeader(topic, 0), topic, 0, logEnd, false)
	if err != nil || end != int64(sent) {
		t.Errorf("the topic has %d messages, %v; %d were written", end, err, sent)
	}
}

// counted counts logins.
type counted struct {
	sasl.Mechanism
	count *atomic.Int32
}

func (l *counted) Start(ctx context.Context) (sasl.StateMachine, []byte, error) {
	l.count.Add(1)
	return l.Mechanism.Start(ctx)
}

package kafka

import (
	"os"
	"strings"
	"testing"

	"github.com/weir-moderation/weir/internal/dial"

	"github.com/weir-moderation/weir/internal/kafka/produce"
)

// Against a real broker: every login works, and what is wrong is said in clear
// words. scripts/kafka/kafkactl starts one with KAFKA_SASL=1; its sasl-addr goes
// into WEIR_TEST_KAFKA_SASL, its ca.pem into WEIR_TEST_KAFKA_CA.
func TestLoginAtRealBroker(t *testing.T) {
	addr, ca := os.Getenv("WEIR_TEST_KAFKA_SASL"), os.Getenv("WEIR_TEST_KAFKA_CA")
	if addr == "" || ca == "" {
		t.Skip("WEIR_TEST_KAFKA_SASL and WEIR_TEST_KAFKA_CA are not set")
	}
	trust := dial.TLS{Enabled: true, CAFile: ca}
	for _, test := range []struct {
		name string
		tls  dial.TLS
		sasl SASL
		want string
	}{
		{"SCRAM-SHA-512", trust, SASL{Mechanism: "scram-sha-512", Username: "user", PasswordFile: secret(t, "secret")}, ""},
		{"SCRAM-SHA-256", trust, SASL{Mechanism: "scram-sha-256", Username: "user", PasswordFile: secret(t, "secret")}, ""},
		{"PLAIN", trust, SASL{Mechanism: "plain", Username: "plain", PasswordFile: secret(t, "plain-secret")}, ""},
		{"wrong SCRAM password", trust, SASL{Mechanism: "scram-sha-512", Username: "user", PasswordFile: secret(t, "wrong")}, "wrong user name or password"},
		{"wrong PLAIN password", trust, SASL{Mechanism: "plain", Username: "plain", PasswordFile: secret(t, "wrong")}, "wrong user name or password"},
		{"unknown user", trust, SASL{Mechanism: "scram-sha-256", Username: "nobody", PasswordFile: secret(t, "secret")}, "wrong user name or password"},
		{"no login", trust, SASL{}, "it may want a login (sasl)"},
		{"no TLS", dial.TLS{}, SASL{}, "it may want TLS (tls.enabled)"},
		{"unknown authority", dial.TLS{Enabled: true}, SASL{}, "name the authority in tls.ca_file"},
	} {
		t.Run(test.name, func(t *testing.T) {
			c, err := NewClient(Config{Brokers: strings.Split(addr, ","), ClientID: "weir", TLS: test.tls, SASL: test.sasl}, Options{})
			if err != nil {
				t.Fatal(err)
			}
			defer c.Close()
			e := &env{t: t, client: c}
			err = c.Preflight(e.context())
			if test.want != "" {
				if err == nil || !strings.Contains(err.Error(), test.want) {
					t.Errorf("%v, want %q", err, test.want)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
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
		})
	}
}

package kafka

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"syscall"
	"time"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/segmentio/kafka-go/protocol"

	"github.com/weir-moderation/weir/internal/kafka/wire"
)

// Preflight connects to the configured brokers, one after another, until one
// answers, and says in clear words what is wrong if none does: kafka-go's
// transport reports a wrong password, a certificate nobody trusts and a
// plaintext port all as "topic not found".
func (c *Client) Preflight(ctx context.Context) error {
	var errs []error
	for _, b := range c.config.Brokers {
		err := c.preflight(ctx, b)
		if err == nil {
			return nil
		}
		if ctx.Err() != nil {
			return ctx.Err()
		}
		errs = append(errs, fmt.Errorf("broker %s: %w", b, err))
	}
	return errors.Join(errs...)
}

func (c *Client) preflight(ctx context.Context, broker string) error {
	conn, err := c.dialer.DialContext(ctx, "tcp", broker)
	if err != nil {
		return c.explain(err)
	}
	err = conn.SetDeadline(time.Now().Add(requestTimeout))
	var versions []kafkago.ApiVersion
	if err == nil {
		versions, err = conn.ApiVersions()
	}
	if err == nil {
		_, err = conn.Brokers() // a broker that wants a login answers ApiVersions, but nothing else
	}
	if closeErr := conn.Close(); err == nil {
		err = closeErr
	}
	if err != nil {
		return c.explain(err)
	}
	for _, a := range wire.Needed() {
		if !speaks(versions, a) {
			return fmt.Errorf("does not speak version %d of %s; Kafka 2.5 or newer is needed", a.Version, a.Name)
		}
	}
	return nil
}

func speaks(versions []kafkago.ApiVersion, a wire.API) bool {
	for _, v := range versions {
		if protocol.ApiKey(v.ApiKey) == a.Key {
			return v.MinVersion <= a.Version && a.Version <= v.MaxVersion
		}
	}
	return false
}

// explain turns what a connection died of into what is wrong and what would be right.
func (c *Client) explain(err error) error {
	var (
		authority x509.UnknownAuthorityError
		host      x509.HostnameError
		invalid   x509.CertificateInvalidError
		record    tls.RecordHeaderError
		remote    *net.OpError
		token     *tokenError
		dns       *net.DNSError
		timeout   interface{ Timeout() bool }
	)
	switch {
	case errors.As(err, &authority):
		return fmt.Errorf("its certificate is signed by an authority we do not know; name the authority in tls.ca_file (%w)", authority)
	case errors.As(err, &host):
		return fmt.Errorf("its certificate is for another name; set tls.server_name to the right one (%w)", host)
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return fmt.Errorf("its certificate has ended or not begun, or this machine's clock is wrong; the broker needs a new one (%w)", invalid)
	case errors.As(err, &invalid):
		return fmt.Errorf("its certificate is not valid (%w)", invalid)
	case errors.As(err, &record):
		return errors.New("it does not speak TLS on this port; use its TLS port or set tls.enabled to false")
	case errors.As(err, &remote) && remote.Op == "remote error": // an alert; crypto/tls has no better name for it
		return fmt.Errorf("it refused our side of TLS; it may want a certificate of ours, or another, see tls.cert_file (%w)", remote)
	case errors.As(err, &token):
		return token
	case errors.Is(err, errToken), errors.Is(err, kafkago.SASLAuthenticationFailed) && c.config.SASL.Mechanism == "oauthbearer":
		return errors.New("login refused: it does not take the token; see sasl.oauth: has it ended, is it for these brokers (scope, audience)?")
	case errors.Is(err, kafkago.SASLAuthenticationFailed):
		return errors.New("login refused: wrong user name or password, see sasl.username and sasl.password_file")
	case errors.Is(err, kafkago.UnsupportedSASLMechanism):
		return fmt.Errorf("it does not offer the login %q; set sasl.mechanism to one it has", c.config.SASL.Mechanism)
	case errors.Is(err, kafkago.IllegalSASLState):
		return errors.New("it takes no login on this port; use its SASL port or leave out the section sasl")
	case errors.As(err, &dns):
		return fmt.Errorf("its name cannot be resolved (%w)", dns)
	case errors.Is(err, syscall.ECONNREFUSED):
		return errors.New("nobody listens there; is it the right port, and is the broker running?")
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE), strings.Contains(err.Error(), "EOF"):
		return errors.New(c.closedOnUs())
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, context.DeadlineExceeded), errors.As(err, &timeout) && timeout.Timeout():
		if c.config.TLS.Enabled {
			return errors.New("no answer; is it a Kafka broker that speaks TLS on this port (tls.enabled), and not frozen?")
		}
		return errors.New("no answer; is it a Kafka broker, and not frozen?")
	}
	return err
}

// closedOnUs guesses why a broker hangs up without a word.
func (c *Client) closedOnUs() string {
	t, s := c.config.TLS.Enabled, c.config.SASL.Mechanism != ""
	switch {
	case !t && !s:
		return "it closed the connection; it may want TLS (tls.enabled) or a login (sasl)"
	case !t:
		return "it closed the connection; it may want TLS (tls.enabled), or no login on this port"
	case !s:
		return "it closed the connection; it may want a login (sasl), or no TLS on this port"
	}
	return "it closed the connection during the login; it may offer no login, or no TLS, on this port"
}

package kafka

import (
	"context"
	"crypto/rand"
	"crypto/sha256"
	"crypto/sha512"
	"errors"
	"fmt"

	"github.com/segmentio/kafka-go/sasl"
	"github.com/segmentio/kafka-go/sasl/plain"

	"github.com/weir-moderation/weir/internal/dial"
)

// login is a mechanism made anew for each connection, with what its files hold
// then: who replaces a password need not restart anything.
type login struct {
	name string
	make func(ctx context.Context) (sasl.Mechanism, error)
}

// Name returns the mechanism's name.
func (l *login) Name() string { return l.name }

// Start begins a login.
func (l *login) Start(ctx context.Context) (sasl.StateMachine, []byte, error) {
	m, err := l.make(ctx)
	if err != nil {
		return nil, nil, err
	}
	return m.Start(ctx)
}

// mechanism reads the files and returns the login, nil for none.
func (c *SASL) mechanism() (sasl.Mechanism, error) {
	if c.Mechanism == "" {
		return nil, nil
	}
	if c.Mechanism == "oauthbearer" {
		token, err := c.OAuth.open("sasl.oauth")
		if err != nil {
			return nil, err
		}
		return &login{"OAUTHBEARER", func(ctx context.Context) (sasl.Mechanism, error) {
			t, err := token(ctx)
			return &bearer{token: t, extensions: c.OAuth.Extensions}, err
		}}, nil
	}
	password, err := dial.OpenSecret("sasl.password_file", c.PasswordFile)
	if err != nil {
		return nil, err
	}
	switch c.Mechanism {
	case "plain":
		return &login{"PLAIN", func(context.Context) (sasl.Mechanism, error) {
			return plain.Mechanism{Username: c.Username, Password: password.Value()}, nil
		}}, nil
	case "scram-sha-256":
		return &login{"SCRAM-SHA-256", func(context.Context) (sasl.Mechanism, error) {
			return &scram{"SCRAM-SHA-256", sha256.New, c.Username, password.Value(), rand.Text}, nil
		}}, nil
	case "scram-sha-512":
		return &login{"SCRAM-SHA-512", func(context.Context) (sasl.Mechanism, error) {
			return &scram{"SCRAM-SHA-512", sha512.New, c.Username, password.Value(), rand.Text}, nil
		}}, nil
	}
	return nil, fmt.Errorf("sasl.mechanism: %q is not known", c.Mechanism)
}

// bearer logs in by a token (SASL OAUTHBEARER, RFC 7628).
type bearer struct {
	token      string
	extensions string // name=value,... as brokers of some providers want them
}

// Name returns the mechanism's name.
func (*bearer) Name() string { return "OAUTHBEARER" }

// Start sends the token.
func (b *bearer) Start(context.Context) (sasl.StateMachine, []byte, error) {
	message := "n,,\x01auth=Bearer " + b.token + "\x01"
	for _, e := range splitList(b.extensions) {
		message += e + "\x01"
	}
	return b, []byte(message + "\x01"), nil
}

// errToken is the answer to a token that a broker did not take.
var errToken = errors.New("the broker did not take the token")

// Next looks at the answer. An empty one is the end of a login that went well; any
// other says, for machines, why not: it may repeat what is in the token, so it is
// kept from errors.
func (*bearer) Next(_ context.Context, challenge []byte) (bool, []byte, error) {
	if len(challenge) > 0 {
		return false, nil, errToken
	}
	return true, nil, nil
}

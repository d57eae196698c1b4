package kafka

import (
	"context"
	"crypto/hmac"
	"crypto/pbkdf2"
	"encoding/base64"
	"errors"
	"fmt"
	"hash"
	"strconv"
	"strings"

	"github.com/segmentio/kafka-go/sasl"
)

// scram logs in by SCRAM (RFC 5802, RFC 7677): neither side ever sends the
// password, and the broker proves that it knows us, too. Like Kafka's own
// clients and brokers it takes names and passwords as UTF-8 bytes and does not
// normalise them.
type scram struct {
	name               string
	hash               func() hash.Hash
	username, password string
	nonce              func() string
}

// Iterations of the key derivation that a broker may ask for. Fewer would make
// the password easy to guess from what was recorded, more would stop us.
const (
	minIterations = 4096
	maxIterations = 1_000_000
)

// Name returns the mechanism's name.
func (s *scram) Name() string { return s.name }

// Start begins a login.
func (s *scram) Start(context.Context) (sasl.StateMachine, []byte, error) {
	user := strings.NewReplacer("=", "=3D", ",", "=2C").Replace(s.username)
	l := &scramLogin{scram: s, nonce: s.nonce()}
	l.first = "n=" + user + ",r=" + l.nonce
	return l, []byte("n,," + l.first), nil
}

// scramLogin is one login under way.
type scramLogin struct {
	*scram
	nonce     string
	first     string
	signature []byte // what the broker must answer in the end
}

// Next answers what the broker said.
func (l *scramLogin) Next(_ context.Context, challenge []byte) (bool, []byte, error) {
	if l.signature == nil {
		answer, err := l.prove(string(challenge))
		return false, answer, err
	}
	return true, nil, l.verify(string(challenge))
}

// prove makes the proof that we know the password.
func (l *scramLogin) prove(challenge string) ([]byte, error) {
	nonce, okNonce := attribute(challenge, 0, "r=")
	salt64, okSalt := attribute(challenge, 1, "s=")
	count, okCount := attribute(challenge, 2, "i=")
	salt, err := base64.StdEncoding.DecodeString(salt64)
	if !okNonce || !okSalt || !okCount || err != nil {
		return nil, errors.New("the broker's SCRAM challenge is malformed")
	}
	if !strings.HasPrefix(nonce, l.nonce) || len(nonce) == len(l.nonce) {
		return nil, errors.New("the broker's SCRAM challenge is not an answer to ours")
	}
	iterations, err := strconv.Atoi(count)
	if err != nil || iterations < minIterations || iterations > maxIterations {
		return nil, fmt.Errorf("the broker asks for %q SCRAM iterations; %d to %d are allowed", count, minIterations, maxIterations)
	}
	salted, err := pbkdf2.Key(l.hash, l.password, salt, iterations, l.hash().Size())
	if err != nil {
		return nil, fmt.Errorf("derive SCRAM key: %w", err)
	}
	clientKey := l.mac(salted, "Client Key")
	h := l.hash()
	h.Write(clientKey)
	storedKey := h.Sum(nil)
	final := "c=" + base64.StdEncoding.EncodeToString([]byte("n,,")) + ",r=" + nonce
	message := l.first + "," + challenge + "," + final
	proof := l.mac(storedKey, message)
	for i := range proof {
		proof[i] ^= clientKey[i]
	}
	l.signature = l.mac(l.mac(salted, "Server Key"), message)
	return []byte(final + ",p=" + base64.StdEncoding.EncodeToString(proof)), nil
}

// verify checks the broker's own proof.
func (l *scramLogin) verify(answer string) error {
	v64, ok := attribute(answer, 0, "v=")
	if !ok {
		return errors.New("the broker refused the login: wrong user name or password")
	}
	v, err := base64.StdEncoding.DecodeString(v64)
	if err != nil || !hmac.Equal(v, l.signature) {
		return errors.New("the broker does not know our password: it is not the one it claims to be")
	}
	return nil
}

func (l *scramLogin) mac(key []byte, message string) []byte {
	m := hmac.New(l.hash, key)
	m.Write([]byte(message))
	return m.Sum(nil)
}

// attribute returns the value of the i-th attribute of a SCRAM message, which
// must have the given name.
func attribute(message string, i int, name string) (string, bool) {
	for ; i > 0; i-- {
		_, rest, ok := strings.Cut(message, ",")
		if !ok {
			return "", false
		}
		message = rest
	}
	value, _, _ := strings.Cut(message, ",")
	return strings.CutPrefix(value, name)
}

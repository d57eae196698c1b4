// Package wire is how Weir's own Kafka messages look on a connection: requests
// are written with a [Writer], answers read with a [Reader], and a [Call] is one
// of both.
//
// They travel over kafka-go's connections as raw exchanges: it dials, logs in,
// pools and routes; we write the request and read the answer. What this package
// is not: it opens no connection and knows no deadline but those it is given.
//
// The one thing to know: each message has one version, the newest that every
// broker from Kafka 2.5 to 4.x speaks and, where there is a choice, the newest
// without tagged fields.
package wire

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/segmentio/kafka-go/protocol"
)

// Timeout is how long a broker may take to answer, beside the time it was asked
// to wait. A frozen broker accepts connections and never answers, so every
// request has a deadline of its own.
const Timeout = 3 * time.Second

// RoundTrip sends a message to the broker it names and returns the answer, or an
// error when limit has passed. It may be called by many goroutines.
type RoundTrip func(ctx context.Context, limit time.Duration, m protocol.Message) (protocol.Message, error)

// API is a message in the version we speak.
type API struct {
	Key     protocol.ApiKey
	Version int16
	Name    string
	// Flexible says that the version has tagged fields: the heads of request and
	// answer have them, too.
	Flexible bool
}

// correlation is the id of every request. A connection has one request under
// way at a time, so one id is enough to notice an answer to something else.
const correlation = 7

// MaxAnswer is the largest answer to anything but a fetch.
const MaxAnswer = 16 << 20

// ErrClosed is returned by everything a closed client is asked to do.
var ErrClosed = errors.New("the kafka client is closed")

// ErrShort says that an answer ends early.
var ErrShort = errors.New("the answer ends early")

// Deadliner is what a connection can do beside reading and writing.
type Deadliner interface {
	SetReadDeadline(time.Time) error
}

// Exchange sends a request and reads the length of the answer's body, which must not
// be above limit.
func Exchange(rw io.ReadWriter, request []byte, limit int) (int, error) {
	if _, err := rw.Write(request); err != nil {
		return 0, err
	}
	var h [8]byte
	if _, err := io.ReadFull(rw, h[:]); err != nil {
		return 0, err
	}
	n := int64(binary.BigEndian.Uint32(h[:])) - 4
	switch {
	case n < 0:
		return 0, ErrShort
	case n > int64(limit):
		return 0, &TooLargeError{Size: n, Limit: int64(limit)}
	case binary.BigEndian.Uint32(h[4:]) != correlation:
		return 0, errors.New("the answer is to another request")
	}
	return int(n), nil
}

// TooLargeError is an answer larger than its limit.
type TooLargeError struct{ Size, Limit int64 }

// Error says by how much.
func (e *TooLargeError) Error() string {
	return fmt.Sprintf("a broker's answer of %d bytes is larger than the limit of %d", e.Size, e.Limit)
}

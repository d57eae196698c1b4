package wire

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/segmentio/kafka-go/protocol"
)

// A connection that gets to a request only when its caller has given up sends what
// was asked, not what the caller has come to since.
func TestCallGivenUp(t *testing.T) {
	var late *Call
	send := RoundTrip(func(_ context.Context, _ time.Duration, m protocol.Message) (protocol.Message, error) {
		late = m.(*Call)
		return nil, context.Canceled
	})
	member := "asked"
	_, err := send.Ask(t.Context(), time.Second, "weir", &Call{API: Heartbeat, Body: func(w *Writer) { w.Str(member) }})
	if !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	member = "since"
	var sent bytes.Buffer
	_, err = late.RawExchange(struct {
		io.Reader
		io.Writer
	}{strings.NewReader(""), &sent})
	if !errors.Is(err, io.EOF) {
		t.Errorf("got %v, want %v: nobody answers", err, io.EOF)
	}
	var want Writer
	want.Begin(Heartbeat, "weir")
	want.Str("asked")
	if !bytes.Equal(sent.Bytes(), want.Finish()) {
		t.Errorf("sent %q, want %q", sent.Bytes(), want.B)
	}
}

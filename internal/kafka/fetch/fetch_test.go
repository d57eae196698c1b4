package fetch

import (
	"bytes"
	"encoding/binary"
	"errors"
	"io"
	"testing"
	"time"

	kafkago "github.com/segmentio/kafka-go"

	"github.com/weir-moderation/weir/internal/kafka/wire"
)

// script is a connection that answers with given bytes and notes the deadlines
// it is given.
type script struct {
	request   bytes.Buffer
	answer    io.Reader
	deadlines []time.Duration
}

func (s *script) Read(b []byte) (int, error)  { return s.answer.Read(b) }
func (s *script) Write(b []byte) (int, error) { return s.request.Write(b) }
func (s *script) SetReadDeadline(t time.Time) error {
	s.deadlines = append(s.deadlines, time.Until(t))
	return nil
}

// answerOf frames the body of an answer.
func answerOf(body []byte) io.Reader {
	b := binary.BigEndian.AppendUint32(nil, uint32(len(body)+4))
	b = binary.BigEndian.AppendUint32(b, 7)
	return bytes.NewReader(append(b, body...))
}

func aFetch() *Request {
	return &Request{Client: "weir", Wait: 250 * time.Millisecond, Limit: 8 << 20, Buffers: new(Buffers), Parts: []Part{{Topic: "t", Partition: 3, Offset: 7, MaxBytes: 1}}}
}

// A fetch is given the time it asks the broker to wait and a request's deadline;
// after that every further mebibyte has a deadline of its own.
func TestFetchDeadlines(t *testing.T) {
	s := &script{answer: answerOf(make([]byte, 3<<20))}
	if _, err := aFetch().RawExchange(s); err != nil {
		t.Fatal(err)
	}
	if len(s.deadlines) != 4 {
		t.Fatalf("%d deadlines, want one and one for each MiB", len(s.deadlines))
	}
	for i, d := range s.deadlines {
		want := wire.Timeout
		if i == 0 {
			want += 250 * time.Millisecond
		}
		if d < want-time.Second || d > want {
			t.Errorf("deadline %d in %v, want %v", i, d, want)
		}
	}
}

// Answers that are cut off, too large, to another request or about nothing are
// errors.
func TestFetchAnswers(t *testing.T) {
	good := func() []byte {
		var w wire.Writer
		w.I32(50)  // throttle
		w.I16(0)   // no error
		w.I32(0)   // session
		w.I32(1)   // topics
		w.Str("t") //
		w.I32(1)   // partitions
		w.I32(3)
		w.I16(6)
		w.I64(10)
		w.I64(9)
		w.I64(1)
		w.I32(2) // aborted
		w.I64(70)
		w.I64(8)
		w.I64(71)
		w.I64(7)
		w.I32(-1)
		w.Bytes([]byte("data"))
		return w.B
	}
	m, err := aFetch().RawExchange(&script{answer: answerOf(good())})
	if err != nil {
		t.Fatal(err)
	}
	parts, throttle, err := m.(*Answer).Parse(nil)
	if err != nil || len(parts) != 1 || throttle != 50*time.Millisecond {
		t.Fatalf("%v, %v, %v", parts, throttle, err)
	}
	p := parts[0]
	if p.Topic != "t" || p.Partition != 3 || p.Code != kafkago.NotLeaderForPartition || p.End != 10 || p.Stable != 9 || p.Start != 1 ||
		len(p.Aborted) != 2 || p.Aborted[1].Producer != 71 || p.Aborted[1].First != 7 || string(p.Data) != "data" {
		t.Errorf("%+v", p)
	}
	for cut := range len(good()) {
		f := &Answer{raw: good()[:cut]}
		if _, _, err := f.Parse(nil); err == nil {
			t.Errorf("cut off after %d bytes: no error", cut)
		}
	}
	bad := good()
	binary.BigEndian.PutUint16(bad[4:], 35)
	if _, _, err := (&Answer{raw: bad}).Parse(nil); !errors.Is(err, kafkago.UnsupportedVersion) {
		t.Errorf("error of the whole answer: %v", err)
	}
	large := aFetch()
	large.Limit = 10
	var tooLarge *wire.TooLargeError
	if _, err := large.RawExchange(&script{answer: answerOf(good())}); !errors.As(err, &tooLarge) {
		t.Errorf("too large: %v", err)
	}
	other := &script{answer: bytes.NewReader(append(binary.BigEndian.AppendUint32(nil, 10), 0, 0, 0, 99, 1, 2, 3, 4, 5, 6))}
	if _, err := aFetch().RawExchange(other); err == nil {
		t.Error("an answer to another request was taken")
	}
	for _, b := range [][]byte{{}, {0, 0}, {0, 0, 0, 0, 0, 0, 0, 0}, {0xff, 0xff, 0xff, 0xff, 0, 0, 0, 7}, {0, 0, 0, 9, 0, 0, 0, 7, 1}} {
		if _, err := aFetch().RawExchange(&script{answer: bytes.NewReader(b)}); err == nil {
			t.Errorf("%x: no error", b)
		}
	}
}

// FuzzAnswers gives the readers of answers any bytes: they must not panic, nor
// take more memory than the bytes are worth.
func FuzzAnswers(f *testing.F) {
	f.Add([]byte{0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 1, 't', 0, 0, 0, 1})
	f.Add(bytes.Repeat([]byte{0x7f}, 40))
	f.Fuzz(func(_ *testing.T, b []byte) {
		_, _, _ = (&Answer{raw: b}).Parse(nil)
	})
}

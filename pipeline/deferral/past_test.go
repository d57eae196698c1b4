package deferral

import (
	"testing"

	"github.com/weir-moderation/weir/pipeline/event"
)

// What the headers say is what was written, and of two the later one counts.
func TestPastIsReadAsItWasWritten(t *testing.T) {
	for _, p := range []Past{{"weir.pushes", 0, 0, 1}, {"a_b-c.d", 1<<31 - 1, 1<<63 - 1, 1<<31 - 1}} {
		h := p.Headers()
		forged := []event.Header{{Key: HeaderFirst, Value: []byte("x/1/2")}, {Key: HeaderCount, Value: []byte("9")}, {Key: "other"}}
		if got, ok := ReadPast(append(forged, h[:]...)); !ok || got != p {
			t.Errorf("read %+v, %v; want %+v", got, ok, p)
		}
	}
}

// Headers that do not say where a push comes from are not guessed at.
func TestPastThatSaysNothing(t *testing.T) {
	for _, x := range [][2]string{
		{"", "1"}, {"t", "1"}, {"t/1", "1"}, {"t/1/2/3", "1"}, {"/1/2", "1"}, {"t/-1/2", "1"}, {"t/1/-2", "1"}, {"t/a/2", "1"},
		{"t/2147483648/2", "1"}, {"t/1/9223372036854775808", "1"}, {"t/1/2", ""}, {"t/1/2", "0"}, {"t/1/2", "-1"}, {"t/1/2", "x"},
	} {
		headers := []event.Header{{Key: HeaderFirst, Value: []byte(x[0])}, {Key: HeaderCount, Value: []byte(x[1])}}
		if p, ok := ReadPast(headers); ok {
			t.Errorf("%q, %q is read as %+v", x[0], x[1], p)
		}
	}
	if _, ok := ReadPast(nil); ok {
		t.Error("no headers are read as a past")
	}
}

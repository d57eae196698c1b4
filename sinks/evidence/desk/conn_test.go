package desk

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/weir-moderation/weir/sinks/evidence"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const testOrigin = "example.net/evidence/test/1"

// begin makes a log that holds its genesis record.
func begin(t *testing.T, dir string) evidence.Options {
	t.Helper()
	o := evidence.Options{Dir: dir, Origin: testOrigin}
	l, err := evidence.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	return o
}

// daemon opens the log and serves it until the test or stop ends it.
func daemon(t *testing.T, o evidence.Options) (stop func()) {
	t.Helper()
	l, err := evidence.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	s, err := Listen(ServerOptions{Options: Options{Log: o}, Log: l})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	stopped := false
	stop = func() {
		if stopped {
			return
		}
		stopped = true
		cancel()
		if err := errors.Join(<-done, l.Close()); err != nil {
			t.Error(err)
		}
	}
	t.Cleanup(stop)
	return stop
}

// held runs a test against both holders of a log.
func held(t *testing.T, test func(t *testing.T, o evidence.Options)) {
	t.Run("no daemon", func(t *testing.T) { test(t, begin(t, t.TempDir())) })
	t.Run("daemon", func(t *testing.T) {
		o := begin(t, t.TempDir())
		daemon(t, o)
		test(t, o)
	})
}

func dial(t *testing.T, o evidence.Options) *Conn {
	t.Helper()
	c, err := Dial(t.Context(), Options{Log: o})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func mustClose(t *testing.T, c *Conn) {
	t.Helper()
	if err := c.Close(); err != nil {
		t.Fatal(err)
	}
}

// What Append returned stands in the log, at the index and under the id it said, as it was said.
func TestAppend(t *testing.T) {
	held(t, func(t *testing.T, o evidence.Options) {
		c := dial(t, o)
		type said struct {
			Who string `json:"who"`
			N   int    `json:"n"`
		}
		want := make(map[int64]evidence.ID)
		for n := range 3 {
			index, id, err := c.Append(t.Context(), evidence.KindHold, said{"<me & \u4f60>", n})
			if err != nil {
				t.Fatal(err)
			}
			if index != int64(n)+1 {
				t.Errorf("index %d, want %d", index, n+1)
			}
			want[index] = id
		}
		mustClose(t, c)
		seen := 0
		err := evidence.Walk(o.Dir, nil, func(e evidence.Entry) error {
			if e.Index == 0 {
				return nil
			}
			seen++
			var s said
			if err := json.Unmarshal(e.Body, &s); err != nil {
				return err
			}
			if e.ID != want[e.Index] || e.Kind != evidence.KindHold || e.Class != evidence.ClassAudit || s != (said{"<me & \u4f60>", int(e.Index) - 1}) {
				t.Errorf("record %d is %+v, %+v", e.Index, e, s)
			}
			return nil
		})
		if err != nil || seen != 3 {
			t.Errorf("%d records, %v", seen, err)
		}
	})
}

// What is no statement is refused in the same words by both, and leaves the log as it was.
func TestAppendRefuses(t *testing.T) {
	for _, tt := range []struct {
		name string
		kind evidence.Kind
		body any
		want string
	}{
		{"a kind that is the daemon's", evidence.KindCoverage, struct{}{}, "a record of kind coverage is not for people to write; statements have the kinds 32 to 63"},
		{"a kind that is nobody's", 64, struct{}{}, "statements have the kinds 32 to 63"},
		{"no object", evidence.KindHold, "text", "a statement is one JSON object"},
		{"too long", evidence.KindHold, map[string]string{"reason": strings.Repeat("x", MaxStatementBytes)}, "a statement of 4194317 bytes; at most 4194304"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			b, err := json.Marshal(tt.body)
			if err != nil {
				t.Fatal(err)
			}
			held(t, func(t *testing.T, o evidence.Options) {
				c := dial(t, o)
				_, _, err := c.Append(t.Context(), tt.kind, tt.body)
				if err == nil || !strings.Contains(err.Error(), tt.want) {
					t.Errorf("refused by the caller's side with %v, want %s", err, tt.want)
				}
				// A caller of another version may not look before it asks.
				_, err = c.works.append(t.Context(), appending{evidence.ID{1}.String(), tt.kind, b})
				if err == nil || !strings.Contains(err.Error(), tt.want) {
					t.Errorf("refused by the log's side with %v, want %s", err, tt.want)
				}
				index, _, err := c.Append(t.Context(), evidence.KindHold, struct{}{})
				if index != 1 || err != nil {
					t.Errorf("after the refusals a statement is at %d, %v; want 1", index, err)
				}
				mustClose(t, c)
			})
		})
	}
}

// The longest statement goes through the socket.
func TestLongestStatement(t *testing.T) {
	held(t, func(t *testing.T, o evidence.Options) {
		c := dial(t, o)
		body := map[string]string{"": strings.Repeat("x", MaxStatementBytes-len(`{"":""}`))}
		if _, _, err := c.Append(t.Context(), evidence.KindHold, body); err != nil {
			t.Error(err)
		}
		mustClose(t, c)
	})
}

// Nobody but the owner can use the socket, it is made anew where a daemon was killed, and it is gone
// when the daemon has stopped.
func TestSocket(t *testing.T) {
	o := begin(t, t.TempDir())
	name := filepath.Join(o.Dir, "desk.sock")
	left, err := net.Listen("unix", name)
	if err != nil {
		t.Fatal(err)
	}
	left.(*net.UnixListener).SetUnlinkOnClose(false)
	if err := left.Close(); err != nil {
		t.Fatal(err)
	}
	mustClose(t, dial(t, o)) // a socket without a daemon is nobody
	stop := daemon(t, o)
	info, err := os.Stat(name)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode() != os.ModeSocket|0o600 {
		t.Errorf("the socket has mode %v", info.Mode())
	}
	stop()
	if _, err := os.Stat(name); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("after the stop: %v", err)
	}
}

// An evidence directory may have a path that is longer than a socket's name may be.
func TestLongPath(t *testing.T) {
	dir := filepath.Join(t.TempDir(), strings.Repeat("deep/", 40))
	if _, err := os.Stat("/proc/self/fd"); err != nil {
		o := begin(t, dir)
		_, err := Dial(t.Context(), Options{Log: o})
		if err == nil || !strings.Contains(err.Error(), "symbolic link") {
			t.Errorf("%v; want a way out", err)
		}
		return
	}
	o := begin(t, dir)
	stop := daemon(t, o)
	c := dial(t, o)
	if _, _, err := c.Append(t.Context(), evidence.KindHold, struct{}{}); err != nil {
		t.Error(err)
	}
	mustClose(t, c)
	stop()
	if _, err := os.Stat(filepath.Join(dir, "desk.sock")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("after the stop: %v", err)
	}
}

// A log is not begun by who only wants to say something in it, and not mistaken for another.
func TestDialRefuses(t *testing.T) {
	o := begin(t, t.TempDir())
	refused := func(what string, o evidence.Options, want string) {
		t.Helper()
		c, err := Dial(t.Context(), Options{Log: o})
		if err == nil {
			mustClose(t, c)
		}
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v; want %s", what, err, want)
		}
	}
	empty := evidence.Options{Dir: filepath.Join(t.TempDir(), "none"), Origin: testOrigin}
	refused("no directory", empty, "holds no log "+testOrigin)
	if _, err := os.Stat(empty.Dir); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the directory was made: %v", err)
	}
	other := evidence.Options{Dir: o.Dir, Origin: "example.net/evidence/other/1"}
	l, err := evidence.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	refused("held without a socket", o, "a process holds the log and does not answer on "+filepath.Join(o.Dir, "desk.sock"))
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	daemon(t, o)
	refused("another log's daemon", other, "the daemon here writes the log "+testOrigin+", not example.net/evidence/other/1")
}

// What is not a request is answered with a reason, and who says nothing does not keep the daemon
// from stopping.
func TestServerRefuses(t *testing.T) {
	o := begin(t, t.TempDir())
	stop := daemon(t, o)
	talk := func(line []byte) string {
		t.Helper()
		c, err := net.Dial("unix", filepath.Join(o.Dir, "desk.sock"))
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		if err := c.SetDeadline(time.Now().Add(time.Minute)); err != nil {
			t.Fatal(err)
		}
		// The desk may hang up before it has read all of what is too long.
		_, _ = c.Write(line)
		var a answer
		if err := receive(c, &a); err != nil {
			return fmt.Sprint("no answer: ", err)
		}
		return a.Error
	}
	for _, tt := range []struct{ line, want string }{
		{"no json\n", "not understood: invalid character"},
		{`{"do":"erase everything"}` + "\n", `"erase everything" is nothing that is done here`},
		{`{"do":"append","with":7}` + "\n", "not understood: json: cannot unmarshal"},
		{`{"do":"append","with":{"id":"12","kind":48,"body":"e30="}}` + "\n", `"12" is no record id; it has 32 hex digits`},
	} {
		if got := talk([]byte(tt.line)); !strings.HasPrefix(got, tt.want) {
			t.Errorf("%s: %s; want %s", tt.line, got, tt.want)
		}
	}
	if got := talk(bytes.Repeat([]byte("x"), maxLine)); !strings.HasPrefix(got, "not understood: a line of more than") {
		t.Errorf("a line without end: %s", got)
	}
	silent, err := net.Dial("unix", filepath.Join(o.Dir, "desk.sock"))
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	stop()
}

// Where the answer is lost, nobody is told that nothing happened.
func TestUnsure(t *testing.T) {
	o := begin(t, t.TempDir())
	l, err := net.Listen("unix", filepath.Join(o.Dir, "desk.sock"))
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for n := range 2 {
			c, err := l.Accept()
			if err != nil {
				t.Error(err)
				return
			}
			var r request
			if err := receive(c, &r); err != nil {
				t.Error(err)
			}
			if n == 0 {
				err = send(c, answer{Result: []byte("{}")})
			}
			if err := errors.Join(err, c.Close()); err != nil {
				t.Error(err)
			}
		}
	}()
	c := dial(t, o)
	if _, _, err := c.Append(t.Context(), evidence.KindHold, struct{}{}); !errors.Is(err, ErrUnsure) {
		t.Errorf("%v; want ErrUnsure", err)
	}
	mustClose(t, c)
	<-done
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}

// Who works at the desk keeps others waiting, but no daemon from stopping.
func TestOneAtATime(t *testing.T) {
	o := begin(t, t.TempDir())
	first := dial(t, o)
	unlock, err := first.lock(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	second := newConn(Options{Log: o})
	second.works = first.works
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- second.Resume(ctx) }()
	cancel()
	if err := <-done; !errors.Is(err, context.Canceled) {
		t.Errorf("%v; want that it was told to stop", err)
	}
	go func() { done <- second.Resume(t.Context()) }()
	unlock()
	if err := <-done; err != nil {
		t.Error(err)
	}
	mustClose(t, first)
}

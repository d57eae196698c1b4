package app

import (
	"context"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// While a part does not answer no sign of life is given, and when it does again they go on.
func TestNoSignOfLifeWithoutAnAnswer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, stop := context.WithCancel(t.Context())
		stuck, asked, beats := make(chan struct{}), 0, 0
		ask := func() {
			if asked++; asked == 4 {
				<-stuck
			}
		}
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			pulse(ctx, time.Second, ask, func() { beats++ })
		}()
		time.Sleep(2500 * time.Millisecond)
		synctest.Wait()
		if beats != 3 {
			t.Errorf("%d signs of life in 2.5 s, want 3", beats)
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		if beats != 3 {
			t.Errorf("%d signs of life while a part is stuck, want no more than the 3 before", beats)
		}
		close(stuck)
		time.Sleep(10 * time.Second)
		synctest.Wait()
		if beats < 10 {
			t.Errorf("%d signs of life after the part answers again", beats)
		}
		stop()
		<-ended
	})
}

// What the manager asks for is read strictly, and only if it is this process that is asked.
func TestWatchdogOfTheEnvironment(t *testing.T) {
	for _, c := range []struct {
		name, usec, pid string
		every           time.Duration
		err             string
	}{
		{name: "none asked for"},
		{name: "half of what is allowed", usec: "60000000", every: 30 * time.Second},
		{name: "another process is asked", usec: "60000000", pid: "1"},
		{name: "no number", usec: "soon", err: `WATCHDOG_USEC is "soon"; it must be a number`},
		{name: "nothing", usec: "0", err: `WATCHDOG_USEC is "0"`},
		{name: "beyond measure", usec: "9223372036854775807", err: "at most a day"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Setenv("NOTIFY_SOCKET", "@weir-test")
			t.Setenv("WATCHDOG_USEC", c.usec)
			t.Setenv("WATCHDOG_PID", c.pid)
			n, err := newNotifier(slog.New(slog.DiscardHandler))
			if c.err != "" {
				if err == nil || !strings.Contains(err.Error(), c.err) {
					t.Fatalf("error %v, want %q", err, c.err)
				}
				return
			}
			if err != nil || n.every != c.every {
				t.Errorf("every %v, error %v, want %v", n.every, err, c.every)
			}
		})
	}
}

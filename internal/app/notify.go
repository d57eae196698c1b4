package app

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"
	"strconv"
	"time"
)

// notifier tells the service manager that started the process how it does, by systemd's protocol: datagrams of NAME=VALUE
// to the socket that NOTIFY_SOCKET names. Nil, and one without a socket, tells nobody.
//
// What cannot be told is logged and nothing else: a manager that does not listen ends the process itself when its patience ends.
type notifier struct {
	socket string
	every  time.Duration // how often a sign of life is given; 0: none is asked for
	log    *slog.Logger
}

// newNotifier reads what the manager asks for from the environment, and takes it out of it: a program
// started by this one must not speak for it.
func newNotifier(log *slog.Logger) (*notifier, error) {
	n := &notifier{socket: os.Getenv("NOTIFY_SOCKET"), log: log}
	pid, usec := os.Getenv("WATCHDOG_PID"), os.Getenv("WATCHDOG_USEC")
	for _, name := range []string{"NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC"} {
		if err := os.Unsetenv(name); err != nil {
			return nil, fmt.Errorf("unset %s: %w", name, err)
		}
	}
	if n.socket == "" || usec == "" || pid != "" && pid != strconv.Itoa(os.Getpid()) {
		return n, nil
	}
	us, err := strconv.ParseInt(usec, 10, 64)
	if err != nil || us <= 0 || us > int64(24*time.Hour/time.Microsecond) {
		return nil, fmt.Errorf("WATCHDOG_USEC is %q; it must be a number of microseconds, at most a day of them", usec)
	}
	n.every = time.Duration(us) * time.Microsecond / 2
	return n, nil
}

// tell sends one state, such as "READY=1".
func (n *notifier) tell(state string) {
	if n == nil || n.socket == "" {
		return
	}
	// A name that begins with @ is of the abstract kind; package net knows it, too.
	c, err := net.DialUnix("unixgram", nil, &net.UnixAddr{Name: n.socket, Net: "unixgram"})
	if err == nil {
		_ = c.SetWriteDeadline(time.Now().Add(time.Second))
		_, err = c.Write([]byte(state))
		_ = c.Close()
	}
	if err != nil {
		n.log.Warn("cannot tell the service manager", "state", state, "err", err)
	}
}

// watchdog gives a sign of life twice in the time the manager allows, until ctx ends.
func (n *notifier) watchdog(ctx context.Context, ask func()) error {
	if n != nil && n.socket != "" && n.every > 0 {
		pulse(ctx, n.every, ask, func() { n.tell("WATCHDOG=1") })
	}
	return nil
}

// pulse asks again and again, and calls beat after each answer. While there is none it does not: then the manager
// ends the process with the stacks of all goroutines in the log (SIGABRT) and starts it again; what was in hand is judged again.
func pulse(ctx context.Context, every time.Duration, ask, beat func()) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		done := make(chan struct{})
		go func() {
			defer close(done)
			ask()
		}()
		select {
		case <-ctx.Done():
			return
		case <-done:
			beat()
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// answers returns when the parts that everything goes through have answered: each hands out its state under the lock
// it works under, so that a part that is stuck with it in hand does not answer. What they say is no matter here: away brokers, a stopped
// partition or a full disk are for readiness and alerts, and a restart would mend none of them. A batch that is stuck outside of any lock ends the
// process by itself (input.stuck_timeout).
func (d *daemon) answers() {
	_ = d.source.Ready()
	_ = d.source.Partitions()
	_ = d.evidence.Err()
	_ = d.pipeline.InForce()
}

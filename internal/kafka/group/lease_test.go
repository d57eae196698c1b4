package group

import (
	"context"
	"errors"
	"net"
	"os"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// Without a word from anybody a lease lasts for its length. Evidence that no
// coordinator ran lengthens it, but for no more than the time one may go on
// blindly; an older word changes nothing.
func TestLease(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := lease{length: 12 * time.Second, blind: 30 * time.Second}
		start := time.Now()
		at := func(d time.Duration) time.Time { return start.Add(d) }
		check := func(when time.Duration, want bool) {
			t.Helper()
			time.Sleep(time.Until(at(when)))
			if got := l.holds(); got != want {
				t.Errorf("after %v the lease holds: %v, want %v", when, got, want)
			}
		}
		l.renew(start)
		check(12*time.Second-1, true)
		check(12*time.Second, false)
		l.extend(at(8 * time.Second)) // taken before, heard of later
		check(13*time.Second, true)
		l.extend(at(2 * time.Second))
		check(20*time.Second-1, true)
		check(20*time.Second, false)
		for s := 20; s < 42; s++ {
			l.extend(at(time.Duration(s) * time.Second))
			check(time.Duration(s)*time.Second, true)
		}
		l.extend(at(42*time.Second - 1))
		check(42*time.Second-1, true)
		check(42*time.Second, false) // whatever the evidence
		l.renew(time.Now())
		check(54*time.Second-1, true)
		check(54*time.Second, false)
	})
}

// What a member may conclude from how its heartbeats fare. Session 15 s, margin
// 1 s, 30 s blindly: 14 s on nothing, 44 s on evidence.
func TestLeaseFollowsTheHeartbeats(t *testing.T) {
	refused := &net.OpError{Op: "dial", Err: os.NewSyscallError("connect", syscall.ECONNREFUSED)}
	errorOf := func(err error) func(kmsg.Request) (kmsg.Response, error) {
		return func(kmsg.Request) (kmsg.Response, error) { return nil, err }
	}
	codeOf := func(c kafkago.Error) func(kmsg.Request) (kmsg.Response, error) {
		return func(r kmsg.Request) (kmsg.Response, error) { return refusal(r, c), nil }
	}
	for _, test := range []struct {
		name            string
		heartbeat, find func(kmsg.Request) (kmsg.Response, error)
		least, most     time.Duration // it holds before the one and not after the other
	}{
		{"no answer is no evidence", errorOf(context.DeadlineExceeded), nil, 13 * time.Second, 15 * time.Second},
		{"a broken connection is none", errorOf(errors.New("reset")), nil, 13 * time.Second, 15 * time.Second},
		{"nor is a coordinator that cannot be found", errorOf(refused), errorOf(errors.New("reset")), 13 * time.Second, 15 * time.Second},
		{"a coordinator elsewhere is none", codeOf(kafkago.NotCoordinatorForGroup), nil, 13 * time.Second, 15 * time.Second},
		{"a coordinator that loads counts nobody out", codeOf(kafkago.GroupLoadInProgress), nil, 43 * time.Second, 45 * time.Second},
		{"a broker knows of no coordinator", errorOf(refused), codeOf(kafkago.GroupCoordinatorNotAvailable), 43 * time.Second, 45 * time.Second},
		{"a coordinator that another broker named just now has no port", errorOf(refused), nil, 43 * time.Second, 45 * time.Second},
		{"a frozen broker is none", nil, nil, 13 * time.Second, 15 * time.Second},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newScript(t)
				end := func() {}
				if test.heartbeat == nil { // nothing comes at all; the channel has to belong to the bubble
					test.heartbeat, end = silence()
				}
				m := New(s.options())
				g := s.join(m)
				start := time.Now()
				s.on(kmsg.Heartbeat, test.heartbeat)
				s.on(kmsg.FindCoordinator, test.find)
				time.Sleep(test.least)
				if !g.lease.holds() {
					t.Errorf("the lease was over after %v", test.least)
				}
				time.Sleep(test.most - test.least)
				if g.lease.holds() {
					t.Errorf("the lease held after %v", test.most)
				}
				// Work waits, and goes on in the same generation when the coordinator is back.
				held := make(chan time.Duration, 1)
				go func() {
					if g.Hold(context.Background()) {
						held <- time.Since(start)
					} else {
						held <- -1
					}
				}()
				time.Sleep(30 * time.Second)
				s.on(kmsg.Heartbeat, nil)
				s.on(kmsg.FindCoordinator, nil)
				end()
				if at := <-held; at < test.most+30*time.Second {
					t.Errorf("a batch was begun after %v, want after %v", at, test.most+30*time.Second)
				}
				if err := g.Err(); err != nil {
					t.Errorf("the generation is lost: %v", err)
				}
				g.Release()
			})
		})
	}
}

// Who waits for the coordinator is let go when the generation ends, or the context.
func TestHoldEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScript(t)
		m := New(s.options())
		g := s.join(m)
		s.on(kmsg.Heartbeat, func(kmsg.Request) (kmsg.Response, error) { return nil, errors.New("cut") })
		time.Sleep(20 * time.Second)
		ctx, cancel := context.WithCancel(context.Background())
		held := make(chan bool, 2)
		go func() { held <- g.Hold(ctx) }()
		synctest.Wait()
		cancel()
		if <-held {
			t.Error("a batch may be begun although the context has ended")
		}
		go func() { held <- g.Hold(context.Background()) }()
		synctest.Wait()
		s.fail(kmsg.Heartbeat, kafkago.RebalanceInProgress)
		if <-held {
			t.Error("a batch may be begun although the generation has ended")
		}
		g.Release()
	})
}

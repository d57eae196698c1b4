package group

import (
	"context"
	"errors"
	"maps"
	"runtime"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	kafkago "github.com/segmentio/kafka-go"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/weir-moderation/weir/internal/kafka/retry"
)

// All requests of a member's life, as franz-go reads them.
func TestRequests(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScript(t)
		o := s.options()
		o.Session, o.Rebalance = 20*time.Second, 40*time.Second
		m := New(o)
		asked := false
		s.on(kmsg.JoinGroup, func(r kmsg.Request) (kmsg.Response, error) {
			if req := r.(*kmsg.JoinGroupRequest); req.MemberID == "" { // as Kafka since 2.2
				asked = true
				resp := refusal(r, kafkago.MemberIDRequired).(*kmsg.JoinGroupResponse)
				resp.MemberID = "m"
				return resp, nil
			}
			return s.usual(r)
		})
		g := s.join(m)
		if !asked {
			t.Error("the member came with an id of its own")
		}
		all := []Partition{{"t", 0}, {"t", 1}, {"t", 2}, {"t", 3}}
		if g.ID != 1 || g.Member != "m" || !g.Leader || g.Assignor != sticky || !slices.Equal(g.Partitions, all) {
			t.Errorf("generation %+v", g)
		}
		j := s.last(kmsg.JoinGroup).(*kmsg.JoinGroupRequest)
		if j.Group != "g" || j.SessionTimeoutMillis != 20000 || j.RebalanceTimeoutMillis != 40000 || j.MemberID != "m" || j.InstanceID != nil ||
			j.ProtocolType != "consumer" || len(j.Protocols) != 2 || j.Protocols[0].Name != sticky || j.Protocols[1].Name != ranged {
			t.Errorf("join %+v", j)
		}
		offsets, err := g.Committed(t.Context())
		if err != nil || len(offsets) != 4 || offsets[Partition{"t", 3}] != 103 {
			t.Errorf("committed %v, %v", offsets, err)
		}
		if r := s.last(kmsg.OffsetFetch).(*kmsg.OffsetFetchRequest); !r.RequireStable {
			t.Error("offsets that are not stable would do")
		}
		if err := g.Commit(t.Context(), map[Partition]int64{{"t", 1}: 7}); err != nil {
			t.Fatal(err)
		}
		c := s.last(kmsg.OffsetCommit).(*kmsg.OffsetCommitRequest)
		if p := c.Topics[0].Partitions[0]; c.Generation != 1 || c.MemberID != "m" || p.Partition != 1 || p.Offset != 7 || p.LeaderEpoch != -1 {
			t.Errorf("commit %+v", c)
		}
		time.Sleep(3500 * time.Millisecond)
		if n := s.count(kmsg.Heartbeat); n != 3 {
			t.Errorf("%d heartbeats in 3.5 s, want 3", n)
		}
		if h := s.last(kmsg.Heartbeat).(*kmsg.HeartbeatRequest); h.Generation != 1 || h.MemberID != "m" {
			t.Errorf("heartbeat %+v", h)
		}
		g.Release()
		// The next join says what was held, and when.
		g = s.join(m)
		j = s.last(kmsg.JoinGroup).(*kmsg.JoinGroupRequest)
		claims, err := readClaims([]subscriber{{id: "m", metadata: j.Protocols[0].Metadata}})
		if err != nil || !slices.Equal(claims[0].held, all) || claims[0].generation != 1 {
			t.Errorf("claims %+v, %v", claims, err)
		}
		g.Release()
		if err := m.Leave(t.Context()); err != nil {
			t.Fatal(err)
		}
		if l := s.last(kmsg.LeaveGroup).(*kmsg.LeaveGroupRequest); len(l.Members) != 1 || l.Members[0].MemberID != "m" {
			t.Errorf("leave %+v", l)
		}
		if err := m.Leave(t.Context()); err != nil || s.count(kmsg.LeaveGroup) != 1 {
			t.Error("it left twice")
		}
	})
}

// A static member says so everywhere and does not leave.
func TestStaticMember(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScript(t)
		o := s.options()
		o.Instance = "one"
		m := New(o)
		g := s.join(m)
		time.Sleep(1500 * time.Millisecond)
		if err := g.Commit(t.Context(), map[Partition]int64{{"t", 0}: 1}); err != nil {
			t.Fatal(err)
		}
		g.Release()
		if err := m.Leave(t.Context()); err != nil {
			t.Fatal(err)
		}
		for what, id := range map[string]*string{
			"join":      s.last(kmsg.JoinGroup).(*kmsg.JoinGroupRequest).InstanceID,
			"sync":      s.last(kmsg.SyncGroup).(*kmsg.SyncGroupRequest).InstanceID,
			"heartbeat": s.last(kmsg.Heartbeat).(*kmsg.HeartbeatRequest).InstanceID,
			"commit":    s.last(kmsg.OffsetCommit).(*kmsg.OffsetCommitRequest).InstanceID,
		} {
			if id == nil || *id != "one" {
				t.Errorf("%s: instance %v", what, id)
			}
		}
		if s.count(kmsg.LeaveGroup) > 0 {
			t.Error("a static member left")
		}
	})
}

// Only the coordinator's word that it does not know the member in its generation
// ends a generation; then nothing is sent for it any more, and what the member
// says of itself when it joins anew depends on what is still true.
func TestLost(t *testing.T) {
	for _, test := range []struct {
		code  kafkago.Error
		lost  bool
		id    string // with which it joins again
		ended bool
	}{
		{kafkago.GroupLoadInProgress, false, "m", false},
		{kafkago.GroupCoordinatorNotAvailable, false, "m", false},
		{kafkago.NotCoordinatorForGroup, false, "m", false},
		{kafkago.RebalanceInProgress, false, "m", true},
		{kafkago.IllegalGeneration, true, "m", true},
		{kafkago.UnknownMemberId, true, "", true},
		{kafkago.FencedInstanceID, true, "m", true},
	} {
		for _, by := range []kmsg.Key{kmsg.Heartbeat, kmsg.OffsetCommit} {
			synctest.Test(t, func(t *testing.T) {
				s := newScript(t)
				m := New(s.options())
				g := s.join(m)
				s.fail(by, test.code)
				offsets := map[Partition]int64{{"t", 0}: 1}
				if by == kmsg.OffsetCommit {
					if err := g.Commit(t.Context(), offsets); !errors.Is(err, test.code) {
						t.Errorf("%v: commit returned %v", test.code, err)
					}
				}
				time.Sleep(5 * time.Second)
				ended := false
				select {
				case <-g.Ended():
					ended = true
				default:
				}
				// A commit refused for a rebalance leaves it to the heartbeat to end the generation.
				if want := test.ended && (test.lost || by == kmsg.Heartbeat); ended != want {
					t.Errorf("%v to request %d: ended %v, want %v", test.code, by, ended, want)
				}
				if got := g.Err() != nil; got != test.lost {
					t.Errorf("%v to request %d: %v", test.code, by, g.Err())
				}
				if test.lost {
					n := s.count(kmsg.OffsetCommit)
					if err := g.Commit(t.Context(), offsets); !errors.Is(err, test.code) || s.count(kmsg.OffsetCommit) != n {
						t.Errorf("%v: a commit after it was sent, or returned %v", test.code, err)
					}
				}
				g.Release()
				s.on(by, nil)
				next := s.join(m)
				j := s.last(kmsg.JoinGroup).(*kmsg.JoinGroupRequest)
				claims, err := readClaims([]subscriber{{metadata: j.Protocols[0].Metadata}})
				if err != nil {
					t.Fatal(err)
				}
				if held := claims[0].held != nil; j.MemberID != test.id || held == test.lost {
					t.Errorf("%v: joined again as %q, claiming %v", test.code, j.MemberID, claims[0].held)
				}
				if follows := next.Follows(g); follows == test.lost {
					t.Errorf("%v: follows %v", test.code, follows)
				}
				next.Release()
			})
		}
	}
}

// A generation follows the one before only if nobody can have been in between.
func TestFollows(t *testing.T) {
	before := &Generation{ID: 4, Member: "m"}
	for _, test := range []struct {
		next *Generation
		want bool
	}{
		{&Generation{ID: 4, Member: "m"}, true},
		{&Generation{ID: 5, Member: "m"}, true},
		{&Generation{ID: 6, Member: "m"}, false},
		{&Generation{ID: 5, Member: "n"}, false},
	} {
		if got := test.next.Follows(before); got != test.want {
			t.Errorf("%s in %d follows m in 4: %v", test.next.Member, test.next.ID, got)
		}
	}
}

// A member that the coordinator forgot while it joined comes back with a new id.
func TestForgottenWhileJoining(t *testing.T) {
	for _, at := range []kmsg.Key{kmsg.JoinGroup, kmsg.SyncGroup} {
		synctest.Test(t, func(t *testing.T) {
			s := newScript(t)
			m := New(s.options())
			s.join(m).Release()
			s.fail(at, kafkago.UnknownMemberId)
			if _, err := m.Join(t.Context()); !errors.Is(err, kafkago.UnknownMemberId) {
				t.Errorf("join returned %v", err)
			}
			s.on(at, nil)
			g := s.join(m)
			j := s.last(kmsg.JoinGroup).(*kmsg.JoinGroupRequest)
			if claims, _ := readClaims([]subscriber{{metadata: j.Protocols[0].Metadata}}); j.MemberID != "" || claims[0].held != nil {
				t.Errorf("joined as %q with %v", j.MemberID, claims[0].held)
			}
			g.Release()
		})
	}
}

// There is never more than one commit under way: of two the older could be
// applied last.
func TestOneCommitAtATime(t *testing.T) {
	s := newScript(t)
	g := s.join(New(s.options()))
	defer g.Release()
	var under, most atomic.Int32
	s.on(kmsg.OffsetCommit, func(r kmsg.Request) (kmsg.Response, error) {
		n := under.Add(1)
		defer under.Add(-1)
		most.Store(max(most.Load(), n))
		for range 100 {
			runtime.Gosched()
		}
		return refusal(r, 0), nil
	})
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for i := range 50 {
				if err := g.Commit(t.Context(), map[Partition]int64{{"t", 0}: int64(i)}); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	if most.Load() != 1 {
		t.Errorf("%d commits at once", most.Load())
	}
}

// The partition whose commit is refused is told of, also among others that are not.
func TestCommitOfSeveral(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScript(t)
		g := s.join(New(s.options()))
		s.on(kmsg.OffsetCommit, func(r kmsg.Request) (kmsg.Response, error) {
			resp := refusal(r, 0).(*kmsg.OffsetCommitResponse)
			resp.Topics[0].Partitions[1].ErrorCode = int16(kafkago.OffsetMetadataTooLarge)
			return resp, nil
		})
		err := g.Commit(t.Context(), map[Partition]int64{{"t", 0}: 1, {"t", 1}: 2, {"t", 2}: 3})
		if !errors.Is(err, kafkago.OffsetMetadataTooLarge) || g.Err() != nil {
			t.Errorf("commit returned %v, the generation %v", err, g.Err())
		}
		g.Release()
	})
}

// An offset that an open transaction is about to replace is waited for; who
// answers for too few partitions is not believed.
func TestCommittedWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScript(t)
		g := s.join(New(s.options()))
		var n atomic.Int32
		s.on(kmsg.OffsetFetch, func(r kmsg.Request) (kmsg.Response, error) {
			if n.Add(1) > 3 {
				return s.usual(r)
			}
			resp, err := s.usual(r)
			resp.(*kmsg.OffsetFetchResponse).Topics[0].Partitions[2].ErrorCode = int16(kafkago.UnstableOffsetCommit)
			return resp, err
		})
		if offsets, err := g.Committed(t.Context()); err != nil || len(offsets) != 4 || n.Load() != 4 {
			t.Errorf("after %d answers: %v, %v", n.Load(), offsets, err)
		}
		s.on(kmsg.OffsetFetch, func(r kmsg.Request) (kmsg.Response, error) {
			resp, err := s.usual(r)
			some := resp.(*kmsg.OffsetFetchResponse).Topics[0].Partitions
			resp.(*kmsg.OffsetFetchResponse).Topics[0].Partitions = some[:3]
			return resp, err
		})
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if offsets, err := g.Committed(ctx); err == nil {
			t.Errorf("believed %v", offsets)
		}
		g.Release()
	})
}

// A join that hangs at a broker that does not coordinate any more is given up.
func TestCoordinatorMovesDuringJoin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScript(t)
		var node atomic.Int32
		node.Store(1)
		s.on(kmsg.FindCoordinator, func(r kmsg.Request) (kmsg.Response, error) {
			resp := refusal(r, 0).(*kmsg.FindCoordinatorResponse)
			resp.NodeID = node.Load()
			return resp, nil
		})
		hang, end := silence()
		defer end()
		s.on(kmsg.JoinGroup, hang)
		m := New(s.options())
		failed := make(chan error, 1)
		began := time.Now()
		go func() {
			_, err := m.Join(context.Background())
			failed <- err
		}()
		time.Sleep(10 * time.Second)
		node.Store(2)
		if err := <-failed; !errors.Is(err, kafkago.NotCoordinatorForGroup) || time.Since(began) > 10*time.Second+2*movedCheck {
			t.Errorf("after %v: %v", time.Since(began), err)
		}
		s.on(kmsg.JoinGroup, nil)
		s.join(m).Release()
	})
}

// The leader has partitions given out anew when there are more of them, or when
// other topics are wanted; a look that fails changes nothing. A static member
// looks, too: if it led before it was restarted, it is not told.
func TestWatch(t *testing.T) {
	topics := func(list ...string) func(context.Context) ([]string, error) {
		return func(context.Context) ([]string, error) { return slices.Clone(list), nil }
	}
	counted := func(all map[string]int32) func(context.Context, []string) (map[string]int32, error) {
		return func(_ context.Context, asked []string) (map[string]int32, error) {
			some := make(map[string]int32)
			for _, name := range asked {
				if n, ok := all[name]; ok {
					some[name] = n
				}
			}
			return some, nil
		}
	}
	for _, test := range []struct {
		name   string
		change func(o *Options)
		want   bool
	}{
		{"nothing", func(*Options) {}, false},
		{"more partitions", func(o *Options) { o.Partitions = counted(map[string]int32{"t": 5}) }, true},
		{"another topic", func(o *Options) { o.Topics = topics("u", "late", "t") }, true},
		{"a topic that was not there", func(o *Options) { o.Partitions = counted(map[string]int32{"t": 4, "late": 1}) }, true},
		{"no answer", func(o *Options) {
			o.Topics = func(context.Context) ([]string, error) { return nil, errors.New("cut") }
		}, false},
		{"none about partitions", func(o *Options) {
			o.Partitions = func(context.Context, []string) (map[string]int32, error) { return nil, errors.New("cut") }
		}, false},
	} {
		for _, leads := range []bool{true, false} {
			synctest.Test(t, func(t *testing.T) {
				s := newScript(t)
				o := s.options()
				o.Topics, o.Partitions = topics("t", "late"), counted(map[string]int32{"t": 4})
				var now atomic.Pointer[Options]
				now.Store(new(o))
				if !leads {
					o.Instance = "one"
					s.on(kmsg.JoinGroup, func(r kmsg.Request) (kmsg.Response, error) {
						resp, err := s.usual(r)
						resp.(*kmsg.JoinGroupResponse).LeaderID = "as it was called before"
						return resp, err
					})
				}
				changed := *now.Load()
				test.change(&changed)
				o.Topics = func(ctx context.Context) ([]string, error) { return now.Load().Topics(ctx) }
				o.Partitions = func(ctx context.Context, topics []string) (map[string]int32, error) {
					return now.Load().Partitions(ctx, topics)
				}
				g := s.join(New(o))
				if g.Leader != leads {
					t.Errorf("leader %v", g.Leader)
				}
				now.Store(&changed)
				time.Sleep(7 * time.Second)
				ended := false
				select {
				case <-g.Ended():
					ended = true
				default:
				}
				if ended != test.want || g.Err() != nil {
					t.Errorf("%s, leader %v: ended %v (%v), want %v", test.name, leads, ended, g.Err(), test.want)
				}
				g.Release()
			})
		}
	}
}

// A frozen coordinator is given up soon enough that its successor, which comes
// after 9 to 10 s, is heard before the lease ends.
func TestFrozenCoordinator(t *testing.T) {
	for at := 9 * time.Second; at < 10*time.Second; at += 50 * time.Millisecond {
		synctest.Test(t, func(t *testing.T) {
			s := newScript(t)
			g := s.join(New(s.options()))
			time.Sleep(1500 * time.Millisecond)
			frozen := time.Now()
			hang, end := silence()
			s.on(kmsg.Heartbeat, hang)
			s.on(kmsg.FindCoordinator, func(r kmsg.Request) (kmsg.Response, error) {
				if time.Since(frozen) >= at {
					s.on(kmsg.Heartbeat, nil) // it names another, which answers
				}
				return s.usual(r)
			})
			time.Sleep(time.Until(frozen.Add(12*time.Second - 500*time.Millisecond)))
			end()
			g.lease.mu.Lock()
			age := time.Since(g.lease.contact)
			g.lease.mu.Unlock()
			if age > 2500*time.Millisecond {
				t.Errorf("the successor came after %v; the last word is %v old after 11.5 s", at, age)
			}
			g.Release()
		})
	}
}

// Brokers that do not answer to who looks for changes hold up no heartbeat.
func TestWatchHoldsUpNoHeartbeat(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScript(t)
		o := s.options()
		var joined atomic.Bool
		o.Topics = func(ctx context.Context) ([]string, error) {
			if joined.Load() {
				<-ctx.Done()
				return nil, ctx.Err()
			}
			return []string{"t"}, nil
		}
		g := s.join(New(o))
		joined.Store(true)
		time.Sleep(20500 * time.Millisecond)
		if n := s.count(kmsg.Heartbeat); n != 20 {
			t.Errorf("%d heartbeats in 20.5 s, want 20", n)
		}
		g.Release()
	})
}

// While the coordinator is away nobody can join again, so nothing that changes
// ends a generation.
func TestNoWatchWhileTheCoordinatorIsAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newScript(t)
		o := s.options()
		var more atomic.Int32
		o.Partitions = func(context.Context, []string) (map[string]int32, error) {
			return map[string]int32{"t": 4 + more.Load()}, nil
		}
		g := s.join(New(o))
		time.Sleep(1500 * time.Millisecond)
		s.fail(kmsg.Heartbeat, kafkago.GroupLoadInProgress)
		more.Store(1)
		time.Sleep(20 * time.Second)
		select {
		case <-g.Ended():
			t.Error("the generation ended")
		default:
		}
		s.on(kmsg.Heartbeat, nil)
		<-g.Ended() // now it may
		g.Release()
	})
}

// A member that finishes, commits and leaves is followed by one that begins right there.
func TestCommitAndRestart(t *testing.T) {
	c := setup(t)
	w := c.run(c.options())
	g := w.with(six)
	w.close()
	if g.Err() != nil {
		t.Fatal(g.Err())
	}
	at := w.at()
	if got := c.committed(); !maps.Equal(got, at) {
		t.Fatalf("committed %v, done %v", got, at)
	}
	o := c.options()
	o.Send = c.send()
	next := New(o)
	g, err := next.Join(c.context())
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		g.Release()
		if err := next.Leave(context.Background()); err != nil {
			t.Error(err)
		}
	}()
	if got, err := g.Committed(c.context()); err != nil || !maps.Equal(got, at) {
		t.Errorf("the next begins at %v, %v, want %v", got, err, at)
	}
}

// Who joins or leaves moves as few partitions as can be, and they go on where
// they were.
func TestStickyJoinAndLeave(t *testing.T) {
	c := setup(t)
	a := c.run(c.options())
	all := a.with(six).Partitions
	b := c.run(c.options())
	a3, b3 := a.with(3).Partitions, b.with(3).Partitions
	if got := slices.SortedFunc(slices.Values(slices.Concat(a3, b3)), Partition.compare); !slices.Equal(got, all) {
		t.Fatalf("%v and %v are not %v", a3, b3, all)
	}
	d := c.run(c.options())
	a2, b2 := a.with(2).Partitions, b.with(2).Partitions
	d.with(2)
	for _, p := range a2 {
		if !slices.Contains(a3, p) {
			t.Errorf("the first got %v, which it did not have", p)
		}
	}
	for _, p := range b2 {
		if !slices.Contains(b3, p) {
			t.Errorf("the second got %v, which it did not have", p)
		}
	}
	d.close()
	for _, p := range a2 {
		if now := a.with(3).Partitions; !slices.Contains(now, p) {
			t.Errorf("the first lost %v when another left: %v", p, now)
		}
	}
	b.with(3)
	a.close()
	b.with(six)
	b.close()
	// No offset was passed over and none done twice: each member began where the
	// one before it ended, so the last one's positions are what is committed.
	if got, want := c.committed(), b.at(); !maps.Equal(got, want) {
		t.Errorf("committed %v, want %v", got, want)
	}
}

// While its coordinator loads, is away or moves, a member keeps its generation
// and works on, and commits again when it can.
func TestKeepsItsGeneration(t *testing.T) {
	c := setupFake(t)
	w := c.run(c.options())
	g := w.with(six)
	for _, code := range []kafkago.Error{kafkago.GroupLoadInProgress, kafkago.GroupCoordinatorNotAvailable, kafkago.NotCoordinatorForGroup} {
		var refused atomic.Int32
		c.fake.ControlKey(int16(kmsg.Heartbeat), func(r kmsg.Request) (kmsg.Response, error, bool) {
			if refused.Add(1) > 5 {
				return nil, nil, false
			}
			c.fake.KeepControl()
			return refusal(r, code), nil, true
		})
		c.eventually("heartbeats to work again", func() bool { return refused.Load() > 5 })
		w.advance()
	}
	c.fake.RehashCoordinators()
	before := c.committed()
	c.eventually("commits at the new coordinator", func() bool { return c.committed()[g.Partitions[0]] > before[g.Partitions[0]] })
	if w.current() != g || g.Err() != nil {
		t.Errorf("the generation was not kept: %v", g.Err())
	}
	w.close()
}

// A generation that the coordinator does not know is left and the group joined
// again; a member whose instance another process has taken ends.
func TestLostGenerationRejoins(t *testing.T) {
	for _, code := range []kafkago.Error{kafkago.IllegalGeneration, kafkago.UnknownMemberId, kafkago.FencedInstanceID} {
		c := setupFake(t)
		w := c.run(c.options())
		g := w.with(six)
		c.fake.ControlKey(int16(kmsg.Heartbeat), func(r kmsg.Request) (kmsg.Response, error, bool) { return refusal(r, code), nil, true })
		<-g.Ended()
		if code == kafkago.FencedInstanceID {
			<-w.ended
			if !Fenced(w.err) {
				t.Errorf("a fenced member ended with %v", w.err)
			}
			continue
		}
		c.eventually("the next generation", func() bool { next := w.current(); return next != nil && next != g })
		next := w.with(six)
		if kept := next.Member == g.Member; kept != (code == kafkago.IllegalGeneration) {
			t.Errorf("%v: member %s after %s", code, next.Member, g.Member)
		}
		w.close()
	}
}

// Heartbeats that get no answer prove nothing: work stops before the session is
// over, and goes on in the same generation when answers come again.
func TestLeasePauses(t *testing.T) {
	c := setupFake(t)
	o := c.options()
	o.Margin = 5500 * time.Millisecond // half a second of lease
	w := c.run(o)
	g := w.with(six)
	var cut atomic.Bool
	cut.Store(true)
	c.fake.ControlKey(int16(kmsg.Heartbeat), func(kmsg.Request) (kmsg.Response, error, bool) {
		c.fake.KeepControl()
		if cut.Load() {
			return nil, errors.New("cut"), true // closes the connection
		}
		return nil, nil, false
	})
	c.eventually("the lease to end", func() bool { return !g.lease.holds() })
	c.eventually("work to stop", func() bool {
		n := w.progress()
		for range 20 {
			retry.Pause(c.context(), 5*time.Millisecond)
			if w.progress() != n {
				return false
			}
		}
		return true
	})
	cut.Store(false)
	w.advance()
	if w.current() != g || g.Err() != nil {
		t.Errorf("the generation was not kept: %v", g.Err())
	}
	w.close()
}

// A static member that is back within the session moves nothing and disturbs
// nobody. A second process with the same instance ends the first.
func TestStaticRestart(t *testing.T) {
	c := setup(t)
	one, two := c.options(), c.options()
	one.Instance, two.Instance = "one", "two"
	a := c.run(one)
	a.with(six)
	b := c.run(two)
	ga, gb := a.with(3), b.with(3)
	b.close()
	again := c.run(two)
	next := again.with(3)
	if next.ID != gb.ID || !slices.Equal(next.Partitions, gb.Partitions) {
		t.Errorf("after the restart %v in generation %d, before it %v in %d", next.Partitions, next.ID, gb.Partitions, gb.ID)
	}
	if a.current() != ga {
		t.Error("the other member had to join again")
	}
	rival := c.run(two)
	<-again.ended
	if !Fenced(again.err) {
		t.Errorf("the older of two processes ended with %v", again.err)
	}
	rival.with(3)
	rival.close()
	a.close()
}

// A static member that led, restarted, and is not told that it leads still sees
// to it that partitions that are added are given out.
func TestStaticRestartWatches(t *testing.T) {
	c := setup(t)
	o := c.options()
	o.Instance, o.Watch = "one", 100*time.Millisecond
	w := c.run(o)
	w.with(six)
	w.close()
	w = c.run(o)
	w.with(six)
	req := kmsg.NewPtrCreatePartitionsRequest()
	req.TimeoutMillis = 5000
	rt := kmsg.NewCreatePartitionsRequestTopic()
	rt.Topic, rt.Count = c.topic, six+2
	req.Topics = append(req.Topics, rt)
	resp, err := req.RequestWith(c.context(), c.admin)
	if err != nil || resp.Topics[0].ErrorCode != 0 {
		t.Fatal(err, resp)
	}
	w.with(six + 2)
	w.close()
}

// Who drains for longer than a rebalance may take is dropped; the others go on,
// and it comes back when it is done.
func TestDrainLongerThanTheRebalance(t *testing.T) {
	c := setup(t)
	o := c.options()
	o.Rebalance = time.Second
	slow := c.run(o)
	slow.with(six)
	drain := make(chan struct{})
	slow.mu.Lock()
	slow.drain, slow.quiet = drain, true
	slow.mu.Unlock()
	other := c.run(o)
	other.with(six)
	first := slow.current()
	c.eventually("the slow one to be told", func() bool { return first.Err() != nil })
	before := c.committed()
	slow.mu.Lock()
	slow.quiet = false // what it commits from now on must not count
	slow.mu.Unlock()
	close(drain)
	slow.with(3)
	other.with(3)
	for p, o := range before {
		if now := c.committed()[p]; now < o {
			t.Errorf("%v: committed %d after %d", p, now, o)
		}
	}
	slow.close()
	other.close()
}

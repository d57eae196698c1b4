package push

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/alicebob/miniredis/v2"
	"github.com/alicebob/miniredis/v2/server"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"

	"github.com/weir-moderation/weir/pipeline/event"
)

func TestMain(m *testing.M) {
	// The client tries once a second whether a server that is gone is there again,
	// and ends that only then when it is closed.
	tries := goleak.IgnoreAnyFunction("github.com/redis/go-redis/v9/internal/pool.(*ConnPool).tryDial")
	goleak.VerifyTestMain(m, tries, goleak.Cleanup(func(code int) {
		stopShared()
		os.Exit(code)
	}))
}

const shippedPolicy = "../../configs/push.yaml"

func loadPolicy(t testing.TB, file string) *Policy {
	t.Helper()
	src, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	p, err := ParsePolicy(file, src)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// eachRedis runs a test on the embedded Redis, on a redis-server (the one
// WEIR_TEST_REDIS names, host:port, or one of the tests' own) and on a cluster of
// three, whose addresses are joined by commas.
func eachRedis(t *testing.T, test func(t *testing.T, addr string)) {
	t.Run("embedded", func(t *testing.T) { test(t, startRedis(t).Addr()) })
	t.Run("real", func(t *testing.T) { test(t, sharedServer(t)) })
	t.Run("cluster", func(t *testing.T) { test(t, sharedCluster(t)) })
}

// startRedis starts an embedded Redis that also says what a real one says of its memory.
func startRedis(t testing.TB) *miniredis.Miniredis {
	m := miniredis.RunT(t)
	answerInfo(m, map[string]string{"memory": "maxmemory_policy:noeviction", "replication": "role:master"})
	return m
}

func answerInfo(m *miniredis.Miniredis, sections map[string]string) {
	m.Server().SetPreHook(func(c *server.Peer, cmd string, args ...string) bool {
		if !strings.EqualFold(cmd, "INFO") || len(args) != 1 {
			return false
		}
		c.WriteBulk("# it\r\n" + sections[args[0]] + "\r\n")
		return true
	})
}

// configFor returns a configuration with a key of its own: its users have names
// in Redis that no other test has.
func configFor(t testing.TB, addr string) Config {
	t.Helper()
	c := DefaultConfig()
	c.Redis.Addrs = strings.Split(addr, ",")
	c.PseudonymKeyFile = filepath.Join(t.TempDir(), "pseudonym.key")
	if err := os.WriteFile(c.PseudonymKeyFile, []byte(rand.Text()+rand.Text()), 0o600); err != nil {
		t.Fatal(err)
	}
	return c
}

// storeFor returns a store. What it writes is deleted when the test is over.
func storeFor(t testing.TB, c Config) *Store {
	t.Helper()
	s, err := NewStore(Options{Config: c, Registerer: prometheus.NewRegistry()})
	if err != nil {
		t.Fatal(err)
	}
	written := &writtenKeys{keys: make(map[string]bool)}
	s.client.AddHook(written)
	t.Cleanup(func() {
		pipe := s.client.Pipeline()
		for key := range written.keys {
			pipe.Del(context.Background(), key)
		}
		_, _ = pipe.Exec(context.Background()) // the test may have stopped the server
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func newStore(t testing.TB, addr string) *Store { return storeFor(t, configFor(t, addr)) }

// writtenKeys remembers the keys of all commits.
type writtenKeys struct {
	mu   sync.Mutex
	keys map[string]bool
}

func (w *writtenKeys) DialHook(next redis.DialHook) redis.DialHook          { return next }
func (w *writtenKeys) ProcessHook(next redis.ProcessHook) redis.ProcessHook { return next }
func (w *writtenKeys) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, cmds []redis.Cmder) error {
		for _, c := range cmds {
			if c.Name() == "evalsha" || c.Name() == "eval" {
				w.mu.Lock()
				w.keys[fmt.Sprint(c.Args()[5])] = true
				w.mu.Unlock()
			}
		}
		return next(ctx, cmds)
	}
}

// noon is a time of day at which nobody in Shanghai rests.
var noon = time.Date(2026, 11, 24, 4, 0, 0, 0, time.UTC)

// consentEvent is a user who agrees to everything, by the shipped policy's words.
func consentEvent(user string, version uint64, granted bool) *event.Event {
	e := &event.Event{Kind: event.Consent, User: event.User{ID: []byte(user)}, Time: noon}
	e.Consent = event.ConsentPart{Version: version, DailyMax: -1, Zone: []byte("Asia/Shanghai")}
	for _, class := range []string{"content", "marketing"} {
		for _, channel := range []string{"app", "sms", "email", "popup"} {
			e.Consent.Grants = append(e.Consent.Grants, event.Grant{Class: []byte(class), Channel: []byte(channel), Granted: granted, Time: noon.Add(-24 * time.Hour), Method: []byte("settings")})
		}
	}
	return e
}

func pushTo(user, id, class string) Request {
	return Request{User: []byte(user), ID: []byte(id), Class: []byte(class), Channel: []byte("app"), Label: []byte("广告"), Time: noon}
}

// decide decides one push and returns the decision as word and reason.
func decide(t testing.TB, s *Store, p *Policy, now time.Time, r Request) Decision {
	t.Helper()
	d, err := s.Decide(t.Context(), p, now, []Request{r})
	if err != nil {
		t.Fatal(err)
	}
	return d[0]
}

func word(d Decision) string { return string(d.Decision) + "/" + string(d.Reason) }

// logOf returns a user's send log as it stands in Redis.
func logOf(t testing.TB, s *Store, user string) SendLog {
	t.Helper()
	record, err := s.client.Get(t.Context(), logKey(s.names.user([]byte(user)))).Result()
	if err != nil && !errors.Is(err, redis.Nil) {
		t.Fatal(err)
	}
	l, err := ParseSendLog(record)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

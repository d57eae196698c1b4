package push

import (
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
)

// Each thing that would make Redis unsafe to rely on is said in words, with what
// would be right.
func TestCheckSaysWhatIsWrongWithRedis(t *testing.T) {
	for _, c := range []struct {
		name, memory, replication string
		ahead                     time.Duration
		wants                     []string
	}{
		{"all is well", "maxmemory_policy:noeviction", "role:master", 20 * time.Second, nil},
		{"evicts", "maxmemory_policy:allkeys-lru", "role:master", 0, []string{"throws records away when memory is short (maxmemory-policy allkeys-lru)", "set maxmemory-policy noeviction"}},
		{"does not say", "", "role:master", 0, []string{"does not say whether it throws records away", "INFO memory must tell maxmemory_policy"}},
		{"a replica", "maxmemory_policy:noeviction", "role:slave", 0, []string{"is a replica, which takes no writes; name the primary in push.redis.addrs"}},
		{"clock ahead", "maxmemory_policy:noeviction", "role:master", 90 * time.Second, []string{"has a clock 90 s ahead of ours, at most 30 s are safe"}},
		{"clock behind, and evicts", "maxmemory_policy:volatile-ttl", "role:master", -45 * time.Second, []string{"has a clock 45 s behind ours", "volatile-ttl"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := startRedis(t)
			answerInfo(m, c.memory, c.replication)
			m.SetTime(noon.Add(c.ahead))
			s := newStore(t, m.Addr())
			s.now = func() time.Time { return noon }
			err := s.Check(t.Context())
			if (err == nil) != (c.wants == nil) {
				t.Fatalf("check: %v", err)
			}
			for _, want := range c.wants {
				if !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), m.Addr()) {
					t.Errorf("check does not say %q of %s:\n%v", want, m.Addr(), err)
				}
			}
			if skew := testutil.ToFloat64(s.metrics.skew); skew != c.ahead.Seconds() {
				t.Errorf("weir_push_clock_skew_seconds is %v, want %v", skew, c.ahead.Seconds())
			}
		})
	}
}

// A Redis that wants a password says so, one that gets the right one works, and
// the password is in no message.
func TestLogin(t *testing.T) {
	m := startRedis(t)
	m.RequireUserAuth("weir", "correct horse")
	for _, c := range []struct{ name, user, password, want string }{
		{"none", "", "", "refuses the login"},
		{"wrong", "weir", "wrong horse", "refuses the login"},
		{"right", "weir", "correct horse", ""},
	} {
		config := configFor(t, m.Addr())
		config.Redis.Username = c.user
		if c.password != "" {
			config.Redis.PasswordFile = write(t, "password", c.password+"\n")
		}
		err := storeFor(t, config).Check(t.Context())
		if c.want == "" && err != nil {
			// The embedded Redis has its own clock and says what startRedis told it.
			t.Errorf("%s: %v", c.name, err)
		}
		if c.want != "" && (err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "push.redis.username")) {
			t.Errorf("%s: %v, want it to say %q", c.name, err, c.want)
		}
		if err != nil && strings.Contains(err.Error(), "horse") {
			t.Errorf("%s: the password is in the message: %v", c.name, err)
		}
	}
}

// Both the embedded Redis and a real one pass the check as they come.
func TestCheckPasses(t *testing.T) {
	eachRedis(t, func(t *testing.T, addr string) {
		if err := newStore(t, addr).Check(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

package push

import (
	"context"
	"errors"
	"fmt"
	"math"
	"strings"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"
)

// maxSkew is how far the clocks of this machine and of Redis may be apart. Send
// logs are shared by processes whose clocks can only be compared by Redis's.
const maxSkew = 30 * time.Second

// checkTimeout bounds a check, since readiness waits for it.
const checkTimeout = 2 * time.Second

// Check asks every Redis that is written to whether Weir can rely on it, and
// returns all that is wrong in words: it does not answer, refuses the login, is
// a replica, may throw records away when memory is short, does not run scripts,
// or has another idea of the time.
func (s *Store) Check(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, checkTimeout)
	defer cancel()
	var mu sync.Mutex
	var errs []error
	farthest := time.Duration(0)
	check := func(ctx context.Context, c *redis.Client) error {
		skew, err := s.checkNode(ctx, c)
		mu.Lock()
		defer mu.Unlock()
		errs = append(errs, err)
		if skew.Abs() > farthest.Abs() {
			farthest = skew
		}
		return nil
	}
	var err error
	switch c := s.client.(type) {
	case *redis.ClusterClient:
		if err = c.ForEachMaster(ctx, check); err != nil {
			err = fmt.Errorf("redis cluster does not say who its members are: %w; correct push.redis.addrs, or take cluster: true out", err)
		}
	case *redis.Client:
		err = check(ctx, c)
	}
	s.metrics.skew.Set(farthest.Seconds())
	return errors.Join(append(errs, err)...)
}

// checkNode returns how far a Redis's clock is ahead of ours, and what is wrong
// with it.
func (s *Store) checkNode(ctx context.Context, c *redis.Client) (skew time.Duration, err error) {
	addr := c.Options().Addr
	if err := c.Ping(ctx).Err(); err != nil {
		switch {
		case redis.HasErrorPrefix(err, "NOAUTH"), redis.HasErrorPrefix(err, "WRONGPASS"):
			return 0, fmt.Errorf("redis at %s refuses the login: %w; correct push.redis.username and password_file", addr, err)
		case redis.HasErrorPrefix(err, "LOADING"):
			return 0, fmt.Errorf("redis at %s is still reading its data: %w; wait until it is done", addr, err)
		}
		return 0, fmt.Errorf("redis at %s does not answer: %w; start it, or correct push.redis.addrs", addr, err)
	}
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }

	if replication, err := c.Info(ctx, "replication").Result(); err == nil && field(replication, "role") == "slave" {
		bad("redis at %s is a replica, which takes no writes; name the primary in push.redis.addrs", addr)
	}
	// INFO tells the policy also where CONFIG is forbidden.
	memory, err := c.Info(ctx, "memory").Result()
	switch policy := field(memory, "maxmemory_policy"); {
	case err != nil:
		bad("redis at %s does not say whether it throws records away when memory is short (INFO memory): %w; allow the command", addr, err)
	case policy == "":
		bad("redis at %s does not say whether it throws records away when memory is short; INFO memory must tell maxmemory_policy", addr)
	case policy != "noeviction":
		bad("redis at %s throws records away when memory is short (maxmemory-policy %s), which would lift caps and lose consent without a trace; set maxmemory-policy noeviction", addr, policy)
	}
	if err := s.script.Load(ctx, c).Err(); err != nil {
		bad("redis at %s does not take scripts: %w; allow SCRIPT LOAD and EVALSHA", addr, err)
	}
	asked := s.now()
	told, err := c.Time(ctx).Result()
	if err != nil {
		bad("redis at %s does not tell the time: %w; allow the command TIME", addr, err)
		return 0, errors.Join(errs...)
	}
	answered := s.now()
	skew = told.Sub(asked.Add(answered.Sub(asked) / 2))
	if skew.Abs() > maxSkew {
		seconds := math.Round(skew.Abs().Seconds())
		direction := "ahead of"
		if skew < 0 {
			direction = "behind"
		}
		bad("redis at %s has a clock %.0f s %s ours, at most %.0f s are safe; set both by a time service", addr, seconds, direction, maxSkew.Seconds())
	}
	return skew, errors.Join(errs...)
}

// field returns a field of an INFO answer.
func field(info, name string) string {
	for line := range strings.Lines(info) {
		if key, value, ok := strings.Cut(strings.TrimSpace(line), ":"); ok && key == name {
			return value
		}
	}
	return ""
}

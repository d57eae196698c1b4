package push

import (
	"context"
	"fmt"
	"slices"
	"sync"

	"github.com/redis/go-redis/v9"
)

// userRecords are what Redis holds of one user, empty where it holds nothing.
type userRecords struct {
	profile, log string
	trusted      bool // the profile is the newest there is, as far as Kafka was read
}

// reading is what is read from one server: records of users and, behind them, the
// marker that says whether they can be trusted.
type reading struct {
	addr    string // empty where answers may come from several servers
	pipe    redis.Pipeliner
	which   []int // places in the list that is read
	answers []*redis.SliceCmd
	marker  *redis.StringCmd // nil where there is no view to be trusted
}

func (r *reading) ask(ctx context.Context, user string, at int) {
	r.which = append(r.which, at)
	r.answers = append(r.answers, r.pipe.MGet(ctx, profileKey(user), logKey(user)))
}

// read reads the records of some users in one round, and says of each whether the
// profile can be trusted.
func (s *Store) read(ctx context.Context, users []string, which []int) ([]userRecords, error) {
	readings, err := s.readings(ctx, users, which)
	if err != nil {
		return nil, fmt.Errorf("read from redis: %w", err)
	}
	var wg sync.WaitGroup
	for _, r := range readings[1:] {
		wg.Go(func() { _, _ = r.pipe.Exec(ctx) }) // each answer has its own error
	}
	_, _ = readings[0].pipe.Exec(ctx)
	wg.Wait()

	records := make([]userRecords, len(which))
	strays := &reading{pipe: s.client.Pipeline()}
	for _, r := range readings {
		trusted := r.marker == nil || s.view.vouches(r.addr, r.marker.Val())
		if !trusted {
			s.view.doubted()
		}
		for i, at := range r.which {
			switch err := r.answers[i].Err(); {
			case redirected(err):
				strays.ask(ctx, users[which[at]], at)
			case err != nil:
				return nil, fmt.Errorf("read from redis: %w", err)
			default:
				records[at] = recordsOf(r.answers[i], trusted)
			}
		}
	}
	if len(strays.which) == 0 {
		return records, nil
	}
	// Their slots are moving to another primary of the cluster. The client finds
	// them, but nobody knows which server has answered.
	s.view.moved()
	s.view.doubted()
	if c, ok := s.client.(*redis.ClusterClient); ok {
		c.ReloadState(ctx)
	}
	if _, err := strays.pipe.Exec(ctx); err != nil {
		return nil, fmt.Errorf("read from redis: %w", err)
	}
	for i, at := range strays.which {
		records[at] = recordsOf(strays.answers[i], false)
	}
	return records, nil
}

func recordsOf(answer *redis.SliceCmd, trusted bool) userRecords {
	v := answer.Val()
	r := userRecords{trusted: trusted}
	r.profile, _ = v[0].(string)
	r.log, _ = v[1].(string)
	return r
}

// readings arranges what is read from where. Where there is a view to be trusted it
// must be known which server answers, so that each primary of a cluster is asked by
// itself. There is always at least one reading.
func (s *Store) readings(ctx context.Context, users []string, which []int) ([]*reading, error) {
	cluster, ok := s.client.(*redis.ClusterClient)
	if !ok || !s.view.on() {
		r := &reading{pipe: s.client.Pipeline()}
		for at, i := range which {
			r.ask(ctx, users[i], at)
		}
		if c, ok := s.client.(*redis.Client); ok && s.view.on() {
			r.addr = c.Options().Addr
			r.marker = r.pipe.Get(ctx, s.view.markerKey(0))
		}
		return []*reading{r}, nil
	}
	var list []*reading
	for at, i := range which {
		primary, err := cluster.MasterForKey(ctx, profileKey(users[i]))
		if err != nil {
			return nil, err
		}
		addr := primary.Options().Addr
		n := slices.IndexFunc(list, func(r *reading) bool { return r.addr == addr })
		if n < 0 {
			n = len(list)
			list = append(list, &reading{addr: addr, pipe: primary.Pipeline()})
		}
		list[n].ask(ctx, users[i], at)
	}
	for _, r := range list {
		key, err := s.view.marker(ctx, s.client, r.addr)
		if err != nil {
			return nil, err
		}
		r.marker = r.pipe.Get(ctx, key)
	}
	return list, nil
}

package push

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"
)

// Store keeps profiles and send logs in Redis. It may be used by any number of
// goroutines, and by any number of processes on one Redis.
//
// Every method that changes something works the same way: read the records of
// the users in one pipeline, compute what they become, write them in a second
// one, each only if neither of the user's two records has changed since. Users
// whose records did change are done again. So nothing is ever overwritten
// unseen: no slot is used twice, and no push is allowed by a commit that comes
// after the user's withdrawal was written.
//
// On an error nothing is decided, and the same call may be made again. Commits
// of that batch may have been made all the same (a reply can be lost after the
// write); made again, their pushes are found in the logs and consume nothing.
// [Fallback] is what goes on without Redis.
type Store struct {
	client  redis.UniversalClient
	names   *pseudonyms
	now     func() time.Time
	log     *slog.Logger
	metrics *metrics
	script  *redis.Script
	recent  *recent // who was seen last; nil where no [Fallback] asks
}

// Options is what a Store is made of.
type Options struct {
	Config     Config
	Now        func() time.Time // nil: time.Now; only clocks are compared by it
	Logger     *slog.Logger
	Registerer prometheus.Registerer // nil: nowhere
}

// NewStore returns a store. It reads the key and password files but does not
// connect; [Store.Check] does.
func NewStore(o Options) (*Store, error) {
	if err := o.Config.Validate(); err != nil {
		return nil, fmt.Errorf("push: %w", err)
	}
	names, err := readPseudonyms(o.Config.PseudonymKeyFile)
	if err != nil {
		return nil, fmt.Errorf("push.%w", err)
	}
	client, err := o.Config.Redis.client()
	if err != nil {
		return nil, fmt.Errorf("push.%w", err)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	// The client library has one logger for the whole process and writes to
	// standard error by itself, lines nobody can parse.
	redis.SetLogger(clientLog{o.Logger})
	return &Store{
		client:  client,
		names:   names,
		now:     o.Now,
		log:     o.Logger,
		metrics: newMetrics(o.Registerer),
		script:  redis.NewScript(commitScript),
	}, nil
}

// clientLog takes what the client library has to say about its connections.
type clientLog struct{ log *slog.Logger }

func (l clientLog) Printf(ctx context.Context, format string, args ...any) {
	l.log.DebugContext(ctx, "redis client", "detail", fmt.Sprintf(format, args...))
}

// Close lets go of the connections.
func (s *Store) Close() error { return s.client.Close() }

// commitScript is all that runs inside Redis. It writes one record if neither of
// the user's records has changed since it was read: both begin with a version,
// which is empty for a record that is not there. There is one write, at the end,
// so that whatever goes wrong leaves nothing half done.
//
// KEYS: profile, send log, the one of them to write. ARGV: the versions of both,
// the new record, and options of SET. Answers: 0 written, 1 the profile has
// changed, 2 the log has.
//
// Clause: push-withdraw
// A push is allowed only by a commit that finds the profile unchanged, so none is allowed once a withdrawal is written.
const commitScript = `if redis.call('GETRANGE', KEYS[1], 0, 7) ~= ARGV[1] then return 1 end
if redis.call('GETRANGE', KEYS[2], 0, 7) ~= ARGV[2] then return 2 end
redis.call('SET', KEYS[3], ARGV[3], unpack(ARGV, 4))
return 0`

// version returns what the script compares of a record.
func version(record string) string { return record[:min(len(record), 8)] }

// update is what becomes of one user's records: one of them is written, or none.
type update struct {
	key     string // empty to write nothing
	record  []byte
	options []any // of SET
}

// maxTries is how often the records of a user are read and committed again
// because somebody else was faster. That happens only while two processes hold
// the same user's partition; with the wait between tries, eight of them hammering
// one user needed eleven.
const maxTries = 50

var errConflicts = errors.New("too many conflicts: other processes keep changing the same users; if it lasts, look for two deployments that read the same topics")

// stuck is an error about some users only: their records kept changing. Those of
// all others are written.
type stuck struct{ users []int } // by index

func (e *stuck) Error() string { return errConflicts.Error() }

func (e *stuck) Is(target error) bool { return target == errConflicts }

// transact reads the records of the users, asks change what becomes of each, and
// commits. It asks again for users whose records changed meanwhile. The whole has
// a time limit, so that a frozen Redis gives an error.
func (s *Store) transact(ctx context.Context, users []string, change func(i int, profile, log string) update) error {
	limited, cancel := context.WithTimeout(ctx, batchTimeout)
	defer cancel()
	committed := func() {}
	if s.recent != nil {
		change, committed = s.recent.watch(users, change)
	}
	err := s.try(limited, users, change)
	if err == nil {
		committed()
	}
	if err != nil && ctx.Err() == nil {
		s.metrics.errors[kindOf(err)].Inc()
	}
	return err
}

func (s *Store) try(ctx context.Context, users []string, change func(i int, profile, log string) update) error {
	pending := make([]int, len(users))
	for i := range pending {
		pending[i] = i
	}
	for tries := 0; len(pending) > 0; tries++ {
		if tries > maxTries {
			return &stuck{pending}
		}
		if err := pause(ctx, tries); err != nil {
			if errors.Is(err, context.DeadlineExceeded) {
				return &stuck{pending} // Redis has answered all the time
			}
			return err
		}
		records, err := s.read(ctx, users, pending)
		if err != nil {
			return err
		}
		commit := s.client.Pipeline()
		var asked []int
		var answers []*redis.Cmd
		for k, i := range pending {
			profile, log := records[k].profile, records[k].log
			u := change(i, profile, log)
			if u.key == "" {
				continue
			}
			keys := []string{profileKey(users[i]), logKey(users[i]), u.key}
			args := append([]any{version(profile), version(log), u.record}, u.options...)
			asked = append(asked, i)
			answers = append(answers, commit.EvalSha(ctx, s.script.Hash(), keys, args...))
		}
		if len(asked) == 0 {
			return nil
		}
		// If the process dies in here, some users have their slot taken and others
		// not, and nobody has been told anything: the batch is judged again.
		_, _ = commit.Exec(ctx) // each answer has its own error
		pending = pending[:0]
		forgotten := false
		for k, i := range asked {
			switch n, err := answers[k].Int(); {
			case err == nil && n == 0: // written
			case err == nil:
				s.metrics.conflicts.Inc()
				pending = append(pending, i)
			case redis.HasErrorPrefix(err, "NOSCRIPT"):
				forgotten = true
				pending = append(pending, i)
			default:
				return fmt.Errorf("commit to redis: %w", err)
			}
		}
		if forgotten { // Redis was restarted, failed over, or told to forget its scripts
			if err := s.script.Load(ctx, s.client).Err(); err != nil {
				return fmt.Errorf("load the script into redis: %w", err)
			}
		}
	}
	return nil
}

// userRecords are what Redis holds of one user, empty where it holds nothing.
type userRecords struct{ profile, log string }

func (s *Store) read(ctx context.Context, users []string, which []int) ([]userRecords, error) {
	pipe := s.client.Pipeline()
	answers := make([]*redis.SliceCmd, len(which))
	for k, i := range which {
		answers[k] = pipe.MGet(ctx, profileKey(users[i]), logKey(users[i]))
	}
	if _, err := pipe.Exec(ctx); err != nil {
		return nil, fmt.Errorf("read from redis: %w", err)
	}
	records := make([]userRecords, len(which))
	for k := range which {
		v := answers[k].Val()
		records[k].profile, _ = v[0].(string)
		records[k].log, _ = v[1].(string)
	}
	return records, nil
}

// pause waits before a repeated try, up to 6.4 ms and by chance, so that two who
// met do not meet again.
func pause(ctx context.Context, tries int) error {
	if tries == 0 {
		return nil
	}
	t := time.NewTimer(time.Duration(rand.IntN(200<<min(tries, 5))) * time.Microsecond)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return fmt.Errorf("commit to redis: %w", ctx.Err())
	case <-t.C:
		return nil
	}
}

// kindOf sorts an error for the metric.
func kindOf(err error) string {
	var network net.Error
	var reply redis.Error
	switch {
	case errors.Is(err, errConflicts):
		return kindConflict
	case errors.Is(err, context.DeadlineExceeded), errors.As(err, &network) && network.Timeout():
		return kindTimeout
	case errors.As(err, &reply) && strings.HasPrefix(reply.Error(), "OOM"):
		return kindMemory
	case errors.As(err, &reply):
		return kindReply
	}
	return kindConnection
}

// maxBatch is how many pushes or changes go to Redis at once. All the gain of a
// batch is had at a hundred; more would only keep others waiting.
const maxBatch = 512

// Decide decides every push, those of one user in their order, and commits what
// the allowed ones consume. It may be called again with the same requests at any
// time. It sets their marks.
func (s *Store) Decide(ctx context.Context, p *Policy, now time.Time, reqs []Request) ([]Decision, error) {
	decisions := make([]Decision, len(reqs))
	for from := 0; from < len(reqs); from += maxBatch {
		to := min(from+maxBatch, len(reqs))
		started := s.now()
		if err := s.decide(ctx, p, now, reqs[from:to], decisions[from:to]); err != nil {
			return nil, err
		}
		s.metrics.batches.Observe(s.now().Sub(started).Seconds())
	}
	for i := range decisions {
		if decisions[i].Replay {
			s.metrics.replays.Inc()
		}
	}
	return decisions, nil
}

func (s *Store) decide(ctx context.Context, p *Policy, now time.Time, reqs []Request, decisions []Decision) error {
	users := newRoll(s.names, len(reqs))
	for i := range reqs {
		reqs[i].Mark = s.names.push(reqs[i].ID)
		users.add(reqs[i].User)
	}
	retain := int64(p.retain / time.Second)
	err := s.transact(ctx, users.names, func(u int, profileRecord, logRecord string) update {
		profile := s.profile(profileRecord)
		log := s.sendLog(logRecord)
		current := &log
		for i := range users.entries(u) {
			d, next := Decide(now, p, &profile, current, &reqs[i])
			d.Pseudonym, d.PseudonymKey = users.names[u], s.names.id
			if d.Decision == Allow {
				d.Mark = s.names.public(reqs[i].Mark)
			}
			decisions[i] = d
			if next != nil {
				current = next
			}
		}
		if current == &log {
			return update{}
		}
		current.Version = nextVersion(logRecord)
		return update{key: logKey(users.names[u]), record: current.Record(), options: []any{"EX", retain}}
	})
	e, some := errors.AsType[*stuck](err)
	if !some {
		return err
	}
	for _, u := range e.users {
		for i := range users.entries(u) {
			// What is not counted needed no commit and stands as it was decided.
			if k := p.classes[string(reqs[i].Class)]; k != nil && k.counted && decisions[i].Decision == Allow {
				decisions[i] = waitForStore(now, p, &reqs[i])
				decisions[i].Pseudonym, decisions[i].PseudonymKey = users.names[u], s.names.id
			}
		}
	}
	return nil
}

// profile reads a profile's record. A damaged one is counted and treated with
// all caution by Decide.
func (s *Store) profile(record string) Profile {
	p, err := ParseProfile(record)
	if err != nil {
		s.metrics.damaged["profile"].Inc()
	}
	return p
}

// sendLog does the same for a send log.
func (s *Store) sendLog(record string) SendLog {
	l, err := ParseSendLog(record)
	if err != nil {
		s.metrics.damaged["log"].Inc()
	}
	return l
}

// nextVersion returns the version of the log to be written after the one that
// was read.
func nextVersion(record string) uint64 {
	if len(record) < logHeader {
		return rand.Uint64()
	}
	return be64(record) + 1
}

// roll lists the users of a batch, each once, and which entries of the batch are
// whose.
type roll struct {
	pseudonyms  *pseudonyms
	index       map[string]int
	names       []string // pseudonyms
	first, last []int    // of a user: entries of the batch
	next        []int    // of an entry: the same user's next one, -1 for none
}

func newRoll(p *pseudonyms, n int) *roll {
	return &roll{pseudonyms: p, index: make(map[string]int, n), names: make([]string, 0, n),
		first: make([]int, 0, n), last: make([]int, 0, n), next: make([]int, 0, n)}
}

// add notes that the next entry of the batch is this user's.
func (r *roll) add(user []byte) {
	i := len(r.next)
	r.next = append(r.next, -1)
	if u, ok := r.index[string(user)]; ok {
		r.next[r.last[u]], r.last[u] = i, i
		return
	}
	r.index[string(user)] = len(r.names)
	r.names = append(r.names, r.pseudonyms.user(user))
	r.first, r.last = append(r.first, i), append(r.last, i)
}

// entries yields the entries of a user in their order.
func (r *roll) entries(u int) func(yield func(int) bool) {
	return func(yield func(int) bool) {
		for i := r.first[u]; i >= 0; i = r.next[i] {
			if !yield(i) {
				return
			}
		}
	}
}

package push

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
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
	view    *consentView
	recent  *recent // who was seen last; nil where no [Fallback] asks
	force   atomic.Pointer[force]
	// acceptEviction is what the configuration says of a Redis that evicts.
	acceptEviction bool
	checkEvery     time.Duration
	skew           atomic.Int64 // how far the clock of Redis is ahead of ours, in nanoseconds
}

// force is what the policy in force means to the store.
type force struct {
	policy *Policy
	limits map[string]prometheus.Observer
}

// Enforce tells the store which policy is in force, so that [Store.Check] asks
// for what it promises, consent waits for replicas if it says so, and its limits
// have their metrics. Decisions are given theirs with each call.
func (s *Store) Enforce(p *Policy) {
	s.force.Store(&force{policy: p, limits: s.metrics.limitsOf(p)})
}

// replicated reports whether the policy in force wants replicas to have what is written.
func (s *Store) replicated() bool {
	f := s.force.Load()
	return f != nil && f.policy.replicated
}

// Options is what a Store is made of.
type Options struct {
	Config Config
	// Consent are the topics, or patterns of topics, of which Redis is a view: until
	// a marker says that it is a complete one, pushes that need consent wait. With
	// none whatever Redis holds is taken for all there is.
	Consent    []string
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
	m := newMetrics(o.Registerer)
	v := newView(o.Consent, names.id, m)
	var greet func(addr string) func(context.Context, *redis.Conn) error
	if v.on() {
		greet = v.greet
	}
	client, err := o.Config.Redis.client(greet)
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
		metrics: m,
		view:    v,
		script:  redis.NewScript(commitScript),

		acceptEviction: o.Config.Redis.AcceptEviction,
		checkEvery:     checkEvery,
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

// asItIs writes a record of a user as it stands, where there is one. What is
// read may have been written by a call that never heard whether a replica has
// it. Replication keeps the order, so once a replica has this it has that, too.
func asItIs(user, profile, log string) update {
	switch {
	case log != "":
		return update{key: logKey(user), record: []byte(log), options: []any{"KEEPTTL"}}
	case profile != "":
		return update{key: profileKey(user), record: []byte(profile), options: []any{"KEEPTTL"}}
	}
	return update{}
}

// maxTries is how often the records of a user are read and committed again
// because somebody else was faster. That happens only while two processes hold
// the same user's partition; with the wait between tries, eight of them hammering
// one user needed eleven.
const maxTries = 50

var (
	errConflicts   = errors.New("too many conflicts: other processes keep changing the same users; if it lasts, look for two deployments that read the same topics")
	errUnconfirmed = fmt.Errorf("no replica of redis has confirmed the write within %v, which the policy promises (durability: replicated); look at the replicas and at what lies between", replicaTimeout)
)

// stuck is an error about some users only: their records kept changing. Those of
// all others are written.
type stuck struct{ users []int } // by index

func (e *stuck) Error() string { return errConflicts.Error() }

func (e *stuck) Is(target error) bool { return target == errConflicts }

// transact reads the records of the users, asks change what becomes of each, and
// commits. It asks again for users whose records changed meanwhile. The whole has
// a time limit, so that a frozen Redis gives an error.
//
// Where the policy in force promises durability: replicated, it returns nil only
// when a replica has all of it. On an error what it wrote may stand; called again,
// it waits for that to be confirmed, too.
func (s *Store) transact(ctx context.Context, users []string, change func(i int, profile, log string) update) error {
	replicated := s.replicated()
	unconfirmed, err := s.commit(ctx, users, replicated, make([]bool, len(users)), func(i int, profile, log string) update {
		u := change(i, profile, log)
		if u.key == "" && replicated {
			return asItIs(users[i], profile, log)
		}
		return u
	})
	if err == nil && len(unconfirmed) > 0 {
		s.metrics.errors[kindUnconfirmed].Inc()
		return errUnconfirmed
	}
	return err
}

// commit is transact for who can live with what no replica has confirmed: it
// returns which users those are, by index. Before it asks change about a user it
// notes in trusted whether the profile can be trusted.
func (s *Store) commit(ctx context.Context, users []string, replicated bool, trusted []bool, change func(i int, profile, log string) update) (unconfirmed []int, err error) {
	limited, cancel := context.WithTimeout(ctx, batchTimeout)
	defer cancel()
	committed := func() {}
	if s.recent != nil {
		change, committed = s.recent.watch(users, change)
	}
	c := commit{store: s, users: users, change: change, replicated: replicated, trusted: trusted}
	if err = c.run(limited); err == nil {
		committed()
	}
	if err != nil && ctx.Err() == nil {
		kind := kindOf(err)
		s.metrics.errors[kind].Inc()
		if cluster, ok := s.client.(*redis.ClusterClient); ok && (kind == kindTimeout || kind == kindConnection) {
			// A primary that is gone may have a successor already; by itself the
			// client asks for one only every ten seconds.
			cluster.ReloadState(ctx)
		}
	}
	return c.unconfirmed, err
}

// commit is one read-compute-write of a batch of users.
type commit struct {
	store      *Store
	users      []string
	change     func(i int, profile, log string) update
	replicated bool
	trusted    []bool // by user: whether the profile can be

	pending     []int // users whose turn it is
	unconfirmed []int // users written to a primary, but to no replica in time
	// Redis was restarted, failed over, or told to forget its scripts: of these
	// users it is sent whole. That loads it where it was missing and nowhere else.
	whole map[int]bool
	// The slots of these users are moving to another primary of the cluster: only
	// the cluster client can follow them, and it knows no WAIT.
	moving map[int]bool
}

func (c *commit) run(ctx context.Context) error {
	c.pending = make([]int, len(c.users))
	for i := range c.pending {
		c.pending[i] = i
	}
	reason := errConflicts // why there are pending users after a try
	tries := 0
	for ; len(c.pending) > 0; tries++ {
		if tries > maxTries {
			if errors.Is(reason, errConflicts) {
				return &stuck{c.pending}
			}
			return reason
		}
		if err := pause(ctx, tries); err != nil {
			return c.late(ctx, tries, reason, err)
		}
		records, err := c.store.read(ctx, c.users, c.pending)
		if redirected(err) {
			reason = err
			continue
		}
		if err != nil {
			return c.late(ctx, tries, reason, err)
		}
		lanes, err := c.lanes(ctx, records)
		if err != nil {
			return err
		}
		// If the process dies in here, some users have their slot taken and others
		// not, and nobody has been told anything: the batch is judged again.
		c.pending = c.pending[:0]
		before := reason
		reason = errConflicts
		send(ctx, lanes)
		for n, l := range lanes {
			if why, err := c.settle(ctx, l); err != nil {
				for _, rest := range lanes[n+1:] {
					c.pending = append(c.pending, rest.users...)
				}
				return c.late(ctx, tries, before, err)
			} else if why != nil {
				reason = why
			}
		}
	}
	c.store.metrics.tries.Observe(float64(tries))
	return nil
}

// late is the error of a try that failed. When the time of the batch is over and
// Redis has answered before, it was used up by conflicts.
func (c *commit) late(ctx context.Context, tries int, before, err error) error {
	if tries > 0 && errors.Is(before, errConflicts) && errors.Is(ctx.Err(), context.DeadlineExceeded) {
		return &stuck{c.pending}
	}
	return err
}

// lane is the part of a commit that goes to one primary, on one connection.
type lane struct {
	client  redis.UniversalClient
	pipe    redis.Pipeliner
	users   []int
	answers []*redis.Cmd
	wait    *redis.Cmd // nil where nobody waits for a replica
}

// lanes computes what becomes of the pending users and arranges what is to be
// written. Where nobody waits for replicas, one lane will do: the cluster client
// parts it by itself.
func (c *commit) lanes(ctx context.Context, records []userRecords) ([]*lane, error) {
	var lanes []*lane
	s := c.store
	for k, i := range c.pending {
		profile, log := records[k].profile, records[k].log
		c.trusted[i] = records[k].trusted
		u := c.change(i, profile, log)
		if u.key == "" {
			continue
		}
		client := s.client
		cluster, ok := client.(*redis.ClusterClient)
		if ok && c.replicated && !c.moving[i] {
			// WAIT is about what its own connection has written.
			primary, err := cluster.MasterForKey(ctx, u.key)
			if err != nil {
				return nil, fmt.Errorf("find the primary of a user in the redis cluster: %w", err)
			}
			client = primary
		}
		n := slices.IndexFunc(lanes, func(l *lane) bool { return l.client == client })
		if n < 0 {
			n = len(lanes)
			lanes = append(lanes, &lane{client: client, pipe: client.Pipeline()})
		}
		l := lanes[n]
		keys := []string{profileKey(c.users[i]), logKey(c.users[i]), u.key}
		args := append([]any{version(profile), version(log), u.record}, u.options...)
		l.users = append(l.users, i)
		if c.whole[i] {
			l.answers = append(l.answers, l.pipe.Eval(ctx, commitScript, keys, args...))
		} else {
			l.answers = append(l.answers, l.pipe.EvalSha(ctx, s.script.Hash(), keys, args...))
		}
	}
	for _, l := range lanes {
		if _, ok := l.client.(*redis.ClusterClient); c.replicated && !ok {
			l.wait = l.pipe.Do(ctx, "WAIT", 1, replicaTimeout.Milliseconds())
		}
	}
	return lanes, nil
}

// send sends all lanes at once. Each answer has its own error.
func send(ctx context.Context, lanes []*lane) {
	if len(lanes) == 1 {
		_, _ = lanes[0].pipe.Exec(ctx)
		return
	}
	var wg sync.WaitGroup
	for _, l := range lanes {
		wg.Go(func() { _, _ = l.pipe.Exec(ctx) })
	}
	wg.Wait()
}

// settle sorts the users of a lane by what became of them. If some must be tried
// again for another reason than a conflict, it returns that.
func (c *commit) settle(ctx context.Context, l *lane) (reason, err error) {
	confirmed := !c.replicated
	if l.wait != nil {
		n, err := l.wait.Int()
		confirmed = err == nil && n >= 1
	}
	note := func(users *map[int]bool, i int) {
		if *users == nil {
			*users = make(map[int]bool)
		}
		(*users)[i] = true
	}
	for k, i := range l.users {
		switch n, err := l.answers[k].Int(); {
		case err == nil && n == 0: // written
			if !confirmed {
				c.unconfirmed = append(c.unconfirmed, i)
			}
			continue
		case err == nil:
			c.store.metrics.conflicts.Inc()
		case redis.HasErrorPrefix(err, "NOSCRIPT"):
			note(&c.whole, i)
			reason = fmt.Errorf("commit to redis: %w", err)
		case redirected(err):
			reason = fmt.Errorf("commit to redis: %w", err)
			if !redis.HasErrorPrefix(err, "MOVED") {
				note(&c.moving, i)
			} else if cluster, ok := c.store.client.(*redis.ClusterClient); ok {
				cluster.ReloadState(ctx)
			}
		default:
			c.pending = append(c.pending, l.users[k:]...)
			return nil, fmt.Errorf("commit to redis: %w", err)
		}
		c.pending = append(c.pending, i)
	}
	return reason, nil
}

// redirected reports whether a cluster said that the user is, or will be in a
// moment, with another of its members.
func redirected(err error) bool {
	return redis.HasErrorPrefix(err, "MOVED") || redis.HasErrorPrefix(err, "ASK") || redis.HasErrorPrefix(err, "TRYAGAIN")
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
//
// Under a policy with durability: replicated, an allowed push that is not flagged
// [Unconfirmed] is in the send log of a replica, too.
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
	s.count(decisions)
	return decisions, nil
}

// count books what decisions say about the store and the limits.
func (s *Store) count(decisions []Decision) {
	limits := map[string]prometheus.Observer(nil)
	if f := s.force.Load(); f != nil {
		limits = f.limits
	}
	for i := range decisions {
		d := &decisions[i]
		if d.Replay {
			s.metrics.replays.Inc()
		}
		if d.Flags&Unconfirmed != 0 {
			s.metrics.unconfirmed.Inc()
		}
		for k := range d.Limits {
			l := &d.Limits[k]
			// A policy that has just been replaced may have limits that are gone.
			if o := limits[l.ID]; o != nil {
				o.Observe(l.share(d.Decision == Allow))
			}
		}
	}
}

// share returns how much of the limit is used once the push is decided.
func (l *LimitUse) share(allowed bool) float64 {
	n := l.Count
	if allowed {
		n++
	}
	if l.Max <= 0 {
		return 1
	}
	return float64(n) / float64(l.Max)
}

func (s *Store) decide(ctx context.Context, p *Policy, now time.Time, reqs []Request, decisions []Decision) error {
	users := newRoll(s.names, len(reqs))
	for i := range reqs {
		reqs[i].Mark = s.names.push(reqs[i].ID)
		users.add(reqs[i].User)
	}
	retain := int64(p.retain / time.Second)
	clockOff := s.clockOff()
	trusted := make([]bool, len(users.names))
	decide := func(u int, profileRecord, logRecord string) update {
		profile := s.profile(profileRecord)
		profile.Doubtful = !trusted[u]
		log := s.sendLog(logRecord)
		log.ClockOff = clockOff
		current, replayed := &log, false
		for i := range users.entries(u) {
			d, next := Decide(now, p, &profile, current, &reqs[i])
			d.Pseudonym, d.PseudonymKey = users.names[u], s.names.id
			if d.Decision == Allow {
				d.Mark = s.names.public(reqs[i].Mark)
			}
			decisions[i] = d
			replayed = replayed || d.Replay
			if next != nil {
				current = next
			}
		}
		switch {
		case current != &log:
			current.Version = nextVersion(logRecord)
			s.metrics.entries.Observe(float64(len(current.Entries)))
			return update{key: logKey(users.names[u]), record: current.Record(), options: []any{"EX", retain}}
		case replayed && p.replicated:
			return asItIs(users.names[u], profileRecord, logRecord)
		}
		return update{}
	}
	var unconfirmed []int
	var err error
	for tries := 0; ; tries++ {
		if tries == maxServers {
			return errServers
		}
		before := s.view.seen()
		unconfirmed, err = s.commit(ctx, users.names, p.replicated, trusted, decide)
		if s.view.seen() == before || err != nil && !errors.Is(err, errConflicts) {
			break
		}
		// Between reading and writing Redis has become another one. It may have
		// lost a withdrawal that came in between, and then the commit has found
		// nothing changed. What was consumed is found in the logs.
	}
	e, some := errors.AsType[*stuck](err)
	if err != nil && !some {
		return err
	}
	for _, u := range unconfirmed {
		for i := range users.entries(u) {
			// What is allowed without being counted is in no log to be lost from.
			if d := &decisions[i]; d.Decision == Allow && p.classes[string(reqs[i].Class)].counted {
				d.Flags |= Unconfirmed
			}
		}
	}
	if !some {
		return nil
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

// maxServers is how often a batch is decided again because Redis has become another
// server meanwhile.
const maxServers = 3

var errServers = errors.New("redis becomes another server again and again; look at its restarts and failovers, or for several servers behind one address")

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

package chaos

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-moderation/weir/sinks/evidence"
	"github.com/weir-moderation/weir/sinks/evidence/body"
	"github.com/weir-moderation/weir/sinks/evidence/evidencetest"
)

// pushPolicy has short windows beside days, so that they open again within a run.
const pushPolicy = `
policy: push
version: chaos
default_zone: Asia/Shanghai
classes:
  security: {consent: none, quiet: ignore, count: false, on_outage: open}
  service: {consent: none, quiet: ignore, count: true, on_outage: local, local_ratio: 0.5}
  content: {consent: required, quiet: defer, count: true, on_outage: hold}
channels: [app, sms]
groups:
  default:
    limits:
      - {id: service-min, classes: [service], rolling: 20s, max: 2}
      - {id: service-day, classes: [service], days: 1, max: 4}
      - {id: content-min, classes: [content], rolling: 30s, max: 1}
      - {id: content-day, classes: [content], days: 1, max: 3}
      - {id: sms-hour, classes: [service, content], channels: [sms], rolling: 1h, max: 2}
  minor: {extends: default}
  elderly: {extends: default}
`

// pushWindow is a limit as the test counts it, by itself.
type pushWindow struct {
	id      string
	class   string // empty for both counted ones
	channel string // empty for all
	seconds int64  // 0 for the calendar day of the user
	most    int
}

func pushWindows() []pushWindow {
	return []pushWindow{
		{"service-min", "service", "", 20, 2}, {"service-day", "service", "", 0, 4},
		{"content-min", "content", "", 30, 1}, {"content-day", "content", "", 0, 3},
		{"sms-hour", "", "sms", 3600, 2},
	}
}

var pushZones = []string{"Asia/Shanghai", "America/New_York", "Asia/Kathmandu", "Australia/Lord_Howe"}

// pushWorld is everything around instances that decide pushes.
type pushWorld struct {
	t       *testing.T
	rand    *rand.Rand
	brokers []string
	client  *kgo.Client
	admin   *kadm.Client
	redis   *redisServer
	members []*member
	users   int

	group                                                         string
	pushes, consent, outcomes, decisions, cleared, deferred, dead string

	mu         sync.Mutex
	deliveries map[string]int   // of a push, how often it was produced
	left       map[string]int64 // of a user who has withdrawn: when that was committed at the latest, Unix time
}

func newPushWorld(t *testing.T, users int) *pushWorld {
	t.Helper()
	w := &pushWorld{t: t, rand: newRand(t), users: users, deliveries: make(map[string]int), left: make(map[string]int64)}
	w.brokers = brokersFor(t)
	w.redis = startRedis(t)
	tag := fmt.Sprintf("push-%d", time.Now().UnixNano())
	w.group = tag
	var err error
	if w.client, err = kgo.NewClient(kgo.SeedBrokers(w.brokers...), kgo.ProducerLinger(5*time.Millisecond), kgo.MaxBufferedRecords(100_000)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.client.Close)
	w.admin = kadm.NewClient(w.client)
	topic := func(name string, partitions int32, settings map[string]*string) string {
		name = tag + "." + name
		if _, err := w.admin.CreateTopic(t.Context(), partitions, -1, settings, name); err != nil {
			t.Fatal(err)
		}
		return name
	}
	compact := "compact"
	w.pushes, w.consent = topic("pushes", 6, nil), topic("consent", 3, map[string]*string{"cleanup.policy": &compact})
	w.outcomes, w.decisions, w.cleared = topic("outcomes", 2, nil), topic("decisions", 3, nil), topic("cleared", 3, nil)
	w.deferred, w.dead = topic("deferred", 6, nil), topic("dead", 1, nil)
	review := topic("review", 1, nil)

	binary := weirBinary(t)
	key := make([]byte, 32)
	for i := range key {
		key[i] = byte(w.rand.UintN(256))
	}
	for i := range members {
		m := &member{name: fmt.Sprintf("instance %d", i), dir: t.TempDir(), binary: binary}
		write(t, filepath.Join(m.dir, "pseudonym.key"), string(key))
		write(t, filepath.Join(m.dir, "push.yaml"), pushPolicy)
		write(t, filepath.Join(m.dir, "rules", "marked.yaml"), `
pack: marked
rules:
  - {id: marked.word, category: insult, severity: high, action: review, state: live, terms: [forbiddenstuff]}
`)
		write(t, m.config(), fmt.Sprintf(`
source: chaos
instance: "%d"
kafka:
  brokers: ["%s"]
input: {group: %s, pushes: %s, consent: %s, outcomes: %s, posts: [], session_timeout: 6s, rebalance_timeout: 6s, drain_timeout: 2s}
output: {review: %s, deadletter: %s, decisions: %s, cleared: %s, deferred: %s, deferred_turn: 2s, deferred_spread: 6s}
rules: {dir: rules}
push:
  policy: push.yaml
  pseudonym_key_file: pseudonym.key
  redis: {addrs: ["%s"]}
evidence: {dir: evidence}
`, i, strings.Join(w.brokers, `", "`), w.group, w.pushes, w.consent, w.outcomes, review, w.dead, w.decisions, w.cleared, w.deferred, w.redis.addr))
		m.begin(t)
		w.members = append(w.members, m)
	}
	return w
}

// zone is where a user lives.
func (w *pushWorld) zone(user int) string { return pushZones[user%len(pushZones)] }

func userID(user int) string { return fmt.Sprintf("u-%d", user) }

// consentOf is a user's whole state. Every tenth rests until soon.
func (w *pushWorld) consentOf(user, version int, granted bool) *kgo.Record {
	now := time.Now()
	quiet := ""
	if user%10 == 3 && version == 1 {
		zone, err := time.LoadLocation(w.zone(user))
		if err != nil {
			w.t.Error(err)
			return nil
		}
		quiet = fmt.Sprintf(`,"quiet":%q`, quietUntil(now, zone))
	}
	grants := make([]string, 0, 2)
	for _, channel := range []string{"app", "sms"} {
		grants = append(grants, fmt.Sprintf(`{"class":"content","channel":%q,"granted":%t,"time":%q,"method":"settings"}`,
			channel, granted, now.Add(-time.Second).UTC().Format(time.RFC3339)))
	}
	value := fmt.Sprintf(`{"id":"c-%d-%d","time":%q,"user":{"id":%q},"version":%d,"zone":%q%s,"grants":[%s]}`,
		user, version, now.UTC().Format(time.RFC3339Nano), userID(user), version, w.zone(user), quiet, strings.Join(grants, ","))
	return &kgo.Record{Topic: w.consent, Key: []byte(userID(user)), Value: []byte(value)}
}

func (w *pushWorld) produce(ctx context.Context, r *kgo.Record, acked func(*kgo.Record)) {
	w.client.Produce(ctx, r, func(r *kgo.Record, err error) {
		if err != nil {
			w.t.Errorf("produce to %s: %v", r.Topic, err)
		} else if acked != nil {
			acked(r)
		}
	})
}

func (w *pushWorld) flush(ctx context.Context) {
	if err := w.client.Flush(ctx); err != nil {
		w.t.Errorf("flush: %v", err)
	}
}

// enrol has all users agree to everything.
func (w *pushWorld) enrol(ctx context.Context) {
	for u := range w.users {
		w.produce(ctx, w.consentOf(u, 1, true), nil)
	}
	w.flush(ctx)
}

// push produces n pushes over a time, every tenth of them again some time later.
func (w *pushWorld) push(ctx context.Context, n int, over time.Duration) {
	began := time.Now()
	r := rand.New(rand.NewPCG(1, 2))
	var again []*kgo.Record
	send := func(id string, rec *kgo.Record) {
		w.mu.Lock()
		w.deliveries[id]++
		w.mu.Unlock()
		w.produce(ctx, rec, nil)
	}
	for i := range n {
		user, id := r.IntN(w.users), fmt.Sprintf("n-%d", i)
		class := [...]string{"security", "service", "service", "content", "content", "content"}[r.IntN(6)]
		channel := [...]string{"app", "app", "sms"}[r.IntN(3)]
		text := "your parcel is here"
		if r.IntN(200) == 0 {
			text = "forbiddenstuff"
		}
		value := fmt.Sprintf(`{"id":%q,"time":%q,"user":{"id":%q},"class":%q,"channel":%q,"fields":{"body":%q}}`,
			id, time.Now().UTC().Format(time.RFC3339Nano), userID(user), class, channel, text)
		rec := kgo.Record{Topic: w.pushes, Key: []byte(userID(user)), Value: []byte(value)}
		first := rec
		send(id, &first)
		if r.IntN(10) == 0 {
			again = append(again, &rec)
		}
		if len(again) > 0 && r.IntN(12) == 0 {
			k := r.IntN(len(again))
			send(pushID(again[k].Value), again[k])
			again = slices.Delete(again, k, k+1)
		}
		if i%1000 == 0 {
			rest(ctx, time.Until(began.Add(over*time.Duration(i)/time.Duration(n))))
		}
		if ctx.Err() != nil {
			return
		}
	}
	for _, rec := range again {
		send(pushID(rec.Value), rec)
	}
	w.flush(ctx)
}

func pushID(value []byte) string {
	var m struct {
		ID string `json:"id"`
	}
	_ = json.Unmarshal(value, &m) // it was written here
	return m.ID
}

// withdraw has n users withdraw everything while pushes are decided, and notes when
// that was committed.
func (w *pushWorld) withdraw(ctx context.Context, n int) {
	type place struct {
		partition int32
		offset    int64
	}
	where := make(map[string]place)
	var mu sync.Mutex
	note := func() {
		offsets, err := w.admin.FetchOffsets(ctx, w.group)
		if err != nil {
			return // the coordinator may be busy with the death of a member
		}
		now := time.Now().Unix()
		mu.Lock()
		defer mu.Unlock()
		for user, p := range where {
			if o, ok := offsets.Lookup(w.consent, p.partition); ok && o.At > p.offset {
				w.left[user] = now
				delete(where, user)
			}
		}
	}
	for i := range n {
		user := i * w.users / n
		w.produce(ctx, w.consentOf(user, 2, false), func(r *kgo.Record) {
			mu.Lock()
			defer mu.Unlock()
			where[string(r.Key)] = place{r.Partition, r.Offset}
		})
		if i%20 == 0 {
			rest(ctx, 100*time.Millisecond)
			note()
		}
	}
	w.flush(ctx)
	for ctx.Err() == nil {
		mu.Lock()
		open := len(where)
		mu.Unlock()
		if open == 0 {
			return
		}
		rest(ctx, 100*time.Millisecond)
		note()
	}
}

// settled waits until the group has committed all there is in the topics.
func (w *pushWorld) settled(ctx context.Context, topics ...string) {
	w.t.Helper()
	if err := settled(ctx, w.admin, w.group, w.members, topics...); err != nil {
		w.t.Fatal(err)
	}
}

// decided is one evaluation as the decisions topic tells it.
type decided struct {
	push, decision, reason string
	class, channel         string
	at                     int64
	replay                 bool
	version                uint64 // of the consent
	flags                  []string
}

// findings are all evaluations by user, each id once, in the order of their times.
type findings struct {
	users    map[string][]decided
	repeated int
	twice    map[string]bool // users of whom a push was allowed by two instances that did not know of each other, at two times
	// torn counts by push the ends without Redis that were decided again, by who took the partition over from a
	// dead instance and did not know what it remembered, and then deferred: readers drop the deferral by its id, but
	// it comes back as an evaluation of its own.
	torn  map[string]int
	words map[string]int
}

func (f *findings) String() string {
	keys := make([]string, 0, len(f.words))
	for k := range f.words {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	var b strings.Builder
	for _, k := range keys {
		fmt.Fprintf(&b, "%s %d, ", k, f.words[k])
	}
	fmt.Fprintf(&b, "%d written again after a crash and dropped by id", f.repeated)
	return b.String()
}

// read reads the decisions topic whole.
func (w *pushWorld) read(ctx context.Context) *findings {
	w.t.Helper()
	f := &findings{users: make(map[string][]decided), words: make(map[string]int), twice: make(map[string]bool), torn: make(map[string]int)}
	seen := make(map[string]decided)
	taken := make(map[string]int64) // when a push took its slot
	w.each(ctx, w.decisions, func(r *kgo.Record) {
		id := string(r.Headers[slices.IndexFunc(r.Headers, func(h kgo.RecordHeader) bool { return h.Key == "ce_id" })].Value)
		var m struct {
			EventID  string `json:"event_id"`
			Decision string `json:"decision"`
			Reason   string `json:"reason"`
			Push     struct {
				Class    string `json:"class"`
				Channel  string `json:"channel"`
				Decision struct {
					At      time.Time `json:"at"`
					Replay  bool      `json:"replay"`
					Flags   []string  `json:"flags"`
					Consent struct {
						Version uint64 `json:"version"`
					} `json:"consent"`
				} `json:"decision"`
			} `json:"push"`
		}
		if err := json.Unmarshal(r.Value, &m); err != nil {
			w.t.Fatal(err)
		}
		d := decided{push: m.EventID, decision: m.Decision, reason: m.Reason, class: m.Push.Class, channel: m.Push.Channel,
			at: m.Push.Decision.At.Unix(), replay: m.Push.Decision.Replay, version: m.Push.Decision.Consent.Version, flags: m.Push.Decision.Flags}
		if len(consumed([]decided{d})) > 0 {
			if at, ok := taken[d.push]; ok && at != d.at {
				f.twice[string(r.Key)] = true
			}
			taken[d.push] = d.at
		}
		if first, ok := seen[id]; ok {
			f.repeated++
			if first.decision != "defer" && d.decision == "defer" && slices.Contains(first.flags, "degraded") {
				f.torn[d.push]++
			}
			return
		}
		seen[id] = d
		word := d.decision + " " + d.reason
		if d.replay {
			word += " (replay)"
		}
		f.words[word]++
		f.users[string(r.Key)] = append(f.users[string(r.Key)], d)
	})
	for _, list := range f.users {
		slices.SortStableFunc(list, func(a, b decided) int { return cmp.Compare(a.at, b.at) })
	}
	return f
}

// each reads a topic from its start to where it ends now.
func (w *pushWorld) each(ctx context.Context, topic string, do func(*kgo.Record)) {
	w.t.Helper()
	ends, err := w.admin.ListEndOffsets(ctx, topic)
	if err != nil {
		w.t.Fatal(err)
	}
	left := make(map[int32]int64)
	ends.Each(func(e kadm.ListedOffset) {
		if e.Offset > 0 {
			left[e.Partition] = e.Offset
		}
	})
	c, err := kgo.NewClient(kgo.SeedBrokers(w.brokers...), kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	if err != nil {
		w.t.Fatal(err)
	}
	defer c.Close()
	for len(left) > 0 {
		fetched := c.PollFetches(ctx)
		if err := fetched.Err(); err != nil {
			w.t.Fatal(err)
		}
		fetched.EachRecord(func(r *kgo.Record) {
			if r.Offset+1 >= left[r.Partition] {
				delete(left, r.Partition)
			}
			do(r)
		})
	}
}

// consumed are the pushes of a user that took a slot: allowed, counted, each once.
func consumed(list []decided) []decided {
	var taken []decided
	for _, d := range list {
		if d.decision == "allow" && !d.replay && d.class != "security" {
			taken = append(taken, d)
		}
	}
	return taken
}

// over calls do for every window of a user that holds more than its limit.
func (w *pushWorld) over(user string, taken []decided, do func(l pushWindow, count int, at int64)) {
	var n int
	if _, err := fmt.Sscanf(user, "u-%d", &n); err != nil {
		w.t.Fatal(err)
	}
	zone, err := time.LoadLocation(w.zone(n))
	if err != nil {
		w.t.Fatal(err)
	}
	for _, l := range pushWindows() {
		for i, last := range taken {
			count := 0
			for _, d := range taken[:i+1] {
				switch {
				case l.class != "" && d.class != l.class || l.channel != "" && d.channel != l.channel:
				case l.seconds > 0 && d.at <= last.at-l.seconds:
				case l.seconds == 0 && time.Unix(d.at, 0).In(zone).Format(time.DateOnly) != time.Unix(last.at, 0).In(zone).Format(time.DateOnly):
				default:
					count++
				}
			}
			covered := (l.class == "" || last.class == l.class) && (l.channel == "" || last.channel == l.channel)
			if covered && count > l.most {
				do(l, count, last.at)
			}
		}
	}
}

func (w *pushWorld) checkWindows(f *findings) {
	w.t.Helper()
	total, wrong := 0, 0
	for user, list := range f.users {
		taken := consumed(list)
		total += len(taken)
		ids := make(map[string]bool)
		for _, d := range taken {
			if ids[d.push] {
				w.t.Errorf("push %s took two slots", d.push)
			}
			ids[d.push] = true
		}
		w.over(user, taken, func(l pushWindow, count int, _ int64) {
			if wrong++; wrong <= 10 {
				w.t.Errorf("%s: %d pushes in a window of %s, at most %d may be", user, count, l.id, l.most)
			}
		})
	}
	if wrong > 10 {
		w.t.Errorf("%d windows hold too much", wrong)
	}
	if total == 0 {
		w.t.Error("no push took a slot: the test shows nothing")
	}
}

// of returns all evaluations of a push.
func (f *findings) of(push string) (list []decided) {
	for _, all := range f.users {
		for _, d := range all {
			if d.push == push {
				list = append(list, d)
			}
		}
	}
	return list
}

// checkEnds makes sure that each delivery of a push came to one end, and one that was torn to one more at most.
func (w *pushWorld) checkEnds(f *findings) {
	w.t.Helper()
	ends, deferred := make(map[string]int), 0
	for _, list := range f.users {
		for _, d := range list {
			if d.decision == "defer" {
				deferred++
			} else {
				ends[d.push]++
			}
		}
	}
	wrong := 0
	for push, n := range w.deliveries {
		if ends[push] < n || ends[push] > n+f.torn[push] {
			if wrong++; wrong <= 10 {
				w.t.Errorf("push %s was delivered %d times and came to %d ends: %+v", push, n, ends[push], f.of(push))
			}
		}
	}
	if wrong > 10 {
		w.t.Errorf("%d pushes of %d have not as many ends as deliveries", wrong, len(w.deliveries))
	}
	if deferred == 0 {
		w.t.Error("no push was deferred: the test shows nothing of release")
	}
}

// checkWithdrawn makes sure that nothing that needs consent went out after it was gone.
func (w *pushWorld) checkWithdrawn(f *findings) {
	w.t.Helper()
	denied := 0
	for user, when := range w.left {
		for _, d := range f.users[user] {
			if d.class != "content" {
				continue
			}
			if d.decision == "allow" && (d.version > 1 || d.at > when) {
				w.t.Errorf("%s had withdrawn by %d (version 2) and push %s was allowed at %d under version %d", user, when, d.push, d.at, d.version)
			}
			if d.reason == "withdrawn" {
				denied++
			}
		}
	}
	if denied == 0 {
		w.t.Error("nothing was denied as withdrawn: the test shows nothing of it")
	}
}

// restored waits until Redis lacks no push that took a slot, by what the decisions
// topic tells: an instance that died without Redis enters what it had allowed when it
// starts again.
func (w *pushWorld) restored(ctx context.Context) {
	w.t.Helper()
	for {
		out, err := exec.CommandContext(ctx, w.members[1].binary, "push", "rebuild", "--config", w.members[1].config(), "--json").Output()
		if err != nil {
			w.t.Fatalf("weir push rebuild: %v", err)
		}
		var r struct {
			Inserted int64 `json:"inserted"`
			Known    int64 `json:"known"`
		}
		if err := json.Unmarshal(out, &r); err != nil {
			w.t.Fatal(err)
		}
		if r.Inserted == 0 && r.Known > 0 {
			return
		}
		select {
		case <-ctx.Done():
			w.t.Fatalf("redis lacks %d pushes and has %d", r.Inserted, r.Known)
		case <-time.After(time.Second):
		}
	}
}

// checkOutage compares what was decided while Redis was surely away with what the
// policy promises.
func (w *pushWorld) checkOutage(f *findings, from, to int64) {
	w.t.Helper()
	degraded := make(map[string]int)
	for _, list := range f.users {
		for _, d := range list {
			flagged := slices.Contains(d.flags, "degraded")
			if d.at <= from+1 || d.at >= to-1 || d.reason == "content" {
				continue
			}
			word := d.class + " " + d.decision + " " + d.reason
			if flagged {
				degraded[word]++
			}
			switch {
			case !flagged:
				w.t.Errorf("%s: %s at %d, while redis was away from %d to %d, without the flag", d.push, word, d.at, from, to)
			case d.class == "content" && d.decision == "allow", d.class == "security" && d.decision != "allow":
				w.t.Errorf("%s: %s while redis was away", d.push, word)
			}
		}
	}
	for _, word := range []string{"security allow none", "service allow none", "content defer store"} {
		if degraded[word] == 0 {
			w.t.Errorf("without redis nothing was %q: %v", word, degraded)
		}
	}
	w.t.Logf("without redis: %v", degraded)
}

// checkBreaches compares the breaches in the evidence with the windows that hold too
// much.
func (w *pushWorld) checkBreaches(f *findings) {
	w.t.Helper()
	type window struct{ user, limit string }
	want, got := make(map[window]int), make(map[window]int)
	for user, list := range f.users {
		var taken []decided // each push once
		for _, d := range consumed(list) {
			if !slices.ContainsFunc(taken, func(t decided) bool { return t.push == d.push }) {
				taken = append(taken, d)
			}
		}
		w.over(user, taken, func(l pushWindow, count int, _ int64) {
			at := window{user, l.id}
			want[at] = max(want[at], count)
		})
	}
	// Which of two times a push has in the log depends on who entered it first; in the
	// windows of a day it makes no difference.
	unsure := func(at window) bool { return f.twice[at.user] && !strings.HasSuffix(at.limit, "-day") }
	names := make(map[string]string) // user by pseudonym
	type breach struct {
		pseudonym, limit string
		count            int
	}
	var booked []breach
	for _, m := range w.members {
		err := evidencetest.Walk(m.evidence(), func(e evidence.Entry) error {
			var said struct {
				User struct {
					ID string `json:"id"`
				} `json:"user"`
				Push struct {
					Decision struct {
						Pseudonym string `json:"pseudonym"`
					} `json:"decision"`
				} `json:"push"`
				Pseudonym string `json:"pseudonym"`
				Limit     string `json:"limit"`
				Count     int    `json:"count"`
				Max       int    `json:"max"`
				Size      int    `json:"size"`
				Cause     string `json:"cause"`
			}
			if e.Kind != evidence.KindPush && e.Kind != evidence.KindBreach {
				return nil
			}
			text, err := body.JSON(e.Kind, e.Encoding, e.Body)
			if err != nil {
				return err
			}
			if err := json.Unmarshal(text, &said); err != nil {
				return err
			}
			if e.Kind == evidence.KindPush {
				if p := said.Push.Decision.Pseudonym; p != "" {
					names[p] = said.User.ID
				}
				return nil
			}
			if said.Cause != "outage" || said.Size != said.Count-said.Max {
				w.t.Errorf("a breach by %q of size %d: %d of %d", said.Cause, said.Size, said.Count, said.Max)
			}
			booked = append(booked, breach{said.Pseudonym, said.Limit, said.Count})
			return nil
		})
		if err != nil {
			w.t.Error(err)
		}
	}
	for _, b := range booked {
		at := window{names[b.pseudonym], b.limit}
		got[at] = max(got[at], b.count)
	}
	if len(want) == 0 {
		w.t.Error("no window holds too much: the test shows nothing of breaches")
	}
	wrong := 0
	for at, n := range want {
		if got[at] != n && !unsure(at) {
			if wrong++; wrong <= 10 {
				w.t.Errorf("%s has %d in a window of %s, booked are %d", at.user, n, at.limit, got[at])
			}
		}
	}
	for at, n := range got {
		if want[at] == 0 && !unsure(at) {
			if wrong++; wrong <= 10 {
				w.t.Errorf("booked are %d of %s in a window of %s, which never held too much", n, at.user, at.limit)
			}
		}
	}
	w.t.Logf("%d windows of %d users hold more than their limit; %d of these users have a push that was allowed by two instances", len(want), w.users, len(f.twice))
	if wrong > 0 {
		w.t.Errorf("%d windows are not booked as they are", wrong)
	}
}

package push

import (
	"context"
	"fmt"
	"hash/fnv"
	"maps"
	"math/rand"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/weir-moderation/weir/pipeline/event"
)

// world is something that decides: the engine alone, or with a Redis under it.
type world interface {
	decide(p *Policy, now time.Time, reqs []Request) ([]Decision, error)
	consent(p *Policy, e *event.Event) error
	refund(user, id string) (bool, error)
	forgetScripts() error
}

// memory is the engine alone. Records go through their encoding each time.
type memory struct{ profiles, logs map[string]string }

func newMemory() *memory {
	return &memory{profiles: make(map[string]string), logs: make(map[string]string)}
}

func markOf(id []byte) uint64 {
	h := fnv.New64a()
	h.Write(id)
	return h.Sum64()
}

func (m *memory) decide(p *Policy, now time.Time, reqs []Request) ([]Decision, error) {
	var out []Decision
	for i := range reqs {
		r := &reqs[i]
		r.Mark = markOf(r.ID)
		profile, err := ParseProfile(m.profiles[string(r.User)])
		if err != nil {
			return nil, err
		}
		log, err := ParseSendLog(m.logs[string(r.User)])
		if err != nil {
			return nil, err
		}
		d, next := Decide(now, p, &profile, &log, r)
		if next != nil {
			m.logs[string(r.User)] = string(next.Record())
		}
		out = append(out, d)
	}
	return out, nil
}

func (m *memory) consent(p *Policy, e *event.Event) error {
	old, err := ParseProfile(m.profiles[string(e.User.ID)])
	if err != nil {
		return err
	}
	profile, err := ProfileFrom(p, e)
	if err == nil && profile.Version > old.Version {
		m.profiles[string(e.User.ID)] = string(profile.Record())
	}
	return err
}

func (m *memory) refund(user, id string) (bool, error) {
	log, err := ParseSendLog(m.logs[user])
	if err != nil || !log.refund(markOf([]byte(id))) {
		return false, err
	}
	m.logs[user] = string(log.Record())
	return true, nil
}

func (m *memory) forgetScripts() error { return nil }

// stored is the engine over a store.
type stored struct {
	*Store
	ctx context.Context
}

func (s *stored) decide(p *Policy, now time.Time, reqs []Request) ([]Decision, error) {
	return s.Decide(s.ctx, p, now, reqs)
}

func (s *stored) consent(p *Policy, e *event.Event) error {
	return s.Apply(s.ctx, p, []*event.Event{e})
}

func (s *stored) refund(user, id string) (bool, error) {
	return s.Refund(s.ctx, []byte(user), []byte(id))
}

func (s *stored) forgetScripts() error { return s.client.ScriptFlush(s.ctx).Err() }

// modelZones are zones with all kinds of clocks; the last two are not known.
func modelZones() []string {
	return []string{"Asia/Shanghai", "America/New_York", "Europe/London", "Australia/Lord_Howe", "Africa/Cairo", "America/Sao_Paulo",
		"Pacific/Apia", "Asia/Kathmandu", "America/St_Johns", "America/Havana", "Pacific/Kiritimati", "", "Mars/Olympus_Mons"}
}

// modelStarts are the days around which the runs begin: clocks change in one of
// the zones, or a date is left out.
func modelStarts() map[string]int64 {
	return map[string]int64{
		"an ordinary day":              at("2026-01-01T00:00:00Z"),
		"spring in New York":           at("2026-03-07T18:00:00Z"),
		"autumn in New York":           at("2026-10-31T18:00:00Z"),
		"spring in Cairo":              at("2026-04-23T10:00:00Z"),
		"autumn on Lord Howe":          at("2026-04-04T06:00:00Z"),
		"no midnight in Sao Paulo":     at("2017-10-14T12:00:00Z"),
		"midnight twice in Sao Paulo":  at("2018-02-17T12:00:00Z"),
		"Apia leaves a day out":        at("2011-12-29T12:00:00Z"),
		"a minute past midnight twice": at("2006-10-28T12:00:00Z"), // St. John's
	}
}

func at(s string) int64 {
	t, err := time.Parse(time.RFC3339, s)
	if err != nil {
		panic(err)
	}
	return t.Unix()
}

// model is one random run of a world against the reference.
type model struct {
	world  world
	ref    *reference
	rand   *rand.Rand
	policy *Policy
	halts  *Halts
	now    int64
	latest int64
	users  []string
	past   []refPush
	serial int
	seen   map[string]int // decisions by word and reason
}

// runModel returns how a world first differs from the reference, nil if it does not.
func runModel(w world, p *Policy, seed int64, steps int, start int64) (map[string]int, error) {
	m := &model{world: w, ref: newReference(), rand: rand.New(rand.NewSource(seed + start)), policy: p, now: start,
		users: []string{"a", "b", "c"}, seen: make(map[string]int)}
	for i := range steps {
		if err := m.step(); err != nil {
			return m.seen, fmt.Errorf("seed %d, step %d: %w", seed, i, err)
		}
	}
	return m.seen, nil
}

func (m *model) chance(percent int) bool { return m.rand.Intn(100) < percent }

func pick[T any](m *model, from []T) T { return from[m.rand.Intn(len(from))] }

func (m *model) step() error {
	m.tick()
	switch n := m.rand.Intn(100); {
	case n < 10:
		return m.change()
	case n < 16:
		return m.cancel()
	case n < 19:
		return m.world.forgetScripts()
	case n < 22:
		m.halt()
		return nil
	}
	return m.push()
}

// tick lets time pass, often to the very second at which something leaves a
// window or a day begins: that is where mistakes are.
func (m *model) tick() {
	u := m.ref.user(pick(m, m.users))
	loc, _ := m.ref.zone(u.zone)
	switch n := m.rand.Intn(100); {
	case n < 15 && len(u.sends) > 0:
		s := u.sends[len(u.sends)-1-m.rand.Intn(min(len(u.sends), 4))]
		for _, window := range []int64{900, 3600, 604800} {
			if edge := s.at + window - int64(m.rand.Intn(2)); edge > m.now && edge < m.now+7*86400 {
				m.now = edge
				break
			}
		}
	case n < 25:
		if edge := m.ref.start(m.now, loc, -1) - int64(m.rand.Intn(2)); edge > m.now {
			m.now = edge
		}
	case n < 30: // to an hour at which rest begins or ends
		edge := m.ref.start(m.now, loc, 0) + 3600*int64(pick(m, []int{8, 9, 20, 21, 22})) - int64(m.rand.Intn(2))
		if edge > m.now {
			m.now = edge
		}
	case n < 33: // somebody sets the clock back
		m.now = max(m.now-int64(m.rand.Intn(2*3600)), m.latest-2*3600)
	case n < 60:
	default:
		m.now += int64(m.rand.Intn(3) * m.rand.Intn(4000))
	}
	m.latest = max(m.latest, m.now)
}

func (m *model) change() error {
	name := pick(m, m.users)
	u := m.ref.user(name)
	version := u.version + 1 + uint64(m.rand.Intn(2))
	if m.chance(20) && u.version > 1 {
		version = 1 + uint64(m.rand.Int63n(int64(u.version))) // an old one, late
	}
	e := &event.Event{Kind: event.Consent, User: event.User{ID: []byte(name), Group: []byte(pick(m, []string{"", "default", "minor", "elderly", "vip", "strangers"}))}}
	c := &e.Consent
	c.Version, c.DailyMax, c.Zone = version, -1, []byte(pick(m, modelZones()))
	changed := refUser{version: version, group: string(e.User.Group), zone: string(c.Zone), daily: -1,
		granted: make(map[string]time.Time), taken: make(map[string]bool), sends: u.sends}
	for _, class := range []string{"service", "content", "marketing", "news", "gossip"} {
		for _, channel := range []string{"app", "sms", "popup", "tv", "fax"} {
			if m.chance(15) {
				continue
			}
			g := event.Grant{Class: []byte(class), Channel: []byte(channel), Granted: !m.chance(12), Time: time.Unix(m.now-int64(pick(m, []int{0, 1000, 1000000})), 0)}
			if m.chance(8) {
				g.Time = time.Unix(m.now+int64(m.rand.Intn(7200)), int64(m.rand.Intn(2)))
			}
			c.Grants = append(c.Grants, g)
			if g.Granted {
				changed.granted[class+" "+channel] = g.Time
			} else {
				changed.taken[class+" "+channel] = true
			}
		}
	}
	if m.chance(30) {
		a, b := m.rand.Intn(1440), m.rand.Intn(1440)
		if m.chance(50) {
			b = (a + 60) % 1440
		}
		if a != b {
			c.Quiet = fmt.Appendf(nil, "%02d:%02d-%02d:%02d", a/60, a%60, b/60, b%60)
			changed.rest = [2]int{a, b}
		}
	}
	if m.chance(30) {
		c.DailyMax = m.rand.Intn(6)
		changed.daily = c.DailyMax
	}
	if version > u.version {
		*u = changed
	}
	return m.world.consent(m.policy, e)
}

// halt stops something, or lets it go on. What is stopped is not stopped for
// long, or nothing else would be tried.
func (m *model) halt() {
	stopped := slices.Sorted(maps.Keys(m.ref.halted))
	if len(stopped) > 0 && (len(stopped) > 2 || m.chance(70)) {
		delete(m.ref.halted, pick(m, stopped))
	} else {
		m.ref.halted[pick(m, []string{"campaign spring", "campaign autumn", "sender shop", "sender spring", "class security", "class news", "class content"})] = true
	}
	var orders []Halt
	for what := range m.ref.halted {
		scope, value, _ := strings.Cut(what, " ")
		orders = append(orders, Halt{Target: Target{Scope(scope), value}, Since: time.Unix(m.now, 0)})
	}
	m.halts = NewHalts(orders)
}

// recent returns a push of the last day (a log remembers each at least so long),
// rather one that was allowed.
func (m *model) recent() (refPush, bool) {
	for range 8 {
		if len(m.past) == 0 {
			break
		}
		q := m.past[len(m.past)-1-m.rand.Intn(min(len(m.past), 40))]
		sent := slices.ContainsFunc(m.ref.user(q.user).sends, func(s refSend) bool { return s.id == q.id })
		if q.time.Unix() > m.now-20*3600 && (sent || m.chance(20)) {
			return q, true
		}
	}
	return refPush{}, false
}

func (m *model) cancel() error {
	q, ok := m.recent()
	if !ok {
		return nil
	}
	got, err := m.world.refund(q.user, q.id)
	if err != nil {
		return err
	}
	if want := m.ref.refund(q.user, q.id); got != want {
		return fmt.Errorf("refund of %s gave %v, want %v", q.id, got, want)
	}
	return nil
}

func (m *model) push() error {
	var pushes []refPush
	for range 1 + m.rand.Intn(6) {
		q, again := m.recent()
		if !again || !m.chance(20) {
			m.serial++
			u := pick(m, m.users)
			q = refPush{user: u, id: fmt.Sprint("p", m.serial), class: pick(m, []string{"security", "service", "content", "content", "marketing", "marketing", "marketing", "news"}),
				channel: pick(m, []string{"app", "app", "sms", "popup", "tv"}), labelled: !m.chance(8), personalised: m.chance(30),
				campaign: pick(m, []string{"", "spring", "summer", "autumn"}), sender: pick(m, []string{"", "shop", "bank"}),
				group: pick(m, []string{"", "", "", m.ref.user(u).group, "default", "minor", "elderly", "nobody"}),
				time:  time.Unix(m.now-int64(m.rand.Intn(100)), 0)}
			if m.chance(5) {
				q.time = time.Unix(m.now-int64(m.rand.Intn(12*3600)), 0)
			}
			if m.chance(60) {
				q.expires = time.Unix(m.now+int64(m.rand.Intn(60000)-500), 0)
			}
			if m.chance(2) {
				q.class = "gossip"
			}
		} else if m.chance(10) {
			q.channel = pick(m, []string{"app", "sms"}) // the same id, another push
		}
		pushes = append(pushes, q)
	}
	reqs := make([]Request, len(pushes))
	for i, q := range pushes {
		reqs[i] = Request{User: []byte(q.user), ID: []byte(q.id), Class: []byte(q.class), Channel: []byte(q.channel), Group: []byte(q.group),
			Campaign: []byte(q.campaign), Sender: []byte(q.sender), Personalised: q.personalised, Time: q.time, Expires: q.expires}
		if q.labelled {
			reqs[i].Label = []byte("广告")
		}
		reqs[i].Halt = m.halts.Find(&reqs[i])
	}
	got, err := m.world.decide(m.policy, time.Unix(m.now, int64(m.rand.Intn(1e9))), reqs)
	if err != nil {
		return err
	}
	for i := range pushes {
		want := m.ref.decide(m.now, &pushes[i])
		m.seen[want.decision+"/"+want.reason]++
		if want.replay {
			m.seen["replay"]++
		}
		if diff := difference(&got[i], &want); diff != "" {
			u := m.ref.user(pushes[i].user)
			loc, _ := m.ref.zone(u.zone)
			return fmt.Errorf("at %s, push %+v of a user %q in %q with rest %v: %s", time.Unix(m.now, 0).In(loc), pushes[i], u.group, u.zone, u.rest, diff)
		}
	}
	m.past = append(m.past, pushes...)
	return nil
}

// difference tells what is wrong with a decision, in the reference's eyes.
func difference(got *Decision, want *refAnswer) string {
	answer := refAnswer{decision: string(got.Decision), reason: string(got.Reason), limit: got.Limit, count: got.Count, max: got.Max,
		replay: got.Replay, zoneUnknown: got.Flags&ZoneDefaulted != 0, conflict: got.Flags&GroupConflict != 0}
	if got.Halt != nil {
		answer.halt = string(got.Halt.Scope) + " " + got.Halt.Value
	}
	for _, l := range got.Limits {
		answer.counts = append(answer.counts, fmt.Sprint(l.ID, " ", l.From.Unix(), " ", l.Count, "/", l.Max))
	}
	var wrong []string
	check := func(what string, got, want any) {
		if got != want {
			wrong = append(wrong, fmt.Sprintf("%s is %v, want %v", what, got, want))
		}
	}
	check("decision", answer.decision+"/"+answer.reason, want.decision+"/"+want.reason)
	check("halt", answer.halt, want.halt)
	check("limit", fmt.Sprint(answer.limit, answer.count, answer.max), fmt.Sprint(want.limit, want.count, want.max))
	check("replay", answer.replay, want.replay)
	check("not before", got.NotBefore.Unix(), want.notBefore.Unix())
	if want.decision == "allow" {
		check("not after", got.NotAfter.Unix(), want.notAfter.Unix())
	}
	if want.reason != "unknown-class" && want.reason != "halted" {
		check("group conflict", answer.conflict, want.conflict)
	}
	check("zone unknown", answer.zoneUnknown, want.zoneUnknown)
	if !slices.Equal(answer.counts, want.counts) {
		check("limits", strings.Join(answer.counts, ", "), strings.Join(want.counts, ", "))
	}
	return strings.Join(wrong, "; ")
}

// The engine decides as the reference does, to the second and to the word, in
// every zone, across every change of the clocks, groups, zones, consent and time.
func TestEngineDecidesAsTheReference(t *testing.T) {
	// Clause: push-frequency
	// Clause: push-quiet
	// Clause: push-consent
	// Clause: push-withdraw
	// Clause: push-group
	// Clause: push-ad
	// Clause: push-monitor
	p := loadPolicy(t, "testdata/model.good.yaml")
	seen := make(map[string]int)
	for name, start := range modelStarts() {
		for seed := range int64(3) {
			got, err := runModel(newMemory(), p, seed, 250, start)
			if err != nil {
				t.Errorf("%s: %v", name, err)
			}
			for k, n := range got {
				seen[k] += n
			}
		}
	}
	// A run that never meets a case says nothing about it.
	for _, o := range []string{"allow/none", "replay", "defer/quiet-hours", "defer/cap", "deny/unknown-class", "deny/halted", "deny/cancelled", "deny/expired", "deny/group",
		"deny/unlabelled-ad", "deny/no-consent", "deny/withdrawn", "deny/quiet-hours", "deny/cap"} {
		if seen[o] < 20 {
			t.Errorf("only %d decisions were %s; the run is too short or too tame", seen[o], o)
		}
	}
	t.Log(seen)
}

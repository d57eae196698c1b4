package demo

import (
	"encoding/hex"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/weir-moderation/weir/internal/speech"
	"github.com/weir-moderation/weir/pipeline/event"
)

// A city is a few hundred users who post and are pushed to. From the same seed
// and the same clock comes the same story. It belongs to one goroutine.
type city struct {
	rand    *rand.Rand
	zh, en  *speech.Language
	taboos  *taboos
	users   []*resident
	day     zone
	night   zone
	born    int       // the number of the next newcomer
	serial  int       // counts events
	pending []message // what is said in one breath: a burst
}

// A resident is a user of the city. Real platforms know them under pseudonyms
// too: no name and no number of a person is in any event.
type resident struct {
	id       string
	group    string // default, minor, elderly
	verified bool
	lang     *speech.Language
	nocturne bool   // lives where it is night
	homeless bool   // told nobody their time zone
	quiet    string // own rest hours
	dailyMax *int
	agrees   [2]attitude // to content, to marketing
	version  uint64
	device   device
	address  string
}

type attitude uint8

const (
	silent    attitude = iota // was never asked
	agreed                    // said yes
	withdrawn                 // said yes, then no
)

// The residents a visitor is introduced to.
const (
	nightOwl  = "night-owl"  // agrees to everything and lives where it is night
	earlyBird = "early-bird" // agrees to everything and lives where it is day
	stranger  = "stranger"   // never agreed to anything
)

const (
	population    = 400
	maxPopulation = 4000 // newcomers beyond take the place of the oldest
	introduced    = 3    // residents who stay: those a visitor is introduced to
)

func newCity(seed int64, now time.Time, t *taboos) *city {
	c := &city{
		rand:   rand.New(rand.NewPCG(uint64(seed), 0x77656972)), // not for secrets
		zh:     speech.Chinese(),
		en:     speech.English(),
		day:    zoneWhere(now, dayHour),
		night:  zoneWhere(now, nightHour),
		taboos: t,
	}
	both := [2]attitude{agreed, agreed}
	c.users = append(c.users,
		&resident{id: nightOwl, group: "default", lang: c.zh, nocturne: true, agrees: both, verified: true},
		&resident{id: earlyBird, group: "default", lang: c.zh, agrees: both, verified: true},
		&resident{id: stranger, group: "default", lang: c.en},
	)
	for c.born = len(c.users); c.born < population; c.born++ {
		c.users = append(c.users, c.newcomer(c.born))
	}
	for _, u := range c.users {
		c.equip(u)
	}
	return c
}

// newcomer makes a resident with the number n.
func (c *city) newcomer(n int) *resident {
	r := c.rand
	u := &resident{
		id:       fmt.Sprintf("u-%04d", n),
		group:    weighted(r, []string{"default", "minor", "elderly"}, 78, 12, 10),
		verified: r.IntN(100) < 85,
		lang:     weighted(r, []*speech.Language{c.zh, c.en}, 65, 35),
		nocturne: r.IntN(100) < 22,
		homeless: r.IntN(100) < 4,
		agrees: [2]attitude{
			weighted(r, []attitude{agreed, silent, withdrawn}, 75, 20, 5),
			weighted(r, []attitude{agreed, silent, withdrawn}, 55, 35, 10),
		},
	}
	if r.IntN(100) < 8 {
		u.quiet = speech.Pick(r, []string{"21:30-07:00", "23:00-09:00", "12:30-14:00"})
	}
	if r.IntN(100) < 5 {
		n := 1 + r.IntN(6)
		u.dailyMax = &n
	}
	return u
}

func (c *city) equip(u *resident) {
	r := c.rand
	u.device = device{
		Model: speech.Pick(r, []string{"X-70", "Pocket 5", "Slate 11", "Nova Mini", "M-2024"}),
		OS:    speech.Pick(r, []string{"Android 15", "Android 14", "HarmonyOS 5", "iOS 19", "web"}),
		ID:    c.hex(16),
		App:   speech.Pick(r, []string{"city/4.2.0", "city/4.1.9", "city/4.2.1-beta"}),
	}
	// Addresses reserved for documentation: nobody's.
	if r.IntN(4) == 0 {
		u.address = fmt.Sprintf("2001:db8::%x:%x", 1+r.IntN(0xfffe), 1+r.IntN(0xfffe))
	} else {
		u.address = fmt.Sprintf("%s.%d", speech.Pick(r, []string{"192.0.2", "198.51.100", "203.0.113"}), 1+r.IntN(254))
	}
}

func (c *city) hex(n int) string {
	b := make([]byte, n)
	for i := range b {
		b[i] = byte(c.rand.Uint32())
	}
	return hex.EncodeToString(b)
}

func weighted[T any](r *rand.Rand, from []T, weights ...int) T {
	sum := 0
	for _, w := range weights {
		sum += w
	}
	n := r.IntN(sum)
	for i, w := range weights {
		if n < w {
			return from[i]
		}
		n -= w
	}
	panic("demo: weights do not add up")
}

// consents returns the state of every resident: what a platform would have on
// its consent topic on the day it begins to use Weir.
func (c *city) consents(now time.Time) []message {
	list := make([]message, 0, len(c.users))
	for _, u := range c.users {
		list = append(list, c.consent(u, now))
	}
	return list
}

// move lets people move when morning comes to those who live in the night, or
// evening to the others: a demo that runs all day shows rest hours all day. It
// returns the changed states.
func (c *city) move(now time.Time) []message {
	day, night := c.day, c.night
	if !day.isDay(now) {
		c.day = zoneWhere(now, dayHour)
	}
	if !night.isNight(now) {
		c.night = zoneWhere(now, nightHour)
	}
	if c.day == day && c.night == night {
		return nil
	}
	return c.consents(now)
}

// next returns the city's next message.
func (c *city) next(now time.Time) message {
	if len(c.pending) > 0 {
		m := c.pending[0]
		c.pending = c.pending[1:]

		return m
	}
	c.pending = nil
	switch n := c.rand.IntN(1000); {
	case n < 820:
		return c.post(now)
	case n < 980:
		return c.push(now)
	case n < 993:
		return c.change(now)
	case n < 995:
		return c.burst(now)
	default:
		return c.damage(now)
	}
}

func (c *city) newID(prefix string) string {
	c.serial++
	return fmt.Sprintf("%s-%06d", prefix, c.serial)
}

// anybody returns a resident, but none of those a visitor is introduced to:
// their quotas are the visitor's.
func (c *city) anybody() *resident {
	return c.users[introduced+c.rand.IntN(len(c.users)-introduced)]
}

// post is somebody saying something: a post, a comment, a profile, a group's name.
func (c *city) post(now time.Time) message {
	u, r := c.anybody(), c.rand
	e := c.envelope(u, "post", now)
	meant := ordinary
	switch n := r.IntN(100); {
	case n < 42:
		e.Operation = "post.create"
		e.Fields = map[string]string{"text": c.paragraph(u.lang)}
		if r.IntN(3) == 0 {
			e.Fields["title"] = u.lang.Say(r, u.lang.Groups)
		}
		if r.IntN(8) == 0 {
			e.Attachments = append(e.Attachments, attachment{
				URI: "https://media.example/" + c.hex(8), SHA256: c.hex(32),
				MediaType: speech.Pick(r, []string{"image/jpeg", "image/png", "video/mp4"}),
				Scan:      weighted(r, []string{"clean", "unscanned"}, 95, 5),
			})
		}
	case n < 84:
		e.Operation = "comment"
		e.Fields = map[string]string{"text": u.lang.Say(r, u.lang.Comments)}
	case n < 90:
		e.Operation = "forward"
		e.Fields = map[string]string{"text": u.lang.Say(r, u.lang.Comments), "quoted": c.paragraph(u.lang)}
	case n < 96:
		e.Operation = "profile.update"
		e.Fields = map[string]string{"nickname": u.lang.Say(r, u.lang.Names), "bio": u.lang.Say(r, u.lang.Bios)}
	default:
		e.Operation = "group.rename"
		e.Fields = map[string]string{"name": u.lang.Say(r, u.lang.Groups)}
	}
	main := "text"
	for _, f := range []string{"bio", "name"} {
		if _, ok := e.Fields[f]; ok {
			main = f
		}
	}
	switch n := r.IntN(1000); {
	case n < 16:
		meant, e.Fields[main] = prohibited, c.forbidden()
	case n < 28:
		meant, e.Fields[main] = evasive, c.disguised()
	case n < 31:
		meant, e.Fields[main] = canary, e.Fields[main]+" "+speech.Pick(r, c.taboos.canaries)
	}
	return c.wrap(topicPosts, event.Post, u, e, meant)
}

func (c *city) paragraph(l *speech.Language) string {
	s := l.Say(c.rand, l.Posts)
	for c.rand.IntN(3) == 0 {
		s += speech.Pick(c.rand, []string{" ", "\n", " 😊 ", " 🌧️ ", " ... "}) + l.Say(c.rand, l.Posts)
	}
	return s
}

// push is the platform wanting to tell somebody something.
func (c *city) push(now time.Time) message {
	r := c.rand
	u := c.anybody()
	if r.IntN(2) == 0 {
		// Newcomers hear more: their quotas are fresh.
		u = c.users[len(c.users)-1-r.IntN(min(40, len(c.users)-introduced))]
	}
	class := weighted(r, []string{"security", "service", "content", "marketing"}, 18, 32, 22, 28)
	return c.pushTo(u, class, now)
}

func (c *city) pushTo(u *resident, class string, now time.Time) message {
	r := c.rand
	e := c.envelope(u, "push", now)
	e.Client = nil
	e.Operation = "push.send"
	p := &pushPart{
		Class:   class,
		Channel: weighted(r, []string{"app", "sms", "email", "popup"}, 70, 10, 10, 10),
		Sender:  "city",
		Expires: now.UTC().Add(12 * time.Hour),
	}
	var text string
	meant := ordinary
	switch class {
	case "security":
		text, p.Expires = u.lang.Say(r, u.lang.Security), now.UTC().Add(10*time.Minute)
	case "service":
		text = u.lang.Say(r, u.lang.Service)
	case "content":
		text, p.Personalised = u.lang.Say(r, u.lang.Stories), r.IntN(2) == 0
		p.Campaign = fmt.Sprintf("digest-%02d", r.IntN(12))
	case "marketing":
		text, p.Personalised = u.lang.Say(r, u.lang.Offers), r.IntN(3) == 0
		p.Campaign = fmt.Sprintf("spring-%02d", r.IntN(20))
		p.Sender = speech.Pick(r, []string{"city", "shop-12", "shop-31"})
		if r.IntN(100) < 4 {
			meant, text = prohibited, c.forbidden()
		}
		if r.IntN(100) < 88 {
			p.Label = adLabel
		} else {
			meant = prohibited // advertising that does not say so
		}
		if p.Channel == "sms" || p.Channel == "email" {
			text += u.lang.OptOut
		}
	}
	if r.IntN(100) < 2 {
		p.Expires = now.UTC().Add(-time.Minute) // came too late
	}
	e.pushPart = p
	e.Fields = map[string]string{"body": text}
	if r.IntN(2) == 0 {
		e.Fields["title"] = u.lang.Say(r, u.lang.Groups)
	}
	return c.wrap(topicPushes, event.Push, u, e, meant)
}

// adLabel is how an advertisement is marked.
const adLabel = "广告"

// burst is a campaign that forgot itself: several offers to one user in a row.
func (c *city) burst(now time.Time) message {
	u := c.anybody()
	for range 4 + c.rand.IntN(3) {
		c.pending = append(c.pending, c.pushTo(u, "marketing", now))
	}
	m := c.pending[0]
	c.pending = c.pending[1:]
	return m
}

// change is a user joining the city or changing their mind.
func (c *city) change(now time.Time) message {
	r := c.rand
	if r.IntN(100) < 60 {
		u := c.newcomer(c.born)
		c.born++
		c.equip(u)
		if len(c.users) < maxPopulation {
			c.users = append(c.users, u)
		} else {
			// The newest stand at the end, as push expects.
			copy(c.users[introduced:], c.users[introduced+1:])
			c.users[len(c.users)-1] = u
		}
		return c.consent(u, now)
	}
	u := c.anybody()
	i := r.IntN(len(u.agrees))
	if u.agrees[i] == agreed {
		u.agrees[i] = withdrawn
	} else {
		u.agrees[i] = agreed
	}
	return c.consent(u, now)
}

// consent is the whole state of one user: what they agreed to, where and how.
func (c *city) consent(u *resident, now time.Time) message {
	u.version++
	p := &consentPart{Version: u.version, Grants: []grant{}, Quiet: u.quiet, DailyMax: u.dailyMax}
	switch {
	case u.homeless:
	case u.nocturne:
		p.Zone = c.night.name
	default:
		p.Zone = c.day.name
	}
	for i, class := range []string{"content", "marketing"} {
		if u.agrees[i] == silent {
			continue
		}
		for _, channel := range []string{"app", "sms", "email", "popup"} {
			p.Grants = append(p.Grants, grant{
				Class: class, Channel: channel, Granted: u.agrees[i] == agreed,
				Time: now.UTC(), Method: "settings", TextVersion: "notice-2026-03",
			})
		}
	}
	e := c.envelope(u, "consent", now)
	e.Client, e.Server = nil, nil
	e.consentPart = p
	return c.wrap(topicConsent, event.Consent, u, e, ordinary)
}

// cancelled is the platform taking back a push it was allowed to send.
func (c *city) cancelled(user, push string, now time.Time) message {
	e := &envelope{
		ID: c.newID("outcome"), Kind: "outcome", Time: now.UTC(), User: userPart{ID: user},
		outcomePart: &outcomePart{PushID: push, Result: speech.Pick(c.rand, []string{"cancelled", "rejected"})},
	}
	return message{topic: topicOutcomes, key: user, value: encode(e), kind: event.Outcome, id: e.ID}
}

func (c *city) envelope(u *resident, kind string, now time.Time) *envelope {
	d := u.device
	return &envelope{
		ID: c.newID(kind), Time: now.UTC(),
		User:   userPart{ID: u.id, Group: u.group, Verified: u.verified},
		Client: &endpoint{Address: u.address, Port: uint16(1024 + c.rand.IntN(60000)), Device: &d},
		Server: &endpoint{Address: "203.0.113.80", Port: 443},
	}
}

// wrap makes a message of an event: mostly bare JSON, now and then a CloudEvent
// in binary or structured mode, as platforms do.
func (c *city) wrap(topic string, kind event.Kind, u *resident, e *envelope, meant intent) message {
	m := message{topic: topic, key: u.id, kind: kind, id: e.ID, meant: meant}
	switch n := c.rand.IntN(100); {
	case n < 12:
		m.value = encode(e)
		m.headers = cloudHeaders(kind, e)
	case n < 16:
		m.value = structured(kind, e)
		m.headers = []event.Header{{Key: "content-type", Value: []byte("application/cloudevents+json; charset=UTF-8")}}
	default:
		if n < 40 {
			e.Kind = kind.String() // allowed, not needed: the topic tells
		}
		m.value = encode(e)
	}
	return m
}

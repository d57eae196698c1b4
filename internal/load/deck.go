package load

import (
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/weir-moderation/weir/internal/speech"
	"github.com/weir-moderation/weir/pipeline"
	"github.com/weir-moderation/weir/pipeline/event"
	"github.com/weir-moderation/weir/rules"
)

// Mix says what a made-up stream is like.
type Mix struct {
	Seed     uint64
	Posts    bool    // whether there are posts, or pushes only
	Pushes   float64 // share of pushes among the messages where there are posts, too; 0 to 1
	Hits     float64 // share of messages with a term of the rules in them
	Evasions float64 // share of those in which the term is disguised
	Users    int     // of whom few say much
}

// Validate says what is wrong with a mix.
func (m *Mix) Validate() error {
	var errs []error
	for _, s := range []struct {
		name  string
		share float64
	}{{"pushes", m.Pushes}, {"hits", m.Hits}, {"evasions", m.Evasions}} {
		if !(s.share >= 0 && s.share <= 1) {
			errs = append(errs, fmt.Errorf("%s: %g %% is no share; give 0 to 100", s.name, 100*s.share))
		}
	}
	if m.Users < 1 || m.Users > maxUsers {
		errs = append(errs, fmt.Errorf("users: %d is out of range; give 1 to %d", m.Users, maxUsers))
	}
	return errors.Join(errs...)
}

const (
	maxUsers = 10_000_000
	// How many different messages are made up: so many that none of the daemon's work is
	// done from a processor's cache, so few that judging all of them first takes a moment.
	plainCards   = 8_192
	plantedCards = 2_048
)

// deck hands out cards: those made up by chance, those of a file in their order, over
// and over. From the same seed come the same cards and users. It belongs to one goroutine.
type deck struct {
	cards          []card
	plain, planted [2][]int // of cards, of posts and of pushes; empty for those of a file
	mix            Mix
	rand           *rand.Rand
	zipf           *rand.Zipf
	at             int // of a file, the next one
}

// draw returns the next card, and whose event it is.
func (d *deck) draw() (*card, string) {
	if d.zipf == nil {
		c := &d.cards[d.at]
		d.at = (d.at + 1) % len(d.cards)
		return c, c.user
	}
	kind := 0
	if !d.mix.Posts || d.mix.Pushes > 0 && d.rand.Float64() < d.mix.Pushes {
		kind = 1
	}
	from := d.plain[kind]
	if d.mix.Hits > 0 && d.rand.Float64() < d.mix.Hits {
		from = d.planted[kind]
	}
	return &d.cards[speech.Pick(d.rand, from)], userName(d.zipf.Uint64())
}

func userName(n uint64) string { return fmt.Sprintf("load-u-%07d", n) }

// expect judges a message and notes on its card what is expected of the daemon.
func (c *card) expect(judge *pipeline.Judge, set *rules.Set, value []byte) error {
	defer judge.Reset()
	var e event.Event
	v, err := judge.Judge(set, c.kind, nil, value, &e)
	if err != nil {
		return err
	}
	c.flagged = v.Action != rules.Pass
	for _, h := range v.Hits {
		// By whom and when it is said may decide, and both change.
		if h.Rule.When != nil || h.Rule.Rollout < 100 {
			c.unsure = true
		}
	}
	return nil
}

// makeDeck makes up messages and judges each, so that it is known which of them the
// daemon has to flag.
func makeDeck(m Mix, set *rules.Set, events event.Config) (*deck, error) {
	r := rand.New(rand.NewPCG(m.Seed, 0x6c6f6164)) // not for secrets
	d := &deck{mix: m, rand: r}
	w := &writer{rand: r, languages: [...]*speech.Language{speech.Chinese(), speech.English()}, serial: 0}
	judge := pipeline.NewJudge(events)
	for i, kind := range []event.Kind{event.Post, event.Push} {
		if i == 0 && !m.Posts || i == 1 && m.Posts && m.Pushes == 0 {
			continue
		}
		if err := d.make(kind, &d.plain[i], plainCards, w, judge, set, nil); err != nil {
			return nil, err
		}
		if m.Hits == 0 {
			continue
		}
		terms := termsOf(set, kind)
		if len(terms) == 0 {
			return nil, fmt.Errorf("no live rule flags a %s by a term alone, so none can be planted; ask for no hits, or give a file of messages", kind)
		}
		if err := d.make(kind, &d.planted[i], plantedCards, w, judge, set, terms); err != nil {
			return nil, err
		}
	}
	d.zipf = rand.NewZipf(r, 1.1, 10, uint64(m.Users-1))
	return d, nil
}

// make makes cards of one kind and lists them. Those with a planted term are kept
// whatever the rules say to them, for an evasion may work; of the others those that pass.
func (d *deck) make(kind event.Kind, list *[]int, n int, w *writer, judge *pipeline.Judge, set *rules.Set, terms []string) error {
	flagged := 0
	for try := 0; len(*list) < n; try++ {
		if try >= 4*n {
			if len(terms) > 0 {
				return fmt.Errorf("whether a %s is flagged depends on the time or the user under these rules, too often to plant terms; ask for no hits", kind)
			}
			return fmt.Errorf("the rules flag nearly every innocent %s; give a file of messages instead", kind)
		}
		c := card{kind: kind, expires: kind == event.Push, planted: len(terms) > 0}
		body := w.text(kind)
		if c.planted {
			term := speech.Pick(d.rand, terms)
			frame := speech.Pick(d.rand, speech.Around(term))
			if d.rand.Float64() < d.mix.Evasions {
				term = speech.Disguise(d.rand, term)
			}
			body += " " + strings.Replace(frame, "{}", term, 1)
		}
		c.rest = w.rest(kind, body)
		value := c.message([]byte("load-0-p0-0"), time.Now(), userName(0))
		if err := c.expect(judge, set, value); err != nil {
			return fmt.Errorf("a made-up %s cannot be read under the configuration's section events: %w", kind, err)
		}
		if c.unsure || !c.planted && c.flagged {
			continue
		}
		if c.flagged {
			flagged++
		}
		d.cards = append(d.cards, c)
		*list = append(*list, len(d.cards)-1)
	}
	if len(terms) > 0 && flagged == 0 {
		return fmt.Errorf("no %s with a term of the rules is flagged by them; ask for no hits, or give a file of messages", kind)
	}
	return nil
}

// termsOf returns the terms that alone have an event of a kind flagged.
func termsOf(set *rules.Set, kind event.Kind) []string {
	var terms []string
	for _, r := range set.Rules() {
		if r.State == rules.Live && r.Action != rules.Pass && r.Pack != rules.CanaryPack && !r.Combines() && r.When == nil &&
			len(r.Fields) == 0 && r.Rollout == 100 && slices.Contains(r.Kinds, kind) {
			terms = append(terms, r.Terms()...)
		}
	}
	return terms
}

// writer writes what users say.
type writer struct {
	rand      *rand.Rand
	languages [2]*speech.Language
	serial    int
}

// text returns an innocent text of a length as they are found: most a sentence or two,
// some a paragraph, a few a page.
func (w *writer) text(kind event.Kind) string {
	r := w.rand
	mixed := false
	l := w.languages[0]
	switch n := r.IntN(10); {
	case n >= 7:
		l = w.languages[1]
	case n >= 4:
		mixed = true
	}
	if kind == event.Push {
		return l.Say(r, speech.Pick(r, [][]string{l.Service, l.Offers, l.Stories, l.Security}))
	}
	sentences := 1 + r.IntN(4)
	switch n := r.IntN(100); {
	case n >= 99:
		sentences = 20 + r.IntN(40)
	case n >= 80:
		sentences = 5 + r.IntN(8)
	}
	var b strings.Builder
	for i := range sentences {
		if i > 0 {
			b.WriteByte(' ')
		}
		if mixed {
			l = w.languages[i%2]
		}
		b.WriteString(l.Say(r, speech.Pick(r, [][]string{l.Posts, l.Posts, l.Comments})))
	}
	return b.String()
}

// rest returns what follows the user's id in an event.
func (w *writer) rest(kind event.Kind, body string) []byte {
	r := w.rand
	w.serial++
	l := speech.Pick(r, w.languages[:])
	b := fmt.Appendf(nil, `","group":"%s","verified":%t}`, []string{"default", "default", "default", "default", "minor", "elderly"}[r.IntN(6)], r.IntN(5) > 0)
	if kind == event.Push {
		class := speech.Pick(r, []string{"security", "service", "content", "marketing"})
		b = fmt.Appendf(b, `,"operation":"push.send","class":"%s","channel":"%s","campaign":"load-%02d","sender":"load"`, class,
			speech.Pick(r, []string{"app", "app", "app", "sms"}), r.IntN(20))
		if class == "marketing" {
			b = append(b, `,"label":"广告"`...)
		}
		return append(fmt.Appendf(b, `,"fields":{"body":%s}`, quote(body)), '}')
	}
	b = fmt.Appendf(b, `,"operation":"%s","fields":{"title":%s,"body":%s}`, speech.Pick(r, []string{"post.create", "post.create", "comment"}),
		quote(l.Say(r, l.Groups)), quote(body))
	// Addresses reserved for documentation: nobody's.
	return fmt.Appendf(b, `,"client":{"address":"203.0.113.%d","port":%d,"device":{"id":"d-%012x","app":"load/1.0"}}}`, r.IntN(256), 1024+r.IntN(60_000), w.serial)
}

// quote writes a text as JSON.
func quote(text string) []byte {
	b, err := json.Marshal(text)
	if err != nil {
		panic("load: a text cannot be written as JSON: " + err.Error()) // a string always can
	}
	return b
}

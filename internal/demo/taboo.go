package demo

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/weir-moderation/weir/configs"
	"github.com/weir-moderation/weir/internal/speech"
	"github.com/weir-moderation/weir/pipeline/event"
	"github.com/weir-moderation/weir/rules"
)

// taboos are what the starter packs forbid: offers of gambling and fraud, which
// nobody is hurt by reading, and the harmless canaries.
type taboos struct {
	zh, en   []string // terms, the first ones first
	canaries []string
}

// readTaboos takes them out of the packs in the binary, so that the city always
// says something that is really forbidden.
func readTaboos() (*taboos, error) {
	set, err := starterSet()
	if err != nil {
		return nil, fmt.Errorf("read the starter packs: %w", err)
	}
	t := new(taboos)
	for _, c := range set.Canaries() {
		t.canaries = append(t.canaries, c.Text)
		if c.Category == "gambling" { // the one to show goes first
			last := len(t.canaries) - 1
			t.canaries[0], t.canaries[last] = t.canaries[last], t.canaries[0]
		}
	}
	for _, category := range []string{"gambling", "fraud"} {
		for _, r := range set.Rules() {
			if r.Category != category || r.State != rules.Live || r.Pack == rules.CanaryPack || r.Combines() || len(r.Fields) > 0 || len(r.Kinds) < 2 {
				continue
			}
			for _, term := range r.Terms() {
				if speech.IsChinese(term) {
					t.zh = append(t.zh, term)
				} else {
					t.en = append(t.en, term)
				}
			}
		}
	}
	if len(t.zh) == 0 || len(t.en) == 0 || len(t.canaries) == 0 {
		return nil, errors.New("read the starter packs: no terms of gambling and fraud in two languages, or no canaries")
	}
	return t, nil
}

// starterSet is the rule set in the binary, under which a demo judges.
func starterSet() (*rules.Set, error) {
	src, err := configs.FS.ReadFile("categories.yaml")
	if err != nil {
		return nil, err
	}
	register, err := rules.ParseRegister("configs/categories.yaml", src)
	if err != nil {
		return nil, err
	}
	packs, err := fs.Sub(configs.FS, "rules")
	if err != nil {
		return nil, err
	}
	return rules.Load(packs, register, rules.Options{Dir: "configs/rules"})
}

func (t *taboos) pick(r *rand.Rand) string {
	n := r.IntN(len(t.zh) + len(t.en))
	if n < len(t.zh) {
		return t.zh[n]
	}
	return t.en[n-len(t.zh)]
}

// forbidden says something the starter packs forbid, in plain words.
func (c *city) forbidden() string {
	term := c.taboos.pick(c.rand)
	return strings.Replace(speech.Pick(c.rand, speech.Around(term)), "{}", term, 1)
}

// disguised says the same so that people still read it and a plain search does not.
func (c *city) disguised() string {
	term := c.taboos.pick(c.rand)
	return strings.Replace(speech.Pick(c.rand, speech.Around(term)), "{}", speech.Disguise(c.rand, term), 1)
}

// damage is a message no reader of the contract accepts, each kind as it
// happens in real topics.
func (c *city) damage(now time.Time) message {
	u := c.anybody()
	e := c.envelope(u, "post", now)
	e.Operation = "comment"
	e.Fields = map[string]string{"text": u.lang.Say(c.rand, u.lang.Comments)}
	whole := encode(e)
	replace := func(this, that string) []byte {
		return bytes.Replace(whole, []byte(this), []byte(that), 1)
	}
	var value []byte
	switch c.rand.IntN(9) {
	case 0: // a producer died while writing
		value = whole[:len(whole)/2+c.rand.IntN(len(whole)/2-1)]
	case 1: // the same name twice: two readers would read two events
		value = replace(`"user":{"id":`, `"user":{"id":"u-0000","id":`)
	case 2: // not UTF-8
		value = replace(`"text":"`, "\"text\":\"\xff\xfe")
	case 3: // half of a character outside the first plane
		value = replace(`"text":"`, `"text":"\ud83d`)
	case 4: // no JSON at all
		value = []byte("comment=" + e.ID + "&text=hello")
	case 5: // nothing
		value = []byte{}
	case 6: // what no JSON number is
		value = replace(`"port":443`, `"port":NaN`)
	case 7: // no id
		value = replace(`"id":"`+e.ID+`",`, ``)
	case 8: // a text where a truth belongs
		value = replace(`"user":{`, `"user":{"verified":"yes",`)
		value = bytes.Replace(value, []byte(`,"verified":true`), nil, 1)
	}
	return message{topic: topicPosts, key: u.id, value: value, kind: event.Post, id: e.ID, meant: broken}
}

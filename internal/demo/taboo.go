package demo

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/weir-moderation/weir/configs"
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
				if strings.ContainsFunc(term, func(c rune) bool { return unicode.Is(unicode.Han, c) }) {
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

// frames are sentences around a term, as those who write such things put them.
// {} is where it stands.
func (t *taboos) frames(term string) []string {
	if slices.Contains(t.zh, term) {
		return []string{"老朋友推荐：{}，今晚还有名额。", "{}！看我头像。", "朋友都在问：{}。", "本周福利（{}），先到先得。", "需要的看这里——{}，手机就行。"}
	}
	return []string{"Bored? {}, tonight only.", "{}! See my profile.", "Friends told me: {} (link in bio).", "New here: {}."}
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
	return strings.Replace(pick(c.rand, c.taboos.frames(term)), "{}", term, 1)
}

// disguised says the same so that people still read it and a plain search does not.
func (c *city) disguised() string {
	term := c.taboos.pick(c.rand)
	return strings.Replace(pick(c.rand, c.taboos.frames(term)), "{}", disguise(c.rand, term), 1)
}

// invisible characters that evaders put between letters.
func invisible() []string {
	return []string{"\u200b", "\u200c", "\u200d", "\u2060", "\u00ad", "\ufeff", "\ufe0f"}
}

// disguise writes a term so that it looks the same, or nearly, and is other bytes.
func disguise(r *rand.Rand, term string) string {
	latin := strings.ContainsFunc(term, func(c rune) bool { return c < 0x80 && c != ' ' })
	ways := []func(string) string{func(s string) string { return sprinkle(r, s) }}
	if latin {
		ways = append(ways, wide, circled,
			func(s string) string { return toggle(r, s) },
			func(s string) string { return sprinkle(r, wide(s)) })
	}
	for {
		if s := pick(r, ways)(term); s != term {
			return s
		}
	}
}

// sprinkle puts invisible characters between the letters.
func sprinkle(r *rand.Rand, s string) string {
	var b strings.Builder
	for i, c := range []rune(s) {
		if i > 0 && (i == 1 || r.IntN(2) == 0) {
			b.WriteString(pick(r, invisible()))
		}
		b.WriteRune(c)
	}
	return b.String()
}

// wide writes Latin letters and digits in their full-width forms.
func wide(s string) string {
	return strings.Map(func(c rune) rune {
		if c > ' ' && c < 0x7f {
			return c - '!' + '！'
		}
		return c
	}, s)
}

// circled writes Latin letters in circles: ⓒⓐⓢⓘⓝⓞ.
func circled(s string) string {
	return strings.Map(func(c rune) rune {
		switch {
		case c >= 'a' && c <= 'z':
			return c - 'a' + 'ⓐ'
		case c >= 'A' && c <= 'Z':
			return c - 'A' + 'Ⓐ'
		}
		return c
	}, s)
}

// toggle writes letters in upper and lower case as they fall.
func toggle(r *rand.Rand, s string) string {
	return strings.Map(func(c rune) rune {
		if r.IntN(2) == 0 {
			return c
		}
		if c >= 'a' && c <= 'z' {
			return c - 'a' + 'A'
		}
		return c
	}, s)
}

// damage is a message no reader of the contract accepts, each kind as it
// happens in real topics.
func (c *city) damage(now time.Time) message {
	u := c.anybody()
	e := c.envelope(u, "post", now)
	e.Operation = "comment"
	e.Fields = map[string]string{"text": u.lang.say(c.rand, u.lang.comments)}
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

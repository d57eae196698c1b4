package detect

import (
	"fmt"
	"slices"
	"strings"
)

// Version names what the detectors find. It goes into the digest of a rule set and grows with
// every change of what is found: two that find different things must not have one name.
const Version = "1"

// Detector is one of the things that can be found.
type Detector uint8

// The detectors.
const (
	URL       Detector = iota // an address of the web, with a scheme or without
	Email                     // a mail address
	Phone                     // a phone number: Chinese mobile, landline and service, +CC, North American
	Messenger                 // an id given out for a messenger, with the messenger's name
	Price                     // an amount of money with its currency
)

// words are the detectors' words in packs and verdicts, in the order of the constants.
var words = [...]string{"url", "email", "phone", "messenger", "price"}

// String returns the word of a detector.
func (d Detector) String() string { return words[d] }

// Names returns the words of all detectors.
func Names() []string { return slices.Clone(words[:]) }

// Parse returns the detector with this word.
func Parse(word string) (Detector, error) {
	i := slices.Index(words[:], word)
	if i < 0 {
		return 0, fmt.Errorf("unknown detector %q; known are %s", word, strings.Join(words[:], ", "))
	}
	return Detector(i), nil
}

// Find calls f with each place in a text, in bytes, from left to right, until it returns false. No
// two overlap. An occurrence begins with its first character and ends with its last: what is
// invisible between them is inside, around them outside.
func (d Detector) Find(sc *Scratch, text []byte, f func(start, end int) bool) {
	d.Set().Find(sc, text, func(_ Detector, start, end int) bool { return f(start, end) })
}

// Set is a set of detectors.
type Set uint8

// Set returns the set of one.
func (d Detector) Set() Set { return 1 << d }

// Find is [Detector.Find] for several detectors, which read the text once. They come in their
// order, not in that of the text, and occurrences of different ones may overlap.
func (s Set) Find(sc *Scratch, text []byte, f func(d Detector, start, end int) bool) {
	sc.read(text)
	for d := URL; d <= Price; d++ {
		if s&d.Set() == 0 || !sc.may(d) {
			continue
		}
		sc.next = 0
		for at := 0; at < len(sc.symbols); {
			lo, hi := sc.find(d, at)
			if lo < 0 {
				break
			}
			if !f(d, int(sc.symbols[lo].from), int(sc.symbols[hi-1].to)) {
				return
			}
			// Characters that fold to several stand in one occurrence only.
			for at = hi; at < len(sc.symbols) && sc.symbols[at].from == sc.symbols[hi-1].from; {
				at++
			}
		}
	}
}

// find returns the symbols of the next occurrence at or after symbol at, -1 if there is none.
func (sc *Scratch) find(d Detector, at int) (lo, hi int) {
	switch d {
	case URL:
		return sc.findURL(at)
	case Email:
		return sc.findEmail(at)
	case Phone:
		return sc.findPhone(at)
	case Messenger:
		return sc.findMessenger(at)
	default:
		return sc.findPrice(at)
	}
}

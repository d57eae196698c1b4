package event

import (
	"time"
	"unicode/utf8"

	"github.com/weir-moderation/weir/internal/strictjson"
)

// string returns the text of a string or a name: a part of the message where
// there is no escape, else a copy without them.
func (d *Decoder) string(t *strictjson.Token) []byte {
	if !t.Escaped {
		return d.data[t.Lo:t.Hi:t.Hi]
	}
	room := d.text.take(int(t.Hi - t.Lo)) // escapes make a text only shorter
	_, s := strictjson.Text(room[:0], d.data, t)
	d.text.giveBack(len(room) - len(s))
	return s
}

// prose reads a string of any length and content.
func (d *Decoder) prose(path string, at int) []byte {
	t := &d.tokens[at]
	if t.Kind != '"' {
		d.fail(WrongType, path, at)
		return nil
	}
	return d.string(t)
}

// word reads a string that names something.
func (d *Decoder) word(path string, at int) []byte {
	w := d.prose(path, at)
	d.checkWord(path, at, w)
	return w
}

// checkWord looks at the length of the word at tokens[at], and for control
// characters: as they are JSON has refused them already.
func (d *Decoder) checkWord(path string, at int, w []byte) {
	if len(w) > d.config.MaxWordBytes {
		d.fail(TooLong, path, at)
	}
	if d.tokens[at].Escaped && hasControl(w) {
		d.fail(ControlCharacter, path, at)
	}
}

func hasControl(w []byte) bool {
	for _, c := range w {
		if c < ' ' {
			return true
		}
	}
	return false
}

// needed fails unless w came and is not empty.
func (d *Decoder) needed(path string, w []byte) {
	switch {
	case w == nil:
		d.fail(Missing, path, -1)
	case len(w) == 0:
		d.fail(EmptyWord, path, -1)
	}
}

func (d *Decoder) boolean(path string, at int) bool {
	switch d.tokens[at].Kind {
	case 't':
		return true
	case 'f':
		return false
	}
	d.fail(WrongType, path, at)
	return false
}

func (d *Decoder) time(path string, at int) time.Time {
	w := d.prose(path, at)
	t, ok := parseTime(w)
	if !ok {
		d.fail(BadTime, path, at)
	}
	return t
}

// number reads a whole number from least to most, written with digits only:
// 1.0 and 1e3 are refused, which not every reader takes for whole.
func (d *Decoder) number(path string, at int, least, most uint64, bad Reason) uint64 {
	t := &d.tokens[at]
	if t.Kind != '-' && !isDigit(t.Kind) {
		d.fail(WrongType, path, at)
		return 0
	}
	n := uint64(0)
	for _, c := range d.data[t.Lo:t.Hi] {
		if !isDigit(c) || n > most/10 {
			d.fail(bad, path, at)
			return 0
		}
		n = 10*n + uint64(c-'0')
	}
	if n < least || n > most {
		d.fail(bad, path, at)
		return 0
	}
	return n
}

// oneOf reads one of a closed list of words.
func (d *Decoder) oneOf(path string, at int, words ...string) []byte {
	w := d.word(path, at)
	for _, allowed := range words {
		if string(w) == allowed {
			return w
		}
	}
	d.fail(BadValue, path, at)
	return nil
}

// checkHeader looks at a value from the headers as JSON and checkWord look at
// one from the message.
func (d *Decoder) checkHeader(path string, value []byte) {
	switch {
	case len(value) == 0:
		d.fail(EmptyWord, path, -1)
	case !utf8.Valid(value):
		d.fail(InvalidUTF8, path, -1)
	case hasControl(value):
		d.fail(ControlCharacter, path, -1)
	}
}

package event

import (
	"bytes"
	"unicode/utf8"
)

// This file reads the kinds that hold no text to judge: what users agree to,
// what became of pushes, what is stopped.

// consent reads the whole state of one user.
func (d *Decoder) consent(at int, e *Event) {
	c := &e.Consent
	c.DailyMax = -1
	first, end := d.object(at)
	for i := first; i < end; i = d.next(i) {
		switch v := i + 1; string(d.name(i)) {
		case "user":
			d.user(v, &e.User)
		case "version":
			// Up to what every reader of JSON can hold exactly (I-JSON).
			c.Version = d.number("version", v, 1, 1<<53-1, BadInteger)
		case "grants":
			c.Grants = d.granted(v)
		case "zone":
			if c.Zone = d.word("zone", v); len(c.Zone) != 0 && !isZone(c.Zone) {
				d.fail(BadValue, "zone", v)
			}
		case "quiet":
			if c.Quiet = d.word("quiet", v); len(c.Quiet) != 0 && !isQuiet(c.Quiet) {
				d.fail(BadValue, "quiet", v)
			}
		case "daily_max":
			c.DailyMax = int(d.number("daily_max", v, 0, 1<<31-1, BadInteger))
		default:
			d.common(i, e)
		}
	}
	d.needed("user.id", e.User.ID)
	if c.Version == 0 {
		d.fail(Missing, "version", -1)
	}
	if c.Grants == nil {
		d.fail(Missing, "grants", -1)
	}
}

// Forget reads a tombstone on a topic of consent, whose key is the user's id, into
// e. The event has no id and no time. The error, if any, is an [*Error], and e is
// then empty.
func (d *Decoder) Forget(key []byte, e *Event) error {
	*e = Event{}
	switch {
	case len(key) == 0:
		return &Error{Reason: NullValue}
	case len(key) > d.config.MaxWordBytes:
		return &Error{Reason: TooLong, Path: "key"}
	case !utf8.Valid(key):
		return &Error{Reason: InvalidUTF8, Path: "key"}
	case hasControl(key): // as serializers write keys that are no plain text
		return &Error{Reason: ControlCharacter, Path: "key"}
	}
	e.Kind, e.User.ID = Consent, key
	e.Consent = ConsentPart{DailyMax: -1, Forget: true}
	return nil
}

// granted reads what a user has agreed to, and what they took back.
func (d *Decoder) granted(at int) []Grant {
	first, end, n := d.items(at)
	grants := d.grants.take(n)
	for n, i := 0, first; i < end; n, i = n+1, d.after(i) {
		g := &grants[n]
		d.grant(i, g)
		for _, before := range grants[:n] {
			if bytes.Equal(before.Class, g.Class) && bytes.Equal(before.Channel, g.Channel) {
				d.fail(DuplicateGrant, "", i)
			}
		}
		if d.fault != nil {
			d.in(element(n))
		}
	}
	d.in("grants")
	return grants
}

func (d *Decoder) grant(at int, g *Grant) {
	*g = Grant{}
	told := false
	first, end := d.object(at)
	for i := first; i < end; i = d.next(i) {
		switch v := i + 1; string(d.name(i)) {
		case "class":
			g.Class = d.word("class", v)
		case "channel":
			g.Channel = d.word("channel", v)
		case "granted":
			g.Granted, told = d.boolean("granted", v), true
		case "time":
			g.Time = d.time("time", v)
		case "method":
			g.Method = d.word("method", v)
		case "text_version":
			g.TextVersion = d.word("text_version", v)
		default:
			d.unknown(i)
		}
	}
	d.needed("class", g.Class)
	d.needed("channel", g.Channel)
	if !told {
		d.fail(Missing, "granted", -1)
	}
	// Clause: push-consent
	// Consent counts only with its time and, where it is given, the method it was given by.
	if g.Time.IsZero() {
		d.fail(Missing, "time", -1)
	}
	if g.Granted {
		d.needed("method", g.Method)
	}
}

// outcome reads what became of a push.
func (d *Decoder) outcome(at int, e *Event) {
	o := &e.Outcome
	first, end := d.object(at)
	for i := first; i < end; i = d.next(i) {
		switch v := i + 1; string(d.name(i)) {
		case "user":
			d.user(v, &e.User)
		case "push_id":
			o.PushID = d.word("push_id", v)
		case "result":
			o.Result = d.oneOf("result", v, "cancelled", "rejected")
		default:
			d.common(i, e)
		}
	}
	d.completeOutcome(e)
}

// completeOutcome looks whether an outcome has all it needs.
func (d *Decoder) completeOutcome(e *Event) {
	d.needed("user.id", e.User.ID)
	d.needed("push_id", e.Outcome.PushID)
	d.needed("result", e.Outcome.Result)
}

// halt reads an order to stop or to resume.
func (d *Decoder) halt(at int, e *Event) {
	h := &e.Halt
	told := false
	first, end := d.object(at)
	for i := first; i < end; i = d.next(i) {
		switch v := i + 1; string(d.name(i)) {
		case "scope":
			h.Scope = d.oneOf("scope", v, "campaign", "sender", "class")
		case "value":
			h.Value = d.word("value", v)
		case "halted":
			h.Halted, told = d.boolean("halted", v), true
		case "why":
			h.Why = d.prose("why", v)
		case "by":
			h.By = d.word("by", v)
		default:
			d.common(i, e)
		}
	}
	d.needed("scope", h.Scope)
	d.needed("value", h.Value)
	if !told {
		d.fail(Missing, "halted", -1)
	}
}

// isZone knows the form of IANA's names: parts of letters, digits, "_", "+" and
// "-", joined by "/", the first letter one of A to Z. Whether there is such a
// zone the push policy finds out. Local would be the zone of this machine.
func isZone(w []byte) bool {
	part := 0 // bytes of the part so far
	for i, c := range w {
		letter := c|0x20 >= 'a' && c|0x20 <= 'z'
		switch {
		case i == 0 && !letter:
			return false
		case letter, isDigit(c), c == '_', c == '+', c == '-':
			part++
		case c == '/' && part > 0:
			part = 0
		default:
			return false
		}
	}
	return part > 0 && string(w) != "Local"
}

// isQuiet knows "22:00-08:00": two different times of day.
func isQuiet(w []byte) bool {
	return len(w) == 11 && w[5] == '-' && isTimeOfDay(w[:5]) && isTimeOfDay(w[6:]) && string(w[:5]) != string(w[6:])
}

func isTimeOfDay(w []byte) bool {
	return isDigit(w[0]) && isDigit(w[1]) && w[2] == ':' && isDigit(w[3]) && isDigit(w[4]) && two(w) < 24 && two(w[3:]) < 60
}

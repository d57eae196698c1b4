package push

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"time"

	"github.com/weir-moderation/weir/pipeline/event"
)

// A profile in Redis, all numbers big-endian:
//
//	0   8  version of the consent event it was made from
//	8   1  form of the record: 1
//	9   2  begin of the user's own rest hours in minutes after midnight
//	11  2  their end; both 0 for none
//	13  2  the user's own limit of pushes a day, 65535 for none
//	15  1  number of grants, then for each
//	       1  class code * 2 + 1 if withdrawn
//	       1  one bit for each channel code
//	       4  since when, Unix time in seconds
//	then  1  length of the group's name, the name
//	then     the name of the zone, to the end
//
// Which notice a user was shown and by what method they agreed is in the evidence
// record of that version; to decide it is enough to know that there is one.
const (
	profileForm   = 1
	profileHeader = 16
	grantSize     = 6
	maxGrants     = 2 * numTags // every class on every channel, given and taken back
	maxName       = 64          // of a group or zone; longer ones are not any we know
)

// NoDailyMax is the DailyMax of a user who has not set one.
const NoDailyMax = math.MaxUint16

// Profile is what one user has agreed to and how they want to be reached.
type Profile struct {
	Version  uint64 // 0: there is no profile
	Grants   []Grant
	Group    string // empty when not told
	Zone     string // IANA name, empty when not told
	Quiet    Window
	DailyMax uint16 // NoDailyMax for none
	// Unreadable tells that there is a record, but it is damaged.
	Unreadable bool
	// Doubtful tells that there may be a newer one than Redis knows.
	Doubtful bool
	// Forgotten is where the user was forgotten, if they were: there is no profile.
	Forgotten tomb
}

// Grant is consent given or withdrawn for one class on some channels at one time.
type Grant struct {
	Class     uint8 // code
	Channels  uint8 // one bit for each code
	Withdrawn bool
	Since     uint32 // Unix time
}

// ProfileFrom returns the profile that a consent event describes.
//
// It refuses next to nothing on purpose: the same event may carry a withdrawal,
// which must not be lost because of a misspelt zone. What the policy does not
// know is kept where it can be (group, zone) and decided on conservatively, or
// left out where it cannot (a class or channel, which nothing can be sent of
// under this policy anyway; when it is added later, only consent events with a
// newer version bring its grants).
func ProfileFrom(p *Policy, e *event.Event) (Profile, error) {
	c := &e.Consent
	if e.Kind != event.Consent || c.Version == 0 {
		return Profile{}, errors.New("not a consent event with a version")
	}
	profile := Profile{
		Version:  c.Version,
		Group:    clip(e.User.Group),
		Zone:     clip(c.Zone),
		DailyMax: NoDailyMax,
	}
	if c.DailyMax >= 0 {
		profile.DailyMax = uint16(min(c.DailyMax, NoDailyMax-1))
	}
	var err error
	if profile.Quiet, err = ParseWindow(string(c.Quiet)); err != nil {
		return Profile{}, fmt.Errorf("quiet: %w", err) // the decoder has seen to it
	}
	for i := range c.Grants {
		g := &c.Grants[i]
		class, ok1 := p.classes[string(g.Class)]
		channel, ok2 := p.channels[string(g.Channel)]
		if ok1 && ok2 {
			profile.grant(Grant{Class: class.code, Channels: 1 << channel, Withdrawn: !g.Granted, Since: since(g)})
		}
	}
	return profile, nil
}

// since returns the second at which a grant takes effect, rounded up: consent
// does not hold before it was given.
func since(g *event.Grant) uint32 {
	t := g.Time.Unix()
	if g.Time.Nanosecond() > 0 {
		t++
	}
	return uint32(min(max(t, 0), math.MaxUint32))
}

func clip(name []byte) string { return string(name[:min(len(name), maxName)]) }

// grant adds one grant, together with others of the same class and time.
func (p *Profile) grant(g Grant) {
	for i := range p.Grants {
		if h := &p.Grants[i]; h.Class == g.Class && h.Withdrawn == g.Withdrawn && h.Since == g.Since {
			h.Channels |= g.Channels
			return
		}
	}
	p.Grants = append(p.Grants, g)
}

// consent tells how the user stands to a class on a channel at a time. Consent
// given for a later time does not hold yet; a withdrawal holds at once.
//
// Clause: push-consent
// Consent is looked up per user, class and channel, with the time it was given; what was not given is not there.
// Clause: push-withdraw
// A withdrawal wins over any grant of the same class and channel, whatever its date.
func (p *Profile) consent(tag Tag, now int64) ConsentUse {
	use := ConsentUse{Version: p.Version, State: ConsentNone}
	for i := range p.Grants {
		g := &p.Grants[i]
		if g.Class != uint8(tag>>3) || g.Channels>>(tag&7)&1 == 0 {
			continue
		}
		use.Since = time.Unix(int64(g.Since), 0).UTC()
		switch {
		case g.Withdrawn:
			use.State = ConsentWithdrawn
			return use
		case int64(g.Since) > now:
			use.State = ConsentLater
		default:
			use.State = ConsentGranted
		}
	}
	return use
}

// withdrawsFrom reports whether anything is taken back here that was not in the
// state before: expressly, or because it is not among what is given any more.
func (p *Profile) withdrawsFrom(before *Profile) bool {
	given := func(p *Profile, t Tag) bool { return p.consent(t, math.MaxInt64).State == ConsentGranted }
	for tag := range Tag(numTags) {
		if given(before, tag) && !given(p, tag) {
			return true
		}
		if p.consent(tag, 0).State == ConsentWithdrawn && before.consent(tag, 0).State != ConsentWithdrawn {
			return true
		}
	}
	return false
}

// Record returns the profile as it stands in Redis.
func (p *Profile) Record() []byte {
	if p.Forgotten.set() {
		return p.Forgotten.record()
	}
	b := make([]byte, 0, profileHeader+len(p.Grants)*grantSize+1+len(p.Group)+len(p.Zone))
	b = binary.BigEndian.AppendUint64(b, p.Version)
	b = append(b, profileForm)
	b = binary.BigEndian.AppendUint16(b, uint16(p.Quiet.Start))
	b = binary.BigEndian.AppendUint16(b, uint16(p.Quiet.End))
	b = binary.BigEndian.AppendUint16(b, p.DailyMax)
	b = append(b, byte(len(p.Grants)))
	for i := range p.Grants {
		g := &p.Grants[i]
		class := g.Class << 1
		if g.Withdrawn {
			class |= 1
		}
		b = append(b, class, g.Channels)
		b = binary.BigEndian.AppendUint32(b, g.Since)
	}
	b = append(b, byte(len(p.Group)))
	b = append(b, p.Group...)
	return append(b, p.Zone...)
}

// ParseProfile reads a record. An empty one is the profile of a user nobody has
// told anything about. A damaged one gives an error and a profile marked as
// unreadable: under it, pushes that need consent wait, and the others meet the
// strictest rules of all groups.
func ParseProfile(record string) (Profile, error) {
	if record == "" {
		return Profile{DailyMax: NoDailyMax}, nil
	}
	p := Profile{DailyMax: NoDailyMax}
	if isTomb(record) {
		p.Forgotten = parseTomb(record)
		return p, nil
	}
	bad := func(what string) (Profile, error) {
		return Profile{DailyMax: NoDailyMax, Unreadable: true}, fmt.Errorf("%w: %s", ErrRecord, what)
	}
	if len(record) < profileHeader+1 {
		return bad("profile is cut off")
	}
	if p.Version = be64(record); p.Version == 0 || record[8] != profileForm {
		return bad("profile of an unknown form")
	}
	p.Quiet = Window{Start: int16(be16(record[9:])), End: int16(be16(record[11:]))}
	if q := p.Quiet; q.Start < 0 || q.Start >= 1440 || q.End < 0 || q.End >= 1440 || q.Start == q.End && q.Start != 0 {
		return bad("profile with impossible rest hours")
	}
	p.DailyMax = be16(record[13:])
	n := int(record[15])
	rest := record[profileHeader:]
	if n > maxGrants || len(rest) < n*grantSize+1 {
		return bad("profile with impossible grants")
	}
	if n > 0 {
		p.Grants = make([]Grant, n)
	}
	for i := range p.Grants {
		b := rest[i*grantSize:]
		p.Grants[i] = Grant{Class: b[0] >> 1, Withdrawn: b[0]&1 != 0, Channels: b[1],
			Since: uint32(be16(b[2:]))<<16 | uint32(be16(b[4:]))}
		if p.Grants[i].Class >= maxCodes || b[1] == 0 {
			return bad("profile with impossible grants")
		}
	}
	rest = rest[n*grantSize:]
	group := int(rest[0])
	if rest = rest[1:]; group > maxName || len(rest) < group || len(rest)-group > maxName {
		return bad("profile with impossible names")
	}
	p.Group, p.Zone = rest[:group], rest[group:]
	return p, nil
}

func be16(s string) uint16 { return uint16(s[0])<<8 | uint16(s[1]) }

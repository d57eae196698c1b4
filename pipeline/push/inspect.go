package push

import (
	"context"
	"fmt"
	"slices"
	"time"
)

// Inspection is what Redis holds of one user.
type Inspection struct {
	Pseudonym    string // the user's name in Redis
	PseudonymKey string // id of the key it is made with
	HasProfile   bool
	HasLog       bool
	Profile      Profile // as of a user nobody has told anything about, if there is none
	Log          SendLog
}

// InspectUser reads what Redis holds of a user and changes nothing. A damaged record
// is no error: it is marked as unreadable, as Decide would see it, and a profile as
// doubtful while Redis is not known to have all that users agreed to.
func (s *Store) InspectUser(ctx context.Context, user []byte) (Inspection, error) {
	ctx, cancel := context.WithTimeout(ctx, batchTimeout)
	defer cancel()
	name := s.names.user(user)
	records, err := s.read(ctx, []string{name}, []int{0})
	if err != nil {
		return Inspection{}, err
	}
	i := Inspection{Pseudonym: name, PseudonymKey: s.names.id, Profile: s.profile(records[0].profile), Log: s.sendLog(records[0].log)}
	i.Profile.Doubtful = !records[0].trusted
	// What stands for a user who was forgotten tells nothing of them.
	i.HasProfile = i.Profile.Version > 0 || i.Profile.Unreadable
	i.HasLog = len(i.Log.Entries) > 0 || i.Log.Unreadable
	return i, nil
}

// Deleted is what Forget deleted.
type Deleted struct {
	Profile bool
	Pushes  int // entries of the send log
	// Kept are entries of pushes that may be on their way: they stay for as long as
	// whoever reads the user's tombstone may have to call them back.
	Kept int
}

// Forget deletes what Redis holds of a user, as an order to forget them does that
// comes by Kafka. It may be called any number of times.
//
// A push of the user that is being decided meanwhile finds its records changed
// and is decided again, as that of a user nobody knows. If the process dies in
// here, the profile is gone and the log may be there; called again, it is deleted.
func (s *Store) Forget(ctx context.Context, p *Policy, user []byte, now time.Time) (done Deleted, err error) {
	held, err := s.InspectUser(ctx, user)
	if err != nil {
		return Deleted{}, err
	}
	name := held.Pseudonym
	if held.HasProfile {
		limited, cancel := context.WithTimeout(ctx, batchTimeout)
		defer cancel()
		if err := s.client.Del(limited, profileKey(name)).Err(); err != nil {
			s.metrics.errors[kindOf(err)].Inc()
			return Deleted{}, fmt.Errorf("delete from redis: %w", err)
		}
	}
	r := recaller{policy: p, now: now.Unix()}
	err = s.transact(ctx, []string{name}, func(_ int, _, record string) update {
		log, rest := s.sendLog(record), SendLog{Version: nextVersion(record)}
		keep := int64(1) // as good as deleted
		for i := range log.Entries {
			if e := &log.Entries[i]; r.lately(e) {
				rest.Entries = append(rest.Entries, *e)
				keep = max(keep, int64(e.At)+int64(p.recall/time.Second)-r.now)
			}
		}
		done = Deleted{Profile: held.HasProfile, Pushes: len(log.Entries) - len(rest.Entries), Kept: len(rest.Entries)}
		if record == "" || done.Pushes == 0 && !log.Unreadable {
			return update{}
		}
		return update{key: logKey(name), record: rest.Record(), options: []any{"EX", keep}}
	})
	return done, err
}

// Standing is what applies to a user at a time whatever the push.
type Standing struct {
	Group       string
	GroupSource GroupSource
	Zone        string
	ZoneSource  ZoneSource
	LocalTime   time.Time
	Quiet       []Window // the group's rest hours and the user's own
	OwnQuiet    bool     // the user's own count
	Resting     bool
	// RestEnds is when the rest hours end, or the next ones begin if it is not one
	// now; zero if there is no such time.
	RestEnds, RestBegins time.Time
	Flags                Flags
}

// StandingOf says what applies to a user at a time.
func StandingOf(now time.Time, p *Policy, prof *Profile) Standing {
	d := decider{policy: p, profile: prof, request: &Request{}, now: now.Unix()}
	d.findView()
	d.findPlace()
	d.findQuiet()
	s := Standing{Group: d.Group, GroupSource: d.GroupSource, Zone: d.Zone, ZoneSource: d.ZoneSource, LocalTime: d.LocalTime,
		Quiet: d.Quiet, OwnQuiet: prof.Quiet != (Window{}) && p.userQuiet, Flags: d.Flags}
	end, ends := d.place.quietEnd(d.now, d.Quiet)
	if s.Resting = !ends || end > d.now; s.Resting {
		if ends {
			s.RestEnds = time.Unix(end, 0).UTC()
		}
	} else if start, ok := d.place.quietStart(d.now, d.Quiet); ok {
		s.RestBegins = time.Unix(start, 0).UTC()
	}
	return s
}

// ClassConsent is how a user stands to a class on a channel.
type ClassConsent struct {
	Class, Channel string
	ConsentUse
}

// Consents returns how a user stands at a time to every class that needs
// consent, on every channel.
func (p *Policy) Consents(now time.Time, prof *Profile) []ClassConsent {
	var list []ClassConsent
	for _, class := range p.Classes() {
		if !p.classes[class].consent {
			continue
		}
		for _, channel := range p.Channels() {
			use := ConsentUse{State: ConsentUnknown}
			if !prof.Unreadable {
				use = prof.consent(tagOf(p.classes[class].code, p.channels[channel]), now.Unix())
			}
			list = append(list, ClassConsent{class, channel, use})
		}
	}
	return list
}

// WindowState is a limit of a user at a time.
type WindowState struct {
	LimitUse
	Covers  []Cover   // what the limit counts
	Rolling bool      // else it is of calendar days
	Until   time.Time // the end of the window, which is not in it: a second after now, or the end of the day
	// Again is when the limit has room for one push more, if nothing else is
	// allowed until then; zero if it has room now, or never will.
	Again time.Time
	Never bool
}

// Cover is a class with the channels on which a limit counts it.
type Cover struct {
	Class    string
	Channels []string
}

// Windows returns every limit that holds for a user at a time, in the policy's
// order, the user's own at the end.
func Windows(now time.Time, p *Policy, prof *Profile, log *SendLog) []WindowState {
	d := decider{policy: p, profile: prof, log: log, request: &Request{}, now: now.Unix()}
	d.findView()
	d.findPlace()
	var list []WindowState
	limits := d.view.limits
	if own := prof.DailyMax; own != NoDailyMax && p.userDaily {
		limits = append(slices.Clone(limits), dailyLimit(own))
	}
	for _, l := range limits {
		from, n := d.count(&l)
		w := WindowState{LimitUse: LimitUse{ID: l.id, From: time.Unix(from, 0).UTC(), Count: n, Max: l.max, By: l.by},
			Covers: p.covers(l.tags), Rolling: l.days == 0, Until: time.Unix(d.now+1, 0).UTC()}
		if !w.Rolling {
			w.Until = time.Unix(d.place.dayStart(d.now, -1), 0).UTC()
		}
		if n >= l.max {
			again, ok := d.roomAgain(&l)
			if w.Never = !ok; ok {
				w.Again = time.Unix(again, 0).UTC()
			}
		}
		list = append(list, w)
	}
	return list
}

// covers names tags by class.
func (p *Policy) covers(tags tagSet) []Cover {
	var list []Cover
	for _, class := range p.Classes() {
		c := Cover{Class: class}
		for _, channel := range p.Channels() {
			if p.classes[class].counted && tags.has(tagOf(p.classes[class].code, p.channels[channel])) {
				c.Channels = append(c.Channels, channel)
			}
		}
		if c.Channels != nil {
			list = append(list, c)
		}
	}
	return list
}

// Pseudonym returns the name of a user in Redis, and the id of the key it is
// made with.
func (s *Store) Pseudonym(user []byte) (name, key string) { return s.names.user(user), s.names.id }

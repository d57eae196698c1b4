package checkup

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"maps"
	"slices"
	"time"

	"github.com/weir-moderation/weir/internal/kafka"
	"github.com/weir-moderation/weir/pipeline/event"
)

// How many of the newest messages of a topic are looked at: of each partition an equal
// share, and some of each.
const (
	sampleMessages = 1000
	sampleLeast    = 10
)

// sample is what the newest messages of a topic show of their producers. No id leaves it.
type sample struct {
	kind     event.Kind
	seen     int
	unkeyed  int                  // without a key
	events   int                  // that could be read
	differ   int                  // whose key is not the user's id
	reasons  map[event.Reason]int // of those that cannot be read
	users    map[uint64]int32     // by hash, the partition on which each was seen first
	moved    map[uint64]bool      // users seen on two partitions
	seed     maphash.Seed
	decoder  *event.Decoder
	newest   int64
	headers  []event.Header
	corrupt  int
	tombs    int // consent that is withdrawn by a tombstone
	deferred bool
}

// producers looks at the newest messages of every topic that is read by the group, whether
// they can be read, and whether they are keyed by user.
func (c *checkup) producers(ctx context.Context) {
	for i := range c.uses {
		u := &c.uses[i]
		d := c.details[u.topic]
		if _, ok := c.cfg.Input.Stream(u.topic); !ok {
			continue // halts, rules, heads: their keys are no users
		}
		if d.Err != nil || slices.Contains(d.Leaders, -1) || d.May.Known() && !d.May.May(kafka.MayRead) {
			continue // what is wrong is said
		}
		if err := c.sample(ctx, u); err != nil {
			c.say(Unknown, "producers", u.topic, "its newest messages could not be read: "+err.Error(), "")
		}
	}
}

func (c *checkup) sample(ctx context.Context, u *use) error {
	ctx, cancel := context.WithTimeout(ctx, sampleLimit)
	defer cancel()
	scan, err := c.client.OpenScan(ctx, u.topic, time.Time{}, time.Time{})
	if err != nil {
		return err
	}
	defer scan.Close()
	stream, _ := c.cfg.Input.Stream(u.topic)
	c.ranges[u.topic] = slices.Clone(scan.Ranges)
	share := max(sampleLeast, int64(sampleMessages/max(1, len(scan.Ranges))))
	for p := range scan.Ranges {
		r := &scan.Ranges[p]
		r.First = max(r.First, r.Next-share)
	}
	s := sample{kind: stream.Kind, deferred: stream.Deferred, seed: maphash.MakeSeed(), decoder: event.NewDecoder(c.cfg.Events),
		users: make(map[uint64]int32), moved: make(map[uint64]bool), reasons: make(map[event.Reason]int), newest: -1}
	if s.decoder.Format, err = stream.Topic.Format(stream.Kind); err != nil {
		return err
	}
	if err := scan.Read(ctx, s.read); err != nil {
		return err
	}
	if s.newest >= 0 {
		c.newest[u.topic] = time.UnixMilli(s.newest)
	}
	if !s.deferred { // those stand on the partition of their time, and Weir wrote them
		c.sampled(u, &s)
	}
	return nil
}

// read notes what a batch shows.
func (s *sample) read(b *kafka.Batch) error {
	for i := range b.Records {
		r := &b.Records[i]
		s.newest = max(s.newest, r.Time)
		if r.Corrupt != "" {
			s.corrupt++
			continue
		}
		s.seen++
		if r.Key == nil {
			s.unkeyed++
		}
		if r.Value == nil && s.kind == event.Consent {
			s.tombs++ // the user is the key
			continue
		}
		s.headers = s.headers[:0]
		for k, v := range r.Headers {
			s.headers = append(s.headers, event.Header{Key: string(k), Value: v})
		}
		var e event.Event
		if err := s.decoder.Decode(s.kind, s.headers, r.Value, &e); err != nil {
			if fault, ok := errors.AsType[*event.Error](err); ok {
				s.reasons[fault.Reason]++
			}
			continue
		}
		s.events++
		if r.Key != nil && string(r.Key) != string(e.User.ID) {
			s.differ++
		}
		user := maphash.Bytes(s.seed, e.User.ID)
		if on, known := s.users[user]; known && on != b.Partition {
			s.moved[user] = true
		} else {
			s.users[user] = b.Partition
		}
	}
	s.decoder.Reset()
	return nil
}

// sampled says what the newest messages of a topic show.
func (c *checkup) sampled(u *use, s *sample) {
	if s.seen+s.corrupt == 0 {
		c.say(Unknown, "producers", u.topic, "there is no message to look at", "")
		return
	}
	newest := "the newest " + count(s.seen, "message")
	if s.seen == 1 {
		newest = "the newest message"
	}
	before := c.Count(Warning)
	bad := func(what, remedy string) { c.say(Warning, "producers", u.topic, what, remedy) }
	costs := "the order of a user's messages is not kept"
	switch s.kind {
	case event.Push:
		costs += ", limits cost more, and hold less well while Redis is away"
	case event.Consent:
		costs += ", and compaction keeps the wrong one"
	}
	const key = "make the producer use the user's id as key"
	if s.unkeyed > 0 {
		bad(fmt.Sprintf("%d of %s have no key: %s", s.unkeyed, newest, costs), key)
	}
	switch {
	case len(s.moved) > 0 && s.unkeyed < s.seen:
		bad(fmt.Sprintf("%d of %s seen on two partitions: %s", len(s.moved), count(len(s.users), "user"), costs), key+"; just after partitions were added this is to be expected")
	case s.differ > 0 && s.kind == event.Consent:
		bad(fmt.Sprintf("%d of %s have another key than their user's id: a tombstone would forget nobody", s.differ, newest), key)
	}
	if broken := s.seen - s.events - s.tombs; broken > 0 {
		reasons := slices.SortedFunc(maps.Keys(s.reasons), func(a, b event.Reason) int { return s.reasons[b] - s.reasons[a] })
		words := make([]string, len(reasons))
		for i, r := range reasons {
			words[i] = fmt.Sprintf("%d %s", s.reasons[r], r)
		}
		bad(fmt.Sprintf("%d of %s cannot be read as events and would be dead letters: %s", broken, newest, some(words)), "docs/inputs.md says how to tell Weir how they are written, docs/reasons.md what the reasons mean")
	}
	if s.corrupt > 0 {
		bad(fmt.Sprintf("%s damaged: their checksum or form is wrong", count(s.corrupt, "record batch")), "look at the disks of the brokers")
	}
	if c.Count(Warning) > before {
		return
	}
	words := "keyed by user"
	if s.differ > 0 {
		words = "keys are not the users' ids, and each user is on one partition"
	}
	c.say(OK, "producers", u.topic, newest+": "+words, "")
}

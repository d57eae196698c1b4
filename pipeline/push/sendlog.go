package push

import (
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"math/bits"
	"slices"
	"time"
)

// ErrRecord is what the error of a record is that cannot be read.
var ErrRecord = errors.New("damaged record")

// A send log in Redis is a version of 8 bytes and entries of 14, all numbers
// big-endian:
//
//	0   8  version: random for a new log, then one more for each write, so that
//	       a log that expired and was made again is never taken for the old one
//	then for each entry
//	0   4  Unix time in seconds
//	4   1  class code * 8 + channel code
//	5   1  state: 1 counted, 2 refunded
//	6   8  mark of the push: the beginning of a keyed hash of its id
const (
	logHeader = 8
	entrySize = 14

	// maxEntries bounds a log. A policy that could need more than half of it is
	// refused; the other half is for refunded pushes and for users who change
	// zones to see two days in one.
	maxEntries = 2 * maxLogBound
)

// state tells whether an entry counts.
type state uint8

const (
	counted  state = 1
	refunded state = 2 // kept, so that a cancelled push stays cancelled
)

// Entry is one allowed push in a user's send log.
type Entry struct {
	At    uint32 // Unix time
	Tag   Tag
	State state
	Mark  uint64
}

// unixTime returns a time as entries have it.
func unixTime(t time.Time) uint32 { return uint32(min(max(t.Unix(), 0), math.MaxUint32)) }

// Tag is a class and a channel by their codes.
type Tag uint8

const numTags = 64

func tagOf(class, channel uint8) Tag { return Tag(class<<3 | channel) }

// tagSet is a set of tags, one bit for each.
type tagSet uint64

func (s tagSet) has(t Tag) bool { return s>>t&1 != 0 }
func (s tagSet) size() int      { return bits.OnesCount64(uint64(s)) }

// SendLog is what one user was allowed to be sent lately.
type SendLog struct {
	Version uint64
	Entries []Entry
	// Unreadable tells that there is a record, but it is damaged.
	Unreadable bool
	// ClockOff tells that our clock is too far from that of Redis, by which alone
	// those who write into the log can be compared.
	ClockOff bool
}

// ParseSendLog reads a record. An empty one is the log of a user who was sent
// nothing. A damaged one gives an error and a log marked as unreadable: nobody
// knows how many pushes stood in it, so under it no counted push is allowed.
func ParseSendLog(record string) (SendLog, error) {
	if record == "" {
		return SendLog{}, nil
	}
	unreadable := SendLog{Unreadable: true}
	n := (len(record) - logHeader) / entrySize
	if len(record) < logHeader || len(record) != logHeader+n*entrySize {
		return unreadable, fmt.Errorf("%w: send log of %d bytes", ErrRecord, len(record))
	}
	if n > maxEntries {
		return unreadable, fmt.Errorf("%w: send log of %d entries; at most %d are ever written", ErrRecord, n, maxEntries)
	}
	l := SendLog{Version: be64(record), Entries: make([]Entry, n, n+1)}
	for i := range l.Entries {
		b := record[logHeader+i*entrySize:][:entrySize]
		e := Entry{
			At:  uint32(b[0])<<24 | uint32(b[1])<<16 | uint32(b[2])<<8 | uint32(b[3]),
			Tag: Tag(b[4]), State: state(b[5]), Mark: be64(b[6:]),
		}
		if e.Tag >= numTags || e.State != counted && e.State != refunded {
			return unreadable, fmt.Errorf("%w: entry %d of a send log has tag %d, state %d", ErrRecord, i, e.Tag, e.State)
		}
		l.Entries[i] = e
	}
	return l, nil
}

func be64(s string) uint64 {
	_ = s[7]
	return uint64(s[0])<<56 | uint64(s[1])<<48 | uint64(s[2])<<40 | uint64(s[3])<<32 |
		uint64(s[4])<<24 | uint64(s[5])<<16 | uint64(s[6])<<8 | uint64(s[7])
}

// Record returns the log as it stands in Redis.
func (l *SendLog) Record() []byte {
	b := make([]byte, 0, logHeader+len(l.Entries)*entrySize)
	b = binary.BigEndian.AppendUint64(b, l.Version)
	for i := range l.Entries {
		e := &l.Entries[i]
		b = binary.BigEndian.AppendUint32(b, e.At)
		b = append(b, byte(e.Tag), byte(e.State))
		b = binary.BigEndian.AppendUint64(b, e.Mark)
	}
	return b
}

// find tells what the log knows of a push: whether it was cancelled, and whether
// it was allowed as this class on this channel. An id that comes back as another
// class is not the same push, or one id could carry any number of them.
func (l *SendLog) find(mark uint64, tag Tag) (cancelled, allowed bool) {
	for i := range l.Entries {
		if e := &l.Entries[i]; e.Mark == mark {
			cancelled = cancelled || e.State == refunded
			allowed = allowed || e.State == counted && e.Tag == tag
		}
	}
	return cancelled, allowed
}

// Cancelled returns how many of the entries are of pushes that were cancelled.
func (l *SendLog) Cancelled() int {
	n := 0
	for i := range l.Entries {
		if l.Entries[i].State == refunded {
			n++
		}
	}
	return n
}

// refund marks the entries of a push as not counted and reports whether there
// were any that counted.
func (l *SendLog) refund(mark uint64) bool {
	found := false
	for i := range l.Entries {
		if e := &l.Entries[i]; e.Mark == mark && e.State == counted {
			e.State, found = refunded, true
		}
	}
	return found
}

// with returns a copy of the log with one entry more, without the entries no
// window can see any more (keep says for how many seconds each tag is seen). It
// returns nil if that would make the log too long.
func (l *SendLog) with(e Entry, keep *[numTags]int64) *SendLog {
	longer := &SendLog{Version: l.Version, Entries: make([]Entry, 0, len(l.Entries)+1)}
	for _, old := range l.Entries {
		if int64(old.At) > int64(e.At)-keep[old.Tag] {
			longer.Entries = append(longer.Entries, old)
		}
	}
	for len(longer.Entries) >= maxEntries {
		if !longer.forget() {
			return nil
		}
	}
	longer.Entries = append(longer.Entries, e)
	return longer
}

// insert puts an entry at its time and reports whether there was room for it. As
// with does, it drops what no window can see any more.
func (l *SendLog) insert(e Entry, now int64, keep *[numTags]int64) bool {
	l.Entries = slices.DeleteFunc(l.Entries, func(old Entry) bool { return int64(old.At) <= now-keep[old.Tag] })
	for len(l.Entries) >= maxEntries {
		if !l.forget() {
			return false
		}
	}
	i := len(l.Entries)
	for i > 0 && l.Entries[i-1].At > e.At {
		i--
	}
	l.Entries = slices.Insert(l.Entries, i, e)
	return true
}

// forget drops the oldest refunded entry. What it is for is lost with it: that
// one cancelled push, delivered again, would count as new. Counted entries are
// never dropped, because then a cap could be exceeded.
func (l *SendLog) forget() bool {
	for i := range l.Entries {
		if l.Entries[i].State == refunded {
			l.Entries = append(l.Entries[:i], l.Entries[i+1:]...)
			return true
		}
	}
	return false
}

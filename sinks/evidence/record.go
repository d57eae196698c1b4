package evidence

import (
	"crypto/rand"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"slices"
	"time"

	"github.com/weir-moderation/weir/sinks/evidence/keys"
)

// ID names a record. The caller computes it from what the record is about, so
// that writing the same thing twice writes the same id twice.
type ID [16]byte

// String returns the id as 32 hex digits.
func (id ID) String() string { return hex.EncodeToString(id[:]) }

// Kind says what a record is. The numbers are part of the format.
type Kind uint8

// The kinds of records. 1 to 15 are about the log itself, 16 to 31 about
// messages; FORMAT.md reserves ranges for what comes later.
const (
	KindGenesis    Kind = 1  // the first record of a log, written by Open
	KindStart      Kind = 2  // the daemon started
	KindStop       Kind = 3  // the daemon stopped in order
	KindRuleSet    Kind = 4  // a rule set or policy came into force
	KindCoverage   Kind = 5  // ranges of offsets that were judged: a [CoverageBody]
	KindGap        Kind = 6  // offsets that were gone before they could be judged: a [GapBody]
	KindIncident   Kind = 7  // something an operator must know of: pushes were halted or go on, Redis is away or back
	KindErase      Kind = 8  // a user was forgotten
	KindSeal       Kind = 9  // a segment is full and its bodies were moved: a [SealBody]
	KindAnchor     Kind = 10 // heads of other logs as this one saw them, and what witnesses signed
	KindRotation   Kind = 11 // a master key or signing key was followed by another
	KindDamaged    Kind = 12 // something on the disk is not what was written: a [DamagedBody]
	KindHeartbeat  Kind = 13 // nothing else was recorded for a while
	KindTimestamp  Kind = 14 // a time-stamp authority's token over a head
	KindHit        Kind = 16 // the verdict on a message that was hit
	KindPush       Kind = 17 // the decision on a push
	KindDeadLetter Kind = 18 // a message that can never be judged
	KindBreach     Kind = 19 // more was sent to a user than a limit allows
	KindRecall     Kind = 20 // an allowed push that was called back
	KindConsent    Kind = 21 // what a user has agreed to

	// 32 to 47 are about what people do.
	KindAccess Kind = 32 // bodies were shown to somebody, and why; durable before they are
	KindExport Kind = 33 // bodies were handed out in a package

	// 48 to 63 are about retention; package desk writes them.
	KindHold        Kind = 48 // bodies that must be kept beyond their day, and why
	KindRelease     Kind = 49 // a hold ended
	KindDestroyPlan Kind = 50 // what somebody wants destroyed
	KindDestroy     Kind = 51 // a plan that a second person signed; nothing is unlinked before this is durable
	KindDestroyed   Kind = 52 // what such a plan named is gone
	KindShred       Kind = 53 // the keys of a person are gone
	KindRestricted  Kind = 54 // a person asked to be erased while a duty to keep still runs
)

// Kinds returns all kinds this version writes.
func Kinds() []Kind {
	return []Kind{KindGenesis, KindStart, KindStop, KindRuleSet, KindCoverage, KindGap, KindIncident, KindErase,
		KindSeal, KindAnchor, KindRotation, KindDamaged, KindHeartbeat, KindTimestamp,
		KindHit, KindPush, KindDeadLetter, KindBreach, KindRecall, KindConsent,
		KindAccess, KindExport, KindHold, KindRelease, KindDestroyPlan, KindDestroy, KindDestroyed, KindShred, KindRestricted}
}

// String returns the kind's word in reports and metrics.
func (k Kind) String() string {
	switch k {
	case KindGenesis:
		return "genesis"
	case KindStart:
		return "start"
	case KindStop:
		return "stop"
	case KindRuleSet:
		return "ruleset"
	case KindCoverage:
		return "coverage"
	case KindGap:
		return "gap"
	case KindIncident:
		return "incident"
	case KindErase:
		return "erase"
	case KindSeal:
		return "seal"
	case KindAnchor:
		return "anchor"
	case KindRotation:
		return "rotation"
	case KindDamaged:
		return "damaged"
	case KindHeartbeat:
		return "heartbeat"
	case KindTimestamp:
		return "timestamp"
	case KindHit:
		return "hit"
	case KindPush:
		return "push"
	case KindDeadLetter:
		return "deadletter"
	case KindBreach:
		return "breach"
	case KindRecall:
		return "recall"
	case KindConsent:
		return "consent"
	case KindAccess:
		return "access"
	case KindExport:
		return "export"
	case KindHold:
		return "hold"
	case KindRelease:
		return "release"
	case KindDestroyPlan:
		return "destroy-plan"
	case KindDestroy:
		return "destroy"
	case KindDestroyed:
		return "destroyed"
	case KindShred:
		return "shred"
	case KindRestricted:
		return "restricted"
	}
	return fmt.Sprintf("kind-%d", uint8(k))
}

// redecided reports whether two records of one id may honestly differ: a push
// that is delivered again is decided again, by a later clock and a longer
// history. Every other record is computed from the message alone.
func (k Kind) redecided() bool { return k == KindPush }

// Class is the retention class of a record's body. The numbers are part of the
// format; periods belong to the configuration.
type Class uint8

// The classes of records.
const (
	ClassNone    Class = 0 // not classified
	ClassAudit   Class = 1 // what the log says of itself: genesis, start, coverage
	ClassContent Class = 2 // what users wrote
	ClassPush    Class = 3 // push decisions
	ClassPolicy  Class = 4 // rule sets and policies
)

// maxClass is above all classes a leaf can name.
const maxClass Class = 255

// String returns the class's word in reports.
func (c Class) String() string {
	switch c {
	case ClassNone:
		return "none"
	case ClassAudit:
		return "audit"
	case ClassContent:
		return "content"
	case ClassPush:
		return "push"
	case ClassPolicy:
		return "policy"
	}
	return fmt.Sprintf("class-%d", uint8(c))
}

// The encodings of bodies. The numbers are part of the format.
const (
	EncodingJSON     = 0
	EncodingProtobuf = 1 // deterministic, of the messages in package body
)

// maxEncoding is the largest encoding the leaf has room for.
const maxEncoding = 15

// MaxBodyBytes is the largest body a record may have.
const MaxBodyBytes = 16 << 20

// Record is what [Log.Append] takes. Body is read until Append returns and is
// not changed.
type Record struct {
	ID       ID
	Kind     Kind
	Class    Class
	Encoding uint8 // of Body: EncodingJSON or EncodingProtobuf
	Body     []byte

	// Subject is whom the record is about: a user id, or "pseudonym:" and the name a user has in
	// Redis where no more is known; empty if nobody is.
	Subject string
	// Terms are what the record can be looked up by beside its id. They are kept
	// with encrypted bodies alone; the first 255 are.
	Terms []Term
}

// Term is a value that records are looked up by, such as the id of an account. It is never
// written as it is.
type Term struct {
	Name  string // what it is: event, account, category, ...
	Value string
}

func (r *Record) check() error {
	switch {
	case r.Kind == 0:
		return fmt.Errorf("record %s has no kind", r.ID)
	case r.Kind == KindGenesis:
		return fmt.Errorf("record %s is a genesis record; only Open writes one", r.ID)
	case r.Encoding > maxEncoding:
		return fmt.Errorf("record %s has encoding %d; the leaf has room for 0 to %d", r.ID, r.Encoding, maxEncoding)
	case len(r.Body) > MaxBodyBytes:
		return fmt.Errorf("record %s: %w: %d bytes, at most %d", r.ID, ErrTooLarge, len(r.Body), MaxBodyBytes)
	}
	return nil
}

// The leaf is the public part of a record and all that is hashed into the tree:
//
//	 0  version     1   always 1
//	 1  kind        1
//	 2  class       1
//	 3  flags       1   low four bits: encoding of the body; 0x10: the stored body is encrypted; the others are 0
//	 4  id         16
//	20  recorded   8   nanoseconds since 1970, never less than that of the record before
//	28  body bytes  4   of the plain body, without salt
//	32  commitment 32   SHA-256 of "ev1 body\n", id, salt and plain body
//
// All numbers are big-endian.
const (
	leafSize    = 64
	leafVersion = 1

	leafID         = 4
	leafTime       = 20
	leafBody       = 28
	leafCommitment = 32

	flagsEncoding = 0x0f
	flagEncrypted = 0x10 // the stored body is encrypted
)

// saltSize is the length of the random bytes before every body. They keep a
// leaf from being matched against guesses of a short text once the body is gone.
const saltSize = 32

const commitmentTag = "ev1 body\n"

type leaf [leafSize]byte

func (l *leaf) kind() Kind      { return Kind(l[1]) }
func (l *leaf) class() Class    { return Class(l[2]) }
func (l *leaf) encoding() uint8 { return l[3] & flagsEncoding }
func (l *leaf) encrypted() bool { return l[3]&flagEncrypted != 0 }
func (l *leaf) id() ID          { return ID(l[leafID:leafTime]) }
func (l *leaf) nanos() int64    { return int64(binary.BigEndian.Uint64(l[leafTime:])) }
func (l *leaf) time() time.Time { return time.Unix(0, l.nanos()).UTC() }
func (l *leaf) bodyBytes() int  { return int(binary.BigEndian.Uint32(l[leafBody:])) }
func (l *leaf) setNanos(ns int64) {
	binary.BigEndian.PutUint64(l[leafTime:], uint64(ns))
}

// known reports whether this version can open the record's body.
func (l *leaf) known() bool { return l[0] == leafVersion && l[3]&^(flagsEncoding|flagEncrypted) == 0 }

// item is a record on its way into the log.
type item struct {
	leaf   leaf   // complete but for the time, which is given when the place in the log is
	stored []byte // what follows the leaf
}

// prepare salts, commits to and encrypts the records. It runs on the callers'
// goroutines, all at once: hashing bodies is most of what an append costs. With a
// ring the keys that are not there yet are made, and durable, when it returns.
// What is stored of the items lies in room, or where that is too small in a new
// one, which is returned for another use once they are written.
func prepare(room []byte, recs []Record, ring *keys.Ring) ([]item, []byte, error) {
	secrets, err := keysOf(recs, ring)
	if err != nil {
		return nil, room, err
	}
	size := 0
	for i := range recs {
		size += saltSize + len(recs[i].Body)
		if secrets != nil && secrets[i].AEAD != nil {
			size += handleSize + 1 + min(len(recs[i].Terms), maxTerms)*termSize + nonceSize + tagSize
		}
	}
	room = slices.Grow(room[:0], size)
	items := make([]item, len(recs))
	random := make([]byte, len(recs)*(saltSize+nonceSize))
	rand.Read(random) // never fails: it ends the process first
	h := sha256.New()
	var terms []uint64
	for i := range recs {
		r, it := &recs[i], &items[i]
		salt, nonce := random[:saltSize], random[saltSize:saltSize+nonceSize]
		random = random[saltSize+nonceSize:]

		it.leaf[0], it.leaf[1], it.leaf[2], it.leaf[3] = leafVersion, uint8(r.Kind), uint8(r.Class), r.Encoding
		copy(it.leaf[leafID:], r.ID[:])
		binary.BigEndian.PutUint32(it.leaf[leafBody:], uint32(len(r.Body)))
		encrypt := secrets != nil && secrets[i].AEAD != nil
		start := len(room)
		if encrypt {
			it.leaf[3] |= flagEncrypted
			terms = appendTerms(terms[:0], r, ring)
			room = appendBeforeText(room, secrets[i].Handle, terms, nonce)
		}
		plain := len(room)
		room = append(append(room, salt...), r.Body...)

		h.Reset()
		h.Write([]byte(commitmentTag))
		h.Write(r.ID[:])
		h.Write(room[plain:])
		h.Sum(it.leaf[:leafCommitment])
		if encrypt {
			room = secrets[i].AEAD.Seal(room[:plain], nonce, room[plain:], it.leaf[:leafTime])
		}
		it.stored = room[start:len(room):len(room)]
	}
	return items, room, nil
}

// commitsTo reports whether plain, salt and body, is what the leaf promised.
func (l *leaf) commitsTo(plain []byte) bool {
	if len(plain) != saltSize+l.bodyBytes() {
		return false
	}
	h := sha256.New()
	h.Write([]byte(commitmentTag))
	h.Write(l[leafID:leafTime])
	h.Write(plain)
	var sum [sha256.Size]byte
	h.Sum(sum[:0])
	return sum == [sha256.Size]byte(l[leafCommitment:])
}

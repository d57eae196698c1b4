package push

import (
	"context"
	"encoding/binary"
	"hash/fnv"
	"time"
)

// Forgotten is a user whose profile and send log are gone.
type Forgotten struct {
	Message      int // that asked for it
	Pseudonym    string
	PseudonymKey string
}

// rememberForgotten is for how long Redis remembers where in Kafka a user was
// forgotten. It need only outlast whoever was reading what stands before the
// tombstone at that time: a process that judges a batch again, a rebuild of the
// view. Kafka itself keeps tombstones for a day by default.
const rememberForgotten = 24 * time.Hour

// tomb is where in Kafka a user was forgotten, the zero one if they were not. It
// stands for a while in the place of the profile, so that nothing older brings the
// user back. In Redis, all numbers big-endian:
//
//	0   8  highest bit set, and the offset: no version of a profile is that high,
//	       so a commit that has read the profile finds it changed
//	8   1  form of the record: 2
//	9   4  partition
//	13  8  hash of the topic's name
type tomb struct {
	Topic     uint64
	Partition int32
	Offset    int64 // and 1
}

const (
	tombForm = 2
	tombSize = 21
)

func tombOf(p Place) tomb {
	h := fnv.New64a()
	_, _ = h.Write([]byte(p.Topic)) // never fails
	return tomb{h.Sum64(), p.Partition, p.Offset + 1}
}

func (t tomb) set() bool { return t != tomb{} }

func (t tomb) sameLog(u tomb) bool { return t.Topic == u.Topic && t.Partition == u.Partition }

// before reports whether t stands before u in the same partition. Of two
// partitions nobody knows which was first, and who was forgotten stays so.
func (t tomb) before(u tomb) bool { return t.sameLog(u) && t.Offset < u.Offset }

// forgottenProfile is what is known of a user who is not to be known.
func forgottenProfile(p Place) Profile {
	return Profile{DailyMax: NoDailyMax, Forgotten: tombOf(p)}
}

func (t tomb) record() []byte {
	b := make([]byte, 0, tombSize)
	b = binary.BigEndian.AppendUint64(b, 1<<63|uint64(t.Offset-1))
	b = append(b, tombForm)
	b = binary.BigEndian.AppendUint32(b, uint32(t.Partition))
	return binary.BigEndian.AppendUint64(b, t.Topic)
}

func isTomb(record string) bool {
	return len(record) == tombSize && record[0]>>7 == 1 && record[8] == tombForm
}

func parseTomb(record string) tomb {
	return tomb{
		Offset:    int64(be64(record)&^(1<<63)) + 1,
		Partition: int32(uint32(be16(record[9:]))<<16 | uint32(be16(record[11:]))),
		Topic:     be64(record[13:]),
	}
}

// forget takes out of the send logs of forgotten users what stood in them before.
// What has to be recalled stays until it need not be any more: if the process dies
// before the recalls are told, they are found again. What was allowed since then
// stays as well, the user is a new one.
//
// It is called when the profiles are gone. If the process dies in between, the
// tombstone is read again.
func (s *Store) forget(ctx context.Context, r *recaller, changes []change) error {
	users := newRoll(s.names, 0)
	var since []int64 // of an entry of the roll: when it was asked for
	for i := range changes {
		if c := &changes[i]; c.profile.Forgotten.set() {
			users.add(c.user)
			since = append(since, c.time.Unix())
		}
	}
	if len(since) == 0 {
		return nil
	}
	return s.transact(ctx, users.names, func(u int, _, record string) update {
		if record == "" {
			return update{}
		}
		log := s.sendLog(record)
		asked := int64(0)
		for i := range users.entries(u) {
			asked = max(asked, since[i])
		}
		rest := SendLog{Version: nextVersion(record)}
		keep := int64(1) // as good as deleted
		for i := range log.Entries {
			switch e := &log.Entries[i]; {
			case int64(e.At) > asked:
				keep = int64(r.policy.retain / time.Second)
			case r.lately(e):
				keep = max(keep, int64(e.At)+int64(r.policy.recall/time.Second)-r.now)
			default:
				continue
			}
			rest.Entries = append(rest.Entries, log.Entries[i])
		}
		if len(rest.Entries) == len(log.Entries) && !log.Unreadable {
			return update{} // it has been done
		}
		return update{key: logKey(users.names[u]), record: rest.Record(), options: []any{"EX", keep}}
	})
}

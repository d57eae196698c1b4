package load

import (
	"bytes"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/weir-moderation/weir/pipeline/event"
)

// number tells events of a run apart: those of each kind are counted by themselves.
type number struct {
	kind event.Kind
	seq  int64
}

// name writes the ids of a run's events. An id holds its number and when it was due, so
// that whoever sees it come out needs no list to know how long it took.
type name struct{ prefix string } // load-RUN-

// newName returns what names the events of a run.
func newName(run string) name { return name{"load-" + run + "-"} }

// run returns the name of the run.
func (n name) run() string { return strings.Trim(strings.TrimPrefix(n.prefix, "load-"), "-") }

// id returns an event's id: load-RUN-KSEQ-DUE, with K p for posts and n for pushes
// (notifications), DUE in nanoseconds since the run began, both numbers in base 36.
func (n name) id(x number, due time.Duration) []byte {
	b := append(make([]byte, 0, 48), n.prefix...)
	k := byte('p')
	if x.kind == event.Push {
		k = 'n'
	}
	b = strconv.AppendInt(append(b, k), x.seq, 36)
	return strconv.AppendInt(append(b, '-'), int64(due), 36)
}

// find looks for an event's id in a message: key is the name of the member that holds
// it, with quotes and colon. No text of a user can be taken for it, since a quote in a
// text is escaped; and the first one is the message's own.
func (n name) find(message []byte, key string) (x number, due time.Duration, ok bool) {
	_, rest, ok := bytes.Cut(message, []byte(key+`"`+n.prefix))
	if !ok || len(rest) == 0 {
		return x, 0, false
	}
	text, _, ok := bytes.Cut(rest[1:], []byte(`"`))
	if !ok {
		return x, 0, false
	}
	seq, at, _ := strings.Cut(string(text), "-")
	switch rest[0] {
	case 'p':
		x.kind = event.Post
	case 'n':
		x.kind = event.Push
	}
	var seqErr, dueErr error
	x.seq, seqErr = strconv.ParseInt(seq, 36, 64)
	ns, dueErr := strconv.ParseInt(at, 36, 64)
	return x, time.Duration(ns), x.kind != 0 && seqErr == nil && dueErr == nil
}

// String returns the number as it stands in ids.
func (x number) String() string { return fmt.Sprintf("%s %d", x.kind, x.seq) }

// card is an event but for its id, its time and, if there are many users, its user.
type card struct {
	kind    event.Kind
	user    string // empty: somebody drawn by lot
	expires bool   // a push of which it must be said until when it may be sent
	rest    []byte // what follows the user's id, or the time if the user is in it

	planted bool // a term of the rules is in it
	flagged bool // the rules flag it
	// unsure says that whether it is flagged depends on what the card does not hold, such
	// as the time of day: it is expected neither to come out nor not to.
	unsure bool
}

// pushLife is until when a push made up here may be sent.
const pushLife = 12 * time.Hour

const timeLayout = "2006-01-02T15:04:05.000Z"

// message writes the event of a card.
func (c *card) message(id []byte, at time.Time, user string) []byte {
	b := make([]byte, 0, len(c.rest)+len(id)+128)
	b = append(append(append(b, `{"id":"`...), id...), `","time":"`...)
	b = append(at.UTC().AppendFormat(b, timeLayout), '"')
	if c.expires {
		b = append(at.UTC().Add(pushLife).AppendFormat(append(b, `,"expires":"`...), timeLayout), '"')
	}
	if c.user == "" {
		b = append(append(b, `,"user":{"id":"`...), user...)
	}
	return append(b, c.rest...)
}

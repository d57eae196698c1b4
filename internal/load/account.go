package load

import (
	"fmt"
	"hash/maphash"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/weir-moderation/weir/internal/kafka"
	"github.com/weir-moderation/weir/pipeline/event"
	"github.com/weir-moderation/weir/sinks"
)

// account knows what was sent, what must come out, and what did.
type account struct {
	name  name
	began time.Time // dues are counted from here
	seed  maphash.Seed

	mu      sync.Mutex
	flagged map[number]struct{} // what must come to reviewers
	unsure  map[number]struct{} // what may
	sent    [2]int64            // posts and pushes
	planted int64
	acks    latency // from when a message was due to when all replicas in sync had it
	outputs []*output
}

// output is an output topic and what came on it of this run.
type output struct {
	word  string // review, decisions, cleared, deferred or deadletter
	topic string
	key   string // of the member with an event's id in its messages
	must  func(*account, number) bool
	takes bool // whether how long it took is told

	took     latency
	seen     map[number]uint64 // the id that each came under last
	others   int64             // messages that are not of this run
	repeated int64             // the same id once more
	twice    int64             // the same event under another id
	stray    int64             // what was not to come
	first    []string          // some of the latter
}

// maxTracked is of how many events at most it is kept what became of them one by one:
// flagged posts and all pushes. Each takes about 100 bytes.
const maxTracked = 10_000_000

// maxExamples is how many of a kind of fault are named.
const maxExamples = 5

func newAccount(run name, c *sinks.Config) *account {
	a := &account{name: run, seed: maphash.MakeSeed(), flagged: make(map[number]struct{}), unsure: make(map[number]struct{})}
	add := func(o output) {
		if o.topic != "" {
			o.seen = make(map[number]uint64)
			a.outputs = append(a.outputs, &o)
		}
	}
	add(output{word: "review", topic: c.Review, key: `"event_id":`, must: (*account).isFlagged, takes: true})
	add(output{word: "decisions", topic: c.Decisions, key: `"event_id":`, takes: true,
		must: func(a *account, x number) bool { return x.kind == event.Push || a.isFlagged(x) }})
	add(output{word: "cleared", topic: c.Cleared, key: `"id":`})
	add(output{word: "deferred", topic: c.Deferred, key: `"id":`})
	add(output{word: "deadletter", topic: c.DeadLetter, key: `"id":`})
	return a
}

// begin says from when on dues are counted.
func (a *account) begin(at time.Time) {
	a.mu.Lock()
	defer a.mu.Unlock()
	a.began = at
}

// add takes a message down that is about to be sent, and returns its number.
func (a *account) add(c *card) number {
	a.mu.Lock()
	defer a.mu.Unlock()
	x := number{kind: c.kind, seq: a.sent[0]}
	if c.kind == event.Push {
		x.seq = a.sent[1]
		a.sent[1]++
	} else {
		a.sent[0]++
	}
	if c.planted {
		a.planted++
	}
	switch {
	case c.unsure:
		a.unsure[x] = struct{}{}
	case c.flagged:
		a.flagged[x] = struct{}{}
	}
	return x
}

// full reports whether no more can be taken down.
func (a *account) full() bool {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.flagged)+len(a.unsure)+int(a.sent[1]) >= maxTracked
}

// acknowledged takes down that messages which were due at these times are written.
func (a *account) acknowledged(dues []time.Duration) {
	at := time.Now()
	a.mu.Lock()
	defer a.mu.Unlock()
	now := at.Sub(a.began)
	for _, due := range dues {
		a.acks.add(now - due)
	}
}

// take takes down what came on an output topic, at this moment.
func (a *account) take(o *output, records []kafka.Record) {
	at := time.Now()
	a.mu.Lock()
	defer a.mu.Unlock()
	now := at.Sub(a.began)
	for i := range records {
		r := &records[i]
		if x, due, ok := a.name.find(r.Value, o.key); ok {
			a.came(o, x, due, now-due, a.idOf(r))
		} else {
			o.others++
		}
	}
}

// came takes down one message, under an id.
func (a *account) came(o *output, x number, due, took time.Duration, id uint64) {
	before, ok := o.seen[x]
	o.seen[x] = id
	switch {
	case !ok:
		if due > 0 { // what is sent first opens connections: how long that takes is not told
			o.took.add(took)
		}
		_, perhaps := a.unsure[x]
		if o.must != nil && !perhaps && !o.must(a, x) {
			o.stray++
			o.example(x)
		}
	case before == id:
		o.repeated++
	case x.kind == event.Push && (o.word == "decisions" || o.word == "deferred"):
		// It was deferred and is decided once more.
	default:
		o.twice++
	}
}

func (o *output) example(x number) {
	if len(o.first) < maxExamples {
		o.first = append(o.first, x.String())
	}
}

// idOf returns the id that a message carries, as a number: readers drop what comes under
// an id once more. Dead letters and what is passed on as it came have it in a header of
// Weir's own.
func (a *account) idOf(r *kafka.Record) uint64 {
	var id []byte
	for key, value := range r.Headers {
		if k := string(key); k == "weir-id" || k == "ce_id" && len(id) == 0 {
			id = value
		}
	}
	return maphash.Bytes(a.seed, id)
}

// missing returns how many events did not come on an output that must, and names some.
func (a *account) missing(o *output) (n int64, first []string) {
	if o.must == nil {
		return 0, nil
	}
	miss := func(x number) {
		if _, ok := o.seen[x]; ok {
			return
		}
		if n++; len(first) < maxExamples {
			first = append(first, x.String())
		}
	}
	for x := range a.flagged {
		miss(x)
	}
	if o.word == "decisions" {
		for seq := range a.sent[1] {
			if x := (number{event.Push, seq}); !a.isFlagged(x) {
				miss(x)
			}
		}
	}
	slices.Sort(first)
	return n, first
}

func (a *account) isFlagged(x number) bool { _, ok := a.flagged[x]; return ok }

// open returns how much is missing on all outputs together.
func (a *account) open() int64 {
	a.mu.Lock()
	defer a.mu.Unlock()
	var open int64
	for _, o := range a.outputs {
		n, _ := a.missing(o)
		open += n
	}
	return open
}

// settle draws up the report.
func (a *account) settle(r *Report, allowed int64) {
	a.mu.Lock()
	defer a.mu.Unlock()
	r.Posts, r.Pushes, r.Planted, r.Flagged = a.sent[0], a.sent[1], a.planted, int64(len(a.flagged))
	r.Acknowledged = a.acks.percentiles()
	r.Outputs = make(map[string]*Output)
	problem := func(format string, args ...any) { r.Problems = append(r.Problems, fmt.Sprintf(format, args...)) }
	var repeated int64
	for _, o := range a.outputs {
		lost, first := a.missing(o)
		out := &Output{Topic: o.topic, Messages: int64(len(o.seen)), Repeated: o.repeated, Twice: o.twice, Stray: o.stray, Lost: lost, Others: o.others}
		if o.takes {
			out.Latency = new(o.took.percentiles())
		}
		r.Outputs[o.word] = out
		repeated += o.repeated + o.twice
		if lost > 0 {
			problem("%d events did not come on %s, such as %s", lost, o.topic, strings.Join(first, ", "))
		}
		if o.stray > 0 {
			problem("%d events came on %s although the rules at hand do not flag them, such as %s", o.stray, o.topic, strings.Join(o.first, ", "))
		}
		if o.word == "deadletter" && len(o.seen) > 0 {
			problem("%d events became dead letters", len(o.seen))
		}
	}
	if repeated > allowed {
		problem("%d messages came more than once, %d may", repeated, allowed)
	}
}

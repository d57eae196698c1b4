package demo

import (
	"strings"
	"sync"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-moderation/weir/pipeline/event"
)

// tail remembers the newest messages of the output topics and counts all of
// them. It is what a visitor asks "and what became of it?". Safe for concurrent use.
type tail struct {
	mu      sync.Mutex
	rings   map[string]*ring
	counts  Counts
	seen    map[string]struct{} // ids of late, so that a repeated batch is counted once
	order   []string            // the same in the order they came, a ring
	next    int
	news    chan struct{} // closed and replaced when something came
	read    offsets
	allowed []allowedPush // allowed of late, for the platform to change its mind about
}

// allowedPush is an allowed push as its sender knows it.
type allowedPush struct{ user, push string }

// How much a tail remembers.
const (
	ringMessages = 256     // messages of one topic
	ringBytes    = 4 << 20 // and their bytes
	seenIDs      = 8192    // ids
	allowedMax   = 32      // allowed pushes
)

func newTail() *tail {
	t := &tail{
		rings: make(map[string]*ring),
		seen:  make(map[string]struct{}, seenIDs),
		order: make([]string, seenIDs),
		news:  make(chan struct{}),
		read:  make(offsets),
	}
	for _, name := range outputs() {
		t.rings[name] = new(ring)
		t.read[name] = make(map[int32]int64)
	}
	return t
}

// take remembers and counts what was read from the output topics.
func (t *tail) take(records []*kgo.Record) {
	if len(records) == 0 {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, r := range records {
		ring := t.rings[r.Topic]
		if ring == nil {
			continue
		}
		t.read[r.Topic][r.Partition] = r.Offset + 1
		o := newOutcome(r)
		ring.add(o)
		if !t.repeated(o.id) {
			t.count(&o)
		}
	}
	close(t.news)
	t.news = make(chan struct{})
}

// repeated reports whether a message with this id was counted before. The
// daemon promises each message at least once, with an id that does not change:
// this is what every reader of its topics does.
func (t *tail) repeated(id string) bool {
	if id == "" {
		return false
	}
	if _, ok := t.seen[id]; ok {
		return true
	}
	delete(t.seen, t.order[t.next])
	t.order[t.next] = id
	t.next = (t.next + 1) % len(t.order)
	t.seen[id] = struct{}{}
	return false
}

func (t *tail) count(o *outcome) {
	switch o.topic {
	case topicDecisions:
		v := &o.verdict
		switch {
		case v.Kind == "post" && v.Action != "pass":
			t.counts.Flagged++
		case v.Decision == "allow":
			t.counts.Allowed++
			if len(t.allowed) == allowedMax {
				t.allowed = t.allowed[1:]
			}
			t.allowed = append(t.allowed, allowedPush{v.User.ID, v.EventID})
		case v.Decision == "defer":
			t.counts.Deferred++
		case v.Decision == "deny":
			t.counts.Denied++
		}
	case topicCleared:
		if o.header("weir-decision") == "recall" {
			t.counts.Recalled++
		}
	case topicDeadLetter:
		t.counts.DeadLetters++
		if o.of.topic == topicPosts {
			t.counts.deadPosts++
		}
	}
}

// sent counts a message the broker took.
func (t *tail) sent(k event.Kind) {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch k {
	case event.Post:
		t.counts.Posts++
	case event.Push:
		t.counts.Pushes++
	case event.Consent:
		t.counts.Consents++
	case event.Outcome:
		t.counts.Outcomes++
	}
}

// judged takes note of how far the daemon has committed the topic of posts.
func (t *tail) judged(committed map[int32]int64) {
	var n int64
	for _, offset := range committed {
		n += offset
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.counts.Judged = max(t.counts.Judged, n)
}

// about returns what was said of the message at a place, oldest first within a
// topic, and a channel that closes when there is more to look at. Messages
// passed on as they came (cleared, deferred) carry no place; they are found by
// the id of the decision that sent them on.
func (t *tail) about(p place) (found []outcome, more <-chan struct{}) {
	t.mu.Lock()
	defer t.mu.Unlock()
	var record string
	for _, name := range []string{topicReview, topicDecisions, topicDeadLetter} {
		for _, o := range t.rings[name].messages {
			if o.of == p {
				found = append(found, o)
				if o.verdict.Evidence.Record != "" {
					record = o.verdict.Evidence.Record
				}
			}
		}
	}
	if record != "" {
		for _, name := range []string{topicCleared, topicDeferred} {
			for _, o := range t.rings[name].messages {
				if id, _, _ := strings.Cut(o.header("weir-id"), ":"); id == record {
					found = append(found, o)
				}
			}
		}
	}
	return found, t.news
}

// last returns the newest n messages of a topic, oldest first, and false if it
// is none of the output topics.
func (t *tail) last(topic string, n int) ([]outcome, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	r, ok := t.rings[topic]
	if !ok {
		return nil, false
	}
	return append([]outcome(nil), r.messages[max(0, len(r.messages)-n):]...), true
}

// reached reports whether everything before the given ends was read.
func (t *tail) reached(ends offsets) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.read.covers(ends)
}

// regretted returns an allowed push to take back, if there is one.
func (t *tail) regretted() (allowedPush, bool) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.allowed) == 0 {
		return allowedPush{}, false
	}
	p := t.allowed[0]
	t.allowed = t.allowed[1:]
	return p, true
}

func (t *tail) snapshot() Counts {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.counts
}

// ring holds the newest messages of one topic, bounded by number and by bytes.
type ring struct {
	messages []outcome
	bytes    int
}

func (r *ring) add(o outcome) {
	r.messages = append(r.messages, o)
	r.bytes += o.size()
	for len(r.messages) > 1 && (len(r.messages) > ringMessages || r.bytes > ringBytes) {
		r.bytes -= r.messages[0].size()
		r.messages[0] = outcome{}
		r.messages = r.messages[1:]
	}
}

func (o *outcome) size() int {
	n := len(o.key) + len(o.value)
	for _, h := range o.headers {
		n += len(h.Key) + len(h.Value)
	}
	return n
}

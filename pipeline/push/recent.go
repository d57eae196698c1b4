package push

import (
	chain "container/list" // list is a function of ours
	"strings"
	"sync"
)

// maxRecent bounds the bytes of what is remembered of users: with logs of eight
// entries some 150,000 of them.
const maxRecent = 64 << 20

// recentOverhead is about what it costs to remember a user, beside the records.
const recentOverhead = 256

// recent remembers the records of the users seen last, as Redis held them then. It
// is asked only while Redis is away: other processes may have written meanwhile.
type recent struct {
	mu    sync.Mutex
	max   int // bytes
	bytes int
	users map[string]*chain.Element // by pseudonym
	order chain.List                // of *recentUser, the one seen last in front
}

type recentUser struct {
	name string
	userRecords
}

func (u *recentUser) size() int {
	return recentOverhead + len(u.name) + len(u.profile) + len(u.log)
}

func newRecent(bytes int) *recent {
	return &recent{max: bytes, users: make(map[string]*chain.Element)}
}

// put remembers users, and forgets those not seen for longest where there is no
// room for all.
func (r *recent) put(users []string, records []userRecords) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for i, name := range users {
		if e := r.users[name]; e != nil {
			u := e.Value.(*recentUser)
			r.bytes -= u.size()
			u.userRecords = records[i]
			r.bytes += u.size()
			r.order.MoveToFront(e)
			continue
		}
		u := &recentUser{name, records[i]}
		r.users[name] = r.order.PushFront(u)
		r.bytes += u.size()
	}
	for r.bytes > r.max {
		e := r.order.Back()
		u := e.Value.(*recentUser)
		r.order.Remove(e)
		delete(r.users, u.name)
		r.bytes -= u.size()
	}
}

// get returns the records of a user, and whether they are remembered.
func (r *recent) get(user string) (userRecords, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	e := r.users[user]
	if e == nil {
		return userRecords{}, false
	}
	return e.Value.(*recentUser).userRecords, true
}

// watch wraps what computes updates, so that what became of the users can be
// remembered once all of it is committed.
func (r *recent) watch(users []string, change func(i int, profile, log string) update) (watched func(i int, profile, log string) update, committed func()) {
	records := make([]userRecords, len(users))
	watched = func(i int, profile, log string) update {
		u := change(i, profile, log)
		records[i] = userRecords{profile: profile, log: log}
		switch {
		case strings.HasSuffix(u.key, profileSuffix):
			records[i].profile = string(u.record)
		case strings.HasSuffix(u.key, logSuffix):
			records[i].log = string(u.record)
		}
		return u
	}
	return watched, func() { r.put(users, records) }
}

package export

import (
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"slices"
	"sort"
	"strings"
	"time"

	"github.com/weir-moderation/weir/sinks/evidence"
	"github.com/weir-moderation/weir/sinks/evidence/keys"
)

// Query says which records are meant: those that match all of what is set.
type Query struct {
	IDs   []evidence.ID
	Event string // the platform's id of the event
	// Subject is a user id, or "pseudonym:" and the name a user has in Redis.
	Subject  string
	Category string
	Rule     string
	Kinds    []evidence.Kind
	From, To time.Time // when they were recorded: From <= time < To
	// Scan reads every body in the range of time instead of asking the indexes:
	// records that were written without encryption are in none.
	Scan bool
	// Limit is how many records may match at most; 0: MaxRecords.
	Limit int
}

// What one query or package holds at most: it is in memory until it is written.
const (
	MaxRecords = 1_000_000
	MaxBytes   = 1 << 30 // of bodies
)

// pseudonymPrefix begins a subject of whom only the name in Redis is known.
const pseudonymPrefix = "pseudonym:"

// terms are what the query asks the index for, by name.
func (q *Query) terms() []evidence.Term {
	var list []evidence.Term
	add := func(name, value string) {
		if value != "" {
			list = append(list, evidence.Term{Name: name, Value: value})
		}
	}
	add("event", q.Event)
	if pseudonym, ok := strings.CutPrefix(q.Subject, pseudonymPrefix); ok {
		add("pseudonym", pseudonym)
	} else {
		add("account", q.Subject)
	}
	add("category", q.Category)
	add("rule", q.Rule)
	return list
}

func (q *Query) check() error {
	if len(q.IDs) == 0 && len(q.terms()) == 0 && q.From.IsZero() && q.To.IsZero() && len(q.Kinds) == 0 {
		return errors.New("which records? name ids, an event, a subject, a category, a rule, kinds or a range of time")
	}
	if !q.From.IsZero() && !q.To.IsZero() && !q.From.Before(q.To) {
		return errors.New("the range of time ends before it begins")
	}
	return nil
}

// Scope is what a query asks for in the form in which it is put on record: without
// a clear user id, and without the id of an event, which may hold one.
type Scope struct {
	Generation string     `json:"generation"`
	IDs        []string   `json:"ids,omitempty"`
	Event      string     `json:"event,omitempty"`   // index term, 16 hex digits
	Subject    string     `json:"subject,omitempty"` // index term, 16 hex digits
	Category   string     `json:"category,omitempty"`
	Rule       string     `json:"rule,omitempty"`
	Kinds      []string   `json:"kinds,omitempty"`
	From       *time.Time `json:"from,omitempty"`
	To         *time.Time `json:"to,omitempty"`
	Content    bool       `json:"content"` // what users wrote was given out, not only what Weir says of it
}

// scope writes down a query. Without keys there is no keyed hash: a log in clear
// has nothing to hide the id from, so it is left out.
func (s *Source) scope(q *Query, content bool) Scope {
	out := Scope{Generation: s.generation, Category: q.Category, Rule: q.Rule, Content: content}
	for _, id := range q.IDs {
		out.IDs = append(out.IDs, id.String())
	}
	for _, k := range q.Kinds {
		out.Kinds = append(out.Kinds, k.String())
	}
	for at, t := range map[**time.Time]time.Time{&out.From: q.From, &out.To: q.To} {
		if !t.IsZero() {
			t = t.UTC()
			*at = &t
		}
	}
	for _, t := range q.terms() {
		hidden := "without keys"
		if s.ring != nil {
			hidden = fmt.Sprintf("%016x", s.ring.Term(evidence.ClassContent.String(), t.Name, t.Value))
		}
		switch t.Name {
		case "event":
			out.Event = hidden
		case "account", "pseudonym":
			out.Subject = hidden
		}
	}
	return out
}

// found is what a query led to: the records that match, in order, with their
// bodies, and the range it looked at, which ends where the log then did.
type found struct {
	list        []Found
	first, next int64
}

// find looks for the records that match.
func (s *Source) find(q *Query) (*found, error) {
	if err := q.check(); err != nil {
		return nil, err
	}
	limit := q.Limit
	if limit == 0 {
		limit = MaxRecords
	}
	from, to, err := s.between(q.From, q.To)
	if err != nil {
		return nil, err
	}
	var list []Found
	var bytes int64
	look := func(index int64) error {
		if index < from || index >= to {
			return nil
		}
		f, err := s.read(index)
		if err != nil {
			return err
		}
		if !q.matches(&f) {
			return nil
		}
		if len(list) == limit {
			return fmt.Errorf("more than %d records match; ask for less, or raise the limit", limit)
		}
		if bytes += int64(len(f.Plain)); bytes > s.maxBytes {
			return fmt.Errorf("the bodies of the records that match have more than %d bytes; ask for less, such as a day at a time", s.maxBytes)
		}
		list = append(list, f)
		return nil
	}
	candidates, all, err := s.candidates(q)
	if err != nil {
		return nil, err
	}
	if all {
		for i := from; i < to; i++ {
			if err := look(i); err != nil {
				return nil, err
			}
		}
	}
	for _, i := range candidates {
		if err := look(i); err != nil {
			return nil, err
		}
	}
	return &found{list, from, to}, s.explain(list)
}

// between returns the indices of the records of a range of time. Times never
// decrease in a log, so they are found by halving.
func (s *Source) between(from, to time.Time) (first, next int64, err error) {
	size, err := s.bodies.Size()
	if err != nil {
		return 0, 0, err
	}
	at := func(t time.Time, none int64) int64 {
		if t.IsZero() || err != nil {
			return none
		}
		return int64(sort.Search(int(size), func(i int) bool {
			r, e := s.bodies.Record(int64(i))
			if e != nil {
				err = e
				return true
			}
			return !r.Time().Before(t)
		}))
	}
	first, next = at(from, 0), at(to, size)
	return first, next, err
}

// candidates asks the indexes. all says that they cannot answer, so that every
// record must be looked at.
func (s *Source) candidates(q *Query) (list []int64, all bool, err error) {
	if len(q.IDs) > 0 {
		for _, id := range q.IDs {
			found, err := s.bodies.ByID(id)
			if err != nil {
				return nil, false, err
			}
			list = append(list, found...)
		}
		slices.Sort(list)
		return slices.Compact(list), false, nil
	}
	terms := q.terms()
	if len(terms) == 0 || s.ring == nil || q.Scan {
		return nil, true, nil
	}
	// Each class has an index key of its own, and so another hash of the same value.
	for _, class := range []evidence.Class{evidence.ClassContent, evidence.ClassPush} {
		var both []int64
		for n, t := range terms {
			found, err := s.bodies.ByTerm(s.ring.Term(class.String(), t.Name, t.Value))
			if errors.Is(err, evidence.ErrNoIndex) {
				return nil, true, nil
			}
			if err != nil {
				return nil, false, err
			}
			if n == 0 {
				both = found
				continue
			}
			both = slices.DeleteFunc(both, func(i int64) bool {
				_, in := slices.BinarySearch(found, i)
				return !in
			})
		}
		list = append(list, both...)
	}
	slices.Sort(list)
	return slices.Compact(list), false, nil
}

// matches reports whether a record is meant. One whose body is gone cannot be told
// by what stood in it; where an index has led to it, it is.
func (q *Query) matches(f *Found) bool {
	if len(q.IDs) > 0 && !slices.Contains(q.IDs, f.ID()) || len(q.Kinds) > 0 && !slices.Contains(q.Kinds, f.Kind()) {
		return false
	}
	terms := q.terms()
	if len(terms) == 0 {
		return true
	}
	if f.Reading == nil {
		return false
	}
	have := termsOf(f.Reading)
	for _, t := range terms {
		if !slices.Contains(have, t) {
			return false
		}
	}
	return true
}

// said is what a reading says that records are looked up by.
type said struct {
	EventID   string `json:"event_id"`
	Pseudonym string `json:"pseudonym"`
	User      struct {
		ID string `json:"id"`
	} `json:"user"`
	Hits []struct {
		Rule     string `json:"rule"`
		Category string `json:"category"`
	} `json:"hits"`
	Push struct {
		Decision struct {
			Pseudonym string `json:"pseudonym"`
		} `json:"decision"`
	} `json:"push"`
}

// termsOf returns what a body can be looked up by, as the sinks say it to the log.
func termsOf(reading json.RawMessage) []evidence.Term {
	var b said
	if json.Unmarshal(reading, &b) != nil {
		return nil // no body about a message
	}
	list := []evidence.Term{{Name: "event", Value: b.EventID}, {Name: "account", Value: b.User.ID},
		{Name: "pseudonym", Value: b.Pseudonym}, {Name: "pseudonym", Value: b.Push.Decision.Pseudonym}}
	for _, h := range b.Hits {
		list = append(list, evidence.Term{Name: "rule", Value: h.Rule}, evidence.Term{Name: "category", Value: h.Category})
	}
	return slices.DeleteFunc(list, func(t evidence.Term) bool { return t.Value == "" })
}

// explain adds to the fates of bodies that are gone which record explains it.
func (s *Source) explain(list []Found) error {
	gone := slices.ContainsFunc(list, func(f Found) bool { return f.Fate == FateDestroyed || f.Fate == FateErased })
	if !gone {
		return nil
	}
	why, err := s.reasons()
	if err != nil {
		return err
	}
	for i := range list {
		why.explain(&list[i])
	}
	return nil
}

// reason is the record that explains why a body is gone.
type reason struct {
	generation string
	index      int64
}

// reasons are such records of all logs in the directory: what was written in one generation
// may be destroyed in a later one.
type reasons struct {
	own     string                 // the generation that is looked at
	files   map[string]reason      // body and key files, to the first record that says so
	handles map[string][]shredding // keys of people, in hex
}

// shredding is a shred record that names a key. Several may share a person's records.
type shredding struct {
	reason
	removal *removal
}

// removal is what a destroy record says of files, and a shred record of keys.
type removal struct {
	Files []struct {
		File string `json:"file"`
	} `json:"files"`
	KeyFiles []string `json:"key_files"`
	Handles  []string `json:"handles"`
	Records  []struct {
		Generation string     `json:"generation"`
		Ranges     [][2]int64 `json:"ranges"`
	} `json:"records"`
}

// names reports whether a shred record names a record of a generation. One that was written
// while its person was being erased stands behind all that are named.
func (r *removal) names(generation string, index int64) (is, behind bool) {
	last := int64(0)
	for _, x := range r.Records {
		for _, n := range x.Ranges {
			if x.Generation == generation {
				is = is || n[0] <= index && index < n[1]
				last = max(last, n[1])
			}
		}
	}
	return is, index >= last
}

func (s *Source) reasons() (*reasons, error) {
	why := &reasons{own: s.generation, files: make(map[string]reason), handles: make(map[string][]shredding)}
	gens, err := evidence.Generations(s.dir)
	if err != nil {
		return nil, err
	}
	for _, g := range gens {
		_, err := evidence.WalkAudit(s.dir, g, 0, func(e evidence.Entry) error { return why.take(g, &e) })
		if err != nil {
			return nil, err
		}
	}
	return why, nil
}

// take takes what a record says. A later one that says the same was written after a crash.
func (w *reasons) take(generation string, e *evidence.Entry) error {
	if e.Kind != evidence.KindDestroy && e.Kind != evidence.KindShred {
		return nil
	}
	var r removal
	if err := json.Unmarshal(e.Body, &r); err != nil {
		return fmt.Errorf("record %d of %s: %w", e.Index, generation, err)
	}
	note := func(m map[string]reason, name string) {
		if _, ok := m[name]; !ok {
			m[name] = reason{generation, e.Index}
		}
	}
	for _, f := range r.Files {
		note(w.files, f.File)
	}
	for _, f := range r.KeyFiles {
		note(w.files, f)
	}
	for _, h := range r.Handles {
		w.handles[h] = append(w.handles[h], shredding{reason{generation, e.Index}, &r})
	}
	return nil
}

func (w *reasons) explain(f *Found) {
	var see reason
	var ok bool
	switch f.Fate {
	case FateErased:
		list := w.handles[hex.EncodeToString(f.Handle)]
		i := slices.IndexFunc(list, func(s shredding) bool { is, _ := s.removal.names(w.own, f.Index); return is })
		if ok = len(list) > 0; ok {
			see = list[max(0, i)].reason
		}
	case FateDestroyed:
		if see, ok = w.files[f.BodyFile]; !ok && len(f.Handle) > 0 {
			see, ok = w.files[path.Join("keys", f.Class().String(), keys.Handle(f.Handle).Month().String()+".keys")]
		}
		if !ok {
			f.Fate = FateMissing
		}
	}
	switch {
	case !ok:
	case see.generation == w.own:
		f.Fate += fmt.Sprintf(" (see #%d)", see.index)
	default:
		f.Fate += fmt.Sprintf(" (see #%d of %s)", see.index, see.generation)
		f.see = &see
	}
}

// walk reads all records of the log without opening their bodies.
func (s *Source) walk(fn func(evidence.Entry) error) error {
	return evidence.WalkGeneration(s.dir, s.generation, nil, fn)
}

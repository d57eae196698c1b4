package evidence

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"time"
)

// Group gathers what the logs of a whole consumer group account for: those of all its
// instances, each with all its generations. It answers, for any stretch of a partition,
// which offsets were judged how often and by whom, and which nobody accounts for.
//
// The logs are read, not verified: [Verify] says of each whether it can be trusted.
type Group struct {
	logs  []GroupLog
	parts map[topicPartition]*groupPartition
	sums  coverage
	bad   []string
}

// GroupLog is a log of a group.
type GroupLog struct {
	Dir      string    `json:"dir"`
	Origin   string    `json:"origin"`
	Records  int64     `json:"records"`
	From     time.Time `json:"from,omitzero"` // time of the first record
	To       time.Time `json:"to,omitzero"`   // time of the last record
	Accounts int64     `json:"accounts"`      // coverage records
}

// Judge is who judged offsets: a log's instance, under a rule set and a policy.
type Judge struct {
	Log    string `json:"log"` // its origin
	Rules  string `json:"rules,omitempty"`
	Policy string `json:"policy,omitempty"`
}

func (j Judge) compare(o Judge) int {
	return cmp.Or(cmp.Compare(j.Log, o.Log), cmp.Compare(j.Rules, o.Rules), cmp.Compare(j.Policy, o.Policy))
}

// Offsets are a run of offsets, First up to and not including Next.
type Offsets struct {
	First int64 `json:"first"`
	Next  int64 `json:"next"`
}

// Count returns how many they are.
func (o Offsets) Count() int64 { return o.Next - o.First }

// String returns the first and the last of them, such as "7" or "7-19".
func (o Offsets) String() string {
	if o.Count() == 1 {
		return fmt.Sprint(o.First)
	}
	return fmt.Sprintf("%d-%d", o.First, o.Next-1)
}

// groupPartition is what is known of one partition.
type groupPartition struct {
	// judged has for each judge what it judged at least once, at least twice and so on.
	// Touching ranges are one, so that a year of accounts, a second each, stays small.
	judged map[Judge][][]span
	gone   []span
}

// Read adds the logs of an evidence directory, all its generations. It may be read
// while it is written: what is committed is there.
func (g *Group) Read(dir string) error {
	gens, err := generations(dir)
	if errors.Is(err, fs.ErrNotExist) || err == nil && len(gens) == 0 {
		return fmt.Errorf("%s holds no evidence log; name a directory with a folder %q in it", dir, logsDir)
	}
	if err != nil {
		return err
	}
	for _, generation := range gens {
		if err := g.readLog(dir, generation); err != nil {
			return fmt.Errorf("evidence in %s: %w", dir, err)
		}
	}
	return nil
}

func (g *Group) readLog(dir, generation string) error {
	log := GroupLog{Dir: dir}
	err := walkGeneration(dir, generation, nil, func(e Entry) error {
		if log.Records == 0 {
			var body genesis
			if e.Kind != KindGenesis || json.Unmarshal(e.Body, &body) != nil || body.Origin == "" {
				return fmt.Errorf("%s does not begin with a genesis record that names the log", e.File)
			}
			log.Origin, log.From = body.Origin, e.Time
			if i := slices.IndexFunc(g.logs, func(l GroupLog) bool { return l.Origin == log.Origin }); i >= 0 {
				return fmt.Errorf("the log %s is also in %s; give each log once", log.Origin, g.logs[i].Dir)
			}
		}
		log.Records++
		log.To = e.Time
		a, err := readAccount(&e)
		if err != nil {
			g.bad = append(g.bad, fmt.Sprintf("%s record %d: %v", log.Origin, e.Index, err))
			return nil
		}
		if e.Kind == KindCoverage {
			log.Accounts++
		}
		for i := range a.Ranges {
			r := &a.Ranges[i]
			if err := r.Check(); err != nil {
				g.bad = append(g.bad, fmt.Sprintf("%s record %d: %v", log.Origin, e.Index, err))
				if r.Topic == "" || r.First < 0 || r.Next < r.First {
					continue
				}
			}
			g.sums.judge(r, place{})
			g.of(r.Topic, r.Partition).judge(Judge{log.Origin, r.Rules, r.Policy}, span{first: r.First, next: r.Next})
		}
		if a.Topic != "" && a.First < a.Next {
			p := g.of(a.Topic, a.Partition)
			p.gone, _ = insert(p.gone, span{first: a.First, next: a.Next})
		}
		return nil
	})
	if err != nil {
		return err
	}
	if log.Records > 0 { // else it was begun and died before the first record
		g.logs = append(g.logs, log)
	}
	return nil
}

// account is the body of a record about offsets: a coverage record has the one part,
// a gap record the other.
type account struct {
	CoverageBody
	GapBody
}

// readAccount reads the records about offsets; of others it returns nothing.
func readAccount(e *Entry) (account, error) {
	var a account
	if e.Kind != KindCoverage && e.Kind != KindGap {
		return a, nil
	}
	if e.Encoding != EncodingJSON || e.Body == nil || json.Unmarshal(e.Body, &a) != nil ||
		e.Kind == KindGap && (a.Topic == "" || a.First < 0 || a.Next < a.First) {
		return account{}, fmt.Errorf("the body of a %s record cannot be read", e.Kind)
	}
	return a, nil
}

func (g *Group) of(topic string, partition int32) *groupPartition {
	k := topicPartition{topic, partition}
	p := g.parts[k]
	if p == nil {
		if g.parts == nil {
			g.parts = make(map[topicPartition]*groupPartition)
		}
		p = &groupPartition{judged: make(map[Judge][][]span)}
		g.parts[k] = p
	}
	return p
}

// judge notes that offsets were judged once more: what was not there goes to the first
// level, what was there to the next, and so on.
func (p *groupPartition) judge(who Judge, s span) {
	if s.first == s.next {
		return
	}
	levels := p.judged[who]
	for i, more := 0, []span{s}; len(more) > 0; i++ {
		if i == len(levels) {
			levels = append(levels, nil)
		}
		var again []span
		for _, s := range more {
			again = append(again, common(levels[i], s)...)
			levels[i], _ = insert(levels[i], s)
		}
		more = again
	}
	p.judged[who] = levels
}

// common returns what of s is among spans.
func common(spans []span, s span) []span {
	i, _ := slices.BinarySearchFunc(spans, s.first, func(x span, first int64) int { return cmp.Compare(x.next, first) })
	var found []span
	for ; i < len(spans) && spans[i].first < s.next; i++ {
		if x := (span{first: max(spans[i].first, s.first), next: min(spans[i].next, s.next)}); x.first < x.next {
			found = append(found, x)
		}
	}
	return found
}

// Logs returns the logs that were read.
func (g *Group) Logs() []GroupLog { return g.logs }

// Bad returns, in words, the accounts that cannot be true: they do not balance, or
// cannot be read.
func (g *Group) Bad() []string { return g.bad }

// Topics returns the partitions that the logs know something of, ascending, by topic.
func (g *Group) Topics() map[string][]int32 {
	topics := make(map[string][]int32)
	for k := range g.parts {
		topics[k.topic] = append(topics[k.topic], k.partition)
	}
	for t := range topics {
		slices.Sort(topics[t])
	}
	return topics
}

// Bounds returns from where to where the logs know something of a partition, judged or
// gone; nothing lies between for one they do not know, and for what was asked over HTTP,
// which has no offsets that could be missed.
func (g *Group) Bounds(topic string, partition int32) Offsets {
	p := g.parts[topicPartition{topic, partition}]
	if p == nil || !numbered(topic) {
		return Offsets{}
	}
	var o Offsets
	begun := false
	extend := func(list []span) {
		if len(list) == 0 {
			return
		}
		first, next := list[0].first, list[len(list)-1].next
		if begun {
			first, next = min(first, o.First), max(next, o.Next)
		}
		o, begun = Offsets{first, next}, true
	}
	for _, levels := range p.judged {
		extend(levels[0])
	}
	extend(p.gone)
	return o
}

// Sum adds up what became of the messages of a partition. Ranges that were judged before
// as a whole are not in it; one of which a part was is in it whole.
func (g *Group) Sum(topic string, partition int32) Ledger {
	p := g.sums.partitions[topicPartition{topic, partition}]
	if p == nil {
		return Ledger{}
	}
	return p.Ledger
}

// GroupAccount is what the logs say of a stretch of a partition. Every offset of it is
// in exactly one of the four.
type GroupAccount struct {
	Once     int64     `json:"once"`     // how many offsets were judged exactly once
	Repeated []Repeat  `json:"repeated"` // judged more than once
	Gone     []Offsets `json:"gone"`     // deleted before they were read, by a gap record
	Never    []Offsets `json:"never"`    // nobody accounts for them
}

// Repeat are offsets that were judged more than once.
type Repeat struct {
	Offsets
	By []Judge `json:"by"` // one for each time
}

// Total adds up lists of offsets.
func Total(list []Offsets) int64 {
	var n int64
	for _, o := range list {
		n += o.Count()
	}
	return n
}

// RepeatedOffsets returns how many offsets were judged more than once.
func (a *GroupAccount) RepeatedOffsets() int64 {
	var n int64
	for i := range a.Repeated {
		n += a.Repeated[i].Count()
	}
	return n
}

// edge is where a span begins or ends.
type edge struct {
	at    int64
	begin bool
	who   int // index of a judge, -1 for a gap
}

// Account says what the logs know of a stretch of a partition.
func (g *Group) Account(topic string, partition int32, within Offsets) GroupAccount {
	a := GroupAccount{Repeated: []Repeat{}, Gone: []Offsets{}, Never: []Offsets{}}
	p := g.parts[topicPartition{topic, partition}]
	if p == nil {
		p = new(groupPartition)
	}
	judges := slices.SortedFunc(maps.Keys(p.judged), Judge.compare)
	var edges []edge
	cut := func(list []span, who int) {
		for _, s := range common(list, span{first: within.First, next: within.Next}) {
			edges = append(edges, edge{s.first, true, who}, edge{s.next, false, who})
		}
	}
	for who, j := range judges {
		for _, level := range p.judged[j] {
			cut(level, who)
		}
	}
	cut(p.gone, -1)
	slices.SortFunc(edges, func(x, y edge) int { return cmp.Compare(x.at, y.at) })

	// From edge to edge the same judges stand for all offsets.
	times := make([]int, len(judges))
	n, gone, at := 0, 0, within.First
	for i := 0; i < len(edges) || at < within.Next; {
		to := within.Next
		if i < len(edges) {
			to = edges[i].at
		}
		if at < to {
			a.add(Offsets{at, to}, judges, times, n, gone > 0)
			at = to
		}
		for ; i < len(edges) && edges[i].at == to; i++ {
			d := -1
			if edges[i].begin {
				d = 1
			}
			if who := edges[i].who; who < 0 {
				gone += d
			} else {
				times[who] += d
				n += d
			}
		}
	}
	return a
}

// add puts offsets where they belong; n is the sum of times.
func (a *GroupAccount) add(o Offsets, judges []Judge, times []int, n int, gone bool) {
	switch {
	case n == 1:
		a.Once += o.Count()
	case n > 1:
		var by []Judge
		for who, k := range times {
			for range k {
				by = append(by, judges[who])
			}
		}
		if last := len(a.Repeated) - 1; last >= 0 && a.Repeated[last].Next == o.First && slices.Equal(a.Repeated[last].By, by) {
			a.Repeated[last].Next = o.Next
			return
		}
		a.Repeated = append(a.Repeated, Repeat{o, by})
	case gone:
		a.Gone = join(a.Gone, o)
	default:
		a.Never = join(a.Never, o)
	}
}

// join appends offsets, or lengthens the last ones.
func join(list []Offsets, o Offsets) []Offsets {
	if last := len(list) - 1; last >= 0 && list[last].Next == o.First {
		list[last].Next = o.Next
		return list
	}
	return append(list, o)
}

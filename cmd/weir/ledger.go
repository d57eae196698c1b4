package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/weir-moderation/weir/internal/config"
	"github.com/weir-moderation/weir/internal/kafka"
	"github.com/weir-moderation/weir/pipeline/ingest"
	"github.com/weir-moderation/weir/sinks/evidence"
)

type ledgerCmd struct {
	Config    string   `help:"The configuration file of the daemon: brokers, group, topics and evidence." placeholder:"FILE" type:"path"`
	Evidence  []string `help:"The evidence directory of an instance, with all its generations; give those of all instances of the group, one flag each. Without it that of --config." placeholder:"DIR" type:"existingdir" sep:"none"`
	FromFirst bool     `help:"Begin each partition with the first offset the evidence knows of, even if its log begins before: for a group that did not begin there."`
	Offline   bool     `help:"Ask no brokers: say what the evidence says by itself, from its first offset to its last."`
	NoRepeats bool     `help:"End with exit code 3 if an offset was judged more than once."`
	JSON      bool     `name:"json" help:"Write one JSON object instead of text for people."`
}

// Help says what kong cannot know.
func (ledgerCmd) Help() string {
	return `Compares what a consumer group has committed with what the evidence of all its instances accounts for, and says of every partition whether each offset up to the committed one was judged: how many exactly once; which more than once, by whom, and whether by other rules; which never; which were gone before they could be read (gap records); and what is not judged yet (lag). An account covers all offsets of its range, also those of control records and of messages that compaction took away. A partition begins with the first offset the evidence knows of, or with the start of its log if that is older, unless the group began with the latest messages (input.start) or --from-first is given. Judging an offset twice is allowed: after a crash a batch is judged again, under the same ids. The exit code is 0 if every offset was judged or is known to be gone; 1 if one was never judged, or an account does not add up, or it could not be found out; with --no-repeats 3 if one was judged more than once. The committed offsets are read before the evidence, so a running group can be looked at; a copy of evidence that is older than the committed offsets lacks what came after it (--offline leaves that out). Whether the evidence itself can be trusted says weir evidence verify.`
}

// Run draws up the ledger of a group.
func (c *ledgerCmd) Run(ctx context.Context, s streams) error {
	cfg, err := c.read()
	if err != nil {
		return err
	}
	r := ledgerReport{Offline: c.Offline, Partitions: []partitionLedger{}, Bad: []string{}}
	var logs []partitionLog
	if !c.Offline {
		r.Group = cfg.Input.Group
		if logs, err = askLogs(ctx, cfg); err != nil {
			return err
		}
	}
	if err := r.readEvidence(ctx, c.Evidence); err != nil {
		return err
	}
	if cfg != nil && r.Source != cfg.Source {
		return fmt.Errorf("the evidence is of the source %s, the configuration is of %s", r.Source, cfg.Source)
	}
	if c.Offline {
		r.offline()
	} else {
		r.online(logs, func(topic string) bool { return c.FromFirst || beginsLatest(&cfg.Input, topic) })
	}
	if c.JSON {
		err = jsonTo(s.out).Encode(&r)
	} else {
		err = r.print(s.out)
	}
	if err != nil {
		return err
	}
	return r.verdict(s, c.NoRepeats)
}

// read returns the configuration, nil if none is needed, and fills in the evidence.
func (c *ledgerCmd) read() (*config.Config, error) {
	switch {
	case c.Config == "" && !c.Offline:
		return nil, &codeError{errors.New("of which group? give --config, or --offline for the evidence alone"), exitMisuse}
	case c.Config == "" && len(c.Evidence) == 0:
		return nil, &codeError{errors.New("by which evidence? give --evidence, or --config"), exitMisuse}
	case c.Config == "":
		return nil, nil
	}
	cfg, err := loadConfig(c.Config)
	if err != nil {
		return nil, err
	}
	if len(c.Evidence) == 0 {
		c.Evidence = []string{cfg.Evidence.Dir}
	}
	return cfg, nil
}

// ledgerReport is the ledger of a group as programs read it.
type ledgerReport struct {
	Source  string `json:"source"`
	Group   string `json:"group,omitempty"`
	Offline bool   `json:"offline"`

	Partitions []partitionLedger   `json:"partitions"`
	Logs       []evidence.GroupLog `json:"logs"`
	Bad        []string            `json:"bad"` // accounts that cannot be true

	// Sums over all partitions, in offsets.
	Once     int64 `json:"once"`
	Repeated int64 `json:"repeated"`
	Never    int64 `json:"never"`
	Gone     int64 `json:"gone"`
	Lag      int64 `json:"lag"`

	group *evidence.Group
}

// partitionLedger is the ledger of a partition.
type partitionLedger struct {
	Topic     string `json:"topic"`
	Partition int32  `json:"partition"`
	evidence.Offsets
	// What the brokers know; null with --offline, and of a topic that is gone.
	LogStart  *int64 `json:"log_start"`
	LogEnd    *int64 `json:"log_end"`
	Committed *int64 `json:"committed"` // null if nothing is committed

	evidence.GroupAccount
	Open     int64           `json:"open"` // judged, and not yet committed
	Lag      int64           `json:"lag"`  // neither
	Messages evidence.Ledger `json:"messages"`
}

func (p *partitionLedger) name() string { return fmt.Sprintf("%s/%d", p.Topic, p.Partition) }

// partitionLog is what the brokers know of a partition; -1 is what they do not.
type partitionLog struct {
	topic                 string
	partition             int32
	start, end, committed int64
}

// askLogs asks the brokers about the topics of the configuration and all others that the
// group has committed something of. It must be done before the evidence is read: an
// account is on disk before its offsets are committed, so what is committed now will be
// found.
func askLogs(ctx context.Context, cfg *config.Config) (list []partitionLog, err error) {
	client, err := kafka.NewClient(cfg.Kafka, kafka.Options{})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, client.Close()) }()
	if err := client.Preflight(ctx); err != nil { // it has words for what is wrong
		return nil, err
	}
	committed, err := client.Committed(ctx, cfg.Input.Group)
	if err != nil {
		return nil, err
	}
	topics, err := topicsRead(ctx, client, &cfg.Input)
	if err != nil {
		return nil, err
	}
	for _, c := range committed {
		if !slices.Contains(topics, c.Topic) {
			topics = append(topics, c.Topic)
		}
	}
	for _, t := range topics {
		scan, err := client.OpenScan(ctx, t, time.Time{}, time.Time{})
		if errors.Is(err, kafka.ErrNoTopic) {
			continue
		}
		if err != nil {
			return nil, err
		}
		for _, x := range scan.Ranges {
			p := partitionLog{x.Topic, x.Partition, x.First, x.Next, -1}
			if i := slices.IndexFunc(committed, func(c kafka.Committed) bool { return c.Topic == x.Topic && c.Partition == x.Partition }); i >= 0 {
				p.committed = committed[i].Offset
			}
			list = append(list, p)
		}
		scan.Close()
	}
	return list, nil
}

// topicsRead returns the topics that a group reads, those its patterns match now among them.
func topicsRead(ctx context.Context, client *kafka.Client, c *ingest.Config) ([]string, error) {
	topics := c.Topics()
	if c.Deferred != "" {
		topics = append(topics, c.Deferred)
	}
	if len(c.Patterns()) == 0 {
		return topics, nil
	}
	all, err := client.AllTopics(ctx)
	if err != nil {
		return nil, err
	}
	for _, t := range all {
		if _, ok := c.Stream(t.Name); ok && !slices.Contains(topics, t.Name) {
			topics = append(topics, t.Name)
		}
	}
	return topics, nil
}

// readEvidence reads the evidence of a group, all of one deployment.
func (r *ledgerReport) readEvidence(ctx context.Context, dirs []string) (err error) {
	g := new(evidence.Group)
	read := func() {
		for _, d := range dirs {
			if err = g.Read(d); err != nil {
				return
			}
		}
	}
	if !finishes(ctx, read) {
		return errInterrupted
	}
	if err != nil {
		return err
	}
	r.group, r.Logs = g, g.Logs()
	r.Bad = append(r.Bad, g.Bad()...)
	if len(r.Logs) == 0 {
		return errors.New("the evidence is empty: its instances have not begun yet")
	}
	for i := range r.Logs {
		source, _, ok := strings.Cut(r.Logs[i].Origin, "/evidence/")
		if !ok {
			return fmt.Errorf("the log %s in %s is not named as Weir names its logs, source/evidence/instance/generation", r.Logs[i].Origin, r.Logs[i].Dir)
		}
		r.Source = cmp.Or(r.Source, source)
		if source != r.Source {
			return fmt.Errorf("the evidence is of two deployments, %s in %s and %s in %s; a group is of one", r.Source, r.Logs[0].Dir, source, r.Logs[i].Dir)
		}
	}
	return nil
}

// offline draws up what the evidence says by itself.
func (r *ledgerReport) offline() {
	for t, partitions := range r.group.Topics() {
		for _, p := range partitions {
			r.add(partitionLedger{Topic: t, Partition: p, Offsets: r.group.Bounds(t, p)})
		}
	}
	r.sort()
}

// online draws up what the evidence says of what is committed. Late says of a topic that
// the group need not have judged what was there before it began.
func (r *ledgerReport) online(logs []partitionLog, late func(topic string) bool) {
	for _, l := range logs {
		known := r.group.Bounds(l.topic, l.partition)
		p := partitionLedger{Topic: l.topic, Partition: l.partition, LogStart: &l.start, LogEnd: &l.end}
		if l.committed >= 0 {
			p.Committed = &l.committed
		}
		p.Offsets = committedOf(known, l, late(l.topic))
		p.Lag = max(0, l.end-max(l.start, l.committed, known.Next))
		p.Open = max(0, known.Next-max(p.Next, known.First))
		r.add(p)
	}
	// What the brokers do not know any more is in the evidence alone.
	for t, partitions := range r.group.Topics() {
		for _, n := range partitions {
			if !slices.ContainsFunc(logs, func(l partitionLog) bool { return l.topic == t && l.partition == n }) {
				r.add(partitionLedger{Topic: t, Partition: n, Offsets: r.group.Bounds(t, n)})
			}
		}
	}
	r.sort()
}

// beginsLatest reports whether a new group begins a topic with the latest messages, so
// that what was there before is not its matter.
func beginsLatest(c *ingest.Config, topic string) bool {
	s, _ := c.Stream(topic)
	return s.Start == kafka.Latest
}

// committedOf returns the offsets that must have been judged: up to the committed one,
// from the first the evidence knows of, or from the start of the log where that is older.
// Where nothing is committed that is nothing.
func committedOf(known evidence.Offsets, l partitionLog, late bool) evidence.Offsets {
	first := l.start
	switch {
	case known.Count() > 0 && late:
		first = known.First
	case known.Count() > 0:
		first = min(known.First, l.start)
	case late:
		first = max(l.start, l.committed)
	}
	return evidence.Offsets{First: first, Next: max(first, l.committed)}
}

// add fills in what the evidence says of a partition.
func (r *ledgerReport) add(p partitionLedger) {
	p.GroupAccount = r.group.Account(p.Topic, p.Partition, p.Offsets)
	p.Messages = r.group.Sum(p.Topic, p.Partition)
	r.Once += p.Once
	r.Repeated += p.RepeatedOffsets()
	r.Never += evidence.Total(p.Never)
	r.Gone += evidence.Total(p.Gone)
	r.Lag += p.Lag
	r.Partitions = append(r.Partitions, p)
}

func (r *ledgerReport) sort() {
	slices.SortFunc(r.Partitions, func(a, b partitionLedger) int {
		return cmp.Or(cmp.Compare(a.Topic, b.Topic), cmp.Compare(a.Partition, b.Partition))
	})
}

// verdict is how the verb ends.
func (r *ledgerReport) verdict(s streams, once bool) error {
	var errs []error
	if r.Never > 0 {
		errs = append(errs, fmt.Errorf("%s never judged", offsetsWere(r.Never)))
	}
	if len(r.Bad) > 0 {
		errs = append(errs, fmt.Errorf("%s of the evidence cannot be true", count(len(r.Bad), "account")))
	}
	if r.Never > 0 {
		return &hintError{errors.Join(errs...), "was the evidence of every instance given? docs/operations.md says what else it can be"}
	}
	if len(errs) > 0 {
		return errors.Join(errs...)
	}
	if once && r.Repeated > 0 {
		fmt.Fprintf(s.err, "weir: error: %s judged more than once\n", offsetsWere(r.Repeated))
		return &codeError{errSaid, exitFindings}
	}
	return nil
}

// offsetsWere is a number of offsets that something was done to.
func offsetsWere(n int64) string {
	if n == 1 {
		return "1 offset was"
	}
	return fmt.Sprintf("%d offsets were", n)
}

// shownRanges is how many ranges of a partition are shown to people.
const shownRanges = 20

// print writes the ledger for people.
func (r *ledgerReport) print(w io.Writer) error {
	var b strings.Builder
	for _, l := range r.Logs {
		fmt.Fprintf(&b, "log %s in %s: %s, %s to %s\n", l.Origin, l.Dir, count(l.Records, "record"), l.From.UTC().Format(time.RFC3339), l.To.UTC().Format(time.RFC3339))
	}
	t := tabwriter.NewWriter(&b, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprint(t, "\nfrom\tup to\tonce\trepeated\tnever\tgone\topen\tlag\t  partition\n")
	for i := range r.Partitions {
		p := &r.Partitions[i]
		fmt.Fprintf(t, "%d\t%d\t%d\t%d\t%d\t%d\t%d\t%d\t  %s%s\n", p.First, p.Next, p.Once, p.RepeatedOffsets(), evidence.Total(p.Never), evidence.Total(p.Gone), p.Open, p.Lag, p.name(), p.remark(r.Offline))
	}
	_ = t.Flush() // b is memory
	b.WriteByte('\n')
	for i := range r.Partitions {
		r.Partitions[i].ranges(&b)
	}
	for _, bad := range r.Bad {
		fmt.Fprintf(&b, "cannot be true: %s\n", printable(bad))
	}
	fmt.Fprintln(&b, r.summary())
	_, err := io.WriteString(w, b.String())
	return err
}

// remark says what is unusual about a partition.
func (p *partitionLedger) remark(offline bool) string {
	switch {
	case strings.HasPrefix(p.Topic, "/"):
		return "  (asked over HTTP: counted, without offsets)"
	case offline:
	case p.LogEnd == nil:
		return "  (the topic is gone, or the group reads it no more)"
	case p.Committed == nil:
		return "  (nothing is committed)"
	case *p.Committed > *p.LogEnd:
		return fmt.Sprintf("  (the log ends at %d, before what is committed: the topic was made anew, or cut off)", *p.LogEnd)
	case *p.Committed < *p.LogStart:
		return fmt.Sprintf("  (the log begins at %d, after what is committed: messages were deleted before they were read)", *p.LogStart)
	}
	return ""
}

// ranges lists the offsets that were not judged exactly once.
func (p *partitionLedger) ranges(b *strings.Builder) {
	list := func(what string, n int, text func(i int) string) {
		if n == 0 {
			return
		}
		var shown []string
		for i := range min(n, shownRanges) {
			shown = append(shown, text(i))
		}
		if n > shownRanges {
			shown = append(shown, fmt.Sprintf("and %d more (--json has all)", n-shownRanges))
		}
		fmt.Fprintf(b, "%s: %s: %s\n", p.name(), what, strings.Join(shown, ", "))
	}
	list("never judged", len(p.Never), func(i int) string { return p.Never[i].String() })
	list("gone before they were read", len(p.Gone), func(i int) string { return p.Gone[i].String() })
	list("judged more than once", len(p.Repeated), func(i int) string {
		return fmt.Sprintf("%s (%s)", p.Repeated[i].Offsets, byWhom(p.Repeated[i].By))
	})
}

// byWhom says who judged the same offsets, and whether under the same rules.
func byWhom(by []evidence.Judge) string {
	differ := slices.ContainsFunc(by, func(j evidence.Judge) bool { return j.Rules != by[0].Rules || j.Policy != by[0].Policy })
	var names []string
	for i := 0; i < len(by); {
		n := i
		for n < len(by) && by[n] == by[i] {
			n++
		}
		_, name, _ := strings.Cut(by[i].Log, "/evidence/")
		if differ {
			name += fmt.Sprintf(" under the rules %.12s", by[i].Rules)
			if by[i].Policy != "" {
				name += fmt.Sprintf(" and the policy %.12s", by[i].Policy)
			}
		}
		if n-i > 1 {
			name += " " + times(n-i)
		}
		names = append(names, name)
		i = n
	}
	return strings.Join(names, ", ")
}

// summary is the ledger in a sentence.
func (r *ledgerReport) summary() string {
	var m evidence.Ledger
	for i := range r.Partitions {
		x := &r.Partitions[i].Messages
		m.Fetched, m.Passed, m.Flagged = m.Fetched+x.Fetched, m.Passed+x.Passed, m.Flagged+x.Flagged
		m.DeadLettered, m.Skipped = m.DeadLettered+x.DeadLettered, m.Skipped+x.Skipped
	}
	text := fmt.Sprintf("%d fetched = %d passed + %d flagged + %d dead-lettered + %d skipped\n", m.Fetched, m.Passed, m.Flagged, m.DeadLettered, m.Skipped)
	upTo := " up to the committed one"
	if r.Offline {
		upTo = " from the first to the last in the evidence"
	}
	gone := ""
	if r.Gone > 0 {
		gone = fmt.Sprintf("; %s gone before they could be read", offsetsWere(r.Gone))
	}
	switch {
	case r.Never > 0:
		return text + fmt.Sprintf("NOT WHOLE: %s never judged", offsetsWere(r.Never)) + gone
	case len(r.Bad) > 0:
		return text + "NOT WHOLE: accounts do not add up" + gone
	case r.Repeated > 0:
		return text + fmt.Sprintf("whole: every offset%s was judged, %d of them more than once", upTo, r.Repeated) + gone
	}
	return text + "whole: every offset" + upTo + " was judged exactly once" + gone
}

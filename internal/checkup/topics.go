package checkup

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/weir-moderation/weir/internal/kafka"
	"github.com/weir-moderation/weir/internal/kafka/retry"
	"github.com/weir-moderation/weir/pipeline/event"
)

// use is what a topic is for.
type use struct {
	topic       string
	setting     string // that names it
	read, write bool
	input       bool          // others write to it, and Weir reads it as a group
	compacted   bool          // only the newest message under each key is to stay
	partitions  int           // when it is made; 1 where all of it is read at once
	fixed       bool          // nobody may choose another number
	keep        time.Duration // the least time that makes sense, for what is not compacted
}

// How many partitions a topic is made with: twelve are shared out evenly by 2, 3, 4, 6
// and 12 processes. Dead letters are few. Deferred pushes stand on partitions for times, a
// day of turns together: 144 of ten minutes, docs/operations.md, "Deferred pushes".
const (
	usualPartitions    = 12
	buriedPartitions   = 3
	deferredPartitions = 144 // at most
)

// deferredFor is how many partitions make a day of turns.
func deferredFor(turn time.Duration) int {
	const day = 24 * time.Hour
	return min(deferredPartitions, int((day+turn-1)/turn))
}

// How long messages have to be kept at least. Whatever is away for longer than an input
// is kept loses messages, so a weekend's outage must not be enough; nobody looks at
// dead letters every day; a deferred push waits for up to a day and a round.
const (
	keepMessages = 72 * time.Hour
	keepOutputs  = 24 * time.Hour
	keepBuried   = 7 * 24 * time.Hour
)

// usesOf lists the topics that a configuration names.
func (c *checkup) usesOf() []use {
	var list []use
	add := func(u use) {
		if u.topic != "" {
			list = append(list, u)
		}
	}
	in, out := &c.cfg.Input, &c.cfg.Output
	for _, name := range in.Topics() {
		s, _ := in.Stream(name)
		u := use{topic: name, setting: "input." + s.Field(), read: true, input: true, partitions: usualPartitions, keep: keepMessages}
		u.compacted = s.Kind == event.Consent
		add(u)
	}
	add(use{topic: in.Halts, setting: "input.halts", read: true, compacted: true, partitions: 1, fixed: true})
	add(use{topic: out.Review, setting: "output.review", write: true, partitions: usualPartitions, keep: keepOutputs})
	add(use{topic: out.Decisions, setting: "output.decisions", write: true, partitions: usualPartitions, keep: keepOutputs})
	add(use{topic: out.Cleared, setting: "output.cleared", write: true, partitions: usualPartitions, keep: keepOutputs})
	add(use{topic: out.Deferred, setting: "output.deferred", read: c.cfg.PushesOn(), write: true, partitions: deferredFor(out.DeferredTurn), fixed: true, keep: keepMessages})
	add(use{topic: out.DeadLetter, setting: "output.deadletter", write: true, partitions: buriedPartitions, keep: keepBuried})
	add(use{topic: out.Checkpoints, setting: "output.checkpoints", read: true, write: true, compacted: true, partitions: 1, fixed: true})
	add(use{topic: c.cfg.Rules.Topic, setting: "rules.topic", read: true, compacted: true, partitions: 1, fixed: true})
	add(use{topic: c.cfg.Rules.Receipts, setting: "rules.receipts", write: true, compacted: true, partitions: 1, fixed: true})
	return list
}

// survey finds out which topics there are, makes those that are to be made, and asks
// how they are set.
func (c *checkup) survey(ctx context.Context) error {
	c.uses = c.usesOf()
	if err := c.look(ctx); err != nil {
		return err
	}
	if len(c.cfg.Input.Patterns()) > 0 {
		all, err := c.client.AllTopics(ctx)
		if err != nil {
			return err
		}
		for _, t := range all {
			s, ok := c.cfg.Input.Stream(t.Name)
			if ok && !slices.ContainsFunc(c.uses, func(u use) bool { return u.topic == t.Name }) {
				c.uses = append(c.uses, use{topic: t.Name, setting: "input." + s.Field(), read: true, input: true, compacted: s.Kind == event.Consent, keep: keepMessages})
			}
		}
		if err := c.look(ctx); err != nil {
			return err
		}
	}
	if c.o.Create {
		if err := c.create(ctx); err != nil {
			return err
		}
	}
	var there []string
	for _, u := range c.uses {
		if c.details[u.topic].Err == nil {
			there = append(there, u.topic)
		}
	}
	settings, err := c.client.Settings(ctx, there...)
	if err != nil {
		return err
	}
	for _, s := range settings {
		c.settings[s.Topic] = s
	}
	return nil
}

func (c *checkup) look(ctx context.Context) error {
	names := make([]string, len(c.uses))
	for i, u := range c.uses {
		names[i] = u.topic
	}
	cluster, list, err := c.client.Survey(ctx, names...)
	if err != nil {
		return err
	}
	c.cluster = cluster
	for _, d := range list {
		c.details[d.Name] = d
	}
	return nil
}

// replication is how many brokers are to have a topic, and how many of them must have a
// message before it counts as written.
func (c *checkup) replication() (replicas, inSync int) {
	replicas = min(3, max(1, c.cluster.Brokers))
	return replicas, max(1, replicas-1)
}

// plan says how a topic is to be made.
func (c *checkup) plan(u *use) kafka.NewTopic {
	replicas, inSync := c.replication()
	t := kafka.NewTopic{Name: u.topic, Partitions: u.partitions, Replication: replicas,
		Config: map[string]string{"cleanup.policy": "delete", "min.insync.replicas": strconv.Itoa(inSync)}}
	if c.o.Partitions > 0 && !u.fixed {
		t.Partitions = c.o.Partitions
	}
	if u.compacted {
		t.Config["cleanup.policy"] = "compact"
	}
	if most := c.cfg.Output.MaxMessageBytes; u.write && !u.compacted && most > defaultMessageBytes {
		t.Config["max.message.bytes"] = strconv.Itoa(most)
	}
	return t
}

// defaultMessageBytes is Kafka's max.message.bytes.
const defaultMessageBytes = 1_048_588

// made says how a topic is made, in the words of kafka-topics.
func made(t kafka.NewTopic) string {
	words := fmt.Sprintf("--topic %s --partitions %d --replication-factor %d", t.Name, t.Partitions, t.Replication)
	for _, k := range slices.Sorted(maps.Keys(t.Config)) {
		words += " --config " + k + "=" + t.Config[k]
	}
	return words
}

// create makes the topics that are missing and waits until they have leaders. If the process
// dies between two of them, the next one makes the rest.
func (c *checkup) create(ctx context.Context) error {
	var names []string
	for i := range c.uses {
		u := &c.uses[i]
		if !errors.Is(c.details[u.topic].Err, kafka.ErrNoTopic) {
			continue
		}
		t := c.plan(u)
		if err := c.client.CreateTopics(ctx, t); err != nil {
			c.say(Error, "topic", u.topic, err.Error(), "have it created by somebody who may: "+c.kafkaTopics(t))
			continue
		}
		c.Created = append(c.Created, made(t))
		names = append(names, u.topic)
	}
	if len(names) == 0 {
		return nil
	}
	again := retry.Backoff{Base: 50 * time.Millisecond, Ceiling: time.Second}
	for began := c.now(); ; {
		if err := c.look(ctx); err != nil {
			return err
		}
		led := func(name string) bool {
			d := c.details[name]
			return d.Err == nil && len(d.Leaders) > 0 && !slices.Contains(d.Leaders, -1)
		}
		if !slices.ContainsFunc(names, func(n string) bool { return !led(n) }) || c.now().Sub(began) > sampleLimit {
			return nil // what still lacks a leader is a finding
		}
		if !retry.Pause(ctx, again.Next()) {
			return ctx.Err()
		}
	}
}

// kafkaTopics is the command that makes a topic.
func (c *checkup) kafkaTopics(t kafka.NewTopic) string {
	return "kafka-topics.sh --bootstrap-server " + c.cfg.Kafka.Brokers[0] + " --create " + made(t)
}

// set is the command that changes a setting of a topic.
func (c *checkup) set(topic, setting, value string) string {
	return fmt.Sprintf("kafka-configs.sh --bootstrap-server %s --alter --entity-type topics --entity-name %s --add-config %s=%s", c.cfg.Kafka.Brokers[0], topic, setting, value)
}

// topics says of each topic whether it is there, and what is not well with it.
func (c *checkup) topics(context.Context) {
	for i := range c.uses {
		u := &c.uses[i]
		d, before := c.details[u.topic], c.Count(Warning)+c.Count(Error)
		bad := func(s Status, what, remedy string) { c.say(s, "topic", u.topic, what, remedy) }
		switch {
		case errors.Is(d.Err, kafka.ErrNoTopic):
			if slices.ContainsFunc(c.Findings, func(f Finding) bool { return f.Area == "topic" && f.About == u.topic }) {
				continue // it was to be made, and why not is said
			}
			c.Missing++
			bad(Error, "is not there ("+u.setting+")", fmt.Sprintf("create it (--create does), or correct the name: %s", c.kafkaTopics(c.plan(u))))
			continue
		case errors.Is(d.Err, kafka.ErrNotAllowed):
			bad(Error, "may not be seen by us, or is not there ("+u.setting+")", "allow DESCRIBE on it: "+c.acl("Describe", "--topic "+u.topic))
			continue
		case d.Err != nil:
			bad(Error, d.Err.Error(), "see the brokers' logs")
			continue
		}
		c.replicas(&d, bad)
		words := fmt.Sprintf("%s, %s", count(len(d.Leaders), "partition"), count(slices.Min(append([]int{c.cluster.Brokers}, d.Replicas...)), "replica"))
		switch s, ok := c.settings[u.topic]; {
		case !ok || errors.Is(s.Err, kafka.ErrNotAllowed):
			c.say(Unknown, "topic", u.topic, words+"; its settings may not be seen by us", "allow DESCRIBE_CONFIGS on it: "+c.acl("DescribeConfigs", "--topic "+u.topic))
		case s.Err != nil:
			c.say(Unknown, "topic", u.topic, words+"; it does not tell its settings: "+s.Err.Error(), "")
		default:
			words += ", " + s.Value["cleanup.policy"]
			if ms := number(s.Value, "retention.ms"); !u.compacted && ms >= 0 {
				words += " after " + span(time.Duration(ms)*time.Millisecond)
			}
			c.fit(u, &d, s.Value, bad)
			if c.Count(Warning)+c.Count(Error) == before {
				c.say(OK, "topic", u.topic, words, "")
			}
		}
	}
}

// replicas says whether a topic outlives a broker.
func (c *checkup) replicas(d *kafka.Detail, bad func(s Status, what, remedy string)) {
	const more = "add replicas by kafka-reassign-partitions.sh, or make the topic anew"
	want, _ := c.replication()
	least := want
	leaderless, behind := 0, 0
	for p, n := range d.Replicas {
		if n > 0 { // else the brokers did not tell
			least = min(least, n)
		}
		if d.Leaders[p] < 0 {
			leaderless++
		} else if d.InSync[p] < n {
			behind++
		}
	}
	switch {
	case least == 1 && c.cluster.Brokers > 1:
		bad(Error, fmt.Sprintf("has 1 replica: when its broker is away it cannot be used, and with its disk it is lost (%s in the cluster)", count(c.cluster.Brokers, "broker")), more)
	case least < want:
		bad(Warning, fmt.Sprintf("has %d replicas, of %d brokers: one that is away for maintenance leaves no spare", least, c.cluster.Brokers), more)
	}
	if leaderless > 0 {
		bad(Error, fmt.Sprintf("%d of %s without a leader: they can be neither read nor written", leaderless, count(len(d.Leaders), "partition")), "bring back the brokers that have them")
	}
	if behind > 0 {
		bad(Warning, fmt.Sprintf("%d of %s with replicas that have fallen behind", behind, count(len(d.Leaders), "partition")), "bring back the brokers that are away")
	}
}

// fit says whether a topic is set for its use.
func (c *checkup) fit(u *use, d *kafka.Detail, v map[string]string, bad func(s Status, what, remedy string)) {
	replicas := slices.Min(append([]int{c.cluster.Brokers}, d.Replicas...))
	compact, deletes := strings.Contains(v["cleanup.policy"], "compact"), strings.Contains(v["cleanup.policy"], "delete")
	keep := number(v, "retention.ms")
	switch {
	case compact && !u.compacted:
		bad(Error, "is compacted: of all messages under a key, such as the posts of a user, only the newest stays; the others are lost, read or not", c.set(u.topic, "cleanup.policy", "delete"))
	case u.compacted && !compact && keep >= 0:
		bad(Error, fmt.Sprintf("is not compacted: what it says is gone after %s, though it still holds", span(time.Duration(keep)*time.Millisecond)), c.set(u.topic, "cleanup.policy", "compact"))
	case u.compacted && !compact:
		bad(Warning, "is not compacted: it keeps everything, so that it grows, and is read whole, without end", c.set(u.topic, "cleanup.policy", "compact"))
	case u.compacted && deletes && keep >= 0:
		bad(Error, fmt.Sprintf("is compacted and deletes: what it says is gone after %s, though it still holds", span(time.Duration(keep)*time.Millisecond)), c.set(u.topic, "cleanup.policy", "compact"))
	case !u.compacted && keep >= 0 && time.Duration(keep)*time.Millisecond < u.keep:
		bad(Warning, fmt.Sprintf("keeps messages for %s: what is not read by then is lost", span(time.Duration(keep)*time.Millisecond)), "keep them for "+span(u.keep)+" at least: "+c.set(u.topic, "retention.ms", strconv.FormatInt(max(u.keep, keepBuried).Milliseconds(), 10)))
	}
	switch inSync := int(number(v, "min.insync.replicas")); {
	case v["min.insync.replicas"] == "":
	case u.write && inSync > replicas:
		bad(Error, fmt.Sprintf("wants %d replicas in sync (min.insync.replicas) and has %d: nothing can be written", inSync, replicas), c.set(u.topic, "min.insync.replicas", strconv.Itoa(max(1, replicas-1))))
	case u.write && inSync == replicas && replicas > 1:
		bad(Warning, fmt.Sprintf("wants all of its %d replicas in sync (min.insync.replicas): while one broker is away nothing can be written, and partitions wait", replicas), c.set(u.topic, "min.insync.replicas", strconv.Itoa(replicas-1)))
	case inSync < 2 && replicas > 2:
		bad(Warning, "takes a message that one replica has (min.insync.replicas=1): acks=all then promises nothing, and with that broker's disk it is lost", c.set(u.topic, "min.insync.replicas", "2"))
	}
	if v["unclean.leader.election.enable"] == "true" {
		bad(Warning, "lets a replica lead that has not got everything (unclean.leader.election.enable): what was acknowledged can be lost", c.set(u.topic, "unclean.leader.election.enable", "false"))
	}
	most := int(number(v, "max.message.bytes"))
	switch out, in := c.cfg.Output.MaxMessageBytes, c.cfg.Events.MaxBytes; {
	case v["max.message.bytes"] == "":
	case u.write && !u.compacted && most < out:
		bad(Error, fmt.Sprintf("takes messages of %d bytes (max.message.bytes), and Weir makes some of %d (output.max_message_bytes): they are refused, and become dead letters", most, out),
			c.set(u.topic, "max.message.bytes", strconv.Itoa(max(out, defaultMessageBytes)))+", or set output.max_message_bytes to "+strconv.Itoa(most))
	case u.input && most > in+messageRoom:
		bad(Warning, fmt.Sprintf("takes messages of %d bytes (max.message.bytes), and events above %d (events.max_bytes) become dead letters", most, in),
			"set events.max_bytes to "+strconv.Itoa(min(most, 64<<20))+", or "+c.set(u.topic, "max.message.bytes", strconv.Itoa(in+12)))
	}
}

// messageRoom is what a message may have beside its value, key and headers, before it is
// said that the topic takes larger ones than are read.
const messageRoom = 64 << 10

func number(v map[string]string, name string) int64 {
	n, err := strconv.ParseInt(v[name], 10, 64)
	if err != nil {
		return -1
	}
	return n
}

// span is a duration for people.
func span(d time.Duration) string {
	switch {
	case d >= 48*time.Hour:
		return count(int(d/(24*time.Hour)), "day")
	case d >= 2*time.Hour:
		return count(int(d/time.Hour), "hour")
	case d >= 2*time.Minute:
		return count(int(d/time.Minute), "minute")
	}
	return count(int(d/time.Second), "second")
}

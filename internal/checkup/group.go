package checkup

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/weir-moderation/weir/internal/kafka"
)

// group looks at the consumer group: whether we may join it, who is in it, and whether
// what it has read so far is still there.
func (c *checkup) group(ctx context.Context) {
	name := c.cfg.Input.Group
	lacking := func(what string) {
		c.say(Error, "group", name, what, c.acl("Read", "--group "+name))
	}
	g, err := c.client.Group(ctx, name)
	switch {
	case errors.Is(err, kafka.ErrNotAllowed):
		lacking("we may not be a member of it (input.group)")
		return
	case err != nil:
		c.say(Unknown, "group", name, "the brokers do not tell about it: "+err.Error(), "")
		return
	case g.May.Known() && !g.May.May(kafka.MayRead) && g.May != 0:
		lacking("we may see it and not be a member of it (input.group)")
	}
	before := c.Count(Warning) + c.Count(Error)
	c.members(&g)
	lag, begun := c.offsets(ctx)
	if c.Count(Warning)+c.Count(Error) > before {
		return
	}
	words := fmt.Sprintf("%s, %s to read", count(len(g.Members), "member"), count(int(lag), "message"))
	if begun == 0 {
		words = fmt.Sprintf("%s, nothing is read yet: it begins with the %s messages", count(len(g.Members), "member"), c.cfg.Input.Start)
	}
	c.say(OK, "group", name, words, "")
}

// members says who else is in the group.
func (c *checkup) members(g *kafka.Group) {
	name := c.cfg.Input.Group
	if len(g.Members) == 0 {
		return
	}
	const other = "give this deployment a group of its own (input.group), or stop the other"
	if g.Type != "consumer" {
		c.say(Error, "group", name, fmt.Sprintf("is used by something that is no reader of topics (%s): we could not join", clean(g.Type)), other)
		return
	}
	if g.Assignor != "" && !kafka.Offered(g.Assignor) {
		c.say(Error, "group", name, fmt.Sprintf("gives out partitions by %q, which Weir does not offer: we could not join", clean(g.Assignor)), other)
	}
	ours := func(topic string) bool { _, ok := c.cfg.Input.Stream(topic); return ok }
	var strangers, others []string
	for _, m := range g.Members {
		who := clean(m.Client) + " at " + clean(strings.TrimPrefix(m.Host, "/"))
		if foreign := slices.IndexFunc(m.Topics, func(t string) bool { return !ours(t) }); foreign >= 0 {
			others = append(others, fmt.Sprintf("%s, which reads %s", who, clean(m.Topics[foreign])))
		} else if m.Client != c.cfg.Kafka.ClientID {
			strangers = append(strangers, who)
		}
	}
	if len(others) > 0 {
		c.say(Error, "group", name, fmt.Sprintf("has members that read other topics than this configuration: %s; they take partitions that they pass over", some(others)), other)
	}
	if len(strangers) > 0 {
		c.say(Warning, "group", name, fmt.Sprintf("has members that do not call themselves %s (kafka.client_id): %s; what they read Weir never sees, unless they are Weir", c.cfg.Kafka.ClientID, some(strangers)), other)
	}
}

// some names the first of a list.
func some(list []string) string {
	const most = 3
	if len(list) > most {
		return fmt.Sprintf("%s and %d more", strings.Join(list[:most], ", "), len(list)-most)
	}
	return strings.Join(list, ", ")
}

// clean is what somebody else calls something, without what would steer a terminal.
func clean(text string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f {
			return '?'
		}
		return r
	}, text)
}

// committed notes how far the group has come. What it reads from now on does not count as
// read beyond the ends that are looked up later.
func (c *checkup) committed(ctx context.Context) {
	list, err := c.client.Committed(ctx, c.cfg.Input.Group)
	if err != nil && !errors.Is(err, kafka.ErrNotAllowed) { // that is said of the group
		c.say(Unknown, "group", c.cfg.Input.Group, "the brokers do not tell what it has read: "+err.Error(), "")
	}
	c.read = list
}

// offsets compares what the group has committed with what the partitions hold. It returns
// how many messages are to be read, and how many partitions the group has begun.
func (c *checkup) offsets(ctx context.Context) (lag int64, begun int) {
	// Asked for once more: what was deleted behind a reader that went on is no loss.
	now, err := c.client.Committed(ctx, c.cfg.Input.Group)
	if err != nil {
		return 0, 0 // it was said before, or is of the group
	}
	gone, beyond := make(map[string]int), make(map[string]int) // partitions by topic
	lost := make(map[string]int64)
	for _, at := range c.read {
		// With read_uncommitted the group may be ahead of the end that is known.
		if r, ok := c.holds(at); ok && at.Offset > r.Next && !c.cfg.Input.ReadUncommitted {
			beyond[at.Topic]++
		}
	}
	known := make(map[string]map[int32]bool)
	for _, at := range now {
		r, ok := c.holds(at)
		if !ok {
			continue // of a topic that is not read any more, or cannot be
		}
		begun++
		if known[at.Topic] == nil {
			known[at.Topic] = make(map[int32]bool)
		}
		known[at.Topic][at.Partition] = true
		if at.Topic != c.cfg.Output.Deferred { // it lags on purpose
			lag += max(0, r.Next-max(at.Offset, r.First))
		}
		if at.Offset < r.First {
			gone[at.Topic]++
			lost[at.Topic] += r.First - at.Offset
		}
	}
	for topic, partitions := range known { // those that were added are read from their beginning
		for p, r := range c.ranges[topic] {
			if !partitions[int32(p)] {
				lag += r.Next - r.First
			}
		}
	}
	c.sayOffsets(gone, beyond, lost)
	return lag, begun
}

// holds returns what the partition holds of which something was read.
func (c *checkup) holds(at kafka.Committed) (kafka.Range, bool) {
	ranges := c.ranges[at.Topic]
	if int(at.Partition) >= len(ranges) {
		return kafka.Range{}, false
	}
	return ranges[at.Partition], true
}

func (c *checkup) sayOffsets(gone, beyond map[string]int, lost map[string]int64) {
	name := c.cfg.Input.Group
	for _, topic := range slices.Sorted(maps.Keys(gone)) {
		c.say(Error, "group", name, fmt.Sprintf("of %s %d offsets in %s were deleted before they were read", topic, lost[topic], count(gone[topic], "partition")),
			"they cannot be read any more; keep messages for longer (retention.ms), see docs/operations.md, \"Messages are gone before they are read\"; input.on_gap says how to go on")
	}
	for _, topic := range slices.Sorted(maps.Keys(beyond)) {
		c.say(Error, "group", name, fmt.Sprintf("has read %s of %s beyond its end: the topic was made anew, or lost what it had", count(beyond[topic], "partition"), topic),
			fmt.Sprintf("once it is known why, begin anew: kafka-consumer-groups.sh --bootstrap-server %s --group %s --topic %s --reset-offsets --to-earliest --execute", c.cfg.Kafka.Brokers[0], name, topic))
	}
}

// clocks compares this machine's clock with the times of messages. Kafka tells nobody what
// time it is, so this can only find clocks that are ahead of ours.
func (c *checkup) clocks() {
	told := false
	for _, u := range c.uses {
		at, ok := c.newest[u.topic]
		if !ok {
			continue
		}
		told = true
		by := "its producers'"
		if c.settings[u.topic].Value["message.timestamp.type"] == "LogAppendTime" {
			by = "its brokers'"
		}
		if ahead := at.Sub(c.now()); ahead > clockAhead {
			c.say(Warning, "clock", u.topic, fmt.Sprintf("its newest message is of %s from now: %s clock is ahead of this machine's", ahead.Round(time.Second), by),
				"set both by a time service")
		}
	}
	c.say(Unknown, "clock", "brokers", map[bool]string{
		true:  "Kafka tells nobody its time; that no message is of the future is all that can be seen",
		false: "Kafka tells nobody its time, and there is no message to compare with",
	}[told], "")
}

// clockAhead is how far a message may be of the future: the difference of two clocks from
// which operators hear of Redis's, too.
const clockAhead = 2 * time.Second

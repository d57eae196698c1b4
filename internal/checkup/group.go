package checkup

import (
	"context"
	"errors"
	"fmt"
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
	lag, committed := c.offsets(ctx)
	if c.Count(Warning)+c.Count(Error) > before {
		return
	}
	words := fmt.Sprintf("%s, %s to read", count(len(g.Members), "member"), count(int(lag), "message"))
	if committed == 0 {
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

// offsets compares what the group has committed with what the partitions hold. It returns
// how many messages are to be read, and how many partitions the group has begun.
func (c *checkup) offsets(ctx context.Context) (lag int64, committed int) {
	name := c.cfg.Input.Group
	list, err := c.client.Committed(ctx, name)
	switch {
	case errors.Is(err, kafka.ErrNotAllowed):
		return 0, 0 // it is said
	case err != nil:
		c.say(Unknown, "group", name, "the brokers do not tell what it has read: "+err.Error(), "")
		return 0, 0
	}
	type trouble struct {
		gone, beyond int // partitions
		lost         int64
	}
	found := make(map[string]*trouble)
	var order []string
	for _, at := range list {
		ranges := c.ranges[at.Topic]
		if int(at.Partition) >= len(ranges) {
			continue // of a topic that is not read any more, or cannot be
		}
		committed++
		r := ranges[at.Partition]
		lag += max(0, r.Next-max(at.Offset, r.First))
		if at.Offset >= r.First && at.Offset <= r.Next {
			continue
		}
		t := found[at.Topic]
		if t == nil {
			t = new(trouble)
			found[at.Topic] = t
			order = append(order, at.Topic)
		}
		if at.Offset < r.First {
			t.gone++
			t.lost += r.First - at.Offset
		} else {
			t.beyond++
		}
	}
	for _, topic := range order {
		t := found[topic]
		if t.gone > 0 {
			c.say(Error, "group", name, fmt.Sprintf("of %s %d offsets in %s were deleted before they were read", topic, t.lost, count(t.gone, "partition")),
				"they cannot be read any more; keep messages for longer (retention.ms), see docs/operations.md, \"Messages are gone before they are read\"; input.on_gap says how to go on")
		}
		if t.beyond > 0 {
			c.say(Error, "group", name, fmt.Sprintf("has read %s of %s beyond its end: the topic was made anew, or lost what it had", count(t.beyond, "partition"), topic),
				fmt.Sprintf("once it is known why, begin anew: kafka-consumer-groups.sh --bootstrap-server %s --group %s --topic %s --reset-offsets --to-earliest --execute", c.cfg.Kafka.Brokers[0], name, topic))
		}
	}
	for topic, ranges := range c.ranges {
		begun := 0
		for _, at := range list {
			if at.Topic == topic && int(at.Partition) < len(ranges) {
				begun++
			}
		}
		if begun > 0 && begun < len(ranges) { // partitions that were added are read from where a new group begins
			for p, r := range ranges {
				if !slices.ContainsFunc(list, func(at kafka.Committed) bool { return at.Topic == topic && at.Partition == int32(p) }) {
					lag += r.Next - r.First
				}
			}
		}
	}
	return lag, committed
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

package checkup

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"strings"

	"github.com/weir-moderation/weir/internal/kafka"
	"github.com/weir-moderation/weir/sinks"
)

// acl is the command that gives us a right.
func (c *checkup) acl(operation, to string) string {
	who := c.cfg.Kafka.SASL.Username
	if who == "" {
		who = "OURS"
	}
	return fmt.Sprintf("kafka-acls.sh --bootstrap-server %s --add --allow-principal User:%s --operation %s %s", c.cfg.Kafka.Brokers[0], who, operation, to)
}

// rights says which rights we lack. Brokers tell them of topics and groups; that we may
// write as a producer, and in transactions, is asked in ways that write nothing.
func (c *checkup) rights(ctx context.Context) {
	reads, writes, lacking, untold := 0, 0, 0, 0
	for i := range c.uses {
		u := &c.uses[i]
		d := c.details[u.topic]
		if d.Err != nil {
			continue
		}
		if !d.May.Known() {
			untold++
			continue
		}
		for _, r := range []struct {
			needed bool
			may    kafka.Operations
			word   string
			n      *int
		}{{u.read, kafka.MayRead, "Read", &reads}, {u.write, kafka.MayWrite, "Write", &writes}} {
			switch {
			case !r.needed:
			case d.May.May(r.may):
				*r.n++
			default:
				lacking++
				c.say(Error, "rights", u.topic, "we may not "+strings.ToLower(r.word)+" it ("+u.setting+")", c.acl(r.word, "--topic "+u.topic))
			}
		}
	}
	switch {
	case untold > 0:
		c.say(Unknown, "rights", "", fmt.Sprintf("the brokers do not tell what we may do to %s", count(untold, "topic")), "")
	case lacking == 0 && reads+writes > 0:
		c.say(OK, "rights", "", fmt.Sprintf("we may read %s and write %s", count(reads, "topic"), count(writes, "topic")), "")
	}
	switch err := c.client.MayProduce(ctx); {
	case errors.Is(err, kafka.ErrNotAllowed):
		c.say(Error, "rights", "producer", "we may not write as a producer whose repetitions brokers recognise", "WRITE on any topic is enough from Kafka 2.8 on; before: "+c.acl("IdempotentWrite", "--cluster"))
	case err != nil:
		c.say(Unknown, "rights", "producer", "the brokers do not say whether we may write as a producer: "+err.Error(), "")
	}
	if c.cfg.Output.Delivery == sinks.ExactlyOnce {
		c.transactions(ctx)
	}
}

// transactions asks about the transactional ids under which batches are committed, by one
// that no partition has: its number is below zero.
func (c *checkup) transactions(ctx context.Context) {
	group := c.cfg.Input.Group
	id := sinks.TransactionalID(group, "weir-check", -1-rand.Int32N(1<<20))
	switch err := c.client.MayTransact(ctx, id); {
	case errors.Is(err, kafka.ErrNotAllowed):
		c.say(Error, "rights", "transactions", "we may not write in transactions, which output.delivery: exactly_once needs",
			c.acl("Write --operation Describe", "--transactional-id "+group+"/ --resource-pattern-type prefixed"))
	case err != nil:
		c.say(Unknown, "rights", "transactions", "the brokers do not say whether we may write in transactions: "+err.Error(), "")
	default:
		c.say(OK, "rights", "transactions", "we may write under the transactional ids that begin with "+group+"/", "")
	}
}

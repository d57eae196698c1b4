package app

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/weir-moderation/weir/internal/admin"
	"github.com/weir-moderation/weir/internal/config"
	"github.com/weir-moderation/weir/internal/kafka"
	"github.com/weir-moderation/weir/pipeline/push"
)

// CheckKafka asks the brokers whether Weir can talk to them and whether every
// topic it reads or writes is there.
func CheckKafka(ctx context.Context, client *kafka.Client, c *config.Config) error {
	if err := client.Preflight(ctx); err != nil {
		return err
	}
	names := slices.Concat(c.Input.Topics(), c.Output.Topics())
	compacted := []string{c.Rules.Topic, c.Rules.Receipts, c.Input.Halts, c.Output.Checkpoints}
	for _, t := range compacted {
		if t != "" {
			names = append(names, t)
		}
	}
	topics, err := client.Topics(ctx, names...)
	if err != nil {
		return fmt.Errorf("ask kafka for its topics: %w", err)
	}
	var missing []string
	for _, t := range topics {
		switch {
		case errors.Is(t.Err, kafka.ErrNoTopic):
			name := t.Name
			if slices.Contains(compacted, name) {
				name += " (with cleanup.policy=compact)"
			}
			missing = append(missing, name)
		case t.Err != nil:
			return fmt.Errorf("topic %s: %w", t.Name, t.Err)
		}
	}
	if len(missing) > 0 {
		return fmt.Errorf("kafka lacks the topics %s; create what is missing, or correct the names in the configuration", strings.Join(missing, ", "))
	}
	return nil
}

// CheckFiles reads the keys, passwords and certificates a configuration names,
// as a start would, and connects to nobody.
func CheckFiles(c *config.Config) error {
	errs := []error{admin.Check(c.Admin)}
	client, err := kafka.NewClient(c.Kafka, kafka.Options{})
	if err != nil {
		errs = append(errs, err)
	} else {
		errs = append(errs, client.Close())
	}
	if c.PushesOn() {
		store, err := push.NewStore(push.Options{Config: c.Push})
		if err != nil {
			errs = append(errs, err)
		} else {
			errs = append(errs, store.Close())
		}
	}
	errs = append(errs, c.Tracing.CheckFiles())
	if _, err := c.Anchors.PeerClients(); err != nil {
		errs = append(errs, fmt.Errorf("anchors.%w", err))
	}
	return errors.Join(errs...)
}

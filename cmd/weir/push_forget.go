package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/weir-moderation/weir/internal/config"
	"github.com/weir-moderation/weir/internal/kafka"
	"github.com/weir-moderation/weir/internal/kafka/produce"
	"github.com/weir-moderation/weir/pipeline/event"
	"github.com/weir-moderation/weir/pipeline/push"
)

type pushForgetCmd struct {
	userFlags
	Topic   string `help:"The topic of consent that knows the user; needed where input.consent is not one name." placeholder:"NAME"`
	Execute bool   `help:"Do it. Without it nothing is written or deleted: what would be is said."`
}

// Help says what kong cannot know.
func (pushForgetCmd) Help() string {
	return `Writes a tombstone, a message without a value under the user's id, to the topic of consent, so that compaction deletes what the user agreed to and whoever reads the topic from its beginning does not bring them back; then deletes the user's profile and send log in Redis, but for pushes of the last minutes (recall in the policy), which may have to be called back. A daemon that reads the tombstone does the same, calls those back, and keeps it on record. Afterwards the user is somebody nobody knows: pushes that need consent are denied. It may be done again; if it was interrupted, do it again. Messages on other topics, and evidence, are kept for as long as those are.`
}

// Run forgets a user.
func (c *pushForgetCmd) Run(ctx context.Context, s streams) (err error) {
	if c.User == "" {
		return &codeError{errors.New("--user: empty; give the user's id"), exitMisuse}
	}
	cfg, policy, store, err := openPushes(c.Config)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, store.Close()) }()
	topic, err := c.topic(cfg)
	if err != nil {
		return &codeError{err, exitMisuse}
	}
	user, err := store.InspectUser(ctx, []byte(c.User))
	if err != nil {
		return awayError(err)
	}
	if err := c.bury(ctx, cfg, topic, s.out); err != nil {
		return err
	}
	// If the process dies here, the daemon finishes it when it reads the tombstone.
	if !c.Execute {
		_, err = fmt.Fprintf(s.out, "%s would be deleted in Redis\nnothing is written or deleted; do it with --execute\n", recordsOf(&user))
		return err
	}
	done, err := store.Forget(ctx, policy, []byte(c.User), time.Now())
	if err != nil {
		return &hintError{fmt.Errorf("the tombstone is written, but nothing is deleted in redis: %w", err), "do it again; a daemon that reads the tombstone deletes it, too"}
	}
	var b strings.Builder
	list := []string{pushes(done.Pushes) + " of the send log"}
	if done.Profile {
		list = append([]string{"the profile"}, list...)
	}
	fmt.Fprintf(&b, "%s of user %s deleted in Redis\n", strings.Join(list, " and "), user.Pseudonym)
	if done.Kept > 0 {
		fmt.Fprintf(&b, "%s of the last minutes may have to be called back by a daemon and will be deleted then\n", pushes(done.Kept))
	}
	_, err = io.WriteString(s.out, b.String())
	return err
}

// topic returns the topic to which a tombstone goes; empty if consent is not read.
func (c *pushForgetCmd) topic(cfg *config.Config) (string, error) {
	list := cfg.Input.Consent
	if c.Topic != "" {
		if st, ok := cfg.Input.Stream(c.Topic); !ok || st.Kind != event.Consent {
			return "", fmt.Errorf("--topic: %q is no topic of consent; input.consent does not name it", c.Topic)
		}
		return c.Topic, nil
	}
	switch {
	case len(list) == 0:
		return "", nil
	case len(list) == 1 && list[0].Pattern == "":
		return list[0].Topic, nil
	}
	var names []string
	for i := range list {
		names = append(names, list[i].String())
	}
	return "", fmt.Errorf("consent is read from %s; say with --topic which one knows the user", strings.Join(names, ", "))
}

// bury writes the tombstone, or says that it would.
func (c *pushForgetCmd) bury(ctx context.Context, cfg *config.Config, topic string, out io.Writer) (err error) {
	if topic == "" {
		_, err := fmt.Fprintln(out, "no topic of consent is read, so none could bring the user back: no tombstone")
		return err
	}
	client, err := kafka.NewClient(cfg.Kafka, kafka.Options{})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, client.Close()) }()
	if err := client.Preflight(ctx); err != nil { // it has words for what is wrong
		return err
	}
	topics, err := client.Topics(ctx, topic)
	if err == nil {
		err = topics[0].Err
	}
	if err != nil {
		return fmt.Errorf("topic %s: %w", topic, err)
	}
	if !c.Execute {
		_, err := fmt.Fprintf(out, "a tombstone would be written to the topic %s\n", topic)
		return err
	}
	patient, cancel := context.WithTimeout(ctx, replayPatience)
	defer cancel()
	p := client.NewProducer(produce.Options{Topics: []string{topic}})
	if err := p.Produce(patient, []produce.Message{{Topic: topic, Key: []byte(c.User)}}); err != nil {
		return fmt.Errorf("write the tombstone to %s, nothing is deleted yet: %w", topic, err)
	}
	_, err = fmt.Fprintf(out, "a tombstone is written to the topic %s\n", topic)
	return err
}

// recordsOf names what Redis holds of a user.
func recordsOf(user *push.Inspection) string {
	var list []string
	if user.HasProfile {
		list = append(list, "the profile")
	}
	if user.HasLog {
		list = append(list, fmt.Sprintf("the send log with %s", pushes(len(user.Log.Entries))))
	}
	if list == nil {
		return "nothing of user " + user.Pseudonym + ", of whom Redis knows nothing,"
	}
	return strings.Join(list, " and ") + " of user " + user.Pseudonym
}

package ingest

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"time"

	"github.com/weir-moderation/weir/internal/kafka"
	"github.com/weir-moderation/weir/pipeline"
	"github.com/weir-moderation/weir/pipeline/event"
)

// Topics are what one kind of event is read from: in the configuration the name
// of a topic, or a list of which each item is a name or a [Topic]. None is not
// read.
type Topics []Topic

// Topic is a topic to read, or all topics whose whole name matches a pattern,
// those to come included.
type Topic struct {
	Topic   string `yaml:"topic"`
	Pattern string `yaml:"pattern"` // instead of Topic, a regular expression (RE2)
	// Layout says how the messages are written, if not as docs/schemas says.
	event.Layout
}

// Named are topics of which there is nothing to say but their names.
func Named(names ...string) Topics {
	topics := make(Topics, len(names))
	for i, n := range names {
		topics[i].Topic = n
	}
	return topics
}

// UnmarshalText reads the name of the only topic there is, or none from nothing.
func (t *Topics) UnmarshalText(name []byte) error {
	if *t = nil; len(name) > 0 {
		*t = Named(string(name))
	}
	return nil
}

// UnmarshalText reads the name of a topic of which there is nothing else to say.
func (t *Topic) UnmarshalText(name []byte) error {
	*t = Topic{Topic: string(name)}
	return nil
}

// String returns the name, or the pattern between slashes.
func (t *Topic) String() string {
	if t.Pattern != "" {
		return "/" + t.Pattern + "/"
	}
	return t.Topic
}

// Matches reports whether t is for the topic of a name.
func (t *Topic) Matches(name string) bool {
	if t.Pattern == "" {
		return t.Topic == name
	}
	re, err := t.expression()
	return err == nil && re.MatchString(name)
}

// expression returns the pattern for the beginning to the end of a name.
func (t *Topic) expression() (*regexp.Regexp, error) {
	if _, err := regexp.Compile(t.Pattern); err != nil {
		return nil, err // by itself, so that no parenthesis of ours is closed
	}
	return regexp.Compile(`\A(?:` + t.Pattern + `)\z`)
}

// Stream is what the configuration says of a topic.
type Stream struct {
	Kind  event.Kind
	Start kafka.Start // of a new group
	Topic Topic       // the entry that is for it
	// Deferred says that the pushes were deferred before: each is written as on the
	// topic it first came from, and read when its partition has its turn.
	Deferred bool

	field string // of the section, with the number of the entry in a list
}

// Field returns the field of the section that names the topic, such as posts or
// pushes[1].
func (s *Stream) Field() string { return s.field }

// name returns the word of the stream in metrics.
func (s *Stream) name() string {
	if s.Deferred {
		return "deferred"
	}
	return s.Kind.String()
}

// maxHeaders returns how many headers of a message are read. A deferred push has all
// it had when it was read first, and Weir's.
func (s *Stream) maxHeaders() int {
	if s.Deferred {
		return pipeline.MaxHeaders + pipeline.MaxOwnHeaders
	}
	return pipeline.MaxHeaders
}

// streams returns all entries, in the order in which patterns are tried.
func (c *Config) streams() []Stream {
	var list []Stream
	for _, kind := range [...]struct {
		field  string
		topics Topics
		Stream
	}{
		{"posts", c.Posts, Stream{Kind: event.Post, Start: c.Start}},
		{"pushes", c.Pushes, Stream{Kind: event.Push, Start: c.Start}},
		// A user's consent is as old as it is.
		{"consent", c.Consent, Stream{Kind: event.Consent, Start: kafka.Earliest}},
		{"outcomes", c.Outcomes, Stream{Kind: event.Outcome, Start: kafka.Earliest}},
	} {
		for i, t := range kind.topics {
			s := kind.Stream
			s.Topic, s.field = t, kind.field
			if len(kind.topics) > 1 || t.Topic == "" || t != (Topic{Topic: t.Topic}) {
				s.field = fmt.Sprintf("%s[%d]", kind.field, i)
			}
			list = append(list, s)
		}
	}
	if c.Deferred != "" {
		// What waits there was deferred by us, whenever the group began.
		list = append(list, Stream{Kind: event.Push, Start: kafka.Earliest, Topic: Topic{Topic: c.Deferred}, Deferred: true, field: "deferred"})
	}
	return list
}

// subscriptions returns all entries as the consumer wants them.
func (c *Config) subscriptions() []kafka.Subscription {
	var list []kafka.Subscription
	for _, s := range c.streams() {
		to := kafka.Subscription{Topic: s.Topic.Topic, Start: s.Start}
		if s.Topic.Pattern != "" {
			to.Pattern, _ = s.Topic.expression() // Validate has looked at it
		}
		if s.Deferred {
			to.Windows = func(partition int32, partitions int, now time.Time) kafka.Window {
				return kafka.Window(c.Ring.Window(partition, partitions, now))
			}
		}
		list = append(list, to)
	}
	return list
}

// Stream returns what the configuration says of a topic, and false if it is not
// read: what the entry that names it says, else the first whose pattern it
// matches.
func (c *Config) Stream(topic string) (Stream, bool) {
	list := c.streams()
	i := slices.IndexFunc(list, func(s Stream) bool { return s.Topic.Pattern == "" && s.Topic.Matches(topic) })
	if i < 0 {
		i = slices.IndexFunc(list, func(s Stream) bool { return s.Topic.Matches(topic) })
	}
	if i < 0 {
		return Stream{}, false
	}
	return list[i], true
}

// Topics returns the names of the topics that the section names. There may be more,
// by patterns.
func (c *Config) Topics() []string {
	var names []string
	for _, s := range c.streams() {
		if s.Topic.Pattern == "" && !s.Deferred {
			names = append(names, s.Topic.Topic)
		}
	}
	return names
}

// Patterns returns the patterns, each between slashes. Which topics they match,
// only the brokers know.
func (c *Config) Patterns() []string {
	var list []string
	for _, s := range c.streams() {
		if s.Topic.Pattern != "" {
			list = append(list, s.Topic.String())
		}
	}
	return list
}

// Refuse reports which entries are for topics that must not be read, each error
// beginning with the field's name. Why says what is wrong with such a topic.
func (c *Config) Refuse(topics []string, why string) error {
	var errs []error
	for _, s := range c.streams() {
		for _, t := range topics {
			switch {
			case t == "" || s.Deferred || !s.Topic.Matches(t):
			case s.Topic.Pattern == "":
				errs = append(errs, fmt.Errorf("%s: the topic %s %s; name another topic", s.field, t, why))
			default:
				errs = append(errs, fmt.Errorf("%s: the pattern matches the topic %s, which %s; write one that does not", s.field, t, why))
			}
		}
	}
	return errors.Join(errs...)
}

// validate reports what is wrong with the entries.
func (c *Config) validate() (errs []error) {
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	list := c.streams()
	if len(list) == 0 {
		bad("posts: no topic, and neither pushes nor consent nor outcomes has one; name at least one topic to read")
	}
	for i, s := range list {
		_, unread := s.Topic.expression()
		switch {
		case s.Topic.Topic != "" && s.Topic.Pattern != "":
			bad("%s: a topic and a pattern; give one of them", s.field)
		case s.Topic.Topic == "" && s.Topic.Pattern == "":
			bad("%s: neither a topic nor a pattern; give one of them", s.field)
		case s.Topic.Pattern == "" && !kafka.IsTopicName(s.Topic.Topic):
			bad("%s: not a topic name; use 1 to 249 of the characters a-z A-Z 0-9 . _ -", s.field)
		case unread != nil:
			bad("%s.pattern: %w; write a regular expression as RE2 knows them, such as posts\\..+", s.field, unread)
		}
		_, err := s.Topic.Format(s.Kind)
		for _, e := range each(err) {
			bad("%s.%w", s.field, e)
		}
		for _, before := range list[:i] {
			switch {
			case before.Topic.Topic != s.Topic.Topic || before.Topic.Pattern != s.Topic.Pattern:
			case before.Kind != s.Kind:
				bad("%s: the same topic as %s; each kind of event needs its own", s.field, before.field)
			default:
				bad("%s: the same topic as %s; name it once", s.field, before.field)
			}
		}
	}
	return errs
}

// each returns the errors that were joined.
func each(err error) []error {
	if many, ok := err.(interface{ Unwrap() []error }); ok {
		return many.Unwrap()
	}
	if err != nil {
		return []error{err}
	}
	return nil
}

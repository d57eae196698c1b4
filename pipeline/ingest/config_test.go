package ingest

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/weir-moderation/weir/internal/kafka"
)

// Every mistake in the section is told at once, with the field and what would
// be right; and the defaults are none.
func TestConfigValidate(t *testing.T) {
	c := DefaultConfig()
	if err := c.Validate(); err != nil {
		t.Errorf("defaults: %v", err)
	}
	for _, test := range []struct {
		name   string
		change func(c *Config)
		want   []string
	}{
		{"no group", func(c *Config) { c.Group = "" }, []string{"group: empty; name the consumer group"}},
		{"nothing to read", func(c *Config) { c.Posts = nil }, []string{"posts: no topic"}},
		{"names", func(c *Config) {
			c.Posts, c.Pushes, c.Consent = Named("a b"), Named(".."), Named(strings.Repeat("x", 250))
		}, []string{"posts: not a topic name", "pushes: not a topic name", "consent: not a topic name"}},
		{"one topic for two", func(c *Config) { c.Pushes = c.Posts }, []string{"pushes: the same topic as posts"}},
		{"one topic twice", func(c *Config) { c.Posts = Named("a", "b", "a") }, []string{"posts[2]: the same topic as posts[0]; name it once"}},
		{"one pattern twice", func(c *Config) { c.Pushes = Topics{{Pattern: "a+"}, {Pattern: "a+"}} }, []string{"pushes[1]: the same topic as pushes[0]; name it once"}},
		{"topic and pattern", func(c *Config) { c.Posts = Topics{{Topic: "a", Pattern: "b"}} }, []string{"posts[0]: a topic and a pattern; give one of them"}},
		{"neither", func(c *Config) { c.Posts = Topics{{}} }, []string{"posts[0]: neither a topic nor a pattern; give one of them"}},
		{"a pattern that is none", func(c *Config) { c.Posts = Topics{{Pattern: "a)|(b"}} }, []string{"posts[0].pattern: error parsing regexp: unexpected ): `a)|(b`; write a regular expression as RE2"}},
		{"start", func(c *Config) { c.Start = "newest" }, []string{`start: "newest" is not known; use earliest or latest`}},
		{"gap", func(c *Config) { c.OnGap = "ignore" }, []string{`on_gap: "ignore" is not known; use earliest or stop`}},
		{"session", func(c *Config) { c.SessionTimeout = 5 * time.Second }, []string{"session_timeout: 5s; use 6s up to 30m0s"}},
		{"rebalance", func(c *Config) { c.RebalanceTimeout = 2 * time.Hour }, []string{"rebalance_timeout: 2h0m0s"}},
		{"drain", func(c *Config) { c.DrainTimeout = 11 * time.Second }, []string{"drain_timeout: 11s; use 100ms up to 10s"}},
		{"stuck", func(c *Config) { c.StuckTimeout = time.Second }, []string{"stuck_timeout: 1s; use 10s up to 24h0m0s"}},
		{"instance", func(c *Config) { c.GroupInstance = strings.Repeat("x", 250) }, []string{"group_instance: 250 bytes long; use at most 249"}},
		{"polls", func(c *Config) { c.MaxWait, c.Pace = 0, 2*time.Second }, []string{"max_wait: 0s", "pace: 2s"}},
	} {
		c := DefaultConfig()
		test.change(&c)
		err := c.Validate()
		if err == nil {
			t.Errorf("%s: accepted", test.name)
			continue
		}
		lines := strings.Split(err.Error(), "\n")
		if len(lines) != len(test.want) {
			t.Errorf("%s: %q", test.name, lines)
			continue
		}
		for i, w := range test.want {
			if !strings.HasPrefix(lines[i], w) {
				t.Errorf("%s: %q, want %q", test.name, lines[i], w)
			}
		}
	}
	// A source with such a section says so when it is run.
	c.Group = ""
	s := NewSource(nil, c, Options{})
	if err := s.Run(t.Context(), nil); err == nil || !strings.Contains(err.Error(), "group: empty") {
		t.Errorf("Run returned %v", err)
	}
	if s.Ready() == nil || s.Partitions() != nil {
		t.Error("a source that cannot run is ready")
	}
}

// A group that begins with the latest post still learns every user's consent. A
// topic is what the entry that names it says, else the first pattern that matches
// its whole name.
func TestStream(t *testing.T) {
	c := Config{
		Posts:  Topics{{Topic: "p"}, {Pattern: `(city|town)\..*`}, {Pattern: "x|xy"}},
		Pushes: Topics{{Topic: "city.pushes"}, {Pattern: `city\..*|n`}}, Consent: Named("c"), Outcomes: Named("o"),
		Start: kafka.Latest,
	}
	if err := c.validate(); err != nil {
		t.Fatal(err)
	}
	for topic, want := range map[string]string{
		"p": "post latest", "city.posts": "post latest", "city.pushes": "push latest", "n": "push latest", "xy": "post latest",
		"c": "consent earliest", "o": "outcome earliest",
		"town": "", "a.town.posts": "", "pp": "", "city": "", "xyz": "", "": "",
	} {
		s, ok := c.Stream(topic)
		if got := strings.TrimSpace(s.Kind.String() + " " + string(s.Start)); ok != (want != "") || got != want {
			t.Errorf("%s is %s", topic, got)
		}
		// The consumer comes to the same.
		if at := slices.IndexFunc(c.subscriptions(), func(k kafka.Subscription) bool {
			return k.Topic == topic && topic != "" || k.Pattern != nil && k.Pattern.MatchString(topic)
		}); at >= 0 != ok {
			t.Errorf("%s: subscription %d", topic, at)
		}
	}
	if got := c.Topics(); !slices.Equal(got, []string{"p", "city.pushes", "c", "o"}) {
		t.Errorf("topics %v", got)
	}
	if got := c.Patterns(); !slices.Equal(got, []string{`/(city|town)\..*/`, "/x|xy/", `/city\..*|n/`}) {
		t.Errorf("patterns %v", got)
	}
}

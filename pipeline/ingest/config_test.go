package ingest

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/weir-moderation/weir/internal/kafka"
	"github.com/weir-moderation/weir/pipeline/event"
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
		{"nothing to read", func(c *Config) { c.Posts = "" }, []string{"posts: no topic"}},
		{"names", func(c *Config) { c.Posts, c.Pushes, c.Consent = "a b", "..", strings.Repeat("x", 250) }, []string{"posts: not a topic name", "pushes: not a topic name", "consent: not a topic name"}},
		{"one topic for two", func(c *Config) { c.Pushes = c.Posts }, []string{"pushes: the same topic as posts"}},
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

// A group that begins with the latest post still learns every user's consent.
func TestConsentBeginsAtTheBeginning(t *testing.T) {
	c := Config{Posts: "p", Pushes: "q", Consent: "c", Outcomes: "o", Start: kafka.Latest}
	want := []stream{
		{"posts", "p", event.Post, kafka.Latest}, {"pushes", "q", event.Push, kafka.Latest},
		{"consent", "c", event.Consent, kafka.Earliest}, {"outcomes", "o", event.Outcome, kafka.Earliest},
	}
	if got := c.streams(); !slices.Equal(got, want) {
		t.Errorf("streams %v", got)
	}
	if got := c.Topics(); !slices.Equal(got, []string{"p", "q", "c", "o"}) {
		t.Errorf("topics %v", got)
	}
}

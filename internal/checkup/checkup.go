// Package checkup looks at everything outside the process that a configuration names, and
// at the machine it runs on, and tells all that is wrong at once: what `weir check --online`
// prints.
//
// What it is not: the check that a start makes. That is short and refuses; this one is
// thorough and advises. It changes nothing but what it is told to create: it reads messages
// as a member of no group, and asks about rights without using them on any topic.
//
// The one thing to know: no finding hides another unless it must. A broker that does not
// answer hides its topics; a topic that is missing hides nothing but itself. What could not
// be looked at is a finding, too.
package checkup

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/weir-moderation/weir/internal/app"
	"github.com/weir-moderation/weir/internal/config"
	"github.com/weir-moderation/weir/internal/kafka"
	"github.com/weir-moderation/weir/pipeline/push"
)

// Status is how grave a finding is.
type Status string

// The statuses. Unknown is what could not be looked at; it is said, and counts as nothing.
const (
	OK      Status = "ok"
	Warning Status = "warning"
	Error   Status = "error"
	Unknown Status = "unknown"
)

// Finding is one thing that was looked at.
type Finding struct {
	Status Status `json:"status"`
	Area   string `json:"area"`             // brokers, topic, rights, producers, group, clock, redis, evidence, machine, or files
	About  string `json:"about,omitempty"`  // which one of them
	What   string `json:"what"`             // is so, or is wrong
	Remedy string `json:"remedy,omitempty"` // what would be right, if anything is wrong
}

// Report is all that was found, in the order in which one would mend it.
type Report struct {
	Findings []Finding `json:"findings"`
	Created  []string  `json:"created"` // topics, each with how
	Missing  int       `json:"missing"` // topics that could be
}

// Count returns how many findings have a status.
func (r *Report) Count(s Status) int {
	n := 0
	for i := range r.Findings {
		if r.Findings[i].Status == s {
			n++
		}
	}
	return n
}

// Add adds a finding, unless the same is known.
func (r *Report) Add(f Finding) {
	for _, known := range r.Findings {
		if known == f {
			return
		}
	}
	r.Findings = append(r.Findings, f)
}

// AddErrors adds what an error says, line by line: each of Weir's own errors says behind a
// semicolon what would be right.
func (r *Report) AddErrors(area string, err error) {
	if err == nil {
		return
	}
	for line := range strings.Lines(err.Error()) {
		r.Add(told(Error, area, line))
	}
}

// AddWarnings adds what makes less safe than it could be, said in the same way.
func (r *Report) AddWarnings(area string, lines []string) {
	for _, line := range lines {
		r.Add(told(Warning, area, line))
	}
}

// told makes a finding of a sentence that says behind its first semicolon what would be right.
func told(s Status, area, line string) Finding {
	what, remedy, _ := strings.Cut(strings.TrimSuffix(line, "\n"), "; ")
	return Finding{Status: s, Area: area, What: what, Remedy: remedy}
}

// Options say what is done beside looking.
type Options struct {
	// Create has the topics made that are missing, with Partitions each where a topic
	// may have any number; 0 is a number by the topic's use.
	Create     bool
	Partitions int
}

// Limits of a checkup: someone waits for it.
const (
	wholeLimit  = 2 * time.Minute
	sampleLimit = 10 * time.Second // of one topic
)

// checkup is one run.
type checkup struct {
	cfg    *config.Config
	o      Options
	client *kafka.Client
	now    func() time.Time
	machine

	Report
	cluster  kafka.Cluster
	uses     []use
	details  map[string]kafka.Detail   // of the topics that are there
	settings map[string]kafka.Settings // of those of which they could be asked
	ranges   map[string][]kafka.Range  // what the partitions hold, of those that can be read
	newest   map[string]time.Time      // the time of the newest message that was seen
	read     []kafka.Committed         // how far the group had come before ranges were looked up
}

// Run looks at everything.
func Run(ctx context.Context, cfg *config.Config, o Options) Report {
	ctx, cancel := context.WithTimeout(ctx, wholeLimit)
	defer cancel()
	c := &checkup{cfg: cfg, o: o, now: time.Now, machine: thisMachine(),
		details: make(map[string]kafka.Detail), settings: make(map[string]kafka.Settings),
		ranges: make(map[string][]kafka.Range), newest: make(map[string]time.Time)}
	c.Findings, c.Created = []Finding{}, []string{}
	c.kafka(ctx)
	c.redis(ctx)
	c.evidence(ctx)
	c.limits()
	return c.Report
}

// say adds a finding. What says how it is, remedy what would be right.
func (c *checkup) say(s Status, area, about, what, remedy string) {
	c.Add(Finding{Status: s, Area: area, About: about, What: what, Remedy: remedy})
}

// kafka looks at the brokers and all that is asked of them.
func (c *checkup) kafka(ctx context.Context) {
	client, err := kafka.NewClient(c.cfg.Kafka, kafka.Options{})
	if err != nil {
		c.AddErrors("brokers", err)
		return
	}
	c.client = client
	defer func() {
		if err := client.Close(); err != nil {
			c.AddErrors("brokers", err)
		}
	}()
	if err := client.Preflight(ctx); err != nil {
		c.AddErrors("brokers", err) // and nothing can be asked of them
		return
	}
	if err := c.survey(ctx); err != nil {
		c.AddErrors("brokers", err)
		return
	}
	answer := fmt.Sprintf("%s of the cluster at %s", count(c.cluster.Brokers, "broker"), strings.Join(c.cfg.Kafka.Brokers, ", "))
	if c.cluster.Brokers == 1 {
		c.say(Warning, "brokers", "", answer+": with its disk everything on all topics is lost", "use three for what must not be lost")
	} else {
		c.say(OK, "brokers", "", answer, "")
	}
	c.topics(ctx)
	c.rights(ctx)
	c.committed(ctx)
	c.producers(ctx)
	c.group(ctx)
	c.clocks()
}

// redis looks at every Redis that is written to.
func (c *checkup) redis(ctx context.Context) {
	if !c.cfg.PushesOn() {
		return
	}
	store, err := push.NewStore(push.Options{Config: c.cfg.Push})
	if err != nil {
		c.AddErrors("redis", err)
		return
	}
	policy, err := app.LoadPolicy(&c.cfg.Push)
	if err != nil {
		policy = nil // whoever asks loads it, too, and says what is wrong with it
	}
	found, err := store.Inspect(ctx, policy)
	c.AddErrors("redis", errors.Join(err, store.Close()))
	c.AddWarnings("redis", found.Warnings)
	for _, line := range found.Facts {
		if strings.Contains(line, ": redis ") { // else it has told nothing
			c.say(OK, "redis", "", line, "")
		}
	}
}

// count is a number with what it counts.
func count(n int, one string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %ss", n, one)
}

// Has reports whether nothing is wrong with one of an area so that it cannot be used.
func (r *Report) Has(area, about string) bool {
	known := false
	for i := range r.Findings {
		f := &r.Findings[i]
		if f.Area == area && f.About == about {
			if known = f.Status != Error; !known {
				return false
			}
		}
	}
	return known
}

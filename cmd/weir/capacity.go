package main

import (
	"errors"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/weir-moderation/weir/internal/capacity"
)

type capacityCmd struct {
	Rate   float64  `default:"1000000" help:"Messages a second at the busiest time."`
	Size   float64  `default:"476" help:"Bytes of a message."`
	Text   *float64 `help:"Of them those of title, body and what else rules look at; without it all but 294." placeholder:"BYTES"`
	Terms  float64  `default:"10000" help:"Terms of the rules in force, looked for folded."`
	Hits   float64  `default:"1" help:"How many of a hundred messages are flagged." placeholder:"PERCENT"`
	Pushes float64  `default:"0" help:"How many of a hundred messages are pushes." placeholder:"PERCENT"`

	CoresPerInstance float64       `default:"4" help:"Cores that an instance may use." placeholder:"CORES"`
	Brokers          int           `help:"Brokers of Kafka; without it as many as their own writing needs." placeholder:"N"`
	Replicas         int           `default:"3" help:"Copies of each partition in Kafka." placeholder:"N"`
	Pace             time.Duration `default:"10ms" help:"The setting input.pace." placeholder:"TIME"`

	CPUPerPost time.Duration `name:"cpu-per-post" help:"CPU time of such a message that was measured on the machines it is about, such as 3.2us: everything is taken to be as many times as fast there." placeholder:"TIME"`
	MeasuredAt float64       `help:"Messages a second that one instance got when --cpu-per-post was measured; without it it worked through a backlog." placeholder:"RATE"`
	MeasuredOn int           `default:"1" help:"Brokers of Kafka when it was measured at a rate." placeholder:"N"`
	JSON       bool          `name:"json" help:"Write one JSON object instead of text for people."`
}

// Help says what kong cannot know.
func (capacityCmd) Help() string {
	return `Says what a rate of messages takes: CPU time, instances, partitions and memory of Weir, what goes through Kafka and Redis, and the disk of the evidence. Without flags that is a million posts a second. It asks nobody: it is the formula of docs/capacity.md with what was measured on one machine. Another machine is faster or slower, and rules that look for disguises take more: measure a message of yours on a machine of yours, by weir load with --admin, and give what it says as --cpu-per-post, with --measured-at if you loaded at a rate. An instance whose cores are busy polls less often and so takes less for a message: what is needed is counted by what a message takes in a backlog, and with one instance away half as much again must be left to work off what has gathered.`
}

// Run says what a rate takes.
func (c *capacityCmd) Run(s streams) error {
	usual := capacity.Usual()
	d := capacity.Demand{
		Workload: capacity.Workload{Size: c.Size, Text: max(c.Size-(usual.Size-usual.Text), 0), Terms: c.Terms, Hits: c.Hits / 100, Pushes: c.Pushes / 100},
		Rate:     c.Rate, Cores: c.CoresPerInstance, Brokers: c.Brokers, Replicas: c.Replicas, Pace: c.Pace,
	}
	if c.Text != nil {
		d.Text = *c.Text
	}
	if err := d.Validate(); err != nil {
		return &codeError{err, exitMisuse}
	}
	m := capacity.Measured()
	switch {
	case c.CPUPerPost < 0 || c.MeasuredAt < 0 || c.MeasuredOn < 1:
		return &codeError{errors.New("cpu-per-post, measured-at, measured-on: less than nothing was measured"), exitMisuse}
	case c.MeasuredAt > 0 && c.CPUPerPost == 0:
		return &codeError{errors.New("measured-at: what was measured? give --cpu-per-post"), exitMisuse}
	case c.MeasuredAt > 0:
		m = m.CalibratedAt(d.Workload, c.MeasuredAt, c.MeasuredOn, c.Pace, c.CPUPerPost)
	case c.CPUPerPost > 0:
		m = m.Calibrated(d.Workload, c.CPUPerPost)
	}
	p, err := m.Size(d)
	if err != nil {
		return &codeError{err, exitMisuse}
	}
	if c.JSON {
		return jsonTo(s.out).Encode(p)
	}
	return printCapacity(s.out, d, p)
}

// printCapacity writes a plan for people.
func printCapacity(out io.Writer, d capacity.Demand, p capacity.Plan) error {
	w := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	row := func(what, format string, args ...any) {
		fmt.Fprintf(w, "%s\t"+format+"\n", append([]any{what}, args...)...)
	}
	fmt.Fprintf(w, "%.0f messages a second of %.0f bytes, %.4g %% flagged, %.4g %% pushes, %.0f terms\n\n", d.Rate, d.Size, 100*d.Hits, 100*d.Pushes, d.Terms)
	row("CPU time of a message", "%.2f us in a backlog, %.2f us at this rate, with polls that bring little", p.Micros, p.MicrosAt)
	row("cores", "%.1f needed, %.1f busy at this rate", p.Cores, p.Busy)
	row("instances", "%d of %.4g cores, which carry %.1f times the rate; %.1f times while one is away", p.Instances, d.Cores, p.Carries, p.CarriesLess)
	row("memory of an instance", "%s", inUnits(p.Memory))
	row("partitions", "%d", p.Partitions)
	row("brokers", "%d", p.Brokers)
	row("Kafka, all brokers", "%s/s in, %s/s out, %s/s to disks", inUnits(p.KafkaIn), inUnits(p.KafkaOut), inUnits(p.KafkaWritten))
	row("to reviewers", "%.0f a second", p.Flagged)
	row("evidence, all instances", "%s/s, %s a day", inUnits(p.EvidenceBytes), inUnits(p.EvidenceDay))
	if d.Pushes > 0 {
		row("Redis", "%.0f calls a second, %.2f cores of primaries", p.RedisCalls, p.RedisCores)
	}
	return w.Flush()
}

// inUnits writes a number of bytes for people.
func inUnits(n float64) string {
	unit := 0
	for ; n >= 1000 && unit < 5; unit++ {
		n /= 1000
	}
	return fmt.Sprintf("%.3g %s", n, []string{"B", "KB", "MB", "GB", "TB", "PB"}[unit])
}

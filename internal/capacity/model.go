// Package capacity says what a rate of messages takes: CPU time, instances, partitions,
// and what goes through Kafka, Redis and the disk of the evidence.
//
// It is a formula with constants that were measured (docs/performance.md says how), for
// docs/capacity.md, weir capacity, and the test of a fleet that holds it against what a
// run takes. What it is not: a promise for another machine. A CPU second there is not one
// here.
//
// The one thing to know: the shape is general, the speed is one machine's. Calibrated fits
// the speed to what a message was seen to take elsewhere.
package capacity

import (
	"math"
	"time"
)

// Workload is what messages are like.
type Workload struct {
	Size   float64 // bytes of a message's value
	Text   float64 // of them those of texts that rules look at, title and body
	Terms  float64 // of the rules in force, looked for folded
	Hits   float64 // share of messages that are flagged, 0 to 1
	Pushes float64 // share of messages that are pushes, 0 to 1
}

// Usual is the workload of the targets and of most figures in docs/performance.md.
func Usual() Workload { return Workload{Size: 476, Text: 182, Terms: 10_000, Hits: 0.01} }

// Model is what things take of a CPU.
type Model struct {
	// In a backlog, where what a poll costs is shared by thousands of messages:
	Message time.Duration // a message: its record, its event, its account
	Byte    float64       // ns, a byte beside texts: fetched, checked, read as JSON
	Text    float64       // ns, a byte of text: that, and folded and looked through for 10,000 terms
	Tenfold float64       // by which share a byte of text takes more with ten times as many terms
	Flagged time.Duration // a flagged one: evidence under a key, sealed, and the message to reviewers
	Push    time.Duration // a push: its decision with Redis, its evidence, its messages

	// At a steady rate, where answers of brokers are small:
	Round time.Duration // an answer of a broker, however little is in it
	Write time.Duration // a sync of the evidence and the requests to brokers, for all that is flagged in a batch
}

// Measured returns the constants of the machine of docs/capacity.md, "How it grows" (make
// growth): two cores of an Intel Xeon, Kafka beside it. Round and Write
// are from the steady rates of 500 and 20,000 posts a second there, Push from a load of
// pushes alone.
func Measured() Model {
	return Model{
		Message: 730 * time.Nanosecond, Byte: 2.5, Text: 7.2, Tenfold: 0.08,
		Flagged: 45 * time.Microsecond, Push: 45 * time.Microsecond,
		Round: 500 * time.Microsecond, Write: time.Millisecond,
	}
}

const (
	// A batch is one answer for one partition.
	batchBytes    = 1 << 20
	batchMessages = 4000
	// Pace is the least time between two polls of a broker that bring little, as it ships
	// (input.pace).
	Pace = 10 * time.Millisecond
	// recordBytes is what a record takes beside its value: key, lengths, its share of the
	// head of its batch.
	recordBytes = 40
)

// each is what a message takes by itself, in ns.
func (m Model) each(w Workload) float64 {
	words := 1 + m.Tenfold*math.Log10(max(w.Terms, 1)/10_000)
	return float64(m.Message) + m.Byte*max(w.Size-w.Text, 0) + m.Text*w.Text*words + float64(m.Flagged)*w.Hits + float64(m.Push)*w.Pushes
}

// leaving is the share of messages that leave something behind which must be durable.
func (w Workload) leaving() float64 { return 1 - (1-w.Hits)*(1-w.Pushes) }

// CPU returns the CPU time of a message in a backlog:
//
//	Message + Byte·(size - text) + Text·text·(1 + Tenfold·log10(terms/10,000)) + hits·Flagged + pushes·Push
//	  + Write·P/n
//
// where n is how many messages a batch has, 1 MiB or 4,000 of them, and P how likely
// something in it is flagged.
func (m Model) CPU(w Workload) time.Duration {
	n := min(batchBytes/(w.Size+recordBytes), batchMessages)
	return time.Duration(m.each(w) + float64(m.Write)*(1-math.Pow(1-w.leaving(), n))/n)
}

// CPUAt returns the CPU time of a message where one instance gets so many in a second,
// from partitions that so many brokers lead: at least that in a backlog, and
//
//	... + (Round·polls + Write·writes)/rate
//
// in place of Write·P/n, where each broker is polled once in a pace at most, and a poll
// brings something, or something flagged, as chance has it:
// brokers/pace · (1 - exp(-rate·pace/brokers)), with flagged ones for the rate in writes.
func (m Model) CPUAt(w Workload, rate float64, brokers int, pace time.Duration) time.Duration {
	most := float64(brokers) / pace.Seconds()
	often := func(rate float64) float64 { return most * (1 - math.Exp(-rate/most)) }
	shared := float64(m.Round)*often(rate) + float64(m.Write)*often(rate*w.leaving())
	return max(m.CPU(w), time.Duration(m.each(w)+shared/rate))
}

// Calibrated returns the model of a machine on which a message of a workload took so much
// CPU time in a backlog: everything takes as many times as long there as this does.
func (m Model) Calibrated(w Workload, took time.Duration) Model {
	return m.times(float64(took) / float64(m.CPU(w)))
}

// CalibratedAt is Calibrated by what it took one instance at a steady rate.
func (m Model) CalibratedAt(w Workload, rate float64, brokers int, pace, took time.Duration) Model {
	return m.times(float64(took) / float64(m.CPUAt(w, rate, brokers, pace)))
}

// times returns the model of a machine on which everything takes k times as long.
func (m Model) times(k float64) Model {
	for _, d := range []*time.Duration{&m.Message, &m.Flagged, &m.Push, &m.Round, &m.Write} {
		*d = time.Duration(float64(*d) * k)
	}
	m.Byte *= k
	m.Text *= k
	return m
}

package capacity

import (
	"errors"
	"fmt"
	"math"
	"time"
)

// Demand is what is to be carried, and by what.
type Demand struct {
	Workload
	Rate     float64 // messages a second at the busiest time
	Cores    float64 // of an instance
	Brokers  int     // 0: as many as Kafka's own writes need
	Replicas int     // of each partition
	Pace     time.Duration
}

// Plan is what that takes.
type Plan struct {
	Micros    float64 `json:"us_a_message"`         // CPU time in a backlog
	MicrosAt  float64 `json:"us_a_message_at_rate"` // at the rate of one instance, with polls that bring little
	Cores     float64 `json:"cores"`                // needed in all: by the former
	Busy      float64 `json:"cores_busy"`           // by the latter
	Instances int     `json:"instances"`
	// Carries is how many times the rate they carry, CarriesLess while one is away: how
	// fast what has gathered is worked off.
	Carries     float64 `json:"carries"`
	CarriesLess float64 `json:"carries_less"`

	Partitions int     `json:"partitions"` // of the topics of posts and pushes
	Memory     float64 `json:"memory_bytes"`
	Brokers    int     `json:"brokers"`

	// Bytes a second of all brokers together.
	KafkaIn      float64 `json:"kafka_in_bytes"`      // produced: what comes, and what Weir writes
	KafkaOut     float64 `json:"kafka_out_bytes"`     // read by Weir, and by the followers of partitions
	KafkaWritten float64 `json:"kafka_written_bytes"` // to all disks of brokers

	Flagged       float64 `json:"flagged"` // messages a second that come to reviewers
	EvidenceBytes float64 `json:"evidence_bytes"`
	EvidenceDay   float64 `json:"evidence_bytes_a_day"` // of all instances, at this rate all day
	RedisCalls    float64 `json:"redis_calls"`
	RedisCores    float64 `json:"redis_cores"` // of the main threads of all primaries
}

const (
	// spare is how many times the rate the instances carry while one of them is away: what
	// gathers in a minute is worked off in two.
	spare = 1.5
	// brokerBytes is how much a broker may write in a second, replicas of others' partitions
	// included: what one disk or 10 Gbit/s take with room. An assumption, not a measurement.
	brokerBytes = 150e6
	// The memory of an instance: a part of its own, and buffers of each partition.
	memoryBase, memoryPartition = 75e6, 5.5e6
	// What one message to reviewers, or about a push, has beside the message it is about,
	// and what the evidence of a hit and of a push takes on disk: docs/performance.md,
	// "Bodies of evidence" and "Encrypted evidence, appended".
	reviewBytes, decisionBytes, clearedBytes = 900, 700, 250
	evidenceHit, evidencePush                = 750, 520
	// What a push takes of Redis: docs/performance.md, "Push decisions".
	redisCalls, redisMicros = 2, 5.8
	// How many partitions an instance has: so many that none has a tenth more than another
	// after one is added or gone, and that its cores are busy although partitions wait for
	// disk and brokers; and room to become twice as many instances, since more partitions
	// later would move users.
	evenPartitions, corePartitions, growth = 10, 4, 2
	// dozen is a number that many numbers of instances divide.
	dozen = 12
)

// Validate says what cannot be demanded.
func (d *Demand) Validate() error {
	var errs []error
	bad := func(format string, args ...any) { errs = append(errs, fmt.Errorf(format, args...)) }
	if !(d.Rate > 0 && d.Rate <= 1e9) {
		bad("rate: %g messages a second; give 1 to 1000000000", d.Rate)
	}
	if !(d.Size >= 50 && d.Size <= 1<<20) {
		bad("size: %g bytes; give 50 to %d", d.Size, 1<<20)
	}
	if !(d.Text >= 0 && d.Text <= d.Size) {
		bad("text: %g bytes of %g; give at most the size of a message", d.Text, d.Size)
	}
	if !(d.Terms >= 1 && d.Terms <= 1e6) {
		bad("terms: %g; give 1 to 1000000", d.Terms)
	}
	for _, s := range []struct {
		name  string
		share float64
	}{{"hits", d.Hits}, {"pushes", d.Pushes}} {
		if !(s.share >= 0 && s.share <= 1) {
			bad("%s: %g %% is no share; give 0 to 100", s.name, 100*s.share)
		}
	}
	if !(d.Cores >= 0.5 && d.Cores <= 256) {
		bad("cores: %g of an instance; give 0.5 to 256", d.Cores)
	}
	if d.Brokers < 0 || d.Brokers > 1000 {
		bad("brokers: %d; give 1 to 1000, or 0 for as many as it takes", d.Brokers)
	}
	if d.Replicas < 1 || d.Replicas > 10 {
		bad("replicas: %d; give 1 to 10", d.Replicas)
	}
	if d.Pace < time.Millisecond || d.Pace > time.Second {
		bad("pace: %v; give 1ms to 1s", d.Pace)
	}
	return errors.Join(errs...)
}

// Size says what a demand takes.
func (m Model) Size(d Demand) (Plan, error) {
	if err := d.Validate(); err != nil {
		return Plan{}, err
	}
	var p Plan
	flagged, pushes := d.Rate*d.Hits, d.Rate*d.Pushes
	out := flagged*(d.Size+reviewBytes) + pushes*(decisionBytes+d.Size+clearedBytes)
	in := d.Rate * (d.Size + recordBytes)
	p.KafkaIn = in + out
	p.KafkaOut = in + p.KafkaIn*float64(d.Replicas-1)
	p.KafkaWritten = p.KafkaIn * float64(d.Replicas)
	p.Brokers = d.Brokers
	if p.Brokers == 0 {
		p.Brokers = max(d.Replicas, int(math.Ceil(p.KafkaWritten/brokerBytes)))
	}
	p.Flagged = flagged
	p.EvidenceBytes = flagged*(d.Size+evidenceHit) + pushes*evidencePush
	p.EvidenceDay = p.EvidenceBytes * 86_400
	p.RedisCalls, p.RedisCores = pushes*redisCalls, pushes*redisMicros/1e6

	// What polls take beside what they bring is no need: an instance whose cores are busy
	// polls less often, and each brings more.
	cpu := m.CPU(d.Workload)
	p.Micros, p.Cores = float64(cpu)/1e3, cpu.Seconds()*d.Rate
	p.Instances = 1 + int(math.Ceil(spare*p.Cores/d.Cores))
	p.Carries, p.CarriesLess = float64(p.Instances)*d.Cores/p.Cores, float64(p.Instances-1)*d.Cores/p.Cores
	at := m.CPUAt(d.Workload, d.Rate/float64(p.Instances), p.Brokers, d.Pace)
	p.MicrosAt = min(float64(at)/1e3, p.Micros*p.Carries)
	p.Busy = p.MicrosAt / 1e6 * d.Rate
	each := max(evenPartitions, math.Ceil(corePartitions*d.Cores))
	p.Partitions = dozen * int(math.Ceil(float64(p.Instances)*each*growth/dozen))
	p.Memory = memoryBase + memoryPartition*math.Ceil(float64(p.Partitions)/float64(p.Instances-1))
	return p, nil
}

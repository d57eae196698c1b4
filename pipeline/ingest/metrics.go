package ingest

import (
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/weir-moderation/weir/internal/kafka"
	"github.com/weir-moderation/weir/pipeline/event"
)

// metrics are what operators see of the source.
type metrics struct {
	records map[string]*[3]prometheus.Counter // by stream, in the order of fates
	gaps    map[string]prometheus.Counter     // by stream
	unkeyed prometheus.Counter                // of pushes; nil where none are read
}

// fates of a record that was fetched.
var fates = [...]string{"delivered", "corrupt", "skipped"}

func newMetrics(reg prometheus.Registerer, consumer *kafka.Consumer, list []Stream) *metrics {
	if reg == nil {
		reg = prometheus.NewRegistry()
	}
	m := &metrics{records: make(map[string]*[3]prometheus.Counter), gaps: make(map[string]prometheus.Counter)}
	records := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "weir_fetched_records_total",
		Help: "Records read from Kafka: delivered to the pipeline, corrupt (a record batch that cannot be read, delivered as one record), or skipped (control records and aborted transactions).",
	}, []string{"stream", "fate"})
	gaps := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "weir_gap_records_total",
		Help: "Offsets that Kafka's retention deleted before they were read.",
	}, []string{"stream"})
	unkeyed := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "weir_unkeyed_records_total",
		Help: "Pushes read that have no key, so that those of one user may be in several partitions.",
	}, []string{"stream"})
	reg.MustRegister(records, gaps, unkeyed)
	deferred := false
	for _, s := range list {
		var row [3]prometheus.Counter
		for i, f := range fates {
			row[i] = records.WithLabelValues(s.name(), f)
		}
		m.records[s.name()] = &row
		m.gaps[s.name()] = gaps.WithLabelValues(s.name())
		if s.Kind == event.Push && !s.Deferred {
			m.unkeyed = unkeyed.WithLabelValues(s.name())
		}
		deferred = deferred || s.Deferred
	}
	if consumer != nil {
		reg.MustRegister(newState(consumer, deferred))
	}
	return m
}

func (m *metrics) fetched(stream string, delivered, corrupt int, skipped int64) {
	row := m.records[stream]
	row[0].Add(float64(delivered))
	row[1].Add(float64(corrupt))
	row[2].Add(float64(skipped))
}

func (m *metrics) gap(stream string, offsets int64) { m.gaps[stream].Add(float64(offsets)) }

// state reads the consumer's own books when somebody asks. Partitions that were
// taken away vanish by themselves.
type state struct {
	consumer *kafka.Consumer
	deferred bool // a topic of deferred pushes is read

	oldest, waiting *prometheus.Desc // of deferred pushes

	lag, behind, assigned, stopped, rebalances, commits, polls *prometheus.Desc
}

func newState(c *kafka.Consumer, deferred bool) *state {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc(name, help, labels, nil)
	}
	return &state{
		consumer:   c,
		deferred:   deferred,
		oldest:     desc("weir_push_deferred_oldest_seconds", "How long ago the turn ended in which the oldest deferred push was to be released that is not yet; 0 if none is late. Of the partitions that this process reads."),
		waiting:    desc("weir_push_deferred_messages", "Deferred pushes on their topic, as of some minutes ago: those that wait for their turn, and those that are due. Of the partitions that this process reads.", "state"),
		lag:        desc("weir_consumer_lag_messages", "Messages of a partition that are not handled yet.", "topic", "partition"),
		behind:     desc("weir_consumer_lag_seconds", "Age of the oldest message of a partition that was fetched and is not handled yet; 0 if all are handled.", "topic", "partition"),
		assigned:   desc("weir_assigned_partitions", "Partitions that this process reads now."),
		stopped:    desc("weir_stopped_partitions", "Assigned partitions that stand still until an operator sets their offset."),
		rebalances: desc("weir_rebalances_total", "How often partitions were assigned anew, the first time included."),
		commits:    desc("weir_commit_failures_total", "Commits of offsets that failed. They are repeated."),
		polls:      desc("weir_poll_failures_total", "Polls of partitions that failed. They are repeated."),
	}
}

// Describe names the metrics.
func (s *state) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range [...]*prometheus.Desc{s.lag, s.behind, s.assigned, s.stopped, s.rebalances, s.commits, s.polls, s.oldest, s.waiting} {
		ch <- d
	}
}

// Collect reads the books.
func (s *state) Collect(ch chan<- prometheus.Metric) {
	parts := s.consumer.Partitions()
	stopped, oldest, due, waiting := 0, time.Duration(0), int64(0), int64(0)
	for _, p := range parts {
		if p.Stopped {
			stopped++
		}
		if p.Windowed { // it lags on purpose
			oldest = max(oldest, p.Late)
			due += p.Due
			waiting += max(p.Lag()-p.Due, 0)
			continue
		}
		ch <- prometheus.MustNewConstMetric(s.lag, prometheus.GaugeValue, float64(p.Lag()), p.Topic, strconv.Itoa(int(p.Partition)))
		ch <- prometheus.MustNewConstMetric(s.behind, prometheus.GaugeValue, p.Behind.Seconds(), p.Topic, strconv.Itoa(int(p.Partition)))
	}
	if s.deferred {
		ch <- prometheus.MustNewConstMetric(s.oldest, prometheus.GaugeValue, oldest.Seconds())
		ch <- prometheus.MustNewConstMetric(s.waiting, prometheus.GaugeValue, float64(due), "due")
		ch <- prometheus.MustNewConstMetric(s.waiting, prometheus.GaugeValue, float64(waiting), "waiting")
	}
	st := s.consumer.Stats()
	ch <- prometheus.MustNewConstMetric(s.assigned, prometheus.GaugeValue, float64(len(parts)))
	ch <- prometheus.MustNewConstMetric(s.stopped, prometheus.GaugeValue, float64(stopped))
	ch <- prometheus.MustNewConstMetric(s.rebalances, prometheus.CounterValue, float64(st.Generations))
	ch <- prometheus.MustNewConstMetric(s.commits, prometheus.CounterValue, float64(st.CommitFailures))
	ch <- prometheus.MustNewConstMetric(s.polls, prometheus.CounterValue, float64(st.PollFailures))
}

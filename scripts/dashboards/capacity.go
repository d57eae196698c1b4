package main

// capacity is how much Weir takes, for how much work, and when that will not be enough.
func capacity() board {
	const self = ` and on (job, instance) weir_build_info{@}`
	return board{
		uid: "weir-capacity", title: "Weir / Capacity", since: "24h",
		about: "How much Weir takes for how much work, and when that will not be enough. The row Weeks needs configs/prometheus/recording.rules.yaml.",
		rows: []row{
			{"Will it be enough?", []panel{
				fact("Messages", "mps", "how-much-it-takes", "Messages finished a second, of the last 5 minutes.", `sum(rate(weir_messages_total{@}[5m]))`, below("blue")),
				fact("Messages a core could do", "mps", "how-much-it-takes", "Messages a second for each second of CPU, of the last 5 minutes. While little comes in, what runs anyway weighs in.",
					`sum(rate(weir_messages_total{@}[5m])) / sum(rate(process_cpu_seconds_total{@}[5m]))`, below("blue")),
				fact("CPU used", "percentunit", "how-much-it-takes", "Of the cores the process may use, where it is most.",
					`max(rate(process_cpu_seconds_total{@}[5m]) / on (job, instance) go_sched_gomaxprocs_threads{@})`, from(0.7, "orange"), from(0.9, "red")),
				fact("Memory", "bytes", "how-much-it-takes", "Resident, of the largest process.", `max(process_resident_memory_bytes{@})`, below("blue")),
				fact("Open files", "percentunit", "open-files", "Of those the process may have open, where it is most.", `max(process_open_fds{@} / process_max_fds{@})`, from(0.6, "orange"), from(0.8, "red")),
				fact("Disk lasts for", "s", "the-disk-of-the-evidence-is-full", "As it went in the last 6 hours, where it is least. A year or more where it hardly shrinks.",
					`min(weir_evidence_disk_free_bytes{@} / clamp_min(-deriv(weir_evidence_disk_free_bytes{@}[6h]), 100))`, below("red"), from(86400, "orange"), from(7*86400, "green")),
			}},
			{"By process", []panel{
				graph("CPU", "short", "how-much-it-takes", "Cores in use, by process.", query{`rate(process_cpu_seconds_total{@}[$__rate_interval])` + self, "{{instance}}"}).stack(),
				graph("CPU for a message", "s", "how-much-it-takes", "Seconds of CPU for each message finished.",
					query{`sum by (instance) (rate(process_cpu_seconds_total{@}[$__rate_interval])) / sum by (instance) (rate(weir_messages_total{@}[$__rate_interval]))`, "{{instance}}"}),
				graph("Messages", "mps", "how-much-it-takes", "Messages finished a second.", query{`sum by (instance) (rate(weir_messages_total{@}[$__rate_interval]))`, "{{instance}}"}).stack(),
				graph("Memory", "bytes", "how-much-it-takes", "Resident, the heap in use, and the automaton of the rules within it. While rules change there are two.",
					query{`process_resident_memory_bytes{@}` + self, "resident {{instance}}"}, query{`go_memstats_heap_inuse_bytes{@}` + self, "heap {{instance}}"}, query{`weir_ruleset_automaton_bytes{@}`, "rules {{instance}}"}),
				graph("Allocated", "Bps", "how-much-it-takes", "Bytes a second that the collector has to clear away.", query{`rate(go_memstats_alloc_bytes_total{@}[$__rate_interval])` + self, "{{instance}}"}),
				graph("Pauses of the collector", "s", "how-much-it-takes", "The longest of those that Go remembers.", query{`go_gc_duration_seconds{@, quantile=~"1|1.0"}` + self, "{{instance}}"}),
				graph("Goroutines", "short", "how-much-it-takes", "About two for each partition, and some. A slope is a leak.", query{`go_goroutines{@}` + self, "{{instance}}"}),
				graph("Open files", "short", "open-files", "Connections and files.", query{`process_open_fds{@}` + self, "{{instance}}"}),
				graph("Network", "Bps", "how-much-it-takes", "Of the host or container, as the process sees it.",
					query{`rate(process_network_receive_bytes_total{@}[$__rate_interval])` + self, "in {{instance}}"}, query{`rate(process_network_transmit_bytes_total{@}[$__rate_interval])` + self, "out {{instance}}"}),
			}},
			{"Looking at it", []panel{
				graph("Requests at the admin address", "s", "how-much-it-takes", "Time of a request by route, 99 of 100.",
					query{quantile(0.99, "weir_http_request_duration_seconds", "route"), "{{route}}"}),
				graph("Answers at the admin address", "reqps", "how-much-it-takes", "Requests a second by answer. 4xx are wrong paths or strangers, 5xx what is not ready.",
					query{observed("weir_http_request_duration_seconds", "code"), "{{code}}"}),
				graph("Traces and lines", "ops", "how-much-it-takes", "Spans of flagged messages by what became of them, and flagged messages without a line in the log because there were too many.",
					query{`sum by (result) (rate(weir_trace_spans_total{@}[$__rate_interval]))`, "spans {{result}}"}, query{`sum(rate(weir_verdict_lines_left_out_total{@}[$__rate_interval]))`, "lines left out"}),
			}},
			{"Growth", []panel{
				graph("Evidence written", "Bps", "the-disk-of-the-evidence-is-full", "How fast room on its disk goes, over an hour.", query{`clamp_min(-deriv(weir_evidence_disk_free_bytes{@}[1h]), 0)`, "{{instance}}"}),
				graph("Room in four days", "bytes", "the-disk-of-the-evidence-is-full", "What is left in four days if it goes on as in the last 6 hours. Below 0 it is full before.", query{`predict_linear(weir_evidence_disk_free_bytes{@}[6h], 4 * 86400)`, "{{instance}}"}),
				graph("A scrape", "s", "how-much-it-takes", "How long Prometheus waits for this process's metrics.", query{`scrape_duration_seconds{@}` + self, "{{instance}}"}),
			}},
			{"Weeks", []panel{
				graph("Messages by stream, and a week before", "mps", "how-much-it-takes", "Recorded each minute.",
					query{`sum by (stream) (job_stream:weir_messages:rate5m{job=~"$job"})`, "{{stream}}"}, query{`sum by (stream) (job_stream:weir_messages:rate5m{job=~"$job"} offset 1w)`, "{{stream}}, a week before"}),
				graph("Age of messages when they are done, 99 %", "s", "it-falls-behind", "Recorded each minute.",
					query{`max by (stream) (job_stream:weir_message_age_seconds:p99_5m{job=~"$job"})`, "{{stream}}"}),
				graph("CPU for a message", "s", "how-much-it-takes", "Recorded each minute. A step comes with a version or a rule set.",
					query{`job:weir_cpu_seconds_per_message:ratio_rate5m{job=~"$job"}`, "{{job}}"}),
				graph("Messages behind", "short", "it-falls-behind", "Recorded each minute.", query{`sum by (topic) (job_topic:weir_consumer_lag_messages:sum{job=~"$job"})`, "{{topic}}"}),
				graph("Hits in an hour, by category", "short", "rules-do-not-hit", "Recorded each minute; the ten with most.", query{`topk(10, sum by (category) (job_category:weir_hits:increase1h{job=~"$job"}))`, "{{category}}"}).stack(),
				graph("Push decisions", "mps", "alerts-on-pushes", "Recorded each minute.", query{`sum by (decision) (job_decision:weir_push_decisions:rate5m{job=~"$job"})`, "{{decision}}"}).stack(),
			}},
		},
	}
}

package main

// kafka is what is read, how far behind, and what keeps it from being read and written.
func kafka() board {
	return board{
		uid: "weir-kafka", title: "Weir / Kafka", since: "3h",
		about: "What is read, how far behind, by whom, and what keeps it from being read, written or committed.",
		rows: []row{
			{"Does it keep up?", []panel{
				fact("Messages behind", "short", "it-falls-behind", "Messages in Kafka that are not handled yet. Deferred pushes are left out.",
					`sum(max by (job, topic, partition) (weir_consumer_lag_messages{@}))`, from(10_000, "orange"), from(1_000_000, "red")),
				fact("Oldest in hand", "s", "it-falls-behind", "Age of the oldest message that was fetched and is not finished.",
					`max(weir_consumer_lag_seconds{@})`, from(30, "orange"), from(300, "red")),
				fact("Partitions read", "short", "members-come-and-go", "Partitions that the chosen processes read now, those of deferred pushes included.",
					`sum(weir_assigned_partitions{@})`, below("red"), from(1, "green")),
				fact("Waiting", "short", "a-partition-waits", "Partitions whose output, evidence or Redis takes nothing.", `sum(weir_stalled_partitions{@})`, from(1, "red")).say(none),
				fact("Standing still", "short", "a-partition-stands-still", "Partitions that stand still until somebody sets their offset.", `sum(weir_stopped_partitions{@})`, from(1, "red")).say(none),
				fact("Lost before read, last day", "short", "messages-are-gone-before-they-are-read", "Offsets that Kafka's retention deleted before they were read.", `sum(increase(weir_gap_records_total{@}[1d]))`, from(1, "red")).say(none),
				graph("Messages behind, by topic", "short", "it-falls-behind", "A saw-tooth is fine, a slope is not.",
					query{`sum by (topic) (max by (job, topic, partition) (weir_consumer_lag_messages{@}))`, "{{topic}}"}),
				graph("Messages behind, worst partitions", "short", "it-falls-behind", "One alone is a hot key or a batch that waits, all together are too little room or a slow output.",
					query{`topk(8, max by (topic, partition) (weir_consumer_lag_messages{@}))`, "{{topic}}/{{partition}}"}),
				graph("Oldest message in hand, worst partitions", "s", "it-falls-behind", "Age of the oldest message that was fetched and is not finished.",
					query{`topk(8, max by (topic, partition) (weir_consumer_lag_seconds{@}))`, "{{topic}}/{{partition}}"}).limit(from(300, "red")),
			}},
			{"What is read", []panel{
				graph("Read, by stream", "mps", "no-messages", "Records read from Kafka a second.",
					query{`sum by (stream) (rate(weir_fetched_records_total{@}[$__rate_interval]))`, "{{stream}}"}).stack(),
				graph("Read, by process", "mps", "members-come-and-go", "Processes with as many partitions are to read about as much.",
					query{`sum by (instance) (rate(weir_fetched_records_total{@}[$__rate_interval]))`, "{{instance}}"}).stack(),
				graph("Not judged", "mps", "dead-letters", "Batches that cannot be read (each goes to the dead letters) and records that carry nothing: control records and aborted transactions.",
					query{`sum by (fate) (rate(weir_fetched_records_total{@, fate!="delivered"}[$__rate_interval]))`, "{{fate}}"}),
				graph("Lost before they were read", "short", "messages-are-gone-before-they-are-read", "Offsets an hour that retention deleted before they were read. Each gap is on record.",
					query{`sum by (stream) (increase(weir_gap_records_total{@}[1h]))`, "{{stream}}"}),
				graph("Pushes without a key", "mps", "several-processes-change-the-same-users", "Pushes of one user may then be in several partitions.",
					query{`sum by (stream) (rate(weir_unkeyed_records_total{@}[$__rate_interval]))`, "{{stream}}"}, query{`max(weir_push_unkeyed_topic{@})`, "topics not keyed by user"}),
				graph("Dead letters by reason", "mps", "dead-letters", "Messages a second that can never be judged.",
					query{`topk(10, sum by (reason) (rate(weir_dead_letter_messages_total{@}[$__rate_interval])))`, "{{reason}}"}).stack(),
			}},
			{"Group and brokers", []panel{
				graph("Partitions by process", "short", "members-come-and-go", "Each partition is read by one process. The sum must stay the same.",
					query{`sum by (instance) (weir_assigned_partitions{@})`, "{{instance}}"}).stack().whole(),
				graph("Partitions assigned anew", "short", "members-come-and-go", "In an hour. Often means that processes come and go, or are missed.",
					query{`sum by (instance) (increase(weir_rebalances_total{@}[1h]))`, "{{instance}}"}).whole(),
				graph("Commits that failed", "ops", "members-come-and-go", "The group's coordinator is away. What is judged meanwhile is judged again only if the process dies before it is back.",
					query{`sum by (instance) (rate(weir_commit_failures_total{@}[$__rate_interval]))`, "{{instance}}"}),
				graph("Polls that failed", "ops", "partitions-cannot-be-read", "A broker did not answer, or refused. They are repeated.",
					query{`sum by (instance) (rate(weir_poll_failures_total{@}[$__rate_interval]))`, "{{instance}}"}),
				graph("What must be asked again", "ops", "a-partition-waits", "By what did not answer.",
					query{`sum by (target) (rate(weir_retries_total{@}[$__rate_interval]))`, "{{target}}"}),
				graph("Done and not committed", "short", "the-ledger-how-to-prove-that-nothing-is-lost", "Messages done whose account is not in the evidence yet; then their offsets are committed. A second's worth is normal.",
					query{`sum by (instance) (weir_ledger_open_messages{@})`, "{{instance}}"}),
			}},
		},
	}
}

package main

// States that a number stands for.
var (
	none    = map[string]result{"0": {"none", "green"}}
	refused = map[string]result{"1": {"taken up", "green"}, "0": {"refused", "red"}}
	redis   = map[string]result{"0": {"by Redis", "green"}, "1": {"without Redis", "red"}}
	trusted = map[string]result{"1": {"known", "green"}, "0": {"pushes wait", "red"}}
)

// outcomes are the colours of where messages end.
var outcomes = map[string]string{"passed": "green", "flagged": "orange", "dead_lettered": "red", "skipped": "text"}

// overview is what is looked at first.
func overview() board {
	return board{
		uid: "weir-overview", title: "Weir / Overview", since: "3h",
		about: "Is anything wrong, what, and since when. From symptoms at the top down to causes; the other boards go on from there.",
		rows: []row{
			{"Is anything wrong?", []panel{
				fact("Processes away", "short", "weir-is-not-there", "Processes that Prometheus cannot scrape. 0 is normal.",
					`count(up{@} == 0) or vector(0)`, from(1, "red")).say(none),
				fact("Alerts", "short", "alerts", "Alerts of Weir that fire, of all deployments this Prometheus knows. The panel at the bottom names them.",
					`count(ALERTS{alertname=~"Weir.+", alertstate="firing"}) or vector(0)`, from(1, "orange"), from(5, "red")).say(none),
				fact("Oldest message in hand", "s", "it-falls-behind", "Age of the oldest message that was fetched and is not finished, of all partitions. Below a second is normal.",
					`max(weir_consumer_lag_seconds{@})`, from(30, "orange"), from(300, "red")),
				fact("Messages behind", "short", "it-falls-behind", "Messages in Kafka that are not handled yet. Deferred pushes wait on purpose and are left out.",
					`sum(max by (job, topic, partition) (weir_consumer_lag_messages{@}))`, from(10_000, "orange"), from(1_000_000, "red")),
				fact("Partitions that wait", "short", "a-partition-waits", "Partitions whose output, evidence or Redis takes nothing, and those that stand still until somebody sets their offset.",
					`sum(weir_stalled_partitions{@}) + sum(weir_stopped_partitions{@})`, from(1, "red")).say(none),
				fact("Ledger, last day", "short", "the-ledger-how-to-prove-that-nothing-is-lost", "Batches of the last 24 hours whose messages do not each have exactly one outcome. It must say balanced.",
					`sum(increase(weir_ledger_unbalanced_total{@}[1d]))`, from(1, "red")).say(map[string]result{"0": {"balanced", "green"}}),
				fact("Pushes are decided", "short", "redis-is-away", "Whether any process decides pushes without Redis, by the policy's rule for outages.",
					`max(weir_push_store_mode{@})`, from(1, "red")).say(redis),
				fact("Consent", "short", "consent-waits", "Whether what Redis holds of consent is known to be complete. If not, pushes that need consent wait.",
					`min(weir_push_consent_view_trusted{@})`, below("red"), from(1, "green")).say(trusted),
				fact("Last change of rules", "short", "rules-are-refused", "Whether the last load of configuration, rules and policy was taken up everywhere. If it was refused, the old ones stay in force.",
					`min(weir_ruleset_last_load_successful{@})`, below("red"), from(1, "green")).say(refused),
				fact("Rule sets in force", "short", "instances-judge-by-different-rules", "Different rule sets by which the chosen processes judge. 1 is normal; 2 for some seconds while a change arrives.",
					`count(count by (digest) (weir_ruleset_info{@}))`, from(2, "orange")),
				fact("Rules without action", "short", "a-rule-has-lost-its-action", "Live rules that hit so much more than they used to that they lost their action until somebody gives it back.",
					`max(weir_rules_tripped{@})`, from(1, "red")).say(none),
				fact("Room for evidence", "bytes", "the-disk-of-the-evidence-is-full", "Room left where it is least. When it is nearly gone nothing about people is judged any more.",
					`min(weir_evidence_disk_free_bytes{@})`, below("red"), from(2e9, "orange"), from(1e10, "green")),
			}},
			{"What comes in, what goes out", []panel{
				graph("Messages by stream", "mps", "no-messages", "Messages finished a second, by what they are. A stream that falls to nothing has lost its producer or its partitions.",
					query{`sum by (stream) (rate(weir_messages_total{@}[$__rate_interval]))`, "{{stream}}"}).stack(),
				graph("Where messages end", "mps", "dead-letters", "Passed, flagged, dead letter or skipped (control records and aborted transactions). A jump of flagged is either an attack or a rule.",
					query{`sum by (outcome) (rate(weir_messages_total{@}[$__rate_interval]))`, "{{outcome}}"}).stack().paint(outcomes),
				graph("Push decisions", "mps", "alerts-on-pushes", "Decisions on pushes a second. Reasons are on the board of pushes.",
					query{`sum by (decision) (rate(weir_push_decisions_total{@}[$__rate_interval]))`, "{{decision}}"}).stack().paint(map[string]string{"allow": "green", "defer": "blue", "deny": "orange"}),
				graph("Share of posts that are flagged", "percentunit", "rules-do-not-hit", "Of the posts judged. It moves slowly; a step comes from a change of rules (blue lines) or of what people write.",
					query{`sum(rate(weir_messages_total{@, stream="post", outcome="flagged"}[$__rate_interval])) / sum(rate(weir_messages_total{@, stream="post"}[$__rate_interval]))`, "flagged"}),
				graph("Hits by severity", "short", "rules-do-not-hit", "Hits of live rules a second. Critical ones are few and each is meant.",
					query{`sum by (severity) (rate(weir_hits_total{@}[$__rate_interval]))`, "{{severity}}"}).stack().paint(map[string]string{"critical": "dark-red", "high": "red", "medium": "orange", "low": "yellow"}),
				graph("Dead letters by reason", "mps", "dead-letters", "Messages a second that can never be judged. A few are normal where others write the topics.",
					query{`topk(8, sum by (reason) (rate(weir_dead_letter_messages_total{@}[$__rate_interval])))`, "{{reason}}"}).stack(),
			}},
			{"How late", []panel{
				graph("Age of messages when they are done", "s", "it-falls-behind", "From a message's time in Kafka until all its effects are durable; the oldest of each batch. Deferred pushes are left out.",
					quantiles("weir_message_age_seconds", "stream")...).limit(from(60, "red")),
				graph("Messages behind, by topic", "short", "it-falls-behind", "Messages in Kafka that are not handled yet. A saw-tooth is fine, a slope is not.",
					query{`sum by (topic) (max by (job, topic, partition) (weir_consumer_lag_messages{@}))`, "{{topic}}"}),
				graph("Oldest message in hand, by topic", "s", "it-falls-behind", "Age of the oldest message that was fetched and is not finished.",
					query{`max by (topic) (weir_consumer_lag_seconds{@})`, "{{topic}}"}).limit(from(300, "red")),
			}},
			{"Who asks for verdicts", []panel{
				graph("Requests by how they ended", "reqps", "no-answer-to-who-asks", "Of the synchronous answer, where it is on. Refused are no events, denied are not let in; overloaded, late and stopping are 503, and nothing passed.",
					query{`sum by (result) (rate(weir_api_requests_total{@}[$__rate_interval]))`, "{{result}}"}).stack().
					paint(map[string]string{"answered": "green", "refused": "blue", "denied": "purple", "unjudged": "dark-red", "overloaded": "red", "late": "orange", "stopping": "text"}),
				graph("Time to a verdict", "s", "answers-are-slow", "From the request until the answer; with a verdict in it, evidence and topics are included.",
					quantiles("weir_api_request_duration_seconds", "result")...).limit(from(0.1, "red")),
				graph("In hand, and judged together", "short", "no-answer-to-who-asks", "Requests that are being read or judged, and how many were judged in one batch: they share an fsync.",
					append(quantiles("weir_api_batch_requests"), query{`sum(weir_api_requests_in_hand{@})`, "in hand"})...),
			}},
			{"What holds it up", []panel{
				graph("Partitions that wait or stand still", "short", "a-partition-waits", "Waiting: an output, the evidence or Redis takes nothing. Standing: until an operator sets the offset.",
					query{`sum by (instance) (weir_stalled_partitions{@})`, "waiting {{instance}}"}, query{`sum by (instance) (weir_stopped_partitions{@})`, "standing {{instance}}"}).whole(),
				graph("What must be asked again", "ops", "a-partition-waits", "Repeated writes and questions a second, by what did not answer. Nothing is lost by them.",
					query{`sum by (target) (rate(weir_retries_total{@}[$__rate_interval]))`, "{{target}}"}),
				graph("Commits and polls that fail", "ops", "members-come-and-go", "Offsets that could not be committed, and partitions that could not be read. They are repeated.",
					query{`sum(rate(weir_commit_failures_total{@}[$__rate_interval]))`, "commits"}, query{`sum(rate(weir_poll_failures_total{@}[$__rate_interval]))`, "polls"}),
				graph("Evidence: time until an append is durable", "s", "evidence-is-slow", "Every flagged message waits for this once. It is the disk's time to sync.",
					quantiles("weir_evidence_append_duration_seconds")...).limit(from(1, "red")),
				graph("Redis: time to decide a batch of pushes", "s", "redis-does-not-take-what-it-is-given", "Reads and commits of a batch. After 0.7 s pushes are decided without Redis.",
					quantiles("weir_push_batch_duration_seconds")...).limit(from(0.7, "red")),
				graph("In hand", "short", "the-ledger-how-to-prove-that-nothing-is-lost", "Messages being handled, and messages done whose account is not in the evidence yet: a second's worth is normal.",
					query{`sum(weir_in_flight_messages{@})`, "being handled"}, query{`sum(weir_ledger_open_messages{@})`, "done, not on record"}),
			}},
			{"Who, and what fires", []panel{
				table("Processes", "members-come-and-go", "Which versions run, and how many partitions each process reads.",
					query{`max by (job, instance) (weir_assigned_partitions{@}) * on (job, instance) group_left (version) weir_build_info{@}`, ""}).
					columns(map[string]string{"Value": "partitions"}),
				{kind: "state-timeline", title: "Alerts that fire", unit: "short", section: "alerts", w: 12, h: 8,
					about:   "By name and severity: page wakes somebody, ticket waits for the morning. One line called none means that nothing fires.",
					queries: []query{{`max by (alertname, severity) (ALERTS{alertname=~"Weir.+", alertstate="firing"}) or on () label_replace(vector(0), "alertname", "none", "", "")`, "{{alertname}} {{severity}}"}},
					steps:   []step{below("green"), from(1, "red")}, words: map[string]result{"0": {"nothing", "green"}, "1": {"fires", "red"}}},
			}},
		},
	}
}

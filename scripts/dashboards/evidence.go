package main

// evidence is whether what Weir did is on record, signed, and known elsewhere.
func evidence() board {
	return board{
		uid: "weir-evidence", title: "Weir / Evidence", since: "12h",
		about: "Whether what Weir did is on record, signed, sealed, known outside its own disk, and whether there is room for more.",
		rows: []row{
			{"Is it whole?", []panel{
				fact("Appends that failed, last day", "short", "evidence-cannot-be-written", "One is enough for the log to be broken until a restart, which goes on from what is on the disk.",
					`sum(increase(weir_evidence_append_errors_total{@}[1d]))`, from(1, "red")).say(none),
				fact("Damaged places, last 8 days", "short", "evidence-is-damaged", "Places the weekly scrub found not to be what was written.",
					`sum(increase(weir_evidence_damaged_total{@}[8d]))`, from(1, "red")).say(none),
				fact("Last signed", "s", "records-are-not-signed", "How long ago the log that was signed last was signed; of several processes the worst.",
					`time() - min(weir_evidence_last_checkpoint_timestamp_seconds{@})`, from(3600, "orange")),
				fact("Head not published", "s", "heads-are-not-published", "For how long the oldest signed head has waited to get onto its topic.",
					`max(weir_evidence_unpublished_seconds{@})`, from(60, "orange"), from(900, "red")),
				fact("Alarms about other logs", "short", "another-log-is-not-to-be-believed", "Logs whose head contradicts what they had published before.",
					`sum(weir_evidence_peer_alarms_total{@})`, from(1, "red")).say(none),
				fact("Room left", "bytes", "the-disk-of-the-evidence-is-full", "Room on the disk of the evidence, where it is least.",
					`min(weir_evidence_disk_free_bytes{@})`, below("red"), from(2e9, "orange"), from(1e10, "green")),
			}},
			{"Writing", []panel{
				graph("Time until an append is durable", "s", "evidence-is-slow", "Every flagged message waits for this once: it is the disk's time to sync, shared by all who wait.",
					quantiles("weir_evidence_append_duration_seconds", "@", "instance")...).limit(from(1, "red")),
				graph("Appends", "ops", "evidence-is-slow", "Appends a second; one may have many records.",
					query{observed("weir_evidence_append_duration_seconds", "@", "instance"), "{{instance}}"}),
				graph("Records", "ops", "files-of-the-evidence", "Records made durable a second, by kind.",
					query{`topk(10, sum by (kind) (rate(weir_evidence_records_total{@}[$__rate_interval])))`, "{{kind}}"}).stack(),
				graph("Not signed yet", "short", "records-are-not-signed", "Durable records that no signed head covers: some seconds' worth.",
					query{`sum by (instance) (weir_evidence_unsigned_records{@})`, "{{instance}}"}),
				graph("What the log says of itself", "short", "somebody-asks-for-evidence", "Records in an hour of who looked, handed out, held, erased or destroyed, and of gaps and incidents. Each has a reason on record.",
					query{`sum by (kind) (increase(weir_evidence_records_total{@, kind=~"access|export|hold|release|erase|destroyed|shred|gap|incident|damaged|breach|restricted"}[1h]))`, "{{kind}}"}).stack().wide(16),
			}},
			{"Files", []panel{
				graph("Room left", "bytes", "the-disk-of-the-evidence-is-full", "On the file system of the evidence.",
					query{`weir_evidence_disk_free_bytes{@}`, "{{instance}}"}),
				graph("Size of the segments", "bytes", "files-of-the-evidence", "It falls when a segment is sealed and its bodies move to files of their own.",
					query{`weir_evidence_log_bytes{@}`, "{{instance}}"}),
				graph("Full segments that are not sealed", "short", "segments-are-not-sealed", "Up to four wait for a quiet moment. Bodies in them cannot be destroyed yet.",
					query{`weir_evidence_unsealed_segments{@}`, "{{instance}}"}).whole().limit(from(10, "red")),
				graph("Sealed", "Bps", "segments-are-not-sealed", "Bytes a second written to body files, by class of retention.",
					query{`sum by (class) (rate(weir_evidence_sealed_bytes_total{@}[$__rate_interval]))`, "{{class}}"}).stack(),
				graph("Seals that failed", "short", "segments-are-not-sealed", "In an hour. They are repeated.",
					query{`sum by (instance) (increase(weir_evidence_seal_errors_total{@}[1h]))`, "{{instance}}"}).whole(),
				graph("Refusing records about people", "short", "the-disk-of-the-evidence-is-full", "1 while the disk is nearly full and partitions wait for room.",
					query{`weir_evidence_disk_full{@}`, "{{instance}}"}).whole(),
			}},
			{"Heads elsewhere", []panel{
				graph("Head not published", "s", "heads-are-not-published", "For how long the oldest signed head has waited. What was written since could be rewritten unnoticed.",
					query{`weir_evidence_unpublished_seconds{@}`, "{{instance}}"}).limit(from(60, "red")),
				graph("Topic of heads not looked at", "s", "heads-are-not-published", "How long ago it was last read: a second instance of one name would not be noticed.",
					query{`time() - (weir_evidence_heads_read_timestamp_seconds{@} > 0)`, "{{instance}}"}).limit(from(300, "red")),
				graph("Other logs", "short", "another-log-is-not-to-be-believed", "Evidence logs whose heads are on the topic, and alarms about them.",
					query{`max(weir_evidence_peers{@})`, "logs"}, query{`sum by (alarm) (weir_evidence_peer_alarms_total{@})`, "{{alarm}}"}).whole(),
				graph("Publishing and reading that failed", "ops", "heads-are-not-published", "Attempts a second. They are repeated; no append waits for them.",
					query{`sum(rate(weir_evidence_publish_errors_total{@}[$__rate_interval]))`, "publishing"}, query{`sum(rate(weir_evidence_heads_read_errors_total{@}[$__rate_interval]))`, "reading"},
					query{`sum(rate(weir_evidence_heads_bad_messages_total{@}[$__rate_interval]))`, "messages that are no heads"}),
				graph("Witness and time-stamp authority", "s", "the-witness-or-the-authority-does-not-sign", "How long ago they last signed a head. Empty where none is configured.",
					query{`weir_evidence_unwitnessed_seconds{@}`, "witness {{instance}}"}, query{`weir_evidence_unstamped_seconds{@}`, "time stamp {{instance}}"}).wide(16),
			}},
		},
	}
}

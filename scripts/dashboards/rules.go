package main

// ruleset is what rules are in force, what they hit, and what that costs.
func ruleset() board {
	return board{
		uid: "weir-rules", title: "Weir / Rules", since: "12h",
		about: "Which rules are in force, what they hit, whether that changed, what they cost, and whether they are to be trusted.",
		rows: []row{
			{"What is in force", []panel{
				fact("Last change", "short", "rules-are-refused", "Whether the last load of configuration, rules and policy was taken up everywhere.",
					`min(weir_ruleset_last_load_successful{@})`, below("red"), from(1, "green")).say(refused),
				fact("Rule sets in force", "short", "instances-judge-by-different-rules", "Different rule sets by which the chosen processes judge. 1 is normal.",
					`count(count by (digest) (weir_ruleset_info{@}))`, from(2, "orange")),
				fact("In force since", "s", "rules-are-old", "Age of the oldest load among the chosen processes.",
					`time() - min(weir_ruleset_last_load_success_timestamp_seconds{@})`, from(30*86400, "orange")),
				fact("Without action", "short", "a-rule-has-lost-its-action", "Live rules that hit so much more than they used to that they lost their action.",
					`max(weir_rules_tripped{@})`, from(1, "red")).say(none),
				fact("Engines disagree, last day", "short", "two-engines-disagree", "Hits of critical rules that only one of two engines found. It must be 0: else it is a bug of Weir.",
					`sum(increase(weir_match_divergence_total{@}[1d]))`, from(1, "red")).say(none),
				fact("Rules", "short", "rules-are-old", "Live and shadow rules in force.", `max(weir_ruleset_rules{@})`, below("blue")),
				table("By process", "instances-judge-by-different-rules", "The digest of the rules each process judges by, and since when.",
					query{`weir_ruleset_last_load_success_timestamp_seconds{@} * on (job, instance) group_left (version, digest) weir_ruleset_info{@} * 1000`, ""}).
					columns(map[string]string{"Value": "since", "version": "rules"}).dated("since"),
				table("Push policy, by process", "changing-the-push-policy", "Version and digest of the policy each process decides pushes by.",
					query{`weir_push_policy_info{@}`, ""}).columns(map[string]string{"digest": "policy"}, "Value", "__name__"),
			}},
			{"What they hit", []panel{
				graph("Verdicts on content", "mps", "rules-do-not-hit", "Posts and pushes a second, by what their content calls for.",
					query{`sum by (action) (rate(weir_verdicts_total{@}[$__rate_interval]))`, "{{action}}"}).stack().paint(map[string]string{"pass": "green", "review": "orange", "reject": "red"}),
				graph("Share of posts and pushes that are not passed", "percentunit", "rules-do-not-hit", "By what they are. A step comes from a change of rules (blue lines) or of what people write.",
					query{`sum by (stream) (rate(weir_verdicts_total{@, action!="pass"}[$__rate_interval])) / sum by (stream) (rate(weir_verdicts_total{@}[$__rate_interval]))`, "{{stream}}"}),
				graph("Hits by severity", "short", "rules-do-not-hit", "Hits of live rules a second.",
					query{`sum by (severity) (rate(weir_hits_total{@}[$__rate_interval]))`, "{{severity}}"}).stack().paint(map[string]string{"critical": "dark-red", "high": "red", "medium": "orange", "low": "yellow"}),
				graph("Hits by category", "short", "rules-do-not-hit", "The ten categories with most hits of live rules a second.",
					query{`topk(10, sum by (category) (rate(weir_hits_total{@}[$__rate_interval])))`, "{{category}}"}).stack(),
				graph("Hits in shadow", "short", "changing-rules-and-taking-a-change-back", "Hits a second of rules on trial, which change nothing: what they would do if they were live.",
					query{`topk(10, sum by (category) (rate(weir_shadow_hits_total{@}[$__rate_interval])))`, "{{category}}"}).stack(),
				graph("Hits by the form that was read", "short", "rules-do-not-hit", "In which form a text had to be read for a hit: a rise of anything but fold is people evading. A hit that took several counts for each.",
					query{`sum by (form) (rate(weir_hits_by_form_total{@}[$__rate_interval]))`, "{{form}}"}).stack(),
				table("Hits in the last hour, and in the hour before", "a-rule-has-lost-its-action", "By category. A factor of ten is a campaign, or a rule that came with the last change.",
					query{`sort_desc(sum by (category) (increase(weir_hits_total{@}[1h])))`, ""}, query{`sum by (category) (increase(weir_hits_total{@}[1h] offset 1h))`, ""}).
					columns(map[string]string{"Value #A": "last hour", "Value #B": "hour before"}).whole().wide(24).high(9),
			}},
			{"What they cost", []panel{
				graph("Time to judge a message", "s", "how-much-it-takes", "To decode, fold and match, per message of a batch.",
					quantiles("weir_match_duration_seconds", "stream")...).wide(6),
				graph("Memory of the automaton", "bytes", "how-much-it-takes", "Of the rules in force, and of the second opinion.",
					query{`weir_ruleset_automaton_bytes{@}`, "{{instance}}"}).wide(6),
				graph("Read to be judged", "Bps", "how-much-it-takes", "Bytes a second of the messages that were decoded and matched.",
					query{`sum by (stream) (rate(weir_match_input_bytes_total{@}[$__rate_interval]))`, "{{stream}}"}).stack().wide(6),
				graph("Terms", "short", "rules-are-old", "Terms of the live and shadow rules in force.",
					query{`weir_ruleset_terms{@}`, "{{instance}}"}).whole().wide(6),
			}},
			{"Whether to trust them", []panel{
				graph("Conditions without an answer", "ops", "conditions-without-an-answer", "Conditions of rules that cost too much or divided by zero. The hits stood.",
					query{`sum by (instance) (rate(weir_rule_conditions_undecided_total{@}[$__rate_interval]))`, "{{instance}}"}),
				graph("Rules that lost their action", "short", "a-rule-has-lost-its-action", "In an hour. weir rules restore gives the action back.",
					query{`sum by (instance) (increase(weir_rule_trips_total{@}[1h]))`, "{{instance}}"}).whole(),
				graph("Panics, and critical terms not looked at twice", "short", "it-panics", "Panics in an hour are bugs of Weir. Terms are left out of the second opinion when there are more than it has room for.",
					query{`sum by (instance) (increase(weir_panics_total{@}[1h]))`, "panics {{instance}}"}, query{`max(weir_ruleset_second_opinion_left_out_terms{@})`, "terms left out"}).whole(),
			}},
		},
	}
}

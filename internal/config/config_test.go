package config

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weir-moderation/weir/configs"
	"github.com/weir-moderation/weir/internal/dial"
	"github.com/weir-moderation/weir/internal/kafka"
	"github.com/weir-moderation/weir/internal/strictyaml"
	"github.com/weir-moderation/weir/pipeline/deferral"
	"github.com/weir-moderation/weir/pipeline/ingest"
	"github.com/weir-moderation/weir/rules"
	"github.com/weir-moderation/weir/sinks/evidence/retention"
)

// A file that says everything is read as it is written, its paths relative to its folder.
func TestParse(t *testing.T) {
	src := readFile(t, "testdata/all.good.yaml")
	got, err := Parse("/etc/weir/weir.yaml", src)
	if err != nil {
		t.Fatal(err)
	}
	want := Default()
	want.Source, want.Instance = "city", "7"
	want.Kafka.Brokers = []string{"kafka-1.example.org:9093", "kafka-2.example.org:9093"}
	want.Kafka.ClientID = "moderation"
	want.Kafka.TLS = dial.TLS{Enabled: true, CAFile: "/etc/weir/ca.pem", CertFile: "/etc/weir/weir.pem", KeyFile: "/etc/weir/weir.key", ServerName: "kafka.example.org"}
	want.Kafka.SASL = kafka.SASL{Mechanism: "scram-sha-512", Username: "weir", PasswordFile: "/run/secrets/kafka"}
	want.Input.Group = "moderation"
	want.Input.Posts = ingest.Topics{{Topic: "city.posts"}, {Topic: "city.comments"}, {Pattern: `city\.forum\..+`}}
	want.Input.Pushes, want.Input.Consent, want.Input.Outcomes = ingest.Named("city.pushes"), ingest.Named("city.consent"), ingest.Named("city.outcomes")
	want.Input.Start, want.Input.OnGap, want.Input.ReadUncommitted = kafka.Latest, kafka.GapStop, true
	want.Input.SessionTimeout, want.Input.RebalanceTimeout, want.Input.DrainTimeout = 20*time.Second, time.Minute, 8*time.Second
	want.Input.MaxWait, want.Input.Pace = time.Second, 50*time.Millisecond
	want.Output.Review, want.Output.Decisions, want.Output.Cleared = "city.review", "city.decisions", "city.cleared"
	want.Input.Deferred, want.Input.Ring = "city.deferred", deferral.Ring{Turn: 5 * time.Minute, Spread: 90 * time.Minute}
	want.Output.DeferredTurn, want.Output.DeferredSpread = 5*time.Minute, 90*time.Minute
	want.Output.Deferred, want.Output.DeadLetter, want.Output.MaxMessageBytes = "city.deferred", "city.deadletter", 2_000_000
	want.Events.MaxBytes, want.Events.MaxDepth, want.Events.MaxFields, want.Events.MaxItems, want.Events.MaxWordBytes = 65536, 8, 16, 32, 128
	want.Rules.Dir, want.Rules.Categories = "/etc/weir/rules", "/etc/weir/categories.yaml"
	want.Rules.MemoryBudget, want.Rules.MaxHits = 512<<20, 50
	want.Rules.Engine, want.Rules.SecondOpinion = rules.EngineCloudflare, rules.SecondOpinion{Every: 500, MemoryBudget: 64 << 20}
	want.Rules.Breaker = rules.Breaker{Share: 5 * rules.Percent / 2, MinHits: 500, Factor: 4.5, Window: 30 * time.Second}
	want.Rules.Words, want.Rules.Exclusions = "/etc/weir/words.txt", "/etc/weir/exclusions.txt"
	want.Rules.Benign, want.Rules.FalseAlarms = "/etc/weir/benign.jsonl", rules.Budget{Set: 2500, Rule: 5}
	want.Push.Policy, want.Push.PseudonymKeyFile = "/etc/weir/push.yaml", "/run/secrets/pseudonym"
	want.Push.Redis.Addrs, want.Push.Redis.Cluster = []string{"redis-1.example.org:6379", "redis-2.example.org:6379"}, true
	want.Push.Redis.AcceptEviction = true
	want.Push.Redis.Username, want.Push.Redis.PasswordFile = "weir", "/etc/redis.password"
	want.Push.Redis.TLS.Enabled, want.Push.Redis.TLS.CAFile = true, "/etc/weir/ca.pem"
	want.Evidence.Dir, want.Evidence.KeyFile, want.Evidence.Generation = "/var/lib/weir/evidence", "/etc/weir/evidence.key", "2"
	want.Evidence.CheckpointEvery, want.Evidence.SegmentBytes = 2*time.Second, 1<<28
	want.Evidence.Encrypt = false
	want.Evidence.MasterKey.File, want.Evidence.MasterKey.Timeout = "/etc/weir/master.key", 3*time.Second
	period := func(s string) retention.Period {
		p, err := retention.ParsePeriod(s)
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	want.Evidence.Retention = retention.Classes{
		"content": {Preset: "cn-content-60-days", Minimum: period("60 days"), Maximum: period("1 year"),
			Basis: "Measures for the Administration of Internet Information Services, article 14", Reviewers: []string{"li_na"}},
		"push": {Minimum: period("6 months"), Maximum: period("200 days"), Clock: "recorded", Basis: "a contract", Reviewers: []string{"li_na"}},
	}
	want.Evidence.Reviewers = retention.Reviewers{"li_na": "li_na+e9925f3f+AQIRduudfPMDCjnQbCIJiutldcmgwR+w6M7je68awm9v"}
	if diff := cmp.Diff(want, *got, cmp.Comparer(func(a, b retention.Period) bool { return a == b })); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if !got.PushesOn() {
		t.Error("pushes are off, but their topic is named")
	}
}

// A file that says nothing is posts from a broker on this machine, with the evidence beside the file.
func TestDefaults(t *testing.T) {
	for _, src := range []string{"", "# nothing\n", "kafka:\ninput:\npush:\n", "{}"} {
		got, err := Parse("/etc/weir/weir.yaml", []byte(src))
		if err != nil {
			t.Fatalf("%q: %v", src, err)
		}
		want := Default()
		want.Evidence.Dir = "/etc/weir/evidence"
		if diff := cmp.Diff(want, *got); diff != "" {
			t.Errorf("%q (-want +got):\n%s", src, diff)
		}
		if got.PushesOn() {
			t.Errorf("%q: pushes are on", src)
		}
	}
}

// The shipped file is a configuration as it is, and also when everything that is
// commented out is not.
func TestShipped(t *testing.T) {
	src, err := configs.FS.ReadFile("weir.yaml")
	if err != nil {
		t.Fatal(err)
	}
	c, err := Parse("weir.yaml", src)
	if err != nil {
		t.Fatal(err)
	}
	if c.PushesOn() {
		t.Error("pushes are on; without Redis and a key nobody could start with this file")
	}
	all := regexp.MustCompile(`(?m)^( *)# ( *[a-z_]+:( .*)?)$`).ReplaceAll(src, []byte("$1$2"))
	c, err = Parse("weir.yaml", all)
	if err != nil {
		t.Fatalf("with everything that is commented out: %v\n%s", err, all)
	}
	if !c.PushesOn() || c.Kafka.SASL.Mechanism == "" || !c.Kafka.TLS.Enabled || c.Rules.Dir == "" {
		t.Errorf("something commented out was not taken in:\n%s", all)
	}
}

// Each mistake is refused at its line and column, with its path and words that
// say what is wrong. Nothing else is said.
func TestRefusals(t *testing.T) {
	pushes := "output: {cleared: c, deferred: d, decisions: e}\npush: {pseudonym_key_file: k}\n"
	tests := []struct {
		name string
		src  string
		want []string // how each line begins, after the file's name
	}{
		{"an unknown section", "kafak: {}\n", []string{`1:1: kafak: unknown name; did you mean "kafka"?`}},
		{"an unknown name", "kafka:\n  broker: x\n", []string{`2:3: kafka.broker: unknown name; did you mean "brokers"?`}},
		{"a name twice", "source: a\nsource: b\n", []string{"2:1: source: given twice; first in line 1"}},
		{"a section twice", "events: {}\nrules: {}\nevents: {}\n", []string{"3:1: events: given twice; first in line 1"}},
		{"a list for a section", "kafka: [a]\n", []string{"1:8: kafka: is a list; give a mapping"}},
		{"a text for a list", "kafka:\n  brokers: a:1\n", []string{"2:12: kafka.brokers: "}},
		{"no YAML", "source: [a\n", []string{"1:9: not valid YAML: "}},
		{"a list", "- source: a\n", []string{"1:1: is a list; give a mapping"}},
		{"an anchor", "source: &a b\n", []string{"1:9: anchors (&) are not read"}},
		{"a second document", "source: a\n---\nsource: b\n", []string{"2:1: a second document"}},

		{"a source that is no name", "source: Weir\n", []string{"1:9: source: not a name; use 1 to 63 of"}},
		{"an empty source", "source: ''\n", []string{"1:9: source: not a name"}},
		{"a source that would be a path", "source: a/b\n", []string{"1:9: source: not a name"}},
		{"a source of 64", "source: " + strings.Repeat("a", 64) + "\n", []string{"1:9: source: not a name"}},
		{"a number for a source", "source: 7\n", []string{`1:9: source: 7 is a number here; if it is meant as a text, write "7"`}},
		{"an instance that is no name", "instance: a b\n", []string{"1:11: instance: not a name"}},

		{"no brokers", "kafka: {brokers: []}\n", []string{"1:9: kafka.brokers: none given"}},
		{"a broker without a port", "kafka:\n  brokers:\n    - a:1\n    - b\n", []string{`4:7: kafka.brokers[1]: "b" is not host:port`}},
		{"an unknown mechanism", "kafka:\n  sasl: {mechanism: gssapi}\n", []string{`2:21: kafka.sasl.mechanism: "gssapi" is not known`}},
		{"a mechanism without a login", "kafka:\n  sasl:\n    mechanism: plain\n", []string{
			"2:3: kafka.sasl.username: empty", "2:3: kafka.sasl.password_file: empty"}},
		{"TLS that is off", "kafka: {tls: {ca_file: ca.pem}}\n", []string{"1:9: kafka.tls.enabled: not set"}},

		{"no topic at all", "input: {posts: ''}\n", []string{"1:16: input.posts: no topic"}},
		{"a topic that is no name", "input:\n  posts: a topic\n", []string{"2:10: input.posts: not a topic name"}},
		{"one topic for two kinds", "input: {posts: a, pushes: a}\n" + pushes, []string{"1:27: input.pushes: the same topic as posts"}},
		{"a duration without a unit", "input: {pace: 5}\n", []string{"1:15: input.pace: 5 has no unit"}},
		{"a duration that is none", "input: {pace: soon}\n", []string{`1:15: input.pace: "soon" is not a duration`}},
		{"a duration out of range", "input: {pace: 1h}\n", []string{"1:15: input.pace: 1h0m0s; use 1ms up to 1s"}},
		{"a start that is none", "input: {start: newest}\n", []string{`1:16: input.start: "newest" is not known`}},

		{"no topic for reviewers", "output: {review: ''}\n", []string{"1:18: output.review: no topic"}},
		{"no topic for dead letters", "output: {deadletter: ''}\n", []string{"1:22: output.deadletter: no topic"}},
		{"messages too small for a verdict", "output: {max_message_bytes: 10}\n", []string{"1:29: output.max_message_bytes: 10; use"}},

		{"events of no bytes", "events: {max_bytes: 0}\n", []string{"1:21: events.max_bytes: 0 is out of range"}},
		{"a limit that is no number", "events: {max_depth: deep}\n", []string{`1:21: events.max_depth: "deep" is a text; give a whole number`}},
		{"a limit that is a fraction", "events: {max_depth: 4.5}\n", []string{"1:21: events.max_depth: 4.5 is a number; give a whole number"}},
		{"a budget without a unit", "rules: {memory_budget: 256}\n", []string{`1:24: rules.memory_budget: "256" is not an amount of memory`}},
		{"a budget that is too small", "rules: {memory_budget: 1KiB}\n", []string{"1:24: rules.memory_budget: 1KiB is too little"}},
		{"an unknown engine", "rules: {engine: hyperscan}\n", []string{`1:17: rules.engine: unknown engine "hyperscan"; known are weir, cloudflare`}},
		{"an engine misspelt", "rules: {engine: cloudfare}\n", []string{`1:17: rules.engine: unknown engine "cloudfare"; did you mean "cloudflare"?`}},
		{"a second opinion less than never", "rules:\n  second_opinion: {every: -1}\n", []string{"2:27: rules.second_opinion.every: -1 is less than none; give 0 to turn it off"}},
		{"a second opinion that is no number", "rules: {second_opinion: {every: never}}\n", []string{`1:33: rules.second_opinion.every: "never" is a text; give a whole number`}},
		{"a second opinion without room", "rules: {second_opinion: {memory_budget: 1KiB}}\n", []string{"1:41: rules.second_opinion.memory_budget: 1KiB is too little; give at least 1MiB, 0B for as many terms as fit in 64MiB, or every: 0"}},
		{"no room for no second opinion", "rules: {second_opinion: {every: 0, memory_budget: 0B}}\n", nil},
		{"a second opinion as a word", "rules: {second_opinion: off}\n", []string{"1:25: rules.second_opinion: "}},
		{"false alarms without a percent sign", "rules: {false_alarms: {set: 0.1}}\n", []string{`1:29: rules.false_alarms.set: "0.1" is not a share; write a number from 0 to 100`}},
		{"more false alarms than posts", "rules: {false_alarms: {set: 101%}}\n", []string{`1:29: rules.false_alarms.set: "101%" is not a share`}},
		{"more false alarms of one rule than of all", "rules: {false_alarms: {rule: 1%}}\n", []string{"1:30: rules.false_alarms.rule: 1% for one rule is more than all rules together may hit (0.1%); raise false_alarms.set too"}},
		{"as many false alarms as there are posts", "rules: {false_alarms: {set: 100%, rule: 100%}}\n", nil},
		{"a benign corpus that is a list", "rules: {benign: [a.txt]}\n", []string{"1:17: rules.benign: "}},
		{"a share that is no percentage", "rules: {breaker: {share: 0.01}}\n", []string{`1:26: rules.breaker.share: "0.01" is not a share; write a number from 0 to 100, with at most four decimals, and a percent sign, such as 0.1%`}},
		{"a breaker of one hit", "rules:\n  breaker:\n    min_hits: 1\n", []string{"3:15: rules.breaker.min_hits: 1 is out of range; choose from 10 to 1000000, or enabled: false"}},
		{"a breaker for less than usual", "rules: {breaker: {factor: 0.5}}\n", []string{"1:27: rules.breaker.factor: 0.5 is out of range; choose from 2 to 1000"}},
		{"a breaker that never looks", "rules: {breaker: {window: 24h}}\n", []string{"1:27: rules.breaker.window: 24h0m0s is out of range; choose from 1s to 1h"}},
		{"a breaker as a word", "rules: {breaker: off}\n", []string{"1:18: rules.breaker: "}},
		{"words that are a list", "rules: {words: [a.txt]}\n", []string{"1:16: rules.words: "}},
		{"forms for all rules", "rules: {only: fold}\n", []string{"1:9: rules.only: unknown name"}},
		{"no directory of evidence", "evidence: {dir: ''}\n", []string{"1:17: evidence.dir: none given"}},
		{"a generation that would be a path", "evidence: {generation: ../1}\n", []string{`1:24: evidence.generation: "../1"; use`}},
		{"two places for one master key", "evidence:\n  master_key: {file: a, command: [b]}\n", []string{"2:25: evidence.master_key.command: there is a file, too"}},
		{"checkpoints too seldom", "evidence: {checkpoint_every: 2h}\n", []string{"1:30: evidence.checkpoint_every: 2h0m0s; use"}},

		{"pushes without all they need", "input:\n  pushes: p\noutput:\n  review: r\n", []string{
			"1:1: push.pseudonym_key_file: none given",
			"3:1: output.cleared: no topic; pushes are on",
			"3:1: output.deferred: no topic; pushes are on",
			"3:1: output.decisions: no topic; pushes are on"}},
		{"pushes with the Redis of this machine", "input: {pushes: p}\n" + pushes, nil},
		{"a Redis without an address", "input: {pushes: p}\noutput: {cleared: c, deferred: d, decisions: e}\npush: {pseudonym_key_file: k, redis: {addrs: []}}\n",
			[]string{"3:39: push.redis.addrs: none given"}},
		{"a push section where nothing is pushed", "push: {redis: {addrs: []}}\n", nil},
		{"halts without pushes", "input:\n  halts: h\n", []string{"1:1: input.pushes: no topic, but input.consent, input.outcomes or input.halts has one"}},
		{"halts that are no topic", "input:\n  pushes: p\n  halts: a b\n" + pushes, []string{"3:10: input.halts: not a topic name"}},
		{"halts that are read as something else", "input:\n  pushes: h\n  halts: h\n" + pushes, []string{"2:11: input.pushes: the topic h is that of the halts, of which every process reads the whole"}},
		{"halts that are written as something else", "input:\n  pushes: p\n  halts: weir.review\n" + pushes, []string{"3:10: input.halts: the topic weir.review has another use; name one of its own, such as weir.halts"}},
		{"consent without pushes", "input:\n  consent: c\n", []string{"1:1: input.pushes: no topic, but input.consent, input.outcomes or input.halts has one"}},
		{"heads that are read as posts", "input:\n  posts: a\noutput:\n  checkpoints: a\n", []string{"2:10: input.posts: the topic a is also an output"}},
		{"heads among receipts", "output:\n  checkpoints: s\nrules: {receipts: s}\n", []string{"2:16: output.checkpoints: the topic s has another use; name one of its own, such as weir.checkpoints"}},
		{"anchors without a topic", "output:\n  review: r\nanchors: {every: 1m}\n", []string{"1:1: output.checkpoints: no topic, but anchors.every or anchors.unpublished_limit is set; name the compacted topic of heads, such as weir.checkpoints"}},
		{"anchors too often", "anchors: {heartbeat: 1ms}\n", []string{"1:22: anchors.heartbeat: 1ms; use at least 1s, or 0s to turn it off"}},
		{"a topic that comes in and goes out", "input:\n  posts: a\noutput:\n  review: a\n", []string{"2:10: input.posts: the topic a is also an output"}},
		{"a default topic that comes in and goes out", "input: {posts: weir.deadletter}\n", []string{"1:16: input.posts: the topic weir.deadletter is also an output"}},
		{"a topic named twice", "input:\n  posts:\n    - a\n    - topic: b\n    - topic: a\n", []string{"5:7: input.posts[2]: the same topic as posts[0]; name it once"}},
		{"a pattern of outputs", "input: {posts: [{pattern: 'weir.*'}]}\n", []string{"1:18: input.posts[0]: the pattern matches the topic weir.review, which is also an output", "1:18: input.posts[0]: the pattern matches the topic weir.deadletter, which is also an output"}},
		{"a pattern of rules", "rules: {topic: r, receipts: s}\ninput: {pushes: [{pattern: 'r|s'}]}\n" + pushes, []string{"2:19: input.pushes[0]: the pattern matches the topic s, which is also an output", "2:19: input.pushes[0]: the pattern matches the topic r, which is that of the rules"}},
		{"a pattern that cannot be read", "input:\n  posts:\n    - pattern: 'a('\n", []string{"3:16: input.posts[0].pattern: error parsing regexp: missing closing ): `a(`; write a regular expression"}},
		{"a mapping for topics", "input:\n  posts: {topic: a}\n", []string{"2:11: input.posts: is a mapping; give a text (in quotes if it has a colon) or a list"}},
		{"an unknown name of a topic", "input:\n  posts: [{topics: a}]\n", []string{"2:12: input.posts[0].topics: unknown name; did you mean \"topic\"?", "2:12: input.posts[0]: neither a topic nor a pattern"}},
		{"an envelope that is not known", "input:\n  posts:\n    - topic: a\n      envelope: avro\n", []string{`4:17: input.posts[0].envelope: "avro" is not known; use none or confluent`}},
		{"a map of consent", "input:\n  pushes: p\n  consent:\n    - topic: x\n      map: {id: /id}\n" + pushes, []string{"5:7: input.consent[0].map: the kind consent cannot be mapped; write it as docs/schemas/consent.json says"}},
		{"a map that lacks something", "input:\n  posts:\n    - topic: a\n      map:\n        id: /id\n        fields: {b: /u/b}\n    - b\n", []string{"4:7: input.posts[0].map.user.id: missing; the kind post needs it"}},
		{"a pointer that is none", "input:\n  posts:\n    - pattern: a.*\n      map:\n        user: author\n        fields:\n          b: {pointer: /x}\n", []string{
			`5:15: input.posts[0].map.user.id: "author" is not a JSON Pointer; write it like /author/uid`,
			`7:11: input.posts[0].map.fields.b: "" is not a JSON Pointer`,
			`7:15: input.posts[0].map.fields.b.pointer: unknown name; known here: const`,
		}},
		{"spans over a protocol that is not spoken", "tracing:\n  endpoint: grpc://otel:4317\n", []string{"2:13: tracing.endpoint: not the URL of an OTLP receiver; write it as http://host:4318/v1/traces"}},
		{"a queue of no spans", "tracing: {queue: 0}\n", []string{"1:18: tracing.queue: 0; use 1 to"}},
		{"lines of verdicts at an unknown level", "log: {verdicts: warn}\n", []string{`1:17: log.verdicts: "warn" is not known; use debug, info or off`}},
		{"no lines a second", "log: {verdicts_per_second: 0}\n", []string{"1:28: log.verdicts_per_second: 0; use 1 to"}},
		{"turns of no length", "input: {pushes: p}\n" + strings.Replace(pushes, "deferred: d", "deferred: d, deferred_turn: 500ms", 1), []string{"2:50: output.deferred_turn: 500ms; use whole seconds, 1s up to 6h"}},
		{"a deferred topic that comes in again", "input: {pushes: d}\n" + pushes, []string{"1:17: input.pushes: the topic d is also an output"}},

		// What could not be read is not blamed a second time for the default that stands in its place.
		{"a key that is a number", "input: {pushes: p}\noutput: {cleared: c, deferred: d, decisions: e}\npush: {pseudonym_key_file: 7}\n",
			[]string{"3:28: push.pseudonym_key_file: 7 is a number here"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c, err := Parse("dir/weir.yaml", []byte(tt.src))
			if len(tt.want) == 0 {
				if err != nil {
					t.Errorf("refused: %v", err)
				}
				return
			}
			if c != nil || err == nil {
				t.Fatalf("%q was not refused", tt.src)
			}
			got := strings.Split(err.Error(), "\n")
			ok := len(got) == len(tt.want)
			for i := 0; ok && i < len(got); i++ {
				ok = strings.HasPrefix(got[i], "dir/weir.yaml:"+tt.want[i])
			}
			if !ok {
				t.Errorf("got\n\t%s\nwant lines that begin, after the file,\n\t%s", strings.Join(got, "\n\t"), strings.Join(tt.want, "\n\t"))
			}
		})
	}
}

// All that is wrong with a file is told at once, in the order of its lines: what
// cannot be read, what a section refuses, and what no section can see alone.
func TestAllProblemsAtOnce(t *testing.T) {
	_, err := Parse("weir.yaml", readFile(t, "testdata/all.bad.yaml"))
	problems, ok := errors.AsType[strictyaml.Problems](err)
	if !ok {
		t.Fatalf("error is %T: %v", err, err)
	}
	var lines []int
	for _, p := range problems {
		if p.File != "weir.yaml" || p.Column < 1 {
			t.Errorf("no place: %v", p)
		}
		lines = append(lines, p.Line)
	}
	// The mistakes of the file say so themselves.
	var want []int
	for i, l := range strings.Split(string(readFile(t, "testdata/all.bad.yaml")), "\n") {
		for range strings.Count(l, "# wrong") {
			want = append(want, i+1)
		}
	}
	if !slices.Equal(lines, want) {
		t.Errorf("problems in lines %v, want %v:\n%v", lines, want, err)
	}
}

// Every path inside the file is relative to the file, not to where Weir was
// started; whoever adds one is reminded here.
func TestPathsAreRelativeToTheFile(t *testing.T) {
	var c Config
	isPath := func(name string) bool {
		return strings.HasSuffix(name, "_file") || slices.Contains([]string{"dir", "policy", "categories", "words", "exclusions", "benign"}, name)
	}
	n := 0
	each(reflect.ValueOf(&c).Elem(), "", func(path, name string, v reflect.Value) {
		if isPath(name) {
			v.SetString("x")
			n++
		}
	})
	if n < 10 {
		t.Fatalf("only %d paths found", n)
	}
	c.resolve("/etc/weir")
	each(reflect.ValueOf(&c).Elem(), "", func(path, name string, v reflect.Value) {
		if isPath(name) && v.String() != "/etc/weir/x" {
			t.Errorf("%s: %q, want /etc/weir/x", path, v)
		}
	})

	got, err := Parse("etc/weir.yaml", []byte("rules: {dir: ../rules}\nevidence: {dir: /var/evidence}\n"))
	if err != nil {
		t.Fatal(err)
	}
	if got.Rules.Dir != "rules" || got.Evidence.Dir != "/var/evidence" || got.Rules.Categories != "" {
		t.Errorf("rules %q, evidence %q, categories %q", got.Rules.Dir, got.Evidence.Dir, got.Rules.Categories)
	}
}

// No setting holds a secret itself: what is secret is named by a file.
func TestSecretsStandInFiles(t *testing.T) {
	var c Config
	each(reflect.ValueOf(&c).Elem(), "", func(path, name string, _ reflect.Value) {
		for _, word := range []string{"password", "secret", "token", "passphrase"} {
			if strings.Contains(name, word) && !strings.HasSuffix(name, "_file") {
				t.Errorf("%s holds a secret; let it name a file", path)
			}
		}
	})
}

// each calls f for every text of a configuration that a file can set.
func each(v reflect.Value, path string, f func(path, name string, v reflect.Value)) {
	for i := range v.NumField() {
		name := v.Type().Field(i).Tag.Get("yaml")
		at := strings.TrimPrefix(path+"."+name, ".")
		switch field := v.Field(i); field.Kind() {
		case reflect.Struct:
			each(field, at, f)
		case reflect.String:
			f(at, name, field)
		}
	}
}

// A file that is not there is told from one that is wrong.
func TestLoad(t *testing.T) {
	dir := t.TempDir()
	if _, err := Load(filepath.Join(dir, "weir.yaml")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a file that is not there: %v", err)
	}
	if _, err := Load(dir); err == nil || errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a directory: %v", err)
	}
	path := filepath.Join(dir, "weir.yaml")
	write := func(text string) {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write("evidence: {dir: e}\n")
	c, err := Load(path)
	if err != nil {
		t.Fatal(err)
	}
	if want := filepath.Join(dir, "e"); c.Evidence.Dir != want {
		t.Errorf("evidence %s, want %s", c.Evidence.Dir, want)
	}
	write("kafak: {}\n")
	if _, err := Load(path); err == nil || !strings.HasPrefix(err.Error(), path+":1:1: kafak: ") {
		t.Errorf("a wrong file: %v", err)
	}
}

// Whatever stands in a file, reading it ends with a configuration that every
// section is content with, or with problems that have a place in the file.
func FuzzParse(f *testing.F) {
	shipped, err := configs.FS.ReadFile("weir.yaml")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(shipped)
	for _, name := range []string{"testdata/all.good.yaml", "testdata/all.bad.yaml"} {
		src, err := os.ReadFile(name)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(src)
	}
	for _, s := range []string{"", "kafka: [", "input: {pushes: p}", "a: &a *a", "? a\n: b", "source: !!binary aGk=", "rules:\n\tdir: x", "\xff", "- - - -"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, src []byte) {
		c, err := Parse("weir.yaml", src)
		if err == nil {
			if problems := c.problems(&strictyaml.Document{}); len(problems) > 0 {
				t.Errorf("taken, but %v", problems)
			}
			return
		}
		problems, ok := errors.AsType[strictyaml.Problems](err)
		if !ok || c != nil {
			t.Fatalf("error is %T: %v", err, err)
		}
		lines := strings.Count(string(src), "\n") + 1
		for _, p := range problems {
			if p.Line > lines || p.Message == "" {
				t.Errorf("%d lines, but %v", lines, p)
			}
		}
		if again, _ := errors.AsType[strictyaml.Problems](second(src)); fmt.Sprint(again) != fmt.Sprint(problems) {
			t.Errorf("read again it says\n%v\nand not\n%v", again, problems)
		}
	})
}

func second(src []byte) error {
	_, err := Parse("weir.yaml", src)
	return err
}

func readFile(t *testing.T, name string) []byte {
	t.Helper()
	src, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return src
}

// The digest of a configuration is that of every setting: equal ones have one, and each setting changes it.
func TestDigest(t *testing.T) {
	one, other := Default(), Default()
	if one.Digest() != other.Digest() || len(one.Digest()) != 64 {
		t.Errorf("digests %s and %s of equal configurations", one.Digest(), other.Digest())
	}
	seen := map[string]string{one.Digest(): "the default"}
	for name, change := range map[string]func(*Config){
		"instance": func(c *Config) { c.Instance = "7" },
		"events":   func(c *Config) { c.Events.MaxBytes++ },
		"rules":    func(c *Config) { c.Rules.MaxHits++ },
		"push":     func(c *Config) { c.Push.Redis.Addrs = []string{"elsewhere:6379"} },
		"evidence": func(c *Config) { c.Evidence.Dir = "elsewhere" },
	} {
		c := Default()
		change(&c)
		if same := seen[c.Digest()]; same != "" {
			t.Errorf("a change of %s has the digest of %s", name, same)
		}
		seen[c.Digest()] = name
	}
}

package checkup

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kfake"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/sasl/scram"

	"github.com/weir-moderation/weir/internal/dial"
	"github.com/weir-moderation/weir/internal/kafka"
	"github.com/weir-moderation/weir/sinks"
)

// Everything that is wrong is told at once: no topic there, Redis away, evidence that
// cannot be written; nothing of it hides another.
func TestAllAtOnce(t *testing.T) {
	w := newWorld(t, 3)
	w.redis.Close()
	w.cfg.Evidence.Dir = filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(w.cfg.Evidence.Dir, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	r := w.run(Options{})
	if r.Missing != 10 {
		t.Errorf("%d topics missing, want 10", r.Missing)
	}
	wants(t, of(&r, "topic", w.topic("posts")), "error is not there (input.posts) -> create it (--create does), or correct the name: kafka-topics.sh --bootstrap-server ",
		" --create --topic "+w.topic("posts")+" --partitions 12 --replication-factor ", "--config cleanup.policy=delete --config min.insync.replicas=")
	wants(t, of(&r, "topic", w.topic("halts")), "--partitions 1 ", "cleanup.policy=compact")
	wants(t, of(&r, "topic", w.topic("deferred")), "--partitions 144 ", "cleanup.policy=delete")
	wants(t, of(&r, "redis", ""), "error redis", "does not answer")
	if strings.Contains(of(&r, "redis", ""), "ok ") {
		t.Errorf("a Redis that is away is well: %s", of(&r, "redis", ""))
	}
	wants(t, of(&r, "evidence", ""), "error "+w.cfg.Evidence.Dir+" is not a directory")
	wants(t, of(&r, "group", w.name), "ok 0 members, nothing is read yet: it begins with the earliest messages")
	wants(t, of(&r, "machine", "files"), "a process may have")
}

// Brokers that are away are one finding, and hide nothing but what only they know.
func TestBrokersAway(t *testing.T) {
	w := fakeWorld(t, kfake.NumBrokers(1))
	w.cfg.Kafka.Brokers = []string{"127.0.0.1:1"}
	r := w.run(Options{})
	wants(t, of(&r, "brokers", ""), "error broker 127.0.0.1:1: nobody listens there -> is it the right port, and is the broker running?")
	wants(t, of(&r, "redis", ""), "ok "+w.redis.Addr()+": redis 7.0.0")
	wants(t, of(&r, "evidence", ""), "flushes of 4096 bytes took")
}

// What is missing is created as it should be, and then nothing is missing; what is there
// stays as it is.
func TestCreate(t *testing.T) {
	w := newWorld(t, 3)
	if _, err := w.admin.CreateTopic(w.context(), 2, 1, nil, w.topic("review")); err != nil {
		t.Fatal(err)
	}
	w.cfg.Output.MaxMessageBytes = 2_000_000
	r := w.run(Options{Create: true, Partitions: 5})
	if len(r.Created) != 9 || r.Missing > 0 {
		t.Fatalf("created %q, %d missing: %+v", r.Created, r.Missing, r.Findings)
	}
	brokers, err := w.admin.ListBrokers(w.context())
	if err != nil {
		t.Fatal(err)
	}
	replicas := min(3, len(brokers))
	details, err := w.admin.ListTopics(w.context())
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]struct {
		partitions int
		policy     string
		bytes      string
	}{
		"posts": {5, "delete", "1048588"}, "consent": {5, "compact", "1048588"}, "halts": {1, "compact", "1048588"}, "deferred": {144, "delete", "2000000"},
		"deadletter": {5, "delete", "2000000"}, "checkpoints": {1, "compact", "1048588"},
	} {
		d := details[w.topic(name)]
		if len(d.Partitions) != want.partitions || d.Partitions.NumReplicas() != replicas {
			t.Errorf("%s: %d partitions, %d replicas, want %d, %d", name, len(d.Partitions), d.Partitions.NumReplicas(), want.partitions, replicas)
		}
		c, err := w.admin.DescribeTopicConfigs(w.context(), w.topic(name))
		if err != nil {
			t.Fatal(err)
		}
		got := make(map[string]string)
		for _, s := range c[0].Configs {
			got[s.Key] = s.MaybeValue()
		}
		if got["cleanup.policy"] != want.policy || got["max.message.bytes"] != want.bytes || got["min.insync.replicas"] != fmt.Sprint(max(1, replicas-1)) {
			t.Errorf("%s: %s, max.message.bytes %s, min.insync.replicas %s", name, got["cleanup.policy"], got["max.message.bytes"], got["min.insync.replicas"])
		}
	}
	if len(details[w.topic("review")].Partitions) != 2 {
		t.Error("a topic that was there is changed")
	}
	again := w.run(Options{Create: true})
	if len(again.Created) != 0 || again.Missing != 0 {
		t.Errorf("created %q, %d missing", again.Created, again.Missing)
	}
	for _, f := range again.Findings { // what was there takes no 2,000,000 bytes, and may have too few replicas
		if f.Status == Error && f.About != w.topic("review") {
			t.Errorf("after all was created: %+v", f)
		}
	}
	wants(t, of(&again, "topic", w.topic("posts")), "ok 5 partitions, ", "delete")
	wants(t, of(&again, "rights", ""), "ok we may read 6 topics and write 6 topics")
}

// Each setting of a topic that does not fit its use is told, with the command that mends it.
func TestSettings(t *testing.T) {
	w := newWorld(t, 3).made()
	if r := w.run(Options{}); r.Count(Error) > 0 {
		t.Fatalf("errors at the beginning: %+v", r.Findings)
	}
	alter := func(topic, setting string) string {
		return " --alter --entity-type topics --entity-name " + w.topic(topic) + " --add-config " + setting
	}
	for _, c := range []struct {
		topic, key, value string
		want              []string
	}{
		{"posts", "cleanup.policy", "compact", []string{"error is compacted: of all messages under a key", "only the newest stays", alter("posts", "cleanup.policy=delete")}},
		{"posts", "retention.ms", "3600000", []string{"warning keeps messages for 60 minutes: what is not read by then is lost", "keep them for 3 days at least", alter("posts", "retention.ms=604800000")}},
		{"deadletter", "retention.ms", "86400000", []string{"warning keeps messages for 24 hours", "keep them for 7 days at least"}},
		{"posts", "max.message.bytes", "10485760", []string{"warning takes messages of 10485760 bytes (max.message.bytes), and events above 1048576 (events.max_bytes) become dead letters", "set events.max_bytes to 10485760"}},
		{"review", "max.message.bytes", "500000", []string{"error takes messages of 500000 bytes (max.message.bytes), and Weir makes some of 1000000 (output.max_message_bytes)", alter("review", "max.message.bytes=1048588"), "or set output.max_message_bytes to 500000"}},
		{"review", "unclean.leader.election.enable", "true", []string{"warning lets a replica lead that has not got everything", alter("review", "unclean.leader.election.enable=false")}},
		{"review", "min.insync.replicas", "5", []string{"error wants 5 replicas in sync (min.insync.replicas) and has ", ": nothing can be written"}},
		{"consent", "retention.ms", "604800000", nil}, // compacted: nothing goes by age
		{"halts", "cleanup.policy", "compact,delete", []string{"error is compacted and deletes: what it says is gone after ", alter("halts", "cleanup.policy=compact")}},
		{"consent", "cleanup.policy", "delete", []string{"error is not compacted: what it says is gone after 7 days, though it still holds", alter("consent", "cleanup.policy=compact")}},
	} {
		t.Run(c.topic+" "+c.key, func(t *testing.T) {
			if c.key == "cleanup.policy" {
				w.set(c.topic, "retention.ms", "604800000")
			}
			w.set(c.topic, c.key, c.value)
			r := w.run(Options{})
			found := of(&r, "topic", w.topic(c.topic))
			if c.want == nil && !strings.HasPrefix(found, "ok ") {
				t.Errorf("want nothing wrong, got %s", found)
			}
			wants(t, found, c.want...)
			// So that the next row has only its own mistake.
			r2, err := w.admin.AlterTopicConfigs(w.context(), []kadm.AlterConfig{{Op: kadm.DeleteConfig, Name: c.key}}, w.topic(c.topic))
			if err == nil {
				err = r2[0].Err
			}
			if err != nil {
				t.Fatal(err)
			}
		})
	}
}

// Too few replicas are told by what that costs, and so are partitions without a leader and
// replicas that fell behind.
func TestReplicas(t *testing.T) {
	for _, c := range []struct {
		name    string
		brokers int
		detail  kafka.Detail
		inSync  string
		want    []string
	}{
		{"one of three", 3, detail([]int{1}, []int{1}, 1), "1", []string{"error has 1 replica: when its broker is away it cannot be used"}},
		{"two of three", 3, detail([]int{2}, []int{2}, 1), "1", []string{"warning has 2 replicas, of 3 brokers: one that is away for maintenance leaves no spare"}},
		{"all must be in sync", 3, detail([]int{3}, []int{3}, 1), "3", []string{"warning wants all of its 3 replicas in sync (min.insync.replicas): while one broker is away nothing can be written", "min.insync.replicas=2"}},
		{"one is enough", 3, detail([]int{3}, []int{3}, 1), "1", []string{"warning takes a message that one replica has (min.insync.replicas=1): acks=all then promises nothing", "min.insync.replicas=2"}},
		{"no leader", 3, detail([]int{3, 3}, []int{3, 3}, -1, 2), "2", []string{"error 1 of 2 partitions without a leader: they can be neither read nor written"}},
		{"behind", 3, detail([]int{3, 3}, []int{3, 2}, 1, 2), "2", []string{"warning 1 of 2 partitions with replicas that have fallen behind"}},
		{"one broker", 1, detail([]int{1}, []int{1}, 1), "1", nil},
		{"as it should be", 5, detail([]int{3}, []int{3}, 1), "2", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			k := checkup{cfg: newWorld(t, 1).cfg, cluster: kafka.Cluster{Brokers: c.brokers}}
			var b strings.Builder
			bad := func(s Status, what, remedy string) { fmt.Fprintf(&b, "%s %s -> %s\n", s, what, remedy) }
			u := &use{topic: "t", write: true}
			k.replicas(&c.detail, bad)
			k.fit(u, &c.detail, map[string]string{"cleanup.policy": "delete", "min.insync.replicas": c.inSync}, bad)
			if c.want == nil && b.Len() > 0 {
				t.Errorf("want nothing, got %s", b.String())
			}
			wants(t, b.String(), c.want...)
		})
	}
}

func detail(replicas, inSync []int, leaders ...int32) kafka.Detail {
	return kafka.Detail{Topic: kafka.Topic{Leaders: leaders}, Replicas: replicas, InSync: inSync}
}

// Topics that are not keyed by user are found by their newest messages, and so is what cannot
// be read; nothing of what users wrote, nor who they are, is told.
func TestProducers(t *testing.T) {
	w := newWorld(t, 1).made()
	record := func(topic string, partition int32, key, value []byte) *kgo.Record {
		return &kgo.Record{Topic: w.topic(topic), Partition: partition, Key: key, Value: value}
	}
	w.produce(record("posts", 0, nil, post("secret-1")), record("posts", 1, []byte("secret-1"), post("secret-1")), record("posts", 2, []byte("x"), []byte("nonsense")))
	r := w.run(Options{})
	wants(t, of(&r, "producers", w.topic("posts")), "warning 1 of the newest 3 messages have no key: the order of a user's messages is not kept -> make the producer use the user's id as key",
		"warning 1 of 1 user seen on two partitions",
		"warning 1 of the newest 3 messages cannot be read as events and would be dead letters: 1 syntax -> docs/inputs.md")
	wants(t, of(&r, "producers", w.topic("pushes")), "unknown there is no message to look at")

	consent := []byte(`{"id":"1","time":"2026-11-29T00:00:00Z","user":{"id":"secret-2"},"version":1,"grants":[]}`)
	w.produce(record("consent", 0, []byte("other"), consent), record("consent", 0, []byte("secret-2"), nil))
	r = w.run(Options{})
	wants(t, of(&r, "producers", w.topic("consent")), "warning 1 of the newest 2 messages have another key than their user's id: a tombstone would forget nobody")

	for i := range 3 {
		w.produce(record("review", int32(i), nil, []byte("{}"))) // an output is not looked at
	}
	if found := of(&r, "producers", w.topic("review")); found != "" {
		t.Errorf("review: %s", found)
	}
	if strings.Contains(fmt.Sprint(r), "secret") {
		t.Error("a user's id is told")
	}
	// Keys that are not the ids, but one for each user, keep the order.
	v := newWorld(t, 1).made()
	v.produce(&kgo.Record{Topic: v.topic("posts"), Key: []byte("user:7"), Value: post("7")}, &kgo.Record{Topic: v.topic("posts"), Key: []byte("user:7"), Value: post("7")})
	r = v.run(Options{})
	wants(t, of(&r, "producers", v.topic("posts")), "ok the newest 2 messages: keys are not the users' ids, and each user is on one partition")
}

// Messages of the future tell of clocks; that Kafka's own cannot be asked is said.
func TestClocks(t *testing.T) {
	w := newWorld(t, 1).made()
	r := w.run(Options{})
	wants(t, of(&r, "clock", ""), "unknown Kafka tells nobody its time, and there is no message to compare with")
	w.produce(&kgo.Record{Topic: w.topic("posts"), Key: []byte("u"), Value: post("u"), Timestamp: time.Now().Add(30 * time.Minute)})
	r = w.run(Options{})
	wants(t, of(&r, "clock", ""), "warning its newest message is of ", " from now: its producers' clock is ahead of this machine's -> set both by a time service", "unknown Kafka tells nobody its time; ")
}

// A group that others use, or whose offsets are not there any more, is told.
func TestGroup(t *testing.T) {
	w := newWorld(t, 1).made()
	for i := range 4 {
		w.produce(&kgo.Record{Topic: w.topic("posts"), Key: []byte("u"), Value: post("u"), Partition: int32(i % 3)})
	}
	commit := func(topic string, partition int32, offset int64) {
		t.Helper()
		var o kadm.Offsets
		o.Add(kadm.Offset{Topic: w.topic(topic), Partition: partition, At: offset, LeaderEpoch: -1})
		w.eventually(func() bool {
			r, err := w.admin.CommitOffsets(w.context(), w.name, o)
			return err == nil && r.Error() == nil
		})
	}
	commit("posts", 0, 1)
	r := w.run(Options{})
	wants(t, of(&r, "group", w.name), "ok 0 members, 3 messages to read")

	commit("posts", 1, 50)
	var gone kadm.Offsets
	gone.Add(kadm.Offset{Topic: w.topic("posts"), Partition: 0, At: 2})
	if _, err := w.admin.DeleteRecords(w.context(), gone); err != nil {
		t.Fatal(err)
	}
	r = w.run(Options{})
	wants(t, of(&r, "group", w.name), "error of "+w.topic("posts")+" 1 offsets in 1 partition were deleted before they were read",
		"error has read 1 partition of "+w.topic("posts")+" beyond its end: the topic was made anew, or lost what it had", "--reset-offsets --to-earliest --execute")

	// A daemon that goes on while it is looked is not beyond the end.
	client, err := kafka.NewClient(w.cfg.Kafka, kafka.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	commit("pushes", 0, 9)
	live := checkup{cfg: w.cfg, client: client, ranges: map[string][]kafka.Range{w.topic("pushes"): {{First: 0, Next: 5}}},
		read: []kafka.Committed{{Topic: w.topic("pushes"), Offset: 4}}}
	if lag, begun := live.offsets(w.context()); lag != 0 || begun != 1 || len(live.Findings) > 0 {
		t.Errorf("of a live group: lag %d, begun %d, %+v", lag, begun, live.Findings)
	}
	commit("pushes", 0, 0)

	// Somebody else.
	join := func(id string, o ...kgo.Opt) func() {
		cl, err := kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(w.addrs...), kgo.ConsumerGroup(w.name), kgo.ClientID(id), kgo.SessionTimeout(6 * time.Second)}, o...)...)
		if err != nil {
			t.Fatal(err)
		}
		w.eventually(func() bool {
			g, err := w.admin.DescribeGroups(w.context(), w.name)
			return err == nil && g[w.name].State == "Stable" && len(g[w.name].Members) == 1
		})
		return cl.Close
	}
	stop := join("strange\x1b[2J", kgo.ConsumeTopics(w.topic("posts")), kgo.Balancers(kgo.StickyBalancer()))
	r = w.run(Options{})
	wants(t, of(&r, "group", w.name), "warning has members that do not call themselves weir (kafka.client_id): strange?[2J at ", "what they read Weir never sees")
	stop()
	w.eventually(func() bool {
		g, err := w.admin.DescribeGroups(w.context(), w.name)
		return err == nil && len(g[w.name].Members) == 0
	})
	stop = join("weir", kgo.ConsumeTopics(w.topic("posts"), w.topic("review")), kgo.Balancers(kgo.CooperativeStickyBalancer()))
	defer stop()
	r = w.run(Options{})
	wants(t, of(&r, "group", w.name), `error gives out partitions by "cooperative-sticky", which Weir does not offer: we could not join`,
		"error has members that read other topics than this configuration: weir at ", ", which reads "+w.topic("review"))
}

// Each right that is missing is told, and what is there is not; with all of them nothing is.
func TestRights(t *testing.T) {
	t.Run("embedded", func(t *testing.T) {
		c, err := kfake.NewCluster(kfake.NumBrokers(1), kfake.EnableSASL(), kfake.EnableACLs(),
			kfake.Superuser("SCRAM-SHA-256", "admin", "admin"), kfake.User("SCRAM-SHA-256", "user", "secret"))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(c.Close)
		w := joinWorld(t, c.ListenAddrs(), kgo.SASL(scram.Auth{User: "admin", Pass: "admin"}.AsSha256Mechanism()))
		testRights(w, false)
	})
	t.Run("real", func(t *testing.T) {
		addr, tls := os.Getenv("WEIR_TEST_KAFKA_SASL"), os.Getenv("WEIR_TEST_KAFKA_TLS")
		if addr == "" || tls == "" {
			t.Skip("WEIR_TEST_KAFKA_SASL and WEIR_TEST_KAFKA_TLS are not set")
		}
		w := newWorld(t, 1)
		w.cfg.Kafka.Brokers = strings.Split(addr, ",")
		w.cfg.Kafka.TLS = dial.TLS{Enabled: true, CAFile: filepath.Join(tls, "ca.pem")}
		testRights(w, true)
	})
}

// testRights is about a user of whom a superuser says what they may. Where nobody has said
// anything of a topic, a real cluster of kafkactl lets everybody do everything with it.
func testRights(w *world, open bool) {
	t := w.t
	file := filepath.Join(t.TempDir(), "password")
	if err := os.WriteFile(file, []byte("secret"), 0o600); err != nil {
		t.Fatal(err)
	}
	w.cfg.Kafka.SASL = kafka.SASL{Mechanism: "scram-sha-256", Username: "user", PasswordFile: file}
	w.cfg.Output.Delivery = sinks.ExactlyOnce
	names := []string{"posts", "pushes", "consent", "halts", "review", "decisions", "cleared", "deferred", "deadletter", "checkpoints"}
	for _, n := range names {
		if _, err := w.admin.CreateTopic(w.context(), 1, 1, nil, w.topic(n)); err != nil && !errors.Is(err, kerr.TopicAlreadyExists) {
			t.Fatal(err)
		}
	}
	allow := func(b *kadm.ACLBuilder, operations ...kadm.ACLOperation) {
		t.Helper()
		r, err := w.admin.CreateACLs(w.context(), b.Allow("User:user").AllowHosts("*").Operations(operations...))
		if err != nil || r[0].Err != nil {
			t.Fatal(err, r)
		}
	}
	topic := func(n string) *kadm.ACLBuilder {
		return kadm.NewACLs().Topics(w.topic(n)).ResourcePatternType(kadm.ACLPatternLiteral)
	}
	group := func() *kadm.ACLBuilder {
		return kadm.NewACLs().Groups(w.name).ResourcePatternType(kadm.ACLPatternLiteral)
	}
	transactions := func() *kadm.ACLBuilder {
		return kadm.NewACLs().TransactionalIDs(w.name + "/").ResourcePatternType(kadm.ACLPatternPrefixed)
	}
	if open { // so that there is an ACL, and nobody is let in for want of one
		closed := func(b *kadm.ACLBuilder) {
			r, err := w.admin.CreateACLs(w.context(), b.Allow("User:nobody").AllowHosts("*").Operations(kadm.OpRead, kadm.OpWrite))
			if err != nil || r[0].Err != nil {
				t.Fatal(err, r)
			}
		}
		for _, n := range names {
			closed(topic(n))
		}
		r, err := w.admin.CreateACLs(w.context(), group().Allow("User:nobody").AllowHosts("*").Operations(kadm.OpRead))
		if err != nil || r[0].Err != nil {
			t.Fatal(err, r)
		}
		closed(transactions())
	}
	var r Report
	settled := func(ok func() bool) { // a broker is told of ACLs a little later
		t.Helper()
		w.eventually(func() bool {
			r = w.run(Options{})
			return ok()
		})
	}

	// Nothing is allowed: of a topic one cannot even know whether it is there.
	settled(func() bool { return strings.Count(of(&r, "topic", ""), "error may not be seen by us") == len(names) })
	wants(t, of(&r, "topic", w.topic("posts")), "-> allow DESCRIBE on it: kafka-acls.sh --bootstrap-server ", " --add --allow-principal User:user --operation Describe --topic "+w.topic("posts"))
	wants(t, of(&r, "group", w.name), "error we may not be a member of it (input.group) -> kafka-acls.sh", "--operation Read --group "+w.name)
	wants(t, of(&r, "rights", "transactions"), "error we may not write in transactions, which output.delivery: exactly_once needs", "--operation Write --operation Describe --transactional-id "+w.name+"/ --resource-pattern-type prefixed")
	if !open { // else there are topics without an ACL, and so some that everybody may write
		wants(t, of(&r, "rights", "producer"), "error we may not write as a producer whose repetitions brokers recognise")
	}

	// All may be seen, and neither read nor written.
	for _, n := range names {
		allow(topic(n), kadm.OpDescribe)
	}
	allow(group(), kadm.OpDescribe)
	settled(func() bool {
		return strings.Count(of(&r, "rights", ""), "error we may not ")-strings.Count(of(&r, "rights", "producer"), "error")-1 == 6+6
	})
	wants(t, of(&r, "rights", w.topic("posts")), "error we may not read it (input.posts) -> kafka-acls.sh ", "--operation Read --topic "+w.topic("posts"))
	wants(t, of(&r, "rights", w.topic("review")), "error we may not write it (output.review) -> kafka-acls.sh ", "--operation Write --topic "+w.topic("review"))
	wants(t, of(&r, "rights", w.topic("deferred")), "we may not read it", "we may not write it")
	wants(t, of(&r, "group", w.name), "error we may see it and not be a member of it (input.group)")
	wants(t, of(&r, "topic", w.topic("posts")), "unknown 1 partition, 1 replica; its settings may not be seen by us -> allow DESCRIBE_CONFIGS on it")

	// All that is needed.
	for _, n := range names {
		allow(topic(n), kadm.OpRead, kadm.OpWrite, kadm.OpDescribeConfigs)
	}
	allow(group(), kadm.OpRead)
	allow(transactions(), kadm.OpWrite, kadm.OpDescribe)
	settled(func() bool { return !strings.Contains(of(&r, "rights", "")+of(&r, "group", ""), "error ") })
	wants(t, of(&r, "rights", ""), "ok we may read 6 topics and write 6 topics", "ok we may write under the transactional ids that begin with "+w.name+"/")
	wants(t, of(&r, "group", ""), "ok 0 members")
}

package anchor

import (
	"context"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/weir-moderation/weir/internal/admin"
	"github.com/weir-moderation/weir/sinks/evidence"
)

// copyDir copies a log's directory, as an image of a disk does.
func copyDir(t *testing.T, from string) string {
	t.Helper()
	to := filepath.Join(t.TempDir(), "evidence")
	if err := os.CopyFS(to, os.DirFS(from)); err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"log.1.key", "log.2.key"} {
		if err := os.Chmod(filepath.Join(to, key), 0o600); err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
	}
	return to
}

// Every signed head gets onto the topic under the name of its log, with the key to
// check it; what was signed last, at the end of the process, too.
func TestHeadsArePublished(t *testing.T) {
	e := newEnv(t)
	a := e.start(nil)
	a.grow(t, 3)
	want := a.Checkpoint()
	eventually(t, "the head on the topic", func() bool { last, _ := e.published(origin("a")); return string(last) == string(want) })
	if w := a.publisher.Waiting(); w != 0 {
		eventually(t, "nothing to wait", func() bool { return a.publisher.Waiting() == 0 })
	}
	a.grow(t, 1)
	a.end()
	a.publisher.Flush(t.Context())
	last, _ := e.published(origin("a"))
	if string(last) != string(a.Checkpoint()) {
		t.Errorf("the last head is not on the topic:\n%s", last)
	}
	if _, err := evidence.ParseCheckpoint(last, a.VerifierKey()); err != nil {
		t.Error(err)
	}
	b := e.start(func(o *evidence.Options, _ *PublisherOptions, _ *WatcherOptions) { o.Dir = a.dir })
	b.grow(t, 1)
	b.end()
}

// away has the topic take nothing until the returned function is called.
func (e *env) away() (back func()) {
	var off atomic.Bool
	e.fake.ControlKey(int16(kmsg.Produce), func(r kmsg.Request) (kmsg.Response, error, bool) {
		e.fake.KeepControl()
		if off.Load() {
			return nil, nil, false
		}
		resp := r.ResponseKind().(*kmsg.ProduceResponse)
		for _, t := range r.(*kmsg.ProduceRequest).Topics {
			rt := kmsg.NewProduceResponseTopic()
			rt.Topic, rt.TopicID = t.Topic, t.TopicID
			for _, p := range t.Partitions {
				rp := kmsg.NewProduceResponseTopicPartition()
				rp.Partition, rp.ErrorCode = p.Partition, kerr.NotEnoughReplicas.Code
				rt.Partitions = append(rt.Partitions, rp)
			}
			resp.Topics = append(resp.Topics, rt)
		}
		return resp, nil, true
	})
	return func() { off.Store(true) }
}

// A topic that takes nothing holds up no append; for how long a head has waited is
// on a metric, and the newest is there as soon as the topic is back.
func TestATopicThatIsAwayHoldsUpNothing(t *testing.T) {
	e := newEnv(t)
	back := e.away()
	a := e.start(nil)
	a.grow(t, 5)
	eventually(t, "the wait to show", func() bool { return a.metric("weir_evidence_unpublished_seconds") > 0 })
	if err := a.Err(); err != nil {
		t.Fatal(err)
	}
	if _, n := e.published(origin("a")); n != 0 {
		t.Fatalf("%d heads are on a topic that takes none", n)
	}
	want := a.Checkpoint()
	back()
	eventually(t, "the head on the topic", func() bool { last, _ := e.published(origin("a")); return string(last) == string(want) })
	eventually(t, "nothing to wait", func() bool { return a.metric("weir_evidence_unpublished_seconds") == 0 })
	if n := len(records(t, a.dir, evidence.KindGap)); n != 5 {
		t.Errorf("%d records, want 5", n)
	}
}

// With a limit the log ends when nothing can be published for longer.
func TestUnpublishedForTooLong(t *testing.T) {
	e := newEnv(t)
	e.away()
	began := time.Now()
	var late atomic.Bool
	a := e.start(func(_ *evidence.Options, o *PublisherOptions, _ *WatcherOptions) {
		o.Limit = time.Hour
		o.Now = func() time.Time {
			if late.Load() {
				return began.Add(2 * time.Hour)
			}
			return began
		}
	})
	a.grow(t, 1)
	eventually(t, "an attempt that failed", func() bool { return a.metric("weir_evidence_publish_errors_total") > 0 })
	if err := a.Err(); err != nil {
		t.Fatalf("the log ended before its limit: %v", err)
	}
	late.Store(true)
	a.refused(t, "no signed head could be published on topic heads for 2h0m0s, and anchors.unpublished_limit is 1h0m0s")
}

// refused waits until the log is broken, and says why.
func (i *instance) refused(t *testing.T, want string) {
	t.Helper()
	select {
	case err := <-i.ended:
		if !errors.Is(err, evidence.ErrBroken) || !strings.Contains(err.Error(), want) {
			t.Fatalf("ended with %v\nwant that the log is broken: %s", err, want)
		}
	case <-time.After(patience):
		t.Fatal("it goes on")
	}
	if err := i.Append(t.Context(), []evidence.Record{{Kind: evidence.KindGap}}); !errors.Is(err, evidence.ErrBroken) {
		t.Errorf("an append after that: %v", err)
	}
}

// A log that was put back to an older state, or is gone, does not start; with a
// new generation it does, and its first record names what is lost.
func TestARestoredLogDoesNotStart(t *testing.T) {
	e := newEnv(t)
	a := e.start(nil)
	a.grow(t, 3)
	image := copyDir(t, a.dir)
	a.grow(t, 3)
	a.end()
	a.publisher.Flush(t.Context())
	last, _ := e.published(origin("a"))
	size := headOf(t, last).Size

	topic, err := ReadTopic(t.Context(), e.client, topicName, origin("a"))
	if err != nil {
		t.Fatal(err)
	}
	defer topic.Close()
	if topic.Size() != size || topic.Previous() != nil {
		t.Errorf("the topic knows %d records and before it %q, want %d and nothing", topic.Size(), topic.Previous(), size)
	}
	_, err = evidence.Open(evidence.Options{Dir: image, Origin: origin("a"), Published: topic.Own()})
	want := fmt.Sprintf("ROLLED BACK: a head of %d records was published, 4 are here", size)
	if !errors.Is(err, evidence.ErrTampered) || !strings.Contains(err.Error(), want) {
		t.Fatalf("the restored log: %v\nwant %s", err, want)
	}
	if _, err = evidence.Open(evidence.Options{Dir: t.TempDir(), Origin: origin("a"), Published: topic.Own()}); !errors.Is(err, evidence.ErrTampered) {
		t.Fatalf("a log that is gone: %v", err)
	}

	next := "test/evidence/a/2"
	after, err := ReadTopic(t.Context(), e.client, topicName, next)
	if err != nil {
		t.Fatal(err)
	}
	defer after.Close()
	l, err := evidence.Open(evidence.Options{Dir: image, Origin: next, Published: after.Own(),
		Previous: func() (*evidence.Previous, error) { return evidence.Follow(image, after.Previous()) }})
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	var g struct{ Previous evidence.Previous }
	err = evidence.WalkTail(image, "2", nil, func(evidence.Entry) bool { return true }, func(e evidence.Entry) error {
		return json.Unmarshal(e.Body, &g)
	})
	if err != nil || g.Previous != (evidence.Previous{Origin: origin("a"), Checkpoint: string(last), Why: evidence.FateRolledBack}) {
		t.Errorf("%v; the new log says %+v", err, g.Previous)
	}
	other, err := ReadTopic(t.Context(), e.client, topicName, "test/evidence/b/1")
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	if other.Previous() != nil {
		t.Error("another instance follows this one")
	}
}

// Two logs of one name, of which the one is a copy of the other's disk, find each
// other out and both end.
func TestAClonedDiskIsFoundWhileRunning(t *testing.T) {
	e := newEnv(t)
	a := e.start(nil)
	a.grow(t, 3)
	eventually(t, "the head on the topic", func() bool { _, n := e.published(origin("a")); return n > 0 })
	image := copyDir(t, a.dir)
	b := e.start(func(o *evidence.Options, _ *PublisherOptions, _ *WatcherOptions) { o.Dir, o.Published = image, nil })
	b.grow(t, 1)
	a.refused(t, "FORK: topic heads, partition 0, offset")
	a.end()
	// The other one sees it as soon as the first has published once more; here it does not.
	l, err := evidence.Open(evidence.Options{Dir: a.dir, Origin: origin("a")})
	if err != nil {
		t.Fatal(err)
	}
	r := evidence.Record{Kind: evidence.KindGap, Class: evidence.ClassAudit, Body: []byte(`{"topic":"t","partition":0,"first":0,"next":9}`)}
	if err := errors.Join(l.Append(t.Context(), []evidence.Record{r, r, r}), l.Close()); err != nil {
		t.Fatal(err)
	}
	e.publish(l)
	b.refused(t, "signed with the key of this log test/evidence/a/1 and not by it")
}

// A head under our name that another key has signed is another log, too; what is no
// head at all, and an earlier head of our own, end nothing.
func TestWhatStandsUnderOurName(t *testing.T) {
	e := newEnv(t)
	a := e.start(nil)
	a.grow(t, 1)
	early := a.Checkpoint()
	for range maxSent + 2 { // more than are remembered
		a.grow(t, 1)
		want := a.Checkpoint()
		eventually(t, "the head on the topic", func() bool { return a.publisher.Waiting() == 0 && a.publisher.hasSent(want) })
	}
	if a.publisher.hasSent(early) {
		t.Fatal("the early head is remembered")
	}
	e.put(origin("a"), early, a.VerifierKey())
	e.put(origin("a"), []byte("hello"), "")
	e.put(origin("a"), nil, "")
	e.put("somebody", early, a.VerifierKey())
	eventually(t, "what is no head to be counted", func() bool { return a.metric("weir_evidence_heads_bad_messages_total") == 2 })
	if err := a.Err(); err != nil {
		t.Fatal(err)
	}
	stranger := open(t, evidence.Options{Origin: origin("a")})
	stranger.grow(t, 1)
	e.publish(stranger.Log)
	a.refused(t, "it is not signed by the log's key: another instance has this name")
}

// An instance puts on record how the others grow.
func TestInstancesAnchorEachOther(t *testing.T) {
	e := newEnv(t)
	b := open(t, evidence.Options{Origin: origin("b")})
	b.grow(t, 2)
	e.publish(b.Log)
	mux := http.NewServeMux()
	Serve(mux, b.Log)
	var down atomic.Bool
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if down.Load() && strings.Contains(r.URL.Path, "consistency") {
			http.Error(w, "down", http.StatusBadGateway)
			return
		}
		mux.ServeHTTP(w, r)
	}))
	defer server.Close()
	a := e.start(func(_ *evidence.Options, _ *PublisherOptions, o *WatcherOptions) {
		o.Every, o.Peers = 5*time.Millisecond, peersAt(t, server.URL, "http://127.0.0.1:1")
	})
	anchors := func() (list []Head) {
		for _, text := range records(t, a.dir, evidence.KindAnchor) {
			var body Body
			if err := json.Unmarshal([]byte(text), &body); err != nil {
				t.Fatal(err)
			}
			list = append(list, body.Heads...)
		}
		return list
	}
	var last Head
	await := func(n int) {
		t.Helper()
		eventually(t, "an anchor", func() bool { return len(anchors()) >= n })
		last = anchors()[n-1]
		if last.Origin != origin("b") || last.Checkpoint != string(b.Checkpoint()) || last.VerifierKey != b.VerifierKey() || last.Topic != topicName {
			t.Errorf("anchor %+v, want the head\n%s", last, b.Checkpoint())
		}
	}
	await(1)
	if last.Check != First || last.Offset != 0 {
		t.Errorf("the first: %+v", last)
	}
	first := headOf(t, b.Checkpoint()).Size
	b.grow(t, 4)
	e.publish(b.Log)
	await(2)
	if last.Check != Consistent || last.From != first {
		t.Errorf("proof from %d: %+v", first, last)
	}
	second := headOf(t, b.Checkpoint()).Size
	down.Store(true)
	b.grow(t, 4)
	e.publish(b.Log)
	await(3)
	if last.Check != Unreachable || last.From != second {
		t.Errorf("without an answer: %+v", last)
	}
	down.Store(false)
	b.grow(t, 1)
	e.publish(b.Log)
	await(4)
	if last.Check != Consistent || last.From != second {
		t.Errorf("after it: %+v; the proof begins where the last one ended", last)
	}
	if n := a.metric("weir_evidence_peer_alarms_total"); n != 0 {
		t.Errorf("%v alarms", n)
	}
	if n := a.metric("weir_evidence_peers"); n != 1 {
		t.Errorf("%v peers", n)
	}
	a.end()
	if got := len(anchors()); got != 4 {
		t.Errorf("%d anchors, want 4: what has not changed is not recorded again", got)
	}

	// What was anchored convicts the log when it is put back.
	heads, err := evidence.AnchoredHeads(a.dir, b.VerifierKey())
	if err != nil || len(heads) != 4 {
		t.Errorf("%d heads of it are anchored, %v", len(heads), err)
	}
}

// Another log that is rolled back, forked, or signed by another key is an alarm and
// on record, once; it is believed no further.
func TestAnotherLogIsNotToBeBelieved(t *testing.T) {
	for _, tt := range []struct {
		why Alarm
		do  func(e *env, b *signing) (other string)
	}{
		{RolledBack, func(e *env, b *signing) string {
			image := copyDir(e.t, b.dir)
			b.grow(e.t, 3)
			e.publish(b.Log)
			c := open(e.t, evidence.Options{Dir: image, Origin: origin("b")})
			c.grow(e.t, 1)
			e.publish(c.Log)
			return string(c.Checkpoint())
		}},
		{Forked, func(e *env, b *signing) string {
			image := copyDir(e.t, b.dir)
			b.grow(e.t, 1)
			e.publish(b.Log)
			c := open(e.t, evidence.Options{Dir: image, Origin: origin("b")})
			c.grow(e.t, 1)
			e.publish(c.Log)
			return string(c.Checkpoint())
		}},
		{OtherKey, func(e *env, b *signing) string {
			c := open(e.t, evidence.Options{Origin: origin("b")})
			c.grow(e.t, 8)
			e.publish(c.Log)
			return string(c.Checkpoint())
		}},
	} {
		t.Run(string(tt.why), func(t *testing.T) {
			e := newEnv(t)
			b := open(t, evidence.Options{Origin: origin("b")})
			b.grow(t, 2)
			e.publish(b.Log)
			a := e.start(nil)
			other := tt.do(e, b)
			eventually(t, "the alarm", func() bool { return a.metric("weir_evidence_peer_alarms_total") > 0 })
			e.put(origin("b"), []byte(other), vkeyOf(t, e, other, b))
			e.publish(b.Log)
			e.put("nobody", []byte("x"), "")
			eventually(t, "all to be read", func() bool { return a.metric("weir_evidence_heads_bad_messages_total") > 0 })
			list := records(t, a.dir, evidence.KindIncident)
			if len(list) != 1 {
				t.Fatalf("%d incidents: %v", len(list), list)
			}
			var i incident
			if err := json.Unmarshal([]byte(list[0]), &i); err != nil {
				t.Fatal(err)
			}
			if i.What != tt.why || i.Other.Checkpoint != other || i.Known.Origin != origin("b") {
				t.Errorf("incident %+v", i)
			}
			if n := a.metric("weir_evidence_peer_alarms_total"); n != 1 {
				t.Errorf("%v alarms, want one", n)
			}
			if err := a.Err(); err != nil {
				t.Errorf("the log that saw it is broken: %v", err)
			}
		})
	}
}

// vkeyOf returns the key beside the last message of b's log on the topic that says so.
func vkeyOf(t *testing.T, e *env, checkpoint string, b *signing) string {
	t.Helper()
	if _, err := evidence.ParseCheckpoint([]byte(checkpoint), b.VerifierKey()); err == nil {
		return b.VerifierKey()
	}
	topic, err := ReadTopic(t.Context(), e.client, topicName, origin("b"))
	if err != nil {
		t.Fatal(err)
	}
	defer topic.Close()
	for _, p := range topic.own {
		if string(p.checkpoint) == checkpoint {
			return p.vkey
		}
	}
	t.Fatal("it is not on the topic")
	return ""
}

// A proof that does not hold is an alarm; the history behind it is another one,
// although every head was larger than the one before.
func TestAProofThatDoesNotHold(t *testing.T) {
	e := newEnv(t)
	b := open(t, evidence.Options{Origin: origin("b")})
	b.grow(t, 2)
	image := copyDir(t, b.dir)
	b.grow(t, 2)
	e.publish(b.Log)
	c := open(t, evidence.Options{Dir: image, Origin: origin("b")})
	mux := http.NewServeMux()
	Serve(mux, c.Log)
	server := httptest.NewServer(mux)
	defer server.Close()
	a := e.start(func(_ *evidence.Options, _ *PublisherOptions, o *WatcherOptions) {
		o.Every, o.Peers = 5*time.Millisecond, peersAt(t, server.URL)
	})
	eventually(t, "the first head", func() bool { return a.metric("weir_evidence_peers") == 1 })
	c.grow(t, 9)
	e.publish(c.Log)
	eventually(t, "the alarm", func() bool { return a.metric("weir_evidence_peer_alarms_total") == 1 })
	list := records(t, a.dir, evidence.KindIncident)
	if len(list) != 1 || !strings.Contains(list[0], `"what":"inconsistent"`) {
		t.Errorf("incidents %v", list)
	}
}

// A head that the key beside it has not signed is none, whoever wrote it.
func TestAHeadThatNobodySigned(t *testing.T) {
	e := newEnv(t)
	b := open(t, evidence.Options{Origin: origin("b")})
	b.grow(t, 2)
	c := open(t, evidence.Options{Origin: origin("c")})
	e.put(origin("b"), b.Checkpoint(), "")
	e.put(origin("b"), b.Checkpoint(), c.VerifierKey())
	e.publish(b.Log)
	forged := strings.Replace(string(b.Checkpoint()), "\n3\n", "\n1\n", 1)
	a := e.start(nil)
	eventually(t, "the log to be known", func() bool { return a.metric("weir_evidence_peers") == 1 })
	before := a.metric("weir_evidence_heads_bad_messages_total")
	e.put(origin("b"), []byte(forged), b.VerifierKey())
	eventually(t, "it to be counted", func() bool { return a.metric("weir_evidence_heads_bad_messages_total") > before })
	if n := a.metric("weir_evidence_peer_alarms_total"); n != 0 {
		t.Errorf("%v alarms", n)
	}
}

// Proofs are served for what was signed, and for nothing else.
func TestServe(t *testing.T) {
	l := open(t, evidence.Options{Origin: origin("a")})
	l.grow(t, 5)
	mux := http.NewServeMux()
	Serve(mux, l.Log)
	for _, tt := range []struct {
		method, path string
		status       int
		body         string
	}{
		{"GET", "/-/evidence/checkpoint", 200, string(l.Checkpoint())},
		{"GET", "/-/evidence/consistency/6/6", 200, ""},
		{"GET", "/-/evidence/consistency/0/6", 404, "no signed head is as large"},
		{"GET", "/-/evidence/consistency/1/7", 404, "no signed head is as large"},
		{"GET", "/-/evidence/consistency/a/7", 400, "two decimal numbers"},
		{"POST", "/-/evidence/consistency/1/6", 405, ""},
	} {
		w := httptest.NewRecorder()
		mux.ServeHTTP(w, httptest.NewRequest(tt.method, tt.path, nil))
		if w.Code != tt.status || !strings.Contains(w.Body.String(), tt.body) {
			t.Errorf("%s %s: %d %s", tt.method, tt.path, w.Code, w.Body)
		}
	}
}

// A log in which nothing happens says so at every interval, and only then.
func TestHeartbeat(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "evidence")
	synctest.Test(t, func(t *testing.T) {
		l, err := evidence.Open(evidence.Options{Dir: dir, Origin: origin("a")})
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- Heartbeat(ctx, l, time.Minute) }()
		time.Sleep(150 * time.Second) // two
		synctest.Wait()
		if err := l.Append(ctx, []evidence.Record{{Kind: evidence.KindGap, Class: evidence.ClassAudit, Body: []byte(`{}`)}}); err != nil {
			t.Fatal(err)
		}
		time.Sleep(time.Minute) // none: something was recorded
		synctest.Wait()
		time.Sleep(time.Minute) // one
		synctest.Wait()
		cancel()
		if err := errors.Join(<-done, l.Close()); err != nil {
			t.Fatal(err)
		}
	})
	list := records(t, dir, evidence.KindHeartbeat)
	if len(list) != 3 || !strings.Contains(list[2], `"records":4`) {
		t.Errorf("heartbeats %v, want three, the last after four records", list)
	}
}

func peersAt(t *testing.T, urls ...string) []*admin.Client {
	t.Helper()
	list, err := (&Config{Peers: urls}).PeerClients()
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// A peer whose listener asks who is there is given the login over TLS; without it there is no proof.
func TestPeersAskWhoIsThere(t *testing.T) {
	l := open(t, evidence.Options{Origin: origin("b")})
	l.grow(t, 5)
	mux := http.NewServeMux()
	Serve(mux, l.Log)
	server := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if user, password, _ := r.BasicAuth(); user != "weir" || password != "open-sesame" {
			http.Error(w, "who is there?", http.StatusUnauthorized)
			return
		}
		mux.ServeHTTP(w, r)
	}))
	defer server.Close()
	dir := t.TempDir()
	put := func(name string, content []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	c := Config{Peers: []string{server.URL}, PeerLogin: PeerLogin{
		CAFile:   put("ca.pem", pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})),
		Username: "weir", PasswordFile: put("password", []byte("open-sesame\n")),
	}}
	ask := func() (string, error) {
		peers, err := c.PeerClients()
		if err != nil {
			return "", err
		}
		return askOrigin(t.Context(), peers[0])
	}
	if got, err := ask(); err != nil || got != origin("b") {
		t.Errorf("with the login: %q, %v", got, err)
	}
	put("password", []byte("open-barley"))
	if _, err := ask(); err == nil || !strings.Contains(err.Error(), "does not take this user") {
		t.Errorf("with a wrong password: %v", err)
	}
	c.PeerLogin.PasswordFile = filepath.Join(dir, "gone")
	if _, err := ask(); err == nil || !strings.Contains(err.Error(), "peers[0], "+server.URL) {
		t.Errorf("without the file: %v", err)
	}
}

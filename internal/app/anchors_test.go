package app_test

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-moderation/weir/internal/kafka"
	"github.com/weir-moderation/weir/sinks/evidence"
	"github.com/weir-moderation/weir/sinks/evidence/anchor"
)

// Two instances, of which one is put back to an image of its disk: it refuses to start, and the records of the
// other show what is missing. With a new generation it starts, and says in its first record what is lost. If it
// runs all the same, the other one sees that. Of it and a copy of its disk that runs beside it, only one goes on.
func TestARestoredInstanceDoesNotStart(t *testing.T) {
	f := newFleet(t)
	heads := f.tag + ".heads"
	if err := f.client.CreateTopics(t.Context(), kafka.NewTopic{Name: heads, Partitions: 1, Replication: 1, Config: map[string]string{"cleanup.policy": "compact"}}); err != nil {
		t.Fatal(err)
	}
	f.extra = fmt.Sprintf("output: {review: %[1]s.review, deadletter: %[1]s.dead, checkpoints: %[2]s}\nanchors: {every: 1s, heartbeat: 1s}", f.tag, heads)
	f.evidence = make(map[string]string)
	f.publishFirst(f.signed(pack("一号测试词")))
	f.eventually("leaders of the topic of heads", func() bool {
		list, err := f.client.Topics(t.Context(), heads)
		return err == nil && list[0].Err == nil && list[0].Leader(0) >= 0
	})

	f.start("a")
	f.start("b")
	f.post("p1", "一号测试词")
	f.reviewed("p1")
	dir := func(name string) string { return filepath.Join(f.dir, "evidence-"+name) }
	f.eventually("a head of b in the log of a", func() bool { return f.anchored(dir("a"), "fleet/evidence/b/1") > 0 })
	f.stop("b")
	image := filepath.Join(t.TempDir(), "image")
	f.copyLog(dir("b"), image)
	f.start("b")
	f.post("p2", "一号测试词")
	f.reviewed("p2")
	f.stop("b")
	whole := f.size(dir("b"))
	f.eventually("the last head of b in the log of a", func() bool { return f.anchored(dir("a"), "fleet/evidence/b/1") == whole })
	if r := f.verify(dir("b"), dir("a")); !r.OK() {
		t.Fatalf("the log of b does not agree with the anchors: %v", r.Findings)
	}

	if err := os.RemoveAll(dir("b")); err != nil {
		t.Fatal(err)
	}
	if err := f.tryStart("b"); !errors.Is(err, evidence.ErrTampered) || !strings.Contains(err.Error(), "and none of its records are here") {
		t.Fatalf("the instance whose directory was emptied ended with %v", err)
	}
	// Nothing is in the way of what is put back.
	if left, err := filepath.Glob(filepath.Join(dir("b"), "*")); err != nil || len(left) > 0 {
		t.Errorf("the refused start has made %v, %v", left, err)
	}
	f.copyLog(image, dir("b"))
	old := f.size(dir("b"))
	err := f.tryStart("b")
	want := fmt.Sprintf("ROLLED BACK: a head of %d records was published, %d are here; put the log's newest files back, or, if they are lost, set evidence.generation", whole, old)
	if !errors.Is(err, evidence.ErrTampered) || !strings.Contains(err.Error(), want) {
		t.Fatalf("the restored instance ended with %v\nwant %s", err, want)
	}
	if n := f.size(dir("b")); n != old {
		t.Errorf("%d records after the refusal, want %d as before it", n, old)
	}
	r := f.verify(dir("b"), dir("a"))
	if r.OK() || r.Findings[0].Verdict != evidence.Missing {
		t.Errorf("the restored log against the anchors of a: %v", r.Findings)
	}

	// Somebody runs it all the same, from a copy that asks no topic.
	rogue := filepath.Join(t.TempDir(), "rogue")
	f.copyLog(image, rogue)
	l, err := evidence.Open(evidence.Options{Dir: rogue, Origin: "fleet/evidence/b/1"})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(l.Append(t.Context(), []evidence.Record{{Kind: evidence.KindHeartbeat, Class: evidence.ClassAudit, Body: []byte("{}")}}), l.Close()); err != nil {
		t.Fatal(err)
	}
	message := &kgo.Record{Topic: heads, Key: []byte(l.Origin()), Value: l.Checkpoint(), Headers: []kgo.RecordHeader{{Key: "weir-verifier-key", Value: []byte(l.VerifierKey())}}}
	if err := f.kgo.ProduceSync(t.Context(), message).FirstErr(); err != nil {
		t.Fatal(err)
	}
	f.awaitMetric("a", `weir_evidence_peer_alarms_total{alarm="rolled-back"} 1`)
	if n := f.incidents(dir("a"), `"what":"rolled-back"`); n != 1 {
		t.Errorf("%d incidents in the log of a", n)
	}

	// The way out.
	f.evidence["b"] = "dir: evidence-b, generation: '2'"
	f.start("b")
	f.post("p3", "一号测试词")
	f.reviewed("p3")
	var g struct{ Previous *evidence.Previous }
	err = evidence.WalkTail(dir("b"), "2", nil, func(evidence.Entry) bool { return true }, func(e evidence.Entry) error {
		if e.Index > 0 {
			return nil
		}
		return json.Unmarshal(e.Body, &g)
	})
	if err != nil || g.Previous == nil || g.Previous.Origin != "fleet/evidence/b/1" || g.Previous.Why == evidence.FateKept {
		t.Errorf("%v; the first record of the new log says of the one before %+v", err, g.Previous)
	}

	// A copy of the disk under the same name, while b runs.
	f.eventually("a head of the new log in the log of a", func() bool { return f.anchored(dir("a"), "fleet/evidence/b/2") > 0 })
	clone := filepath.Join(f.dir, "evidence-clone")
	f.copyLog(dir("b"), clone)
	f.evidence["clone:b"] = "dir: evidence-clone, generation: '2'"
	f.start("clone:b")
	twins := map[string]*member{"b": f.members["b"], "clone:b": f.members["clone:b"]}
	ended := func(name string, err error) {
		if !errors.Is(err, evidence.ErrBroken) || !strings.Contains(err.Error(), "FORK") {
			t.Errorf("%s ended with %v, want FORK", name, err)
		}
		delete(twins, name)
	}
	select { // whoever reads the other's head first; both, if both had published by then
	case err := <-twins["b"].done:
		ended("b", err)
	case err := <-twins["clone:b"].done:
		ended("clone:b", err)
	case <-time.After(time.Minute):
		t.Fatalf("both go on beside a copy of themselves\n%s", twins["b"].log)
	}
	for name, m := range twins {
		m.cancel()
		select {
		case err := <-m.done:
			if err != nil {
				ended(name, err)
			}
		case <-time.After(time.Minute):
			t.Fatalf("%s does not end", name)
		}
	}
	f.stop("a")
}

// A witness is asked before anything is appended: what it has seen of the log may be more than there is. What a
// time-stamp needs is looked at, too.
func TestAWitnessIsAskedAtTheStart(t *testing.T) {
	f := newFleet(t)
	f.publishFirst(f.signed(pack("一号测试词")))
	public, _, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	const name = "witness.example"
	key := append([]byte{4}, public...) // C2SP tlog-cosignature
	hash := sha256.Sum256(append([]byte(name+"\n"), key...))
	witness := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/x.tlog.size")
		w.WriteHeader(http.StatusConflict)
		_, _ = io.WriteString(w, "1000\n")
	}))
	defer witness.Close()
	output := fmt.Sprintf("output: {review: %[1]s.review, deadletter: %[1]s.dead}\n", f.tag)
	f.extra = output + fmt.Sprintf("anchors: {witness: {url: %q, verifier_key: %q}}", witness.URL, fmt.Sprintf("%s+%x+%s", name, hash[:4], base64.StdEncoding.EncodeToString(key)))
	err = f.tryStart("a")
	if !errors.Is(err, evidence.ErrTampered) || !strings.Contains(err.Error(), "ROLLED BACK: the witness witness.example has signed a head of 1000 records of this log, 1 are signed here") {
		t.Errorf("ended with %v", err)
	}
	if n := f.size(filepath.Join(f.dir, "evidence-a")); n != 1 {
		t.Errorf("%d records, want the first only", n)
	}
	witness.Close()
	f.start("a") // a witness that is away holds up nothing
	f.stop("a")
	f.extra = output + "anchors: {timestamp: {url: 'http://127.0.0.1:1', ca_file: nowhere.pem}}"
	if err := f.tryStart("a"); !errors.Is(err, os.ErrNotExist) || !strings.Contains(err.Error(), "anchors.timestamp.ca_file: ") {
		t.Errorf("without certificates: %v", err)
	}
}

// eventually waits for something that has no channel to wait on.
func (f *fleet) eventually(what string, ok func() bool) {
	f.t.Helper()
	for deadline := time.Now().Add(time.Minute); !ok(); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			f.t.Fatalf("waited in vain for %s", what)
		}
	}
}

// anchored returns of how many records the largest head of a log is that another one has put on record.
func (f *fleet) anchored(dir, origin string) (size int64) {
	f.t.Helper()
	err := evidence.Walk(dir, nil, func(e evidence.Entry) error {
		if e.Kind != evidence.KindAnchor {
			return nil
		}
		var b anchor.Body
		if err := json.Unmarshal(e.Body, &b); err != nil {
			return err
		}
		for _, x := range b.Heads {
			h, err := evidence.ParseCheckpoint([]byte(x.Checkpoint), x.VerifierKey)
			if err != nil {
				return err
			}
			if h.Origin == origin {
				size = max(size, h.Size)
			}
		}
		return nil
	})
	if err != nil {
		f.t.Fatal(err)
	}
	return size
}

// size returns how many records a log has.
func (f *fleet) size(dir string) (n int64) {
	f.t.Helper()
	err := evidence.WalkTail(dir, "1", nil, func(evidence.Entry) bool { return false }, func(e evidence.Entry) error {
		n = e.Index + 1
		return nil
	})
	if err != nil {
		f.t.Fatal(err)
	}
	return n
}

func (f *fleet) incidents(dir, text string) (n int) {
	f.t.Helper()
	err := evidence.Walk(dir, nil, func(e evidence.Entry) error {
		if e.Kind == evidence.KindIncident && strings.Contains(string(e.Body), text) {
			n++
		}
		return nil
	})
	if err != nil {
		f.t.Fatal(err)
	}
	return n
}

func (f *fleet) verify(dir, peer string) *evidence.Report {
	f.t.Helper()
	r, err := evidence.Verify(dir, evidence.VerifyOptions{Peers: []string{peer}})
	if err != nil {
		f.t.Fatal(err)
	}
	return r
}

// copyLog copies an evidence directory, as an image of its disk does; a log that runs is copied as far as it is.
func (f *fleet) copyLog(from, to string) {
	f.t.Helper()
	err := filepath.WalkDir(from, func(path string, d os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(from, path)
		switch {
		case err != nil:
			return err
		case d.IsDir():
			return os.MkdirAll(filepath.Join(to, name), 0o700)
		case !d.Type().IsRegular() || strings.HasSuffix(name, ".tmp"):
			return nil
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(to, name), b, 0o600)
	})
	if err != nil {
		f.t.Fatal(err)
	}
}

package app_test

import (
	"bufio"
	"encoding/json"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/weir-moderation/weir/internal/status"
)

// problems asks the page what is wrong until it is what is wanted, and returns the snapshot.
func (d *running) problems(t *testing.T, want ...status.Kind) *status.Snapshot {
	t.Helper()
	deadline := time.Now().Add(30 * time.Second)
	for {
		var s status.Snapshot
		code, body := d.ask(t, http.MethodGet, "/status.json")
		var got []status.Kind
		if code == http.StatusOK {
			if err := json.Unmarshal([]byte(body), &s); err != nil {
				t.Fatal(err)
			}
			for _, p := range s.Problems {
				got = append(got, p.Kind)
			}
			slices.Sort(got)
			if slices.Equal(got, want) {
				return &s
			}
		}
		if time.Now().After(deadline) {
			t.Fatalf("the page names %v, want %v", got, want)
		}
		time.Sleep(50 * time.Millisecond) // between two questions, not for an effect
	}
}

// Redis that is gone, Kafka that is gone and a disk that is full are named by a real daemon, in words and with the
// next step; Redis that is back is not named any more. Nothing of messages is on the page.
func TestStatusNamesWhatIsBroken(t *testing.T) {
	w := newAway(t)
	d := w.instance(t, "one")
	d.send(t, "weir.posts", "u1", map[string]any{"id": "p1", "time": "2026-03-01T12:00:00Z",
		"user": map[string]any{"id": "user-number-one"}, "fields": map[string]string{"text": "这里有违禁测试词"}})
	d.find(t, "weir.review", "p1")
	d.produce(t, "weir.posts", "u1", []byte(`{"id":"broken`))
	s := d.problems(t)
	for s.Flow.DeadLettered.Total == 0 || s.Flow.Flagged.Total == 0 || len(s.Hits.Rules) == 0 || s.Evidence.Signed == 0 {
		time.Sleep(100 * time.Millisecond) // between two questions
		s = d.problems(t)
	}
	if r := s.Hits.Rules[0]; r.ID != "gambling.x" || r.Hits != 1 || s.Hits.Categories[0].NameZH != "赌博" {
		t.Errorf("hits %+v", s.Hits)
	}
	if s.Flow.In.Total != s.Flow.Passed.Total+s.Flow.Flagged.Total+s.Flow.DeadLettered.Total+s.Flow.Skipped.Total {
		t.Errorf("the flow does not balance: %+v", s.Flow)
	}
	if s.InForce.Policy == "" || len(s.InForce.Digest) != 64 || s.Lag.Assigned == 0 || s.Evidence.Free == 0 || len(s.Dead) != 1 || s.Dead[0].Reason != "truncated" {
		t.Errorf("snapshot %+v", s)
	}
	for _, path := range []string{"/?lang=zh", "/status.json"} {
		_, body := d.ask(t, http.MethodGet, path)
		for _, secret := range []string{"user-number-one", "测试词", "这里有", "broken"} {
			if strings.Contains(body, secret) {
				t.Errorf("%q is on %s", secret, path)
			}
		}
	}

	// All that the page is made of is there, or it would show less without a word.
	always, sometimes := status.Metrics()
	_, metrics := d.ask(t, http.MethodGet, "/metrics")
	for _, name := range append(always, sometimes...) {
		if !strings.Contains(metrics, "# TYPE "+strings.TrimSuffix(name, "_total")) {
			t.Errorf("no metric %s, of which the page is made", name)
		}
	}

	w.gone()
	if p := d.problems(t, status.RedisAway).Problems[0]; p.Level != status.Down || p.Next == "" || !strings.Contains(p.Detail, "refused") {
		t.Errorf("%+v", p)
	}
	w.back(t)
	d.problems(t)

	full := w.instance(t, "two", "key_file: evidence.key", "key_file: evidence.key\n  ballast_bytes: 1125899906842624")
	if p := full.problems(t, status.DiskFull).Problems[0]; p.Part != status.Disk || !strings.Contains(p.Detail, "MiB are free") {
		t.Errorf("%+v", p)
	}

	// What is open to a browser does not hold the process.
	resp, err := http.Get(d.url + "/status/events")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if lines := bufio.NewScanner(resp.Body); !lines.Scan() {
		t.Error(lines.Err())
	}
	d.stop(t)

	// What needs evidence waits for room, and the process goes on.
	full.send(t, "weir.posts", "u2", map[string]any{"id": "p2", "time": "2026-03-01T12:00:00Z",
		"user": map[string]any{"id": "u2"}, "fields": map[string]string{"text": "违禁测试词"}})
	full.await(t, "/metrics", "weir_stalled_partitions 1")
	full.problems(t, status.DiskFull)
	select {
	case err := <-full.done:
		t.Fatalf("a full disk ended it: %v", err)
	default:
	}
	http.DefaultClient.CloseIdleConnections()

	if err := w.world.Close(); err != nil {
		t.Fatal(err)
	}
	if p := full.problems(t, status.DiskFull, status.KafkaAway).Problems[1]; !strings.Contains(p.Detail, "nobody listens there") {
		t.Errorf("%+v", p)
	}
	full.cancel()
	// What it has in hand cannot be committed any more, and it says so or not, by how far it was.
	if err := <-full.done; err != nil {
		t.Log(err)
	}
}

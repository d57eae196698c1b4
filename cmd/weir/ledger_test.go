package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rogpeppe/go-internal/testscript"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-moderation/weir/sinks"
	"github.com/weir-moderation/weir/sinks/evidence"
)

// cover adds coverage to the log of an origin, as many records as there are ranges:
// cover DIR ORIGIN [gap:]TOPIC/PARTITION:FIRST-NEXT[@RULES] .... Every message passed; with
// ! at the end one fewer than was fetched.
func cover(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, !neg && len(args) > 2, "cover dir origin [gap:]topic/partition:first-next[@rules][!] ...")
	log, err := evidence.Open(evidence.Options{Dir: ts.MkAbs(args[0]), Origin: args[1]})
	ts.Check(err)
	for i, text := range args[2:] {
		text, short := strings.CutSuffix(text, "!")
		text, gap := strings.CutPrefix(text, "gap:")
		text, rules, _ := strings.Cut(text, "@")
		at, bounds, _ := strings.Cut(text, ":")
		topic, partition, _ := strings.Cut(at, "/")
		first, next, _ := strings.Cut(bounds, "-")
		r := evidence.CoverageRange{Topic: topic, Partition: int32(number(ts, partition)), First: number(ts, first), Next: number(ts, next), Rules: rules}
		r.Fetched = r.Next - r.First
		r.Passed = r.Fetched
		if short {
			r.Passed--
		}
		kind, body := evidence.KindCoverage, any(evidence.CoverageBody{Ranges: []evidence.CoverageRange{r}})
		if gap {
			kind, body = evidence.KindGap, evidence.GapBody{Topic: topic, Partition: r.Partition, First: r.First, Next: r.Next}
		}
		b, err := json.Marshal(body)
		ts.Check(err)
		id := sha256.Sum256(append(b, args[1]+strconv.Itoa(i)...))
		ts.Check(log.Append(context.Background(), []evidence.Record{{ID: evidence.ID(id[:16]), Kind: kind, Class: evidence.ClassAudit, Body: b}}))
	}
	ts.Check(log.Close())
}

// commit commits an offset for a group of $BROKER: commit GROUP TOPIC PARTITION OFFSET.
func commit(ts *testscript.TestScript, neg bool, args []string) {
	usage(ts, !neg && len(args) == 4, "commit group topic partition offset")
	cl, err := kgo.NewClient(kgo.SeedBrokers(ts.Getenv("BROKER")))
	ts.Check(err)
	defer cl.Close()
	var o kadm.Offsets
	o.AddOffset(args[1], int32(number(ts, args[2])), number(ts, args[3]), -1)
	ts.Check(kadm.NewClient(cl).CommitAllOffsets(context.Background(), args[0], o))
}

// From where to where offsets must have been judged.
func TestCommittedOf(t *testing.T) {
	type offsets = evidence.Offsets
	for _, test := range []struct {
		name       string
		known      offsets
		start, com int64
		latest     bool
		want       offsets
	}{
		{"from the first", offsets{First: 0, Next: 90}, 0, 80, false, offsets{First: 0, Next: 80}},
		{"the log was cut since", offsets{First: 0, Next: 90}, 50, 80, false, offsets{First: 0, Next: 80}},
		{"the evidence begins late", offsets{First: 30, Next: 90}, 10, 80, false, offsets{First: 10, Next: 80}},
		{"the group began late", offsets{First: 30, Next: 90}, 10, 80, true, offsets{First: 30, Next: 80}},
		{"no evidence", offsets{}, 10, 80, false, offsets{First: 10, Next: 80}},
		{"no evidence of a group that began late", offsets{}, 10, 80, true, offsets{First: 80, Next: 80}},
		{"nothing is committed", offsets{First: 0, Next: 90}, 0, -1, false, offsets{}},
		{"nothing at all", offsets{}, 10, -1, false, offsets{First: 10, Next: 10}},
		{"retention passed us", offsets{First: 0, Next: 50}, 70, 50, false, offsets{First: 0, Next: 50}},
	} {
		if got := committedOf(test.known, partitionLog{start: test.start, committed: test.com}, test.latest); got != test.want {
			t.Errorf("%s: %v to %v, want %v to %v", test.name, got.First, got.Next, test.want.First, test.want.Next)
		}
	}
}

// The ledger is whole across restarts: a daemon that is killed between and within batches,
// and two of one group after it, account for every offset; what one judged again is told,
// and the metrics of each life balance.
func TestLedgerAcrossRestarts(t *testing.T) {
	t.Parallel()
	brokers, _ := testBrokers(t)
	k := newKillRun(t, brokers, sinks.AtLeastOnce)
	const posts, half = 12_000, 6_000
	k.produce(t, half)
	for i := range int64(2) {
		p := k.start(t)
		// Dead in the middle of joining it would be a member of the embedded broker's for ever.
		p.metric(t, "weir_assigned_partitions 4", "")
		p.waitFor(t, time.Minute, half*(i+1)/3)
		p.balances(t)
		p.kill(t)
	}
	// The rest is shared by two instances, each with its own evidence.
	config := filepath.Join(k.dir, "weir.yaml")
	text, err := os.ReadFile(config)
	if err != nil {
		t.Fatal(err)
	}
	second := k.sibling(t, string(text))
	a, b := k.start(t), second.start(t)
	a.metric(t, "weir_assigned_partitions ", "weir_assigned_partitions 0\n")
	b.metric(t, "weir_assigned_partitions ", "weir_assigned_partitions 0\n")
	k.produce(t, half)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the second instance: %s", b.log)
		}
	})
	a.waitFor(t, 2*time.Minute, posts)
	if r := k.runLedger(t, exitFine, config, k.dir, second.dir); r.Never != 0 || r.Once+r.Repeated != posts {
		t.Errorf("while it runs: %d once, %d repeated, %d never; want each of %d", r.Once, r.Repeated, r.Never, posts)
	}
	a.balances(t)
	b.balances(t)
	a.terminate(t)
	b.terminate(t)

	r := k.runLedger(t, exitFine, config, k.dir, second.dir)
	if r.Never != 0 || r.Gone != 0 || r.Lag != 0 || r.Once+r.Repeated != posts || len(r.Bad) > 0 || len(r.Logs) != 2 {
		t.Errorf("%d once, %d repeated, %d never, %d gone, lag %d of %d; bad: %v", r.Once, r.Repeated, r.Never, r.Gone, r.Lag, posts, r.Bad)
	}
	k.recount(t, r, k.dir, second.dir)
	t.Logf("%d offsets judged once, %d more than once", r.Once, r.Repeated)

	// Who forgets the instance that judged most of it learns that it is missing.
	r = k.runLedger(t, exitFailed, config, second.dir)
	if r.Never == 0 || r.Never+r.Once+r.Repeated != posts {
		t.Errorf("without an instance: %d never, %d once, %d repeated of %d", r.Never, r.Once, r.Repeated, posts)
	}
}

// sibling is another instance of the same group, with a directory of its own.
func (k *killRun) sibling(t *testing.T, config string) *killRun {
	t.Helper()
	s := *k
	s.dir = t.TempDir()
	config = strings.Replace(config, "rules: {dir: rules,", "instance: \"1\"\nrules: {dir: "+filepath.Join(k.dir, "rules")+",", 1)
	if err := os.WriteFile(filepath.Join(s.dir, "weir.yaml"), []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	return &s
}

// runLedger runs the verb over the evidence of instances.
func (k *killRun) runLedger(t *testing.T, want int, config string, dirs ...string) ledgerReport {
	t.Helper()
	args := []string{"ledger", "--json", "--config", config}
	for _, d := range dirs {
		args = append(args, "--evidence", filepath.Join(d, "evidence"))
	}
	var out, errs bytes.Buffer
	if code := run(t.Context(), args, streams{strings.NewReader(""), &out, &errs}); code != want {
		t.Fatalf("exit code %d, want %d\n%s%s", code, want, &out, &errs)
	}
	var r ledgerReport
	if err := json.Unmarshal(out.Bytes(), &r); err != nil {
		t.Fatal(err)
	}
	return r
}

// recount counts every offset by itself, in a map, and compares.
func (k *killRun) recount(t *testing.T, r ledgerReport, dirs ...string) {
	t.Helper()
	times := make(map[string]int)
	for _, d := range dirs {
		err := evidence.Walk(filepath.Join(d, "evidence"), nil, func(e evidence.Entry) error {
			if e.Kind != evidence.KindCoverage {
				return nil
			}
			var body evidence.CoverageBody
			if err := json.Unmarshal(e.Body, &body); err != nil {
				return err
			}
			for _, c := range body.Ranges {
				for o := c.First; o < c.Next; o++ {
					times[fmt.Sprintf("%s/%d/%d", c.Topic, c.Partition, o)]++
				}
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	var once, repeated int64
	for _, n := range times {
		if n == 1 {
			once++
		} else {
			repeated++
		}
	}
	if diff := cmp.Diff([]int64{once, repeated}, []int64{r.Once, r.Repeated}); diff != "" {
		t.Errorf("once and repeated, -counted +told:\n%s", diff)
	}
}

// scrape returns the metrics of a life by name and labels.
func (p *life) scrape(t *testing.T) map[string]float64 {
	t.Helper()
	p.metric(t, "weir_ledger_unbalanced_total", "") // it is up
	url := regexp.MustCompile(`http://[0-9.:]+`).FindString(p.status.String())
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url+"/metrics", nil)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	body, err := io.ReadAll(resp.Body)
	if err := errors.Join(err, resp.Body.Close()); err != nil {
		t.Fatal(err)
	}
	m := make(map[string]float64)
	for line := range strings.Lines(string(body)) {
		name, value, ok := strings.Cut(strings.TrimSpace(line), " ")
		if v, err := strconv.ParseFloat(value, 64); ok && err == nil {
			m[name] = v
		}
	}
	return m
}

// balances checks that in the metrics of a life what was fetched is what became of it. A
// scrape may meet a batch that is being booked; then the next one decides.
func (p *life) balances(t *testing.T) {
	t.Helper()
	var fetched, sum float64
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); {
		m := p.scrape(t)
		if n, ok := m["weir_ledger_unbalanced_total"]; !ok || n != 0 {
			t.Fatalf("%v batches do not balance (%t)", n, ok)
		}
		var ok bool
		if fetched, ok = m[`weir_ledger_fetched_messages_total{stream="post"}`]; !ok {
			t.Fatal("no metric of what was fetched")
		}
		sum = 0
		for _, o := range []string{"passed", "flagged", "dead_lettered", "skipped"} {
			v, ok := m[`weir_messages_total{outcome="`+o+`",stream="post"}`]
			if !ok {
				t.Fatalf("no metric of the outcome %s", o)
			}
			sum += v
		}
		if fetched == sum {
			return
		}
	}
	t.Errorf("%v fetched, %v with an outcome", fetched, sum)
}

package evidence

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// judged is a coverage range of which every message passed.
func judged(partition int32, first, next int64) CoverageRange {
	return CoverageRange{Topic: "posts", Partition: partition, First: first, Next: next, Fetched: next - first, Passed: next - first}
}

func coverageRecord(n int, ranges ...CoverageRange) Record {
	b, err := json.Marshal(CoverageBody{Ranges: ranges})
	if err != nil {
		panic(err)
	}
	return Record{ID: newID(n), Kind: KindCoverage, Class: ClassAudit, Body: b}
}

func gapRecord(n int, g GapBody) Record {
	b, err := json.Marshal(g)
	if err != nil {
		panic(err)
	}
	return Record{ID: newID(n), Kind: KindGap, Class: ClassAudit, Body: b}
}

// What the coverage records leave open, contradict or repeat is found; a start
// anywhere, a gap record and another instance's account explain a jump.
func TestCoverage(t *testing.T) {
	flagged := judged(0, 10, 20)
	flagged.Passed, flagged.Flagged = 8, 2
	letters := judged(0, 10, 20)
	letters.Passed, letters.DeadLettered = 9, 1
	off := judged(0, 10, 20)
	off.Passed = 9
	tests := []struct {
		name   string
		recs   []Record
		want   []string // the findings
		ledger Ledger
		parts  []PartitionCoverage
	}{
		{
			name:   "whole, two partitions, one after the other",
			recs:   []Record{coverageRecord(1, judged(0, 1000, 1010), judged(1, 5, 7)), coverageRecord(2, judged(0, 1010, 1011)), coverageRecord(3)},
			ledger: Ledger{Fetched: 13, Passed: 13},
			parts: []PartitionCoverage{{Topic: "posts", First: 1000, Next: 1011, Ledger: Ledger{Fetched: 11, Passed: 11}},
				{Topic: "posts", Partition: 1, First: 5, Next: 7, Ledger: Ledger{Fetched: 2, Passed: 2}}},
		},
		{
			name:   "hole",
			recs:   []Record{coverageRecord(1, judged(0, 0, 10)), coverageRecord(2, judged(0, 12, 20))},
			want:   []string{"COVERAGE HOLE: record 2: nobody accounts for the 2 offsets of posts/0 before it, 10 to 12"},
			ledger: Ledger{Fetched: 18, Passed: 18},
			parts:  []PartitionCoverage{{Topic: "posts", First: 0, Next: 20, Ledger: Ledger{Fetched: 18, Passed: 18}, Holes: 2}},
		},
		{
			name:   "hole filled later",
			recs:   []Record{coverageRecord(1, judged(0, 0, 10)), coverageRecord(2, judged(0, 12, 20)), coverageRecord(3, judged(0, 10, 12))},
			ledger: Ledger{Fetched: 20, Passed: 20},
			parts:  []PartitionCoverage{{Topic: "posts", First: 0, Next: 20, Ledger: Ledger{Fetched: 20, Passed: 20}}},
		},
		{
			name:   "gap record",
			recs:   []Record{coverageRecord(1, judged(0, 0, 10)), gapRecord(2, GapBody{"posts", 0, 10, 12}), coverageRecord(3, judged(0, 12, 20))},
			ledger: Ledger{Fetched: 18, Passed: 18},
			parts:  []PartitionCoverage{{Topic: "posts", First: 0, Next: 20, Ledger: Ledger{Fetched: 18, Passed: 18}}},
		},
		{
			name: "gap records that do not explain all of it",
			recs: []Record{coverageRecord(1, judged(0, 0, 10)), gapRecord(2, GapBody{"posts", 0, 12, 14}), gapRecord(3, GapBody{"posts", 1, 10, 20}),
				coverageRecord(4, judged(0, 15, 20))},
			want: []string{"COVERAGE HOLE: record 4: nobody accounts for the 2 offsets of posts/0 before it, 10 to 12",
				"COVERAGE HOLE: record 4: nobody accounts for the 1 offsets of posts/0 before it, 14 to 15"},
			ledger: Ledger{Fetched: 15, Passed: 15},
			parts:  []PartitionCoverage{{Topic: "posts", First: 0, Next: 20, Ledger: Ledger{Fetched: 15, Passed: 15}, Holes: 3}},
		},
		{
			name: "judged again after a crash",
			recs: []Record{coverageRecord(1, judged(0, 0, 10)), coverageRecord(2, judged(0, 2, 8)), coverageRecord(3, judged(0, 5, 15))},
			want: []string{"replayed: record 2: 6 offsets of posts/0, 2 to 8, were accounted for before",
				"replayed: record 3: 5 offsets of posts/0, 5 to 15, were accounted for before"},
			ledger: Ledger{Fetched: 20, Passed: 20},
			parts:  []PartitionCoverage{{Topic: "posts", First: 0, Next: 15, Ledger: Ledger{Fetched: 20, Passed: 20}, Repeated: 1, Overlapping: 1}},
		},
		{
			name:   "does not balance",
			recs:   []Record{coverageRecord(1, off)},
			want:   []string{"BAD COVERAGE: record 1: posts/0 from 10: 10 fetched, but 9 passed, 0 flagged, 0 dead-lettered, 0 skipped"},
			ledger: Ledger{Fetched: 10, Passed: 9},
			parts:  []PartitionCoverage{{Topic: "posts", First: 10, Next: 20, Ledger: Ledger{Fetched: 10, Passed: 9}}},
		},
		{
			name: "cannot be",
			recs: []Record{coverageRecord(1, CoverageRange{Topic: "posts", First: 5, Next: 4}, CoverageRange{Topic: "posts", First: -5, Next: 4}, CoverageRange{Next: 4}),
				coverageRecord(2, CoverageRange{Topic: "posts", First: 5, Next: 6, Fetched: 2, Passed: 2}),
				coverageRecord(3, CoverageRange{Topic: "posts", First: 6, Next: 7, Fetched: 1, Passed: 2, Flagged: -1}),
				{ID: newID(4), Kind: KindCoverage, Body: []byte(`{"ranges":{}}`)}, {ID: newID(5), Kind: KindGap, Body: []byte(`{`)}, gapRecord(6, GapBody{"posts", 0, 2, 1})},
			want: []string{"BAD COVERAGE: record 1: posts/0: 5 to 4 is no range of offsets", "BAD COVERAGE: record 1: posts/0: -5 to 4 is no range of offsets",
				"BAD COVERAGE: record 1: a range has no topic",
				"BAD COVERAGE: record 2: posts/0: 2 fetched from 1 offsets, 5 to 6", "BAD COVERAGE: record 3: posts/0 from 6: a count is negative",
				"BAD COVERAGE: record 4: its body cannot be read", "BAD COVERAGE: record 5: its body cannot be read", "BAD COVERAGE: record 6: its body cannot be read"},
			ledger: Ledger{Fetched: 3, Passed: 4, Flagged: -1},
			parts: []PartitionCoverage{{First: 0, Next: 4}, {Topic: "posts", First: 5, Next: 7,
				Ledger: Ledger{Fetched: 3, Passed: 4, Flagged: -1}}},
		},
		{
			name:   "flagged messages without a record",
			recs:   append(hits(100, 1), hits(100, 1)[0], coverageRecord(1, flagged)),
			want:   []string{"replayed: record 2: it repeats record 1", "MISSING: coverage accounts for 2 flagged messages, the log holds 1 hit and push records"},
			ledger: Ledger{Fetched: 10, Passed: 8, Flagged: 2},
			parts:  []PartitionCoverage{{Topic: "posts", First: 10, Next: 20, Ledger: Ledger{Fetched: 10, Passed: 8, Flagged: 2}}},
		},
		{
			name:   "dead letters without a record",
			recs:   append(hits(100, 5), coverageRecord(1, letters)),
			want:   []string{"MISSING: coverage accounts for 1 dead letters, the log holds 0"},
			ledger: Ledger{Fetched: 10, Passed: 9, DeadLettered: 1},
			parts:  []PartitionCoverage{{Topic: "posts", First: 10, Next: 20, Ledger: Ledger{Fetched: 10, Passed: 9, DeadLettered: 1}}},
		},
		{
			name:   "flagged messages with their records, twice",
			recs:   append(hits(100, 2), coverageRecord(1, flagged), coverageRecord(1, flagged)),
			want:   []string{"replayed: record 4: it repeats record 3", "replayed: record 4: 10 offsets of posts/0, 10 to 20, were accounted for before"},
			ledger: Ledger{Fetched: 10, Passed: 8, Flagged: 2},
			parts:  []PartitionCoverage{{Topic: "posts", First: 10, Next: 20, Ledger: Ledger{Fetched: 10, Passed: 8, Flagged: 2}, Repeated: 1}},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			dir := t.TempDir()
			l := open(t, dir)
			mustAppend(t, l, tt.recs...)
			mustClose(t, l)
			r := verify(t, dir)
			alarms := int64(0)
			var got []string
			for _, f := range r.Findings {
				s, _, _ := strings.Cut(f.String(), " (")
				got = append(got, s)
				if f.Verdict.Alarm() {
					alarms++
				}
			}
			if d := cmp.Diff(tt.want, got); d != "" {
				t.Error(d)
			}
			if d := cmp.Diff(tt.ledger, r.Ledger); d != "" {
				t.Error(d)
			}
			if d := cmp.Diff(tt.parts, r.Partitions); d != "" {
				t.Error(d)
			}
			if r.Alarms != alarms || r.OK() != (alarms == 0) {
				t.Errorf("%d alarms, %v", r.Alarms, r.OK())
			}
		})
	}
}

// A partition that went to another instance and came back leaves no hole where
// that instance's evidence is at hand.
func TestCoverageOfPeers(t *testing.T) {
	dir, peer := t.TempDir(), t.TempDir()
	l := open(t, dir)
	mustAppend(t, l, coverageRecord(1, judged(0, 0, 10)), coverageRecord(2, judged(0, 30, 40)))
	mustClose(t, l)
	p := open(t, peer)
	mustAppend(t, p, coverageRecord(1, judged(0, 10, 25)), gapRecord(2, GapBody{"posts", 0, 25, 30}))
	mustClose(t, p)
	if r := verify(t, dir); r.Alarms != 1 || r.Findings[0].Verdict != CoverageHole {
		t.Errorf("alone: %v", r.Findings)
	}
	r, err := Verify(dir, VerifyOptions{Peers: []string{peer}})
	if err != nil {
		t.Fatal(err)
	}
	if !r.OK() || r.Ledger.Fetched != 20 {
		t.Errorf("with its peer: %v %+v", r.Findings, r.Ledger)
	}
}

// A record that comes again is told apart: the same again, a push decided anew,
// and one id with two meanings.
func TestRepeatedIDs(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir)
	hit, push := hits(1, 1)[0], Record{ID: newID(2), Kind: KindPush, Class: ClassPush, Body: []byte(`{"decision":"defer"}`)}
	other := hit
	other.Body = []byte(`{}`)
	again := push
	again.Body = []byte(`{"decision":"allow"}`)
	asPush := hit
	asPush.Kind = KindDeadLetter
	mustAppend(t, l, hit, push, hit, push, again, other, asPush)
	mustClose(t, l)
	r := verify(t, dir)
	var got []string
	for _, f := range r.Findings {
		s, _, _ := strings.Cut(f.String(), " (")
		got = append(got, s)
		if f.File != testSeg || f.Offset == 0 || f.Time.IsZero() {
			t.Errorf("no place: %+v", f)
		}
	}
	want := []string{
		"replayed: record 3: it repeats record 1",
		"replayed: record 4: it repeats record 2",
		"decided again: record 5: the push of record 2 was decided again",
		"CONFLICT: record 6: it has the id of record 1 and says something else",
		"CONFLICT: record 7: it has the id of record 1 and says something else",
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if r.Alarms != 2 || r.Replayed != 5 {
		t.Errorf("%+v", r)
	}
}

// What no checkpoint covers yet is noted with its count, and is no alarm.
func TestUnsignedTail(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir)
	mustAppend(t, l, hits(0, 3)...)
	if err := l.checkpoint(); err != nil {
		t.Fatal(err)
	}
	mustAppend(t, l, hits(3, 2)...)
	r := verifyOK(t, dir)
	if r.Unsigned != 2 || r.Signed != 4 || r.Records != 6 || len(r.Findings) != 1 || r.Findings[0].Verdict != UnsignedTail ||
		r.Findings[0].Index != 4 || r.Findings[0].Count != 2 {
		t.Errorf("%+v", r)
	}
	if r.HeadTime.IsZero() || r.HeadTime.After(r.To) || r.Root == "" {
		t.Errorf("%+v", r)
	}
}

// What cannot be checked is an error that says what is lacking, never a report.
func TestVerifyCannotCheck(t *testing.T) {
	good := t.TempDir()
	vkey := fill(t, good, 3)
	noKey := copyDir(t, good)
	if err := os.Remove(filepath.Join(noKey, verifierFile)); err != nil {
		t.Fatal(err)
	}
	empty := t.TempDir()
	if err := os.MkdirAll(filepath.Join(empty, testLogDir), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		dir  string
		o    VerifyOptions
		want string
	}{
		{t.TempDir(), VerifyOptions{}, "no verifier key given and none beside the log"},
		{noKey, VerifyOptions{}, "no verifier key given and none beside the log"},
		{good, VerifyOptions{VerifierKey: "nonsense"}, "it is one line of the form <origin>+<hash>+<key>"},
		{t.TempDir(), VerifyOptions{VerifierKey: vkey}, "the log of " + testOrigin + " is not in "},
		{empty, VerifyOptions{VerifierKey: vkey}, "holds no evidence"},
		{good, VerifyOptions{Heads: [][]byte{[]byte("x")}}, "checkpoint 1 of those given: it is not a signed note"},
		{good, VerifyOptions{Peers: []string{filepath.Join(good, "none")}}, "no such file"},
	} {
		r, err := Verify(tt.dir, tt.o)
		if r != nil || err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("want %q, got %v, %v", tt.want, r, err)
		}
	}
	if err := Walk(t.TempDir(), nil, nil); err == nil || !strings.Contains(err.Error(), "holds no evidence log") {
		t.Errorf("walk: %v", err)
	}
}

// A record of a later version is not called altered as long as the signed tree
// has it; it is counted as not opened.
func TestLaterVersions(t *testing.T) {
	dir := t.TempDir()
	l := open(t, dir)
	items := prepared(t, nil, hits(0, 1)...)
	items[0].leaf[3] = 0x20 // a flag of the future
	if err := l.write([]part{{items: items}}); err != nil {
		t.Fatal(err)
	}
	mustAppend(t, l, hits(1, 1)...)
	mustClose(t, l)
	r := verifyOK(t, dir)
	if r.Unopened != 1 || r.Records != 3 || r.Signed != 3 {
		t.Errorf("%+v", r)
	}
}

// A report lists so many findings and counts the rest, and an alarm always finds
// a place before a note does.
func TestFindingsAreLimited(t *testing.T) {
	r := &Report{}
	for range maxFindings + 10 {
		r.find(Finding{Verdict: Replayed})
	}
	for i := range 5 {
		r.find(Finding{Verdict: Altered, Index: int64(i)})
	}
	alarms := 0
	for _, f := range r.Findings {
		if f.Verdict.Alarm() {
			alarms++
		}
	}
	if len(r.Findings) != maxFindings || r.Unlisted != 15 || r.Alarms != 5 || alarms != 5 {
		t.Errorf("%d listed, %d not, %d alarms of %d listed", len(r.Findings), r.Unlisted, alarms, r.Alarms)
	}
}

// The names of kinds, classes and verdicts are part of the format.
func TestWords(t *testing.T) {
	var got []string
	for _, k := range append(Kinds(), 99) {
		got = append(got, fmt.Sprintf("%d %s", k, k))
	}
	for c := range Class(6) {
		got = append(got, fmt.Sprintf("%d %s", c, c))
	}
	want := []string{"1 genesis", "2 start", "3 stop", "4 ruleset", "5 coverage", "6 gap", "7 incident", "8 erase",
		"9 seal", "10 anchor", "11 rotation", "12 damaged", "13 heartbeat", "14 timestamp", "16 hit", "17 push", "18 deadletter", "19 breach", "20 recall", "21 consent",
		"32 access", "33 export", "48 hold", "49 release", "50 destroy-plan", "51 destroy", "52 destroyed", "53 shred", "54 restricted",
		"99 kind-99",
		"0 none", "1 audit", "2 content", "3 push", "4 policy", "5 class-5"}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

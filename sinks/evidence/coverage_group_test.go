package evidence

import (
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// cover is a coverage range in which every message passed.
func cover(partition int32, first, next int64, rules string) CoverageRange {
	return CoverageRange{Topic: "p", Partition: partition, First: first, Next: next, Fetched: next - first, Passed: next - first, Rules: rules}
}

// accountsOf writes a log with coverage and gap records, in their order.
func accountsOf(t *testing.T, dir, origin string, list ...any) {
	t.Helper()
	l, err := Open(Options{Dir: dir, Origin: origin, Now: clock(), calls: noSync()})
	if err != nil {
		t.Fatal(err)
	}
	for i, x := range list {
		r := Record{ID: newID(i), Class: ClassAudit, Kind: KindCoverage}
		switch x := x.(type) {
		case GapBody:
			r.Kind = KindGap
			r.Body, err = json.Marshal(x)
		case CoverageRange:
			r.Body, err = json.Marshal(CoverageBody{Ranges: []CoverageRange{x}})
		case string:
			r.Body = []byte(x)
		}
		if err != nil {
			t.Fatal(err)
		}
		mustAppend(t, l, r)
	}
	mustClose(t, l)
}

func readGroup(t *testing.T, dirs ...string) *Group {
	t.Helper()
	g := new(Group)
	for _, d := range dirs {
		if err := g.Read(d); err != nil {
			t.Fatal(err)
		}
	}
	return g
}

// What a whole group accounts for is put together from the logs of all its instances and
// generations: what was judged once, what twice and by whom, what never, what was gone.
func TestGroupAccount(t *testing.T) {
	a, b := t.TempDir(), t.TempDir()
	accountsOf(t, a, "weir/evidence/0/1", cover(0, 0, 10, "r1"), cover(0, 10, 20, "r1"), GapBody{"p", 0, 60, 70})
	accountsOf(t, a, "weir/evidence/0/2", cover(0, 15, 25, "r1"), cover(1, 5, 6, "r1"), GapBody{"p", 0, 18, 19})
	accountsOf(t, b, "weir/evidence/1/1", cover(0, 22, 40, "r2"), cover(0, 30, 35, "r2"), cover(0, 34, 35, "r2"), cover(0, 50, 60, "r2"))
	g := readGroup(t, a, b)
	j := func(log, rules string) Judge { return Judge{Log: "weir/evidence/" + log, Rules: rules} }
	want := GroupAccount{
		Once: 15 + 2 + (40 - 25 - 5) + 10,
		Repeated: []Repeat{
			{Offsets{15, 20}, []Judge{j("0/1", "r1"), j("0/2", "r1")}},
			{Offsets{22, 25}, []Judge{j("0/2", "r1"), j("1/1", "r2")}},
			{Offsets{30, 34}, []Judge{j("1/1", "r2"), j("1/1", "r2")}},
			{Offsets{34, 35}, []Judge{j("1/1", "r2"), j("1/1", "r2"), j("1/1", "r2")}},
		},
		Gone:  []Offsets{{60, 70}},
		Never: []Offsets{{40, 50}, {70, 75}},
	}
	if diff := cmp.Diff(want, g.Account("p", 0, Offsets{0, 75})); diff != "" {
		t.Error(diff)
	}
	if o := g.Bounds("p", 0); o != (Offsets{0, 70}) {
		t.Errorf("bounds %v", o)
	}
	if o := g.Bounds("p", 1); o != (Offsets{5, 6}) {
		t.Errorf("bounds %v", o)
	}
	if o := g.Bounds("p", 2); o.Count() != 0 {
		t.Errorf("bounds of what nobody knows: %v", o)
	}
	if diff := cmp.Diff([]Offsets{{3, 9}}, g.Account("p", 2, Offsets{3, 9}).Never); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff(map[string][]int32{"p": {0, 1}}, g.Topics()); diff != "" {
		t.Error(diff)
	}
	// The sums leave out what was judged before as a whole.
	if s := g.Sum("p", 0); s.Fetched != 20+10+18+10 || s.Passed != s.Fetched {
		t.Errorf("sum %+v", s)
	}
	if s := g.Sum("p", 9); s != (Ledger{}) {
		t.Errorf("sum of what nobody knows %+v", s)
	}
	var logs []string
	for _, l := range g.Logs() {
		logs = append(logs, fmt.Sprint(l.Origin, " ", l.Records, " ", l.Accounts, " ", l.From.Before(l.To)))
	}
	if diff := cmp.Diff([]string{"weir/evidence/0/1 4 2 true", "weir/evidence/0/2 4 2 true", "weir/evidence/1/1 5 4 true"}, logs); diff != "" {
		t.Error(diff)
	}
	if len(g.Bad()) > 0 {
		t.Errorf("bad: %v", g.Bad())
	}
}

// Whatever is on record, every offset is where a count of each one by itself puts it.
func TestGroupAccountAgainstCountingOneByOne(t *testing.T) {
	const offsets = 60
	for seed := range uint64(300) {
		r := rand.New(rand.NewPCG(seed, 7))
		var g Group
		judges := []Judge{{Log: "a", Rules: "1"}, {Log: "a", Rules: "2"}, {Log: "b", Rules: "1"}}
		var times [offsets][]Judge
		var gone [offsets]bool
		for range r.IntN(14) {
			first := r.Int64N(offsets)
			next := min(offsets, first+r.Int64N(25))
			if r.IntN(5) == 0 {
				p := g.of("t", 0)
				if first < next {
					p.gone, _ = insert(p.gone, span{first: first, next: next})
				}
				for o := first; o < next; o++ {
					gone[o] = true
				}
				continue
			}
			j := judges[r.IntN(len(judges))]
			g.of("t", 0).judge(j, span{first: first, next: next})
			for o := first; o < next; o++ {
				times[o] = append(times[o], j)
			}
		}
		within := Offsets{First: r.Int64N(offsets)}
		within.Next = within.First + r.Int64N(offsets-within.First)
		got := g.Account("t", 0, within)

		says := make(map[int64]string)
		once := int64(0)
		for _, x := range got.Repeated {
			for o := x.First; o < x.Next; o++ {
				says[o] += fmt.Sprint(x.By)
			}
		}
		for _, x := range got.Gone {
			for o := x.First; o < x.Next; o++ {
				says[o] += "gone"
			}
		}
		for _, x := range got.Never {
			for o := x.First; o < x.Next; o++ {
				says[o] += "never"
			}
		}
		for o := within.First; o < within.Next; o++ {
			slices.SortFunc(times[o], Judge.compare)
			want := fmt.Sprint(times[o])
			switch {
			case len(times[o]) == 1:
				once++
				want = ""
			case len(times[o]) == 0 && gone[o]:
				want = "gone"
			case len(times[o]) == 0:
				want = "never"
			}
			if says[o] != want {
				t.Fatalf("seed %d: offset %d: %q, want %q", seed, o, says[o], want)
			}
		}
		if got.Once != once || once+got.RepeatedOffsets()+Total(got.Gone)+Total(got.Never) != within.Count() {
			t.Fatalf("seed %d: %d once, want %d; %+v of %v", seed, got.Once, once, got, within)
		}
	}
}

// Accounts that cannot be true are told, wherever they are.
func TestGroupTellsBadAccounts(t *testing.T) {
	dir := t.TempDir()
	short := cover(0, 0, 10, "r")
	short.Passed = 9
	back := cover(0, 20, 20, "r")
	back.Next = 15
	accountsOf(t, dir, "weir/evidence/0/1", short, back, "{", `{"ranges":[{"topic":"","first":1,"next":2}]}`, GapBody{"", 0, 1, 2}, GapBody{"p", 0, 2, 1})
	g := readGroup(t, dir)
	want := []string{
		"weir/evidence/0/1 record 1: p/0 from 0: 10 fetched, but 9 passed, 0 flagged, 0 dead-lettered, 0 skipped",
		"weir/evidence/0/1 record 2: p/0: 20 to 15 is no range of offsets",
		"weir/evidence/0/1 record 3: the body of a coverage record cannot be read",
		"weir/evidence/0/1 record 4: a range has no topic",
		"weir/evidence/0/1 record 5: the body of a gap record cannot be read",
		"weir/evidence/0/1 record 6: the body of a gap record cannot be read",
	}
	if diff := cmp.Diff(want, g.Bad()); diff != "" {
		t.Error(diff)
	}
	// What was judged by an account that does not add up was judged all the same.
	if a := g.Account("p", 0, Offsets{0, 10}); a.Once != 10 {
		t.Errorf("%+v", a)
	}
}

// A log is counted once, and what holds none is no evidence.
func TestGroupRefusals(t *testing.T) {
	a, b := t.TempDir(), t.TempDir()
	accountsOf(t, a, "weir/evidence/0/1", cover(0, 0, 10, "r"))
	accountsOf(t, b, "weir/evidence/0/1", cover(0, 0, 10, "r"))
	g := readGroup(t, a)
	if err := g.Read(b); err == nil || !strings.Contains(err.Error(), "the log weir/evidence/0/1 is also in "+a+"; give each log once") {
		t.Errorf("the same log from elsewhere: %v", err)
	}
	for _, dir := range []string{t.TempDir(), filepath.Join(a, "nowhere"), filepath.Join(a, "log")} {
		if err := g.Read(dir); err == nil || !strings.Contains(err.Error(), "holds no evidence log") {
			t.Errorf("%s: %v", dir, err)
		}
	}
	for o, want := range map[Offsets]string{{7, 8}: "7", {7, 20}: "7-19"} {
		if o.String() != want {
			t.Errorf("%s, want %s", o, want)
		}
	}
}

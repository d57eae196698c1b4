package evidence

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/weir-moderation/weir/sinks/evidence/keys"
)

// lived is a log that everything has happened to: it is encrypted, its first two
// segments are sealed and the third is not, a day was destroyed with a part of it kept
// for a hold, and a person was erased.
type lived struct {
	dir  string
	vkey string
	seal []SealBody // by segment
	// Indices of records.
	destroy, shred, held int64
	kept                 int64             // a content record that is as it was, in the first segment
	erased               []int64           // of the person who was erased
	want                 map[Verdict]int64 // with keys
}

// The days of the log: the first is destroyed.
const (
	dayOne = "2026-10-30"
	dayTwo = "2026-11-02"
)

func live(t testing.TB, dir string) *lived {
	t.Helper()
	x := &lived{dir: dir, want: make(map[Verdict]int64)}
	now, err := time.Parse(time.DateOnly, dayOne)
	if err != nil {
		t.Fatal(err)
	}
	tick := func() time.Time {
		now = now.Add(time.Second)
		return now
	}
	ring, err := keys.Open(filepath.Join(dir, keysDir), keys.Options{Now: tick})
	if err != nil {
		t.Fatal(err)
	}
	defer ring.Close()
	l, err := Open(Options{Dir: dir, Origin: testOrigin, Keys: ring, Now: tick, calls: noSync()})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	x.vkey = l.VerifierKey()
	n := 0
	some := func(groups int) {
		for g := range groups {
			var recs []Record
			for i := range 1 + g%4 {
				user := fmt.Sprintf("u%d", n%5)
				r := about(n, user, strings.Repeat("text ", n%7))
				switch n % 6 {
				case 1:
					r.Kind, r.Class = KindPush, ClassPush
				case 2:
					r = Record{ID: newID(n), Kind: KindRuleSet, Class: ClassPolicy, Body: fmt.Appendf(nil, `{"rules":%d}`, n)}
				case 3:
					r = Record{ID: newID(n), Kind: KindIncident, Class: ClassAudit, Body: fmt.Appendf(nil, `{"incident":%d}`, i)}
				}
				recs = append(recs, r)
				n++
			}
			mustAppend(t, l, recs...)
			if g%5 == 4 {
				if err := l.checkpoint(); err != nil {
					t.Fatal(err)
				}
			}
		}
	}
	note := func(kind Kind, body any) int64 {
		b, err := json.Marshal(body)
		if err != nil {
			t.Fatal(err)
		}
		index, err := l.AppendOne(context.Background(), Record{ID: newID(1000 + int(l.Size())), Kind: kind, Class: ClassAudit, Body: b})
		if err != nil {
			t.Fatal(err)
		}
		if err := l.checkpoint(); err != nil {
			t.Fatal(err)
		}
		return index
	}
	some(10)
	if now, err = time.Parse(time.DateOnly, dayTwo); err != nil {
		t.Fatal(err)
	}
	some(10)
	mustSeal(t, l)
	some(12)
	mustSeal(t, l)
	some(8)
	x.seal = seals(t, dir)
	if len(x.seal) != 2 {
		t.Fatalf("%d seals", len(x.seal))
	}

	// A person is erased: recorded, signed, then the keys go.
	handles, err := ring.Find("u3")
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, h := range handles {
		names = append(names, h.String())
	}
	var ranges [][2]int64
	for _, e := range walked(t, dir, ring) {
		if e.Encrypted && slices.Contains(handles, e.Handle) {
			ranges = append(ranges, [2]int64{e.Index, e.Index + 1})
			x.erased = append(x.erased, e.Index)
			if e.Class != ClassContent || e.Time.UTC().Format(time.DateOnly) != dayOne {
				x.want[Erased]++ // the others are destroyed below
			}
		}
	}
	x.shred = note(KindShred, map[string]any{"handles": names, "records": []any{map[string]any{"generation": "1", "ranges": ranges}}})
	if _, err := ring.ShredHandles(handles); err != nil {
		t.Fatal(err)
	}

	// A day is destroyed but for a record that a hold keeps.
	file := x.file(0, ClassContent, dayOne)
	x.held = x.record(t, ring, file, func(e Entry) bool { return !slices.Contains(x.erased, e.Index) })
	x.kept = x.record(t, ring, x.file(0, ClassContent, dayTwo), func(e Entry) bool { return !slices.Contains(x.erased, e.Index) })
	hold := note(KindHold, map[string]any{"authority": "court"})
	copyHeld(t, dir, file, fmt.Sprintf("body/hold/%d/%s", hold, filepath.Base(file.File)), x.held)
	x.destroy = note(KindDestroy, map[string]any{"plan": "00", "files": []SealedBodies{file}, "key_files": []string{}})
	if err := os.Remove(filepath.Join(dir, file.File)); err != nil {
		t.Fatal(err)
	}
	note(KindDestroyed, map[string]any{"destroy": "00", "files": []SealedBodies{file}})
	some(3)

	x.want[Destroyed], x.want[Held] = file.Records-1, 1
	mustClose(t, l)
	x.want[Sound] = l.Size() - x.want[Destroyed] - x.want[Held] - x.want[Erased]
	return x
}

// file returns a body file as it was sealed.
func (x *lived) file(segment int, c Class, day string) SealedBodies {
	i := slices.IndexFunc(x.seal[segment].Bodies, func(b SealedBodies) bool { return b.Class == c.String() && b.Day == day })
	return x.seal[segment].Bodies[i]
}

// record returns the second record of a file that fits.
func (x *lived) record(t testing.TB, ring *keys.Ring, f SealedBodies, fits func(Entry) bool) int64 {
	t.Helper()
	n := 0
	for _, e := range walked(t, x.dir, ring) {
		if e.Index >= f.First && e.Index <= f.Last && e.Class.String() == f.Class && e.Time.UTC().Format(time.DateOnly) == f.Day && fits(e) {
			if n++; n == 2 {
				return e.Index
			}
		}
	}
	t.Fatal("no such record")
	return 0
}

// moved are the entries of a body file, header included.
type movedEntry struct {
	index  int64
	offset int
	bytes  []byte // with the header of 8
}

func entriesOf(b []byte) (all []movedEntry) {
	first := int64(binary.BigEndian.Uint64(b[8:]))
	for o := bodyHeader; o < len(b); {
		n := bodyEntryHeader + int(binary.BigEndian.Uint32(b[o+4:]))
		all = append(all, movedEntry{first + int64(binary.BigEndian.Uint32(b[o:])), o, b[o : o+n : o+n]})
		o += n
	}
	return all
}

// joinBodies makes a body file of entries.
func joinBodies(head []byte, all []movedEntry) []byte {
	b := bytes.Clone(head[:bodyHeader])
	for _, e := range all {
		b = append(b, e.bytes...)
	}
	return b
}

// copyHeld keeps one entry of a body file under another name.
func copyHeld(t testing.TB, dir string, f SealedBodies, name string, index int64) {
	t.Helper()
	b := read(t, dir, f.File)
	write(t, dir, name, joinBodies(b, slices.DeleteFunc(entriesOf(b), func(e movedEntry) bool { return e.index != index })))
}

// ringOf opens the keys of a copy of a log for reading.
func ringOf(t testing.TB, dir string) *keys.Ring {
	t.Helper()
	ring, err := keys.Open(filepath.Join(dir, keysDir), keys.Options{ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ring.Close() })
	return ring
}

// A log that everything has happened to verifies without an alarm, with keys and
// without; each record has its verdict, and each gap is explained.
func TestVerifyLived(t *testing.T) {
	x := live(t, memDir(t))
	keyed := verifyWith(t, x.dir, ringOf(t, x.dir))
	if d := cmp.Diff(x.want, keyed.Verdicts); d != "" || !keyed.OK() {
		t.Errorf("with keys: %s %v", d, keyed.Findings)
	}
	sum := int64(0)
	for _, n := range keyed.Verdicts {
		sum += n
	}
	if sum != keyed.Records {
		t.Errorf("%d verdicts on %d records", sum, keyed.Records)
	}
	keyless := verify(t, x.dir)
	want := map[Verdict]int64{Destroyed: x.want[Destroyed], Held: 1, Erased: x.want[Erased]}
	for _, e := range walked(t, x.dir, nil) {
		if e.Body != nil {
			want[Sound]++
		}
	}
	want[NotOpened] = keyless.Records - want[Sound] - want[Destroyed] - want[Held] - want[Erased]
	if d := cmp.Diff(want, keyless.Verdicts); d != "" || !keyless.OK() {
		t.Errorf("without keys: %s %v", d, keyless.Findings)
	}
	for _, r := range []*Report{keyed, keyless} {
		for _, words := range []string{
			fmt.Sprintf("destroyed: record %d: ", x.file(0, ClassContent, dayOne).First),
			fmt.Sprintf(", see #%d (%s offset 0", x.destroy, x.file(0, ClassContent, dayOne).File),
			fmt.Sprintf("erased: %d records, see #%d", x.want[Erased], x.shred),
		} {
			if !slices.ContainsFunc(r.Findings, func(f Finding) bool { return strings.Contains(f.String(), words) }) {
				t.Errorf("nothing says %q: %v", words, r.Findings)
			}
		}
	}
	all, err := VerifyAll(x.dir, nil, VerifyOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if len(all.Logs) != 1 || len(all.Findings) != 0 || !all.OK() {
		t.Errorf("%+v", all)
	}
}

// What explains a gap must itself be signed; a gap that nothing explains is an alarm,
// though whoever made it holds the key of the log and every head agrees.
func TestGapsNeedSignedRecords(t *testing.T) {
	dir := memDir(t)
	ring, err := keys.Open(filepath.Join(dir, keysDir), keys.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer ring.Close()
	l := openWith(t, dir, ring)
	mustAppend(t, l, about(1, "a", "one"), about(2, "b", "two"), about(3, "b", "three"))
	mustSeal(t, l)
	sealed := seals(t, dir)[0].Bodies[0]
	handles, err := ring.Find("b")
	if err != nil {
		t.Fatal(err)
	}
	alarm := func(ring *keys.Ring, index int64, words string) {
		t.Helper()
		r := verifyWith(t, dir, ring)
		if !slices.ContainsFunc(alarms(r), func(f Finding) bool {
			return f.Verdict == Missing && f.Index == index && strings.Contains(f.Detail, words)
		}) || r.Verdicts[Missing] == 0 {
			t.Errorf("keys %v: no alarm for record %d %q: %v %v", ring != nil, index, words, r.Findings, r.Verdicts)
		}
	}
	fine := func(ring *keys.Ring, verdict Verdict, n int64) {
		t.Helper()
		if r := verifyWith(t, dir, ring); !r.OK() || r.Verdicts[verdict] != n {
			t.Errorf("keys %v: want %d %s: %v %v", ring != nil, n, verdict, r.Findings, r.Verdicts)
		}
	}
	say := func(kind Kind, body any) {
		t.Helper()
		b, err := json.Marshal(body)
		if err != nil {
			t.Fatal(err)
		}
		mustAppend(t, l, Record{ID: newID(100 + int(l.Size())), Kind: kind, Class: ClassAudit, Body: b})
	}
	sign := func() {
		t.Helper()
		if err := l.checkpoint(); err != nil {
			t.Fatal(err)
		}
	}

	if _, err := ring.ShredHandles(handles); err != nil {
		t.Fatal(err)
	}
	sign()
	alarm(ring, 2, "the key of its body is gone, and no record says why")
	fine(nil, NotOpened, 3) // without keys nobody knows
	say(KindShred, map[string]any{"handles": []string{handles[0].String()}})
	alarm(ring, 2, "#5 says why, but no signed head covers that record")
	sign()
	fine(ring, Erased, 2)
	fine(nil, Erased, 2)

	if err := os.Remove(filepath.Join(dir, sealed.File)); err != nil {
		t.Fatal(err)
	}
	for _, ring := range []*keys.Ring{ring, nil} {
		alarm(ring, 1, "the file is gone with 3 bodies, and no record says why")
	}
	forged := sealed
	forged.SHA256 = strings.Repeat("0", 64)
	say(KindDestroy, map[string]any{"files": []SealedBodies{forged}})
	sign()
	alarm(nil, 1, "no record says why") // another file of that name was
	say(KindDestroy, map[string]any{"files": []SealedBodies{sealed}})
	for _, ring := range []*keys.Ring{ring, nil} {
		alarm(ring, 1, "#7 says why, but no signed head covers that record")
	}
	sign()
	for _, ring := range []*keys.Ring{ring, nil} {
		fine(ring, Destroyed, 3)
	}
	mustClose(t, l)
}

// The logs of a directory are checked in the order of their lives: each against what
// the next one says of it, and gaps of an earlier one are explained by a later one.
func TestVerifyGenerations(t *testing.T) {
	dir := memDir(t)
	tick := clock()
	begin := func(origin string, previous func() (*Previous, error)) *Log {
		t.Helper()
		l, err := Open(Options{Dir: dir, Origin: origin, Previous: previous, Now: tick, calls: noSync()})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { l.Close() })
		return l
	}
	first := begin("example.net/evidence/test/9", nil) // later by name, earlier by time
	mustAppend(t, first, hits(1, 5)...)
	mustSeal(t, first)
	mustClose(t, first)
	checkpoint := first.Checkpoint()
	next := begin("example.net/evidence/test/10", func() (*Previous, error) { return Follow(dir, checkpoint) })
	mustAppend(t, next, hits(10, 3)...)
	var file SealBody
	if err := WalkGeneration(dir, "9", nil, func(e Entry) error {
		if e.Kind == KindSeal {
			return json.Unmarshal(e.Body, &file)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(map[string]any{"files": file.Bodies})
	if err != nil {
		t.Fatal(err)
	}
	mustAppend(t, next, Record{ID: newID(20), Kind: KindDestroy, Class: ClassAudit, Body: b})
	mustClose(t, next)
	if err := os.Remove(filepath.Join(dir, file.Bodies[0].File)); err != nil {
		t.Fatal(err)
	}

	all := func(dir string, vkeys []string, o VerifyOptions) *DirReport {
		t.Helper()
		r, err := VerifyAll(dir, vkeys, o)
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	r := all(dir, []string{first.VerifierKey(), next.VerifierKey()}, VerifyOptions{})
	if !r.OK() || len(r.Logs) != 2 || r.Logs[0].Origin != first.Origin() || r.Logs[1].Origin != next.Origin() ||
		r.Logs[0].KeyFromLog || r.Logs[1].KeyFromLog || len(r.Findings) != 0 || r.Verdicts[Destroyed] != 5 {
		t.Errorf("%+v", r)
	}
	if r := all(dir, nil, VerifyOptions{}); !r.OK() || len(r.Logs) != 2 || !r.Logs[0].KeyFromLog || !r.Logs[1].KeyFromLog {
		t.Errorf("%+v", r)
	}
	if r := all(dir, nil, VerifyOptions{Generation: "9"}); !r.OK() || len(r.Logs) != 1 || r.Logs[0].Origin != first.Origin() {
		t.Errorf("%+v", r)
	}
	for want, bad := range map[string]func() error{
		"there is no generation 11": func() error {
			_, err := VerifyAll(dir, nil, VerifyOptions{Generation: "11"})
			return err
		},
		"the log of example.net/evidence/test/1 is not in ": func() error {
			other := memDir(t)
			l := open(t, other)
			mustClose(t, l)
			_, err := VerifyAll(dir, []string{l.VerifierKey()}, VerifyOptions{})
			return err
		},
		"it is one line of the form": func() error {
			_, err := VerifyAll(dir, []string{"nonsense"}, VerifyOptions{})
			return err
		},
	} {
		if err := bad(); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("want %q, got %v", want, err)
		}
	}

	// The earlier log is rolled back to before what the later one says of it.
	short := copyDir(t, dir)
	history := read(t, short, "log/9/checkpoints.log")
	n, _ := cutCheckpoint(history)
	write(t, short, "log/9/checkpoints.log", history[:n])
	write(t, short, "log/9/checkpoint", history[:n-1])
	seg := read(t, short, "log/9/seg/"+nameOfSegment(0))
	write(t, short, "log/9/seg/"+nameOfSegment(0), seg[:offsets(seg)[1]])
	if err := os.Remove(filepath.Join(short, "log/9/seg", nameOfSegment(6))); err != nil {
		t.Fatal(err)
	}
	if r := all(short, nil, VerifyOptions{}); r.OK() || !slices.ContainsFunc(r.Logs[0].Findings, func(f Finding) bool {
		return f.Verdict == Missing && strings.Contains(f.String(), "records are signed, ")
	}) {
		t.Errorf("rolled back: %v", r.Logs[0].Findings)
	}
	// It is gone.
	gone := copyDir(t, dir)
	if err := os.RemoveAll(filepath.Join(gone, "log/9")); err != nil {
		t.Fatal(err)
	}
	if r := all(gone, nil, VerifyOptions{}); r.OK() || !named(r.Findings, Missing, 0, "log/10", "the log begins after example.net/evidence/test/9, which is not here") {
		t.Errorf("gone: %+v", r)
	}
	// Its beginning is not readable, and no key is given.
	cut := copyDir(t, dir)
	write(t, cut, "log/9/seg/"+nameOfSegment(0), nil)
	if r := all(cut, nil, VerifyOptions{}); r.OK() || !named(r.Findings, Altered, -1, "log/9", "nobody knows its key") {
		t.Errorf("cut: %+v", r)
	}
	if r := all(cut, []string{first.VerifierKey()}, VerifyOptions{}); r.OK() || !slices.ContainsFunc(r.Logs, func(l *Report) bool {
		return named(l.Findings, Missing, 0, "log/9/seg/"+nameOfSegment(6), "the next frame begins with record 6")
	}) {
		t.Errorf("cut, with its key: %+v", r)
	}
	// A later one was begun, and died at once.
	if err := os.MkdirAll(filepath.Join(dir, "log/11/seg"), 0o700); err != nil {
		t.Fatal(err)
	}
	if r := all(dir, nil, VerifyOptions{}); !r.OK() || len(r.Logs) != 2 || !named(r.Findings, Unfinished, -1, "log/11", "a log was to begin here, and has no record") {
		t.Errorf("begun: %+v", r)
	}
}

// How far a verification is can be followed.
func TestVerifyProgress(t *testing.T) {
	x := live(t, memDir(t))
	var last [3]int64
	r, err := Verify(x.dir, VerifyOptions{Progress: func(records, read, total int64) {
		if records < last[0] || read < last[1] || read > total {
			t.Errorf("after %v came %d %d %d", last, records, read, total)
		}
		last = [3]int64{records, read, total}
	}})
	if err != nil {
		t.Fatal(err)
	}
	if last[0] != r.Records || last[1] != last[2] || last[2] <= r.Bytes {
		t.Errorf("%v of %d records, %d bytes in segments", last, r.Records, r.Bytes)
	}
}

// A segment that was sealed and is still whole, because a crash came in between, is
// no alarm; its bodies in the body file must be those that are in it.
func TestVerifySealedAndStillWhole(t *testing.T) {
	dir := memDir(t)
	ring, err := keys.Open(filepath.Join(dir, keysDir), keys.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer ring.Close()
	l := openWith(t, dir, ring)
	mustAppend(t, l, about(1, "a", "one"), Record{ID: newID(2), Kind: KindRuleSet, Class: ClassPolicy, Body: []byte("{}")}, about(3, "b", "three"))
	whole := read(t, dir, testSeg)
	mustSeal(t, l)
	mustClose(t, l)
	write(t, dir, testSeg, whole)
	for _, ring := range []*keys.Ring{ring, nil} {
		r := verifyWith(t, dir, ring)
		if !r.OK() || !named(r.Findings, Unfinished, 0, testSeg, "its bodies are still in it too") || len(r.Findings) != 1 {
			t.Errorf("keys %v: %v", ring != nil, r.Findings)
		}
	}
	file := seals(t, dir)[0].Bodies[0]
	b := read(t, dir, file.File)
	e := entriesOf(b)[1]
	b[e.offset+bodyEntryHeader+40] ^= 1
	write(t, dir, file.File, b)
	if r := verify(t, dir); r.OK() || !named(r.Findings, Altered, e.index, file.File, "another than in the segment") {
		t.Errorf("altered: %v", r.Findings)
	}
}

// What explains a gap is signed before whoever wrote it goes on to make the gap.
func TestWhatExplainsIsSignedAtOnce(t *testing.T) {
	l := open(t, memDir(t))
	for _, kind := range []Kind{KindDestroy, KindShred} {
		index, err := l.AppendOne(context.Background(), Record{ID: newID(int(kind)), Kind: kind, Class: ClassAudit, Body: []byte("{}")})
		if err != nil {
			t.Fatal(err)
		}
		if h, err := ParseCheckpoint(l.Checkpoint(), l.VerifierKey()); err != nil || h.Size <= index {
			t.Errorf("record %d of kind %s: the head is of %d records, %v", index, kind, h.Size, err)
		}
	}
}

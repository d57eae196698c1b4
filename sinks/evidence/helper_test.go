package evidence

import (
	"context"
	"encoding/binary"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/weir-moderation/weir/sinks/evidence/keys"
)

const (
	testOrigin = "example.net/evidence/test/1"
	testLogDir = "log/1"
	testKey    = "log.1.key"
	testSeg    = "log/1/seg/00000000000000000000.seg"
)

var update = flag.Bool("update", false, "write the golden log and its report anew")

func TestMain(m *testing.M) {
	if dir := os.Getenv("WEIR_EVIDENCE_CHILD"); dir != "" {
		fmt.Println("error", appendForEver(dir))
		os.Exit(1)
	}
	if dir := os.Getenv("WEIR_EVIDENCE_LIFE"); dir != "" {
		if err := wholeLife(dir); err != nil {
			fmt.Println("error", err)
			os.Exit(1)
		}
		fmt.Println("done")
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

// stride is how far apart the cases lie that a test tries which has one for each call or byte: it tries all of them,
// and one of five in a short run, which takes its turns among the kinds of cases.
func stride() int {
	if testing.Short() {
		return 5
	}
	return 1
}

// newID numbers a record.
func newID(n int) (id ID) {
	binary.BigEndian.PutUint64(id[8:], uint64(n))
	return id
}

// hits makes n hit records with the ids from first.
func hits(first, n int) []Record {
	recs := make([]Record, n)
	for i := range recs {
		recs[i] = Record{ID: newID(first + i), Kind: KindHit, Class: ClassContent,
			Body: fmt.Appendf(nil, `{"event_id":"e%d","text":"body %d"}`, first+i, first+i)}
	}
	return recs
}

// clock counts a millisecond at each look.
func clock() func() time.Time {
	t := time.Date(2026, 3, 1, 8, 0, 0, 0, time.UTC)
	return func() time.Time {
		t = t.Add(time.Millisecond)
		return t
	}
}

// noSync are system calls that leave syncing out: most tests are about bytes,
// not about power.
func noSync() *calls {
	c := systemCalls()
	c.datasync = func(*os.File) error { return nil }
	c.sync = func(*os.File) error { return nil }
	return c
}

func open(t testing.TB, dir string) *Log {
	t.Helper()
	l, err := Open(Options{Dir: dir, Origin: testOrigin, calls: noSync()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	return l
}

func mustAppend(t testing.TB, l *Log, recs ...Record) {
	t.Helper()
	if err := l.Append(context.Background(), recs); err != nil {
		t.Fatal(err)
	}
}

func mustClose(t testing.TB, l *Log) {
	t.Helper()
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
}

// fill makes a closed log with groups of 1 to 5 records and a head after every
// tenth group. It returns its verifier key.
func fill(t testing.TB, dir string, groups int) string {
	t.Helper()
	l, err := Open(Options{Dir: dir, Origin: testOrigin, Now: clock(), calls: noSync()})
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for g := range groups {
		mustAppend(t, l, hits(n, 1+g%5)...)
		n += 1 + g%5
		if g%10 == 9 {
			if err := l.checkpoint(); err != nil {
				t.Fatal(err)
			}
		}
	}
	mustClose(t, l)
	return l.VerifierKey()
}

// ids reads all records but the genesis record.
func ids(t testing.TB, dir string) map[ID]int {
	t.Helper()
	found := make(map[ID]int)
	err := Walk(dir, nil, func(e Entry) error {
		if e.Kind != KindGenesis {
			found[e.ID]++
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// prepared makes records ready for a frame.
func prepared(t testing.TB, ring *keys.Ring, recs ...Record) []item {
	t.Helper()
	items, _, err := prepare(nil, recs, ring)
	if err != nil {
		t.Fatal(err)
	}
	return items
}

func verify(t testing.TB, dir string) *Report {
	t.Helper()
	r, err := Verify(dir, VerifyOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// verifyOK fails if there is an alarm.
func verifyOK(t testing.TB, dir string) *Report {
	t.Helper()
	r := verify(t, dir)
	for _, f := range r.Findings {
		if f.Verdict.Alarm() {
			t.Error(f)
		}
	}
	return r
}

func read(t testing.TB, dir, name string) []byte {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func write(t testing.TB, dir, name string, b []byte) {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

// memDir is t.TempDir in memory where there is such a place: for the hundreds of
// small logs of which the disk is not what is tested.
func memDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("/dev/shm", "weir-evidence-")
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

// copyDir copies a log to a new directory.
func copyDir(t testing.TB, from string) string {
	t.Helper()
	to := filepath.Join(memDir(t), "evidence")
	err := filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(from, path)
		if err != nil {
			return err
		}
		if d.IsDir() {
			return os.Mkdir(filepath.Join(to, name), 0o700)
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(to, name), b, 0o600) // the key must be private
	})
	if err != nil {
		t.Fatal(err)
	}
	return to
}

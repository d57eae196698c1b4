package evidence

import (
	"bufio"
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/weir-moderation/weir/sinks/evidence/keys"
)

// wholeLife is the child process that [TestFailedSystemCalls] runs under strace: a
// life in which records are appended, sealed, destroyed and erased. It says what it
// has acknowledged, line by line, and ends at the first error.
//
// It stays on one thread, because strace counts the calls of each thread apart.
func wholeLife(dir string) error {
	runtime.LockOSThread()
	ring, err := keys.Open(filepath.Join(dir, keysDir), keys.Options{})
	if err != nil {
		return err
	}
	l, err := Open(Options{Dir: dir, Origin: testOrigin, Keys: ring, OnCheckpoint: func(msg []byte) {
		fmt.Printf("head %s\n", strings.Split(string(msg), "\n")[1])
	}})
	if err != nil {
		return err
	}
	acked := func(recs ...Record) error {
		if err := l.Append(context.Background(), recs); err != nil {
			return err
		}
		var said strings.Builder
		for _, r := range recs {
			fmt.Fprintf(&said, "ack %s\n", r.ID)
		}
		fmt.Print(said.String())
		return nil
	}
	audit := func(n int, kind Kind, body any) error {
		b, err := json.Marshal(body)
		if err != nil {
			return err
		}
		if err := acked(Record{ID: newID(n), Kind: kind, Class: ClassAudit, Body: b}); err != nil {
			return err
		}
		return l.checkpoint() // before anything is done that it explains
	}
	var file SealedBodies
	var handles []keys.Handle
	for _, step := range []func() error{
		func() error { return acked(about(1, "a", "one"), about(2, "b", "two")) },
		l.checkpoint,
		func() error { return acked(about(3, "b", "three")) },
		func() error {
			return acked(Record{ID: newID(4), Kind: KindRuleSet, Class: ClassPolicy, Body: []byte("{}")})
		},
		func() error { return l.Seal(context.Background()) },
		func() error { return acked(about(5, "b", "five"), about(6, "c", "six")) },
		func() error { return l.Seal(context.Background()) },
		func() error { // the first file of content is destroyed
			err := Walk(dir, nil, func(e Entry) error {
				var s SealBody
				if e.Kind != KindSeal || file.File != "" {
					return nil
				}
				if err := json.Unmarshal(e.Body, &s); err != nil {
					return err
				}
				file = s.Bodies[slices.IndexFunc(s.Bodies, func(b SealedBodies) bool { return b.Class == "content" })]
				return nil
			})
			if err != nil {
				return err
			}
			return audit(10, KindDestroy, map[string]any{"files": []SealedBodies{file}})
		},
		func() error {
			path := filepath.Join(dir, file.File)
			return errors.Join(l.calls.unlink(path), syncDir(l.calls, filepath.Dir(path)))
		},
		func() error { return audit(11, KindDestroyed, map[string]any{"files": []SealedBodies{file}}) },
		func() (err error) { // and a person is erased
			if handles, err = ring.Find("b"); err != nil {
				return err
			}
			var names []string
			for _, h := range handles {
				names = append(names, hex.EncodeToString(h[:]))
			}
			return audit(12, KindShred, map[string]any{"handles": names})
		},
		func() error { _, err := ring.ShredHandles(handles); return err },
		func() error { return acked(about(7, "d", "seven")) },
		l.Close,
		ring.Close,
	} {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// faultyCalls are those that change the disk.
var faultyCalls = []string{"write", "pwrite64", "fsync", "fdatasync", "rename", "renameat", "renameat2", "ftruncate", "unlink", "unlinkat"}

// life is what a child process said of itself.
type life struct {
	promises
	done bool
	err  string
}

// liveUnder runs [wholeLife] under strace with these options.
func liveUnder(t *testing.T, strace, dir string, options ...string) life {
	t.Helper()
	cmd := exec.Command(strace, slices.Concat([]string{"-f"}, options, []string{os.Args[0]})...)
	cmd.Env = append(os.Environ(), "WEIR_EVIDENCE_LIFE="+dir)
	out, err := cmd.Output()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	var x life
	for lines := bufio.NewScanner(bytes.NewReader(out)); lines.Scan(); {
		word, rest, _ := strings.Cut(lines.Text(), " ")
		switch word {
		case "ack":
			var id ID
			if b, err := hex.DecodeString(rest); err == nil && len(b) == len(id) { // a line may be cut short
				x.acked = append(x.acked, ID(b))
			}
		case "head":
			if _, err := fmt.Sscan(rest, &x.head); err != nil {
				t.Fatal(err)
			}
		case "done":
			x.done = true
		case "error":
			x.err = rest
		}
	}
	return x
}

// Every call that changes the disk fails once, as if the disk were broken or full, and
// once ends the process: no record that was acknowledged is lost, the verifier has no
// alarm, neither before the next start nor after, and where a call failed the log has
// either said so and taken nothing more, or it did not matter.
func TestFailedSystemCalls(t *testing.T) {
	strace, err := exec.LookPath("strace")
	if err != nil {
		t.Skip("no strace on this machine")
	}
	dir := filepath.Join(memDir(t), "evidence")
	trace := filepath.Join(t.TempDir(), "trace")
	whole := liveUnder(t, strace, dir, "-o", trace, "-e", "trace="+strings.Join(faultyCalls, ","))
	b, err := os.ReadFile(trace)
	if err != nil || len(b) == 0 {
		t.Skipf("strace cannot trace here: %v", err)
	}
	if !whole.done || len(whole.acked) != 10 {
		t.Fatalf("without a fault: %+v", whole)
	}
	whole.keepsLife(t, dir)
	// How often each call was made by the thread that made it most.
	counts := make(map[string]map[string]int)
	for _, m := range regexp.MustCompile(`(?m)^(\d+) +(\w+)\(`).FindAllStringSubmatch(string(b), -1) {
		if counts[m[2]] == nil {
			counts[m[2]] = make(map[string]int)
		}
		counts[m[2]][m[1]]++
	}
	type fault struct {
		call string
		nth  int
		how  string
	}
	var faults []fault
	for _, call := range faultyCalls {
		most := 0
		for _, n := range counts[call] {
			most = max(most, n)
		}
		for nth := 1; nth <= most; nth++ {
			for _, how := range []string{"error=EIO", "error=ENOSPC", "signal=KILL"} {
				if !testing.Short() || nth%5 == 1 {
					faults = append(faults, fault{call, nth, how})
				}
			}
		}
	}
	var mu sync.Mutex
	said, died, mattered := 0, 0, 0
	work := make(chan fault)
	var workers sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		workers.Go(func() {
			for f := range work {
				t.Run(fmt.Sprintf("%s %d %s", f.call, f.nth, f.how), func(t *testing.T) {
					dir := filepath.Join(memDir(t), "evidence")
					x := liveUnder(t, strace, dir, "-o", os.DevNull, "-e", "trace="+f.call,
						"-e", fmt.Sprintf("inject=%s:%s:when=%d", f.call, f.how, f.nth))
					mu.Lock()
					switch {
					case x.done:
					case x.err != "":
						said, mattered = said+1, mattered+1
					default:
						died, mattered = died+1, mattered+1
					}
					mu.Unlock()
					x.keepsLife(t, dir)
				})
			}
		})
	}
	for _, f := range faults {
		work <- f
	}
	close(work)
	workers.Wait()
	t.Logf("%d faults: %d times the writer refused to go on, %d times it died", len(faults), said, died)
	if mattered < len(faults)/2 {
		t.Errorf("only %d of %d faults mattered: they do not reach the log", mattered, len(faults))
	}
}

// keepsLife verifies what is left of a life as it is, and again after another start:
// what was acknowledged is there, and no gap is unexplained.
func (x *life) keepsLife(t *testing.T, dir string) {
	t.Helper()
	if _, err := os.Stat(filepath.Join(dir, verifierFile)); err == nil {
		x.verify(t, dir, "as it was left")
	}
	ring, err := keys.Open(filepath.Join(dir, keysDir), keys.Options{})
	if err != nil {
		t.Fatalf("open the keys: %v", err)
	}
	defer ring.Close()
	l, err := Open(Options{Dir: dir, Origin: testOrigin, Keys: ring})
	if err != nil {
		t.Fatalf("open: %v", err)
	}
	defer l.Close()
	if l.Size() < x.head {
		t.Errorf("%d records, the head of %d was published", l.Size(), x.head)
	}
	if err := l.Append(context.Background(), []Record{about(99, "e", "after")}); err != nil {
		t.Errorf("append after the next start: %v", err)
	}
	mustSeal(t, l)
	mustClose(t, l)
	found := ids(t, dir)
	for _, id := range x.acked {
		if found[id] == 0 {
			t.Errorf("record %s was acknowledged and is lost", id)
		}
	}
	x.verify(t, dir, "after a start")
}

func (x *life) verify(t *testing.T, dir, when string) {
	t.Helper()
	options := []VerifyOptions{{}}
	if ring, err := keys.Open(filepath.Join(dir, keysDir), keys.Options{ReadOnly: true}); err == nil {
		defer ring.Close()
		options = append(options, VerifyOptions{Keys: ring})
	}
	for _, o := range options {
		r, err := VerifyAll(dir, nil, o)
		if err != nil {
			t.Errorf("%s: %v", when, err)
			continue
		}
		if !r.OK() {
			t.Errorf("%s, keys %v: %d alarms, first %v", when, o.Keys != nil, r.Alarms, r.FirstBad)
		}
	}
}

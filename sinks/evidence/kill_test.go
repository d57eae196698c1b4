package evidence

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// appendForEver is the child process that [TestKill] kills: it appends from
// several goroutines and prints each number that was acknowledged.
func appendForEver(dir string) error {
	l, err := Open(Options{Dir: dir, Origin: testOrigin, CheckpointEvery: 2 * time.Millisecond, SegmentBytes: 30_000, Seal: true})
	if err != nil {
		return err
	}
	base := int(l.Size()) * 1000
	errs := make(chan error)
	go func() { errs <- l.Run(context.Background()) }()
	for c := range 4 {
		go func() {
			for i := 0; ; i++ {
				n := base + i*40 + c*10
				if err := l.Append(context.Background(), hits(n, 1+i%5)); err != nil {
					errs <- err
				}
				fmt.Printf("ack %d %d\n", n, 1+i%5) // one write, so lines stay whole
			}
		}()
	}
	return <-errs
}

// A process is killed in the middle of its work, over and over: nothing it had
// acknowledged is missing, and every next life goes on from there. Segments are sealed
// meanwhile.
func TestKill(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "evidence")
	acked := make(map[ID]bool)
	for round := range 8 {
		cmd := exec.Command(os.Args[0])
		cmd.Env = append(os.Environ(), "WEIR_EVIDENCE_CHILD="+dir)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		// The moment is drawn in acknowledgements, so that a slow machine is hit in
		// the middle of its work too.
		left := 1 + rand.IntN(300)
		lines := bufio.NewScanner(out)
		for lines.Scan() {
			var first, n int
			if _, err := fmt.Sscanf(lines.Text(), "ack %d %d", &first, &n); err != nil {
				if strings.HasPrefix(lines.Text(), "error") {
					t.Errorf("round %d: %s", round, lines.Text())
				}
				continue // the last line may be cut
			}
			for i := range n {
				acked[newID(first+i)] = true
			}
			if left--; left == 0 {
				if err := cmd.Process.Kill(); err != nil {
					t.Fatal(err)
				}
			}
		}
		_ = cmd.Wait() // it was killed
		found := ids(t, dir)
		for id := range acked {
			if found[id] != 1 {
				t.Errorf("round %d: %s was acknowledged and is there %d times", round, id, found[id])
			}
		}
		verifyOK(t, dir)
	}
	mustClose(t, open(t, dir))
	r := verifyOK(t, dir)
	if r.Unsigned != 0 {
		t.Errorf("%d unsigned", r.Unsigned)
	}
	t.Logf("%d acknowledged, %d records, %d heads, %d segments", len(acked), r.Records, r.Heads, r.Segments)
	if _, err := os.Stat(filepath.Join(dir, verifierFile)); errors.Is(err, fs.ErrNotExist) {
		t.Error("no verifier key")
	}
}

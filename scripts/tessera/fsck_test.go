// Package tessera_test lets the tools of another project judge what Weir writes. It is a
// module of its own, so that nothing of that project is built into Weir.
package tessera_test

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/transparency-dev/tessera/api"
	"github.com/transparency-dev/tessera/client"
	"github.com/transparency-dev/tessera/fsck"
	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/weir-moderation/weir/sinks/evidence"
	"github.com/weir-moderation/weir/sinks/evidence/export"
)

// check lets Tessera rebuild a log from its tiles and compare it with its checkpoint.
func check(dir string, v note.Verifier) error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	hashes := func(bundle []byte) ([][]byte, error) {
		var b api.EntryBundle
		if err := b.UnmarshalText(bundle); err != nil {
			return nil, err
		}
		out := make([][]byte, len(b.Entries))
		for i, e := range b.Entries {
			h := tlog.RecordHash(e)
			out[i] = h[:]
		}
		return out, nil
	}
	return fsck.New(v.Name(), v, &client.FileFetcher{Root: dir}, hashes, fsck.Opts{N: 2}).Check(ctx)
}

// Tessera's fsck accepts the golden logs, also the one of which much was destroyed, and finds a changed leaf.
func TestFsckAcceptsTheGoldenLogs(t *testing.T) {
	for _, name := range []string{"golden", "lived"} {
		t.Run(name, func(t *testing.T) { acceptsGolden(t, "../../sinks/evidence/testdata/"+name) })
	}
}

func acceptsGolden(t *testing.T, golden string) {
	vkey, err := os.ReadFile(filepath.Join(golden, "log.vkey"))
	if err != nil {
		t.Fatal(err)
	}
	v, out, _ := judge(t, golden, strings.TrimSpace(string(vkey)))
	bundles, err := filepath.Glob(filepath.Join(out, "tile/entries/000*/*"))
	if err != nil || len(bundles) != 1 {
		t.Fatalf("want one bundle, got %q, %v", bundles, err)
	}
	b, err := os.ReadFile(bundles[0])
	if err != nil {
		t.Fatal(err)
	}
	b[20] ^= 1
	if err := os.WriteFile(bundles[0], b, 0o600); err != nil {
		t.Fatal(err)
	}
	if check(out, v) == nil {
		t.Error("a changed leaf was accepted")
	}
}

// It also accepts logs of sizes at which tiles begin, end and are joined.
func TestFsckAcceptsLogsOfAllShapes(t *testing.T) {
	for _, size := range []int{1, 2, 3, 255, 256, 257, 511, 512, 600, 256 * 256, 256*256 + 1, 70000} {
		dir := t.TempDir()
		l, err := evidence.Open(evidence.Options{Dir: dir, Origin: "example.net/evidence/0/1"})
		if err != nil {
			t.Fatal(err)
		}
		recs := make([]evidence.Record, 0, 4096)
		for n := 1; n < size; n += len(recs) { // the genesis record is the first
			recs = recs[:0]
			for i := n; i < size && len(recs) < cap(recs); i++ {
				recs = append(recs, evidence.Record{ID: evidence.ID{byte(i >> 16), byte(i >> 8), byte(i)}, Kind: evidence.KindStop, Class: evidence.ClassAudit, Body: []byte("{}")})
			}
			if err := l.Append(t.Context(), recs); err != nil {
				t.Fatal(err)
			}
		}
		if err := l.Close(); err != nil {
			t.Fatal(err)
		}
		if _, _, r := judge(t, dir, l.VerifierKey()); r.Size != int64(size) {
			t.Errorf("size %d, want %d", r.Size, size)
		}
	}
}

// judge writes a log's tiles and has them accepted.
func judge(t *testing.T, dir, vkey string) (note.Verifier, string, export.TilesReport) {
	t.Helper()
	v, err := note.NewVerifier(vkey)
	if err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(t.TempDir(), "tiles")
	r, err := export.Tiles(dir, "", vkey, out)
	if err != nil {
		t.Fatal(err)
	}
	if err := check(out, v); err != nil {
		t.Errorf("%d records: Tessera's fsck: %v", r.Size, err)
	}
	return v, out, r
}

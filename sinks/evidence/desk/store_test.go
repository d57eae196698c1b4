package desk

import (
	"context"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/weir-moderation/weir/sinks/evidence"
	"github.com/weir-moderation/weir/sinks/evidence/postgres"
	"github.com/weir-moderation/weir/sinks/evidence/postgres/postgrestest"
)

// What is destroyed is destroyed in the database, too, and what a hold is on is kept there.
//
// Clause: rn-term
func TestDestroyInStore(t *testing.T) {
	ctx := context.Background()
	s := postgrestest.New(t)
	w := newWorld(t)
	store, err := postgres.Open(ctx, postgres.Options{DSN: s.DSN("evidence"), Origin: w.origin})
	if err != nil {
		t.Fatal(err)
	}
	defer store.Close()
	w.store = store
	if err := evidence.WorkingCopy(ctx, store, w.dir, w.origin); err != nil {
		t.Fatal(err)
	}
	w.write(say{"2026-01-10", "u1", "old-1"}, say{"2026-01-31", "u2", "old-2"}, say{"2026-02-20", "u2", "young"})
	w.now = at("2026-05-03")
	w.hold(HoldRequest{Subject: "u2"})
	w.destroy()
	if n := s.Count(`select count(distinct file) from ev_body`); n != 2 {
		t.Errorf("%d body files are left in the database, want that of the hold and the young one", n)
	}
	if n := s.Count(`select count(*) from ev_body where class = 'content' and day < '2026-02-20'`); n != 0 {
		t.Errorf("%d parts of days that were destroyed are left", n)
	}
	r, err := postgres.OpenReader(ctx, s.DSN("evidence"), w.origin)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close(ctx)
	// Out of the database alone, with the keys that are left.
	pulled := filepath.Join(t.TempDir(), "pulled")
	if err := evidence.Pull(ctx, r, pulled, "1"); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(filepath.Join(pulled, "keys"), os.DirFS(filepath.Join(w.dir, "keys"))); err != nil {
		t.Fatal(err)
	}
	master, err := os.ReadFile(filepath.Join(w.dir, "master.key"))
	if err == nil {
		err = os.WriteFile(filepath.Join(pulled, "master.key"), master, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	w.dir = pulled
	if got := w.readable(); !slices.Equal(got, []string{"old-2", "young"}) {
		t.Errorf("%v can be read", got)
	}
	w.whole()
}

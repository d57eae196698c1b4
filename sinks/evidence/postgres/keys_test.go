package postgres

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/weir-moderation/weir/sinks/evidence"
	"github.com/weir-moderation/weir/sinks/evidence/keys"
	"github.com/weir-moderation/weir/sinks/evidence/postgres/postgrestest"
)

const owner = "example.net/evidence/test"

// startKeys begins as a new pod does: with the database and the master key.
func startKeys(t testing.TB, s *postgrestest.Server, master string) (*keys.Ring, *Keys, string) {
	t.Helper()
	return startKeysIn(t, s, master, time.March)
}

func startKeysIn(t testing.TB, s *postgrestest.Server, master string, month time.Month) (*keys.Ring, *Keys, string) {
	t.Helper()
	ctx := context.Background()
	store, err := OpenKeys(ctx, KeysOptions{DSN: s.DSN("secrets"), Owner: owner})
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "keys")
	if err := keys.WorkingCopy(ctx, store, dir); err != nil {
		t.Fatal(err)
	}
	now := func() time.Time { return time.Date(2026, month, 5, 0, 0, 0, 0, time.UTC) }
	ring, err := keys.Open(dir, keys.Options{Master: keys.Config{File: master}, Store: store, Now: now})
	if err != nil {
		t.Fatal(errors.Join(err, store.Close()))
	}
	return ring, store, dir
}

// Keys outlive their pod, each thing done to them as it would on a disk: made, shredded,
// wrapped anew, dropped. What the database has is then what the directory had.
func TestKeysOutliveThePod(t *testing.T) {
	s := postgrestest.New(t)
	s.Exec("postgres", `create database secrets`)
	master := filepath.Join(t.TempDir(), "master.key")
	subjects := []string{"u1", "u2", "u3"}
	var handles []keys.Handle
	opens := func(ring *keys.Ring, want ...error) {
		t.Helper()
		for i, h := range handles {
			if _, err := ring.Open("content", h); !errors.Is(err, want[i]) {
				t.Errorf("key %d: %v, want %v", i, err, want[i])
			}
		}
	}
	for n, life := range []func(*keys.Ring) error{
		func(ring *keys.Ring) error {
			ks, err := ring.Keys("content", subjects)
			for _, k := range ks {
				handles = append(handles, k.Handle)
			}
			return err
		},
		func(ring *keys.Ring) error {
			opens(ring, nil, nil, nil)
			ks, err := ring.Keys("content", append(subjects, "u4"))
			if err == nil && (ks[0].Handle != handles[0] || len(ks) != 4) {
				err = fmt.Errorf("u1 has another key now")
			}
			_, serr := ring.Shred("u2", "content")
			return errors.Join(err, serr)
		},
		func(ring *keys.Ring) error {
			opens(ring, nil, keys.ErrErased, nil)
			_, err := ring.Rotate()
			return err
		},
		func(ring *keys.Ring) error {
			opens(ring, nil, keys.ErrErased, nil)
			return ring.Drop("content", handles[0].Month())
		},
		func(ring *keys.Ring) error {
			opens(ring, keys.ErrDestroyed, keys.ErrDestroyed, keys.ErrDestroyed)
			return nil
		},
	} {
		month := time.March
		if n >= 3 {
			month = time.April // what is dropped is over
		}
		ring, store, dir := startKeysIn(t, s, master, month)
		if err := life(ring); err != nil {
			t.Fatal(err)
		}
		again := filepath.Join(t.TempDir(), "again")
		if err := keys.WorkingCopy(context.Background(), store, again); err != nil {
			t.Fatal(err)
		}
		ours, theirs := tree(t, dir), tree(t, again)
		for name, b := range ours {
			if theirs[name] != b {
				t.Errorf("%s: %d bytes, the database has %d, not the same", name, len(b), len(theirs[name]))
			}
		}
		if len(ours) != len(theirs) {
			t.Errorf("%d files, the database has %d", len(ours), len(theirs))
		}
		if err := errors.Join(ring.Close(), store.Close()); err != nil {
			t.Fatal(err)
		}
	}
}

// Two processes do not write keys of one instance; and one whose lock was lost finds its
// place taken.
func TestTwoWritersOfKeys(t *testing.T) {
	s := postgrestest.New(t)
	s.Exec("postgres", `create database secrets`)
	master := filepath.Join(t.TempDir(), "master.key")
	ring, store, _ := startKeys(t, s, master)
	defer store.Close()
	defer ring.Close()
	if _, err := ring.Keys("content", []string{"u1"}); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenKeys(context.Background(), KeysOptions{DSN: s.DSN("secrets"), Owner: owner}); !errors.Is(err, evidence.ErrLocked) {
		t.Fatalf("a second process: %v", err)
	}
	if _, err := store.conn.Exec(context.Background(), `select pg_advisory_unlock_all()`); err != nil {
		t.Fatal(err)
	}
	other, otherStore, _ := startKeys(t, s, master)
	defer otherStore.Close()
	defer other.Close()
	if _, err := other.Keys("content", []string{"u2"}); err != nil {
		t.Fatal(err)
	}
	for name, err := range map[string]error{
		"append":    store.Append("new", 0, []byte("x")),
		"overwrite": store.Overwrite("content/2026-03.keys", 0, []byte("x")),
		"put":       store.Put("keyring", strings.NewReader("x")),
		"truncate":  store.Truncate("content/2026-03.keys", 0),
		"remove":    store.Remove("content/2026-03.keys"),
	} {
		if !errors.Is(err, evidence.ErrForked) {
			t.Errorf("%s by the process that was overtaken: %v", name, err)
		}
	}
	if _, err := ring.Keys("content", []string{"u3"}); !errors.Is(err, keys.ErrBroken) || !errors.Is(err, evidence.ErrForked) {
		t.Errorf("the process that was overtaken: %v", err)
	}
}

// A key that cannot be stored is not given out.
func TestKeysWithoutServer(t *testing.T) {
	s := postgrestest.New(t)
	s.Exec("postgres", `create database secrets`)
	ring, store, _ := startKeys(t, s, filepath.Join(t.TempDir(), "master.key"))
	defer store.Close()
	defer ring.Close()
	s.Stop(syscall.SIGKILL)
	if ks, err := ring.Keys("content", []string{"u1"}); !errors.Is(err, keys.ErrBroken) {
		t.Errorf("got %d keys, %v", len(ks), err)
	}
	s.Start()
}

// Encrypted records of one pod are read by the next, and opened out of files that were pulled.
func TestEncrypted(t *testing.T) {
	s := postgrestest.New(t)
	s.Exec("postgres", `create database secrets`)
	master := filepath.Join(t.TempDir(), "master.key")
	p := newPod(t, s)
	var keyDir string
	for life := range 2 {
		ring, store, dir := startKeys(t, s, master)
		keyDir = dir
		if err := p.try(func(o *evidence.Options) { o.Keys = ring }); err != nil {
			t.Fatal(err)
		}
		recs := hits(life*10, 10)
		for i := range recs {
			recs[i].Subject = fmt.Sprint("u", i%3)
		}
		if err := p.log.Append(context.Background(), recs); err != nil {
			t.Fatal(err)
		}
		if err := p.log.Seal(context.Background()); err != nil {
			t.Fatal(err)
		}
		p.stop()
		if err := errors.Join(ring.Close(), store.Close()); err != nil {
			t.Fatal(err)
		}
	}
	dir := pull(t, s)
	if err := os.CopyFS(filepath.Join(dir, "keys"), os.DirFS(keyDir)); err != nil {
		t.Fatal(err)
	}
	ring, err := evidence.OpenKeys(dir, keys.Options{Master: keys.Config{File: master}, ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	defer ring.Close()
	verifyOK(t, dir)
	opened := 0
	err = evidence.Walk(dir, ring, func(e evidence.Entry) error {
		if e.Kind == evidence.KindHit && e.Encrypted && strings.Contains(string(e.Body), `"text":"body `) {
			opened++
		}
		return nil
	})
	if err != nil || opened != 20 {
		t.Errorf("%d of 20 bodies were opened, %v", opened, err)
	}
	for name, b := range tree(t, filepath.Join(s.Data(), "base")) {
		if strings.Contains(b, "body 1") {
			t.Errorf("the database's %s has a body in clear", name)
		}
	}
}

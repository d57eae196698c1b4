package postgres

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"testing"

	"github.com/weir-moderation/weir/sinks/evidence"
	"github.com/weir-moderation/weir/sinks/evidence/postgres/postgrestest"
)

// Records of several instances are found in one place: by id, and by the terms of each. To
// load again changes nothing, and who was erased is found no more.
func TestIndexOfManyLogs(t *testing.T) {
	ctx := context.Background()
	s := postgrestest.New(t)
	s.Exec("postgres", `create database secrets`)
	master := filepath.Join(t.TempDir(), "master.key")
	p := newPod(t, s)
	ring, keyStore, _ := startKeys(t, s, master)
	if err := p.try(func(o *evidence.Options) { o.Keys = ring }); err != nil {
		t.Fatal(err)
	}
	for i := range 10 {
		recs := hits(i*10, 10)
		for j := range recs {
			user := fmt.Sprint("u", j%5)
			recs[j].Subject, recs[j].Terms = user, []evidence.Term{{Name: "account", Value: user}}
		}
		if err := p.log.Append(ctx, recs); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.log.Seal(ctx); err != nil {
		t.Fatal(err)
	}
	load := func(want int) {
		t.Helper()
		if n, err := p.store.LoadIndex(ctx, p.dir, "1"); err != nil || n != want {
			t.Fatalf("loaded %d segments, %v; want %d", n, err, want)
		}
	}
	load(3)
	rows := s.Count(`select count(*) from ev_index`)
	load(0)
	s.Exec("evidence", `delete from ev_indexed`)
	clear(p.store.seen)
	load(3) // as after a process died before it could note it
	if n := s.Count(`select count(*) from ev_index`); n != rows || n < 200 {
		t.Errorf("%d rows, at first %d", n, rows)
	}
	of := func(user string) (list []int64) {
		t.Helper()
		places, err := FindTerms(ctx, s.DSN("evidence"), origin, []uint64{ring.Term("content", "account", user)})
		if err != nil {
			t.Fatal(err)
		}
		for _, p := range places {
			list = append(list, p.Index)
		}
		return list
	}
	u1 := of("u1")
	if len(u1) != 20 || !slices.Contains(u1, 2) { // the genesis record is the first
		t.Errorf("records of u1: %v", u1)
	}
	if len(of("nobody")) != 0 {
		t.Error("nobody is found")
	}
	if err := p.log.ForgetTerms(ctx, u1); err != nil {
		t.Fatal(err)
	}
	load(3)
	if got := of("u1"); len(got) != 0 {
		t.Errorf("records of u1 after it was forgotten: %v", got)
	}
	if got := of("u2"); len(got) != 20 {
		t.Errorf("records of u2: %v", got)
	}
	p.stop()

	// Another instance has record 7 again.
	store, err := Open(ctx, Options{DSN: s.DSN("evidence"), Origin: "example.net/evidence/other/1"})
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "evidence")
	if err := evidence.WorkingCopy(ctx, store, dir, store.o.Origin); err != nil {
		t.Fatal(err)
	}
	l, err := evidence.Open(evidence.Options{Dir: dir, KeyFile: filepath.Join(t.TempDir(), "log.key"), Origin: store.o.Origin, Store: store})
	if err != nil {
		t.Fatal(err)
	}
	appendHits(t, l, 7, 1)
	if err := l.Seal(ctx); err != nil {
		t.Fatal(err)
	}
	if _, err := store.LoadIndex(ctx, dir, "1"); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(l.Close(), store.Close(), ring.Close(), keyStore.Close()); err != nil {
		t.Fatal(err)
	}
	places, err := FindID(ctx, s.DSN("evidence"), id(7))
	if err != nil {
		t.Fatal(err)
	}
	// Ids of these tests begin with 8 zeros, so all are candidates; real ones are hashes.
	if !slices.Contains(places, Place{origin, 8}) || !slices.Contains(places, Place{"example.net/evidence/other/1", 1}) {
		t.Errorf("record 7 is at %v", places)
	}
}

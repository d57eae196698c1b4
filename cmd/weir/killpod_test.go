package main

import (
	"fmt"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/weir-moderation/weir/sinks"
	"github.com/weir-moderation/weir/sinks/evidence/postgres"
	"github.com/weir-moderation/weir/sinks/evidence/postgres/postgrestest"
)

// A pod whose evidence is in PostgreSQL is killed at random moments, and its disk goes with it: the next one
// goes on with what the database has. What was pulled out of it in the end verifies, and accounts for every message.
func TestPodsKilledAtRandomMoments(t *testing.T) {
	t.Parallel()
	s := postgrestest.New(t)
	s.Exec("postgres", `create database secrets`)
	k := newKillRun(t, embeddedBroker(t).ListenAddrs(), sinks.AtLeastOnce)
	lasts := t.TempDir() // what is mounted into every pod
	put := func(name, text string) string {
		path := filepath.Join(lasts, name)
		if err := os.WriteFile(path, []byte(text+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	dsn, keysDSN := put("dsn", s.DSN("evidence")), put("keys.dsn", s.DSN("secrets"))
	master := filepath.Join(lasts, "master.key")
	k.configure(t, "evidence: {dir: evidence}\n", fmt.Sprintf(`
instance: "0"
evidence: {dir: evidence, segment_records: 1024, key_file: %s, master_key: {file: %s}, postgres: {dsn_file: %s, keys_dsn_file: %s}}
`, filepath.Join(lasts, "log.key"), master, dsn, keysDSN))
	// The tables are made before, so that records can be counted from the first moment.
	store, err := postgres.Open(t.Context(), postgres.Options{DSN: s.DSN("evidence"), Origin: k.group + "/evidence/0/1"})
	if err == nil {
		err = store.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	posts, kills := 30_000, 3
	k.produce(t, posts)
	lose := func() {
		if err := os.RemoveAll(filepath.Join(k.dir, "evidence")); err != nil {
			t.Fatal(err)
		}
	}
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	r := rand.New(rand.NewPCG(seed, 1))
	for i := range kills {
		p := k.start(t)
		// So many records are in the database, and few offsets committed.
		records := len(k.flagged)*(i+1)/(kills+1) - r.IntN(len(k.flagged)/(2*kills))
		for deadline := time.Now().Add(time.Minute); s.Count(`select coalesce(max(first_index + n), 0) from ev_frame`) < records; time.Sleep(2 * time.Millisecond) {
			if time.Now().After(deadline) {
				t.Fatalf("fewer than %d records after a minute\n%s", records, p.log)
			}
		}
		p.kill(t)
		k.forget(t)
		lose()
	}
	p := k.start(t)
	p.waitFor(t, 5*time.Minute, int64(posts))
	p.terminate(t)
	lose()

	dir := filepath.Join(k.dir, "evidence")
	out, err := exec.CommandContext(t.Context(), k.weir, "evidence", "pull", dsn, dir, "--keys-dsn-file", keysDSN).CombinedOutput()
	if err != nil {
		t.Fatalf("weir evidence pull: %v\n%s", err, out)
	}
	// The keys are opened by the master key beside them.
	b, err := os.ReadFile(master)
	if err == nil {
		err = os.WriteFile(filepath.Join(dir, "master.key"), b, 0o600)
	}
	if err != nil {
		t.Fatal(err)
	}
	k.check(t)
	if n := s.Count(`select count(distinct file) from ev_body`); n == 0 {
		t.Error("nothing was sealed: the test would show little")
	}
}

// configure changes the configuration.
func (k *killRun) configure(t *testing.T, from, to string) {
	t.Helper()
	path := filepath.Join(k.dir, "weir.yaml")
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	text := strings.Replace(string(b), from, to, 1)
	if text == string(b) {
		t.Fatalf("the configuration has no %q", from)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}

package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/weir-moderation/weir/sinks/evidence"
	"github.com/weir-moderation/weir/sinks/evidence/keys"
	"github.com/weir-moderation/weir/sinks/evidence/postgres"
	"github.com/weir-moderation/weir/sinks/evidence/postgres/postgrestest"
)

// A log and its keys are pulled out of their databases; of several logs one is named.
func TestPull(t *testing.T) {
	ctx := context.Background()
	s := postgrestest.New(t)
	s.Exec("postgres", `create database secrets`)
	dir := t.TempDir()
	put := func(name, db string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(s.DSN(db)+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	c := pullCmd{DSNFile: put("dsn", "evidence"), KeysFile: put("keys.dsn", "secrets"), Dir: filepath.Join(dir, "pulled")}
	master := keys.Config{File: filepath.Join(dir, "master.key")}
	begin := func(instance string) {
		t.Helper()
		origin := "example.net/evidence/" + instance + "/1"
		work := filepath.Join(dir, "work-"+instance)
		keyStore, err := postgres.OpenKeys(ctx, postgres.KeysOptions{DSN: s.DSN("secrets"), Owner: "example.net/evidence/" + instance})
		if err != nil {
			t.Fatal(err)
		}
		store, err := postgres.Open(ctx, postgres.Options{DSN: s.DSN("evidence"), Origin: origin})
		if err != nil {
			t.Fatal(err)
		}
		if err := evidence.WorkingCopy(ctx, store, work, origin); err != nil {
			t.Fatal(err)
		}
		ring, err := evidence.OpenKeys(work, keys.Options{Master: master, Store: keyStore})
		if err != nil {
			t.Fatal(err)
		}
		l, err := evidence.Open(evidence.Options{Dir: work, KeyFile: filepath.Join(dir, instance+".key"), Origin: origin, Store: store, Keys: ring})
		if err != nil {
			t.Fatal(err)
		}
		err = l.Append(ctx, []evidence.Record{{Kind: evidence.KindHit, Class: evidence.ClassContent, Subject: "u1",
			Terms: []evidence.Term{{Name: "account", Value: "u1"}, {Name: "event", Value: "e" + instance}}, Body: []byte(`{"text":"x"}`)}})
		if err := errors.Join(err, l.Seal(ctx)); err != nil {
			t.Fatal(err)
		}
		_, err = store.LoadIndex(ctx, work, "1")
		if err = errors.Join(err, l.Close(), ring.Close(), store.Close(), keyStore.Close()); err != nil {
			t.Fatal(err)
		}
	}
	begin("0")
	var out bytes.Buffer
	if err := c.Run(ctx, streams{out: &out}); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(out.String(), "example.net/evidence/0/1") {
		t.Errorf("it says %s", out.String())
	}
	ring, err := evidence.OpenKeys(c.Dir, keys.Options{Master: master, ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	defer ring.Close()
	r, err := evidence.Verify(c.Dir, evidence.VerifyOptions{Keys: ring})
	if err != nil || !r.OK() || r.Records != 3 || r.Closed != 0 {
		t.Errorf("%+v, %v", r, err)
	}

	if err := c.Run(ctx, streams{out: &out}); err == nil || !strings.Contains(err.Error(), "holds a log of generation 1 already") {
		t.Errorf("into the same directory: %v", err)
	}
	begin("1")
	c.Dir = filepath.Join(dir, "again")
	if err := c.Run(ctx, streams{out: &out}); err == nil || !strings.Contains(err.Error(), "the database has 2 logs; name one of example.net/evidence/0/1, example.net/evidence/1/1") {
		t.Errorf("two logs: %v", err)
	}
	c.Origin = "example.net/evidence/7/1"
	if err := c.Run(ctx, streams{out: &out}); err == nil || !strings.Contains(err.Error(), "the database has no such log") {
		t.Errorf("a log that is not there: %v", err)
	}
	c.Origin = "example.net/evidence/1/1"
	if err := c.Run(ctx, streams{out: &out}); err != nil {
		t.Error(err)
	}

	// In both logs there is something about the user, in one about the event.
	find := func(l locateCmd, want string) {
		t.Helper()
		l.DSNFile, l.KeysFile, l.MasterKey = c.DSNFile, c.KeysFile, master.File
		out.Reset()
		if err := l.Run(ctx, streams{out: &out}); err != nil || out.String() != want {
			t.Errorf("%q, %v; want %q", out.String(), err, want)
		}
	}
	find(locateCmd{Subject: "u1"}, "example.net/evidence/0/1 1\nexample.net/evidence/1/1 1\n")
	find(locateCmd{Event: "e1"}, "example.net/evidence/1/1 1\n")
	find(locateCmd{Subject: "pseudonym:u1"}, "")
	find(locateCmd{ID: strings.Repeat("0", 32)}, "example.net/evidence/0/1 1\nexample.net/evidence/1/1 1\n")
}

package app_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/weir-moderation/weir/internal/app"
	"github.com/weir-moderation/weir/internal/config"
	"github.com/weir-moderation/weir/sinks/evidence"
	"github.com/weir-moderation/weir/sinks/evidence/desk"
	"github.com/weir-moderation/weir/sinks/evidence/keys"
	"github.com/weir-moderation/weir/sinks/evidence/postgres"
	"github.com/weir-moderation/weir/sinks/evidence/postgres/postgrestest"
)

// A daemon whose pod has no disk goes on with its log and its keys in another pod; a
// person is erased for both; and the log, pulled, verifies with its bodies opened.
func TestEvidenceOutlivesThePod(t *testing.T) {
	s := postgrestest.New(t)
	s.Exec("postgres", `create database secrets`)
	f := newFleet(t)
	secrets := t.TempDir()
	put := func(name, content string) string {
		path := filepath.Join(secrets, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	f.evidence = map[string]string{"a": fmt.Sprintf("dir: evidence-a, key_file: %s, master_key: {file: %s}, postgres: {dsn_file: %s, keys_dsn_file: %s}, retention: {content: {minimum: 0 days}, push: {minimum: 0 days}}",
		filepath.Join(secrets, "log.key"), filepath.Join(secrets, "master.key"), put("dsn", s.DSN("evidence")+"\n"), put("keys.dsn", s.DSN("secrets")))}
	f.publishFirst(f.signed(pack("一号测试词")))
	dir := filepath.Join(f.dir, "evidence-a")
	for life := range 3 {
		f.start("a")
		if life == 1 {
			cfg, err := config.Load(filepath.Join(f.dir, "a.yaml"))
			if err != nil {
				t.Fatal(err)
			}
			c, err := desk.Dial(context.Background(), app.DeskOptions(cfg))
			if err != nil {
				t.Fatal(err)
			}
			done, err := c.Erase(context.Background(), desk.EraseRequest{Subject: fleetUser, By: "zhao", Basis: "asked for", Reason: "test"})
			if err != nil || done.Restricted != 1 { // put aside: not destroyed on the day it was made
				t.Errorf("%+v, %v", done, err)
			}
			if err := errors.Join(c.Seal(context.Background()), c.Close()); err != nil {
				t.Error(err)
			}
			f.eventually("where records are in the database", func() bool { return s.Count(`select count(*) from ev_index`) > 0 })
		}
		id := fmt.Sprint("p", life)
		f.post(id, "一号测试词")
		f.reviewed(id)
		f.stop("a")
		if err := os.RemoveAll(dir); err != nil { // the pod is gone
			t.Fatal(err)
		}
	}
	// A command finds no log to append to where no daemon runs.
	cfg, err := config.Load(filepath.Join(f.dir, "a.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := desk.Dial(context.Background(), app.DeskOptions(cfg)); err == nil || !strings.Contains(err.Error(), "holds no log") {
		t.Errorf("the desk without a daemon: %v", err)
	}

	ctx := context.Background()
	r, err := postgres.OpenReader(ctx, s.DSN("evidence"), "fleet/evidence/a/1")
	if err != nil {
		t.Fatal(err)
	}
	pulled := filepath.Join(t.TempDir(), "pulled")
	if err := errors.Join(evidence.Pull(ctx, r, pulled, "1"), r.Close(ctx)); err != nil {
		t.Fatal(err)
	}
	store, err := postgres.OpenKeys(ctx, postgres.KeysOptions{DSN: s.DSN("secrets"), Owner: "fleet/evidence/a", ReadOnly: true})
	if err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(keys.WorkingCopy(ctx, store, filepath.Join(pulled, "keys")), store.Close()); err != nil {
		t.Fatal(err)
	}
	ring, err := evidence.OpenKeys(pulled, keys.Options{ReadOnly: true, Master: cfg.Evidence.MasterKey})
	if err != nil {
		t.Fatal(err)
	}
	defer ring.Close()
	report, err := evidence.Verify(pulled, evidence.VerifyOptions{Keys: ring})
	if err != nil {
		t.Fatal(err)
	}
	if !report.OK() || report.Kinds["hit"] != 3 || report.Kinds["start"] != 3 {
		t.Errorf("kinds %v, findings %v", report.Kinds, report.Findings)
	}
	var opened []string
	err = evidence.Walk(pulled, ring, func(e evidence.Entry) error {
		if e.Kind == evidence.KindHit {
			opened = append(opened, fmt.Sprint(e.Closed == nil))
		}
		return nil
	})
	if want := "[false true true]"; err != nil || fmt.Sprint(opened) != want {
		t.Errorf("opened: %v, %v; want %s", opened, err, want)
	}
}

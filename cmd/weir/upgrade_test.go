package main

import (
	"bytes"
	"context"
	"crypto/sha256"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/weir-moderation/weir/configs"
	"github.com/weir-moderation/weir/internal/app"
	"github.com/weir-moderation/weir/internal/config"
	"github.com/weir-moderation/weir/sinks/evidence"
	"github.com/weir-moderation/weir/sinks/evidence/keys"
)

// first is what the first version left behind: its configuration with every setting (everything.yaml), and a
// directory with a log of evidence, its keys, and the configuration that names them. Nothing in it is ever written
// again: docs/upgrading.md promises that later versions go on from it. What a later version adds to the formats gets
// a directory of its own beside it.
const first = "testdata/upgrade/0"

// writeFirst makes first, where it is not.
func writeFirst(t *testing.T, update bool) {
	if _, err := os.Stat(filepath.Join(first, "weir.yaml")); err == nil || !update {
		return
	}
	if err := os.MkdirAll(first, 0o755); err != nil {
		t.Fatal(err)
	}
	all, err := configs.FS.ReadFile("weir.yaml")
	if err != nil {
		t.Fatal(err)
	}
	all = regexp.MustCompile(`(?m)^( *)# ( *[a-z_]+:( .*)?)$`).ReplaceAll(all, []byte("$1$2"))
	for name, text := range map[string]string{
		"everything.yaml": string(all),
		"weir.yaml":       "source: city\nevidence: {dir: evidence, key_file: evidence.key, ballast_bytes: 0}\n",
	} {
		if err := os.WriteFile(filepath.Join(first, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	addFlagged(t, first, "written by the first version")
}

// addFlagged opens the log of dir as a start does, adds a record about a user, and closes it. It returns how many
// records there were before.
func addFlagged(t *testing.T, dir, text string) int64 {
	t.Helper()
	cfg, err := config.Load(filepath.Join(dir, "weir.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(cfg.Evidence.Dir, 0o700); err != nil {
		t.Fatal(err)
	}
	ring, err := evidence.OpenKeys(cfg.Evidence.Dir, keys.Options{Now: time.Now})
	if err != nil {
		t.Fatal(err)
	}
	o := app.EvidenceOptions(cfg)
	o.Keys = ring
	log, err := evidence.Open(o)
	if err != nil {
		t.Fatal(err)
	}
	before := log.Size()
	sum := sha256.Sum256([]byte(text))
	err = log.Append(context.Background(), []evidence.Record{{ID: evidence.ID(sum[:16]), Kind: evidence.KindHit, Class: evidence.ClassContent,
		Body: []byte(`{"text":"` + text + `"}`), Subject: "u-17", Terms: []evidence.Term{{Name: "account", Value: "u-17"}}}})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []interface{ Close() error }{log, ring} {
		if err := c.Close(); err != nil {
			t.Fatal(err)
		}
	}
	return before
}

// copyOf returns a copy of a tree whose files only their owner can read, as git cannot say.
func copyOf(t *testing.T, dir string) string {
	t.Helper()
	to := t.TempDir()
	err := filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(dir, name)
		if err != nil {
			return err
		}
		if d.IsDir() {
			return os.MkdirAll(filepath.Join(to, rel), 0o700)
		}
		b, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		return os.WriteFile(filepath.Join(to, rel), b, 0o600)
	})
	if err != nil {
		t.Fatal(err)
	}
	return to
}

// A configuration that said everything there was to say in an earlier version is accepted. If a setting has to
// go, docs/upgrading.md says how long it is still accepted, and what stands in its place.
func TestEarlierConfigurationIsAccepted(t *testing.T) {
	writeFirst(t, *update)
	if _, err := config.Load(filepath.Join(first, "everything.yaml")); err != nil {
		t.Error(err)
	}
}

// A log that an earlier version wrote is whole, its records can be opened with its keys, and it is gone on with
// under its name and key; then all of it is whole, what was there and what came.
func TestEarlierEvidenceGoesOn(t *testing.T) {
	dir := copyOf(t, first)
	verify := func(want string) {
		t.Helper()
		var out, said bytes.Buffer
		args := []string{"evidence", "verify", "--keys", filepath.Join(dir, "evidence")}
		if code := run(context.Background(), args, streams{strings.NewReader(""), &out, &said}); code != exitFine {
			t.Fatalf("exit code %d\n%s%s", code, &out, &said)
		}
		for _, w := range []string{"city/evidence/0/1", want, "whole: nothing was altered, cut out or left out"} {
			if !strings.Contains(out.String(), w) {
				t.Errorf("no %q in\n%s", w, &out)
			}
		}
	}
	verify("1 hit")
	if before := addFlagged(t, dir, "written by a later version"); before < 2 {
		t.Errorf("the log had %d records", before)
	}
	verify("2 hit")
}

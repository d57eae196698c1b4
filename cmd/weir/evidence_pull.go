package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strings"

	"github.com/weir-moderation/weir/sinks/evidence"
	"github.com/weir-moderation/weir/sinks/evidence/keys"
	"github.com/weir-moderation/weir/sinks/evidence/postgres"
)

type pullCmd struct {
	DSNFile  string `arg:"" name:"dsn-file" help:"A file with the DSN of the database in it, as evidence.postgres.dsn_file names it: one line like postgres://weir@db/evidence." type:"existingfile"`
	Dir      string `arg:"" help:"The directory to write." type:"path"`
	Origin   string `help:"Which log, where the database has several; without it the only one." placeholder:"NAME"`
	KeysFile string `name:"keys-dsn-file" help:"A file with the DSN of the database of the keys: they are written, too, and are destroyed here by nobody." placeholder:"FILE" type:"existingfile"`
}

func (pullCmd) Help() string {
	return `Writes segments, heads and body files, byte for byte those that a log in a directory would have, as they are at one moment; the log may be written meanwhile. What is written can be read by verify and tiles, and proves what it proves by its signatures: the database is not believed. Nothing can be appended to it; query and export, which put on record who looks, are for where the daemon runs.`
}

// Run writes the log out.
func (c *pullCmd) Run(ctx context.Context, s streams) error {
	dsn, err := postgres.ReadDSN(c.DSNFile)
	if err != nil {
		return &codeError{err, exitMisuse}
	}
	origin, err := c.origin(ctx, dsn)
	if err != nil {
		return err
	}
	r, err := postgres.OpenReader(ctx, dsn, origin)
	if err != nil {
		return err
	}
	err = evidence.Pull(ctx, r, c.Dir, path.Base(origin))
	if err = errors.Join(err, r.Close(ctx)); err != nil {
		return err
	}
	if c.KeysFile != "" {
		if err := c.pullKeys(ctx, path.Dir(origin)); err != nil {
			return err
		}
	}
	fmt.Fprintf(s.out, "  log       %s\n  written   %s\n", origin, c.Dir)
	return nil
}

// origin returns the log to pull.
func (c *pullCmd) origin(ctx context.Context, dsn string) (string, error) {
	if c.Origin != "" {
		return c.Origin, nil
	}
	names, err := postgres.Origins(ctx, dsn)
	switch {
	case err != nil:
		return "", err
	case len(names) == 0:
		return "", errors.New("the database has no evidence log")
	case len(names) > 1:
		return "", &codeError{fmt.Errorf("--origin: the database has %d logs; name one of %s", len(names), strings.Join(names, ", ")), exitMisuse}
	}
	return names[0], nil
}

func (c *pullCmd) pullKeys(ctx context.Context, owner string) error {
	dsn, err := postgres.ReadDSN(c.KeysFile)
	if err != nil {
		return &codeError{err, exitMisuse}
	}
	store, err := postgres.OpenKeys(ctx, postgres.KeysOptions{DSN: dsn, Owner: owner, ReadOnly: true})
	if err != nil {
		return err
	}
	dir := filepath.Join(c.Dir, "keys")
	if _, err = os.Stat(dir); err == nil {
		err = fmt.Errorf("%s is there already; the keys are written into a directory without any", dir)
	} else {
		err = keys.WorkingCopy(ctx, store, dir)
	}
	return errors.Join(err, store.Close())
}

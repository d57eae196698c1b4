package app

import (
	"context"
	"errors"
	"fmt"
	"path"
	"path/filepath"
	"time"

	"github.com/weir-moderation/weir/sinks/evidence"
	"github.com/weir-moderation/weir/sinks/evidence/keys"
	"github.com/weir-moderation/weir/sinks/evidence/postgres"
)

// openStore takes the log and its keys in their databases, if that is where they are, and
// makes the evidence directory a working copy of them. It does so before anything in the
// directory is read: of what an earlier pod has left there nothing is believed.
func (d *daemon) openStore(ctx context.Context, o *evidence.Options) error {
	p := &d.cfg.Evidence.Postgres
	if !p.On() {
		return nil
	}
	dsn, err := postgres.ReadDSN(p.DSNFile)
	if err != nil {
		return fmt.Errorf("evidence.postgres.dsn_file: %w", err)
	}
	var keysDSN string
	if p.KeysDSNFile != "" {
		if keysDSN, err = postgres.ReadDSN(p.KeysDSNFile); err != nil {
			return fmt.Errorf("evidence.postgres.keys_dsn_file: %w", err)
		}
		if keysDSN == dsn {
			return errors.New("evidence.postgres.keys_dsn_file: it says the same as dsn_file; keys belong into a database with backups of its own")
		}
	}
	if d.frames, err = postgres.Open(ctx, postgres.Options{DSN: dsn, Origin: o.Origin}); err != nil {
		return err
	}
	d.stops.push("database of the evidence", func(context.Context) error { return d.frames.Close() })
	o.Store = d.frames
	if err := d.frames.WorkingCopy(ctx, o.Dir); err != nil {
		return err
	}
	if keysDSN != "" {
		if d.keyStore, err = postgres.OpenKeys(ctx, postgres.KeysOptions{DSN: keysDSN, Owner: path.Dir(o.Origin)}); err != nil {
			return err
		}
		d.stops.push("database of the keys", func(context.Context) error { return d.keyStore.Close() })
		if err := keys.WorkingCopy(ctx, d.keyStore, filepath.Join(o.Dir, "keys")); err != nil {
			return fmt.Errorf("working copy of the keys: %w", err)
		}
	}
	d.say("evidence", "kept in postgresql; %s is a working copy", o.Dir)
	return nil
}

// loadEvery is how often the indexes of what was sealed go to the database.
const loadEvery = 3 * time.Second

// loadIndexes keeps what the database knows of where records are up to date. It is
// derived, so a failure is said and tried again.
func (d *daemon) loadIndexes(ctx context.Context) error {
	t := time.NewTicker(loadEvery)
	defer t.Stop()
	for {
		if _, err := d.frames.LoadIndex(ctx, d.cfg.Evidence.Dir, d.cfg.Evidence.Generation); err != nil && ctx.Err() == nil {
			d.log.Error("where records of the evidence are could not be told the database", "err", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-t.C:
		}
	}
}

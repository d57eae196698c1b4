package postgres

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/weir-moderation/weir/sinks/evidence"
)

// keySchema is made in a database of its own, with backups of its own: whoever has a copy
// of both and the master key of that time can read what was destroyed since.
const keySchema = `
create table if not exists ev_owner (
	owner text primary key,
	epoch bigint not null);
create table if not exists ev_key (
	owner text not null,
	file text not null,
	off bigint not null,
	content bytea not null,
	primary key (owner, file, off));
alter table ev_key alter content set storage external;
`

// Keys are the key files of one instance in a database, as the pieces in which they were
// written. They are a [keys.Store].
type Keys struct {
	owner string // of the keys
	*session
}

// KeysOptions says whose keys and where. DSN and Owner are required.
type KeysOptions struct {
	DSN     string
	Owner   string        // the instance, for all generations of its log: an origin without its last part
	Timeout time.Duration // 0: 30 seconds
	// ReadOnly makes no table and takes no lock: another process may have the keys.
	ReadOnly bool
}

// OpenKeys connects, makes the table if there is none, and takes the keys for this process.
// [evidence.ErrLocked] means that another one has them.
func OpenKeys(ctx context.Context, o KeysOptions) (*Keys, error) {
	if o.Timeout == 0 {
		o.Timeout = defaultTimeout
	}
	c, err := connect(ctx, o.DSN)
	if err != nil {
		return nil, fmt.Errorf("open the keys of %s in postgresql: %w", o.Owner, err)
	}
	k := &Keys{owner: o.Owner, session: &session{conn: c, timeout: o.Timeout}}
	if o.ReadOnly {
		return k, nil
	}
	if err := k.take(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("open the keys of %s in postgresql: %w", o.Owner, err), k.Close())
	}
	return k, nil
}

// take makes the table and takes the keys of the owner.
func (k *Keys) take(ctx context.Context) error {
	if err := checkDurable(ctx, k.conn); err != nil {
		return err
	}
	if err := makeTables(ctx, k.conn, "ev_key", keySchema); err != nil {
		return err
	}
	if err := lock(ctx, k.conn, `select pg_advisory_lock($1, hashtext($2))`, int32(keyClass), k.owner); err != nil {
		return err
	}
	k.fence, k.whose = `select epoch from ev_owner where owner = $1 for share`, k.owner
	return k.conn.QueryRow(ctx, `insert into ev_owner (owner, epoch) values ($1, 1) on conflict (owner) do update set epoch = ev_owner.epoch + 1 returning epoch`,
		k.owner).Scan(&k.epoch)
}

// Close lets the keys go.
func (k *Keys) Close() error {
	return k.do(func(ctx context.Context, c *pgx.Conn) error { return c.Close(ctx) })
}

// Append implements [keys.Store]: a row of its own.
func (k *Keys) Append(file string, size int64, b []byte) error {
	err := k.do(func(ctx context.Context, c *pgx.Conn) error {
		tag, err := c.Exec(ctx, `insert into ev_key (owner, file, off, content) select $1, $2, $3, $4 from ev_owner where owner = $1 and epoch = $5`,
			k.owner, file, size, b, k.epoch)
		if err == nil && tag.RowsAffected() == 0 {
			err = errOvertaken
		}
		return err
	})
	if isTaken(err) {
		return fmt.Errorf("%w: %s has something at %d already", evidence.ErrForked, file, size)
	}
	return err
}

// piece is a row.
type piece struct {
	Off     int64
	Content []byte
}

// Overwrite implements [keys.Store].
func (k *Keys) Overwrite(file string, off int64, b []byte) error {
	return k.transaction(func(ctx context.Context, tx pgx.Tx) error {
		rows, err := tx.Query(ctx, `select off, content from ev_key where owner = $1 and file = $2 and off < $4 and off + length(content) > $3 for update`,
			k.owner, file, off, off+int64(len(b)))
		if err != nil {
			return err
		}
		pieces, err := pgx.CollectRows(rows, pgx.RowToStructByPos[piece])
		if err != nil {
			return err
		}
		done := 0
		for _, p := range pieces {
			from, to := max(off, p.Off), min(off+int64(len(b)), p.Off+int64(len(p.Content)))
			done += copy(p.Content[from-p.Off:to-p.Off], b[from-off:to-off])
			if _, err := tx.Exec(ctx, `update ev_key set content = $4 where owner = $1 and file = $2 and off = $3`, k.owner, file, p.Off, p.Content); err != nil {
				return err
			}
		}
		if done != len(b) {
			return fmt.Errorf("%s has only %d of the %d bytes from %d on", file, done, len(b), off)
		}
		return nil
	})
}

// Put implements [keys.Store]: in pieces, in one transaction.
func (k *Keys) Put(file string, content io.Reader) error {
	return k.transaction(func(ctx context.Context, tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, `delete from ev_key where owner = $1 and file = $2`, k.owner, file); err != nil {
			return err
		}
		return eachPart(content, func(n int, b []byte) error {
			_, err := tx.Exec(ctx, `insert into ev_key (owner, file, off, content) values ($1, $2, $3, $4)`, k.owner, file, int64(n)*partBytes, b)
			return err
		})
	})
}

// Truncate implements [keys.Store].
func (k *Keys) Truncate(file string, size int64) error {
	return k.transaction(func(ctx context.Context, tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, `delete from ev_key where owner = $1 and file = $2 and off >= $3`, k.owner, file, size); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, `update ev_key set content = substr(content, 1, ($3 - off)::int) where owner = $1 and file = $2 and off + length(content) > $3`,
			k.owner, file, size)
		return err
	})
}

// Remove implements [keys.Store].
func (k *Keys) Remove(file string) error {
	return k.transaction(func(ctx context.Context, tx pgx.Tx) error {
		_, err := tx.Exec(ctx, `delete from ev_key where owner = $1 and file = $2`, k.owner, file)
		return err
	})
}

// Files implements [keys.Store].
func (k *Keys) Files(ctx context.Context, fn func(file string, off int64, part []byte) error) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	rows, err := k.conn.Query(ctx, `select file, off, content from ev_key where owner = $1 order by file, off`, k.owner)
	if err != nil {
		return fmt.Errorf("read keys: %w", err)
	}
	var file string
	var p piece
	if _, err := pgx.ForEachRow(rows, []any{&file, &p.Off, &p.Content}, func() error { return fn(file, p.Off, p.Content) }); err != nil {
		return fmt.Errorf("read keys: %w", err)
	}
	return nil
}

package postgres

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"
)

// Reader reads a log that another process may be writing. It is an [evidence.StoreReader].
type Reader struct {
	conn *pgx.Conn
	log  int32
}

// Origins returns the logs that a database has, by name.
func Origins(ctx context.Context, dsn string) ([]string, error) {
	c, err := connect(ctx, dsn)
	if err != nil {
		return nil, fmt.Errorf("list the evidence in postgresql: %w", err)
	}
	defer c.Close(ctx) //nolint:errcheck // only read
	rows, err := c.Query(ctx, `select origin from ev_log order by origin`)
	if err != nil {
		return nil, fmt.Errorf("list the evidence in postgresql: %w", err)
	}
	names, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return nil, fmt.Errorf("list the evidence in postgresql: %w", err)
	}
	return names, nil
}

// OpenReader connects to read the log of an origin, as it is now: what is written or
// destroyed later is not seen. Nothing is made and nothing locked.
func OpenReader(ctx context.Context, dsn, origin string) (*Reader, error) {
	c, err := connect(ctx, dsn)
	if err != nil {
		return nil, fmt.Errorf("read the evidence of %s in postgresql: %w", origin, err)
	}
	r := &Reader{conn: c}
	if _, err = c.Exec(ctx, `begin isolation level repeatable read read only`); err != nil {
		return nil, errors.Join(fmt.Errorf("read the evidence of %s in postgresql: %w", origin, err), c.Close(ctx))
	}
	err = c.QueryRow(ctx, `select log_id from ev_log where origin = $1`, origin).Scan(&r.log)
	if errors.Is(err, pgx.ErrNoRows) {
		err = errors.New("the database has no such log")
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("read the evidence of %s in postgresql: %w", origin, err), c.Close(ctx))
	}
	return r, nil
}

// Close ends the connection.
func (r *Reader) Close(ctx context.Context) error { return r.conn.Close(ctx) }

// Frames implements [evidence.StoreReader].
func (r *Reader) Frames(ctx context.Context, fn func(segment, first int64, n int, frame []byte) error) error {
	return readFrames(ctx, r.conn, r.log, fn)
}

// Heads implements [evidence.StoreReader].
func (r *Reader) Heads(ctx context.Context, fn func(checkpoint []byte) error) error {
	return readHeads(ctx, r.conn, r.log, fn)
}

// Bodies implements [evidence.StoreReader].
func (r *Reader) Bodies(ctx context.Context, fn func(file string, part []byte) error) error {
	return readBodies(ctx, r.conn, r.log, fn)
}

// Frames implements [evidence.StoreReader].
func (s *Store) Frames(ctx context.Context, fn func(segment, first int64, n int, frame []byte) error) error {
	s.frames.mu.Lock()
	defer s.frames.mu.Unlock()
	return readFrames(ctx, s.frames.conn, s.log, fn)
}

// Heads implements [evidence.StoreReader].
func (s *Store) Heads(ctx context.Context, fn func(checkpoint []byte) error) error {
	s.heads.mu.Lock()
	defer s.heads.mu.Unlock()
	return readHeads(ctx, s.heads.conn, s.log, fn)
}

// Bodies implements [evidence.StoreReader].
func (s *Store) Bodies(ctx context.Context, fn func(file string, part []byte) error) error {
	s.bodies.mu.Lock()
	defer s.bodies.mu.Unlock()
	return readBodies(ctx, s.bodies.conn, s.log, fn)
}

func readFrames(ctx context.Context, c *pgx.Conn, log int32, fn func(segment, first int64, n int, frame []byte) error) error {
	rows, err := c.Query(ctx, `select segment, first_index, n, frame from ev_frame where log_id = $1 order by first_index`, log)
	if err != nil {
		return fmt.Errorf("read frames: %w", err)
	}
	var segment, first int64
	var n int
	var frame pgtype.DriverBytes
	_, err = pgx.ForEachRow(rows, []any{&segment, &first, &n, &frame}, func() error { return fn(segment, first, n, frame) })
	if err != nil {
		return fmt.Errorf("read frames: %w", err)
	}
	return nil
}

func readHeads(ctx context.Context, c *pgx.Conn, log int32, fn func(checkpoint []byte) error) error {
	rows, err := c.Query(ctx, `select checkpoint from ev_head where log_id = $1 order by size`, log)
	if err != nil {
		return fmt.Errorf("read heads: %w", err)
	}
	var checkpoint pgtype.DriverBytes
	if _, err = pgx.ForEachRow(rows, []any{&checkpoint}, func() error { return fn(checkpoint) }); err != nil {
		return fmt.Errorf("read heads: %w", err)
	}
	return nil
}

func readBodies(ctx context.Context, c *pgx.Conn, log int32, fn func(file string, part []byte) error) error {
	rows, err := c.Query(ctx, `select file, content from ev_body where log_id = $1 order by file, part`, log)
	if err != nil {
		return fmt.Errorf("read bodies: %w", err)
	}
	var file string
	var content pgtype.DriverBytes
	_, err = pgx.ForEachRow(rows, []any{&file, &content}, func() error { return fn(strings.Clone(file), content) })
	if err != nil {
		return fmt.Errorf("read bodies: %w", err)
	}
	return nil
}

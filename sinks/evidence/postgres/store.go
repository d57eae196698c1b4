package postgres

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/weir-moderation/weir/sinks/evidence"
)

// Options says which log to keep and where. DSN and Origin are required.
type Options struct {
	DSN    string // as libpq reads it: a URL, or words like host=/run/postgresql
	Origin string // of the log, as in [evidence.Options]
	// Timeout is how long the server may take for one call; 0: 30 seconds. A call that takes
	// longer has failed, and the log breaks.
	Timeout time.Duration
}

const defaultTimeout = 30 * time.Second

// lock takes an advisory lock for as long as the session lives. It waits for a moment: a
// session that has just ended may not have let go yet.
func lock(ctx context.Context, c *pgx.Conn, sql string, args ...any) error {
	if _, err := c.Exec(ctx, `set lock_timeout = '2s'`); err != nil {
		return err
	}
	_, err := c.Exec(ctx, sql, args...)
	if e, ok := errors.AsType[*pgconn.PgError](err); ok && e.Code == "55P03" {
		return fmt.Errorf("%w; stop it, or give this instance a name of its own", evidence.ErrLocked)
	}
	if err != nil {
		return err
	}
	_, err = c.Exec(ctx, `reset lock_timeout`)
	return err
}

// errOvertaken says that another process has taken the log, or the keys, since.
var errOvertaken = fmt.Errorf("%w: it has taken it since", evidence.ErrForked)

// Store is a log in a database, held for writing. It is an [evidence.Store]; its methods
// may be called from many goroutines.
//
// It has four connections, so that heads, bodies and indexes do not wait for frames. One that is
// lost is not made again: what the server did last is not known then, and the log finds
// out at its next start.
type Store struct {
	o      Options
	log    int32
	others map[string]int32 // the instance's logs of other generations, by generation
	epoch  int64            // how many writers there were
	frames *session         // it holds the lock
	heads  *session
	bodies *session
	index  *session

	seen map[int64]time.Time // what [Store.LoadIndex] has loaded, by segment
}

// session is one connection, used by one at a time.
type session struct {
	mu      sync.Mutex
	conn    *pgx.Conn
	timeout time.Duration
	// fence is a query for the epoch of what is written to, which locks that row against
	// a new writer until the transaction ends; whose is its argument and epoch what it
	// must give.
	fence string
	whose any
	epoch int64
}

// do calls fn with the connection, and no longer than the timeout.
func (s *session) do(fn func(ctx context.Context, c *pgx.Conn) error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), s.timeout)
	defer cancel()
	return fn(ctx, s.conn)
}

// Open connects, makes the tables if there are none, and takes the log for this writer.
// [evidence.ErrLocked] means that another one has it.
//
// The lock is there to say so early, and goes with the connection. What keeps two
// writers apart is the primary key of the frames, and for the rest an epoch: each Open begins
// a new one, and what a writer of an older one asks for is refused.
func Open(ctx context.Context, o Options) (*Store, error) {
	if o.Timeout == 0 {
		o.Timeout = defaultTimeout
	}
	s := &Store{o: o, seen: make(map[int64]time.Time)}
	if err := s.open(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("open the evidence of %s in postgresql: %w", o.Origin, err), s.Close())
	}
	return s, nil
}

func (s *Store) open(ctx context.Context) error {
	for _, to := range []**session{&s.frames, &s.heads, &s.bodies, &s.index} {
		c, err := connect(ctx, s.o.DSN)
		if err != nil {
			return err
		}
		*to = &session{conn: c, timeout: s.o.Timeout}
		if err := checkDurable(ctx, c); err != nil {
			return err
		}
	}
	c := s.frames.conn
	if err := makeTables(ctx, c, "ev_body", schema); err != nil {
		return err
	}
	if err := makeTables(ctx, c, "ev_indexed", indexSchema); err != nil {
		return err
	}
	if _, err := c.Exec(ctx, `insert into ev_log (origin) values ($1) on conflict do nothing`, s.o.Origin); err != nil {
		return err
	}
	if err := c.QueryRow(ctx, `select log_id from ev_log where origin = $1`, s.o.Origin).Scan(&s.log); err != nil {
		return err
	}
	if err := lock(ctx, c, `select pg_advisory_lock($1, $2)`, int32(logClass), s.log); err != nil {
		return err
	}
	if err := s.findOthers(ctx, c); err != nil {
		return err
	}
	// From here on who had the log before changes nothing but by new frames, of which the
	// primary key takes care. Nor does who still runs on another generation: its bodies are
	// destroyed by us.
	ids := append(slices.Collect(maps.Values(s.others)), s.log)
	if _, err := c.Exec(ctx, `update ev_log set epoch = epoch + 1 where log_id = any($1)`, ids); err != nil {
		return err
	}
	if err := c.QueryRow(ctx, `select epoch from ev_log where log_id = $1`, s.log).Scan(&s.epoch); err != nil {
		return err
	}
	for _, c := range []*session{s.bodies, s.index} {
		c.fence, c.whose, c.epoch = `select epoch from ev_log where log_id = $1 for share`, s.log, s.epoch
	}
	return nil
}

// findOthers finds the instance's logs of other generations.
func (s *Store) findOthers(ctx context.Context, c *pgx.Conn) error {
	rows, err := c.Query(ctx, `select log_id, origin from ev_log where log_id <> $1`, s.log)
	if err != nil {
		return err
	}
	s.others = make(map[string]int32)
	var id int32
	var origin string
	_, err = pgx.ForEachRow(rows, []any{&id, &origin}, func() error {
		if path.Dir(origin) == path.Dir(s.o.Origin) {
			s.others[path.Base(origin)] = id
		}
		return nil
	})
	return err
}

// logOf returns the log that a body file is of: the name of the file begins with its
// generation.
func (s *Store) logOf(file string) int32 {
	generation, _, _ := strings.Cut(path.Base(file), "-")
	if id, ok := s.others[generation]; ok {
		return id
	}
	return s.log
}

// WorkingCopy makes dir a working copy of the log, and of the instance's logs of other
// generations: the log follows them, and their bodies fall due, too. If the process dies in
// it, the next call begins again.
func (s *Store) WorkingCopy(ctx context.Context, dir string) error {
	if err := evidence.WorkingCopy(ctx, s, dir, s.o.Origin); err != nil {
		return err
	}
	for _, generation := range slices.Sorted(maps.Keys(s.others)) {
		r, err := OpenReader(ctx, s.o.DSN, path.Join(path.Dir(s.o.Origin), generation))
		if err != nil {
			return err
		}
		err = evidence.CopyGeneration(ctx, r, dir, generation)
		if err = errors.Join(err, r.Close(ctx)); err != nil {
			return err
		}
	}
	return nil
}

// ReadDSN reads a file with a DSN in it.
func ReadDSN(file string) (string, error) {
	b, err := os.ReadFile(file)
	if err != nil {
		return "", err
	}
	dsn := strings.TrimSpace(string(b))
	if dsn == "" || strings.Contains(dsn, "\n") {
		return "", fmt.Errorf("%s: not one line with a dsn, like postgres://weir@db/evidence or host=db dbname=evidence user=weir", file)
	}
	return dsn, nil
}

// connect connects in a way that finds a peer dead that does not say so: also the server's
// side, which else would hold the lock of a pod that is gone for hours.
func connect(ctx context.Context, dsn string) (*pgx.Conn, error) {
	c, err := pgx.ParseConfig(dsn)
	if err != nil {
		return nil, errors.New("the dsn cannot be read; use a URL like postgres://weir@db/evidence, or host=db dbname=evidence user=weir")
	}
	c.RuntimeParams["application_name"] = "weir evidence"
	for name, value := range map[string]string{"tcp_keepalives_idle": "10", "tcp_keepalives_interval": "5", "tcp_keepalives_count": "3"} {
		if c.RuntimeParams[name] == "" {
			c.RuntimeParams[name] = value
		}
	}
	return pgx.ConnectConfig(ctx, c)
}

// Close lets the log go.
func (s *Store) Close() error {
	var errs []error
	for _, c := range []*session{s.index, s.bodies, s.heads, s.frames} {
		if c != nil {
			errs = append(errs, c.do(func(ctx context.Context, c *pgx.Conn) error { return c.Close(ctx) }))
		}
	}
	return errors.Join(errs...)
}

// isTaken reports whether the primary key refused a row.
func isTaken(err error) bool {
	e, ok := errors.AsType[*pgconn.PgError](err)
	return ok && e.Code == "23505"
}

// Append implements [evidence.Store]: one row, in a transaction of its own.
func (s *Store) Append(segment, first int64, n int, frame []byte) error {
	err := s.frames.do(func(ctx context.Context, c *pgx.Conn) error {
		_, err := c.Exec(ctx, `insert into ev_frame (log_id, first_index, n, segment, frame) values ($1, $2, $3, $4, $5)`,
			s.log, first, n, segment, frame)
		return err
	})
	if isTaken(err) {
		return fmt.Errorf("%w: record %d is in the database already", evidence.ErrForked, first)
	}
	return err
}

// AppendHead implements [evidence.Store].
func (s *Store) AppendHead(size int64, checkpoint []byte) error {
	var there []byte
	err := s.heads.do(func(ctx context.Context, c *pgx.Conn) error {
		_, err := c.Exec(ctx, `insert into ev_head (log_id, size, checkpoint) values ($1, $2, $3)`, s.log, size, checkpoint)
		if !isTaken(err) {
			return err
		}
		return c.QueryRow(ctx, `select checkpoint from ev_head where log_id = $1 and size = $2`, s.log, size).Scan(&there)
	})
	if err == nil && there != nil && !bytes.Equal(there, checkpoint) {
		return fmt.Errorf("%w: the database has another head of %d records", evidence.ErrForked, size)
	}
	return err
}

// Size implements [evidence.Store].
func (s *Store) Size() (n int64, err error) {
	err = s.frames.do(func(ctx context.Context, c *pgx.Conn) error {
		err := c.QueryRow(ctx, `select first_index + n from ev_frame where log_id = $1 order by first_index desc limit 1`, s.log).Scan(&n)
		if errors.Is(err, pgx.ErrNoRows) {
			return nil
		}
		return err
	})
	return n, err
}

// partBytes is how much of a body file one row holds.
const partBytes = 1 << 20

// PutBodies implements [evidence.Store]: the parts of a file, in one transaction.
func (s *Store) PutBodies(file string, content io.Reader) error {
	class, day := classAndDay(file)
	log := s.logOf(file)
	return s.bodies.transaction(func(ctx context.Context, tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, `delete from ev_body where log_id = $1 and file = $2`, log, file); err != nil {
			return err
		}
		return eachPart(content, func(n int, b []byte) error {
			_, err := tx.Exec(ctx, `insert into ev_body (log_id, file, part, class, day, content) values ($1, $2, $3, $4, $5, $6)`,
				log, file, n, class, day, b)
			return err
		})
	})
}

// eachPart calls fn for each part of a file, counted from 0.
func eachPart(r io.Reader, fn func(n int, b []byte) error) error {
	buf := make([]byte, partBytes)
	for part := 0; ; part++ {
		n, err := io.ReadFull(r, buf)
		if n > 0 {
			if err := fn(part, buf[:n]); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return nil
		}
		if err != nil {
			return err
		}
	}
}

// classAndDay takes them from the name of a body file: body/<class>/<day>/... Of a hold
// they are "hold" and its name.
func classAndDay(file string) (class, day string) {
	parts := strings.Split(file, "/")
	if len(parts) < 4 {
		return "", ""
	}
	return parts[1], parts[2]
}

// RemoveBodies implements [evidence.Store].
func (s *Store) RemoveBodies(file string) error {
	return s.bodies.transaction(func(ctx context.Context, tx pgx.Tx) error {
		_, err := tx.Exec(ctx, `delete from ev_body where log_id = $1 and file = $2`, s.logOf(file), file)
		return err
	})
}

// Strip implements [evidence.Store], in one transaction. A frame that is not there, with
// as many records and in that segment, is an error.
func (s *Store) Strip(segment int64, frames func(put func(first int64, n int, frame []byte) error) error) error {
	return s.bodies.transaction(func(ctx context.Context, tx pgx.Tx) error {
		return frames(func(first int64, n int, frame []byte) error {
			tag, err := tx.Exec(ctx, `update ev_frame set frame = $5 where log_id = $1 and first_index = $2 and n = $3 and segment = $4`,
				s.log, first, n, segment, frame)
			if err == nil && tag.RowsAffected() != 1 {
				err = fmt.Errorf("the database has no frame of %d records at %d in segment %d", n, first, segment)
			}
			return err
		})
	})
}

// transaction calls fn in a transaction, if no other writer has come since. It may take as long as the timeout for each of
// its calls: it is as large as a segment.
func (s *session) transaction(fn func(ctx context.Context, tx pgx.Tx) error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	ctx, cancel := context.WithTimeout(context.Background(), 20*s.timeout)
	defer cancel()
	return pgx.BeginFunc(ctx, s.conn, func(tx pgx.Tx) error {
		var epoch int64
		if err := tx.QueryRow(ctx, s.fence, s.whose).Scan(&epoch); err != nil {
			return err
		}
		if epoch != s.epoch {
			return errOvertaken
		}
		return fn(ctx, tx)
	})
}

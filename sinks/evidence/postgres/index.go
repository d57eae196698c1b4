package postgres

import (
	"context"
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"

	"github.com/weir-moderation/weir/sinks/evidence"
)

// indexSchema is a projection of the indexes of all logs of a database. It is derived, and
// may be dropped: whoever holds a log loads its part again.
const indexSchema = `
create table if not exists ev_index (
	key bigint not null,
	term bool not null,
	log_id int not null references ev_log,
	record bigint not null,
	segment bigint not null,
	primary key (key, term, log_id, record));
create index if not exists ev_index_segment on ev_index (log_id, segment);
create table if not exists ev_indexed (
	log_id int not null references ev_log,
	segment bigint not null,
	sum bigint not null,
	primary key (log_id, segment));
`

// LoadIndex brings the projection up to the indexes in the evidence directory dir, of which
// this log is: what was sealed since, and what was taken out since people were erased. It
// returns how many segments it loaded. Loading again what is there changes nothing; a
// process that dies in it leaves a segment as it was. It is for one goroutine.
func (s *Store) LoadIndex(ctx context.Context, dir, generation string) (int, error) {
	files, err := evidence.Indexes(dir, generation)
	if err != nil {
		return 0, fmt.Errorf("load indexes: %w", err)
	}
	files = slices.DeleteFunc(files, func(f evidence.IndexFile) bool { return s.seen[f.Segment].Equal(f.Written) })
	if len(files) == 0 {
		return 0, nil
	}
	loaded, err := s.loaded(ctx)
	if err != nil {
		return 0, fmt.Errorf("load indexes: %w", err)
	}
	n := 0
	for _, f := range files {
		postings, sum, err := evidence.Postings(dir, generation, f.Segment)
		if old, ok := loaded[f.Segment]; err == nil && (!ok || old != int64(sum)) {
			err = s.load(f.Segment, int64(sum), postings)
			n++
		}
		if err != nil {
			return n, fmt.Errorf("load the index of segment %d: %w", f.Segment, err)
		}
		s.seen[f.Segment] = f.Written
	}
	return n, nil
}

// loaded returns the sums of the segments that are there.
func (s *Store) loaded(ctx context.Context) (map[int64]int64, error) {
	s.index.mu.Lock()
	defer s.index.mu.Unlock()
	rows, err := s.index.conn.Query(ctx, `select segment, sum from ev_indexed where log_id = $1`, s.log)
	if err != nil {
		return nil, err
	}
	sums := make(map[int64]int64)
	var segment, sum int64
	_, err = pgx.ForEachRow(rows, []any{&segment, &sum}, func() error { sums[segment] = sum; return nil })
	return sums, err
}

// load makes the rows of a segment those of its index, in one transaction.
func (s *Store) load(segment, sum int64, postings []evidence.Posting) error {
	return s.index.transaction(func(ctx context.Context, tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, `create temporary table ev_load (key bigint, term bool, record bigint) on commit drop`); err != nil {
			return err
		}
		_, err := tx.CopyFrom(ctx, pgx.Identifier{"ev_load"}, []string{"key", "term", "record"}, pgx.CopyFromSlice(len(postings), func(i int) ([]any, error) {
			p := postings[i]
			return []any{int64(p.Key), p.Term, p.Index}, nil
		}))
		if err != nil {
			return err
		}
		for _, sql := range []string{
			`delete from ev_index i where log_id = $1 and segment = $2
				and not exists (select from ev_load l where l.key = i.key and l.term = i.term and l.record = i.record)`,
			`insert into ev_index (key, term, log_id, record, segment) select key, term, $1, record, $2 from ev_load on conflict do nothing`,
		} {
			if _, err := tx.Exec(ctx, sql, s.log, segment); err != nil {
				return err
			}
		}
		_, err = tx.Exec(ctx, `insert into ev_indexed (log_id, segment, sum) values ($1, $2, $3) on conflict (log_id, segment) do update set sum = excluded.sum`,
			s.log, segment, sum)
		return err
	})
}

// Place says where a record is.
type Place struct {
	Origin string
	Index  int64
}

// FindID returns where records may be whose ids begin with the same 8 bytes as this one, in
// all logs of a database: after a rebalance two instances may both have a record.
func FindID(ctx context.Context, dsn string, id evidence.ID) ([]Place, error) {
	return find(ctx, dsn, `not i.term and i.key = $1`, int64(binary.BigEndian.Uint64(id[:])))
}

// FindTerms returns the records of one log that have any of the terms. Each log has terms of
// its own: they are keyed hashes.
func FindTerms(ctx context.Context, dsn, origin string, terms []uint64) ([]Place, error) {
	list := make([]int64, len(terms))
	for i, t := range terms {
		list[i] = int64(t)
	}
	return find(ctx, dsn, `i.term and i.key = any($1) and l.origin = $2`, list, origin)
}

func find(ctx context.Context, dsn, where string, args ...any) ([]Place, error) {
	c, err := connect(ctx, dsn)
	if err != nil {
		return nil, fmt.Errorf("look evidence up in postgresql: %w", err)
	}
	defer c.Close(ctx) //nolint:errcheck // only read
	rows, err := c.Query(ctx, `select distinct l.origin, i.record from ev_index i join ev_log l using (log_id) where `+where+` order by 1, 2`, args...)
	if err != nil {
		return nil, fmt.Errorf("look evidence up in postgresql: %w", err)
	}
	places, err := pgx.CollectRows(rows, pgx.RowToStructByPos[Place])
	if err != nil {
		return nil, fmt.Errorf("look evidence up in postgresql: %w", err)
	}
	return places, nil
}

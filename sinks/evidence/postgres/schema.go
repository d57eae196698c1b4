package postgres

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// schema is made at the first start. Frames and bodies are kept out of line and not
// compressed: most of each is encrypted, or hashes.
const schema = `
create table if not exists ev_log (
	log_id int generated always as identity primary key,
	origin text not null unique,
	epoch bigint not null default 0);
create table if not exists ev_frame (
	log_id int not null references ev_log,
	first_index bigint not null,
	n int not null,
	segment bigint not null,
	frame bytea not null,
	primary key (log_id, first_index));
alter table ev_frame alter frame set storage external;
create table if not exists ev_head (
	log_id int not null references ev_log,
	size bigint not null,
	checkpoint bytea not null,
	primary key (log_id, size));
create table if not exists ev_body (
	log_id int not null references ev_log,
	file text not null,
	part int not null,
	class text not null,
	day text not null,
	content bytea not null,
	primary key (log_id, file, part));
alter table ev_body alter content set storage external;
`

// schemaLock is held while the tables are made: two that make one at the same time are
// an error in PostgreSQL, also with "if not exists". Logs have locks in a class of their own.
const (
	schemaLock = 0x65766c6f67 // "evlog"
	logClass   = 0x6576       // "ev"
	keyClass   = 0x656b       // "ek"
)

// makeTables makes the tables of a schema, of which last is the last. Who may not make
// tables finds them made.
func makeTables(ctx context.Context, c *pgx.Conn, last, schema string) error {
	var there bool
	if err := c.QueryRow(ctx, `select to_regclass($1) is not null`, last).Scan(&there); err != nil || there {
		return err
	}
	err := pgx.BeginFunc(ctx, c, func(tx pgx.Tx) error {
		if _, err := tx.Exec(ctx, `select pg_advisory_xact_lock($1)`, int64(schemaLock)); err != nil {
			return err
		}
		_, err := tx.Exec(ctx, schema)
		return err
	})
	if err != nil {
		return fmt.Errorf("make the tables: %w", err)
	}
	return nil
}

// checkDurable refuses a server that acknowledges what it may still lose.
func checkDurable(ctx context.Context, c *pgx.Conn) error {
	if _, err := c.Exec(ctx, `set synchronous_commit = on`); err != nil {
		return err
	}
	for _, setting := range []string{"fsync", "full_page_writes"} {
		var value string
		if err := c.QueryRow(ctx, `select current_setting($1)`, setting).Scan(&value); err != nil {
			return err
		}
		if value != "on" {
			return fmt.Errorf("the server has %s = %s and may lose what it has acknowledged; set it to on", setting, value)
		}
	}
	return nil
}

package main

import (
	"context"
	"encoding/hex"
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

type locateCmd struct {
	DSNFile   string `arg:"" name:"dsn-file" help:"A file with the DSN of the database in it, as evidence.postgres.dsn_file names it." type:"existingfile"`
	ID        string `help:"The id of a record, 32 hex digits." placeholder:"ID" xor:"what" required:""`
	Subject   string `help:"A user, by the platform's id; or pseudonym:NAME, by the name a user has in Redis." placeholder:"USER" xor:"what" required:""`
	Event     string `help:"The id of an event." placeholder:"EVENT" xor:"what" required:""`
	KeysFile  string `name:"keys-dsn-file" help:"A file with the DSN of the database of the keys: users and events are found by keyed hashes." placeholder:"FILE" type:"existingfile"`
	MasterKey string `name:"master-key" help:"The file of the master key of these keys." placeholder:"FILE" type:"existingfile"`
}

func (locateCmd) Help() string {
	return `Prints for each record found the log and the index in it, and nothing of what it says: to see that, use query where the daemon of that log runs, which puts on record who looks; locate itself leaves no record, though it tells whether a user has any. What is not sealed yet is not found, nor what was sealed within the last seconds; nor an erased user. By id, records that only begin with the same 8 bytes are printed, too.`
}

// Run looks and prints.
func (c *locateCmd) Run(ctx context.Context, s streams) error {
	dsn, err := postgres.ReadDSN(c.DSNFile)
	if err != nil {
		return &codeError{err, exitMisuse}
	}
	var places []postgres.Place
	if c.ID != "" {
		b, err := hex.DecodeString(c.ID)
		if err != nil || len(b) != len(evidence.ID{}) {
			return &codeError{fmt.Errorf("--id: %q is none; an id has 32 hex digits", c.ID), exitMisuse}
		}
		places, err = postgres.FindID(ctx, dsn, evidence.ID(b))
		if err != nil {
			return err
		}
	} else if places, err = c.byTerm(ctx, dsn); err != nil {
		return err
	}
	for _, p := range places {
		fmt.Fprintf(s.out, "%s %d\n", p.Origin, p.Index)
	}
	return nil
}

// byTerm looks in each log by the hashes that its own keys make.
func (c *locateCmd) byTerm(ctx context.Context, dsn string) (found []postgres.Place, err error) {
	if c.KeysFile == "" || c.MasterKey == "" {
		return nil, &codeError{errors.New("--keys-dsn-file and --master-key: users and events are found by keyed hashes; give both"), exitMisuse}
	}
	keysDSN, err := postgres.ReadDSN(c.KeysFile)
	if err != nil {
		return nil, &codeError{err, exitMisuse}
	}
	origins, err := postgres.Origins(ctx, dsn)
	if err != nil {
		return nil, err
	}
	tmp, err := os.MkdirTemp("", "weir-keys-")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, os.RemoveAll(tmp)) }()
	for i, origin := range origins {
		terms, err := c.terms(ctx, keysDSN, path.Dir(origin), filepath.Join(tmp, fmt.Sprint(i)))
		if err != nil {
			return nil, fmt.Errorf("the keys of %s: %w", origin, err)
		}
		places, err := postgres.FindTerms(ctx, dsn, origin, terms)
		if err != nil {
			return nil, err
		}
		found = append(found, places...)
	}
	return found, nil
}

// terms computes what is looked for with the keys of one instance. An instance without keys
// has no terms.
func (c *locateCmd) terms(ctx context.Context, dsn, owner, dir string) (terms []uint64, err error) {
	store, err := postgres.OpenKeys(ctx, postgres.KeysOptions{DSN: dsn, Owner: owner, ReadOnly: true})
	if err != nil {
		return nil, err
	}
	err = keys.WorkingCopy(ctx, store, dir)
	if err = errors.Join(err, store.Close()); err != nil {
		return nil, err
	}
	if _, err := os.Stat(dir); errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	ring, err := keys.Open(dir, keys.Options{Master: keys.Config{File: c.MasterKey}, ReadOnly: true})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, ring.Close()) }()
	name, value := "account", c.Subject
	if pseudonym, ok := strings.CutPrefix(c.Subject, "pseudonym:"); ok {
		name, value = "pseudonym", pseudonym
	}
	if c.Event != "" {
		name, value = "event", c.Event
	}
	for _, class := range []evidence.Class{evidence.ClassContent, evidence.ClassPush} {
		terms = append(terms, ring.Term(class.String(), name, value))
	}
	return terms, nil
}

package desk

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"

	"github.com/weir-moderation/weir/sinks/evidence"
)

// local does what is asked on a log that this process holds.
type local struct {
	log *evidence.Log
}

func (l *local) append(ctx context.Context, id evidence.ID, kind evidence.Kind, body []byte) (int64, error) {
	if err := checkStatement(kind, body); err != nil {
		return 0, err
	}
	return l.log.AppendOne(ctx, evidence.Record{ID: id, Kind: kind, Class: evidence.ClassAudit, Encoding: evidence.EncodingJSON, Body: body})
}

// The kinds of statements: what people did (accesses, exports) and what became of records.
const (
	firstKind evidence.Kind = 32
	lastKind  evidence.Kind = 63
)

// checkStatement refuses what is none. The rest of the log, what was judged and which offsets were,
// is the daemon's alone to say.
func checkStatement(kind evidence.Kind, body []byte) error {
	switch {
	case kind < firstKind || kind > lastKind:
		return fmt.Errorf("a record of kind %s is not for people to write; statements have the kinds %d to %d", kind, firstKind, lastKind)
	case len(body) > MaxStatementBytes:
		return fmt.Errorf("a statement of %d bytes; at most %d", len(body), MaxStatementBytes)
	case len(body) == 0 || body[0] != '{' || !json.Valid(body):
		return errors.New("a statement is one JSON object")
	}
	return nil
}

func parseID(s string) (id evidence.ID, err error) {
	b, err := hex.DecodeString(s)
	if err != nil || len(b) != len(id) {
		return id, fmt.Errorf("%q is no record id; it has %d hex digits", s, 2*len(id))
	}
	return evidence.ID(b), nil
}

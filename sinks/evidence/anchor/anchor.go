// Package anchor keeps the heads of an evidence log where whoever operates the
// log cannot take them back: on a compacted topic, in the logs of other
// instances, with a witness, under a time-stamp.
//
// A [Publisher] writes every signed head to the topic. [ReadTopic] reads what was
// published before a log is opened, and a [Watcher] what is published while it
// runs: of this log, to find out that another one has its name; of others, to put
// on record how they grew. A [Cosigner] asks a witness, a [Stamper] an authority.
//
// What it is not: it decides nothing about records, and nothing here holds up an
// append. The one thing to know: only what is kept elsewhere shows that a whole
// directory was put back to an older state; everything in the directory itself
// can be put back with it.
package anchor

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"

	"github.com/weir-moderation/weir/sinks/evidence"
)

// Head is another log's head as it was seen.
type Head struct {
	Origin     string `json:"origin"`
	Checkpoint string `json:"checkpoint"` // signed, as it stood there
	// VerifierKey is the key that its first message named, and every one since was
	// signed with.
	VerifierKey string `json:"verifier_key"`
	Topic       string `json:"topic"`
	Partition   int32  `json:"partition"`
	Offset      int64  `json:"offset"`
	// Check says what is known of how the log came here from its head before.
	Check Check `json:"check,omitempty"`
	// From is the size of the head from which a proof was checked or asked for.
	From int64 `json:"from,omitempty"`
}

// Check is what is known of a log's way from one head to a later one.
type Check string

// The checks.
const (
	First       Check = "first"       // nothing was known of it before
	Grew        Check = "grew"        // it has as many records as before, or more
	Consistent  Check = "consistent"  // a proof shows that the records before are still its beginning
	Unreachable Check = "unreachable" // nobody gave a proof
)

// Cosigned is a head of this log with the signature of a witness.
type Cosigned struct {
	Witness    string `json:"witness"`
	Checkpoint string `json:"checkpoint"`
}

// Body is the body of an anchor record.
type Body struct {
	Heads    []Head     `json:"heads,omitempty"`
	Cosigned []Cosigned `json:"cosigned,omitempty"`
}

// HeartbeatBody is the body of a heartbeat record: that nothing happened.
type HeartbeatBody struct {
	Records int64  `json:"records"` // of the log before it
	Since   string `json:"since"`   // RFC 3339: nothing was recorded from then on
}

// statement makes a record of class audit whose identity is what it says in this
// log: said twice, it is one record twice.
func statement(log *evidence.Log, kind evidence.Kind, body any) (evidence.Record, error) {
	b, err := json.Marshal(body)
	if err != nil {
		return evidence.Record{}, fmt.Errorf("encode %s record: %w", kind, err)
	}
	h := sha256.Sum256(append([]byte("weir "+kind.String()+" 1\n"+log.Origin()+"\n"), b...))
	return evidence.Record{ID: evidence.ID(h[:16]), Kind: kind, Class: evidence.ClassAudit, Encoding: evidence.EncodingJSON, Body: b}, nil
}

// record appends one statement.
func record(ctx context.Context, log *evidence.Log, kind evidence.Kind, body any) error {
	r, err := statement(log, kind, body)
	if err != nil {
		return err
	}
	return log.Append(ctx, []evidence.Record{r})
}

package desk

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/weir-moderation/weir/sinks/evidence"
	"github.com/weir-moderation/weir/sinks/evidence/keys"
)

// worker does on a log and its keys what people ask for: [local] on those that are
// open here, [remote] by asking the daemon that holds them.
type worker interface {
	// append makes a statement durable and returns its index.
	append(ctx context.Context, a appending) (int64, error)
	// seal moves all bodies out of segments that has not been moved yet.
	seal(ctx context.Context) error
	// about returns what the keys know of a person.
	about(ctx context.Context, subject string) (person, error)
	// shred destroys keys and takes the records' terms out of the indexes.
	shred(ctx context.Context, s shredding) error
	// restrict puts keys aside until the end of a day.
	restrict(ctx context.Context, r restricting) error
	// escrow seals keys to somebody's public key and returns the name of the file.
	escrow(ctx context.Context, e escrowing) (string, error)
	// drop destroys the keys of a class and month, but for those that are kept.
	drop(ctx context.Context, d dropping) error
	// clear takes the terms of records out of the indexes whose bodies are gone with the
	// body files named.
	clear(ctx context.Context, files []string) error
	// due returns the keys that were put aside for a duty that has ended.
	due(ctx context.Context) ([]string, error)
	// damaged returns the keys that cannot be read.
	damaged(ctx context.Context) ([]DamagedKey, error)
	// giveUp records that a damaged key is given up, and does it.
	giveUp(ctx context.Context, g givingUp) (int64, error)
	// rotate replaces the master key.
	rotate(ctx context.Context) (keys.Rotation, error)
}

type appending struct {
	ID   string        `json:"id"`
	Kind evidence.Kind `json:"kind"`
	Body []byte        `json:"body"` // in base64, so that not a byte of it changes
}

// person is what the keys know of somebody, by class.
type person struct {
	Handles map[string][]string `json:"handles"` // of keys, in use or put aside
	Terms   map[string]string   `json:"terms"`   // by which an index knows the account, 16 hex digits
}

type shredding struct {
	Handles []string `json:"handles"`
	Records []Ranges `json:"records"`
}

type restricting struct {
	Handles []string  `json:"handles"`
	Until   time.Time `json:"until"`
}

type escrowing struct {
	Handles []string  `json:"handles"`
	Key     string    `json:"key"`
	Until   time.Time `json:"until"`
}

type dropping struct {
	Class string   `json:"class"`
	Month string   `json:"month"`
	Keep  []string `json:"keep"`
}

// local works on a log that this process holds.
type local struct {
	log  *evidence.Log
	dir  string
	ring *keys.Ring // nil where nothing is encrypted
}

func (l *local) append(ctx context.Context, a appending) (int64, error) {
	id, err := parseID(a.ID)
	if err != nil {
		return 0, err
	}
	if err := checkStatement(a.Kind, a.Body); err != nil {
		return 0, err
	}
	return l.log.AppendOne(ctx, evidence.Record{ID: id, Kind: a.Kind, Class: evidence.ClassAudit, Encoding: evidence.EncodingJSON, Body: a.Body})
}

func (l *local) seal(ctx context.Context) error { return l.log.Seal(ctx) }

// keyed are the classes whose bodies are encrypted.
func keyed() []string {
	return []string{evidence.ClassContent.String(), evidence.ClassPush.String()}
}

var errNoKeys = errors.New("the evidence here is not encrypted: there are no keys, so nobody can be erased by them")

func (l *local) about(_ context.Context, subject string) (person, error) {
	p := person{Handles: make(map[string][]string), Terms: make(map[string]string)}
	if l.ring == nil {
		return p, errNoKeys
	}
	for _, class := range keyed() {
		hs, err := l.ring.Find(subject, class)
		if err != nil {
			return p, err
		}
		for _, h := range hs {
			p.Handles[class] = append(p.Handles[class], h.String())
		}
		p.Terms[class] = fmt.Sprintf("%016x", subjectTerm(l.ring, class, subject))
	}
	return p, nil
}

func (l *local) shred(_ context.Context, s shredding) error {
	handles, err := parseHandles(s.Handles)
	if err != nil {
		return err
	}
	if len(handles) > 0 {
		if l.ring == nil {
			return errNoKeys
		}
		if _, err := l.ring.ShredHandles(handles); err != nil {
			return err
		}
	}
	for _, r := range s.Records {
		if err := l.log.ForgetRanges(r.Generation, r.Ranges); err != nil {
			return err
		}
	}
	return nil
}

func (l *local) restrict(_ context.Context, r restricting) error {
	if l.ring == nil {
		return errNoKeys
	}
	handles, err := parseHandles(r.Handles)
	if err != nil {
		return err
	}
	return l.ring.RestrictHandles(handles, r.Until)
}

func (l *local) escrow(_ context.Context, e escrowing) (string, error) {
	if l.ring == nil {
		return "", errNoKeys
	}
	handles, err := parseHandles(e.Handles)
	if err != nil {
		return "", err
	}
	to, err := keys.ParseEscrowKey(e.Key)
	if err != nil {
		return "", err
	}
	return l.ring.Escrow(handles, to, e.Until)
}

func (l *local) drop(_ context.Context, d dropping) error {
	if l.ring == nil {
		return errNoKeys
	}
	month, err := keys.ParseMonth(d.Month)
	if err != nil {
		return err
	}
	keep, err := parseHandles(d.Keep)
	if err != nil {
		return err
	}
	return l.ring.Drop(d.Class, month, keep...)
}

func (l *local) clear(_ context.Context, files []string) error { return l.log.ForgetBodies(files) }

func (l *local) due(context.Context) ([]string, error) {
	if l.ring == nil {
		return nil, nil
	}
	hs, err := l.ring.Due()
	var list []string
	for _, h := range hs {
		list = append(list, h.String())
	}
	return list, err
}

func (l *local) rotate(ctx context.Context) (keys.Rotation, error) {
	if l.ring == nil {
		return keys.Rotation{}, errNoKeys
	}
	r, err := l.ring.Rotate()
	if err != nil {
		return r, err
	}
	// Afterwards: who knows that a key is gone must not have been told too early. If the process
	// dies before, the rotation is done and not on record; the keyring has its time.
	b, err := json.Marshal(Rotation{Key: "master", Generation: r.Generation, Destroyed: r.Destroyed, Keys: r.Keys})
	if err != nil {
		return r, err
	}
	id := derivedID(evidence.KindRotation, fmt.Sprintf("%s\n%d", r.Master, r.Generation))
	_, err = l.log.AppendOne(ctx, evidence.Record{ID: id, Kind: evidence.KindRotation, Class: evidence.ClassAudit, Encoding: evidence.EncodingJSON, Body: b})
	return r, err
}

// pseudonymPrefix begins the subject of records that know a user by the name he has in Redis only.
const pseudonymPrefix = "pseudonym:"

// subjectTerm is what the records about a person can be looked up by.
func subjectTerm(ring *keys.Ring, class, subject string) uint64 {
	if p := pseudonymPrefix; len(subject) > len(p) && subject[:len(p)] == p {
		return ring.Term(class, "pseudonym", subject[len(p):])
	}
	return ring.Term(class, "account", subject)
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

// allHandles returns a person's handles of the classes, or of all.
func (p *person) allHandles(classes ...string) []string {
	var list []string
	for _, class := range keyed() {
		if len(classes) == 0 || slices.Contains(classes, class) {
			list = append(list, p.Handles[class]...)
		}
	}
	return list
}

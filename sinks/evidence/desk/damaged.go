package desk

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"

	"github.com/weir-moderation/weir/sinks/evidence"
	"github.com/weir-moderation/weir/sinks/evidence/keys"
)

// DamagedKey is an entry of a key file that cannot be read, and what hangs on it. A
// master key is not rotated while there is one.
type DamagedKey struct {
	Name   string `json:"name"` // for [Conn.GiveUp]: the file below keys/, a colon, and the number of the entry
	File   string `json:"file"` // relative to the evidence directory
	Offset int64  `json:"offset"`
	// Handles are those of the keys that may have stood there: one, or, where the damage hit the
	// handle and other entries of the file are damaged too, several. None: no record is encrypted
	// with what stood there, as far as can be seen.
	Handles []string `json:"handles"`
	Records int64    `json:"records"` // that are encrypted with them, in all generations

	At keys.Damage `json:"at"`
}

// GivenUp is the body of a damaged record by which somebody has given up a key. What
// was encrypted with it is lost: it explains that, and it excuses nothing.
type GivenUp struct {
	evidence.DamagedBody
	evidence.GivenUp `json:"given_up"`
}

type givingUp struct {
	Key  keys.Damage `json:"key"`
	Body GivenUp     `json:"body"`
}

// giveUp puts on record that a key is given up, and then does it. If the process dies
// between the two, or it fails, the key is as damaged as it was, and whoever asks again
// writes the record again.
func (l *local) giveUp(ctx context.Context, g givingUp) (int64, error) {
	if l.ring == nil {
		return 0, errNoKeys
	}
	found, err := l.ring.Damaged()
	if err != nil {
		return 0, err
	}
	if !slices.Contains(found, g.Key) {
		return 0, fmt.Errorf("%v can be read, or is not there", g.Key)
	}
	index, err := l.record(ctx, g)
	if err != nil {
		return 0, fmt.Errorf("record that it is given up, without which it is not: %w", err)
	}
	return index, l.ring.GiveUp(g.Key)
}

func (l *local) record(ctx context.Context, g givingUp) (int64, error) {
	b, err := json.Marshal(g.Body)
	if err != nil {
		return 0, err
	}
	return l.log.AppendOne(ctx, evidence.Record{ID: derivedID(evidence.KindDamaged, string(b)), Kind: evidence.KindDamaged,
		Class: evidence.ClassAudit, Encoding: evidence.EncodingJSON, Body: b})
}

// nameOf names the entry of a damaged key, and its file.
func nameOf(d *keys.Damage) (name, file string) {
	suffix := ".keys"
	if d.Restricted {
		suffix = ".restricted"
	}
	file = path.Join(d.Class, d.Month.String()+suffix)
	return fmt.Sprintf("%s:%d", file, d.Entry), path.Join("keys", file)
}

// keyEntrySize is the size of an entry of a key file: FORMAT.md, Keys.
const keyEntrySize = 104

// Damaged lists the keys that cannot be read, and counts the records that are encrypted
// with them. It reads all key files, and if there is one such key all segments, too.
func (c *Conn) Damaged(ctx context.Context) ([]DamagedKey, error) { return c.works.damaged(ctx) }

// usedKey is a key that records name.
type usedKey struct {
	class  string
	handle keys.Handle
}

func (l *local) damaged(ctx context.Context) ([]DamagedKey, error) {
	if l.ring == nil {
		return nil, errNoKeys
	}
	found, err := l.ring.Damaged()
	if err != nil || len(found) == 0 {
		return nil, err
	}
	records, err := l.unreadable(ctx, found)
	if err != nil {
		return nil, fmt.Errorf("look for the records of damaged keys: %w", err)
	}
	// An entry whose own handle is one that is lost has that key; the others of the file share
	// what is left.
	claimed := make(map[usedKey]bool)
	for _, d := range found {
		claimed[usedKey{d.Class, d.Handle}] = true
	}
	var list []DamagedKey
	for _, d := range found {
		k := DamagedKey{Offset: d.Entry * keyEntrySize, Handles: []string{}, At: d}
		k.Name, k.File = nameOf(&d)
		own := usedKey{d.Class, d.Handle}
		for u, n := range records {
			left := records[own] == 0 && !claimed[u] && u.class == d.Class && u.handle.Month() == d.Month
			if u == own || left {
				k.Handles = append(k.Handles, u.handle.String())
				k.Records += n
			}
		}
		slices.Sort(k.Handles)
		list = append(list, k)
	}
	return list, nil
}

// unreadable counts the records of the months of damaged keys whose own key is one.
func (l *local) unreadable(ctx context.Context, damaged []keys.Damage) (map[usedKey]int64, error) {
	type month struct {
		class string
		month keys.Month
	}
	in := make(map[month]bool)
	named := make(map[usedKey]bool)
	for _, d := range damaged {
		in[month{d.Class, d.Month}] = true
		named[usedKey{d.Class, d.Handle}] = true
	}
	records := make(map[usedKey]int64)
	gens, err := evidence.Generations(l.dir)
	if err != nil {
		return nil, err
	}
	for _, g := range gens {
		err := evidence.WalkGeneration(l.dir, g, nil, func(e evidence.Entry) error {
			if e.Encrypted && in[month{e.Class.String(), e.Handle.Month()}] {
				records[usedKey{e.Class.String(), e.Handle}]++
			}
			return ctx.Err()
		})
		if err != nil {
			return nil, err
		}
	}
	for u := range records {
		_, err := l.ring.Open(u.class, u.handle)
		if errors.Is(err, keys.ErrDamaged) || named[u] && err != nil { // one that was put aside is found by its name only
			continue
		}
		delete(records, u)
	}
	return records, nil
}

// GiveUpRequest says which damaged key is given up, and who says so.
type GiveUpRequest struct {
	Key        string // as [DamagedKey] names it
	Reason     string
	By         string
	ApprovedBy string
}

// GiveUp gives up a key that cannot be read, so that the master key can be rotated
// again: that is on record first, with what is lost by it. Records that were encrypted
// with it stay unreadable, and a verifier with keys goes on to say MISSING of them.
func (c *Conn) GiveUp(ctx context.Context, r GiveUpRequest) (index int64, k DamagedKey, err error) {
	unlock, err := c.lock(ctx)
	if err != nil {
		return 0, k, err
	}
	defer unlock()
	if k, err = c.FindDamaged(ctx, r); err != nil {
		return 0, k, err
	}
	index, err = c.works.giveUp(ctx, givingUp{Key: k.At, Body: GivenUp{
		DamagedBody: evidence.DamagedBody{File: k.File, Index: -1, Offset: k.Offset, Detail: "a key that cannot be read is given up"},
		GivenUp:     evidence.GivenUp{Handles: k.Handles, Records: k.Records, Reason: r.Reason, By: r.By, ApprovedBy: r.ApprovedBy},
	}})
	return index, k, err
}

// FindDamaged returns the damaged key that is to be given up, without doing it.
func (c *Conn) FindDamaged(ctx context.Context, r GiveUpRequest) (k DamagedKey, err error) {
	for what, said := range map[string]string{"why": r.Reason, "by whom": r.By, "who approved that": r.ApprovedBy} {
		if strings.TrimSpace(said) == "" {
			return k, fmt.Errorf("a key is given up for a reason, by somebody, and with another one's approval: say %s", what)
		}
	}
	if r.By == r.ApprovedBy {
		return k, errors.New("who gives a key up cannot be who approves it")
	}
	list, err := c.Damaged(ctx)
	if err != nil {
		return k, err
	}
	i := slices.IndexFunc(list, func(k DamagedKey) bool { return k.Name == r.Key })
	if i < 0 {
		return k, fmt.Errorf("%s is no key that cannot be read; weir evidence damaged lists them", r.Key)
	}
	return list[i], nil
}

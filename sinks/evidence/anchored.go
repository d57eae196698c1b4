package evidence

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"sort"

	"golang.org/x/mod/sumdb/note"
)

// anchorBody is what a verifier reads of an anchor record, and of an incident
// record about another log.
type anchorBody struct {
	Heads []anchorHead `json:"heads"`

	Known anchorHead `json:"known"`
	Other anchorHead `json:"other"`
}

type anchorHead struct {
	Origin     string `json:"origin"`
	Checkpoint string `json:"checkpoint"`
}

// AnchoredHeads returns the heads of the log with the key vkey that another
// instance has put on record, from that one's evidence directory: for
// [VerifyOptions].Heads. What the key has not signed is left out; each head comes
// once. The directory is read, not verified.
func AnchoredHeads(dir, vkey string) ([][]byte, error) {
	v, err := note.NewVerifier(vkey)
	if err != nil {
		return nil, fmt.Errorf("verifier key: %w; it is one line of the form <origin>+<hash>+<key>", err)
	}
	found, err := anchored(dir, v)
	if err != nil {
		return nil, err
	}
	var list [][]byte
	for _, h := range found {
		list = append(list, h.msg)
	}
	return list, nil
}

// anchoredHead is a head that another log holds, and where.
type anchoredHead struct {
	namedHead
	msg []byte
}

// anchored returns the heads of v's log that the log in dir holds, by size.
func anchored(dir string, v note.Verifier) ([]anchoredHead, error) {
	gens, err := generations(dir)
	if err != nil {
		return nil, fmt.Errorf("peer %s: %w", dir, err)
	}
	found := make(map[head]anchoredHead)
	for _, g := range gens {
		err := walkGeneration(dir, g, nil, func(e Entry) error {
			if e.Kind != KindAnchor && e.Kind != KindIncident || e.Encoding != EncodingJSON || e.Body == nil {
				return nil
			}
			var b anchorBody
			if json.Unmarshal(e.Body, &b) != nil {
				return nil // verifying the peer says so
			}
			for _, a := range append(b.Heads, b.Known, b.Other) {
				if a.Origin != v.Name() {
					continue
				}
				h, err := parseCheckpoint([]byte(a.Checkpoint), v)
				if err != nil {
					continue // anybody could have had the peer see it
				}
				if _, ok := found[h]; !ok {
					found[h] = anchoredHead{namedHead{head: h, file: fmt.Sprintf("anchor in record %d of %s", e.Index, dir), offset: e.Offset}, []byte(a.Checkpoint)}
				}
			}
			return nil
		})
		if err != nil {
			return nil, fmt.Errorf("peer %s: %w", dir, err)
		}
	}
	list := slices.Collect(maps.Values(found))
	sort.Slice(list, func(i, j int) bool { return list[i].size < list[j].size })
	return list, nil
}

// readAnchors takes the heads of this log that its peers have put on record.
func (v *verifier) readAnchors(peers []string) error {
	for _, dir := range peers {
		list, err := anchored(dir, v.key)
		if err != nil {
			return err
		}
		for _, h := range list {
			v.heads = append(v.heads, h.namedHead)
			v.sawHead(h.namedHead)
			v.rep.Heads++
		}
	}
	slices.SortStableFunc(v.heads, func(a, b namedHead) int { return int(min(1, max(-1, a.size-b.size))) })
	return nil
}

package export

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/weir-moderation/weir/sinks/evidence"
)

// anchoring is an anchor or timestamp record with a head that a third party has signed.
type anchoring struct{ record, size int64 }

// anchorings are, by third party, the records that go into every package: that with the first
// head that covers all records of its range, which proves that they were there earliest, or
// else that with the largest head.
type anchorings map[string]anchoring

// take looks at a record; the range ends before next.
func (a anchorings) take(e *evidence.Entry, next int64) {
	var nobody evidence.ThirdParties
	list, _ := nobody.Read(e.Kind, e.Body, nil) // what is false the recipient finds where it was asked for
	for _, x := range list {
		if have, ok := a[x.By]; !ok || have.size < next && x.Size > have.size {
			a[x.By] = anchoring{e.Index, x.Size}
		}
	}
}

func (a anchorings) records() []int64 {
	var list []int64
	for _, x := range a {
		list = append(list, x.record)
	}
	slices.Sort(list)
	return slices.Compact(list)
}

// sizes are those of the heads, up to that of the signed head.
func (a anchorings) sizes(signed int64) []int64 {
	sizes := make(map[int64]bool)
	for _, x := range a {
		if x.size > 0 && x.size <= signed {
			sizes[x.size] = true
		}
	}
	return slices.Sorted(maps.Keys(sizes))
}

// writeVouched writes the records with heads that others have signed, and for each head the
// proof that the signed head has its records as its beginning.
func (p *packer) writeVouched(tree *nodes) error {
	if len(p.anchors) == 0 {
		return nil
	}
	for _, n := range p.vouched {
		proof, err := tlog.ProveTree(p.head.Size, n, tree)
		if err != nil {
			return err
		}
		var b strings.Builder
		for _, h := range proof {
			fmt.Fprintln(&b, h)
		}
		if err := p.put(fmt.Sprintf("%sconsistency/%d", p.logDir(), n), []byte(b.String())); err != nil {
			return err
		}
	}
	return p.lines("data/anchors.jsonl", p.anchors, nil)
}

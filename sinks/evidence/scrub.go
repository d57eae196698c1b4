package evidence

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
)

// DamagedBody is the body of a [KindDamaged] record: something on the disk was
// found not to be what was written. It is no secret that it is so, and it does not
// hide it: the verifier finds the same.
type DamagedBody struct {
	File   string `json:"file"`  // relative to the evidence directory
	Index  int64  `json:"index"` // the first record it is about; -1 if that cannot be said
	Offset int64  `json:"offset"`
	Detail string `json:"detail"`
}

// reportDamage puts damage on record.
func (l *Log) reportDamage(ctx context.Context, d DamagedBody) error {
	l.m.damaged.Inc()
	l.log.Error("the evidence on the disk is not what was written", "file", d.File, "record", d.Index, "offset", d.Offset, "detail", d.Detail)
	b, err := json.Marshal(d)
	if err != nil {
		return err
	}
	sum := sha256.Sum256(fmt.Appendf(nil, "ev1 damaged\n%s\n%s", l.o.Origin, b))
	return l.Append(ctx, []Record{{ID: ID(sum[:len(ID{})]), Kind: KindDamaged, Class: ClassAudit, Body: b}})
}

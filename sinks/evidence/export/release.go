package export

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/weir-moderation/weir/sinks/evidence"
)

// Append makes a statement durable in the log that records are taken from and
// returns where it stands: desk.Conn.Append. On an error it may be there or not.
type Append func(ctx context.Context, kind evidence.Kind, body any) (index int64, id evidence.ID, err error)

// Request says what somebody wants to see, and by what right.
type Request struct {
	Query   Query
	Who     string // a person, as the organisation names them
	Purpose string
	Basis   string // the law, order or request by which they may
	Content bool   // they see what users wrote, not only what Weir says of it
}

func (r *Request) check() error {
	var errs []error
	for _, must := range []struct{ what, text string }{{"who", r.Who}, {"purpose", r.Purpose}, {"basis", r.Basis}} {
		if strings.TrimSpace(must.text) == "" {
			errs = append(errs, fmt.Errorf("no %s given; nothing is shown without it", must.what))
		}
	}
	return errors.Join(errs...)
}

// AccessBody is the body of an access record: bodies were opened for somebody. It
// is durable before they are shown.
type AccessBody struct {
	Who     string `json:"who"`
	Purpose string `json:"purpose"`
	Basis   string `json:"basis"`
	Scope   Scope  `json:"scope"`
	Records int    `json:"records"` // how many were found and shown
}

// Release finds records and gives them to show, after it is on record for whom and
// why. If that fails show is not called. If the process dies after the record is
// durable and before show ends, the record says more than was seen; never less.
//
// Clause: rn-use
// Whoever opens evidence says who they are, why and by what right; that is durable in the log before the first byte is shown.
func (s *Source) Release(ctx context.Context, r Request, record Append, show func([]Found) error) error {
	if err := r.check(); err != nil {
		return err
	}
	found, err := s.find(&r.Query)
	if err != nil {
		return fmt.Errorf("look up evidence: %w", err)
	}
	_, _, err = record(ctx, evidence.KindAccess, AccessBody{
		Who: r.Who, Purpose: r.Purpose, Basis: r.Basis, Scope: s.scope(&r.Query, r.Content), Records: len(found.list),
	})
	if err != nil {
		return fmt.Errorf("record the access, without which nothing is shown: %w", err)
	}
	return show(found.list)
}

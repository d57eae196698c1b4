package desk

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/weir-moderation/weir/internal/disk"
	"github.com/weir-moderation/weir/sinks/evidence"
)

// ApprovalText is what a second person signs: it names the log, the plan's record and
// its body, byte by byte.
func ApprovalText(origin, planID string, body []byte) string {
	return fmt.Sprintf("weir evidence destroy-plan\n%s\n%s\n%s\n", origin, planID, digestOf(body))
}

// Find returns a recorded plan by the beginning of its record's id, and whether it was
// approved before.
func (c *Conn) Find(id string) (p *Planned, approved bool, err error) {
	s, err := readState(c.dir, nil)
	if err != nil {
		return nil, false, err
	}
	r, err := s.planOf(id)
	if err != nil {
		return nil, false, err
	}
	return &Planned{ID: r.ID, Index: r.Index, Plan: r.Body}, s.approved(r.ID), nil
}

func (s *state) planOf(id string) (*recorded[Plan], error) {
	r, err := find(s.plans, id)
	if err == nil && r == nil {
		err = fmt.Errorf("there is no destroy-plan with an id that begins with %q", id)
	}
	return r, err
}

func (s *state) approved(plan string) bool {
	return slices.ContainsFunc(s.destroys, func(d recorded[Destroy]) bool { return d.Body.Plan.Plan == plan })
}

// Approve signs a recorded plan with a reviewer's own key and carries it out: the
// destroy record is durable before anything is unlinked. The reviewer must be one of
// the class, and another person than who planned. Nothing is done if anything is not
// as it was planned: a file, a hold, a period.
//
// If the process dies after the destroy record, the next start of the daemon, or the
// next command at the desk, does the rest.
func (c *Conn) Approve(ctx context.Context, planID string, signer note.Signer) (index int64, id evidence.ID, err error) {
	unlock, err := c.lock(ctx)
	if err != nil {
		return 0, id, err
	}
	defer unlock()
	s, err := readState(c.dir, nil)
	if err != nil {
		return 0, id, err
	}
	r, err := s.planOf(planID)
	if err != nil {
		return 0, id, err
	}
	if s.approved(r.ID) {
		return 0, id, fmt.Errorf("the plan %s was approved before", r.ID)
	}
	d := Destroy{Plan: r.Body, ApprovedBy: signer.Name()}
	d.Plan.Plan = r.ID
	if d.Key, err = c.reviewer(&r.Body, signer.Name()); err != nil {
		return 0, id, err
	}
	signed, err := note.Sign(&note.Note{Text: ApprovalText(c.o.Log.Origin, r.ID, r.Raw)}, signer)
	if err != nil {
		return 0, id, fmt.Errorf("sign the plan: %w", err)
	}
	d.Signature = string(signed)
	if err := checkApproval(c.o.Log.Origin, r, &d); err != nil {
		return 0, id, fmt.Errorf("the private key is not the one whose public key evidence.reviewers names for %s", signer.Name())
	}
	if err := c.asPlanned(ctx, s, &r.Body); err != nil {
		return 0, id, err
	}
	if index, id, err = c.Append(ctx, evidence.KindDestroy, d); err != nil {
		return 0, id, fmt.Errorf("record the approval: %w", err)
	}
	// From here on it is to be done, whoever does it.
	return index, id, c.resume(ctx)
}

// reviewer returns the public key of who may approve a plan.
func (c *Conn) reviewer(p *Plan, name string) (string, error) {
	class, err := c.terms(p.Class)
	if err != nil {
		return "", err
	}
	if strings.EqualFold(name, p.PlannedBy) {
		return "", fmt.Errorf("%s made this plan; it takes a second person to approve it", name)
	}
	if !slices.Contains(class.Reviewers, name) {
		return "", fmt.Errorf("%s is not one of those who approve for class %s (evidence.retention.%s.reviewers: %s)", name, p.Class, p.Class, strings.Join(class.Reviewers, ", "))
	}
	return c.o.Reviewers[name], nil
}

// checkApproval reports whether the signature is of this plan, by the key named.
func checkApproval(origin string, p *recorded[Plan], d *Destroy) error {
	v, err := note.NewVerifier(d.Key)
	if err != nil {
		return err
	}
	n, err := note.Open([]byte(d.Signature), note.VerifierList(v))
	if err != nil {
		return err
	}
	if n.Text != ApprovalText(origin, p.ID, p.Raw) {
		return errors.New("the signature is of another text")
	}
	return nil
}

// asPlanned refuses a plan that is not true any more.
func (c *Conn) asPlanned(ctx context.Context, s *state, p *Plan) error {
	class, err := c.terms(p.Class)
	if err != nil {
		return err
	}
	if _, err := throughDay(class, &PlanRequest{Class: p.Class, Through: p.To}, c.o.Now().UTC()); err != nil {
		return err
	}
	var names []string
	for _, f := range p.Files {
		if !planned(p.Class, f.File) {
			return fmt.Errorf("the plan names %s, which is no body file of class %s", f.File, p.Class)
		}
		sum, err := disk.Sum(filepath.Join(c.dir, f.File))
		if err != nil {
			return fmt.Errorf("%w; plan again", err)
		}
		if sum != f.SHA256 {
			return fmt.Errorf("%s is not what was planned: its SHA-256 is %s, the plan has %s; plan again", f.File, sum, f.SHA256)
		}
		names = append(names, f.File)
	}
	for _, k := range p.KeyFiles {
		if class, _, ok := keyFile(k); !ok || class != p.Class {
			return fmt.Errorf("the plan names %s, which is no key file of class %s", k, p.Class)
		}
	}
	kept, err := c.kept(ctx, s, names)
	if err != nil {
		return err
	}
	if !reflect.DeepEqual(kept, p.KeptForHolds) {
		return errors.New("the holds are not those of the plan any more; plan again")
	}
	return nil
}

// planned reports whether a name can be that of a file in a plan of the class: names
// come from a record, and lead nowhere else.
func planned(class, name string) bool {
	if filepath.ToSlash(filepath.Clean(name)) != name {
		return false
	}
	generation, first, of, day, ok := evidence.ParseBodyFile(sealedName(name))
	return ok && of == class && filepath.ToSlash(evidence.BodyFile(generation, first, classOf(of), day)) == sealedName(name)
}

func classOf(name string) evidence.Class {
	for _, c := range []evidence.Class{evidence.ClassContent, evidence.ClassPush, evidence.ClassPolicy} {
		if c.String() == name {
			return c
		}
	}
	return evidence.ClassNone
}

// sealedName returns the name of the body file of which a hold kept something; other
// names are returned as they are.
func sealedName(name string) string {
	rest, ok := strings.CutPrefix(name, "body/hold/")
	if !ok {
		return name
	}
	_, rest, _ = strings.Cut(rest, "/")
	return "body/" + rest
}

// day is a moment as the day it is in.
func day(t time.Time) string { return t.UTC().Format(time.DateOnly) }

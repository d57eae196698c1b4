package desk

import (
	"context"
	"slices"
	"strings"
	"testing"
)

// What is past its maximum goes, with its keys once the month and the day after it are gone; what is
// younger stays and can be read.
//
// Clause: rn-term
func TestDestroy(t *testing.T) {
	w := newWorld(t)
	w.write(say{"2026-01-10", "u1", "old-1"}, say{"2026-01-31", "u2", "old-2"}, say{"2026-02-01", "u1", "old-3"}, say{"2026-02-20", "u2", "young"})
	w.now = at("2026-05-03")
	w.destroy()
	if got := w.readable(); !slices.Equal(got, []string{"young"}) {
		t.Errorf("%v can be read", got)
	}
	if got := w.files("body"); len(got) != 1 || !strings.HasPrefix(got[0], "body/content/2026-02-20/") {
		t.Errorf("bodies left: %v", got)
	}
	if got := w.files("keys/content"); !slices.Equal(got, []string{"keys/content/2026-02.keys"}) {
		t.Errorf("keys left: %v", got)
	}
	if got := w.found("u2"); !slices.Equal(got, []string{"young"}) {
		t.Errorf("the index knows %v of u2", got)
	}
	s, err := readState(w.dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	if len(s.plans) != 1 || len(s.destroys) != 1 || len(s.destroyed) != 1 || !s.destroyed[s.destroys[0].ID] {
		t.Fatalf("%d plans, %d destroys, %d destroyed", len(s.plans), len(s.destroys), len(s.destroyed))
	}
	p, d := s.plans[0].Body, s.destroys[0].Body
	if p.From != "2026-01-01" || p.To != "2026-02-01" || len(p.Files) != 3 || !slices.Equal(p.KeyFiles, []string{"keys/content/2026-01.keys"}) ||
		p.Minimum != "60 days" || p.Maximum != "90 days" || p.Basis != "a law" || p.PlannedBy != "zhao" || d.ApprovedBy != "wang" || d.Key != w.reviewers["wang"] {
		t.Errorf("plan %+v, destroy %+v", p, d)
	}
	w.whole()
	// Nothing more is to be done.
	err = w.at(func(c *Conn) error {
		_, err := c.Plan(context.Background(), PlanRequest{Class: "content", By: "zhao", Reason: "again"})
		return err
	})
	if err == nil || !strings.Contains(err.Error(), "nothing to do: no sealed body of class content is of 2026-02-01 or before") {
		t.Error(err)
	}
}

// A day that is asked for goes as soon as its minimum is over, and not a day before.
func TestDestroyThrough(t *testing.T) {
	w := newWorld(t)
	w.write(say{"2026-01-10", "u1", "a"}, say{"2026-01-11", "u1", "b"})
	w.now = at("2026-03-12 00:00") // 60 days after the end of 10 January
	plan := func(through string) error {
		return w.at(func(c *Conn) error {
			p, err := c.Plan(context.Background(), PlanRequest{Class: "content", Through: through, By: "zhao", Reason: "x"})
			if err == nil {
				_, _, err = c.Approve(context.Background(), p.ID, w.signers["wang"])
			}
			return err
		})
	}
	if err := plan("2026-01-11"); err == nil || !strings.Contains(err.Error(), "2026-01-11 of class content must be kept until 2026-03-13 (60 days: a law)") {
		t.Error(err)
	}
	if err := plan("2026-01-10"); err != nil {
		t.Error(err)
	}
	if got := w.readable(); !slices.Equal(got, []string{"b"}) {
		t.Errorf("%v can be read", got)
	}
	w.whole()
}

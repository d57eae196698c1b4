package desk

import (
	"context"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/mod/sumdb/note"

	"github.com/weir-moderation/weir/sinks/evidence"
)

// A plan that nobody may approve, or that is not true any more, destroys nothing.
func TestApproveRefuses(t *testing.T) {
	for _, tt := range []struct {
		name   string
		who    string
		change func(w *world, p *Planned)
		want   string
	}{
		{"who planned", "zhao", nil, "zhao made this plan; it takes a second person to approve it"},
		{"no reviewer of the class", "wang", func(w *world, _ *Planned) {
			c := w.classes["content"]
			c.Reviewers = []string{"li"}
			w.classes["content"] = c
		}, "wang is not one of those who approve for class content (evidence.retention.content.reviewers: li)"},
		{"another key of the name", "li", func(w *world, _ *Planned) { w.signers["li"] = newSigner(t, "li") },
			"the private key is not the one whose public key evidence.reviewers names for li"},
		{"a file was changed", "li", func(w *world, p *Planned) { w.spoil(p.Plan.Files[0].File) }, "is not what was planned: its SHA-256 is"},
		{"a file is gone", "li", func(w *world, p *Planned) {
			if err := os.Remove(filepath.Join(w.dir, p.Plan.Files[0].File)); err != nil {
				t.Fatal(err)
			}
		}, "no such file or directory; plan again"},
		{"a hold came", "li", func(w *world, _ *Planned) { w.hold(HoldRequest{Subject: "u1"}) }, "the holds are not those of the plan any more; plan again"},
		{"a longer minimum", "li", func(w *world, _ *Planned) {
			c := w.classes["content"]
			c.Minimum, c.Maximum = w.period("1 year"), w.period("2 years")
			w.classes["content"] = c
		}, "of class content must be kept until"},
		{"a period is unset", "li", func(w *world, _ *Planned) { delete(w.classes, "content") }, "nothing of class content is destroyed while this is unset: evidence.retention.content.minimum, evidence.retention.content.maximum, evidence.retention.content.basis, evidence.retention.content.reviewers"},
		{"approved before", "li", func(w *world, p *Planned) {
			w.must(func(c *Conn) error {
				_, _, err := c.Approve(context.Background(), p.ID, w.signers["wang"])
				return err
			})
		}, "was approved before"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w := newWorld(t)
			w.write(say{"2026-01-10", "u1", "a"}, say{"2026-01-11", "u1", "b"})
			w.now = at("2026-05-10")
			var p *Planned
			w.must(func(c *Conn) (err error) {
				p, err = c.Plan(context.Background(), PlanRequest{Class: "content", By: "zhao", Reason: "x"})
				return err
			})
			if tt.change != nil {
				tt.change(w, p)
			}
			before := w.files("body")
			err := w.at(func(c *Conn) error {
				_, _, err := c.Approve(context.Background(), p.ID, w.signers[tt.who])
				return err
			})
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v; want %s", err, tt.want)
			}
			if after := w.files("body"); !slices.Equal(before, after) {
				t.Errorf("bodies before %v, after %v", before, after)
			}
		})
	}
}

func newSigner(t *testing.T, name string) note.Signer {
	t.Helper()
	w := newWorld(t)
	return w.signers[name]
}

// spoil changes the last byte of a file.
func (w *world) spoil(name string) {
	w.t.Helper()
	path := filepath.Join(w.dir, name)
	b, err := os.ReadFile(path)
	if err == nil {
		b[len(b)-1] ^= 1
		err = os.WriteFile(path, b, 0o600)
	}
	if err != nil {
		w.t.Fatal(err)
	}
}

// Nothing is unlinked that is not in a plan that a reviewer has signed, whatever records somebody
// puts into the log, and no file that is another one than was approved.
func TestNothingElseIsUnlinked(t *testing.T) {
	begin := func(t *testing.T) (*world, *recorded[Plan]) {
		w := newWorld(t)
		w.write(say{"2026-01-10", "u1", "a"}, say{"2026-01-11", "u1", "b"})
		w.now = at("2026-05-10")
		w.must(func(c *Conn) error {
			_, err := c.Plan(context.Background(), PlanRequest{Class: "content", By: "zhao", Reason: "x"})
			return err
		})
		s, err := readState(w.dir, nil)
		if err != nil {
			t.Fatal(err)
		}
		return w, &s.plans[0]
	}
	sign := func(w *world, p *recorded[Plan]) Destroy {
		signed, err := note.Sign(&note.Note{Text: ApprovalText(testOrigin, p.ID, p.Raw)}, w.signers["li"])
		if err != nil {
			w.t.Fatal(err)
		}
		d := Destroy{Plan: p.Body, ApprovedBy: "li", Key: w.reviewers["li"], Signature: string(signed)}
		d.Plan.Plan = p.ID
		return d
	}
	for _, tt := range []struct {
		name string
		make func(w *world, p *recorded[Plan]) Destroy
		want string
	}{
		{"no plan", func(w *world, p *recorded[Plan]) Destroy {
			d := sign(w, p)
			d.Plan.Plan = idOf("none").String()
			return d
		}, "it names a plan that is not in the log"},
		{"no signature", func(w *world, p *recorded[Plan]) Destroy {
			d := sign(w, p)
			d.Signature = ""
			return d
		}, "its signature"},
		{"a signature of another plan", func(w *world, p *recorded[Plan]) Destroy {
			d := sign(w, &recorded[Plan]{ID: p.ID, Raw: []byte("{}"), Body: p.Body})
			return d
		}, "the signature is of another text"},
		{"a key that the configuration does not name", func(w *world, p *recorded[Plan]) Destroy {
			other := newWorld(w.t)
			d := sign(other, p)
			return d
		}, "its key is not that of a reviewer"},
		{"another file", func(w *world, p *recorded[Plan]) Destroy {
			d := sign(w, p)
			d.Files = append(slices.Clone(d.Files), File{File: "log/1/seg/00000000000000000000.seg"})
			return d
		}, "it is not the plan that was approved"},
		{"a file that was changed since", func(w *world, p *recorded[Plan]) Destroy {
			w.spoil(p.Body.Files[0].File)
			return sign(w, p)
		}, "is not what was approved: its SHA-256 is"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			w, p := begin(t)
			d := tt.make(w, p)
			before := append(w.files("body"), w.files("log")...)
			var said strings.Builder
			err := w.at(func(c *Conn) error {
				c.o.Logger = slog.New(slog.NewTextHandler(&said, nil))
				if _, _, err := c.Append(context.Background(), evidence.KindDestroy, d); err != nil {
					return err
				}
				return c.Resume(context.Background())
			})
			// A record that is none stops nobody; a file that somebody must look at does.
			if err != nil {
				said.WriteString(err.Error())
			}
			if !strings.Contains(said.String(), tt.want) || (err != nil) != strings.Contains(tt.name, "changed since") {
				t.Errorf("%v, said %s; want %s", err, &said, tt.want)
			}
			if after := append(w.files("body"), w.files("log")...); !slices.Equal(before, after) {
				t.Errorf("files before %v, after %v", before, after)
			}
		})
	}
}

// What is missing is asked for before anything is written.
func TestDeskRefuses(t *testing.T) {
	w := newWorld(t)
	w.write(say{"2026-01-10", "u1", "a"})
	w.now = at("2026-05-10")
	ctx := context.Background()
	for _, tt := range []struct {
		name string
		do   func(c *Conn) error
		want string
	}{
		{"plan without a reason", func(c *Conn) error { _, err := c.Plan(ctx, PlanRequest{Class: "content", By: "li"}); return err }, "a plan says who made it and why"},
		{"plan of audit", func(c *Conn) error {
			_, err := c.Plan(ctx, PlanRequest{Class: "audit", By: "li", Reason: "x"})
			return err
		}, `"audit" is no class whose bodies can be destroyed`},
		{"plan of what is unset", func(c *Conn) error {
			_, err := c.Plan(ctx, PlanRequest{Class: "policy", By: "li", Reason: "x"})
			return err
		}, "nothing of class policy is destroyed while this is unset: evidence.retention.policy.minimum"},
		{"plan of no day", func(c *Conn) error {
			_, err := c.Plan(ctx, PlanRequest{Class: "content", Through: "May", By: "li", Reason: "x"})
			return err
		}, `day "May"; write it as yyyy-mm-dd`},
		{"plan of nothing", func(c *Conn) error {
			_, err := c.Plan(ctx, PlanRequest{Class: "push", By: "li", Reason: "x"})
			return err
		}, "nothing to do"},
		{"approval of nothing", func(c *Conn) error { _, _, err := c.Approve(ctx, "ab", w.signers["li"]); return err }, `there is no destroy-plan with an id that begins with "ab"`},
		{"hold on nothing", func(c *Conn) error {
			_, _, err := c.Hold(ctx, HoldRequest{Class: "content", Authority: "x", Reason: "x", By: "x", ApprovedBy: "x"})
			return err
		}, "what is to be kept? give record ids, a subject, or a time"},
		{"hold by nobody", func(c *Conn) error { _, _, err := c.Hold(ctx, HoldRequest{Subject: "u1"}); return err }, "a hold says on whose authority"},
		{"hold on no id", func(c *Conn) error {
			_, _, err := c.Hold(ctx, HoldRequest{Records: []string{"12"}, Authority: "x", Reason: "x", By: "x", ApprovedBy: "x"})
			return err
		}, `"12" is no record id`},
		{"release of nothing", func(c *Conn) error {
			_, _, err := c.Release(ctx, ReleaseRequest{Hold: "ab", Authority: "x", Reason: "x", By: "x", ApprovedBy: "x"})
			return err
		}, `there is no hold with an id that begins with "ab"`},
		{"erasure by nobody", func(c *Conn) error { _, err := c.Erase(ctx, EraseRequest{Subject: "u1"}); return err }, "an erasure says who asked for it"},
		{"erasure of nobody", func(c *Conn) error {
			_, err := c.Erase(ctx, EraseRequest{Subject: "u9", By: "x", Basis: "x", Reason: "x"})
			return err
		}, "nothing to do: there are no keys of this person"},
		{"erasure while a minimum is unset", func(c *Conn) error {
			c.o.Retention = nil
			_, err := c.Erase(ctx, EraseRequest{Subject: "u1", By: "x", Basis: "x", Reason: "x"})
			return err
		}, "evidence.retention.content.minimum is unset"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			err := w.at(tt.do)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v; want %s", err, tt.want)
			}
			if err != nil && strings.Contains(err.Error(), "u1") {
				t.Error("the error names a person")
			}
		})
	}
	s, err := readState(w.dir, nil)
	if err != nil {
		t.Fatal(err)
	}
	if n := len(s.plans) + len(s.destroys) + len(s.holds) + len(s.released) + len(s.shreds) + len(s.waiting); n > 0 {
		t.Errorf("%d records were written", n)
	}
	if got := w.readable(); !slices.Equal(got, []string{"a"}) {
		t.Errorf("%v can be read", got)
	}
}

// Where a minimum still runs, or a hold, the keys are put aside; each goes when its own last duty ends.
//
// Clause: rn-erase
func TestRestricted(t *testing.T) {
	w := newWorld(t)
	w.write(say{"2026-01-10", "u1", "jan"}, say{"2026-02-10", "u1", "feb"}, say{"2026-03-10", "u1", "mar"}, say{"2026-03-10", "u2", "other"})
	w.now = at("2026-04-10")
	hold := w.hold(HoldRequest{Records: []string{idOf("feb").String()}})
	done := w.erase() // the minimum of January ended on 3 April
	if done.Shredded != 1 || done.Restricted != 2 || day(done.Until) != "2026-05-31" || !slices.Equal(done.Holds, []string{hold}) || done.Records != 3 {
		t.Errorf("%+v", done)
	}
	left := func(when string, aside int) {
		t.Helper()
		w.now = at(when)
		w.must(func(c *Conn) error { return c.ShredDue(context.Background()) })
		w.must(func(c *Conn) error {
			p, err := c.works.about(context.Background(), "u1")
			if n := len(p.allHandles()); n != aside {
				t.Errorf("%s: %d keys are put aside, want %d", when, n, aside)
			}
			return err
		})
		if got := w.readable(); !slices.Equal(got, []string{"other"}) {
			t.Errorf("%s: %v can be read", when, got)
		}
		w.whole()
	}
	left("2026-04-11", 2)
	left("2026-05-31 23:59", 2) // the last day of March's duty; February's is over, but held
	left("2026-06-01 00:00", 1)
	w.release(hold)
	left("2026-06-02", 0)
	if got := w.found("u1"); len(got) > 0 {
		t.Errorf("the index knows %v of u1", got)
	}
}

package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/weir-moderation/weir/internal/app"
	"github.com/weir-moderation/weir/internal/config"
	"github.com/weir-moderation/weir/sinks/evidence/desk"
)

// deskFlags name the evidence that somebody works on.
type deskFlags struct {
	Config string `default:"weir.yaml" help:"The configuration file of the daemon that writes the evidence." type:"path"`
}

// at opens the desk, does something at it and closes it.
func (f *deskFlags) at(ctx context.Context, do func(*config.Config, *desk.Conn) error) error {
	cfg, err := loadConfig(f.Config)
	if err != nil {
		return err
	}
	c, err := desk.Dial(ctx, app.DeskOptions(cfg))
	if err != nil {
		return err
	}
	return errors.Join(do(cfg, c), c.Close())
}

type destroyCmd struct {
	deskFlags
	Class   string `required:"" help:"The class of bodies: content, push or policy."`
	Through string `help:"The last day, yyyy-mm-dd. Without it the last one that is past the maximum; never one whose minimum still runs." placeholder:"DAY"`
	By      string `required:"" help:"Who plans. It takes another person to approve." placeholder:"NAME"`
	Reason  string `required:"" help:"Why, for who asks years later." placeholder:"TEXT"`
}

// Help says what kong cannot know.
func (destroyCmd) Help() string {
	return `Finds the files of bodies of a class whose days are over by evidence.retention, prints the plan and puts it on record. Nothing is destroyed until a second person has approved the plan with weir evidence approve. What a hold is on is kept, never a whole day. While a period of the class is unset, it refuses.`
}

// Run plans.
func (c *destroyCmd) Run(ctx context.Context, s streams) error {
	return c.at(ctx, func(_ *config.Config, d *desk.Conn) error {
		p, err := d.Plan(ctx, desk.PlanRequest{Class: c.Class, Through: c.Through, By: c.By, Reason: c.Reason})
		if errors.Is(err, desk.ErrNothing) {
			return said(s.out, err)
		}
		if err != nil {
			return err
		}
		if err := printPlan(s.out, p); err != nil {
			return err
		}
		s.hint(fmt.Sprintf("nothing is destroyed yet; another person approves with: weir evidence approve %.12s --key FILE", p.ID))
		return nil
	})
}

// said writes an answer that is no failure.
func said(w io.Writer, err error) error {
	_, err = fmt.Fprintln(w, err)
	return err
}

// printPlan says what would be destroyed.
func printPlan(w io.Writer, p *desk.Planned) error {
	var b strings.Builder
	say := func(what, format string, args ...any) {
		fmt.Fprintf(&b, "  %-9s %s\n", what, fmt.Sprintf(format, args...))
	}
	say("plan", "%s, record %d, %s", p.ID, p.Index, p.Plan.Plan)
	say("class", "%s, at least %s, at most %s, %s", p.Plan.Class, p.Plan.Minimum, p.Plan.Maximum, p.Plan.Basis)
	say("days", "%s to %s", p.Plan.From, p.Plan.To)
	say("planned", "by %s: %s", p.Plan.PlannedBy, p.Plan.Reason)
	var records int64
	for _, f := range p.Plan.Files {
		say("file", "%s  %s  sha256 %s", f.File, bodies(f.Records), f.SHA256)
		records += f.Records
	}
	for _, k := range p.Plan.KeyFiles {
		say("keys", "%s", k)
	}
	for _, k := range p.Plan.KeptForHolds {
		say("kept", "%d of %s, for the hold %s", k.Records, k.File, k.Hold)
	}
	for _, n := range p.Notes {
		say("note", "%s", n)
	}
	say("total", "%s in %s, %s", bodies(records), count(len(p.Plan.Files), "file"), count(len(p.Plan.KeyFiles), "key file"))
	_, err := io.WriteString(w, b.String())
	return err
}

func bodies(n int64) string {
	if n == 1 {
		return "1 body"
	}
	return fmt.Sprintf("%d bodies", n)
}

type approveCmd struct {
	deskFlags
	Plan    string `arg:"" help:"The id of the plan's record, or the beginning of it."`
	Key     string `required:"" help:"The file with your own private key, made by weir evidence reviewer-key." placeholder:"FILE" type:"path"`
	Execute bool   `help:"Sign and destroy. Without it nothing is signed: what would be destroyed is said."`
}

// Help says what kong cannot know.
func (approveCmd) Help() string {
	return `Signs a plan of weir evidence destroy with the key of a second person and carries it out: the approval is on record before anything is unlinked, and what was done afterwards. The key's name must be one of evidence.retention.<class>.reviewers and not that of who planned. If a file, a hold or a period is not as it was planned, nothing is done. If it is interrupted, the daemon's next start, or the next command of this kind, does the rest.`
}

// Run approves.
func (c *approveCmd) Run(ctx context.Context, s streams) error {
	signer, err := readSigner(c.Key)
	if err != nil {
		return err
	}
	return c.at(ctx, func(_ *config.Config, d *desk.Conn) error {
		p, approved, err := d.Find(c.Plan)
		if err != nil {
			return err
		}
		if err := printPlan(s.out, p); err != nil {
			return err
		}
		if !c.Execute && !approved {
			s.hint("nothing is signed or destroyed; do it with --execute")
			return nil
		}
		index, id, err := d.Approve(ctx, p.ID, signer)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(s.out, "  %-9s by %s, record %d, %s\n", "destroyed", signer.Name(), index, id)
		return err
	})
}

type holdCmd struct {
	deskFlags
	Record     []string `help:"The id of a record to keep; may be repeated." placeholder:"ID"`
	Subject    string   `help:"The user whose records are to be kept." placeholder:"USER"`
	Class      string   `help:"Records of this class only." placeholder:"CLASS"`
	From       string   `help:"Records of this day or later, yyyy-mm-dd (UTC)." placeholder:"DAY"`
	To         string   `help:"Records of this day or earlier." placeholder:"DAY"`
	Authority  string   `required:"" help:"Who demands it." placeholder:"TEXT"`
	Reason     string   `required:"" help:"Why, such as the number of the case." placeholder:"TEXT"`
	By         string   `required:"" help:"Who sets the hold." placeholder:"NAME"`
	ApprovedBy string   `required:"" help:"Who approved that." placeholder:"NAME"`
}

// Help says what kong cannot know.
func (holdCmd) Help() string {
	return `Puts on record that records must be kept beyond their day: those that meet all that is given. When their day is destroyed, they are copied to body/hold/ and their keys stay; the rest of the day goes. A person on hold is not erased but put aside. The user's id is not written: his index terms are.`
}

// Run sets a hold.
func (c *holdCmd) Run(ctx context.Context, s streams) error {
	r := desk.HoldRequest{Records: c.Record, Subject: c.Subject, Class: c.Class, Authority: c.Authority, Reason: c.Reason, By: c.By, ApprovedBy: c.ApprovedBy}
	var err error
	if r.From, err = dayFlag("--from", c.From); err != nil {
		return err
	}
	if r.To, err = dayFlag("--to", c.To); err != nil {
		return err
	}
	if !r.To.IsZero() {
		r.To = r.To.AddDate(0, 0, 1)
	}
	return c.at(ctx, func(_ *config.Config, d *desk.Conn) error {
		index, id, err := d.Hold(ctx, r)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(s.out, "  %-9s %s, record %d\n", "hold", id, index)
		return err
	})
}

// dayFlag reads a day; an empty one is no day.
func dayFlag(flag, text string) (time.Time, error) {
	if text == "" {
		return time.Time{}, nil
	}
	t, err := time.Parse(time.DateOnly, text)
	if err != nil {
		return t, &codeError{fmt.Errorf("%s: %q is no day; write it as yyyy-mm-dd", flag, text), exitMisuse}
	}
	return t, nil
}

type holdsCmd struct {
	deskFlags
}

// Run lists the holds in force.
func (c *holdsCmd) Run(ctx context.Context, s streams) error {
	return c.at(ctx, func(_ *config.Config, d *desk.Conn) error {
		holds, err := d.Holds()
		if err != nil {
			return err
		}
		for _, h := range holds {
			fmt.Fprintf(s.out, "  %s  record %d, %s, %s\n", h.ID, h.Index, h.Hold.Authority, h.Hold.Reason)
		}
		_, err = fmt.Fprintf(s.out, "  %s in force\n", count(len(holds), "hold"))
		return err
	})
}

type releaseCmd struct {
	deskFlags
	Hold       string `arg:"" help:"The id of the hold's record, or the beginning of it."`
	Authority  string `required:"" help:"Who ends it." placeholder:"TEXT"`
	Reason     string `required:"" help:"Why." placeholder:"TEXT"`
	By         string `required:"" help:"Who releases the hold." placeholder:"NAME"`
	ApprovedBy string `required:"" help:"Who approved that." placeholder:"NAME"`
}

// Help says what kong cannot know.
func (releaseCmd) Help() string {
	return `Puts on record that a hold ended. What it kept is destroyed by the next plan of the class; keys of a person that were put aside because of it are shredded, if nothing else stands against that.`
}

// Run releases a hold.
func (c *releaseCmd) Run(ctx context.Context, s streams) error {
	return c.at(ctx, func(_ *config.Config, d *desk.Conn) error {
		index, _, err := d.Release(ctx, desk.ReleaseRequest{Hold: c.Hold, Authority: c.Authority, Reason: c.Reason, By: c.By, ApprovedBy: c.ApprovedBy})
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(s.out, "  %-9s record %d\n", "released", index)
		return err
	})
}

type eraseCmd struct {
	deskFlags
	Subject     string `required:"" help:"The user to erase; pseudonym:NAME for records that know him by the name he has in Redis only." placeholder:"USER"`
	By          string `required:"" help:"Who asks for it." placeholder:"TEXT"`
	Basis       string `required:"" help:"On which basis, such as an article of a law." placeholder:"TEXT"`
	Reason      string `required:"" help:"Why." placeholder:"TEXT"`
	EscrowKey   string `help:"A file with the public key to which his keys are sealed before they go, for audits." placeholder:"FILE" type:"existingfile"`
	EscrowUntil string `help:"The last day of that, yyyy-mm-dd." placeholder:"DAY"`
}

// Help says what kong cannot know.
func (eraseCmd) Help() string {
	return `Destroys the keys of a user, so that no record about him can be read any more, takes him out of the indexes, and puts on record which records these were. Where a legal minimum (evidence.retention) or a hold still runs, the keys are put aside instead, and destroyed by the daemon when the last duty has ended. Older copies of the keys still open his records until weir evidence rotate. Kafka and Redis are another matter: weir push forget.`
}

// Run erases a user.
func (c *eraseCmd) Run(ctx context.Context, s streams) error {
	r := desk.EraseRequest{Subject: c.Subject, By: c.By, Basis: c.Basis, Reason: c.Reason}
	if (c.EscrowKey == "") != (c.EscrowUntil == "") {
		return &codeError{errors.New("--escrow-key and --escrow-until: give both or none"), exitMisuse}
	}
	if c.EscrowKey != "" {
		key, err := os.ReadFile(c.EscrowKey)
		if err != nil {
			return err
		}
		r.EscrowKey = strings.TrimSpace(string(key))
		if r.EscrowUntil, err = dayFlag("--escrow-until", c.EscrowUntil); err != nil {
			return err
		}
	}
	return c.at(ctx, func(_ *config.Config, d *desk.Conn) error {
		done, err := d.Erase(ctx, r)
		if errors.Is(err, desk.ErrNothing) {
			return said(s.out, err)
		}
		if err != nil {
			return err
		}
		fmt.Fprintf(s.out, "  %-9s %s destroyed, %s put aside, of %s\n", "keys", count(done.Shredded, "key"), count(done.Restricted, "key"), count(done.Records, "record"))
		if done.Restricted > 0 {
			fmt.Fprintf(s.out, "  %-9s legal minimum until %s, %s\n", "duties", done.Until.Format(time.DateOnly), count(len(done.Holds), "hold"))
		}
		if done.EscrowFile != "" {
			fmt.Fprintf(s.out, "  %-9s keys/%s until %s\n", "escrow", done.EscrowFile, c.EscrowUntil)
		}
		s.hint("copies of the keys that were made before still open these records; make them useless with: weir evidence rotate")
		return nil
	})
}

type rotateCmd struct {
	deskFlags
}

// Help says what kong cannot know.
func (rotateCmd) Help() string {
	return `Makes a new master key, wraps all keys with it, destroys the old one and puts that on record. After it no older copy of the keys opens anything: copies that are to be of use must be made anew. Do it the night after somebody was erased.`
}

// Run rotates the master key.
func (c *rotateCmd) Run(ctx context.Context, s streams) error {
	return c.at(ctx, func(_ *config.Config, d *desk.Conn) error {
		r, err := d.Rotate(ctx)
		if err != nil {
			return err
		}
		_, err = fmt.Fprintf(s.out, "  %-9s generation %d wraps %s, %s destroyed\n", "rotated", r.Generation, count(r.Keys, "key"), count(len(r.Destroyed), "master key"))
		return err
	})
}

type restoreEvidenceCmd struct {
	deskFlags
}

// Help says what kong cannot know.
func (restoreEvidenceCmd) Help() string {
	return `After files of the evidence were restored from a copy, and before the daemon is started: destroys again, from the first record on, what the log says was destroyed and who was erased. It needs the log as it is now, not a copy of it.`
}

// Run replays what was destroyed.
func (c *restoreEvidenceCmd) Run(ctx context.Context, s streams) error {
	return c.at(ctx, func(_ *config.Config, d *desk.Conn) error {
		if err := d.Restore(ctx); err != nil {
			return err
		}
		_, err := fmt.Fprintf(s.out, "  %-9s all that the log says was destroyed is destroyed\n", "restored")
		return err
	})
}

type reviewerKeyCmd struct {
	Name string `arg:"" help:"Your name, as it stands in evidence.reviewers."`
	Out  string `help:"The file for the private key; it must not exist. Without it NAME.key." placeholder:"FILE" type:"path"`
}

// Help says what kong cannot know.
func (reviewerKeyCmd) Help() string {
	return `The private key goes into the file, which only its owner can read, and is never printed. The public key goes to stdout: it is the value of evidence.reviewers.NAME in the configuration. Keep the private key where the one who plans cannot read it.`
}

// Run makes a key pair.
func (c *reviewerKeyCmd) Run(s streams) error {
	out := c.Out
	if out == "" {
		out = c.Name + ".key"
	}
	if slices.ContainsFunc([]rune(c.Name), func(r rune) bool { return r == '/' || r == os.PathSeparator }) && c.Out == "" {
		return &codeError{fmt.Errorf("%q is no name of a file; name one with --out", c.Name), exitMisuse}
	}
	if err := makeKey(s.out, c.Name, out); err != nil {
		return err
	}
	s.hint(fmt.Sprintf("the private key is in %s; put the line above into the configuration as evidence.reviewers.%s", out, c.Name))
	return nil
}

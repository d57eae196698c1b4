package desk

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/weir-moderation/weir/internal/disk"
	"github.com/weir-moderation/weir/sinks/evidence"
	"github.com/weir-moderation/weir/sinks/evidence/keys"
	"github.com/weir-moderation/weir/sinks/evidence/retention"
)

// ErrNothing means that there is nothing to be done.
var ErrNothing = errors.New("nothing to do")

// PlanRequest says what somebody wants destroyed.
type PlanRequest struct {
	Class string
	// Through is the last day, yyyy-mm-dd. Empty: the last one that is past the maximum.
	// It may be a later one, but none whose minimum still runs.
	Through string
	By      string
	Reason  string
}

// Planned is a plan as it was recorded.
type Planned struct {
	ID    string // of the record; empty if it is not recorded yet
	Index int64
	Plan  Plan
	Notes []string // what the plan leaves out, and why
}

// Plan finds the body files of a class that are to be destroyed and records a
// destroy-plan. It destroys nothing. It refuses while a period of the class is unset,
// and days whose minimum still runs; [ErrNothing] if there is nothing to destroy.
func (c *Conn) Plan(ctx context.Context, r PlanRequest) (*Planned, error) {
	unlock, err := c.lock(ctx)
	if err != nil {
		return nil, err
	}
	defer unlock()
	if r.By == "" || r.Reason == "" {
		return nil, errors.New("a plan says who made it and why: give both")
	}
	s, err := readState(c.dir, nil)
	if err != nil {
		return nil, err
	}
	p, err := c.plan(ctx, s, &r)
	if err != nil {
		return nil, err
	}
	if b, err := json.Marshal(p.Plan); err != nil {
		return nil, err
	} else if len(b) > maxPlanBytes {
		return nil, fmt.Errorf("the plan names %d files, more than one plan holds; name an earlier last day, %s is that of a file in the middle", len(p.Plan.Files), middleDay(p.Plan.Files))
	}
	var id evidence.ID
	if p.Index, id, err = c.Append(ctx, evidence.KindDestroyPlan, p.Plan); err != nil {
		return nil, fmt.Errorf("record the plan: %w", err)
	}
	p.ID = id.String()
	return p, nil
}

// maxPlanBytes leaves room for the approval that is added to a plan.
const maxPlanBytes = MaxStatementBytes - 64<<10

// middleDay is the day of the file in the middle.
func middleDay(files []File) string {
	_, _, _, day, _ := evidence.ParseBodyFile(sealedName(files[len(files)/2].File))
	return day
}

// terms returns the periods of a class, if all that destroying takes is set.
//
// Clause: rn-term
// Bodies are destroyed by class when their period has passed, never before the minimum, and never by a period that nobody has set.
func (c *Conn) terms(class string) (retention.Class, error) {
	if !slices.Contains(retention.Names(), class) {
		return retention.Class{}, fmt.Errorf("%q is no class whose bodies can be destroyed; there are %s", class, strings.Join(retention.Names(), ", "))
	}
	if unset := c.o.Retention.UnsetOf(class); len(unset) > 0 {
		for i := range unset {
			unset[i] = "evidence.retention." + unset[i]
		}
		return retention.Class{}, fmt.Errorf("nothing of class %s is destroyed while this is unset: %s", class, strings.Join(unset, ", "))
	}
	return c.o.Retention[class], nil
}

func (c *Conn) plan(ctx context.Context, s *state, r *PlanRequest) (*Planned, error) {
	class, err := c.terms(r.Class)
	if err != nil {
		return nil, err
	}
	now := c.o.Now().UTC()
	through, err := throughDay(class, r, now)
	if err != nil {
		return nil, err
	}
	p := &Planned{Plan: Plan{
		Class: r.Class, To: through.Format(time.DateOnly), Files: []File{}, KeyFiles: []string{}, KeptForHolds: []Kept{},
		Minimum: class.Minimum.String(), Maximum: class.Maximum.String(), Basis: class.Basis, PlannedBy: r.By, Reason: r.Reason,
	}}
	p.Plan.Plan = fmt.Sprintf("P-%s-%s", now.Format("20060102-150405"), r.Class)
	files, err := c.bodyFiles(s, r.Class)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, f := range files {
		if f.day.After(through) {
			continue
		}
		want, ok := s.sealed[f.sealed]
		if !ok {
			p.Notes = append(p.Notes, fmt.Sprintf("%s is left alone: no seal record speaks of it yet", f.name))
			continue
		}
		x, err := c.describe(f.name)
		if err != nil {
			return nil, err
		}
		if f.sealed == f.name && x.SHA256 != want {
			p.Notes = append(p.Notes, fmt.Sprintf("%s is not what was sealed any more; it is destroyed all the same, but look into it first: weir evidence verify", f.name))
		}
		p.Plan.Files = append(p.Plan.Files, x)
		names = append(names, f.name)
		if day := f.day.Format(time.DateOnly); p.Plan.From == "" || day < p.Plan.From {
			p.Plan.From = day
		}
	}
	oldest, err := c.oldestUnsealed(s)
	if err != nil {
		return nil, err
	}
	if !oldest.IsZero() && oldest.Before(through.AddDate(0, 0, 1)) {
		p.Notes = append(p.Notes, fmt.Sprintf("records since %s lie in segments that are not sealed; they are not in this plan", oldest.Format(time.RFC3339)))
	}
	if err := c.planKeys(p, files, through, oldest, now); err != nil {
		return nil, err
	}
	if len(p.Plan.Files) == 0 && len(p.Plan.KeyFiles) == 0 {
		return nil, errors.Join(fmt.Errorf("%w: no sealed body of class %s is of %s or before", ErrNothing, r.Class, p.Plan.To), notesError(p.Notes))
	}
	if p.Plan.From == "" {
		p.Plan.From = p.Plan.To
	}
	if p.Plan.KeptForHolds, err = c.kept(ctx, s, names); err != nil {
		return nil, err
	}
	return p, nil
}

func notesError(notes []string) error {
	if len(notes) == 0 {
		return nil
	}
	return errors.New(strings.Join(notes, "\n"))
}

// throughDay returns the last day that is destroyed.
func throughDay(class retention.Class, r *PlanRequest, now time.Time) (time.Time, error) {
	today := now.Truncate(24 * time.Hour)
	if r.Through == "" {
		// The calendar is walked back from today: periods have no inverse.
		day := today
		for class.Maximum.After(day.AddDate(0, 0, 1)).After(now) {
			day = day.AddDate(0, 0, -1)
		}
		return day, nil
	}
	day, err := time.Parse(time.DateOnly, r.Through)
	if err != nil {
		return day, fmt.Errorf("day %q; write it as yyyy-mm-dd", r.Through)
	}
	if end := class.Minimum.After(day.AddDate(0, 0, 1)); end.After(now) {
		return day, fmt.Errorf("%s of class %s must be kept until %s (%s: %s)", r.Through, r.Class, end.Format(time.DateOnly), class.Minimum, class.Basis)
	}
	return day, nil
}

// bodyFile is a file of bodies on the disk.
type bodyFile struct {
	name   string // relative to the evidence directory, with slashes
	sealed string // the body file that was sealed: name, or that of which a hold kept something
	day    time.Time
}

// bodyFiles lists the body files of a class, by day, and what was kept for holds
// that have been released since.
func (c *Conn) bodyFiles(s *state, class string) ([]bodyFile, error) {
	var list []bodyFile
	err := c.filesIn("body/"+class, func(name string) { list = append(list, bodyFile{name: name, sealed: name}) })
	if err != nil {
		return nil, err
	}
	for _, h := range s.holds {
		if !s.released[h.ID] {
			continue
		}
		root := "body/hold/" + h.ID + "/"
		err := c.filesIn(root+class, func(name string) {
			list = append(list, bodyFile{name: name, sealed: "body/" + strings.TrimPrefix(name, root)})
		})
		if err != nil {
			return nil, err
		}
	}
	for i := range list {
		_, _, _, day, ok := evidence.ParseBodyFile(list[i].sealed)
		if !ok {
			return nil, fmt.Errorf("%s: not the name of a body file; move it elsewhere", list[i].name)
		}
		if list[i].day, err = time.Parse(time.DateOnly, day); err != nil {
			return nil, err
		}
	}
	slices.SortStableFunc(list, func(a, b bodyFile) int { return a.day.Compare(b.day) })
	return list, nil
}

// filesIn calls fn for the body files in the days below a directory of the evidence.
func (c *Conn) filesIn(root string, fn func(name string)) error {
	days, err := readDir(filepath.Join(c.dir, root))
	if err != nil {
		return err
	}
	for _, d := range days {
		files, err := readDir(filepath.Join(c.dir, root, d))
		if err != nil {
			return err
		}
		for _, f := range files {
			if strings.HasSuffix(f, ".body") {
				fn(root + "/" + d + "/" + f)
			}
		}
	}
	return nil
}

// readDir returns the names in a directory, none if it is not there.
func readDir(dir string) ([]string, error) {
	des, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var names []string
	for _, de := range des {
		names = append(names, de.Name())
	}
	return names, err
}

// describe reads a body file.
func (c *Conn) describe(name string) (File, error) {
	f := File{File: name, First: -1}
	b, err := disk.Sum(filepath.Join(c.dir, name))
	if err != nil {
		return f, err
	}
	f.SHA256 = b
	err = evidence.WalkBodyFile(c.dir, name, func(b evidence.MovedBody) error {
		if f.First < 0 {
			f.First = b.Index
		}
		f.Last = b.Index
		f.Records++
		return nil
	})
	return f, err
}

// oldestUnsealed returns when the oldest record was recorded whose body is still in a
// segment; zero if there is none.
func (c *Conn) oldestUnsealed(s *state) (oldest time.Time, err error) {
	for g := range s.next {
		t, err := evidence.OldestRaw(c.dir, g, func(first int64) bool { return s.segments[fmt.Sprintf("%s/%d", g, first)] })
		if err != nil {
			return oldest, err
		}
		if !t.IsZero() && (oldest.IsZero() || t.Before(oldest)) {
			oldest = t
		}
	}
	return oldest, nil
}

// planKeys adds the key files of the months of which no body is left. A record may
// have been given its key a moment before midnight, so a month is over for keys when
// the first day of the next is destroyed, too.
func (c *Conn) planKeys(p *Planned, files []bodyFile, through, oldest, now time.Time) error {
	names, err := readDir(filepath.Join(c.dir, "keys", p.Plan.Class))
	if err != nil {
		return err
	}
	going := make(map[string]bool)
	for _, f := range p.Plan.Files {
		going[f.File] = true
	}
	for _, name := range names {
		text, ok := strings.CutSuffix(name, ".keys")
		if !ok {
			text, ok = strings.CutSuffix(name, ".restricted")
		}
		month, err := keys.ParseMonth(text)
		if !ok || err != nil {
			continue // none of ours, or being written
		}
		first := monthStart(month)
		end := first.AddDate(0, 1, 1) // the first moment that does not count any more
		left := slices.ContainsFunc(files, func(f bodyFile) bool {
			return f.name == f.sealed && !going[f.name] && !f.day.Before(first) && f.day.Before(end)
		})
		if left || through.AddDate(0, 0, 1).Before(end) || !oldest.IsZero() && oldest.Before(end) || month >= keys.MonthOf(now) {
			continue
		}
		p.Plan.KeyFiles = append(p.Plan.KeyFiles, "keys/"+p.Plan.Class+"/"+name)
		if day := first.Format(time.DateOnly); p.Plan.From == "" || day < p.Plan.From {
			p.Plan.From = day
		}
	}
	return nil
}

func monthStart(m keys.Month) time.Time {
	return time.Date(1970+int(m)/12, time.Month(int(m)%12+1), 1, 0, 0, 0, 0, time.UTC)
}

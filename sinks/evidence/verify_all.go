package evidence

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// DirReport is what [VerifyAll] found: the reports of the logs in a directory, in the
// order in which they were begun, and what belongs to none of them.
type DirReport struct {
	Logs     []*Report         `json:"logs"`
	Findings []Finding         `json:"findings,omitempty"` // about the directory
	Verdicts map[Verdict]int64 `json:"verdicts"`           // of all records
	FirstBad *Finding          `json:"first_bad,omitempty"`
	Alarms   int64             `json:"alarms"`
}

// OK reports whether there was no alarm.
func (r *DirReport) OK() bool { return r.Alarms == 0 }

// Find adds a finding about the directory.
func (r *DirReport) Find(f Finding) {
	if f.Verdict.Alarm() {
		r.Alarms++
		if r.FirstBad == nil {
			r.FirstBad = &f
		}
	}
	if len(r.Findings) < maxFindings {
		r.Findings = append(r.Findings, f)
	}
}

// lineage is a log of the directory and what its first record says.
type lineage struct {
	generation string
	genesis    genesis
	begun      time.Time
	known      bool // its first record could be read
}

// VerifyAll checks every log in an evidence directory as [Verify] does, that each is
// preceded by the log it names, and that every body file is one that a record
// speaks of.
//
// Each of vkeys is the public key of one of the logs. For a log without one the key is
// used that it names itself, or that lies beside it; o.VerifierKey is not used. Each of o.Heads is
// held against the log that it names.
func VerifyAll(dir string, vkeys []string, o VerifyOptions) (*DirReport, error) {
	rep, err := verifyAll(dir, vkeys, o)
	if err != nil {
		return nil, fmt.Errorf("verify evidence: %w", err)
	}
	return rep, nil
}

func verifyAll(dir string, vkeys []string, o VerifyOptions) (*DirReport, error) {
	given, err := givenKeys(vkeys)
	if err != nil {
		return nil, err
	}
	g := newGathered(o.ThirdParties, given)
	fates, err := readFates(dir, g)
	if err != nil {
		return nil, err
	}
	logs, err := readLineage(dir)
	if err != nil {
		return nil, err
	}
	beside := "" // the generation that the key beside the logs is of
	if b, err := os.ReadFile(filepath.Join(dir, verifierFile)); err == nil {
		name, _, _ := strings.Cut(string(b), "+")
		beside = path.Base(name)
	}
	if err := choose(logs, given, o.Generation); err != nil {
		return nil, fmt.Errorf("%w in %s", err, dir)
	}
	rep := &DirReport{Verdicts: make(map[Verdict]int64)}
	heads, err := rep.headsOf(logs, o.Heads)
	if err != nil {
		return nil, err
	}
	if len(logs) == 0 {
		logs = []lineage{{}} // what is missing is for the verification of one log to say
	}
	for i := range logs {
		l := &logs[i]
		o := o
		o.Heads = append(rep.succession(logs, l), heads[l.generation]...)
		if o.Generation != "" && o.Generation != l.generation {
			continue
		}
		o.VerifierKey = given[l.generation]
		if o.VerifierKey == "" && !l.known && l.generation != beside && len(logs) > 1 {
			if err := rep.unknown(dir, l.generation); err != nil {
				return nil, err
			}
			continue
		}
		own := o.VerifierKey == "" && l.known && l.generation != beside && len(logs) > 1
		if own {
			o.VerifierKey = l.genesis.VerifierKey
		}
		one, err := verifyLog(dir, o, fates, g)
		if err != nil {
			return nil, err
		}
		one.KeyFromLog = one.KeyFromLog || own
		rep.add(one)
	}
	return rep, rep.lookAround(dir, fates)
}

// headsOf sorts heads that were kept elsewhere by the generation whose log they name. A log
// that is not here has been taken away.
func (r *DirReport) headsOf(logs []lineage, list [][]byte) (map[string][][]byte, error) {
	heads := make(map[string][][]byte)
	for i, msg := range list {
		h, err := ParseCheckpoint(msg, "")
		if err != nil {
			return nil, fmt.Errorf("checkpoint %d of those given: %w", i+1, err)
		}
		g := path.Base(h.Origin)
		if !slices.ContainsFunc(logs, func(l lineage) bool { return l.generation == g }) {
			r.Find(Finding{Verdict: Missing, Index: -1, Detail: fmt.Sprintf("a head of %d records of %s is kept elsewhere, and that log is not here", h.Size, h.Origin)})
			continue
		}
		heads[g] = append(heads[g], msg)
	}
	return heads, nil
}

// unknown says what it means that a log has no first record that could be read, and so
// names no key.
func (r *DirReport) unknown(dir, generation string) error {
	logDir := filepath.Join(dir, logsDir, generation)
	var size int64
	segs, err := segments(logDir, generation)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	names := []string{filepath.Join(logDir, checkpointFile), filepath.Join(logDir, historyFile)}
	for _, s := range segs {
		names = append(names, s.path)
	}
	for _, name := range names {
		fi, err := os.Stat(name)
		if err == nil {
			size += fi.Size()
		} else if !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	f := Finding{Verdict: Unfinished, Index: -1, File: filepath.Join(logsDir, generation), Detail: "a log was to begin here, and has no record"}
	if size > 0 {
		f.Verdict, f.Detail = Altered, "the first record of the log cannot be read, so that nobody knows its key: give it, to learn more"
	}
	r.Find(f)
	return nil
}

func (r *DirReport) add(one *Report) {
	r.Logs = append(r.Logs, one)
	r.Alarms += one.Alarms
	if r.FirstBad == nil {
		r.FirstBad = one.FirstBad
	}
	for verdict, n := range one.Verdicts {
		r.Verdicts[verdict] += n
	}
}

// choose refuses keys and a generation that belong to no log.
func choose(logs []lineage, given map[string]string, generation string) error {
	has := func(g string) bool {
		return slices.ContainsFunc(logs, func(l lineage) bool { return l.generation == g })
	}
	if generation != "" && !has(generation) {
		return fmt.Errorf("there is no generation %s", generation)
	}
	for g, k := range given {
		if !has(g) {
			name, _, _ := strings.Cut(k, "+")
			return fmt.Errorf("the log of %s is not", name)
		}
	}
	return nil
}

// readLineage lists the logs in a directory by when they were begun.
func readLineage(dir string) ([]lineage, error) {
	gens, err := generations(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var logs []lineage
	for _, g := range gens {
		l := lineage{generation: g}
		if l.genesis, err = firstRecord(dir, g); err == nil {
			l.known = true
			// One that cannot be read comes first; the verification of it says why.
			l.begun, _ = time.Parse(time.RFC3339Nano, l.genesis.Created)
		}
		logs = append(logs, l)
	}
	slices.SortStableFunc(logs, func(a, b lineage) int {
		return cmp.Or(a.begun.Compare(b.begun), cmp.Compare(a.generation, b.generation))
	})
	return logs, nil
}

// succession says what the first records say of l and of the log before it, and returns
// the heads that l must agree with because a later log relied on them.
func (r *DirReport) succession(logs []lineage, l *lineage) (heads [][]byte) {
	say := func(v Verdict, generation, format string, args ...any) {
		r.Find(Finding{Verdict: v, Index: 0, File: filepath.Join(logsDir, generation), Detail: fmt.Sprintf(format, args...)})
	}
	for i := range logs {
		next := &logs[i]
		p := next.genesis.Previous
		if p == nil || path.Base(p.Origin) != l.generation || next == l || !l.known {
			continue
		}
		if p.Why != FateKept {
			say(Unfinished, next.generation, "the log begins after %s, of which it says: %s", p.Origin, p.Why)
			continue
		}
		if _, err := ParseCheckpoint([]byte(p.Checkpoint), l.genesis.VerifierKey); err != nil {
			say(Altered, next.generation, "the checkpoint that it names of %s: %v", p.Origin, err)
			continue
		}
		heads = append(heads, []byte(p.Checkpoint))
	}
	if p := l.genesis.Previous; p != nil && !slices.ContainsFunc(logs, func(x lineage) bool { return x.generation == path.Base(p.Origin) }) {
		if p.Why == FateMissing {
			say(Unfinished, l.generation, "the log begins after %s, of which it says: %s", p.Origin, p.Why)
		} else {
			say(Missing, l.generation, "the log begins after %s, which is not here", p.Origin)
		}
	}
	return heads
}

// lookAround names what lies in the directory and no record speaks of: body files,
// indexes of no segment, and what a crash left.
func (r *DirReport) lookAround(dir string, f *fates) error {
	for _, top := range []string{logsDir, bodiesDir, indexesDir} {
		err := filepath.WalkDir(filepath.Join(dir, top), func(path string, d fs.DirEntry, err error) error {
			if errors.Is(err, fs.ErrNotExist) {
				return nil
			}
			if err != nil || d.IsDir() {
				return err
			}
			name, err := filepath.Rel(dir, path)
			if err != nil {
				return err
			}
			if why := f.unexplained(filepath.ToSlash(name)); why != "" {
				r.Find(Finding{Verdict: Unexplained, Index: -1, File: name, Detail: why})
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

// unexplained says what is odd about a file in the directories of the log, or nothing.
func (f *fates) unexplained(name string) string {
	parts := strings.Split(name, "/")
	switch {
	case strings.HasSuffix(name, temporaryExt):
		return "it was left by a crash; the next start takes it away or over"
	case parts[0] == bodiesDir:
		if parts[1] != holdsDir && !f.files[name] {
			return "no record speaks of this body file"
		}
	case parts[0] == indexesDir:
		name := strings.TrimSuffix(path.Base(name), indexExt)
		i := max(0, strings.LastIndex(name, "-"))
		generation, first := name[:i], strings.TrimPrefix(name[i:], "-")
		if f.seals[path.Join(logsDir, generation, segmentsDir, first+segmentExt)] == nil {
			return "no record seals a segment of this index"
		}
	case len(parts) == 4 && parts[2] == segmentsDir:
		if _, ok := segmentFirst(parts[3]); !ok {
			return "it is no segment"
		}
	}
	return ""
}

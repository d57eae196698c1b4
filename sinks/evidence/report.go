package evidence

import (
	"fmt"
	"strings"
	"time"
)

// Verdict is what a verifier says of a part of the log.
type Verdict string

// The verdicts. The first six are alarms.
const (
	Altered      Verdict = "ALTERED"       // not what was written and signed
	Missing      Verdict = "MISSING"       // it was here, and no record says why it is not
	Fork         Verdict = "FORK"          // the log's key signed two different histories
	Conflict     Verdict = "CONFLICT"      // one id, two different records
	CoverageHole Verdict = "COVERAGE HOLE" // offsets that nobody accounts for
	BadCoverage  Verdict = "BAD COVERAGE"  // an account that cannot be true

	UnsignedTail Verdict = "UNSIGNED TAIL" // younger than the last checkpoint
	Replayed     Verdict = "replayed"      // the same record once more, after a crash
	Redecided    Verdict = "decided again" // a push delivered again and decided anew

	Sound     Verdict = "ok"                  // its body is the one its leaf commits to
	NotOpened Verdict = "ok, body not opened" // in its place, but what it says was not checked: there was no key
	Destroyed Verdict = "destroyed"           // its body was destroyed, and a record says so
	Erased    Verdict = "erased"              // its key was destroyed, and a record says so
	Held      Verdict = "held"                // its body was kept for a hold when its day was destroyed

	Unfinished  Verdict = "unfinished"  // a record says that something is done, and it is not
	Unexplained Verdict = "unexplained" // a file that no record speaks of
	Rebuild     Verdict = "rebuild"     // an index that does not fit its segment; it is derived, and can be made again
)

// Alarm reports whether the verdict says that the log cannot be trusted as it
// is. The others are facts a reader should know.
func (v Verdict) Alarm() bool {
	switch v {
	case Altered, Missing, Fork, Conflict, CoverageHole, BadCoverage:
		return true
	}
	return false
}

// Finding is one verdict and where it belongs.
type Finding struct {
	Verdict Verdict `json:"verdict"`
	// Index is the first record it is about, -1 where it is about none. Count is
	// how many records, 0 where that cannot be said.
	Index int64 `json:"index"`
	Count int64 `json:"count,omitempty"`
	// File is relative to the evidence directory, Offset counts its bytes.
	File   string    `json:"file,omitempty"`
	Offset int64     `json:"offset"`
	Time   time.Time `json:"time,omitzero"` // of the record
	Detail string    `json:"detail"`
}

// String returns the finding in one line.
func (f Finding) String() string {
	var b strings.Builder
	b.WriteString(string(f.Verdict))
	b.WriteString(": ")
	switch {
	case f.Count > 1:
		fmt.Fprintf(&b, "records %d to %d: ", f.Index, f.Index+f.Count-1)
	case f.Index >= 0:
		fmt.Fprintf(&b, "record %d: ", f.Index)
	}
	b.WriteString(f.Detail)
	if f.File != "" {
		fmt.Fprintf(&b, " (%s offset %d", f.File, f.Offset)
		if !f.Time.IsZero() {
			fmt.Fprintf(&b, ", %s", f.Time.UTC().Format(time.RFC3339Nano))
		}
		b.WriteString(")")
	}
	return b.String()
}

// maxFindings is how many findings a report lists. All are counted.
const maxFindings = 1000

// Report is what [Verify] found.
type Report struct {
	Origin string `json:"origin"`
	// VerifierKey is the key the signatures were checked with. KeyFromLog says
	// that it was found beside the log: then the report proves that the log
	// agrees with itself, but not who wrote it.
	VerifierKey string `json:"verifier_key"`
	KeyFromLog  bool   `json:"key_from_log"`

	Records  int64            `json:"records"` // found in the segments
	Kinds    map[string]int64 `json:"kinds"`
	Bytes    int64            `json:"bytes"` // of the segments
	Segments int              `json:"segments"`
	From     time.Time        `json:"from,omitzero"` // time of the first record
	To       time.Time        `json:"to,omitzero"`   // time of the last record

	// Signed is the size of the largest signed head that the records agree with,
	// Root its root in base64, HeadTime the time of its last record.
	Signed   int64     `json:"signed"`
	Root     string    `json:"root,omitempty"`
	HeadTime time.Time `json:"head_time,omitzero"`
	Heads    int64     `json:"heads"` // signed heads in the history, and those given

	// Vouched is what third parties have signed of the log.
	Vouched []Vouched `json:"vouched,omitempty"`

	Unsigned  int64 `json:"unsigned"`           // records past Signed
	TornBytes int64 `json:"torn_bytes"`         // of a write cut short at the end
	Unopened  int64 `json:"unopened,omitempty"` // records of a later version, whose bodies were not checked
	Closed    int64 `json:"closed,omitempty"`   // encrypted records whose keys are not here: what they say was not checked
	Replayed  int64 `json:"replayed"`           // records that repeat an earlier one

	// Verdicts counts the records by what is said of each: every record has one.
	Verdicts map[Verdict]int64 `json:"verdicts"`
	// FirstBad is the alarm of the lowest index, or one without an index where no other is.
	FirstBad *Finding `json:"first_bad,omitempty"`

	Ledger     Ledger              `json:"ledger"`
	Partitions []PartitionCoverage `json:"partitions,omitempty"`

	Alarms   int64     `json:"alarms"` // how many findings are alarms
	Findings []Finding `json:"findings,omitempty"`
	Unlisted int64     `json:"unlisted,omitempty"` // findings beyond the list's limit
}

// OK reports whether there was no alarm.
func (r *Report) OK() bool { return r.Alarms == 0 }

// find adds a finding. Alarms find room in the list before notes do.
func (r *Report) find(f Finding) {
	if f.Verdict.Alarm() {
		r.Alarms++
		if b := r.FirstBad; b == nil || f.Index >= 0 && (b.Index < 0 || f.Index < b.Index) {
			r.FirstBad = &f
		}
	}
	if len(r.Findings) < maxFindings {
		r.Findings = append(r.Findings, f)
		return
	}
	r.Unlisted++
	if !f.Verdict.Alarm() {
		return
	}
	for i := len(r.Findings) - 1; i >= 0; i-- {
		if !r.Findings[i].Verdict.Alarm() {
			r.Findings[i] = f
			return
		}
	}
}

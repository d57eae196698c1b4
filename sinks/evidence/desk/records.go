package desk

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"time"

	"github.com/weir-moderation/weir/sinks/evidence"
)

// The bodies of the records this package writes: FORMAT.md describes them.

// File is a body file in a plan.
type File struct {
	File    string `json:"file"` // relative to the evidence directory
	SHA256  string `json:"sha256"`
	Records int64  `json:"records"`
	First   int64  `json:"first"` // index of the first record whose body is in it
	Last    int64  `json:"last"`
}

// Kept says what a hold keeps of a file that is to be destroyed.
type Kept struct {
	Hold    string `json:"hold"` // id of the hold record
	File    string `json:"file"`
	Records int64  `json:"records"`
}

// Plan is the body of a destroy-plan record: what somebody wants destroyed.
type Plan struct {
	Plan         string   `json:"plan"` // a name for people
	Class        string   `json:"class"`
	From         string   `json:"from"` // days, both included
	To           string   `json:"to"`
	Files        []File   `json:"files"`
	KeyFiles     []string `json:"key_files"`
	KeptForHolds []Kept   `json:"kept_for_holds"`
	Minimum      string   `json:"minimum"`
	Maximum      string   `json:"maximum"`
	Basis        string   `json:"basis"`
	PlannedBy    string   `json:"planned_by"`
	Reason       string   `json:"reason"`
}

// Destroy is the body of a destroy record: a plan with a second person's
// signature. Plan is then the id of the plan's record.
type Destroy struct {
	Plan
	ApprovedBy string `json:"approved_by"`
	Key        string `json:"key"`       // public, of who approved
	Signature  string `json:"signature"` // a signed note of [ApprovalText]
}

// Destroyed is the body of a destroyed record.
type Destroyed struct {
	Destroy  string   `json:"destroy"` // id of the destroy record
	Files    []File   `json:"files"`
	KeyFiles []string `json:"key_files"`
}

// Scope says which records a hold is on: those that meet all that is given of it.
type Scope struct {
	Records []string `json:"records,omitempty"` // ids
	// Subject holds, by class, the index term of whom the records are about: the id
	// of a user is never written.
	Subject map[string]string `json:"subject,omitempty"`
	Class   string            `json:"class,omitempty"`
	From    *time.Time        `json:"from,omitempty"` // recorded at or after
	To      *time.Time        `json:"to,omitempty"`   // and before
}

// Hold is the body of a hold record.
type Hold struct {
	Scope      Scope  `json:"scope"`
	Authority  string `json:"authority"` // who demands it
	Reason     string `json:"reason"`
	SetBy      string `json:"set_by"`
	ApprovedBy string `json:"approved_by"`
}

// Release is the body of a release record: a hold ends.
type Release struct {
	Hold       string `json:"hold"` // id of the hold record
	Authority  string `json:"authority"`
	Reason     string `json:"reason"`
	ReleasedBy string `json:"released_by"`
	ApprovedBy string `json:"approved_by"`
}

// Ranges are records of one generation: from the first index up to and not
// including the second.
type Ranges struct {
	Generation string     `json:"generation"`
	Ranges     [][2]int64 `json:"ranges"`
}

// Shred is the body of a shred record: the keys of a person are destroyed.
type Shred struct {
	RequestedBy string   `json:"requested_by"`
	Basis       string   `json:"basis"`
	Reason      string   `json:"reason"`
	Handles     []string `json:"handles"`
	Records     []Ranges `json:"records"`
	Escrow      bool     `json:"escrow"`
	EscrowFile  string   `json:"escrow_file,omitempty"` // relative to the directory of the keys
	Restricted  []string `json:"restricted,omitempty"`  // ids of the restricted records whose duty ended
}

// Restricted is the body of a restricted record: a person asked to be erased, and
// the records must still be kept. The keys are put aside until the last duty ends.
type Restricted struct {
	RequestedBy string   `json:"requested_by"`
	Basis       string   `json:"basis"`
	Reason      string   `json:"reason"`
	Handles     []string `json:"handles"`
	Records     []Ranges `json:"records"`
	Until       string   `json:"until"` // the last day on which the legal minimum runs
	Holds       []string `json:"holds"` // ids of the hold records that stand against it
}

// Rotation is the body of a rotation record: a master key was followed by another.
// From here on older copies of the keys open nothing.
type Rotation struct {
	Key        string   `json:"key"` // "master"
	Generation uint32   `json:"generation"`
	Destroyed  []string `json:"destroyed"` // names of the master keys that are gone
	Keys       int64    `json:"keys"`      // that were wrapped anew
}

// derivedID names a record by what it follows from, so that writing it again after
// a crash writes the same id.
func derivedID(kind evidence.Kind, from string) evidence.ID {
	h := sha256.New()
	h.Write([]byte("ev1 desk id\n"))
	h.Write([]byte{uint8(kind)})
	var n [8]byte
	binary.BigEndian.PutUint64(n[:], uint64(len(from)))
	h.Write(n[:])
	h.Write([]byte(from))
	return evidence.ID(h.Sum(nil)[:16])
}

func digestOf(b []byte) string {
	sum := sha256.Sum256(b)
	return hex.EncodeToString(sum[:])
}

package evidence

import (
	"encoding/json"
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

// ThirdParties checks what others have signed of a log: witnesses its heads, time-stamp
// authorities that a head was there. Package anchor makes one of keys and certificates;
// the zero value has none, and what others signed is then counted and not checked.
type ThirdParties struct {
	// Witnesses are the names of those whose keys are known.
	Witnesses []string
	// Cosigned checks the line of such a witness beside a checkpoint, and says when it was signed.
	Cosigned func(witness string, checkpoint []byte) (time.Time, error)
	// Stamped checks a time-stamp token over data, or an authority's answer with one in it, and
	// says when it was made; nil if no authority's certificate is known.
	Stamped func(token, data []byte) (time.Time, error)
}

// Vouched is what one third party has signed of a log: that of all the log's heads
// with its signature. The first Size records were there at Time, by the clock of who
// signed, whatever the log's own clock said.
type Vouched struct {
	By      string    `json:"by"` // the name of a witness; empty: a time-stamp authority
	Heads   int64     `json:"heads"`
	Checked int64     `json:"checked"`          // whose signatures are good
	Size    int64     `json:"size"`             // of the largest one that is good and that the records agree with; 0 if there is none
	Time    time.Time `json:"time,omitzero"`    // of that signature
	File    string    `json:"file,omitempty"`   // where it stands
	Offset  int64     `json:"offset,omitempty"` // of that
}

// String says in a line what is proven.
func (v *Vouched) String() string {
	heads := plural(v.Heads, "head", "heads")
	switch {
	case v.Heads == 0:
		return "no head of this log with its signature is here"
	case v.Checked == 0 && v.By == "":
		return heads + ", not checked: no certificate given"
	case v.Checked == 0:
		return heads + ", not checked: no key given"
	case v.Size == 0:
		return fmt.Sprintf("%s, %d with a good signature; none could be compared with records that are here and in order", heads, v.Checked)
	}
	return fmt.Sprintf("%s, %d with a good signature; the first %s there at %s (%s offset %d)",
		heads, v.Checked, plural(v.Size, "record was", "records were"), v.Time.UTC().Format(time.RFC3339), v.File, v.Offset)
}

// Voucher is a head with the signature of a third party, found in one place.
type Voucher struct {
	By      string
	Size    int64
	Root    tlog.Hash
	Checked bool // the signature is good; otherwise nobody could check it
	Time    time.Time
	File    string
	Offset  int64
}

// Vouchers adds up what is found of third parties.
type Vouchers struct{ list []Vouched }

// Expect says that something of these third parties is looked for.
func (v *Vouchers) Expect(third *ThirdParties) {
	for _, name := range third.Witnesses {
		v.of(name)
	}
	if third.Stamped != nil {
		v.of("")
	}
}

func (v *Vouchers) of(by string) *Vouched {
	i := slices.IndexFunc(v.list, func(x Vouched) bool { return x.By == by })
	if i < 0 {
		i = len(v.list)
		v.list = append(v.list, Vouched{By: by})
	}
	return &v.list[i]
}

// Add counts one.
func (v *Vouchers) Add(x *Voucher) {
	of := v.of(x.By)
	of.Heads++
	if x.Checked {
		of.Checked++
	}
}

// Met says that the records agree with one. Of those of one third party the largest
// counts, and of these the first.
func (v *Vouchers) Met(x *Voucher) {
	of := v.of(x.By)
	if x.Checked && (x.Size > of.Size || x.Size == of.Size && x.Time.Before(of.Time)) {
		of.Size, of.Time, of.File, of.Offset = x.Size, x.Time, x.File, x.Offset
	}
}

// List is what is known of each third party.
func (v *Vouchers) List() []Vouched { return v.list }

// check checks what a third party signed, if it can be.
func (t *ThirdParties) check(x *Voucher, checkpoint, token []byte) (err error) {
	switch {
	case x.By == "" && t.Stamped != nil:
		x.Time, err = t.Stamped(token, checkpoint)
	case slices.Contains(t.Witnesses, x.By):
		x.Time, err = t.Cosigned(x.By, checkpoint)
	default:
		return nil
	}
	x.Checked = err == nil
	return err
}

// Read returns what an anchor or timestamp record holds, key being that of the log, nil
// if it is not known. The errors are those of statements that are false: another one's signature that
// is not one, or a head that the log has not signed.
func (t *ThirdParties) Read(kind Kind, body []byte, key note.Verifier) (list []Voucher, errs []error) {
	var b struct {
		Cosigned   []struct{ Witness, Checkpoint string }
		Checkpoint string
		Token      []byte
		Time       string
	}
	switch err := json.Unmarshal(body, &b); {
	case kind != KindAnchor && kind != KindTimestamp:
		return nil, nil
	case err != nil:
		return nil, []error{errors.New("its body cannot be read")}
	case kind == KindTimestamp:
		x, err := t.head(b.Checkpoint, key)
		if err == nil {
			err = t.check(&x, []byte(b.Checkpoint), b.Token)
		}
		if said, parse := time.Parse(time.RFC3339Nano, b.Time); err == nil && x.Checked && (parse != nil || !said.Equal(x.Time)) {
			err = fmt.Errorf("it says %s", x.Time.UTC().Format(time.RFC3339Nano))
		}
		if err != nil {
			return nil, []error{fmt.Errorf("the time-stamp token of %s: %w", b.Time, err)}
		}
		return []Voucher{x}, nil
	}
	for _, c := range b.Cosigned {
		x, err := t.head(c.Checkpoint, key)
		if x.By = c.Witness; err == nil {
			err = t.check(&x, []byte(c.Checkpoint), nil)
		}
		if err != nil {
			errs = append(errs, fmt.Errorf("the head that the witness %s is said to have signed: %w", c.Witness, err))
			continue
		}
		list = append(list, x)
	}
	return list, errs
}

func (t *ThirdParties) head(checkpoint string, key note.Verifier) (Voucher, error) {
	if key != nil {
		h, err := parseCheckpoint([]byte(checkpoint), key)
		return Voucher{Size: h.size, Root: h.root}, err
	}
	h, err := ParseCheckpoint([]byte(checkpoint), "")
	return Voucher{Size: h.Size, Root: h.Root}, err
}

// Beside returns the signatures of others that stand beside the log's own in a checkpoint.
func (t *ThirdParties) Beside(checkpoint []byte, key note.Verifier) (list []Voucher, errs []error) {
	h, err := parseCheckpoint(checkpoint, key)
	if err != nil {
		return nil, nil // the log's own signature comes first
	}
	n, err := note.Open(checkpoint, note.VerifierList(key))
	if err != nil {
		return nil, nil // as above
	}
	seen := make(map[string]bool)
	for _, s := range n.UnverifiedSigs {
		if seen[s.Name] || s.Name == key.Name() {
			continue
		}
		seen[s.Name] = true
		x := Voucher{By: s.Name, Size: h.size, Root: h.root}
		if err := t.check(&x, checkpoint, nil); err != nil {
			errs = append(errs, fmt.Errorf("the signature of the witness %s: %w", s.Name, err))
			continue
		}
		list = append(list, x)
	}
	return list, errs
}

// gathered is what the first reading of the logs finds of third parties, by generation.
type gathered struct {
	third    ThirdParties
	given    map[string]string        // verifier keys by generation
	keys     map[string]note.Verifier // those in use; nil: unknown
	vouchers map[string][]Voucher
	untrue   map[string][]Finding
}

func newGathered(third ThirdParties, given map[string]string) *gathered {
	return &gathered{third: third, given: given, keys: make(map[string]note.Verifier), vouchers: make(map[string][]Voucher), untrue: make(map[string][]Finding)}
}

// key returns the key of a log: the one given, or else the one that it names itself. Whether
// that is the right one is for the verification of the log to say.
func (g *gathered) key(dir, generation string) note.Verifier {
	key, known := g.keys[generation]
	if !known {
		vkey := g.given[generation]
		if vkey == "" {
			vkey, _ = ownKey(dir, generation)
		}
		if v, err := note.NewVerifier(vkey); err == nil {
			key = v
		}
		g.keys[generation] = key
	}
	return key
}

// take reads one record.
func (g *gathered) take(dir, generation string, seg *segment, index int64, e *entry) {
	list, errs := g.third.Read(e.leaf.kind(), e.stored[saltSize:], g.key(dir, generation))
	at := place{index: index, file: seg.name, offset: e.offset, nanos: e.leaf.nanos()}
	for _, err := range errs {
		g.untrue[generation] = append(g.untrue[generation], at.finding(Altered, 1, "%v", err))
	}
	for _, x := range list {
		x.File, x.Offset = fmt.Sprintf("record %d of %s", index, seg.name), e.offset
		g.vouchers[generation] = append(g.vouchers[generation], x)
	}
}

// vouch takes the heads that third parties have signed: the log must agree with each.
func (v *verifier) vouch(g *gathered) {
	v.vouched.Expect(&g.third)
	for _, f := range g.untrue[v.generation] {
		v.rep.find(f)
	}
	for i := range g.vouchers[v.generation] {
		v.hold(&g.vouchers[v.generation][i])
	}
	slices.SortStableFunc(v.heads, func(a, b namedHead) int { return int(min(1, max(-1, a.size-b.size))) })
}

func (v *verifier) hold(x *Voucher) {
	v.vouched.Add(x)
	h := namedHead{head: head{x.Size, x.Root}, file: x.File, offset: x.Offset, vouched: x}
	v.heads = append(v.heads, h)
	v.sawHead(h)
}

// beside takes what stands beside the log's own signature in a checkpoint.
func (v *verifier) beside(checkpoint []byte, file string) {
	list, errs := v.third.Beside(checkpoint, v.key)
	for _, err := range errs {
		v.rep.find(Finding{Verdict: Altered, Index: -1, File: file, Detail: err.Error()})
	}
	for i := range list {
		list[i].File = file
		v.hold(&list[i])
	}
}

// givenKeys sorts verifier keys by generation.
func givenKeys(vkeys []string) (map[string]string, error) {
	given := make(map[string]string)
	for _, k := range vkeys {
		v, err := note.NewVerifier(strings.TrimSpace(k))
		if err != nil {
			return nil, fmt.Errorf("verifier key: %w; it is one line of the form <origin>+<hash>+<key>", err)
		}
		given[path.Base(v.Name())] = strings.TrimSpace(k)
	}
	return given, nil
}

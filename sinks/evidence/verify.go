package evidence

import (
	"encoding/json"
	"errors"
	"fmt"
	"hash/maphash"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/weir-moderation/weir/sinks/evidence/keys"
)

// VerifyOptions says what to check a log against.
type VerifyOptions struct {
	// VerifierKey is the public key of the log, as its operator published it. Its
	// name chooses the generation. If empty, the key beside the log is used, which
	// whoever forged the log could have replaced.
	VerifierKey string
	// Generation is the log that [VerifyAll] checks; empty: all. [Verify] checks the one
	// that VerifierKey is of.
	Generation string
	// Heads are checkpoints of this log that were kept elsewhere: by a topic, a
	// witness, a court. The log must agree with each of them; one that was rolled
	// back or rewritten, and signed again, does not.
	Heads [][]byte
	// ThirdParties checks what others have signed of the log. What is false is an alarm,
	// and the log must agree with every head that is signed by others.
	ThirdParties ThirdParties
	// Peers are the evidence directories of other instances that read the same
	// topics: what their coverage records account for is no hole here, and the log
	// must agree with the heads of it that they have put on record. They are read,
	// not verified; verify each by itself.
	Peers []string
	// Keys opens bodies that are encrypted. Without it they are counted as not
	// opened: their place in the log is checked, what they say is not.
	Keys *keys.Ring
	// Progress, if given, is told now and then how many records are checked, and how
	// many of all bytes were read for it.
	Progress func(records, read, total int64)
}

// Verify checks one log in dir without its private key and without changing
// anything: every frame, checksum, index and time, every body against its
// commitment, the tree against every signed head, every id for conflicts, and
// the ledger. Bodies that were moved to body files are looked for there; where one is
// gone, or cannot be read any more, a record of this log or another one of the directory
// must say why. Without keys encrypted bodies are checked against the SHA-256 of
// their files in the seal records. A log may be verified while it is written.
//
// What was found is in the report, alarms included. The error means that the log
// could not be checked. Memory grows by 80 to 100 bytes for each record: some 740 MB for ten million.
//
// Clause: rn-audit
// Anyone with the public key can check the evidence without Weir's help: what was altered, cut out or never written is named by record, file and time.
func Verify(dir string, o VerifyOptions) (*Report, error) {
	given, err := givenKeys(slices.DeleteFunc([]string{o.VerifierKey}, func(k string) bool { return k == "" }))
	if err != nil {
		return nil, fmt.Errorf("verify evidence: %w", err)
	}
	g := newGathered(o.ThirdParties, given)
	fates, err := readFates(dir, g)
	if err != nil {
		return nil, fmt.Errorf("verify evidence: %w", err)
	}
	rep, err := verifyLog(dir, o, fates, g)
	if err != nil {
		return nil, fmt.Errorf("verify evidence: %w", err)
	}
	return rep, nil
}

func verifyLog(dir string, o VerifyOptions, fates *fates, g *gathered) (*Report, error) {
	v := &verifier{
		dir: dir, rep: &Report{Kinds: make(map[string]int64), Verdicts: make(map[Verdict]int64)}, keys: o.Keys, progress: o.Progress,
		fates: fates, pending: make(map[Verdict]int64), erased: make(map[witness]int64), undone: make(map[witness]int64),
		keyFiles: make(map[keyFileID]*keyFile),
		hashers:  make(chan struct{}, runtime.GOMAXPROCS(0)),
		seed:     maphash.MakeSeed(),
		third:    &g.third,
	}
	defer v.hashing.Wait()
	if err := v.run(dir, o, g); err != nil {
		return nil, err
	}
	return v.rep, nil
}

// place is where a record lies.
type place struct {
	index  int64
	file   string
	offset int64
	nanos  int64
}

func (p place) finding(v Verdict, count int64, format string, args ...any) Finding {
	return Finding{Verdict: v, Index: p.index, Count: count, File: p.file, Offset: p.offset,
		Time: p.time(), Detail: fmt.Sprintf(format, args...)}
}

func (p place) time() time.Time {
	if p.nanos == 0 {
		return time.Time{} // it is no record's
	}
	return time.Unix(0, p.nanos).UTC()
}

// sighting is what is remembered of a record for when its id comes again.
type sighting struct {
	facts facts
	sum   uint64 // of the body, 0 if it was not opened; seeded, so nobody can aim at it
	index int64
}

// facts are what the leaves of a record and its repetition share: kind, class,
// encoding and length of the body, and beside them whether the body was opened.
type facts uint64

const opened facts = 1 << 63

func (l *leaf) facts() facts {
	return facts(l[1])<<48 | facts(l[2])<<40 | facts(l.encoding())<<32 | facts(l.bodyBytes())
}

// differ reports whether two records of one id cannot be the same, as far as it
// can be seen without the bodies of those whose keys are not here.
func (s *sighting) differ(o *sighting) bool {
	if s.facts&^opened != o.facts&^opened {
		return true
	}
	return s.facts&o.facts&opened != 0 && s.sum != o.sum
}

type verifier struct {
	dir        string
	generation string
	rep        *Report
	key        note.Verifier
	keys       *keys.Ring
	seed       maphash.Seed

	progress    func(records, read, total int64)
	read, total int64 // bytes

	batch  []checked
	arena  []byte // entries of the batch
	bodies []byte // what was read from body files for it

	fates   *fates
	segment string // the one that is read
	sealed  *sealedSegment
	hashing sync.WaitGroup
	hashers chan struct{} // so many at once
	// pending are the verdicts on records since the last head that agreed: until
	// one does they may be other records than those that were signed.
	pending  map[Verdict]int64
	erased   map[witness]int64 // records by the shred record that names their key
	undone   map[witness]int64 // records that open although it does
	keyFiles map[keyFileID]*keyFile
	keysHere bool // the directory has keys

	due  int64 // index of the next record in the files
	tree tree
	lost bool  // records are missing, so no root after them can be computed
	last int64 // recorded_at of the record before

	heads []namedHead // from elsewhere than the history, by size
	third *ThirdParties
	hist  history
	mark  place             // the first record after the last head that agreed
	bad   *badHead          // the first head that did not, while it is open why
	doubt map[Verdict]int64 // the verdicts on records before bad
	top   head              // the largest head with a good signature

	seen map[ID]sighting
	// Distinct records that stand for a flagged or dead-lettered message.
	judged, dead int64
	coverage     coverage
	vouched      Vouchers
}

// namedHead is a signed head and where it was found.
type namedHead struct {
	head
	file    string
	offset  int64
	vouched *Voucher // a third party has signed it, too
}

type badHead struct {
	namedHead
	from place // the first record that may be to blame
}

func (v *verifier) run(dir string, o VerifyOptions, g *gathered) error {
	generation, err := v.readKey(dir, o)
	if err != nil {
		return err
	}
	v.generation = generation
	logDir := filepath.Join(dir, logsDir, generation)
	// Heads before segments: on a live log the records of a head that was read
	// are then sure to be on the disk.
	if err := v.readHeads(logDir, generation, o); err != nil {
		return err
	}
	defer v.hist.close()
	// Room for all at once: a map that grows takes twice that for a while.
	v.seen = make(map[ID]sighting, min(max(v.top.size, v.hist.final.size), maxRoom))
	if err := v.readAnchors(o.Peers); err != nil {
		return err
	}
	v.vouch(g)
	segs, err := segments(logDir, generation)
	if errors.Is(err, fs.ErrNotExist) {
		segs, err = nil, nil // the heads, if any, will say what is missing
	}
	if err != nil {
		return err
	}
	if len(segs) == 0 && v.top.size == 0 {
		return fmt.Errorf("%s %w", logDir, errNoEvidence)
	}
	v.rep.Segments = len(segs)
	for _, s := range segs {
		fi, err := os.Stat(s.path)
		if err != nil {
			return err
		}
		v.rep.Bytes += fi.Size()
	}
	v.weigh(segs)
	v.keysHere = v.hasFile(keysDir)
	if err := walk(segs, v.frame, v.fault); err != nil {
		return err
	}
	if err := v.flush(); err != nil {
		return err
	}
	if err := v.unseal(); err != nil {
		return err
	}
	v.tell(v.total)
	if err := v.finish(); err != nil {
		return err
	}
	for _, p := range o.Peers {
		if err := v.readPeer(p); err != nil {
			return err
		}
	}
	v.finishCoverage()
	v.rep.Vouched = v.vouched.List()
	return nil
}

var errNoEvidence = errors.New("holds no evidence")

// readKey finds the key, and by its name the log.
func (v *verifier) readKey(dir string, o VerifyOptions) (generation string, err error) {
	vkey := strings.TrimSpace(o.VerifierKey)
	if vkey == "" {
		b, err := os.ReadFile(filepath.Join(dir, verifierFile))
		if err != nil {
			return "", fmt.Errorf("no verifier key given and none beside the log: %w", err)
		}
		vkey = strings.TrimSpace(string(b))
		v.rep.KeyFromLog = true
	}
	if v.key, err = note.NewVerifier(vkey); err != nil {
		return "", fmt.Errorf("verifier key: %w; it is one line of the form <origin>+<hash>+<key>", err)
	}
	v.rep.Origin = v.key.Name()
	v.rep.VerifierKey = vkey
	generation = path.Base(v.rep.Origin)
	if !isFileName(generation) {
		return "", fmt.Errorf("verifier key: its name %s does not end with a generation", v.rep.Origin)
	}
	if _, err := os.Stat(filepath.Join(dir, logsDir, generation)); err != nil {
		return "", fmt.Errorf("the log of %s is not in %s: %w", v.rep.Origin, dir, err)
	}
	return generation, nil
}

// readHeads reads the checkpoint and the heads given, and opens the history.
func (v *verifier) readHeads(logDir, generation string, o VerifyOptions) error {
	for i, msg := range o.Heads {
		name := fmt.Sprintf("checkpoint %d of those given", i+1)
		h, err := parseCheckpoint(msg, v.key)
		if _, noHead := ParseCheckpoint(msg, ""); noHead != nil {
			return fmt.Errorf("%s: %w", name, noHead)
		}
		if err != nil {
			v.rep.find(Finding{Verdict: Altered, Index: -1, File: name, Detail: "a head that is kept elsewhere: " + err.Error()})
			continue
		}
		v.addHead(namedHead{head: h, file: name})
		v.beside(msg, name)
		v.rep.Heads++
	}
	name := filepath.Join(logsDir, generation, historyFile)
	if err := v.hist.open(v, filepath.Join(logDir, historyFile), name); err != nil {
		return err
	}
	cpName := filepath.Join(logsDir, generation, checkpointFile)
	msg, err := os.ReadFile(filepath.Join(logDir, checkpointFile))
	if errors.Is(err, fs.ErrNotExist) {
		if v.hist.final.size > 0 {
			v.rep.find(Finding{Verdict: Missing, Index: -1, File: cpName, Detail: "the latest checkpoint is gone"})
		}
		return nil
	}
	if err != nil {
		return err
	}
	h, err := parseCheckpoint(msg, v.key)
	if err != nil {
		v.rep.find(Finding{Verdict: Altered, Index: -1, File: cpName, Detail: "the latest checkpoint: " + err.Error()})
		return nil
	}
	if h.size > v.hist.final.size {
		// A live log may have signed since the history was looked at.
		if err := v.hist.extend(); err != nil {
			return err
		}
		if h.size > v.hist.final.size {
			v.rep.find(Finding{Verdict: Missing, Index: -1, File: name, Detail: fmt.Sprintf(
				"the history of signed heads ends at %d records, the latest checkpoint is of %d", v.hist.final.size, h.size)})
		}
	} else {
		v.hist.checkpoint, v.hist.checkpointFile = h.size, cpName
	}
	v.addHead(namedHead{head: h, file: cpName})
	v.beside(msg, cpName)
	return nil
}

func (v *verifier) addHead(h namedHead) {
	v.heads = append(v.heads, h)
	slices.SortStableFunc(v.heads, func(a, b namedHead) int { return int(min(1, max(-1, a.size-b.size))) })
	v.sawHead(h)
}

func (v *verifier) sawHead(h namedHead) {
	if h.size > v.top.size {
		v.top = h.head
	}
}

// history is the stream of all heads ever signed: a year of them does not fit
// into memory.
type history struct {
	v      *verifier
	file   *os.File
	name   string
	r      historyReader
	final  head // the last one
	ahead  *namedHead
	before head // the head before ahead
	// The latest checkpoint, to be compared with the end of the history: between
	// the two writes of a checkpoint it is one head behind, never two.
	checkpoint     int64
	checkpointFile string
}

func (h *history) open(v *verifier, path, name string) error {
	h.v, h.name = v, name
	f, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	h.file = f
	h.r.r = f
	return h.extend()
}

func (h *history) close() {
	if h.file != nil {
		h.file.Close() //nolint:errcheck // only read
	}
}

// extend looks at how far the history reaches now.
func (h *history) extend() error {
	if h.file == nil {
		return nil
	}
	msg, end, err := lastCheckpoint(h.file)
	if err != nil {
		return err
	}
	h.r.size = end
	if fi, err := h.file.Stat(); err != nil {
		return err
	} else if fi.Size()-end > maxCheckpoint {
		h.r.size = fi.Size() // not the rest of a crash: let it be read and reported
	}
	h.final, _ = parseCheckpoint(msg, h.v.key) // reading up to it reports what is wrong
	return nil
}

// peek returns the next head whose signature is good, in growing sizes.
func (h *history) peek() (*namedHead, error) {
	for h.ahead == nil && h.file != nil {
		msg, offset, err := h.r.next()
		if errors.Is(err, io.EOF) {
			return nil, nil
		}
		if errors.Is(err, io.ErrUnexpectedEOF) {
			h.find(Altered, offset, "from here on the history of signed heads cannot be read")
			h.r.size = h.r.off
			h.r.buf = nil
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		got, err := parseCheckpoint(msg, h.v.key)
		if err != nil {
			h.find(Altered, offset, "a checkpoint in the history: "+err.Error())
			continue
		}
		next := namedHead{head: got, file: h.name, offset: offset}
		h.v.sawHead(next)
		h.v.rep.Heads++
		if got.size <= h.before.size {
			verdict := Altered
			if got.size == h.before.size && got != h.before {
				verdict = Fork
			}
			h.find(verdict, offset, fmt.Sprintf("a head of %d records stands after one of %d", got.size, h.before.size))
			continue
		}
		h.ahead = &next
	}
	return h.ahead, nil
}

func (h *history) take() {
	if h.checkpoint > 0 && h.checkpoint < h.before.size && h.ahead.head == h.final {
		h.v.rep.find(Finding{Verdict: Altered, Index: -1, File: h.checkpointFile, Detail: fmt.Sprintf(
			"the latest checkpoint is an old one, of %d records; heads of %d and %d were signed after it", h.checkpoint, h.before.size, h.ahead.size)})
	}
	h.before = h.ahead.head
	h.ahead = nil
}

func (h *history) find(v Verdict, offset int64, detail string) {
	h.v.rep.find(Finding{Verdict: v, Index: -1, File: h.name, Offset: offset, Detail: detail})
}

// checked is a record on its way through the verifier.
type checked struct {
	leaf   leaf
	stored []byte    // as it lies in the segment or a body file, then the plain body
	at     place     // of the entry
	body   place     // of what is stored
	from   *bodyFile // that has, or should have the body; nil if it is none
	moved  bool      // stored is from a body file
	held   bool      // from one that a hold kept

	hash   tlog.Hash
	intact bool        // the body is the one the leaf commits to
	err    error       // why it was not opened
	handle keys.Handle // of its key
	sum    uint64      // of the body
}

// maxRoom is how many records room is made for on the word of a head.
const maxRoom = 1 << 26

// The size of a batch, whose records are hashed on all cores.
const (
	batchRecords = 4096
	batchBytes   = 4 << 20
)

// frame takes the records of a frame.
func (v *verifier) frame(seg *segment, f *frame) error {
	if v.segment != seg.name {
		if err := v.flush(); err != nil {
			return err
		}
		if err := v.seal(seg); err != nil {
			return err
		}
	}
	v.read += frameHeader + int64(len(f.entries))
	switch {
	case f.offset == 0 && f.first != seg.first:
		if err := v.flush(); err != nil {
			return err
		}
		v.rep.find(Finding{Verdict: Altered, Index: f.first, File: seg.name,
			Detail: fmt.Sprintf("the file is named for record %d", seg.first)})
		fallthrough
	case f.first != v.due:
		if err := v.flush(); err != nil {
			return err
		}
		if f.first < v.due {
			v.rep.find(Finding{Verdict: Altered, Index: f.first, Count: int64(f.count), File: seg.name, Offset: f.offset,
				Detail: fmt.Sprintf("a frame says it begins with record %d where record %d is due: put in or numbered anew", f.first, v.due)})
			return nil
		}
		if f.first > v.due {
			v.rep.find(Finding{Verdict: Missing, Index: v.due, Count: f.first - v.due, File: seg.name, Offset: f.offset,
				Detail: fmt.Sprintf("the next frame begins with record %d", f.first)})
			v.rep.Verdicts[Missing] += f.first - v.due
			v.lost = true
			v.due = f.first
		}
	}
	if len(v.batch) > 0 && (len(v.batch)+f.count > batchRecords || len(v.arena)+len(v.bodies)+len(f.entries) > batchBytes) {
		if err := v.flush(); err != nil {
			return err
		}
	}
	// The frame's bytes are the reader's; a copy of the whole is cheaper than one
	// for each body.
	start := len(v.arena)
	v.arena = append(v.arena, f.entries...)
	kept := *f
	kept.entries = v.arena[start:len(v.arena):len(v.arena)]
	var err error
	kept.each(func(e entry) {
		if err != nil {
			return
		}
		at := place{index: v.due, file: seg.name, offset: e.offset, nanos: e.leaf.nanos()}
		c := checked{leaf: *e.leaf, stored: e.stored, at: at, body: at}
		if len(c.stored) == 0 {
			err = v.locate(&c)
		}
		if v.sealed != nil {
			if err == nil {
				err = v.count(&c)
			}
			v.index(&c)
		}
		v.batch = append(v.batch, c)
		v.due++
	})
	return err
}

// fault takes a stretch of a segment that is no sound frame.
func (v *verifier) fault(fl *fault) error {
	if err := v.flush(); err != nil {
		return err
	}
	if fl.torn && v.due >= max(v.top.size, v.hist.final.size) {
		v.rep.TornBytes = fl.size - fl.offset
		v.rep.find(Finding{Verdict: UnsignedTail, Index: -1, File: fl.seg.name, Offset: fl.offset, Detail: fmt.Sprintf(
			"%d bytes of a write cut short, of which no one was told that it had succeeded", v.rep.TornBytes)})
		return nil
	}
	found := Finding{Verdict: Altered, Index: v.due, File: fl.seg.name, Offset: fl.offset, Detail: fl.err.Error()}
	if fl.frame != nil {
		found.Count = int64(fl.frame.count)
	}
	if errors.Is(fl.err, errCutShort) && fl.torn {
		found.Verdict = Missing
	}
	v.rep.find(found)
	if fl.frame == nil {
		return nil // the number of the next frame will tell what is missing
	}
	// The records can be told apart although the frame is damaged: checking them
	// names the one that is. The number in its header may be what is damaged.
	fl.frame.first = v.due
	return v.frame(fl.seg, fl.frame)
}

// flush checks the batch: first what can be done for each record alone, on all
// cores, then in order what depends on the records before.
func (v *verifier) flush() error {
	var wg sync.WaitGroup
	workers := min(runtime.GOMAXPROCS(0), 1+len(v.batch)/64)
	size := (len(v.batch) + workers - 1) / workers
	for part := range slices.Chunk(v.batch, max(1, size)) {
		if workers == 1 {
			v.hash(part)
			continue
		}
		wg.Go(func() { v.hash(part) })
	}
	wg.Wait()
	for i := range v.batch {
		if err := v.accept(&v.batch[i]); err != nil {
			return err
		}
	}
	clear(v.batch) // lets go of body files
	v.batch = v.batch[:0]
	v.arena = v.arena[:0]
	v.bodies = v.bodies[:0]
	v.tell(v.read)
	return nil
}

func (v *verifier) hash(part []checked) {
	var h maphash.Hash
	h.SetSeed(v.seed)
	for i := range part {
		c := &part[i]
		c.hash = hashLeaf(&c.leaf)
		if !c.leaf.known() {
			continue
		}
		if c.leaf.encrypted() && len(c.stored) > 0 {
			split := splitStored
			if c.moved {
				split = splitMoved
			}
			p, ok := split(&c.leaf, c.stored)
			if !ok {
				c.err = errForged
				continue
			}
			c.handle = keys.Handle(p.handle)
			// In place: the bytes are the batch's own.
			var plain []byte
			if plain, c.err = c.leaf.decrypt(p, v.keys, p.text()[:0]); c.err != nil {
				continue
			}
			c.stored = plain
		}
		c.intact = c.leaf.commitsTo(c.stored)
		if c.intact {
			h.Reset()
			h.Write(c.stored[saltSize:])
			c.sum = h.Sum64()
		}
	}
}

// accept takes the next record in order.
func (v *verifier) accept(c *checked) error {
	rep := v.rep
	verdict, err := v.judge(c)
	if err != nil {
		return err
	}
	if rep.Records == 0 {
		rep.From = c.leaf.time()
	}
	if v.tree.n == v.mark.index {
		v.mark = c.at
	}
	rep.Records++
	rep.Kinds[c.leaf.kind().String()]++
	rep.To = c.leaf.time()

	if c.at.nanos < v.last {
		rep.find(c.at.finding(Altered, 1, "it was recorded before the record before it, %s", time.Unix(0, v.last).UTC().Format(time.RFC3339Nano)))
		verdict = Altered
	} else {
		v.last = c.at.nanos
	}
	if c.at.index == 0 && !v.checkGenesis(c) {
		verdict = Altered
	}
	v.pending[verdict]++
	if v.lost {
		return nil
	}
	if err := v.tree.add(c.hash); err != nil {
		return err
	}
	return v.compare(c.at)
}

// judge says what a record is by itself, and by those before it of the same id.
func (v *verifier) judge(c *checked) (Verdict, error) {
	verdict := Sound
	switch {
	case !c.leaf.known():
		// The signed tree says whether this is a later version's record or a
		// changed one.
		v.rep.Unopened++
		return NotOpened, nil
	case len(c.stored) == 0:
		verdict = v.absent(c)
	case unopened(c.err):
		verdict = v.closed(c)
		if verdict == NotOpened {
			v.rep.Closed++
		}
	case errors.Is(c.err, errForged):
		v.rep.find(c.body.finding(Altered, 1, "its body cannot be opened: %v", c.err))
		return Altered, nil
	case c.err != nil:
		return "", fmt.Errorf("%s offset %d: %w", c.body.file, c.body.offset, c.err)
	case !c.intact:
		v.rep.find(c.body.finding(Altered, 1, "its body is not the one its leaf commits to"))
		return Altered, nil
	}
	if c.intact {
		if by, erased := v.fates.keys[c.handle]; erased && c.leaf.encrypted() {
			v.undone[by]++
		}
	}
	if c.held && (verdict == Sound || verdict == NotOpened) {
		verdict = Held
	}
	if c.from != nil && unopened(c.err) && verdict != Missing && verdict != Altered {
		c.from.unread[verdict]++
	}
	again := v.identify(c)
	if again != "" && (again.Alarm() || verdict == Sound || verdict == NotOpened) {
		verdict = again
	}
	if c.intact {
		v.interpret(c)
	}
	return verdict, nil
}

// count notes for the body file of a record that it is one of those it belongs to.
func (v *verifier) count(c *checked) error {
	f := c.from
	if f == nil {
		if f = v.sealed.fileOf(&c.leaf); f == nil {
			return nil
		}
		v.sealed.raw = true
		if err := v.pass(f, c); err != nil {
			return err
		}
	}
	if f.records++; f.records == 1 {
		f.first = c.at
	}
	return nil
}

// index holds the record against the index of its segment.
func (v *verifier) index(c *checked) {
	body := int64(0)
	switch {
	case c.moved && !c.held:
		body = c.body.offset
	case c.from != nil:
		body = -1
	}
	v.sealed.index.add(&c.leaf, c.at.offset, body)
}

// recount changes the verdict of so many records.
func (v *verifier) recount(from, to Verdict, n int64) {
	for _, counts := range []map[Verdict]int64{v.pending, v.doubt, v.rep.Verdicts} {
		if m := min(n, counts[from]); m > 0 {
			counts[from] -= m
			counts[to] += m
			n -= m
		}
	}
}

// settle adds verdicts up that nothing can change any more.
func (v *verifier) settle(counts map[Verdict]int64) {
	for verdict, n := range counts {
		if n > 0 {
			v.rep.Verdicts[verdict] += n
		}
	}
	clear(counts)
}

// weigh finds out how much there is to read.
func (v *verifier) weigh(segs []segment) {
	v.total = v.rep.Bytes
	for _, s := range segs {
		if x := v.fates.seals[filepath.ToSlash(s.name)]; x != nil {
			for _, b := range x.Bodies {
				v.total += b.Bytes
			}
		}
	}
}

// tell says how far the work is.
func (v *verifier) tell(read int64) {
	if v.progress != nil {
		v.progress(v.rep.Records, read, v.total)
	}
}

// checkGenesis reports whether the first record is that of this log.
func (v *verifier) checkGenesis(c *checked) bool {
	g, err := readGenesis(entry{leaf: &c.leaf, stored: c.stored})
	switch {
	case err != nil:
		v.rep.find(c.at.finding(Altered, 1, "%v", err))
	case g.Origin != v.rep.Origin:
		v.rep.find(c.at.finding(Altered, 1, "it names another log, %s", g.Origin))
	case g.VerifierKey != v.rep.VerifierKey:
		v.rep.find(c.at.finding(Altered, 1, "it names another verifier key, %s", g.VerifierKey))
	default:
		return true
	}
	return false
}

// identify looks for an earlier record of the same id, and returns the verdict on one
// that comes again.
func (v *verifier) identify(c *checked) Verdict {
	id := c.leaf.id()
	now := sighting{c.leaf.facts(), c.sum, c.at.index}
	if c.intact {
		now.facts |= opened
	}
	before, again := v.seen[id]
	if !again {
		v.seen[id] = now
		switch c.leaf.kind() {
		case KindHit, KindPush:
			v.judged++
		case KindDeadLetter:
			v.dead++
		}
		return ""
	}
	v.rep.Replayed++
	switch {
	case !before.differ(&now) && before.facts&now.facts&opened == 0:
		v.rep.find(c.at.finding(Replayed, 1, "it has the id of record %d; their bodies were not compared", before.index))
		return Replayed
	case !before.differ(&now):
		v.rep.find(c.at.finding(Replayed, 1, "it repeats record %d", before.index))
		return Replayed
	case c.leaf.kind().redecided():
		v.rep.find(c.at.finding(Redecided, 1, "the push of record %d was decided again", before.index))
		return Redecided
	}
	v.rep.find(c.at.finding(Conflict, 1, "it has the id of record %d and says something else", before.index))
	return Conflict
}

// interpret reads the records that are about offsets.
func (v *verifier) interpret(c *checked) {
	if c.leaf.encoding() != EncodingJSON {
		return
	}
	body := c.stored[saltSize:]
	switch c.leaf.kind() {
	case KindCoverage:
		var b CoverageBody
		if err := json.Unmarshal(body, &b); err != nil {
			v.rep.find(c.at.finding(BadCoverage, 1, "its body cannot be read"))
			return
		}
		for i := range b.Ranges {
			r := &b.Ranges[i]
			if err := r.Check(); err != nil {
				v.rep.find(c.at.finding(BadCoverage, 1, "%v", err))
				if r.First < 0 || r.Next < r.First {
					continue
				}
			}
			if known := v.coverage.judge(r, c.at); known > 0 {
				v.rep.find(c.at.finding(Replayed, 1, "%d offsets of %s/%d, %d to %d, were accounted for before",
					known, r.Topic, r.Partition, r.First, r.Next))
			}
		}
	case KindGap:
		var b GapBody
		if err := json.Unmarshal(body, &b); err != nil || b.Topic == "" || b.First < 0 || b.First > b.Next {
			v.rep.find(c.at.finding(BadCoverage, 1, "its body cannot be read"))
			return
		}
		v.coverage.explain(b.Topic, b.Partition, b.First, b.Next)
	}
}

// compare holds the tree, which has just grown by the record at, against every
// head of its size.
func (v *verifier) compare(at place) error {
	if s := v.sealed; s != nil && s.Next == v.tree.n {
		root, err := v.tree.root()
		if err != nil {
			return err
		}
		if root.String() != s.Root {
			v.rep.find(at.finding(Altered, 1, "record %s seals the segment that ends here with another root", s.by))
		}
	}
	for len(v.heads) > 0 && v.heads[0].size == v.tree.n {
		if err := v.agree(&v.heads[0], at); err != nil {
			return err
		}
		v.heads = v.heads[1:]
	}
	for {
		h, err := v.hist.peek()
		if err != nil || h == nil || h.size != v.tree.n {
			return err
		}
		if err := v.agree(h, at); err != nil {
			return err
		}
		v.hist.take()
	}
}

func (v *verifier) agree(h *namedHead, at place) error {
	root, err := v.tree.root()
	if err != nil {
		return err
	}
	if root != h.root {
		if v.rep.Signed == h.size {
			v.rep.find(Finding{Verdict: Fork, Index: -1, File: h.file, Offset: h.offset, Detail: fmt.Sprintf(
				"the head of %d records was signed with another root than the records have, which another head of %d signs", h.size, h.size)})
			return nil
		}
		if v.bad == nil {
			v.bad = &badHead{*h, v.mark}
			v.doubt, v.pending = v.pending, make(map[Verdict]int64)
		}
		return nil
	}
	if v.bad != nil {
		// A later head signs records that this one contradicts: both are the
		// log's own words.
		b := v.bad
		v.bad = nil
		v.rep.find(Finding{Verdict: Fork, Index: -1, File: b.file, Offset: b.offset, Detail: fmt.Sprintf(
			"the head of %d records was signed with another root than the records have, which the head of %d signs", b.size, h.size)})
	}
	if h.size >= v.rep.Signed {
		v.rep.Signed = h.size
		v.rep.Root = h.root.String()
		v.rep.HeadTime = time.Unix(0, at.nanos).UTC()
		v.mark = place{index: h.size}
	}
	v.settle(v.doubt)
	v.settle(v.pending)
	if h.vouched != nil {
		v.vouched.Met(h.vouched)
	}
	return nil
}

// finish says what the whole log means for the signed heads.
func (v *verifier) finish() error {
	if v.bad != nil {
		f := v.bad.from.finding(Altered, v.bad.size-v.bad.from.index, "these are not the records that were signed: the head of %d records (%s offset %d) has another root",
			v.bad.size, v.bad.file, v.bad.offset)
		v.rep.find(f)
		for _, n := range v.doubt {
			v.rep.Verdicts[Altered] += n
		}
	}
	// Heads beyond the records: the largest tells how many are gone.
	var beyond *namedHead
	if n := len(v.heads); n > 0 {
		beyond = &v.heads[n-1]
	}
	for {
		h, err := v.hist.peek()
		if err != nil {
			return err
		}
		if h == nil {
			break
		}
		if beyond == nil || h.size > beyond.size {
			beyond = &namedHead{head: h.head, file: h.file, offset: h.offset}
		}
		v.hist.take()
	}
	if beyond != nil && beyond.size > v.due {
		v.rep.find(Finding{Verdict: Missing, Index: v.due, Count: beyond.size - v.due, File: beyond.file, Offset: beyond.offset,
			Detail: fmt.Sprintf("%d records are signed, %d are here", beyond.size, v.due)})
		v.rep.Verdicts[Missing] += beyond.size - v.due
	}
	if v.rep.Records > 1 && v.top.size == 0 {
		v.rep.find(Finding{Verdict: Missing, Index: -1, Detail: "no signed head is left"})
	}
	if v.rep.Unsigned = max(0, v.due-v.top.size); v.rep.Unsigned > 0 {
		v.rep.find(Finding{Verdict: UnsignedTail, Index: v.top.size, Count: v.rep.Unsigned, Time: v.rep.To,
			Detail: fmt.Sprintf("no checkpoint covers them yet; the last one is of %d records", v.top.size)})
		if !v.lost && v.bad == nil {
			// What is pending came after the last head.
			for _, verdict := range []Verdict{Sound, NotOpened} {
				v.recount(verdict, UnsignedTail, v.pending[verdict])
			}
		}
	}
	v.settle(v.pending)
	for _, f := range v.keyFiles {
		if f.records == 0 {
			continue
		}
		found := f.first.finding(Missing, 1, "the key file is gone with the keys of %s%s", plural(f.records, "record", "records"), f.why)
		found.File, found.Offset = f.name, 0
		v.rep.find(found)
	}
	for by, n := range v.erased {
		v.rep.find(Finding{Verdict: Erased, Index: -1, Detail: fmt.Sprintf("%s, see %s", plural(n, "record", "records"), by)})
	}
	for by, n := range v.undone {
		v.rep.find(Finding{Verdict: Unfinished, Index: -1, Detail: fmt.Sprintf(
			"record %s says that the key of %s is gone, and it is here", by, plural(n, "record", "records"))})
	}
	return nil
}

// readPeer takes from another instance's log what it accounts for.
func (v *verifier) readPeer(dir string) error {
	gens, err := generations(dir)
	if err != nil {
		return err
	}
	for _, g := range gens {
		err := walkGeneration(dir, g, nil, func(e Entry) error {
			a, err := readAccount(&e)
			if err != nil {
				return nil // it explains nothing; verifying the peer says so
			}
			for _, r := range a.Ranges {
				v.coverage.explain(r.Topic, r.Partition, r.First, r.Next)
			}
			v.coverage.explain(a.Topic, a.Partition, a.First, a.Next)
			return nil
		})
		if err != nil {
			return fmt.Errorf("peer %s: %w", dir, err)
		}
	}
	return nil
}

// finishCoverage draws up the ledger and looks for what is not in it.
func (v *verifier) finishCoverage() {
	parts, holes := v.coverage.list()
	v.rep.Partitions = parts
	for i := range parts {
		p := &parts[i]
		v.rep.Ledger.add(&CoverageRange{Fetched: p.Fetched, Passed: p.Passed, Flagged: p.Flagged, DeadLettered: p.DeadLettered, Skipped: p.Skipped})
	}
	for _, h := range holes {
		v.rep.find(h.at.finding(CoverageHole, 1, "nobody accounts for the %d offsets of %s/%d before it, %d to %d",
			h.next-h.first, h.topic, h.partition, h.first, h.next))
	}
	// Every message in these counts has its own record in this log, written
	// before the account was.
	sum := v.coverage.certain()
	if sum.Flagged > v.judged {
		v.rep.find(Finding{Verdict: Missing, Index: -1, Detail: fmt.Sprintf(
			"coverage accounts for %d flagged messages, the log holds %d hit and push records", sum.Flagged, v.judged)})
	}
	if sum.DeadLettered > v.dead {
		v.rep.find(Finding{Verdict: Missing, Index: -1, Detail: fmt.Sprintf(
			"coverage accounts for %d dead letters, the log holds %d", sum.DeadLettered, v.dead)})
	}
}

package evidence

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/mod/sumdb/tlog"

	"github.com/weir-moderation/weir/internal/disk"
	"github.com/weir-moderation/weir/sinks/evidence/keys"
)

// Errors that callers may want to tell apart.
var (
	// ErrBroken means that writing failed. Nothing more is accepted until the log
	// is opened again, which finds out what is really on the disk.
	ErrBroken = errors.New("evidence log is broken until restart")
	// ErrClosed means that Close was called.
	ErrClosed = errors.New("evidence log is closed")
	// ErrLocked means that another process, or another Log of this one, writes to
	// the directory.
	ErrLocked = errors.New("another writer holds the log")
	// ErrTooLarge means that a record's body is over MaxBodyBytes. It will never be accepted.
	ErrTooLarge = errors.New("evidence record is too large")
	// ErrTampered means that what is on the disk is not what was signed.
	ErrTampered = errors.New("evidence log is not what was signed")
)

// Options says which log to open and how. Dir and Origin are required.
type Options struct {
	Dir     string
	KeyFile string // empty: log.<generation>.key in Dir
	// Origin names this log among all logs, for ever:
	// <name>/evidence/<instance>/<generation>. It is the first line of every
	// checkpoint and the name of the key; its last part is the log's directory.
	Origin string

	// Store is where the log is durable if Dir is only a working copy of it, which
	// [WorkingCopy] has made. nil: Dir is what is durable. It is not closed with the log.
	Store Store

	// Keys encrypts bodies that are about people, as [Class] says. Nil: nothing is
	// encrypted. It is not closed with the log.
	Keys *keys.Ring

	CheckpointEvery time.Duration // 0: one second
	// A segment is full above so many bytes or records.
	SegmentBytes   int64 // 0: 1 GiB
	SegmentRecords int64 // 0: 131,072

	// Seal has Run seal full segments: their bodies are moved to files by class and
	// day, so that they can be destroyed, and indexed. A segment with such bodies is
	// ended after SealAfter even if it is not full; 0 means never.
	Seal      bool
	SealAfter time.Duration
	// TermsOf returns what the record with this body was given to be looked up by. With
	// it and Keys, Run makes indexes again that are not there, and those a scrub found
	// damaged. nil: nobody does.
	TermsOf func(kind Kind, encoding uint8, body []byte) ([]Term, error)
	// ScrubEvery has Run read everything again so often; 0 means never.
	ScrubEvery time.Duration
	// BallastBytes is room on the disk that is given up when it is full. Without it,
	// 0, a full disk may leave no room to open the log, or to destroy something.
	BallastBytes int64
	// Forgotten reports whether the key of this handle was destroyed because a person
	// was erased: records that are sealed then get no index terms. nil: ask Keys.
	Forgotten func(c Class, handle []byte) bool

	Now        func() time.Time      // nil: time.Now
	Registerer prometheus.Registerer // nil: metrics are registered nowhere
	Logger     *slog.Logger          // nil: silent

	// Published are checkpoints of this log that others hold: of a topic, of a witness.
	// Open refuses a log that does not agree with every one of them, and does so
	// before it begins a log or writes anything to one.
	Published [][]byte
	// Previous, if not nil, is asked by a log that begins what its first record says
	// of the log before it; nil for nothing.
	Previous func() (*Previous, error)

	// OnCheckpoint is given every signed checkpoint once it is on the disk, and
	// after a start the latest one again. It may keep the next checkpoint waiting,
	// but never an Append.
	OnCheckpoint func(checkpoint []byte)

	calls *calls // tests
}

// Log is an open evidence log. Its methods may be called from many goroutines.
type Log struct {
	o          Options
	calls      *calls
	keyCalls   *calls // those of the signing key, which is durable also beside a working copy
	log        *slog.Logger
	m          *metrics
	key        *key
	dir        string // log/<generation> within o.Dir
	generation string
	lock       *os.File

	rooms sync.Pool // of *[]byte: where records lie until they are written

	// mu guards the queue and whether anything may still be appended.
	mu      sync.Mutex
	queue   []*request // not empty only while someone leads
	leading bool
	idle    *sync.Cond    // signalled when leading ends
	broken  error         // set once, never cleared
	dead    chan struct{} // closed when broken is set
	closed  bool

	scarce atomic.Bool // the disk is nearly full

	// Only the leader touches these; leadership is handed over under mu.
	buf    []byte
	hashes []tlog.Hash
	last   int64 // recorded_at of the last record
	behind bool  // the clock is behind last; said once

	// stateMu guards what is durable.
	stateMu sync.Mutex
	tree    tree
	upper   upper
	seg     *os.File // the active segment
	segAt   segment
	segSize int64
	older   int64 // bytes in the segments before the active one

	// Also guarded by stateMu: what is to be sealed.
	segStart tree  // the tree before the active segment
	movable  int64 // recorded_at of the first record in it whose body sealing moves; 0 if there is none
	unsealed []*unsealed

	sealMu      sync.Mutex // held by who seals
	endSegment  atomic.Bool
	segmentFull chan struct{}   // has room for one signal
	halfSealed  []*unsealed     // during Open
	destroyed   map[string]bool // body files that destroy records named at the start
	scrubMu     sync.Mutex      // held by who scrubs
	damages     map[ID]bool     // what is on record as damaged; under stateMu

	// signMu is held by who signs.
	signMu    sync.Mutex
	history   *os.File
	histSize  int64
	signed    head
	latest    []byte // the checkpoint of signed
	published bool   // latest was given to OnCheckpoint since the start
	released  bool   // files are closed

	writing atomic.Int64 // when the write in hand began, Unix time in ns; 0 while there is none
}

// Open opens the log of o.Origin in o.Dir, or begins it. It recovers from a
// crash, and refuses with [ErrTampered] where what it finds cannot come from one.
//
// Opening reads all segments, at about the speed of the disk; of those that are
// sealed that is little more than the leaves.
func Open(o Options) (*Log, error) {
	generation, err := checkOrigin(o.Origin)
	if err != nil {
		return nil, err
	}
	if o.Dir == "" {
		return nil, errors.New("evidence directory: none given; name the directory that holds the log")
	}
	if o.KeyFile == "" {
		o.KeyFile = filepath.Join(o.Dir, defaultKeyFile(generation))
	}
	if o.CheckpointEvery == 0 {
		o.CheckpointEvery = defaultCheckpointEvery
	}
	if o.SegmentBytes == 0 {
		o.SegmentBytes = defaultSegmentBytes
	}
	if o.Forgotten == nil && o.Keys != nil {
		o.Forgotten = func(c Class, handle []byte) bool { return o.Keys.Erased(c.String(), keys.Handle(handle)) }
	}
	if o.SegmentRecords == 0 {
		o.SegmentRecords = defaultSegmentRecords
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	if o.Logger == nil {
		o.Logger = slog.New(slog.DiscardHandler)
	}
	if o.calls == nil {
		o.calls = systemCalls()
	}
	keyCalls := o.calls
	if o.Store != nil {
		o.calls, o.BallastBytes = volatile(o.calls), 0
	}
	l := &Log{
		o: o, keyCalls: keyCalls, calls: o.calls, log: o.Logger,
		dir: filepath.Join(o.Dir, logsDir, generation), generation: generation,
		dead: make(chan struct{}), segmentFull: make(chan struct{}, 1),
	}
	l.idle = sync.NewCond(&l.mu)
	l.tree.upper = &l.upper
	if err := l.open(); err != nil {
		if isFull(err) && l.lock != nil {
			err = errors.Join(err, l.releaseBallast()) // so that the next start has room
		}
		return nil, errors.Join(fmt.Errorf("open evidence log %s: %w", l.dir, err), l.release())
	}
	l.m = newMetrics(o.Registerer, l)
	l.m.lastCheckpoint.Set(float64(l.signedAt().UnixNano()) / 1e9)
	return l, nil
}

// CheckBegin refuses what [Open] would refuse before it has read a record, and touches
// nothing: a log that was published and of which nothing is here, or whose key is another's,
// not to be read, or gone. It is for who has more to make beside the log.
func CheckBegin(o Options) error {
	generation, err := checkOrigin(o.Origin)
	if err != nil {
		return err
	}
	l := &Log{o: o, calls: systemCalls(), dir: filepath.Join(o.Dir, logsDir, generation)}
	if l.o.KeyFile == "" {
		l.o.KeyFile = filepath.Join(o.Dir, defaultKeyFile(generation))
	}
	if err := l.checkBegin(generation); err != nil {
		return fmt.Errorf("open evidence log %s: %w", l.dir, err)
	}
	return nil
}

func (l *Log) checkBegin(generation string) error {
	segs, err := segments(l.dir, generation)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	isNew, err := l.isNew(segs)
	if err != nil {
		return err
	}
	if isNew && len(l.o.Published) > 0 {
		return refusePublished("ROLLED BACK: %s, and none of its records are here", largest(l.o.Published))
	}
	if _, err := os.Stat(l.o.KeyFile); isNew && errors.Is(err, fs.ErrNotExist) {
		return nil // it is made
	}
	_, err = loadKey(l.calls, l.o.KeyFile, l.o.Origin, false)
	return err
}

// open is Open without the defaults.
func (l *Log) open() error {
	if err := makeDirs(l.calls, l.o.Dir, l.dir); err != nil {
		return err
	}
	var err error
	if l.lock, err = disk.Lock(l.dir); err != nil {
		if errors.Is(err, disk.ErrLocked) {
			return fmt.Errorf("%w; stop it, or give this instance a directory of its own", ErrLocked)
		}
		return err
	}
	if err := l.checkCopy(); err != nil {
		return err
	}
	if err := l.watchDisk(); err != nil {
		return err
	}
	segs, err := segments(l.dir, l.generation)
	if err != nil {
		return err
	}
	isNew, err := l.isNew(segs)
	if err != nil {
		return err
	}
	if isNew && len(l.o.Published) > 0 {
		return refusePublished("ROLLED BACK: %s, and none of its records are here", largest(l.o.Published))
	}
	if l.key, err = loadKey(l.keyCalls, l.o.KeyFile, l.o.Origin, isNew); err != nil {
		return err
	}
	if l.key.created {
		l.log.Warn("created the key that signs the evidence log; keep a copy in a safe place, and give the verifier key to who checks the log",
			"file", l.o.KeyFile, "verifier_key", l.key.public)
	}
	if err := l.readHeads(); err != nil {
		return err
	}
	if err := l.recover(segs); err != nil {
		return err
	}
	if err := l.checkStored(); err != nil {
		return err
	}
	if l.tree.n == 0 {
		if err := l.begin(); err != nil {
			return err
		}
	}
	if l.signed.size == 0 {
		// Before anything else may be appended the genesis record is signed, so a
		// log of more than one record always has a checkpoint, and one without was
		// tampered with. If the process dies before, the next start comes here again.
		if err := l.checkpoint(); err != nil {
			return err
		}
	}
	if err := l.finishSeals(); err != nil {
		return err
	}
	return l.writeVerifierKey()
}

// Origin returns the log's name.
func (l *Log) Origin() string { return l.o.Origin }

// VerifierKey returns the key that checks the log's signatures.
func (l *Log) VerifierKey() string { return l.key.public }

// Size returns how many records are durable.
func (l *Log) Size() int64 {
	l.stateMu.Lock()
	defer l.stateMu.Unlock()
	return l.tree.n
}

// Err returns why the log is broken, or nil while it is not.
func (l *Log) Err() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.broken
}

// Run signs a checkpoint at every interval in which something was appended, and
// seals full segments and scrubs beside that if the options say so, until ctx
// ends; then it returns nil. It returns an error as soon as the log is broken.
func (l *Log) Run(ctx context.Context) error {
	beside, stop := context.WithCancel(ctx)
	var others sync.WaitGroup
	defer others.Wait()
	defer stop()
	if l.o.Seal {
		others.Go(func() { l.sealLoop(beside) })
	}
	if l.o.ScrubEvery > 0 {
		others.Go(func() { l.scrubLoop(beside) })
	}
	t := time.NewTicker(l.o.CheckpointEvery)
	defer t.Stop()
	unwatched := false // said once
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-l.dead:
			return l.Err()
		case <-t.C:
			if err := l.checkpoint(); err != nil {
				return err
			}
			if err := l.watchDisk(); err != nil && !unwatched {
				unwatched = true
				l.log.Error("the room on the disk of the evidence log cannot be watched", "err", err)
			}
		}
	}
}

// Close waits for the appends in progress, signs what is not yet signed, and
// lets the directory go. Appends after it fail with [ErrClosed]. Call it after
// Run has returned. A broken log is not signed any more; Close then says so.
func (l *Log) Close() error {
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return nil
	}
	l.closed = true
	for l.leading {
		l.idle.Wait()
	}
	l.mu.Unlock()
	// Who is sealing cannot append any more; what is past that comes to its end.
	l.sealMu.Lock()
	defer l.sealMu.Unlock()
	err := l.checkpoint()
	if err != nil {
		err = fmt.Errorf("close evidence log: %w", err)
	}
	l.m.unregister()
	return errors.Join(err, l.release())
}

// release closes the files. The lock goes last.
func (l *Log) release() error {
	l.signMu.Lock()
	defer l.signMu.Unlock()
	l.released = true
	var errs []error
	for _, f := range []*os.File{l.seg, l.history, l.lock} {
		if f != nil {
			errs = append(errs, f.Close())
		}
	}
	return errors.Join(errs...)
}

// kill marks the log broken. Whoever leads finds out after the write in hand and
// fails what is queued.
func (l *Log) kill(cause error) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.killLocked(cause)
}

func (l *Log) killLocked(cause error) error {
	if l.broken == nil {
		l.broken = fmt.Errorf("%w: %w", ErrBroken, cause)
		close(l.dead)
		if isFull(cause) {
			// So that the next start has room.
			if err := l.releaseBallast(); err != nil {
				l.log.Error("the disk is full, and the ballast stays", "err", err)
			}
		}
		l.log.Error("the evidence log is broken: nothing is accepted until restart", "err", cause)
	}
	return l.broken
}

// checkpoint signs the log as far as it is durable.
//
// The order is: history, then the checkpoint file, then whoever listens. If the
// process dies after the first, the next start finds the head in the history and
// finishes the work; a head that others may have seen is always in the history.
func (l *Log) checkpoint() error {
	l.signMu.Lock()
	defer l.signMu.Unlock()
	if err := l.Err(); err != nil {
		return err
	}
	if l.released {
		return nil
	}
	if err := l.inPlace(); err != nil {
		return l.kill(err)
	}
	l.stateMu.Lock()
	n := l.tree.n
	root, err := l.tree.root()
	l.stateMu.Unlock()
	if err != nil {
		return l.kill(err)
	}
	if n == l.signed.size {
		l.publish()
		return nil
	}
	h := head{n, root}
	msg, err := h.sign(l.key)
	if err != nil {
		return l.kill(fmt.Errorf("sign checkpoint: %w", err))
	}
	if l.o.Store != nil {
		if err := l.o.Store.AppendHead(n, msg); err != nil {
			return l.kill(fmt.Errorf("store checkpoint: %w", err))
		}
	}
	// If the process dies in this write, the part of it that is found at the next
	// start is cut off.
	line := append(append([]byte(nil), msg...), '\n')
	err = l.calls.write(l.history, line, l.histSize)
	if err == nil {
		err = l.calls.datasync(l.history)
	}
	if err != nil {
		return l.kill(fmt.Errorf("write %s: %w", historyFile, err))
	}
	l.histSize += int64(len(line))
	if err := writeFile(l.calls, filepath.Join(l.dir, checkpointFile), msg, 0o600); err != nil {
		return l.kill(fmt.Errorf("write %s: %w", checkpointFile, err))
	}
	l.setSigned(h)
	l.latest, l.published = msg, false
	if l.m != nil {
		l.m.lastCheckpoint.SetToCurrentTime()
	}
	l.publish()
	return nil
}

func (l *Log) publish() {
	if !l.published && l.o.OnCheckpoint != nil && l.latest != nil {
		l.o.OnCheckpoint(append([]byte(nil), l.latest...))
	}
	l.published = true
}

// setSigned notes the head under stateMu as well, where the metrics read it.
func (l *Log) setSigned(h head) {
	l.stateMu.Lock()
	defer l.stateMu.Unlock()
	l.signed = h
}

// signedAt returns when the checkpoint file was last written.
func (l *Log) signedAt() time.Time {
	fi, err := os.Stat(filepath.Join(l.dir, checkpointFile))
	if err != nil {
		return time.Unix(0, 0)
	}
	return fi.ModTime()
}

// inPlace checks that the open files are still those that the directory shows,
// and no shorter than what was written. Without it a log whose directory was
// deleted, moved or restored underneath would go on acknowledging records into
// files that nobody can find.
func (l *Log) inPlace() error {
	// Under stateMu, or the segment could be closed for a new one meanwhile.
	l.stateMu.Lock()
	err := sameFile(l.seg, l.segAt.path, l.segSize)
	l.stateMu.Unlock()
	if err != nil {
		return err
	}
	if err := sameFile(l.history, filepath.Join(l.dir, historyFile), l.histSize); err != nil {
		return err
	}
	return sameFile(l.lock, l.dir, 0)
}

// sameFile checks that path still names f, and that f has size bytes at least.
func sameFile(f *os.File, path string, size int64) error {
	ours, err := f.Stat()
	if err != nil {
		return err
	}
	shown, err := os.Stat(path)
	if err != nil {
		return fmt.Errorf("deleted or moved while it was written: %w", err)
	}
	if !os.SameFile(ours, shown) {
		return fmt.Errorf("%s was replaced while it was written", path)
	}
	if ours.Size() < size {
		return fmt.Errorf("%s was cut from %d to %d bytes while it was written", path, size, ours.Size())
	}
	return nil
}

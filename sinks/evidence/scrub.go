package evidence

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/mod/sumdb/tlog"

	"github.com/weir-moderation/weir/internal/disk"
)

// DamagedBody is the body of a [KindDamaged] record: something on the disk was
// found not to be what was written. It explains nothing away: the verifier finds
// the same.
type DamagedBody struct {
	File   string `json:"file"`  // relative to the evidence directory
	Index  int64  `json:"index"` // the first record it is about; -1 if it is about none
	Offset int64  `json:"offset"`
	Detail string `json:"detail"`
}

// GivenUp is what a damaged record says beside that of a key that cannot be read and
// that somebody has given up: package desk writes it.
type GivenUp struct {
	Handles    []string `json:"handles"` // of the key, or of those of which it is one
	Records    int64    `json:"records"` // that are encrypted with them
	Reason     string   `json:"reason"`
	By         string   `json:"by"`
	ApprovedBy string   `json:"approved_by"`
}

// ScrubReport is what [Log.Scrub] read and found.
type ScrubReport struct {
	Segments  int
	BodyFiles int
	Bytes     int64 // read from the disk
	Damaged   []DamagedBody
}

// reportDamage puts damage on record, unless it is already.
func (l *Log) reportDamage(ctx context.Context, d DamagedBody) error {
	l.m.damaged.Inc()
	l.log.Error("the evidence on the disk is not what was written", "file", d.File, "record", d.Index, "offset", d.Offset, "detail", d.Detail)
	b, err := json.Marshal(d)
	if err != nil {
		return err
	}
	sum := sha256.Sum256(fmt.Appendf(nil, "ev1 damaged\n%s\n%s", l.o.Origin, b))
	id := ID(sum[:len(ID{})])
	l.stateMu.Lock()
	known := l.damages[id]
	l.stateMu.Unlock()
	if known {
		return nil
	}
	if err := l.Append(ctx, []Record{{ID: id, Kind: KindDamaged, Class: ClassAudit, Body: b}}); err != nil {
		return err
	}
	l.stateMu.Lock()
	defer l.stateMu.Unlock()
	if l.damages == nil {
		l.damages = make(map[ID]bool)
	}
	l.damages[id] = true
	return nil
}

// scrubRate is how many bytes a second the scrub in the background reads: a
// terabyte in nine hours, and a small part of one core.
const scrubRate = 32 << 20

// scrubFile has the time of the last scrub, so that a daemon which is restarted
// often is scrubbed all the same. It is of no other use.
const scrubFile = "scrubbed"

// scrubLoop scrubs whenever it is time, until ctx ends or the log breaks.
func (l *Log) scrubLoop(ctx context.Context) {
	for {
		wait, err := l.untilScrub()
		if err == nil {
			t := time.NewTimer(wait)
			select {
			case <-ctx.Done():
				t.Stop()
				return
			case <-l.dead:
				t.Stop()
				return
			case <-t.C:
			}
			var rep ScrubReport
			if rep, err = l.scrub(ctx, scrubRate); err == nil {
				l.log.Info("read all evidence again", "segments", rep.Segments, "body_files", rep.BodyFiles, "bytes", rep.Bytes, "damaged", len(rep.Damaged))
				l.mendIndexes(ctx, true)
				err = l.scrubbed()
			}
		}
		if err != nil {
			if ctx.Err() == nil && !errors.Is(err, ErrBroken) && !errors.Is(err, ErrClosed) {
				l.log.Error("reading the evidence again did not come to its end", "err", err)
			}
			select {
			case <-ctx.Done():
				return
			case <-l.dead:
				return
			case <-time.After(sealRetry):
			}
		}
	}
}

// untilScrub is how long the next scrub can wait.
func (l *Log) untilScrub() (time.Duration, error) {
	b, err := os.ReadFile(filepath.Join(l.dir, scrubFile))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return 0, err
	}
	last, perr := time.Parse(time.RFC3339, strings.TrimSpace(string(b)))
	if perr != nil {
		// Never, or a crash left half a line: count from now on.
		if err := l.scrubbed(); err != nil {
			return 0, err
		}
		last = l.o.Now()
	}
	l.m.lastScrub.Set(float64(last.Unix()))
	return min(l.o.ScrubEvery, max(0, last.Add(l.o.ScrubEvery).Sub(l.o.Now()))), nil
}

func (l *Log) scrubbed() error {
	return writeFile(l.calls, filepath.Join(l.dir, scrubFile), []byte(l.o.Now().UTC().Format(time.RFC3339)+"\n"), 0o600)
}

// Scrub reads everything that was written once more: the checksums of all frames,
// all leaves against the tree, sealed segments and body files against the SHA-256
// in their seals, indexes against their checksums. What is damaged becomes a
// [KindDamaged] record. The error means that it did not come to its end.
//
// Bodies that are encrypted and not sealed yet are checked by checksum only.
func (l *Log) Scrub(ctx context.Context) (ScrubReport, error) {
	rep, err := l.scrub(ctx, 0)
	if err != nil {
		err = fmt.Errorf("scrub evidence: %w", err)
	}
	return rep, err
}

// scrub reads so many bytes a second, or as many as it can if rate is 0.
func (l *Log) scrub(ctx context.Context, rate int64) (ScrubReport, error) {
	l.scrubMu.Lock()
	defer l.scrubMu.Unlock()
	s := newScrubbing(ctx, l, rate)
	err := s.run()
	for _, d := range s.rep.Damaged {
		if err == nil {
			err = l.reportDamage(ctx, d)
		}
	}
	return s.rep, err
}

// scrubbing is one scrub.
type scrubbing struct {
	l     *Log
	ctx   context.Context //nolint:containedctx // of one call
	rate  int64
	began time.Time
	rep   ScrubReport

	end      int64 // records that were durable when it began
	tree     tree
	lost     bool // the tree cannot be continued: damage is before
	roots    map[int64]tlog.Hash
	stripped map[int64]bool // segments, by first record
	found    sealScan       // seals and destroy records
}

func newScrubbing(ctx context.Context, l *Log, rate int64) *scrubbing {
	return &scrubbing{l: l, ctx: ctx, rate: rate, began: time.Now(), roots: make(map[int64]tlog.Hash), stripped: make(map[int64]bool)}
}

func (s *scrubbing) find(file string, index, offset int64, format string, args ...any) {
	s.rep.Damaged = append(s.rep.Damaged, DamagedBody{File: filepath.ToSlash(file), Index: index, Offset: offset, Detail: fmt.Sprintf(format, args...)})
}

// pace waits until so many more bytes may be read.
func (s *scrubbing) pace(n int64) error {
	s.rep.Bytes += n
	if s.rate > 0 {
		if ahead := time.Duration(float64(s.rep.Bytes)/float64(s.rate)*float64(time.Second)) - time.Since(s.began); ahead > 10*time.Millisecond {
			t := time.NewTimer(ahead)
			defer t.Stop()
			select {
			case <-s.ctx.Done():
			case <-t.C:
			}
		}
	}
	return s.ctx.Err()
}

func (s *scrubbing) run() error {
	l := s.l
	l.stateMu.Lock()
	s.end = l.tree.n
	signed, active := l.signed, l.segAt.first
	l.stateMu.Unlock()
	segs, err := segments(l.dir, l.generation)
	if err != nil {
		return err
	}
	for i := range segs {
		if segs[i].first >= s.end {
			break
		}
		if err := s.segment(&segs[i], i == len(segs)-1 || segs[i].first >= active, signed); err != nil {
			return err
		}
	}
	if !s.lost && s.tree.n != s.end {
		s.find(filepath.Join(logsDir, l.generation, segmentsDir), s.tree.n, 0, "the segments end here; %d records were written", s.end)
	}
	for _, seal := range s.found.seals {
		if err := s.seal(seal); err != nil {
			return err
		}
	}
	return s.explain()
}

// segment reads one segment.
func (s *scrubbing) segment(seg *segment, active bool, signed head) error {
	s.rep.Segments++
	if f, err := os.Open(seg.path); err == nil {
		if !active {
			dropCache(f)
		}
		f.Close() //nolint:errcheck // only read
	}
	if !s.lost && seg.first != s.tree.n {
		s.find(seg.name, s.tree.n, 0, "the segment begins with record %d, but record %d is due", seg.first, s.tree.n)
		s.lost = true
	}
	index := seg.first
	err := walkSegment(seg, active, func(_ *segment, f *frame) error {
		if f.first >= s.end {
			return io.EOF // it came later
		}
		if f.first != index {
			s.find(seg.name, index, f.offset, "a frame begins with record %d, but record %d is due", f.first, index)
			s.lost = true
			index = f.first
		}
		var err error
		f.each(func(e entry) {
			if err == nil {
				err = s.record(seg, index, &e, signed)
			}
			index++
		})
		if err != nil {
			return err
		}
		return s.pace(frameHeader + int64(len(f.entries)))
	}, func(fl *fault) error {
		if fl.torn && index >= s.end {
			return nil // it is being written
		}
		s.find(seg.name, index, fl.offset, "%v", fl.err)
		s.lost = true
		if fl.frame != nil {
			index += int64(fl.frame.count)
		}
		return nil
	})
	switch {
	case errors.Is(err, io.EOF):
	case s.ctx.Err() != nil:
		return s.ctx.Err()
	case err != nil:
		s.find(seg.name, index, 0, "it cannot be read: %v", err)
		s.lost = true
	}
	if !s.lost {
		if s.roots[seg.first], err = s.tree.root(); err != nil {
			return err
		}
	}
	return nil
}

// record takes a record of a segment.
func (s *scrubbing) record(seg *segment, index int64, e *entry, signed head) error {
	s.found.record(e)
	if e.leaf.class().Moved() && len(e.stored) == 0 {
		s.stripped[seg.first] = true
	} else if e.leaf.known() && !e.leaf.encrypted() && !e.leaf.commitsTo(e.stored) {
		s.find(seg.name, index, e.offset, "the body of the record is not the one its leaf commits to")
	}
	if s.lost {
		return nil
	}
	if err := s.tree.add(tlog.RecordHash(e.leaf[:])); err != nil {
		return err
	}
	if s.tree.n == signed.size {
		root, err := s.tree.root()
		if err != nil {
			return err
		}
		if root != signed.root {
			s.find(seg.name, index, e.offset, "the first %d records are not those that were signed", signed.size)
		}
	}
	return nil
}

// seal compares what a seal record says with what is there.
func (s *scrubbing) seal(b *SealBody) error {
	root, known := s.roots[b.First]
	if known && root.String() != b.Root {
		s.find(b.Segment, b.First, 0, "its records have another root than its seal says")
	}
	// A segment that was whole when it was read may have been replaced since.
	if s.stripped[b.First] || len(b.Bodies) == 0 {
		sum, err := disk.Sum(filepath.Join(s.l.o.Dir, filepath.FromSlash(b.Segment)))
		switch {
		case err != nil:
			s.find(b.Segment, b.First, 0, "it cannot be read: %v", err)
		case sum != b.SHA256:
			s.find(b.Segment, b.First, 0, "it has the SHA-256 %s, its seal says %s", sum, b.SHA256)
		}
		x, err := openIndex(s.l.o.Dir, s.l.generation, b.First)
		if err == nil {
			err = x.check()
			x.close()
		}
		if err != nil {
			s.find(indexName(s.l.generation, b.First), -1, 0, "it cannot be used, and can be made anew: %v", err)
		}
	}
	for i := range b.Bodies {
		if err := s.bodies(b.First, &b.Bodies[i]); err != nil {
			return err
		}
	}
	return nil
}

// bodies reads one body file.
func (s *scrubbing) bodies(segment int64, b *SealedBodies) error {
	s.rep.BodyFiles++
	name := filepath.FromSlash(b.File)
	r, err := openBodyFile(s.l.o.Dir, name, segment)
	if err != nil {
		s.find(name, b.First, 0, "%s", missing(err))
		return nil
	}
	defer r.close()
	dropCache(r.f)
	r.sum = sha256.New()
	for records := int64(0); ; records++ {
		before := r.off
		_, _, _, err := r.next()
		switch {
		case errors.Is(err, io.EOF):
			if sum := hex.EncodeToString(r.sum.Sum(nil)); sum != b.SHA256 || records != b.Records {
				s.find(name, b.First, 0, "it has %d records and the SHA-256 %s, its seal says %d and %s", records, sum, b.Records, b.SHA256)
			}
			dropCache(r.f)
			return nil
		case err != nil:
			s.find(name, max(b.First, r.last), before, "%v", err)
			return nil
		}
		if err := s.pace(r.off - before); err != nil {
			return err
		}
	}
}

const isGone = "it is gone, and no record says why"

func missing(err error) string {
	if errors.Is(err, fs.ErrNotExist) {
		return isGone
	}
	return fmt.Sprintf("it cannot be read: %v", err)
}

// explain takes away what is missing because it was destroyed, also meanwhile:
// the record of it comes before the file goes.
func (s *scrubbing) explain() error {
	segs, err := segments(s.l.dir, s.l.generation)
	if err != nil {
		return err
	}
	for i := range segs {
		if i < len(segs)-1 && segs[i+1].first <= s.end {
			continue // read already
		}
		onFrame := func(_ *segment, f *frame) error {
			f.each(func(e entry) { s.found.record(&e) })
			return nil
		}
		if err := walkSegment(&segs[i], true, onFrame, func(*fault) error { return nil }); err != nil {
			return err
		}
	}
	kept := s.rep.Damaged[:0]
	for _, d := range s.rep.Damaged {
		if d.Detail == isGone && s.found.destroys[d.File] {
			s.rep.BodyFiles--
			continue
		}
		kept = append(kept, d)
	}
	s.rep.Damaged = kept
	return nil
}

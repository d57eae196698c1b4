package evidence

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"slices"
)

// ForgetTerms takes the terms of the records out of the indexes, so that they are
// found by their ids only; records that are sealed later are left out by
// Options.Forgotten. If the process dies in it, some indexes are written anew and
// some are not: do it again.
func (l *Log) ForgetTerms(ctx context.Context, indices []int64) error {
	// A segment that is being sealed may have its index written already.
	l.sealMu.Lock()
	defer l.sealMu.Unlock()
	segs, err := segments(l.dir, l.generation)
	if err != nil {
		return fmt.Errorf("forget terms: %w", err)
	}
	indices = slices.Sorted(slices.Values(indices))
	for i := range segs {
		n := len(indices)
		if i+1 < len(segs) {
			n, _ = slices.BinarySearch(indices, segs[i+1].first)
		}
		records := make(map[uint32]bool, n)
		for _, index := range indices[:n] {
			records[uint32(index-segs[i].first)] = true
		}
		indices = indices[n:]
		if n == 0 {
			continue
		}
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("forget terms: %w", err)
		}
		if err := l.forgetIn(l.generation, segs[i].first, records); err != nil {
			return fmt.Errorf("forget terms: %w", err)
		}
	}
	return nil
}

// forgetIn does it in one segment, which has no index if it is not sealed.
func (l *Log) forgetIn(generation string, first int64, records map[uint32]bool) error {
	x, err := openIndex(l.o.Dir, generation, first)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	defer x.close()
	b, changed, err := x.without(records)
	if err != nil || !changed {
		return err
	}
	return writeIndex(l.calls, l.o.Dir, generation, first, b)
}

// mendIndexes makes indexes again that are not there or, read whole, are damaged,
// where that can be done. Without them everything but looking up goes on.
func (l *Log) mendIndexes(ctx context.Context, whole bool) {
	if l.o.Keys == nil || l.o.TermsOf == nil {
		return
	}
	n, err := l.rebuildIndexes(ctx, whole, l.storedTerms)
	switch {
	case err != nil && ctx.Err() == nil:
		l.log.Error("indexes of the evidence could not be made again", "err", err)
	case n > 0:
		l.log.Info("made indexes of the evidence again", "segments", n)
	}
}

// storedTerms computes the terms of a record again. Who was erased has none, nor
// has what does not open: the verifier has a word for it.
func (l *Log) storedTerms(s Stored) ([]uint64, error) {
	plain, err := s.Open(l.o.Keys)
	if closed(err) || lost(err) || errors.Is(err, errForged) || err == nil && !s.Intact(plain) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	terms, err := l.o.TermsOf(s.Kind(), s.Encoding(), plain[saltSize:])
	if err != nil {
		return nil, fmt.Errorf("record %d: %w", s.Index, err)
	}
	return termsOf(&Record{Class: s.Class(), Terms: terms}, l.o.Keys), nil
}

// RebuildIndexes makes the indexes of sealed segments anew that are not there or
// are damaged, and returns how many. terms gives the terms of an encrypted record
// whose body is there: who has the keys opens it and computes them. Where it
// returns none, the record is found by its id only.
func (l *Log) RebuildIndexes(ctx context.Context, terms func(Stored) ([]uint64, error)) (rebuilt int, err error) {
	return l.rebuildIndexes(ctx, true, terms)
}

// rebuildIndexes is RebuildIndexes; if not whole, it takes an index of the right
// length for a good one.
func (l *Log) rebuildIndexes(ctx context.Context, whole bool, terms func(Stored) ([]uint64, error)) (rebuilt int, err error) {
	l.sealMu.Lock()
	defer l.sealMu.Unlock()
	l.stateMu.Lock()
	raw := map[int64]bool{l.segAt.first: true}
	for _, u := range l.unsealed {
		raw[u.seg.first] = true
	}
	l.stateMu.Unlock()
	segs, err := segments(l.dir, l.generation)
	if err != nil {
		return 0, fmt.Errorf("rebuild indexes: %w", err)
	}
	for i := range segs {
		if raw[segs[i].first] {
			continue
		}
		x, err := openIndex(l.o.Dir, l.generation, segs[i].first)
		if err == nil {
			if whole {
				err = x.check()
			}
			x.close()
			if err == nil {
				continue
			}
		}
		if !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, errIndex) {
			return rebuilt, fmt.Errorf("rebuild indexes: %w", err)
		}
		if err := l.rebuildIndex(ctx, &segs[i], terms); err != nil {
			return rebuilt, fmt.Errorf("rebuild indexes: %s: %w", segs[i].name, err)
		}
		rebuilt++
	}
	return rebuilt, nil
}

func (l *Log) rebuildIndex(ctx context.Context, seg *segment, terms func(Stored) ([]uint64, error)) error {
	fi, err := os.Stat(seg.path)
	if err != nil {
		return err
	}
	w := indexWriter{first: seg.first}
	moved := seg.moved()
	defer moved.close()
	index := seg.first
	err = walkSegment(seg, false, func(_ *segment, f *frame) error {
		if err := ctx.Err(); err != nil {
			return err
		}
		var err error
		f.each(func(e entry) {
			if err == nil {
				err = w.rebuild(seg, moved, index, &e, terms)
			}
			index++
		})
		return err
	}, func(fl *fault) error { return fl.err })
	if err != nil {
		return err
	}
	return writeIndex(l.calls, l.o.Dir, l.generation, seg.first, w.bytes(fi.Size()))
}

// rebuild takes the next record. Of a body that was destroyed the place is not
// known any more, and not needed.
func (w *indexWriter) rebuild(seg *segment, moved *movedBodies, index int64, e *entry, terms func(Stored) ([]uint64, error)) error {
	if len(e.stored) > 0 || !e.leaf.class().Moved() {
		w.add(e.leaf, e.offset, 0, nil)
		return nil
	}
	stored, name, offset, err := moved.find(index, e.leaf)
	if errors.Is(err, errBodyFile) {
		stored, err = nil, nil // the scrub and the verifier have a word for it
	}
	if err != nil {
		return err
	}
	if stored == nil {
		w.add(e.leaf, e.offset, 0, nil)
		return nil
	}
	var list []uint64
	if e.leaf.encrypted() {
		rec := Stored{Index: index, Leaf: *e.leaf, File: seg.name, Offset: e.offset, BodyFile: name, BodyOffset: offset}
		if err := rec.set(splitMoved(e.leaf, stored)); err != nil {
			return err
		}
		if list, err = terms(rec); err != nil {
			return err
		}
	}
	w.add(e.leaf, e.offset, offset, nil)
	for _, term := range list {
		w.terms = append(w.terms, posting{term, uint32(index - w.first)})
	}
	return nil
}

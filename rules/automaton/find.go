package automaton

// Hit is one occurrence of the patterns of an entry: symbols Start up to and not
// including End.
type Hit struct {
	Entry      uint32
	Start, End int32
}

// Scratch is the working memory of one search. The zero Scratch is ready; it may be
// used with one automaton after another.
type Scratch struct {
	// Hits are the occurrences that begin in the block of text searched last, in an
	// order that depends only on the automaton and the text.
	Hits []Hit

	sym    []Symbol
	starts *filter // which patterns are looked for
	join   Symbol  // all ones in a rewritten text
	from   int     // where the next block begins
	size   int     // symbols of the next block
	end    int     // where the block at hand ends: what begins there belongs to the next
	stop   int     // no pattern that begins in the block at hand reaches farther
	cand   [blockSize + 8]uint32
	done   []uint64 // bit set of entries not wanted any more
	quiet  []uint64 // bit set of places in deep whose outputs are all done
	any    bool     // an entry is done

	encoded   []byte   // of the cloudflare engine: the text
	occurring []uint32 // and the entries that occur in it
}

// A block has blockSize symbols. One with more than floodHits hits is given up and one of
// floodBlock symbols searched instead, however many it has; those that follow are twice as
// large each as the one before.
const (
	floodBlock = 8
	floodHits  = 512
)

// Start begins a search in the symbols of a decoded text, behind which [Padding] zero
// ones must stand. They must not change until the search ends.
func (a *Automaton) Start(sc *Scratch, sym []Symbol) { a.start(sc, sym, 0, &a.filter) }

// StartAside is Start for the patterns that are aside. It also finds others that begin as
// one of them does.
func (a *Automaton) StartAside(sc *Scratch, sym []Symbol) { a.start(sc, sym, 0, &a.aside) }

// StartRewritten is Start for symbols that are not as Decode made them: some left out
// or replaced. There a token symbol belongs to the token of the one before it, whatever
// that one is; the first of a token is to be made loose ([Symbol.Loose]).
func (a *Automaton) StartRewritten(sc *Scratch, sym []Symbol) {
	a.start(sc, sym, ^Symbol(0), &a.filter)
}

func (a *Automaton) start(sc *Scratch, sym []Symbol, join Symbol, starts *filter) {
	sc.sym, sc.starts, sc.join, sc.from, sc.size = sym, starts, join, 0, blockSize
	if starts == &a.aside && !a.asides {
		sc.from = len(sym) // there are no such patterns
	} else if a.reference != nil {
		a.reference.start(a, sc, starts == &a.aside)
	}
	if sc.any {
		clear(sc.done)
		clear(sc.quiet)
		sc.any = false
	}
}

// Done says that no more occurrences of the entry are wanted in this search. It
// spares their cost: a text that repeats a pattern without end is then read about
// as fast as one without any.
func (a *Automaton) Done(sc *Scratch, entry uint32) {
	if n := (len(a.entries) + 63) / 64; len(sc.done) < n {
		sc.done = append(sc.done, make([]uint64, n-len(sc.done))...)
	}
	if n := (len(a.deep) + 63) / 64; len(sc.quiet) < n {
		sc.quiet = append(sc.quiet, make([]uint64, n-len(sc.quiet))...)
	}
	sc.done[entry/64] |= 1 << (entry % 64)
	sc.any = true
}

// Next searches the next block of the text and puts into sc.Hits the occurrences of
// all patterns that begin in it, overlapping ones included. It returns false, with
// sc.Hits empty, at the end of the text.
//
// Blocks follow each other without a gap. One has 1,024 symbols at most, and 512 hits at most
// unless it has only 8 symbols: so a flood is stopped early by who has enough of it, and what a
// hostile text and list can pile up at once is bounded by 512, or 8 times the length of the longest
// pattern.
func (a *Automaton) Next(sc *Scratch) bool {
	sc.Hits = sc.Hits[:0]
	if sc.from >= len(sc.sym) {
		return false
	}
	a.block(sc)
	if sc.flooded() {
		sc.size, sc.Hits = floodBlock, sc.Hits[:0]
		a.block(sc)
	}
	sc.from, sc.size = sc.end, min(2*sc.size, blockSize)
	return true
}

// flooded reports whether the block at hand is to be given up for a smaller one.
func (sc *Scratch) flooded() bool { return len(sc.Hits) > floodHits && sc.size > floodBlock }

// block reports what begins in the next block, all of it unless that is a flood.
func (a *Automaton) block(sc *Scratch) {
	sc.end = min(sc.from+sc.size, len(sc.sym))
	sc.stop = min(sc.end+a.longest, len(sc.sym))
	if a.reference != nil {
		a.reference.block(a, sc)
		return
	}
	if a.single != nil {
		for i, s := range sc.sym[sc.from:sc.end] {
			if e := a.single[s.Code()]; e != 0 {
				a.emit(sc, e-1, sc.from+i+1)
			}
		}
	}
	if n := sc.starts.pass(sc.sym, sc.from, sc.end, uint32(sc.join), &sc.cand); n > 0 {
		a.verify(sc, n)
	}
}

// verify reports what begins at the n candidates of the block at hand.
func (a *Automaton) verify(sc *Scratch, n int) {
	sym, slots := sc.sym[:len(sc.sym)+Padding], a.slots
	next := 0 // occurrences of minFail symbols or more that begin before have been reported
	for _, x := range sc.cand[:n] {
		if sc.flooded() {
			return
		}
		i := int(x)
		c0, c1, c2 := sym[i]>>codeShift, sym[i+1]>>codeShift, sym[i+2]>>codeShift
		s2 := slots[a.root[c0]+uint32(c1)]
		if s2.code() != uint32(c1) {
			continue
		}
		if s2.kind() == final {
			a.emit(sc, s2.payload(), i+2)
		}
		s3 := slots[s2.base()+uint32(c2)]
		if s3.code() != uint32(c2) {
			continue
		}
		if s3.kind() == final {
			a.emit(sc, s3.payload(), i+3)
		}
		if i >= next {
			next = a.run(sc, s3, i+3) - (minFail - 1)
		}
	}
}

// run drives the automaton from a state of depth 3, entered by the symbol before j,
// until the fail state would be shallower than minFail or nothing that begins in the
// block at hand can be found any more. It returns the index of the symbol it stopped
// at: every occurrence of minFail symbols or more that begins in the block and more
// than minFail-1 symbols before that has been reported by then.
func (a *Automaton) run(sc *Scratch, st slot, j int) int {
	sym, slots := sc.sym[:len(sc.sym)+Padding], a.slots
	for j < sc.stop {
		if st.kind() == tail {
			return a.runTail(sc, st, j)
		}
		c := uint32(sym[j] >> codeShift)
		to := slots[st.base()+c]
		if to.code() != c {
			if st.kind() != inner {
				return j
			}
			st = slots[a.deep[st.payload()]&slotMask]
			continue
		}
		st = to
		j++
		if k := st.kind(); k == final {
			a.emit(sc, st.payload(), j)
		} else if k == inner && a.deep[st.payload()]&hasOut != 0 {
			if a.emitAll(sc, st, j); sc.flooded() {
				break
			}
		}
	}
	// At the end of the text nothing more can be found; elsewhere all that begins in
	// the block has been.
	return len(sym)
}

// runTail compares the rest of the only pattern below st.
func (a *Automaton) runTail(sc *Scratch, st slot, j int) int {
	t := a.tails[st.tailAt():]
	n := int(t[0])
	sym := sc.sym
	for q, c := range t[3 : 3+n] {
		if j+q >= len(sym) || uint16(sym[j+q]>>codeShift) != c {
			return j + q
		}
	}
	a.emit(sc, uint32(t[1])|uint32(t[2])<<16, j+n)
	return j + n
}

// emitAll reports the patterns that end before j in state st, the longest first.
func (a *Automaton) emitAll(sc *Scratch, st slot, j int) {
	inside := sc.joined(j)
	at := st.payload()
	live := false // some pattern on the way is still wanted
	for st.kind() == inner && !sc.isQuiet(st.payload()) {
		d := a.deep[st.payload():]
		if inside && d[0]&hasOpen == 0 {
			return // all of them would have to end with the token
		}
		if e := d[1]; e != 0 {
			if j-int(a.entries[e-1].n) >= sc.end {
				return // it begins beyond the block at hand, and so do the shorter ones
			}
			live = a.emit(sc, e-1, j) || live
		}
		if d[2] == 0 {
			st = 0
			break
		}
		st = a.slots[d[2]]
	}
	if st != 0 && st.kind() != inner {
		live = a.emit(sc, st.payload(), j) || live
	}
	if !live && sc.any {
		sc.quiet[at/64] |= 1 << (at % 64)
	}
}

// isQuiet reports whether all the patterns of the state with this record are done with.
func (sc *Scratch) isQuiet(at uint32) bool { return sc.any && sc.quiet[at/64]>>(at%64)&1 != 0 }

// unwanted reports whether entry e is done with.
func (sc *Scratch) unwanted(e uint32) bool { return sc.any && sc.done[e/64]>>(e%64)&1 != 0 }

// emit reports that entry e ends before symbol j, unless it begins beyond the block at
// hand or an edge of a token is missing. It returns false if e is not wanted any more.
func (a *Automaton) emit(sc *Scratch, e uint32, j int) bool {
	if sc.unwanted(e) {
		return false
	}
	en := &a.entries[e]
	i := j - int(en.n)
	if i >= sc.end || en.whole && (sc.joined(i) || sc.joined(j)) {
		return true
	}
	sc.Hits = append(sc.Hits, Hit{e, int32(i), int32(j)})
	return true
}

// joined reports whether symbol i belongs to the token of the one before it.
func (sc *Scratch) joined(i int) bool {
	before := sc.join
	if i > 0 {
		before |= sc.sym[i-1]
	}
	return before&sc.sym[:i+1][i]&tokenBit != 0
}

// Inside reports whether a hit begins or ends inside a token. Only a pattern that may
// stand there has such hits.
func (sc *Scratch) Inside(h Hit) bool { return sc.joined(int(h.Start)) || sc.joined(int(h.End)) }

package automaton

// Walk puts into sc.Hits the occurrences of all patterns that begin at one byte of a text of
// ASCII characters none of which is dropped, those that begin or end inside a token too. A byte
// is a symbol there. It needs no decoded text and reads on for as long as a pattern does, so
// it is for who knows that patterns can begin at few places only. The engine Cloudflare cannot
// do it.
func (a *Automaton) Walk(sc *Scratch, text []byte, at int) {
	sc.Hits = sc.Hits[:0]
	found := func(e uint32, end int) { sc.Hits = append(sc.Hits, Hit{e, int32(at), int32(end)}) }
	c := a.codeAt(text, at)
	if a.single != nil && a.single[c] != 0 {
		found(a.single[c]-1, at+1)
	}
	base := a.root[c]
	for j := at + 1; ; j++ {
		c := a.codeAt(text, j)
		st := a.slots[base+c]
		if st.code() != c {
			return
		}
		switch st.kind() {
		case final:
			found(st.payload(), j+1)
		case inner:
			if d := a.deep[st.payload():]; d[0]&hasOut != 0 && d[1] != 0 {
				found(d[1]-1, j+1)
			}
		case tail:
			t := a.tails[st.tailAt():]
			n := int(t[0])
			for q, c := range t[3 : 3+n] {
				if a.codeAt(text, j+1+q) != uint32(c) {
					return
				}
			}
			found(uint32(t[1])|uint32(t[2])<<16, j+1+n)
			return
		}
		base = st.base()
	}
}

// codeAt is the code of the ASCII character at a byte of the text, 0 behind its end.
func (a *Automaton) codeAt(text []byte, i int) uint32 {
	if i >= len(text) {
		return 0
	}
	return a.flat[text[i]] >> codeShift
}

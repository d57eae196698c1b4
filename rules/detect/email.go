package detect

// maxLocal is the length of the part before the at sign of a mail address, by RFC 5321.
const maxLocal = 64

// findEmail finds a mail address: a name, an at sign or what people write for it, a host.
func (sc *Scratch) findEmail(at int) (lo, hi int) {
	for i := sc.seek(at, hasMailbox); i < len(sc.symbols); i = sc.seek(i+1, hasMailbox) {
		name, next, plain := sc.atSign(i)
		if next == 0 || !sc.at(next).latin() {
			continue
		}
		h, ok := sc.hostAt(next)
		if !ok || !sc.isMailHost(&h, plain) {
			if plain {
				i = max(i, h.end-1) // up to the next sign there is no other
			}
			continue
		}
		lo := sc.localBegin(name, at)
		switch before := sc.at(lo - 1); {
		case lo == name, before.r == '@':
			continue
		case name-lo == maxLocal && before.latin(): // longer than a name may be
			continue
		}
		if after := sc.at(h.end); after.r == '@' || after.r == ':' && sc.reads(lo, "git@") {
			continue
		}
		return lo, h.end
	}
	return -1, -1
}

// atSign returns where the name before an at sign at a place ends and where the host begins;
// next is 0 if there is none. plain is true of the sign itself, with nothing around it.
func (sc *Scratch) atSign(i int) (name, next int, plain bool) {
	name, next = i, i+1
	switch s := sc.at(i); s.r {
	case '@':
		before, after := sc.at(i-1).r, sc.at(i+1).r
		plain = before != '(' && before != '[' && before != '{' || after != ')' && after != ']' && after != '}'
		if !plain {
			name, next = i-1, i+2
		}
	case '艾':
		if sc.at(i+1).r != '特' {
			return 0, 0, false
		}
		next = i + 2
	case '#', '*', '⊙', '◎', '圈':
		if s.r == '圈' && sc.at(i+1).r == 'a' {
			next++
		}
	case 'a':
		if sc.at(i+1).r != 't' {
			return 0, 0, false
		}
		name, next = i-1, i+3
		switch before, after := sc.at(i-1).r, sc.at(i+2).r; {
		case before == ' ' && after == ' ', before == '(' && after == ')', before == '[' && after == ']', before == '{' && after == '}':
		default:
			return 0, 0, false
		}
	default:
		return 0, 0, false
	}
	if sc.at(name-1).kind == blank {
		name, plain = name-1, false
	}
	if sc.at(next).kind == blank {
		next, plain = next+1, false
	}
	return name, next, plain
}

// isMailHost reports whether a host behind an at sign is one: behind the sign itself any host, behind
// what stands for it one that is known for mail, or one whose dots are disguised too.
func (sc *Scratch) isMailHost(h *host, plain bool) bool {
	last := h.last
	if n := last.to - last.from; n < 2 || n > maxWrit || sc.in(files, last) {
		return false
	}
	for i := last.from; i < last.to; i++ {
		if sc.at(i).kind != letter {
			return false
		}
	}
	if plain && h.plain {
		return true
	}
	return sc.in(core, last) && (plain || h.spread || sc.in(providers, h.first))
}

// localBegin returns where the name that ends at a place begins, not before at.
func (sc *Scratch) localBegin(end, at int) int {
	i := end
	for i > at && i > end-maxLocal {
		s := sc.at(i - 1)
		if !s.latin() && s.r != '.' && s.r != '_' && s.r != '%' && s.r != '+' && s.r != '-' {
			break
		}
		i--
	}
	for i < end && !sc.at(i).latin() && sc.at(i).r != '_' {
		i++
	}
	return i
}

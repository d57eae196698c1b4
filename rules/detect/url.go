package detect

import "strings"

// Limits of a URL.
const (
	maxScheme = 12   // letters
	maxURL    = 2048 // symbols; what is longer ends there
)

// findURL finds an address of the web: a scheme and what follows it, or a host that shows itself by
// its top-level domain, www in front, a path or a port.
func (sc *Scratch) findURL(at int) (lo, hi int) {
	for i := at; i < len(sc.symbols); {
		if !sc.at(i).latin() {
			i++
			continue
		}
		end := sc.labelEnd(i)
		if s := sc.at(end); s.kind == han && s.r != '点' && s.r != '丶' || s.kind == blank && !sc.maySpread(end+1) {
			i = end + 1
			continue
		}
		if sc.at(end).r == ':' && sc.at(end+1).r == '/' && sc.at(end+2).r == '/' {
			if hi := sc.schemeEnd(i, end); hi > 0 {
				return i, hi
			}
		}
		h, ok := sc.hostAt(i)
		if ok && sc.showsHost(&h) {
			return i, sc.tail(h.end)
		}
		i = h.end
		if i < end {
			i = end
		}
		if sc.at(i).r == '@' { // so far it was a mailbox, and what follows is its host
			i++
			for sc.at(i).latin() || sc.at(i).r == '-' || sc.at(i).r == '.' {
				i++
			}
		}
	}
	return -1, -1
}

// maySpread reports whether a dot may follow a blank.
func (sc *Scratch) maySpread(i int) bool {
	switch sc.at(i).r {
	case '.', 'd', '(', '[', '{', '【':
		return true
	}
	return false
}

// schemeEnd returns the end of a URL whose scheme is symbols lo up to colon; 0 if there is none.
func (sc *Scratch) schemeEnd(lo, colon int) int {
	if n := colon - lo; n < 2 || n > maxScheme || sc.at(lo).kind != letter {
		return 0
	}
	i := colon + 3
	for j := i; j < i+maxLocal; j++ { // user:password@
		if s := sc.at(j); s.r == '@' && sc.at(j+1).latin() {
			i = j + 1
			break
		} else if !s.latin() && s.r != ':' && s.r != '.' && s.r != '_' && s.r != '-' && s.r != '%' && s.r != '+' {
			break
		}
	}
	// Labels are of any script; one that begins with a Latin letter ends before a Han character, as
	// in Chinese no blank follows a URL.
	for i < lo+maxURL {
		s := sc.at(i)
		if !s.latin() && s.kind != han && s.kind != foreign {
			break
		}
		latin := s.latin()
		for i < lo+maxURL {
			s = sc.at(i)
			if !s.latin() && s.r != '-' && s.r != '_' && (latin || s.kind != han && s.kind != foreign) {
				break
			}
			i++
		}
		next := sc.at(i + 1)
		if sc.at(i).r == '.' && (next.latin() || !latin && (next.kind == han || next.kind == foreign)) {
			i++
			continue
		}
		return sc.tail(i)
	}
	if i > colon+3 {
		return sc.tail(i)
	}
	return 0
}

// showsHost reports whether a host without a scheme is one.
func (sc *Scratch) showsHost(h *host) bool {
	before, after := sc.at(h.from-1), sc.at(h.end)
	switch before.r {
	case '@', '/', '\\', '_', '$', '.', '%', '#':
		return false
	}
	switch after.r {
	case '(', '@', '_':
		return false
	}
	if sc.at(h.last.from).kind != letter || after.r == '-' {
		return false
	}
	if h.labels > 2 && h.first.to-h.first.from == 3 && sc.reads(h.first.from, "www") {
		return h.plain || !h.spread || sc.in(core, h.last)
	}
	if !h.plain {
		return sc.in(core, h.last) && sc.hasLetter(h.first)
	}
	more := after.r == '/' && sc.at(h.end+1).kind != blank || after.r == ':' && sc.at(h.end+1).kind == digit
	switch {
	case sc.in(common, h.last):
		return !sc.in(products, h.first) || h.labels > 2
	case sc.newSentence(h), h.labels > 1 && sc.in(packages, h.first):
		return false
	case sc.in(strong, h.last):
		return h.first.to-h.first.from > 1 || more
	case sc.in(weak, h.last):
		return more || h.labels > 2 && sc.in(second, h.middle)
	}
	return false
}

// newSentence reports whether the last label looks like the first word of a sentence that no blank
// stands before: a capital behind small letters.
func (sc *Scratch) newSentence(h *host) bool {
	capital := func(i int) bool { c := sc.written(i); return 'A' <= c && c <= 'Z' }
	return capital(h.last.from) && !capital(h.last.from-2)
}

func (sc *Scratch) hasLetter(s span) bool {
	for i := s.from; i < s.to; i++ {
		if sc.at(i).kind == letter {
			return true
		}
	}
	return false
}

// tail returns the end of a URL whose host ends at a place: its port, path, query and fragment
// follow, without the punctuation of the sentence around it.
func (sc *Scratch) tail(host int) int {
	i := host
	if sc.at(i).r == ':' && sc.at(i+1).kind == digit {
		j := sc.skip(i+1, digit, 5)
		if !sc.at(j).latin() {
			i = j
		}
	}
	switch sc.at(i).r {
	case '/', '?', '#':
	default:
		return i
	}
	end, open := i, 0
path:
	for ; i < host+maxURL; i++ {
		s := sc.at(i)
		ascii := s.kind != edge && s.to-s.from == 1
		switch {
		case s.latin():
			end = i + 1
			continue
		case s.r == '&' && sc.at(i+1).r == '#': // an entity
		case s.r == '/' || ascii && (s.r == '=' || s.r == '&' || s.r == '_' || s.r == '-' || s.r == '~' || s.r == '%' || s.r == '+' || s.r == '$'):
			end = i + 1
			continue
		case !ascii:
		case s.r == '(':
			open++
			continue
		case s.r == ')' && open > 0:
			open--
			end = i + 1
			continue
		case strings.ContainsRune(".,;:?!#@*'", s.r):
			continue // part of it only if more follows
		}
		break path
	}
	return end
}

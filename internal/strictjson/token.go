package strictjson

// A Token is one name or value of a text.
type Token struct {
	Kind    byte   // the first byte: { [ " t f n - or a digit
	Escaped bool   // a string or name with escapes
	Lo, Hi  uint32 // the bytes of the text it spans; of a string, those between the quotes
	Next    uint32 // index of the token after this value and all it holds
}

// Text returns the text of a string or name token of data. Without escapes it is
// a part of data and dst stays as it is; otherwise it is appended to dst. Neither
// text can grow into what follows it.
func Text(dst, data []byte, t *Token) (dst2, text []byte) {
	s := data[t.Lo:t.Hi:t.Hi]
	if !t.Escaped {
		return dst, s
	}
	at := len(dst)
	dst = unescape(dst, s)
	return dst, dst[at:len(dst):len(dst)]
}

func (p *Parser) add(kind byte, escaped bool, lo, hi int) {
	p.tokens = append(p.tokens, Token{kind, escaped, uint32(lo), uint32(hi), uint32(len(p.tokens) + 1)})
}

// open adds the token of a container that begins at i, and returns its index.
func (p *Parser) open(kind byte, i int) int {
	if p.keep {
		p.add(kind, false, i, i)
	}
	return len(p.tokens) - 1
}

// close completes the token of a container that ends before end, and returns end.
func (p *Parser) close(opened, end int) int {
	p.depth++
	if p.keep {
		t := &p.tokens[opened]
		t.Hi, t.Next = uint32(end), uint32(len(p.tokens))
	}
	return end
}

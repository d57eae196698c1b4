package strictjson

import (
	"bytes"
	"math/rand/v2"
	"testing"
	"unicode/utf8"

	"github.com/go-json-experiment/json/jsontext"
)

// What one accepts the other reads equally, or both refuse.
func FuzzScan(f *testing.F) {
	for _, c := range cases {
		f.Add([]byte(c.text))
	}
	f.Add(post(f))
	f.Fuzz(func(t *testing.T, data []byte) {
		p := newLavish()
		agree(t, p, data)
	})
}

// The same on many small mutations of valid and broken texts, which reach
// further than a byte fuzzer in the same time.
func TestMutants(t *testing.T) {
	n := 200_000
	if testing.Short() {
		n = 20_000
	}
	var seeds [][]byte
	for _, c := range cases {
		seeds = append(seeds, []byte(c.text))
	}
	for range 20 {
		seeds = append(seeds, post(t))
	}
	parts := []string{
		`"`, `\`, `\u`, `\ud83d`, `\ude00`, `\u0061`, `\x`, `\'`, `{`, `}`, `[`, `]`, `,`, `:`, `0`, `1`, `-`, `.`, `e`, `E`, `+`,
		"\x00", "\x7f", "\xff", "\xe4", "\xb8", "\xad", "\xc0", "\xed\xa0\x80", "中", "😀", " ", "\n", "\v", "\ufeff", "\u2028",
		"null", "true", `"a":1`, `,"a":1`, "NaN", "inf", "//",
	}
	r := rand.New(rand.NewPCG(1, 2))
	p := newLavish()
	for range n {
		s := bytes.Clone(seeds[r.IntN(len(seeds))])
		for range 1 + r.IntN(4) {
			i := r.IntN(len(s) + 1)
			j := min(len(s), i+r.IntN(4))
			s = append(s[:i:i], append([]byte(parts[r.IntN(len(parts))]), s[j:]...)...)
		}
		agree(t, p, s)
	}
}

// Every byte, in every kind of place.
func TestEveryByte(t *testing.T) {
	p := newLavish()
	for c := range 256 {
		for _, place := range [][2]string{
			{``, ``}, {` `, `1`}, {`1`, ``}, {`-`, `1`}, {`1`, `1`}, {`1.`, `2`}, {`1e`, `2`}, {`t`, `ue`}, {`tru`, ``}, {`true`, ``}, {`n`, `ull`},
			{`[`, `1]`}, {`[1`, `]`}, {`[1`, `2]`}, {`[1,`, `2]`}, {`[]`, ``}, {`{`, `"a":1}`}, {`{"a"`, `:1}`}, {`{"a":`, `1}`}, {`{"a":1`, `}`}, {`{"a":1,`, `"b":2}`},
			{`"`, `"`}, {`"1234567`, `"`}, {`"12345678`, `"`}, {`"`, `12345678"`}, {`"\`, `"`}, {`"\u`, `061"`}, {`"\u006`, `"`}, {`"\ud83d`, `ude00"`}, {`"\ud83d\ude0`, `"`},
			{"\"\xe4", "\xad\""}, {"\"\xe4\xb8", "\""}, {"\"\xf0\x9f\x98", "\""}, {"\"中", "中\""}, {`{"`, `":1}`}, {`{"a`, `":1,"ab":2}`},
		} {
			agree(t, p, []byte(place[0]+string([]byte{byte(c)})+place[1]))
		}
	}
}

// Every escaped code unit, alone and before another.
func TestEveryEscape(t *testing.T) {
	p := newLavish()
	buf := make([]byte, 0, 32)
	for unit := range 0x10000 {
		for _, after := range []string{`"`, `x"`, `\ude00"`, `\udbff"`, `\n"`} {
			buf = append(buf[:0], `"\u0000`...)
			for i, v := 6, unit; i > 2; i, v = i-1, v>>4 {
				buf[i] = "0123456789aBcDeF"[v&15]
			}
			agree(t, p, append(buf, after...))
		}
	}
}

// Every sequence of bytes that could pass for a character in UTF-8, at every
// distance from the end of the text and from a boundary of eight bytes.
func TestEveryCharacter(t *testing.T) {
	var p Parser
	buf := make([]byte, 0, 64)
	check := func(seq ...byte) {
		for _, pad := range [...]string{``, `1234567`} {
			for _, end := range [...]string{`"`, `中"`, `12345678"`} {
				buf = append(append(append(append(buf[:0], '"'), pad...), seq...), end...)
				want := utf8.Valid(buf)
				if got := p.Check(buf) == nil; got != want {
					t.Fatalf("%q: accepted: %v", buf, got)
				}
			}
		}
	}
	edges := []byte{0x7f, 0x80, 0x81, 0x8f, 0x90, 0x9f, 0xa0, 0xbe, 0xbf, 0xc0, 0xff}
	for a := 0x80; a < 0x100; a++ {
		check(byte(a))
		for b := 0x7f; b < 0x100; b++ {
			check(byte(a), byte(b))
			for _, c := range edges {
				if a >= 0xe0 {
					check(byte(a), byte(b), c)
				}
				for _, d := range edges {
					if a >= 0xf0 {
						check(byte(a), byte(b), c, d)
					}
				}
			}
		}
	}
}

// newLavish returns a Parser that refuses for its limits only what is deeper
// than jsontext goes.
func newLavish() *Parser {
	return &Parser{Limits: Limits{Bytes: 1 << 30, Depth: deepest, Values: 1 << 30}}
}

// agree fails unless Scan, Check and jsontext agree on data.
func agree(t *testing.T, p *Parser, data []byte) {
	t.Helper()
	before := bytes.Clone(data)
	tokens, err := p.Scan(data)
	if got := p.Check(data); reason(got) != reason(err) {
		t.Fatalf("%q: Scan %v, Check %v", data, err, got)
	}
	if !bytes.Equal(before, data) {
		t.Fatalf("%q: changed to %q", before, data)
	}
	if ok := jsontext.Value(data).IsValid(); ok != (err == nil) {
		t.Fatalf("%q: %v, jsontext accepts: %v", data, err, ok)
	}
	if err == nil {
		d := jsontext.NewDecoder(bytes.NewReader(data))
		if next := sameValue(t, data, tokens, 0, d); next != len(tokens) {
			t.Fatalf("%q: %d tokens, read %d", data, len(tokens), next)
		}
	}
}

// sameValue compares the value at tokens[i] with the next one jsontext reads,
// and returns the index after it.
func sameValue(t *testing.T, data []byte, tokens []Token, i int, d *jsontext.Decoder) int {
	t.Helper()
	x := &tokens[i]
	tok, err := d.ReadToken()
	if err != nil {
		t.Fatalf("%q: jsontext: %v", data, err)
	}
	span := data[x.Lo:x.Hi]
	next := i + 1
	switch k := tok.Kind(); k {
	case '{', '[':
		if x.Kind != byte(k) || span[0] != byte(k) || span[len(span)-1] != byte(k)+2 {
			t.Fatalf("%q: token %d is %q, want %c", data, i, span, k)
		}
		for next < int(x.Next) {
			if k == '{' {
				if next = sameValue(t, data, tokens, next, d); tokens[next-1].Kind != '"' {
					t.Fatalf("%q: name %d is a %c", data, next-1, tokens[next-1].Kind)
				}
			}
			next = sameValue(t, data, tokens, next, d)
		}
		if tok, err := d.ReadToken(); err != nil || tok.Kind() != k+2 {
			t.Fatalf("%q: token %d ends early: %v", data, i, err)
		}
	case '"':
		dst, s := Text([]byte("dst"), data, x)
		if x.Kind != '"' || string(s) != tok.String() || string(dst[:3]) != "dst" || x.Escaped != bytes.ContainsRune(span, '\\') {
			t.Fatalf("%q: token %d is %q, want %q", data, i, s, tok.String())
		}
	case '0':
		if string(span) != tok.String() || x.Kind != span[0] {
			t.Fatalf("%q: token %d is %q, want %s", data, i, span, tok.String())
		}
	default: // t, f, n
		if x.Kind != byte(k) || string(span) != tok.String() {
			t.Fatalf("%q: token %d is %q, want %c", data, i, span, k)
		}
	}
	if int(x.Next) != next {
		t.Fatalf("%q: token %d leads to %d, want %d", data, i, x.Next, next)
	}
	return next
}

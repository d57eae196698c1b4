package strictjson

import (
	"errors"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/go-json-experiment/json/jsontext"
	"github.com/google/go-cmp/cmp"
)

// cases are texts with the reason they are refused for, "" if they are not.
var cases = []struct {
	text string
	want Reason
}{
	// What JSON allows.
	{`{"a":1,"b":[true,false,null,-0.5e+3,"x\u00e9\n\ud83d\ude00"]}`, ""},
	{" \t\r\n[ ] \n", ""},
	{`{ "a" : [ 1 , 2 ] , "b" : { } }`, ""},
	{`0`, ""},
	{`-0`, ""},
	{`1E400`, ""},
	{`""`, ""},
	{`{}`, ""},
	{`{"":{"":0}}`, ""},
	{`{"a":{"a":1},"b":{"a":1}}`, ""},
	{`"\"\\\/\b\f\n\r\t\u0000"`, ""},
	{"\"\u007f\u0080\u07ff\u0800\ud7ff\ue000\ufffd\uffff\U00010000\U0010ffff\"", ""},

	// Cut off.
	{``, Truncated},
	{` `, Truncated},
	{`{`, Truncated},
	{`[`, Truncated},
	{`[1`, Truncated},
	{`[1,`, Truncated},
	{`"abc`, Truncated},
	{`"\`, Truncated},
	{`"\u12`, Truncated},
	{`"\ud83d`, Truncated},
	{`"\ud83d\`, Truncated},
	{`"\ud83d\ude`, Truncated},
	{"\"\xe4\xb8", Truncated},
	{`{"a`, Truncated},
	{`{"a"`, Truncated},
	{`{"a":`, Truncated},
	{`{"a":1`, Truncated},
	{`{"a":1,`, Truncated},
	{`tru`, Truncated},
	{`n`, Truncated},
	{`-`, Truncated},
	{`1.`, Truncated},
	{`1e`, Truncated},
	{`1e-`, Truncated},

	// A name twice, however it is written.
	{`{"a":1,"a":2}`, Duplicate},
	{`{"":1,"":2}`, Duplicate},
	{`{"ab":1,"a\u0062":2}`, Duplicate},
	{`{"\ud83d\ude00":1,"😀":2}`, Duplicate},
	{`[{"b":{"a":1,"c":[],"a":{}}}]`, Duplicate},

	// Not UTF-8.
	{"\"\xff\"", UTF8},
	{"\"\x80\"", UTF8},
	{"\"\xc0\x80\"", UTF8},     // longer than needed
	{"\"\xe0\x80\x80\"", UTF8}, // longer than needed
	{"\"\xe0\x9f\xbf\"", UTF8}, // longer than needed
	{"\"\xed\xa0\x80\"", UTF8}, // a surrogate
	{"\"\xed\xbf\xbf\"", UTF8}, // a surrogate
	{"\"\xe4\xb8\"", UTF8},
	{"\"\xf4\x90\x80\x80\"", UTF8}, // beyond U+10FFFF
	{"\"abcdefgh\xe4\xb8\xad\xe4\xb8\"", UTF8},
	{"{\"\xfe\":1}", UTF8},
	{"[\xfe]", UTF8},
	{"\xff\xfe{\x00}\x00", UTF8}, // UTF-16

	// Control characters.
	{"\"a\x00\"", Control},
	{"\"a\nb\"", Control},
	{"\"12345678\x1f\"", Control},
	{"{\"a\tb\":1}", Control},
	{"\x00", Control},
	{"{\x00}", Control},
	{"[1\x00]", Control},
	{"{\"a\"\v:1}", Control},
	{"\x1f\x8b\x08", Control}, // gzip

	// Escapes.
	{`"\x41"`, Escape},
	{`"\'"`, Escape},
	{`"\U0041"`, Escape},
	{`"\u12g4"`, Escape},
	{`"\u12"`, Escape},
	{`"\ud83d\u12"`, Escape},
	{`{"\a":1}`, Escape},
	{`"\ud800"`, Surrogate},
	{`"\ud800x"`, Surrogate},
	{`"\ud800\n"`, Surrogate},
	{`"\ud800\u0041BC"`, Surrogate},
	{`"\udc00"`, Surrogate},
	{`"\ud800\ud800"`, Surrogate},
	{`"\udc00\ud800"`, Surrogate},
	{`{"\udfff":1}`, Surrogate},

	// Numbers.
	{`01`, Number},
	{`-01`, Number},
	{`1.x`, Number},
	{`[1.]`, Number},
	{`[1e]`, Number},
	{`[-]`, Number},
	{`+1`, Number},
	{`.5`, Number},
	{`NaN`, Number},
	{`nan`, Number},
	{`inf`, Number},
	{`Infinity`, Number},
	{`-inf`, Number},
	{`-Infinity`, Number},

	// Grammar.
	{`{"a":1,}`, Syntax},
	{`[1,]`, Syntax},
	{`[,1]`, Syntax},
	{`[1 2]`, Syntax},
	{`[1-2]`, Syntax},
	{`[0x10]`, Syntax},
	{`{"a" 1}`, Syntax},
	{`{"a":}`, Syntax},
	{`{1:1}`, Syntax},
	{`{a:1}`, Syntax},
	{`{'a':1}`, Syntax},
	{`{,}`, Syntax},
	{`True`, Syntax},
	{`trux`, Syntax},
	{`nul `, Syntax},
	{`[1}`, Syntax},
	{`{"a":1]`, Syntax},
	{`]`, Syntax},
	{`/**/1`, Syntax},
	{"\ufeff{}", Syntax}, // a byte order mark

	// More than one value.
	{`{} {}`, Trailing},
	{`1 x`, Trailing},
	{`nullnull`, Trailing},
	{`{}}`, Trailing},
	{"1\v", Trailing},
	{"{}\x00", Trailing},
}

func reason(err error) Reason {
	var e *Error
	if errors.As(err, &e) {
		return e.Reason
	}
	if err != nil {
		return Reason(err.Error())
	}
	return ""
}

// Each text is refused for its reason, and jsontext refuses the same ones.
func TestReasons(t *testing.T) {
	var p Parser
	for _, c := range cases {
		if got := reason(p.Check([]byte(c.text))); got != c.want {
			t.Errorf("%q: got %q, want %q", c.text, got, c.want)
		}
		if ok := jsontext.Value(c.text).IsValid(); ok != (c.want == "") {
			t.Errorf("%q: jsontext accepts: %v", c.text, ok)
		}
	}
}

// An error tells the place and shows nothing of the text.
func TestError(t *testing.T) {
	var p Parser
	err := p.Check([]byte(`{"secret": +1}`))
	if got, want := err.Error(), "strictjson: bad-number at byte 11"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}

// Whatever a valid text is cut down to, it is refused as cut off.
func TestTruncated(t *testing.T) {
	var p Parser
	for _, text := range []string{
		string(post(t)),
		`{"a":[true,false,null,-0.5e+3,{"x":"\"\\é中\ud83d\ude00\u00e9😀"}],"b":{}}`,
	} {
		if err := p.Check([]byte(text)); err != nil {
			t.Fatal(err)
		}
		for n := range len(text) {
			if got := reason(p.Check([]byte(text[:n]))); got != Truncated {
				t.Errorf("%q: got %q", text[:n], got)
			}
		}
	}
}

func TestLimits(t *testing.T) {
	p := Parser{Limits: Limits{Bytes: 40, Depth: 3, Values: 5}}
	for text, want := range map[string]Reason{
		strings.Repeat(" ", 39) + `1`:  "",
		strings.Repeat(" ", 40) + `1`:  TooLarge,
		strings.Repeat("\xff", 41):     TooLarge,
		`[[[1]]]`:                      "",
		`[[],[[1]],[]]`:                TooMany,
		`[[[[1]]]]`:                    TooDeep,
		`[{"a":[{}]}]`:                 TooDeep,
		`[[[`:                          Truncated,
		`[[[[`:                         TooDeep,
		`[1,2,3,4]`:                    "",
		`[1,2,3,4,5]`:                  TooMany,
		`{"a":1,"b":2,"c":3,"d":4}`:    "",
		`{"a":1,"b":2,"c":[4,5],"d":}`: TooMany,
	} {
		if got := reason(p.Check([]byte(text))); got != want {
			t.Errorf("%.40q: got %q, want %q", text, got, want)
		}
	}
}

// The defaults hold for the zero Parser.
func TestDefaultLimits(t *testing.T) {
	var p Parser
	nested := func(n int) string { return strings.Repeat("[", n) + strings.Repeat("]", n) }
	for _, c := range []struct {
		what, text string
		want       Reason
	}{
		{"largest", strings.Repeat(" ", 1<<20-1) + "1", ""},
		{"too large", strings.Repeat(" ", 1<<20) + "1", TooLarge},
		{"deepest", nested(32), ""},
		{"too deep", nested(33), TooDeep},
		{"most values", "[" + strings.Repeat("0,", 4094) + "0]", ""},
		{"too many values", "[" + strings.Repeat("0,", 4095) + "0]", TooMany},
	} {
		if got := reason(p.Check([]byte(c.text))); got != c.want {
			t.Errorf("%s: got %q, want %q", c.what, got, c.want)
		}
	}
	// However deep a caller allows, the stack stays small.
	p.Limits = Limits{Depth: 1 << 30, Values: 1 << 30}
	for n, want := range map[int]Reason{deepest: "", deepest + 1: TooDeep, 500_000: TooDeep} {
		if got := reason(p.Check([]byte(nested(n)))); got != want {
			t.Errorf("%d deep: got %q, want %q", n, got, want)
		}
	}
}

// Duplicates are found on both sides of the number of names that are compared
// in pairs, in whatever object they are.
func TestManyNames(t *testing.T) {
	var p Parser
	for _, n := range []int{1, pairwise - 1, pairwise, pairwise + 1, pairwise + 2, 500} {
		for _, dup := range []int{-1, 0, n / 2, n - 1} {
			var b strings.Builder
			b.WriteString(`[{"k0":0`)
			for i := 1; i < n; i++ {
				b.WriteString(`,"k` + strconv.Itoa(i) + `":{"k1":0,"k2":{}}`)
			}
			if dup >= 0 {
				b.WriteString(`,"\u006b` + strconv.Itoa(dup) + `":0`)
			}
			b.WriteString(`},{"k0":0}]`)
			want := Reason("")
			if dup >= 0 {
				want = Duplicate
			}
			if got := reason(p.Check([]byte(b.String()))); got != want {
				t.Errorf("%d names, duplicate %d: %q", n, dup, got)
			}
		}
	}
}

// Tokens come in order, a name before its value, and Next leads past a value.
func TestScan(t *testing.T) {
	data := []byte(` {"a":[1,{}],"\u0062" : "x\ty"} `)
	var p Parser
	got, err := p.Scan(data)
	if err != nil {
		t.Fatal(err)
	}
	want := []Token{
		{Kind: '{', Lo: 1, Hi: 31, Next: 7},
		{Kind: '"', Lo: 3, Hi: 4, Next: 2},
		{Kind: '[', Lo: 6, Hi: 12, Next: 5},
		{Kind: '1', Lo: 7, Hi: 8, Next: 4},
		{Kind: '{', Lo: 9, Hi: 11, Next: 5},
		{Kind: '"', Escaped: true, Lo: 14, Hi: 20, Next: 6},
		{Kind: '"', Escaped: true, Lo: 25, Hi: 29, Next: 7},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if tokens, err := p.Scan([]byte(`[1,`)); err == nil || tokens != nil {
		t.Errorf("refused text: %v, %v", tokens, err)
	}
}

// A text without escapes is part of the data, one with escapes is appended;
// neither can be appended to in place.
func TestText(t *testing.T) {
	data := []byte(`["plain","esc\u0061ped"]`)
	var p Parser
	tokens, err := p.Scan(data)
	if err != nil {
		t.Fatal(err)
	}
	dst := make([]byte, 3, 64)
	same, text := Text(dst, data, &tokens[1])
	if string(text) != "plain" || &text[0] != &data[2] || len(same) != 3 {
		t.Errorf("%q is not in place", text)
	}
	_ = append(text, "!!!"...)
	if string(data) != `["plain","esc\u0061ped"]` {
		t.Errorf("appending changed the data: %s", data)
	}
	longer, text := Text(dst, data, &tokens[2])
	if string(text) != "escaped" || len(longer) != 3+len("escaped") || &text[0] != &longer[3] || cap(text) != len(text) {
		t.Errorf("got %q, %q", text, longer)
	}
}

// Once its memory has grown a Parser allocates nothing.
func TestNoAllocation(t *testing.T) {
	data := post(t)
	escaped := []byte(`{"\u0061":"\ud83d\ude00","b":[1,2,3,{}]}`)
	var p Parser
	if n := testing.AllocsPerRun(100, func() {
		for _, b := range [][]byte{data, escaped} {
			if _, err := p.Scan(b); err != nil {
				t.Fatal(err)
			}
			if err := p.Check(b); err != nil {
				t.Fatal(err)
			}
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

// A hostile text costs what its length deserves. Each is compared with a plain
// one of the same length, and a reader that takes the square of the number of
// names, escapes or members would be thousands of times slower.
func TestLinearTime(t *testing.T) {
	const size = 1 << 20
	fill := func(open, unit, end string) []byte {
		n := (size - len(open) - len(end)) / len(unit)
		return []byte(open + strings.Repeat(unit, n) + end)
	}
	var many strings.Builder // ever new names of one length, in no order
	many.WriteString(`{"":0`)
	for i := range (size - 32) / len(`,"k1234567":0`) {
		many.WriteString(`,"k` + strconv.Itoa(1_000_000+i*7919%1_000_003) + `":0`)
	}
	many.WriteString(`}`)

	p := Parser{Limits: Limits{Bytes: 2 << 20, Depth: deepest, Values: 2 << 20}}
	cost := func(data []byte) time.Duration {
		best := time.Hour
		for range 3 {
			start := time.Now()
			_, err := p.Scan(data)
			best = min(best, time.Since(start))
			if r := reason(err); r != "" && r != Truncated && r != TooDeep {
				t.Fatal(err)
			}
		}
		return best
	}
	plain := cost(fill(`["`, "plain text, ", `"]`))
	for what, data := range map[string][]byte{
		"many names":         []byte(many.String()),
		"many small objects": fill(`[0`, `,{"a":0,"b":0,"c":0,"d":0}`, `]`),
		"escapes":            fill(`["`, `\u0041`, `"]`),
		"pairs":              fill(`["`, `\ud83d\ude00`, `"]`),
		"wide":               fill(`["`, `é中😀`, `"]`),
		"numbers":            fill(`[0`, `,0`, `]`),
		"one number":         fill(`[1`, `0`, `]`),
		"one name":           fill(`{"`, `k`, `":0}`),
		"deep":               fill(`[`, `[`, ``),
		"open string":        fill(`["`, `x`, ``),
		"blanks":             fill(`[`, ` `, `]`),
	} {
		// Seen: up to 60 times, for many names and for many values.
		if got := cost(data); got > 500*plain {
			t.Errorf("%s: %v, plain text of the same length %v", what, got, plain)
		}
	}
}

// A text over the limit is refused before it is read: its bytes may even be
// memory that was never touched.
func TestTooLargeIsNotRead(t *testing.T) {
	data := make([]byte, 100<<20)
	var p Parser
	took := time.Hour
	for range 5 {
		start := time.Now()
		if got := reason(p.Check(data)); got != TooLarge {
			t.Errorf("got %q", got)
		}
		took = min(took, time.Since(start))
	}
	if took > time.Millisecond {
		t.Errorf("it took %v", took)
	}
}

func post(tb testing.TB) []byte {
	tb.Helper()
	b, err := os.ReadFile("testdata/post.json")
	if err != nil {
		tb.Fatal(err)
	}
	return b
}

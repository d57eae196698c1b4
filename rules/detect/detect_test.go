package detect

import (
	"bufio"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"
)

// row is a line of a table.
type row struct {
	line  int
	text  string
	spans [][2]int
}

var escaped = regexp.MustCompile(`\\u\{([0-9A-Fa-f]+)\}`)

// rows reads the table of a detector.
func rows(tb testing.TB, d Detector) (hits, spares []row) {
	f, err := os.Open("testdata/" + d.String() + ".tsv")
	if err != nil {
		tb.Fatal(err)
	}
	defer f.Close()
	sc := bufio.NewScanner(f)
	for n := 1; sc.Scan(); n++ {
		if sc.Text() == "" || sc.Text()[0] == '#' {
			continue
		}
		what, text, _ := strings.Cut(sc.Text(), "\t")
		text, _, _ = strings.Cut(text, "\t")
		text = escaped.ReplaceAllStringFunc(text, func(s string) string {
			r, err := strconv.ParseUint(s[3:len(s)-1], 16, 32)
			if err != nil {
				tb.Fatalf("%s:%d: %v", f.Name(), n, err)
			}
			return string(rune(r))
		})
		r := row{line: n}
		for {
			before, rest, ok := strings.Cut(text, "⟦")
			r.text += before
			if !ok {
				break
			}
			inside, rest, ok := strings.Cut(rest, "⟧")
			if !ok {
				tb.Fatalf("%s:%d: a mark is not closed", f.Name(), n)
			}
			r.spans = append(r.spans, [2]int{len(r.text), len(r.text) + len(inside)})
			r.text += inside
			text = rest
		}
		switch {
		case what == "hit" && len(r.spans) > 0:
			hits = append(hits, r)
		case what == "spare" && len(r.spans) == 0:
			spares = append(spares, r)
		default:
			tb.Fatalf("%s:%d: neither a hit with marks nor a spare without", f.Name(), n)
		}
	}
	if err := sc.Err(); err != nil {
		tb.Fatal(err)
	}
	return hits, spares
}

func all(d Detector, sc *Scratch, text string) (spans [][2]int) {
	d.Find(sc, []byte(text), func(start, end int) bool {
		spans = append(spans, [2]int{start, end})
		return true
	})
	return spans
}

func shown(text string, spans [][2]int) string {
	var list []string
	for _, s := range spans {
		list = append(list, text[s[0]:s[1]])
	}
	return strconv.Quote(strings.Join(list, "|"))
}

// Each detector finds what the tables say, at the very place, and spares the rest.
func TestTables(t *testing.T) {
	var sc Scratch
	for d := URL; d <= Price; d++ {
		t.Run(d.String(), func(t *testing.T) {
			hits, spares := rows(t, d)
			if len(hits) < 25 || len(spares) < 25 {
				t.Errorf("%d hits and %d spares, want 25 of each", len(hits), len(spares))
			}
			for _, r := range slices.Concat(hits, spares) {
				if got := all(d, &sc, r.text); !slices.Equal(got, r.spans) {
					t.Errorf("%s.tsv:%d: found %s in %q, want %s", d, r.line, shown(r.text, got), r.text, shown(r.text, r.spans))
				}
			}
		})
	}
}

// rewrite replaces the characters of a text and takes its spans along.
func rewrite(r row, f func(rune) string) row {
	out := row{line: r.line}
	at := make(map[int]int) // where the characters go
	for i, c := range r.text {
		at[i] = len(out.text)
		out.text += f(c)
	}
	at[len(r.text)] = len(out.text)
	for _, s := range r.spans {
		_, n := utf8.DecodeLastRuneInString(r.text[:s[1]])
		last := s[1] - n
		_, size := utf8.DecodeRuneInString(out.text[at[last]:])
		out.spans = append(out.spans, [2]int{at[s[0]], at[last] + size})
	}
	return out
}

// However the digits and letters of a text are written, the same is found in it, and the same spared.
func TestStyles(t *testing.T) {
	digits := func(zero rune) func(rune) string {
		return func(r rune) string {
			if '0' <= r && r <= '9' {
				r += zero - '0'
			}
			return string(r)
		}
	}
	styles := map[string]func(rune) string{
		"full width":    digits('０'),
		"Arabic":        digits('٠'),
		"Devanagari":    digits('०'),
		"double-struck": digits('𝟘'),
		"circled": func(r rune) string {
			if '0' <= r && r <= '9' {
				return string([]rune("⓪①②③④⑤⑥⑦⑧⑨")[r-'0'])
			}
			return string(r)
		},
		"invisible characters": func(r rune) string { return string(r) + "\u200B\u00AD" },
		"full width letters": func(r rune) string {
			if 'a' <= r && r <= 'z' {
				r += 'ａ' - 'a'
			}
			return string(r)
		},
	}
	var sc Scratch
	for name, style := range styles {
		for d := URL; d <= Price; d++ {
			hits, spares := rows(t, d)
			for _, r := range slices.Concat(hits, spares) {
				r = rewrite(r, style)
				if got := all(d, &sc, r.text); !slices.Equal(got, r.spans) {
					t.Errorf("%s, %s.tsv:%d: found %s in %q, want %s", name, d, r.line, shown(r.text, got), r.text, shown(r.text, r.spans))
				}
			}
		}
	}
}

// A phone number may be written in Chinese numerals of any kind.
func TestNumerals(t *testing.T) {
	var sc Scratch
	for _, numerals := range []string{"零一二三四五六七八九", "〇壹贰叁肆伍陆柒捌玖", "洞幺两三四五六拐八勾"} {
		for _, number := range []string{"13800138000", "138-0013-8000", "+86 139 1234 5678", "010-88886666", "400-820-8820"} {
			text := strings.Map(func(r rune) rune {
				if '0' <= r && r <= '9' {
					return []rune(numerals)[r-'0']
				}
				return r
			}, number)
			if got := all(Phone, &sc, "请打："+text+"！"); len(got) != 1 || got[0] != [2]int{9, 9 + len(text)} {
				t.Errorf("%s is not found as it stands: %v", text, got)
			}
		}
	}
}

// A set finds what its detectors find one by one, in their order.
func TestSet(t *testing.T) {
	var sc Scratch
	for d := URL; d <= Price; d++ {
		hits, spares := rows(t, d)
		for _, r := range slices.Concat(hits, spares) {
			var got, want [Price + 1][][2]int
			last := URL
			everything.Find(&sc, []byte(r.text), func(d Detector, start, end int) bool {
				if d < last {
					t.Errorf("%s after %s", d, last)
				}
				last = d
				got[d] = append(got[d], [2]int{start, end})
				return true
			})
			for e := URL; e <= Price; e++ {
				if want[e] = all(e, &sc, r.text); !slices.Equal(got[e], want[e]) {
					t.Errorf("%q: the set finds %s of %s, it alone %s", r.text, shown(r.text, got[e]), e, shown(r.text, want[e]))
				}
			}
		}
	}
}

// Every detector has a word that leads back to it, and a wrong word is told the right ones.
func TestWords(t *testing.T) {
	for i, name := range Names() {
		if d, err := Parse(name); err != nil || d != Detector(i) || d.String() != name {
			t.Errorf("Parse(%q) = %v, %v", name, d, err)
		}
	}
	if _, err := Parse("mail"); err == nil || !strings.Contains(err.Error(), "email") {
		t.Errorf("a wrong word: %v, want the known ones", err)
	}
}

// What is longer than a limit is cut there, or is nothing.
func TestLimits(t *testing.T) {
	var sc Scratch
	long := func(n int) string { return strings.Repeat("a", n) }
	for _, c := range []struct {
		d    Detector
		text string
		want int // bytes found
	}{
		{URL, long(maxLabel) + ".com", maxLabel + 4},
		{URL, long(maxLabel+1) + ".com", 0},
		{URL, strings.Repeat("a.", 130) + "com", 0},
		{URL, "example.com/" + long(maxURL-1), len("example.com") + maxURL},
		{URL, "example.com/" + long(maxURL+9), len("example.com") + maxURL},
		{URL, long(maxScheme) + "://a", maxScheme + 4},
		{URL, long(maxScheme+1) + "://a", 0},
		{Email, long(maxLocal) + "@example.com", maxLocal + 12},
		{Email, long(maxLocal+1) + "@example.com", 0},
		{Phone, "+" + strings.Repeat("4", maxPhone), maxPhone + 1},
		{Phone, "+" + strings.Repeat("4", maxPhone+1), 0},
		{Messenger, "vx:" + long(maxID-1) + "1", maxID + 3},
		{Messenger, "vx:" + long(maxID) + "1", 0},
		{Messenger, "qq" + strings.Repeat("1", maxQQ), maxQQ + 2},
		{Messenger, "qq" + strings.Repeat("1", maxQQ+1), 0},
		{Price, "¥" + strings.Repeat("1", maxAmount), maxAmount + 2},
		{Price, "¥" + strings.Repeat("1", maxAmount+1), 0},
	} {
		n := 0
		for _, s := range all(c.d, &sc, c.text) {
			n += s[1] - s[0]
		}
		if n != c.want {
			t.Errorf("%s: %d bytes found of %.40s... (%d bytes), want %d", c.d, n, c.text, len(c.text), c.want)
		}
	}
}

// Once the caller has enough, nothing more is reported.
func TestStop(t *testing.T) {
	var sc Scratch
	n := 0
	Price.Find(&sc, []byte("9元 8元 7元"), func(_, _ int) bool { n++; return n < 2 })
	if n != 2 {
		t.Errorf("%d calls, want 2", n)
	}
}

// With a scratch that was used before, nothing is allocated.
func TestAllocations(t *testing.T) {
	var sc Scratch
	var texts [][]byte
	for d := URL; d <= Price; d++ {
		hits, spares := rows(t, d)
		for _, r := range slices.Concat(hits, spares) {
			texts = append(texts, []byte(r.text))
		}
	}
	run := func() {
		n := 0
		for _, text := range texts {
			everything.Find(&sc, text, func(Detector, int, int) bool { n++; return true })
		}
	}
	run()
	if n := testing.AllocsPerRun(10, run); n != 0 {
		t.Errorf("%v allocations, want none", n)
	}
}

const everything Set = 1<<(Price+1) - 1

// maxSteps is how many symbols all detectors together look at, for each byte of a text.
const maxSteps = 150

// The work is linear in the length of a text: on texts made of whatever makes a scanner start again.
func TestLinear(t *testing.T) {
	var sc Scratch
	pieces := []string{
		"a", "1", "-", "1-", "1 ", "12 ", "1.", "a.", "a@", "@", "a at ", "http://", "a://", "www.", "v ", "vx", "vx:", "微信",
		"微信：", "qq", "qq 1", "qq号号号", "加", "电话", "电话1", "电话 1234567 ", "1234567 ", "一", "十", "百", "元", "一元", "9-", "9~", "¥", "$",
		"$1-", "¥1,111", "1,111", "(", "+", "+1", "(1", "138", "138 ", "1380013800", "13800138000 ", "a.com", "a.com/", "a.com:",
		"a dot ", "a[.]", "a点", "t.me/", "t.me/a", "@aaaaa ", "telegram ", "@aaaaa telegram", "微信同号", "1微信同号", "line id ",
		"signal ", "⑩", "½", "ﷺ", "\u200b", "微\u3000", "微 -", " ", "\n", "\xff", "https://a.com/(", "a_", "a%", "a#", "#qq.com",
		"a圈", "转", "1转1", "139.162.123.45",
	}
	most := 0.0
	for _, p := range pieces {
		for _, q := range append(pieces, "") {
			text := []byte(strings.Repeat(p+q, 2000/len(p+q)))
			everything.Find(&sc, text, func(Detector, int, int) bool { return true })
			per := float64(sc.steps) / float64(len(text))
			most = max(most, per)
			if per > maxSteps {
				t.Errorf("%q and %q: %.0f symbols looked at a byte, want at most %d", p, q, per, maxSteps)
			}
		}
	}
	t.Logf("at most %.0f symbols looked at a byte", most)
}

// plain are occurrences as they are plainly written, on a line of their own. Whatever stands around
// the line, they are found.
var plain = [...]*regexp.Regexp{
	URL:       regexp.MustCompile(`(?m)^https?://[a-z0-9]{1,30}\.(com|cn)(/[a-z0-9]{1,30})?$`),
	Email:     regexp.MustCompile(`(?m)^[a-z0-9]{1,30}@[a-z0-9]{1,30}\.(com|cn)$`),
	Phone:     regexp.MustCompile(`(?m)^(\+86)?1[3-9][0-9]{9}$`),
	Messenger: regexp.MustCompile(`(?m)^(QQ|扣扣)[:：][1-9][0-9]{4,10}$`),
	Price:     regexp.MustCompile(`(?m)^(¥[0-9]{1,9}|[0-9]{1,9}元)$`),
}

// What is found has the spans that Find promises; what is plainly written is found; and no text makes
// the work grow faster than itself.
func FuzzDetect(f *testing.F) {
	for d := URL; d <= Price; d++ {
		hits, spares := rows(f, d)
		for _, r := range slices.Concat(hits, spares) {
			f.Add(r.text)
			f.Add("1\n" + r.text + "\n13800138000\n¥5\n")
		}
	}
	f.Fuzz(func(t *testing.T, text string) {
		var sc Scratch
		var starts []int // of the characters, and the end
		for i := range text {
			starts = append(starts, i)
		}
		starts = append(starts, len(text))
		for d := URL; d <= Price; d++ {
			last := 0
			found := all(d, &sc, text)
			for _, p := range plain[d].FindAllStringIndex(text, -1) {
				if !slices.ContainsFunc(found, func(s [2]int) bool { return s[0] <= p[0] && p[1] <= s[1] }) {
					t.Fatalf("%s: %q was not found in %q", d, text[p[0]:p[1]], text)
				}
			}
			for _, s := range found {
				if s[0] < last || s[1] <= s[0] || s[1] > len(text) {
					t.Fatalf("%s: span %v behind %d in %q", d, s, last, text)
				}
				if !slices.Contains(starts, s[0]) || !slices.Contains(starts, s[1]) {
					t.Fatalf("%s: span %v cuts a character of %q", d, s, text)
				}
				last = s[1]
			}
		}
		everything.Find(&sc, []byte(text), func(Detector, int, int) bool { return true })
		if sc.steps > maxSteps*(len(text)+16) {
			t.Fatalf("%d symbols looked at in %d bytes", sc.steps, len(text))
		}
	})
}

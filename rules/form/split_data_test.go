package form

import (
	"slices"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/weir-moderation/weir/rules/fold"
)

// What people write apart stands side by side; what stands one above the other,
// or around it, they do not.
func TestSplits(t *testing.T) {
	for _, tc := range []struct {
		character rune
		way       string
	}{
		{'赌', "贝者"},
		{'枪', "木仓"},
		{'独', "犬虫"},
		{'博', "十尃"},
		{'博', "十甫寸"},
		{'明', "日月"},
		{'林', "木木"},
		{'谢', "言身寸"},
		{'谢', "讠射"},
		{'树', "木又寸"},
		{'操', "扌喿"},
		{'操', "手喿"},  // with the radical in its full form
		{'倒', "亻至刂"}, // 刂 is no character of the standard table
		{'街', "行土土"},
		{'你', "人尔"},
		{'你', "亻尔"},
		{'冰', "冫水"},
		{'湖', "氵古月"},
		{'后', "彳幺夂"}, // 後
		{'超', "走召"},  // reviewed, though not side by side
		{'药', "艹约"},
	} {
		if way := fold.String(tc.way); !slices.Contains(splits(tc.character), way) {
			t.Errorf("%c is split as %q, want %s among them", tc.character, splits(tc.character), way)
		}
	}
	for _, r := range []rune{'想', '围', '爱', '花', '一', 'a', 0, -1, 0x10FFFF} {
		if ways := splits(r); len(ways) > 0 {
			t.Errorf("%c is split as %q, want no way", r, ways)
		}
	}
}

// Every part is a folded Han character and not the character itself; no way is
// there twice; and the traditional ones lead to the folded characters too.
func TestSplitsAreFolded(t *testing.T) {
	if n := len(splitWays()); n < 8000 {
		t.Errorf("%d characters can be split, want 8000 at least", n)
	}
	for r := range splitWays() {
		ways := splits(r)
		if len(ways) == 0 || len(ways) > 8 || len(slices.Compact(slices.Sorted(slices.Values(ways)))) != len(ways) {
			t.Errorf("%c is split as %q, want 1 to 8 ways and each once", r, ways)
		}
		if !slices.IsSortedFunc(ways, func(a, b string) int { return utf8.RuneCountInString(a) - utf8.RuneCountInString(b) }) {
			t.Errorf("%c is split as %q, want the ways in two parts first", r, ways)
		}
		text := string(r)
		for _, way := range ways {
			if n := utf8.RuneCountInString(way); n < 2 || n > 3 || strings.ContainsRune(way, r) {
				t.Errorf("%c is split as %q, want two or three other characters", r, way)
			}
			text += way
		}
		if fold.String(text) != text {
			t.Errorf("%q is not folded; run rules/fold/gen/cmd/forms again", text)
		}
		for _, r := range text {
			if fold.ClassOf(r) != fold.Han {
				t.Errorf("%q contains %U, which is no Han character", text, r)
			}
		}
	}
}

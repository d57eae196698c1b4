package form

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/weir-moderation/weir/rules/fold"
)

func TestAlikes(t *testing.T) {
	for _, tc := range []struct {
		character rune
		want      string
	}{
		{'赌', "诸堵睹"},
		{'枪', "抢呛"},
		{'弹', "禅"},
		{'炸', "诈昨"},
		{'大', "太犬"},
		{'己', "已巳"},
		{'末', "未"},
		{'日', "曰"},
		{'土', "士"},
		{'人', "入八"},
		{'嫖', "漂"}, // rare ones too
		{'娼', "倡唱猖"},
	} {
		for _, r := range tc.want {
			if !strings.ContainsRune(alikes(tc.character), r) {
				t.Errorf("%c looks like %q, want %c among them", tc.character, alikes(tc.character), r)
			}
		}
	}
	// 讠 is the radical of both: sharing it makes nothing alike.
	if strings.ContainsRune(alikes('说'), '语') || alikes('a') != "" || alikes(-1) != "" {
		t.Errorf("说 looks like %q, a like %q", alikes('说'), alikes('a'))
	}
}

// Nothing is written for itself, all is folded Han, and to be alike is mutual, but for
// rare characters, in place of which common ones are written.
func TestAlikesAreMutual(t *testing.T) {
	if strings.ContainsRune(alikes('漂'), '嫖') {
		t.Errorf("漂 looks like %q, want no rare 嫖", alikes('漂'))
	}
	if n := len(shapes()); n < 1500 {
		t.Errorf("%d characters look like others, want 1500 at least", n)
	}
	for r, others := range shapes() {
		if all := string(r) + others; fold.String(all) != all {
			t.Errorf("%q is not folded; run rules/fold/gen/cmd/forms again", all)
		}
		if n := utf8.RuneCountInString(others); n == 0 || n > 40 {
			t.Errorf("%c looks like %d characters, want 1 to 40", r, n)
		}
		for _, o := range others {
			mutual := strings.ContainsRune(alikes(o), r) || rare(r)
			if o == r || strings.Count(others, string(o)) != 1 || !mutual || fold.ClassOf(o) != fold.Han {
				t.Errorf("%c looks like %q; %c does not belong there", r, others, o)
			}
		}
	}
}

// rare reports whether a character stands behind a blank in the table.
func rare(r rune) bool {
	for _, others := range tableRows(shapeTable) {
		if strings.ContainsRune(others, r) {
			return true
		}
	}
	return false
}

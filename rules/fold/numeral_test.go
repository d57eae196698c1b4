package fold

import "testing"

// All that is written for a digit, in whatever style, is one when folded.
func TestNumeral(t *testing.T) {
	for d, all := range []string{
		"〇零洞", "一壹壱弌幺〡𠤪", "二贰貳貮弍弐两兩㒃〢𢎐", "三叁参參叄弎〣𠫽𠬙𢦘𣬛", "四肆亖〤𠁤𠃢𦉭",
		"五伍㐅㠪〥𠄡", "六陆陸〦𠫪", "七柒㭍拐〧𠀁", "八捌〨", "九玖勾〩",
	} {
		for _, r := range all {
			folded := []rune(String(string(r)))
			if len(folded) != 1 {
				t.Errorf("%c folds to %q, want one character", r, string(folded))
				continue
			}
			got, ok := Numeral(folded[0])
			if folded[0] >= '0' && folded[0] <= '9' {
				got, ok = byte(folded[0]-'0'), true // nothing is left to do
			}
			if !ok || int(got) != d {
				t.Errorf("%c is %d, %t, want %d", r, got, ok, d)
			}
		}
	}
	for _, r := range "十廿卅百千万亿什俩仨漆廾半0a赌○◯" {
		if d, ok := Numeral(r); ok {
			t.Errorf("%c is %d, want no digit", r, d)
		}
	}
}

package form

import (
	"slices"
	"testing"
	"unicode/utf8"

	"github.com/weir-moderation/weir/rules/fold"
)

func TestEmojis(t *testing.T) {
	for _, tc := range []struct{ reading, emoji string }{
		{"马", "🐴"}, {"马", "🐎"}, {"叶", "🍃"}, {"叶子", "🍃"}, {"枪", "🔫"}, {"药", "💊"}, {"药丸", "💊"},
		{"鸡", "🐔"}, {"草", "🌿"}, {"冰", "❄"}, {"冰", "🧊"}, {"骰", "🎲"}, {"骰子", "🎲"}, {"车", "🚗"},
		{"钱", "💰"}, {"刀", "🔪"}, {"爱", "❤"}, {"老虎机", "🎰"}, {"炸弹", "💣"}, {"烟", "🚬"},
	} {
		if all := emojis(tc.reading); !slices.Contains(all, tc.emoji) {
			t.Errorf("%s is %q, want %s among them", tc.reading, all, tc.emoji)
		}
	}
	// 脸 describes more than a hundred emoji and names none.
	for _, reading := range []string{"脸", "", "a", "马马"} {
		if all := emojis(reading); len(all) > 0 {
			t.Errorf("%s is %q, want none", reading, all)
		}
	}
}

// Readings are folded and no longer than is promised; emoji are single folded
// characters that are not text, so that package fold leaves them in a text.
func TestEmojisAreFolded(t *testing.T) {
	if n := len(emojiReadings()); n < 1000 {
		t.Errorf("%d readings, want 1000 at least", n)
	}
	longest := 0
	for reading := range emojiReadings() {
		if fold.String(reading) != reading {
			t.Errorf("%q is not folded; run rules/fold/gen/cmd/forms again", reading)
		}
		longest = max(longest, utf8.RuneCountInString(reading))
		all := emojis(reading)
		if len(all) == 0 || len(slices.Compact(slices.Clone(all))) != len(all) {
			t.Errorf("%s is %q, want one emoji at least and each once", reading, all)
		}
		for _, e := range all {
			r, _ := utf8.DecodeRuneInString(e)
			class := fold.ClassOf(r)
			if utf8.RuneCountInString(e) != 1 || fold.String(e) != e || class == fold.Han || class == fold.Token {
				t.Errorf("%s has %q, want one folded character that is no text", reading, e)
			}
		}
	}
	if longest != maxEmojiReading() {
		t.Errorf("the longest reading has %d characters, want %d", longest, maxEmojiReading())
	}
}

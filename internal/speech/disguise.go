package speech

import (
	"math/rand/v2"
	"strings"
	"unicode"
	"unicode/utf8"
)

// IsChinese reports whether a term has a Chinese character.
func IsChinese(term string) bool {
	return strings.ContainsFunc(term, func(c rune) bool { return unicode.Is(unicode.Han, c) })
}

// Around returns sentences around a prohibited term, in its language, as those who
// write such things put them. {} is where it stands.
func Around(term string) []string {
	if IsChinese(term) {
		return []string{"老朋友推荐：{}，今晚还有名额。", "{}！看我头像。", "朋友都在问：{}。", "本周福利（{}），先到先得。", "需要的看这里——{}，手机就行。"}
	}
	return []string{"Bored? {}, tonight only.", "{}! See my profile.", "Friends told me: {} (link in bio).", "New here: {}."}
}

// invisible characters that evaders put between letters.
func invisible() []string {
	return []string{"\u200b", "\u200c", "\u200d", "\u2060", "\u00ad", "\ufeff", "\ufe0f"}
}

// Disguise writes a term so that it looks the same, or nearly, and is other bytes. One
// of a single character stays as it is.
func Disguise(r *rand.Rand, term string) string {
	if utf8.RuneCountInString(term) < 2 {
		return term
	}
	latin := strings.ContainsFunc(term, func(c rune) bool { return c < 0x80 && c != ' ' })
	ways := []func(string) string{func(s string) string { return sprinkle(r, s) }}
	if latin {
		ways = append(ways, Wide, circled,
			func(s string) string { return toggle(r, s) },
			func(s string) string { return sprinkle(r, Wide(s)) })
	}
	for {
		if s := Pick(r, ways)(term); s != term {
			return s
		}
	}
}

// sprinkle puts invisible characters between the letters.
func sprinkle(r *rand.Rand, s string) string {
	var b strings.Builder
	for i, c := range []rune(s) {
		if i > 0 && (i == 1 || r.IntN(2) == 0) {
			b.WriteString(Pick(r, invisible()))
		}
		b.WriteRune(c)
	}
	return b.String()
}

// Wide writes Latin letters and digits in their full-width forms.
func Wide(s string) string {
	return strings.Map(func(c rune) rune {
		if c > ' ' && c < 0x7f {
			return c - '!' + '！'
		}
		return c
	}, s)
}

// circled writes Latin letters in circles: ⓒⓐⓢⓘⓝⓞ.
func circled(s string) string {
	return strings.Map(func(c rune) rune {
		switch {
		case c >= 'a' && c <= 'z':
			return c - 'a' + 'ⓐ'
		case c >= 'A' && c <= 'Z':
			return c - 'A' + 'Ⓐ'
		}
		return c
	}, s)
}

// toggle writes letters in upper and lower case as they fall.
func toggle(r *rand.Rand, s string) string {
	return strings.Map(func(c rune) rune {
		if r.IntN(2) == 0 {
			return c
		}
		if c >= 'a' && c <= 'z' {
			return c - 'a' + 'A'
		}
		return c
	}, s)
}

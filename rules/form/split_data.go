package form

import (
	"strings"
	"sync"
	"unicode/utf8"
)

// splits returns the ways to write a folded Han character as its two or three
// parts side by side, as 贝者 for 赌; none if it has no such parts.
func splits(r rune) []string { return strings.Fields(splitWays()[r]) }

// splitWays holds what splitTable says by character: the ways, with blanks between.
var splitWays = sync.OnceValue(func() map[rune]string {
	ways := make(map[rune]string, strings.Count(splitTable, "\n"))
	for character, text := range tableRows(splitTable) {
		r, _ := utf8.DecodeRuneInString(character)
		ways[r] = text
	}
	return ways
})

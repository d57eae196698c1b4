package form

import (
	"strings"
	"sync"
)

// emojis returns the emoji that are read as the given folded Chinese word: 🐴 and
// 🐎 for 马. Each is a single character, as package fold leaves it.
func emojis(reading string) []string { return strings.Split(emojiReadings()[reading], "") }

// maxEmojiReading returns how many characters a reading has at most.
func maxEmojiReading() int { return 3 }

// emojiReadings holds what emojiTable says by reading: the emoji, with nothing between.
var emojiReadings = sync.OnceValue(func() map[string]string {
	readings := make(map[string]string, strings.Count(emojiTable, "\n"))
	for reading, all := range tableRows(emojiTable) {
		readings[reading] = all
	}
	return readings
})

package strictyaml

import (
	"slices"
	"strings"
)

// Nearest returns the known word that the given one was probably meant to be,
// whatever the case of its letters, and false if none is near.
func Nearest(word string, known []string) (string, bool) {
	const longest = 64 // beyond that nobody mistypes a name
	best, bestDistance := "", 0
	if len(word) > longest {
		return "", false
	}
	for _, k := range known {
		limit := max(1, len(k)/3)
		if d := distance(strings.ToLower(word), strings.ToLower(k)); d <= limit && (best == "" || d < bestDistance) {
			best, bestDistance = k, d
		}
	}
	return best, best != ""
}

// distance counts the characters to insert, drop, change or swap with their
// neighbour (optimal string alignment).
func distance(a, b string) int {
	s, t := []rune(a), []rune(b)
	before := make([]int, len(t)+1) // the row before the last
	last := make([]int, len(t)+1)
	row := make([]int, len(t)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(s); i++ {
		row[0] = i
		for j := 1; j <= len(t); j++ {
			change := 0
			if s[i-1] != t[j-1] {
				change = 1
			}
			row[j] = slices.Min([]int{last[j] + 1, row[j-1] + 1, last[j-1] + change})
			if i > 1 && j > 1 && s[i-1] == t[j-2] && s[i-2] == t[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last, row = last, row, before
	}
	return last[len(t)]
}

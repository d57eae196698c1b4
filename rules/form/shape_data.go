package form

import (
	"strings"
	"sync"
)

// alikes returns the folded Han characters that are written in place of r because
// they are taken for it at a glance, each once: those with another radical, as 堵
// for 赌, and those a stroke away, as 己 for 已. For a rare character they are
// common ones, as 漂 for 嫖, but not the other way round.
func alikes(r rune) string { return shapes()[r] }

// shapes holds for each character those of its groups in shapeTable.
var shapes = sync.OnceValue(func() map[rune]string {
	others := map[rune]string{}
	for group, rare := range tableRows(shapeTable) {
		for _, r := range group + rare {
			for _, o := range group {
				if o != r && !strings.ContainsRune(others[r], o) {
					others[r] += string(o)
				}
			}
		}
	}
	return others
})

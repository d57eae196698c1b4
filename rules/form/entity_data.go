package form

import (
	"strconv"
	"strings"
	"sync"
)

// entity returns what a named character reference of HTML stands for. The name
// comes without the ampersand and the semicolon, and its case counts.
func entity(name []byte) (string, bool) {
	text, ok := entities()[string(name)]
	return text, ok
}

// entities holds what entityTable says by name.
var entities = sync.OnceValue(func() map[string]string {
	texts := make(map[string]string, strings.Count(entityTable, "\n"))
	for name, points := range tableRows(entityTable) {
		var text []rune
		for point := range strings.FieldsSeq(points) {
			r, err := strconv.ParseInt(point, 16, 32)
			if err != nil {
				panic(err) // a table that the tests have not seen
			}
			text = append(text, rune(r))
		}
		texts[name] = string(text)
	}
	return texts
})

package form

import (
	"crypto/sha256"
	"encoding/hex"
	"sync"
)

// logic counts the changes to what this package finds that its tables do not show. It grows
// with each of them: two versions that can find other hits must not have one name.
const logic = "4"

// tablesVersion names the tables and the code that reads them.
var tablesVersion = sync.OnceValue(func() string {
	h := sha256.New()
	for _, t := range []string{pinyinTable, polyphoneTable, splitTable, emojiTable, shapeTable, entityTable} {
		h.Write([]byte(t))
		h.Write([]byte{0})
	}
	return logic + "-" + hex.EncodeToString(h.Sum(nil)[:4])
})

// Version names everything beside the terms that decides what the matcher finds: the tables
// of the forms, the ordinary words, the exclusions. It goes into the digest of a rule set.
func (m *Matcher) Version() string {
	return tablesVersion() + "-" + m.ordinary.version() + "-" + m.exclusions
}

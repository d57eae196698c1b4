package strictjson

import (
	"fmt"
	"unicode/utf8"
)

// A Reason says why a text was refused. It is safe as a metric label.
type Reason string

// Every reason there is.
const (
	TooLarge  Reason = "too-large"         // longer than Limits.Bytes
	TooDeep   Reason = "too-deep"          // nested deeper than Limits.Depth
	TooMany   Reason = "too-many-values"   // more values than Limits.Values
	Truncated Reason = "truncated"         // ends before the value does
	Syntax    Reason = "syntax"            // something stands where the grammar has no place for it
	Trailing  Reason = "trailing-data"     // something follows the value
	UTF8      Reason = "invalid-utf8"      // bytes that encode no character
	Control   Reason = "control-character" // U+0000 to U+001F as they are
	Escape    Reason = "bad-escape"        // an escape JSON does not know
	Surrogate Reason = "lone-surrogate"    // half of a surrogate pair
	Number    Reason = "bad-number"        // NaN, 01, 1., +1, ...
	Duplicate Reason = "duplicate-name"    // a name twice in one object
)

// An Error tells why and where a text was refused, never what stood there.
type Error struct {
	Reason Reason
	Offset int // in bytes; of a duplicate among many names, the end of the object
}

// Error returns the reason and the place.
func (e *Error) Error() string {
	return fmt.Sprintf("strictjson: %s at byte %d", e.Reason, e.Offset)
}

// misplaced says what is wrong with the byte at i, which stands where a comma,
// a colon, a bracket or a name should.
func misplaced(b []byte, i int) Reason {
	if b[i] < ' ' {
		return Control
	}
	if c, n := utf8.DecodeRune(b[i:]); c == utf8.RuneError && n <= 1 {
		return UTF8
	}
	return Syntax
}

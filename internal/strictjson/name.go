package strictjson

import (
	"bytes"
	"slices"
)

// pairwise is the number of names up to which a new one is compared with all
// before it. Nearly every object is that small. Those with more are sorted when
// they end, or a hostile object would cost the square of its names.
const pairwise = 16

// known reports whether n is one of the names so far, for the first of them.
func known(names [][]byte, n []byte) bool {
	if len(names) >= pairwise {
		return false
	}
	for _, o := range names {
		if len(o) == len(n) && string(o) == string(n) {
			return true
		}
	}
	return false
}

// repeats reports whether an object that ends has a name twice that known has
// not seen. It changes the order of names.
func repeats(names [][]byte) bool {
	if len(names) <= pairwise {
		return false
	}
	slices.SortFunc(names, bytes.Compare)
	for i := 1; i < len(names); i++ {
		if bytes.Equal(names[i-1], names[i]) {
			return true
		}
	}
	return false
}

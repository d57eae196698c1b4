package form

import (
	"runtime"
	"testing"
)

// What a matcher says it takes is what it takes.
func TestMemory(t *testing.T) {
	if raceEnabled {
		t.Skip("the race detector changes what memory is taken")
	}
	var terms []Term
	for a := rune('一'); a < '一'+100; a++ {
		for b := rune('大'); b < '大'+100; b++ {
			terms = append(terms, Term{Text: string([]rune{a, b, a + b - '一', b}), Forms: Fold | Squeeze | Repeat, Substring: true})
		}
	}
	heap := func() int64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.GC()
		runtime.ReadMemStats(&m)
		return int64(m.HeapAlloc)
	}
	if _, err := New(terms[:1], Options{}); err != nil { // sets up the tables all matchers share
		t.Fatal(err)
	}
	before := heap()
	m, err := New(terms, Options{})
	if err != nil {
		t.Fatal(err)
	}
	took := heap() - before
	if need := m.Memory(); took < need*95/100 || took > need*105/100 {
		t.Errorf("takes %d bytes, says %d", took, need)
	}
	runtime.KeepAlive(terms)
}

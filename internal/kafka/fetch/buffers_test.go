package fetch

import "testing"

// A buffer has room for what is asked for and not a quarter more, save for the
// smallest ones; no two sizes share a pool, and a size is its own best fit, so
// that what was put back is found again.
func TestBuffersFit(t *testing.T) {
	last := -1
	for n := 0; n <= MaxBuffer; n += 1021 {
		for _, n := range []int{n, n + 1} {
			if n > MaxBuffer {
				continue
			}
			size, i := fitting(n)
			if size < n || size > 1<<minBits && size > n+n/4+1 || size > MaxBuffer {
				t.Fatalf("%d bytes get %d", n, size)
			}
			if again, j := fitting(size); again != size || j != i {
				t.Fatalf("%d bytes get size %d of %d, which gets %d of %d", n, i, size, j, again)
			}
			if i != last && i != last+1 {
				t.Fatalf("%d bytes get size %d after size %d", n, i, last)
			}
			last = i
		}
	}
	if _, i := fitting(MaxBuffer); i != len(new(Buffers).sizes)-1 {
		t.Errorf("the largest is number %d of %d", i, len(new(Buffers).sizes))
	}
}

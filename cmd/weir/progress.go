package main

import (
	"cmp"
	"fmt"
	"io"
	"strings"
	"sync/atomic"
	"time"
)

// progress is a line that shows how far something has come, rewritten in its place. It belongs
// to one goroutine at a time.
type progress struct {
	w     io.Writer
	on    bool   // a terminal looks at it
	total int64  // 0 if it is not known
	unit  string // of what is counted; empty: message
	note  string // said behind the numbers
	last  time.Time
}

// progressEvery is how often the line is rewritten at most.
const progressEvery = 100 * time.Millisecond

// show says how many are done, and how much of the total that is.
func (p *progress) show(done, read int64) {
	if now := time.Now(); p.on && now.Sub(p.last) >= progressEvery {
		p.last = now
		// Without wrapping: a line that wraps could not be rewritten.
		fmt.Fprintf(p.w, "\r\x1b[?7l%s\x1b[K\x1b[?7h", p.line(done, read))
	}
}

func (p *progress) line(done, read int64) string {
	line := count(done, cmp.Or(p.unit, "message")) + p.note
	if p.total <= 0 {
		return line
	}
	const width = 40
	percent := min(100*read/p.total, 100)
	full := int(width * percent / 100)
	return fmt.Sprintf("[%s%s] %3d %%  %s", strings.Repeat("=", full), strings.Repeat(" ", width-full), percent, line)
}

// end leaves a clean line to whoever speaks next.
func (p *progress) end() {
	if p.on && !p.last.IsZero() {
		fmt.Fprint(p.w, "\r\x1b[K")
	}
}

// countingReader counts the bytes that were read.
type countingReader struct {
	r io.Reader
	n atomic.Int64
}

func (c *countingReader) Read(p []byte) (int, error) {
	n, err := c.r.Read(p)
	c.n.Add(int64(n))
	return n, err
}

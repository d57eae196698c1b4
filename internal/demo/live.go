package demo

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"time"
)

// Counts is what happened in the city so far.
type Counts struct {
	// What the broker took from the city and its visitors.
	Posts, Pushes, Consents, Outcomes int64

	// Judged is how many posts have their outcome for good: the daemon has
	// committed past them.
	Judged int64
	// Flagged is how many of them did not pass.
	Flagged int64

	// What became of pushes.
	Allowed, Deferred, Denied int64
	// Recalled is how many were called back, because consent was withdrawn shortly
	// after they had been allowed.
	Recalled int64

	// DeadLetters is how many messages of any kind could not be judged.
	DeadLetters int64
	deadPosts   int64
}

// Passed is how many posts were judged and let through. A post that passes
// leaves no message anywhere: it is what remains when the others are counted.
func (c Counts) Passed() int64 { return max(0, c.Judged-c.Flagged-c.deadPosts) }

// Waiting is how many posts are on their way.
func (c Counts) Waiting() int64 { return max(0, c.Posts-c.Judged) }

// Line is the live line. It stays within 80 columns for as long as most people watch.
func (c Counts) Line(took time.Duration) string {
	return fmt.Sprintf("%s passed %s flagged %s  allowed %s deferred %s denied %s  dead %s",
		clock(took), short(c.Passed()), short(c.Flagged), short(c.Allowed), short(c.Deferred), short(c.Denied), short(c.DeadLetters))
}

// Summary is the account at the end, a line for each kind of message.
func (c Counts) Summary(took time.Duration) string {
	var b strings.Builder
	fmt.Fprintf(&b, "in %s the city sent %s posts, %s pushes, %s consent changes and took back %s pushes\n",
		took.Round(time.Second), full(c.Posts), full(c.Pushes), full(c.Consents), full(c.Outcomes))
	fmt.Fprintf(&b, "  posts         %8s passed    %8s flagged", full(c.Passed()), full(c.Flagged))
	if n := c.Waiting(); n > 0 {
		fmt.Fprintf(&b, "   %8s not judged yet", full(n))
	}
	fmt.Fprintf(&b, "\n  pushes        %8s allowed   %8s deferred  %8s denied\n", full(c.Allowed), full(c.Deferred), full(c.Denied))
	if c.Recalled > 0 {
		fmt.Fprintf(&b, "                %8s called back\n", full(c.Recalled))
	}
	fmt.Fprintf(&b, "  dead letters  %8s\n", full(c.DeadLetters))
	return b.String()
}

// clock writes a duration as 01:02 or 1:01:02.
func clock(d time.Duration) string {
	s := int(d.Seconds())
	if s < 3600 {
		return fmt.Sprintf("%02d:%02d", s/60, s%60)
	}
	return fmt.Sprintf("%d:%02d:%02d", s/3600, s/60%60, s%60)
}

// short writes a number in at most four columns, or a few more from ten million on.
func short(n int64) string {
	switch {
	case n < 1_000:
		return full(n)
	case n < 10_000:
		return fmt.Sprintf("%d.%dk", n/1e3, n%1e3/100)
	case n < 1_000_000:
		return fmt.Sprintf("%dk", n/1e3)
	default:
		return fmt.Sprintf("%d.%dM", n/1e6, n%1e6/1e5)
	}
}

// full writes a number with its thousands apart.
func full(n int64) string {
	s := fmt.Sprint(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}

// Live shows the counts as they grow: one line rewritten on a terminal, a line
// every five seconds anywhere else.
type Live struct {
	Out      io.Writer
	Terminal bool // see IsTerminal
	Counts   func() Counts
	Began    time.Time
}

// Run shows the line until ctx ends, then ends the line and returns nil.
func (l *Live) Run(ctx context.Context) error {
	every := 5 * time.Second
	if l.Terminal {
		every = 250 * time.Millisecond
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			if l.Terminal {
				// Leave a clean line to whoever speaks next.
				fmt.Fprint(l.Out, "\r\x1b[K")
			}
			return nil
		case <-tick.C:
		}
		if err := l.show(); err != nil {
			return err
		}
	}
}

func (l *Live) show() error {
	line := l.Counts().Line(time.Since(l.Began))
	var err error
	if l.Terminal {
		// Without wrapping: a line longer than the terminal is wide is cut, where
		// one that wraps could not be rewritten.
		_, err = fmt.Fprintf(l.Out, "\r\x1b[?7l%s\x1b[K\x1b[?7h", line)
	} else {
		_, err = fmt.Fprintln(l.Out, line)
	}
	if err != nil {
		return fmt.Errorf("show the live line: %w", err)
	}
	return nil
}

// IsTerminal reports whether a person may be looking at out.
func IsTerminal(out io.Writer) bool {
	f, ok := out.(*os.File)
	if !ok {
		return false
	}
	st, err := f.Stat()
	return err == nil && st.Mode()&os.ModeCharDevice != 0 && os.Getenv("TERM") != "dumb"
}

package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"

	"golang.org/x/term"

	"github.com/weir-moderation/weir/internal/admin"
	"github.com/weir-moderation/weir/internal/demo"
	"github.com/weir-moderation/weir/internal/status"
)

type topCmd struct {
	adminFlags
	Once bool `help:"Say it once and end, as where the output is no terminal. Exit code 3 if something is wrong."`
	JSON bool `name:"json" help:"Write the snapshot once as JSON, as /status.json has it."`
}

// Help says what kong cannot know.
func (topCmd) Help() string {
	return `Shows what the status page of a daemon shows: what is wrong and what to do next, what comes in and what becomes of it, hits, decisions, health. It is drawn anew every five seconds; q ends it, p holds it still.`
}

// maxSnapshot is how much of a snapshot is read: one with a thousand partitions takes less than a tenth of it.
const maxSnapshot = 8 << 20

// Run shows how a daemon does.
func (c *topCmd) Run(ctx context.Context, s streams) error {
	daemon, err := c.client()
	if err != nil {
		return err
	}
	fetch := func(ctx context.Context) ([]byte, error) { return fetchStatus(ctx, daemon) }
	if c.JSON || c.Once || !demo.IsTerminal(s.out) {
		return c.once(ctx, s, fetch)
	}
	return c.live(ctx, s, fetch)
}

// once says it once.
func (c *topCmd) once(ctx context.Context, s streams, fetch func(context.Context) ([]byte, error)) error {
	text, err := fetch(ctx)
	if err != nil {
		return &hintError{err, "name the address of its admin listener with --admin, and how to log in with --admin-user and the like; weir run and weir demo print the address"}
	}
	var snap status.Snapshot
	if err := json.Unmarshal(text, &snap); err != nil {
		return fmt.Errorf("read the daemon's answer: %w", err)
	}
	if c.JSON {
		_, err = s.out.Write(text)
	} else {
		p := paletteFor(s.out)
		_, err = io.WriteString(s.out, strings.Join(status.Report(&snap, 100, p.tone), "\n")+"\n")
	}
	if err == nil && len(snap.Problems) > 0 && c.Once {
		err = &codeError{errSaid, exitFindings}
	}
	return err
}

// tone paints what a report says.
func (p palette) tone(t status.Tone, text string) string {
	return p.paint(map[status.Tone]colour{status.Strong: bold, status.Good: green, status.Amber: yellow, status.Red: red}[t], text)
}

// fetchStatus asks a daemon.
func fetchStatus(ctx context.Context, daemon *admin.Client) ([]byte, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	resp, err := daemon.Do(ctx, http.MethodGet, "/status.json", nil)
	if err != nil {
		return nil, err
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(io.LimitReader(resp.Body, maxSnapshot))
	switch {
	case err != nil:
		return nil, fmt.Errorf("read the daemon's answer: %w", err)
	case resp.StatusCode == http.StatusServiceUnavailable:
		return nil, errors.New("the daemon has just started; ask again in a moment")
	case resp.StatusCode != http.StatusOK || !bytes.HasPrefix(text, []byte("{")):
		return nil, fmt.Errorf("%s is no status of Weir: it answers %s", resp.Request.URL.Redacted(), resp.Status)
	}
	return text, nil
}

// live draws it anew until somebody has seen enough.
func (c *topCmd) live(ctx context.Context, s streams, fetch func(context.Context) ([]byte, error)) error {
	out, _ := s.out.(*os.File) // a terminal is one
	keys := make(chan byte)
	if in, ok := s.in.(*os.File); ok && term.IsTerminal(int(in.Fd())) {
		state, err := term.MakeRaw(int(in.Fd()))
		if err != nil {
			return fmt.Errorf("read keys from the terminal: %w", err)
		}
		defer func() { _ = term.Restore(int(in.Fd()), state) }()
		// Nothing can interrupt a read from a terminal: this one is left behind when we end, and the process with us.
		go func() {
			b := make([]byte, 1)
			for {
				if _, err := in.Read(b); err != nil {
					return
				}
				select {
				case keys <- b[0]:
				case <-ctx.Done():
					return
				}
			}
		}()
	}
	// The other screen, without a cursor, so that what was there before is there again.
	fmt.Fprint(s.out, "\x1b[?1049h\x1b[?25l")
	defer fmt.Fprint(s.out, "\x1b[?25h\x1b[?1049l")
	tick := time.NewTicker(status.Every)
	defer tick.Stop()
	v := viewer{out: s.out, paint: paletteFor(s.out).tone, fetch: fetch, keys: keys, tick: tick.C, size: func() (int, int) {
		w, h, err := term.GetSize(int(out.Fd()))
		if err != nil || w < 1 || h < 1 {
			return 80, 24
		}
		return w, h
	}}
	return v.run(ctx)
}

// viewer draws snapshots in place.
type viewer struct {
	out   io.Writer
	paint func(status.Tone, string) string
	fetch func(context.Context) ([]byte, error)
	keys  <-chan byte
	tick  <-chan time.Time
	size  func() (columns, lines int)

	snap   *status.Snapshot
	failed error // why there is no newer one
	paused bool
}

// interrupt is Ctrl-C, which a terminal in raw mode hands over as a key.
const interrupt = 3

// run draws until q or Ctrl-C is pressed, or ctx ends.
func (v *viewer) run(ctx context.Context) error {
	v.look(ctx)
	for {
		if err := v.draw(); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return nil
		case k := <-v.keys:
			switch k {
			case 'q', 'Q', interrupt:
				return nil
			case 'p', 'P', ' ':
				if v.paused = !v.paused; !v.paused {
					v.look(ctx)
				}
			}
		case <-v.tick:
			if !v.paused {
				v.look(ctx)
			}
		}
	}
}

// look takes a new snapshot; where there is none the last one stays, and it is said that it is old.
func (v *viewer) look(ctx context.Context) {
	text, err := v.fetch(ctx)
	if err == nil {
		var s status.Snapshot
		if err = json.Unmarshal(text, &s); err == nil {
			v.snap = &s
		}
	}
	v.failed = err
}

// draw writes the screen anew, line by line over what is there, so that nothing flickers.
func (v *viewer) draw() error {
	columns, height := v.size()
	var lines []string
	if v.failed != nil {
		lines = append(lines, v.paint(status.Red, "! ")+cutTo(v.failed.Error(), columns-2))
	}
	if v.snap != nil {
		lines = append(lines, status.Report(v.snap, columns, v.paint)...)
	}
	keys := "q quits, p pauses"
	if v.paused {
		keys = "paused, p goes on, q quits"
	}
	lines = append(lines[:min(len(lines), max(0, height-1))], v.paint(status.Strong, cutTo(keys, columns)))
	var b strings.Builder
	b.WriteString("\x1b[H")
	for i, l := range lines {
		if i > 0 {
			b.WriteString("\r\n")
		}
		b.WriteString(l + "\x1b[K")
	}
	b.WriteString("\x1b[J")
	_, err := io.WriteString(v.out, b.String())
	return err
}

// cutTo returns the beginning of a text that takes so many columns.
func cutTo(text string, n int) string {
	r := []rune(printable(text))
	return string(r[:min(len(r), max(0, n))])
}

package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"unicode/utf8"

	"github.com/weir-moderation/weir/pipeline/event"
)

// benignTexts reads a corpus: texts, one a line, each a post of one field, and events, a JSON object
// a line.
type benignTexts struct {
	in     io.Reader
	limits event.Config
	unread int // lines that are neither
	err    error
}

// all yields the events with the numbers of their lines, each valid until the next.
func (b *benignTexts) all(ctx context.Context) iter.Seq2[int, *event.Event] {
	return func(yield func(int, *event.Event) bool) {
		in := lineReader{r: bufio.NewReaderSize(b.in, 64<<10), limit: b.limits.MaxBytes}
		decoder := event.NewDecoder(b.limits)
		var e event.Event
		for n := 1; ; n++ {
			line, err := in.next()
			switch {
			case errors.Is(err, io.EOF):
				return
			case err != nil:
				b.err = fmt.Errorf("read corpus: %w", err)
				return
			case ctx.Err() != nil:
				b.err = errors.New("interrupted")
				return
			}
			tooLong := len(line) > b.limits.MaxBytes
			line = bytes.TrimSpace(line)
			switch {
			case len(line) == 0:
				continue
			case tooLong || !utf8.Valid(line):
				b.unread++
				continue
			case line[0] == '{':
				decoder.Reset()
				if err := decoder.Decode(0, nil, line, &e); err != nil || e.Kind != event.Post && e.Kind != event.Push {
					b.unread++
					continue
				}
			default:
				e = event.Event{Kind: event.Post, Fields: []event.Field{{Name: []byte("text"), Text: line}}}
			}
			if !yield(n, &e) {
				return
			}
		}
	}
}

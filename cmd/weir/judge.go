package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/weir-moderation/weir/pipeline"
	"github.com/weir-moderation/weir/pipeline/event"
	"github.com/weir-moderation/weir/rules"
)

type judgeCmd struct {
	ruleFlags
	recordedFlags
}

// Help says what kong cannot know.
func (judgeCmd) Help() string {
	return `Reads events from stdin, one JSON object a line, and writes one verdict a line to stdout in the same order. Needs no Kafka and no Redis: a push gets the verdict on its content only. A line that cannot be judged yields {"dead_letter": ...} and exit status 1 at the end. An event without "kind" is a push if it has what only pushes have, else a post.`
}

// deadLine is what a line that cannot be judged yields.
type deadLine struct {
	DeadLetter deadLetter `json:"dead_letter"`
}

type deadLetter struct {
	Line   int             `json:"line"`
	Stage  pipeline.Stage  `json:"stage"`
	Reason pipeline.Reason `json:"reason"`
	Detail string          `json:"detail"`
}

// Run judges stdin line by line.
func (c *judgeCmd) Run(ctx context.Context, s streams) error {
	cfg, set, err := c.loadRecorded(ctx, &c.ruleFlags, c.load)
	if err != nil {
		return err
	}
	var dead int
	if !finishes(ctx, func() { dead, err = judgeLines(ctx, set, cfg.Events, s.in, s.out) }) {
		return errors.New("interrupted")
	}
	if err != nil {
		return err
	}
	if dead > 0 {
		fmt.Fprintf(s.err, "weir: error: %s could not be judged\n", count(dead, "line"))
		return errSaid
	}
	return nil
}

// judgeLines judges every line of r and writes to w. It returns how many lines
// could not be judged.
func judgeLines(ctx context.Context, set *rules.Set, limits event.Config, r io.Reader, w io.Writer) (dead int, err error) {
	in := lineReader{r: bufio.NewReaderSize(r, 64<<10), limit: limits.MaxBytes}
	out := bufio.NewWriter(w)
	enc := jsonTo(out)
	judge := pipeline.NewJudge(limits)
	var e event.Event
	for n := 1; ctx.Err() == nil; n++ {
		line, err := in.next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return dead, errors.Join(fmt.Errorf("read stdin: %w", err), out.Flush())
		}
		v, err := judge.Judge(set, 0, nil, line, &e)
		if err != nil {
			dead++
			d := deadLetter{Line: n, Stage: pipeline.StageDecode, Detail: err.Error()}
			if refused, ok := errors.AsType[*event.Error](err); ok {
				d.Reason = pipeline.Reason(refused.Reason)
			} else {
				d.Stage, d.Reason = pipeline.StageJudge, pipeline.ReasonPanic
				judge = pipeline.NewJudge(limits)
			}
			err = enc.Encode(deadLine{d})
		} else {
			err = enc.Encode(v.Report())
		}
		// Whoever types or pipes line by line sees each verdict at once; a file is written in large pieces.
		if err == nil && in.r.Buffered() == 0 {
			err = out.Flush()
		}
		if err != nil {
			return dead, fmt.Errorf("write verdict: %w", err)
		}
		judge.Reset()
	}
	if err := out.Flush(); err != nil {
		return dead, fmt.Errorf("write verdict: %w", err)
	}
	return dead, context.Cause(ctx)
}

// lineReader reads lines of any length in bounded memory: of a line longer than
// the limit only the first limit+1 bytes are kept, enough for the decoder to
// refuse it by its size.
type lineReader struct {
	r     *bufio.Reader
	limit int
	buf   []byte
}

// next returns the next line without its line feed, valid until the next call.
// The last line may lack a line feed.
func (l *lineReader) next() ([]byte, error) {
	l.buf = l.buf[:0]
	read := false
	for {
		part, err := l.r.ReadSlice('\n')
		read = read || len(part) > 0
		if room := l.limit + 2 - len(l.buf); room > 0 {
			l.buf = append(l.buf, part[:min(room, len(part))]...)
		}
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			continue
		case err != nil && (!errors.Is(err, io.EOF) || !read):
			return nil, err
		}
		line := l.buf
		if n := len(line); n > 0 && line[n-1] == '\n' {
			line = line[:n-1]
		}
		if n := len(line); n > 0 && line[n-1] == '\r' {
			line = line[:n-1]
		}
		return line, nil
	}
}

// Command weir judges streams of user posts and push notifications.
//
// This package holds the verbs, their flags, exit codes and the voice in which
// they speak; everything else is in the packages below. Exit codes: 0 fine,
// 1 failed, 2 misuse, 3 findings.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/alecthomas/kong"
)

// cli is the command line: one field per verb.
type cli struct {
	Run        runCmd        `cmd:"" help:"Judge what comes in from Kafka until told to stop."`
	Top        topCmd        `cmd:"" help:"Show how a daemon does, live in the terminal: what is wrong, what comes in, what becomes of it."`
	Tail       tailCmd       `cmd:"" help:"Show what flows on a topic that Weir writes, a line a message, with what was hit."`
	Demo       demoCmd       `cmd:"" help:"Show all of Weir with nothing installed: an embedded broker and Redis, and a small city that posts and is pushed to."`
	Check      checkCmd      `cmd:"" help:"Say what is wrong with a configuration, its rules and its push policy, without starting anything."`
	Judge      judgeCmd      `cmd:"" help:"Judge events, one JSON object a line, and write a verdict a line."`
	Rules      rulesCmd      `cmd:"" help:"Work on rules."`
	Push       pushCmd       `cmd:"" help:"Work on the push policy, and on what it decided."`
	Load       loadCmd       `cmd:"" help:"Send posts and pushes to a daemon's topics, and say how long they took, what is lost and what came twice."`
	Capacity   capacityCmd   `cmd:"" help:"Say what a rate of messages takes: CPU, instances, partitions, Kafka, Redis, disk."`
	Bench      benchCmd      `cmd:"" help:"Measure on this machine."`
	DeadLetter deadLetterCmd `cmd:"" name:"deadletter" help:"Look at messages that could not be judged, and replay them."`
	Evidence   evidenceCmd   `cmd:"" help:"Look at evidence."`
	Ledger     ledgerCmd     `cmd:"" help:"Say whether every offset of a group was judged exactly once, by topics and evidence."`
	Version    versionCmd    `cmd:"" help:"Print the version."`
	Completion completionCmd `cmd:"" help:"Print the completion of verbs and flags for a shell."`
	Man        manCmd        `cmd:"" help:"Print the manual page."`
}

// streams are the process's own input and outputs, passed down so that tests
// can give others.
type streams struct {
	in       io.Reader
	out, err io.Writer
}

func main() {
	// Only main exits, and only here are signals listened to: the first asks
	// Weir to finish what it has in hand, the second ends it at once.
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	code := run(ctx, os.Args[1:], streams{os.Stdin, os.Stdout, os.Stderr})
	stop()
	os.Exit(code)
}

// Exit codes.
const (
	exitFine     = 0
	exitFailed   = 1
	exitMisuse   = 2
	exitFindings = 3
)

// run is main without the process around it. It returns the exit code.
func run(ctx context.Context, args []string, s streams) int {
	var c cli
	exited := -1
	parser, err := kong.New(&c,
		kong.Name("weir"),
		kong.Description("A streaming content-moderation daemon. Start with: weir demo"),
		kong.Writers(s.out, s.err),
		kong.Exit(func(code int) { exited = code }),
		kong.UsageOnError(),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true}),
	)
	if err != nil {
		return s.fail(err)
	}
	if len(args) == 0 {
		args = []string{"--help"}
	}
	parsed, err := parser.Parse(args)
	if exited >= 0 { // --help
		return exited
	}
	if err != nil {
		// The parser calls the end of the line by its own name for it.
		said := strings.Replace(err.Error(), `but got "EOL" (<EOL>)`, "but got nothing", 1)
		fmt.Fprintf(s.err, "weir: error: %s\n", said)
		s.hint("weir --help lists the verbs, weir VERB --help the flags of one")
		return exitMisuse
	}
	parsed.BindTo(ctx, (*context.Context)(nil))
	parsed.Bind(s, parser.Model)
	if err := parsed.Run(); err != nil {
		return s.fail(err)
	}
	return exitFine
}

// errSaid is the error of a verb that has already said what is wrong.
var errSaid = errors.New("already said")

// codeError is an error with an exit code of its own.
type codeError struct {
	error
	code int
}

func (e *codeError) Unwrap() error { return e.error }

// hintError is an error with the next command to type.
type hintError struct {
	error
	hint string
}

func (e *hintError) Unwrap() error { return e.error }

// fail says what is wrong and returns the exit code for it.
func (s streams) fail(err error) int {
	code := exitFailed
	if c, ok := errors.AsType[*codeError](err); ok {
		code = c.code
	}
	if errors.Is(err, errSaid) {
		return code
	}
	// Every problem of a file is a line of its own, in the form editors can jump to.
	for line := range strings.Lines(err.Error()) {
		fmt.Fprintf(s.err, "weir: error: %s\n", strings.TrimSuffix(line, "\n"))
	}
	if h, ok := errors.AsType[*hintError](err); ok {
		s.hint(h.hint)
	}
	return code
}

// count returns a number with what it counts, such as "1 line" or "2 lines".
func count[N int | int64](n N, one string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %ss", n, one)
}

func (s streams) hint(text string) { fmt.Fprintf(s.err, "weir: hint: %s\n", text) }

// jsonTo returns an encoder that writes a value a line, with <, > and & as they are: a text is quoted
// for people and scripts, not for a web page.
func jsonTo(w io.Writer) *json.Encoder {
	enc := json.NewEncoder(w)
	enc.SetEscapeHTML(false)
	return enc
}

// finishes runs f and reports whether it ended before ctx did. Nothing can interrupt a read from a
// terminal, so an f that reads may be left behind: nobody may look at what it writes, and the process
// ends.
func finishes(ctx context.Context, f func()) bool {
	done := make(chan struct{})
	go func() {
		defer close(done)
		f()
	}()
	select {
	case <-done:
		return true
	case <-ctx.Done():
		return false
	}
}

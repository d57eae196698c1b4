// Command clauses writes docs/clauses.md: which code keeps which clause
// of the texts Weir serves, and which test would turn red if it no longer did.
//
// Code cites a clause in a comment, the id alone on its line, and says below in
// one sentence what it does about it; tests cite it without a sentence:
//
//	// Clause: push-quiet
//	// A push in the user's rest hours waits for their end or is dropped, by class.
//
// The clauses themselves stand in requirements.txt beside this file. A citation
// of a clause that is not there is an error: nobody keeps what nobody asks for.
package main

import (
	"bytes"
	_ "embed"
	"errors"
	"flag"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

//go:embed requirements.txt
var requirements string

func main() {
	if err := run(os.Args[1:], os.Stderr); err != nil {
		if !errors.Is(err, flag.ErrHelp) {
			fmt.Fprintf(os.Stderr, "clauses: error: %v\n", err)
		}
		os.Exit(1)
	}
}

func run(args []string, stderr io.Writer) error {
	flags := flag.NewFlagSet("clauses", flag.ContinueOnError)
	flags.SetOutput(stderr)
	root := flags.String("root", ".", "the repository's `folder`")
	out := flags.String("out", "docs/clauses.md", "the `page` to write, below the root")
	check := flags.Bool("check", false, "write nothing; fail if the page is not what would be written")
	if err := flags.Parse(args); err != nil {
		return err
	}
	sections, err := parse("requirements.txt", requirements)
	if err != nil {
		return err
	}
	citations, err := scan(os.DirFS(*root))
	if err != nil {
		return err
	}
	text, err := page(sections, citations)
	if err != nil {
		return err
	}
	name := filepath.Join(*root, filepath.FromSlash(*out))
	old, err := os.ReadFile(name)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	switch {
	case bytes.Equal(old, text):
		return nil
	case *check:
		return fmt.Errorf("%s is stale; run go generate ./internal/house", *out)
	}
	return os.WriteFile(name, text, 0o644)
}

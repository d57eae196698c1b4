package main

import (
	"fmt"

	"github.com/weir-moderation/weir/sinks/evidence/export"
)

type tilesCmd struct {
	Dir        string `arg:"" help:"The evidence directory." type:"existingdir"`
	Out        string `arg:"" help:"The directory to write; it must not exist." type:"path"`
	Key        string `help:"The log's public key, as text or as a file; without it the key beside the log." placeholder:"KEY"`
	Generation string `help:"Which log, where the directory holds several; without it the only one." placeholder:"NAME"`
}

// Run writes the tiles.
func (c *tilesCmd) Run(s streams) error {
	key, err := logKey(c.Dir, c.Key)
	if err != nil {
		return &codeError{err, exitMisuse}
	}
	r, err := export.Tiles(c.Dir, c.Generation, key, c.Out)
	if err != nil {
		return err
	}
	fmt.Fprintf(s.out, "  log       %s\n  signed    %d records, root %s\n  written   %s in %s\n", r.Origin, r.Size, r.Root, count(r.Files, "file"), c.Out)
	return nil
}

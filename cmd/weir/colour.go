package main

import (
	"io"
	"os"

	"github.com/weir-moderation/weir/internal/demo"
)

// colour is a colour of a terminal, as the number that ECMA-48 gives it (SGR).
type colour string

const (
	red    colour = "31"
	green  colour = "32"
	yellow colour = "33"
	bold   colour = "1"
)

// palette colours texts for people at a terminal. The zero palette leaves them as they are.
type palette struct{ on bool }

// paletteFor returns the palette for an output: colours only where a terminal shows it, and nobody
// has asked for none (https://no-color.org).
func paletteFor(w io.Writer) palette {
	return palette{demo.IsTerminal(w) && os.Getenv("NO_COLOR") == ""}
}

func (p palette) paint(c colour, text string) string {
	if !p.on || c == "" || text == "" {
		return text
	}
	return "\x1b[" + string(c) + "m" + text + "\x1b[0m"
}

package main

import (
	"os"
	"strings"
	"testing"
)

// Only a terminal gets colours, and only where nobody has asked for none.
func TestPalette(t *testing.T) {
	terminal, err := os.OpenFile(os.DevNull, os.O_WRONLY, 0) // a character device, as terminals are
	if err != nil {
		t.Fatal(err)
	}
	defer terminal.Close()
	t.Setenv("TERM", "xterm")
	t.Setenv("NO_COLOR", "")
	if got := paletteFor(terminal).paint(red, "x"); got != "\x1b[31mx\x1b[0m" {
		t.Errorf("%q", got)
	}
	if got := paletteFor(terminal).paint(red, ""); got != "" {
		t.Errorf("%q", got)
	}
	if got := paletteFor(new(strings.Builder)).paint(red, "x"); got != "x" {
		t.Errorf("%q", got)
	}
	t.Setenv("NO_COLOR", "1")
	if got := paletteFor(terminal).paint(red, "x"); got != "x" {
		t.Errorf("%q", got)
	}
	t.Setenv("NO_COLOR", "")
	t.Setenv("TERM", "dumb")
	if got := paletteFor(terminal).paint(red, "x"); got != "x" {
		t.Errorf("%q", got)
	}
}

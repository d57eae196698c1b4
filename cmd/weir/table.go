package main

import (
	"fmt"
	"io"
	"strings"
)

// table is rows of cells for people, the first of them the heads. Cells may have
// colours.
type table [][]string

// join adds a row; if it differs from the last one in a single column, it
// becomes a part of it, with both in that column.
func (t table) join(row []string, column int) table {
	if last := t[len(t)-1]; len(t) > 1 {
		same := true
		for i := range row {
			same = same && (i == column || row[i] == last[i])
		}
		if same {
			last[column] += ", " + row[column]
			return t
		}
	}
	return append(t, row)
}

// print writes the table with its columns below one another.
func (t table) print(w io.Writer, p palette) {
	width := make([]int, len(t[0]))
	for _, row := range t {
		for i, cell := range row {
			width[i] = max(width[i], columns(uncoloured(cell)))
		}
	}
	for n, row := range t {
		var b strings.Builder
		for i, cell := range row {
			padding := strings.Repeat(" ", width[i]-columns(uncoloured(cell))+2)
			if n == 0 {
				cell = p.paint(bold, cell)
			}
			b.WriteString(cell + padding)
		}
		fmt.Fprintln(w, strings.TrimRight(b.String(), " "))
	}
}

// uncoloured returns a text without what paint puts into it.
func uncoloured(text string) string {
	var b strings.Builder
	for {
		plain, rest, found := strings.Cut(text, "\x1b[")
		b.WriteString(plain)
		if !found {
			return b.String()
		}
		_, text, _ = strings.Cut(rest, "m")
	}
}

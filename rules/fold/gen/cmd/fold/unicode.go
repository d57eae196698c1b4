package main

import (
	_ "embed"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/weir-moderation/weir/rules/fold/gen/source"
)

//go:embed unicode.mjs
var script []byte

// database is the part of the Unicode Character Database that the fold needs.
type database struct {
	Decompositions map[rune]decomposition
	Folds          map[rune][]rune // full case folding
	Cases          map[rune][]rune // the other cases of a letter

	category map[rune]string // none: unassigned
	script   map[rune]string
	property map[string]map[rune]bool
}

type decomposition struct {
	Type string // "Canonical" or the kind of compatibility
	To   []rune
}

// span is an array [first, last, value] in the JSON.
type span struct {
	lo, hi rune
	value  string
}

func (r *span) UnmarshalJSON(b []byte) error {
	return json.Unmarshal(b, &[]any{&r.lo, &r.hi, &r.value})
}

// readUnicode has Node.js read the database: it is kept compressed with Brotli,
// which Go's library lacks, and unpacked by code of the package.
func readUnicode() (*database, error) {
	dir, err := os.MkdirTemp("", "weir-unicode-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	if err := source.Extract(source.Unicode, dir); err != nil {
		return nil, err
	}
	main := filepath.Join(dir, "main.mjs")
	if err := os.WriteFile(main, script, 0o600); err != nil {
		return nil, err
	}
	cmd := exec.Command("node", main, filepath.Join(dir, "package"))
	cmd.Stderr = os.Stderr
	out, err := cmd.Output()
	if err != nil {
		return nil, fmt.Errorf("node: %w", err)
	}
	var data struct {
		database
		Categories, Scripts, Properties []span
	}
	if err := json.Unmarshal(out, &data); err != nil {
		return nil, fmt.Errorf("read the Unicode data: %w", err)
	}
	u := &data.database
	u.category, u.script, u.property = spread(data.Categories), spread(data.Scripts), map[string]map[rune]bool{}
	for _, r := range data.Properties {
		if u.property[r.value] == nil {
			u.property[r.value] = map[rune]bool{}
		}
		for c := r.lo; c <= r.hi; c++ {
			u.property[r.value][c] = true
		}
	}
	return u, nil
}

func spread(runs []span) map[rune]string {
	m := map[rune]string{}
	for _, r := range runs {
		for c := r.lo; c <= r.hi; c++ {
			m[c] = r.value
		}
	}
	return m
}

// digit returns the value of a decimal digit. Unicode promises that the ten digits
// of a script are in a row, so it is the place in the run of digits.
func (u *database) digit(r rune) (value rune, ok bool) {
	if u.category[r] != "Decimal_Number" {
		return 0, false
	}
	lo := r
	for u.category[lo-1] == "Decimal_Number" {
		lo--
	}
	return (r - lo) % 10, true
}

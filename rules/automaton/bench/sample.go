package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"unicode"

	"github.com/weir-moderation/weir/rules/fold"
)

// set is a list of patterns, folded, each once.
type set struct {
	words     []string
	bytes     int
	substring bool // may stand inside a token
}

// readSet reads a set. The en sets are those terms of the mixed ones that have no Han
// character.
func readSet(dir, name string) (*set, error) {
	file, latin := name, false
	switch name {
	case "en_2000":
		file, latin = "mix_10000", true
	case "en_all":
		file, latin = "mix_all", true
	}
	lines, err := readLines(dir, "patterns_"+file)
	if err != nil {
		return nil, err
	}
	s := &set{substring: file[0] == 'z'}
	seen := make(map[string]bool)
	for _, l := range lines {
		w := fold.String(string(l))
		if w == "" || seen[w] || latin && bytes.ContainsFunc([]byte(w), func(r rune) bool { return unicode.Is(unicode.Han, r) }) {
			continue
		}
		seen[w] = true
		s.words = append(s.words, w)
		s.bytes += len(w)
	}
	return s, nil
}

// posts are texts to search, as they were written and folded.
type posts struct {
	posts, folded [][]byte
	ends          []int // where each post ends if all stand in a row
	bytes         int
}

func (p *posts) begin(i int) int {
	if i == 0 {
		return 0
	}
	return p.ends[i-1]
}

func readPosts(dir, name string) (*posts, error) {
	lines, err := readLines(dir, "posts_"+name)
	if err != nil {
		return nil, err
	}
	p := &posts{posts: lines}
	for _, l := range lines {
		p.folded = append(p.folded, fold.Append(nil, l))
		p.bytes += len(l)
		p.ends = append(p.ends, p.bytes)
	}
	return p, nil
}

func readLines(dir, name string) ([][]byte, error) {
	b, err := os.ReadFile(filepath.Join(dir, name+".txt"))
	if err != nil {
		return nil, fmt.Errorf("read sample: %w; say where the samples are with -data", err)
	}
	return bytes.Split(bytes.TrimSpace(b), []byte("\n")), nil
}

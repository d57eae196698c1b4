package app

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"unicode/utf8"

	"github.com/weir-moderation/weir/configs"
	"github.com/weir-moderation/weir/internal/config"
	"github.com/weir-moderation/weir/pipeline"
	"github.com/weir-moderation/weir/pipeline/push"
	"github.com/weir-moderation/weir/rules"
	"github.com/weir-moderation/weir/rules/form"
)

// LoadForce builds the rule set and the push policy a configuration names and
// lets the set judge its own canaries. It changes nothing: what it returns is
// put in force by the caller, or not.
func LoadForce(c *config.Config) (pipeline.Force, error) {
	var force pipeline.Force
	var errs [2]error
	force.Rules, errs[0] = LoadRules(&c.Rules)
	if c.PushesOn() {
		force.Policy, errs[1] = LoadPolicy(&c.Push)
	}
	// Both, so that whoever made two mistakes sees two.
	if err := errors.Join(errs[:]...); err != nil {
		return pipeline.Force{}, err
	}
	return force, nil
}

// LoadRules builds the rule set a configuration names, or the starter packs.
func LoadRules(c *rules.Config) (*rules.Set, error) {
	packs, dir, dirErr := openPacks(c.Dir)
	name, src, err := read(c.Categories, "categories.yaml")
	if err != nil {
		return nil, errors.Join(fmt.Errorf("rules.categories: %w", err), dirErr)
	}
	register, err := rules.ParseRegister(name, src)
	if err := errors.Join(err, dirErr); err != nil {
		return nil, err
	}
	words, wordsErr := loadWords(c.Words)
	exclusions, err := loadExclusions(c.Exclusions)
	if err := errors.Join(wordsErr, err); err != nil {
		return nil, err
	}
	set, err := rules.Load(packs, register, rules.Options{Dir: dir, MemoryBudget: c.MemoryBudget, MaxHits: c.MaxHits,
		Engine: c.Engine, SecondOpinion: c.SecondOpinion, Words: words, Exclusions: exclusions, Only: c.Only})
	if err != nil {
		return nil, err
	}
	if err := set.SelfTest(); err != nil {
		return nil, fmt.Errorf("the rule set fails its own test: %w", err)
	}
	return set, nil
}

// loadWords reads the ordinary words: the Chinese ones from a file or the binary, those in
// Latin letters from the binary.
func loadWords(file string) (*form.Words, error) {
	var name string
	var han []byte
	var err error
	if file == "" {
		name, han, err = read("", "words/zh.txt")
	} else {
		name = file
		han, err = rules.ReadList(file)
	}
	if err != nil {
		return nil, fmt.Errorf("rules.words: %w", err)
	}
	_, latin, err := read("", "words/en.txt")
	if err != nil {
		return nil, err
	}
	words, err := form.NewWords(name, han, latin)
	if err != nil {
		return nil, fmt.Errorf("rules.words: %w", err)
	}
	return words, nil
}

// loadExclusions reads texts that are no hit by sound or shape, one a line; lines that begin
// with # are passed over.
func loadExclusions(file string) ([]string, error) {
	if file == "" {
		return nil, nil
	}
	src, err := rules.ReadList(file)
	if err != nil {
		return nil, fmt.Errorf("rules.exclusions: %w", err)
	}
	if !utf8.Valid(src) {
		return nil, fmt.Errorf("rules.exclusions: %s is not UTF-8; save it as UTF-8, a text a line", file)
	}
	var list []string
	for line := range strings.Lines(string(src)) {
		if line = strings.TrimSpace(line); line != "" && line[0] != '#' {
			list = append(list, line)
		}
	}
	return list, nil
}

// openPacks returns the directory of packs and the name it has in messages.
func openPacks(dir string) (fs.FS, string, error) {
	if dir == "" {
		packs, err := fs.Sub(configs.FS, "rules")
		return packs, "configs/rules", err
	}
	switch info, err := os.Stat(dir); {
	case err != nil:
		return nil, dir, fmt.Errorf("rules.dir: %w", err)
	case !info.IsDir():
		return nil, dir, fmt.Errorf("rules.dir: %s is a file; name the directory that holds the packs", dir)
	}
	return os.DirFS(dir), dir, nil
}

// LoadPolicy builds the push policy a configuration names, or the shipped one.
func LoadPolicy(c *push.Config) (*push.Policy, error) {
	name, src, err := read(c.Policy, "push.yaml")
	if err != nil {
		return nil, fmt.Errorf("push.policy: %w", err)
	}
	return push.ParsePolicy(name, src)
}

// read returns the file at path, or where there is none the one in the binary.
func read(path, shipped string) (name string, src []byte, err error) {
	if path == "" {
		src, err = configs.FS.ReadFile(shipped)
		return "configs/" + shipped, src, err
	}
	src, err = os.ReadFile(filepath.Clean(path))
	return path, src, err
}

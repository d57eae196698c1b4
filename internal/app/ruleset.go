package app

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"
	"unicode/utf8"

	"golang.org/x/mod/sumdb/note"

	"github.com/weir-moderation/weir/configs"
	"github.com/weir-moderation/weir/rules"
	"github.com/weir-moderation/weir/rules/form"
)

// RuleSet is a rule set with the text it was made of: what evidence quotes and a topic carries.
type RuleSet struct {
	*rules.Set
	Bundle     *rules.Bundle
	Dir        string   // before the names of its files in messages
	Categories string   // text of the register
	Exclusions []string // what is no hit by sound or shape
	MaxHits    int
	Signed     time.Time // when it was signed; zero where no key is configured
	// Warning says that the set hits too many of the benign posts in the binary, where there are no
	// others; nil if it does not.
	Warning error
}

// LoadRules builds the rule set a configuration names, or the starter packs.
func LoadRules(c *rules.Config) (*rules.Set, error) {
	s, err := OpenRules(c)
	if err != nil {
		return nil, err
	}
	return s.Set, nil
}

// ErrRulesInTopic means that a configuration's rules are in a topic, where nothing was asked to look.
var ErrRulesInTopic = errors.New("the rules of this configuration come from a topic, which is not read here; name a directory of them instead")

// OpenRules reads the rule set a configuration names, or the starter packs.
func OpenRules(c *rules.Config) (*RuleSet, error) {
	if c.Topic != "" {
		return nil, fmt.Errorf("rules.topic: %w", ErrRulesInTopic)
	}
	packs, dir, err := openPacks(c.Dir)
	var bundle *rules.Bundle
	if err == nil {
		bundle, err = rules.ReadBundle(packs, dir)
	}
	if err != nil {
		// What else is wrong is told too.
		_, _, other := loadLists(c)
		_, _, others := loadRegister(c)
		return nil, errors.Join(others, err, other)
	}
	return OpenBundle(c, bundle, dir)
}

// OpenBundle builds the rule set of a text under the limits and with the lists of a configuration.
// Where a key is configured only what was signed with it is accepted.
func OpenBundle(c *rules.Config, b *rules.Bundle, dir string) (*RuleSet, error) {
	s := &RuleSet{Bundle: b, Dir: dir, MaxHits: c.MaxHits}
	if c.VerifyKey != "" {
		verifier, err := note.NewVerifier(c.VerifyKey)
		if err != nil {
			return nil, fmt.Errorf("rules.verify_key: %w", err)
		}
		if s.Signed, err = b.Verify(verifier); err != nil {
			return nil, err
		}
	}
	register, src, registerErr := loadRegister(c)
	words, exclusions, listsErr := loadLists(c)
	if err := errors.Join(registerErr, listsErr); err != nil {
		return nil, err
	}
	s.Categories, s.Exclusions = string(src), exclusions
	packs, err := b.FS()
	if err != nil {
		return nil, fmt.Errorf("read rules: %w", err)
	}
	s.Set, err = rules.Load(packs, register, rules.Options{Dir: dir, MemoryBudget: c.MemoryBudget, MaxHits: c.MaxHits,
		Engine: c.Engine, SecondOpinion: c.SecondOpinion, Words: words, Exclusions: exclusions, Only: c.Only})
	if err != nil {
		return nil, err
	}
	if err := s.SelfTest(); err != nil {
		return nil, fmt.Errorf("the rule set fails its own test: %w", err)
	}
	return s, nil
}

// Tests returns the tests that lie beside the packs of the set.
func (s *RuleSet) Tests() (*rules.Tests, error) {
	packs, err := s.Bundle.FS()
	if err != nil {
		return nil, fmt.Errorf("read tests: %w", err)
	}
	return rules.LoadTests(packs, s.Dir, s.Set)
}

// Prove runs the tests that lie beside the packs, and sees that the set can be put on record. One that
// fails is not to be put in force. A case that only asks for an exception that has expired does not count:
// the end of a day must neither keep the exception in force nor stop a daemon from starting.
func (s *RuleSet) Prove() error {
	if err := s.Bundle.Check(s.Dir); err != nil {
		return err
	}
	tests, err := s.Tests()
	if err != nil {
		return err
	}
	var errs []error
	for _, f := range tests.Run(s.Set) {
		if !f.Lapsed {
			errs = append(errs, &f)
		}
	}
	return errors.Join(errs...)
}

// LintOptions returns the limits, the words and the register that a configuration names.
func LintOptions(c *rules.Config) (rules.LintOptions, *rules.Register, error) {
	o := rules.LintOptions{Options: rules.Options{MemoryBudget: c.MemoryBudget, MaxHits: c.MaxHits, Engine: c.Engine}}
	register, _, err := loadRegister(c)
	if err != nil {
		return o, nil, err
	}
	o.Words, o.Ordinary, err = loadWords(c.Words)
	return o, register, err
}

func loadRegister(c *rules.Config) (*rules.Register, []byte, error) {
	name, src, err := read(c.Categories, "categories.yaml")
	if err != nil {
		return nil, nil, fmt.Errorf("rules.categories: %w", err)
	}
	register, err := rules.ParseRegister(name, src)
	return register, src, err
}

func loadLists(c *rules.Config) (*form.Words, []string, error) {
	words, _, wordsErr := loadWords(c.Words)
	exclusions, err := loadExclusions(c.Exclusions)
	return words, exclusions, errors.Join(wordsErr, err)
}

// loadWords reads the ordinary words: the Chinese ones from a file or the binary, those in
// Latin letters from the binary. It returns both lists as they are written, too.
func loadWords(file string) (*form.Words, []rules.WordList, error) {
	zh, han, err := read(file, "words/zh.txt")
	if err != nil {
		return nil, nil, fmt.Errorf("rules.words: %w", err)
	}
	en, latin, err := read("", "words/en.txt")
	if err != nil {
		return nil, nil, err
	}
	words, err := form.NewWords(zh, han, latin)
	if err != nil {
		return nil, nil, fmt.Errorf("rules.words: %w", err)
	}
	return words, []rules.WordList{{Name: zh, Text: han}, {Name: en, Text: latin}}, nil
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

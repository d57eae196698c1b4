package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing/fstest"
	"unicode/utf8"

	"github.com/weir-moderation/weir/configs"
	"github.com/weir-moderation/weir/pipeline/event"
	"github.com/weir-moderation/weir/rules"
	"github.com/weir-moderation/weir/rules/fold"
	"github.com/weir-moderation/weir/rules/form"
)

// corpus is what is read from files: posts, terms and ordinary words.
type corpus struct {
	posts    map[string][]string // zh, en, mixed and, if there are any, more
	chinese  []string            // terms of one list, those without Han left out
	latin    []string            // terms that consist of words in Latin letters
	lists    []list              // for false alarms
	register *rules.Register
	words    *form.Words
}

// list is a list of terms, as rules.
type list struct {
	name  string
	rules []rule
}

// rule is what of a rule is kept when its forms are given anew.
type rule struct{ terms, except []string }

// longPost is how many characters of a post are used at most: the rest would only take time.
const longPost = 1000

func readCorpus(o options) (*corpus, error) {
	var errs []error
	read := func(name string) []string {
		data, err := os.ReadFile(name)
		if err != nil {
			errs = append(errs, err)
		}
		return strings.FieldsFunc(string(data), func(r rune) bool { return r == '\n' || r == '\r' })
	}
	file := func(name string) []string { return read(filepath.Join(o.data, name)) }
	c := &corpus{posts: map[string][]string{
		"zh": file("posts_zh_short.txt"), "en": file("posts_en.txt"), "mixed": file("posts_mixed.txt"),
	}}
	if o.texts != "" {
		c.posts["more"] = read(o.texts)
	}
	for _, posts := range c.posts {
		for i, p := range posts {
			if utf8.RuneCountInString(p) > longPost {
				posts[i] = string([]rune(p)[:longPost])
			}
		}
	}
	thousand, ten := usable(file("patterns_zh_1000.txt")), usable(file("patterns_zh_10000.txt"))
	mix := usable(file("patterns_mix_all.txt"))
	c.chinese = slices.DeleteFunc(slices.Clone(thousand), func(t string) bool { return !strings.ContainsFunc(t, isHan) })
	c.latin = slices.DeleteFunc(mix, func(t string) bool { return !isWords(t) })

	var han, latin []byte
	var err error
	if han, err = os.ReadFile(filepath.Join(o.words, "zh.txt")); err != nil {
		errs = append(errs, err)
	}
	if latin, err = os.ReadFile(filepath.Join(o.words, "en.txt")); err != nil {
		errs = append(errs, err)
	}
	if errs != nil {
		return nil, errors.Join(errs...)
	}
	if c.words, err = form.NewWords("zh.txt", han, latin); err != nil {
		return nil, err
	}
	categories, err := configs.FS.ReadFile("categories.yaml")
	if err != nil {
		return nil, err
	}
	if c.register, err = rules.ParseRegister("categories.yaml", categories); err != nil {
		return nil, err
	}
	packs, err := starterPacks(c.register)
	if err != nil {
		return nil, err
	}
	c.lists = []list{
		{fmt.Sprintf("%d Chinese terms", len(thousand)), []rule{{terms: thousand}}},
		{fmt.Sprintf("%d Chinese terms", len(ten)), []rule{{terms: ten}}},
		{fmt.Sprintf("%d Latin terms", len(c.latin)), []rule{{terms: c.latin}}},
		{"starter phrases", packs},
	}
	return c, nil
}

// usable returns the terms that a pack may have, each once.
func usable(terms []string) []string {
	seen := map[string]bool{}
	var kept []string
	for _, t := range terms {
		f := fold.String(t)
		n := utf8.RuneCountInString(f)
		if n < 2 || n > rules.MaxTermLength || seen[f] || strings.TrimSpace(t) != t || strings.ContainsRune(f, fold.Replacement) {
			continue
		}
		seen[f] = true
		kept = append(kept, t)
	}
	return kept
}

func isHan(r rune) bool { return r >= 0x4E00 && r <= 0x9FFF }

func isLetter(r rune) bool { return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' }

// isWords reports whether a term is words of Latin letters, with a blank between, and the first of three letters or
// more.
func isWords(t string) bool {
	first, _, _ := strings.Cut(t, " ")
	return len(first) > 2 && !strings.Contains(t, "  ") &&
		!strings.ContainsFunc(t, func(r rune) bool { return r != ' ' && !isLetter(r) })
}

// starterPacks returns the rules that ship with Weir and need one term only. Of a combination the terms say
// nothing alone: how often those hit is what the tests of package configs measure.
func starterPacks(reg *rules.Register) ([]rule, error) {
	files, err := configs.FS.ReadDir("rules")
	if err != nil {
		return nil, err
	}
	tree := fstest.MapFS{}
	for _, f := range files {
		text, err := configs.FS.ReadFile("rules/" + f.Name())
		if err != nil {
			return nil, err
		}
		tree[f.Name()] = &fstest.MapFile{Data: text}
	}
	set, err := rules.Load(tree, reg, rules.Options{Dir: "configs/rules"})
	if err != nil {
		return nil, err
	}
	var list []rule
	for _, r := range set.Rules() {
		if r.Pack != "canary" && !r.Combines() {
			var except []string
			for _, x := range r.Except {
				except = append(except, x.Text)
			}
			list = append(list, rule{r.Terms(), except})
		}
	}
	return list, nil
}

// memory is enough for ten thousand terms in every form, which is more than anybody should ask for.
const memory = 4 << 30

// set makes a set of rules in the forms, named as in a pack. Without words nothing tells ordinary words.
func (c *corpus) set(list []rule, forms []string, words *form.Words) (*rules.Set, error) {
	type pack struct {
		ID       string   `json:"id"`
		Category string   `json:"category"`
		State    string   `json:"state"`
		Terms    []string `json:"terms"`
		Except   []string `json:"except,omitempty"`
		Forms    []string `json:"forms"`
	}
	var all []pack
	for i, r := range list {
		all = append(all, pack{fmt.Sprintf("quality.r%d", i), c.register.Codes()[0], "live", r.terms, r.except, forms})
	}
	text, err := json.Marshal(map[string]any{"pack": "quality", "rules": all}) // JSON is YAML too
	if err != nil {
		return nil, err
	}
	return rules.Load(fstest.MapFS{"quality.yaml": &fstest.MapFile{Data: text}}, c.register,
		rules.Options{Words: words, MemoryBudget: memory})
}

// post returns a text as a post.
func post(text string) *event.Event {
	return &event.Event{Kind: event.Post, Fields: []event.Field{{Name: []byte("text"), Text: []byte(text)}}}
}

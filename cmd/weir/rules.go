package main

import (
	"bufio"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"unicode"
	"unicode/utf16"

	"github.com/weir-moderation/weir/internal/app"
	"github.com/weir-moderation/weir/internal/config"
	"github.com/weir-moderation/weir/pipeline/event"
	"github.com/weir-moderation/weir/rules"
	"github.com/weir-moderation/weir/rules/fold"
)

type rulesCmd struct {
	Explain         explainCmd `cmd:"" help:"Say what the rules see in a text, in which form and where, and what is nearly a hit."`
	LearnExclusions learnCmd   `cmd:"" name:"learn-exclusions" help:"Learn from benign texts what is no hit although it sounds or looks like a term."`
}

// ruleFlags say which rules are meant.
type ruleFlags struct {
	Rules      string `help:"Directory of packs; without it the starter packs in the binary." placeholder:"DIR" type:"path" xor:"rules"`
	Categories string `help:"The register of categories; without it the one in the binary." placeholder:"FILE" type:"path" xor:"categories"`
	Config     string `help:"Take the rules from this configuration file." placeholder:"FILE" type:"path" xor:"rules,categories"`
}

// load loads the rules, changed by change if it is not nil.
func (f *ruleFlags) load(change func(*rules.Config)) (*rules.Set, error) {
	cfg := config.Default()
	cfg.Rules.Dir, cfg.Rules.Categories = f.Rules, f.Categories
	if f.Config != "" {
		read, err := loadConfig(f.Config)
		if err != nil {
			return nil, err
		}
		cfg = *read
	}
	if change != nil {
		change(&cfg.Rules)
	}
	return app.LoadRules(&cfg.Rules)
}

type explainCmd struct {
	ruleFlags
	JSON bool   `name:"json" help:"Write one JSON object instead of text for people."`
	Text string `arg:"" optional:"" help:"The text; without it stdin is read."`
}

// Help says what kong cannot know.
func (explainCmd) Help() string {
	return `The text is judged as the field "text" of a post. For each hit: the rule, the place in bytes, what stood there, the forms in which it had to be read, and the term as it is written in the pack. Then what reads like a term and is no hit, and why. Places of --json also count UTF-16 units, as browsers do.`
}

// finding is a hit or a near miss as it is written out.
type finding struct {
	Rule       string `json:"rule"`
	Term       string `json:"term"`
	Start      int    `json:"start"`
	End        int    `json:"end"`
	StartUTF16 int    `json:"start_utf16"`
	EndUTF16   int    `json:"end_utf16"`
	Text       string `json:"text"`
	Form       string `json:"form"`
	Confidence string `json:"confidence"`
	Why        string `json:"why,omitempty"` // of a near miss
}

// explanation is what explain finds out.
type explanation struct {
	Folded string    `json:"folded"`
	Fold   string    `json:"fold"`
	Hits   []finding `json:"hits"`
	Near   []finding `json:"near_misses"`
}

// maxExplained is how long a text may be, in bytes.
const maxExplained = 1 << 20

// Run explains one text.
func (c *explainCmd) Run(s streams) error {
	text := []byte(c.Text)
	if c.Text == "" {
		var err error
		if text, err = io.ReadAll(io.LimitReader(s.in, maxExplained+1)); err != nil {
			return fmt.Errorf("read stdin: %w", err)
		}
		text = []byte(strings.TrimSuffix(string(text), "\n"))
	}
	if len(text) > maxExplained {
		return fmt.Errorf("the text is longer than %d bytes; give a piece of it", maxExplained)
	}
	set, err := c.load(nil)
	if err != nil {
		return err
	}
	e := event.Event{Kind: event.Post, Fields: []event.Field{{Name: []byte("text"), Text: text}}}
	hits, near := set.Explain(&e)
	x := explanation{Folded: fold.String(string(text)), Fold: fold.Version, Hits: []finding{}, Near: []finding{}}
	for i := range hits {
		x.Hits = append(x.Hits, found(text, &hits[i], ""))
	}
	for i := range near {
		if n := found(text, &near[i].Hit, near[i].Why); !slices.Contains(x.Near, n) {
			x.Near = append(x.Near, n)
		}
	}
	if c.JSON {
		enc := json.NewEncoder(s.out)
		enc.SetEscapeHTML(false)
		return enc.Encode(x)
	}
	x.print(s.out)
	return nil
}

func found(text []byte, h *rules.Hit, why string) finding {
	units := func(b []byte) int { return len(utf16.Encode([]rune(string(b)))) }
	f := finding{Rule: h.Rule.ID, Term: h.Term, Start: h.Start, End: h.End, Text: string(text[h.Start:h.End]),
		StartUTF16: units(text[:h.Start]), Form: h.Form.String(), Confidence: "high", Why: why}
	f.EndUTF16 = f.StartUTF16 + units(text[h.Start:h.End])
	if h.Form.Weak() {
		f.Confidence = "low"
	}
	return f
}

func (x *explanation) print(w io.Writer) {
	fmt.Fprintf(w, "folded  %s\n", visible(x.Folded))
	for _, f := range x.Hits {
		fmt.Fprintf(w, "hit     %s: bytes %d to %d, %s, read by %s as %q", f.Rule, f.Start, f.End, visible(f.Text), f.Form, f.Term)
		if f.Confidence == "low" {
			fmt.Fprint(w, ", of low confidence: never rejects by itself")
		}
		fmt.Fprintln(w)
	}
	if len(x.Hits) == 0 {
		fmt.Fprintln(w, "no hit")
	}
	for _, f := range x.Near {
		fmt.Fprintf(w, "near    %s: bytes %d to %d, %s, read by %s as %q, is no hit: %s\n", f.Rule, f.Start, f.End, visible(f.Text), f.Form, f.Term, f.Why)
	}
}

// visible quotes a text with escapes for what cannot be seen.
func visible(text string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range text {
		switch {
		case r == '\n':
			b.WriteString(`\n`)
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r != ' ' && !unicode.IsGraphic(r) || unicode.Is(unicode.Mn, r) || unicode.Is(unicode.Variation_Selector, r):
			fmt.Fprintf(&b, `\u{%X}`, r)
		default:
			b.WriteRune(r)
		}
	}
	b.WriteByte('"')
	return b.String()
}

type learnCmd struct {
	ruleFlags
	Corpus string `required:"" help:"Benign texts, one a line." placeholder:"FILE" type:"path"`
	Out    string `help:"The file to write, for rules.exclusions; what it holds already is kept. Without it stdout." placeholder:"FILE" type:"path"`
}

// Help says what kong cannot know.
func (learnCmd) Help() string {
	return `Looks for hits by sound or by shape (pinyin, initials, emoji, shape) in texts of which you know that they are benign, and writes what stood there, folded, the most frequent first, with how often. Name the file in rules.exclusions of the configuration. Look it over: a disguise in the texts would be excluded too.`
}

// maxSurfaces bounds what is remembered of a corpus.
const maxSurfaces = 100_000

// Run learns from a file.
func (c *learnCmd) Run(s streams) error {
	set, err := c.load(nil)
	if err != nil {
		return err
	}
	in, err := os.Open(c.Corpus)
	if err != nil {
		return fmt.Errorf("read corpus: %w", err)
	}
	defer in.Close() //nolint:errcheck // only read
	known, err := knownExclusions(c.Out)
	if err != nil {
		return err
	}
	counts := make(map[string]int)
	var sc rules.Scratch
	lines := bufio.NewScanner(in)
	lines.Buffer(nil, maxExplained)
	texts := 0
	for ; lines.Scan(); texts++ {
		e := event.Event{Kind: event.Post, Fields: []event.Field{{Name: []byte("text"), Text: lines.Bytes()}}}
		for _, h := range set.Match(&sc, &e) {
			if surface := fold.String(string(lines.Bytes()[h.Start:h.End])); h.Form.Weak() && (counts[surface] > 0 || len(counts) < maxSurfaces) {
				counts[surface]++
			}
		}
	}
	if err := lines.Err(); err != nil {
		return fmt.Errorf("read corpus: %w", err)
	}
	var b strings.Builder
	b.WriteString("# What is no hit by sound or by shape, learned from benign texts by weir rules learn-exclusions.\n")
	for _, k := range known {
		fmt.Fprintln(&b, k)
	}
	learned := 0
	for _, k := range slices.SortedFunc(maps.Keys(counts), func(a, b string) int {
		return cmp.Or(cmp.Compare(counts[b], counts[a]), cmp.Compare(a, b))
	}) {
		if !slices.Contains(known, k) {
			fmt.Fprintf(&b, "# %d times\n%s\n", counts[k], k)
			learned++
		}
	}
	fmt.Fprintf(s.err, "weir: %s, %s learned\n", count(texts, "text"), count(learned, "exclusion"))
	if c.Out == "" {
		_, err = io.WriteString(s.out, b.String())
		return err
	}
	if err := os.WriteFile(c.Out, []byte(b.String()), 0o644); err != nil {
		return fmt.Errorf("write exclusions: %w", err)
	}
	return nil
}

// knownExclusions reads what a file of exclusions holds, nothing if there is none.
func knownExclusions(file string) ([]string, error) {
	if file == "" {
		return nil, nil
	}
	src, err := os.ReadFile(file)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read exclusions: %w", err)
	}
	var known []string
	for line := range strings.Lines(string(src)) {
		if line = strings.TrimSpace(line); line != "" && line[0] != '#' {
			known = append(known, line)
		}
	}
	return known, nil
}

package main

import (
	"errors"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"testing/fstest"
	"unicode"

	"github.com/alecthomas/kong"
	"github.com/google/go-cmp/cmp"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/weir-moderation/weir/configs"
	"github.com/weir-moderation/weir/internal/admin"
	"github.com/weir-moderation/weir/internal/config"
	"github.com/weir-moderation/weir/pipeline"
	"github.com/weir-moderation/weir/pipeline/event"
	"github.com/weir-moderation/weir/pipeline/push"
	"github.com/weir-moderation/weir/pipeline/push/policytest"
	"github.com/weir-moderation/weir/rules"
)

// The pages that people read: every example on them is asked of what it is an
// example of. What a page's own test runs is left to that test, see elsewhere.

const root = "../.."

// elsewhere are the pages of which a test of their own reads, and runs, the blocks of some languages.
var elsewhere = map[string]struct{ test, languages string }{
	"docs/rules.md":  {"rules/manual_test.go", "yaml json"},
	"docs/push.md":   {"pipeline/push/policytest/docs_test.go", "yaml json"},
	"docs/inputs.md": {"internal/config/inputs_test.go", "yaml json"},
	"docs/api.md":    {"internal/app/askdocs_test.go", "json"},
}

// block is a fence of a page.
type block struct {
	page           string // from the root
	line           int    // of its first line of text
	language, name string // ```language name
	text           string
}

func (b *block) at(line int) string { return fmt.Sprintf("%s:%d", b.page, b.line+line) }

// file is a text with the name under which a reader of the page would have it.
type file struct{ at, name, text string }

// pages returns the pages about using Weir, by their names from the root.
func pages(t *testing.T) []string {
	t.Helper()
	docs, err := filepath.Glob(filepath.Join(root, "docs", "*.md"))
	if err != nil || len(docs) < 10 {
		t.Fatalf("%d pages in docs, %v", len(docs), err)
	}
	list := []string{"README.md", "CONTRIBUTING.md", "SECURITY.md", "ARCHITECTURE.md", "CHANGELOG.md"}
	for _, p := range docs {
		list = append(list, "docs/"+filepath.Base(p))
	}
	return list
}

func page(t *testing.T, name string) string {
	t.Helper()
	src, err := os.ReadFile(filepath.Join(root, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(src)
}

var fence = regexp.MustCompile("^( *)```([a-z]*) ?(.*)$")

// blocks returns the fences of a page, and its text without them, line for line.
func blocks(t *testing.T, name string) (list []block, prose string) {
	t.Helper()
	var b strings.Builder
	var open *block
	indent := ""
	for i, line := range strings.Split(page(t, name), "\n") {
		m := fence.FindStringSubmatch(line)
		switch {
		case open != nil && m != nil && m[2] == "":
			list = append(list, *open)
			open = nil
		case open != nil:
			open.text += strings.TrimPrefix(line, indent) + "\n"
		case m != nil:
			indent = m[1]
			open = &block{page: name, line: i + 2, language: m[2], name: m[3]}
		default:
			b.WriteString(line)
		}
		b.WriteString("\n")
	}
	if open != nil {
		t.Fatalf("%s: a fence is not closed", open.at(0))
	}
	return list, b.String()
}

// command is what is typed: the words of one simple command.
type command struct {
	line  int // in its block, from 0
	words []string
}

// commands reads a text as a shell does, as far as pages need it: quotes, comments, continued lines, what joins
// commands, redirections and here-documents, which are returned by the file they are written to.
func commands(text string) (list []command, files map[string]string) {
	files = make(map[string]string)
	var words []string
	var word strings.Builder
	inWord, line, begun := false, 0, 0
	var into string                   // what > named
	redirected, added := false, false // added: by >>, to what is there
	endWord := func() {
		if inWord {
			if redirected {
				into, redirected = word.String(), false
			} else {
				if words == nil {
					begun = line
				}
				words = append(words, word.String())
			}
		}
		inWord = false
		word.Reset()
	}
	end := func() {
		endWord()
		if words != nil {
			list = append(list, command{begun, words})
		}
		words = nil
	}
	here := ""
	for i := 0; i < len(text); i++ {
		switch c := text[i]; {
		case c == '\\' && i+1 < len(text):
			i++
			if text[i] == '\n' {
				line++
				continue
			}
			word.WriteByte(text[i])
			inWord = true
		case c == '\'' || c == '"':
			inWord = true
			for i++; i < len(text) && text[i] != c; i++ {
				if text[i] == '\n' {
					line++
				}
				word.WriteByte(text[i])
			}
		case c == '$' && strings.HasPrefix(text[i:], "$("): // what it puts in is no matter here
			inWord = true
			for depth := 0; i < len(text); i++ {
				if text[i] == '(' {
					depth++
				} else if text[i] == ')' {
					if depth--; depth == 0 {
						break
					}
				}
			}
			word.WriteString("1")
		case c == '#' && !inWord:
			for i+1 < len(text) && text[i+1] != '\n' {
				i++
			}
		case strings.HasPrefix(text[i:], "<<"):
			endWord()
			m := regexp.MustCompile(`^<<'?([A-Z]+)'?`).FindStringSubmatch(text[i:])
			if m == nil {
				continue
			}
			i, here = i+len(m[0])-1, m[1]
		case c == '\n':
			if strings.HasSuffix(strings.TrimRight(text[:i], " "), "|") {
				line++
				continue
			}
			end()
			line++
			if here != "" {
				body, _, _ := strings.Cut(text[i+1:], "\n"+here+"\n")
				if !added {
					files[into] = body + "\n"
				}
				i += len(body) + len(here) + 2
				line += strings.Count(body, "\n") + 2
				here, into, added = "", "", false
			}
		case c == '|' || c == ';' || c == '(' || c == ')' || c == '&' && !strings.HasSuffix(text[:i], ">"):
			end()
		case c == '>' || c == '<':
			if w := word.String(); w == "1" || w == "2" { // a number of a stream
				inWord = false
				word.Reset()
			}
			endWord()
			added = added || c == '>' && redirected
			redirected = true
		case unicode.IsSpace(rune(c)):
			endWord()
		default:
			inWord = true
			word.WriteByte(c)
		}
	}
	end()
	return list, files
}

// typed returns what a block says to type: all of sh, of console what stands behind $, and of text the lines that begin with weir.
func (b *block) typed() string {
	switch b.language {
	case "sh":
		return b.text
	case "console", "text":
		prompt := map[string]string{"console": "$ ", "text": "weir "}[b.language]
		lines := strings.Split(b.text, "\n")
		for i, line := range lines {
			if !strings.HasPrefix(line, prompt) {
				lines[i] = ""
			} else {
				lines[i] = strings.TrimPrefix(line, "$ ")
			}
		}
		return strings.Join(lines, "\n")
	}
	return ""
}

// anyFile is a file of a command line that need not be there.
func anyFile(ctx *kong.DecodeContext, target reflect.Value) error {
	var name string
	if err := ctx.Scan.PopValueInto("file", &name); err != nil {
		return err
	}
	if target.Kind() == reflect.Slice {
		target.Set(reflect.Append(target, reflect.ValueOf(name)))
	} else {
		target.SetString(name)
	}
	return nil
}

// grammar returns the command line's parser, which believes that every file is there.
func grammar(t *testing.T) *kong.Kong {
	t.Helper()
	parser, err := kong.New(new(cli), kong.Name("weir"), kong.Exit(func(int) {}), kong.Writers(&strings.Builder{}, &strings.Builder{}),
		kong.NamedMapper("existingfile", kong.MapperFunc(anyFile)), kong.NamedMapper("existingdir", kong.MapperFunc(anyFile)))
	if err != nil {
		t.Fatal(err)
	}
	return parser
}

// arguments returns what Weir is given by a command, if the command is Weir.
func (c command) arguments() (args []string, ok bool) {
	w := c.words
	for len(w) > 0 && regexp.MustCompile(`^[A-Z_]+=`).MatchString(w[0]) {
		w = w[1:]
	}
	switch {
	case len(w) > 0 && (w[0] == "weir" || strings.HasSuffix(w[0], "/weir")):
		return w[1:], true
	case len(w) > 2 && w[0] == "go" && w[1] == "run" && w[2] == "./cmd/weir":
		return w[3:], true
	}
	return nil, false
}

// Every command line that a page shows is one: its verbs and flags are there, and it has what its verb needs.
func TestPagesCommands(t *testing.T) {
	makefile := page(t, "Makefile")
	parsed := 0
	for _, name := range pages(t) {
		list, _ := blocks(t, name)
		for _, b := range list {
			typed, _ := commands(b.typed())
			for _, c := range typed {
				if args, ok := c.arguments(); ok {
					parsed++
					if _, err := grammar(t).Parse(args); err != nil {
						t.Errorf("%s: weir %s: %v", b.at(c.line), strings.Join(args, " "), err)
					}
				}
				switch program := c.words[0]; {
				case program == "make" && !slices.Contains(c.words, "-C"):
					for _, target := range c.words[1:] {
						if word.MatchString(target) && !strings.Contains(makefile, "\n"+target+":") {
							t.Errorf("%s: make has no target %s", b.at(c.line), target)
						}
					}
				case strings.HasPrefix(program, "scripts/"):
					if _, err := os.Stat(filepath.Join(root, program)); err != nil {
						t.Errorf("%s: %v", b.at(c.line), err)
					}
				}
			}
		}
	}
	if parsed < 60 {
		t.Errorf("only %d command lines were found", parsed)
	}
}

var (
	spoken = regexp.MustCompile("`weir ([a-z][^`]*)`")
	word   = regexp.MustCompile(`^[a-z][a-z-]*$`)
	flagOf = regexp.MustCompile(`^--([a-z][a-z0-9.-]*)`)
)

// Every verb and flag that a page speaks of in passing is there, too.
func TestPagesVerbs(t *testing.T) {
	model := grammar(t).Model
	found := 0
	for _, name := range pages(t) {
		if name == "docs/cli.md" {
			continue // is made of them
		}
		_, prose := blocks(t, name)
		for _, m := range spoken.FindAllStringSubmatchIndex(prose, -1) {
			found++
			line := 1 + strings.Count(prose[:m[0]], "\n")
			node := model.Node
			verbs := true // until something comes that is none
			for _, w := range strings.Fields(prose[m[2]:m[3]]) {
				if f := flagOf.FindStringSubmatch(w); f != nil {
					verbs = false
					ok := slices.ContainsFunc(node.AllFlags(false), func(group []*kong.Flag) bool {
						return slices.ContainsFunc(group, func(x *kong.Flag) bool { return x.Name == f[1] })
					})
					if !ok && f[1] != "help" {
						t.Errorf("%s:%d: %s has no flag --%s", name, line, node.FullPath(), f[1])
					}
					continue
				}
				if !verbs || len(node.Children) == 0 || !word.MatchString(w) {
					verbs = false
					continue
				}
				i := slices.IndexFunc(node.Children, func(n *kong.Node) bool { return n.Name == w })
				if i < 0 {
					t.Errorf("%s:%d: %s has no verb %s", name, line, node.FullPath(), w)
					break
				}
				node = node.Children[i]
			}
		}
	}
	if found < 60 {
		t.Errorf("only %d were found", found)
	}
}

// read asks a file of a page of what reads such files. A mistake in it is the error.
func (f file) read(others map[string]string) error {
	base := path.Base(f.name)
	src := []byte(f.text)
	switch {
	case base == "web.yaml":
		dir, err := os.MkdirTemp("", "weir-pages")
		if err != nil {
			return err
		}
		defer func() { _ = os.RemoveAll(dir) }()
		on := filepath.Join(dir, base)
		if err := os.WriteFile(on, src, 0o600); err != nil {
			return err
		}
		// That the certificate it names is not there is all that may be wrong with it.
		if err := admin.Check(admin.Config{WebConfigFile: on}); err == nil || !strings.Contains(err.Error(), "admin.pem") {
			return fmt.Errorf("want of it that it names admin.pem: %w", err)
		}
		return nil
	case base == "prometheus.yml":
		list := regexp.MustCompile(`[a-z-]+\.rules\.yaml`).FindAllString(f.text, -1)
		if list == nil {
			return errors.New("it names no files of rules")
		}
		for _, r := range list {
			if _, err := os.Stat(filepath.Join(root, "configs", "prometheus", r)); err != nil {
				return err
			}
		}
		return nil
	case base == "push.yaml":
		_, err := push.ParsePolicy(base, src)
		return err
	case base == "push_test.yaml":
		policy, err := push.ParsePolicy("push.yaml", []byte(others["push.yaml"]))
		if err != nil {
			return err
		}
		_, err = policytest.Parse(base, src, policy)
		return err
	case path.Dir(f.name) != ".": // a directory of packs
		packs := fstest.MapFS{}
		for name, text := range others {
			if in, ok := strings.CutPrefix(name, path.Dir(f.name)+"/"); ok {
				packs[in] = &fstest.MapFile{Data: []byte(text)}
			}
		}
		register, err := configs.FS.ReadFile("categories.yaml")
		if err != nil {
			return err
		}
		reg, err := rules.ParseRegister("categories.yaml", register)
		if err != nil {
			return err
		}
		set, err := rules.Load(packs, reg, rules.Options{})
		if err != nil {
			return err
		}
		tests, err := rules.LoadTests(packs, "", set)
		if err != nil {
			return err
		}
		var errs []error
		for _, failed := range tests.Run(set) {
			errs = append(errs, errors.New(failed.Error()))
		}
		return errors.Join(errs...)
	case base == "weir.yaml":
		_, err := config.Parse(base, src)
		if err == nil {
			return nil
		}
		// A part is shown of a file in which pushes are on.
		whole := f.text
		for _, rest := range []string{"output: {cleared: c, deferred: d, decisions: e, checkpoints: h}\n", "push: {pseudonym_key_file: k}\n"} {
			if section, _, _ := strings.Cut(rest, ":"); !strings.Contains("\n"+f.text, "\n"+section+":") {
				whole += rest
			}
		}
		if _, err := config.Parse(base, []byte(whole)); err == nil {
			return nil
		}
		return err
	}
	return fmt.Errorf("nobody reads a file %s; name it weir.yaml, push.yaml, rules/..., web.yaml or prometheus.yml in its first line or behind ```yaml", f.name)
}

var fileName = regexp.MustCompile(`^# ([a-z_./-]+\.ya?ml)\b`)

// filesOf returns the files that a page shows or has its reader write. What has no name is a part of weir.yaml.
func filesOf(t *testing.T, name string) []file {
	t.Helper()
	var list []file
	bs, _ := blocks(t, name)
	for _, b := range bs {
		switch b.language {
		case "yaml":
			f := file{b.at(0), "weir.yaml", b.text}
			if m := fileName.FindStringSubmatch(b.text); m != nil {
				f.name = m[1]
			} else if b.name != "" {
				f.name = b.name
			}
			list = append(list, f)
		case "sh":
			_, files := commands(b.text)
			for into, text := range files {
				if strings.HasSuffix(into, ".yaml") {
					list = append(list, file{b.at(0), into, text})
				}
			}
		}
	}
	return list
}

// Every YAML on a page is read by what reads such files in earnest: configuration by its strict parser, rules with
// their tests, policies, the file of the admin listener.
func TestPagesYAML(t *testing.T) {
	found := 0
	for _, name := range pages(t) {
		if e := elsewhere[name]; e.test != "" && !strings.Contains(page(t, e.test), path.Base(name)) {
			t.Errorf("%s does not read %s", e.test, name)
		}
		if strings.Contains(elsewhere[name].languages, "yaml") {
			continue
		}
		others := make(map[string]string)
		list := filesOf(t, name)
		for _, f := range list {
			others[f.name] = f.text // of several of one name the last, as on a disk
		}
		for _, f := range list {
			found++
			if err := f.read(others); err != nil {
				t.Errorf("%s: %v", f.at, err)
			}
		}
	}
	if found < 15 {
		t.Errorf("only %d were found", found)
	}
}

// Every JSON on a page is what it says behind ```json: a message of a topic that a map on the page reads, or what one of the
// published schemas describes.
func TestPagesJSON(t *testing.T) {
	for _, name := range pages(t) {
		if strings.Contains(elsewhere[name].languages, "json") {
			continue
		}
		var maps []*config.Config
		for _, f := range filesOf(t, name) {
			if f.name == "weir.yaml" {
				if c, err := config.Parse(f.name, []byte(f.text)); err == nil { // else TestPagesYAML has said so
					maps = append(maps, c)
				}
			}
		}
		list, _ := blocks(t, name)
	next:
		for _, b := range list {
			if b.language != "json" {
				continue
			}
			for _, c := range maps {
				if s, ok := c.Input.Stream(b.name); ok {
					format, err := s.Topic.Format(s.Kind)
					if err != nil {
						t.Fatal(err)
					}
					d := event.NewDecoder(c.Events)
					d.Format = format
					var e event.Event
					if err := d.Decode(s.Kind, nil, []byte(b.text), &e); err != nil {
						t.Errorf("%s: %v", b.at(0), err)
					}
					continue next
				}
			}
			schema, err := jsonschema.NewCompiler().Compile(filepath.Join(root, "docs", "schemas", b.name+".json"))
			if err != nil {
				t.Errorf("%s: neither a topic of the page nor a schema: %v", b.at(0), err)
				continue
			}
			v, err := jsonschema.UnmarshalJSON(strings.NewReader(b.text))
			if err == nil {
				err = schema.Validate(v)
			}
			if err != nil {
				t.Errorf("%s: %v", b.at(0), err)
			}
		}
	}
}

// spans are what stands between backticks; a backslash in a table only keeps | from ending a cell.
var spans = regexp.MustCompile("`([^`]+)`")

// foreign is what others say: Kafka, the system, OpenSSL. It is in no source of ours.
var foreign = []string{"Not Enough Replicas", "Topic Authorization Failed", "Cluster Authorization Failed", "connection refused",
	"no space left on device", "input/output error", "read-only file system", "permission denied"}

// literals returns the strings in the program's sources, a line each, with the pieces of those that are put together by + one behind the other.
func literals(t *testing.T) string {
	t.Helper()
	var b strings.Builder
	err := filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (d.Name() == "testdata" || d.Name() == "scripts" || strings.HasPrefix(d.Name(), ".") && d.Name() != "..") {
			return fs.SkipDir
		}
		if !strings.HasSuffix(name, ".go") || strings.HasSuffix(name, "_test.go") {
			return nil
		}
		src, err := parser.ParseFile(token.NewFileSet(), name, nil, 0)
		if err != nil {
			return err
		}
		ast.Inspect(src, func(n ast.Node) bool {
			switch x := n.(type) {
			case *ast.BinaryExpr: // left, then right, without a new line between
				ast.Inspect(x, func(n ast.Node) bool {
					if l, ok := n.(*ast.BasicLit); ok && l.Kind == token.STRING {
						b.WriteString(literalText(l.Value))
					}
					return true
				})
				b.WriteString("\n")
			case *ast.BasicLit:
				if x.Kind == token.STRING {
					b.WriteString(literalText(x.Value) + "\n")
				}
			}
			return true
		})
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func literalText(literal string) string {
	s, _ := strconv.Unquote(literal) // the parser has accepted it
	return s
}

// What the pages about troubles quote, Weir says: each text in the first column of a table headed "it says" or "message" is in the
// sources, but for what … and ... stand for; and each reason is one.
func TestPagesQuotes(t *testing.T) {
	said := literals(t)
	reasons := make(map[string]bool)
	for _, r := range pipeline.Reasons() {
		reasons[string(r.Reason)] = true
	}
	for _, o := range push.Outcomes() {
		reasons[string(o.Decision)], reasons[string(o.Reason)] = true, true
	}
	quotes, words := 0, 0
	for _, name := range []string{"docs/troubleshooting.md", "docs/operations.md"} {
		_, prose := blocks(t, name)
		head := ""
		for i, line := range strings.Split(prose, "\n") {
			line = strings.TrimSpace(line)
			if !strings.HasPrefix(line, "|") {
				head = ""
				continue
			}
			first := strings.TrimSpace(strings.Split(line, "|")[1])
			if head == "" {
				head = first
				continue
			}
			for _, m := range spans.FindAllStringSubmatch(first, -1) {
				quote := m[1]
				switch head {
				case "it says", "message", "what you see":
					quotes++
					for part := range strings.SplitSeq(strings.ReplaceAll(quote, "...", "…"), "…") {
						part = strings.TrimSpace(strings.TrimRight(strings.TrimSpace(part), ":,("))
						if part != "" && !strings.Contains(said, part) && !slices.Contains(foreign, part) && !strings.HasPrefix(part, "weir.") {
							t.Errorf("%s:%d: no source says %q", name, i+1, part)
						}
					}
				case "reason", "decision, reason":
					words++
					if !reasons[quote] {
						t.Errorf("%s:%d: %s is no reason", name, i+1, quote)
					}
				}
			}
		}
	}
	if quotes < 50 || words < 15 {
		t.Errorf("only %d texts and %d reasons are quoted", quotes, words)
	}
}

// A page in Chinese shows the same commands, files and messages as the one in English, letter for letter.
func TestPagesInChinese(t *testing.T) {
	found := 0
	for _, name := range pages(t) {
		english, ok := strings.CutSuffix(name, ".zh.md")
		if !ok {
			continue
		}
		found++
		shown := func(name string) (all []string) {
			list, _ := blocks(t, name)
			for _, b := range list {
				if b.language != "text" {
					all = append(all, b.language+" "+b.name+"\n"+b.text)
				}
			}
			return all
		}
		if diff := cmp.Diff(shown(english+".md"), shown(name)); diff != "" {
			t.Errorf("%s (-English +Chinese):\n%s", name, diff)
		}
	}
	if found < 2 {
		t.Errorf("%d pages in Chinese", found)
	}
}

// A test that a page names as the proof of something is there, and the versions of Kafka that a page calls tested are those that CI tests.
func TestPagesNameWhatIsTested(t *testing.T) {
	var tests strings.Builder
	err := filepath.WalkDir(root, func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(name, "_test.go") {
			return err
		}
		src, err := os.ReadFile(name)
		for _, m := range regexp.MustCompile(`(?m)^func (Test\w+)\(`).FindAllSubmatch(src, -1) {
			tests.WriteString("\n" + string(m[1]))
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range pages(t) {
		for i, line := range strings.Split(page(t, name), "\n") {
			for _, m := range regexp.MustCompile(`\bTest[A-Z]\w+`).FindAllString(line, -1) { // of go test -run it may be the beginning only
				if !strings.Contains(tests.String(), "\n"+m) {
					t.Errorf("%s:%d: there is no test %s", name, i+1, m)
				}
			}
		}
	}
	m := regexp.MustCompile(`(?m)^versions=\(([0-9. ]+)\)`).FindStringSubmatch(page(t, ".ci/run"))
	if m == nil {
		t.Fatal(".ci/run names no versions of Kafka")
	}
	versions := strings.Fields(m[1])
	slices.Sort(versions)
	if row := "| Kafka | " + strings.Join(versions, ", ") + " |"; !strings.Contains(page(t, "docs/upgrading.md"), row) {
		t.Errorf("docs/upgrading.md lacks %s", row)
	}
}

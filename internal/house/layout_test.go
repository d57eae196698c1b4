package house

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"
)

// The house as it stands. ARCHITECTURE.md shows the same list to people; a test
// below keeps the two equal.
var house = plan{
	// Data flows down the list, imports point up it. "x/..." is x and all below
	// it: rooms of one package, which may use one another.
	order: []string{
		"internal/strictjson",
		"internal/strictyaml",
		"internal/dial",
		"internal/admin",
		"internal/disk",
		"internal/kafka/...",
		"sinks/evidence/keys",
		"sinks/evidence/retention",
		"sinks/evidence",
		"sinks/evidence/evidencetest",
		"sinks/evidence/postgres",
		"sinks/evidence/postgres/postgrestest",
		"sinks/evidence/body",
		"sinks/evidence/desk",
		"sinks/evidence/anchor",
		"sinks/evidence/export",
		"configs",
		"rules/fold",
		"rules/detect",
		"rules/automaton",
		"rules/form",
		"pipeline/event",
		"pipeline/trace",
		"rules/condition",
		"rules",
		"pipeline/deferral",
		"pipeline/push",
		"pipeline/push/policytest",
		"pipeline",
		"pipeline/pipelinetest",
		"pipeline/ingest",
		"pipeline/ask",
		"pipeline/backtest",
		"sinks",
		"internal/config",
		"internal/status",
		"internal/speech",
		"internal/demo",
		"internal/capacity",
		"internal/load",
		"internal/app",
		"internal/checkup",
		"cmd/weir",
	},

	// Tools and checks: they may look anywhere, nothing may lean on them.
	beside: []string{"internal/house/...", "scripts/..."},

	// Written for tests: only test files may import these.
	forTests: []string{"pipeline/pipelinetest", "sinks/evidence/evidencetest", "sinks/evidence/postgres/postgrestest"},

	// A third-party module belongs to the packages named; a change of it, or its
	// end, then is the matter of one package.
	owners: []owner{
		{module: "github.com/segmentio/kafka-go", packages: []string{"internal/kafka/..."}, tests: true},
		{module: "github.com/klauspost/compress", packages: []string{"internal/kafka/..."}},
		{module: "github.com/pierrec/lz4", packages: []string{"internal/kafka/..."}},
		{module: "golang.org/x/oauth2", packages: []string{"internal/kafka/..."}},
		{module: "github.com/prometheus/exporter-toolkit", packages: []string{"internal/admin"}},
		{module: "go.yaml.in/yaml", packages: []string{"internal/admin"}}, // what the toolkit reads its file by
		{module: "golang.org/x/net", packages: []string{"internal/admin", "pipeline/ask"}, tests: true},
		{module: "golang.org/x/crypto", tests: true}, // hashes of passwords, as in a web config
		{module: "github.com/redis/go-redis", packages: []string{"pipeline/push"}, tests: true},
		{module: "github.com/go-redis/redis_rate", tests: true},
		{module: "github.com/cloudflare/ahocorasick", packages: []string{"rules/automaton"}, tests: true},
		{module: "cel.dev/cel-go", packages: []string{"rules/condition"}},
		{module: "github.com/goccy/go-yaml", packages: []string{"internal/strictyaml"}, tests: true}, // a document as it stands
		{module: "github.com/alecthomas/kong", packages: []string{"cmd/weir"}},
		{module: "golang.org/x/term", packages: []string{"cmd/weir"}},
		{module: "golang.org/x/mod", packages: []string{"sinks/evidence", "sinks/evidence/anchor", "sinks/evidence/retention", "sinks/evidence/desk", "sinks/evidence/export", "rules", "internal/app", "cmd/weir"}, tests: true},
		{module: "golang.org/x/tools", packages: []string{"rules"}}, // txtar, the text of a rule set
		{module: "golang.org/x/text", tests: true},
		{module: "github.com/twmb/franz-go", packages: []string{"internal/demo"}, tests: true}, // kfake, the embedded broker
		{module: "github.com/alicebob/miniredis", packages: []string{"internal/demo"}, tests: true},

		{module: "github.com/jackc/pgx", packages: []string{"sinks/evidence/postgres/..."}},
		{module: "google.golang.org/protobuf", packages: []string{"sinks/evidence/body"}, tests: true},
		{module: "github.com/prometheus/client_golang", packages: []string{anywhere}},
		{module: "github.com/prometheus/client_model", packages: []string{anywhere}},
		{module: "go.opentelemetry.io/otel", packages: []string{"pipeline/trace"}},
		{module: "go.opentelemetry.io/proto", tests: true}, // an OTLP receiver
		{module: "golang.org/x/sync", packages: []string{anywhere}},

		{module: "github.com/go-json-experiment/json", tests: true},
		{module: "github.com/google/go-cmp", tests: true},
		{module: "github.com/rogpeppe/go-internal", tests: true},
		{module: "github.com/santhosh-tekuri/jsonschema", tests: true},
		{module: "go.uber.org/goleak", tests: true},
		{module: "github.com/transparency-dev/tessera", tests: true}, // in a module of its own
	},

	root: []string{
		"cmd", "configs", "docs", "internal", "pipeline", "rules", "scripts", "sinks",
		"ARCHITECTURE.md", "CHANGELOG.md", "CONTRIBUTING.md", "Dockerfile", "LICENSE", "Makefile", "NOTICE",
		"README.md", "SECURITY.md", "go.mod", "go.sum",
	},
}

// Every package of the repository stands where the plan says, imports only what
// stands before it, and uses a third-party module only if it owns it.
func TestLayout(t *testing.T) {
	faults, err := house.check(os.DirFS("../.."))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range faults {
		t.Error(f)
	}
}

// ARCHITECTURE.md shows the packages in the order that is enforced: a reader
// and this test never see two different houses.
func TestArchitectureShowsTheOrder(t *testing.T) {
	text, err := os.ReadFile("../../ARCHITECTURE.md")
	if err != nil {
		t.Fatal(err)
	}
	_, list, ok := strings.Cut(string(text), "```text house\n")
	if !ok {
		t.Fatal("ARCHITECTURE.md has no block ```text house; the list of packages belongs into one")
	}
	list, _, _ = strings.Cut(list, "```")
	var shown []string
	for line := range strings.Lines(list) {
		if name, _, _ := strings.Cut(strings.TrimSpace(line), " "); name != "" {
			shown = append(shown, name)
		}
	}
	var want []string
	for _, place := range house.order {
		want = append(want, strings.TrimSuffix(place, "/..."))
	}
	if !slices.Equal(shown, want) {
		t.Errorf("ARCHITECTURE.md lists\n\t%s\nthe order enforced here is\n\t%s",
			strings.Join(shown, "\n\t"), strings.Join(want, "\n\t"))
	}
}

// The linter tells an author in the editor what TestLayout would tell later, so
// it must know every module that has an owner among the packages.
func TestLinterKnowsTheOwners(t *testing.T) {
	text, err := os.ReadFile("../../.golangci.yml")
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range house.owners {
		if slices.Contains(o.packages, anywhere) {
			continue
		}
		if !strings.Contains(string(text), "pkg: "+o.module) {
			t.Errorf(".golangci.yml has no depguard rule for %s; deny it outside %s", o.module, o.who())
		}
	}
}

// Whoever adds a dependency says why: each module that go.mod asks for itself is
// named in a record of docs/decisions.
func TestDependenciesAreExplained(t *testing.T) {
	mod, err := os.ReadFile("../../go.mod")
	if err != nil {
		t.Fatal(err)
	}
	var records strings.Builder
	files, err := filepath.Glob("../../docs/decisions/*.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		records.Write(text)
	}
	for line := range strings.Lines(string(mod)) {
		module, version, _ := strings.Cut(strings.TrimSpace(strings.TrimPrefix(line, "require ")), " ")
		if !strings.HasPrefix(version, "v") || strings.Contains(line, "// indirect") {
			continue
		}
		if !strings.Contains(records.String(), "`"+module+"`") {
			t.Errorf("go.mod requires %s, and no record in docs/decisions says why", module)
		}
	}
}

// go generate runs every generator, so that scripts/check-generated finds all that is stale.
func TestEveryGeneratorIsRun(t *testing.T) {
	generators, err := filepath.Glob("../../rules/fold/gen/cmd/*")
	if err != nil || len(generators) == 0 {
		t.Fatalf("no generators: %v", err)
	}
	files, err := filepath.Glob("../../rules/*/*.go")
	if err != nil {
		t.Fatal(err)
	}
	var run strings.Builder
	for _, name := range files {
		text, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		for line := range strings.Lines(string(text)) {
			if strings.HasPrefix(line, "//go:generate ") {
				run.WriteString(line)
			}
		}
	}
	for _, g := range generators {
		if name := "./cmd/" + filepath.Base(g); !slices.Contains(strings.Fields(run.String()), name) {
			t.Errorf("no go:generate line runs %s; put one where its tables stand", name)
		}
	}
}

var mdLink = regexp.MustCompile(`\]\(([^)\s#:]*)(#[^)\s]*)?\)`)

// sections returns what the headings of a document are linked by.
func sections(t *testing.T, name string) map[string]bool {
	t.Helper()
	text, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	list := make(map[string]bool)
	fenced := false
	for line := range strings.Lines(string(text)) {
		if strings.HasPrefix(strings.TrimSpace(line), "```") {
			fenced = !fenced
		}
		title := strings.TrimLeft(line, "#")
		if fenced || len(title) == len(line) || !strings.HasPrefix(title, " ") {
			continue
		}
		slug := strings.Map(func(r rune) rune {
			switch {
			case r == ' ':
				return '-'
			case unicode.IsLetter(r), unicode.IsDigit(r), r == '-', r == '_':
				return unicode.ToLower(r)
			}
			return -1
		}, strings.TrimSpace(title))
		unique := slug
		for n := 1; list["#"+unique]; n++ { // a heading that comes again is numbered
			unique = fmt.Sprintf("%s-%d", slug, n)
		}
		list["#"+unique] = true
	}
	return list
}

// Every file that a document of this repository links to is there, and has the section that is named.
func TestLinksLeadSomewhere(t *testing.T) {
	err := filepath.WalkDir("../..", func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if base := d.Name(); d.IsDir() && (base == "testdata" || base == "cache" || strings.HasPrefix(base, ".") && base != "..") {
			return filepath.SkipDir
		}
		if filepath.Ext(name) != ".md" {
			return nil
		}
		text, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		for _, m := range mdLink.FindAllStringSubmatch(string(text), -1) {
			to, section := filepath.Join(filepath.Dir(name), m[1]), m[2]
			if m[1] == "" {
				to = name
			}
			if _, err := os.Stat(to); err != nil {
				t.Errorf("%s links to %s, which is not there", name, m[1])
			} else if filepath.Ext(to) == ".md" && section != "" && !sections(t, to)[section] {
				t.Errorf("%s links to %s, which has no section %s", name, to, section)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

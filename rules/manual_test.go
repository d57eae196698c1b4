package rules

import (
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"reflect"
	"regexp"
	"strings"
	"testing"
	"testing/fstest"

	"github.com/weir-moderation/weir/configs"
	"github.com/weir-moderation/weir/internal/strictyaml"
	"github.com/weir-moderation/weir/rules/condition"
	"github.com/weir-moderation/weir/rules/detect"
	"github.com/weir-moderation/weir/rules/form"
)

// manual returns docs/rules.md and the files that its fences hold, by the names in their first lines.
func manual(t *testing.T) (string, fstest.MapFS) {
	t.Helper()
	src, err := os.ReadFile("../docs/rules.md")
	if err != nil {
		t.Fatal(err)
	}
	files := fstest.MapFS{}
	for _, m := range regexp.MustCompile("(?ms)^```(?:yaml|text)\n(# ([a-z_]+\\.(?:yaml|txt)).*?)^```$").FindAllStringSubmatch(string(src), -1) {
		files[m[2]] = &fstest.MapFile{Data: []byte(m[1])}
	}
	return string(src), files
}

// The example that teaches the language loads, and its tests pass.
func TestManualExample(t *testing.T) {
	_, files := manual(t)
	src, err := configs.FS.ReadFile("categories.yaml")
	if err != nil {
		t.Fatal(err)
	}
	register, err := ParseRegister("categories.yaml", src)
	if err != nil {
		t.Fatal(err)
	}
	set, err := Load(files, register, Options{Words: shippedWords(t)})
	if err != nil {
		t.Fatal(err)
	}
	tests, err := LoadTests(files, "", set)
	if err != nil {
		t.Fatal(err)
	}
	if len(tests.Cases) < 9 {
		t.Errorf("%d cases", len(tests.Cases))
	}
	for _, f := range tests.Run(set) {
		t.Errorf("%s\n%s", f.Error(), f.Diff())
	}
	// Each live or shadow rule shows what it hits and what it spares.
	for _, r := range set.Rules() {
		hits, spares := false, false
		for _, c := range tests.Cases {
			for _, x := range c.Hits {
				hits = hits || x.Rule == r.ID
			}
			for _, id := range c.Spares {
				spares = spares || id == r.ID
			}
		}
		if !hits || !spares {
			t.Errorf("%s: hits %t, spares %t", r.ID, hits, spares)
		}
	}
}

// A name of the language that the example does not use is undocumented.
func TestManualShowsEveryName(t *testing.T) {
	_, files := manual(t)
	var pack packFile
	var cases testFile
	for name, into := range map[string]any{"fraud.yaml": &pack, "fraud_test.yaml": &cases} {
		if _, err := strictyaml.Decode(name, files[name].Data, into); err != nil {
			t.Fatal(err)
		}
	}
	used := make(map[string]bool) // "shape.name"
	mark(reflect.ValueOf(pack), "", used)
	mark(reflect.ValueOf(cases), "", used)
	for _, shape := range []any{packFile{}, groupFile{}, sharedFile{}, exceptionFile{}, entryFile{}, ruleFile{}, testFile{}, caseFile{}, expectedFile{}} {
		for _, name := range names(reflect.TypeOf(shape)) {
			if key := reflect.TypeOf(shape).Name() + "." + name; !used[key] {
				t.Errorf("%s is not in the example of docs/rules.md", key)
			}
		}
	}
	// Every state, boundary and kind of event is named, too.
	example := string(files["fraud.yaml"].Data)
	for _, words := range [][]string{stateWords, boundaryWords, severityWords[1:], {"review", "reject", "sentence", "never", "post", "push"}} {
		for _, w := range words {
			if !regexp.MustCompile(`\b` + w + `\b`).MatchString(example) {
				t.Errorf("%s is not in the example of docs/rules.md", w)
			}
		}
	}
}

// names returns the names that a shape has in YAML, those of the shapes it embeds among them.
func names(shape reflect.Type) []string {
	var list []string
	for i := range shape.NumField() {
		f := shape.Field(i)
		if name, _, _ := strings.Cut(f.Tag.Get("yaml"), ","); name != "" {
			list = append(list, name)
		} else if f.Anonymous {
			list = append(list, names(f.Type)...)
		}
	}
	return list
}

// mark notes which names of which shapes have a value. Of an embedded shape they are those of the
// shape it is in.
func mark(v reflect.Value, in string, used map[string]bool) {
	switch v.Kind() {
	case reflect.Slice:
		for i := range v.Len() {
			mark(v.Index(i), "", used)
		}
	case reflect.Struct:
		shape := v.Type().Name()
		if in != "" {
			shape = in
		}
		for i := range v.NumField() {
			f := v.Type().Field(i)
			if name, _, _ := strings.Cut(f.Tag.Get("yaml"), ","); name != "" && !v.Field(i).IsZero() {
				used[shape+"."+name] = true
			}
			if f.Anonymous {
				mark(v.Field(i), shape, used)
			} else {
				mark(v.Field(i), "", used)
			}
		}
	}
}

// The tables are those of the code.
func TestManualTables(t *testing.T) {
	doc, _ := manual(t)
	var variables strings.Builder
	for _, v := range condition.Variables() {
		fmt.Fprintf(&variables, "| `%s` | %s | %s |\n", v.Name, v.Type, v.Doc)
	}
	if !strings.Contains(doc, "|---|---|---|\n"+variables.String()+"\n") {
		t.Errorf("the table of variables should be\n%s", variables.String())
	}
	var forms []string
	for i, name := range form.Names() {
		f := form.Form(1) << i
		by := "only if asked for"
		for _, s := range []Severity{Critical, High, Medium, Low} {
			if DefaultForms(s)&f != 0 {
				by = s.String()
			}
		}
		if f == form.Fold {
			by = "always"
		}
		forms = append(forms, "\\| `"+name+"` \\| [^|\n]+ \\| "+by+" \\|\n")
	}
	if !regexp.MustCompile(`\|---\|---\|---\|\n` + strings.Join(forms, "") + "\n").MatchString(doc) {
		t.Errorf("the table of forms does not match\n%s", strings.Join(forms, ""))
	}
	var detectors []string
	for _, name := range detect.Names() {
		detectors = append(detectors, "\\| `"+name+"` \\| [^|\n]+ \\|\n")
	}
	if !regexp.MustCompile(`\| detector \| finds \|\n\|---\|---\|\n` + strings.Join(detectors, "") + "\n").MatchString(doc) {
		t.Errorf("the table of detectors does not match\n%s", strings.Join(detectors, ""))
	}
	for _, b := range boundaryWords {
		if !strings.Contains(doc, "| `boundary: "+b+"` |") {
			t.Errorf("the boundary %s is in no table", b)
		}
	}
}

// Every limit on what is written is in the table, with its number.
func TestManualLimits(t *testing.T) {
	doc, _ := manual(t)
	limits := map[string]int{
		"rules.MaxTermLength": MaxTermLength, "rules.MaxTerms": MaxTerms, "rules.MaxExceptions": MaxExceptions, "rules.MaxLists": MaxLists,
		"rules.MaxWithin": MaxWithin, "rules.MaxPattern": MaxPattern, "rules.MaxRules": MaxRules, "rules.MaxPacks": MaxPacks,
		"rules.MaxTermFile": MaxTermFile, "rules.MaxBundle": MaxBundle, "form.MaxGapLength": form.MaxGapLength,
		"condition.MaxLength": condition.MaxLength, "condition.MaxPattern": condition.MaxPattern, "condition.MaxMembers": condition.MaxMembers,
	}
	rows := regexp.MustCompile("(?m)^\\| `([a-z]+\\.Max[A-Za-z]+)` \\| ([0-9]+) \\|").FindAllStringSubmatch(doc, -1)
	for _, row := range rows {
		if got := fmt.Sprint(limits[row[1]]); got != row[2] {
			t.Errorf("%s is %s", row[1], got)
		}
	}
	if len(rows) != len(limits) {
		t.Errorf("%d limits in the table, want %d", len(rows), len(limits))
	}
	if !strings.Contains(doc, fmt.Sprintf("Beyond %d parts", MaxParts)) {
		t.Errorf("rules.MaxParts is %d", MaxParts)
	}
	for _, file := range []string{"pack.go", "library.go", "bundle.go"} {
		src, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(src, func(n ast.Node) bool {
			if spec, ok := n.(*ast.ValueSpec); ok && strings.HasPrefix(spec.Names[0].Name, "Max") && limits["rules."+spec.Names[0].Name] == 0 {
				t.Errorf("rules.%s is not in the table of docs/rules.md", spec.Names[0].Name)
			}
			return true
		})
	}
}

// What the manual shows can be linted as it stands.
func TestManualLints(t *testing.T) {
	src, _ := manual(t)
	report, err := LintMarkdown("docs/rules.md", []byte(src), fstest.MapFS{}, register(t), LintOptions{})
	if err != nil || report.Rules == 0 {
		t.Fatalf("%+v, %v", report, err)
	}
	for _, f := range report.Findings {
		if f.Kind == MissingTest || f.Kind == Unused {
			t.Errorf("%s:%d: %s", f.File, f.Line, f.Message)
		}
	}
}

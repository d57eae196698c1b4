package house

import (
	"strings"
	"testing"
	"testing/fstest"
)

// Each way to leave the plan is found, at its place and with what would be
// right; what the plan allows passes without a word.
func TestEveryFaultIsFound(t *testing.T) {
	small := plan{
		order:    []string{"leaf/...", "low", "mid", "mid/midtest", "high"},
		beside:   []string{"tools/..."},
		forTests: []string{"mid/midtest"},
		owners: []owner{
			{module: "example.net/client", packages: []string{"leaf/..."}},
			{module: "example.net/fake", packages: []string{"high"}, tests: true},
			{module: "example.net/compare", tests: true},
			{module: "example.net/metrics", packages: []string{anywhere}},
		},
		root: []string{"leaf", "low", "mid", "high", "tools", "go.mod", "README.md"},
	}
	sound := map[string]string{
		"go.mod":                  "module example.net/house\n",
		"README.md":               "",
		".ci/run":                 "",
		"leaf/leaf.go":            "// Package leaf is first.\npackage leaf\nimport _ \"example.net/house/leaf/room\"\n",
		"leaf/room/room.go":       "// Package room is a room of leaf.\npackage room\nimport _ \"example.net/client/v2/part\"\n",
		"low/low.go":              "// Package low is next.\npackage low\nimport (\n_ \"example.net/house/leaf\"\n_ \"fmt\"\n_ \"example.net/metrics\"\n)\n",
		"mid/mid.go":              "// Package mid is in the middle.\npackage mid\nimport _ \"example.net/house/low\"\n",
		"mid/mid_test.go":         "package mid\nimport (\n_ \"example.net/house/mid/midtest\"\n_ \"example.net/fake\"\n_ \"example.net/compare/part\"\n)\n",
		"mid/outside_test.go":     "package mid_test\nimport _ \"example.net/house/high\"\n",
		"mid/midtest/midtest.go":  "// Package midtest helps tests.\npackage midtest\nimport (\n_ \"example.net/house/mid\"\n_ \"example.net/compare\"\n)\n",
		"mid/testdata/x/util.go":  "package util\nimport _ \"example.net/nobody\"\n",
		"high/high.go":            "// Package high is last.\npackage high\nimport _ \"example.net/fake/part\"\n",
		"tools/gen/main.go":       "// Command gen writes something.\npackage main\nimport _ \"example.net/house/high\"\n",
		"tools/other/go.mod":      "module example.net/other\n",
		"tools/other/anything.go": "package util\n",
	}
	tests := []struct {
		name string
		file string
		text string
		want string // how the one fault begins; "" if there must be none
		hint string // what it says would be right
	}{
		{name: "a sound house"},
		{
			name: "an import that points down",
			file: "low/up.go", text: "package low\nimport _ \"example.net/house/mid\"\n",
			want: "low/up.go:2:8: low imports mid, which does not stand before it",
			hint: "move what both need",
		},
		{
			name: "a leaf that imports another",
			file: "leaf/out.go", text: "package leaf\nimport _ \"example.net/house/low\"\n",
			want: "leaf/out.go:2:8: leaf imports low, which does not stand before it",
			hint: "imports point up it",
		},
		{
			name: "a test from inside that points down",
			file: "low/up_test.go", text: "package low\nimport _ \"example.net/house/high\"\n",
			want: "low/up_test.go:2:8: low imports high, which does not stand before it",
			hint: "imports point up it",
		},
		{
			name: "test support in the daemon",
			file: "high/more.go", text: "package high\nimport _ \"example.net/house/mid/midtest\"\n",
			want: "high/more.go:2:8: high imports mid/midtest, which is written for tests",
			hint: "only test files may import it",
		},
		{
			name: "a tool in the daemon",
			file: "high/more.go", text: "package high\nimport _ \"example.net/house/tools/gen\"\n",
			want: "high/more.go:2:8: high imports tools/gen, which is a tool",
			hint: "the house does not lean on them",
		},
		{
			name: "a client outside its package",
			file: "low/more.go", text: "package low\nimport _ \"example.net/client\"\n",
			want: "low/more.go:2:8: low imports example.net/client, which belongs to leaf/...",
			hint: "use what its owner offers",
		},
		{
			name: "a client in a test that may not have it",
			file: "low/more_test.go", text: "package low\nimport _ \"example.net/client\"\n",
			want: "low/more_test.go:2:8: low imports example.net/client, which belongs to leaf/...",
			hint: "use what its owner offers",
		},
		{
			name: "a test's module in the daemon",
			file: "low/more.go", text: "package low\nimport _ \"example.net/compare\"\n",
			want: "low/more.go:2:8: low imports example.net/compare, which belongs to test files",
			hint: "use what its owner offers",
		},
		{
			name: "a module that looks like an owned one",
			file: "leaf/more.go", text: "package leaf\nimport _ \"example.net/clients\"\n",
			want: "leaf/more.go:2:8: leaf imports example.net/clients, which belongs to no package",
			hint: "docs/decisions",
		},
		{
			name: "a package without a place",
			file: "mid/extra/extra.go", text: "// Package extra is new.\npackage extra\n",
			want: "mid/extra: has no place in the order",
			hint: "ARCHITECTURE.md",
		},
		{
			name: "a package named for nothing",
			file: "leaf/util/util.go", text: "// Package util has things.\npackage util\n",
			want: "leaf/util: the name says what is in the package, not what it is",
			hint: "name the idea",
		},
		{
			name: "two names for one package",
			file: "leaf/cellar/room.go", text: "// Package room is a cellar.\npackage room\n",
			want: "leaf/cellar/room.go:2:9: package room in a folder named cellar",
			hint: "give both one name",
		},
		{
			name: "a package without a comment",
			file: "leaf/room/room.go", text: "package room\n",
			want: "leaf/room: has no package comment",
			hint: "\"Package room ...\"",
		},
		{
			name: "a command without a comment",
			file: "tools/gen/main.go", text: "package main\n",
			want: "tools/gen: has no package comment",
			hint: "\"Command gen ...\"",
		},
		{
			name: "a comment that is not about the package",
			file: "leaf/room/room.go", text: "// Copyright someone.\npackage room\n",
			want: "leaf/room: has no package comment",
			hint: "what it is for",
		},
		{
			name: "a stray folder",
			file: "pkg/notes.md", text: "",
			want: "pkg: does not belong at the top level",
			hint: "documents go to docs",
		},
		{
			name: "a stray file",
			file: "notes.txt", text: "",
			want: "notes.txt: does not belong at the top level",
			hint: "documents go to docs",
		},
		{
			name: "what git ignores is not looked at",
			file: ".gitignore", text: "# builds\n/bin/\n",
		},
		{
			name: "a file that does not parse",
			file: "low/more.go", text: "pakage low\n",
			want: "low/more.go:1:1: expected 'package'",
			hint: "",
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tree := fstest.MapFS{}
			for name, text := range sound {
				tree[name] = &fstest.MapFile{Data: []byte(text)}
			}
			if tt.file != "" {
				tree[tt.file] = &fstest.MapFile{Data: []byte(tt.text)}
			}
			if tt.file == ".gitignore" {
				tree["bin/weir"] = &fstest.MapFile{}
			}
			faults, err := small.check(tree)
			if err != nil {
				t.Fatal(err)
			}
			if tt.want == "" {
				if len(faults) > 0 {
					t.Errorf("got faults in a sound house:\n%s", strings.Join(faults, "\n"))
				}
				return
			}
			if len(faults) != 1 || !strings.HasPrefix(faults[0], tt.want) || !strings.Contains(faults[0], tt.hint) {
				t.Errorf("got faults\n\t%s\nwant one that begins\n\t%s\nand says %q", strings.Join(faults, "\n\t"), tt.want, tt.hint)
			}
		})
	}
}

// A tree without a module has no layout to look at: an error, not a clean bill.
func TestNoModule(t *testing.T) {
	for name, tree := range map[string]fstest.MapFS{
		"no go.mod":       {},
		"an empty go.mod": {"go.mod": &fstest.MapFile{Data: []byte("go 1.26\n")}},
	} {
		if _, err := new(plan).check(tree); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

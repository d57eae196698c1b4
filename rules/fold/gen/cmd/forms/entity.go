package main

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"

	"github.com/weir-moderation/weir/rules/fold/gen/source"
)

var property = regexp.MustCompile(`^  ([A-Za-z0-9]+): (?:'(.*)'|"(.*)"),?$`)

// entityFile makes the table of named character references: name and code points.
func entityFile() ([]byte, error) {
	data, err := source.Read(source.Entities, "package/index.js")
	if err != nil {
		return nil, err
	}
	escapes := strings.NewReplacer(`\n`, "\n", `\t`, "\t", `\\`, `\`, `\'`, `'`)
	names := map[string]string{}
	for line := range strings.Lines(string(data)) {
		if m := property.FindStringSubmatch(strings.TrimSuffix(line, "\n")); m != nil {
			names[m[1]] = escapes.Replace(m[2] + m[3])
		}
	}
	if len(names) != 2125 {
		return nil, fmt.Errorf("character-entities has %d names, want 2125", len(names))
	}
	var b strings.Builder
	for _, name := range slices.Sorted(maps.Keys(names)) {
		b.WriteString(name)
		for _, r := range names[name] {
			fmt.Fprintf(&b, " %04X", r)
		}
		b.WriteByte('\n')
	}
	return goFile(table{"entityTable", fmt.Sprintf(`entityTable lists the %d named character references of HTML that end with a
		semicolon, and the code points they stand for. It comes from character-entities 2.0.2.`, len(names)), b.String()})
}

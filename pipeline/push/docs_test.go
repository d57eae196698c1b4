package push

import (
	"fmt"
	"os"
	"reflect"
	"strings"
	"testing"
)

const manual = "../../docs/push.md"

// The manual explains every name that a policy can have, every preset and every
// kind of finding.
func TestTheManualExplainsEveryName(t *testing.T) {
	b, err := os.ReadFile(manual)
	if err != nil {
		t.Fatal(err)
	}
	text := string(b)
	says := func(what, name string) {
		if !strings.Contains(text, "`"+name+"`") && !strings.Contains(text, "`"+name+":") && !strings.Contains(text, "."+name+"`") {
			t.Errorf("docs/push.md does not explain %s %s", what, name)
		}
	}
	var look func(shape reflect.Type)
	look = func(shape reflect.Type) {
		switch shape.Kind() {
		case reflect.Pointer, reflect.Slice, reflect.Map:
			look(shape.Elem())
		case reflect.Struct:
			for i := range shape.NumField() {
				f := shape.Field(i)
				if name, _, _ := strings.Cut(f.Tag.Get("yaml"), ","); name != "" {
					if !strings.Contains(text, "\n"+name+":") && !strings.Contains(text, " "+name+":") && !strings.Contains(text, "{"+name+":") {
						t.Errorf("no example in docs/push.md has %s", name)
					}
					if shape == reflect.TypeFor[policyFile]() || shape == reflect.TypeFor[classFile]() || shape == reflect.TypeFor[groupFile]() {
						says("the key", name)
					}
				}
				look(f.Type)
			}
		}
	}
	look(reflect.TypeFor[policyFile]())
	for _, name := range PresetNames() {
		preset, err := readPreset(name)
		if err != nil {
			t.Fatal(err)
		}
		if line := fmt.Sprintf("| `%s` | %s |\n", name, preset.Description); !strings.Contains(text, line) {
			t.Errorf("docs/push.md lacks the line\n%s", line)
		}
	}
	for _, k := range FindingKinds() {
		if line := fmt.Sprintf("| `%s` | %s |\n", k.Kind, k.Text); !strings.Contains(text, line) {
			t.Errorf("docs/push.md lacks the line\n%s", line)
		}
	}
	for _, w := range (^Flags(0)).Words() {
		if strings.Contains(w, "unreadable") {
			continue // of records, not of a policy
		}
		says("the flag", w)
	}
}

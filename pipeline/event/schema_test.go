package event

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/santhosh-tekuri/jsonschema/v6"
)

const schemas = "../../docs/schemas"

// compile returns the published schema of each kind.
func compile(t *testing.T) map[Kind]*jsonschema.Schema {
	t.Helper()
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	all := map[Kind]*jsonschema.Schema{}
	for k := Post; k <= Halt; k++ {
		s, err := c.Compile(filepath.Join(schemas, k.String()+".json"))
		if err != nil {
			t.Fatal(err)
		}
		all[k] = s
	}
	return all
}

// Decoder and schema accept the same messages, but for what no schema can say;
// there the schema must really be unable to see the fault.
func TestSchemasAgree(t *testing.T) {
	all := compile(t)
	for _, m := range messages() {
		v, err := jsonschema.UnmarshalJSON(strings.NewReader(m.text))
		if err != nil {
			t.Fatalf("%s: %v", m.text, err)
		}
		err = all[m.kind].Validate(v)
		if accepts, want := err == nil, m.want == "" || m.beyond != ""; accepts != want {
			t.Errorf("%v %.300s: decoder %q, schema: %v", m.kind, m.text, m.want, err)
		}
	}
}

// The schemas' own examples are events.
func TestSchemaExamples(t *testing.T) {
	all := compile(t)
	d := NewDecoder(DefaultConfig())
	for k := Post; k <= Halt; k++ {
		var s struct {
			Examples []json.RawMessage
		}
		read(t, k, &s)
		if len(s.Examples) == 0 {
			t.Errorf("%v: no examples", k)
		}
		for _, text := range s.Examples {
			var e Event
			if err := d.Decode(k, nil, text, &e); err != nil {
				t.Errorf("%v: %s: %v", k, text, err)
			}
			v, err := jsonschema.UnmarshalJSON(strings.NewReader(string(text)))
			if err != nil {
				t.Fatal(err)
			}
			if err := all[k].Validate(v); err != nil {
				t.Errorf("%v: %s: %v", k, text, err)
			}
		}
	}
}

// What two schemas define under one name is the same, and every name is
// described somewhere.
func TestSchemaDefinitions(t *testing.T) {
	seen := map[string]any{}
	for k := Post; k <= Halt; k++ {
		var s struct {
			Description string
			Properties  map[string]map[string]any
			Defs        map[string]any `json:"$defs"`
		}
		read(t, k, &s)
		if s.Description == "" {
			t.Errorf("%v: not described", k)
		}
		for name, p := range s.Properties {
			if p["description"] == nil && p["$ref"] == nil {
				t.Errorf("%v: %s is not described", k, name)
			}
		}
		for name, def := range s.Defs {
			if def.(map[string]any)["description"] == nil {
				t.Errorf("%v: %s is not described", k, name)
			}
			if before, ok := seen[name]; ok {
				if diff := cmp.Diff(before, def); diff != "" {
					t.Errorf("%v: %s: %s", k, name, diff)
				}
			}
			seen[name] = def
		}
	}
}

// The limits the schemas state are the defaults.
func TestSchemaLimits(t *testing.T) {
	c := DefaultConfig()
	if c.MaxBytes != 1<<20 || c.MaxDepth != 32 {
		t.Errorf("the descriptions in %s speak of 1 MiB and a depth of 32; the defaults are %+v", schemas, c)
	}
	var post struct {
		Properties struct{ Attachments struct{ MaxItems int } }
		Defs       struct {
			Word   struct{ MaxLength int }
			Fields struct{ MaxProperties int }
		} `json:"$defs"`
	}
	read(t, Post, &post)
	if got := post.Defs.Word.MaxLength; got != c.MaxWordBytes {
		t.Errorf("word: %d, default %d", got, c.MaxWordBytes)
	}
	if got := post.Defs.Fields.MaxProperties; got != c.MaxFields {
		t.Errorf("fields: %d, default %d", got, c.MaxFields)
	}
	if got := post.Properties.Attachments.MaxItems; got != c.MaxItems {
		t.Errorf("attachments: %d, default %d", got, c.MaxItems)
	}
}

func read(t *testing.T, k Kind, into any) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(schemas, k.String()+".json"))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(b, into); err != nil {
		t.Fatalf("%v: %v", k, err)
	}
}

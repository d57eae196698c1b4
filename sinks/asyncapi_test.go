package sinks_test

import (
	"bytes"
	"encoding/json"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/santhosh-tekuri/jsonschema/v6"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-moderation/weir/internal/strictyaml"
	"github.com/weir-moderation/weir/pipeline/ingest"
	"github.com/weir-moderation/weir/sinks"
)

// asyncAPI is docs/asyncapi.yaml, as far as AsyncAPI is used there.
type asyncAPI struct {
	Version string `yaml:"asyncapi,required"`
	Info    struct {
		Title       string `yaml:"title,required"`
		Version     string `yaml:"version,required"`
		Description string `yaml:"description,required"`
		License     struct {
			Name string `yaml:"name,required"`
			URL  string `yaml:"url,required"`
		} `yaml:"license"`
	} `yaml:"info,required"`
	DefaultContentType string               `yaml:"defaultContentType,required"`
	Channels           map[string]channel   `yaml:"channels,required"`
	Operations         map[string]operation `yaml:"operations,required"`
	Components         struct {
		Messages map[string]message  `yaml:"messages,required"`
		Traits   map[string]message  `yaml:"messageTraits,required"`
		Schemas  map[string]property `yaml:"schemas,required"`
	} `yaml:"components,required"`

	doc  *strictyaml.Document
	text string
}

type ref struct {
	To string `yaml:"$ref,required"`
}

type bindings struct {
	Kafka struct {
		Key                property `yaml:"key"`
		TopicConfiguration struct {
			CleanupPolicy []string `yaml:"cleanup.policy"`
		} `yaml:"topicConfiguration"`
		BindingVersion string `yaml:"bindingVersion,required"`
	} `yaml:"kafka,required"`
}

type channel struct {
	Address     string         `yaml:"address,required"`
	Title       string         `yaml:"title,required"`
	Description string         `yaml:"description,required"`
	Bindings    bindings       `yaml:"bindings"`
	Messages    map[string]ref `yaml:"messages,required"`
}

type operation struct {
	Action  string `yaml:"action,required"`
	Summary string `yaml:"summary"`
	Channel ref    `yaml:"channel,required"`
}

type message struct {
	Title       string `yaml:"title"`
	Description string `yaml:"description"`
	ContentType string `yaml:"contentType"`
	Headers     ref    `yaml:"headers"`
	Payload     struct {
		Format string `yaml:"schemaFormat,required"`
		Schema ref    `yaml:"schema,required"`
	} `yaml:"payload"`
	Traits   []ref    `yaml:"traits"`
	Bindings bindings `yaml:"bindings"`
}

// property is a JSON Schema, as far as headers need one.
type property struct {
	Type        string              `yaml:"type" json:"type,omitempty"`
	Description string              `yaml:"description" json:"-"`
	Const       string              `yaml:"const" json:"const,omitempty"`
	Enum        []string            `yaml:"enum" json:"enum,omitempty"`
	Pattern     string              `yaml:"pattern" json:"pattern,omitempty"`
	Format      string              `yaml:"format" json:"format,omitempty"`
	Required    []string            `yaml:"required" json:"required,omitempty"`
	Properties  map[string]property `yaml:"properties" json:"properties,omitempty"`
}

func readAsyncAPI(t testing.TB) *asyncAPI {
	t.Helper()
	name := filepath.Join(docs, "asyncapi.yaml")
	a := &asyncAPI{text: readFile(t, name)}
	var err error
	if a.doc, err = strictyaml.Decode(name, []byte(a.text), a); err != nil {
		t.Fatal(err)
	}
	return a
}

// named returns the last part of a reference.
func named(r ref) string { return r.To[strings.LastIndexByte(r.To, '/')+1:] }

// checkHeaders compares the headers that Weir wrote with what the document says
// of the message.
func (a *asyncAPI) checkHeaders(t testing.TB, name string, r *kgo.Record) {
	t.Helper()
	m, ok := a.Components.Messages[name]
	if !ok {
		t.Fatalf("no message %s is described", name)
	}
	described := a.Components.Schemas[named(m.Headers)]
	own := make(map[string]any)
	for _, h := range r.Headers {
		if _, ok := described.Properties[h.Key]; ok || strings.HasPrefix(h.Key, "weir-") || named(m.Headers) == "cloudEvent" {
			own[h.Key] = string(h.Value) // the last of several counts
		}
	}
	text, err := json.Marshal(described)
	if err != nil {
		t.Fatal(err)
	}
	schema, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	if err := c.AddResource("file:///headers.json", closed(schema)); err != nil {
		t.Fatal(err)
	}
	compiled, err := c.Compile("file:///headers.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := compiled.Validate(own); err != nil {
		t.Errorf("%s: headers %v: %v", name, own, err)
	}
}

var anyRef = regexp.MustCompile(`\$ref: '?([^'\s]+)'?`)

// Every reference leads somewhere, and everything that is described is used.
func TestAsyncAPIIsWhole(t *testing.T) {
	a := readAsyncAPI(t)
	if a.Version != "3.0.0" {
		t.Errorf("asyncapi %s", a.Version)
	}
	used := make(map[string]bool)
	for _, m := range anyRef.FindAllStringSubmatch(a.text, -1) {
		to := m[1]
		used[to] = true
		if path, ok := strings.CutPrefix(to, "#/"); ok {
			if !a.doc.Has(strings.ReplaceAll(path, "/", ".")) {
				t.Errorf("%s leads nowhere", to)
			}
			continue
		}
		if _, err := os.Stat(filepath.Join(docs, to)); err != nil {
			t.Error(err)
		}
	}
	for name := range a.Components.Messages {
		if !used["#/components/messages/"+name] {
			t.Errorf("message %s is in no channel", name)
		}
	}
	for name := range a.Components.Traits {
		if !used["#/components/messageTraits/"+name] {
			t.Errorf("trait %s is of no message", name)
		}
	}
	for name := range a.Components.Schemas {
		if !used["#/components/schemas/"+name] {
			t.Errorf("schema %s describes nothing", name)
		}
	}
	files, err := filepath.Glob(filepath.Join(docs, "schemas", "*.json"))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		schema(t, filepath.Base(f))
		// What is on no topic: lines of weir judge, and bodies of evidence.
		if name := filepath.Base(f); !used["./schemas/"+name] && !slices.Contains([]string{"verdict.json", "evidence.json"}, name) {
			t.Errorf("%s describes no message", name)
		}
	}
}

// Every topic that can be configured is described under its default name, with
// direction, key, headers and value, and no other is.
func TestAsyncAPIDescribesEveryTopic(t *testing.T) {
	a := readAsyncAPI(t)
	in := ingest.Config{Posts: ingest.Named("posts"), Pushes: ingest.Named("pushes"), Consent: ingest.Named("consent"), Outcomes: ingest.Named("outcomes")}
	out := sinks.Config{Review: "review", Decisions: "decisions", Cleared: "cleared", Deferred: "deferred", DeadLetter: "deadletter"}
	want := make(map[string]string)
	for _, name := range in.Topics() {
		want[name] = "receive"
	}
	for _, name := range out.Topics() {
		want[name] = "send"
	}
	want["halts"] = "send and receive"                  // a process orders what it halts automatically
	want["checkpoints"] = "send and receive"            // a log is compared with what was published of it
	want[out.Deferred] = "send and receive"             // what is deferred comes back
	want["rules"], want["receipts"] = "receive", "send" // section rules of the configuration
	got := make(map[string]string)
	for _, action := range []string{"receive", "send"} {
		for name, o := range a.Operations {
			c := named(o.Channel)
			switch {
			case o.Action != action:
			case got[c] == "":
				got[c] = action
			case got[c] == "receive" && action == "send":
				got[c] = "send and receive"
			default:
				t.Errorf("operation %s is not the only one of channel %s", name, c)
			}
		}
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("channels and their directions, -want +got:\n%s", diff)
	}
	example := readFile(t, filepath.Join("..", "configs", "weir.yaml"))
	for name, c := range a.Channels {
		if c.Address != "weir."+name {
			t.Errorf("channel %s has address %s", name, c.Address)
		}
		key := name
		if name == "rules" {
			key = "topic"
		}
		if !regexp.MustCompile(`(?m)^(# )? +(# )?` + key + `: ` + regexp.QuoteMeta(c.Address) + `\b`).MatchString(example) {
			t.Errorf("configs/weir.yaml does not have %s as %s", c.Address, name)
		}
		for _, r := range c.Messages {
			m := a.Components.Messages[named(r)]
			key, headers := m.Bindings.Kafka.Key.Description, m.Headers.To
			for _, trait := range m.Traits {
				key += a.Components.Traits[named(trait)].Bindings.Kafka.Key.Description
				headers += a.Components.Traits[named(trait)].Headers.To
			}
			ours := name == "rules" || name == "receipts" // no headers: nothing is passed on
			if key == "" || headers == "" && !ours {
				t.Errorf("%s: key or headers are not described", name)
			}
			if m.Payload.Schema.To == "" && name != "deadletter" && name != "rules" && name != "checkpoints" {
				t.Errorf("%s: no schema", name)
			}
		}
	}
	in, out = ingest.DefaultConfig(), sinks.DefaultConfig()
	for _, topic := range slices.Concat(in.Topics(), out.Topics()) {
		if !slices.ContainsFunc(slices.Collect(maps.Values(a.Channels)), func(c channel) bool { return c.Address == topic }) {
			t.Errorf("%s, a default, is not described", topic)
		}
	}
}

package ask

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"testing/fstest"
	"time"

	"github.com/goccy/go-yaml"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/santhosh-tekuri/jsonschema/v6"
	"go.uber.org/goleak"

	"github.com/weir-moderation/weir/pipeline"
	"github.com/weir-moderation/weir/pipeline/event"
	"github.com/weir-moderation/weir/rules"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// world is a server with a pipeline behind it that writes to sinks in memory.
type world struct {
	server   *Server
	registry *prometheus.Registry
	client   *http.Client
	cancel   context.CancelFunc
	done     chan error
	ended    bool
}

// ruleSet compiles a rule to review, one to reject and one on trial.
func ruleSet(t testing.TB) *rules.Set {
	t.Helper()
	reg, err := rules.ParseRegister("categories.yaml", []byte("categories: [{code: test, name: Test, name_zh: 测试}]\n"))
	if err != nil {
		t.Fatal(err)
	}
	var pack strings.Builder
	pack.WriteString("pack: test\nrules:\n")
	for _, r := range []string{"review forbiddenstuff live", "reject terriblestuff live", "reject shadowystuff shadow"} {
		var action, term, state string
		if _, err := fmt.Sscan(r, &action, &term, &state); err != nil {
			t.Fatal(err)
		}
		fmt.Fprintf(&pack, "  - {id: test.%s, category: test, severity: low, action: %s, state: %s, terms: [%[1]s]}\n", term, action, state)
	}
	set, err := rules.Load(fstest.MapFS{"test.yaml": &fstest.MapFile{Data: []byte(pack.String())}}, reg, rules.Options{})
	if err != nil {
		t.Fatal(err)
	}
	return set
}

func start(t testing.TB, c Config, sinks ...pipeline.Sink) *world {
	t.Helper()
	w := &world{registry: prometheus.NewRegistry(), done: make(chan error, 1), client: &http.Client{Transport: &http.Transport{}}}
	o := pipeline.Options{Source: "test", Force: pipeline.Force{Rules: ruleSet(t)}, Events: event.DefaultConfig(),
		Backoff: pipeline.Backoff{Base: time.Millisecond, Max: time.Millisecond}}
	for i, s := range sinks {
		o.Sinks = append(o.Sinks, pipeline.NamedSink{Name: fmt.Sprint("sink", i), Sink: s})
	}
	p, err := pipeline.New(o)
	if err != nil {
		t.Fatal(err)
	}
	if c.Listen == "" {
		c.Listen = "127.0.0.1:0"
	}
	if w.server, err = Open(Options{Config: c, Events: event.DefaultConfig(), Evidence: "test/evidence/0/1", Registerer: w.registry}); err != nil {
		t.Fatal(err)
	}
	var ctx context.Context
	ctx, w.cancel = context.WithCancel(context.Background())
	go func() { w.done <- w.server.Run(ctx, p) }()
	for deadline := time.Now().Add(time.Minute); !w.server.open.Load(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the server does not open")
		}
	}
	t.Cleanup(func() {
		if err := w.stop(); err != nil {
			t.Error(err)
		}
		w.client.CloseIdleConnections()
	})
	return w
}

// stop ends the server and returns how it ended.
func (w *world) stop() error {
	if w.ended {
		return nil
	}
	w.ended = true
	w.cancel()
	select {
	case err := <-w.done:
		return err
	case <-time.After(time.Minute):
		return fmt.Errorf("the server does not end")
	}
}

// post is a post with one text.
func post(id, text string) string {
	return fmt.Sprintf(`{"id":%q,"time":"2026-01-02T03:04:05Z","user":{"id":"u1"},"fields":{"text":%q}}`, id, text)
}

// got is an answer.
type got struct {
	status int
	header http.Header
	body   []byte
	said   map[string]any
}

func (w *world) request(t testing.TB, body string) *http.Request {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, w.server.URL(), strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Content-Type", "application/json")
	return r
}

// send sends a request and holds the answer against the OpenAPI document.
func (w *world) send(t testing.TB, r *http.Request) got {
	t.Helper()
	resp, err := w.client.Do(r)
	if err != nil {
		t.Error(err)
		return got{}
	}
	defer func() { _ = resp.Body.Close() }()
	g := got{status: resp.StatusCode, header: resp.Header}
	if g.body, err = io.ReadAll(resp.Body); err != nil {
		t.Error(err)
		return g
	}
	if err := json.Unmarshal(g.body, &g.said); err != nil {
		t.Errorf("%d %s: %v", g.status, g.body, err)
		return g
	}
	conforms(t, r.Method, r.URL.Path, g)
	return g
}

func (w *world) ask(t testing.TB, body string) got {
	t.Helper()
	return w.send(t, w.request(t, body))
}

// document is the OpenAPI document as JSON Schema libraries read it.
func document(t testing.TB) map[string]any {
	t.Helper()
	var doc map[string]any
	if err := yaml.Unmarshal(OpenAPI, &doc); err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(doc)
	if err != nil {
		t.Fatal(err)
	}
	v, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	return v.(map[string]any)
}

// at follows names into a document.
func at(v any, names ...string) any {
	for _, n := range names {
		m, _ := v.(map[string]any)
		v = m[n]
	}
	return v
}

// conforms holds an answer against what the document says of its path, method, status and
// media type. A path that it does not know is none of ours.
func conforms(t testing.TB, method, path string, g got) {
	t.Helper()
	doc := document(t)
	media := g.header.Get("Content-Type")
	schema := "answer"
	if g.status != http.StatusOK {
		schema = "problem"
	}
	if at(doc, "paths", path) != nil && method == http.MethodPost {
		answer := at(doc, "paths", path, "post", "responses", fmt.Sprint(g.status))
		if to, ok := at(answer, "$ref").(string); ok {
			answer = at(doc, strings.Split(strings.TrimPrefix(to, "#/"), "/")...)
		}
		ref, ok := at(answer, "content", media, "schema", "$ref").(string)
		if !ok || ref != "#/components/schemas/"+schema {
			t.Errorf("%d %s: the document does not know it", g.status, media)
			return
		}
		headers, _ := at(answer, "headers").(map[string]any)
		for name := range headers {
			if g.header.Get(name) == "" {
				t.Errorf("%d lacks the header %s", g.status, name)
			}
		}
	}
	if err := compile(t, doc, schema).Validate(g.said); err != nil {
		t.Errorf("%d %s: %v", g.status, g.body, err)
	}
	if status, ok := g.said["status"]; ok && status != float64(g.status) {
		t.Errorf("the answer %d says %v of itself", g.status, status)
	}
}

// compile returns a schema of the document.
func compile(t testing.TB, doc any, name string) *jsonschema.Schema {
	t.Helper()
	c := jsonschema.NewCompiler()
	c.DefaultDraft(jsonschema.Draft2020)
	c.AssertFormat()
	if err := c.AddResource("file:///openapi.json", doc); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile("file:///openapi.json#/components/schemas/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

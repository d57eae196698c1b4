package app

import (
	"cmp"
	"context"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/base64"
	"encoding/pem"
	"flag"
	"fmt"
	"io/fs"
	"log/slog"
	"maps"
	"net/http/httptest"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	dto "github.com/prometheus/client_model/go"
	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-moderation/weir/internal/config"
	"github.com/weir-moderation/weir/internal/demo"
)

var update = flag.Bool("update", false, "write docs/metrics.md anew")

// openLabels are the labels whose values come from the configuration, the rules or the policy. No
// label of any metric may be a name that is not here or closed: never a user, a post, a term or a rule.
var openLabels = map[string]string{
	"topic":     "a topic of the configuration",
	"partition": "a number",
	"category":  "a category of the rules in force",
	"class":     "a class of the policy in force, or other; of sealed evidence its retention class",
	"channel":   "a channel of the policy in force, or other",
	"group":     "a group of the policy in force, none or several",
	"limit":     "a limit of the policy in force",
	"version":   "of Weir, of the rules, or of the policy",
	"digest":    "of the rules, or of the policy",
	"revision":  "of the source",
	"goversion": "of Go",
	"setting":   "a setting that names a file",
}

// closedLabels are the labels whose values are all in docs/metrics.md.
var closedLabels = []string{"action", "alarm", "cause", "code", "decision", "fate", "form", "kind", "outcome", "reason", "record", "result", "route", "rule", "scope", "severity", "sink", "state", "stream", "target"}

// A running daemon shows every metric that it has registered, those that have
// happened never at zero, and no linter has anything against their names.
func TestMetricsAreThereFromTheStart(t *testing.T) {
	d := startMeasured(t, true)
	lint, err := testutil.GatherAndLint(d.registry)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range lint {
		t.Errorf("promlint: %s: %s", p.Metric, p.Text)
	}
	families := d.gather(t)
	for name := range registered(d.registry) {
		if families[name] == nil {
			t.Errorf("%s is registered and has no series at the start", name)
		}
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			for _, l := range m.GetLabel() {
				if !slices.Contains(closedLabels, l.GetName()) && openLabels[l.GetName()] == "" {
					t.Errorf("%s has the label %s, of which nobody says what bounds it", f.GetName(), l.GetName())
				}
			}
			h := m.GetHistogram()
			if f.GetType() == dto.MetricType_HISTOGRAM && (len(h.GetBucket()) == 0 || h.Schema == nil) {
				t.Errorf("%s is not both a classic and a native histogram", f.GetName())
			}
		}
	}
}

// docs/metrics.md is what a daemon with everything on shows at its start.
// go test ./internal/app -run TestDocsMetrics -update, or make generate, writes it anew.
//
//go:generate go test -run ^TestDocsMetrics$ -update .
func TestDocsMetrics(t *testing.T) {
	all, posts := startMeasured(t, true).gather(t), startMeasured(t, false).gather(t)
	users := usedBy(t, os.DirFS("../../configs"))
	var b strings.Builder
	b.WriteString(`# Metrics

<!-- Written by make generate; do not edit. -->

What a running Weir shows under /metrics on the admin port. All series are there from the start, at zero, but for those
of partitions, which come and go with the assignment, and those of rules and policies, which come and go with what is in force.
Every histogram is a classic and a native one at once, for whichever the Prometheus that scrapes it stores. Exemplars go to
who asks for OpenMetrics. Those of the Go runtime (go_*), of the process (process_*) and of the scrapes themselves
(promhttp_*) are there, too, and mean what they mean everywhere.

A metric marked * is there only where what it is about is configured: pushes, halts, receipts, heads, a witness, a time-stamp authority, the synchronous answer.

| metric | type | labels | what it says | alerts and dashboards |
|---|---|---|---|---|
`)
	for _, name := range slices.Sorted(maps.Keys(all)) {
		f := all[name]
		mark := ""
		if posts[name] == nil {
			mark = " *"
		}
		fmt.Fprintf(&b, "| `%s`%s | %s | %s | %s | %s |\n", name, mark, strings.ToLower(f.GetType().String()),
			labels(f), strings.ReplaceAll(f.GetHelp(), "|", `\|`), strings.Join(users(name), ", "))
	}
	b.WriteString("\nLabels with values from outside are bounded by what stands there:\n\n| label | values |\n|---|---|\n")
	for _, l := range slices.Sorted(maps.Keys(openLabels)) {
		fmt.Fprintf(&b, "| `%s` | %s |\n", l, openLabels[l])
	}
	const path = "../../docs/metrics.md"
	if *update {
		if err := os.WriteFile(path, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	have, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if diff := gocmp.Diff(string(have), b.String()); diff != "" {
		t.Errorf("docs/metrics.md is stale, make generate writes it anew (-have +want):\n%s", diff)
	}
}

// labels lists the labels of a family, and the values of those that are closed.
func labels(f *dto.MetricFamily) string {
	values := make(map[string]map[string]bool)
	var names []string
	for _, m := range f.GetMetric() {
		for _, l := range m.GetLabel() {
			if values[l.GetName()] == nil {
				values[l.GetName()] = make(map[string]bool)
				names = append(names, l.GetName())
			}
			values[l.GetName()][l.GetValue()] = true
		}
	}
	var list []string
	for _, n := range names {
		text := "`" + n + "`"
		if openLabels[n] == "" {
			text += ": " + strings.Join(slices.Sorted(maps.Keys(values[n])), ", ")
		}
		list = append(list, text)
	}
	return strings.Join(list, "; ")
}

var alertName = regexp.MustCompile(`^\s*- alert:\s*(\w+)`)

// usedBy returns a function that tells which alerts and dashboards of the repository name a metric.
func usedBy(t *testing.T, files fs.FS) func(name string) []string {
	t.Helper()
	type line struct{ user, text string }
	var lines []line
	err := fs.WalkDir(files, ".", func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() || strings.Contains(path, "_test") || !strings.HasPrefix(path, "prometheus/") && !strings.HasPrefix(path, "grafana/") {
			return err
		}
		text, err := fs.ReadFile(files, path)
		user := strings.TrimSuffix(filepath.Base(path), filepath.Ext(path))
		for l := range strings.Lines(string(text)) {
			if m := alertName.FindStringSubmatch(l); m != nil {
				user = m[1]
			}
			lines = append(lines, line{user, l})
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return func(name string) []string {
		is := regexp.MustCompile(`\b` + name + `(_bucket|_sum|_count)?\b`)
		var users []string
		for _, l := range lines {
			// Most lines do not have it, which is seen faster without the expression.
			if strings.Contains(l.text, name) && !slices.Contains(users, l.user) && is.MatchString(l.text) {
				users = append(users, l.user)
			}
		}
		return users
	}
}

var descName = regexp.MustCompile(`fqName: "(weir_[a-z0-9_]+)"`)

// registered returns the names of all of Weir's metrics that a registry knows, with series or without.
func registered(reg *prometheus.Registry) map[string]bool {
	ch := make(chan *prometheus.Desc)
	go func() {
		reg.Describe(ch)
		close(ch)
	}()
	names := make(map[string]bool)
	for d := range ch {
		if m := descName.FindStringSubmatch(d.String()); m != nil {
			names[m[1]] = true
		}
	}
	return names
}

// measured is a daemon whose registry is looked at.
type measured struct{ *daemon }

// many is how many partitions of posts a daemon with everything on reads, beside those of other streams.
const many = 64

// startMeasured returns a daemon that consumes, with everything on or with posts alone.
func startMeasured(t testing.TB, everything bool) measured {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "demo")
	world, err := demo.Start(t.Context(), demo.Options{Dir: dir, Rate: -1})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := world.Close(); err != nil {
			t.Error(err)
		}
	})
	text := string(world.Config())
	if everything {
		text = elsewhere(t, dir, text)
		text = strings.Replace(text, "  posts: weir.posts\n", "  posts: weir.many\n", 1)
		client, err := kgo.NewClient(kgo.SeedBrokers(world.Brokers()...))
		if err != nil {
			t.Fatal(err)
		}
		defer client.Close()
		for topic, partitions := range map[string]int32{"weir.receipts": 1, "weir.many": many} {
			if _, err := kadm.NewClient(client).CreateTopic(t.Context(), partitions, 1, nil, topic); err != nil {
				t.Fatal(err)
			}
		}
	} else {
		text = regexp.MustCompile(`(?m)^  (pushes|consent|outcomes|halts|decisions|cleared|deferred|deferred_turn|deferred_spread|checkpoints): .*\n|(?m)^api:\n.*\n`).ReplaceAllString(text, "")
	}
	file := filepath.Join(dir, "measured.yaml")
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cfg, err := config.Load(file)
	if err != nil {
		t.Fatal(err)
	}
	d := &daemon{o: Options{Config: cfg, Listen: "127.0.0.1:0", Build: "1.0.0"}, cfg: cfg, log: slog.New(slog.DiscardHandler), registry: newRegistry("1.0.0")}
	ctx, cancel := context.WithCancel(context.Background())
	if err := d.build(ctx); err != nil {
		cancel()
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() { done <- d.run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := cmp.Or(<-done, d.stops.run(context.Background())); err != nil {
			t.Error(err)
		}
	})
	for deadline := time.Now().Add(time.Minute); d.source.Ready() != nil || len(d.source.Partitions()) == 0; time.Sleep(10 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("weir does not consume")
		}
	}
	return measured{d}
}

// elsewhere adds to a configuration what stands outside: receipts, a witness, a time-stamp authority.
// Nobody answers there.
func elsewhere(t testing.TB, dir, text string) string {
	t.Helper()
	name, key := "witness.example", make([]byte, 1+ed25519.PublicKeySize)
	key[0] = 4 // an Ed25519 cosigner
	hash := sha256.Sum256(append([]byte(name+"\n"), key...))
	away := httptest.NewTLSServer(nil)
	ca := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: away.Certificate().Raw})
	away.Close()
	if err := os.WriteFile(filepath.Join(dir, "tsa.pem"), ca, 0o600); err != nil {
		t.Fatal(err)
	}
	return text + fmt.Sprintf(`
rules:
  receipts: weir.receipts
anchors:
  witness: {url: "http://127.0.0.1:1", verifier_key: "%s+%x+%s"}
  timestamp: {url: "http://127.0.0.1:1", ca_file: tsa.pem}
`, name, hash[:4], base64.StdEncoding.EncodeToString(key))
}

// gather returns the families of Weir by name.
func (d measured) gather(t testing.TB) map[string]*dto.MetricFamily {
	t.Helper()
	list, err := d.registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	families := make(map[string]*dto.MetricFamily)
	for _, f := range list {
		if strings.HasPrefix(f.GetName(), "weir_") {
			families[f.GetName()] = f
		}
	}
	return families
}

package configs_test

import (
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"

	"github.com/weir-moderation/weir/internal/strictyaml"
)

// alertFile is a file of Prometheus's alerting rules.
type alertFile struct {
	Groups []struct {
		Name  string `yaml:"name,required"`
		Rules []struct {
			Alert       string            `yaml:"alert,required"`
			Expr        string            `yaml:"expr,required"`
			For         string            `yaml:"for"`
			Labels      map[string]string `yaml:"labels,required"`
			Annotations map[string]string `yaml:"annotations,required"`
		} `yaml:"rules,required"`
	} `yaml:"groups,required"`
}

// alertTests is a file of promtool's tests of alerts.
type alertTests struct {
	RuleFiles []string `yaml:"rule_files,required"`
	Interval  string   `yaml:"evaluation_interval,required"`
	Tests     []struct {
		Interval string `yaml:"interval,required"`
		Name     string `yaml:"name,required"`
		Series   []struct {
			Series string `yaml:"series,required"`
			Values string `yaml:"values,required"`
		} `yaml:"input_series,required"`
		Rules []struct {
			Name   string `yaml:"alertname,required"`
			Time   string `yaml:"eval_time,required"`
			Alerts []struct {
				Labels      map[string]string `yaml:"exp_labels,required"`
				Annotations map[string]string `yaml:"exp_annotations,required"`
			} `yaml:"exp_alerts,required"`
		} `yaml:"alert_rule_test,required"`
	} `yaml:"tests,required"`
}

func readYAML(t *testing.T, file string, to any) {
	t.Helper()
	src, err := os.ReadFile(filepath.Join("prometheus", file))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := strictyaml.Decode(file, src, to); err != nil {
		t.Fatal(err)
	}
}

// Every alert says whether it wakes somebody, what it means and where it is told what to
// do, in a section that is there; it asks only for metrics that Weir has, and is
// tested: to fire and to stay silent.
func TestAlerts(t *testing.T) {
	for topic, least := range alertTopics {
		t.Run(topic, func(t *testing.T) { checkAlerts(t, topic, least) })
	}
}

// alertTopics are what there are alerts on, and how many at least.
var alertTopics = map[string]int{"daemon": 5, "certificates": 3, "messages": 15, "rules": 8, "push": 21, "evidence": 6, "evidence-files": 9, "api": 2}

// No file of alerts is forgotten by the tests.
func TestAllAlertsAreTested(t *testing.T) {
	files, err := filepath.Glob("prometheus/*.rules.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		topic := strings.TrimSuffix(filepath.Base(f), ".rules.yaml")
		if _, ok := alertTopics[topic]; !ok && topic != "recording" {
			t.Errorf("%s is tested by nobody", f)
		}
	}
}

func checkAlerts(t *testing.T, topic string, least int) {
	var file alertFile
	var tests alertTests
	readYAML(t, topic+".rules.yaml", &file)
	readYAML(t, topic+".rules_test.yaml", &tests)
	fires, silent := make(map[string]int), make(map[string]int)
	for _, test := range tests.Tests {
		for _, r := range test.Rules {
			if len(r.Alerts) > 0 {
				fires[r.Name]++
			} else {
				silent[r.Name]++
			}
		}
	}
	metrics, sections := metricNames(t), anchors(t, "../docs/operations.md")
	metric := regexp.MustCompile(`\bweir_[a-z_]+`)
	seen := make(map[string]bool)
	for _, group := range file.Groups {
		for _, a := range group.Rules {
			if seen[a.Alert] {
				t.Errorf("%s is there twice", a.Alert)
			}
			seen[a.Alert] = true
			if !slices.Contains([]string{"page", "ticket"}, a.Labels["severity"]) {
				t.Errorf("%s: severity %q", a.Alert, a.Labels["severity"])
			}
			for _, name := range []string{"summary", "description"} {
				if a.Annotations[name] == "" {
					t.Errorf("%s: no %s", a.Alert, name)
				}
			}
			page, anchor, _ := strings.Cut(a.Annotations["runbook_url"], "#")
			if !strings.HasSuffix(page, "/docs/operations.md") || !sections[anchor] {
				t.Errorf("%s: docs/operations.md has no section #%s", a.Alert, anchor)
			}
			asked := metric.FindAllString(a.Expr, -1)
			if len(asked) == 0 {
				t.Errorf("%s asks for nothing", a.Alert)
			}
			for _, name := range asked {
				for _, suffix := range []string{"_bucket", "_sum", "_count"} {
					if base := strings.TrimSuffix(name, suffix); metrics[base] {
						name = base
					}
				}
				if !metrics[name] {
					t.Errorf("%s: Weir has no metric %s", a.Alert, name)
				}
			}
			if fires[a.Alert] == 0 || silent[a.Alert] == 0 {
				t.Errorf("%s: %d tests in which it fires, %d in which it is silent", a.Alert, fires[a.Alert], silent[a.Alert])
			}
		}
	}
	if len(seen) < least {
		t.Errorf("%d alerts", len(seen))
	}
}

// Prometheus itself takes the alerts and agrees with their tests.
func TestAlertsWithPromtool(t *testing.T) {
	if testing.Short() {
		t.Skip("asks another program; not with -short")
	}
	promtool, err := exec.LookPath("promtool")
	if err != nil {
		t.Skip("promtool is not installed (Debian: apt-get install prometheus)")
	}
	topics := append(slices.Collect(maps.Keys(alertTopics)), "recording")
	for _, topic := range topics {
		for _, args := range [][]string{{"check", "rules", topic + ".rules.yaml"}, {"test", "rules", topic + ".rules_test.yaml"}} {
			cmd := exec.CommandContext(t.Context(), promtool, args...)
			cmd.Dir = "prometheus"
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
			}
		}
	}
}

// metricNames returns the names of all metrics that the program's sources name.
func metricNames(t *testing.T) map[string]bool {
	t.Helper()
	quoted := regexp.MustCompile(`"(weir_[a-z_]+)"`)
	names := make(map[string]bool)
	for _, dir := range []string{"../pipeline", "../internal", "../sinks", "../rules"} {
		err := filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
			if err != nil || e.IsDir() || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			src, err := os.ReadFile(path)
			for _, m := range quoted.FindAllSubmatch(src, -1) {
				names[string(m[1])] = true
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	return names
}

// anchors returns what a page's headings are linked by.
func anchors(t *testing.T, page string) map[string]bool {
	t.Helper()
	src, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	list := make(map[string]bool)
	for line := range strings.Lines(string(src)) {
		head := strings.TrimLeft(line, "#")
		if len(head) == len(line) || !strings.HasPrefix(head, " ") {
			continue
		}
		list[strings.Map(func(r rune) rune {
			switch {
			case r == ' ':
				return '-'
			case unicode.IsLetter(r), unicode.IsDigit(r), r == '-', r == '_':
				return unicode.ToLower(r)
			}
			return -1
		}, strings.TrimSpace(head))] = true
	}
	return list
}

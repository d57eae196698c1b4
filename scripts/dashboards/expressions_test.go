package main

import (
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/rulefmt"
	"github.com/prometheus/prometheus/promql/parser"
)

// asked is an expression of a panel, an annotation, an alert or a recording rule.
type asked struct {
	where string
	expr  string // with variables in it
	alert bool
}

// panels returns what all dashboards ask.
func panels() []asked {
	var list []asked
	for file, b := range boards() {
		d := b.dashboard()
		for _, p := range d.Panels {
			for _, q := range p.Targets {
				list = append(list, asked{where: fmt.Sprintf("%s: %s/%s", file, p.Title, q.RefID), expr: q.Expr})
			}
		}
		for _, a := range d.Annotations.List {
			list = append(list, asked{where: file + ": annotation " + a.Name, expr: a.Expr})
		}
	}
	slices.SortFunc(list, func(a, b asked) int { return strings.Compare(a.where, b.where) })
	return list
}

// rulesAsk returns what alerts and recording rules ask, and the names of what is recorded.
func rulesAsk(t *testing.T) (list []asked, recorded []string) {
	t.Helper()
	files, err := filepath.Glob(prom + "/*.rules.yaml")
	if err != nil || len(files) == 0 {
		t.Fatalf("no alerts: %v", err)
	}
	for _, file := range files {
		src, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		groups, errs := rulefmt.Parse(src, false, model.LegacyValidation, promql, slog.Default())
		if len(errs) > 0 {
			t.Fatalf("%s: %v", file, errs)
		}
		for _, g := range groups.Groups {
			for _, r := range g.Rules {
				list = append(list, asked{where: filepath.Base(file) + ": " + r.Alert + r.Record, expr: r.Expr, alert: r.Alert != ""})
				if r.Record != "" {
					recorded = append(recorded, r.Record)
				}
			}
		}
	}
	return list, recorded
}

// concrete fills in what Grafana would: all jobs and instances, and windows that
// suit a Prometheus that scrapes each second.
func concrete(expr string) string {
	return strings.NewReplacer("$job", ".+", "$instance", ".+", "$__rate_interval", "10s", "$__interval", "5s", "$__range", "1m").Replace(expr)
}

var promql = parser.NewParser(parser.Options{})

// metric is what a Weir with traffic says of one of its metrics.
type metric struct {
	kind   string // counter, gauge, histogram, summary
	labels map[string]bool
}

// registered returns the metrics of the demo, by name.
func registered(t *testing.T) map[string]metric {
	t.Helper()
	w, err := demo()
	if err != nil {
		t.Fatal(err)
	}
	resp, err := http.Get("http://" + w.address + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	scraper := expfmt.NewTextParser(model.LegacyValidation)
	families, err := scraper.TextToMetricFamilies(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	list := make(map[string]metric)
	for name, f := range families {
		m := metric{kind: strings.ToLower(f.GetType().String()), labels: make(map[string]bool)}
		for _, one := range f.GetMetric() {
			for _, l := range one.GetLabel() {
				m.labels[l.GetName()] = true
			}
		}
		list[name] = m
	}
	return list
}

// Metrics that are no part of a healthy demo, the reason, and by which labels they are.
var elsewhere = map[string]struct {
	why    string
	labels []string
}{
	"up":                      {why: "Prometheus has it of every target"},
	"ALERTS":                  {why: "Prometheus has it of every alert that is pending or fires"},
	"scrape_duration_seconds": {why: "Prometheus has it of every target"},

	"weir_tls_certificate_not_after_timestamp_seconds": {why: "only where a setting names a certificate", labels: []string{"setting"}},

	"weir_evidence_unwitnessed_seconds": {why: "only where a witness is configured"},
	"weir_evidence_unstamped_seconds":   {why: "only where a time-stamp authority is configured"},
}

// given are labels that Prometheus adds, or histograms and summaries have.
var given = map[string]bool{"job": true, "instance": true, "le": true, "quantile": true, "alertname": true, "alertstate": true, "severity": true}

// Every expression is read by Prometheus's own parser, asks only for metrics
// that a Weir with traffic has, by labels they have, in the way their type wants.
func TestExpressionsAskForWhatThereIs(t *testing.T) {
	fromRules, recorded := rulesAsk(t)
	metrics := registered(t)
	for _, name := range recorded {
		metrics[name] = metric{kind: "recorded"}
	}
	if len(metrics) < 80 {
		t.Fatalf("the demo has %d metrics; something is wrong with how they are read", len(metrics))
	}
	for _, a := range append(panels(), fromRules...) {
		if err := check(a, metrics); err != nil {
			t.Errorf("%s: %v\n%s", a.where, err, a.expr)
		}
	}
}

// check says what is wrong with an expression.
func check(a asked, metrics map[string]metric) error {
	tree, err := promql.ParseExpr(concrete(a.expr))
	if err != nil {
		return err
	}
	var fault error
	parser.Inspect(tree, func(node parser.Node, path []parser.Node) error {
		if fault == nil {
			fault = checkNode(a, node, path, metrics)
		}
		return nil
	})
	return fault
}

func checkNode(a asked, node parser.Node, path []parser.Node, metrics map[string]metric) error {
	switch n := node.(type) {
	case *parser.VectorSelector:
		m, err := lookup(n.Name, metrics)
		if err != nil {
			return err
		}
		for _, match := range n.LabelMatchers {
			if match.Name != model.MetricNameLabel && !given[match.Name] && m.labels != nil && !m.labels[match.Name] {
				return fmt.Errorf("%s has no label %s", n.Name, match.Name)
			}
		}
		// A failed scrape ends a series for an instant selector at once, and with it an alert.
		if a.alert && !overTime(path) {
			return fmt.Errorf("asks for %s as it is now; ask over some minutes, so that one failed scrape hides nothing", n.Name)
		}
		return checkFunction(n.Name, m, path)
	case *parser.AggregateExpr:
		known := make(map[string]bool)
		parser.Inspect(n.Expr, func(node parser.Node, _ []parser.Node) error {
			if v, ok := node.(*parser.VectorSelector); ok {
				m, err := lookup(v.Name, metrics)
				if err != nil {
					return err
				}
				for l := range m.labels {
					known[l] = true
				}
				if m.kind == "recorded" { // by which labels it is, its name says
					level, _, _ := strings.Cut(v.Name, ":")
					for l := range strings.SplitSeq(level, "_") {
						known[l] = true
					}
				}
			}
			return nil
		})
		for _, l := range n.Grouping {
			if !known[l] && !given[l] {
				return fmt.Errorf("nothing has the label %s that it aggregates by", l)
			}
		}
	}
	return nil
}

// lookup finds a metric by the name of one of its series.
func lookup(series string, metrics map[string]metric) (metric, error) {
	if m, ok := metrics[series]; ok {
		return m, nil
	}
	for _, suffix := range []string{"_bucket", "_sum", "_count"} {
		if m, ok := metrics[strings.TrimSuffix(series, suffix)]; ok && strings.HasSuffix(series, suffix) && (m.kind == "histogram" || m.kind == "summary" && suffix != "_bucket") {
			return metric{kind: "counter", labels: m.labels}, nil
		}
	}
	if e, ok := elsewhere[series]; ok {
		labels := make(map[string]bool)
		for _, l := range e.labels {
			labels[l] = true
		}
		return metric{kind: "gauge", labels: labels}, nil
	}
	return metric{}, fmt.Errorf("a Weir with traffic has no metric %s", series)
}

// checkFunction holds a function against the type of what it is called with.
func checkFunction(name string, m metric, path []parser.Node) error {
	for i := len(path) - 1; i >= 0; i-- {
		call, ok := path[i].(*parser.Call)
		if !ok {
			continue
		}
		switch call.Func.Name {
		case "rate", "irate", "increase":
			if m.kind == "gauge" || m.kind == "recorded" {
				return fmt.Errorf("%s of %s, which is a %s", call.Func.Name, name, m.kind)
			}
		case "deriv", "delta", "predict_linear":
			if m.kind != "gauge" {
				return fmt.Errorf("%s of %s, which is a %s", call.Func.Name, name, m.kind)
			}
		}
		return nil
	}
	return nil
}

// overTime reports whether a selector is asked over a range of time.
func overTime(path []parser.Node) bool {
	return slices.ContainsFunc(path, func(n parser.Node) bool {
		switch n.(type) {
		case *parser.MatrixSelector, *parser.SubqueryExpr:
			return true
		}
		return false
	})
}

package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"unicode"

	"github.com/grafana/grafana-foundation-sdk/go/bargauge"
	"github.com/grafana/grafana-foundation-sdk/go/cog"
	grafana "github.com/grafana/grafana-foundation-sdk/go/dashboard"
	promquery "github.com/grafana/grafana-foundation-sdk/go/prometheus"
	"github.com/grafana/grafana-foundation-sdk/go/stat"
	"github.com/grafana/grafana-foundation-sdk/go/statetimeline"
	gtable "github.com/grafana/grafana-foundation-sdk/go/table"
	"github.com/grafana/grafana-foundation-sdk/go/timeseries"
	"github.com/grafana/grafana-foundation-sdk/go/units"
)

// What is committed is what the program writes, and nothing else lies beside it.
func TestCommittedFilesAreFresh(t *testing.T) {
	const committed = "../../configs/grafana"
	files, err := os.ReadDir(committed)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if _, ok := boards()[f.Name()]; !ok {
			t.Errorf("%s is written by nobody", f.Name())
		}
	}
	for name, b := range boards() {
		want, err := render(b)
		if err != nil {
			t.Fatal(err)
		}
		got, err := os.ReadFile(filepath.Join(committed, name))
		if err != nil {
			t.Error(err)
		}
		if !bytes.Equal(got, want) {
			t.Errorf("%s is stale; run make generate", name)
		}
	}
}

// Grafana's own types take each dashboard, know every field in it, those of its
// kinds of panels and of queries to Prometheus included, and find nothing missing.
func TestGrafanaTakesIt(t *testing.T) {
	runtime := cog.NewRuntime()
	runtime.RegisterPanelcfgVariant(timeseries.VariantConfig())
	runtime.RegisterPanelcfgVariant(stat.VariantConfig())
	runtime.RegisterPanelcfgVariant(bargauge.VariantConfig())
	runtime.RegisterPanelcfgVariant(gtable.VariantConfig())
	runtime.RegisterPanelcfgVariant(statetimeline.VariantConfig())
	runtime.RegisterDataqueryVariant(promquery.VariantConfig())
	for name, b := range boards() {
		text, err := render(b)
		if err != nil {
			t.Fatal(err)
		}
		var d grafana.Dashboard                                                  //nolint:staticcheck // the second form of dashboards is not in Grafana 10 and 11
		if err := d.UnmarshalJSONStrict(text); err != nil && err.Error() != "" { // an empty list of faults is no fault
			t.Errorf("%s: %v", name, err)
			continue
		}
		if err := d.Validate(); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if d.SchemaVersion < 39 {
			t.Errorf("%s: schema %d", name, d.SchemaVersion)
		}
	}
	text, err := render(overview())
	if err != nil {
		t.Fatal(err)
	}
	for _, misspelt := range []string{`"drawStyle"`, `"colorMode"`, `"graphTooltip"`} {
		var d grafana.Dashboard //nolint:staticcheck // the second form of dashboards is not in Grafana 10 and 11
		if err := d.UnmarshalJSONStrict(bytes.ReplaceAll(text, []byte(misspelt), []byte(`"misspelt"`))); err == nil || err.Error() == "" {
			t.Errorf("a misspelt %s is taken: the test shows nothing", misspelt)
		}
	}
}

// Units that panels may have; Grafana knows each.
var known = []string{units.Short, units.PercentUnit, units.Seconds, units.BytesIEC, units.BytesPerSecondSI, units.OpsPerSecond, units.RequestsPerSecond, units.MessagesPerSecond}

// Panels are numbered once, do not overlap, say what they show and where it is
// told what to do, and have a unit; each board says the same variables.
func TestPanels(t *testing.T) {
	sections := headings(t)
	uids := make(map[string]string)
	for file, b := range boards() {
		d := b.dashboard()
		if other := uids[d.UID]; other != "" {
			t.Errorf("%s and %s are both %s", file, other, d.UID)
		}
		uids[d.UID] = file
		if d.Title == "" || d.Description == "" || len(d.Annotations.List) == 0 {
			t.Errorf("%s: no title, description or annotations", file)
		}
		var names []string
		for _, v := range d.Templating.List {
			names = append(names, v.Name)
		}
		if !slices.Equal(names, []string{"datasource", "job", "instance"}) {
			t.Errorf("%s: variables %v", file, names)
		}
		ids, titles := make(map[int]bool), make(map[string]int)
		taken := make(map[[2]int]string) // which panel is in a field of the grid
		for i, p := range d.Panels {
			fault := func(format string, args ...any) { t.Errorf("%s: %s: %s", file, p.Title, fmt.Sprintf(format, args...)) }
			if ids[p.ID] || p.ID == 0 {
				fault("number %d is taken", p.ID)
			}
			ids[p.ID] = true
			g := p.GridPos
			if g.W <= 0 || g.H <= 0 || g.X < 0 || g.Y < 0 || g.X+g.W > 24 {
				fault("lies outside of the grid: %+v", g)
			}
			for x := g.X; x < g.X+g.W; x++ {
				for y := g.Y; y < g.Y+g.H; y++ {
					if other := taken[[2]int{x, y}]; other != "" {
						fault("lies over %s", other)
					}
					taken[[2]int{x, y}] = p.Title
				}
			}
			if p.Type == "row" {
				if i+1 == len(d.Panels) || d.Panels[i+1].Type == "row" {
					fault("is a row without panels")
				}
				continue
			}
			if titles[p.Title]++; titles[p.Title] > 1 && p.Type != "timeseries" {
				fault("there is another panel of that title")
			}
			if len(p.Description) < 20 || !strings.HasSuffix(p.Description, ".") {
				fault("says too little of itself: %q", p.Description)
			}
			if !slices.Contains(known, p.FieldConfig.Defaults.Unit) {
				fault("unit %q", p.FieldConfig.Defaults.Unit)
			}
			page, anchor, _ := strings.Cut(p.Links[0].URL, "#")
			if page != runbook || !sections[anchor] {
				fault("docs/operations.md has no section #%s", anchor)
			}
			checkQueries(fault, p)
		}
	}
}

var label = regexp.MustCompile(`\{\{(\w+)\}\}`)

// checkQueries checks what a panel asks, and what it calls the answers.
func checkQueries(fault func(string, ...any), p panelJSON) {
	if len(p.Targets) == 0 {
		fault("asks for nothing")
	}
	refs := make(map[string]bool)
	for _, q := range p.Targets {
		if refs[q.RefID] {
			fault("two queries are called %s", q.RefID)
		}
		refs[q.RefID] = true
		if p.Type == "timeseries" && q.LegendFormat == "" {
			fault("query %s has no legend", q.RefID)
		}
		if q.Datasource != prometheus || *p.Datasource != prometheus {
			fault("asks another data source than the variable's")
		}
		recorded := strings.Contains(q.Expr, `:weir_`)
		ours := strings.Contains(q.Expr, "ALERTS") // of all deployments
		if !ours && !strings.Contains(q.Expr, `job=~"$job"`) || !ours && !recorded && !strings.Contains(q.Expr, `instance=~"$instance"`) {
			fault("query %s does not mind what job and instance are chosen", q.RefID)
		}
		for _, m := range label.FindAllStringSubmatch(q.LegendFormat, -1) {
			for _, by := range regexp.MustCompile(`^(?:sum|max|min|count) by \(([^)]*)\)`).FindAllStringSubmatch(q.Expr, -1) {
				if !slices.Contains(strings.Split(by[1], ", "), m[1]) {
					fault("the legend has {{%s}}, and the query has it no more", m[1])
				}
			}
		}
	}
}

// headings returns what the sections of docs/operations.md are linked by.
func headings(t *testing.T) map[string]bool {
	t.Helper()
	src, err := os.ReadFile("../../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	list := make(map[string]bool)
	for line := range strings.Lines(string(src)) {
		if !strings.HasPrefix(line, "#") {
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
		}, strings.TrimSpace(strings.TrimLeft(line, "#")))] = true
	}
	return list
}

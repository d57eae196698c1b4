package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

const runbook = "https://github.com/weir-moderation/weir/blob/main/docs/operations.md"

// board is a dashboard as its authors think of it.
type board struct {
	uid, title, about string
	since             string // the time it shows at first, such as 3h
	rows              []row
}

// row is a heading with its panels, laid from left to right.
type row struct {
	title  string
	panels []panel
}

// panel is one picture. Its width is in 24ths of the board, its height in Grafana's units of 30 pixels.
type panel struct {
	kind    string // timeseries, stat, bargauge, table or state-timeline
	title   string
	about   string // what it shows, what is normal, and what to think of when it is not
	section string // the heading of docs/operations.md, as it is linked
	unit    string // one of Grafana's
	w, h    int
	queries []query

	steps    []step            // of the colours; none for green
	words    map[string]result // what values are called
	min, max *float64
	decimals *int
	stacked  bool
	line     bool     // draws the thresholds into the graph
	hidden   []string // columns of a table
	renamed  map[string]string
	colored  map[string]string // the colour of a series, by its legend
	dates    []string          // columns of a table that are times
}

// result is what a value is called, and in which colour.
type result struct{ text, color string }

// query is an expression with what its series are called. In it @ stands for what the board's variables choose.
type query struct{ expr, legend string }

// chosen is what @ stands for.
const chosen = `job=~"$job", instance=~"$instance"`

// expand returns a query's expression as Grafana gets it.
func (q query) expand() string { return strings.ReplaceAll(q.expr, "@", chosen) }

var prometheus = source{Type: "prometheus", UID: "${datasource}"}

// dashboard lays the panels out and numbers them.
func (b board) dashboard() dashboard {
	d := dashboard{
		Annotations: annotations{List: []annotation{
			note("Rules and policy put in force", "blue", `weir_ruleset_last_load_success_timestamp_seconds{@} * on (job, instance) group_left (version) weir_ruleset_info{@} * 1000`,
				"rules {{version}}", "{{instance}} has put rules and policy in force", true),
			note("Rules or policy refused", "red", `1 - weir_ruleset_last_load_successful{@} > 0`, "load refused", "{{instance}} has refused a change; the old one stays", false),
			note("Started", "purple", `process_start_time_seconds{@} * on (job, instance) group_left (version) weir_build_info{@} * 1000`,
				"started {{version}}", "{{instance}} was started", true),
		}},
		Description:   b.about,
		Editable:      true,
		GraphTooltip:  1,
		Refresh:       "30s",
		SchemaVersion: schemaVersion,
		Tags:          []string{"weir"},
		Time:          timeRange{From: "now-" + b.since, To: "now"},
		Timezone:      "browser",
		Title:         b.title,
		UID:           b.uid,
		Links: []link{
			{AsDropdown: false, Icon: "external link", IncludeVars: true, KeepTime: true, Tags: []string{"weir"}, Title: "Weir", Type: "dashboards"},
			{Icon: "doc", Tags: []string{}, TargetBlank: true, Title: "Runbook", Tooltip: "What to do, by alert", Type: "link", URL: runbook},
		},
		Templating: templating{List: []variable{
			{Name: "datasource", Label: "Prometheus", Description: "The Prometheus that scrapes Weir.", Type: "datasource", Query: "prometheus", Refresh: 1},
			choice("job", "Job", "Deployments of Weir.", `label_values(weir_build_info, job)`),
			choice("instance", "Instance", "Processes of the deployment.", `label_values(weir_build_info{job=~"$job"}, instance)`),
		}},
	}
	id, y := 1, 0
	for _, r := range b.rows {
		open := false
		d.Panels = append(d.Panels, panelJSON{Type: "row", Title: r.title, ID: id, Collapsed: &open, Panels: &[]panelJSON{}, GridPos: gridPos{H: 1, W: 24, Y: y}})
		id++
		y++
		x, tallest := 0, 0
		for _, p := range r.panels {
			if x+p.w > 24 {
				x, y, tallest = 0, y+tallest, 0
			}
			d.Panels = append(d.Panels, p.json(id, gridPos{H: p.h, W: p.w, X: x, Y: y}))
			id++
			x += p.w
			tallest = max(tallest, p.h)
		}
		y += tallest
	}
	return d
}

func note(name, color, expr, title, text string, timed bool) annotation {
	return annotation{Datasource: prometheus, Enable: true, Expr: query{expr: expr}.expand(), IconColor: color, Name: name, Step: "30s", TagKeys: "instance",
		TitleFormat: title, TextFormat: text, UseValueForTime: timed}
}

func choice(name, label, about, values string) variable {
	return variable{Name: name, Label: label, Description: about, Type: "query", Datasource: &prometheus, IncludeAll: true, AllValue: ".+", Multi: true,
		Query: map[string]any{"qryType": 1, "query": values, "refId": "PrometheusVariableQueryEditor-VariableQuery"}, Refresh: 2, Sort: 1}
}

// heading returns a section's name from how it is linked.
func heading(section string) string {
	words := strings.ReplaceAll(section, "-", " ")
	return strings.ToUpper(words[:1]) + words[1:]
}

func (p panel) json(id int, at gridPos) panelJSON {
	j := panelJSON{
		Datasource:  &prometheus,
		Description: p.about,
		GridPos:     at,
		ID:          id,
		Links:       []link{{Icon: "doc", Tags: []string{}, TargetBlank: true, Title: "Runbook: " + heading(p.section), Type: "link", URL: runbook + "#" + p.section}},
		Options:     p.options(),
		Title:       p.title,
		Type:        p.kind,
		FieldConfig: &fieldConfig{Overrides: []override{}, Defaults: fieldDefaults{
			Color: p.color(), Custom: p.custom(), Decimals: p.decimals, Mappings: []mapping{}, Max: p.max, Min: p.min,
			Thresholds: thresholds{Mode: "absolute", Steps: append([]step{{Color: "green"}}, p.steps...)},
			Unit:       p.unit,
		}},
	}
	if len(p.steps) > 0 && p.steps[0].Value == nil {
		j.FieldConfig.Defaults.Thresholds.Steps = p.steps
	}
	if len(p.words) > 0 {
		m := mapping{Type: "value", Options: make(map[string]mappedResult)}
		for i, value := range slices.Sorted(maps.Keys(p.words)) {
			m.Options[value] = mappedResult{Color: p.words[value].color, Text: p.words[value].text, Index: i}
		}
		j.FieldConfig.Defaults.Mappings = []mapping{m}
	}
	for _, series := range slices.Sorted(maps.Keys(p.colored)) {
		j.FieldConfig.Overrides = append(j.FieldConfig.Overrides, override{
			Matcher:    matcher{ID: "byName", Options: series},
			Properties: []property{{ID: "color", Value: color{Mode: "fixed", FixedColor: p.colored[series]}}},
		})
	}
	for _, column := range p.dates {
		j.FieldConfig.Overrides = append(j.FieldConfig.Overrides, override{
			Matcher:    matcher{ID: "byName", Options: column},
			Properties: []property{{ID: "unit", Value: "dateTimeAsIso"}},
		})
	}
	table := p.kind == "table"
	for i, q := range p.queries {
		t := target{Datasource: prometheus, EditorMode: "code", Expr: q.expand(), Format: "time_series", LegendFormat: q.legend, Range: true, RefID: string(rune('A' + i))}
		if p.kind == "stat" || p.kind == "bargauge" || table {
			t.Instant, t.Range = true, false
		}
		if table {
			t.Format = "table"
		}
		j.Targets = append(j.Targets, t)
	}
	if table {
		hide := map[string]bool{"Time": true}
		for _, c := range p.hidden {
			hide[c] = true
		}
		if len(p.queries) > 1 {
			j.Transformations = append(j.Transformations, transformation{ID: "merge", Options: map[string]any{}})
		}
		j.Transformations = append(j.Transformations, transformation{ID: "organize", Options: map[string]any{"excludeByName": hide, "renameByName": p.renamed, "indexByName": map[string]int{}}})
	}
	return j
}

func (p panel) color() color {
	if p.kind == "timeseries" {
		return color{Mode: "palette-classic"}
	}
	return color{Mode: "thresholds"}
}

// custom are the settings of fields that belong to a kind of panel.
func (p panel) custom() map[string]any {
	switch p.kind {
	case "timeseries":
		c := map[string]any{
			"drawStyle": "line", "fillOpacity": 8, "lineWidth": 1, "showPoints": "never", "spanNulls": false, "axisSoftMin": 0,
			"gradientMode": "none", "lineInterpolation": "linear", "stacking": map[string]any{"group": "A", "mode": "none"},
			"thresholdsStyle": map[string]any{"mode": "off"},
		}
		if p.stacked {
			c["fillOpacity"], c["stacking"] = 35, map[string]any{"group": "A", "mode": "normal"}
		}
		if p.line {
			c["thresholdsStyle"] = map[string]any{"mode": "dashed"}
		}
		return c
	case "table":
		return map[string]any{"align": "auto", "cellOptions": map[string]any{"type": "auto"}, "filterable": true, "inspect": false}
	case "state-timeline":
		return map[string]any{"fillOpacity": 70, "lineWidth": 0}
	}
	return nil
}

// options are those of a kind of panel.
func (p panel) options() map[string]any {
	last := map[string]any{"calcs": []string{"lastNotNull"}, "fields": "", "values": false}
	switch p.kind {
	case "timeseries":
		return map[string]any{
			"legend":  map[string]any{"calcs": []string{"mean", "max", "lastNotNull"}, "displayMode": "table", "placement": "bottom", "showLegend": true, "sortBy": "Last *", "sortDesc": true},
			"tooltip": map[string]any{"mode": "multi", "sort": "desc"},
		}
	case "stat":
		return map[string]any{"colorMode": "background", "graphMode": "none", "justifyMode": "auto", "orientation": "auto", "reduceOptions": last, "textMode": "auto", "wideLayout": true, "showPercentChange": false, "percentChangeColorMode": "standard"}
	case "bargauge":
		return map[string]any{"displayMode": "gradient", "orientation": "horizontal", "reduceOptions": last, "showUnfilled": true, "valueMode": "color", "minVizHeight": 10, "minVizWidth": 0}
	case "table":
		return map[string]any{"cellHeight": "sm", "frameIndex": 0, "showHeader": true, "footer": map[string]any{"show": false, "reducer": []string{"sum"}, "fields": ""}}
	case "state-timeline":
		return map[string]any{"alignValue": "left", "mergeValues": true, "rowHeight": 0.9, "showValue": "never",
			"legend": map[string]any{"displayMode": "list", "placement": "bottom", "showLegend": true, "calcs": []string{}}, "tooltip": map[string]any{"mode": "single", "sort": "none"}}
	}
	return nil
}

// from is the step of a colour from a value on.
func from(value float64, color string) step { return step{Color: color, Value: &value} }

// below is the colour of all that is less than the next step.
func below(color string) step { return step{Color: color} }

func number[T int | float64](n T) *T { return &n }

// graph is a panel of lines over time.
func graph(title, unit, section, about string, queries ...query) panel {
	return panel{kind: "timeseries", title: title, unit: unit, section: section, about: about, w: 8, h: 8, queries: queries}
}

// fact is one number, coloured by what it means.
func fact(title, unit, section, about, expr string, steps ...step) panel {
	return panel{kind: "stat", title: title, unit: unit, section: section, about: about, w: 4, h: 4, queries: []query{{expr: expr}}, steps: steps}
}

// table has a line for each series as it is now.
func table(title, section, about string, queries ...query) panel {
	return panel{kind: "table", title: title, unit: "short", section: section, about: about, w: 12, h: 8, queries: queries}
}

func (p panel) wide(w int) panel   { p.w = w; return p }
func (p panel) high(h int) panel   { p.h = h; return p }
func (p panel) stack() panel       { p.stacked = true; return p }
func (p panel) limit(s step) panel { p.steps, p.line = append(p.steps, s), true; return p }
func (p panel) fraction() panel    { p.min, p.max = number(0.0), number(1.0); return p }
func (p panel) whole() panel       { p.decimals = number(0); return p }
func (p panel) say(words map[string]result) panel {
	p.words = words
	return p
}
func (p panel) paint(colors map[string]string) panel { p.colored = colors; return p }
func (p panel) dated(columns ...string) panel        { p.dates = columns; return p }
func (p panel) columns(renamed map[string]string, hidden ...string) panel {
	p.renamed, p.hidden = renamed, hidden
	return p
}

// quantile is a quantile of a histogram, by labels, in both modes of Prometheus: where it stores native histograms it
// has no series _bucket of a metric that is both, and where it does not it has no other.
func quantile(q float64, metric string, by ...string) string {
	rate := func(suffix string, by []string) string {
		return fmt.Sprintf("sum by (%s) (rate(%s%s{@}[$__rate_interval]))", strings.Join(by, ", "), metric, suffix)
	}
	return fmt.Sprintf("histogram_quantile(%v, %s) or histogram_quantile(%v, %s)", q, rate("_bucket", append([]string{"le"}, by...)), q, rate("", by))
}

// observed is how often a second a histogram observed something, by labels, in both modes.
func observed(metric string, by ...string) string {
	labels := strings.Join(by, ", ")
	return fmt.Sprintf("sum by (%s) (rate(%s_count{@}[$__rate_interval])) or sum by (%s) (histogram_count(rate(%s{@}[$__rate_interval])))", labels, metric, labels, metric)
}

// quantiles are the median and the 99th percentile of a histogram.
func quantiles(metric string, by ...string) []query {
	legend := ""
	for _, label := range by {
		legend += " {{" + label + "}}"
	}
	return []query{{quantile(0.99, metric, by...), "99 %" + legend}, {quantile(0.5, metric, by...), "50 %" + legend}}
}

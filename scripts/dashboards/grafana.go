package main

// What Grafana reads, as far as our boards use it: its schema, version 39 (Grafana 10.4) and later.
// Grafana's own types take the result strictly in TestGrafanaTakesIt.

const schemaVersion = 39

type dashboard struct {
	Annotations   annotations `json:"annotations"`
	Description   string      `json:"description"`
	Editable      bool        `json:"editable"`
	GraphTooltip  int         `json:"graphTooltip"` // 1: the crosshair is in all panels
	Links         []link      `json:"links"`
	Panels        []panelJSON `json:"panels"`
	Refresh       string      `json:"refresh"`
	SchemaVersion int         `json:"schemaVersion"`
	Tags          []string    `json:"tags"`
	Templating    templating  `json:"templating"`
	Time          timeRange   `json:"time"`
	Timezone      string      `json:"timezone"`
	Title         string      `json:"title"`
	UID           string      `json:"uid"`
}

type annotations struct {
	List []annotation `json:"list"`
}

type annotation struct {
	Datasource      source `json:"datasource"`
	Enable          bool   `json:"enable"`
	Expr            string `json:"expr"`
	Hide            bool   `json:"hide"`
	IconColor       string `json:"iconColor"`
	Name            string `json:"name"`
	Step            string `json:"step"`
	TagKeys         string `json:"tagKeys"`
	TextFormat      string `json:"textFormat"`
	TitleFormat     string `json:"titleFormat"`
	UseValueForTime bool   `json:"useValueForTime"` // the value is the time, in milliseconds
}

type link struct {
	AsDropdown  bool     `json:"asDropdown"`
	Icon        string   `json:"icon"`
	IncludeVars bool     `json:"includeVars"`
	KeepTime    bool     `json:"keepTime"`
	Tags        []string `json:"tags"`
	TargetBlank bool     `json:"targetBlank"`
	Title       string   `json:"title"`
	Tooltip     string   `json:"tooltip"`
	Type        string   `json:"type"` // dashboards or link
	URL         string   `json:"url"`
}

type templating struct {
	List []variable `json:"list"`
}

type variable struct {
	AllValue    string  `json:"allValue,omitempty"`
	Datasource  *source `json:"datasource,omitempty"`
	Description string  `json:"description"`
	Hide        int     `json:"hide"`
	IncludeAll  bool    `json:"includeAll"`
	Label       string  `json:"label"`
	Multi       bool    `json:"multi"`
	Name        string  `json:"name"`
	Query       any     `json:"query"`
	Refresh     int     `json:"refresh"` // 2: when the time range changes
	Regex       string  `json:"regex"`
	SkipURLSync bool    `json:"skipUrlSync"`
	Sort        int     `json:"sort"` // 1: by alphabet
	Type        string  `json:"type"`
}

type timeRange struct {
	From string `json:"from"`
	To   string `json:"to"`
}

// source is a data source; that of all our panels is the variable of that name.
type source struct {
	Type string `json:"type"`
	UID  string `json:"uid"`
}

type panelJSON struct {
	Collapsed       *bool            `json:"collapsed,omitempty"` // of rows
	Datasource      *source          `json:"datasource,omitempty"`
	Description     string           `json:"description,omitempty"`
	FieldConfig     *fieldConfig     `json:"fieldConfig,omitempty"`
	GridPos         gridPos          `json:"gridPos"`
	ID              int              `json:"id"`
	Interval        string           `json:"interval,omitempty"`
	Links           []link           `json:"links,omitempty"`
	Options         map[string]any   `json:"options,omitempty"`
	Panels          *[]panelJSON     `json:"panels,omitempty"` // of rows that are folded; of open ones it is empty
	Targets         []target         `json:"targets,omitempty"`
	Title           string           `json:"title"`
	Transformations []transformation `json:"transformations,omitempty"`
	Type            string           `json:"type"`
}

type gridPos struct {
	H int `json:"h"`
	W int `json:"w"`
	X int `json:"x"`
	Y int `json:"y"`
}

type target struct {
	Datasource   source `json:"datasource"`
	EditorMode   string `json:"editorMode"`
	Expr         string `json:"expr"`
	Format       string `json:"format"`
	Instant      bool   `json:"instant"`
	LegendFormat string `json:"legendFormat"`
	Range        bool   `json:"range"`
	RefID        string `json:"refId"`
}

type transformation struct {
	ID      string         `json:"id"`
	Options map[string]any `json:"options"`
}

type fieldConfig struct {
	Defaults  fieldDefaults `json:"defaults"`
	Overrides []override    `json:"overrides"`
}

type fieldDefaults struct {
	Color      color          `json:"color"`
	Custom     map[string]any `json:"custom,omitempty"`
	Decimals   *int           `json:"decimals,omitempty"`
	Mappings   []mapping      `json:"mappings"`
	Max        *float64       `json:"max,omitempty"`
	Min        *float64       `json:"min,omitempty"`
	NoValue    string         `json:"noValue,omitempty"`
	Thresholds thresholds     `json:"thresholds"`
	Unit       string         `json:"unit"`
}

type color struct {
	Mode string `json:"mode"`
	// FixedColor is the colour of the mode fixed.
	FixedColor string `json:"fixedColor,omitempty"`
}

type thresholds struct {
	Mode  string `json:"mode"`
	Steps []step `json:"steps"`
}

// step is a colour from a value on; the first has none, and is for all below the second.
type step struct {
	Color string   `json:"color"`
	Value *float64 `json:"value"`
}

type mapping struct {
	Type    string                  `json:"type"`
	Options map[string]mappedResult `json:"options"`
}

type mappedResult struct {
	Color string `json:"color,omitempty"`
	Index int    `json:"index"`
	Text  string `json:"text"`
}

type override struct {
	Matcher    matcher    `json:"matcher"`
	Properties []property `json:"properties"`
}

type matcher struct {
	ID      string `json:"id"`
	Options string `json:"options"`
}

type property struct {
	ID    string `json:"id"`
	Value any    `json:"value"`
}

package push

import (
	"fmt"
	"slices"
	"strings"
)

// policyFile is a policy as it is written. configs/push.yaml explains each name.
//
// A key for what does not exist yet is an unknown name here and refused as such: a
// policy must never promise what nobody does.
type policyFile struct {
	Policy       string                `yaml:"policy,required"`
	Version      string                `yaml:"version,required"`
	DefaultZone  string                `yaml:"default_zone,required"`
	Classes      map[string]*classFile `yaml:"classes,required"`
	Channels     []string              `yaml:"channels,required"`
	Codes        codesFile             `yaml:"codes"`
	Groups       map[string]*groupFile `yaml:"groups,required"`
	Presets      []presetUse           `yaml:"presets"`
	UserMayLower []string              `yaml:"user_may_lower"`
	Deadline     deadlineFile          `yaml:"deadline"`
	Recall       *span                 `yaml:"recall"`
	AutoHalt     []autoHaltFile        `yaml:"auto_halt"`
	Durability   durabilityRule        `yaml:"durability"`
}

type classFile struct {
	Consent consentRule `yaml:"consent,required"`
	Quiet   quietRule   `yaml:"quiet,required"`
	Count   bool        `yaml:"count,required"`
	Label   labelRule   `yaml:"label"`
	OnCap   capRule     `yaml:"on_cap"`

	OnOutage   outageRule `yaml:"on_outage"`
	LocalRatio *float64   `yaml:"local_ratio"`

	MarketingWords wordsFile `yaml:"marketing_words"`
}

// wordsFile says what happens to a push of a class that should hold no
// advertising and does, by the categories of the rules that its text hit.
type wordsFile struct {
	Flag []string `yaml:"flag,required"`
}

type codesFile struct {
	Classes  map[string]int `yaml:"classes"`
	Channels map[string]int `yaml:"channels"`
}

type groupFile struct {
	Extends       string       `yaml:"extends"`
	Quiet         *Window      `yaml:"quiet"`
	Forbid        []forbidFile `yaml:"forbid"`
	Limits        []limitFile  `yaml:"limits"`
	Justification string       `yaml:"justification"`
}

type forbidFile struct {
	Class string   `yaml:"class,required"`
	When  whenRule `yaml:"when"`
}

type limitFile struct {
	ID       string   `yaml:"id,required"`
	Classes  []string `yaml:"classes"`
	Channels []string `yaml:"channels"`
	Rolling  *span    `yaml:"rolling"`
	Days     *int     `yaml:"days"`
	Max      *int     `yaml:"max"`
}

type deadlineFile struct {
	RequiredFor []string `yaml:"required_for"`
	MaxAge      *span    `yaml:"max_age"`
}

type (
	consentRule string
	quietRule   string
	labelRule   string
	capRule     string
	whenRule    string
	outageRule  string

	durabilityRule string
)

// The words of a policy.
const (
	consentNone     consentRule = "none"
	consentRequired consentRule = "required"
	quietIgnore     quietRule   = "ignore"
	quietDefer      quietRule   = "defer"
	quietDeny       quietRule   = "deny"
	labelNone       labelRule   = "none"
	labelRequired   labelRule   = "required"
	capDrop         capRule     = "drop"
	capDefer        capRule     = "defer"
	whenAlways      whenRule    = "always"
	whenPersonal    whenRule    = "personalised"
	outageHold      outageRule  = "hold"
	outageLocal     outageRule  = "local"
	outageOpen      outageRule  = "open"
	outageDeny      outageRule  = "deny"

	durabilityPrimary    durabilityRule = "primary"
	durabilityReplicated durabilityRule = "replicated"

	lowerDaily = "daily_total"
	lowerQuiet = "quiet"
)

func oneOf[T ~string](to *T, text []byte, words ...T) error {
	if !slices.Contains(words, T(text)) {
		var known []string
		for _, w := range words {
			known = append(known, string(w))
		}
		return fmt.Errorf("%q is not known here; choose from %s", text, strings.Join(known, ", "))
	}
	*to = T(text)
	return nil
}

func (r *consentRule) UnmarshalText(b []byte) error { return oneOf(r, b, consentNone, consentRequired) }
func (r *quietRule) UnmarshalText(b []byte) error {
	return oneOf(r, b, quietIgnore, quietDefer, quietDeny)
}
func (r *labelRule) UnmarshalText(b []byte) error { return oneOf(r, b, labelNone, labelRequired) }
func (r *capRule) UnmarshalText(b []byte) error   { return oneOf(r, b, capDrop, capDefer) }
func (r *whenRule) UnmarshalText(b []byte) error  { return oneOf(r, b, whenAlways, whenPersonal) }
func (r *outageRule) UnmarshalText(b []byte) error {
	return oneOf(r, b, outageHold, outageLocal, outageOpen, outageDeny)
}
func (r *durabilityRule) UnmarshalText(b []byte) error {
	return oneOf(r, b, durabilityPrimary, durabilityReplicated)
}

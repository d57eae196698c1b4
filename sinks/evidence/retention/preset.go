package retention

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/weir-moderation/weir/internal/strictyaml"
)

// Preset is the minimum that one text demands of one kind of record, with where
// it says so.
type Preset struct {
	Class   string `yaml:"class,required"`
	Minimum Period `yaml:"minimum,required"`
	Basis   string `yaml:"basis,required"`
	Source  string `yaml:"source,required"` // where the text can be read, and when it was
}

// ParsePresets reads a file of presets, by name.
func ParsePresets(file string, src []byte) (map[string]Preset, error) {
	var doc struct {
		Presets map[string]Preset `yaml:"presets,required"`
	}
	d, err := strictyaml.Decode(file, src, &doc)
	if err != nil {
		return nil, err
	}
	var problems strictyaml.Problems
	for name, p := range doc.Presets {
		if !slices.Contains(Names(), p.Class) {
			problems = append(problems, d.Located("", fmt.Errorf("%s.class: %q; there are %s", field("presets", name), p.Class, strings.Join(Names(), ", ")))...)
		}
	}
	if len(problems) > 0 {
		problems.Sort()
		return nil, problems
	}
	return doc.Presets, nil
}

// Apply fills in what presets say where a class names one. A minimum that is given
// may only be longer than the preset's.
func (c Classes) Apply(presets map[string]Preset) error {
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(c)) {
		k := c[name]
		if k.Preset == "" {
			continue
		}
		p, ok := presets[k.Preset]
		switch {
		case !ok:
			errs = append(errs, fmt.Errorf("%s.preset: there is no preset %q; there are %s", field("retention", name), k.Preset, strings.Join(slices.Sorted(maps.Keys(presets)), ", ")))
			continue
		case p.Class != name:
			errs = append(errs, fmt.Errorf("%s.preset: %s is about %s", field("retention", name), k.Preset, p.Class))
			continue
		case !k.Minimum.IsSet():
			k.Minimum = p.Minimum
		case p.Minimum.longerThan(k.Minimum):
			errs = append(errs, fmt.Errorf("%s.minimum: %s, and the preset %s demands %s (%s); leave the preset out if it does not hold for you", field("retention", name), k.Minimum, k.Preset, p.Minimum, p.Basis))
		}
		if k.Basis == "" {
			k.Basis = p.Basis
		}
		c[name] = k
	}
	return errors.Join(errs...)
}

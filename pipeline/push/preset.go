package push

import (
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"

	"github.com/weir-moderation/weir/configs"
	"github.com/weir-moderation/weir/internal/strictyaml"
)

// presetDir holds the presets among what is shipped.
const presetDir = "push-presets"

// presetFile is a named set of limits as it is shipped.
type presetFile struct {
	Preset      string        `yaml:"preset,required"`
	Description string        `yaml:"description,required"`
	Limits      []presetLimit `yaml:"limits,required"`
}

// presetLimit is a limit with the public numbers that it stands for. It holds for
// all of them, so its max is the smallest.
type presetLimit struct {
	limitFile
	Of []presetSource `yaml:"of,required"`
}

// presetSource is one public number: whose, and where and when it was read.
type presetSource struct {
	Who    string `yaml:"who,required"`
	Max    int    `yaml:"max,required"`
	Source string `yaml:"source,required"`
	Date   string `yaml:"date,required"`
}

// presetUse is how a policy names a preset: by its name, or with what the
// policy's own classes and channels are called there.
type presetUse struct {
	Preset   string              `yaml:"preset,required"`
	Classes  map[string][]string `yaml:"classes"`
	Channels map[string][]string `yaml:"channels"`
}

// UnmarshalText reads the name alone.
func (u *presetUse) UnmarshalText(text []byte) error {
	*u = presetUse{Preset: string(text)}
	return nil
}

// PresetNames returns the names of the presets that a policy can use, sorted.
func PresetNames() []string {
	files, err := fs.Glob(configs.FS, presetDir+"/*.yaml")
	if err != nil {
		return nil // only a bad pattern does that
	}
	for i, f := range files {
		files[i] = strings.TrimSuffix(strings.TrimPrefix(f, presetDir+"/"), ".yaml")
	}
	slices.Sort(files)
	return files
}

// readPreset reads a shipped preset. A faulty one is our own mistake, which a
// test finds before anybody else does.
func readPreset(name string) (*presetFile, error) {
	file := presetDir + "/" + name + ".yaml"
	src, err := configs.FS.ReadFile(file)
	if err != nil {
		return nil, err
	}
	f := new(presetFile)
	if _, err := strictyaml.Decode("configs/"+file, src, f); err != nil {
		return nil, err
	}
	if f.Preset != name {
		return nil, fmt.Errorf("configs/%s calls itself %s", file, f.Preset)
	}
	for i := range f.Limits {
		l := &f.Limits[i]
		if l.Max == nil || len(l.Of) == 0 {
			return nil, fmt.Errorf("configs/%s: limit %s has no max, or stands for nothing", file, l.ID)
		}
		if least := slices.MinFunc(l.Of, func(a, b presetSource) int { return a.Max - b.Max }); *l.Max != least.Max {
			return nil, fmt.Errorf("configs/%s: limit %s allows %d, but %s takes %d", file, l.ID, *l.Max, least.Who, least.Max)
		}
	}
	return f, nil
}

// presets adds to every group the limits of the presets that the file names.
// They come after the group's own, so a decision names one of the policy's own
// limits first where both are reached.
//
// Clause: push-frequency
// The numbers that makers of phones publish for their push channels are presets of limits with source and date; a preset only adds limits, so it can never allow more.
func (c *compiler) presets(groups []*group) {
	used := make(map[string]bool)
	for i := range c.file.Presets {
		u, at := &c.file.Presets[i], fmt.Sprintf("presets[%d]", i)
		if u.Preset == "" {
			continue // it was not given, or could not be read
		}
		names := PresetNames()
		if !slices.Contains(names, u.Preset) {
			c.bad(at, "there is no preset %q; known are %s", u.Preset, strings.Join(names, ", "))
			continue
		}
		if used[u.Preset] {
			c.bad(at, "%s is named twice; keep one", u.Preset)
			continue
		}
		used[u.Preset] = true
		preset, err := readPreset(u.Preset)
		if err != nil {
			c.bad(at, "%s", err)
			continue
		}
		limits := c.presetLimits(preset, u, at)
		for _, g := range groups {
			g.limits = append(slices.Clip(g.limits), limits...)
		}
	}
}

// presetLimits compiles the limits of a preset for the classes and channels of
// this policy.
func (c *compiler) presetLimits(preset *presetFile, u *presetUse, at string) []limit {
	var classes, channels []string
	for i := range preset.Limits {
		classes, channels = append(classes, preset.Limits[i].Classes...), append(channels, preset.Limits[i].Channels...)
	}
	before := len(c.problems)
	own := presetWords{"class", "classes", slices.Sorted(maps.Keys(c.policy.classes))}.own(c, preset, at, classes, u.Classes)
	on := presetWords{"channel", "channels", slices.Sorted(maps.Keys(c.policy.channels))}.own(c, preset, at, channels, u.Channels)
	for _, name := range slices.Sorted(maps.Keys(own)) {
		for _, class := range own[name] {
			if k := c.policy.classes[class]; k != nil && !k.counted {
				c.bad(at, "%s limits class %s, which is not counted; write count: true for it", preset.Preset, class)
			}
		}
	}
	if len(c.problems) > before {
		return nil
	}
	var limits []limit
	for i := range preset.Limits {
		f := preset.Limits[i].limitFile
		f.Classes, f.Channels = named(own, f.Classes), named(on, f.Channels)
		if len(f.Classes) == 0 || len(f.Channels) == 0 {
			continue // the policy says that it has none
		}
		if l, ok := c.limit(&f, at); ok {
			l.id, l.by = preset.Preset+"/"+f.ID, ByPreset
			limits = append(limits, l)
		}
	}
	return limits
}

// presetWords are the classes, or the channels, of a policy for a preset.
type presetWords struct {
	one, many string
	known     []string
}

// own returns the policy's own names for those that a preset uses. What is not
// there under the same name must be given expressly, as none if there is none: a
// class that only has another name would else escape the preset.
func (w presetWords) own(c *compiler, preset *presetFile, at string, names []string, given map[string][]string) map[string][]string {
	found := make(map[string][]string)
	if len(w.known) == 0 {
		return found // that is said elsewhere
	}
	for _, name := range names {
		if _, done := found[name]; done {
			continue
		}
		found[name] = []string{name}
		if own, ok := given[name]; ok {
			found[name] = own
			for i, o := range own {
				if !slices.Contains(w.known, o) {
					c.bad(fmt.Sprintf("%s[%d]", path(at+"."+w.many, name), i), "there is no %s %q; known are %s", w.one, o, strings.Join(w.known, ", "))
				}
			}
		} else if !slices.Contains(w.known, name) {
			c.bad(at, "%s limits %s %s, which this policy does not have; of %s, say which is meant: {preset: %s, %s: {%s: [NAME]}}, or [] if none is",
				preset.Preset, w.one, name, strings.Join(w.known, ", "), preset.Preset, w.many, name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(given)) {
		if !slices.Contains(names, name) {
			c.bad(path(at+"."+w.many, name), "%s says nothing about a %s %s; take it out", preset.Preset, w.one, name)
		}
	}
	return found
}

// named returns what the names stand for, each once.
func named(own map[string][]string, names []string) []string {
	var all []string
	for _, n := range names {
		all = append(all, own[n]...)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

package rules

import (
	"fmt"
	"io/fs"
	"maps"
	"path"
	"strings"

	"github.com/weir-moderation/weir/internal/strictyaml"
)

// rulesAlone looks at what live rules say of themselves, and whether they are tested.
func (l *linter) rulesAlone() {
	hit, spared := make(map[string]bool), make(map[string]bool)
	for _, c := range l.tests.Cases {
		for _, x := range c.Hits {
			hit[x.Rule] = true
		}
		for _, id := range c.Spares {
			spared[id] = true
		}
	}
	for _, r := range l.rules {
		if r.state == Live && r.Rollout < 100 {
			l.add(PartialRollout, r, r.at("rollout"), "acts on %d percent of the users; raise it to 100 by taking the line out, or set state: shadow", r.Rollout)
		}
		if r.state != Live || r.Pack == CanaryPack { // canaries are tried at every load, and hit nobody
			continue
		}
		id := r.at("id")
		switch {
		case r.Description == "" && r.DescriptionZH == "":
			l.add(NoDescription, r, id, "says not what it looks for; give description and description_zh")
		case r.Description == "":
			l.add(NoDescription, r, id, "says not in English what it looks for; give description")
		case r.DescriptionZH == "":
			l.add(NoDescription, r, id, "says not in Chinese what it looks for; give description_zh")
		}
		if r.Contact == "" {
			l.add(NoContact, r, id, "says not who answers for it; give contact, here or for the pack")
		}
		if len(r.Basis) == 0 {
			l.add(NoBasis, r, id, "says not which clauses it stands on; give basis")
		}
		switch {
		case !hit[r.ID] && !spared[r.ID]:
			l.add(MissingTest, r, id, "no test knows it; give a case that names it in hits and one that names it in spares")
		case !hit[r.ID]:
			l.add(MissingTest, r, id, "no test hits it; give a case that names it in hits")
		case !spared[r.ID]:
			l.add(MissingTest, r, id, "no test says what it must spare; give a case that names it in spares: what it could hit in error")
		}
	}
}

// unused tells of what rules could use and do not.
func (l *linter) unused(fsys fs.FS) error {
	groups, lists := make(map[string]bool), make(map[string]bool)
	for i := range l.src.files {
		for j := range l.src.files[i].Rules {
			r := &l.src.files[i].Rules[j]
			for _, list := range append(append(r.All[:len(r.All):len(r.All)], r.Terms), r.None) {
				for k := range list {
					groups[list[k].Group] = true
				}
			}
			for k := range r.Except {
				lists[r.Except[k].Use] = true
			}
		}
	}
	for i, c := range l.src.checkers {
		for j := range l.src.files[i].Groups {
			if id := l.src.files[i].Groups[j].ID; !groups[id] {
				l.add(Unused, nil, c.doc.Problem(fmt.Sprintf("groups[%d].id", j), ""), "no rule uses the group %s; take it out, or write {group: %s} in a rule", id, id)
			}
		}
		for j := range l.src.files[i].Exceptions {
			if id := l.src.files[i].Exceptions[j].ID; !lists[id] {
				l.add(Unused, nil, c.doc.Problem(fmt.Sprintf("exceptions[%d].id", j), ""), "no rule uses these exceptions; take them out, or write {use: %s} in a rule", id)
			}
		}
	}
	entries, err := fs.ReadDir(fsys, ".")
	if err != nil {
		return fmt.Errorf("read packs: %w", err)
	}
	read := maps.Clone(l.src.library.files)
	for _, e := range entries {
		name := e.Name()
		if _, ok := read[name]; ok || e.IsDir() || strings.HasPrefix(name, ".") || !strings.HasSuffix(name, ".txt") {
			continue
		}
		l.add(Unused, nil, &strictyaml.Problem{File: path.Join(l.o.Dir, name)}, "no pack names this file; take it away, or write {file: %s} in a rule or a group", name)
	}
	return nil
}

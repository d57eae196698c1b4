package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/weir-moderation/weir/rules"
	"github.com/weir-moderation/weir/rules/form"
)

// alarms returns two tables of hits in posts nobody disguised anything in: how many more posts each form hits beyond
// those that folding hits, and how many hits the lists of ordinary words take back.
func (m *measuring) alarms() (beyond, protection string, err error) {
	forms := form.Names()[1:]
	b := table{append([]string{"terms", "posts", "number", "hit by fold"}, append(slices.Clone(forms), "any")...)}
	p := table{{"terms", "posts", "hits by fold alone", "of these dropped", "posts spared", "hits in all forms", "of these dropped", "posts spared"}}
	for _, l := range m.lists {
		var sets [4]*rules.Set // folded, in all forms; and both without ordinary words
		for i := range sets {
			asked, words := form.Fold.Words(), m.words
			if i%2 == 1 {
				asked = []string{"all"}
			}
			if i >= 2 {
				words = nil
			}
			if sets[i], err = m.set(l.rules, asked, words); err != nil {
				return "", "", fmt.Errorf("%s: %w", l.name, err)
			}
		}
		for _, name := range slices.Sorted(maps.Keys(m.posts)) {
			if strings.HasSuffix(l.name, "Latin terms") && name == "zh" || strings.HasSuffix(l.name, "Chinese terms") && name == "en" {
				continue
			}
			posts := m.posts[name]
			var hits, hit [4]int // hits, and posts with any
			byForm, some := make([]int, len(forms)), 0
			for _, text := range posts {
				var took [4]form.Form
				for i, s := range sets {
					found := s.Match(&m.scratch, post(text))
					hits[i] += len(found)
					if len(found) > 0 {
						hit[i]++
					}
					for _, h := range found {
						took[i] |= h.Form
					}
				}
				if took[0] != 0 || took[1] == 0 {
					continue
				}
				some++
				for i := range forms {
					if took[1]&(form.Squeeze<<i) != 0 {
						byForm[i]++
					}
				}
			}
			n := len(posts)
			row := []string{l.name, name, fmt.Sprint(n), percent(hit[0], n, 2)}
			for _, f := range append(byForm, some) {
				row = append(row, percent(f, n, 2))
			}
			b.row(row...)
			p.row(l.name, name,
				fmt.Sprint(hits[2]), percent(hits[2]-hits[0], hits[2], 1), fmt.Sprint(hit[2]-hit[0]),
				fmt.Sprint(hits[3]), percent(hits[3]-hits[1], hits[3], 1), fmt.Sprint(hit[3]-hit[1]))
		}
	}
	return b.String(), p.String(), nil
}

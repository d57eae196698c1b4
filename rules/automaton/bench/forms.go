package main

import (
	"fmt"

	"github.com/weir-moderation/weir/rules/form"
)

// measureForms compares matchers that look for more forms with one that only folds.
func measureForms(o options) error {
	fmt.Print("\n## Forms\n\nns a post; × the cost of folding alone: median (least to greatest). No list of ordinary words.\n\n")
	fmt.Println("| set | posts | fold | + squeeze, repeat, decode, split | × | and pinyin | × | and spaced, leet, digits instead | × |")
	fmt.Println("|---|---|---|---|---|---|---|---|---|")
	five := form.Fold | form.Squeeze | form.Repeat | form.Decode | form.Split
	for _, name := range o.sets {
		s, err := readSet(o.dir, name)
		if err != nil {
			return err
		}
		searchers := make(map[string]*searcher)
		for what, forms := range map[string]form.Form{"fold": form.Fold, "five": five, "pinyin": five | form.Pinyin,
			"more": five | form.Spaced | form.Leet | form.Digits} {
			list := terms(s)
			for i := range list {
				list[i].Forms = forms
			}
			m, err := form.New(list, form.Options{})
			if err != nil {
				return fmt.Errorf("set %s: %w", name, err)
			}
			searchers[what] = &searcher{m: m}
		}
		for _, text := range o.texts {
			p, err := readPosts(o.dir, text)
			if err != nil {
				return err
			}
			var runners []runner
			for _, what := range []string{"fold", "five", "pinyin", "more"} {
				runners = append(runners, runner{what, p.with(searchers[what].search)})
			}
			cost := interleave(runners, p, o.rounds)
			mean := float64(p.bytes) / float64(len(p.posts))
			fmt.Printf("| %s | %s | %.0f |", name, text, median(cost["fold"])*mean)
			for _, what := range []string{"five", "pinyin", "more"} {
				fmt.Printf(" %.0f | %s |", median(cost[what])*mean, spread(ratios(cost[what], cost["fold"])))
			}
			fmt.Println()
		}
	}
	return nil
}

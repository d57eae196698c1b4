package app

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/weir-moderation/weir/internal/config"
	"github.com/weir-moderation/weir/rules"
)

// A set that hits too many benign posts is refused where the operator has named posts of their own,
// by place and without their texts; by the posts in the binary alone it is warned of.
func TestFalseAlarmBudget(t *testing.T) {
	dir := t.TempDir()
	packs := filepath.Join(dir, "packs")
	write := func(name, text string) {
		t.Helper()
		if err := os.MkdirAll(filepath.Dir(name), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	write(filepath.Join(packs, "p.yaml"), "pack: p\nrules:\n  - {id: p.a, category: gambling, state: live, terms: [赌博]}\n")
	write(filepath.Join(dir, "benign.txt"), "我们去看了一部关于赌博的电影\n今天天气不错\n赌博是不对的\n")
	c := config.Default()
	c.Rules.Dir = packs
	set, err := OpenRules(&c.Rules)
	if err != nil {
		t.Fatal(err)
	}
	if err := set.checkBudget(&c); err != nil {
		t.Errorf("refused by the posts in the binary: %v", err)
	}
	if over, ok := errors.AsType[*rules.BudgetError](set.Warning); !ok || over.Report.Hit < 2 {
		t.Errorf("no warning: %v", set.Warning)
	}
	c.Rules.Benign = filepath.Join(dir, "benign.txt")
	err = set.checkBudget(&c)
	if _, ok := errors.AsType[*rules.BudgetError](err); !ok {
		t.Fatalf("accepted: %v", err)
	}
	if strings.Contains(err.Error(), "电影") {
		t.Error("the text of a post is in the error")
	}
	if _, err := LoadForce(&c); err == nil {
		t.Error("such a set can be put in force")
	}
	c.Rules.FalseAlarms = rules.Budget{Set: 100 * rules.Percent, Rule: 100 * rules.Percent}
	if err := set.checkBudget(&c); err != nil {
		t.Errorf("without a budget: %v", err)
	}
}

package rules

import (
	"fmt"
	"regexp"
	"slices"

	"github.com/weir-moderation/weir/internal/strictyaml"
)

// Clause: cmp-categories
// Every rule names one category of this register; each category says which of the nine prohibited ones of list A it belongs to.
// Clause: pub-categories
// The same register holds list B and the never-publish classes; a rule of such a leak class holds for a human unless it says otherwise.

// Register is the list of categories, with their places in the lists that laws
// and house rules make. It is immutable.
type Register struct {
	categories []*Category // in the order of the file
	byCode     map[string]*Category
}

// Category is one entry of the register.
type Category struct {
	Code          string `yaml:"code,required"`    // what rules, records and reports name; for ever
	Name          string `yaml:"name,required"`    // English
	NameZH        string `yaml:"name_zh,required"` // Chinese
	Description   string `yaml:"description"`
	DescriptionZH string `yaml:"description_zh"`

	ListA        []int    `yaml:"list_a"`        // the complaint rule's prohibited content, 1 to 9
	ListB        []int    `yaml:"list_b"`        // the publishing rule's must-not-spread, 1 to 6
	NeverPublish []int    `yaml:"never_publish"` // the publishing rule's never-publish classes, 1 to 5
	Statute      []int    `yaml:"statute"`       // Internet Information Services Measures, article 15, 1 to 9
	DSA          []string `yaml:"dsa"`           // statement categories of the DSA transparency database

	Political bool `yaml:"political"`  // politically sensitive: ships without terms
	HouseRule bool `yaml:"house_rule"` // the site's own rule, not law
	Leak      bool `yaml:"leak"`       // held for a human by default

	Severity Severity `yaml:"severity"` // of a rule that does not say; medium where this does not either
	Action   Action   `yaml:"action"`   // of a rule that does not say; review where this does not either
}

// Limits of a register.
const maxCategories = 1000

// dsaCategories are the statement categories of the DSA transparency database,
// version 2 of its schema (July 2025).
var dsaCategories = []string{
	"STATEMENT_CATEGORY_ANIMAL_WELFARE",
	"STATEMENT_CATEGORY_CONSUMER_INFORMATION",
	"STATEMENT_CATEGORY_CYBER_VIOLENCE",
	"STATEMENT_CATEGORY_CYBER_VIOLENCE_AGAINST_WOMEN",
	"STATEMENT_CATEGORY_DATA_PROTECTION_AND_PRIVACY_VIOLATIONS",
	"STATEMENT_CATEGORY_ILLEGAL_OR_HARMFUL_SPEECH",
	"STATEMENT_CATEGORY_INTELLECTUAL_PROPERTY_INFRINGEMENTS",
	"STATEMENT_CATEGORY_NEGATIVE_EFFECTS_ON_CIVIC_DISCOURSE_OR_ELECTIONS",
	"STATEMENT_CATEGORY_NOT_SPECIFIED_NOTICE",
	"STATEMENT_CATEGORY_OTHER_VIOLATION_TC",
	"STATEMENT_CATEGORY_PROTECTION_OF_MINORS",
	"STATEMENT_CATEGORY_RISK_FOR_PUBLIC_SECURITY",
	"STATEMENT_CATEGORY_SCAMS_AND_FRAUD",
	"STATEMENT_CATEGORY_SELF_HARM",
	"STATEMENT_CATEGORY_UNSAFE_AND_PROHIBITED_PRODUCTS",
	"STATEMENT_CATEGORY_VIOLENCE",
}

var codeShape = regexp.MustCompile(`^[a-z0-9]+(-[a-z0-9]+)*$`)

// ParseRegister reads a category register such as configs/categories.yaml. The
// file name is only used in messages. The error, if any, lists all problems.
func ParseRegister(file string, src []byte) (*Register, error) {
	var f struct {
		Categories []*Category `yaml:"categories,required"`
	}
	doc, err := strictyaml.Decode(file, src, &f)
	c := newChecker(doc, err)
	reg := &Register{byCode: make(map[string]*Category)}
	if err == nil && len(f.Categories) == 0 {
		c.add("categories", "is empty; give at least one category")
	}
	if len(f.Categories) > maxCategories {
		c.add("categories", "%d categories; at most %d", len(f.Categories), maxCategories)
		f.Categories = nil
	}
	for i, cat := range f.Categories {
		path := fmt.Sprintf("categories[%d]", i)
		if cat == nil {
			c.add(path, "is empty; give code, name and name_zh, or take it out")
			continue
		}
		c.category(path, cat)
		if _, ok := reg.byCode[cat.Code]; ok {
			first := slices.IndexFunc(f.Categories, func(o *Category) bool { return o != nil && o.Code == cat.Code })
			c.add(path+".code", "code %q is given twice; first in line %d, keep one", cat.Code, doc.Problem(fmt.Sprintf("categories[%d].code", first), "").Line)
			continue
		}
		reg.byCode[cat.Code] = cat
		reg.categories = append(reg.categories, cat)
	}
	if err := c.error(); err != nil {
		return nil, err
	}
	return reg, nil
}

// category checks one entry and fills in its defaults.
func (c *checker) category(path string, cat *Category) {
	if !codeShape.MatchString(cat.Code) || len(cat.Code) > maxNameBytes {
		c.add(path+".code", "%q is not a code; use a-z, 0-9 and single - between them, at most %d", cat.Code, maxNameBytes)
	}
	for _, t := range []struct{ name, text string }{{"name", cat.Name}, {"name_zh", cat.NameZH}} {
		if t.text == "" {
			c.add(path+"."+t.name, "is empty; give the name people see")
		}
	}
	for _, l := range []struct {
		name    string
		numbers []int
		last    int
	}{{"list_a", cat.ListA, 9}, {"list_b", cat.ListB, 6}, {"never_publish", cat.NeverPublish, 5}, {"statute", cat.Statute, 9}} {
		for i, n := range l.numbers {
			at := fmt.Sprintf("%s.%s[%d]", path, l.name, i)
			if n < 1 || n > l.last {
				c.add(at, "%d is not in the list; its numbers are 1 to %d", n, l.last)
			} else if slices.Contains(l.numbers[:i], n) {
				c.add(at, "%d is given twice; keep one", n)
			}
		}
	}
	for i, d := range cat.DSA {
		if !slices.Contains(dsaCategories, d) {
			c.add(fmt.Sprintf("%s.dsa[%d]", path, i), "%s", unknown("DSA statement category", d, dsaCategories))
		}
	}
	if cat.Action == Pass {
		if c.doc.Has(path + ".action") {
			c.add(path+".action", "a category cannot let pass; give review or reject")
		}
		cat.Action = Review
	}
	if cat.Leak && cat.Action != Review {
		c.add(path+".action", "a leak is held for a human; give review")
	}
	if cat.Severity == 0 {
		cat.Severity = Medium
	}
}

// Categories returns all categories in the order of the file. They must not be changed.
func (r *Register) Categories() []*Category { return r.categories }

// Category returns the category with the code, and false if there is none.
func (r *Register) Category(code string) (*Category, bool) {
	c, ok := r.byCode[code]
	return c, ok
}

// Codes returns the codes of all categories in the order of the file.
func (r *Register) Codes() []string {
	codes := make([]string, len(r.categories))
	for i, c := range r.categories {
		codes[i] = c.Code
	}
	return codes
}

package rules

import (
	"fmt"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestDiff(t *testing.T) {
	const bet, card = "id: p.bet, category: gambling, state: live, terms: [赌博, casino]", "id: p.card, category: fraud, state: draft, terms: [pin]"
	tests := []struct {
		name       string
		old, new   []string
		want       string // rule, then its changes
		sameDigest bool
	}{
		{name: "nothing", old: []string{bet, card}, new: []string{card, bet}, sameDigest: true},
		{name: "order of terms", old: []string{bet}, new: []string{strings.Replace(bet, "赌博, casino", "casino, 赌博", 1)}, sameDigest: true},
		{name: "terms", old: []string{bet}, new: []string{strings.Replace(bet, "casino", "Casinos, bet", 1)},
			want: `p.bet: terms -"casino" +"Casinos" +"bet"`},
		{name: "a term in other letters", old: []string{bet}, new: []string{strings.Replace(bet, "casino", "Casino", 1)},
			want: `p.bet: terms -"casino" +"Casino"`, sameDigest: true},
		{name: "exceptions", old: []string{bet + ", except: [反赌博]"}, new: []string{bet + ", except: [赌博害人]"},
			want: `p.bet: except -"反赌博" +"赌博害人"`},
		{name: "what decides", old: []string{bet}, new: []string{"id: p.bet, category: fraud, severity: low, action: review, state: shadow, forms: [fold, leet], terms: [赌博, casino]"},
			want: `p.bet: category gambling -> fraud; severity high -> low; action reject -> review; state live -> shadow; ` +
				`forms -"decode" -"digits" -"repeat" -"spaced" -"split" -"squeeze"`},
		{name: "how they stand together", old: []string{bet}, new: []string{"id: p.bet, category: gambling, state: live, all: [[赌博, casino], [{text: VX, case: exact}]], within: 9, none: [警方], rollout: 5"},
			want: `p.bet: rollout nothing -> 5; terms -"casino" -"赌博" +"1: casino" +"1: 赌博" +"2: VX, case exact, forms squeeze+spaced"; within nothing -> 9; none +"警方"`},
		{name: "an expiry", old: []string{bet + ", except: [反赌博]"}, new: []string{bet + ", except: [{texts: [反赌博], owner: o, reason: r, expires: 2999-12-31}]"},
			want: `p.bet: except -"反赌博" +"反赌博, owner o, for r, until 2999-12-31"`, sameDigest: true},
		{name: "where", old: []string{bet}, new: []string{bet + ", kinds: [push], fields: [title]"}, want: `p.bet: kinds -"post"; fields +"title"`},
		{name: "words for people", old: []string{bet}, new: []string{bet + ", description: new words, false_positives: n"},
			want: `p.bet: description nothing -> "new words"; false_positives nothing -> n`, sameDigest: true},
		{name: "a draft", old: []string{bet, card}, new: []string{bet, strings.Replace(card, "pin", "pins", 1)},
			want: `p.card: terms -"pin" +"pins"`, sameDigest: true},
		{name: "added", old: []string{bet}, new: []string{bet, card},
			want: `+p.card: category nothing -> fraud; severity nothing -> medium; action nothing -> review; state nothing -> draft; terms +"pin"; ` +
				`forms +"decode" +"digits" +"leet" +"repeat" +"spaced" +"squeeze"; kinds +"post" +"push"`, sameDigest: true},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			before, after := load(t, Options{}, test.old...), load(t, Options{}, test.new...)
			var got []string
			for _, d := range Diff(before, after) {
				var said []string
				for _, c := range d.Changes {
					said = append(said, c.What+" "+c.String())
				}
				sign := map[bool]string{d.Old == nil: "+", d.New == nil: "-"}[true]
				got = append(got, sign+d.ID+": "+strings.Join(said, "; "))
			}
			if diff := cmp.Diff(test.want, strings.Join(got, "\n")); diff != "" {
				t.Error(diff)
			}
			if same := before.Digest() == after.Digest(); same != test.sameDigest {
				t.Errorf("one digest: %t", same)
			}
			// The other way round, what was added is removed.
			back := Diff(after, before)
			for i, d := range Diff(before, after) {
				b := back[i]
				b.Old, b.New = b.New, b.Old
				b.Changes = slices.Clone(b.Changes)
				for k := range b.Changes {
					c := &b.Changes[k]
					c.Removed, c.Added = c.Added, c.Removed
				}
				if !reflect.DeepEqual(d, b) {
					t.Errorf("%s differs the other way round", d.ID)
				}
			}
		})
	}
}

// Sets that differ in their digest differ in a rule: nothing that decides over a post is
// forgotten in Diff.
func TestDiffSeesWhatTheDigestSees(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 1))
	pick := func(list ...string) string { return list[r.IntN(len(list))] }
	set := func() *Set {
		var list []string
		for _, id := range []string{"p.a", "p.b"} {
			if r.IntN(8) > 0 {
				list = append(list, fmt.Sprintf("id: %s, category: %s, severity: %s, action: %s, state: %s, terms: [%s], kinds: [%s]%s%s", id,
					pick("fraud", "gambling"), pick("low", "high"), pick("review", "reject"), pick("live", "shadow", "draft", "retired"),
					pick("赌博", "赌博, casino"), pick("post", "push", "post, push"), pick("", ", except: [反赌博]"), pick("", ", forms: all", ", fields: [t]", ", rollout: 7", ", none: [警方]", ", none: [警方], within: 4", ", boundary: substring", ", gap: 1", ", when: hits.count > 1")))
			}
		}
		return load(t, Options{}, append(list, "id: p.c, category: fraud, state: live, terms: [pin]")...)
	}
	other := set()
	for range share(200) {
		before, after := other, set()
		if len(Diff(before, after)) == 0 && before.Digest() != after.Digest() {
			t.Fatal("two digests and no difference")
		}
		if len(Diff(after, after)) != 0 {
			t.Fatal("a set differs from itself")
		}
		other = after
	}
}

// A field that comes to Rule is either compared or named here.
func TestDiffKnowsEveryField(t *testing.T) {
	names := map[string]string{"Category": "category", "Severity": "severity", "Action": "action", "State": "state", "Lists": "terms", "Rollout": "rollout", "Basis": "basis", "Contact": "contact", "Distinct": "distinct", "Within": "within", "None": "none", "When": "when",
		"Except": "except", "Forms": "forms", "Kinds": "kinds", "Fields": "fields", "Description": "description",
		"DescriptionZH": "description_zh", "FalsePositives": "false_positives"}
	place := []string{"ID", "Pack", "File", "Line"} // which rule it is, and where it stands
	typ := reflect.TypeFor[Rule]()
	for i := range typ.NumField() {
		f := typ.Field(i)
		compared := slices.ContainsFunc(aspects, func(x aspect) bool { return x.what == names[f.Name] })
		if f.IsExported() && compared == slices.Contains(place, f.Name) {
			t.Errorf("Rule.%s: Diff compares it: %t; add it to aspects, or say here why not", f.Name, compared)
		}
	}
}

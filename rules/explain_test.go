package rules

import (
	"fmt"
	"strings"
	"testing"

	"github.com/weir-moderation/weir/pipeline/event"
	"github.com/weir-moderation/weir/rules/form"
)

// explained is what a set says of the second of two fields, the near misses as lines too.
func explained(t *testing.T, s *Set, kind event.Kind, text string) (Explanation, []string) {
	t.Helper()
	e := event.Event{Kind: kind, Fields: []event.Field{{Name: []byte("title")}, {Name: []byte("text"), Text: []byte(text)}}}
	x := s.Explain(&e)
	var near []string
	for _, n := range x.Near {
		near = append(near, fmt.Sprintf("%s %d %d:%d %s: %s", n.Rule.ID, n.Field, n.Start, n.End, e.Fields[n.Field].Text[n.Start:n.End], n.Why))
	}
	return x, near
}

// explainSet has a rule that applies everywhere, one that applies to pushes, and one to titles.
func explainSet(t *testing.T) *Set {
	t.Helper()
	return load(t, Options{},
		`id: p.bet, category: gambling, state: live, forms: [squeeze, spaced, leet], terms: [赌博, bet], except: [反赌博宣传, 赌博片]`,
		`id: p.push, category: gambling, state: live, kinds: [push], terms: [优惠]`,
		`id: p.title, category: gambling, state: live, fields: [title], forms: [squeeze], terms: [casino, 彩票]`)
}

// What reads like a term and is none is told with its place and its reason, in the order of the
// text, though the term stands elsewhere in the text and is a hit there.
func TestExplainNearMisses(t *testing.T) {
	s := explainSet(t)
	for _, c := range []struct {
		name, text string
		want       []string
	}{
		{"nothing", "平常的一天", nil},
		{"empty", "", nil},
		{"inside a word", "alphabet", []string{"p.bet 1 5:8 bet: " + whyInside}},
		{"inside a word and alone", "bet, ＢＥＴters", []string{"p.bet 1 5:14 ＢＥＴ: " + whyInside}},
		{"a hit is no near miss", "b.e.t 赌-博", nil},
		{"covered, by the exception that does", "赌博 看赌博片 反赌博宣传", []string{
			`p.bet 1 10:16 赌博: the exception "赌博片" of its rule covers it`,
			`p.bet 1 23:29 赌博: the exception "反赌博宣传" of its rule covers it`,
		}},
		{"covered, the other way round", "反赌博宣传 看赌博片", []string{
			`p.bet 1 3:9 赌博: the exception "反赌博宣传" of its rule covers it`,
			`p.bet 1 19:25 赌博: the exception "赌博片" of its rule covers it`,
		}},
		{"a hit that another reading rejects", "9tt宣bet", nil},
		{"a gap too wide", "赌\n\n博", []string{"p.bet 1 0:8 赌\n\n博: " + string(form.BadGap)}},
		{"a gap too wide in another field", "彩\n\n票", nil},
		{"another kind", "优惠", []string{"p.push 1 0:6 优惠: " + whyElsewhere}},
		{"another field", "casino casinos", []string{"p.title 1 0:6 casino: " + whyElsewhere}},
		{"in the order of the text", "反赌博宣传 alphabet 反赌博宣传", []string{
			`p.bet 1 3:9 赌博: the exception "反赌博宣传" of its rule covers it`,
			"p.bet 1 21:24 bet: " + whyInside,
			`p.bet 1 28:34 赌博: the exception "反赌博宣传" of its rule covers it`,
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			_, got := explained(t, s, event.Post, c.text)
			if a, b := strings.Join(got, "\n"), strings.Join(c.want, "\n"); a != b {
				t.Errorf("%q:\n%s\nwant\n%s", c.text, a, b)
			}
		})
	}
}

// The hits explained are those of Match, in its order.
func TestExplainHits(t *testing.T) {
	s := explainSet(t)
	text := "b.e.t bet 赌-博 赌博"
	x, _ := explained(t, s, event.Post, text)
	e := event.Event{Kind: event.Post, Fields: []event.Field{{Name: []byte("title")}, {Name: []byte("text"), Text: []byte(text)}}}
	var sc Scratch
	want := quoteForms(&e, s.Match(&sc, &e))
	if got := quoteForms(&e, x.Hits); got != want || len(x.Hits) != 4 {
		t.Errorf("hits\n%s\nwant the 4 of Match\n%s", got, want)
	}
}

// However many near misses a text has, a bounded number is told, and how many more there are.
func TestExplainIsBounded(t *testing.T) {
	x, _ := explained(t, explainSet(t), event.Post, strings.Repeat("alphabet ", 1000))
	if len(x.Near) != MaxNearMisses || x.More != 1000-MaxNearMisses {
		t.Errorf("%d near misses and %d more, want %d and %d", len(x.Near), x.More, MaxNearMisses, 1000-MaxNearMisses)
	}
}

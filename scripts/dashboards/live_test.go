package main

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/prometheus/promql/parser"
)

// Expressions that return nothing from a healthy demo, by what is in them, each
// with the reason. One that returns something is no exception any more.
var emptyInHealth = map[string]string{
	"weir_tls_certificate_not_after_timestamp_seconds": "the demo has no certificates",
	"weir_evidence_unwitnessed_seconds":                "there is no witness in the demo",
	"weir_evidence_unstamped_seconds":                  "there is no time-stamp authority in the demo",
	"1 - weir_ruleset_last_load_successful":            "the annotation of a refused change: none is refused in the demo, and none is to be drawn",
}

// Each expression of every panel, annotation, alert and recording rule returns
// data from a real Prometheus that scrapes a Weir with traffic, whether it stores
// classic or native histograms; all rules can be computed, and no alert fires.
func TestEveryExpressionReturnsData(t *testing.T) {
	w, err := demo()
	if err != nil {
		t.Fatal(err)
	}
	classic := prometheusWith(t, w)
	native := prometheusWith(t, w, "--enable-feature=native-histograms")
	t.Run("classic", func(t *testing.T) { returnsData(t, classic, false) })
	t.Run("native", func(t *testing.T) { returnsData(t, native, true) })
}

func returnsData(t *testing.T, s *server, native bool) {
	type wanted struct{ where, expr string }
	var wants []wanted
	fromRules, _ := rulesAsk(t)
	for _, a := range append(panels(), fromRules...) {
		tree, err := promql.ParseExpr(concrete(a.expr))
		if err != nil {
			t.Errorf("%s: %v", a.where, err)
			continue
		}
		if !a.alert {
			wants = append(wants, wanted{a.where, now(tree).String()})
			continue
		}
		for _, p := range parts(tree) {
			wants = append(wants, wanted{a.where, now(p).String()})
		}
	}
	if len(wants) < 200 {
		t.Fatalf("only %d expressions", len(wants))
	}

	// Rates need a second scrape, deferred pushes and withdrawals take their time: those that are still empty are asked
	// again.
	deadline := time.Now().Add(90 * time.Second)
	said := make(map[string]string) // what each returned last
	var exceptions []wanted
	for {
		var left []wanted
		for _, e := range wants {
			got, err := s.query(t.Context(), e.expr)
			if err != nil {
				t.Errorf("%s: %v", e.where, err)
				continue
			}
			said[e.expr] = describe(got)
			switch finite := slices.ContainsFunc(got, sample.finite); {
			case len(got) == 0 && reason(emptyInHealth, e.expr) != "":
				exceptions = append(exceptions, e)
			case len(got) == 0, !finite:
				left = append(left, e)
			default:
				if testing.Verbose() {
					t.Logf("%-60s %s", e.where, said[e.expr])
				}
			}
		}
		if wants = left; len(wants) == 0 {
			break
		}
		if time.Now().After(deadline) {
			for _, e := range wants {
				t.Errorf("%s: returned %s within 90 s\n%s", e.where, said[e.expr], e.expr)
			}
			break
		}
		time.Sleep(time.Second) // until the next scrape
	}
	for part := range emptyInHealth {
		if !slices.ContainsFunc(exceptions, func(e wanted) bool { return strings.Contains(e.expr, part) }) {
			t.Errorf("%s is no exception any more: take it out of the list", part)
		}
	}
	checkMode(t, s, native)
	checkRules(t, s)
}

// checkMode makes sure that the two modes are two.
func checkMode(t *testing.T, s *server, native bool) {
	t.Helper()
	buckets, err := s.query(t.Context(), `weir_message_age_seconds_bucket`)
	if err != nil {
		t.Fatal(err)
	}
	whole, err := s.query(t.Context(), `weir_message_age_seconds`)
	if err != nil {
		t.Fatal(err)
	}
	if (len(buckets) == 0) != native || (len(whole) > 0) != native {
		t.Errorf("%d series of buckets and %d native histograms where native is %v", len(buckets), len(whole), native)
	}
}

// stirred are alerts that a healthy demo may have pending or firing, each with
// the reason.
var stirred = map[string]string{
	"WeirPushRecalls": "people of the demo withdraw consent far more often than others do, so that visitors see it",
}

// checkRules lets Prometheus say that it can compute all rules, and that no
// alert is about to fire.
func checkRules(t *testing.T, s *server) {
	t.Helper()
	var data struct {
		Groups []struct {
			Rules []struct {
				Name      string `json:"name"`
				Health    string `json:"health"`
				LastError string `json:"lastError"`
				State     string `json:"state"`
			} `json:"rules"`
		} `json:"groups"`
	}
	if err := s.get(t.Context(), "rules", &data); err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, g := range data.Groups {
		for _, r := range g.Rules {
			n++
			if r.Health != "ok" {
				t.Errorf("%s cannot be computed: %s %s", r.Name, r.Health, r.LastError)
			}
			if r.State != "" && r.State != "inactive" && stirred[r.Name] == "" {
				t.Errorf("%s is %s while all is well", r.Name, r.State)
			}
		}
	}
	if n < 60 {
		t.Errorf("Prometheus has %d rules", n)
	}
}

func reason(list map[string]string, expr string) string {
	for part, why := range list {
		if strings.Contains(expr, part) {
			return why
		}
	}
	return ""
}

// describe shows the first of what was returned.
func describe(list []sample) string {
	if len(list) == 0 {
		return "nothing"
	}
	var b strings.Builder
	for i, s := range list {
		if i == 3 {
			b.WriteString(" ...")
			break
		}
		var pairs []string
		for k, v := range s.labels {
			if k != "job" && k != "instance" && k != "__name__" {
				pairs = append(pairs, k+"="+v)
			}
		}
		slices.Sort(pairs)
		b.WriteString(" {" + strings.Join(pairs, ",") + "} " + s.value)
	}
	return strings.TrimSpace(b.String())
}

// now takes offsets and steps of minutes out of an expression: the Prometheus of
// this test is too young to know what was an hour ago.
func now(e parser.Expr) parser.Expr {
	parser.Inspect(e, func(node parser.Node, _ []parser.Node) error {
		switch n := node.(type) {
		case *parser.VectorSelector:
			n.OriginalOffset, n.Offset = 0, 0
		case *parser.SubqueryExpr:
			n.OriginalOffset, n.Offset = 0, 0
			n.Step = time.Second // else it begins with the next full minute
		}
		return nil
	})
	return e
}

// parts returns what an alert compares: an alert that stays silent returns
// nothing, but what it looks at is there all the same. The two forms of a
// histogram are one part, of which either may be empty.
func parts(e parser.Expr) []parser.Expr {
	if e.Type() == parser.ValueTypeScalar { // a limit
		return nil
	}
	switch n := e.(type) {
	case *parser.ParenExpr:
		return parts(n.Expr)
	case *parser.Call:
		if n.Func.Name == "absent" {
			return parts(n.Args[0])
		}
	case *parser.BinaryExpr:
		left, right := parts(n.LHS), parts(n.RHS)
		switch {
		case n.Op == parser.LOR && strings.Contains(n.LHS.String(), "_bucket"):
			if len(left) == 1 && len(right) == 1 {
				return []parser.Expr{&parser.BinaryExpr{Op: parser.LOR, LHS: left[0], RHS: right[0], VectorMatching: n.VectorMatching}}
			}
		case n.Op.IsComparisonOperator() && !n.ReturnBool, n.Op.IsSetOperator():
			return append(left, right...)
		}
	}
	return []parser.Expr{e}
}

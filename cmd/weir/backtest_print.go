package main

import (
	"bytes"
	_ "embed"
	"fmt"
	"html/template"
	"io"
	"strings"
	"text/tabwriter"
)

// print writes the report for people.
func (r *backtestReport) print(w io.Writer) error {
	var b bytes.Buffer
	r.Old.print(&b, "old")
	r.New.print(&b, "new")
	fmt.Fprintf(&b, "%s, %s judged by both\n", count(r.Messages, "message"), count(r.Events, "event"))
	for _, d := range r.Dead {
		fmt.Fprintf(&b, "%s could not be judged: %s at %s, first %s\n", count(d.Count, "message"), d.Reason, d.Stage, d.First)
	}
	if len(r.Rules) == 0 {
		fmt.Fprintln(&b, "nothing is judged differently")
	} else {
		if len(r.Actions) == 0 {
			fmt.Fprintln(&b, "no action changes")
		}
		for _, a := range r.Actions {
			fmt.Fprintf(&b, "%s -> %s: %s\n", a.Old, a.New, count(a.Events, "event"))
		}
		r.table(&b, "rule", r.Rules)
		r.table(&b, "category", r.Categories)
		for i := range r.Samples {
			s := &r.Samples[i]
			if i == 0 {
				fmt.Fprintln(&b)
			}
			fmt.Fprintf(&b, "%s\n    %s\n", s.about(), s.marked(">>", "<<"))
		}
	}
	_, err := b.WriteTo(w)
	return err
}

func (r *backtestReport) table(w io.Writer, name string, rows []rowReport) {
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', tabwriter.AlignRight)
	fmt.Fprintf(t, "\nhits by old\tby new\tlost\tnew\tevents\tstronger\tweaker\t  %s\n", name)
	for _, x := range rows {
		fmt.Fprintf(t, "%d\t%d\t%d\t%d\t%d\t%d\t%d\t  %s\n", x.OldHits, x.NewHits, x.Lost, x.New, x.Events, x.Stronger, x.Weaker, x.Name)
	}
	_ = t.Flush() // w is memory
}

// about says what a sample is a sample of.
func (s *sampleReport) about() string {
	said := map[string]string{"new": "new hit", "lost": "lost hit", "acts": "hit that stays"}[s.Change]
	action := s.OldAction + " -> " + s.NewAction
	if s.OldAction == s.NewAction {
		action = "still " + s.OldAction
	}
	return fmt.Sprintf("%s: %s, %s, %s bytes %d to %d, %s; %s", s.Rule, said, s.Where, s.Field, s.Start, s.End, readAs(s.Form, s.Term), action)
}

// marked shows the text with marks around the hit, and what cannot be seen in it.
func (s *sampleReport) marked(before, after string) string {
	return seen(s.Before) + before + seen(s.Text) + after + seen(s.After)
}

// seen is visible without the quotes.
func seen(text string) string { return strings.TrimSuffix(strings.TrimPrefix(visible(text), `"`), `"`) }

//go:embed backtest.html.tmpl
var backtestPage string

// html writes the report as a page that needs nothing beside it. Its policy lets a browser load
// nothing and run nothing, whatever texts are in it.
func (r *backtestReport) html(w io.Writer) error {
	t, err := template.New("backtest").Funcs(template.FuncMap{"seen": seen, "readAs": readAs, "count": count[int64],
		"sign": func(change string) string { return changeSigns[change] }}).Parse(backtestPage)
	if err != nil {
		return err
	}
	return t.Execute(w, struct {
		*backtestReport
		Diff setDiff
	}{r, r.diff})
}

// save writes the page into a file, whole or not at all. Nobody else may read it: it may hold
// texts of users.
func (r *backtestReport) save(file string) error {
	var b bytes.Buffer
	if err := r.html(&b); err != nil {
		return err
	}
	return replaceFile(file, b.Bytes(), 0o600)
}

package demo

import (
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-moderation/weir/internal/speech"
	"github.com/weir-moderation/weir/pipeline/event"
	"github.com/weir-moderation/weir/rules"
)

var starterSetOnce = sync.OnceValues(starterSet)

func readStarterSet(t *testing.T) *rules.Set {
	t.Helper()
	set, err := starterSetOnce()
	if err != nil {
		t.Fatal(err)
	}
	return set
}

// The daemon's judgement is what the city meant: what is ordinary passes, what
// is forbidden, disguised or a canary is hit. A visitor would not believe a
// demo that flags a bowl of noodles.
func TestCityIsJudgedAsMeant(t *testing.T) {
	set := readStarterSet(t)
	d := event.NewDecoder(event.DefaultConfig())
	var sc rules.Scratch
	wrong := 0
	for _, m := range story(testCity(t, 5), 15_000) {
		if m.meant == broken || m.kind != event.Post && m.kind != event.Push {
			continue
		}
		var e event.Event
		if err := d.Decode(m.kind, m.headers, m.value, &e); err != nil {
			t.Fatalf("%v: %s", err, m.value)
		}
		hits := set.Match(&sc, &e)
		switch {
		case m.meant == ordinary && len(hits) > 0:
			wrong++
			t.Errorf("an ordinary text is hit by %s (%q): %s", hits[0].Rule.ID, hits[0].Term, m.value)
		case m.meant != ordinary && len(hits) == 0:
			wrong++
			t.Errorf("meant to be hit, is not: %s", m.value)
		}
		if wrong == 10 {
			t.Fatal("and so on")
		}
		d.Reset()
	}
}

// Every taboo is hit whatever sentence stands around it and however it is
// disguised, and no sentence is hit for itself.
func TestTaboosAreTaboo(t *testing.T) {
	set := readStarterSet(t)
	var sc rules.Scratch
	hits := func(text, term string) bool {
		list := set.Match(&sc, &event.Event{Kind: event.Post, Fields: []event.Field{{Name: []byte("text"), Text: []byte(text)}}})
		return slices.ContainsFunc(list, func(h rules.Hit) bool { return term == "" || h.Term == term })
	}
	tb := readTestTaboos(t)
	r := rand.New(rand.NewPCG(1, 1))
	for _, term := range append(slices.Clone(tb.zh), tb.en...) {
		for _, frame := range speech.Around(term) {
			if text := strings.Replace(frame, "{}", term, 1); !hits(text, term) {
				t.Errorf("not hit: %s", text)
			}
			if text := strings.Replace(frame, "{}", speech.Disguise(r, term), 1); !hits(text, term) {
				t.Errorf("not hit: %+q", text)
			}
			if text := strings.Replace(frame, "{}", "...", 1); hits(text, "") {
				t.Errorf("hit without a term: %s", text)
			}
		}
	}
	for _, c := range tb.canaries {
		if !hits("hello "+c, c) {
			t.Errorf("not hit: %s", c)
		}
	}
}

// What a visitor is invited to paste is hit where it is said to be: both terms
// of the first post, both again in the disguised one, and the canary.
func TestTrialsAreHit(t *testing.T) {
	set := readStarterSet(t)
	s := play(t, func(s *stage, _ message, at place) []*kgo.Record { s.pass(at); return nil })
	d := event.NewDecoder(event.DefaultConfig())
	var sc rules.Scratch
	var got []string
	for _, trial := range s.trials() {
		m := shellCommand.FindStringSubmatch(trial.Command)
		s.sent = nil
		s.post(t, strings.TrimPrefix(m[1], s.url), m[2])
		var e event.Event
		if err := d.Decode(s.sent[0].kind, nil, s.sent[0].value, &e); err != nil {
			got = append(got, "broken")
			continue
		}
		terms := ""
		for _, h := range set.Match(&sc, &e) {
			terms += h.Term + ";"
		}
		got = append(got, terms)
	}
	tb := s.taboos
	both := tb.zh[0] + ";" + tb.en[0] + ";"
	want := []string{both, both, "", "", "broken", tb.canaries[0] + ";"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the trials hit (-want +got):\n%s", diff)
	}
}

package app

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/weir-moderation/weir/pipeline"
	"github.com/weir-moderation/weir/rules"
	"github.com/weir-moderation/weir/sinks/evidence"
)

// archive is an evidence log of rules that came into force.
type archive struct {
	dir string
	log *evidence.Log
}

func newArchive(t *testing.T) *archive {
	t.Helper()
	a := &archive{dir: filepath.Join(t.TempDir(), "evidence")}
	var err error
	if a.log, err = evidence.Open(evidence.Options{Dir: a.dir, Origin: "test/evidence/0/1"}); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- a.log.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := errors.Join(<-done, a.log.Close()); err != nil {
			t.Error(err)
		}
	})
	return a
}

// enforce records that a set is in force.
func (a *archive) enforce(t *testing.T, set *RuleSet, why string) {
	t.Helper()
	r := reloader{evidence: a.log, build: "v1"}
	kind := evidence.KindRuleSet
	if why == "start" {
		kind = evidence.KindStart
	}
	if err := r.record(t.Context(), kind, &inForce{Force: pipeline.Force{Rules: set.Set}, set: set}, forceBody{Why: why}); err != nil {
		t.Fatal(err)
	}
}

// append appends a record as some Weir wrote it.
func (a *archive) append(t *testing.T, b forceBody) {
	t.Helper()
	body, err := json.Marshal(b)
	if err != nil {
		t.Fatal(err)
	}
	rec := evidence.Record{Kind: evidence.KindRuleSet, Class: evidence.ClassPolicy, Body: body}
	copy(rec.ID[:], b.Rules)
	if err := a.log.Append(t.Context(), []evidence.Record{rec}); err != nil {
		t.Fatal(err)
	}
}

// The set that is built from evidence is the one that was in force: with the exceptions of then, the
// rules that were in shadow, the exclusions, the register and the limit of then.
func TestRecordedRulesAreThoseThatWereInForce(t *testing.T) {
	a := newArchive(t)
	c := shop(t, map[string]string{
		"exclusions": "百家了\n",
		"packs/more.yaml": "pack: more\nrules:\n" +
			"  - {id: more.a, category: fraud, severity: low, state: live, terms: [casino]}\n" +
			"  - {id: more.b, category: fraud, severity: low, state: live, terms: [bank pin], except: [{texts: [my bank pin], owner: me, reason: why, expires: 2020-01-01}]}\n",
	})
	c.Rules.Exclusions, c.Rules.MaxHits = beside(c, "exclusions"), 77
	now, err := OpenRules(&c.Rules)
	if err != nil {
		t.Fatal(err)
	}
	a.enforce(t, now, "start")

	// The same text in 2019, before the exception expired, and with a rule in shadow.
	then := *now
	register, _, err := loadRegister(&c.Rules)
	if err != nil {
		t.Fatal(err)
	}
	words, exclusions, err := loadLists(&c.Rules)
	if err != nil {
		t.Fatal(err)
	}
	at := time.Date(2019, 5, 1, 12, 0, 0, 123456789, time.UTC)
	then.Set, err = rules.Load(os.DirFS(c.Rules.Dir), register, rules.Options{MaxHits: 77, Words: words, Exclusions: exclusions, Now: at})
	if err != nil {
		t.Fatal(err)
	}
	if then.Set, err = then.Shadowed([]string{"more.a"}); err != nil {
		t.Fatal(err)
	}
	a.enforce(t, &then, "files")
	if now.Digest() == then.Digest() {
		t.Fatal("both have one digest: the test shows nothing")
	}

	// What is configured now does not matter, but for the words.
	other := shop(t, map[string]string{})
	for _, want := range []*RuleSet{now, &then} {
		got, err := RecordedRules(t.Context(), &other.Rules, a.dir, want.Digest()[:MinDigest])
		if err != nil {
			t.Fatal(err)
		}
		if got.Digest() != want.Digest() || !slices.Equal(got.InShadow(), want.InShadow()) || got.Bundle.Digest() != want.Bundle.Digest() {
			t.Errorf("got %s in shadow %v, want %s and %v", got.Digest(), got.InShadow(), want.Digest(), want.InShadow())
		}
		if a, b := forms(got.Set, "my bank pin"), forms(want.Set, "my bank pin"); a != b {
			t.Errorf("hits %q, want %q", a, b)
		}
	}

	list, err := Activations(t.Context(), a.dir)
	if err != nil {
		t.Fatal(err)
	}
	var told []string
	for _, x := range list {
		told = append(told, fmt.Sprintf("%s %s %s %v", x.Rules, x.Why, x.Build, x.InShadow))
	}
	want := []string{now.Digest() + " start v1 []", then.Digest() + " files v1 [more.a]"}
	if !slices.Equal(told, want) {
		t.Errorf("activations %v, want %v", told, want)
	}

	// With other ordinary words the texts would be judged otherwise: no set rather than another one.
	other.Rules.Words = filepath.Join(t.TempDir(), "words")
	if err := os.WriteFile(other.Rules.Words, []byte("大麻花 100\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err = RecordedRules(t.Context(), &other.Rules, a.dir, now.Digest())
	if err == nil || !strings.Contains(err.Error(), " then) of this Weir are others than those of the Weir v1") {
		t.Errorf("with other words: %v", err)
	}
}

// A digest that is none of the log names those it may mean; one of several is not guessed; what cannot
// be built is said.
func TestRecordedRulesThatAreNotToBeHad(t *testing.T) {
	a := newArchive(t)
	digest := func(prefix string) string { return prefix + strings.Repeat("0", 64-len(prefix)) }
	broken := "-- test.yaml --\npack: test\nrules:\n  - {id: test.a, category: gambling, state: gone, terms: [abc]}\n"
	categories, err := os.ReadFile("../../configs/categories.yaml")
	if err != nil {
		t.Fatal(err)
	}
	a.append(t, forceBody{Rules: digest("aaaaaaaa1"), Build: "v0"})
	a.append(t, forceBody{Rules: digest("aaaaaaaa2"), Build: "v0"})
	a.append(t, forceBody{Rules: digest("bbbbcccc"), Build: "v0"})
	a.append(t, forceBody{Rules: digest("dddddddd"), Build: "v0", Bundle: broken, Categories: string(categories), LoadedAt: "2026-01-01T00:00:00Z"})
	a.append(t, forceBody{Rules: digest("eeeeeeee"), Build: "v0", Bundle: "no bundle", LoadedAt: "2026-01-01T00:00:00Z"})
	c := shop(t, map[string]string{})
	for _, x := range []struct{ digest, want string }{
		{"aaaaaaaa", "the digests of several rule sets in " + a.dir + " begin with aaaaaaaa; give more of one of " + digest("aaaaaaaa2") + ", " + digest("aaaaaaaa1")},
		{"bbbbdddd", "no rules with the digest bbbbdddd were in force by the evidence in " + a.dir + "; did you mean " + digest("bbbbcccc") + "?"},
		{"12345678", "no rules with the digest 12345678 were in force by the evidence in " + a.dir},
		{"bbbbcccc", "the record of the rules bbbbcccc0000 does not hold their text: it is of an older Weir"},
		{"dddddddd", "the rules dddddddd0000 were in force in the Weir v0 and do not load in this one\nrules dddddddd0000/test.yaml:3:"},
		{"eeeeeeee", "the record of the rules eeeeeeee0000: read rules: not a bundle"},
	} {
		_, err := RecordedRules(t.Context(), &c.Rules, a.dir, x.digest)
		if err == nil || !strings.HasPrefix(err.Error(), x.want) {
			t.Errorf("%s: %v\nwant %s", x.digest, err, x.want)
		}
	}
	if _, err := Activations(t.Context(), t.TempDir()); err == nil {
		t.Error("a directory without evidence has activations")
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Activations(ctx, a.dir); !errors.Is(err, context.Canceled) {
		t.Errorf("an interrupted search: %v", err)
	}
}

package push

import (
	"cmp"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// A fault is a mistake one could make in the engine: something put before, or in
// place of, a piece of its source. In force where the text says FAULT.
type fault struct{ name, file, before, instead, old string }

// seeded lists the faults. They change the source of a copy, so the engine
// itself needs no places to break it at.
func seeded() []fault {
	const (
		counting = "return from, d.countFrom(l, from)"
		counter  = "return n\n}\n\n// roomAgain"
		found    = "return cancelled, allowed"
		recount  = "if FAULT {\nn = 0\nfor i := range d.log.Entries {\nif e := &d.log.Entries[i]; %s {\nn++\n}\n}\n}\n"
	)
	return []fault{
		{name: "one more than the cap", file: "decide.go", old: "if n < l.max {\n", instead: "if n < l.max || FAULT && n == l.max {\n"},
		{name: "a rolling window one second short", file: "decide.go", old: counting, before: "if FAULT && l.days == 0 {\nfrom++\n}\n"},
		{name: "a rolling window one second long", file: "decide.go", old: counting, before: "if FAULT && l.days == 0 {\nfrom--\n}\n"},
		{name: "days of another zone", file: "decide.go", old: counting, before: "if FAULT && l.days > 0 {\nfrom = placeIn(d.policy.loc, d.now).dayStart(d.now, l.days-1)\n}\n"},
		{name: "every calendar window is one day", file: "decide.go", old: counting, before: "if FAULT && l.days > 0 {\nfrom = d.place.dayStart(d.now, 0)\n}\n"},
		{name: "a day is the last 24 hours", file: "decide.go", old: counting, before: "if FAULT && l.days > 0 {\nfrom = d.now - 86400*l.days + 1\n}\n"},
		{name: "refunded pushes count", file: "decide.go", old: counter, before: fmt.Sprintf(recount, "int64(e.At) >= from && l.tags.has(e.Tag)")},
		{name: "limits count every class", file: "decide.go", old: counter, before: fmt.Sprintf(recount, "e.State == counted && int64(e.At) >= from")},
		{name: "a clock set back opens windows", file: "decide.go", old: counter, before: fmt.Sprintf(recount, "e.State == counted && int64(e.At) >= from && int64(e.At) <= d.now && l.tags.has(e.Tag)")},
		{name: "room again when the oldest leaves", file: "decide.go", old: "times[len(times)-l.max]", instead: "times[map[bool]int{false: len(times) - l.max}[FAULT]]"},
		{name: "the last limit reached says when", file: "decide.go", old: "if free = max(free, again); !reached", before: "if FAULT {\nfree = again\n}\n"},
		{name: "the user's daily limit is ignored", file: "decide.go", old: "d.policy.userDaily {", instead: "d.policy.userDaily && !FAULT {"},
		{name: "a redelivered push consumes again", file: "sendlog.go", old: found, before: "if FAULT {\nallowed = false\n}\n"},
		{name: "an id stands for any class and channel", file: "sendlog.go", old: found, before: "if FAULT {\nfor _, e := range l.Entries {\nallowed = allowed || e.Mark == mark\n}\n}\n"},
		{name: "a cancelled push comes back", file: "sendlog.go", old: found, before: "if FAULT {\ncancelled = false\n}\n"},
		{name: "entries are forgotten after a day", file: "sendlog.go", old: "if int64(old.At) >", before: "if FAULT && int64(e.At)-int64(old.At) > 86400 {\ncontinue\n}\n"},
		{name: "entries are forgotten as soon as they are out of a window", file: "sendlog.go", old: "if int64(old.At) >", before: "if FAULT && int64(e.At)-int64(old.At) >= keep[old.Tag]-slack {\ncontinue\n}\n"},
		{name: "quiet hours stepped over a change of the clocks", file: "window.go", old: "t = min(t+stay, p.until)", before: "if FAULT {\np.until = t + stay\n}\n"},
		{name: "quiet hours end a minute late", file: "window.go", old: "return second >= start && second < end\n", before: "if FAULT {\nend += 60\n}\n"},
		{name: "no quiet hours after midnight", file: "window.go", old: "return second >= start || second < end\n", before: "if FAULT {\nreturn second >= start\n}\n"},
		{name: "a day without midnight begins before it", file: "window.go", old: "max(midnight-p.offset, p.from); ", instead: "max(midnight-p.offset, map[bool]int64{true: math.MinInt64, false: p.from}[FAULT]); "},
		{name: "the user's own quiet hours are ignored", file: "decide.go", old: "d.policy.userQuiet &&", instead: "d.policy.userQuiet && !FAULT &&"},
		{name: "deferred beyond the deadline", file: "decide.go", old: "ends && !d.expired(end)", instead: "ends && (FAULT || !d.expired(end))"},
		{name: "allowed into the quiet hours", file: "decide.go", old: "d.NotAfter = time.Unix(start-1, 0).UTC()", before: "start += map[bool]int64{true: 3600}[FAULT]\n"},
		{name: "only the profile's group counts", file: "decide.go", old: "d.GroupSource = GroupFromBoth", before: "if FAULT {\nj = i\n}\n"},
		{name: "of two groups the laxer cap wins", file: "policy.go", old: "v.limits[i].max = min(", before: "if FAULT {\nv.limits[i].max, l.max = l.max, max(v.limits[i].max, l.max)\ncontinue\n}\n"},
		{name: "consent for any channel will do", file: "profile.go", old: "g.Channels>>(tag&7)&1 == 0 {\n\t\t\tcontinue", instead: "!FAULT && g.Channels>>(tag&7)&1 == 0 {\n\t\t\tcontinue"},
		{name: "a withdrawal is taken for a grant", file: "profile.go", old: "case g.Withdrawn:\n", instead: "case g.Withdrawn && !FAULT:\n"},
		{name: "consent holds before it is given", file: "profile.go", old: "case int64(g.Since) > now:", instead: "case int64(g.Since) > now && !FAULT:"},
		{name: "the deadline is only what the push says", file: "decide.go", old: "if !d.policy.deadline[d.class.name] {", instead: "if FAULT || !d.policy.deadline[d.class.name] {"},
		{name: "profiling of minors goes through", file: "decide.go", old: "d.request.Personalised && d", instead: "!FAULT && d.request.Personalised && d"},
		{name: "halts are ignored", file: "decide.go", old: "if d.request.Halt != nil {", instead: "if d.request.Halt != nil && !FAULT {"},
		{name: "what was allowed before a halt is allowed again", file: "decide.go", old: "// Clause: push-monitor", before: "_, before := d.log.find(d.request.Mark, d.tag)\nif FAULT && before {\nd.findView()\nd.allow(true)\nreturn nil\n}\n"},
		{name: "only campaigns are halted", file: "halts.go", old: "[...]Scope{ScopeCampaign, ScopeSender, ScopeClass} {", instead: "[]Scope{ScopeCampaign, ScopeSender, ScopeClass}[:map[bool]int{true: 1, false: 3}[FAULT]] {"},
		{name: "a sender is halted by the name of a campaign", file: "halts.go", old: "if halt := h.by[i]", instead: "if halt := h.by[map[bool]int{true: 0, false: i}[FAULT]]"},
		{name: "unlabelled advertising goes through", file: "decide.go", old: "case d.class.label &&", instead: "case !FAULT && d.class.label &&"},
	}
}

// The program that tries all faults: it is compiled once, with all of them.
const faultProgram = `package push

import (
	"fmt"
	"maps"
	"slices"
	"testing"
)

func TestSeededFaults(t *testing.T) {
	try := func() (err error) {
		defer func() { // a fault that makes the engine panic is caught, too
			if r := recover(); r != nil {
				err = fmt.Errorf("panic: %v", r)
			}
		}()
		starts := slices.Sorted(maps.Values(modelStarts()))
		for seed := range int64(20) {
			for _, start := range starts {
				p := loadPolicy(t, "testdata/model.good.yaml")
				if _, err := runModel(newMemory(), p, seed, 200, start); err != nil {
					return err
				}
			}
		}
		return nil
	}
	for faultInForce = 1; faultInForce <= NUMBER; faultInForce++ {
		if try() == nil {
			t.Errorf("SURVIVED %d", faultInForce)
		}
	}
}
`

// Every mistake seeded in the engine is caught by the model test. The engine is
// compiled once more, with the mistakes in it, so this takes a while.
func TestModelCatchesSeededFaults(t *testing.T) {
	if testing.Short() {
		t.Skip("compiles the package again; not with -short")
	}
	goTool, err := exec.LookPath("go")
	if err != nil {
		t.Skip("needs the go tool to compile the engine with faults in it")
	}
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	sources := make(map[string]string)
	faults := seeded()
	for i, f := range faults {
		if sources[f.file] == "" {
			src, err := os.ReadFile(f.file)
			if err != nil {
				t.Fatal(err)
			}
			sources[f.file] = string(src)
		}
		if n := strings.Count(sources[f.file], f.old); n != 1 {
			t.Fatalf("%s: the text this fault replaces is found %d times in %s; write it for the engine as it is now", f.name, n, f.file)
		}
		changed := f.before + cmp.Or(f.instead, f.old) // other faults may stand before the same text
		sources[f.file] = strings.Replace(sources[f.file], f.old, strings.ReplaceAll(changed, "FAULT", fmt.Sprintf("(faultInForce == %d)", i+1)), 1)
	}
	sources["faults_seeded_test.go"] = strings.ReplaceAll(faultProgram, "NUMBER", fmt.Sprint(len(faults)))
	sources["fault.go"] = "package push\n\nvar faultInForce int\n"

	dir := t.TempDir()
	overlay := struct{ Replace map[string]string }{make(map[string]string)}
	for name, src := range sources {
		file := filepath.Join(dir, name)
		if err := os.WriteFile(file, []byte(src), 0o600); err != nil {
			t.Fatal(err)
		}
		overlay.Replace[filepath.Join(here, name)] = file
	}
	list, err := json.Marshal(overlay)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "overlay.json"), list, 0o600); err != nil {
		t.Fatal(err)
	}
	out, err := exec.CommandContext(t.Context(), goTool, "test", "-vet=off", "-count=1", "-run", "^TestSeededFaults$", "-overlay", filepath.Join(dir, "overlay.json"), ".").CombinedOutput()
	for i, f := range faults {
		if strings.Contains(string(out), fmt.Sprintf("SURVIVED %d\n", i+1)) {
			t.Errorf("nobody noticed: %s", f.name)
		}
	}
	if err != nil && !t.Failed() || !strings.Contains(string(out), "TestSeededFaults") && err != nil {
		t.Fatalf("the engine with faults: %v\n%s", err, out)
	}
}

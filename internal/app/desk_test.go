package app

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/weir-moderation/weir/internal/config"
	"github.com/weir-moderation/weir/pipeline"
	"github.com/weir-moderation/weir/pipeline/push"
	"github.com/weir-moderation/weir/sinks"
	"github.com/weir-moderation/weir/sinks/evidence"
	"github.com/weir-moderation/weir/sinks/evidence/evidencetest"
)

// workbench is a reloader with a pipeline and evidence of its own, and no brokers.
type workbench struct {
	*reloader
	t   *testing.T
	dir string // holds rules/, evidence/ and what else a test writes
	log *logBook

	mu   sync.Mutex
	next config.Config // what a reload reads
	err  error         // what it fails with instead
}

// logBook keeps what is logged.
type logBook struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (l *logBook) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBook) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// newDesk puts the files of a rule set in force. Change, if not nil, changes the configuration before.
func newDesk(t *testing.T, files map[string]string, change func(*config.Config)) *workbench {
	t.Helper()
	d := &workbench{t: t, dir: t.TempDir(), log: new(logBook), next: config.Default()}
	d.next.Rules.Dir = filepath.Join(d.dir, "rules")
	d.next.Rules.Words = filepath.Join(d.dir, "words.txt") // the shipped list takes long to read, and is no matter here
	d.write("words.txt", "天气 9\n")
	for name, text := range files {
		d.write("rules/"+name, text)
	}
	if change != nil {
		change(&d.next)
	}
	cfg := d.next
	f, err := loadForce(&cfg, func() (*RuleSet, error) { return OpenRules(&cfg.Rules) })
	if err != nil {
		t.Fatal(err)
	}
	d.begin(&cfg, f)
	return d
}

// begin makes the reloader and what it needs.
func (d *workbench) begin(cfg *config.Config, f *inForce) {
	d.t.Helper()
	log, err := evidence.Open(evidence.Options{Dir: filepath.Join(d.dir, "evidence"), Origin: "desk/evidence/0/1"})
	if err != nil {
		d.t.Fatal(err)
	}
	d.t.Cleanup(func() {
		if err := log.Close(); err != nil {
			d.t.Error(err)
		}
	})
	var store *push.Store
	if f.Policy != nil { // no push is judged here, so no Redis is asked
		d.write("pseudonym.key", strings.Repeat("k", 32))
		cfg.Push.PseudonymKeyFile = filepath.Join(d.dir, "pseudonym.key")
		d.next.Push.PseudonymKeyFile = cfg.Push.PseudonymKeyFile
		if store, err = push.NewStore(push.Options{Config: cfg.Push}); err != nil {
			d.t.Fatal(err)
		}
		d.t.Cleanup(func() {
			if err := store.Close(); err != nil {
				d.t.Error(err)
			}
		})
	}
	p, err := pipeline.New(pipeline.Options{Source: "desk", Force: f.Force, Store: store, Events: cfg.Events,
		Sinks: []pipeline.NamedSink{{Name: "evidence", Sink: &sinks.Evidence{Log: log}}}})
	if err != nil {
		d.t.Fatal(err)
	}
	load := func() (*config.Config, error) {
		d.mu.Lock()
		defer d.mu.Unlock()
		c := d.next
		return &c, d.err
	}
	d.reloader = newReloader(cfg, load, p, log, slog.New(slog.NewJSONHandler(d.log, nil)), prometheus.NewRegistry())
	d.build = "test"
	d.receipts = &receipts{wake: make(chan struct{}, 1)} // nobody publishes them
	if err := d.start(d.t.Context(), f); err != nil {
		d.t.Fatal(err)
	}
}

// config changes what a reload reads.
func (d *workbench) config(change func(*config.Config), err error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if change != nil {
		change(&d.next)
	}
	d.err = err
}

func (d *workbench) write(name, text string) {
	d.t.Helper()
	path := filepath.Join(d.dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		d.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		d.t.Fatal(err)
	}
}

// receipt returns the newest one.
func (d *workbench) receipt() Receipt {
	d.receipts.mu.Lock()
	defer d.receipts.mu.Unlock()
	return *d.receipts.newest
}

// wants fails the test if the rule gambling.x does not look for a term, or if what the receipt and the
// metrics say about refusals is not this: empty for none, else a part of it.
func (d *workbench) wants(what, term, why string) {
	d.t.Helper()
	set := d.pipeline.InForce().Rules
	got := ""
	for _, r := range set.Rules() {
		if r.ID == "gambling.x" {
			got = r.Lists[0][0].Text
		}
	}
	if got != term {
		d.t.Errorf("%s: the rules in force look for %q, want %q\n%s", what, got, term, d.log)
	}
	r := d.receipt()
	d.reloader.mu.Lock()
	bundle := d.set.Bundle
	d.reloader.mu.Unlock()
	if r.Rules != set.Digest() || r.Bundle != bundle.Digest() {
		d.t.Errorf("%s: the receipt names other rules than those in force: %+v", what, r)
	}
	switch {
	case why == "" && r.Refused != nil:
		d.t.Errorf("%s: the receipt says that something was refused: %s", what, r.Refused.Why)
	case why != "" && (r.Refused == nil || !strings.Contains(r.Refused.Why, why)):
		d.t.Errorf("%s: the receipt does not say %q: %+v", what, why, r.Refused)
	}
	ok := 1.0
	if why != "" {
		ok = 0
	}
	if got := testutil.ToFloat64(d.metrics.successful); got != ok {
		d.t.Errorf("%s: weir_ruleset_last_load_successful is %v, want %v", what, got, ok)
	}
}

// said returns how often it was logged that something was refused.
func (d *workbench) said() int { return strings.Count(d.log.String(), `"level":"ERROR"`) }

// look looks at the files as often as watch does until what stands still is taken up.
func (d *workbench) look(times int) {
	seen := ""
	for range times {
		seen = d.lookAtFiles(context.Background(), seen)
	}
}

// activation is a start, ruleset or stop record.
type activation struct {
	index int64
	kind  evidence.Kind
	body  []byte
	forceBody
}

// activations returns what the evidence says was in force, in order.
func (d *workbench) activations() []activation {
	d.t.Helper()
	var list []activation
	err := evidencetest.Walk(filepath.Join(d.dir, "evidence"), func(e evidence.Entry) error {
		if e.Kind != evidence.KindStart && e.Kind != evidence.KindRuleSet && e.Kind != evidence.KindStop {
			return nil
		}
		a := activation{index: e.Index, kind: e.Kind, body: bytes.Clone(e.Body)}
		list = append(list, a)
		return json.Unmarshal(a.body, &list[len(list)-1].forceBody)
	})
	if err != nil {
		d.t.Fatal(err)
	}
	return list
}

// one is a pack of one rule.
func one(term string) string {
	return "pack: gambling\nrules:\n  - {id: gambling.x, category: gambling, severity: low, action: review, state: live, terms: [" + term + "]}\n"
}

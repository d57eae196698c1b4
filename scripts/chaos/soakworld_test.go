package chaos

import (
	"bytes"
	"context"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/weir-moderation/weir/configs"
	"github.com/weir-moderation/weir/internal/admin"
	"github.com/weir-moderation/weir/internal/load"
)

// soakPolicy has short windows beside days, and no hours of rest: pushes are allowed and
// denied all the time, whatever time it is. Each version has another limit.
const soakPolicy = `
policy: push
version: soak-%d
default_zone: UTC
classes:
  security: {consent: none, quiet: ignore, count: false, on_outage: open}
  service: {consent: none, quiet: ignore, count: true, on_outage: local, local_ratio: 0.5}
  content: {consent: required, quiet: defer, count: true, on_outage: hold}
  marketing: {consent: required, quiet: defer, count: true, label: required, on_outage: hold}
channels: [app, sms]
groups:
  default:
    limits:
      - {id: service-min, classes: [service], rolling: 60s, max: %d}
      - {id: service-day, classes: [service], days: 1, max: 15}
      - {id: content-min, classes: [content, marketing], rolling: 60s, max: 2}
      - {id: content-day, classes: [content, marketing], days: 1, max: 15}
  minor: {extends: default}
  elderly: {extends: default}
`

// soakWorld is a deployment with everything on: two instances that stay and one that
// comes and goes, three brokers and a Redis, under a load that weir load makes and
// accounts for.
//
// A batch in hand has long to be finished when an instance comes or leaves. What takes
// longer is judged again by who has its partition then, and is on topics twice: that is
// allowed, but here it would say only that the machine has too much to do.
type soakWorld struct {
	*cluster
	redis   *redisServer
	rand    *rand.Rand
	group   string
	inputs  []string // topics
	shared  string   // the directory of what all instances read: rules and policy
	stay    []*member
	guest   *member
	reloads int // of rules and of the policy
}

func newSoakWorld(t *testing.T) *soakWorld {
	t.Helper()
	w := &soakWorld{rand: newRand(t), cluster: startCluster(t), redis: startRedis(t), shared: t.TempDir()}
	w.group = fmt.Sprintf("soak-%d", time.Now().UnixNano())
	// What lies there for long is thrown away: half an hour of load is not kept on the disk.
	short := map[string]string{"segment.bytes": fmt.Sprint(64 << 20), "retention.bytes": fmt.Sprint(256 << 20)}
	compact := map[string]string{"cleanup.policy": "compact"}
	topic := func(word string, partitions int32, settings map[string]string) string {
		return w.topic(t.Context(), w.group+"."+word, partitions, settings)
	}
	posts, pushes, consent := topic("posts", inputs, short), topic("pushes", inputs, short), topic("consent", 3, compact)
	outcomes, halts, deferred := topic("outcomes", 2, nil), topic("halts", 1, compact), topic("deferred", 12, nil)
	review, decisions, cleared := topic("review", 3, short), topic("decisions", 3, short), topic("cleared", 3, short)
	dead, heads := topic("dead", 1, nil), topic("checkpoints", 1, compact)
	w.inputs = []string{posts, pushes, consent, outcomes, deferred}
	w.known(t.Context(), append([]string{halts, review, decisions, cleared, dead, heads}, w.inputs...)...)

	w.writeRules()
	w.writePolicy()
	key := make([]byte, 32)
	for i := range key {
		key[i] = byte(w.rand.UintN(256))
	}
	write(t, filepath.Join(w.shared, "pseudonym.key"), string(key))
	binary := weirBinary(t)
	for i := range 3 {
		m := &member{name: fmt.Sprintf("instance %d", i), dir: t.TempDir(), binary: binary, listen: freeAddr(t)}
		write(t, m.config(), fmt.Sprintf(`
source: soak
instance: "%d"
kafka:
  brokers: ["%s"]
input: {group: %s, posts: %s, pushes: %s, consent: %s, outcomes: %s, halts: %s, session_timeout: 30s, rebalance_timeout: 1m, drain_timeout: 20s}
output: {review: %s, deadletter: %s, decisions: %s, cleared: %s, deferred: %s, checkpoints: %s, deferred_turn: 15s, deferred_spread: 15s}
rules: {dir: %q}
push:
  policy: %q
  pseudonym_key_file: %q
  redis: {addrs: ["%s"]}
evidence: {dir: evidence, encrypt: true, seal: true}
anchors: {every: 1m}
`, i, strings.Join(w.brokers(), `", "`), w.group, posts, pushes, consent, outcomes, halts, review, dead, decisions, cleared, deferred, heads,
			filepath.Join(w.shared, "rules"), filepath.Join(w.shared, "push.yaml"), filepath.Join(w.shared, "pseudonym.key"), w.redis.addr))
		m.keepLog(t)
		if i == 2 {
			w.guest = m
			continue
		}
		w.stay = append(w.stay, m)
		if err := m.start(); err != nil {
			t.Fatal(err)
		}
	}
	for _, m := range w.stay {
		if err := m.ready(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	return w
}

// everybody are all instances, that which is away among them.
func (w *soakWorld) everybody() []*member { return append(append([]*member{}, w.stay...), w.guest) }

// writeRules writes the starter packs and ten thousand terms that nobody says unless
// they are planted.
func (w *soakWorld) writeRules() {
	w.t.Helper()
	packs, err := fs.Glob(configs.FS, "rules/*.yaml")
	if err != nil {
		w.t.Fatal(err)
	}
	for _, name := range packs {
		text, err := configs.FS.ReadFile(name)
		if err != nil {
			w.t.Fatal(err)
		}
		write(w.t, filepath.Join(w.shared, name), string(text))
	}
	var b strings.Builder
	b.WriteString("pack: made\nrules:\n")
	for rule := range 20 {
		fmt.Fprintf(&b, "  - id: made.words-%d\n    category: insult\n    severity: low\n    action: review\n    state: live\n    terms:\n", rule)
		for range 500 {
			term := []byte("zq")
			for range 7 {
				term = append(term, byte('a'+w.rand.IntN(26)))
			}
			fmt.Fprintf(&b, "      - %s\n", term)
		}
	}
	write(w.t, filepath.Join(w.shared, "rules", "made.yaml"), b.String())
	w.replace(filepath.Join("rules", "changing.yaml"), w.changingRules())
}

// changingRules is a pack that is another one each time, and hits nothing that anybody
// says: what weir load expects stays right.
func (w *soakWorld) changingRules() string {
	return fmt.Sprintf("pack: changing\nrules:\n  - {id: changing.word, category: insult, severity: low, action: review, state: shadow, terms: [zqsoakreload%d]}\n", w.reloads)
}

func (w *soakWorld) writePolicy() {
	w.replace("push.yaml", fmt.Sprintf(soakPolicy, w.reloads, 2+w.reloads%2))
}

// replace puts a file in the place of another at once, as who reads it should see it.
func (w *soakWorld) replace(name, text string) {
	w.t.Helper()
	aside := filepath.Join(w.shared, "aside")
	write(w.t, aside, text)
	if err := os.Rename(aside, filepath.Join(w.shared, name)); err != nil {
		w.t.Fatal(err)
	}
}

// ready waits until an instance is.
func (m *member) ready(ctx context.Context) error {
	return m.await(ctx, "be ready", func() bool {
		_, err := m.ask(ctx, "/-/ready")
		return err == nil
	})
}

// await waits, for five minutes at most, until something holds of an instance.
func (m *member) await(ctx context.Context, what string, holds func() bool) error {
	for deadline := time.Now().Add(5 * time.Minute); !holds(); {
		if err := m.alive(); err != nil {
			return err
		}
		if ctx.Err() != nil || time.Now().After(deadline) {
			return fmt.Errorf("%s does not come to %s", m.name, what)
		}
		rest(ctx, 100*time.Millisecond)
	}
	return nil
}

// ask asks the admin listener for a page.
func (m *member) ask(ctx context.Context, path string) (string, error) {
	c, err := admin.NewClient(admin.Access{URL: "http://" + m.listen})
	if err != nil {
		return "", err
	}
	resp, err := c.Do(ctx, "GET", path, nil)
	if err != nil {
		return "", err
	}
	defer func() { _ = resp.Body.Close() }()
	var b bytes.Buffer
	if _, err := b.ReadFrom(resp.Body); err != nil {
		return "", err
	}
	if resp.StatusCode != 200 {
		return "", fmt.Errorf("%s answers %s: %s", m.name, resp.Status, b.String())
	}
	return b.String(), nil
}

// inForce returns the lines of metrics that begin like this.
func (m *member) inForce(ctx context.Context, metric string) string {
	text, err := m.ask(ctx, "/metrics")
	if err != nil {
		return "" // asked again
	}
	var b strings.Builder
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, metric) {
			b.WriteString(line)
		}
	}
	return b.String()
}

// reloaded has something replaced and waits until all who stay have it in force: what
// the metric says has changed.
func (w *soakWorld) reloaded(ctx context.Context, metric string, replace func() error) error {
	before := make([]string, len(w.stay))
	for i, m := range w.stay {
		if err := m.await(ctx, "say what is in force", func() bool { before[i] = m.inForce(ctx, metric); return before[i] != "" }); err != nil {
			return err
		}
	}
	w.reloads++
	if err := replace(); err != nil {
		return err
	}
	for i, m := range w.stay {
		if err := m.await(ctx, "have the new "+metric+" in force", func() bool {
			now := m.inForce(ctx, metric)
			return now != "" && now != before[i]
		}); err != nil {
			return err
		}
	}
	return nil
}

// load runs weir load and returns its report. When enough ends it sends no more. What it
// finds is in the report; an error is that it could not find out.
func (w *soakWorld) load(ctx, enough context.Context, args ...string) (*load.Report, error) {
	args = append([]string{"load", "--json", "--config", w.stay[0].config(), "--users", "50000", "--wait", "3m"}, args...)
	cmd := exec.CommandContext(ctx, w.stay[0].binary, args...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	if err := cmd.Start(); err != nil {
		return nil, err
	}
	defer context.AfterFunc(enough, func() { _ = cmd.Process.Signal(syscall.SIGTERM) })() // it may have ended
	return loadReport(cmd.Wait(), out.Bytes(), errs.Bytes())
}

package app_test

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/http"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/weir-moderation/weir/internal/app"
	"github.com/weir-moderation/weir/internal/config"
	"github.com/weir-moderation/weir/sinks/evidence"
	"github.com/weir-moderation/weir/sinks/evidence/evidencetest"
)

// beside starts another instance in the same world, with evidence of its own.
func (d *running) beside(t *testing.T, name, policy string) *running {
	t.Helper()
	text := strings.NewReplacer("dir: evidence", "dir: evidence-"+name, "evidence.key", name+".key").Replace(string(d.world.Config()))
	if policy != "" {
		text = strings.Replace(text, "push:\n", "push:\n  policy: "+policy+"\n", 1)
	}
	d.write(t, name+".yaml", "instance: "+name+"\n"+text+"\nrules:\n  dir: rules\n")
	path := filepath.Join(d.dir, name+".yaml")
	cfg, err := config.Load(path)
	if err != nil {
		t.Fatal(err)
	}
	m := &running{world: d.world, dir: d.dir, client: d.client, log: new(lockedBuffer), done: make(chan error, 1)}
	var ctx context.Context
	ctx, m.cancel = context.WithCancel(context.Background())
	status, up := new(lockedBuffer), make(chan struct{})
	go func() {
		m.done <- app.Run(ctx, app.Options{
			Config: cfg, Load: func() (*config.Config, error) { return config.Load(path) },
			Listen: "127.0.0.1:0", Build: "test", Status: status, Up: func() { close(up) },
			Logger: slog.New(slog.NewJSONHandler(m.log, nil)),
		})
	}()
	t.Cleanup(m.cancel)
	select {
	case <-up:
	case err := <-m.done:
		t.Fatalf("%s ended at once: %v", name, err)
	case <-time.After(time.Minute):
		t.Fatalf("%s is not up", name)
	}
	m.url = regexp.MustCompile(`http://[0-9.:]+`).FindString(status.String())
	return m
}

// incidents returns those of an evidence directory, in order, as "event cause scope value by".
func (d *running) incidents(t *testing.T, dir string) (list []string) {
	t.Helper()
	if err := evidencetest.Walk(filepath.Join(d.dir, dir), func(e evidence.Entry) error {
		if e.Kind != evidence.KindIncident {
			return nil
		}
		var x struct{ What, Cause, Scope, Value, By string }
		err := json.Unmarshal(e.Body, &x)
		list = append(list, strings.Join([]string{x.What, x.Cause, x.Scope, x.Value, x.By}, " "))
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return list
}

// order writes an order to halt the pushes of a campaign, or to resume them.
func (d *running) order(t *testing.T, campaign string, halted bool) {
	t.Helper()
	d.send(t, "weir.halts", "campaign/"+campaign, map[string]any{"id": fmt.Sprint("h-", halted), "time": time.Now().UTC().Format(time.RFC3339),
		"scope": "campaign", "value": campaign, "halted": halted, "why": "complaints", "by": "officer-7"})
}

// pushTo is a push of a class everybody may get, of a campaign and a sender.
func pushTo(user, id, campaign, sender, text string) map[string]any {
	return map[string]any{"id": id, "time": time.Now().UTC().Format(time.RFC3339), "user": map[string]any{"id": user},
		"class": "service", "channel": "app", "campaign": campaign, "sender": sender, "fields": map[string]string{"body": text}}
}

// decidedAs sends pushes to many users, whose partitions are those of several instances, and wants one decision of all.
func (d *running) decidedAs(t *testing.T, tag, campaign, want string) {
	t.Helper()
	for i := range 12 {
		user := fmt.Sprint("user-number-", i)
		d.send(t, "weir.pushes", user, pushTo(user, fmt.Sprint(tag, i), campaign, "shop", "hello"))
	}
	for i := range 12 {
		m := d.find(t, "weir.decisions", fmt.Sprint(tag, i))
		if got := fmt.Sprint(m["decision"], "/", m["reason"]); got != want {
			t.Errorf("push %s%d is %s, want %s", tag, i, got, want)
		}
	}
}

// An order stops a campaign in every instance and for every user, whatever was allowed of it before; an order
// to resume lets it go on. Who starts later begins with what is halted. All of it is on record.
func TestHaltAndResume(t *testing.T) {
	// Clause: push-monitor
	d := startDaemon(t)
	second := d.beside(t, "second", "")
	d.await(t, "/-/ready", "consumer: ready")
	second.await(t, "/-/ready", "consumer: ready")
	d.decidedAs(t, "before", "spring", "allow/none")

	d.order(t, "spring", true)
	for _, m := range []*running{d, second} {
		m.await(t, "/metrics", `weir_push_halted{scope="campaign"} 1`)
		m.await(t, "/metrics", `weir_push_halts_total{cause="order",scope="campaign"} 1`)
	}
	d.decidedAs(t, "halted", "spring", "deny/halted")
	d.decidedAs(t, "other", "autumn", "allow/none")
	halt := d.find(t, "weir.decisions", "halted3")["push"].(map[string]any)["decision"].(map[string]any)["halt"].(map[string]any)
	if halt["scope"] != "campaign" || halt["value"] != "spring" || halt["by"] != "officer-7" || halt["why"] != "complaints" || halt["id"] != "h-true" {
		t.Errorf("halted by %v", halt)
	}
	d.send(t, "weir.pushes", "user-number-3", pushTo("user-number-3", "before3", "spring", "shop", "hello"))
	d.record(t, "weir.decisions", func(r *kgo.Record) bool {
		return strings.Contains(string(r.Value), `"event_id":"before3"`) && strings.Contains(string(r.Value), `"reason":"halted"`)
	})

	second.stop(t)
	third := d.beside(t, "third", "")
	third.await(t, "/metrics", `weir_push_halted{scope="campaign"} 1`)
	d.decidedAs(t, "third", "spring", "deny/halted")
	third.await(t, "/-/ready", "consumer: ready")

	d.order(t, "spring", false)
	for _, m := range []*running{d, third} {
		m.await(t, "/metrics", `weir_push_halted{scope="campaign"} 0`)
		m.await(t, "/metrics", `weir_push_resumes_total{scope="campaign"} 1`)
	}
	d.decidedAs(t, "after", "spring", "allow/none")
	third.stop(t)
	d.stop(t)
	for dir, want := range map[string][]string{
		"evidence":        {"halted order campaign spring officer-7", "resumed order campaign spring officer-7"},
		"evidence-second": {"halted order campaign spring officer-7"},
		"evidence-third":  {"halted order campaign spring officer-7", "resumed order campaign spring officer-7"},
	} {
		if got := d.incidents(t, dir); !slices.Equal(got, want) {
			t.Errorf("%s has the incidents %q, want %q", dir, got, want)
		}
		report, err := evidence.Verify(filepath.Join(d.dir, dir), evidence.VerifyOptions{})
		if err != nil || !report.OK() {
			t.Errorf("%s does not verify: %v %v", dir, report, err)
		}
	}
}

// autoHalting is a policy with rules for automatic halts.
const autoHalting = `
policy: push
version: "1"
default_zone: Asia/Shanghai
classes:
  service: {consent: none, quiet: ignore, count: true}
channels: [app]
groups:
  default:
    limits:
      - {id: day, days: 1, max: 40}
auto_halt:
  - {id: bad-campaign, scope: campaign, when: content, window: 10m, min: 10, share: 5%}
  - {id: loud-sender, scope: sender, when: rate, window: 1s, min: 50, factor: 10}
`

// What one instance finds abnormal it halts, and all follow, until a person lets it go on; the same figures do not
// halt it again. Rule, figures and who ordered what are on record.
func TestAbnormalPushesAreHalted(t *testing.T) {
	// Clause: push-monitor
	d := startDaemon(t)
	d.write(t, "halting.yaml", autoHalting)
	second := d.beside(t, "second", "halting.yaml")
	d.write(t, "with-rules.yaml", strings.Replace(string(d.world.Config()), "push:\n", "push:\n  policy: halting.yaml\n", 1)+"\nrules:\n  dir: rules\n")
	d.reload(t, http.StatusOK, "reloaded")
	d.await(t, "/-/ready", "consumer: ready")
	second.await(t, "/-/ready", "consumer: ready")
	both := func(want string) {
		t.Helper()
		d.await(t, "/metrics", want)
		second.await(t, "/metrics", want)
	}

	bad := 0
	flood := func(n int) {
		t.Helper()
		for range n { // to one user, so that one instance sees them all
			bad++
			d.send(t, "weir.pushes", "user-number-1", pushTo("user-number-1", fmt.Sprint("bad", bad), "casino", "shop", "违禁测试词"))
		}
		d.find(t, "weir.decisions", fmt.Sprint("bad", bad))
	}
	flood(20)
	both(`weir_push_halted{scope="campaign"} 1`)
	both(`weir_push_halts_unshared 0`)
	d.decidedAs(t, "casino", "casino", "deny/halted")
	d.decidedAs(t, "other", "bakery", "allow/none")
	order := d.find(t, "weir.decisions", "casino1")["push"].(map[string]any)["decision"].(map[string]any)["halt"].(map[string]any)
	if by, why := order["by"], order["why"].(string); by != "weir/0" && by != "weir/second" || !strings.HasPrefix(why, "rule bad-campaign: 10 of 10 pushes within 10m0s denied for their content") {
		t.Errorf("halted by %v", order)
	}
	d.order(t, "casino", false)
	both(`weir_push_halted{scope="campaign"} 0`)
	d.decidedAs(t, "resumed", "casino", "allow/none")
	flood(20)
	d.decidedAs(t, "accepted", "casino", "allow/none")

	// A sender that sends far more at once than in the minutes before, by the times of the messages.
	began := time.Now().Add(-10 * time.Minute)
	say := func(id string, at time.Time) *kgo.Record {
		value, err := json.Marshal(pushTo("user-number-2", id, "", "bell", "hello"))
		if err != nil {
			t.Fatal(err)
		}
		return &kgo.Record{Topic: "weir.pushes", Key: []byte("user-number-2"), Value: value, Timestamp: at}
	}
	var records []*kgo.Record
	for i := range 70 {
		records = append(records, say(fmt.Sprint("calm", i), began.Add(time.Duration(i)*time.Second)))
	}
	for i := range 300 {
		records = append(records, say(fmt.Sprint("loud", i), began.Add(2*time.Minute)))
	}
	if err := d.client.ProduceSync(t.Context(), records...).FirstErr(); err != nil {
		t.Fatal(err)
	}
	both(`weir_push_halted{scope="sender"} 1`)
	both(`weir_push_halts_unshared 0`) // who found it has seen its order, too
	d.send(t, "weir.pushes", "user-number-9", pushTo("user-number-9", "after-noise", "", "bell", "hello"))
	if m := d.find(t, "weir.decisions", "after-noise"); m["reason"] != "halted" {
		t.Errorf("decision %v", m)
	}

	second.stop(t)
	d.stop(t)
	all := append(d.incidents(t, "evidence"), d.incidents(t, "evidence-second")...)
	count := func(beginning string, want int) {
		t.Helper()
		n := 0
		for _, x := range all {
			if strings.HasPrefix(x, beginning) {
				n++
			}
		}
		if n != want {
			t.Errorf("%d incidents begin with %q, want %d: %q", n, beginning, want, all)
		}
	}
	count("halted content campaign casino weir/", 1)
	count("halted rate sender bell weir/", 1)
	count("halted order campaign casino weir/", 2) // each instance of the order it read
	count("halted order sender bell weir/", 2)
	count("resumed order campaign casino officer-7", 2)
	for _, log := range []*lockedBuffer{d.log, second.log} {
		for _, secret := range []string{"user-number", `"shop"`, `"bell"`, "违禁"} {
			if strings.Contains(log.String(), secret) {
				t.Errorf("%s is in the log", secret)
			}
		}
	}
}

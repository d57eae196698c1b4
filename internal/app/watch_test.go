package app

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/mod/sumdb/note"

	"github.com/weir-moderation/weir/internal/config"
	"github.com/weir-moderation/weir/rules"
)

// watching runs the watch of a desk in a bubble, where time passes at once.
func watching(t *testing.T, files map[string]string, change func(*config.Config), f func(d *workbench, pass func(time.Duration))) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		d := newDesk(t, files, change)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- d.watch(ctx) }()
		pass := func(long time.Duration) {
			time.Sleep(long)
			synctest.Wait()
		}
		pass(time.Millisecond) // so that nothing happens just when it is looked at
		f(d, pass)
		cancel()
		if err := <-done; err != nil {
			t.Errorf("watch ended with %v", err)
		}
	})
}

// A change of the files is taken up by itself. What is refused keeps the old rules and is said once, as
// long as it is the same; what is right is taken up after it, and what was in force is as good as new.
func TestFilesAreTakenUp(t *testing.T) {
	watching(t, map[string]string{"gambling.yaml": one("一号")}, nil, func(d *workbench, pass func(time.Duration)) {
		broken := strings.Replace(one("三号"), "severity", "severty", 1)
		for _, step := range []struct{ what, text, term, why string }{
			{"a change", one("二号"), "二号", ""},
			{"a broken one", broken, "二号", "gambling.yaml:3:42"},
			{"another broken one", "pack: 7", "二号", "gambling.yaml:1:"},
			{"mended", one("三号"), "三号", ""},
			{"broken as before", broken, "三号", "gambling.yaml:3:42"},
			{"as it is in force", one("三号"), "三号", ""},
			{"broken once more", broken, "三号", "gambling.yaml:3:42"},
			{"a comment", one("三号") + "# nothing else\n", "三号", ""},
		} {
			before := d.said()
			d.write("rules/gambling.yaml", step.text)
			pass(time.Minute)
			d.wants(step.what, step.term, step.why)
			want := 0
			if step.why != "" {
				want = 1
			}
			if n := d.said() - before; n != want {
				t.Errorf("%s: said %d times in a minute that something was refused, want %d", step.what, n, want)
			}
		}
		var whys []string
		for _, a := range d.activations() {
			whys = append(whys, a.Why)
		}
		if got := strings.Join(whys, " "); got != "start files files files" {
			t.Errorf("activations on record: %s", got)
		}
	})
}

// Files that are copied in piece by piece are no change before they have stood still for a look: no
// half of one is tried, though every half is broken.
func TestHalfWrittenFilesAreNotTried(t *testing.T) {
	watching(t, map[string]string{"gambling.yaml": one("一号")}, nil, func(d *workbench, pass func(time.Duration)) {
		names := map[string]string{"gambling.yaml": one("二号"), "gambling_test.yaml": "tests:\n  - {text: 二号, hits: [{rule: gambling.x}]}\n"}
		for _, name := range []string{"gambling_test.yaml", "gambling.yaml"} {
			text := names[name]
			for at := 0; at < len(text); at += 7 {
				d.write("rules/"+name, text[:at])
				pass(1900 * time.Millisecond)
				d.wants("half-written", "一号", "")
			}
			d.write("rules/"+name, text)
		}
		pass(10 * time.Second)
		d.wants("written", "二号", "")
		if d.said() != 0 {
			t.Errorf("something was refused:\n%s", d.log)
		}
	})
}

// Rules come by links, too: as Kubernetes updates a mounted ConfigMap, and as a directory that is a
// link to the version in force.
func TestLinksAreFollowed(t *testing.T) {
	link := func(t *testing.T, to, name string) {
		t.Helper()
		if err := errors.Join(os.Symlink(to, name+".new"), os.Rename(name+".new", name)); err != nil {
			t.Fatal(err)
		}
	}
	t.Run("ConfigMap", func(t *testing.T) {
		watching(t, map[string]string{"..1/gambling.yaml": one("一号")}, func(c *config.Config) {
			link(t, "..1", filepath.Join(c.Rules.Dir, "..data"))
			link(t, "..data/gambling.yaml", filepath.Join(c.Rules.Dir, "gambling.yaml"))
		}, func(d *workbench, pass func(time.Duration)) {
			d.wants("at the start", "一号", "")
			d.write("rules/..2/gambling.yaml", one("二号"))
			pass(10 * time.Second)
			d.wants("before the swap", "一号", "")
			link(t, "..2", filepath.Join(d.dir, "rules", "..data"))
			if err := os.RemoveAll(filepath.Join(d.dir, "rules", "..1")); err != nil {
				t.Fatal(err)
			}
			pass(10 * time.Second)
			d.wants("after the swap", "二号", "")
		})
	})
	t.Run("directory", func(t *testing.T) {
		watching(t, map[string]string{"v1/gambling.yaml": one("一号"), "v2/gambling.yaml": one("二号")}, func(c *config.Config) {
			link(t, "v1", filepath.Join(c.Rules.Dir, "now"))
			c.Rules.Dir = filepath.Join(c.Rules.Dir, "now")
		}, func(d *workbench, pass func(time.Duration)) {
			d.wants("at the start", "一号", "")
			link(t, "v2", filepath.Join(d.dir, "rules", "now"))
			pass(10 * time.Second)
			d.wants("after the swap", "二号", "")
		})
	})
}

// Files that cannot be read are refused like broken ones: an operator who believes that they are in
// force must hear of it.
func TestUnreadableFilesAreRefused(t *testing.T) {
	watching(t, map[string]string{"gambling.yaml": one("一号")}, nil, func(d *workbench, pass func(time.Duration)) {
		dir := filepath.Join(d.dir, "rules")
		if err := os.Rename(dir, dir+".away"); err != nil {
			t.Fatal(err)
		}
		pass(time.Minute)
		d.wants("without the directory", "一号", "rules.dir: ")
		if d.said() != 1 {
			t.Errorf("said %d times", d.said())
		}
		if err := os.Rename(dir+".away", dir); err != nil {
			t.Fatal(err)
		}
		pass(time.Minute)
		d.wants("with it again", "一号", "")
	})
}

// Rules are written first and signed then: the signature alone is a change.
func TestSignatureThatComesLater(t *testing.T) {
	private, public, err := note.GenerateKey(rand.Reader, "rules")
	if err != nil {
		t.Fatal(err)
	}
	signer, err := note.NewSigner(private)
	if err != nil {
		t.Fatal(err)
	}
	sign := func(text string) string {
		dir := t.TempDir()
		if err := os.WriteFile(filepath.Join(dir, "gambling.yaml"), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		b, err := rules.ReadBundle(os.DirFS(dir), dir)
		if err != nil {
			t.Fatal(err)
		}
		_, signature, err := b.Sign(signer, time.Now())
		if err != nil {
			t.Fatal(err)
		}
		return string(signature)
	}
	signatures := []string{sign(one("一号")), sign(one("二号"))}
	watching(t, map[string]string{"gambling.yaml": one("一号"), rules.SignatureFile: signatures[0]}, func(c *config.Config) {
		c.Rules.VerifyKey = public
	}, func(d *workbench, pass func(time.Duration)) {
		d.write("rules/gambling.yaml", one("二号"))
		pass(time.Minute)
		d.wants("unsigned", "一号", "were changed since they were signed")
		d.write("rules/"+rules.SignatureFile, signatures[1])
		pass(time.Minute)
		d.wants("signed", "二号", "")
	})
}

// A reload that is asked for and the watch do not stand in each other's way: what one refused the other
// does not say again, and what one found wrong with the configuration the other does not take back.
func TestReloadBesideWatch(t *testing.T) {
	watching(t, map[string]string{"gambling.yaml": one("一号")}, nil, func(d *workbench, pass func(time.Duration)) {
		d.write("rules/gambling.yaml", "pack: 7")
		if err := d.reload(d.t.Context()); err == nil {
			t.Fatal("a broken pack was taken up")
		}
		pass(time.Minute)
		d.wants("broken", "一号", "gambling.yaml:1:")
		if d.said() != 1 {
			t.Errorf("said %d times", d.said())
		}
		d.write("rules/gambling.yaml", one("一号")) // before anybody looked
		pass(time.Minute)
		d.wants("mended", "一号", "")

		d.config(nil, errors.New("weir.yaml:7: no such setting"))
		if err := d.reload(d.t.Context()); err == nil {
			t.Fatal("a broken configuration was taken up")
		}
		pass(time.Minute)
		d.wants("a broken configuration", "一号", "weir.yaml:7")
		d.write("rules/gambling.yaml", one("二号"))
		pass(time.Minute)
		d.wants("a change under a broken configuration", "一号", "weir.yaml:7")
		d.write("rules/gambling.yaml", one("一号"))
		pass(time.Minute)
		d.wants("as before under a broken configuration", "一号", "weir.yaml:7")
		d.write("rules/gambling.yaml", one("二号"))
		pass(time.Minute)
		d.config(nil, nil)
		if err := d.reload(d.t.Context()); err != nil {
			t.Fatal(err)
		}
		d.wants("all mended", "二号", "")

		// A reload may name another directory; that one is watched then.
		d.write("others/gambling.yaml", one("三号"))
		d.config(func(c *config.Config) { c.Rules.Dir = filepath.Join(d.dir, "others") }, nil)
		pass(time.Minute)
		d.wants("before the reload", "二号", "")
		if err := d.reload(d.t.Context()); err != nil {
			t.Fatal(err)
		}
		d.write("others/gambling.yaml", one("四号"))
		pass(time.Minute)
		d.wants("another directory", "四号", "")

		// One that is refused stays refused, whatever happens to the files in force.
		d.write("broken/gambling.yaml", "pack: 7")
		d.config(func(c *config.Config) { c.Rules.Dir = filepath.Join(d.dir, "broken") }, nil)
		if err := d.reload(d.t.Context()); err == nil {
			t.Fatal("a broken directory was taken up")
		}
		pass(time.Minute)
		d.wants("a broken directory", "四号", "gambling.yaml:1:")
		before := d.said()
		d.write("others/gambling.yaml", one("五号"))
		pass(time.Minute)
		d.wants("a change beside a broken directory", "四号", "gambling.yaml:1:")
		if n := d.said() - before; n != 1 {
			t.Errorf("said %d times in a minute", n)
		}
		d.write("others/gambling.yaml", one("四号"))
		pass(time.Minute)
		d.wants("as before beside a broken directory", "四号", "gambling.yaml:1:")
	})
}

// Where watch is 0 nothing is taken up unasked.
func TestNoWatch(t *testing.T) {
	watching(t, map[string]string{"gambling.yaml": one("一号")}, func(c *config.Config) { c.Rules.Watch = 0 }, func(d *workbench, pass func(time.Duration)) {
		d.write("rules/gambling.yaml", one("二号"))
		pass(time.Hour)
		d.wants("unasked", "一号", "")
	})
}

// excepted is a pack with an exception that ends with a day.
func excepted(term, day string) string {
	return fmt.Sprintf(`pack: gambling
rules:
  - {id: gambling.x, category: gambling, severity: low, action: review, state: live, terms: [%s],
     except: [{texts: [反%[1]s宣传], owner: o, reason: r, expires: %s}, {texts: [%[1]s电影], owner: o, reason: r, expires: 2000-01-02}]}
`, term, day)
}

// When an exception expires the rules are loaded anew: their digest changes, the text is a hit, and
// that is on record. So it goes with each exception.
func TestExceptionsExpire(t *testing.T) {
	// A bubble begins with the year 2000.
	watching(t, map[string]string{"gambling.yaml": excepted("一号", "2000-01-01")}, func(c *config.Config) { c.Rules.Watch = 0 }, func(d *workbench, pass func(time.Duration)) {
		hits := func(text string) string { return forms(d.pipeline.InForce().Rules, text) }
		first := d.pipeline.InForce().Rules.Digest()
		pass(24*time.Hour - time.Second)
		if got := d.pipeline.InForce().Rules.Digest(); got != first || hits("反一号宣传") != "" {
			t.Error("the exception ended before its day did")
		}
		d.config(nil, errors.New("weir.yaml:7: no such setting")) // keeps no exception in force
		pass(3 * time.Second)
		second := d.pipeline.InForce().Rules.Digest()
		if second == first || hits("反一号宣传") == "" || hits("一号电影") != "" {
			t.Errorf("after its day the exception is still in force: digests %.8s, %.8s", first, second)
		}
		d.wants("expired", "一号", "")
		pass(24 * time.Hour)
		if hits("一号电影") == "" {
			t.Error("the second exception does not expire")
		}
		list := d.activations()
		var whys []string
		for _, a := range list {
			whys = append(whys, a.Why)
		}
		if got := strings.Join(whys, " "); got != "start expiry expiry" || list[1].Rules != second || list[1].Bundle != list[0].Bundle {
			t.Errorf("on record: %s", got)
		}
	})
}

// calmly looks at the files once in ten minutes; exceptions end in time none the less.
func calmly(c *config.Config) { c.Rules.Watch = 10 * time.Minute }

// An exception ends also while something else is refused, which stays refused; and broken files are not
// taken up by the way.
func TestExceptionExpiresBesideARefusal(t *testing.T) {
	watching(t, map[string]string{"gambling.yaml": excepted("一号", "2000-01-01")}, calmly, func(d *workbench, pass func(time.Duration)) {
		d.write("rules/gambling.yaml", "pack: 7")
		pass(time.Hour)
		d.wants("broken", "一号", "gambling.yaml:1:")
		pass(23*time.Hour + 2*time.Second)
		d.wants("expired", "一号", "gambling.yaml:1:")
		if forms(d.pipeline.InForce().Rules, "反一号宣传") == "" {
			t.Error("the exception is still in force")
		}
		if d.said() != 1 {
			t.Errorf("said %d times", d.said())
		}
		d.write("rules/gambling.yaml", one("二号"))
		pass(time.Hour)
		d.wants("mended", "二号", "")
	})
}

// An exception ends also where a case asks for it: the case has lapsed. One that fails whatever was excepted
// keeps the rules as they are.
func TestExceptionThatTestsNeed(t *testing.T) {
	watching(t, map[string]string{"gambling.yaml": excepted("一号", "2000-01-01"),
		"gambling_test.yaml": "tests:\n  - {text: 反一号宣传, spares: [gambling.x]}\n"}, calmly, func(d *workbench, pass func(time.Duration)) {
		pass(25 * time.Hour)
		d.wants("expired", "一号", "")
		if forms(d.pipeline.InForce().Rules, "反一号宣传") == "" {
			t.Error("the exception is still in force")
		}
		d.write("rules/gambling_test.yaml", "tests:\n  - {text: 反一号, spares: [gambling.x]}\n")
		pass(time.Hour)
		d.wants("another case fails", "一号", "1 unexpected hit")
	})
}

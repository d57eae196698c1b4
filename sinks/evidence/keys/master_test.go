//go:build unix

package keys

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// kms is a key management service in a few lines: a file for each key, and what it
// wraps is the key's file name and a sum, so that it can tell what it wrapped. It is
// no model of how to wrap.
const kms = `#!/bin/sh
# Called as: kms DIR create|wrap|unwrap|destroy NAME
set -eu
echo "$2 $3" >> "$1/calls"
key="$1/$3.key"
case $2 in
create) [ -e "$key" ] || head -c 16 /dev/urandom | od -An -tx1 | tr -d ' \n' > "$key" ;;
wrap) printf '%s:%s' "$(cat "$key")" "$(cat)" | base64 | tr -d '\n' ;;
unwrap)
	[ -e "$key" ] || { echo "no key $3" >&2; exit 3; }
	plain=$(base64 -d)
	[ "${plain%%:*}" = "$(cat "$key")" ] || { echo "it was not wrapped with $3" >&2; exit 4; }
	printf '%s\n' "${plain#*:}" ;;
destroy) rm -f "$key" ;;
*) exit 2 ;;
esac
`

// program writes a program and returns its name.
func program(t testing.TB, text string) string {
	t.Helper()
	name := filepath.Join(t.TempDir(), "kms")
	if err := os.WriteFile(name, []byte(text), 0o700); err != nil {
		t.Fatal(err)
	}
	return name
}

// A master key behind a command does all that one in a file does: it is made, opens
// the keyring at every start, and after a rotation is gone.
func TestCommand(t *testing.T) {
	dir, store := t.TempDir(), t.TempDir()
	o := Options{Master: Config{Command: []string{program(t, kms), store}}}
	r := open(t, dir, o)
	k := mustKeys(t, r, "content", "anna")[0]
	if _, err := os.Stat(filepath.Join(dir, "master.key")); err == nil {
		t.Error("there is a master key in a file")
	}
	mustClose(t, r)
	yesterday := copyKeys(t, dir)

	r = open(t, dir, o)
	reader := open(t, dir, Options{Master: o.Master, ReadOnly: true})
	res, err := r.Rotate()
	if err != nil {
		t.Fatal(err)
	}
	if res.Generation != 2 || res.Keys != 1 || res.Files != 1 || len(res.Destroyed) != 1 || !strings.HasSuffix(res.Master, "-2") {
		t.Errorf("%+v", res)
	}
	if _, err := reader.Open("content", k.Handle); err != nil {
		t.Errorf("a reader from before the rotation: %v", err)
	}
	if _, err := Open(filepath.Join(yesterday, "keys"), o); !errors.Is(err, ErrMaster) || !strings.Contains(err.Error(), "generation 1: the command kms: unwrap weir-evidence-") || !strings.Contains(err.Error(), "it says: no key weir") {
		t.Errorf("yesterday's keyring: %v", err)
	}
	calls := string(readFile(t, filepath.Join(store, "calls")))
	if n := strings.Count(calls, "unwrap"); n > 8 {
		t.Errorf("the command was called to unwrap %d times:\n%s", n, calls)
	}
}

// A service that does not do what it is asked for is told by what it did; nothing is
// begun, and a key that says that it was destroyed, and opens, is not believed.
func TestCommandRefuses(t *testing.T) {
	for want, text := range map[string]string{
		"create weir-evidence-":                  "#!/bin/sh\n[ $1 = create ] && echo no 'such  region' >&2 && exit 7\n",
		"exit status 7; it says: no such region": "#!/bin/sh\n[ $1 = create ] && echo no 'such  region' >&2 && exit 7\n",
		"exit status 7":                          "#!/bin/sh\n[ $1 = create ] && exit 7\n",
		"its output is not the base64":           "#!/bin/sh\n[ $1 = create ] || echo '!'\n",
		"of at most 65536 bytes":                 "#!/bin/sh\n[ $1 = create ] || head -c 100000 /dev/zero | tr '\\0' A\n",
		"its output has 3 bytes; the key":        "#!/bin/sh\n[ $1 = create ] || echo AAAA\n",
		"no answer within 300ms":                 "#!/bin/sh\n[ $1 = create ] || sleep 100\n",
	} {
		dir := t.TempDir()
		o := Options{Master: Config{Command: []string{program(t, text)}}}
		if strings.Contains(want, "ms") {
			o.Master.Timeout = 300 * time.Millisecond
		}
		_, err := Open(filepath.Join(dir, "keys"), o)
		if !errors.Is(err, ErrMaster) || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %s", err, want)
		}
	}
	_, err := Open(filepath.Join(t.TempDir(), "keys"), Options{Master: Config{Command: []string{"/nowhere/kms"}}})
	if !errors.Is(err, ErrMaster) || !strings.Contains(err.Error(), "no such file") {
		t.Errorf("%v", err)
	}
}

// A generation whose key the service does not destroy stays on the list, is complained
// of, and goes when the service does its work.
func TestNotDestroyed(t *testing.T) {
	dir, store := t.TempDir(), t.TempDir()
	lazy := strings.Replace(kms, `destroy) rm -f "$key"`, `destroy) [ -e "$1/lazy" ] || rm -f "$key"`, 1)
	o := Options{Master: Config{Command: []string{program(t, lazy), store}}}
	write(t, filepath.Join(store, "lazy"), nil)
	r := open(t, dir, o)
	k := mustKeys(t, r, "content", "anna")[0]
	if _, err := r.Rotate(); err == nil || !strings.Contains(err.Error(), "still unwraps") {
		t.Errorf("rotate: %v", err)
	}
	if !r.Rotating() {
		t.Error("it believes it")
	}
	mustClose(t, r)
	r = open(t, dir, o) // it starts all the same
	if _, err := r.Open("content", k.Handle); err != nil || !r.Rotating() {
		t.Error(err)
	}
	mustClose(t, r)
	if err := os.Remove(filepath.Join(store, "lazy")); err != nil {
		t.Fatal(err)
	}
	r = open(t, dir, o)
	if r.Rotating() {
		t.Error("the old generation is still on the list")
	}
	if keys, err := filepath.Glob(filepath.Join(store, "*.key")); err != nil || len(keys) != 1 {
		t.Errorf("keys %v, %v", keys, err)
	}
}

// A file that others can read, or that is not one of keys, is refused with what to do.
func TestMasterFileRefused(t *testing.T) {
	dir := t.TempDir()
	written(t, dir, 1)
	path := filepath.Join(dir, "master.key")
	whole := string(readFile(t, path))
	for want, do := range map[string]func() error{
		"run: chmod 600 " + path:  func() error { return os.Chmod(path, 0o644) },
		"line 1 is not the name":  func() error { return os.WriteFile(path, []byte("x\n"), 0o600) },
		"is not the base64 of 32": func() error { return os.WriteFile(path, []byte(whole[:len(whole)-9]+"\n"), 0o600) },
		"has no key weir-evidence": func() error {
			return os.WriteFile(path, []byte(strings.Replace(whole, "weir-", "reir-", 1)), 0o600)
		},
		"no such file": func() error { return os.Remove(path) },
	} {
		if err := do(); err != nil {
			t.Fatal(err)
		}
		_, err := Open(filepath.Join(dir, "keys"), Options{})
		if !errors.Is(err, ErrMaster) || !strings.Contains(err.Error(), want) || !strings.Contains(err.Error(), path) {
			t.Errorf("%v, want %s", err, want)
		}
		if strings.Contains(fmt.Sprint(err), strings.Fields(whole)[1][:20]) {
			t.Errorf("it prints the key: %v", err)
		}
		if err := os.Chmod(path, 0o600); err != nil && !errors.Is(err, os.ErrNotExist) {
			t.Fatal(err)
		}
		write(t, path, []byte(whole))
	}
}

// What the configuration can say wrong is told by its field.
func TestConfig(t *testing.T) {
	for want, c := range map[string]Config{
		"":                              DefaultConfig(),
		"command: there is a file, too": {File: "a", Command: []string{"b"}},
		"command: it begins with":       {Command: []string{"", "b"}},
		"timeout: -1s; use":             {Timeout: -time.Second},
		"timeout: 1h0m0s; use":          {Command: []string{"b"}, Timeout: time.Hour},
	} {
		err := c.Validate()
		if want == "" && err != nil || want != "" && (err == nil || !strings.HasPrefix(err.Error(), want)) {
			t.Errorf("%v, want %s", err, want)
		}
	}
	_, err := Open(t.TempDir(), Options{Master: Config{File: "a", Command: []string{"b"}}})
	if err == nil || !strings.Contains(err.Error(), "master_key: command: there is a file") {
		t.Errorf("%v", err)
	}
}

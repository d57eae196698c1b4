package chaos

import (
	"cmp"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// member is one process of the daemon, in one life after another, with an evidence
// directory of its own.
type member struct {
	name   string
	dir    string
	binary string
	listen string // of the admin listener; empty: a port that nobody knows
	log    *os.File
	cmd    *exec.Cmd
	exited chan error
}

func (m *member) config() string { return filepath.Join(m.dir, "weir.yaml") }

func (m *member) evidence() string { return filepath.Join(m.dir, "evidence") }

// weirBinary builds the daemon as it is shipped.
func weirBinary(t *testing.T) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "weir")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", path, "../../cmd/weir").CombinedOutput(); err != nil {
		t.Fatalf("go build: %v\n%s", err, out)
	}
	return path
}

// begin starts the first life. The last one ends with the test.
func (m *member) begin(t *testing.T) {
	t.Helper()
	m.keepLog(t)
	if err := m.start(); err != nil {
		t.Fatal(err)
	}
}

// keepLog makes the log of all lives, and sees to it that none outlives the test.
func (m *member) keepLog(t *testing.T) {
	t.Helper()
	var err error
	if m.log, err = os.Create(filepath.Join(m.dir, "log")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if m.cmd != nil {
			_ = m.signal(syscall.SIGKILL) // it has ended, if all went well
		}
		if t.Failed() {
			m.tell(t)
		}
		_ = m.log.Close()
	})
}

func (m *member) start() error {
	m.cmd = exec.Command(m.binary, "run", "--config", m.config(), "--listen", cmp.Or(m.listen, "127.0.0.1:0"))
	m.cmd.Stdout, m.cmd.Stderr = m.log, m.log
	if err := m.cmd.Start(); err != nil {
		return err
	}
	exited := make(chan error, 1)
	m.exited = exited
	go func(cmd *exec.Cmd) { exited <- cmd.Wait() }(m.cmd)
	return nil
}

func (m *member) signal(s syscall.Signal) error { return m.cmd.Process.Signal(s) }

// kill ends a life at once.
func (m *member) kill() error {
	if err := m.signal(syscall.SIGKILL); err != nil {
		return fmt.Errorf("%s ended by itself: %w", m.name, err)
	}
	if err := <-m.exited; err == nil {
		return fmt.Errorf("%s ended by itself just before it was killed", m.name)
	}
	return nil
}

// terminate ends a life in order.
func (m *member) terminate() error {
	if err := m.signal(syscall.SIGTERM); err != nil {
		return fmt.Errorf("%s ended by itself: %w", m.name, err)
	}
	select {
	case err := <-m.exited:
		if err != nil {
			return fmt.Errorf("%s ended with %w", m.name, err)
		}
		return nil
	case <-time.After(time.Minute):
		return fmt.Errorf("%s does not end", m.name)
	}
}

// alive returns an error if the process has ended by itself.
func (m *member) alive() error {
	select {
	case err := <-m.exited:
		return fmt.Errorf("%s ended by itself: %w", m.name, err)
	default:
		return nil
	}
}

// tell shows the end of the member's log if the test has failed.
func (m *member) tell(t *testing.T) {
	t.Helper()
	const most = 20_000
	b, err := os.ReadFile(m.log.Name())
	if err != nil {
		t.Log(err)
	}
	t.Logf("the log of %s ends with\n%s", m.name, b[max(0, len(b)-most):])
}

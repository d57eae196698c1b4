package postgres

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// server is a PostgreSQL cluster of one test, on a Unix socket in a directory of its own.
type server struct {
	t    testing.TB
	bin  string
	dir  string
	attr *syscall.SysProcAttr // root may not run it

	cmd   *exec.Cmd // nil while it does not run
	ended chan struct{}
}

// newServer starts a cluster, or skips the test where there is no PostgreSQL.
func newServer(t testing.TB) *server {
	t.Helper()
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	if err != nil || len(found) == 0 {
		path, err := exec.LookPath("initdb")
		if err != nil {
			t.Skip("needs PostgreSQL: no initdb in /usr/lib/postgresql or in PATH")
		}
		found = []string{path}
	}
	// The path of a socket is short.
	dir, err := os.MkdirTemp("", "weir-pg-")
	if err != nil {
		t.Fatal(err)
	}
	s := &server{t: t, bin: filepath.Dir(slices.Max(found)), dir: dir}
	t.Cleanup(func() {
		s.stop(syscall.SIGQUIT)
		if b, err := os.ReadFile(filepath.Join(dir, "log")); err == nil && t.Failed() {
			t.Logf("the server says:\n%s", b)
		}
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	if os.Getuid() == 0 {
		u, err := user.Lookup("nobody")
		if err != nil {
			t.Skip("needs a user who is not root:", err)
		}
		uid, err := strconv.ParseUint(u.Uid, 10, 32)
		if err != nil {
			t.Fatal(err)
		}
		gid, err := strconv.ParseUint(u.Gid, 10, 32)
		if err != nil {
			t.Fatal(err)
		}
		s.attr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}
		if err := os.Chown(dir, int(uid), int(gid)); err != nil {
			t.Fatal(err)
		}
	}
	s.run("initdb", "-D", s.data(), "-A", "trust", "-U", "weir", "--no-sync", "--locale=C", "-E", "UTF8")
	s.start()
	s.exec("postgres", "create database evidence")
	return s
}

func (s *server) data() string { return filepath.Join(s.dir, "data") }

func (s *server) run(name string, args ...string) {
	s.t.Helper()
	cmd := exec.Command(filepath.Join(s.bin, name), args...)
	cmd.Dir, cmd.SysProcAttr = s.dir, s.attr
	if out, err := cmd.CombinedOutput(); err != nil {
		s.t.Fatalf("%s: %v\n%s", name, err, out)
	}
}

// start starts the server and waits until it answers.
func (s *server) start() {
	s.t.Helper()
	log, err := os.OpenFile(filepath.Join(s.dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		s.t.Fatal(err)
	}
	defer log.Close()
	s.cmd = exec.Command(filepath.Join(s.bin, "postgres"), "-D", s.data(), "-c", "listen_addresses=", "-c", "unix_socket_directories="+s.dir,
		"-c", "shared_buffers=16MB", "-c", "max_connections=20")
	s.cmd.Dir, s.cmd.SysProcAttr, s.cmd.Stdout, s.cmd.Stderr = s.dir, s.attr, log, log
	if err := s.cmd.Start(); err != nil {
		s.t.Fatal(err)
	}
	ended := make(chan struct{})
	s.ended = ended
	cmd := s.cmd
	go func() {
		defer close(ended)
		_ = cmd.Wait() // how it ends is for its log to say
	}()
	ctx := context.Background()
	for {
		c, err := pgx.Connect(ctx, s.dsnOf("postgres"))
		if err == nil {
			if err := c.Close(ctx); err != nil {
				s.t.Fatal(err)
			}
			return
		}
		select {
		case <-ended:
			s.cmd = nil
			s.t.Fatal("the server has ended")
		case <-time.After(20 * time.Millisecond): // ask again
		}
	}
}

// stop ends the server and waits until it has: SIGINT in good order, SIGQUIT at once, and
// SIGKILL all of its processes, as when the machine goes, but for the page cache.
func (s *server) stop(sig syscall.Signal) {
	s.t.Helper()
	if s.cmd == nil {
		return
	}
	pids := []int{s.cmd.Process.Pid}
	if sig == syscall.SIGKILL {
		pids = append(pids, children(s.t, pids[0])...)
	}
	for _, pid := range pids {
		if err := syscall.Kill(pid, sig); err != nil && !errors.Is(err, syscall.ESRCH) {
			s.t.Fatal(err)
		}
	}
	<-s.ended
	s.cmd = nil
}

// children lists the processes that a process has started.
func children(t testing.TB, of int) []int {
	stats, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		t.Fatal(err)
	}
	var pids []int
	for _, name := range stats {
		b, err := os.ReadFile(name)
		if err != nil {
			continue // it has ended
		}
		// 123 (name) S 1 ...
		_, rest, _ := bytes.Cut(b, []byte(") "))
		var state string
		var pid, parent int
		if _, err := fmt.Sscan(string(rest), &state, &parent); err != nil || parent != of {
			continue
		}
		if _, err := fmt.Sscan(string(b), &pid); err != nil {
			t.Fatal(err)
		}
		pids = append(pids, pid)
	}
	return pids
}

func (s *server) dsnOf(db string) string {
	return fmt.Sprintf("host=%s user=weir dbname=%s", s.dir, db)
}

func (s *server) dsn() string { return s.dsnOf("evidence") }

// exec runs a statement, as the database's administrator may.
func (s *server) exec(db, sql string) {
	s.t.Helper()
	ctx := context.Background()
	c, err := pgx.Connect(ctx, s.dsnOf(db))
	if err != nil {
		s.t.Fatal(err)
	}
	defer c.Close(ctx)
	if _, err := c.Exec(ctx, sql); err != nil {
		s.t.Fatal(err)
	}
}

// count asks for one number.
func (s *server) count(sql string) (n int) {
	s.t.Helper()
	ctx := context.Background()
	c, err := pgx.Connect(ctx, s.dsn())
	if err != nil {
		s.t.Fatal(err)
	}
	defer c.Close(ctx)
	if err := c.QueryRow(ctx, sql).Scan(&n); err != nil {
		s.t.Fatal(err)
	}
	return n
}

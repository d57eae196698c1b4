// Package postgrestest starts PostgreSQL servers for tests, each of one test and on a
// Unix socket in a directory of its own.
//
// The one thing to know: where there is no PostgreSQL the test is skipped.
package postgrestest

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

// Server is a PostgreSQL cluster with an empty database "evidence".
type Server struct {
	t    testing.TB
	bin  string
	dir  string
	attr *syscall.SysProcAttr // root may not run it

	cmd   *exec.Cmd // nil while it does not run
	ended chan struct{}
}

// New starts a server, or skips the test where there is no PostgreSQL.
func New(t testing.TB) *Server {
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
	s := &Server{t: t, bin: filepath.Dir(slices.Max(found)), dir: dir}
	t.Cleanup(func() {
		s.Stop(syscall.SIGQUIT)
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
	s.run("initdb", "-D", s.Data(), "-A", "trust", "-U", "weir", "--no-sync", "--locale=C", "-E", "UTF8")
	s.Start()
	s.Exec("postgres", "create database evidence")
	return s
}

// Data returns the directory of the server's files.
func (s *Server) Data() string { return filepath.Join(s.dir, "data") }

func (s *Server) run(name string, args ...string) {
	s.t.Helper()
	cmd := exec.Command(filepath.Join(s.bin, name), args...)
	cmd.Dir, cmd.SysProcAttr = s.dir, s.attr
	if out, err := cmd.CombinedOutput(); err != nil {
		s.t.Fatalf("%s: %v\n%s", name, err, out)
	}
}

// Start starts the server and waits until it answers.
func (s *Server) Start() {
	s.t.Helper()
	log, err := os.OpenFile(filepath.Join(s.dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		s.t.Fatal(err)
	}
	defer log.Close() //nolint:errcheck // the server has it
	s.cmd = exec.Command(filepath.Join(s.bin, "postgres"), "-D", s.Data(), "-c", "listen_addresses=", "-c", "unix_socket_directories="+s.dir,
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
		c, err := pgx.Connect(ctx, s.DSN("postgres"))
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

// Stop ends the server and waits until it has: SIGINT in good order, SIGQUIT at once, and
// SIGKILL all of its processes, as when the machine goes, but for the page cache.
func (s *Server) Stop(sig syscall.Signal) {
	s.t.Helper()
	if s.cmd == nil {
		return
	}
	pids := []int{s.cmd.Process.Pid}
	if sig == syscall.SIGKILL {
		// Stopped, it starts no process that is not on the list.
		if err := syscall.Kill(pids[0], syscall.SIGSTOP); err != nil {
			s.t.Fatal(err)
		}
		pids = s.Processes()
	}
	for _, pid := range pids {
		if err := syscall.Kill(pid, sig); err != nil && !errors.Is(err, syscall.ESRCH) {
			s.t.Fatal(err)
		}
	}
	<-s.ended
	s.cmd = nil
	for _, pid := range pids[1:] { // each still has the shared memory until it is gone
		for lives(pid) {
			time.Sleep(5 * time.Millisecond) // look again
		}
	}
}

// Processes lists the server's processes.
func (s *Server) Processes() []int {
	return append([]int{s.cmd.Process.Pid}, children(s.t, s.cmd.Process.Pid)...)
}

// lives reports whether a process has not ended, whether or not its parent knows.
func lives(pid int) bool {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	_, rest, _ := bytes.Cut(b, []byte(") "))
	return err == nil && len(rest) > 0 && rest[0] != 'Z' && rest[0] != 'X'
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

// DSN returns the DSN of a database of the server.
func (s *Server) DSN(db string) string {
	return fmt.Sprintf("host=%s user=weir dbname=%s", s.dir, db)
}

// Exec runs a statement, as the database's administrator may.
func (s *Server) Exec(db, sql string) {
	s.t.Helper()
	ctx := context.Background()
	c, err := pgx.Connect(ctx, s.DSN(db))
	if err != nil {
		s.t.Fatal(err)
	}
	defer c.Close(ctx) //nolint:errcheck // only of a test
	if _, err := c.Exec(ctx, sql); err != nil {
		s.t.Fatal(err)
	}
}

// Count asks for one number.
func (s *Server) Count(sql string) (n int) {
	s.t.Helper()
	ctx := context.Background()
	c, err := pgx.Connect(ctx, s.DSN("evidence"))
	if err != nil {
		s.t.Fatal(err)
	}
	defer c.Close(ctx) //nolint:errcheck // only of a test
	if err := c.QueryRow(ctx, sql).Scan(&n); err != nil {
		s.t.Fatal(err)
	}
	return n
}

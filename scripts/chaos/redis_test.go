package chaos

import (
	"fmt"
	"net"
	"os/exec"
	"testing"
	"time"
)

// redisServer is a real redis-server that loses nothing it has acknowledged.
type redisServer struct {
	t    *testing.T
	addr string
	dir  string
	cmd  *exec.Cmd
}

func startRedis(t *testing.T) *redisServer {
	t.Helper()
	if _, err := exec.LookPath("redis-server"); err != nil {
		t.Skip("needs redis-server")
	}
	r := &redisServer{t: t, addr: freeAddr(t), dir: t.TempDir()}
	r.start()
	t.Cleanup(r.stop)
	return r
}

func (r *redisServer) start() {
	r.t.Helper()
	host, port, err := net.SplitHostPort(r.addr)
	if err != nil {
		r.t.Fatal(err)
	}
	r.cmd = exec.Command("redis-server", "--bind", host, "--port", port, "--dir", r.dir,
		"--appendonly", "yes", "--appendfsync", "always", "--save", "", "--loglevel", "warning")
	if err := r.cmd.Start(); err != nil {
		r.t.Fatal(err)
	}
	for deadline := time.Now().Add(2 * time.Minute); ; { // it reads all it knows first
		c, err := net.DialTimeout("tcp", r.addr, time.Second)
		if err == nil {
			_, err = fmt.Fprintf(c, "PING\r\n")
			answer := make([]byte, 7)
			if err == nil {
				_, err = c.Read(answer)
			}
			_ = c.Close()
			if err == nil && string(answer[:5]) == "+PONG" {
				return
			}
		}
		if time.Now().After(deadline) {
			r.t.Fatal("redis-server does not answer")
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// stop ends it at once.
func (r *redisServer) stop() {
	_ = r.cmd.Process.Kill() // it may have ended
	_ = r.cmd.Wait()
}

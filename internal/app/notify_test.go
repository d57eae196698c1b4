package app_test

import (
	"net"
	"os"
	"path/filepath"
	"testing"
	"time"
)

// A service manager hears when the daemon is up, that its parts answer, that it reloads and is done with it, and that it
// stops; programs started by the daemon do not inherit its ear.
func TestServiceManagerIsTold(t *testing.T) {
	socket := filepath.Join(t.TempDir(), "notify")
	ear, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: socket, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	defer ear.Close()
	t.Setenv("NOTIFY_SOCKET", socket)
	t.Setenv("WATCHDOG_USEC", "20000")
	t.Setenv("WATCHDOG_PID", "")
	hear := func(want string) {
		t.Helper()
		if err := ear.SetReadDeadline(time.Now().Add(time.Minute)); err != nil {
			t.Fatal(err)
		}
		for b := make([]byte, 256); ; {
			n, err := ear.Read(b)
			if err != nil {
				t.Fatalf("%s is not heard: %v", want, err)
			}
			switch got := string(b[:n]); got {
			case want:
				return
			case "WATCHDOG=1": // between the others
			default:
				t.Fatalf("heard %s, want %s", got, want)
			}
		}
	}
	d := startDaemon(t)
	hear("READY=1")
	hear("WATCHDOG=1")
	hear("WATCHDOG=1")
	if _, there := os.LookupEnv("NOTIFY_SOCKET"); there {
		t.Error("NOTIFY_SOCKET is still in the environment")
	}
	d.hup <- struct{}{}
	hear("RELOADING=1")
	hear("READY=1")
	done := make(chan struct{})
	go func() {
		defer close(done)
		d.stop(t)
	}()
	hear("STOPPING=1")
	<-done
}

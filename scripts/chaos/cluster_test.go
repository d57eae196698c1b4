package chaos

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"
)

// nodes is how many brokers there are: with three, one may be away.
const nodes = 3

// cluster is a real Kafka, by kafkactl.
type cluster struct {
	t    *testing.T
	env  []string
	addr string
}

func startCluster(t *testing.T) *cluster {
	t.Helper()
	c := &cluster{t: t}
	c.env = append(os.Environ(), fmt.Sprintf("KAFKA_NODES=%d", nodes), "KAFKA_DIR="+filepath.Join(t.TempDir(), "kafka"), "KAFKA_PORT="+strconv.Itoa(freePorts(t)))
	t.Cleanup(func() {
		if err := c.run("stop"); err != nil {
			t.Error(err)
		}
	})
	if err := c.run("start"); err != nil {
		t.Fatal(err)
	}
	out, err := c.command(t.Context(), "addr").Output()
	if err != nil {
		t.Fatal(err)
	}
	c.addr = strings.TrimSpace(string(out))
	return c
}

// freePorts returns the first of the ports that three nodes take: three for brokers,
// three for controllers a hundred above.
func freePorts(t *testing.T) int {
	t.Helper()
	free := func(port int) bool {
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			return false
		}
		return l.Close() == nil
	}
search:
	for port := 21000; port < 29000; port += 10 {
		for i := range nodes {
			if !free(port+i) || !free(port+101+i) {
				continue search
			}
		}
		return port
	}
	t.Fatal("no free ports")
	return 0
}

func (c *cluster) command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, filepath.Join("..", "kafka", "kafkactl"), args...)
	cmd.Env = c.env
	return cmd
}

// run runs kafkactl, for at most two minutes.
func (c *cluster) run(args ...string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	if out, err := c.command(ctx, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("kafkactl %s: %w\n%s", strings.Join(args, " "), err, out)
	}
	return nil
}

// node tells kafkactl to do something to one node.
func (c *cluster) node(what string, id int32) error { return c.run(what, strconv.Itoa(int(id))) }

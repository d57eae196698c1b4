package chaos

import (
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"
)

// nodes is how many brokers there are: with three, one may be away.
const nodes = 3

// cluster is a real Kafka, by kafkactl, and a client of it for the test itself.
type cluster struct {
	t      *testing.T
	env    []string
	addr   string
	client *kgo.Client
	admin  *kadm.Client
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
	if c.client, err = kgo.NewClient(kgo.SeedBrokers(c.brokers()...), kgo.MetadataMinAge(100*time.Millisecond),
		kgo.RecordDeliveryTimeout(5*time.Minute), kgo.ProducerLinger(10*time.Millisecond)); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.client.Close)
	c.admin = kadm.NewClient(c.client)
	return c
}

func (c *cluster) brokers() []string { return strings.Split(c.addr, ",") }

// topic makes a topic that one node may miss.
func (c *cluster) topic(ctx context.Context, name string, partitions int32, settings map[string]string) string {
	c.t.Helper()
	safe := "2"
	all := map[string]*string{"min.insync.replicas": &safe}
	for k, v := range settings {
		all[k] = &v
	}
	if _, err := c.admin.CreateTopic(ctx, partitions, nodes, all, name); err != nil {
		c.t.Fatal(err)
	}
	return name
}

// known waits until every broker knows the topics: the one that made them is only the
// first to, and a member that asks another would be told that there are none.
func (c *cluster) known(ctx context.Context, topics ...string) {
	c.t.Helper()
	req := kmsg.NewPtrMetadataRequest()
	for _, name := range topics {
		topic := kmsg.NewMetadataRequestTopic()
		topic.Topic = kmsg.StringPtr(name)
		req.Topics = append(req.Topics, topic)
	}
	brokers, err := c.admin.ListBrokers(ctx)
	if err != nil {
		c.t.Fatal(err)
	}
	for _, b := range brokers {
		for deadline := time.Now().Add(time.Minute); ; time.Sleep(50 * time.Millisecond) {
			resp, err := req.RequestWith(ctx, c.client.Broker(int(b.NodeID)))
			if err == nil && !slices.ContainsFunc(resp.Topics, func(t kmsg.MetadataResponseTopic) bool { return t.ErrorCode != 0 }) {
				break
			}
			if time.Now().After(deadline) {
				c.t.Fatalf("broker %d does not know the topics: %v", b.NodeID, err)
			}
		}
	}
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

// freeAddr returns an address of this machine that nobody listens at.
func freeAddr(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	return l.Addr().String()
}

func (c *cluster) command(ctx context.Context, args ...string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, filepath.Join("..", "kafka", "kafkactl"), args...)
	cmd.Env = c.env
	return cmd
}

// run runs kafkactl, for at most four minutes.
func (c *cluster) run(args ...string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 4*time.Minute)
	defer cancel()
	if out, err := c.command(ctx, args...).CombinedOutput(); err != nil {
		return fmt.Errorf("kafkactl %s: %w\n%s", strings.Join(args, " "), err, out)
	}
	return nil
}

// node tells kafkactl to do something to one node.
func (c *cluster) node(what string, id int32) error { return c.run(what, strconv.Itoa(int(id))) }

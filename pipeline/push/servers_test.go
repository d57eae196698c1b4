package push

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/redis/go-redis/v9"
)

// redisServer is a redis-server of the tests' own, on a free loopback port.
type redisServer struct {
	addr    string
	busPort string // of a member of a cluster
	pid     int
	admin   *redis.Client // patient, and past any proxy
	dir     string
	shell   *exec.Cmd
	stdin   io.Closer
}

// keeper starts a redis-server and ends it when its own standard input ends: also
// when the tests are killed, no server is left behind.
const keeper = `"$@" >"$LOG" 2>&1 </dev/null & echo $!; read x; kill -9 $!; wait $! 2>/dev/null`

// patience is how long anything may take that the tests wait for. It is no
// measure of anything.
const patience = 30 * time.Second

// launch starts a redis-server. Another process may take the port it was to have
// before it does; then it gets another.
func launch(dir string, args ...string) (*redisServer, error) {
	program, err := exec.LookPath("redis-server")
	if err != nil {
		return nil, err
	}
	for range 5 {
		var s *redisServer
		if s, err = launchOnce(program, dir, args); err == nil {
			return s, nil
		}
	}
	return nil, err
}

func launchOnce(program, dir string, args []string) (*redisServer, error) {
	ports, err := freePorts(2)
	if err != nil {
		return nil, err
	}
	dir, err = os.MkdirTemp(dir, "redis")
	if err != nil {
		return nil, err
	}
	s := &redisServer{addr: "127.0.0.1:" + ports[0], dir: dir}
	line := []string{"-c", keeper, "sh", program, "--bind", "127.0.0.1", "--port", ports[0], "--dir", dir,
		"--save", "", "--appendonly", "no", "--repl-diskless-sync-delay", "0", "--repl-ping-replica-period", "1"}
	if slices.Contains(args, "--cluster-enabled") {
		s.busPort = ports[1]
		line = append(line, "--cluster-port", s.busPort)
	}
	s.shell = exec.Command("sh", append(line, args...)...)
	s.shell.Env = append(os.Environ(), "LOG="+filepath.Join(dir, "log"))
	if s.stdin, err = s.shell.StdinPipe(); err != nil {
		return nil, err
	}
	out, err := s.shell.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := s.shell.Start(); err != nil {
		return nil, err
	}
	first, err := bufio.NewReader(out).ReadString('\n')
	if err == nil {
		s.pid, err = strconv.Atoi(strings.TrimSpace(first))
	}
	if err != nil {
		s.stop()
		return nil, err
	}
	s.admin = redis.NewClient(&redis.Options{Addr: s.addr, Protocol: 2, DisableIdentity: true, MaxRetries: -1, ReadTimeout: patience})
	err = until("redis-server answers", func() (bool, error) {
		if err := syscall.Kill(s.pid, 0); err != nil {
			return false, err
		}
		// Somebody else may have that port.
		info, err := s.admin.Info(context.Background(), "server").Result()
		return err == nil && field(info, "process_id") == strconv.Itoa(s.pid), nil
	})
	if err != nil {
		log, _ := os.ReadFile(filepath.Join(dir, "log"))
		s.stop()
		return nil, fmt.Errorf("%w\n%s", err, log)
	}
	return s, nil
}

// freePorts returns ports of this machine that nobody has.
func freePorts(n int) (ports []string, err error) {
	for range n {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return nil, err
		}
		defer l.Close() // only when all are found
		_, port, _ := net.SplitHostPort(l.Addr().String())
		ports = append(ports, port)
	}
	return ports, nil
}

// until waits for a condition.
func until(what string, ask func() (bool, error)) error {
	for end := time.Now().Add(patience); ; {
		switch ok, err := ask(); {
		case err != nil:
			return fmt.Errorf("wait until %s: %w", what, err)
		case ok:
			return nil
		case time.Now().After(end):
			return errors.New("waited in vain until " + what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func await(t testing.TB, what string, ask func() bool) {
	t.Helper()
	if err := until(what, func() (bool, error) { return ask(), nil }); err != nil {
		t.Fatal(err)
	}
}

func (s *redisServer) stop() {
	if s.admin != nil {
		s.admin.Close()
	}
	s.stdin.Close()
	_ = s.shell.Wait() // it was killed; that is no news
}

func (s *redisServer) signal(t testing.TB, sig syscall.Signal) {
	t.Helper()
	if err := syscall.Kill(s.pid, sig); err != nil {
		t.Fatal(err)
	}
}

func (s *redisServer) hostPort() (host, port string) {
	host, port, _ = net.SplitHostPort(s.addr)
	return host, port
}

// do sends a command that must go well.
func (s *redisServer) do(t testing.TB, args ...any) any {
	t.Helper()
	v, err := s.admin.Do(t.Context(), args...).Result()
	if err != nil {
		t.Fatalf("%v: %v", args, err)
	}
	return v
}

// startServer starts a redis-server that ends with the test.
func startServer(t testing.TB, args ...string) *redisServer {
	t.Helper()
	needServer(t)
	s, err := launch(t.TempDir(), args...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.stop)
	return s
}

func needServer(t testing.TB) {
	t.Helper()
	if testing.Short() {
		t.Skip("starts redis-server; not with -short")
	}
	if _, err := exec.LookPath("redis-server"); err != nil {
		t.Skip("redis-server is not installed")
	}
}

// startReplica starts a replica that follows the primary at addr, perhaps through
// a proxy.
func startReplica(t testing.TB, addr string) *redisServer {
	t.Helper()
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	s := startServer(t, "--replicaof", host+" "+port)
	await(t, "the replica follows", func() bool {
		return field(s.admin.Info(t.Context(), "replication").Val(), "master_link_status") == "up"
	})
	primary := redis.NewClient(&redis.Options{Addr: addr, Protocol: 2, DisableIdentity: true})
	defer primary.Close()
	await(t, "the primary knows that", func() bool {
		return strings.Contains(primary.Info(t.Context(), "replication").Val(), "state=online")
	})
	return s
}

// members is a Redis Cluster: primaries, then as many replicas or none, the first
// of the first primary and so on.
type members []*redisServer

func (m members) addrs() string {
	var list []string
	for _, s := range m {
		list = append(list, s.addr)
	}
	return strings.Join(list, ",")
}

const clusterPrimaries = 3

// launchCluster starts a cluster of three primaries.
func launchCluster(dir string, replicas bool) (m members, err error) {
	ctx := context.Background()
	defer func() {
		if err != nil {
			m.stop()
			m = nil
		}
	}()
	n := clusterPrimaries
	if replicas {
		n *= 2
	}
	for range n {
		s, err := launch(dir, "--cluster-enabled", "yes", "--cluster-node-timeout", "30000", "--cluster-require-full-coverage", "no")
		if err != nil {
			return m, err
		}
		m = append(m, s)
	}
	do := func(s *redisServer, args ...any) {
		if e := s.admin.Do(ctx, args...).Err(); e != nil && err == nil {
			err = fmt.Errorf("%v: %w", args, e)
		}
	}
	const slots = 16384
	for i, s := range m {
		do(s, "CLUSTER", "SET-CONFIG-EPOCH", i+1)
		if i < clusterPrimaries {
			do(s, "CLUSTER", "ADDSLOTSRANGE", i*slots/clusterPrimaries, (i+1)*slots/clusterPrimaries-1)
		}
		if i > 0 {
			host, port := s.hostPort()
			do(m[0], "CLUSTER", "MEET", host, port, s.busPort)
		}
	}
	if err != nil {
		return m, err
	}
	all := func(what string, ask func(s *redisServer) bool) error {
		return until(what, func() (bool, error) {
			return !slices.ContainsFunc(m, func(s *redisServer) bool { return !ask(s) }), nil
		})
	}
	if err := all("the members of the cluster know one another", func(s *redisServer) bool {
		return field(s.admin.ClusterInfo(ctx).Val(), "cluster_known_nodes") == strconv.Itoa(n)
	}); err != nil {
		return m, err
	}
	for i, s := range m[clusterPrimaries:] {
		do(s, "CLUSTER", "REPLICATE", m[i].id(ctx))
	}
	if err != nil {
		return m, err
	}
	return m, all("the cluster is whole", func(s *redisServer) bool {
		info := s.admin.ClusterInfo(ctx).Val()
		following := s.admin.Info(ctx, "replication").Val()
		ranges := s.slots(ctx)
		for _, r := range ranges {
			if len(r.Nodes) != n/clusterPrimaries {
				return false
			}
		}
		return field(info, "cluster_state") == "ok" && len(ranges) == clusterPrimaries &&
			(field(following, "role") == "master" || field(following, "master_link_status") == "up")
	})
}

func (m members) stop() {
	for _, s := range m {
		s.stop()
	}
}

// slots tells who of the cluster has which, as the client library asks it.
func (s *redisServer) slots(ctx context.Context) []redis.ClusterSlot {
	return s.admin.ClusterSlots(ctx).Val() //nolint:staticcheck // CLUSTER SHARDS does not tell what is announced to clients
}

func (s *redisServer) id(ctx context.Context) string { return s.admin.ClusterMyID(ctx).Val() }

// startCluster starts a cluster that ends with the test.
func startCluster(t testing.TB, replicas bool) members {
	t.Helper()
	needServer(t)
	m, err := launchCluster(t.TempDir(), replicas)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(m.stop)
	return m
}

// shared are servers that all tests use, each started by the first that needs it.
var shared struct {
	mu      sync.Mutex
	dir     string
	one     *redisServer
	cluster members
}

// sharedServer returns the address of a redis-server for users of the test's own.
func sharedServer(t testing.TB) string {
	if addr := os.Getenv("WEIR_TEST_REDIS"); addr != "" {
		return addr
	}
	needServer(t)
	shared.mu.Lock()
	defer shared.mu.Unlock()
	var err error
	if shared.one == nil {
		if shared.one, err = launch(sharedDir(t)); err != nil {
			t.Fatal(err)
		}
	}
	return shared.one.addr
}

// sharedCluster returns the addresses of a Redis Cluster for users of the test's
// own, joined by commas.
func sharedCluster(t testing.TB) string { return sharedMembers(t).addrs() }

// sharedMembers returns the cluster itself. Whoever changes it changes it back.
func sharedMembers(t testing.TB) members {
	needServer(t)
	shared.mu.Lock()
	defer shared.mu.Unlock()
	var err error
	if shared.cluster == nil {
		if shared.cluster, err = launchCluster(sharedDir(t), false); err != nil {
			t.Fatal(err)
		}
	}
	return shared.cluster
}

func sharedDir(t testing.TB) string {
	if shared.dir == "" {
		dir, err := os.MkdirTemp("", "weir-push")
		if err != nil {
			t.Fatal(err)
		}
		shared.dir = dir
	}
	return shared.dir
}

// stopShared ends what was started for all.
func stopShared() {
	shared.cluster.stop()
	if shared.one != nil {
		shared.one.stop()
	}
	if shared.dir != "" {
		_ = os.RemoveAll(shared.dir) // the next run takes another
	}
}

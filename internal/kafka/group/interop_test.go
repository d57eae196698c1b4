package group

import (
	"bufio"
	"context"
	"io"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"
)

// A franz-go member in the same group, in both parts: it leads and we follow,
// then we lead and it follows.
func TestWithFranz(t *testing.T) {
	for name, balancer := range map[string]kgo.GroupBalancer{ranged: kgo.RangeBalancer(), sticky: kgo.StickyBalancer()} {
		t.Run(name, func(t *testing.T) {
			c := setup(t)
			franz := func() (has func(n int32), leave func()) {
				var parts atomic.Int32
				cl := c.franz(kgo.ConsumeTopics(c.topic), kgo.ConsumerGroup(c.group), kgo.Balancers(balancer), kgo.HeartbeatInterval(c.options().Heartbeat),
					kgo.OnPartitionsAssigned(func(_ context.Context, _ *kgo.Client, m map[string][]int32) { parts.Store(int32(len(m[c.topic]))) }))
				done := make(chan struct{})
				go func() {
					defer close(done)
					for closed := false; !closed; {
						closed = cl.PollFetches(context.Background()).IsClientClosed()
					}
				}()
				leave = func() {
					cl.Close()
					<-done
				}
				t.Cleanup(leave)
				return func(n int32) {
					t.Helper()
					c.eventually("franz-go to have "+strconv.Itoa(int(n))+" partitions", func() bool { return parts.Load() == n })
				}, leave
			}
			has, leave := franz()
			has(six)
			w := c.run(c.options())
			if g := w.with(3); g.Assignor != name || g.Leader {
				t.Errorf("we join a group that uses %s: assignor %s, leader %v", name, g.Assignor, g.Leader)
			}
			has(3)
			leave()
			w.with(six)
			has, leave = franz()
			if g := w.with(3); g.Assignor != name || !g.Leader {
				t.Errorf("franz-go joins ours: assignor %s, leader %v", g.Assignor, g.Leader)
			}
			has(3)
			w.close()
			has(six)
			leave()
		})
	}
}

// process is a consumer of another make, which says on its output what it got.
func (c *cluster) process(name string, args ...string) (lines <-chan string, end func()) {
	c.t.Helper()
	cmd := exec.Command(name, args...)
	r, w := io.Pipe()
	cmd.Stdout, cmd.Stderr = w, w
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // it may be a script: the signal is for what it runs
	if err := cmd.Start(); err != nil {
		c.t.Fatal(err)
	}
	out := make(chan string, 1000)
	read := make(chan struct{})
	go func() {
		defer close(read)
		for s := bufio.NewScanner(r); s.Scan(); {
			select {
			case out <- s.Text():
			default: // nobody wants that much
			}
		}
	}()
	var once atomic.Bool
	end = func() {
		if !once.CompareAndSwap(false, true) {
			return
		}
		_ = syscall.Kill(-cmd.Process.Pid, syscall.SIGTERM) // fails if it has ended
		_ = cmd.Wait()                                      // its exit code tells of the signal
		w.Close()
		<-read
	}
	c.t.Cleanup(end)
	return out, end
}

// A member of librdkafka's in the same group.
func TestWithLibrdkafka(t *testing.T) {
	kcat, err := exec.LookPath("kcat")
	if err != nil {
		t.Skip("kcat is not installed (Debian: apt-get install kcat)")
	}
	c := setup(t)
	w := c.run(c.options())
	w.with(six)
	lines, end := c.process(kcat, "-b", strings.Join(c.addrs, ","), "-X", "partition.assignment.strategy=range", "-X", "heartbeat.interval.ms=200", "-G", c.group, c.topic)
	g := w.with(3)
	if g.Assignor != ranged {
		t.Errorf("assignor %s", g.Assignor)
	}
	for line := range lines {
		if strings.Contains(line, "assigned:") {
			if n := strings.Count(line, "["); n != 3 {
				t.Errorf("kcat says %q, want 3 partitions", line)
			}
			break
		}
	}
	end()
	w.with(six)
	w.close()
}

// A member of Java's in the same group: it joins ours, and gets what is written to
// its share of the partitions.
func TestWithJava(t *testing.T) {
	ctl := os.Getenv("KAFKACTL")
	if os.Getenv("WEIR_TEST_KAFKA") == "" || ctl == "" {
		t.Skip("needs a real broker, WEIR_TEST_KAFKA, and KAFKACTL, the path of scripts/kafka/kafkactl")
	}
	c := setup(t)
	w := c.run(c.options())
	w.with(six)
	lines, end := c.process(ctl, "run", "org.apache.kafka.tools.consumer.ConsoleConsumer", "--bootstrap-server", strings.Join(c.addrs, ","),
		"--topic", c.topic, "--group", c.group, "--property", "print.partition=true")
	g := w.with(3)
	if g.Assignor != ranged || !g.Leader {
		t.Errorf("assignor %s, leader %v", g.Assignor, g.Leader)
	}
	// Java begins with the latest message: what is written again and again it will see.
	ours := make(map[int32]bool)
	for _, p := range g.Partitions {
		ours[p.ID] = true
	}
	producer := c.franz(kgo.RecordPartitioner(kgo.ManualPartitioner()))
	got := make(map[int]bool)
	c.eventually("Java to read its three partitions", func() bool {
		var rs []*kgo.Record
		for p := range int32(six) {
			rs = append(rs, &kgo.Record{Topic: c.topic, Partition: p, Value: []byte("to " + strconv.Itoa(int(p)))})
		}
		if err := producer.ProduceSync(c.context(), rs...).FirstErr(); err != nil {
			t.Fatal(err)
		}
		for {
			select {
			case line := <-lines:
				if _, value, ok := strings.Cut(line, "to "); ok {
					if p, err := strconv.Atoi(value); err == nil {
						got[p] = true
					}
				}
				continue
			default:
			}
			return len(got) >= 3
		}
	})
	for p := range got {
		if ours[int32(p)] {
			t.Errorf("Java got partition %d, which is ours", p)
		}
	}
	end()
	w.with(six)
	w.close()
}

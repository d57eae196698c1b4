package checkup

import (
	"context"
	"errors"
	"math"
	"os"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kfake"
)

// sick is a checkup of a machine that a test makes up.
func sick(t *testing.T) *checkup {
	t.Helper()
	c := &checkup{cfg: fakeWorld(t, kfake.NumBrokers(1)).cfg, now: time.Now, machine: machine{
		files:  func() (uint64, bool) { return 65536, true },
		volume: func(string) (volume, error) { return volume{kind: "ext4", free: 90 << 30, total: 100 << 30}, nil },
		flushes: func(context.Context, string) ([]time.Duration, error) {
			return slices.Repeat([]time.Duration{time.Millisecond}, flushCount), nil
		},
		root: t.TempDir(), memory: func() int64 { return math.MaxInt64 },
	}}
	c.cfg.Evidence.Dir = t.TempDir()
	return c
}

// What is wrong with the disk of the evidence is told: its kind, its room, its speed.
func TestEvidenceDisk(t *testing.T) {
	slow := func(p50, p99 time.Duration) func(context.Context, string) ([]time.Duration, error) {
		return func(context.Context, string) ([]time.Duration, error) {
			list := slices.Repeat([]time.Duration{p50}, flushCount)
			for i := range 3 {
				list[i*7] = p99
			}
			return list, nil
		}
	}
	on := func(v volume) func(string) (volume, error) { return func(string) (volume, error) { return v, nil } }
	for _, test := range []struct {
		name string
		sick func(*checkup)
		want []string
	}{
		{"all is well", func(*checkup) {}, []string{"ok ext4, 90.0 GiB free of 100.0 GiB ->", "ok 200 flushes of 4096 bytes took 1ms in the middle, 1ms at p99 ->"}},
		{"in memory", func(c *checkup) { c.volume = on(volume{"tmpfs", 90, 100}) }, []string{"warning lies in memory (tmpfs): a restart of the machine loses all evidence", "put evidence.dir on a disk"}},
		{"in a container's layer", func(c *checkup) { c.volume = on(volume{"overlayfs", 90 << 30, 100 << 30}) }, []string{"warning lies in the writable layer of a container", "mount a volume at evidence.dir"}},
		{"elsewhere", func(c *checkup) { c.volume = on(volume{"nfs", 90 << 30, 100 << 30}) }, []string{"warning lies on another machine or behind a program (nfs)"}},
		{"unknown", func(c *checkup) { c.volume = func(string) (volume, error) { return volume{}, errors.New("no idea") } }, []string{"unknown its file system does not tell about itself: no idea", "ok 200 flushes"}},
		{"nearly full", func(c *checkup) { c.volume = on(volume{"xfs", 5 << 30, 100 << 30}) }, []string{"warning xfs, 5.0 GiB free of 100.0 GiB, less than 10 % -> make room"}},
		{"full", func(c *checkup) { c.volume = on(volume{"xfs", 100 << 20, 100 << 30}) }, []string{"error xfs, 100.0 MiB free of 100.0 GiB, less than twice evidence.ballast_bytes: records about people are refused"}},
		{"tail", func(c *checkup) { c.flushes = slow(time.Millisecond, 40*time.Millisecond) }, []string{"warning 200 flushes of 4096 bytes took 1ms in the middle, 40ms at p99, more than 10ms -> use a local SSD"}},
		{"slow", func(c *checkup) { c.flushes = slow(150*time.Millisecond, time.Second) }, []string{"warning 200 flushes of 4096 bytes took 150ms in the middle, 1s at p99, more than 100ms: every message that is flagged waits for one"}},
		{"not ours", func(c *checkup) {
			c.flushes = func(context.Context, string) ([]time.Duration, error) { return nil, os.ErrPermission }
		}, []string{"error cannot be written to: permission denied -> give the user that Weir runs as the right to write there"}},
		{"grows", func(c *checkup) {
			c.volume = on(volume{"ext4", 20 << 20, 100 << 20})
			c.cfg.Evidence.BallastBytes = 0
			for name, size := range map[string]int64{"seg": 15 << 20, "ballast": 1 << 30} {
				f, err := os.Create(filepath.Join(c.cfg.Evidence.Dir, name))
				if err == nil {
					err = errors.Join(f.Truncate(size), f.Close())
				}
				if err != nil {
					panic(err)
				}
			}
		}, []string{"warning ext4, 20.0 MiB free of 100.0 MiB; 15.0 MiB were written in the last week, so there is room for 9 days -> make room"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := sick(t)
			test.sick(c)
			c.evidence(t.Context())
			wants(t, of(&c.Report, "evidence", ""), test.want...)
			if test.name == "all is well" && c.Count(Warning)+c.Count(Error) > 0 {
				t.Errorf("%+v", c.Findings)
			}
		})
	}
}

// Really flushing leaves nothing behind, and needs no directory that is yet to be made.
func TestFlushes(t *testing.T) {
	dir := t.TempDir()
	place, err := existing(filepath.Join(dir, "a", "b"))
	if err != nil || place != dir {
		t.Fatalf("%q, %v, want %q", place, err, dir)
	}
	took, err := flushes(t.Context(), dir)
	if err != nil || len(took) == 0 || len(took) > flushCount {
		t.Fatalf("%d flushes, %v", len(took), err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("left behind: %v, %v", left, err)
	}
}

// Limits of the machine that are too low are told, in both versions of control groups.
func TestLimits(t *testing.T) {
	for _, test := range []struct {
		name  string
		files map[string]string // below the root
		open  uint64
		goal  int64
		want  []string
	}{
		{"none", nil, 65536, math.MaxInt64, []string{"ok a process may have 65536 files open", "ok no limit of a control group"}},
		{"few files", nil, 256, math.MaxInt64, []string{"warning a process may have 256 files open, connections among them -> allow 1024 at least"}},
		{"no limit set", map[string]string{"proc/self/cgroup": "0::/a/b\n", "sys/fs/cgroup/a/b/memory.max": "max\n"}, 65536, math.MaxInt64, []string{"ok no limit of a control group"}},
		{"GOMEMLIMIT not set", map[string]string{"proc/self/cgroup": "0::/a/b\n", "sys/fs/cgroup/a/memory.max": "1073741824\n", "sys/fs/cgroup/a/b/memory.max": "max\n"}, 65536, math.MaxInt64,
			[]string{"warning the control group has 1.0 GiB, and GOMEMLIMIT is not set: the kernel may kill the process before memory is collected -> set GOMEMLIMIT to nine tenths of it: GOMEMLIMIT=921MiB"}},
		{"GOMEMLIMIT too high", map[string]string{"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": "1073741824\n"}, 65536, 2 << 30,
			[]string{"warning the control group has 1.0 GiB, and GOMEMLIMIT is 2.0 GiB"}},
		{"as it should be", map[string]string{"proc/self/cgroup": "0::/\n", "sys/fs/cgroup/memory.max": "1073741824\n"}, 65536, 900 << 20,
			[]string{"ok the control group has 1.0 GiB, GOMEMLIMIT is 900.0 MiB"}},
		{"version 1", map[string]string{"proc/self/cgroup": "5:cpu,cpuacct:/x\n4:memory:/x\n", "sys/fs/cgroup/memory/x/memory.limit_in_bytes": "134217728\n"}, 65536, 100 << 20,
			[]string{"warning the control group has 128.0 MiB: little for rules"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			c := sick(t)
			for name, text := range test.files {
				name = filepath.Join(c.root, name)
				if err := errors.Join(os.MkdirAll(filepath.Dir(name), 0o700), os.WriteFile(name, []byte(text), 0o600)); err != nil {
					t.Fatal(err)
				}
			}
			c.files = func() (uint64, bool) { return test.open, true }
			c.memory = func() int64 { return test.goal }
			c.limits()
			wants(t, of(&c.Report, "machine", ""), test.want...)
		})
	}
}

// What Redis must not do is an error, with what would be right; what it may, a warning.
func TestRedis(t *testing.T) {
	w := fakeWorld(t, kfake.NumBrokers(1))
	w.eviction = "allkeys-lru"
	r := w.run(Options{})
	wants(t, of(&r, "redis", ""), "error redis at ", " throws records away when memory is short (maxmemory-policy allkeys-lru), which would lift caps and lose consent without a trace -> set maxmemory-policy noeviction")
	w.cfg.Push.Redis.AcceptEviction = true
	r = w.run(Options{})
	wants(t, of(&r, "redis", ""), "warning redis at ", " may throw records away when memory is short", "ok ")
}

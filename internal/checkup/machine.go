package checkup

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"math"
	"os"
	"path/filepath"
	"runtime/debug"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/weir-moderation/weir/internal/disk"
)

// machine is where Weir runs. Tests put another in its place.
type machine struct {
	files   func() (limit uint64, ok bool)         // how many files this process may have open
	volume  func(dir string) (v volume, err error) // on which dir lies
	flushes func(ctx context.Context, dir string) ([]time.Duration, error)
	root    string // of /proc and /sys
	memory  func() int64
}

// volume is a mounted file system.
type volume struct {
	kind        string // such as ext4; empty if it is not known
	free, total uint64
}

func thisMachine() machine {
	return machine{files: openFiles, volume: volumeOf, flushes: flushes, root: "/",
		memory: func() int64 { return debug.SetMemoryLimit(-1) }}
}

// Thresholds of the disk. Messages wait for one fdatasync of the evidence before anybody
// hears of them; etcd, which waits for its disk in the same way, asks for a 99th
// percentile below 10 ms (its FAQ; docs/operations.md, "Everything that is wrong, at once").
const (
	flushSlow = 10 * time.Millisecond
	flushStop = 100 * time.Millisecond

	flushCount = 200
	flushBytes = 4096
	flushLimit = 3 * time.Second // of all of them
)

// Thresholds of room.
const (
	scarceShare = 10 // per cent that should be free
	scarceWeeks = 2  // for which there should be room
)

// evidence looks at the disk of the evidence.
func (c *checkup) evidence(ctx context.Context) {
	if c.cfg.Evidence.Postgres.On() {
		c.say(Unknown, "evidence", "", "is kept in PostgreSQL, which is not looked at; weir run says what is wrong with it", "")
	}
	dir, err := existing(c.cfg.Evidence.Dir)
	if err != nil {
		c.say(Error, "evidence", c.cfg.Evidence.Dir, err.Error(), "name a directory that can be written to (evidence.dir)")
		return
	}
	v, err := c.volume(dir)
	switch {
	case err != nil:
		c.say(Unknown, "evidence", dir, "its file system does not tell about itself: "+err.Error(), "")
	default:
		c.kind(dir, v)
		c.room(dir, v)
	}
	c.speed(ctx, dir)
}

// existing returns dir, or where it will be made the nearest folder that there is.
func existing(dir string) (string, error) {
	for {
		fi, err := os.Stat(dir)
		switch {
		case err == nil && fi.IsDir():
			return dir, nil
		case err == nil:
			return "", fmt.Errorf("%s is not a directory", dir)
		case !errors.Is(err, fs.ErrNotExist) || filepath.Dir(dir) == dir:
			return "", err
		}
		dir = filepath.Dir(dir)
	}
}

// kind says what is known of a kind of file system.
func (c *checkup) kind(dir string, v volume) {
	switch v.kind {
	case "tmpfs", "ramfs":
		c.say(Warning, "evidence", dir, "lies in memory ("+v.kind+"): a restart of the machine loses all evidence, and with it the proof that nothing was lost", "put evidence.dir on a disk")
	case "overlayfs":
		c.say(Warning, "evidence", dir, "lies in the writable layer of a container (overlayfs), which ends with it", "mount a volume at evidence.dir")
	case "nfs", "cifs", "fuse":
		c.say(Warning, "evidence", dir, "lies on another machine or behind a program ("+v.kind+"): whether a flush is durable, and a lock holds, is theirs to say", "put evidence.dir on a disk of this machine, or use evidence.postgres")
	}
}

// room says whether there is room, and for how long by what was written lately.
func (c *checkup) room(dir string, v volume) {
	grown, weeks := c.grown(dir), math.Inf(1)
	words := fmt.Sprintf("%s free of %s", bytesOf(v.free), bytesOf(v.total))
	if v.kind != "" {
		words = v.kind + ", " + words
	}
	if grown > 0 {
		words += fmt.Sprintf("; %s were written in the last week", bytesOf(grown))
		if weeks = float64(v.free) / float64(grown); weeks < 520 {
			words += fmt.Sprintf(", so there is room for %s", span(time.Duration(weeks*float64(growthTime))))
		}
	}
	least := uint64(max(0, c.cfg.Evidence.BallastBytes*2))
	const remedy = "make room: enlarge the volume, move other things off it, destroy what is past its time (docs/operations.md, \"The disk of the evidence is full\")"
	switch {
	case v.free < least:
		c.say(Error, "evidence", dir, fmt.Sprintf("%s, less than twice evidence.ballast_bytes: records about people are refused", words), remedy)
	case weeks < scarceWeeks:
		c.say(Warning, "evidence", dir, words, remedy)
	case v.free < v.total/100*scarceShare:
		c.say(Warning, "evidence", dir, fmt.Sprintf("%s, less than %d %%", words, scarceShare), remedy)
	default:
		c.say(OK, "evidence", dir, words, "")
	}
}

// growthTime is over which time growth is looked at.
const growthTime = 7 * 24 * time.Hour

// grown is how much was written below the evidence directory within a week, but for the
// ballast, by the times of its files.
func (c *checkup) grown(dir string) uint64 {
	if dir != c.cfg.Evidence.Dir {
		return 0 // it is yet to be made
	}
	var sum uint64
	since := c.now().Add(-growthTime)
	// What cannot be read is left out: this is an estimate.
	_ = filepath.WalkDir(dir, func(_ string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() || e.Name() == "ballast" {
			return nil //nolint:nilerr // see above
		}
		if fi, err := e.Info(); err == nil && fi.Mode().IsRegular() && fi.ModTime().After(since) {
			sum += uint64(fi.Size())
		}
		return nil
	})
	return sum
}

// speed measures how long the disk takes to keep something.
func (c *checkup) speed(ctx context.Context, dir string) {
	took, err := c.flushes(ctx, dir)
	if err != nil {
		c.say(Error, "evidence", dir, "cannot be written to: "+err.Error(), "give the user that Weir runs as the right to write there, or name another directory (evidence.dir)")
		return
	}
	slices.Sort(took)
	p50, p99 := took[len(took)/2], took[len(took)*99/100]
	words := fmt.Sprintf("%d flushes of %d bytes took %s in the middle, %s at p99", len(took), flushBytes, short(p50), short(p99))
	const remedy = "use a local SSD that keeps its cache over a loss of power; see docs/operations.md, \"Evidence is slow\""
	switch {
	case p50 > flushStop:
		c.say(Warning, "evidence", dir, fmt.Sprintf("%s, more than %v: every message that is flagged waits for one", words, flushStop), remedy)
	case p99 > flushSlow:
		c.say(Warning, "evidence", dir, fmt.Sprintf("%s, more than %v", words, flushSlow), remedy)
	default:
		c.say(OK, "evidence", dir, words, "")
	}
}

// flushes appends to a file in dir and flushes it, as the evidence log does, again and again.
// If the process dies meanwhile the file stays; its name says whose it is.
func flushes(ctx context.Context, dir string) (took []time.Duration, err error) {
	f, err := os.CreateTemp(dir, ".weir-check-*")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, f.Close(), os.Remove(f.Name())) }()
	block := bytes.Repeat([]byte("weir"), flushBytes/4)
	for began := time.Now(); len(took) < flushCount && ctx.Err() == nil; {
		at := time.Now()
		if _, err := f.Write(block); err != nil {
			return nil, err
		}
		if err := disk.Datasync(f); err != nil {
			return nil, err
		}
		took = append(took, time.Since(at))
		if time.Since(began) > flushLimit {
			break
		}
	}
	if len(took) == 0 {
		return nil, ctx.Err()
	}
	return took, nil
}

// leastFiles is how many files a process should be able to have open: connections and
// evidence take some hundreds (docs/operations.md, "Open files").
const leastFiles = 1024

// leastMemory is what a process with a small rule set needs under load, twice over.
const leastMemory = 256 << 20

// limits looks at what the machine lets a process have. They are those of the process that
// looks; the daemon's may be others.
func (c *checkup) limits() {
	if n, ok := c.files(); ok && n < leastFiles {
		c.say(Warning, "machine", "files", fmt.Sprintf("a process may have %d files open, connections among them", n), fmt.Sprintf("allow %d at least: ulimit -n, or LimitNOFILE of the unit", leastFiles))
	} else if ok {
		c.say(OK, "machine", "files", fmt.Sprintf("a process may have %d files open", n), "")
	}
	most, ok := c.cgroup()
	if !ok {
		c.say(OK, "machine", "memory", "no limit of a control group", "")
		return
	}
	goal := c.memory()
	unset := goal <= 0 || goal >= 1<<62
	ninetenths := fmt.Sprintf("set GOMEMLIMIT to nine tenths of it: GOMEMLIMIT=%dMiB", most/10*9>>20)
	switch {
	case most < leastMemory:
		c.say(Warning, "machine", "memory", fmt.Sprintf("the control group has %s: little for rules, batches in hand, and twice the rules while they change", bytesOf(uint64(most))), fmt.Sprintf("allow %s or more", bytesOf(leastMemory)))
	case unset:
		c.say(Warning, "machine", "memory", fmt.Sprintf("the control group has %s, and GOMEMLIMIT is not set: the kernel may kill the process before memory is collected", bytesOf(uint64(most))), ninetenths)
	case goal > most/100*95:
		c.say(Warning, "machine", "memory", fmt.Sprintf("the control group has %s, and GOMEMLIMIT is %s", bytesOf(uint64(most)), bytesOf(uint64(goal))), ninetenths)
	default:
		c.say(OK, "machine", "memory", fmt.Sprintf("the control group has %s, GOMEMLIMIT is %s", bytesOf(uint64(most)), bytesOf(uint64(goal))), "")
	}
}

// cgroup returns the memory that the control group of this process has, of all above it
// the least, and false if none has a limit.
func (m *machine) cgroup() (most int64, ok bool) {
	text, err := os.ReadFile(filepath.Join(m.root, "proc/self/cgroup"))
	if err != nil {
		return 0, false // another system
	}
	for line := range strings.Lines(string(text)) {
		parts := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(parts) != 3 {
			continue
		}
		base, file := filepath.Join(m.root, "sys/fs/cgroup"), "memory.max"
		switch {
		case parts[0] == "0" && parts[1] == "": // version 2
		case slices.Contains(strings.Split(parts[1], ","), "memory"):
			base, file = filepath.Join(base, "memory"), "memory.limit_in_bytes"
		default:
			continue
		}
		for dir := filepath.Clean("/" + parts[2]); ; dir = filepath.Dir(dir) {
			if b, err := os.ReadFile(filepath.Join(base, dir, file)); err == nil {
				n, err := strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64)
				if err == nil && n < 1<<60 && (!ok || n < most) { // else "max", or what stands for it
					most, ok = n, true
				}
			}
			if dir == "/" {
				break
			}
		}
	}
	return most, ok
}

// bytesOf is an amount of bytes for people.
func bytesOf(n uint64) string {
	units := []string{"bytes", "KiB", "MiB", "GiB", "TiB"}
	x, i := float64(n), 0
	for x >= 1024 && i < len(units)-1 {
		x, i = x/1024, i+1
	}
	if i == 0 {
		return fmt.Sprintf("%d bytes", n)
	}
	return fmt.Sprintf("%.1f %s", x, units[i])
}

// short is a duration for people, in two digits or so.
func short(d time.Duration) string {
	return cmp.Or(map[bool]string{true: d.Round(10 * time.Microsecond).String()}[d < 10*time.Millisecond], d.Round(time.Millisecond).String())
}

package chaos

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// quota lets a member use so much of a core and no more from now on, until its life
// ends: it is stopped whenever it has used more than its share so far. That needs no rights and no
// control groups, and a member knows as little of it as of a slow machine.
//
// The pauses are short: a share of a tenth is 10 ms in 100.
func (m *member) quota(share float64) error {
	process := m.cmd.Process
	used, err := cpuOf(process.Pid)
	if err != nil {
		return err
	}
	go func() {
		const every = 10 * time.Millisecond
		tick := time.NewTicker(every)
		defer tick.Stop()
		stopped := false
		began := time.Now()
		for range tick.C {
			now, err := cpuOf(process.Pid)
			if err != nil {
				return // it has ended
			}
			// What was not used is not saved up for more than a moment.
			mine := time.Duration(float64(time.Since(began)) * share)
			if mine-(now-used) > 5*every {
				began, used, mine = time.Now(), now, 0
			}
			over := now-used > mine
			if over == stopped {
				continue
			}
			signal := syscall.SIGCONT
			if over {
				signal = syscall.SIGSTOP
			}
			if err := process.Signal(signal); err != nil {
				return
			}
			stopped = over
		}
	}()
	return nil
}

// cpuOf returns the CPU time that a process has used.
func cpuOf(pid int) (time.Duration, error) {
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0, err
	}
	// The name of the program, in brackets, may hold anything.
	_, rest, ok := bytes.Cut(text, []byte(") "))
	fields := strings.Fields(string(rest))
	if !ok || len(fields) < 13 || fields[0] == "Z" {
		return 0, errors.New("not a process that runs")
	}
	var ticks int64
	for _, f := range fields[11:13] { // in user and in kernel mode, in hundredths of a second
		n, err := strconv.ParseInt(f, 10, 64)
		if err != nil {
			return 0, err
		}
		ticks += n
	}
	return time.Duration(ticks) * 10 * time.Millisecond, nil
}

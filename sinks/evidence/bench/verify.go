package main

import (
	"fmt"
	"io/fs"
	"path/filepath"
	"time"

	"github.com/weir-moderation/weir/sinks/evidence"
	"github.com/weir-moderation/weir/sinks/evidence/keys"
)

// measureVerify verifies one log without its keys and with them, and weighs it.
func measureVerify(o options) error {
	fmt.Printf("\n## Verification of %d records of 1 KB, and their weight\n\n", o.records)
	fmt.Println("| records of | chain, s | every body opened, s | CPU us a record | bytes on disk a record | of them in keys/ |")
	fmt.Println("|---|---|---|---|---|---|")
	for _, s := range stores()[:2] {
		if err := verify(o, &s); err != nil {
			return fmt.Errorf("%s: %w", s.name, err)
		}
	}
	return nil
}

func verify(o options, s *store) error {
	dir, remove, err := o.tempDir()
	if err != nil {
		return err
	}
	defer remove()
	add, closeStore, err := s.open(dir, 1, 1000)
	if err != nil {
		return err
	}
	for n := 0; n < o.records; n += 1000 {
		if err := add(min(1000, o.records-n)); err != nil {
			return err
		}
	}
	if err := closeStore(); err != nil {
		return err
	}
	log := filepath.Join(dir, "evidence")
	var chain, whole, costs []float64
	for range o.rounds {
		begin := time.Now()
		if err := check(log, nil, o.records); err != nil {
			return err
		}
		chain = append(chain, time.Since(begin).Seconds())
		begin, used := time.Now(), cpu()
		// Opened anew: what it remembers of another run is no help.
		ring, err := keys.Open(filepath.Join(log, "keys"), keys.Options{ReadOnly: true})
		if err != nil {
			return err
		}
		if err := check(log, ring, 0); err != nil {
			return err
		}
		if err := ring.Close(); err != nil {
			return err
		}
		whole = append(whole, time.Since(begin).Seconds())
		costs = append(costs, float64(cpu()-used)/float64(time.Microsecond)/float64(o.records))
	}
	all, err := weigh(log)
	if err != nil {
		return err
	}
	inKeys, err := weigh(filepath.Join(log, "keys"))
	if err != nil {
		return err
	}
	n := float64(o.records)
	fmt.Printf("| %s | %s | %s | %s | %.0f | %.1f |\n", s.name, spread(chain, "%.2f"), spread(whole, "%.2f"), spread(costs, "%.1f"), float64(all)/n, float64(inKeys)/n)
	return nil
}

// check fails unless the log verifies and so many of its bodies stay closed.
func check(dir string, ring *keys.Ring, closed int) error {
	r, err := evidence.Verify(dir, evidence.VerifyOptions{Keys: ring})
	switch {
	case err != nil:
		return err
	case !r.OK():
		return fmt.Errorf("it does not verify: %v", r.Findings[0])
	case r.Closed != int64(closed):
		return fmt.Errorf("%d bodies were not opened, %d were to be", r.Closed, closed)
	}
	return nil
}

// weigh returns the bytes of all files below dir.
func weigh(dir string) (sum int64, err error) {
	err = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		fi, err := d.Info()
		sum += fi.Size()
		return err
	})
	return sum, err
}

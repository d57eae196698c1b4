package main

import (
	"errors"
	"fmt"
	"sync"
	"time"
)

// batch is the records that arrive together in the open loop.
const batch = 200

// measureOpenLoop appends at a fixed rate, whether or not those before were served:
// a wait counts from when the batch was due.
func measureOpenLoop(o options) error {
	fmt.Printf("\n## Durable append, open loop, %d records a second in batches of %d, 10 s a round\n\n", o.rate, batch)
	fmt.Println("| store | p50, ms | p99, ms | longest, ms | CPU us a record |")
	fmt.Println("|---|---|---|---|---|")
	for _, s := range stores()[:3] {
		var p50, p99, longest, costs []float64
		for range o.rounds {
			r, err := openLoop(o, &s, 10*time.Second)
			if err != nil {
				return fmt.Errorf("%s: %w", s.name, err)
			}
			p50, p99 = append(p50, quantile(r.waits, 0.5)), append(p99, quantile(r.waits, 0.99))
			longest, costs = append(longest, quantile(r.waits, 1)), append(costs, r.cost())
		}
		fmt.Printf("| %s | %s | %s | %s | %s |\n", s.name, spread(p50, "%.1f"), spread(p99, "%.1f"), spread(longest, "%.0f"), spread(costs, "%.1f"))
	}
	return nil
}

func openLoop(o options, s *store, long time.Duration) (r result, err error) {
	dir, remove, err := o.tempDir()
	if err != nil {
		return r, err
	}
	defer remove()
	add, closeStore, err := s.open(dir, 1, batch)
	if err != nil {
		return r, err
	}
	if err := add(batch); err != nil {
		return r, err
	}
	var wg sync.WaitGroup
	var mu sync.Mutex
	every := time.Second * batch / time.Duration(o.rate)
	begin, used := time.Now(), cpu()
	for due := begin; due.Sub(begin) < long; due = due.Add(every) {
		time.Sleep(time.Until(due))
		wg.Go(func() {
			failed := add(batch)
			wait := time.Since(due)
			mu.Lock()
			defer mu.Unlock()
			r.waits = append(r.waits, wait)
			err = errors.Join(err, failed)
		})
	}
	wg.Wait()
	r.took, r.cpu = time.Since(begin), cpu()-used
	r.records = len(r.waits) * batch
	return r, errors.Join(err, closeStore())
}

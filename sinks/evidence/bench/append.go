package main

import (
	"errors"
	"fmt"
	"sync"
	"time"
)

// result is what one turn of a store came to.
type result struct {
	records int
	took    time.Duration
	cpu     time.Duration
	waits   []time.Duration // of the calls
}

func (r *result) rate() float64 { return float64(r.records) / r.took.Seconds() }
func (r *result) cost() float64 {
	return float64(r.cpu) / float64(time.Microsecond) / float64(max(1, r.records))
}

// measureAppend appends in closed loops: each caller comes again when it was served.
func measureAppend(o options) error {
	fmt.Println("\n## Durable append, closed loop, bodies of 1 KB")
	for _, load := range []struct{ callers, records int }{{4, 500}, {64, 1}} {
		fmt.Printf("\n%d callers x %d records, %d rounds of %v\n\n", load.callers, load.records, o.rounds, o.turn)
		fmt.Println("| store | records/s | x of Tessera, of the same round | CPU us a record | p50, p99 of a call, ms |")
		fmt.Println("|---|---|---|---|---|")
		all := stores()
		results := make([][]result, len(all))
		for range o.rounds {
			for i := range all {
				r, err := closedLoop(o, &all[i], load.callers, load.records)
				if err != nil {
					return fmt.Errorf("%s: %w", all[i].name, err)
				}
				results[i] = append(results[i], r)
			}
		}
		const tessera = 3
		for i := range all {
			var rates, ratios, costs, p50, p99 []float64
			for round, r := range results[i] {
				rates = append(rates, r.rate())
				ratios = append(ratios, r.rate()/results[tessera][round].rate())
				costs = append(costs, r.cost())
				p50 = append(p50, quantile(r.waits, 0.5))
				p99 = append(p99, quantile(r.waits, 0.99))
			}
			fmt.Printf("| %s | %s | %s | %s | %.2f, %.2f |\n", all[i].name, spread(rates, "%.0f"), spread(ratios, "%.2f"), spread(costs, "%.1f"), median(p50), median(p99))
		}
	}
	return nil
}

func closedLoop(o options, s *store, callers, records int) (r result, err error) {
	dir, remove, err := o.tempDir()
	if err != nil {
		return r, err
	}
	defer remove()
	add, closeStore, err := s.open(dir, callers, records)
	if err != nil {
		return r, err
	}
	// The first calls make files and fill caches.
	if err := add(records); err != nil {
		return r, err
	}
	var wg sync.WaitGroup
	var mu sync.Mutex
	begin, used := time.Now(), cpu()
	for range callers {
		wg.Go(func() {
			var waits []time.Duration
			var failed error
			for failed == nil && time.Since(begin) < o.turn {
				t := time.Now()
				failed = add(records)
				waits = append(waits, time.Since(t))
			}
			mu.Lock()
			defer mu.Unlock()
			r.waits = append(r.waits, waits...)
			err = errors.Join(err, failed)
		})
	}
	wg.Wait()
	r.took, r.cpu = time.Since(begin), cpu()-used
	r.records = len(r.waits) * records
	return r, errors.Join(err, closeStore())
}

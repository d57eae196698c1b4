package app

import (
	"context"
	"errors"
	"fmt"
)

// stopStack stops components in the reverse of the order they were made in.
type stopStack []stopper

type stopper struct {
	name string
	stop func(context.Context) error
}

func (s *stopStack) push(name string, stop func(context.Context) error) {
	*s = append(*s, stopper{name, stop})
}

// run stops everything, whatever fails meanwhile.
func (s *stopStack) run(ctx context.Context) error {
	var errs []error
	for i := len(*s) - 1; i >= 0; i-- {
		if err := (*s)[i].stop(ctx); err != nil {
			errs = append(errs, fmt.Errorf("stop %s: %w", (*s)[i].name, err))
		}
	}
	*s = nil
	return errors.Join(errs...)
}

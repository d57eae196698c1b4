package rules

import (
	"errors"
	"fmt"
	"time"
)

// Breaker says when a live rule hits so much that it loses its action.
type Breaker struct {
	// Enabled turns it on.
	Enabled bool `yaml:"enabled"`
	// Share of the events a rule is asked about: one that hits no more keeps its action.
	Share Share `yaml:"share"`
	// MinHits is how many events it must hit at least.
	MinHits int `yaml:"min_hits"`
	// Factor is how many times as much as it used to a rule must hit that is known.
	Factor float64 `yaml:"factor"`
	// Window is how long is counted before it is decided; longer where few events come.
	Window time.Duration `yaml:"window"`
}

// DefaultBreaker returns the breaker where the configuration says nothing.
func DefaultBreaker() Breaker {
	return Breaker{Enabled: true, Share: Percent, MinHits: 200, Factor: 10, Window: time.Minute}
}

// validate says what is wrong with the settings, all at once.
func (b *Breaker) validate() error {
	var errs []error
	if b.Share <= 0 || b.Share >= 100*Percent {
		errs = append(errs, fmt.Errorf("breaker.share: %s is none or all; give more than 0%% and less than 100%%, or enabled: false to turn it off", b.Share))
	}
	if b.MinHits < 10 || b.MinHits > 1_000_000 {
		errs = append(errs, fmt.Errorf("breaker.min_hits: %d is out of range; choose from 10 to 1000000, or enabled: false to turn it off", b.MinHits))
	}
	if b.Factor < 2 || b.Factor > 1000 {
		errs = append(errs, fmt.Errorf("breaker.factor: %v is out of range; choose from 2 to 1000: how many times as much as it used to a rule must hit", b.Factor))
	}
	if b.Window < time.Second || b.Window > time.Hour {
		errs = append(errs, fmt.Errorf("breaker.window: %s is out of range; choose from 1s to 1h", b.Window))
	}
	return errors.Join(errs...)
}

package keys

import (
	"errors"
	"testing"
	"time"
)

// Keys are put aside by their handles as they are by their subject, and it may be done again.
func TestRestrictHandles(t *testing.T) {
	now := time.Date(2026, 3, 10, 0, 0, 0, 0, time.UTC)
	r, err := Open(t.TempDir()+"/keys", Options{Now: func() time.Time { return now }})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	ks, err := r.Keys("content", []string{"u1", "u2"})
	if err != nil {
		t.Fatal(err)
	}
	for range 2 {
		if err := r.RestrictHandles([]Handle{ks[0].Handle}, now.AddDate(0, 1, 0)); err != nil {
			t.Fatal(err)
		}
		if _, err := r.Open("content", ks[0].Handle); !errors.Is(err, ErrRestricted) {
			t.Errorf("a key that was put aside: %v", err)
		}
		if _, err := r.OpenRestricted("content", ks[0].Handle); err != nil {
			t.Error(err)
		}
		if _, err := r.Open("content", ks[1].Handle); err != nil {
			t.Errorf("another key: %v", err)
		}
	}
	if due, err := r.Due(); len(due) > 0 || err != nil {
		t.Errorf("due are %v, %v", due, err)
	}
	now = now.AddDate(0, 1, 1)
	if due, err := r.Due(); len(due) != 1 || due[0] != ks[0].Handle || err != nil {
		t.Errorf("due are %v, %v", due, err)
	}
	// None is no mistake, nor is one that is gone.
	if _, err := r.ShredHandles([]Handle{ks[0].Handle}); err != nil {
		t.Fatal(err)
	}
	for _, h := range [][]Handle{nil, {ks[0].Handle}} {
		if err := r.RestrictHandles(h, now); err != nil {
			t.Error(err)
		}
	}
	if _, err := r.OpenRestricted("content", ks[0].Handle); !errors.Is(err, ErrErased) {
		t.Errorf("a key that was shredded: %v", err)
	}
}

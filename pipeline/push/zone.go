package push

import (
	"fmt"
	"sync"
	"time"

	_ "time/tzdata" // zones of users must be known on a machine without a zone database, and in an image without files
)

// maxZones bounds the cache below. There are some 600 names of zones.
const maxZones = 2048

// zones remembers time zones by name, unknown ones too: looking for a zone that
// does not exist reads files.
type zones struct {
	mu    sync.RWMutex
	known map[string]*time.Location // nil for a name that is no zone
}

// find returns the zone of that name, nil if there is none.
func (z *zones) find(name string) *time.Location {
	z.mu.RLock()
	loc, ok := z.known[name]
	z.mu.RUnlock()
	if ok {
		return loc
	}
	loc, err := loadZone(name)
	if err != nil {
		loc = nil
	}
	z.mu.Lock()
	defer z.mu.Unlock()
	// When the cache is full somebody is making up names; those wait for the disk.
	if len(z.known) < maxZones {
		if z.known == nil {
			z.known = make(map[string]*time.Location)
		}
		z.known[name] = loc
	}
	return loc
}

func loadZone(name string) (*time.Location, error) {
	if name == "" || name == "Local" {
		// The zone of this machine says nothing about a user.
		return nil, fmt.Errorf("%q is no time zone", name)
	}
	return time.LoadLocation(name)
}

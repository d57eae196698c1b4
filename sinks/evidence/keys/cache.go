package keys

import "maps"

// cache holds the values used most lately: at least half of limit, at most limit.
// What is asked for moves to the young half; when that is full it becomes the old
// one, and what was old then is forgotten. It is not locked.
type cache[K comparable, V any] struct {
	limit      int
	young, old map[K]V
}

// get looks into the young half only and changes nothing, so many may do it at once.
func (c *cache[K, V]) get(k K) (V, bool) {
	v, ok := c.young[k]
	return v, ok
}

// take is get that also looks into the old half.
func (c *cache[K, V]) take(k K) (V, bool) {
	if v, ok := c.young[k]; ok {
		return v, true
	}
	v, ok := c.old[k]
	if ok {
		delete(c.old, k)
		c.put(k, v)
	}
	return v, ok
}

func (c *cache[K, V]) put(k K, v V) {
	if len(c.young) >= max(1, c.limit/2) {
		c.old, c.young = c.young, nil
	}
	if c.young == nil {
		c.young = make(map[K]V)
	}
	c.young[k] = v
}

func (c *cache[K, V]) drop(k K) {
	delete(c.young, k)
	delete(c.old, k)
}

// dropFunc drops what fn is true for.
func (c *cache[K, V]) dropFunc(fn func(K, V) bool) {
	maps.DeleteFunc(c.young, fn)
	maps.DeleteFunc(c.old, fn)
}

func (c *cache[K, V]) clear() { c.young, c.old = nil, nil }

func (c *cache[K, V]) len() int { return len(c.young) + len(c.old) }

package policy

import (
	"hash/maphash"
	"sync/atomic"
)

// slots remembers some results by their keys: as many as it has slots, two for each hash. What finds no place takes that of another, so
// that callers who make up names can neither fill memory nor shut others out for longer than their next request. It is safe for
// concurrent use, and reading it allocates and locks nothing.
type slots[K comparable, V any] struct {
	seed  maphash.Seed
	table []atomic.Pointer[slot[K, V]]
}

type slot[K comparable, V any] struct {
	key   K
	value V
}

// newSlots returns a memory of n results, a power of two.
func newSlots[K comparable, V any](n int) *slots[K, V] {
	return &slots[K, V]{maphash.MakeSeed(), make([]atomic.Pointer[slot[K, V]], n)}
}

// places returns the two slots of a key.
func (s *slots[K, V]) places(key K) (first, second *atomic.Pointer[slot[K, V]]) {
	h := maphash.Comparable(s.seed, key)
	at := int(h) & (len(s.table) - 1)
	return &s.table[at], &s.table[at^1]
}

func (s *slots[K, V]) get(key K) (V, bool) {
	first, second := s.places(key)
	if e := first.Load(); e != nil && e.key == key {
		return e.value, true
	}
	if e := second.Load(); e != nil && e.key == key {
		return e.value, true
	}
	var zero V
	return zero, false
}

// put remembers a result. The one in the first slot moves to the second.
func (s *slots[K, V]) put(key K, value V) {
	first, second := s.places(key)
	if old := first.Swap(&slot[K, V]{key, value}); old != nil && old.key != key {
		second.Store(old)
	}
}

package agent

import (
	"maps"
	"sync"
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
)

// others is the value of the labels that are no longer told apart.
const others = "other"

// maxQuick bounds the children that are found without a lock.
const maxQuick = 512

// counters are the children of a counter by what they count. There are at most so many; what comes beyond is counted by a child that rest
// names, of which there must be few. It is safe for concurrent use.
type counters[K comparable] struct {
	vec    *prometheus.CounterVec
	labels func(K) []string
	rest   func(K) K
	most   int

	quick atomic.Pointer[map[K]prometheus.Counter] // never changed once stored

	mu  sync.Mutex
	all map[K]prometheus.Counter // those in quick too
}

func newCounters[K comparable](vec *prometheus.CounterVec, most int, labels func(K) []string, rest func(K) K) *counters[K] {
	c := &counters[K]{vec: vec, labels: labels, rest: rest, most: most, all: map[K]prometheus.Counter{}}
	c.quick.Store(&map[K]prometheus.Counter{})
	return c
}

// newStrings returns counters by one label, of a set that is small by its nature.
func newStrings(vec *prometheus.CounterVec) *counters[string] {
	const most = 64
	return newCounters(vec, most, func(s string) []string { return []string{s} }, func(string) string { return others })
}

// newPairs returns counters by two labels. What comes beyond keeps the second one.
func newPairs(vec *prometheus.CounterVec) *counters[[2]string] {
	const most = 4_000
	return newCounters(vec, most, func(k [2]string) []string { return k[:] }, func(k [2]string) [2]string { return [2]string{others, k[1]} })
}

// of returns the counter of k. It does not allocate for those that came first.
func (c *counters[K]) of(k K) prometheus.Counter {
	if found, ok := (*c.quick.Load())[k]; ok {
		return found
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	if found, ok := c.all[k]; ok {
		return found
	}
	if len(c.all) >= c.most {
		return c.vec.WithLabelValues(c.labels(c.rest(k))...)
	}
	made := c.vec.WithLabelValues(c.labels(k)...)
	c.all[k] = made
	if len(c.all) <= maxQuick {
		next := maps.Clone(*c.quick.Load())
		next[k] = made
		c.quick.Store(&next)
	}
	return made
}

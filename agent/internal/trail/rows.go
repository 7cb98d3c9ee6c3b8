package trail

import (
	"encoding/binary"
	"fmt"
	"sync"
)

// The bounds of an answer.
const (
	MaxRows     = 1_000_000
	maxRowBytes = 256 << 20 // of names
)

// ErrTooMany means that an answer would have more rows than there may be. An answer is whole or there is none.
var ErrTooMany = fmt.Errorf("more than %d different answers, or %d MiB of them: ask for less, with --since, --decision allow, or a pattern of --subject or --model", MaxRows, maxRowBytes>>20)

// rows numbers the rows of an answer. It is safe for concurrent use.
type rows struct {
	by    []Dimension
	limit int

	mu     sync.Mutex
	number map[string]int32
	keys   []string
	bytes  int
}

func newRows(by []Dimension, limit int) *rows {
	return &rows{by: by, limit: limit, number: map[string]int32{}}
}

// intern returns the number of a key.
func (r *rows) intern(key []byte) (number int32, kept string, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if n, ok := r.number[string(key)]; ok {
		return n, r.keys[n], nil
	}
	if len(r.keys) >= r.limit || r.bytes+len(key) > maxRowBytes {
		return 0, "", ErrTooMany
	}
	n := int32(len(r.keys))
	kept = string(key)
	r.number[kept], r.keys, r.bytes = n, append(r.keys, kept), r.bytes+len(key)
	return n, kept, nil
}

// names returns what a key was made of.
func (r *rows) names(key string) []string {
	names := make([]string, len(r.by))
	for i := range names {
		n, size := binary.Uvarint([]byte(key[:min(len(key), binary.MaxVarintLen64)]))
		names[i], key = key[size:size+int(n)], key[size+int(n):]
	}
	return names
}

// maxCached is how many rows a worker knows without asking the others.
const maxCached = 1 << 16

// rowCache is what one worker knows of the rows already.
type rowCache struct {
	all    *rows
	number map[string]int32
	key    []byte
	name   []byte
}

func newRowCache(all *rows) *rowCache { return &rowCache{all: all, number: map[string]int32{}} }

// row returns the number of the row that a line belongs to.
func (c *rowCache) row(l *line) (int32, error) {
	c.key = c.key[:0]
	for _, d := range c.all.by {
		c.name = appendDimension(c.name[:0], l, d)
		c.key = append(binary.AppendUvarint(c.key, uint64(len(c.name))), c.name...)
	}
	if n, ok := c.number[string(c.key)]; ok {
		return n, nil
	}
	n, kept, err := c.all.intern(c.key)
	if err != nil {
		return 0, err
	}
	if len(c.number) < maxCached {
		c.number[kept] = n
	}
	return n, nil
}

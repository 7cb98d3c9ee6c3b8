package spoe

import "sync/atomic"

// chunk is what one or more reads of a connection brought, and the NOTIFYs in
// it, which share its memory. A handler may have handed out any part of that
// memory, so that it cannot be moved: whoever wants to write over it looks
// whether it is pinned, and takes another chunk where it is. A chunk that is
// given up that way is the garbage collector's once the last reply is there.
type chunk struct {
	buf     []byte
	scratch *scratch     // nil until it is wanted
	pins    atomic.Int64 // calls of the handler without a reply
}

// pinned reports whether somebody may still read the chunk. Once it is false
// for the reading goroutine it stays so, because nobody else pins.
func (c *chunk) pinned() bool { return c.pins.Load() > 0 }

// decode decodes the payload of a NOTIFY in the chunk.
func (c *chunk) decode(payload []byte, pool *scratchPool) ([]Message, error) {
	if c.scratch == nil {
		c.scratch = pool.get()
	}
	return c.scratch.decode(payload)
}

// forget makes the memory of the NOTIFYs in the chunk free again. It must not
// be pinned.
func (c *chunk) forget(pool *scratchPool) {
	if c.scratch != nil {
		pool.put(c.scratch)
		c.scratch = nil
	}
}

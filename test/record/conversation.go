package main

import (
	"bytes"
	"fmt"
	"sync"
)

// Marks of what a line of a recording holds.
const (
	fromHAProxy = '>'
	fromAgent   = '<'
	instead     = '!' // what HAProxy got in place of the agent's bytes before
)

// entry is what one read brought, or the end of a direction.
type entry struct {
	mark byte
	data []byte // nil at the end
}

// conversation is what was said on one connection, in the order in which the tap heard it. It is safe for concurrent use.
type conversation struct {
	mu      sync.Mutex
	entries []entry
	open    int // directions that have not ended
}

func newConversation() *conversation { return &conversation{open: 2} }

// note adds an entry, and keeps a copy of data. It is called before the bytes go on, so that no answer stands before its question.
func (c *conversation) note(mark byte, data []byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.entries = append(c.entries, entry{mark, bytes.Clone(data)})
}

// end notes that a side has closed, unless the other has before: what follows from that is the tap's doing.
func (c *conversation) end(mark byte) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.open == 2 {
		c.entries = append(c.entries, entry{mark: mark})
	}
	c.open--
}

func (c *conversation) ended() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.open == 0
}

// said returns all the bytes of one side.
func (c *conversation) said(mark byte) []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	var all []byte
	for _, e := range c.entries {
		if e.mark == mark {
			all = append(all, e.data...)
		}
	}
	return all
}

// isHealthcheck reports whether this is one of the connections by which HAProxy sees that the agent is up.
func (c *conversation) isHealthcheck() bool {
	return bytes.Contains(c.said(fromHAProxy), []byte("\x0bhealthcheck"))
}

// String is a summary.
func (c *conversation) String() string {
	return fmt.Sprintf("%6d bytes of HAProxy, %6d of the agent", len(c.said(fromHAProxy)), len(c.said(fromAgent)))
}

// perLine is how many bytes a line of a recording shows.
const perLine = 32

// text returns the conversation as a file.
func (c *conversation) text(haproxy string, sc scenario) []byte {
	c.mu.Lock()
	defer c.mu.Unlock()
	var b bytes.Buffer
	fmt.Fprintf(&b, "# %s\nhaproxy %s\npipelining %s\n", sc.about, haproxy, sc.pipelining)
	for _, e := range c.entries {
		if e.data == nil {
			fmt.Fprintf(&b, "%c close\n", e.mark)
			continue
		}
		lead := fmt.Sprintf("%c ", e.mark)
		for data := e.data; len(data) > 0; lead = "  " {
			n := min(len(data), perLine)
			fmt.Fprintf(&b, "%s%x\n", lead, data[:n])
			data = data[n:]
		}
	}
	return b.Bytes()
}

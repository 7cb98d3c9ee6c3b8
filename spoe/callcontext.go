package spoe

import (
	"context"
	"errors"
	"sync"
	"time"
)

// callContext is the context of a call. Most calls are answered before anybody
// asks for the end of their context, and one of package context costs a timer
// and more memory than all the rest of a call: this one makes it only when it
// is asked for. It ends with its parent, at its deadline, or by cancel.
type callContext struct {
	parent   context.Context
	deadline time.Time

	mu     sync.Mutex
	err    error           // the end, if it was noticed before full was wanted
	full   context.Context // nil until it is wanted
	cancel context.CancelFunc
}

// Deadline implements [context.Context].
func (c *callContext) Deadline() (time.Time, bool) { return c.deadline, true }

// Done implements [context.Context].
func (c *callContext) Done() <-chan struct{} { return c.materialize().Done() }

// Value implements [context.Context]. It also gives package context, which asks
// for a key of its own, the way to link children without a goroutine.
func (c *callContext) Value(key any) any { return c.materialize().Value(key) }

// Err implements [context.Context].
func (c *callContext) Err() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.full != nil {
		return c.full.Err()
	}
	if c.err == nil {
		c.err = c.parent.Err()
	}
	if c.err == nil && !time.Now().Before(c.deadline) {
		c.err = context.DeadlineExceeded
	}
	return c.err
}

// end ends the context, unless it has ended.
func (c *callContext) end() {
	c.mu.Lock()
	cancel := c.cancel
	if cancel == nil && c.err == nil {
		c.err = context.Canceled
	}
	c.mu.Unlock()
	if cancel != nil {
		cancel()
	}
}

// materialize returns the context that c stands for.
func (c *callContext) materialize() context.Context {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.full != nil {
		return c.full
	}
	switch {
	case c.err == nil:
		c.full, c.cancel = context.WithDeadline(c.parent, c.deadline)
	case errors.Is(c.err, context.DeadlineExceeded): // and so it has passed
		c.full, c.cancel = context.WithDeadline(context.Background(), c.deadline)
	default:
		c.full, c.cancel = context.WithCancel(context.Background())
		c.cancel()
	}
	return c.full
}

package spoe

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"
)

// call is one NOTIFY from its arrival to its reply. It is used once only: a
// reply that comes twice must never answer the NOTIFY of somebody else.
type call struct {
	conn    *conn
	notify  Notify
	chunk   *chunk // which the notify shares the memory of
	ctx     callContext
	counted bool // it has a place in the limits

	answered   atomic.Bool
	superseded atomic.Bool
}

// reply is the call's Reply.
func (c *call) reply(actions []Action) error {
	if !c.answered.CompareAndSwap(false, true) {
		return ErrAnswered
	}
	idle, err := c.conn.answer(c, actions)
	c.unpin()
	c.conn.done(c, idle)
	return err
}

// unpin ends the life of the notify's memory.
func (c *call) unpin() {
	chunk := c.chunk
	c.forget()
	chunk.pins.Add(-1)
}

// forget lets go of the notify's memory, which the answer must not keep while it
// waits to be written. What is kept of the notify in spite of its reply shall
// not look like a question.
func (c *call) forget() { c.notify.messages, c.chunk = nil, nil }

// supersede ends c: HAProxy has given it up.
func (c *call) supersede() {
	c.superseded.Store(true)
	c.ctx.end()
}

// dead reports whether nothing may be written for c any more, and why.
func (c *call) dead(now time.Time) (Reason, bool) {
	switch {
	case c.superseded.Load():
		return ReasonSuperseded, true
	case !now.Before(c.ctx.deadline):
		return ReasonLate, true
	}
	return "", false
}

// takeNotify decodes a NOTIFY and hands it on.
func (c *conn) takeNotify(ctx context.Context, h header, payload []byte) error {
	chunk := c.in.chunk
	if !chunk.pinned() {
		chunk.scratch.reset()
	}
	messages, err := chunk.decode(payload, &c.srv.scratches)
	if err != nil {
		return invalid("NOTIFY: %w", err)
	}
	c.notify(&call{
		conn:   c,
		notify: Notify{streamID: h.streamID, frameID: h.frameID, engineID: c.agreed.engineID, messages: messages},
		chunk:  chunk,
		ctx:    callContext{parent: ctx, deadline: c.in.at.Add(c.srv.cfg.Timeout)},
	})
	c.out.relieve()
	return nil
}

// notify hands a NOTIFY to the handler or, beyond a limit, answers it at once.
func (c *conn) notify(call *call) {
	c.supersede()
	if !c.agreed.pipelining {
		c.latest = call
	}
	if r := c.acquire(); r != "" {
		c.srv.cfg.Hooks.error(r)
		c.refuse(call)
		call.forget()
		return
	}
	call.counted = true
	c.lastDeadline = call.ctx.deadline
	c.handle(call)
}

// handle calls the handler. Where that panics, the memory of its NOTIFY stays
// pinned for good: another goroutine may have it.
func (c *conn) handle(call *call) {
	defer func() {
		if p := recover(); p != nil {
			c.srv.cfg.Hooks.error(ReasonHandlerPanic)
			logPanic(c.log, "handler panicked", ReasonHandlerPanic, p)
			c.refuse(call)
		}
	}()
	call.chunk.pins.Add(1)
	c.srv.cfg.Handler.ServeSPOE(&call.ctx, &call.notify, call.reply)
}

// refuse answers a call with Overload, unless it is answered.
func (c *conn) refuse(call *call) {
	if call.answered.CompareAndSwap(false, true) {
		c.done(call, c.answerOverload(call))
	}
}

// acquire takes a place in the limits, or returns the one that is full.
func (c *conn) acquire() Reason {
	if c.inFlight.Load() >= int64(c.srv.cfg.MaxInFlightPerConn) {
		return ReasonConnInFlightLimit
	}
	if c.srv.inFlight.Add(1) > int64(c.srv.cfg.MaxInFlight) {
		c.srv.inFlight.Add(-1)
		return ReasonInFlightLimit
	}
	c.inFlight.Add(1)
	c.srv.cfg.Hooks.inFlight(1)
	return ""
}

func (c *conn) release() {
	c.inFlight.Add(-1)
	c.srv.inFlight.Add(-1)
	c.srv.cfg.Hooks.inFlight(-1)
}

// answer queues the ACK for c and, in its place, the answer of Overload where
// actions cannot be encoded. It reports whether nobody is about to write it.
func (c *conn) answer(call *call, actions []Action) (idle bool, err error) {
	idle, err = c.out.answer(call, actions, c.maxAck())
	if err == nil {
		c.srv.cfg.Hooks.frame("ACK")
		return idle, nil
	}
	var bad *unencodable
	if errors.As(err, &bad) {
		call.notify.mark.set = false // whose answer this was, its reply says
		c.srv.cfg.Hooks.error(bad.reason)
		c.log.Error("answer cannot be encoded", "reason", bad.reason, "cause", bad.cause)
		return c.answerOverload(call), fmt.Errorf("%w: %w", ErrUndelivered, bad)
	}
	var w withheld
	if errors.As(err, &w) {
		c.srv.cfg.Hooks.error(Reason(w))
	}
	return false, err
}

// answerOverload queues Overload's answer for a call that is answered, and
// reports whether nobody is about to write it.
func (c *conn) answerOverload(call *call) (idle bool) {
	actions, ok := c.overload(&call.notify)
	if !ok {
		return false
	}
	idle, err := c.out.answer(call, actions, c.maxAck())
	var w withheld
	switch {
	case err == nil:
		c.srv.cfg.Hooks.frame("ACK")
	case errors.As(err, &w):
		c.srv.cfg.Hooks.error(Reason(w))
	default:
		c.srv.cfg.Hooks.error(ReasonUnanswerable)
		c.log.Error("overload answer cannot be encoded", "reason", ReasonUnanswerable, "cause", err)
	}
	return idle
}

// overload asks Overload, and reports false where it panics.
func (c *conn) overload(n *Notify) (actions []Action, ok bool) {
	defer func() {
		if p := recover(); p != nil {
			c.srv.cfg.Hooks.error(ReasonUnanswerable)
			logPanic(c.log, "overload panicked", ReasonUnanswerable, p)
		}
	}()
	return c.srv.cfg.Overload(n), true
}

// done ends a call that has been answered, and writes if nobody else is about
// to.
func (c *conn) done(call *call, idle bool) {
	call.ctx.end()
	if call.counted {
		c.release()
	}
	c.srv.cfg.Hooks.notify(call.arrived())
	if idle {
		c.out.flushNow()
	}
	if c.srv.draining.Load() && c.inFlight.Load() == 0 {
		c.in.wake()
	}
}

// arrived returns when the read returned that brought c.
func (c *call) arrived() time.Time { return c.ctx.deadline.Add(-c.conn.srv.cfg.Timeout) }

// withheld counts an ACK that was dropped after its reply, and tells whose it
// was; without a call it counts a connection that was lost.
func (s *Server) withheld(r Reason, c *call) {
	s.cfg.Hooks.error(r)
	if c == nil || !c.notify.mark.set || s.cfg.Withheld == nil {
		return
	}
	s.cfg.Withheld(c.notify.mark.text(), c.notify.mark.number)
}

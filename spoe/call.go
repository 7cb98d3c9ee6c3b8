package spoe

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"
)

// call is one NOTIFY from its arrival to its reply.
type call struct {
	conn     *conn
	notify   *Notify
	cancel   context.CancelFunc
	arrived  time.Time
	deadline time.Time
	counted  bool // it has a place in the limits

	answered   atomic.Bool
	superseded atomic.Bool
}

// reply is the call's Reply.
func (c *call) reply(actions []Action) error {
	if !c.answered.CompareAndSwap(false, true) {
		return ErrAnswered
	}
	err := c.conn.answer(c, actions)
	c.conn.done(c)
	return err
}

// supersede ends c: HAProxy has given it up.
func (c *call) supersede() {
	c.superseded.Store(true)
	c.cancel()
}

// dead reports whether nothing may be written for c any more, and why.
func (c *call) dead(now time.Time) (Reason, bool) {
	switch {
	case c.superseded.Load():
		return ReasonSuperseded, true
	case !now.Before(c.deadline):
		return ReasonLate, true
	}
	return "", false
}

// answer queues the ACK for c and, in its place, the answer of Overload where
// actions cannot be encoded.
func (c *conn) answer(call *call, actions []Action) error {
	err := c.out.answer(call, actions, c.maxAck())
	var bad *unencodable
	if errors.As(err, &bad) {
		c.srv.cfg.Hooks.error(bad.reason)
		c.log.Error("answer cannot be encoded", "reason", bad.reason, "cause", bad.cause)
		c.answerOverload(call)
		return fmt.Errorf("%w: %w", ErrUndelivered, bad)
	}
	var w withheld
	if errors.As(err, &w) {
		c.srv.cfg.Hooks.error(Reason(w))
		return err
	}
	c.srv.cfg.Hooks.frame("ACK")
	return nil
}

// answerOverload queues Overload's answer for a call that is answered.
func (c *conn) answerOverload(call *call) {
	actions, ok := c.overload(call.notify)
	if !ok {
		return
	}
	err := c.out.answer(call, actions, c.maxAck())
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
}

// overload asks Overload, and reports false where it panics.
func (c *conn) overload(n *Notify) (actions []Action, ok bool) {
	defer func() {
		if p := recover(); p != nil {
			c.srv.cfg.Hooks.error(ReasonUnanswerable)
			c.logPanic("overload panicked", ReasonUnanswerable, p)
		}
	}()
	return c.srv.cfg.Overload(n), true
}

// done ends a call that has been answered, and writes unless the reader is
// about to.
func (c *conn) done(call *call) {
	call.cancel()
	if call.counted {
		c.release()
	}
	c.srv.cfg.Hooks.notify(time.Since(call.arrived))
	c.out.flush()
	if c.srv.draining.Load() && c.inFlight.Load() == 0 {
		c.in.wake()
	}
}

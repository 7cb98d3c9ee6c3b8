package spoe

import (
	"fmt"
	"log/slog"
	"runtime"
	"runtime/debug"
	"time"
)

// contain keeps the panics of Hooks and Withheld inside them. They are called in
// the middle of things, under a lock or on the goroutine of a handler, and what
// they do decides nothing: such a panic is logged and counted, and no more.
func (c *Config) contain() {
	h, log := c.Hooks, c.Log
	caught := func() {
		if p := recover(); p != nil {
			defer func() { _ = recover() }() // of the one that counts it
			logPanic(log, "hook panicked", ReasonServerPanic, p)
			h.error(ReasonServerPanic)
		}
	}
	c.Hooks = Hooks{
		Connection: contained(h.Connection, caught),
		Frame:      contained(h.Frame, caught),
		Error:      contained(h.Error, caught),
		Notify:     contained(h.Notify, caught),
		InFlight:   contained(h.InFlight, caught),
	}
	if withheld := c.Withheld; withheld != nil {
		c.Withheld = func(text string, number int64) {
			defer caught()
			withheld(text, number)
		}
	}
}

// contained returns f with caught deferred, or nil where it is nil.
func contained[T int | string | time.Duration](f func(T), caught func()) func(T) {
	if f == nil {
		return nil
	}
	return func(v T) {
		defer caught()
		f(v)
	}
}

// logPanic logs a panic without its text, which might quote a secret, unless it
// is the runtime's own.
func logPanic(log *slog.Logger, message string, r Reason, p any) {
	text := fmt.Sprintf("%T", p)
	if e, ok := p.(runtime.Error); ok {
		text = e.Error()
	}
	log.Error(message, "reason", r, "panic", text, "stack", string(debug.Stack()))
}

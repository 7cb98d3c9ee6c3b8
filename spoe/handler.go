package spoe

import (
	"context"
	"errors"
)

// Handler answers NOTIFYs.
//
// ServeSPOE is called on the goroutine that reads the connection, so it must
// not block: what is slow leaves for another goroutine and replies later. It,
// or whoever it hands over to, calls reply exactly once; n is valid until then.
// Calls of different connections run at the same time.
//
// ctx ends at the NOTIFY's deadline, when the connection dies, when a newer
// NOTIFY on a connection without pipelining supersedes this one, and when
// reply has been called.
//
// A panic of ServeSPOE is answered with [Config.Overload], unless reply was
// called before, and logged. Panics on other goroutines are not caught.
type Handler interface {
	ServeSPOE(ctx context.Context, n *Notify, reply Reply)
}

// HandlerFunc is a function that is a [Handler].
type HandlerFunc func(ctx context.Context, n *Notify, reply Reply)

// ServeSPOE calls f.
func (f HandlerFunc) ServeSPOE(ctx context.Context, n *Notify, reply Reply) { f(ctx, n, reply) }

// Reply answers one NOTIFY with its actions, of which there must be at least
// one. They are encoded before it returns; the caller keeps the slice. Reply is
// safe from any goroutine. On the reading goroutine it does no I/O; elsewhere
// it writes to the connection, with its answer what others have ready, as far as
// there is room at once. It never waits for HAProxy: where it had to, and always
// where the connection is no plain socket, another goroutine writes.
//
// It returns nil when the ACK was handed to the connection's writer; the writer
// still drops it if the deadline passes or a newer NOTIFY supersedes it before
// it can be written. It returns an error that is [ErrUndelivered] when these
// actions will not reach HAProxy: the deadline has passed, a newer NOTIFY has
// superseded this one, the connection is gone, or the actions cannot be encoded,
// in which case HAProxy got the answer of [Config.Overload].
//
// A second call is a programmer error: it changes nothing on the wire and
// returns [ErrAnswered].
type Reply func(actions []Action) error

// Errors of a [Reply] and of [Server.Serve].
var (
	ErrUndelivered  = errors.New("spoe: answer withheld")
	ErrAnswered     = errors.New("spoe: answered already")
	ErrServerClosed = errors.New("spoe: server closed")
)

package spoe

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"os"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/negasus/haproxy-spoe-go/frame"
)

const (
	helloTimeout  = 5 * time.Second        // from accept to a complete HELLO
	frameTimeout  = 5 * time.Second        // from the first byte of a frame to its last
	drainQuiet    = 200 * time.Millisecond // from the last byte of a draining connection to its end
	drainStep     = 10 * time.Millisecond  // from HAProxy's close of a draining connection to the end of another
	lingerTimeout = 500 * time.Millisecond // from our last byte to the peer's close
	maxHello      = 4 << 10                // bytes of a HELLO; HAProxy's has about 150
	maxReads      = 64                     // before a NOTIFY is answered that others are queued behind
)

// Ends of a connection that are no fault.
var (
	errDrained     = errors.New("drained")
	errDisconnect  = errors.New("haproxy disconnects")
	errHealthcheck = errors.New("health check done")
)

// conn is one connection of HAProxy.
type conn struct {
	srv *Server
	nc  net.Conn
	in  *intake
	out *outbox
	log *slog.Logger

	agreed   agreement
	inFlight atomic.Int64
	born     time.Time
	greeted  atomic.Bool  // a HELLO has come
	waiting  atomic.Int64 // since when for the next frame, in ns since 1970; 0 before the handshake, while frames are handled, and within one

	// For the reading goroutine alone.
	latest       *call // on a connection without pipelining
	lastDeadline time.Time
	last         bool      // a NOTIFY has come since the drain began
	held         time.Time // not to leave before, because of others, or of what waits to be read
	leave        leave
	partialSince time.Time // when the frame began that is incomplete
}

func newConn(s *Server, nc net.Conn) *conn {
	return &conn{
		srv: s,
		nc:  nc,
		in:  newIntake(nc, min(maxHello, s.cfg.MaxFrameSize)),
		out: newOutbox(nc, s.cfg.Timeout, s.withheld),
		log: s.cfg.Log,

		born: time.Now(),
	}
}

// serve reads the connection until its end and closes it.
func (c *conn) serve() {
	ctx, cancel := context.WithCancel(context.Background())
	defer func() {
		if p := recover(); p != nil {
			c.srv.cfg.Hooks.error(ReasonServerPanic)
			logPanic(c.log, "connection panicked", ReasonServerPanic, p)
		}
		cancel()
		_ = c.nc.Close()
		c.out.close()
	}()
	err := c.handshake()
	if err == nil {
		err = c.converse(ctx)
	}
	c.out.seal()
	cancel() // whoever works for this connection works in vain
	c.end(err)
}

// converse reads NOTIFYs and hands them on until the connection ends.
func (c *conn) converse(ctx context.Context) error {
	for {
		c.out.hold()
		notified, err := c.takeBatch(ctx)
		c.out.release()
		if err != nil {
			return err
		}
		if c.srv.draining.Load() && c.drained(notified) {
			return errDrained
		}
		if err := c.fill(); err != nil {
			return err
		}
	}
}

// takeBatch handles what has come, and reports whether a NOTIFY was in it. On a
// connection without pipelining HAProxy waits for the last NOTIFY alone, so that
// what waits behind a NOTIFY is read before anything is answered, as after a
// stop, when many NOTIFYs have gathered that HAProxy has given up.
func (c *conn) takeBatch(ctx context.Context) (bool, error) {
	notified := false
	for reads := 1; ; reads++ {
		notifies, err := c.takeAll(ctx)
		if err == nil && c.in.begun(frame.TypeNotify) {
			c.supersede()
		}
		if notifies > 0 {
			notified = true
			if c.srv.cfg.EndBatch != nil {
				c.srv.cfg.EndBatch()
			}
		}
		if err != nil || !notified || c.agreed.pipelining || reads == maxReads || !c.in.unread() {
			return notified, err
		}
		if err := c.fill(); err != nil {
			return notified, err
		}
	}
}

// takeAll handles every complete frame that has come, and returns how many were
// NOTIFYs.
func (c *conn) takeAll(ctx context.Context) (notifies int, err error) {
	for {
		raw, err := c.in.next()
		if err != nil || raw == nil {
			return notifies, err
		}
		c.partialSince = time.Time{}
		h, payload, err := splitFrame(raw)
		if err != nil {
			return notifies, invalid("%w", err)
		}
		c.srv.cfg.Hooks.frame(frameName(h.kind))
		if h.kind == frame.TypeNotify {
			notifies++
		}
		if err := c.take(ctx, h, raw, payload); err != nil {
			return notifies, err
		}
	}
}

// take handles one frame.
func (c *conn) take(ctx context.Context, h header, raw, payload []byte) error {
	switch h.kind {
	case frame.TypeUnset:
		return &violation{ReasonFragmented, statusFragmentation, nil}
	case frame.TypeNotify:
		if h.flags&flagFin == 0 {
			return &violation{ReasonFragmented, statusFragmentation, nil}
		}
		if h.flags&flagAbort != 0 { // nobody waits for its answer (SPOE.txt section 3.2)
			c.supersede()
			c.srv.cfg.Hooks.error(ReasonSuperseded)
			return nil
		}
		return c.takeNotify(ctx, h, payload)
	case frame.TypeHaproxyDisconnect:
		s, text, err := decodeDisconnect(raw)
		if err != nil {
			return invalid("HAPROXY-DISCONNECT: %w", err)
		}
		c.log.Debug("haproxy disconnects", "status", uint32(s), "message", clip(text))
		return errDisconnect
	case frame.TypeHaproxyHello:
		return invalid("second HELLO")
	}
	return nil // SPOE.txt section 3.2.2: unknown frames may be silently skipped
}

// supersede ends the latest NOTIFY of a connection without pipelining, because
// another one has come.
func (c *conn) supersede() {
	if c.latest != nil {
		c.latest.supersede()
	}
}

// fill reads on. An idle connection may stay so for good, because HAProxy pools
// it; one with a frame begun may not.
func (c *conn) fill() error {
	if !c.in.pinned() {
		c.in.forget(&c.srv.scratches)
	}
	var deadline time.Time
	if c.in.partial() {
		if c.partialSince.IsZero() {
			c.partialSince = c.in.at
		}
		deadline = c.partialSince.Add(frameTimeout)
	}
	draining := c.srv.draining.Load()
	if rest := c.restUntil(); draining && (deadline.IsZero() || rest.Before(deadline)) {
		deadline = rest
	}
	if !c.in.partial() {
		c.waiting.Store(time.Now().UnixNano())
	}
	err := c.in.fill(deadline)
	c.waiting.Store(0)
	switch {
	case errors.Is(err, errWoken), draining && errors.Is(err, os.ErrDeadlineExceeded):
		return nil // converse looks whether the drain is over
	case errors.Is(err, os.ErrDeadlineExceeded):
		return &violation{ReasonFrameTimeout, statusTimeout, nil}
	}
	return err
}

// hurry makes the connection look whether a drain has to wait for it. Without a
// HELLO it has a moment left: one that has just been accepted is about to be
// used. It may be called from any goroutine.
func (c *conn) hurry() {
	if c.greeted.Load() {
		c.in.wake()
	} else {
		c.in.wakeAt(time.Now().Add(drainQuiet))
	}
}

// drained reports whether a draining connection may end, given whether NOTIFYs
// have just come. The best moment is after an answer: HAProxy sees it together
// with the end. A connection that was in use a moment ago and is closed while
// HAProxy thinks it idle may cost a NOTIFY that is under way.
func (c *conn) drained(notified bool) bool {
	c.last = c.last || notified
	now := time.Now()
	how := leavesIdle
	if now.Before(c.restUntil()) {
		if how = leavesUsed; !c.last || c.inFlight.Load() > 0 {
			return false
		}
	}
	if c.in.waits() || !c.srv.leaves.may(how, now) {
		c.held = now.Add(drainStep)
		return false
	}
	c.leave = how
	return true
}

// restUntil returns when a draining connection has nothing left to wait for.
func (c *conn) restUntil() time.Time {
	rest := c.in.at.Add(drainQuiet)
	if c.inFlight.Load() > 0 && c.lastDeadline.After(rest) {
		rest = c.lastDeadline
	}
	if c.held.After(rest) {
		return c.held
	}
	return rest
}

// maxAck returns the longest ACK, without its length prefix.
func (c *conn) maxAck() int {
	return min(int(c.agreed.maxFrameSize)-1, maxWrite-lenPrefix)
}

// end takes leave as the cause of the end wants it.
func (c *conn) end(cause error) {
	var v *violation
	switch {
	case errors.As(cause, &v):
		c.srv.cfg.Hooks.error(v.reason)
		if v.reason == ReasonNotSPOP || v.reason == ReasonHelloTimeout {
			c.log.Debug("connection refused", "reason", v.reason, "cause", v.Error())
			return
		}
		c.log.Warn("connection ended by a fault of the peer", "reason", v.reason, "cause", v.Error())
		c.disconnect(v.status)
	case errors.Is(cause, errDisconnect):
		c.disconnect(statusNormal)
	case errors.Is(cause, errDrained), errors.Is(cause, errHealthcheck):
		c.out.finish(nil)
		c.linger()
	case isNormalEnd(cause):
	default:
		c.log.Debug("connection lost", "cause", cause.Error())
	}
}

// disconnect sends an AGENT-DISCONNECT and waits for the peer to close.
func (c *conn) disconnect(s status) {
	b, err := encodeDisconnect(s)
	if err != nil {
		c.log.Error("cannot say goodbye", "cause", err.Error())
		return
	}
	c.srv.cfg.Hooks.frame(frameName(frame.TypeAgentDisconnect))
	c.out.finish(b)
	c.linger()
}

// linger closes our half and reads until the peer has closed its own. A close
// with bytes unread resets the connection, which can cost the peer the answers
// that it has not read.
func (c *conn) linger() {
	half, ok := c.nc.(interface{ CloseWrite() error })
	if !ok || half.CloseWrite() != nil {
		return
	}
	if err := c.in.stop(time.Now().Add(lingerTimeout)); err != nil {
		return
	}
	_, _ = io.Copy(io.Discard, c.nc)
}

// isNormalEnd reports whether HAProxy ends connections this way: from 3.1 on it
// closes or resets them without a word.
func isNormalEnd(err error) bool {
	return errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.ErrClosedPipe) ||
		errors.Is(err, net.ErrClosed) || errors.Is(err, syscall.ECONNRESET) || errors.Is(err, syscall.EPIPE)
}

// idleSince returns when the connection began to wait for a NOTIFY, in ns since
// 1970, or 0 where something is under way, half a frame among them.
func (c *conn) idleSince() int64 {
	if c.inFlight.Load() > 0 {
		return 0
	}
	return c.waiting.Load()
}

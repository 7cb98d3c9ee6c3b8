package spoe

import (
	"fmt"
	"net"
	"sync"
	"time"
)

// maxQueued bounds the bytes of an outbox, above what all the answers in flight
// on a connection can have by default. When HAProxy leaves that much unread, its
// connection is closed.
const maxQueued = 4 << 20

// maxHeld is how many bytes the reader lets gather before it writes them,
// however much it still has to add.
const maxHeld = 256 << 10

// maxKept is the largest buffer that an outbox keeps while it is empty.
const maxKept = 64 << 10

// outbox is the only writer of a connection. Frames are added by any goroutine
// and leave in order, several in one write where they are ready together, but
// never a part of one. Whoever finds nobody writing writes: no goroutine waits
// for the peer but the one that does.
type outbox struct {
	conn    net.Conn
	eager   *eager              // for whoever writes
	timeout time.Duration       // of one write
	lost    func(Reason, *call) // called for each ACK dropped and, without a call, for each connection lost

	mu      sync.Mutex
	guard   *guard    // nil where there is nothing to guard against
	sent    int64     // bytes
	quiet   sync.Cond // no write is under way
	queue   frames    // waiting
	spare   frames    // empty, to swap with
	held    bool      // the reader has more to add: nobody else writes
	writing bool
	sealed  bool // nothing more is queued
	closed  bool // nothing more is written
}

// frames are encoded frames one after the other.
type frames struct {
	data []byte
	ends []frameEnd
}

// frameEnd is where a frame of frames ends.
type frameEnd struct {
	at   int
	call *call // nil for a frame that answers no NOTIFY
}

func newOutbox(conn net.Conn, timeout time.Duration, lost func(Reason, *call)) *outbox {
	o := &outbox{conn: conn, eager: newEager(conn), timeout: timeout, lost: lost}
	o.quiet.L = &o.mu
	return o
}

// answer queues the ACK of a call, and reports whether nobody is about to write
// it. The error is ErrUndelivered or an *unencodable.
func (o *outbox) answer(c *call, actions []Action, limit int) (idle bool, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if r, dead := c.dead(time.Now()); dead {
		return false, undelivered(r)
	}
	if o.sealed {
		return false, undelivered(ReasonConnGone)
	}
	data, err := appendAck(o.queue.data, c.notify.streamID, c.notify.frameID, actions, limit)
	if err != nil {
		return false, err
	}
	if o.guard != nil && !o.guard.take(len(data)-len(o.queue.data)) {
		o.fail(ReasonWedge)
		return false, undelivered(ReasonWedge)
	}
	if len(data) > maxQueued {
		o.fail(ReasonWriteQueueFull)
		return false, undelivered(ReasonWriteQueueFull)
	}
	o.queue.data = data
	o.queue.ends = append(o.queue.ends, frameEnd{len(data), c})
	return !o.held && !o.writing, nil
}

// undelivered returns an ErrUndelivered that says why.
func undelivered(r Reason) error { return fmt.Errorf("%w: %w", ErrUndelivered, withheld(r)) }

// withheld is the reason inside an ErrUndelivered.
type withheld Reason

func (w withheld) Error() string { return string(w) }

// guarded guards what is queued from now on.
func (o *outbox) guarded(g *guard) {
	o.mu.Lock()
	o.guard = g
	o.mu.Unlock()
}

// look closes a guarded connection when HAProxy has stopped reading it, or when
// the guard must not go on, and reports whether it did.
func (o *outbox) look(end bool) bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.guard == nil || o.closed || !end && !o.guard.stuck(o.sent) {
		return false
	}
	o.fail(ReasonWedge)
	return true
}

// put queues a frame that answers no NOTIFY.
func (o *outbox) put(frame []byte) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.closed || len(frame) == 0 {
		return
	}
	o.queue.data = append(o.queue.data, frame...)
	o.queue.ends = append(o.queue.ends, frameEnd{len(o.queue.data), nil})
}

// hold keeps everything in the queue until release.
func (o *outbox) hold() {
	o.mu.Lock()
	o.held = true
	o.mu.Unlock()
}

// relieve flushes a held outbox that has too much in it.
func (o *outbox) relieve() {
	o.mu.Lock()
	much := len(o.queue.data) > maxHeld
	o.mu.Unlock()
	if much {
		o.release()
		o.hold()
	}
}

// release ends hold and flushes.
func (o *outbox) release() {
	o.mu.Lock()
	o.held = false
	o.mu.Unlock()
	o.flush()
}

// flush writes what is queued, unless another goroutine does or the outbox is
// held. No lock is held during a write.
func (o *outbox) flush() {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.writing {
		return
	}
	o.writing = true
	for len(o.queue.ends) > 0 && !o.closed && !o.held {
		batch := o.queue
		o.queue = o.spare
		o.mu.Unlock()
		err := o.write(batch)
		o.mu.Lock()
		o.sent += int64(len(batch.data))
		o.spare = batch.reset()
		if err != nil {
			o.fail(lossOf(err))
		}
	}
	o.writing = false
	o.quiet.Broadcast()
}

// write writes the frames that are still of use. Frames next to each other
// share a write up to maxWrite. On error, those that the kernel has not wholly
// taken are lost.
func (o *outbox) write(batch frames) error {
	now := time.Now()
	start, end := 0, 0 // of what is written next
	for i, f := range batch.ends {
		var r Reason
		drop := false
		if f.call != nil {
			r, drop = f.call.dead(now)
		}
		if drop || f.at-start > maxWrite {
			if n, err := o.send(batch.data[start:end]); err != nil {
				o.lose(batch.ends, start+n)
				return err
			}
			start = end
		}
		if drop {
			o.lost(r, f.call)
			batch.ends[i].call = nil
			start = f.at
		}
		end = f.at
	}
	n, err := o.send(batch.data[start:end])
	if err != nil {
		o.lose(batch.ends, start+n)
	}
	return err
}

// lose tells of the calls among the frames that end beyond the first sent bytes.
func (o *outbox) lose(ends []frameEnd, sent int) {
	for _, f := range ends {
		if f.call != nil && f.at > sent {
			o.lost(ReasonConnGone, f.call)
		}
	}
}

// lossOf returns the reason for a write's error. A peer that has gone is no
// fault.
func lossOf(err error) Reason {
	if isNormalEnd(err) {
		return ReasonConnGone
	}
	return ReasonWriteFailed
}

// send writes b, and waits only for what does not find room at once. It returns
// how much of it was taken.
func (o *outbox) send(b []byte) (n int, err error) {
	rest, err := o.eager.send(b)
	n = len(b) - len(rest)
	if err != nil || len(rest) == 0 {
		return n, err
	}
	if err := o.conn.SetWriteDeadline(time.Now().Add(o.timeout)); err != nil {
		return n, err
	}
	m, err := o.conn.Write(rest)
	_ = o.conn.SetWriteDeadline(time.Time{}) // fails only where the connection is closed, which the next write finds
	return n + m, err
}

// fail closes the connection, which ends its reader too. The caller holds mu.
// Close of a socket does not block.
func (o *outbox) fail(r Reason) {
	if !o.closed {
		o.lost(r, nil)
		o.drop()
		_ = o.conn.Close()
	}
}

// drop drops the queue, for good. The caller holds mu.
func (o *outbox) drop() {
	o.sealed, o.closed = true, true
	o.lose(o.queue.ends, 0)
	o.queue = frames{}
}

// close drops what is queued.
func (o *outbox) close() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.drop()
}

// seal refuses every further answer.
func (o *outbox) seal() {
	o.mu.Lock()
	o.sealed = true
	o.mu.Unlock()
}

// finish writes what is queued and then last, which may be empty. It must
// follow seal, and returns when all is written or lost.
func (o *outbox) finish(last []byte) {
	o.put(last)
	o.release()
	o.mu.Lock()
	defer o.mu.Unlock()
	for o.writing {
		o.quiet.Wait()
	}
}

// reset returns f empty, for reuse.
func (f frames) reset() frames {
	clear(f.ends)
	if cap(f.data) > maxKept {
		return frames{}
	}
	return frames{f.data[:0], f.ends[:0]}
}

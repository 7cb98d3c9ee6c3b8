package spoe

import (
	"fmt"
	"net"
	"sync"
	"time"
)

// maxQueued bounds the bytes of an outbox, those being written included, above
// what all the answers in flight on a connection can have by default. When
// HAProxy leaves that much unread, its connection is closed.
const maxQueued = 4 << 20

// maxHeld is how many bytes the reader lets gather before it writes them,
// however much it still has to add.
const maxHeld = 256 << 10

// maxKept is the largest buffer that an outbox keeps while it is empty.
const maxKept = 64 << 10

// outbox is the only writer of a connection. Frames are added by any goroutine
// and leave in order, several in one write where they are ready together, but
// never a part of one. Whoever finds nobody writing writes. Only the reader
// waits for the peer; for others who would have to, a goroutine does.
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
	batch   frames    // being written
	spare   frames    // empty, to swap with
	held    bool      // the reader has more to add: nobody else writes
	writing bool
	sealed  bool // nothing more is queued
	closed  bool // nothing more is written

	// For whoever writes.
	next  int  // the frame of batch that is
	at    int  // how much of batch.data is dealt with
	paced bool // the guard says how much may be written
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

// dead reports whether the frame may not be written any more, and why.
func (f frameEnd) dead(now time.Time) (Reason, bool) {
	if f.call == nil {
		return "", false
	}
	return f.call.dead(now)
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
	if len(data)+len(o.batch.data) > maxQueued {
		o.fail(ReasonWriteQueueFull)
		return false, undelivered(ReasonWriteQueueFull)
	}
	if o.guard != nil {
		o.guard.take(len(data) - len(o.queue.data))
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

// look closes a guarded connection when HAProxy has stopped reading it, and
// reports whether it did.
func (o *outbox) look() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.guard == nil || o.closed || !o.guard.stuck(o.sent) {
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
// held. It waits for the peer where it must, but not for what a guard does.
func (o *outbox) flush() {
	if o.begin() && !o.run(!o.paced) {
		go o.run(true)
	}
}

// flushNow is flush for those who must not wait for the peer. What it has no
// room for is left to a goroutine, which ends with the connection at the latest.
func (o *outbox) flushNow() {
	if o.begin() && !o.run(false) {
		go o.run(true)
	}
}

// begin makes the caller the one who writes, if there is something to write and
// nobody who does.
func (o *outbox) begin() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	return !o.writing && o.load()
}

// more goes on to the next batch, or ends the writing.
func (o *outbox) more() bool {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.sent += int64(len(o.batch.data))
	o.spare, o.batch = o.batch.reset(), frames{}
	return o.load()
}

// load makes a batch of the queue, unless nothing may be written. The caller
// holds mu.
func (o *outbox) load() bool {
	o.writing = len(o.queue.ends) > 0 && !o.closed && !o.held
	if o.writing {
		o.batch, o.queue, o.spare = o.queue, o.spare, frames{}
		o.next, o.at = 0, 0
		o.paced = o.guard != nil && o.guard.paced
	} else {
		o.quiet.Broadcast()
	}
	return o.writing
}

// run writes until nothing is left. It reports false where it would have to wait
// and must not: then another run has to follow. No lock is held during a write.
func (o *outbox) run(wait bool) bool {
	for {
		done, err := o.write(wait)
		if err != nil {
			o.broken(err)
		} else if !done {
			return false
		}
		if !o.more() {
			return true
		}
	}
}

// write writes the frames of the batch that are still of use. It reports false
// where it would have to wait and must not. What has begun to leave in time is
// finished; while that waits the clock goes on, and so it is read again before
// the next. On error, the frames that the kernel has not wholly taken are lost.
func (o *outbox) write(wait bool) (done bool, err error) {
	now := time.Now()
	for o.next < len(o.batch.ends) {
		if r, dead := o.batch.ends[o.next].dead(now); dead && !o.begun() {
			o.lost(r, o.batch.ends[o.next].call)
			o.skip()
			continue
		}
		end := o.together(now)
		if o.paced && !o.guard.write(end-o.at) {
			if !wait {
				return false, nil
			}
			if err := o.guard.settle(o.timeout); err != nil {
				o.lose(o.batch.ends[o.next:])
				return true, err
			}
			now = time.Now()
			continue
		}
		n, err := o.eager.send(o.batch.data[o.at:end])
		o.took(n)
		if err == nil && o.at < end {
			if !wait {
				return false, nil
			}
			err = o.wait(end)
			now = time.Now()
		}
		if err != nil {
			o.lose(o.batch.ends[o.next:])
			return true, err
		}
	}
	return true, nil
}

// begun reports whether a part of the next frame has been written.
func (o *outbox) begun() bool {
	start := 0
	if o.next > 0 {
		start = o.batch.ends[o.next-1].at
	}
	return o.at > start
}

// skip drops the next frame.
func (o *outbox) skip() {
	o.at = o.batch.ends[o.next].at
	o.next++
}

// took notes that n bytes have been written.
func (o *outbox) took(n int) {
	o.at += n
	for o.next < len(o.batch.ends) && o.batch.ends[o.next].at <= o.at {
		o.next++
	}
}

// together returns where the frames end that share the next write: those that
// follow each other and are of use, up to maxWrite.
func (o *outbox) together(now time.Time) (end int) {
	end = o.batch.ends[o.next].at
	for _, f := range o.batch.ends[o.next+1:] {
		if _, dead := f.dead(now); dead || f.at-o.at > maxWrite {
			break
		}
		end = f.at
	}
	return end
}

// wait writes what does not find room at once, for no longer than the timeout:
// the rest of the next frame and, where that cannot be told, of all up to end.
func (o *outbox) wait(end int) error {
	if o.eager.works() {
		end = o.batch.ends[o.next].at
	}
	if err := o.conn.SetWriteDeadline(time.Now().Add(o.timeout)); err != nil {
		return err
	}
	n, err := o.conn.Write(o.batch.data[o.at:end])
	o.took(n)
	_ = o.conn.SetWriteDeadline(time.Time{}) // fails only where the connection is closed, which the next write finds
	return err
}

// lose tells of the calls that frames answer.
func (o *outbox) lose(ends []frameEnd) {
	for _, f := range ends {
		if f.call != nil {
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

// broken ends the connection after a failed write.
func (o *outbox) broken(err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.fail(lossOf(err))
}

// fail cuts the connection, which ends its reader too. The caller holds mu.
func (o *outbox) fail(r Reason) {
	if !o.closed {
		o.lost(r, nil)
		o.drop()
		cut(o.conn)
	}
}

// drop drops the queue, for good. The caller holds mu.
func (o *outbox) drop() {
	o.sealed, o.closed = true, true
	o.lose(o.queue.ends)
	o.queue = frames{}
}

// close drops what is queued and returns when nobody writes any more. It must
// follow the connection's Close, which ends a write.
func (o *outbox) close() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.drop()
	for o.writing {
		o.quiet.Wait()
	}
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

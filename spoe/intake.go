package spoe

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"syscall"
	"time"

	"github.com/negasus/haproxy-spoe-go/frame"
	"golang.org/x/sys/unix"
)

// usualBuffer is what an intake reads into after the handshake, until a longer
// frame comes. What has grown for one is kept for as long as it is not pinned.
const usualBuffer = 16 << 10

// errWoken is the error of a fill that wake ended.
var errWoken = errors.New("woken")

// intake is the only reader of a connection. It holds what one read brought, so
// that all the frames in it can be taken before the next, and leaves it alone
// for as long as its chunk is pinned.
type intake struct {
	*chunk     // what the last reads brought
	conn       net.Conn
	max        uint32          // the longest frame, without its length prefix
	start, end int             // of what has not been taken yet, in the chunk
	at         time.Time       // when the last bytes came
	full       bool            // they had no more room
	raw        syscall.RawConn // nil where conn is no socket, TLS for one

	mu       sync.Mutex
	deadline time.Time // as set on conn
	woken    bool
	stopped  bool
}

func newIntake(conn net.Conn, limit uint32) *intake {
	in := &intake{conn: conn, max: limit}
	if s, ok := conn.(syscall.Conn); ok {
		in.raw, _ = s.SyscallConn() // else nil
	}
	in.chunk = &chunk{buf: make([]byte, in.fitting(usualBuffer))}
	return in
}

// allow sets how long the frames to come may be. It must precede the first pin.
func (in *intake) allow(limit uint32) {
	in.max = limit
	if n := in.fitting(usualBuffer); n > len(in.buf) {
		in.move(&chunk{buf: make([]byte, n)})
	}
}

// fitting returns n, or how much the longest frame takes if that is less.
func (in *intake) fitting(n int) int { return min(n, lenPrefix+int(in.max)) }

// move moves what has not been taken to the front of another chunk.
func (in *intake) move(to *chunk) {
	in.end = copy(to.buf, in.buf[in.start:in.end])
	in.start, in.chunk = 0, to
}

// next takes the next complete frame, with its length prefix, or returns nil.
// The frame is valid until fill, and longer while its chunk is pinned. A frame
// whose length is out of bounds is a *violation; nothing can be taken after it.
func (in *intake) next() ([]byte, error) {
	n, err := in.frameLen()
	if err != nil || n == 0 || in.end-in.start < n {
		return nil, err
	}
	f := in.buf[in.start : in.start+n : in.start+n]
	in.start += n
	return f, nil
}

// frameLen returns the length, with its prefix, of the frame that comes next,
// or 0 where that is not known yet. The length is the peer's word: nothing may
// be allocated for it before it has been compared with what was negotiated.
func (in *intake) frameLen() (int, error) {
	if in.end-in.start < lenPrefix {
		return 0, nil
	}
	n := binary.BigEndian.Uint32(in.buf[in.start:])
	if n < minFrame {
		return 0, invalid("frame of %d bytes", n)
	}
	if n > in.max {
		return 0, &violation{ReasonFrameTooBig, statusTooBig, fmt.Errorf("%d bytes, at most %d", n, in.max)}
	}
	return lenPrefix + int(n), nil
}

// partial reports whether the beginning of a frame has come and not its end.
func (in *intake) partial() bool { return in.end > in.start }

// begun reports whether the beginning of a frame of this type has come.
func (in *intake) begun(t frame.Type) bool {
	return in.end-in.start > lenPrefix && frame.Type(in.buf[in.start+lenPrefix]) == t
}

// unread reports whether more has come than was read, where the kernel tells.
// It is asked only where that may be: after a read that took all it had room
// for, or ended within a frame.
func (in *intake) unread() bool { return (in.full || in.partial()) && in.waits() }

// waits reports whether something has come that was not read, where the kernel
// tells.
func (in *intake) waits() bool {
	if in.raw == nil {
		return false
	}
	n := 0
	err := in.raw.Control(func(fd uintptr) { n, _ = unix.IoctlGetInt(int(fd), unix.SIOCINQ) })
	return err == nil && n > 0
}

// fill reads once, until deadline where that is not zero. It must follow a next
// that returned nil. It returns errWoken after wake.
func (in *intake) fill(deadline time.Time) error {
	in.makeRoom()
	if err := in.arm(deadline); err != nil {
		return err
	}
	n, err := in.conn.Read(in.buf[in.end:])
	if n == 0 && errors.Is(err, os.ErrDeadlineExceeded) {
		n = in.readLate(in.buf[in.end:])
	}
	if n > 0 {
		in.end += n
		in.at, in.full = time.Now(), in.end == len(in.buf)
		return nil // an error that lasts will come again
	}
	if errors.Is(err, os.ErrDeadlineExceeded) && in.wasWoken() {
		return errWoken
	}
	return err
}

// readLate reads what is there although the deadline has passed: it is not the
// peer that is late with it but this process, which had no processor. Package
// net reads nothing any more then.
func (in *intake) readLate(b []byte) (n int) {
	if in.raw == nil {
		return 0
	}
	err := in.raw.Control(func(fd uintptr) {
		for again := true; again; {
			var err error
			n, _, err = unix.Recvfrom(int(fd), b, unix.MSG_DONTWAIT)
			again = errors.Is(err, unix.EINTR)
		}
	})
	if err != nil {
		return 0
	}
	return max(n, 0)
}

// makeRoom makes room for the rest of the frame that has begun, or for the next
// one. What is pinned stays where it is: reads go on behind it for as long as a
// quarter of the chunk is free, and then into a chunk of their own. So what is
// pinned holds no more memory than its own frames at their longest.
func (in *intake) makeRoom() {
	size := len(in.buf)
	n, _ := in.frameLen()
	switch {
	case !in.pinned() && n <= size:
		if in.start > 0 {
			in.end = copy(in.buf, in.buf[in.start:in.end])
			in.start = 0
		}
	case !in.pinned():
		in.move(&chunk{buf: make([]byte, in.fitting(max(n, 2*size))), scratch: in.scratch})
	case n > size-in.start, size-in.end < size/4:
		in.move(&chunk{buf: make([]byte, in.fitting(max(n, usualBuffer)))})
	}
}

// arm sets the read deadline, unless wake has just set its own.
func (in *intake) arm(deadline time.Time) error {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.woken || in.deadline.Equal(deadline) {
		return nil
	}
	in.deadline = deadline
	return in.conn.SetReadDeadline(deadline)
}

// wake ends the fill under way, or else the next. It is safe from any goroutine.
func (in *intake) wake() { in.wakeAt(time.Unix(1, 0)) }

// wakeAt is wake, but for the time it names.
func (in *intake) wakeAt(at time.Time) {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.stopped {
		return
	}
	in.woken = true
	in.deadline = at
	_ = in.conn.SetReadDeadline(in.deadline) // fails only when closed, which ends a fill too
}

func (in *intake) wasWoken() bool {
	in.mu.Lock()
	defer in.mu.Unlock()
	woken := in.woken
	in.woken = false
	return woken
}

// stop sets the last read deadline, which wake does not move.
func (in *intake) stop(deadline time.Time) error {
	in.mu.Lock()
	defer in.mu.Unlock()
	in.stopped = true
	return in.conn.SetReadDeadline(deadline)
}

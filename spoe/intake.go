package spoe

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"os"
	"sync"
	"time"
)

// usualBuffer is what an intake reads into after the handshake, until a longer
// frame comes. It never shrinks.
const usualBuffer = 16 << 10

// errWoken is the error of a fill that wake ended.
var errWoken = errors.New("woken")

// intake is the only reader of a connection. It holds what one read brought, so
// that all the frames in it can be taken before the next.
type intake struct {
	conn       net.Conn
	max        uint32 // the longest frame, without its length prefix
	buf        []byte
	start, end int       // of what has not been taken yet
	at         time.Time // when the last bytes came

	mu       sync.Mutex
	deadline time.Time // as set on conn
	woken    bool
	stopped  bool
}

func newIntake(conn net.Conn, limit uint32) *intake {
	return &intake{conn: conn, max: limit, buf: make([]byte, min(usualBuffer, lenPrefix+int(limit)))}
}

// allow sets how long the frames to come may be.
func (in *intake) allow(limit uint32) {
	in.max = limit
	in.grow(usualBuffer)
}

// grow makes the buffer n bytes long, as far as the longest frame needs them.
func (in *intake) grow(n int) {
	if n = min(n, lenPrefix+int(in.max)); n > len(in.buf) {
		grown := make([]byte, n)
		copy(grown, in.buf[:in.end])
		in.buf = grown
	}
}

// next takes the next complete frame, with its length prefix, or returns nil.
// The frame is valid until fill. A frame whose length is out of bounds is a
// *violation; nothing can be taken after it.
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

// fill reads once, until deadline where that is not zero. It must follow a next
// that returned nil. It returns errWoken after wake.
func (in *intake) fill(deadline time.Time) error {
	in.makeRoom()
	if err := in.arm(deadline); err != nil {
		return err
	}
	n, err := in.conn.Read(in.buf[in.end:])
	if n > 0 {
		in.end += n
		in.at = time.Now()
		return nil // an error that lasts will come again
	}
	if errors.Is(err, os.ErrDeadlineExceeded) && in.wasWoken() {
		return errWoken
	}
	return err
}

// makeRoom moves what is left to the front and grows the buffer to the frame
// that it begins.
func (in *intake) makeRoom() {
	if in.start > 0 {
		in.end = copy(in.buf, in.buf[in.start:in.end])
		in.start = 0
	}
	if n, _ := in.frameLen(); n > len(in.buf) {
		in.grow(max(n, 2*len(in.buf)))
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
func (in *intake) wake() {
	in.mu.Lock()
	defer in.mu.Unlock()
	if in.stopped {
		return
	}
	in.woken = true
	in.deadline = time.Unix(1, 0)
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

package spoe

import (
	"errors"
	"net"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

const (
	// muxStreams is how many NOTIFYs HAProxy from 3.1 on has in flight on a
	// connection that pipelines.
	muxStreams = 20

	// stuckAfter is how long nothing may be read of what waits on a guarded
	// connection, in looks at it.
	stuckAfter = 6
	lookPeriod = 100 * time.Millisecond
)

// guard makes pipelining safe on a connection of HAProxy 3.1 or later. Such a
// HAProxy stops reading a connection for good once the answers that it has not
// taken apart fill its buffer, which is as large as the frame that it offers in
// its HELLO. As it has at most muxStreams NOTIFYs in flight, no more can be
// than the latest as many ACKs.
//
// Once these would fill the buffer, which with one of 65536 bytes is so from
// 3.2 kB for each ACK on, the connection is paced: no more is written than the
// buffer holds until HAProxy has read all of it.
//
// What HAProxy gave up before it was answered is not among them; should it ever
// come to that, the guard finds that nothing is read any more and the connection
// is closed: HAProxy opens another one, and what was in flight can be asked
// again.
type guard struct {
	raw  syscall.RawConn
	room int

	latest [muxStreams]int // lengths of the latest ACKs, in a ring
	at     int
	sum    int  // of latest
	paced  bool // from now on

	// For whoever writes.
	written int // since HAProxy had read everything

	// For the goroutine that looks.
	sent   int64 // of all ACKs, at the last look
	unread int   // then
	looks  int   // in a row that found nothing read
}

// newGuard returns the guard of a connection, or nil where nothing could guard
// it: where the buffer has no room for muxStreams ACKs of a usual length, and
// where the kernel does not tell what has not been read, as on TCP.
func newGuard(conn net.Conn, offered uint32) *guard {
	const usual = 2_600 // bytes, with a token of 2 kB
	u, ok := conn.(*net.UnixConn)
	if !ok || offered < muxStreams*usual {
		return nil
	}
	raw, err := u.SyscallConn()
	if err != nil {
		return nil
	}
	return &guard{raw: raw, room: int(offered), written: int(offered)}
}

// take counts one more ACK of n bytes.
func (g *guard) take(n int) {
	g.sum += n - g.latest[g.at]
	g.latest[g.at] = n
	g.at = (g.at + 1) % muxStreams
	if g.sum > g.room {
		g.paced = true
	}
}

// write reports whether n more bytes have room, and counts them if so.
func (g *guard) write(n int) bool {
	if g.written+n > g.room {
		return false
	}
	g.written += n
	return true
}

// settle waits until HAProxy has read everything. It has to be so for a while,
// because a read that is still under way would take what is written now as well.
func (g *guard) settle(timeout time.Duration) error {
	const while = 2 // looks, a millisecond apart
	t := time.NewTicker(time.Millisecond)
	defer t.Stop()
	over := time.Now().Add(timeout)
	for quiet := 0; ; <-t.C {
		unread, err := g.waiting()
		switch {
		case err != nil:
			return err
		case unread > 0 && time.Now().After(over):
			return os.ErrDeadlineExceeded
		case unread > 0:
			quiet = 0
		case quiet == while-1:
			g.written = 0
			return nil
		default:
			quiet++
		}
	}
}

// waiting returns how much HAProxy has not read, counted with the kernel's own
// overhead: never less than what was sent.
func (g *guard) waiting() (n int, err error) {
	failed := g.raw.Control(func(fd uintptr) { n, err = unix.IoctlGetInt(int(fd), unix.SIOCOUTQ) })
	return n, errors.Join(failed, err)
}

// stuck looks whether anything has been read since the last look, given the
// bytes sent ever.
func (g *guard) stuck(sent int64) bool {
	unread, err := g.waiting()
	if err == nil && unread > 0 && int64(unread-g.unread) >= sent-g.sent && g.unread > 0 {
		g.looks++
	} else {
		g.looks = 0
	}
	g.sent, g.unread = sent, unread
	return g.looks >= stuckAfter
}

// watch looks after the connections that are guarded, from the first one on and
// until the server is shut down.
func (s *Server) watch() {
	s.watching.Do(func() { s.running.Go(s.look) })
}

func (s *Server) look() {
	t := time.NewTicker(lookPeriod)
	defer t.Stop()
	for {
		select {
		case <-s.quit:
			return
		case <-t.C:
			s.lookOnce()
		}
	}
}

// lookOnce ends the guarded connections that HAProxy does not read.
func (s *Server) lookOnce() {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		if c.out.look() {
			s.cfg.Log.Warn("haproxy has stopped reading its connection", "reason", ReasonWedge)
		}
	}
}

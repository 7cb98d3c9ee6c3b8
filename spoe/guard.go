package spoe

import (
	"net"
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
	stuckAfter = 3
	lookPeriod = 100 * time.Millisecond
)

// guard makes pipelining safe on a connection of HAProxy 3.1 or later. Such a
// HAProxy stops reading a connection for good once the answers that it has not
// taken apart fill its buffer, which is as large as the frame that it offers in
// its HELLO. As it has at most muxStreams NOTIFYs in flight, no more can be
// than the latest as many ACKs. What it gave up before it was answered is not
// among them; should it ever come to that, the guard finds that nothing is read
// any more. Either way the connection is closed: HAProxy opens another one, and
// what was in flight can be asked again.
type guard struct {
	raw    syscall.RawConn
	room   int
	noRoom func() // called when an ACK has none

	latest [muxStreams]int // lengths of the latest ACKs, in a ring
	at     int
	sum    int // of latest

	// For the goroutine that looks.
	sent   int64 // of all ACKs, at the last look
	unread int   // then
	looks  int   // in a row that found nothing read
}

// newGuard returns the guard of a connection, or nil where nothing could guard
// it: where the buffer has no room for muxStreams ACKs of a usual length, and
// where the kernel does not tell what has not been read, as on TCP.
func newGuard(conn net.Conn, offered uint32, noRoom func()) *guard {
	const usual = 2_600 // bytes, with a token of 2 kB
	u, ok := conn.(*net.UnixConn)
	if !ok || offered < muxStreams*usual {
		return nil
	}
	raw, err := u.SyscallConn()
	if err != nil {
		return nil
	}
	return &guard{raw: raw, room: int(offered), noRoom: noRoom}
}

// take makes room for one more ACK of n bytes, or reports that there is none.
func (g *guard) take(n int) bool {
	sum := g.sum - g.latest[g.at] + n
	if sum > g.room {
		g.noRoom()
		return false
	}
	g.latest[g.at], g.sum = n, sum
	g.at = (g.at + 1) % muxStreams
	return true
}

// stuck looks whether anything has been read since the last look, given the
// bytes sent ever. What waits counts with the kernel's own overhead: never less
// than what was sent.
func (g *guard) stuck(sent int64) bool {
	unread := 0
	err := g.raw.Control(func(fd uintptr) {
		unread, _ = unix.IoctlGetInt(int(fd), unix.SIOCOUTQ)
	})
	if err == nil && unread > 0 && int64(unread-g.unread) >= sent-g.sent && g.unread > 0 {
		g.looks++
	} else {
		g.looks = 0
	}
	g.sent, g.unread = sent, unread
	return g.looks >= stuckAfter
}

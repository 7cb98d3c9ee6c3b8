package spoe

import (
	"net"
	"syscall"
)

// eager writes what a socket has room for, without a deadline: setting one costs
// more than the write of an answer. It is for one goroutine at a time.
type eager struct {
	raw   syscall.RawConn // nil where conn is no socket, TLS for one
	rest  []byte
	err   error
	write func(fd uintptr) bool // writeRest, bound once
}

func newEager(conn net.Conn) *eager {
	e := &eager{}
	e.write = e.writeRest
	if s, ok := conn.(syscall.Conn); ok {
		e.raw, _ = s.SyscallConn() // else nil
	}
	return e
}

// works reports whether send ever finds room.
func (e *eager) works() bool { return e.raw != nil }

// send returns how much of b there was room for. The error is that of the
// socket.
func (e *eager) send(b []byte) (int, error) {
	if e.raw == nil {
		return 0, nil
	}
	e.rest, e.err = b, nil
	if err := e.raw.Write(e.write); err != nil {
		return 0, err
	}
	n := len(b) - len(e.rest)
	e.rest = nil
	return n, e.err
}

// writeRest never asks to be called again when there is room: how long that
// takes needs a deadline.
func (e *eager) writeRest(fd uintptr) bool {
	for len(e.rest) > 0 {
		n, err := syscall.Write(int(fd), e.rest)
		switch {
		case err == syscall.EINTR:
			continue
		case err == syscall.EAGAIN:
			return true
		case err != nil:
			e.err = err
			return true
		}
		e.rest = e.rest[n:]
	}
	return true
}

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

// send returns what there was no room for. The error is that of the socket.
func (e *eager) send(b []byte) ([]byte, error) {
	if e.raw == nil {
		return b, nil
	}
	e.rest, e.err = b, nil
	if err := e.raw.Write(e.write); err != nil {
		return b, err
	}
	b, err := e.rest, e.err
	e.rest = nil
	return b, err
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

package spoe

import (
	"crypto/tls"
	"errors"
	"net"
	"os"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// drainer is a listener that can be drained.
type drainer interface {
	net.Listener

	// drain ends what comes, as far as that is possible. Afterwards Accept returns
	// the connections that wait to be accepted, and then an error.
	drain()
}

// stopListening drains l, or closes it where that is not possible. HAProxy takes
// a connection for made that waits in the backlog of a socket, and may have
// written to it. The kernel resets it when the last descriptor of the socket is
// closed. So what waits is accepted before:
//
//   - of a unix socket, all of it: shutdown(2) keeps others out from one moment to
//     the next, whether another process has taken the path over or not.
//   - of a TCP socket, all up to the last look. Nothing keeps others out before it
//     is closed, so the kernel resets who completes the handshake in between, or
//     has begun it, unless it may pass them on to another process that shares the
//     address (net.ipv4.tcp_migrate_req).
//   - of a socket of systemd, nothing: systemd and the process that comes or stays
//     have it too. What waits is theirs, and a shutdown would be for all of them.
//   - of other listeners, nothing: they can only be closed.
func stopListening(l net.Listener) {
	if d, ok := l.(drainer); ok {
		d.drain()
	} else {
		_ = l.Close()
	}
}

// socket is what TCP and unix listeners of package net have in common.
type socket interface {
	net.Listener
	syscall.Conn
	SetDeadline(time.Time) error
}

// ownListener is a socket that no other process accepts from.
type ownListener struct {
	socket
	draining atomic.Bool
}

func (l *ownListener) drain() {
	l.draining.Store(true)
	_ = l.SetDeadline(time.Unix(1, 0)) // ends the Accept under way, and fails only when closed
}

func (l *ownListener) Accept() (net.Conn, error) {
	nc, err := l.socket.Accept()
	if errors.Is(err, os.ErrDeadlineExceeded) && l.draining.Load() {
		return l.acceptWaiting()
	}
	return nc, err
}

// acceptWaiting accepts a connection that waits. Where none does, the error is
// net.ErrClosed. After a deadline package net accepts none.
func (l *ownListener) acceptWaiting() (net.Conn, error) {
	accepted, failed := -1, error(nil)
	err := control(l.socket, func(fd int) {
		for accepted, failed = -1, unix.EINTR; errors.Is(failed, unix.EINTR); {
			accepted, _, failed = unix.Accept4(fd, unix.SOCK_CLOEXEC)
		}
	})
	switch err := errors.Join(err, failed); {
	case errors.Is(err, unix.EAGAIN):
		return nil, net.ErrClosed
	case err != nil:
		return nil, os.NewSyscallError("accept4", err)
	}
	file := os.NewFile(uintptr(accepted), "")
	defer func() { _ = file.Close() }() // the connection has its own descriptor
	return net.FileConn(file)
}

// drain keeps others out first: the kernel refuses them from the shutdown on. If
// that fails, the last look is as good as it is with TCP.
func (l *unixListener) drain() {
	l.withdraw()
	_ = control(l.socket, func(fd int) { _ = unix.Shutdown(fd, unix.SHUT_RD) })
	l.ownListener.drain()
}

func control(c syscall.Conn, f func(fd int)) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	return raw.Control(func(fd uintptr) { f(int(fd)) })
}

// tlsListener speaks TLS on what another listener accepts.
type tlsListener struct {
	net.Listener
	config *tls.Config
}

func (l tlsListener) Accept() (net.Conn, error) {
	nc, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	return tls.Server(nc, l.config), nil
}

func (l tlsListener) drain() { stopListening(l.Listener) }

// cut closes nc at once. TLS would take its leave first, which waits for a peer
// that does not read.
func cut(nc net.Conn) {
	if secured, ok := nc.(*tls.Conn); ok {
		nc = secured.NetConn()
	}
	_ = nc.Close()
}

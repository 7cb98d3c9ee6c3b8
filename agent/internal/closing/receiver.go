package closing

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// maxStreams is how many connections HAProxy's processes may have at once. Further ones are closed as they come.
const maxStreams = 64

// lastWords is how long the other side of a stream may take to end it once it is asked to.
const lastWords = 250 * time.Millisecond

// receiver reads what comes to a socket.
type receiver struct {
	socket  *socket
	message func(*socket, []byte) // takes each message, and does not keep it; called on many goroutines
	garbage func(error)           // told what is none

	work   sync.WaitGroup
	failed chan struct{} // closed when reading has ended, by itself or by stop

	mu      sync.Mutex
	streams map[net.Conn]struct{}
	ending  bool
}

func receive(s *socket, message func(*socket, []byte), garbage func(error)) *receiver {
	r := &receiver{socket: s, message: message, garbage: garbage, failed: make(chan struct{}), streams: map[net.Conn]struct{}{}}
	r.work.Go(func() {
		defer close(r.failed)
		if s.datagrams != nil {
			r.readDatagrams()
		} else {
			r.accept()
		}
	})
	return r
}

// readDatagrams reads until the socket is closed or fails. What is in it when its time is over is read to the end.
func (r *receiver) readDatagrams() {
	buf := make([]byte, MaxLine+1)
	for {
		n, err := r.socket.datagrams.Read(buf)
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded):
			r.readRest(buf)
			return
		case err != nil:
			return
		}
		r.datagram(buf[:n])
	}
}

func (r *receiver) datagram(m []byte) {
	if len(m) > MaxLine {
		r.garbage(errSize)
		return
	}
	r.message(r.socket, m)
}

// readRest reads what the kernel has and does not wait for more.
func (r *receiver) readRest(buf []byte) {
	raw, err := r.socket.datagrams.(syscall.Conn).SyscallConn()
	if err != nil {
		return
	}
	_ = raw.Control(func(fd uintptr) {
		for {
			n, _, err := unix.Recvfrom(int(fd), buf, unix.MSG_DONTWAIT)
			switch {
			case errors.Is(err, unix.EINTR):
			case err != nil:
				return
			default:
				r.datagram(buf[:n])
			}
		}
	})
}

// accept reads every stream on a goroutine of its own.
func (r *receiver) accept() {
	for {
		conn, err := r.socket.streams.Accept()
		if err != nil {
			return
		}
		if !r.add(conn) {
			r.garbage(errStreams)
			_ = conn.Close()
			continue
		}
		r.work.Go(func() {
			defer r.remove(conn)
			r.readStream(conn)
		})
	}
}

var errStreams = errors.New("too many connections")

func (r *receiver) add(conn net.Conn) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.ending || len(r.streams) >= maxStreams {
		return false
	}
	r.streams[conn] = struct{}{}
	return true
}

func (r *receiver) remove(conn net.Conn) {
	r.mu.Lock()
	defer r.mu.Unlock()
	delete(r.streams, conn)
	_ = conn.Close()
}

func (r *receiver) readStream(conn net.Conn) {
	for f := newFrames(&toTheEnd{Conn: conn, left: maxRest}); ; {
		m, err := f.next()
		switch {
		case err == nil:
			r.message(r.socket, m)
		case errors.Is(err, errSize):
			r.garbage(err)
		case errors.Is(err, errFraming), errors.Is(err, io.ErrUnexpectedEOF):
			r.garbage(err)
			return
		default:
			return
		}
	}
}

// maxRest is how much is read of a stream whose time is over, in bytes: one that does not cease to send holds nobody up.
const maxRest = 4 << 20

// toTheEnd is a stream of which that is read, too, which had come before its time was over. On a machine that is busy that may be much.
type toTheEnd struct {
	net.Conn
	left int // of maxRest
}

func (c *toTheEnd) Read(p []byte) (int, error) {
	n, err := c.Conn.Read(p)
	if n > 0 || c.left <= 0 || !errors.Is(err, os.ErrDeadlineExceeded) {
		return n, err
	}
	raw, failed := c.Conn.(syscall.Conn).SyscallConn()
	if failed != nil {
		return 0, err
	}
	_ = raw.Control(func(fd uintptr) {
		for n, _, failed = unix.Recvfrom(int(fd), p, unix.MSG_DONTWAIT); errors.Is(failed, unix.EINTR); {
			n, _, failed = unix.Recvfrom(int(fd), p, unix.MSG_DONTWAIT)
		}
	})
	if n <= 0 {
		return 0, err
	}
	c.left -= n
	return n, nil
}

// stop ends the reading and closes the socket. What has reached the socket by then is read.
func (r *receiver) stop() {
	r.socket.leave()
	if r.socket.datagrams != nil {
		_ = r.socket.datagrams.SetReadDeadline(time.Now())
	} else {
		_ = r.socket.streams.Close()
		r.endStreams()
	}
	r.work.Wait()
	_ = r.socket.close()
}

// endStreams lets no more come in over streams, so that HAProxy connects again. What has come is read: over a unix socket the kernel refuses
// what follows, and the end is where it does. A TCP connection cannot be ended like that: HAProxy is told that its time is over, and given a
// moment to end it behind its last line; versions that take no notice can lose the lines which are on their way then.
func (r *receiver) endStreams() {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.ending = true
	for conn := range r.streams {
		_ = conn.SetReadDeadline(time.Now().Add(lastWords))
		switch conn := conn.(type) {
		case *net.UnixConn:
			_ = conn.CloseRead()
		case *net.TCPConn:
			_ = conn.CloseWrite()
		}
	}
}

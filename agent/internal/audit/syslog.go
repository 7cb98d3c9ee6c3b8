package audit

import (
	"bytes"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

const (
	// dialTime bounds how long a connection to the daemon may take, hangTime how long the daemon may leave a write waiting before the
	// connection is given up. The owners of lines do not wait that long.
	dialTime = 5 * time.Second
	hangTime = 10 * time.Second

	// After an attempt to connect has failed the next one comes no sooner than this, which doubles up to maxBackoff.
	minBackoff = 50 * time.Millisecond
	maxBackoff = 5 * time.Second
)

// syslog is a sink of RFC 5424 messages, one for each line: facility local0, severity informational, APP-NAME vertex-spoa, the event as
// MSGID, and the line without its newline as MSG. That is JSON without a byte order mark, which JSON must not have (RFC 8259 section 8.1);
// so it is MSG-ANY to RFC 5424 (section 6.4), though it is UTF-8.
//
// A unix socket takes a message as a datagram or, where it is a stream socket, with a newline behind it; a TCP connection takes it with its
// length before it (RFC 6587 section 3.4.1).
//
// A message counts as written when the kernel has taken it. A datagram is in the daemon's queue then. Of a stream, what the kernel holds is
// lost when the daemon or its machine dies before it has read it; nothing in the protocol tells how much that is. A daemon that has closed
// its end is noticed before the next write.
type syslog struct {
	network, address string // network is unix or tcp
	host, process    string

	mu     sync.Mutex // of conn, which Close may end, and closed
	conn   net.Conn   // nil if there is none; changed by the writer alone
	closed bool

	form    form
	tries   *trial
	partial int // bytes of the next message that the connection has already
	buffer  []byte

	err     error // why there is no connection
	backoff time.Duration
	retry   time.Time
}

// form is how a connection keeps messages apart.
type form int

const (
	datagram form = iota // one each
	ended                // by a newline
	counted              // by their length
)

func newSyslog(address string) (*syslog, error) {
	s := &syslog{network: "tcp", address: address, host: hostname(), process: strconv.Itoa(os.Getpid())}
	if path, ok := strings.CutPrefix(address, "unix@"); ok {
		s.network, s.address = "unix", path
		if path == "" {
			return nil, errors.New("audit: syslog: unix@ without a path")
		}
		return s, nil
	}
	if host, port, err := net.SplitHostPort(address); err != nil || host == "" || port == "" {
		return nil, fmt.Errorf("audit: syslog: %q is neither unix@PATH nor HOST:PORT", address)
	}
	return s, nil
}

// hostname is the machine's name as RFC 5424 section 6.2.4 wants it, "-" if it has none that fits.
func hostname() string {
	name, err := os.Hostname()
	if err != nil || name == "" || len(name) > 255 || strings.ContainsFunc(name, func(r rune) bool { return r < '!' || r > '~' }) {
		return "-"
	}
	return name
}

// Write sends the lines, over a new connection if there is none or the one there is turns out to be dead.
func (s *syslog) Write(p []byte) (n int, err error) {
	for {
		s.dropIfEnded()
		fresh := s.conn == nil
		if err := s.connect(); err != nil {
			return n, err
		}
		if err := s.conn.SetWriteDeadline(time.Now().Add(hangTime)); err != nil {
			return n, s.drop(err)
		}
		m, err := s.send(p[n:], s.conn.Write)
		n += m
		if err == nil || errors.Is(err, ErrTooLong) {
			return n, err
		}
		if err = s.drop(err); fresh || errors.Is(err, os.ErrDeadlineExceeded) {
			return n, err
		}
	}
}

// TryWrite sends what the connection takes at once. Where there is none, and it is not too early for another, that is left to Write.
func (s *syslog) TryWrite(p []byte) (n int, err error) {
	if s.conn == nil {
		if time.Now().Before(s.retry) {
			return 0, s.err
		}
		return 0, nil
	}
	if s.dropIfEnded(); s.conn == nil {
		return 0, nil
	}
	n, err = s.send(p, s.tries.write)
	if err != nil && !errors.Is(err, ErrTooLong) {
		_ = s.drop(err) // which Write tries to mend
		err = nil
	}
	return n, err
}

// connect makes a connection if there is none.
func (s *syslog) connect() error {
	switch {
	case s.conn != nil:
		return nil
	case time.Now().Before(s.retry):
		return s.err
	}
	err := s.dial()
	if err == nil {
		s.err, s.backoff, s.partial = nil, 0, 0
		return nil
	}
	s.backoff = min(max(2*s.backoff, minBackoff), maxBackoff)
	s.err, s.retry = fmt.Errorf("syslog: %w", err), time.Now().Add(s.backoff)
	return s.err
}

func (s *syslog) dial() error {
	var conn net.Conn
	var err error
	d := net.Dialer{Timeout: dialTime}
	s.form = counted
	if s.network == "unix" {
		s.form = datagram
		conn, err = d.Dial("unixgram", s.address)
		if errors.Is(err, syscall.EPROTOTYPE) {
			s.form = ended
			conn, err = d.Dial("unix", s.address)
		}
	} else {
		conn, err = d.Dial("tcp", s.address)
	}
	if err != nil {
		return err
	}
	raw, err := conn.(syscall.Conn).SyscallConn()
	if err != nil {
		return errors.Join(err, conn.Close())
	}
	s.tries = newTrial(raw, sendNow)
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		return errors.Join(ErrClosed, conn.Close())
	}
	s.conn = conn
	return nil
}

// drop gives up the connection because of err, which it returns.
func (s *syslog) drop(err error) error {
	s.mu.Lock()
	_ = s.conn.Close() // what it says adds nothing
	s.conn, s.partial = nil, 0
	s.mu.Unlock()
	if err != nil {
		err = fmt.Errorf("syslog: %w", err)
	}
	return err
}

// dropIfEnded gives up a stream that the daemon has closed: the kernel would still take a message for nobody.
func (s *syslog) dropIfEnded() {
	if s.conn != nil && s.form != datagram && hasEnded(s.tries.raw) {
		_ = s.drop(nil)
	}
}

// hasEnded reports whether the peer has closed its end. What it may have said is of no interest.
func hasEnded(raw syscall.RawConn) (ended bool) {
	err := raw.Control(func(fd uintptr) {
		var ignored [256]byte
		for range 16 {
			n, _, err := syscall.Recvfrom(int(fd), ignored[:], syscall.MSG_DONTWAIT)
			if err == syscall.EINTR {
				continue
			}
			if ended = n == 0 && err == nil || err != nil && err != syscall.EAGAIN; n <= 0 {
				return
			}
		}
	})
	return ended || err != nil
}

// send hands the lines to write, each as one message, and returns how many bytes of p were whole lines that it took.
func (s *syslog) send(p []byte, write func([]byte) (int, error)) (n int, err error) {
	if s.form == datagram {
		for line := range bytes.Lines(p) {
			s.buffer = s.appendMessage(s.buffer[:0], line)
			m, err := write(s.buffer)
			if errors.Is(err, syscall.EMSGSIZE) {
				return n, fmt.Errorf("syslog: %w: %d bytes", ErrTooLong, len(s.buffer))
			}
			if err != nil || m < len(s.buffer) {
				return n, err
			}
			n += len(line)
		}
		return n, nil
	}
	s.buffer = s.buffer[:0]
	for line := range bytes.Lines(p) {
		s.buffer = s.appendFrame(s.buffer, line)
	}
	m, err := write(s.buffer[s.partial:])
	n, s.partial = s.whole(p, s.partial+m)
	if cap(s.buffer) > maxKept {
		s.buffer = nil
	}
	return n, err
}

// whole returns the length of those lines whose frames are within the first taken bytes of all, and how many bytes are beyond.
func (s *syslog) whole(p []byte, taken int) (n, beyond int) {
	if taken == len(s.buffer) {
		return len(p), 0
	}
	var frame []byte
	for line := range bytes.Lines(p) {
		if frame = s.appendFrame(frame[:0], line); len(frame) > taken {
			break
		}
		n, taken = n+len(line), taken-len(frame)
	}
	return n, taken
}

// appendFrame appends the line's message as a stream has it.
func (s *syslog) appendFrame(b, line []byte) []byte {
	if s.form == ended {
		return append(s.appendMessage(b, line), '\n')
	}
	// The length stands before what it is the length of. Its digits are made room for when they are known.
	at := len(b)
	b = s.appendMessage(b, line)
	var digits [20]byte
	count := append(strconv.AppendInt(digits[:0], int64(len(b)-at), 10), ' ')
	b = append(b, count...)
	copy(b[at+len(count):], b[at:len(b)-len(count)])
	copy(b[at:], count)
	return b
}

// priority is local0.info: 16*8 + 6 (RFC 5424 section 6.2.1).
const priority = "<134>1 "

// appendMessage appends the line as a message of RFC 5424, of which it has the time and the event.
func (s *syslog) appendMessage(b, line []byte) []byte {
	b = append(b, priority...)
	b = append(b, headField(line, `"time":"`)...)
	b = append(append(b, ' '), s.host...)
	b = append(b, " vertex-spoa "...)
	b = append(append(b, s.process...), ' ')
	b = append(b, headField(line, `"event":"`)...)
	b = append(b, " - "...)
	return append(b, bytes.TrimSuffix(line, []byte("\n"))...)
}

// headField returns the text of a field that every line of ours begins with, and that nothing in it is escaped of.
func headField(line []byte, name string) []byte {
	head := line[:min(len(line), 128)]
	at := bytes.Index(head, []byte(name))
	if at < 0 {
		return []byte("-")
	}
	value := head[at+len(name):]
	return value[:max(bytes.IndexByte(value, '"'), 0)]
}

// Close closes the connection. A Write that waits ends.
func (s *syslog) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	if s.conn == nil {
		return nil
	}
	return s.conn.Close()
}

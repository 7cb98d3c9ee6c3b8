package closing

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// The mode of a unix socket: HAProxy is in the agent's group, or the agent in HAProxy's.
const socketMode fs.FileMode = 0o660

// maxUnixPath is the length of the longest path of a unix socket, in bytes (unix(7)).
const maxUnixPath = 107

// receiveBuffer is what is asked for a UDP socket, in bytes; the kernel gives no more than net.core.rmem_max.
const receiveBuffer = 4 << 20

// socket is where HAProxy sends its log.
type socket struct {
	address   string
	datagrams net.Conn     // or
	streams   net.Listener // one of the two
	path      string       // of a unix socket
	file      fs.FileInfo  // what we have put there
}

// open opens the socket of an address as [Config] has it.
func open(ctx context.Context, address string) (*socket, error) {
	s := &socket{address: address}
	err := s.open(ctx)
	if err != nil {
		return nil, fmt.Errorf("closing: listen on %q: %w", address, err)
	}
	return s, nil
}

func (s *socket) open(ctx context.Context) error {
	for _, form := range []struct{ prefix, network string }{
		{"stream+unix@", "unix"}, {"unix@", "unixgram"}, {"udp@", "udp"}, {"tcp@", "tcp"},
	} {
		rest, ok := strings.CutPrefix(s.address, form.prefix)
		switch {
		case ok && strings.HasPrefix(form.network, "unix"):
			return s.openUnix(ctx, form.network, rest)
		case ok:
			return s.openInet(ctx, form.network, rest)
		}
	}
	if filepath.IsAbs(s.address) {
		return s.openUnix(ctx, "unixgram", s.address)
	}
	return s.openInet(ctx, "tcp", s.address)
}

// openInet binds a port of a loopback address. It is shared with other processes of the same user that do so in this way, so that a new
// process can take over.
func (s *socket) openInet(ctx context.Context, network, address string) error {
	if _, _, err := net.SplitHostPort(address); err != nil {
		return fmt.Errorf("neither unix@/path, stream+unix@/path nor host:port: %w", err)
	}
	lc := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) error {
		var err error
		return errors.Join(raw.Control(func(fd uintptr) {
			err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
		}), err)
	}}
	if network == "udp" {
		packets, err := lc.ListenPacket(ctx, network, address)
		if err != nil {
			return err
		}
		conn := packets.(*net.UDPConn)
		s.datagrams = conn
		return s.checkLoopback(conn.LocalAddr().(*net.UDPAddr).IP, conn.SetReadBuffer(receiveBuffer))
	}
	var err error
	if s.streams, err = lc.Listen(ctx, network, address); err != nil {
		return err
	}
	return s.checkLoopback(s.streams.Addr().(*net.TCPAddr).IP, nil)
}

// checkLoopback closes a socket that is open to the network, or was not made without error. What counts is what a name was resolved to.
func (s *socket) checkLoopback(ip net.IP, err error) error {
	if err == nil && !ip.IsLoopback() {
		err = errors.New("who called and from where would cross the network in the clear: use a unix socket or a loopback address")
	}
	if err != nil {
		_ = s.close()
	}
	return err
}

// openUnix binds a socket under another name, in a directory that nobody else can enter, and renames it when its mode is right: the path
// never lacks, and what stood there before loses it. Nothing but a socket is replaced.
func (s *socket) openUnix(ctx context.Context, network, path string) error {
	if !filepath.IsAbs(path) {
		return errors.New("the path of a unix socket must begin with /")
	}
	if info, err := os.Lstat(path); err == nil && info.Mode().Type() != fs.ModeSocket {
		return errors.New("there is a file that is not a socket")
	} else if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	dir, err := os.MkdirTemp(filepath.Dir(path), ".log")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	hidden := filepath.Join(dir, "s")
	if n := max(len(hidden), len(path)); n > maxUnixPath {
		return fmt.Errorf("path is %d bytes too long for a unix socket", n-maxUnixPath)
	}
	if err := s.bind(ctx, network, hidden); err != nil {
		return err
	}
	if err := s.publish(hidden, path); err != nil {
		return errors.Join(err, s.close())
	}
	return nil
}

func (s *socket) bind(ctx context.Context, network, path string) error {
	var lc net.ListenConfig
	if network == "unixgram" {
		packets, err := lc.ListenPacket(ctx, network, path)
		if err != nil {
			return err
		}
		s.datagrams = packets.(*net.UnixConn)
		return nil
	}
	l, err := lc.Listen(ctx, network, path)
	if err != nil {
		return err
	}
	l.(*net.UnixListener).SetUnlinkOnClose(false) // that path is nobody's by then
	s.streams = l
	return nil
}

// publish gives a bound socket its mode and its name.
func (s *socket) publish(hidden, path string) error {
	if err := os.Chmod(hidden, socketMode); err != nil {
		return err
	}
	info, err := os.Lstat(hidden)
	if err != nil {
		return err
	}
	if err := os.Rename(hidden, path); err != nil {
		return err
	}
	s.path, s.file = path, info
	return nil
}

// standing is what has become of a socket's path.
type standing int

const (
	ours     standing = iota // or no path at all
	vanished                 // by the hand of a person, or of a cleaner of /run
	replaced                 // another process has taken it over
)

// stands returns what has become of the path.
func (s *socket) stands() standing {
	if s.path == "" {
		return ours
	}
	info, err := os.Lstat(s.path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return vanished
	case err == nil && !os.SameFile(info, s.file):
		return replaced
	}
	return ours
}

// deserted reports whether nobody is behind the path.
func (s *socket) deserted(ctx context.Context) bool {
	network := "unix"
	if s.datagrams != nil {
		network = "unixgram"
	}
	conn, err := (&net.Dialer{Timeout: lookPeriod}).DialContext(ctx, network, s.path)
	if err == nil {
		_ = conn.Close()
	}
	return errors.Is(err, syscall.ECONNREFUSED)
}

// leave removes the path, if it is still ours: nobody new can come.
func (s *socket) leave() {
	if s.path != "" && s.stands() == ours {
		_ = os.Remove(s.path)
	}
}

// close leaves and closes the socket.
func (s *socket) close() error {
	s.leave()
	if s.datagrams != nil {
		return s.datagrams.Close()
	}
	return s.streams.Close()
}

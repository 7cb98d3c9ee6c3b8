package spoe

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"
)

// DefaultMode is the mode of a unix socket: its owner and group may connect.
const DefaultMode fs.FileMode = 0o660

// maxUnixPath is the longest path of a unix socket (unix(7)).
const maxUnixPath = 107

// ListenOptions are the options of [Listen].
type ListenOptions struct {
	// Mode is the mode of a unix socket; 0 means DefaultMode.
	Mode fs.FileMode

	// TLS is required to listen beyond loopback, because tokens cross this
	// wire. It should verify HAProxy's certificate. It wraps any listener.
	TLS *tls.Config
}

// Listen opens "unix@/path", "/path" or "host:port", or takes the socket that
// systemd has passed to the process, which is named "systemd".
//
// A unix socket is bound under another name and renamed to its own, so that it
// never lacks and never has the wrong mode. It replaces a socket that is there,
// which is how a new process takes over from an old one, but no other file.
// Closing the listener removes the path only while it is still its own.
//
// A TCP address that is not loopback needs TLS. It is shared with other
// processes of the same user that listen on it in this way, so that a new one
// can take over there too.
func Listen(ctx context.Context, address string, o ListenOptions) (net.Listener, error) {
	l, err := listen(ctx, address, o)
	if err != nil {
		return nil, fmt.Errorf("spoe: listen on %q: %w", address, err)
	}
	if o.TLS != nil {
		l = tlsListener{l, o.TLS}
	}
	return l, nil
}

func listen(ctx context.Context, address string, o ListenOptions) (net.Listener, error) {
	if address == "systemd" {
		l, err := listenSystemd()
		if err != nil {
			return nil, err
		}
		return checkExposed(l, o.TLS != nil)
	}
	path := strings.TrimPrefix(address, "unix@")
	if filepath.IsAbs(path) {
		if o.Mode == 0 {
			o.Mode = DefaultMode
		}
		return listenUnix(ctx, path, o.Mode)
	}
	if path != address {
		return nil, errors.New("the path of a unix socket must begin with /")
	}
	return listenTCP(ctx, address, o.TLS != nil)
}

func listenTCP(ctx context.Context, address string, secured bool) (net.Listener, error) {
	if _, _, err := net.SplitHostPort(address); err != nil {
		return nil, fmt.Errorf("neither /path, unix@/path nor host:port: %w", err)
	}
	lc := net.ListenConfig{Control: func(_, _ string, raw syscall.RawConn) error {
		var err error
		return errors.Join(raw.Control(func(fd uintptr) {
			err = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
		}), err)
	}}
	l, err := lc.Listen(ctx, "tcp", address)
	if err != nil {
		return nil, err
	}
	return checkExposed(&ownListener{socket: l.(*net.TCPListener)}, secured)
}

// checkExposed returns l, unless it is open to the network without TLS. A name
// is resolved by Listen alone: what counts is what it was bound to.
func checkExposed(l net.Listener, secured bool) (net.Listener, error) {
	bound, isTCP := l.Addr().(*net.TCPAddr)
	if secured || !isTCP || bound.IP.IsLoopback() {
		return l, nil
	}
	_ = l.Close()
	return nil, errors.New("tokens would cross the network in the clear: use a unix socket or a loopback address, or configure TLS")
}

// unixListener is a unix socket that has been renamed after it was bound.
type unixListener struct {
	ownListener
	path string
	file fs.FileInfo
	once sync.Once
}

func listenUnix(ctx context.Context, path string, mode fs.FileMode) (net.Listener, error) {
	if err := checkReplaceable(path); err != nil {
		return nil, err
	}
	// Nobody else can enter this directory, and so nobody can connect before
	// the mode is right.
	dir, err := os.MkdirTemp(filepath.Dir(path), ".spoe")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	hidden := filepath.Join(dir, "s")
	if n := max(len(hidden), len(path)); n > maxUnixPath {
		return nil, fmt.Errorf("path is %d bytes too long for a unix socket", n-maxUnixPath)
	}
	l, err := new(net.ListenConfig).Listen(ctx, "unix", hidden)
	if err != nil {
		return nil, err
	}
	u := l.(*net.UnixListener)
	u.SetUnlinkOnClose(false) // hidden is another's by then, or nobody's
	file, err := publish(hidden, path, mode)
	if err != nil {
		_ = u.Close()
		return nil, err
	}
	return &unixListener{ownListener: ownListener{socket: u}, path: path, file: file}, nil
}

// checkReplaceable refuses to replace anything but a socket.
func checkReplaceable(path string) error {
	info, err := os.Lstat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		return err
	case info.Mode().Type() != fs.ModeSocket:
		return errors.New("there is a file that is not a socket")
	}
	return nil
}

// publish gives a bound socket its mode and its name.
func publish(hidden, path string, mode fs.FileMode) (fs.FileInfo, error) {
	if err := os.Chmod(hidden, mode); err != nil {
		return nil, err
	}
	info, err := os.Lstat(hidden)
	if err != nil {
		return nil, err
	}
	return info, os.Rename(hidden, path)
}

// Addr returns the path under which the socket can be reached.
func (l *unixListener) Addr() net.Addr { return &net.UnixAddr{Name: l.path, Net: "unix"} }

// Close closes the socket, and removes its path unless another process has
// taken it over.
func (l *unixListener) Close() error {
	l.withdraw()
	return l.socket.Close()
}

// withdraw removes the path if it is the listener's own.
func (l *unixListener) withdraw() {
	l.once.Do(func() {
		if info, err := os.Lstat(l.path); err == nil && os.SameFile(info, l.file) {
			l.takeAway()
		}
	})
}

// takeAway removes the path, which was the listener's own a moment ago. Another
// process may have taken it over since, and nothing compares and removes at once.
// So the path is renamed to where it can be looked at in peace, and what is not
// the listener's own is put back, unless there is a third by then. For that
// moment a successor's socket lacks, which only a lock that all of them take
// could avoid; but it is not lost.
func (l *unixListener) takeAway() {
	dir, err := os.MkdirTemp(filepath.Dir(l.path), ".spoe")
	if err != nil {
		return // then nothing can be removed there either
	}
	defer func() { _ = os.RemoveAll(dir) }()
	taken := filepath.Join(dir, "s")
	if os.Rename(l.path, taken) != nil {
		return
	}
	if info, err := os.Lstat(taken); err == nil && !os.SameFile(info, l.file) {
		_ = os.Link(taken, l.path)
	}
}

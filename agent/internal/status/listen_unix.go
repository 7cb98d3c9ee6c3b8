package status

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"sync"
)

// maxUnixPath is the longest path of a unix socket (unix(7)).
const maxUnixPath = 107

// unixListener removes the path of its socket when it is closed, unless another process has taken that over.
type unixListener struct {
	net.Listener
	path string
	file fs.FileInfo
	once sync.Once
}

// listenUnix binds the socket in a directory that nobody else can enter, and moves it to its path when its mode is right: the path never
// lacks while one process takes over from another, and nobody can connect too early.
func listenUnix(ctx context.Context, path string, mode fs.FileMode) (_ net.Listener, err error) {
	if mode == 0 {
		mode = DefaultMode
	}
	if old, err := os.Lstat(path); err == nil && old.Mode().Type() != fs.ModeSocket {
		return nil, errors.New("the path is another file's, which is no socket")
	}
	dir, err := os.MkdirTemp(filepath.Dir(path), ".admin")
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
	l.(*net.UnixListener).SetUnlinkOnClose(false) // that path is gone by then
	defer func() {
		if err != nil {
			_ = l.Close()
		}
	}()
	if err := os.Chmod(hidden, mode.Perm()); err != nil {
		return nil, err
	}
	file, err := os.Lstat(hidden)
	if err != nil {
		return nil, err
	}
	if err := os.Rename(hidden, path); err != nil {
		return nil, err
	}
	return &unixListener{Listener: l, path: path, file: file}, nil
}

// Close closes the socket.
func (l *unixListener) Close() error {
	l.once.Do(func() {
		if now, err := os.Lstat(l.path); err == nil && os.SameFile(now, l.file) {
			_ = os.Remove(l.path)
		}
	})
	return l.Listener.Close()
}

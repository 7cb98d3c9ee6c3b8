package audit

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"
)

// openPath opens the file at path for appending, and makes it if need be. A FIFO must have a reader.
func openPath(path string) (sink, error) {
	// Without O_NONBLOCK a FIFO that nobody reads would hold the opener. Regular files do not care.
	w, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE|syscall.O_NONBLOCK, 0o640) //nolint:gosec // auditors are in the file's group
	if errors.Is(err, syscall.ENXIO) {
		return nil, fmt.Errorf("open audit log: a FIFO that nobody reads, or a socket: %w", err)
	}
	if err != nil {
		return nil, fmt.Errorf("open audit log: %w", err)
	}
	info, err := w.Stat()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open audit log: %w", err), w.Close())
	}
	switch mode := info.Mode(); {
	case mode.IsRegular():
		return newFile(w, path)
	case mode&os.ModeNamedPipe != 0:
		return newPipe(w, true)
	}
	return w, nil
}

// file is a regular file that other processes may append to as well: the agent that this one replaces, which may be killed inside a line. A
// batch never begins in the middle of a line that somebody else has left.
//
// Rotation may move the file away; it is written to until Log.Reopen. If it is deleted, the next batch goes to a new one of its path. If it
// is cut to nothing, the next batch is its first; what was written between the copy of the old content and the cut is gone, and only a chain
// can tell.
type file struct {
	path   string
	w      *os.File
	fd     int      // of w
	reader *os.File // the same file
	size   int64    // after our last write; 0 before the first
}

func newFile(w *os.File, path string) (*file, error) {
	r, err := os.Open(path)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("read audit log: %w", err), w.Close())
	}
	return &file{path: path, w: w, fd: int(w.Fd()), reader: r}, nil
}

// Write appends p.
func (f *file) Write(p []byte) (int, error) {
	size, torn, err := f.look()
	if err != nil {
		return 0, err
	}
	if torn {
		if _, err := f.w.Write([]byte{'\n'}); err != nil {
			return 0, err
		}
		size++
	}
	n, err := f.w.Write(p)
	f.size = size + int64(n)
	return n, err
}

// look returns the size of the file and whether somebody else has left a part of a line at its end. A write that is under way looks like
// that too, for some microseconds: what has been torn stays as it is. Where a machine is so busy that the two cannot be told apart, an
// empty line may come out, and never a broken one.
func (f *file) look() (size int64, torn bool, err error) {
	for range 3 {
		info, err := f.stat()
		if err != nil {
			return 0, false, err
		}
		if size == info.Size && torn {
			return size, true, nil
		}
		size = info.Size
		if size == f.size || size == 0 {
			return size, false, nil
		}
		var last [1]byte
		if _, err := f.reader.ReadAt(last[:], size-1); err != nil {
			return 0, false, err
		}
		if torn = last[0] != '\n'; !torn {
			return size, false, nil
		}
		<-time.After(lookAgain)
	}
	return size, false, nil // somebody is writing
}

// lookAgain is far longer than a write takes.
const lookAgain = 2 * time.Millisecond

// stat describes the file. One that was deleted is replaced first: what it were given would be gone.
func (f *file) stat() (info syscall.Stat_t, err error) {
	if err = syscall.Fstat(f.fd, &info); err == nil && info.Nlink > 0 {
		return info, nil
	}
	if err == nil {
		if err = f.replace(); err == nil {
			err = syscall.Fstat(f.fd, &info)
		}
	}
	if err != nil {
		return info, fmt.Errorf("stat audit log: %w", err)
	}
	return info, nil
}

func (f *file) replace() error {
	s, err := openPath(f.path)
	if err != nil {
		return err
	}
	other, ok := s.(*file)
	if !ok {
		return errors.Join(fmt.Errorf("%q is no regular file any more", f.path), s.Close())
	}
	old := *f
	*f = *other
	_ = old.Close() // nobody could read what it holds
	return nil
}

// tail is how much of the end of a file LastHash looks at.
const tail = 2 * MaxLine

// LastHash returns the hash of the file's last whole line, "" if it has none or cannot be read.
func (f *file) LastHash() string {
	info, err := f.reader.Stat()
	if err != nil {
		return ""
	}
	end := make([]byte, min(info.Size(), tail))
	n, _ := f.reader.ReadAt(end, info.Size()-int64(len(end)))
	end = end[:n]
	return hashOf(append(bytes.TrimRight(end[:bytes.LastIndexByte(end, '\n')+1], "\n"), '\n'))
}

// Close closes both ends.
func (f *file) Close() error { return errors.Join(f.w.Close(), f.reader.Close()) }

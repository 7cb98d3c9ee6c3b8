package audit

import (
	"errors"
	"fmt"
	"os"
	"time"
)

// file is a sink that other processes may append to as well: the agent that this one replaces, which may be killed inside a line. A batch
// never begins in the middle of a line that somebody else has left.
type file struct {
	*os.File
	reader *os.File // the same file, nil where it is no regular one
	size   int64    // after our last write; 0 before the first
}

// openFile opens the file at path for appending, and makes it if need be.
func openFile(path string) (*file, error) {
	w, err := os.OpenFile(path, os.O_WRONLY|os.O_APPEND|os.O_CREATE, 0o640) //nolint:gosec // auditors are in the file's group
	if err != nil {
		return nil, fmt.Errorf("open audit log: %w", err)
	}
	info, err := w.Stat()
	if err != nil || !info.Mode().IsRegular() {
		return &file{File: w}, err
	}
	r, err := os.Open(path)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("read audit log: %w", err), w.Close())
	}
	return &file{File: w, reader: r}, nil
}

// Write appends p. What is no regular file, such as a pipe, is written to without a look.
func (f *file) Write(p []byte) (int, error) {
	if f.reader == nil {
		return f.File.Write(p)
	}
	size, torn, err := f.look()
	if err != nil {
		return 0, err
	}
	if torn {
		if _, err := f.File.Write([]byte{'\n'}); err != nil {
			return 0, err
		}
		size++
	}
	n, err := f.File.Write(p)
	f.size = size + int64(n)
	return n, err
}

// look returns the size of the file and whether somebody else has left a part of a line at its end. A write that is under way looks like
// that too, for some microseconds: what has been torn stays as it is. Where a machine is so busy that the two cannot be told apart, an
// empty line may come out, and never a broken one.
func (f *file) look() (size int64, torn bool, err error) {
	for range 3 {
		info, err := f.Stat()
		if err != nil {
			return 0, false, err
		}
		if size == info.Size() && torn {
			return size, true, nil
		}
		size = info.Size()
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

// Close closes both ends.
func (f *file) Close() error {
	if f.reader == nil {
		return f.File.Close()
	}
	return errors.Join(f.File.Close(), f.reader.Close())
}

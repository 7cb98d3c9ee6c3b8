package audit

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"syscall"
)

// openStdout returns standard output as a sink, by a descriptor of its own. Written to as os.Stdout, a pipe whose reader is gone would end
// the process (package os/signal, "SIGPIPE"); here that is an error like any other.
func openStdout() (sink, error) {
	fd, _, errno := syscall.Syscall(syscall.SYS_FCNTL, 1, syscall.F_DUPFD_CLOEXEC, 3)
	if errno != 0 {
		return nil, fmt.Errorf("open standard output: %w", errno)
	}
	w := os.NewFile(fd, "standard output")
	info, err := w.Stat()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open standard output: %w", err), w.Close())
	}
	switch mode := info.Mode(); {
	case mode&os.ModeSocket != 0:
		return newSocket(w)
	case mode&os.ModeNamedPipe == 0:
		return w, nil
	}
	// To make the pipe non-blocking as it is would do so to everybody who has it. Opened again it is ours; not everybody may do that.
	again, err := os.OpenFile("/proc/self/fd/1", os.O_WRONLY|os.O_APPEND|syscall.O_NONBLOCK, 0)
	if err != nil {
		return newPipe(w, false)
	}
	_ = w.Close() // the pipe stays open
	return newPipe(again, true)
}

// pipe is a pipe or a stream socket, whose reader may be slow, stopped or gone. When a reader comes back to a FIFO it works again.
type pipe struct {
	*os.File
	tries *trial // nil if the descriptor blocks
}

// pipeAtomic is how much a pipe takes in one piece: PIPE_BUF of Linux (pipe(7)). Whoever else writes to it does not get between.
const pipeAtomic = 4096

func newPipe(f *os.File, nonblocking bool) (sink, error) {
	if !nonblocking {
		return &pipe{File: f}, nil
	}
	raw, err := f.SyscallConn()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open audit log: %w", err), f.Close())
	}
	return &pipe{f, newTrial(raw, syscall.Write)}, nil
}

// newSocket is a stream socket that somebody has connected for us, such as that of systemd's journal.
func newSocket(f *os.File) (sink, error) {
	raw, err := f.SyscallConn()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("open standard output: %w", err), f.Close())
	}
	return &pipe{f, newTrial(raw, sendNow)}, nil
}

// sendNow sends what a socket takes without waiting.
func sendNow(fd int, p []byte) (int, error) {
	return syscall.SendmsgN(fd, p, nil, nil, syscall.MSG_DONTWAIT|syscall.MSG_NOSIGNAL)
}

// Write writes p in pieces that nobody else gets into, as far as lines are short enough.
func (s *pipe) Write(p []byte) (n int, err error) { return inPieces(p, s.File.Write) }

// TryWrite writes what the pipe takes without waiting.
func (s *pipe) TryWrite(p []byte) (n int, err error) {
	if s.tries == nil {
		return 0, nil
	}
	return inPieces(p, s.tries.write)
}

// inPieces writes p by whole lines in pieces of pipeAtomic bytes at most, until one is not taken wholly. A longer line is a piece of its own.
func inPieces(p []byte, write func([]byte) (int, error)) (n int, err error) {
	for n < len(p) {
		piece := p[n:]
		if len(piece) > pipeAtomic {
			end := bytes.LastIndexByte(piece[:pipeAtomic], '\n')
			if end < 0 {
				end = bytes.IndexByte(piece, '\n')
			}
			if end >= 0 {
				piece = piece[:end+1]
			}
		}
		m, err := write(piece)
		n += m
		if err != nil || m < len(piece) {
			return n, err
		}
	}
	return n, nil
}

// trial writes to a descriptor without waiting. It is used by one goroutine at a time.
type trial struct {
	raw syscall.RawConn
	try func(uintptr) bool // write, bound once
	p   []byte
	n   int
	err error
}

func newTrial(raw syscall.RawConn, write func(fd int, p []byte) (int, error)) *trial {
	t := &trial{raw: raw}
	t.try = func(fd uintptr) bool {
		for t.n, t.err = write(int(fd), t.p); errors.Is(t.err, syscall.EINTR); {
			t.n, t.err = write(int(fd), t.p)
		}
		return true
	}
	return t
}

// write writes what is taken without waiting; that there is more is no error.
func (t *trial) write(p []byte) (int, error) {
	t.p = p
	err := t.raw.Write(t.try)
	t.p = nil
	n := max(t.n, 0)
	switch {
	case err != nil:
		return 0, err
	case errors.Is(t.err, syscall.EAGAIN):
		return n, nil
	}
	return n, t.err
}

// Package audit writes one JSON line per decision, never a secret.
//
// Lines are committed in groups. Append queues a line, Flush hands everything that is queued to the kernel in one write and then tells
// each line's owner how that went. While one goroutine writes, the lines of all others gather and leave together with the next write;
// nobody but the writer waits for the disk. An owner that answers an allow only from its done function has the property this package
// exists for: no record, no token.
package audit

import (
	"errors"
	"fmt"
	"io"
	"os"
	"sync"
)

// MaxPending is the number of bytes that may wait for a write. When the sink cannot take them as fast as they come, further lines are
// refused with ErrFull rather than kept.
const MaxPending = 4 << 20

// maxKept is the largest buffer that is kept for the next batch.
const maxKept = 256 << 10

var (
	// ErrFull means that MaxPending bytes are waiting for the sink already.
	ErrFull = errors.New("audit: too many lines wait for the sink")
	// ErrClosed means that the log was closed.
	ErrClosed = errors.New("audit: log is closed")
)

// Log is an append-only sink of records. It is safe for concurrent use.
type Log struct {
	path string // empty when there is nothing to reopen

	mu      sync.Mutex
	queue   batch
	spare   batch // the last written batch, its memory for the next one
	writing bool
	closed  bool
	idle    *sync.Cond // no write is under way

	// Owned by whoever set writing.
	sink   io.WriteCloser
	broken bool // the last write ended inside a line
}

// batch is a run of lines and what to call when they are written.
type batch struct {
	lines []byte
	done  []func(error)
}

// New returns a log that writes to w and closes it at the end.
func New(w io.WriteCloser) *Log {
	l := &Log{sink: w}
	l.idle = sync.NewCond(&l.mu)
	return l
}

// Open returns a log that appends to the file at path, which it makes with mode 0640 if need be; "-" is standard output.
func Open(path string) (*Log, error) {
	if path == "-" {
		return New(stdout{}), nil
	}
	f, err := openFile(path)
	if err != nil {
		return nil, err
	}
	l := New(f)
	l.path = path
	return l, nil
}

// stdout is standard output, which stays open when the log closes.
type stdout struct{}

func (stdout) Write(p []byte) (int, error) { return os.Stdout.Write(p) }
func (stdout) Close() error                { return nil }

// Append queues r's line. done is called exactly once: with nil after the line was handed to the kernel, which is after a Flush that
// follows, or with the reason why it was not; ErrFull and ErrClosed come at once, before Append returns. done must not call Append.
func (l *Log) Append(r *Record, done func(error)) {
	if err := l.enqueue(r, done); err != nil {
		done(err)
	}
}

func (l *Log) enqueue(r *Record, done func(error)) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.closed {
		return ErrClosed
	}
	if len(l.queue.lines) >= MaxPending {
		return ErrFull
	}
	l.queue.lines = r.appendTo(l.queue.lines)
	l.queue.done = append(l.queue.done, done)
	return nil
}

// Flush writes what is queued and calls the done functions of what it wrote, on this goroutine. If another goroutine is writing
// already, Flush leaves the queue to it and returns at once. It writes one batch: what gathered meanwhile goes to a goroutine of the
// log's own, so that no caller is held by the lines of others.
func (l *Log) Flush() {
	if !l.begin() {
		return
	}
	if more := l.commit(); more {
		go func() {
			for l.commit() {
			}
		}()
	}
}

// begin takes the writer's place if there is something to write and the place is free.
func (l *Log) begin() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.writing || len(l.queue.done) == 0 {
		return false
	}
	l.writing = true
	return true
}

// commit writes one batch and reports whether another one is waiting; if none is, the writer's place is free again.
func (l *Log) commit() (more bool) {
	l.mu.Lock()
	b := l.queue
	l.queue = l.spare
	l.spare = batch{}
	l.mu.Unlock()

	err := l.write(b.lines)
	for i, done := range b.done {
		done(err)
		b.done[i] = nil
	}

	l.mu.Lock()
	defer l.mu.Unlock()
	b.lines, b.done = b.lines[:0], b.done[:0]
	if cap(b.lines) <= maxKept {
		l.spare = b
	}
	if len(l.queue.done) > 0 {
		return true
	}
	l.writing = false
	l.idle.Broadcast()
	return false
}

// write hands whole lines to the sink in one call. After a write that stopped inside a line the next one starts on a line of its own,
// so that one full disk costs one line and not two.
func (l *Log) write(lines []byte) error {
	if l.broken {
		if _, err := l.sink.Write([]byte{'\n'}); err != nil {
			return fmt.Errorf("audit: write: %w", err)
		}
		l.broken = false
	}
	n, err := l.sink.Write(lines)
	if err == nil && n < len(lines) {
		err = io.ErrShortWrite
	}
	if err != nil {
		l.broken = n > 0 && lines[n-1] != '\n'
		return fmt.Errorf("audit: write: %w", err)
	}
	return nil
}

// Reopen opens the log's file again by its path, for use after a rotation has renamed it. It waits for a write that is under way. On
// error the log goes on with the file it has. A log without a path has nothing to reopen.
func (l *Log) Reopen() error {
	if l.path == "" {
		return nil
	}
	f, err := openFile(l.path)
	if err != nil {
		return err
	}
	l.mu.Lock()
	for l.writing {
		l.idle.Wait()
	}
	if l.closed {
		l.mu.Unlock()
		return errors.Join(ErrClosed, f.Close())
	}
	old := l.sink
	l.sink, l.broken = f, false
	l.mu.Unlock()
	return old.Close()
}

// Close writes what is queued, waits for the write and closes the sink. Later calls of Append are refused, and so are lines that were
// appended meanwhile without a Flush.
func (l *Log) Close() error {
	l.Flush()
	l.mu.Lock()
	for l.writing {
		l.idle.Wait()
	}
	if l.closed {
		l.mu.Unlock()
		return nil
	}
	l.closed = true
	left := l.queue.done
	l.queue = batch{}
	err := l.sink.Close()
	l.mu.Unlock()
	for _, done := range left {
		done(ErrClosed)
	}
	return err
}

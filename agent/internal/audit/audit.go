// Package audit writes one JSON line per decision, never a secret.
//
// Lines are committed in groups. Append queues a line, Flush hands everything that is queued to the kernel in one write and then tells
// each line's owner how that went. While one goroutine writes, the lines of all others gather and leave together with the next write;
// nobody but the writer waits for the disk. An owner that answers an allow only from its done function has the property this package
// exists for: no record, no token.
//
// No owner waits for longer than Options.Patience. A write that hangs for that long is given up: the owners of its lines, and of those
// that wait behind it, are told ErrStuck, and so is everybody who appends until the write comes back. It may have written its lines after
// all. Then each allow among them is followed by a line that it was not delivered, so that the log does not tell of a token that nobody
// got. If the process ends before the write comes back, nobody can write that line.
package audit

import (
	"errors"
	"io"
	"log/slog"
	"sync"
	"time"
)

const (
	// MaxPending is the number of bytes that may wait for a write. When the sink cannot take them as fast as they come, further lines are
	// refused with ErrFull rather than kept.
	MaxPending = 4 << 20
	// MaxLine is the greatest length of a line in bytes; a longer one is refused with ErrTooLong. A sink may have a lower limit.
	MaxLine = 1 << 20

	// maxKept is the largest buffer that is kept for the next batch.
	maxKept = 256 << 10
)

var (
	// ErrFull means that MaxPending bytes are waiting for the sink already.
	ErrFull = errors.New("audit: too many lines wait for the sink")
	// ErrClosed means that the log was closed.
	ErrClosed = errors.New("audit: log is closed")
	// ErrStuck means that the sink does not come back from a write. The line may reach it later; it is marked undelivered then.
	ErrStuck = errors.New("audit: the sink hangs")
	// ErrTooLong means that the line is longer than the log, or its sink, takes.
	ErrTooLong = errors.New("audit: line too long")
)

// sink takes lines. It is used by one goroutine at a time, but for Close, which ends a Write that waits where the system can do that.
type sink interface {
	// Write appends whole lines and waits as long as that takes. What it returns is the number of bytes that the kernel has taken. An
	// error that is ErrTooLong is about the line that begins there, and not about the sink.
	io.WriteCloser
}

// trier is a sink that might have to wait. It knows how not to.
type trier interface {
	sink
	// TryWrite is Write, but for what it would have to wait for: that is left to Write, and is no error. It may leave everything.
	TryWrite(p []byte) (n int, err error)
}

// Log is an append-only sink of records. It is safe for concurrent use.
type Log struct {
	path     string // empty when there is nothing to reopen
	patience time.Duration
	masker   *Masker
	log      *slog.Logger
	onWrite  func(time.Duration, int, error)
	now      func() time.Time
	started  time.Time

	mu       sync.Mutex
	queue    batch
	spare    batch         // the last written batch, its memory for the next one
	writing  bool          // there is a writer
	owners   []func(error) // of what is being written; empty when they were told that it is stuck
	since    time.Duration // when the first of them began to wait
	told     bool          // the owners were told
	spared   bool          // the writer was given a grace
	stuck    bool          // from then until the write comes back
	closing  bool          // Close was called; no line is taken any more
	closed   bool
	next     sink       // takes the place of sink when the write under way is over; nil if there is none
	ended    bool       // sink was closed under a write that hangs
	telling  int        // how many batches' owners are being told
	idle     *sync.Cond // nobody is being told any more
	watch    *time.Timer
	watching bool // the timer is running
	state    State
	failing  bool // the last news of the sink was that it fails
	saidAt   time.Duration

	// Owned by whoever set writing, and by whoever holds mu while nobody has.
	sink   sink // changed under mu
	lines  []byte
	count  int           // of the lines
	taken  time.Duration // when the writer took them
	from   int           // the lines before it are dealt with
	failed []failure     // of those
	slow   bool          // the last write took long
	broken bool          // the last write ended inside a line
	ending string        // of that line
	owed   []byte        // lines to write before all others: what was written and must be marked undelivered; at most one for each line of a batch
	chain  *chain        // nil for none
	buffer []byte
}

// batch is a run of lines and what to call when they are written.
type batch struct {
	lines []byte
	done  []func(error)
	since time.Duration
}

// failure is a line that the sink refuses to take, which says nothing of the others.
type failure struct {
	line int
	err  error
}

// New returns a log that writes to w and closes it at the end. Where a write hangs, w is closed at the end all the same.
func New(w io.WriteCloser) *Log {
	return newLog(w, Options{})
}

// Open returns a log that appends to the file at path, which it makes with mode 0640 if need be; "-" is standard output.
func Open(path string) (*Log, error) { return OpenWith(Options{Path: path}) }

func newLog(s sink, o Options) *Log {
	l := &Log{sink: s, path: o.Path, patience: o.Patience, masker: o.Masker, log: o.Log, onWrite: o.OnWrite, now: o.Now, started: time.Now()}
	l.idle = sync.NewCond(&l.mu)
	if l.patience == 0 {
		l.patience = Patience
	}
	if l.log == nil {
		l.log = slog.New(slog.DiscardHandler)
	}
	if l.now == nil {
		l.now = time.Now
	}
	if o.Chain {
		l.chain = newChain(o.ChainKey)
	}
	l.watch = time.AfterFunc(time.Hour, l.look)
	l.watch.Stop()
	return l
}

// clock is the time since the log was made.
func (l *Log) clock() time.Duration { return time.Since(l.started) }

// Append queues a line. done is called exactly once: with nil after the line was handed to the kernel, which is after a Flush that
// follows, or with the reason why it was not. Once a Flush has followed it does not wait for longer than Options.Patience, and what the
// machine adds to that when it has no processor for the process. Refusals come at once, before Append returns. done must not call Append.
// The line can be used again when Append returns.
func (l *Log) Append(line Line, done func(error)) {
	if err := l.enqueue(line, done); err != nil {
		done(err)
	}
}

func (l *Log) enqueue(line Line, done func(error)) error {
	if l.masker != nil {
		line = l.masker.masked(line)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.refusal(); err != nil {
		l.state.Refused++
		return err
	}
	before := len(l.queue.lines)
	lines := line.appendTo(l.queue.lines)
	if len(lines)-before > MaxLine {
		l.state.Refused++
		return ErrTooLong
	}
	if len(l.queue.done) == 0 {
		l.queue.since = l.clock()
	}
	l.queue.lines = lines
	l.queue.done = append(l.queue.done, done)
	return nil
}

// refusal is why no line is taken at the moment, or nil.
func (l *Log) refusal() error {
	switch {
	case l.closing:
		return ErrClosed
	case l.stuck:
		return ErrStuck
	case len(l.queue.lines) >= MaxPending:
		return ErrFull
	}
	return nil
}

// State is how a log fares.
type State struct {
	Written uint64 // lines that the kernel has taken
	Refused uint64 // lines whose owners were told of an error
	Stuck   bool   // a write hangs
	Err     error  // of the last write; nil if it went well
}

// State returns how the log fares.
func (l *Log) State() State {
	l.mu.Lock()
	defer l.mu.Unlock()
	s := l.state
	s.Stuck = l.stuck
	return s
}

// Reopen opens the log's file again by its path, for use after a rotation has renamed it. A write that is under way still goes to the
// file before; one that hangs is ended where the system can do that, as it can with pipes and not with files. On error the log goes on with
// the file it has. A log without a path has nothing to reopen.
func (l *Log) Reopen() error {
	if l.path == "" {
		return nil
	}
	s, err := openPath(l.path)
	if err != nil {
		return err
	}
	l.mu.Lock()
	if l.closed {
		l.mu.Unlock()
		return errors.Join(ErrClosed, s.Close())
	}
	old := []sink{l.next}
	l.next = s
	switch {
	case !l.writing:
		old = append(old, l.turn())
	case l.stuck && !l.ended:
		l.ended = true
		old = append(old, l.sink)
	}
	l.mu.Unlock()
	return closeAll(old)
}

// closeAll closes those that are not nil.
func closeAll(all []sink) error {
	var errs []error
	for _, s := range all {
		if s != nil {
			errs = append(errs, s.Close())
		}
	}
	return errors.Join(errs...)
}

// turn goes over to the next sink, if there is one, and returns the one before if it is still to be closed. The caller holds mu and is the
// writer or there is none.
func (l *Log) turn() (before sink) {
	if l.next == nil {
		return nil
	}
	if !l.ended {
		before = l.sink
	}
	l.sink, l.next, l.ended, l.broken, l.slow = l.next, nil, false, false, false
	return before
}

// Close writes what is queued, waits for the write and for the owners, and closes the sink. Calls of Append are refused from then on. A
// write that hangs is not waited for beyond the log's patience; ErrStuck tells of it.
func (l *Log) Close() error {
	l.mu.Lock()
	l.closing = true
	l.mu.Unlock()
	l.Flush()
	expired := false
	stop := time.AfterFunc(l.patience, func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		expired = true
		l.idle.Broadcast()
	})
	defer stop.Stop()
	l.mu.Lock()
	for (l.writing || l.telling > 0) && !expired {
		l.idle.Wait()
	}
	if l.closed {
		l.mu.Unlock()
		return nil
	}
	l.closed = true
	var errs []error
	if l.writing {
		errs = append(errs, ErrStuck)
	}
	left := l.queue.done
	l.queue = batch{}
	open := []sink{l.next}
	if !l.ended {
		open = append(open, l.sink)
	}
	l.mu.Unlock()
	errs = append(errs, closeAll(open))
	for _, done := range left {
		done(ErrClosed)
	}
	return errors.Join(errs...)
}

package audit

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"time"
)

// slowWrite is how long a write may take until the next one is left to a goroutine of its own. The sinks that this is about never say that
// they would have to wait.
const slowWrite = 50 * time.Millisecond

// Flush writes what is queued and calls the done functions of what it wrote, on this goroutine. If another goroutine is writing already,
// Flush leaves the queue to it and returns at once. It writes one batch: what gathered meanwhile goes to a goroutine of the log's own, so
// that no caller is held by the lines of others. What a pipe or a socket does not take at once goes there too. A file has no way to tell:
// when it hangs for the first time, Flush hangs with it, and the done functions are called elsewhere.
func (l *Log) Flush() {
	if !l.begin() {
		return
	}
	out := l.compose()
	var n int
	var err error
	switch s := l.sink.(type) {
	case trier:
		n, err = s.TryWrite(out)
	default:
		if !l.slow {
			n, err = l.put(out)
		}
	}
	if n < len(out) && err == nil || l.settle(out, n, err) {
		go l.finish(out, n, err)
	}
}

// finish writes what is left of out; after an error, what is left of the batch.
func (l *Log) finish(out []byte, n int, err error) {
	for {
		if err != nil {
			out, n = l.compose(), 0
		}
		var m int
		m, err = l.put(out[n:])
		if again := l.settle(out, n+m, err); !again {
			return
		}
	}
}

// put waits for the sink to take p.
func (l *Log) put(p []byte) (int, error) {
	began := l.clock()
	n, err := l.sink.Write(p)
	l.slow = l.clock()-began > slowWrite
	if err == nil && n < len(p) {
		err = io.ErrShortWrite
	}
	return n, err
}

// begin takes the writer's place if there is something to write and the place is free.
func (l *Log) begin() bool {
	l.mu.Lock()
	if l.writing || len(l.queue.done) == 0 && len(l.owed) == 0 || l.closed {
		l.mu.Unlock()
		return false
	}
	l.writing = true
	l.take()
	l.mu.Unlock()
	return true
}

// take makes the queue what is being written. The caller holds mu.
func (l *Log) take() {
	b := l.queue
	l.queue, l.spare = l.spare, batch{}
	if len(b.done) == 0 {
		b.since = l.clock()
	}
	l.lines, l.count, l.from, l.failed = b.lines, len(b.done), 0, nil
	l.owners, l.since, l.told, l.spared = b.done, b.since, false, false
	l.taken = l.clock()
	if !l.watching {
		l.watching = true
		l.watch.Reset(l.patience)
	}
}

// When the look at a write comes later than starved, this process had no processor, and the writer most likely neither: it is not the sink that
// hangs. The writer is given a grace then, once.
const (
	starved = 20 * time.Millisecond
	grace   = 100 * time.Millisecond
)

// look finds out whether a write hangs, on a goroutine of its own.
func (l *Log) look() {
	l.mu.Lock()
	l.watching = false
	if !l.writing || l.told {
		l.mu.Unlock()
		return
	}
	left := l.since + l.patience - l.clock()
	if left < -starved && !l.spared {
		l.spared = true
		left = grace
	}
	if left > 0 {
		l.watching = true
		l.watch.Reset(left)
		l.mu.Unlock()
		return
	}
	owners, waiting := l.owners, l.queue.done
	l.owners, l.queue = nil, batch{}
	l.told, l.stuck = true, true
	l.failing, l.saidAt = true, l.clock()
	l.state.Refused += uint64(len(owners) + len(waiting))
	l.telling++
	l.mu.Unlock()
	for _, done := range owners {
		done(ErrStuck)
	}
	for _, done := range waiting {
		done(ErrStuck)
	}
	l.log.Error("audit sink hangs, its lines are refused", "refused", len(owners)+len(waiting))
	l.hasTold(batch{})
}

// compose returns what to write: what is owed, and the lines that are not dealt with.
func (l *Log) compose() []byte {
	l.mu.Lock()
	before := l.turn()
	l.mu.Unlock()
	if before != nil {
		if err := before.Close(); err != nil && !errors.Is(err, os.ErrClosed) {
			l.log.Error("audit file before the rotation not closed cleanly", "error", err)
		}
	}
	lines := l.lines[endOf(l.lines, l.from):]
	if l.chain == nil && !l.broken && len(l.owed) == 0 {
		return lines
	}
	out := l.buffer[:0]
	if l.broken {
		out = append(out, l.ending...)
	}
	if l.chain == nil {
		out = append(append(out, l.owed...), lines...)
	} else {
		l.chain.begin(l.sink)
		out = l.chain.seal(l.chain.seal(out, l.owed), lines)
	}
	l.buffer = nil
	if cap(out) <= maxKept {
		l.buffer = out
	}
	return out
}

// endOf returns where the first n lines end.
func endOf(lines []byte, n int) int {
	end := 0
	for range n {
		end += bytes.IndexByte(lines[end:], '\n') + 1
	}
	return end
}

// settle takes note of what became of the first n bytes of out, and tells the owners. Before, it leaves the writer's place to whoever comes
// next, or to a goroutine of the log's own if there is more to write: what an owner does holds nobody up. It reports whether the batch is
// not over yet; then it has done neither.
func (l *Log) settle(out []byte, n int, err error) (again bool) {
	if err == nil {
		l.broken, l.owed, l.from = false, l.owed[:0], l.count
	} else if again = l.fail(out, n, err); again {
		return true
	}
	if l.from == l.count && len(l.owed) == 0 && errors.Is(err, ErrTooLong) {
		err = nil // of the sink
	}
	b, from, failed := batch{lines: l.lines}, l.from, l.failed
	if l.onWrite != nil {
		l.onWrite(l.clock()-l.taken, l.count, err)
	}
	l.mu.Lock()
	if l.told {
		l.mu.Unlock()
		l.owe()
		l.mu.Lock()
	}
	b.done, l.owners, l.stuck = l.owners, nil, false
	l.state.note(from-len(failed), max(len(b.done)-from, 0)+len(failed), err)
	more := len(l.queue.done) > 0 || len(l.owed) > 0 && err == nil
	if more {
		l.take()
	} else {
		l.writing = false
	}
	tell := l.news(err)
	l.telling++
	l.mu.Unlock()
	if more {
		go l.finish(nil, 0, errMore)
	}
	b.tell(from, failed, err)
	tell()
	l.hasTold(b)
	return false
}

// errMore has finish begin with a batch of its own.
var errMore = errors.New("more")

// note counts what became of lines.
func (s *State) note(written, refused int, err error) {
	s.Written += uint64(written)
	s.Refused += uint64(refused)
	s.Err = err
}

// tell calls the owners: those before from are well unless they failed, and for the others there is err.
func (b *batch) tell(from int, failed []failure, err error) {
	if err != nil {
		err = fmt.Errorf("audit: write: %w", err)
	}
	for i, done := range b.done {
		b.done[i] = nil
		switch {
		case len(failed) > 0 && failed[0].line == i:
			done(failed[0].err)
			failed = failed[1:]
		case i < from:
			done(nil)
		default:
			done(err)
		}
	}
}

// hasTold ends the telling of a batch, and keeps its memory for another.
func (l *Log) hasTold(b batch) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.telling--; l.telling == 0 {
		l.idle.Broadcast()
	}
	if l.spare.lines == nil && cap(b.lines) <= maxKept {
		l.spare = batch{lines: b.lines[:0], done: b.done[:0]}
	}
}

// fail finds out which lines are among the first n bytes of out, the kernel having taken no more because of err. It reports whether the lines
// that follow are to be tried again, because the error was only about one.
func (l *Log) fail(out []byte, n int, err error) (again bool) {
	whole := bytes.Count(out[:n], []byte{'\n'})
	if l.chain != nil {
		l.chain.rewind(out[:n])
	}
	if n > 0 {
		if l.broken {
			whole = max(whole-1, 0)
		}
		if l.broken = out[n-1] != '\n'; l.broken {
			l.ending = endingOf(out, n)
		}
	}
	owed := min(whole, bytes.Count(l.owed, []byte{'\n'}))
	l.owed = append(l.owed[:0], l.owed[endOf(l.owed, owed):]...)
	l.from += whole - owed
	if errors.Is(err, ErrTooLong) && len(l.owed) == 0 && l.from < l.count {
		l.failed = append(l.failed, failure{l.from, err})
		l.from++
		return l.from < l.count
	}
	return false
}

// endingOf is what ends a line of which the kernel has taken a part, the last of the first n bytes of out. A newline alone would make a line
// that lacks nothing else a record of what was refused.
func endingOf(out []byte, n int) string {
	if n < len(out) && out[n] == '\n' {
		return "!\n"
	}
	return "\n"
}

// owe remembers to mark what was written in vain: the allows whose owners were told that there is no record of them.
func (l *Log) owe() {
	n := 0
	for line := range bytes.Lines(l.lines[:endOf(l.lines, l.from)]) {
		if !isFailed(l.failed, n) {
			l.owed = appendUndelivered(l.owed, line, l.now())
		}
		n++
	}
}

func isFailed(failed []failure, line int) bool {
	return slices.ContainsFunc(failed, func(f failure) bool { return f.line == line })
}

// appendUndelivered appends the line that says of an allow that it was not given, and nothing for any other line.
func appendUndelivered(b, line []byte, now time.Time) []byte {
	var r struct {
		Event, ID, Decision string
		Attempt             int64
	}
	if err := json.Unmarshal(line, &r); err != nil || r.Event != EventDecision || r.Decision != "allow" {
		return b
	}
	u := Undelivered{Time: now, ID: r.ID, Attempt: r.Attempt}
	return u.appendTo(b)
}

// sayEvery bounds how often the log tells of a sink that fails and recovers in turns.
const sayEvery = time.Second

// news returns what tells of the sink's failure or recovery. The caller holds mu.
func (l *Log) news(err error) (tell func()) {
	failing := err != nil
	if failing == l.failing || l.saidAt != 0 && l.clock()-l.saidAt < sayEvery {
		return func() {}
	}
	l.failing, l.saidAt = failing, l.clock()
	if !failing {
		return func() { l.log.Info("audit sink works again") }
	}
	return func() { l.log.Error("audit sink fails, its lines are refused", "error", err) }
}

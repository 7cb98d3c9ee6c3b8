package closing

import (
	"errors"
	"sync"
	"time"

	"vertex-spoa/agent/internal/audit"
)

// batchSize is how many closings are handed to the audit log at once. They share one write.
const batchSize = 512

// The pauses between attempts to write begin with the first and double up to the last.
const (
	firstPause = 50 * time.Millisecond
	lastPause  = 5 * time.Second
)

// writer writes closings in the order they come. While the audit log takes none it tries again and again, and holds as many as decisions
// may wait; further ones are lost, and so are those that the log still refuses at the end. Where the log's sink hangs and comes back, a
// closing may be there twice: a line too many says nothing wrong, and one too few would.
type writer struct {
	cfg    Config
	more   chan struct{} // something has come, or the end has
	ending chan struct{} // closed when nothing more comes: no pause is worth waiting for then

	mu     sync.Mutex
	queue  []*audit.Closing
	closed bool
}

func newWriter(cfg Config) *writer {
	return &writer{cfg: cfg, more: make(chan struct{}, 1), ending: make(chan struct{})}
}

// put queues a closing, and does not wait. One that is not taken is told to OnLost.
func (w *writer) put(c *audit.Closing) {
	if w.enqueue(c) {
		w.wake()
	} else {
		w.lost(1)
	}
}

func (w *writer) enqueue(c *audit.Closing) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed || len(w.queue) >= w.cfg.MaxPending {
		return false
	}
	w.queue = append(w.queue, c)
	return true
}

// room is how many closings the queue takes.
func (w *writer) room() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.cfg.MaxPending - len(w.queue)
}

// close makes run return when the queue is empty. Nothing is taken after it.
func (w *writer) close() {
	w.mu.Lock()
	w.closed = true
	w.mu.Unlock()
	close(w.ending)
	w.wake()
}

func (w *writer) wake() {
	select {
	case w.more <- struct{}{}:
	default:
	}
}

func (w *writer) lost(n int) {
	if w.cfg.OnLost != nil {
		w.cfg.OnLost(n)
	}
}

// run writes until close.
func (w *writer) run() {
	for {
		<-w.more
		queue, last := w.take()
		for len(queue) > 0 {
			n := min(len(queue), batchSize)
			w.write(queue[:n])
			queue = queue[n:]
		}
		if last {
			return
		}
	}
}

// take empties the queue, and reports whether nothing follows.
func (w *writer) take() ([]*audit.Closing, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	queue := w.queue
	w.queue = nil
	return queue, w.closed
}

// write writes a batch, if need be in several attempts.
func (w *writer) write(batch []*audit.Closing) {
	if w.cfg.Flags != nil {
		for _, c := range batch {
			c.Flags = w.cfg.Flags(c)
		}
	}
	for pause := firstPause; ; pause = min(2*pause, lastPause) {
		last := w.isEnding()
		left, err := w.try(batch)
		if len(left) == 0 {
			return
		}
		if last || errors.Is(err, audit.ErrClosed) {
			w.giveUp(left, err)
			return
		}
		batch = left
		select {
		case <-time.After(pause):
		case <-w.ending:
		}
	}
}

func (w *writer) isEnding() bool {
	select {
	case <-w.ending:
		return true
	default:
		return false
	}
}

func (w *writer) giveUp(batch []*audit.Closing, err error) {
	w.cfg.Log.Error("closings could not be written and are lost", "closings", len(batch), "error", err)
	w.lost(len(batch))
}

// try hands closings to the audit log in one go, waits until it is done with them, and returns those that are worth another attempt, and
// why.
func (w *writer) try(batch []*audit.Closing) (left []*audit.Closing, reason error) {
	errs := make([]error, len(batch))
	var writing sync.WaitGroup
	writing.Add(len(batch))
	for i, c := range batch {
		w.cfg.Audit.Append(c, func(err error) {
			errs[i] = err
			writing.Done()
		})
	}
	w.cfg.Audit.Flush()
	writing.Wait()
	for i, c := range batch {
		switch err := errs[i]; {
		case errors.Is(err, audit.ErrTooLong):
			w.giveUp(batch[i:i+1], err)
		case err != nil:
			left, reason = append(left, c), err
		case w.cfg.OnClosing != nil:
			w.cfg.OnClosing(c)
		}
	}
	return left, reason
}

package trace

import "sync"

// queue is what waits for the sender. Whoever adds does not wake it up each time, which would cost more than all the rest: it looks by
// itself from time to time, and is woken when there is enough to send.
type queue struct {
	max, enough int
	wake        chan struct{} // there is enough

	mu     sync.Mutex
	jobs   []job
	spare  []job // memory for the next jobs
	closed bool
}

func newQueue(limit, enough int) *queue {
	return &queue{max: limit, enough: max(1, min(enough, limit/2)), wake: make(chan struct{}, 1)}
}

// add reports false for a job that does not fit, or came after the end.
func (q *queue) add(j job) bool {
	q.mu.Lock()
	if q.closed || len(q.jobs) >= q.max {
		q.mu.Unlock()
		return false
	}
	q.jobs = append(q.jobs, j)
	enough := len(q.jobs) == q.enough
	q.mu.Unlock()
	if enough {
		select {
		case q.wake <- struct{}{}:
		default:
		}
	}
	return true
}

// take returns what waits. It is the caller's until it calls take again.
func (q *queue) take() []job {
	q.mu.Lock()
	defer q.mu.Unlock()
	taken := q.jobs
	clear(q.spare)
	q.jobs, q.spare = q.spare[:0], taken
	return taken
}

// close lets nothing in any more.
func (q *queue) close() {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.closed = true
}

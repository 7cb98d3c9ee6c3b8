package spoe

import (
	"sync"
	"time"
)

// leave is how a draining connection ends.
type leave int

const (
	stays      leave = iota
	leavesIdle       // nothing has come for long
	leavesUsed       // after an answer
)

// leaves orders the ends of draining connections. HAProxy may have sent a NOTIFY
// on one before it sees the end. It asks again then, on another one, which must
// not end just as well: a second attempt is the last one. That HAProxy has seen
// an end it tells by closing the connection, which may be late where it has to
// wait for a processor.
//
// So one that is in use ends when no other does; those that are idle may end
// together, but not beside one that is in use.
type leaves struct {
	mu                 sync.Mutex
	idle, used         int // those that HAProxy has not closed
	idleGone, usedGone time.Time
}

// may reports whether a connection may end now as l says. Then the same must be
// told to gone when HAProxy has closed it.
func (s *leaves) may(l leave, now time.Time) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.used > 0, now.Sub(s.usedGone) < drainStep:
		return false
	case l == leavesIdle:
		s.idle++
		return true
	case s.idle > 0, now.Sub(s.idleGone) < drainStep:
		return false
	}
	s.used++
	return true
}

// gone takes note that a connection is closed.
func (s *leaves) gone(l leave) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch l {
	case leavesIdle:
		s.idle, s.idleGone = s.idle-1, time.Now()
	case leavesUsed:
		s.used, s.usedGone = s.used-1, time.Now()
	}
}

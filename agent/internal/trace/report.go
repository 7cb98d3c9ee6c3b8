package trace

import (
	"sync/atomic"
	"time"
)

// maxError is how much of an error is logged: a collector may say anything.
const maxError = 300

// reportFailure logs the beginning of a failure, and at most one a minute. How much is lost in all is what Count is for.
func (s *sender) reportFailure(n int, err error) {
	s.failed += n
	if s.failing || time.Since(s.warned) < quiet {
		return
	}
	s.log.Warn("traces not delivered", "endpoint", s.endpoint, "spans", s.failed, "error", s.describe(err))
	s.failing, s.warned, s.failed = true, time.Now(), 0
}

// reportSuccess logs the end of a failure whose beginning was logged.
func (s *sender) reportSuccess() {
	if !s.failing {
		return
	}
	s.log.Info("traces delivered again", "endpoint", s.endpoint, "lost_spans", s.failed)
	s.failing, s.failed = false, 0
}

// reportDropped logs that the queue was full, as seldom as a failure.
func (s *sender) reportDropped(dropped *atomic.Int64) {
	if s.failing || time.Since(s.warned) < quiet {
		return
	}
	if n := dropped.Swap(0); n > 0 {
		s.log.Warn("traces dropped, the collector takes less than there is", "endpoint", s.endpoint, "spans", n)
		s.warned = time.Now()
	}
}

// describe returns the error for the log. It can quote what the collector said, and that can quote our headers.
func (s *sender) describe(err error) string {
	return validText(cut(s.secrets.Replace(err.Error()), maxError))
}

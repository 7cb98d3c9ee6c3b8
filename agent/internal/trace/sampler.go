package trace

import (
	"crypto/sha256"
	"encoding/binary"
	"strconv"
	"sync/atomic"
	"time"
)

// sampler says what is traced. It decides by the decision's id, so that a decision, its repetition and its call agree without any memory.
type sampler struct {
	bound     uint64 // ids whose draw is below are traced
	strangers *limiter
}

func newSampler(share float64) sampler {
	return sampler{bound: uint64(share * (1 << 63)), strangers: newLimiter(10)}
}

// samples reports whether the call is traced. known callers are those who were verified. What has no id is nothing that can be followed.
func (s *sampler) samples(p *parent, id string, known bool) bool {
	switch {
	case id == "", p.valid() && !p.sampled:
		return false
	case p.valid() && known:
		return true
	case p.valid() && s.strangers.take():
		return true
	case s.bound == 0:
		return false
	}
	// The draw is not on the parent's trace id, which is the caller's choice. For a trace of our own it is what other samplers by trace id
	// do with the same share.
	own := rootID(id)
	return binary.BigEndian.Uint64(own[8:])>>1 < s.bound
}

// limiter lets n events a second through, and as many at once.
type limiter struct {
	start    time.Time
	interval int64 // ns
	burst    int64 // ns
	next     atomic.Int64
}

func newLimiter(n int64) *limiter {
	return &limiter{start: time.Now(), interval: int64(time.Second) / n, burst: int64(time.Second)}
}

func (l *limiter) take() bool {
	now := int64(time.Since(l.start))
	for {
		next := l.next.Load()
		from := max(next, now)
		if from+l.interval-now > l.burst {
			return false
		}
		if l.next.CompareAndSwap(next, from+l.interval) {
			return true
		}
	}
}

// rootID returns the trace id of a call that has no parent.
func rootID(id string) traceID {
	sum := hash(nil, id)
	return traceID(sum[:16])
}

// spanIDOf returns the id of a span of the call: of the same call it is always the same.
func spanIDOf(kind string, attempt int64, id string) spanID {
	var buf [64]byte
	prefix := append(append(buf[:0], kind...), '/')
	sum := hash(append(strconv.AppendInt(prefix, attempt, 10), '/'), id)
	return spanID(sum[:8])
}

func hash(prefix []byte, id string) [sha256.Size]byte {
	var buf [320]byte // ids are cut to 256 bytes in records
	return sha256.Sum256(append(append(buf[:0], prefix...), id...))
}

// traceOf returns the trace that a call belongs to.
func traceOf(p *parent, id string) traceID {
	if p.valid() {
		return p.trace
	}
	return rootID(id)
}

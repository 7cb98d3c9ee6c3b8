package google

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync"
	"time"
)

const breakAfter = 5 // failures in a row

// breaker keeps the calls of many from a party that is down: after breakAfter failures in a row, or when the party asks for it, no call is
// made for a pause, and then one on trial. A success closes it. The zero breaker is closed. It is safe for concurrent use.
type breaker struct {
	mu       sync.Mutex
	failures int // in a row
	until    time.Time
	trial    bool   // the one call on trial is under way
	last     string // who failed last
	said     string // the Detail of that
}

// admit says whether a call may be made now, and if not how long to wait. A call that is admitted ends with a call of done.
func (b *breaker) admit(now time.Time) (wait time.Duration, ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.until.IsZero():
		return 0, true
	case now.Before(b.until):
		return b.until.Sub(now), false
	case b.trial:
		return firstPause, false
	}
	b.trial = true
	return 0, true
}

// refusal is the error of a call that is not made for wait.
func (b *breaker) refusal(reason Reason, party string, wait time.Duration) *Error {
	b.mu.Lock()
	defer b.mu.Unlock()
	return &Error{Reason: reason, RetryAfter: wait, Detail: fmt.Sprintf("%s did not answer others and is tried again later; lastly: %s", party, b.said)}
}

// wait returns how long no call is admitted, zero if one may be.
func (b *breaker) wait(now time.Time) time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	return max(b.until.Sub(now), 0)
}

// end is done for a call under ctx, and tells the log when the breaker opens and when it closes. A call that was given up says nothing
// about the party.
func (b *breaker) end(ctx context.Context, who string, failure *Error, party string, log *slog.Logger) {
	if ctx.Err() != nil {
		b.skip()
		return
	}
	before := b.open()
	b.done(who, failure, wall())
	switch after := b.open(); {
	case after && !before:
		log.Warn("calls are paused, with one on trial now and then", "party", party, "detail", failure.Detail, "fix", failure.Fix)
	case before && !after:
		log.Info("calls are made again", "party", party)
	}
}

// done tells how an admitted call ended: a success, or an answer that shows that the party is up, closes the breaker. The failures in a
// row of one and the same who count as one, since they may be its own; those of nobody, "", each count.
func (b *breaker) done(who string, failure *Error, now time.Time) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.trial = false
	if failure == nil || failure.Reason != ExchangeUnavailable && failure.Reason != MintUnavailable {
		b.failures, b.until, b.last, b.said = 0, time.Time{}, "", ""
		return
	}
	if b.until.IsZero() && who != "" && who == b.last {
		return
	}
	b.last, b.said = who, failure.Detail
	b.failures++
	if b.failures < breakAfter && failure.RetryAfter == 0 {
		return
	}
	n := max(1, b.failures-breakAfter+1)
	b.until = now.Add(pause(n, &Error{Reason: failure.Reason, RetryAfter: failure.RetryAfter}, 0, rand.Float64()))
}

// skip takes an admission back: the call was not made.
func (b *breaker) skip() {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.trial = false
}

// open reports whether the party is taken for down.
func (b *breaker) open() bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	return !b.until.IsZero()
}

// budget bounds how often something is done: perMinute times in a minute and a sixth of that at once. It is safe for concurrent use.
type budget struct {
	perMinute int

	mu   sync.Mutex
	left float64
	last time.Time
}

func newBudget(perMinute int) *budget {
	return &budget{perMinute: perMinute, left: burst(perMinute)}
}

func burst(perMinute int) float64 { return max(1, float64(perMinute)/6) }

// take takes one, or says how long it is until there is one.
func (b *budget) take(now time.Time) (wait time.Duration, ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	rate := float64(b.perMinute) / float64(time.Minute)
	if passed := now.Sub(b.last); passed > 0 {
		if !b.last.IsZero() {
			b.left = min(burst(b.perMinute), b.left+float64(passed)*rate)
		}
		b.last = now
	}
	if b.left < 1 {
		return time.Duration((1 - b.left) / rate), false
	}
	b.left--
	return 0, true
}

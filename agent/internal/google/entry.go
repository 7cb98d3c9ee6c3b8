package google

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"
)

// entry is one token that is kept fresh: an account's or the agent's own. At most one mint of it runs at a time; the mint belongs to
// the entry and no caller's context ends it. All methods are safe for concurrent use.
type entry struct {
	account  string   // for errors and the log; empty for the agent's own
	audience string   // for errors; empty where no caller's token is exchanged
	mint     mintFunc // one attempt; nil where that takes a caller's token, which then nothing but the caller's request refreshes
	tasks    *tasks
	log      *slog.Logger

	size        int    // bytes, where somebody counts them; belongs to who does
	fingerprint string // by which whoever counts finds the entry; belongs to them too

	token atomic.Pointer[issued] // nil for none
	used  atomic.Bool            // handed out since it was minted

	mu       sync.Mutex // never held across I/O, which logging is too
	kept     bool       // refreshed even if unused
	stopped  bool
	flight   *flight   // nil if no mint runs
	failure  *Error    // of the last mint, nil after a success
	failures int       // in a row
	retry    time.Time // no mint before this
	dropped  time.Time
	timer    *time.Timer
}

// mintFunc is one attempt to get a token.
type mintFunc func(context.Context) (Token, error)

// flight is one mint, from the decision to ask until its outcome. The outcome is written before done is closed.
type flight struct {
	cancel     context.CancelFunc
	background bool // no caller asked for it, so its failure is logged and not returned
	done       chan struct{}
	token      Token
	err        *Error
}

const (
	attempts      = 3                      // within one flight
	attemptPause  = 200 * time.Millisecond // between them, times 0.5 to 1.5
	flightTimeout = 30 * time.Second       // attempts and waiting for a free slot together
	dropCooldown  = time.Minute
)

// get returns the token at hand or waits for a mint, starting one if there is none; see Source.Token.
func (e *entry) get(ctx context.Context) (Token, error) {
	now := time.Now()
	if t := e.token.Load(); t.usable(now) {
		if !e.used.Load() { // look before writing: every request of an account comes here
			e.used.Store(true)
		}
		if !now.Before(t.refresh) {
			e.refresh(e.mint)
		}
		return t.Token, nil
	}
	return e.fetch(ctx, e.mint)
}

// fetch waits for a mint, the running one or one that mint does.
func (e *entry) fetch(ctx context.Context, mint mintFunc) (Token, error) {
	f, err := e.join(mint)
	if err != nil {
		return Token{}, err
	}
	return e.wait(ctx, f)
}

// wait returns the outcome of f, or an error that wraps ctx.Err() if ctx ends before or has ended already.
func (e *entry) wait(ctx context.Context, f *flight) (Token, error) {
	select {
	case <-f.done:
	case <-ctx.Done():
	}
	select {
	case <-f.done: // preferred where both are
		if f.err != nil {
			return Token{}, f.err
		}
		e.used.Store(true)
		return f.token, nil
	default:
		failure := e.unavailable("the mint has not ended yet")
		failure.Err = ctx.Err()
		return Token{}, failure
	}
}

// join returns the running mint, or starts one, or returns the last error while that is too fresh to ask again.
func (e *entry) join(mint mintFunc) (*flight, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	now := wall()
	switch t := e.token.Load(); {
	case e.stopped:
		return nil, e.stoppedError()
	case t.usable(now): // a mint ended since the caller looked
		f := &flight{done: make(chan struct{}), token: t.Token}
		close(f.done)
		return f, nil
	case e.flight != nil:
		return e.flight, nil
	case now.Before(e.retry):
		failure := *e.failure
		failure.RetryAfter = e.retry.Sub(now)
		return nil, &failure
	case !e.launch(false, mint):
		return nil, e.stoppedError()
	}
	return e.flight, nil
}

func (e *entry) stoppedError() *Error {
	return e.unavailable("the source was closed or the entry evicted meanwhile")
}

func (e *entry) unavailable(detail string) *Error {
	if e.audience != "" {
		return &Error{Reason: ExchangeUnavailable, Account: e.account, Audience: e.audience, Detail: detail}
	}
	return &Error{Reason: MintUnavailable, Account: e.account, Detail: detail}
}

// refresh starts a mint in the background unless one runs or the last one failed too recently.
func (e *entry) refresh(mint mintFunc) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if !e.stopped && e.flight == nil && !wall().Before(e.retry) {
		e.launch(true, mint)
	}
}

// wake is the timer's: it refreshes a token that is kept or in use.
func (e *entry) wake() {
	e.mu.Lock()
	wanted := e.kept || e.used.Load() && e.token.Load().usable(wall())
	e.mu.Unlock()
	if wanted {
		e.refresh(e.mint)
	}
}

// launch starts a mint and reports whether it could. The caller holds mu and has seen that none runs.
func (e *entry) launch(background bool, mint mintFunc) bool {
	ctx, cancel := context.WithTimeout(context.Background(), flightTimeout)
	f := &flight{cancel: cancel, background: background, done: make(chan struct{})}
	started := e.tasks.start(func() {
		defer cancel()
		t, err := e.try(ctx, mint)
		e.land(f, t, err)
	})
	if !started {
		cancel()
		return false
	}
	e.flight = f
	return true
}

// try mints, a few times if the failure looks passing.
func (e *entry) try(ctx context.Context, mint mintFunc) (Token, *Error) {
	for n := 1; ; n++ {
		t, err := mint(ctx)
		if err == nil {
			return t, nil
		}
		failure := asError(e.account, err)
		if n == attempts || !failure.again() {
			return Token{}, failure
		}
		pause := time.NewTimer(time.Duration((0.5 + rand.Float64()) * float64(attemptPause)))
		select {
		case <-pause.C:
		case <-ctx.Done():
			pause.Stop()
			return Token{}, failure
		}
	}
}

// asError returns err as an *Error. What is none cannot be told from an outage.
func asError(account string, err error) *Error {
	if e, ok := errors.AsType[*Error](err); ok {
		return e
	}
	return &Error{Reason: MintUnavailable, Account: account, Detail: clean(err.Error())}
}

// land records the outcome of f, plans the next mint and lets the callers go.
func (e *entry) land(f *flight, t Token, failure *Error) {
	e.mu.Lock()
	e.flight = nil
	now := wall()
	t.Fingerprint = t.Value.Fingerprint()
	var changed bool
	switch {
	case e.stopped:
		f.err = e.stoppedError()
	case failure == nil:
		f.token, changed = t, e.failure != nil
		e.succeed(t, now)
	default:
		changed = e.failure == nil || e.failure.Reason != failure.Reason
		e.fail(failure, now)
		f.err = e.failure
	}
	e.mu.Unlock()
	close(f.done)

	// A failure that repeats itself is told once; what callers wait for, they are told themselves.
	switch {
	case !changed || !f.background || e.audience != "": // of callers there may be many
	case f.err != nil:
		e.log.Warn("token not refreshed", "account", e.account, "reason", f.err.Reason, "detail", f.err.Detail, "fix", f.err.Fix)
	default:
		e.log.Info("token refreshed again", "account", e.account, "expiry", t.Expiry)
	}
}

// succeed takes t into use, the caller holding mu.
func (e *entry) succeed(t Token, now time.Time) {
	e.failure, e.failures, e.retry = nil, 0, time.Time{}
	next := issue(t, now, rand.Float64())
	e.token.Store(next)
	e.used.Store(false)
	e.arm(next.refresh.Sub(now))
}

// fail notes a failure, the caller holding mu. The token at hand stays: what Google once issued is good until it expires.
func (e *entry) fail(failure *Error, now time.Time) {
	var left time.Duration
	if t := e.token.Load(); t.usable(now) {
		left = t.until.Sub(now)
	}
	e.failures++
	known := *failure
	known.RetryAfter = pause(e.failures, failure, left, rand.Float64())
	e.failure, e.retry = &known, now.Add(known.RetryAfter)
	if e.kept || left > 0 {
		e.arm(known.RetryAfter)
	}
}

// arm sets the timer, the caller holding mu. An entry that cannot mint by itself has none.
func (e *entry) arm(d time.Duration) {
	if e.mint == nil {
		return
	}
	if e.timer == nil {
		e.timer = time.AfterFunc(d, e.wake)
		return
	}
	e.timer.Reset(d)
}

// keep says whether the token is to be fresh even if nobody uses it. Keeping starts a mint if one is due.
func (e *entry) keep(kept bool) {
	e.mu.Lock()
	e.kept = kept
	now := wall()
	if wait := e.retry.Sub(now); kept && !e.stopped && wait > 0 {
		e.arm(wait) // an entry that nobody kept may have let a failure rest
	}
	e.mu.Unlock()
	if t := e.token.Load(); kept && (!t.usable(now) || !now.Before(t.refresh)) {
		e.refresh(e.mint)
	}
}

// drop forgets the token, at most once per dropCooldown, and has mint get a new one in the background, if mint is not nil.
func (e *entry) drop(mint mintFunc) {
	e.mu.Lock()
	now := wall()
	dropped := e.token.Load() != nil && now.Sub(e.dropped) >= dropCooldown
	if dropped {
		e.dropped = now
		e.token.Store(nil)
	}
	e.mu.Unlock()
	if dropped && mint != nil {
		e.refresh(mint)
	}
}

// has reports whether the token at hand has the fingerprint.
func (e *entry) has(fingerprint string) bool {
	t := e.token.Load()
	return t != nil && t.Fingerprint == fingerprint
}

// stop ends the entry: no refresh and no mint any more. A running mint is cancelled and its callers get an error; a token that is at
// hand stays with those who found the entry before.
func (e *entry) stop() {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.stopped = true
	if e.timer != nil {
		e.timer.Stop()
	}
	if e.flight != nil {
		e.flight.cancel()
	}
}

// status describes the entry; ok is false if there is nothing to say about it.
func (e *entry) status() (s AccountStatus, ok bool) {
	e.mu.Lock()
	defer e.mu.Unlock()
	s = AccountStatus{Account: e.account, Kept: e.kept}
	t := e.token.Load()
	usable := t.usable(wall())
	if usable {
		s.Account, s.Expiry, s.Minted = t.Account, t.Expiry, t.minted
	}
	if e.failure != nil {
		s.Reason, s.Error, s.Fix = e.failure.Reason, e.failure.Detail, e.failure.Fix
	}
	return s, e.kept || usable || e.failure != nil
}

// wall returns the time without its monotonic part, which stands still while a machine sleeps: expiry is a matter of the wall clock.
func wall() time.Time { return time.Now().Round(0) }

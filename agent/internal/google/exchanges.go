package google

import (
	"cmp"
	"context"
	"crypto/sha256"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/hashicorp/golang-lru/v2/simplelru"
)

const (
	defaultPerMinute      = 5_000
	defaultExchanged      = 100_000
	defaultExchangedBytes = 512 << 20

	maxExchanging = 1024 // exchanges under way, those that wait for a slot included
	entryBytes    = 720  // what an entry and its place in the memory cost besides the token
)

// exchanges gets tokens for callers' own tokens and remembers them. It holds no caller's token: only the request that brings one can
// exchange it. All methods are safe for concurrent use.
type exchanges struct {
	sts        *sts
	iam        *iam
	newEntry   func(account, audience string) *entry
	budget     *budget
	stsDown    breaker
	iamDown    breaker
	slots      chan struct{} // one element per exchange that talks to Google
	underWay   atomic.Int64  // exchanges, those that wait for a slot included
	onExchange func(audience string, d time.Duration, err error)

	maxBytes int
	mu       sync.Mutex // held for look-ups, never across I/O
	closed   bool
	held     *simplelru.LRU[key, *entry]
	printed  map[string]*entry // those held with a token, by its fingerprint
	bytes    int
}

// ExchangeStatus describes the callers' exchanged tokens, for people and for metrics.
type ExchangeStatus struct {
	// Held is how many callers are remembered, those without a token included; Bytes is about what they cost.
	Held  int `json:"held"`
	Bytes int `json:"bytes"`
	// UnderWay is how many exchanges are under way.
	UnderWay int `json:"under_way"`
	// STSDown and IAMDown are true while calls are not made because the last ones failed.
	STSDown bool `json:"sts_down"`
	IAMDown bool `json:"iam_down"`
}

func newExchanges(c Config, m *iam, newEntry func(account, audience string) *entry) (*exchanges, error) {
	if c.ExchangesPerMinute < 0 || c.Exchanged < 0 || c.ExchangedBytes < 0 {
		return nil, fmt.Errorf("%d exchanges per minute, %d held, %d bytes", c.ExchangesPerMinute, c.Exchanged, c.ExchangedBytes)
	}
	s, err := newSTS(c, m.carrier)
	if err != nil {
		return nil, err
	}
	x := &exchanges{
		sts: s, iam: m, newEntry: newEntry, onExchange: c.OnExchange,
		budget:   newBudget(cmp.Or(c.ExchangesPerMinute, defaultPerMinute)),
		slots:    make(chan struct{}, maxParallel),
		maxBytes: cmp.Or(c.ExchangedBytes, defaultExchangedBytes),
		printed:  map[string]*entry{},
	}
	x.held, err = simplelru.NewLRU[key, *entry](cmp.Or(c.Exchanged, defaultExchanged), x.forgotten)
	return x, err
}

// token is Source.Token of a request with Exchange.
func (x *exchanges) token(ctx context.Context, r Request) (Token, error) {
	k := r.key()
	now := time.Now()
	e := x.find(k)
	if e != nil {
		if t := e.token.Load(); t.usable(now) {
			// A token that ends with the caller's own cannot be bettered.
			if !now.Before(t.refresh) && t.Expiry.Before(r.SubjectExpiry.Truncate(time.Second)) {
				e.refresh(x.minter(k, e, r))
			}
			return t.Token, nil
		}
	}
	// What is refused here is not remembered: it costs no place, and does not concern the next who brings the same token.
	if err := refusedUnasked(r); err != nil {
		return Token{}, err
	}
	if e == nil {
		if e = x.entry(k, r, now); e == nil {
			return Token{}, &Error{Reason: ExchangeUnavailable, Account: r.Account, Audience: r.Exchange.Audience, Detail: "the source is closed"}
		}
	}
	return e.fetch(ctx, x.minter(k, e, r))
}

// refusedUnasked returns why r is refused before anybody is asked, or nil. The error is an *Error.
func refusedUnasked(r Request) error {
	if r.Exchange != nil && r.Subject.Len() == 0 {
		return &Error{Reason: ExchangeUnsupported, Audience: clean(r.Exchange.Audience), Detail: "the caller came without a token of its own"}
	}
	if err := r.check(); err != nil {
		return err
	}
	if r.Exchange == nil {
		return nil
	}
	if failure := exchangeable(r, wall()); failure != nil {
		failure.Account, failure.Audience = r.Account, r.Exchange.Audience
		return failure
	}
	return nil
}

// entry returns the entry of k, new if need be, and nil if the Source is closed.
func (x *exchanges) entry(k key, r Request, now time.Time) *entry {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.closed {
		return nil
	}
	if e, ok := x.held.Get(k); ok { // another caller was quicker
		return e
	}
	e := x.newEntry(r.Account, r.Exchange.Audience)
	x.forgetExpired(now)
	e.size = entryBytes
	x.bytes += e.size
	x.held.Add(k, e)
	x.fit()
	return e
}

func (x *exchanges) find(k key) *entry {
	x.mu.Lock()
	defer x.mu.Unlock()
	e, _ := x.held.Get(k)
	return e
}

// forgetExpired removes a few of those used least recently if their tokens are of no use any more, the caller holding mu.
func (x *exchanges) forgetExpired(now time.Time) {
	for range 4 {
		_, oldest, ok := x.held.GetOldest()
		if !ok {
			return
		}
		if t := oldest.token.Load(); t == nil || t.usable(now) {
			return
		}
		x.held.RemoveOldest()
	}
}

// fit removes those used least recently until the rest fits, the caller holding mu.
func (x *exchanges) fit() {
	for x.bytes > x.maxBytes && x.held.Len() > 1 {
		x.held.RemoveOldest()
	}
}

// forgotten is called for every entry that is removed, the caller holding mu.
func (x *exchanges) forgotten(_ key, e *entry) {
	x.bytes -= e.size
	x.unprint(e)
	e.stop()
}

// unprint forgets by which fingerprint e is found, the caller holding mu.
func (x *exchanges) unprint(e *entry) {
	if x.printed[e.fingerprint] == e {
		delete(x.printed, e.fingerprint)
	}
}

// weigh notes what the entry of k costs now that it is to hold t, and by which fingerprint it is found.
func (x *exchanges) weigh(k key, e *entry, t Token) {
	fingerprint := t.Value.Fingerprint()
	x.mu.Lock()
	defer x.mu.Unlock()
	if held, ok := x.held.Peek(k); !ok || held != e {
		return
	}
	x.bytes -= e.size
	e.size = entryBytes + t.Value.Len()
	x.bytes += e.size
	x.unprint(e)
	e.fingerprint, x.printed[fingerprint] = fingerprint, e
	x.fit()
}

// minter returns the function that exchanges the caller's token of r, which holds that token as long as it runs.
func (x *exchanges) minter(k key, e *entry, r Request) mintFunc {
	r = r.clone()
	return func(ctx context.Context) (Token, error) {
		t, err := x.once(ctx, r)
		if err == nil {
			x.weigh(k, e, t)
		}
		return t, err
	}
}

// once makes one attempt. The error is an *Error.
func (x *exchanges) once(ctx context.Context, r Request) (Token, error) {
	start := time.Now()
	t, failure := x.mint(ctx, r)
	var err error
	if failure != nil {
		failure.Account, failure.Audience = r.Account, r.Exchange.Audience
		err = failure
	}
	if x.onExchange != nil {
		x.onExchange(r.Exchange.Audience, time.Since(start), err)
	}
	return t, err
}

// mint exchanges the caller's token and, in mode Impersonate, mints with what came of it.
func (x *exchanges) mint(ctx context.Context, r Request) (Token, *Error) {
	if failure := exchangeable(r, wall()); failure != nil { // refreshes come here unchecked
		return Token{}, failure
	}
	if x.underWay.Add(1) > maxExchanging {
		x.underWay.Add(-1)
		return Token{}, &Error{Reason: ExchangeLimit, RetryAfter: time.Second,
			Detail: fmt.Sprintf("%d exchanges are under way", maxExchanging)}
	}
	defer x.underWay.Add(-1)
	select {
	case x.slots <- struct{}{}:
		defer func() { <-x.slots }()
	case <-ctx.Done():
		return Token{}, &Error{Reason: ExchangeUnavailable, Detail: "too many exchanges wait for STS"}
	}
	if wait := x.iamDown.wait(wall()); wait > 0 && r.Exchange.Mode == Impersonate {
		return Token{}, x.iamDown.refusal(MintUnavailable, "IAM", wait) // before an exchange is spent
	}
	t, failure := x.exchange(ctx, r)
	if failure != nil || r.Exchange.Mode == Direct {
		return t, failure
	}
	return x.impersonate(ctx, r, t)
}

// exchange asks STS, if it is not down and the budget allows.
func (x *exchanges) exchange(ctx context.Context, r Request) (Token, *Error) {
	if wait, ok := x.stsDown.admit(wall()); !ok {
		return Token{}, x.stsDown.refusal(ExchangeUnavailable, "STS", wait)
	}
	if wait, ok := x.budget.take(wall()); !ok {
		x.stsDown.skip()
		return Token{}, &Error{Reason: ExchangeLimit, RetryAfter: max(wait, time.Second),
			Detail: fmt.Sprintf("more than %d exchanges a minute", x.budget.perMinute)}
	}
	t, failure := x.sts.exchange(ctx, r)
	x.stsDown.end(ctx, "", failure, "STS", x.iam.log)
	return t, failure
}

// impersonate mints a token of the account with a federated token. It is not good for longer than the caller's own.
func (x *exchanges) impersonate(ctx context.Context, r Request, own Token) (Token, *Error) {
	if wait, ok := x.iamDown.admit(wall()); !ok {
		return Token{}, x.iamDown.refusal(MintUnavailable, "IAM", wait)
	}
	t, failure := x.iam.generate(ctx, r, actor{own.Value, principalIn(r.Exchange.Audience, "SUBJECT"), roleOf(r.Exchange.Audience)})
	x.iamDown.end(ctx, "", failure, "IAM for callers", x.iam.log)
	if failure != nil {
		switch failure.Reason { // it is not the agent's own token that was refused
		case CredentialsUnavailable:
			failure.Reason = ExchangeUnavailable
		case AccountForbidden:
			failure.Reason = ExchangeRefused
		case MintUnavailable, MintInvalid, ExchangeRefused, ExchangeUnsupported, ExchangeUnavailable, ExchangeLimit:
		}
		return Token{}, failure
	}
	if until := r.SubjectExpiry.Round(0); until.Before(t.Expiry) {
		t.Expiry = until
	}
	if !wall().Before(t.Expiry) {
		return Token{}, expiredMeanwhile()
	}
	return t, nil
}

// drop is Source.Drop of a request with Exchange. Without the caller's token the next request that brings it gets the new one.
func (x *exchanges) drop(r Request) {
	k := r.key()
	e := x.find(k)
	switch {
	case e == nil:
	case r.Subject.Len() == 0:
		e.drop(nil)
	default:
		e.drop(x.minter(k, e, r))
	}
}

// dropFingerprint is Source.DropFingerprint. The caller's next request exchanges its token anew.
func (x *exchanges) dropFingerprint(fingerprint string) bool {
	x.mu.Lock()
	e := x.printed[fingerprint]
	x.mu.Unlock()
	if e == nil || !e.has(fingerprint) {
		return false
	}
	e.drop(nil)
	return true
}

func (x *exchanges) status() ExchangeStatus {
	x.mu.Lock()
	defer x.mu.Unlock()
	return ExchangeStatus{
		Held: x.held.Len(), Bytes: x.bytes, UnderWay: int(x.underWay.Load()), STSDown: x.stsDown.open(), IAMDown: x.iamDown.open(),
	}
}

// close ends all entries; tasks are waited for by the Source.
func (x *exchanges) close() {
	x.mu.Lock()
	defer x.mu.Unlock()
	x.closed = true
	x.held.Purge()
}

// digestOf is what Request.SubjectDigest has to be.
func digestOf(r Request) [sha256.Size]byte { return sha256.Sum256([]byte(r.Subject.Reveal())) }

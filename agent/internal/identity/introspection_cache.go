package identity

import (
	"context"
	"crypto/sha256"
	"net/http"
	"net/url"
	"sync"
	"time"

	"vertex-spoa/agent/internal/secret"
)

const (
	maxQuestions = 64   // to one issuer at once
	maxAnswers   = 2048 // remembered, of either kind, in each of two halves
	inactiveFor  = 5 * time.Second

	maxGuesses       = 1000 // answers that a token is inactive, before no more questions are asked
	guessesPerSecond = 200  // of them that are forgotten
)

// introspector asks one issuer about tokens and remembers the answers for a while. About one token it asks once at a time, however many
// requests carry it; about different ones, up to 64 at once, beyond which requests are refused. That a token is inactive is remembered
// for at most 5 s, and apart from what is remembered of active ones, so that a flood of bad tokens drives out no good ones. Nor does it
// flood the issuer: beyond 200 inactive tokens a second, and 1000 at once, nothing is asked for a while. Failures are not remembered.
//
// It has no goroutine: the first request that needs an answer fetches it for all. Its methods are safe for concurrent use.
type introspector struct {
	config    Introspection
	issuer    string // the iss of its tokens
	audiences []string
	leeway    time.Duration
	client    *http.Client
	timeout   time.Duration // of a question
	host      string        // for messages

	mu       sync.Mutex // guards what follows; never held during a question
	flights  map[tokenKey]*flight
	active   recent[*answer]
	inactive recent[inactive]
	guesses  float64   // inactive tokens of late
	counted  time.Time // when guesses was last brought up to date
}

// tokenKey is the SHA-256 of a token. The token itself is not kept.
type tokenKey = [sha256.Size]byte

// flight is a question under way.
type flight struct {
	done   chan struct{} // closed when the fields below are set
	answer *answer
	err    error
}

// inactive remembers a refusal.
type inactive struct {
	err   error
	until time.Time
}

// newIntrospector returns an introspector for tokens of an issuer with defaults in place. client is not changed: a copy is used that
// follows no redirects.
func newIntrospector(c Introspection, i Issuer, client *http.Client) (*introspector, error) {
	if err := c.validate(); err != nil {
		return nil, err
	}
	own, err := introspectionClient(client, c.CAFile)
	if err != nil {
		return nil, err
	}
	if c.CacheFor == 0 {
		c.CacheFor = defaultCacheFor
	}
	at, err := url.Parse(c.URL)
	if err != nil {
		return nil, err
	}
	return &introspector{
		config: c, issuer: i.URL, audiences: i.Audiences, leeway: i.Leeway, client: own,
		timeout: introspectionTimeout, host: at.Host, flights: map[tokenKey]*flight{},
	}, nil
}

// close gives idle connections back. Requests under way can still ask.
func (n *introspector) close() { n.client.CloseIdleConnections() }

// gaveUp is what becomes of a request that does not wait for an answer.
func gaveUp(cause error) error {
	return &Error{Reason: IntrospectionUnavailable, Detail: "gave up waiting for the answer", Err: cause}
}

// ask returns the issuer's answer about an active token, from memory or from the issuer. When ctx is done it asks nobody.
func (n *introspector) ask(ctx context.Context, token secret.Text, now time.Time) (*answer, error) {
	k := sha256.Sum256([]byte(token.Reveal()))
	n.mu.Lock()
	if a, found := n.active.get(k); found && now.Before(a.until) {
		n.mu.Unlock()
		return a, nil
	}
	if i, found := n.inactive.get(k); found && now.Before(i.until) {
		n.mu.Unlock()
		return nil, i.err
	}
	f, leads := n.flights[k], false
	switch {
	case f != nil:
	case ctx.Err() != nil: // whoever begins a flight sees it through
		n.mu.Unlock()
		return nil, gaveUp(ctx.Err())
	case n.guessing(now) >= maxGuesses:
		n.mu.Unlock()
		return nil, refuse(IntrospectionUnavailable, "host %q called too many tokens inactive", n.host)
	case len(n.flights) >= maxQuestions:
		n.mu.Unlock()
		return nil, refuse(IntrospectionUnavailable, "host %q is asked %d questions already", n.host, maxQuestions)
	default:
		f, leads = &flight{done: make(chan struct{})}, true
		n.flights[k] = f
	}
	n.mu.Unlock()
	if leads {
		n.fly(ctx, k, f, token, now)
		return f.answer, f.err
	}
	select {
	case <-f.done:
		return f.answer, f.err
	case <-ctx.Done():
		return nil, gaveUp(ctx.Err())
	}
}

// guessing returns how many inactive tokens there were of late. The caller holds the lock.
func (n *introspector) guessing(now time.Time) float64 {
	if passed := now.Sub(n.counted); passed > 0 {
		n.guesses, n.counted = max(0, n.guesses-passed.Seconds()*guessesPerSecond), now
	}
	return n.guesses
}

// fly asks and lets the others know. Others wait for the answer, so it goes on when the request that asked is given up.
func (n *introspector) fly(ctx context.Context, k tokenKey, f *flight, token secret.Text, now time.Time) {
	defer close(f.done)
	f.answer, f.err = n.question(context.WithoutCancel(ctx), token, now)
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.flights, k)
	switch {
	case f.err == nil:
		n.active.put(k, f.answer)
	case reason(f.err) == TokenInactive:
		n.guesses++
		n.inactive.put(k, inactive{f.err, now.Add(min(inactiveFor, n.config.CacheFor))})
	}
}

// reason returns the Reason of an error of this package, or "".
func reason(err error) Reason {
	refused, ok := err.(*Error) //nolint:errorlint // made here, not wrapped
	if !ok {
		return ""
	}
	return refused.Reason
}

// recent remembers at least the last so many values that were put or got, and at most twice as many. The zero value is empty. It is not
// safe for concurrent use.
type recent[V any] struct{ young, old map[tokenKey]V }

func (r *recent[V]) get(k tokenKey) (V, bool) {
	if v, found := r.young[k]; found {
		return v, true
	}
	v, found := r.old[k]
	if found {
		r.put(k, v)
	}
	return v, found
}

// put forgets the older half when the younger one is full.
func (r *recent[V]) put(k tokenKey, v V) {
	if r.young == nil || len(r.young) >= maxAnswers {
		r.old, r.young = r.young, make(map[tokenKey]V)
	}
	r.young[k] = v
}

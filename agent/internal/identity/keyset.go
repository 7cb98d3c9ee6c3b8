package identity

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"sync"
	"sync/atomic"
	"time"
)

const (
	cooldown    = 10 * time.Second       // between two fetches on behalf of tokens
	maxWait     = 300 * time.Millisecond // how long one token waits for a fetch
	maxWaiters  = 512                    // tokens that wait for one; more are refused, so that an issuer that hangs is not in everybody's way
	firstRetry  = time.Second
	slowestPace = time.Minute // of retries
)

// keySet keeps the keys of one source fresh. One goroutine does all fetching, so there is never more than one fetch under way; it fetches
// when the document wants it, when the last fetch failed, and when a token names a key that is not there, the last at most every 10 s
// however many such tokens come. Methods are safe for concurrent use.
type keySet struct {
	log     *slog.Logger
	onKeys  func(issuer string, keys int, err error)
	ring    atomic.Pointer[keyring] // nil until a first fetch succeeds; kept when one fails
	nudge   chan struct{}           // holds one: wakes the goroutine
	waiting chan struct{}           // one element per token that waits for a fetch
	first   chan struct{}           // closed when the first fetch has ended
	stop    context.CancelFunc
	stopped chan struct{} // closed when the goroutine has ended

	mu      sync.Mutex    // guards what follows; never held during a fetch
	name    string        // of the issuer, in the newest policy
	users   int           // verifiers that share the set; 0 is the end
	flight  chan struct{} // closed when the fetch that is wanted or under way ends; nil when there is none
	asked   time.Time     // when a token last caused a fetch
	failure error         // of the last fetch
	failed  uint64        // fetches
	next    time.Time     // when the next fetch is due

	unknown atomic.Uint64 // tokens that named a key which is not there
}

// newKeySet starts the goroutine, whose first fetch begins at once. The caller is its first user.
func newKeySet(name string, s source, o Options, client *http.Client) *keySet {
	first := make(chan struct{})
	ctx, stop := context.WithCancel(context.Background())
	set := &keySet{
		log: o.Log, onKeys: o.OnKeys,
		nudge: make(chan struct{}, 1), waiting: make(chan struct{}, maxWaiters), first: first, stop: stop, stopped: make(chan struct{}),
		name: name, users: 1, flight: first,
	}
	go set.run(ctx, &fetcher{source: s, client: client})
	return set
}

// share adds a user and reports whether the set is still alive.
func (s *keySet) share(name string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.users == 0 {
		return false
	}
	s.users++
	s.name = name
	return true
}

// release takes a user away. With the last one the goroutine stops, and release waits for it. The keys stay for requests under way.
func (s *keySet) release() {
	s.mu.Lock()
	s.users--
	last := s.users == 0
	s.mu.Unlock()
	if last {
		s.stop()
		<-s.stopped
	}
}

// usable returns the keys, unless there are none or the last fetch that brought them is longer ago than stale.
func (s *keySet) usable(stale time.Duration) *keyring {
	r := s.ring.Load()
	if r == nil || time.Since(r.fetched) > stale {
		return nil
	}
	return r
}

// find returns the one key for a header. When the keys in hand do not include the kid, it causes a fetch and waits for it, at most 300 ms
// and not after ctx is done; beyond 512 tokens that wait it refuses.
func (s *keySet) find(ctx context.Context, keyID, algorithm string, stale time.Duration) (*key, error) {
	if k, final, err := s.held(keyID, algorithm, stale); final {
		return k, err
	}
	if s.usable(stale) != nil {
		s.unknown.Add(1)
	}
	select {
	case s.waiting <- struct{}{}:
		defer func() { <-s.waiting }()
	default:
		return nil, refuse(IssuerUnavailable, "%d tokens wait for keys already", maxWaiters)
	}
	wait, cancel := context.WithTimeout(ctx, maxWait)
	defer cancel()
	for {
		// A fetch that was under way may have begun before the key was published: then one more is asked for. The cooldown ends this.
		flight := s.ask()
		if flight == nil { // a fetch may have ended since the keys were looked at
			k, _, err := s.held(keyID, algorithm, stale)
			return k, err
		}
		select {
		case <-flight:
		case <-wait.Done():
		}
		if k, final, err := s.held(keyID, algorithm, stale); final {
			return k, err
		}
		if wait.Err() != nil {
			return nil, &Error{Reason: IssuerUnavailable, Detail: "keys are still being fetched", Err: ctx.Err()}
		}
	}
}

// held judges by the keys in hand. A judgement is final when a fetch could not change it.
func (s *keySet) held(keyID, algorithm string, stale time.Duration) (k *key, final bool, err error) {
	r := s.usable(stale)
	if r == nil {
		return nil, false, refuse(IssuerUnavailable, "there are no keys%s", s.reason())
	}
	k, known := r.find(keyID, algorithm)
	switch {
	case k != nil:
		return k, true, nil
	case known:
		return nil, true, refuse(UnknownKey, "not exactly one key fits kid %s and algorithm %s", shown(keyID), algorithm)
	}
	if why := s.reason(); why != "" { // the key may well exist
		return nil, false, refuse(IssuerUnavailable, "no key has kid %s%s", shown(keyID), why)
	}
	return nil, false, refuse(UnknownKey, "no key has kid %s", shown(keyID))
}

// reason returns why the last fetch failed, as the end of a sentence, or "".
func (s *keySet) reason() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.failure == nil {
		return ""
	}
	return ", and the last fetch failed: " + s.failure.Error()
}

// ask returns a channel that is closed when the fetch under way ends, and causes one if there is none and the cooldown allows it.
// Otherwise it returns nil.
func (s *keySet) ask() <-chan struct{} {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.flight != nil {
		return s.flight
	}
	if s.users == 0 || !s.asked.IsZero() && time.Since(s.asked) < cooldown {
		return nil
	}
	s.asked = time.Now()
	s.flight = make(chan struct{})
	s.nudge <- struct{}{} // has room: begin empties it for each flight
	return s.flight
}

var errClosed = errors.New("verifier is closed")

func (s *keySet) run(ctx context.Context, f *fetcher) {
	defer close(s.stopped)
	defer f.own.close()
	var failures int
	for {
		s.begin()
		ring, refresh, err := f.fetch(ctx)
		if ctx.Err() != nil {
			s.end(errClosed)
			return
		}
		next := jitter(max(refresh, minRefresh))
		if failures++; err == nil {
			failures = 0
		} else {
			err, next = plain(err), retryAfter(failures)
		}
		s.report(ring, next, err)
		select {
		case <-ctx.Done():
			s.end(errClosed)
			return
		case <-time.After(next):
		case <-s.nudge:
		}
	}
}

// begin makes the flight under which requests wait for the coming fetch, unless one of them has made it.
func (s *keySet) begin() {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.flight == nil {
		s.flight = make(chan struct{})
	}
	select {
	case <-s.nudge: // the timer was as fast
	default:
	}
}

// end lets those who wait for the fetch go on.
func (s *keySet) end(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.failure = err
	if s.flight != nil {
		close(s.flight)
		s.flight = nil
	}
}

// report takes the result of a fetch over and tells log and hook about it.
func (s *keySet) report(ring *keyring, next time.Duration, err error) {
	before := s.ring.Load()
	if err == nil {
		s.ring.Store(ring)
	} else {
		ring = before
	}
	s.mu.Lock()
	name := s.name
	s.next = time.Now().Add(next)
	if err != nil {
		s.failed++
	}
	s.mu.Unlock()
	s.end(err)
	log := s.log.With("issuer", name)
	switch {
	case err != nil:
		log.Warn("issuer keys not fetched", "error", err, "retry_in", next.Round(time.Millisecond).String())
	case before == nil || before.generation != ring.generation || len(before.dropped) != len(ring.dropped):
		log.Info("issuer keys changed", "keys", len(ring.keys), "dropped", ring.dropped)
		if ring.exposed {
			log.Error("issuer publishes private or symmetric keys")
		}
	}
	if s.onKeys != nil {
		keys := 0
		if ring != nil {
			keys = len(ring.keys)
		}
		s.onKeys(name, keys, err)
	}
}

func (s *keySet) status(stale time.Duration) IssuerStatus {
	status := IssuerStatus{UnknownKeys: s.unknown.Load()}
	if r := s.ring.Load(); r != nil {
		status.Keys, status.Dropped, status.Age = len(r.keys), len(r.dropped), time.Since(r.fetched)
	}
	status.Usable = s.usable(stale) != nil
	s.mu.Lock()
	defer s.mu.Unlock()
	status.Failures = s.failed
	if !s.next.IsZero() {
		status.NextRefresh = max(time.Until(s.next), 0)
	}
	if s.failure != nil {
		status.Error = s.failure.Error()
	}
	return status
}

// plain returns an error with the text of err alone, in ASCII and short. It may hold what a peer said; and it must not be a context error,
// which whoever waits for the fetch would take for one of his own context.
func plain(err error) error {
	const longest = 512
	text := []byte(err.Error())
	text = text[:min(len(text), longest)]
	for i, c := range text {
		if c < ' ' || c > '~' {
			text[i] = '?'
		}
	}
	return errors.New(string(text))
}

// retryAfter returns the pause after so many failures in a row: 1 s, 2 s, 4 s … 60 s, and up to a tenth less.
func retryAfter(failures int) time.Duration {
	d := min(firstRetry<<min(failures-1, 10), slowestPace)
	return d - rand.N(d/10)
}

// jitter spreads the refreshes of many agents: a tenth of the interval wide, from 0.9 of it but from not less than a minute.
func jitter(interval time.Duration) time.Duration {
	return max(interval-interval/10, minRefresh) + rand.N(interval/10)
}

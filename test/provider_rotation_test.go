package test

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"vertex-spoa/test/provider"
	"vertex-spoa/test/sandbox"
)

// callersLoad is a number of clients that call with whatever tokens are good at the moment, and count what comes of it.
type callersLoad struct {
	t      *testing.T
	s      *sandbox.Sandbox
	tokens atomic.Pointer[[]string]
	stop   context.CancelFunc
	done   sync.WaitGroup

	mu     sync.Mutex
	counts map[string]int
	calls  chan struct{} // one for each call
}

// startCallers starts clients that take the tokens in turn.
func startCallers(t *testing.T, s *sandbox.Sandbox, clients int, tokens ...string) *callersLoad {
	ctx, cancel := context.WithCancel(t.Context())
	l := &callersLoad{t: t, s: s, stop: cancel, counts: map[string]int{}, calls: make(chan struct{})}
	l.tokens.Store(&tokens)
	for i := range clients {
		l.done.Go(func() {
			for n := i; ctx.Err() == nil; n++ {
				now := *l.tokens.Load()
				l.call(ctx, now[n%len(now)])
			}
		})
	}
	t.Cleanup(func() { l.end() })
	return l
}

func (l *callersLoad) call(ctx context.Context, token string) {
	res, err := l.s.Do(context.WithoutCancel(ctx), sandbox.Call{Protocol: sandbox.HTTP2, Target: generatePath, Token: token, Body: promptBody})
	got := res.String()
	if err != nil {
		got = err.Error()
	}
	l.mu.Lock()
	l.counts[got]++
	l.mu.Unlock()
	select {
	case l.calls <- struct{}{}:
	case <-ctx.Done():
	}
}

// wait lets n more calls come to their end.
func (l *callersLoad) wait(n int) {
	l.t.Helper()
	ctx := limited(l.t)
	for range n {
		select {
		case <-l.calls:
		case <-ctx.Done():
			l.t.Fatal(context.Cause(ctx))
		}
	}
}

// end ends the load and tells what came of all calls.
func (l *callersLoad) end() string {
	l.stop()
	l.done.Wait()
	l.mu.Lock()
	defer l.mu.Unlock()
	var all []string
	for _, what := range slices.Sorted(maps.Keys(l.counts)) {
		all = append(all, fmt.Sprintf("%d × %s", l.counts[what], what))
	}
	return strings.Join(all, ", ")
}

// onlySuccesses checks that nothing but 200 came of at least n calls.
func (l *callersLoad) onlySuccesses(n int) {
	l.t.Helper()
	told := l.end()
	if l.counts["200"] < n || len(l.counts) != 1 {
		l.t.Errorf("%s; want at least %d × 200 and nothing else%s", told, n, l.s.Logs())
	}
	l.t.Log(told)
}

// The provider publishes new keys and signs with them, the ones before stay: tokens of both are good, and no call is lost.
func TestARotationWithOverlapLosesNoRequest(t *testing.T) {
	findNode(t)
	s := startSandbox(t, sandbox.Options{})
	o := startOIDC(t, s)
	tokens := []string{robotToken(t, s, o, provider.RS256), robotToken(t, s, o, provider.ES256)}
	l := startCallers(t, s, 8, tokens...)
	l.wait(200)
	if err := o.Rotate(limited(t), provider.Overlap); err != nil {
		t.Fatal(err)
	}
	l.wait(100) // with the tokens of before, while the agent does not know of the new keys
	tokens = append(tokens, robotToken(t, s, o, provider.RS256), robotToken(t, s, o, provider.ES256))
	l.tokens.Store(&tokens)
	l.wait(400)
	l.onlySuccesses(700)
}

// The provider withdraws its keys: what they signed is refused from the moment that the agent has seen the new ones, and no call with a
// token of these is lost.
func TestAHardRotationLosesNoGoodRequest(t *testing.T) {
	findNode(t)
	s := startSandbox(t, sandbox.Options{})
	o := startOIDC(t, s)
	old := robotToken(t, s, o, provider.ES256)
	before := startCallers(t, s, 8, old)
	before.wait(200)
	before.onlySuccesses(200)
	if err := o.Rotate(limited(t), provider.Hard); err != nil {
		t.Fatal(err)
	}
	after := startCallers(t, s, 8, robotToken(t, s, o, provider.ES256), robotToken(t, s, o, provider.PS256))
	after.wait(200)
	after.onlySuccesses(200)
	if got, want := asked(limited(t), s, old), "401 UNKNOWN_KEY"; got != want {
		t.Errorf("a token of the withdrawn keys: got %s, want %s", got, want)
	}
}

// A key that is announced ahead of its use is no event at all.
func TestAnAnnouncedRotationLosesNoRequest(t *testing.T) {
	findNode(t)
	s := startSandbox(t, sandbox.Options{})
	o := startOIDC(t, s)
	tokens := []string{robotToken(t, s, o, provider.EdDSA)}
	l := startCallers(t, s, 8, tokens...)
	for _, r := range []provider.Rotation{provider.Announce, provider.Overlap} {
		if err := o.Rotate(limited(t), r); err != nil {
			t.Fatal(err)
		}
		tokens = append(slices.Clone(tokens), robotToken(t, s, o, provider.EdDSA))
		l.tokens.Store(&tokens)
		l.wait(200)
	}
	l.onlySuccesses(400)
}

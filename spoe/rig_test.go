package spoe

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"log/slog"
	"maps"
	"net"
	"os"
	"path/filepath"
	"sync"
	"testing"
	"time"
)

// rig is a server under test, with what it counted and logged.
type rig struct {
	t      testing.TB
	srv    *Server
	path   string
	served chan error

	mu      sync.Mutex
	errors  map[Reason]int
	when    map[Reason]time.Duration // of the last error, since the rig was made
	sent    map[string]int
	conns   int
	came    int // connections in all, those that are gone too
	flying  int
	changed chan struct{}

	log safeBuffer
}

type safeBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *safeBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *safeBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// patience is how long a test waits for what must come. Only one that fails waits for so long.
const patience = time.Minute

var allow = []Action{SetString(ScopeTransaction, "decision", "allow")}

func overloaded(*Notify) []Action {
	return []Action{SetString(ScopeTransaction, "decision", "overload")}
}

// answering is a handler that answers at once.
func answering(actions ...Action) Handler {
	return HandlerFunc(func(_ context.Context, _ *Notify, reply Reply) { _ = reply(actions) })
}

// newRig completes c and builds a server that nobody serves yet.
func newRig(t testing.TB, c Config) *rig {
	r := &rig{t: t, errors: map[Reason]int{}, when: map[Reason]time.Duration{}, sent: map[string]int{}, changed: make(chan struct{}), served: make(chan error, 8)}
	born := time.Now()
	if c.Handler == nil {
		c.Handler = answering(allow...)
	}
	if c.Overload == nil {
		c.Overload = overloaded
	}
	c.Log = slog.New(slog.NewTextHandler(&r.log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	c.Hooks = Hooks{
		Connection: func(d int) { r.note(func() { r.conns += d; r.came += max(d, 0) }) },
		Frame:      func(k string) { r.note(func() { r.sent[k]++ }) },
		Error:      func(k string) { r.note(func() { r.errors[Reason(k)]++; r.when[Reason(k)] = time.Since(born) }) },
		Notify:     func(time.Duration) {},
		InFlight:   func(d int) { r.note(func() { r.flying += d }) },
	}
	srv, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	r.srv = srv
	return r
}

func (r *rig) note(f func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	f()
	close(r.changed)
	r.changed = make(chan struct{})
}

// await waits until cond holds for what has been counted.
func (r *rig) await(what string, cond func() bool) {
	r.t.Helper()
	late := time.NewTimer(patience)
	defer late.Stop()
	for {
		r.mu.Lock()
		ok, changed := cond(), r.changed
		r.mu.Unlock()
		if ok {
			return
		}
		select {
		case <-changed:
		case <-time.After(5 * time.Millisecond): // not everything that is waited for is counted
		case <-late.C:
			r.t.Fatalf("waited in vain until %s; errors %v, frames %v, connections %d", what, r.errors, r.sent, r.conns)
		}
	}
}

func (r *rig) awaitError(reason Reason, n int) {
	r.t.Helper()
	r.await(string(reason), func() bool { return r.errors[reason] >= n })
}

// counted returns the errors so far.
func (r *rig) counted() map[Reason]int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return maps.Clone(r.errors)
}

// serveUnix starts a server on a unix socket. Its clock is the real one: an answer is late only where the test says when.
func serveUnix(t testing.TB, c Config) *rig {
	t.Helper()
	c.Timeout = cmp.Or(c.Timeout, time.Minute)
	r := newRig(t, c)
	r.path = filepath.Join(shortDir(t), "s")
	r.serve(listenAt(t, r.path))
	t.Cleanup(func() {
		if err := r.srv.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
		if err := <-r.served; !errors.Is(err, ErrServerClosed) {
			t.Errorf("serve: %v", err)
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.conns != 0 {
			t.Errorf("got %d connections after the end, want 0", r.conns)
		}
	})
	return r
}

func (r *rig) serve(l net.Listener) { go func() { r.served <- r.srv.Serve(l) }() }

func listenAt(t testing.TB, path string) net.Listener {
	t.Helper()
	l, err := Listen(t.Context(), path, ListenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

// shortDir is a directory whose path leaves room for the name of a socket.
func shortDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "spoe")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

// dial connects to the rig's unix socket.
func (r *rig) dial() *peer {
	r.t.Helper()
	nc, err := net.Dial("unix", r.path)
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { _ = nc.Close() })
	return &peer{r.t, nc}
}

// pipe connects in memory, which works with the clock of a synctest bubble.
func (r *rig) pipe() *peer {
	ours, theirs := net.Pipe()
	r.srv.admit(theirs)
	r.t.Cleanup(func() { _ = ours.Close() })
	return &peer{r.t, ours}
}

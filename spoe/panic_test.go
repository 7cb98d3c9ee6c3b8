package spoe

import (
	"context"
	"log/slog"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// serveBare serves on a unix socket with the hooks of c, which must be whole.
func serveBare(t *testing.T, c Config) *rig {
	t.Helper()
	r := newRig(t, Config{})
	c.Overload, c.Log = overloaded, slog.New(slog.NewTextHandler(&r.log, nil))
	srv, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	r.srv, r.path = srv, filepath.Join(shortDir(t), "s")
	r.serve(listenAt(t, r.path))
	t.Cleanup(func() { _ = srv.Close(); <-r.served })
	return r
}

// awaitPanic waits until the log says that a hook has panicked, and checks that it
// does not say what the panic did.
func (r *rig) awaitPanic() {
	r.t.Helper()
	r.await("a panic is logged", func() bool { return strings.Contains(r.log.String(), string(ReasonServerPanic)) })
	if log := r.log.String(); !strings.Contains(log, "panic_test.go") || strings.Contains(log, "ya29") {
		r.t.Errorf("got log %s, want a stack and not the panic's text", log)
	}
}

// Where a hook panics, everything else is as it would be without it: on the
// reading goroutine, on that of a handler, and with locks held.
func TestPanicsOfHooksStayInside(t *testing.T) {
	boom := func() { panic("ya29.secret") }
	tests := map[string]struct {
		hooks    Hooks
		withheld func(string, int64)
	}{
		"Connection": {hooks: Hooks{Connection: func(int) { boom() }}},
		"Frame":      {hooks: Hooks{Frame: func(string) { boom() }}},
		"Error":      {hooks: Hooks{Error: func(string) { boom() }}},
		"Notify":     {hooks: Hooks{Notify: func(time.Duration) { boom() }}},
		"InFlight":   {hooks: Hooks{InFlight: func(int) { boom() }}},
		"Withheld":   {withheld: func(string, int64) { boom() }},
	}
	for name, tt := range tests {
		for where, spawn := range map[string]func(func()){
			"the reading goroutine": func(f func()) { f() },
			"another goroutine":     func(f func()) { go f() },
		} {
			t.Run(name+" on "+where, func(t *testing.T) {
				r := serveBare(t, Config{
					Hooks: tt.hooks, Withheld: tt.withheld, MaxInFlight: 3, Timeout: time.Minute,
					Handler: HandlerFunc(func(_ context.Context, n *Notify, reply Reply) {
						n.Mark("call", 1)
						spawn(func() { _ = reply(allow) })
					}),
				})
				for range 5 { // more than have a place, if panics kept theirs
					p := r.dial()
					p.hello("")
					p.send(wireNotify(1, 1), wireNotify(2, 1))
					for p.recv().streamID != 2 { // the first may have been answered before
					}
					p.send(wireNotify(3, 1))
					p.ack(3, 1)
					_ = p.nc.Close()
				}
				if name != "Error" && name != "Withheld" || where == "the reading goroutine" { // else nothing may have gone wrong
					r.awaitPanic()
				}
			})
		}
	}
}

func TestPanicsOfHooksAreCounted(t *testing.T) {
	counted := make(chan string, 8)
	r := serveBare(t, Config{Handler: answering(allow...), Hooks: Hooks{Error: func(kind string) {
		if Reason(kind) == ReasonSuperseded {
			panic("ya29.secret")
		}
		counted <- kind
	}}})
	p := r.dial()
	p.hello("")
	p.send(wireNotify(1, 1), wireNotify(2, 1))
	p.ack(2, 1)
	if got := <-counted; Reason(got) != ReasonServerPanic {
		t.Errorf("got %s counted, want %s", got, ReasonServerPanic)
	}
	r.awaitPanic()
}

// The goroutine that looks after guarded connections tells of those that it
// closes, and goes on when that panics.
func TestPanicsOfHooksDoNotEndTheWatch(t *testing.T) {
	r := serveBare(t, Config{Handler: answering(allow...), Hooks: Hooks{Error: func(string) { panic("ya29.secret") }}})
	for range 2 {
		p := r.dial()
		p.send(helloOfMux(65532))
		p.recv()
		p.send(wireNotify(1, 1)) // and its answer is not read
		r.await("the connection is gone", func() bool {
			r.srv.mu.Lock()
			defer r.srv.mu.Unlock()
			return len(r.srv.conns) == 0
		})
	}
	r.awaitPanic()
}

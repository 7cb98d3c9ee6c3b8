package spoe

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// later is a handler that replies after a while on another goroutine.
func later(d func(*Notify) time.Duration, replied *outcomes) Handler {
	return HandlerFunc(func(_ context.Context, n *Notify, reply Reply) {
		go func() {
			pass(d(n))
			replied.add(reply(allow))
		}()
	})
}

// outcomes are what replies returned, in order.
type outcomes struct {
	mu   sync.Mutex
	errs []error
}

func (o *outcomes) add(err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.errs = append(o.errs, err)
}

// undelivered returns which of them were ErrUndelivered.
func (o *outcomes) undelivered() (all []bool) {
	o.mu.Lock()
	defer o.mu.Unlock()
	for _, err := range o.errs {
		all = append(all, errors.Is(err, ErrUndelivered))
	}
	return all
}

// pass lets time pass in a synctest bubble.
func pass(d time.Duration) { <-time.After(d) }

// silent checks that nothing comes from the agent for a while.
func (p *peer) silent(d time.Duration) {
	p.t.Helper()
	_ = p.nc.SetReadDeadline(time.Now().Add(d))
	f, err := parseAgent(p.nc)
	if !errors.Is(err, os.ErrDeadlineExceeded) {
		p.t.Fatalf("got frame %d %v and error %v, want silence for %v", f.kind, f.items, err, d)
	}
}

func TestNothingIsWrittenAfterTheDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var replied outcomes
		r := newRig(t, Config{Handler: later(func(n *Notify) time.Duration {
			return map[uint64]time.Duration{1: DefaultTimeout, 2: DefaultTimeout - 1, 3: time.Hour}[n.StreamID()]
		}, &replied)})
		p := r.pipe()
		p.hello("pipelining,async")
		p.send(wireNotify(1, 1), wireNotify(2, 1), wireNotify(3, 1))
		p.ack(2, 1)
		p.silent(2 * time.Hour)
		if diff := cmp.Diff([]bool{false, true, true}, replied.undelivered()); diff != "" {
			t.Error(diff)
		}
		if diff := cmp.Diff(map[Reason]int{ReasonLate: 2}, r.counted()); diff != "" {
			t.Error(diff)
		}
		_ = r.srv.Close()
	})
}

func TestContextEndsAtTheDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		type end struct {
			after time.Duration
			cause error
		}
		ended := make(chan end, 1)
		r := newRig(t, Config{Timeout: 300 * time.Millisecond, Handler: HandlerFunc(func(ctx context.Context, _ *Notify, reply Reply) {
			start := time.Now()
			go func() {
				<-ctx.Done()
				ended <- end{time.Since(start), ctx.Err()}
				_ = reply(allow)
			}()
		})})
		p := r.pipe()
		p.hello("")
		p.send(wireNotify(1, 1))
		p.silent(time.Second)
		if got := <-ended; got.after != 300*time.Millisecond || !errors.Is(got.cause, context.DeadlineExceeded) {
			t.Errorf("got %v after %v, want the deadline after 300ms", got.cause, got.after)
		}
		_ = r.srv.Close()
	})
}

// An answer that was in time but has to wait behind a slow write is dropped
// when its deadline passes there.
func TestQueuedAnswersAreDroppedAtTheirDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var replied outcomes
		var withheld []string // from one goroutine: the one that writes
		slow := later(func(n *Notify) time.Duration {
			return 700*time.Millisecond + time.Duration(n.StreamID())*10*time.Millisecond
		}, &replied)
		names := map[uint64]string{1: "first", 2: "second", 3: strings.Repeat("long ", 20)}
		r := newRig(t, Config{
			Handler: HandlerFunc(func(ctx context.Context, n *Notify, reply Reply) {
				if n.StreamID() < 4 {
					n.Mark(names[n.StreamID()], int64(n.StreamID()))
				}
				slow.ServeSPOE(ctx, n, reply)
			}),
			Withheld: func(text string, number int64) { withheld = append(withheld, fmt.Sprint(text, number)) },
		})
		p := r.pipe()
		p.hello("pipelining,async")
		p.send(wireNotify(1, 1), wireNotify(2, 1), wireNotify(3, 1))
		pass(900 * time.Millisecond) // nobody reads: the first answer is being written
		p.ack(1, 1)
		p.silent(time.Minute)
		synctest.Wait()
		if diff := cmp.Diff([]bool{false, false, false}, replied.undelivered()); diff != "" {
			t.Error(diff)
		}
		if diff := cmp.Diff(map[Reason]int{ReasonLate: 2}, r.counted()); diff != "" {
			t.Error(diff)
		}
		if diff := cmp.Diff([]string{names[2] + "2", names[3] + "3"}, withheld); diff != "" {
			t.Errorf("withheld:\n%s", diff)
		}
		p.send(wireNotify(4, 1))
		p.ack(4, 1)
		_ = r.srv.Close()
	})
}

// The clock goes on while the peer makes a batch wait: what is behind is looked
// at again before it is written.
func TestAnswersBehindASlowWriteAreDroppedAtTheirDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		long := SetString(ScopeRequest, "a", strings.Repeat("x", 9000)) // two do not share a write
		r := newRig(t, Config{Handler: answering(long)})
		p := r.pipe()
		p.hello("pipelining,async")
		p.send(wireNotify(1, 1), wireNotify(2, 1), wireNotify(3, 1), wireNotify(4, 1))
		for i := range uint64(2) {
			pass(DefaultTimeout - time.Millisecond) // of each write
			p.ack(i+1, 1)
		}
		p.silent(time.Minute)
		if diff := cmp.Diff(map[Reason]int{ReasonLate: 2}, r.counted()); diff != "" {
			t.Error(diff)
		}
		p.send(wireNotify(5, 1))
		p.ack(5, 1)
		_ = r.srv.Close()
	})
}

// Answers that were ready in time are not delivered when the connection ends before it has taken them, a part of one included.
func TestAnswersThatTheConnectionDoesNotTakeAreWithheld(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var withheld []string // from one goroutine: the one that writes
		handler := later(func(n *Notify) time.Duration { return time.Duration(n.StreamID()) * time.Millisecond }, &outcomes{})
		r := newRig(t, Config{
			Handler: HandlerFunc(func(ctx context.Context, n *Notify, reply Reply) {
				n.Mark("call", int64(n.StreamID()))
				handler.ServeSPOE(ctx, n, reply)
			}),
			Withheld: func(text string, number int64) { withheld = append(withheld, fmt.Sprint(text, number)) },
		})
		p := r.pipe()
		p.hello("pipelining,async")
		p.send(wireNotify(1, 1), wireNotify(2, 1), wireNotify(3, 1), wireNotify(4, 1))
		pass(10 * time.Millisecond) // the first answer is being written, and the others gather
		p.ack(1, 1)
		p.ack(2, 1)
		if _, err := p.nc.Read(make([]byte, 7)); err != nil { // the beginning of the next one
			t.Fatal(err)
		}
		_ = p.nc.Close()
		synctest.Wait()
		if diff := cmp.Diff([]string{"call3", "call4"}, withheld); diff != "" {
			t.Errorf("withheld:\n%s", diff)
		}
		_ = r.srv.Close()
	})
}

func TestPeerThatDoesNotReadIsClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Config{})
		p := r.pipe()
		p.hello("")
		p.send(wireNotify(1, 1))
		start := time.Now()
		synctest.Wait()
		pass(DefaultTimeout)
		synctest.Wait()
		if diff := cmp.Diff(map[Reason]int{ReasonWriteFailed: 1, ReasonConnGone: 1}, r.counted()); diff != "" || r.conns != 0 {
			t.Errorf("got %d connections after %v, and %s", r.conns, time.Since(start), diff)
		}
		p.closed()
	})
}

func TestSlowPeersAreTimedOut(t *testing.T) {
	trickle := func(p *peer, b []byte) (n int) {
		for i := range b {
			if _, err := p.nc.Write(b[i : i+1]); err != nil {
				return i
			}
			pass(time.Second)
		}
		return len(b)
	}
	tests := map[string]struct {
		do     func(p *peer)
		after  time.Duration
		reason Reason
	}{
		"silence before the HELLO": {func(*peer) {}, helloTimeout, ReasonHelloTimeout},
		"a HELLO byte by byte":     {func(p *peer) { trickle(p, haproxyHello(16380, "")) }, helloTimeout, ReasonHelloTimeout},
		"half a frame": {func(p *peer) {
			p.hello("")
			p.send(wireNotify(1, 1)[:9])
		}, frameTimeout, ReasonFrameTimeout},
		"a frame byte by byte": {func(p *peer) {
			p.hello("")
			var trickling sync.WaitGroup
			trickling.Go(func() { trickle(p, typical(1, 1)) })
			p.disconnected(statusTimeout)
			trickling.Wait()
		}, frameTimeout, ReasonFrameTimeout},
		"one byte of a length": {func(p *peer) {
			p.hello("")
			p.send([]byte{0})
			p.disconnected(statusTimeout)
		}, frameTimeout, ReasonFrameTimeout},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, Config{})
				p := r.pipe()
				tt.do(p)
				_, _ = io.Copy(io.Discard, p.nc)
				synctest.Wait()
				if diff := cmp.Diff(map[Reason]time.Duration{tt.reason: tt.after}, r.when); diff != "" {
					t.Error(diff)
				}
				_ = p.nc.Close()
			})
		})
	}
}

// HAProxy pools connections. Only a frame begun has a time limit, however many
// come without a pause between them.
func TestConnectionsMayBeIdleOrBusyForLong(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Config{})
		p := r.pipe()
		p.hello("pipelining,async")
		pass(24 * time.Hour)
		frame := wireNotify(1, 1)
		p.send(frame[:5])
		for range 60 { // each write ends a frame and begins the next
			pass(time.Second)
			p.send(frame[5:], frame[:5])
			p.ack(1, 1)
		}
		p.send(frame[5:])
		p.ack(1, 1)
		pass(24 * time.Hour)
		p.send(frame)
		p.ack(1, 1)
		if got := r.counted(); len(got) != 0 {
			t.Errorf("got errors %v, want none", got)
		}
		_ = r.srv.Close()
	})
}

// A clock that is set forward or back moves no deadline: what a handler is given carries a reading of the monotonic clock.
func TestDeadlinesDoNotDependOnTheWallClock(t *testing.T) {
	deadlines := make(chan time.Time, 1)
	r := serveUnix(t, Config{Handler: HandlerFunc(func(ctx context.Context, _ *Notify, reply Reply) {
		d, _ := ctx.Deadline()
		deadlines <- d
		_ = reply(allow)
	})})
	p := r.dial()
	p.hello("")
	p.send(wireNotify(1, 1))
	p.ack(1, 1)
	if d := <-deadlines; !strings.Contains(d.String(), " m=") {
		t.Errorf("the deadline %v has no reading of the monotonic clock", d)
	}
}

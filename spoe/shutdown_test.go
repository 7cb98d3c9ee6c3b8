package spoe

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"runtime/pprof"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

func TestShutdownClosesIdleConnections(t *testing.T) {
	r := serveUnix(t, Config{})
	var peers []*peer
	for range 5 {
		p := r.dial()
		p.hello("")
		p.send(wireNotify(1, 1))
		p.ack(1, 1)
		peers = append(peers, p)
	}
	young := r.dial() // has not said HELLO
	r.await("all are connected", func() bool { return r.conns == 6 })
	for _, p := range append(peers, young) {
		go func() {
			_, _ = io.Copy(io.Discard, p.nc)
			_ = p.nc.Close() // as HAProxy does
		}()
	}
	if err := r.srv.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	if err := r.srv.Shutdown(t.Context()); err != nil {
		t.Errorf("again: %v", err)
	}
	if _, err := net.Dial("unix", r.path); err == nil {
		t.Error("the socket is still there")
	}
	l := listenAt(t, r.path)
	if err := r.srv.Serve(l); !errors.Is(err, ErrServerClosed) {
		t.Errorf("got error %v, want ErrServerClosed", err)
	}
	if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
		t.Errorf("got error %v: the listener is left open", err)
	}
}

func TestShutdownFinishesWhatIsInFlight(t *testing.T) {
	h := newHoarder()
	r := serveUnix(t, Config{Handler: h, Timeout: time.Minute})
	p := r.dial()
	p.hello("pipelining,async")
	p.send(wireNotify(1, 1), wireNotify(2, 1))
	first, second := <-h.replies, <-h.replies
	done := make(chan error, 1)
	go func() { done <- r.srv.Shutdown(t.Context()) }()
	<-r.srv.quit
	_ = second(allow)
	p.ack(2, 1)
	p.send(wireNotify(3, 1)) // while draining
	third := <-h.replies
	_ = first(allow)
	p.ack(1, 1)
	select {
	case err := <-done:
		t.Fatalf("shut down with a NOTIFY in flight: %v", err)
	default:
	}
	_ = third(allow)
	p.ack(3, 1)
	p.closed()
	_ = p.nc.Close()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// HAProxy may be about to use a connection that is idle now. It is closed after
// the next answer, or when there is no next NOTIFY.
func TestShutdownWaitsAMomentForTheNextNotify(t *testing.T) {
	for name, tt := range map[string]struct {
		before time.Duration // from the last NOTIFY to the drain
		next   time.Duration // from there to the next NOTIFY, if there is one
		took   time.Duration
	}{
		"a connection idle for long":               {time.Hour, 0, 0},
		"one used just now, and not again":         {0, 0, drainQuiet},
		"one used a little ago, and not again":     {drainQuiet / 4, 0, 3 * drainQuiet / 4},
		"one used just now, and again":             {0, drainQuiet / 2, drainQuiet / 2},
		"one used for long, and again just before": {drainQuiet - 2, 1, 1},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, Config{})
				p := r.pipe()
				p.hello("")
				p.send(wireNotify(1, 1))
				p.ack(1, 1)
				pass(tt.before)
				synctest.Wait()
				start := time.Now()
				done := make(chan error, 1)
				go func() { done <- r.srv.Shutdown(t.Context()) }()
				if tt.next > 0 {
					pass(tt.next)
					p.send(wireNotify(2, 1))
					p.ack(2, 1)
				}
				if err := <-done; err != nil {
					t.Error(err)
				}
				if got := time.Since(start); got != tt.took {
					t.Errorf("got %v, want %v", got, tt.took)
				}
			})
		})
	}
}

// A connection that has been accepted is served, though the drain begins before its HELLO has come.
func TestShutdownWaitsAMomentForTheHello(t *testing.T) {
	for name, tt := range map[string]struct {
		before time.Duration // from the connection to the drain
		hello  time.Duration // from there to the HELLO, if there is one
		next   time.Duration // from there to the NOTIFY, if there is one
		took   time.Duration
	}{
		"none comes":                        {0, 0, 0, drainQuiet},
		"none has come for long":            {time.Second, 0, 0, drainQuiet},
		"it comes, and nothing else":        {0, time.Millisecond, 0, drainQuiet + time.Millisecond},
		"it comes, and a NOTIFY":            {0, drainQuiet / 2, drainQuiet / 2, drainQuiet},
		"it comes at last, and then NOTIFY": {time.Second, drainQuiet - 1, drainQuiet - 1, 2*drainQuiet - 2},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, Config{})
				p := r.pipe()
				pass(tt.before)
				synctest.Wait()
				start := time.Now()
				done := make(chan error, 1)
				go func() { done <- r.srv.Shutdown(t.Context()) }()
				if tt.hello > 0 {
					pass(tt.hello)
					p.hello("")
				}
				if tt.next > 0 {
					pass(tt.next)
					p.send(wireNotify(2, 1))
					p.ack(2, 1)
				}
				if err := <-done; err != nil {
					t.Error(err)
				}
				if got := time.Since(start); got != tt.took {
					t.Errorf("got %v, want %v", got, tt.took)
				}
				if got := r.counted(); len(got) != 0 {
					t.Errorf("got errors %v, want none", got)
				}
			})
		})
	}
}

// slowAccept is a listener of ours that accepts nobody before it may.
type slowAccept struct {
	drainer
	asked, may chan struct{}
}

func (l slowAccept) Accept() (net.Conn, error) {
	select {
	case l.asked <- struct{}{}:
	default:
	}
	<-l.may
	return l.drainer.Accept()
}

// asks says HELLO and asks something, and answered receives what comes of that.
func (p *peer) asks() {
	p.t.Helper()
	p.send(haproxyHello(16380, ""), wireNotify(7, 1))
}

func (p *peer) answered() {
	p.t.Helper()
	if f := p.recv(); f.kind != 101 {
		p.t.Fatalf("got frame %d %v, want an AGENT-HELLO", f.kind, f.items)
	}
	p.ack(7, 1)
}

// waits returns when the connection is one that can be accepted, given that something was sent on it. On TCP connect(2) does not wait for
// that, but no byte is acknowledged before.
func (p *peer) waits() {
	p.t.Helper()
	for !p.arrived() {
		<-time.After(time.Millisecond)
	}
}

// Who has connected before the drain is served, although nobody has accepted the connection then.
func TestShutdownServesTheBacklog(t *testing.T) {
	for name, address := range map[string]string{"unix socket": shortDir(t) + "/s", "TCP": "127.0.0.1:0"} {
		for after, replaced := range map[string]bool{"": false, " that another process has taken over": true} {
			t.Run(name+after, func(t *testing.T) {
				const waiting = 20
				r := newRig(t, Config{Timeout: time.Minute})
				l := slowAccept{listenOn(t, address).(drainer), make(chan struct{}, 1), make(chan struct{})}
				r.serve(l)
				<-l.asked
				var peers []*peer
				for range waiting {
					p := dialTo(t, l.Addr())
					p.asks() // a drain does not wait for a test that is slow
					p.waits()
					peers = append(peers, p)
				}
				if replaced {
					defer func(l net.Listener) { _ = l.Close() }(listenOn(t, l.Addr().String()))
				}
				done := make(chan error, 1)
				go func() { done <- r.srv.Shutdown(t.Context()) }()
				<-r.srv.quit
				close(l.may)
				for _, p := range peers {
					p.answered()
				}
				var ending sync.WaitGroup
				for _, p := range peers {
					ending.Go(func() { // each when its turn comes, in no order
						if n, err := io.Copy(io.Discard, p.nc); n > 0 || err != nil {
							t.Errorf("got %d bytes and error %v, want the end", n, err)
						}
						_ = p.nc.Close()
					})
				}
				ending.Wait()
				if err := <-done; err != nil {
					t.Error(err)
				}
				if err := <-r.served; !errors.Is(err, ErrServerClosed) {
					t.Error(err)
				}
			})
		}
	}
}

// A drain that has not the time to serve the backlog ends all the same.
func TestShutdownEndsWhileItAcceptsTheBacklog(t *testing.T) {
	r := newRig(t, Config{})
	l := slowAccept{listenOn(t, shortDir(t)+"/s").(drainer), make(chan struct{}, 1), make(chan struct{})}
	r.serve(l)
	<-l.asked
	p := dialTo(t, l.Addr())
	ctx, cancel := context.WithCancelCause(t.Context())
	cause := errors.New("no time")
	cancel(cause)
	done := make(chan error, 1)
	go func() { done <- r.srv.Shutdown(ctx) }()
	<-r.srv.over
	close(l.may)
	if err := <-done; !errors.Is(err, cause) {
		t.Errorf("got error %v, want %v", err, cause)
	}
	p.dropped()
	if err := <-r.served; !errors.Is(err, ErrServerClosed) {
		t.Error(err)
	}
}

func listenOn(t testing.TB, address string) net.Listener {
	t.Helper()
	l, err := Listen(t.Context(), address, ListenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func dialTo(t testing.TB, addr net.Addr) *peer {
	t.Helper()
	nc, err := net.Dial(addr.Network(), addr.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = nc.Close() })
	return &peer{t, nc}
}

func TestShutdownDoesNotWaitBeyondTheDeadlineOfNotifies(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHoarder()
		r := newRig(t, Config{Handler: h})
		p := r.pipe()
		p.hello("")
		p.send(wireNotify(1, 1))
		start := time.Now()
		reply := <-h.replies
		if err := r.srv.Shutdown(t.Context()); err != nil {
			t.Error(err)
		}
		if got := time.Since(start); got != DefaultTimeout {
			t.Errorf("got %v, want %v", got, DefaultTimeout)
		}
		if err := reply(allow); !errors.Is(err, ErrUndelivered) {
			t.Errorf("got error %v, want ErrUndelivered", err)
		}
	})
}

func TestShutdownEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHoarder()
		r := newRig(t, Config{Handler: h, Timeout: time.Hour})
		p := r.pipe()
		p.hello("")
		p.send(wireNotify(1, 1))
		reply := <-h.replies
		start := time.Now()
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Second)
		defer cancel()
		if err := r.srv.Shutdown(ctx); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("got error %v, want DeadlineExceeded", err)
		}
		if got := time.Since(start); got != 3*time.Second {
			t.Errorf("got %v, want 3s", got)
		}
		if err := reply(allow); !errors.Is(err, ErrUndelivered) {
			t.Errorf("got error %v, want ErrUndelivered", err)
		}
	})
}

// Under load, each NOTIFY that is answered is answered whole, and HAProxy sees
// the others as connections that end: it never waits.
func TestShutdownUnderLoad(t *testing.T) {
	for name, capabilities := range map[string]string{"with pipelining": "pipelining,async", "without": ""} {
		t.Run(name, func(t *testing.T) {
			r := serveUnix(t, Config{Handler: HandlerFunc(func(_ context.Context, n *Notify, reply Reply) {
				if n.StreamID()%3 == 0 {
					go func() { _ = reply(allow) }()
					return
				}
				_ = reply(allow)
			})})
			var answered, lost atomic.Int64
			var all sync.WaitGroup
			for range 16 {
				p := r.dial()
				p.hello(capabilities)
				all.Go(func() {
					defer func() { _ = p.nc.Close() }()
					for i := uint64(0); ; i++ {
						if _, err := p.nc.Write(wireNotify(i, 1)); err != nil {
							lost.Add(1)
							return
						}
						_ = p.nc.SetReadDeadline(time.Now().Add(patience))
						f, err := parseAgent(p.nc)
						if errors.Is(err, io.EOF) || isNormalEnd(err) {
							lost.Add(1)
							return
						}
						if err != nil || f.kind != 103 || f.streamID != i {
							t.Errorf("got frame %d of stream %d, error %v", f.kind, f.streamID, err)
							return
						}
						answered.Add(1)
					}
				})
			}
			r.await("a thousand are answered", func() bool { return r.sent["ACK"] >= 1000 })
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			if err := r.srv.Shutdown(ctx); err != nil {
				t.Error(err)
			}
			all.Wait()
			if lost.Load() != 16 || answered.Load() < 1000 {
				t.Errorf("got %d answered and %d ends, want 16 ends", answered.Load(), lost.Load())
			}
		})
	}
}

func TestNoGoroutineIsLeft(t *testing.T) {
	h := newHoarder()
	r := newRig(t, Config{Handler: h})
	r.path = shortDir(t) + "/s"
	r.serve(listenAt(t, r.path))
	for i := range 20 {
		p := r.dial()
		if i%4 > 0 {
			p.hello("")
		}
		if i%4 > 1 {
			p.send(wireNotify(1, 1))
		}
		if i%4 > 2 {
			p.send([]byte("garbage"))
		}
	}
	for range 10 {
		<-h.replies
	}
	_ = r.srv.Close()
	if err := <-r.served; !errors.Is(err, ErrServerClosed) {
		t.Error(err)
	}
	// One that has done its work, of the test before perhaps, may not be gone yet.
	var stacks bytes.Buffer
	defer func() {
		if t.Failed() {
			t.Log(stacks.String())
		}
	}()
	r.await("no goroutine is left", func() bool {
		stacks.Reset()
		_ = pprof.Lookup("goroutine").WriteTo(&stacks, 2)
		return !slices.ContainsFunc([]string{"spoe.(*conn)", "spoe.(*Server)", "spoe.(*intake)", "spoe.(*outbox)"}, func(own string) bool {
			return strings.Contains(stacks.String(), own)
		})
	})
}

func TestManyListeners(t *testing.T) {
	r := newRig(t, Config{})
	dir := shortDir(t)
	tcp, err := Listen(t.Context(), "localhost:0", ListenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	r.serve(tcp)
	for _, name := range []string{"/a", "/b"} {
		r.serve(listenAt(t, dir+name))
		r.path = dir + name
		p := r.dial()
		p.hello("")
	}
	nc, err := net.Dial("tcp", tcp.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	p := &peer{t, nc}
	p.hello("")
	p.send([]byte{0xff, 0xff, 0xff, 0xff}, bytes.Repeat([]byte("x"), 100_000)) // a reset would cost the peer the reason
	p.disconnected(statusTooBig)
	_ = nc.Close()
	_ = r.srv.Close()
	for range 3 {
		if err := <-r.served; !errors.Is(err, ErrServerClosed) {
			t.Error(err)
		}
	}
}

// brokenListener fails as the kernel does when descriptors run out.
type brokenListener struct {
	net.Listener
	fail chan error
}

func (l brokenListener) Accept() (net.Conn, error) {
	if err, ok := <-l.fail; ok {
		return nil, err
	}
	return l.Listener.Accept()
}

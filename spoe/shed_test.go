package spoe

import (
	"crypto/tls"
	"net"
	"net/http"
	"net/http/httptest"
	"testing"
	"testing/synctest"
	"time"
)

// used connects, and has a NOTIFY answered.
func (r *rig) used() *peer {
	r.t.Helper()
	p := r.dial()
	p.hello("")
	p.send(wireNotify(1, 1))
	p.ack(1, 1)
	return p
}

// works checks that a connection is served.
func (p *peer) works() {
	p.t.Helper()
	p.send(wireNotify(7, 1))
	p.ack(7, 1)
}

// dropped waits for the end, by a reset where the agent has not read everything.
func (p *peer) dropped() {
	p.t.Helper()
	_ = p.nc.SetReadDeadline(time.Now().Add(patience))
	if f, err := parseAgent(p.nc); !isNormalEnd(err) {
		p.t.Fatalf("got frame %d %v and error %v, want the end", f.kind, f.items, err)
	}
}

// Whoever says nothing, or never all of a HELLO, keeps nobody out and pushes nobody out who has said it.
func TestSilentConnectionsMakeRoomFirst(t *testing.T) {
	for name, opening := range map[string][]byte{"silent": nil, "in the middle of a HELLO": haproxyHello(16380, "")[:20]} {
		t.Run(name, func(t *testing.T) {
			r := serveUnix(t, Config{MaxConns: 10})
			var good, silent []*peer
			for range 5 {
				good = append(good, r.used())
			}
			r.await("all wait", func() bool { return idle(r.srv) == 5 })
			for range 50 {
				p := r.dial()
				p.send(opening)
				silent = append(silent, p)
			}
			r.awaitError(ReasonConnShed, 45)
			for _, p := range silent[:45] {
				p.dropped()
			}
			good = append(good, r.used(), r.used())
			for _, p := range silent[45:47] { // those that have been silent for longest
				p.dropped()
			}
			for _, p := range good {
				p.works()
			}
			silent[49].send(haproxyHello(16380, "")[len(opening):]) // the others have lost nothing
			if f := silent[49].recv(); f.kind != 101 {
				t.Errorf("got frame %d, want an AGENT-HELLO", f.kind)
			}
			if got := r.counted()[ReasonConnLimit]; got != 0 {
				t.Errorf("%d connections were refused", got)
			}
		})
	}
}

// HAProxy opens many connections at once, when it starts and when its load grows. They take the places of those that it does not use, and
// not each other's while their HELLOs are on the way.
func TestABurstOfConnectionsDoesNotPushItselfOut(t *testing.T) {
	const bound, burst = 160, 10
	r := serveUnix(t, Config{MaxConns: bound})
	for range bound {
		r.used()
	}
	r.await("all wait", func() bool { return idle(r.srv) == bound })
	var fresh []*peer
	for range burst {
		fresh = append(fresh, r.dial())
	}
	r.awaitError(ReasonConnShed, burst)
	for _, p := range fresh {
		p.hello("")
		p.works()
	}
}

// Without descriptors the kernel says so whether somebody waits or not. Whoever has got the last one has a moment for the HELLO; then those
// who say nothing go before those who are idle.
func TestNewcomersHaveAMomentWhenDescriptorsLack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Config{})
		good, silent := r.pipe(), r.pipe()
		if r.srv.shed() {
			t.Error("a newcomer was shed")
		}
		good.hello("")
		pass(helloQuiet)
		fresh := r.pipe()
		if !r.srv.shed() {
			t.Error("nobody was shed")
		}
		silent.closed()
		fresh.hello("")
		synctest.Wait()
		if !r.srv.shed() {
			t.Error("nobody was shed")
		}
		good.closed()
		fresh.works()
		_ = r.srv.Close()
	})
}

// A connection in the middle of a frame is at work.
func TestAConnectionWithHalfAFrameIsNotIdle(t *testing.T) {
	r := serveUnix(t, Config{MaxConns: 2})
	half := r.used()
	r.await("it waits", func() bool { return idle(r.srv) == 1 })
	whole := wireNotify(3, 1)
	half.send(whole[:9])
	r.await("half a frame has come", func() bool { return idle(r.srv) == 0 })
	other := r.used()
	r.await("the other one waits", func() bool { return idle(r.srv) == 1 })
	newcomer := r.used()
	other.closed()
	half.send(whole[9:])
	half.ack(3, 1)
	newcomer.works()
}

// What is under way is not given up for those who come.
func TestConnectionsAtWorkDoNotMakeRoom(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHoarder()
		r := newRig(t, Config{MaxConns: 2, Handler: h, Timeout: time.Minute})
		a, b := r.pipe(), r.pipe()
		a.hello("")
		a.send(wireNotify(1, 1))
		b.hello("")
		b.send(wireNotify(2, 1)[:9])
		synctest.Wait()
		r.pipe().closed()
		_ = (<-h.replies)(allow)
		a.ack(1, 1)
		if got := r.counted(); got[ReasonConnLimit] != 1 || len(got) != 1 {
			t.Errorf("got errors %v, want one connection refused", got)
		}
		_ = r.srv.Close()
	})
}

// A TLS connection takes leave when it is closed, which waits for a peer that does not read. Those who need its place do not.
func TestRoomIsMadeWithoutWaitingForThePeer(t *testing.T) {
	certified := httptest.NewTLSServer(http.NotFoundHandler())
	defer certified.Close()
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, Config{MaxConns: 1})
		ours, theirs := net.Pipe()
		secured := tls.Client(ours, &tls.Config{InsecureSkipVerify: true})
		r.srv.admit(tls.Server(theirs, &tls.Config{Certificates: certified.TLS.Certificates}))
		p := &peer{t, secured}
		p.hello("")
		synctest.Wait()
		start := time.Now()
		q := r.pipe()
		if took := time.Since(start); took != 0 {
			t.Errorf("the newcomer waited for %v", took)
		}
		q.hello("")
		_ = r.srv.Close()
	})
}

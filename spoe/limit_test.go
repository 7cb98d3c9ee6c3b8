package spoe

import (
	"context"
	"errors"
	"net"
	"os"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// hoarder keeps replies until they are wanted.
type hoarder struct{ replies chan Reply }

func newHoarder() hoarder { return hoarder{make(chan Reply, 1<<12)} }

func (h hoarder) ServeSPOE(_ context.Context, _ *Notify, reply Reply) { h.replies <- reply }

func TestInFlightLimitsAreAnsweredAtOnce(t *testing.T) {
	tests := map[string]struct {
		config Config
		reason Reason
	}{
		"of the server":     {Config{MaxInFlight: 3}, ReasonInFlightLimit},
		"of the connection": {Config{MaxInFlightPerConn: 3}, ReasonConnInFlightLimit},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			h := newHoarder()
			tt.config.Handler, tt.config.Timeout = h, time.Minute
			r := serveUnix(t, tt.config)
			p := r.dial()
			p.hello("pipelining,async")
			p.send(wireNotify(1, 1), wireNotify(2, 1), wireNotify(3, 1), wireNotify(4, 1), wireNotify(5, 1))
			for _, id := range []uint64{4, 5} {
				if diff := cmp.Diff(overloaded(nil), p.ack(id, 1)); diff != "" {
					t.Error(diff)
				}
			}
			_ = (<-h.replies)(allow)
			p.ack(1, 1)
			p.send(wireNotify(6, 1), wireNotify(7, 1))
			if diff := cmp.Diff(overloaded(nil), p.ack(7, 1)); diff != "" {
				t.Error(diff)
			}
			for range 3 {
				_ = (<-h.replies)(allow)
				if diff := cmp.Diff(allow, p.recv().actions); diff != "" {
					t.Error(diff)
				}
			}
			if diff := cmp.Diff(map[Reason]int{tt.reason: 3}, r.counted()); diff != "" || r.flying != 0 {
				t.Errorf("%d in flight; %s", r.flying, diff)
			}
		})
	}
}

func TestInFlightLimitCountsAllConnections(t *testing.T) {
	h := newHoarder()
	r := serveUnix(t, Config{Handler: h, MaxInFlight: 2, Timeout: time.Minute})
	for range 2 {
		p := r.dial()
		p.hello("")
		p.send(wireNotify(1, 1))
	}
	r.await("two are in flight", func() bool { return r.flying == 2 })
	p := r.dial()
	p.hello("")
	p.send(wireNotify(1, 1))
	if diff := cmp.Diff(overloaded(nil), p.ack(1, 1)); diff != "" {
		t.Error(diff)
	}
}

// An answer that never comes in time keeps its place until the handler is done.
func TestExpiredNotifiesKeepTheirPlace(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := newHoarder()
		r := newRig(t, Config{Handler: h, MaxInFlightPerConn: 1})
		p := r.pipe()
		p.hello("pipelining,async")
		p.send(wireNotify(1, 1))
		pass(time.Hour)
		p.send(wireNotify(2, 1))
		if diff := cmp.Diff(overloaded(nil), p.ack(2, 1)); diff != "" {
			t.Error(diff)
		}
		if err := (<-h.replies)(allow); !errors.Is(err, ErrUndelivered) {
			t.Errorf("got error %v, want ErrUndelivered", err)
		}
		p.send(wireNotify(3, 1))
		go func() { _ = (<-h.replies)(allow) }()
		if diff := cmp.Diff(allow, p.ack(3, 1)); diff != "" {
			t.Error(diff)
		}
		_ = r.srv.Close()
	})
}

func TestConnectionLimit(t *testing.T) {
	h := newHoarder()
	r := serveUnix(t, Config{MaxConns: 2, Handler: h})
	a, b := r.dial(), r.dial()
	for i, p := range []*peer{a, b} {
		p.hello("")
		p.send(wireNotify(uint64(i+1), 1))
	}
	first, second := <-h.replies, <-h.replies
	r.dial().closed() // both are at work
	r.awaitError(ReasonConnLimit, 1)
	_ = first(allow)
	_ = second(allow)
	a.ack(1, 1)
	b.ack(2, 1)
	_ = a.nc.Close()
	r.await("one is left", func() bool { return r.conns == 1 })
	c := r.dial()
	c.hello("")
	b.send(wireNotify(3, 1))
	_ = (<-h.replies)(allow)
	b.ack(3, 1)
}

func TestTheLongestIdleConnectionMakesRoom(t *testing.T) {
	r := serveUnix(t, Config{MaxConns: 3})
	var peers []*peer
	for i := range 3 {
		p := r.dial()
		p.hello("")
		p.send(wireNotify(uint64(i+1), 1))
		p.ack(uint64(i+1), 1)
		peers = append(peers, p)
		r.await("it waits", func() bool { return idle(r.srv) == i+1 }) // and has begun to before the next one does
	}
	peers[0].send(wireNotify(9, 1)) // now the second one has been idle for longest
	peers[0].ack(9, 1)
	r.await("all wait", func() bool { return idle(r.srv) == 3 })
	p := r.dial()
	p.hello("")
	peers[1].closed()
	r.awaitError(ReasonConnShed, 1)
	for i, p := range []*peer{peers[0], peers[2], p} {
		p.send(wireNotify(uint64(20+i), 1))
		p.ack(uint64(20+i), 1)
	}
}

// idle returns how many connections wait for a NOTIFY.
func idle(s *Server) (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for c := range s.conns {
		if c.idleSince() > 0 {
			n++
		}
	}
	return n
}

func TestPeersAreCheckedByTheirUser(t *testing.T) {
	me := uint32(os.Getuid())
	r := serveUnix(t, Config{PeerUIDs: []uint32{me + 1, me}})
	p := r.dial()
	p.hello("")

	r = serveUnix(t, Config{PeerUIDs: []uint32{me + 1}})
	r.dial().closed()
	r.awaitError(ReasonPeer, 1)

	l, err := Listen(t.Context(), "127.0.0.1:0", ListenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	r = newRig(t, Config{PeerUIDs: []uint32{me}})
	r.serve(l)
	defer func() { _ = r.srv.Close() }()
	nc, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = nc.Close() }()
	(&peer{t, nc}).closed() // it has no user
	r.awaitError(ReasonPeer, 1)
}

// A peer that sends and does not read fills the queue of its answers, and is
// closed then.
func TestQueueOfAnswersIsBounded(t *testing.T) {
	const n = 400
	h := newHoarder()
	r := serveUnix(t, Config{Handler: h, MaxInFlightPerConn: n, Timeout: time.Minute})
	p := r.dial()
	p.hello("pipelining,async")
	for i := range uint64(n) {
		p.send(wireNotify(i, 1))
	}
	large := []Action{SetString(ScopeRequest, "a", strings.Repeat("x", 15_900))}
	var replies []Reply
	for range n {
		replies = append(replies, <-h.replies)
	}
	var all sync.WaitGroup
	for _, reply := range replies {
		all.Go(func() { _ = reply(large) })
	}
	all.Wait()
	r.awaitError(ReasonWriteQueueFull, 1)
	r.await("the connection is gone", func() bool { return r.conns == 0 })
}

// What is being written counts too, so that a connection keeps no more than a
// queue's worth of answers.
func TestAnswersBeingWrittenCount(t *testing.T) {
	const each, read = 15_900, 32
	h := newHoarder()
	r := serveUnix(t, Config{Handler: h, MaxInFlightPerConn: 1000, Timeout: time.Minute})
	p := r.dial()
	p.hello("pipelining,async")
	large := []Action{SetString(ScopeRequest, "a", strings.Repeat("x", each))}
	taken := 0
	for ; ; taken++ {
		p.send(wireNotify(uint64(taken), 1))
		if err := (<-h.replies)(large); err != nil {
			break
		}
		if taken == maxQueued/each/2 { // the peer reads a little: what has gathered is written next
			for i := range uint64(read) {
				p.ack(i, 1)
			}
			r.await("a large batch is being written", func() bool { return r.writing() > 1<<20 })
		}
	}
	if least, most := maxQueued/each, read+(maxQueued+1<<20)/each; taken < least || taken > most { // the kernel takes some
		t.Errorf("got %d answers taken, want %d to %d", taken, least, most)
	}
	r.awaitError(ReasonWriteQueueFull, 1)
}

// writing returns how many bytes are being written.
func (r *rig) writing() (n int) {
	r.srv.mu.Lock()
	defer r.srv.mu.Unlock()
	for c := range r.srv.conns {
		c.out.mu.Lock()
		n += len(c.out.batch.data)
		c.out.mu.Unlock()
	}
	return n
}

// A goroutine that replies may have those of other connections to reply to: it
// does not wait for a peer that does not read.
func TestRepliesDoNotWaitForThePeer(t *testing.T) {
	const n = 100
	h := newHoarder()
	r := serveUnix(t, Config{Handler: h, MaxInFlightPerConn: n, Timeout: 10 * time.Minute})
	stuck, other := r.dial(), r.dial()
	stuck.hello("pipelining,async")
	other.hello("")
	var replies []Reply
	for i := range uint64(n) {
		stuck.send(wireNotify(i, 1))
		replies = append(replies, <-h.replies)
	}
	other.send(wireNotify(1, 1))
	replies = append(replies, <-h.replies)
	large := []Action{SetString(ScopeRequest, "a", strings.Repeat("x", 15_900))}
	for _, reply := range replies {
		if err := reply(large); err != nil {
			t.Fatal(err)
		}
	}
	other.ack(1, 1)
	for i := range uint64(n) { // all of them are there once it does read
		stuck.ack(i, 1)
	}
	if got := r.counted(); len(got) != 0 {
		t.Errorf("got errors %v, want none", got)
	}
}

// The answers to one read may come to far more than a queue holds. Reading on
// waits for them to be written.
func TestManyLargeAnswersToOneRead(t *testing.T) {
	const n = 1000
	r := serveUnix(t, Config{Handler: answering(SetString(ScopeRequest, "a", strings.Repeat("x", 15_900))), Timeout: time.Minute})
	p := r.dial()
	p.hello("pipelining,async")
	var all []byte
	for i := range uint64(n) {
		all = append(all, wireNotify(i, 1)...)
	}
	p.send(all)
	for i := range uint64(n) {
		p.ack(i, 1)
	}
	if got := r.counted(); len(got) != 0 {
		t.Errorf("got errors %v, want none", got)
	}
}

func TestIdleConnectionsKeepLittle(t *testing.T) {
	r := serveUnix(t, Config{})
	p := r.dial()
	p.hello("pipelining,async")
	for range 3 {
		p.send(typical(1, 1), typical(2, 1))
		p.ack(1, 1)
		p.ack(2, 1)
	}
	r.srv.mu.Lock()
	defer r.srv.mu.Unlock()
	for c := range r.srv.conns {
		c.out.mu.Lock()
		if n := len(c.in.buf) + cap(c.out.queue.data) + cap(c.out.spare.data); n > 24<<10 {
			t.Errorf("got %d bytes of buffers, want at most 24 KiB", n)
		}
		c.out.mu.Unlock()
	}
}

package spoe

import (
	"context"
	"errors"
	"net"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

func TestNotifyReachesTheHandlerAndItsAnswerHAProxy(t *testing.T) {
	want := NewNotify(12, 3, "E1", Message{"m", []Arg{{"a", Text("x")}}})
	actions := []Action{SetInt(ScopeTransaction, "status", -1), Unset(ScopeRequest, "token"), SetString(ScopeTransaction, "decision", "deny")}
	r := serveUnix(t, Config{Timeout: time.Minute, Handler: HandlerFunc(func(ctx context.Context, n *Notify, reply Reply) {
		if d, ok := ctx.Deadline(); !ok || time.Until(d) > time.Minute || ctx.Err() != nil {
			t.Errorf("got deadline %v, %v, error %v", d, ok, ctx.Err())
		}
		if diff := cmp.Diff(want, n, cmp.AllowUnexported(Notify{}, mark{})); diff != "" {
			t.Error(diff)
		}
		if err := reply(actions); err != nil {
			t.Errorf("reply: %v", err)
		}
		if ctx.Err() == nil {
			t.Error("the context outlives the reply")
		}
		if got := n.Messages(); got != nil {
			t.Errorf("got %v after the reply", got)
		}
	})})
	p := r.dial()
	p.hello("")
	p.send(wireNotify(12, 3, wireMessage("m", wireItem("a", wireText("x")))))
	if diff := cmp.Diff(actions, p.ack(12, 3)); diff != "" {
		t.Error(diff)
	}
}

func TestViolationsAreAnsweredWithTheirStatus(t *testing.T) {
	tests := map[string]struct {
		sent   []byte
		status status
		reason Reason
	}{
		"a frame longer than negotiated":   {[]byte{0, 0, 0x3f, 0xfd, 3}, statusTooBig, ReasonFrameTooBig},
		"a frame of 4 GiB":                 {[]byte{0xff, 0xff, 0xff, 0xff}, statusTooBig, ReasonFrameTooBig},
		"a frame of no bytes":              {[]byte{0, 0, 0, 0}, statusInvalid, ReasonFrameInvalid},
		"a frame of six bytes":             {[]byte{0, 0, 0, 6, 3, 0, 0, 0, 1, 1}, statusInvalid, ReasonFrameInvalid},
		"ids that are cut":                 {[]byte{0, 0, 0, 7, 3, 0, 0, 0, 1, 0xff, 0xff}, statusInvalid, ReasonFrameInvalid},
		"a NOTIFY that is cut":             {wireNotify(1, 1, []byte("\x05ab")), statusInvalid, ReasonFrameInvalid},
		"a NOTIFY that is fragmented":      {wireFrame(3, 0, 1, 1), statusFragmentation, ReasonFragmented},
		"an aborted NOTIFY that goes on":   {wireFrame(3, 2, 1, 1), statusFragmentation, ReasonFragmented},
		"a fragment":                       {wireFrame(0, 0, 1, 1), statusFragmentation, ReasonFragmented},
		"a last fragment":                  {wireFrame(0, 1, 1, 1), statusFragmentation, ReasonFragmented},
		"an aborted fragment":              {wireFrame(0, 3, 1, 1), statusFragmentation, ReasonFragmented},
		"a second HELLO":                   {haproxyHello(16380, ""), statusInvalid, ReasonFrameInvalid},
		"a HAPROXY-DISCONNECT that is cut": {wireFrame(2, 1, 0, 0, []byte("\x05ab")), statusInvalid, ReasonFrameInvalid},
		"a status that is no UINT32":       {wireFrame(2, 1, 0, 0, wireItem("status-code", wireText("0"))), statusInvalid, ReasonFrameInvalid},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			r := serveUnix(t, Config{})
			p := r.dial()
			p.hello("")
			p.send(wireNotify(5, 5), tt.sent)
			p.ack(5, 5) // what came before is answered
			p.disconnected(tt.status)
			if diff := cmp.Diff(map[Reason]int{tt.reason: 1}, r.counted()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// A close with bytes unread resets the connection: the peer would get an error
// in place of the rest.
func TestLeaveIsTakenWithoutAReset(t *testing.T) {
	r := serveUnix(t, Config{})
	for name, sent := range map[string][]byte{"a violation": {0, 0, 0, 0}, "a disconnect": wireDisconnect(0)} {
		p := r.dial()
		p.hello("")
		p.send(sent, make([]byte, 60_000))
		if f := p.recv(); f.kind != 102 {
			t.Errorf("%s: got frame %d, want an AGENT-DISCONNECT", name, f.kind)
		}
		r.await("the connection lingers", func() bool { return r.sent["AGENT-DISCONNECT"] > 0 })
		p.closed()
		_ = p.nc.Close()
	}
}

func TestDisconnectIsAnswered(t *testing.T) {
	r := serveUnix(t, Config{})
	p := r.dial()
	p.hello("")
	p.send(wireDisconnect(statusTimeout))
	p.disconnected(statusNormal)
	if got := r.counted(); len(got) != 0 {
		t.Errorf("got errors %v, want none", got)
	}
}

func TestUnknownFramesAreSkipped(t *testing.T) {
	p := serveUnix(t, Config{}).dial()
	p.hello("")
	p.send(wireFrame(77, 0, 1, 1, []byte("whatever")), wireFrame(103, 1, 1, 1), wireFrame(255, 9, 1, 1), wireNotify(1, 1))
	p.ack(1, 1)
}

func TestLongestFrameIsTaken(t *testing.T) {
	const size = 65532
	p := serveUnix(t, Config{Handler: HandlerFunc(func(_ context.Context, n *Notify, reply Reply) {
		v, _ := n.Messages()[0].Arg("body")
		b, _ := v.Bytes()
		_ = reply([]Action{SetInt(ScopeTransaction, "len", int64(len(b)))})
	})}).dial()
	p.send(haproxyHello(size, ""))
	p.recv()
	empty := len(wireNotify(1, 1, wireMessage("m", wireItem("body", wireBinary(strings.Repeat("x", 65000)))))) - 65000
	body := size + lenPrefix - empty
	for range 3 {
		p.send(wireNotify(1, 1, wireMessage("m", wireItem("body", wireBinary(strings.Repeat("x", body))))))
		if diff := cmp.Diff([]Action{SetInt(ScopeTransaction, "len", int64(body))}, p.ack(1, 1)); diff != "" {
			t.Error(diff)
		}
	}
	p.send(wireNotify(1, 1, wireMessage("m", wireItem("body", wireBinary(strings.Repeat("x", body+1)))))[:100])
	p.disconnected(statusTooBig)
}

func TestEachSplitOfTheStreamIsRead(t *testing.T) {
	p := serveUnix(t, Config{}).dial()
	p.hello("pipelining,async")
	stream := append(typical(1, 1), append(wireNotify(2, 1), typical(3, 1)...)...)
	for cut := 1; cut < len(stream); cut += 37 {
		p.send(stream[:cut])
		p.send(stream[cut:])
		for i := range uint64(3) {
			p.ack(i+1, 1)
		}
	}
}

func TestRepliesFromOtherGoroutinesInAnyOrder(t *testing.T) {
	type pending struct {
		id    uint64
		reply Reply
	}
	all := make(chan pending, 3)
	r := serveUnix(t, Config{Handler: HandlerFunc(func(_ context.Context, n *Notify, reply Reply) {
		all <- pending{n.StreamID(), reply}
	})})
	p := r.dial()
	p.hello("pipelining,async")
	p.send(wireNotify(1, 1), wireNotify(2, 1), wireNotify(3, 1))
	replies := map[uint64]Reply{}
	for range 3 {
		x := <-all
		replies[x.id] = x.reply
	}
	for _, id := range []uint64{3, 1, 2} {
		if err := replies[id](allow); err != nil {
			t.Errorf("reply %d: %v", id, err)
		}
		p.ack(id, 1)
	}
	if err := replies[1](allow); !errors.Is(err, ErrAnswered) {
		t.Errorf("got error %v of a second reply, want ErrAnswered", err)
	}
	p.send(wireNotify(4, 1))
	x := <-all
	_ = x.reply(allow)
	p.ack(4, 1) // and no second ACK of 1
}

func TestOneOfManyRepliesAtOnceWins(t *testing.T) {
	var won, lost atomic.Int32
	p := serveUnix(t, Config{Handler: HandlerFunc(func(_ context.Context, _ *Notify, reply Reply) {
		var all sync.WaitGroup
		for range 8 {
			all.Go(func() {
				switch err := reply(allow); {
				case err == nil:
					won.Add(1)
				case errors.Is(err, ErrAnswered):
					lost.Add(1)
				}
			})
		}
		all.Wait()
	})}).dial()
	p.hello("")
	for i := range uint64(50) {
		p.send(wireNotify(i, 1))
		p.ack(i, 1)
	}
	p.send(wireDisconnect(0))
	p.disconnected(statusNormal)
	if won.Load() != 50 || lost.Load() != 350 {
		t.Errorf("got %d and %d, want 50 and 350", won.Load(), lost.Load())
	}
}

// counting counts the writes of a connection and their greatest size.
type counting struct {
	net.Conn
	mu     sync.Mutex
	writes []int
}

func (c *counting) Write(b []byte) (int, error) {
	c.mu.Lock()
	c.writes = append(c.writes, len(b))
	c.mu.Unlock()
	return c.Conn.Write(b)
}

type countingListener struct {
	net.Listener
	conns chan *counting
}

func (l countingListener) Accept() (net.Conn, error) {
	nc, err := l.Listener.Accept()
	if err != nil {
		return nil, err
	}
	c := &counting{Conn: nc}
	l.conns <- c
	return c, nil
}

func TestAnswersOfOneReadShareWritesOfWholeFrames(t *testing.T) {
	const n, size = 40, 1000
	var batches atomic.Int32
	var mu sync.Mutex
	var ready []Reply
	r := newRig(t, Config{
		Timeout: time.Minute,
		Handler: HandlerFunc(func(_ context.Context, _ *Notify, reply Reply) {
			mu.Lock()
			defer mu.Unlock()
			ready = append(ready, reply)
		}),
		EndBatch: func() {
			batches.Add(1)
			mu.Lock()
			defer mu.Unlock()
			for _, reply := range ready {
				_ = reply([]Action{SetString(ScopeTransaction, "a", strings.Repeat("x", size))})
			}
			ready = nil
		},
	})
	r.path = shortDir(t) + "/s"
	l := countingListener{listenAt(t, r.path), make(chan *counting, 1)}
	r.serve(l)
	defer func() { _ = r.srv.Close() }()
	p := r.dial()
	p.hello("pipelining,async")
	nc := <-l.conns
	var all []byte
	for i := range uint64(n) {
		all = append(all, wireNotify(i, 1)...)
	}
	p.send(all) // small enough for one read
	for i := range uint64(n) {
		p.ack(i, 1)
	}
	nc.mu.Lock()
	defer nc.mu.Unlock()
	one := 4 + 1 + 4 + 1 + 1 + 3 + 2 + 1 + 2 + size
	fit := maxWrite / one
	want := []int{0, fit * one, fit * one, (n - 2*fit) * one}
	want[0] = nc.writes[0] // the AGENT-HELLO
	if diff := cmp.Diff(want, nc.writes); diff != "" || batches.Load() != 1 {
		t.Errorf("got %d batches, and these writes: %s", batches.Load(), diff)
	}
}

func TestSlowAnswersAreNotWrittenPiecemeal(t *testing.T) {
	r := newRig(t, Config{Timeout: time.Minute, Handler: HandlerFunc(func(_ context.Context, _ *Notify, reply Reply) {
		go func() { _ = reply(allow) }()
	})})
	r.path = shortDir(t) + "/s"
	l := countingListener{listenAt(t, r.path), make(chan *counting, 1)}
	r.serve(l)
	defer func() { _ = r.srv.Close() }()
	p := r.dial()
	p.hello("pipelining,async")
	nc := <-l.conns
	for i := range uint64(500) {
		p.send(wireNotify(i, 1), wireNotify(1000+i, 1))
		a, b := p.recv(), p.recv()
		if a.streamID+b.streamID != 1000+2*i {
			t.Fatalf("got ACKs of %d and %d", a.streamID, b.streamID)
		}
	}
	nc.mu.Lock()
	defer nc.mu.Unlock()
	small := len(wireNotify(239, 1)) + 3 + len(wireString("decision")) + len(wireText("allow"))
	for _, n := range nc.writes[1:] {
		if n > 2*(small+2) {
			t.Fatalf("got a write of %d bytes", n)
		}
	}
}

func TestAnswersThatCannotBeSentAreReplaced(t *testing.T) {
	token := strings.Repeat("ya29.secret", 2000)
	for name, tt := range map[string]struct {
		actions []Action
		reason  Reason
	}{
		"no actions":        {nil, ReasonAnswerEmpty},
		"a zero action":     {[]Action{{}}, ReasonAnswerInvalid},
		"a token of 22 kB":  {[]Action{SetString(ScopeRequest, "token", token)}, ReasonAnswerTooBig},
		"a token of 16 kB":  {[]Action{SetString(ScopeRequest, "token", token[:15_999])}, ReasonAnswerTooBig},
		"many small values": {[]Action{SetString(ScopeRequest, "a", token[:8000]), SetString(ScopeRequest, "b", token[:8000])}, ReasonAnswerTooBig},
	} {
		t.Run(name, func(t *testing.T) {
			replied := make(chan error, 1)
			r := serveUnix(t, Config{Handler: HandlerFunc(func(_ context.Context, _ *Notify, reply Reply) { replied <- reply(tt.actions) })})
			p := r.dial()
			p.hello("")
			p.send(wireNotify(1, 1))
			if diff := cmp.Diff(overloaded(nil), p.ack(1, 1)); diff != "" {
				t.Error(diff)
			}
			if err := <-replied; !errors.Is(err, ErrUndelivered) || strings.Contains(err.Error(), "ya29") {
				t.Errorf("got error %v, want ErrUndelivered", err)
			}
			if diff := cmp.Diff(map[Reason]int{tt.reason: 1}, r.counted()); diff != "" {
				t.Error(diff)
			}
			log := r.log.String()
			if got := strings.Count(log, "level=ERROR"); got != 1 || !strings.Contains(log, string(tt.reason)) || strings.Contains(log, "ya29") {
				t.Errorf("got log %.300s, want one error that names the reason", log)
			}
			p.send(wireNotify(2, 1))
			p.ack(2, 1) // the connection lives
		})
	}
}

func TestSmallFrameSizeBoundsTheAnswer(t *testing.T) {
	p := serveUnix(t, Config{Handler: answering(SetString(ScopeRequest, "token", strings.Repeat("x", 240)))}).dial()
	p.send(haproxyHello(256, ""))
	p.recv()
	p.send(wireNotify(1, 1))
	if diff := cmp.Diff(overloaded(nil), p.ack(1, 1)); diff != "" {
		t.Error(diff)
	}
}

func TestOverloadWithoutAnAnswerLeavesHAProxyWaiting(t *testing.T) {
	for name, overload := range map[string]func(*Notify) []Action{
		"nothing": func(*Notify) []Action { return nil },
		"a panic": func(*Notify) []Action { panic("secret") },
	} {
		t.Run(name, func(t *testing.T) {
			r := serveUnix(t, Config{Overload: overload, Handler: HandlerFunc(func(_ context.Context, n *Notify, reply Reply) {
				if n.StreamID() == 1 {
					_ = reply(nil)
				} else {
					_ = reply(allow)
				}
			})})
			p := r.dial()
			p.hello("")
			p.send(wireNotify(1, 1), wireNotify(2, 1))
			p.ack(2, 1)
			if got := r.counted()[ReasonUnanswerable]; got != 1 || strings.Contains(r.log.String(), "secret") {
				t.Errorf("got %d unanswerable and log %s", got, r.log.String())
			}
		})
	}
}

func TestPanicsOfTheHandlerAreAnswered(t *testing.T) {
	for name, tt := range map[string]struct {
		handler HandlerFunc
		want    []Action
	}{
		"before a reply": {func(context.Context, *Notify, Reply) { panic("ya29.secret") }, overloaded(nil)},
		"after a reply":  {func(_ context.Context, _ *Notify, reply Reply) { _ = reply(allow); panic(errors.New("ya29.secret")) }, allow},
		"of the runtime": {func(_ context.Context, n *Notify, _ Reply) { _ = n.Messages()[5] }, overloaded(nil)},
	} {
		t.Run(name, func(t *testing.T) {
			r := serveUnix(t, Config{Handler: tt.handler})
			p := r.dial()
			p.hello("")
			for i := range uint64(3) {
				p.send(wireNotify(i, 1))
				if diff := cmp.Diff(tt.want, p.ack(i, 1)); diff != "" {
					t.Error(diff)
				}
			}
			r.awaitError(ReasonHandlerPanic, 3)
			log := r.log.String()
			if strings.Count(log, "level=ERROR") != 3 || !strings.Contains(log, "conn_test.go") || strings.Contains(log, "ya29") {
				t.Errorf("got log %s, want three lines with a stack and without the panic's text", log)
			}
		})
	}
}

func TestPanicOfAHookEndsItsConnectionOnly(t *testing.T) {
	r := serveUnix(t, Config{EndBatch: func() { panic("hook") }})
	p := r.dial()
	p.hello("")
	p.send(wireNotify(1, 1))
	r.awaitError(ReasonServerPanic, 1)
	q := r.dial()
	q.hello("")
}

func TestNormalEndsAreNoErrors(t *testing.T) {
	for name, end := range map[string]func(p *peer){
		"close after the HELLO":       func(p *peer) { _ = p.nc.Close() },
		"close with an answer unread": func(p *peer) { p.send(wireNotify(1, 1)); _ = p.nc.Close() },
		"half a frame":                func(p *peer) { p.send(typical(1, 1)[:50]); _ = p.nc.Close() },
		"half close":                  func(p *peer) { _ = p.nc.(*net.UnixConn).CloseWrite() },
	} {
		t.Run(name, func(t *testing.T) {
			r := serveUnix(t, Config{})
			p := r.dial()
			p.hello("")
			end(p)
			r.await("the connection ends", func() bool { return r.conns == 0 })
			got := r.counted()
			delete(got, ReasonConnGone) // an answer may meet the close
			if log := r.log.String(); len(got) != 0 || log != "" {
				t.Errorf("got errors %v and log %s, want none", got, log)
			}
		})
	}
}

func TestContextEndsWithTheConnection(t *testing.T) {
	ended := make(chan error, 2)
	r := serveUnix(t, Config{Timeout: time.Minute, Handler: HandlerFunc(func(ctx context.Context, _ *Notify, reply Reply) {
		go func() {
			<-ctx.Done()
			ended <- reply(allow)
		}()
	})})
	p := r.dial()
	p.hello("pipelining,async")
	p.send(wireNotify(1, 1), wireNotify(2, 1))
	r.await("two NOTIFYs are in flight", func() bool { return r.flying == 2 })
	_ = p.nc.Close()
	for range 2 {
		if err := <-ended; !errors.Is(err, ErrUndelivered) {
			t.Errorf("got error %v, want ErrUndelivered", err)
		}
	}
	r.await("nothing is in flight", func() bool { return r.flying == 0 })
}

// Without pipelining HAProxy sends the next NOTIFY only when it has given up
// the last, so that an ACK of the last could only do harm.
func TestNewerNotifySupersedesWithoutPipelining(t *testing.T) {
	for name, async := range map[string]bool{"answered in the handler": false, "answered later": true} {
		t.Run(name, func(t *testing.T) {
			replies := make(chan Reply, 3)
			r := serveUnix(t, Config{Timeout: time.Minute, Handler: HandlerFunc(func(ctx context.Context, n *Notify, reply Reply) {
				if !async {
					_ = reply(allow)
					return
				}
				if n.StreamID() < 3 {
					context.AfterFunc(ctx, func() { replies <- reply })
				} else {
					_ = reply(allow)
				}
			})})
			p := r.dial()
			p.hello("pipelining")
			p.send(wireNotify(1, 1), wireNotify(2, 1), wireNotify(3, 1))
			p.ack(3, 1)
			if async {
				for range 2 {
					if err := (<-replies)(allow); !errors.Is(err, ErrUndelivered) {
						t.Errorf("got error %v, want ErrUndelivered", err)
					}
				}
			}
			p.send(wireNotify(4, 1))
			p.ack(4, 1)
			if diff := cmp.Diff(map[Reason]int{ReasonSuperseded: 2}, r.counted()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// NOTIFYs that have gathered while nothing was read are those that HAProxy has
// given up, all but the last, however many reads they take.
func TestOnlyTheLastOfManyIsAnsweredWithoutPipelining(t *testing.T) {
	const n = 40
	for name, size := range map[string]int{
		"frames that reads end within":         1200,
		"frames that a read ends with":         16384 / 16,
		"frames that reads end at the head of": 1365, // 4 bytes of the 13th
	} {
		for _, address := range []string{"unix", "127.0.0.1:0"} {
			t.Run(name+" on "+address, func(t *testing.T) {
				reading, gate := make(chan struct{}), make(chan struct{})
				var ready []Reply
				r := newRig(t, Config{Timeout: time.Minute,
					Handler: HandlerFunc(func(_ context.Context, n *Notify, reply Reply) {
						if n.StreamID() == 0 {
							close(reading)
							<-gate
						}
						ready = append(ready, reply)
					}),
					EndBatch: func() {
						for _, reply := range ready {
							_ = reply(allow)
						}
						ready = nil
					}})
				p := r.serveAt(address)
				defer func() { _ = r.srv.Close() }()
				p.hello("pipelining")
				p.send(wireNotify(0, 1))
				<-reading
				for i := range uint64(n) {
					p.send(filling(i+1, uint32(size-lenPrefix)))
				}
				r.await("all have arrived", func() bool { return p.arrived() })
				close(gate)
				p.ack(0, 1) // it came alone
				p.ack(n, 1)
				if diff := cmp.Diff(map[Reason]int{ReasonSuperseded: n - 1}, r.counted()); diff != "" {
					t.Error(diff)
				}
			})
		}
	}
}

// serveAt starts the rig's server at an address, or on a unix socket, and
// connects to it.
func (r *rig) serveAt(address string) *peer {
	r.t.Helper()
	if address == "unix" {
		address = shortDir(r.t) + "/s"
	}
	l := listenAt(r.t, address)
	r.serve(l)
	nc, err := net.Dial(l.Addr().Network(), l.Addr().String())
	if err != nil {
		r.t.Fatal(err)
	}
	r.t.Cleanup(func() { _ = nc.Close() })
	return &peer{r.t, nc}
}

// arrived reports whether all that was written is with the other end. On a unix
// socket it always is.
func (p *peer) arrived() bool {
	nc, ok := p.nc.(*net.TCPConn)
	if !ok {
		return true
	}
	raw, err := nc.SyscallConn()
	if err != nil {
		return false
	}
	left := -1
	err = raw.Control(func(fd uintptr) { left, _ = unix.IoctlGetInt(int(fd), unix.SIOCOUTQ) })
	return err == nil && left == 0
}

// A NOTIFY need not have come whole to be the newer one.
func TestNotifyThatHasBegunSupersedes(t *testing.T) {
	h := newHoarder()
	r := serveUnix(t, Config{Handler: h, Timeout: time.Minute})
	p := r.dial()
	p.hello("")
	second := typical(2, 1)
	p.send(wireNotify(1, 1), second[:lenPrefix+1])
	_ = (<-h.replies)(allow)
	p.send(second[lenPrefix+1:])
	_ = (<-h.replies)(allow)
	p.ack(2, 1)
	if diff := cmp.Diff(map[Reason]int{ReasonSuperseded: 1}, r.counted()); diff != "" {
		t.Error(diff)
	}
}

// Nobody waits for the answer of a NOTIFY that is aborted, nor, on a connection
// without pipelining, for that of the one before it.
func TestAbortedNotifyIsNotAnswered(t *testing.T) {
	const flags = flagFin | flagAbort
	for capabilities, superseded := range map[string]int{"": 2, "pipelining,async": 1} {
		h := newHoarder()
		r := serveUnix(t, Config{Handler: h, Timeout: time.Minute})
		p := r.dial()
		p.hello(capabilities)
		p.send(wireNotify(1, 1), wireFrame(3, flags, 2, 1, wireMessage("m")))
		r.awaitError(ReasonSuperseded, 1)
		if err := (<-h.replies)(allow); errors.Is(err, ErrUndelivered) != (superseded == 2) {
			t.Errorf("%q: got error %v of the one before", capabilities, err)
		}
		if superseded == 1 {
			p.ack(1, 1)
		}
		p.send(wireNotify(3, 1))
		_ = (<-h.replies)(allow)
		p.ack(3, 1)
		if diff := cmp.Diff(map[Reason]int{ReasonSuperseded: superseded}, r.counted()); diff != "" {
			t.Errorf("%q: %s", capabilities, diff)
		}
	}
}

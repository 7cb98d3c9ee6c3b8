package spoe

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// keep returns a copy of messages that lives on after the reply.
func keep(messages []Message) (kept []Message) {
	for _, m := range messages {
		c := Message{Name: strings.Clone(m.Name)}
		for _, a := range m.Args {
			if a.Value.size() > 0 {
				a.Value = raw(a.Value.kind, bytes.Clone(a.Value.bytes()))
			}
			c.Args = append(c.Args, Arg{Name: strings.Clone(a.Name), Value: a.Value})
		}
		kept = append(kept, c)
	}
	return kept
}

// numbered is the message of a NOTIFY that can be told from all others. Every
// fourth is larger than the buffers that connections begin with.
func numbered(id uint64) []byte {
	size := 100
	if id%4 == 3 {
		size = 20_000
	}
	return wireMessage(fmt.Sprint("m", id), wireItem(fmt.Sprint("name", id), wireText(strings.Repeat(fmt.Sprint(id, " "), size/4))),
		wireItem("id", wireInt(4, id)), wireItem("b", wireBinary(fmt.Sprint(id))))
}

// A NOTIFY and all that a handler has taken from it stay what they are until the
// reply, whatever comes on the connection meanwhile.
func TestNotifyIsValidUntilItsReply(t *testing.T) {
	const rounds, perRound = 40, 25
	type asked struct {
		n     *Notify
		text  string // shares the memory of n
		reply Reply
	}
	slow := make(chan asked, rounds*perRound)
	r := serveUnix(t, Config{MaxInFlightPerConn: rounds * perRound, MaxInFlight: rounds * perRound, Timeout: 1 << 40,
		Handler: HandlerFunc(func(_ context.Context, n *Notify, reply Reply) {
			if n.StreamID()%5 == 0 {
				text, _ := n.Messages()[0].Args[0].Value.Text()
				slow <- asked{n, text, reply}
				return
			}
			_ = reply(allow)
		})})
	p := r.dial()
	p.send(haproxyHello(65532, "pipelining,async"))
	p.recv()
	var readers sync.WaitGroup
	id := uint64(0)
	for range rounds {
		var frames [][]byte
		quick := 0
		for range perRound {
			frames = append(frames, wireNotify(id, 1, numbered(id)))
			if id%5 != 0 {
				quick++
			}
			id++
		}
		all := bytes.Join(frames, nil)
		cut := len(all) / 3 // in the middle of some frame
		p.send(all[:cut])
		p.send(all[cut:])
		for range quick {
			p.recv()
		}
	}
	pending := map[uint64]asked{}
	for range rounds * perRound / 5 {
		a := <-slow
		pending[a.n.StreamID()] = a
	}
	for id, a := range pending {
		readers.Go(func() {
			want, err := decodeNotify(wireNotify(id, 1, numbered(id)), "E1")
			if err != nil {
				t.Error(err)
			}
			if diff := cmp.Diff(want, a.n, cmp.AllowUnexported(Notify{}, mark{})); diff != "" {
				t.Errorf("stream %d: %.300s", id, diff)
			}
			if text, _ := want.messages[0].Args[0].Value.Text(); text != a.text {
				t.Errorf("stream %d: got %.20q, want %.20q", id, a.text, text)
			}
			_ = a.reply(allow)
		})
	}
	for range pending {
		p.recv()
	}
	readers.Wait()
}

// Answers after the handler has returned, but before the next read, cost no
// memory of their own: the next read uses that of the last.
func TestMemoryIsUsedAgain(t *testing.T) {
	var mu sync.Mutex
	var ready []Reply
	where := make(chan *byte, 100)
	p := serveUnix(t, Config{
		Handler: HandlerFunc(func(_ context.Context, n *Notify, reply Reply) {
			mu.Lock()
			defer mu.Unlock()
			ready = append(ready, reply)
			where <- n.Messages()[0].Args[0].Value.data
		}),
		EndBatch: func() {
			mu.Lock()
			defer mu.Unlock()
			for _, reply := range ready {
				_ = reply(allow)
			}
			ready = ready[:0]
		},
	}).dial()
	p.hello("pipelining,async")
	seen := map[*byte]bool{}
	for range 50 {
		p.send(wireNotify(1, 1, numbered(1)))
		p.ack(1, 1)
		seen[<-where] = true
	}
	if len(seen) != 1 {
		t.Errorf("got %d places of the same argument, want 1", len(seen))
	}
}

// NOTIFYs that are answered at once are decoded to the same place, however many
// one read brings.
func TestArgumentsOfOneReadShareTheirPlace(t *testing.T) {
	where := make(chan *Arg, 20)
	p := serveUnix(t, Config{Handler: HandlerFunc(func(_ context.Context, n *Notify, reply Reply) {
		where <- &n.Messages()[0].Args[0]
		_ = reply(allow)
	})}).dial()
	p.hello("pipelining,async")
	p.send(bytes.Repeat(wireNotify(1, 1, numbered(1)), cap(where)))
	first := <-where
	for range cap(where) - 1 {
		if got := <-where; got != first {
			t.Fatal("got arguments in another place")
		}
	}
}

// Overload is asked with all that the NOTIFY had.
func TestOverloadSeesTheNotify(t *testing.T) {
	r := serveUnix(t, Config{
		Overload: func(n *Notify) []Action {
			id, _ := n.Messages()[0].Arg("id")
			i, _ := id.Int()
			return []Action{SetInt(ScopeTransaction, n.Messages()[0].Name, i)}
		},
		MaxInFlightPerConn: 1, Timeout: time.Minute,
		Handler: HandlerFunc(func(_ context.Context, n *Notify, reply Reply) {
			switch n.StreamID() {
			case 1:
				_ = reply(nil) // which cannot be encoded
			case 2:
				panic("overload")
			}
		}),
	})
	p := r.dial()
	p.hello("pipelining,async")
	for _, id := range []uint64{1, 2, 0, 5} { // nobody answers 0, so that 5 is beyond the limit
		p.send(wireNotify(id, 1, numbered(id)))
		if id == 0 {
			continue
		}
		if diff := cmp.Diff([]Action{SetInt(ScopeTransaction, fmt.Sprint("m", id), int64(id))}, p.ack(id, 1)); diff != "" {
			t.Error(diff)
		}
	}
	want := map[Reason]int{ReasonAnswerEmpty: 1, ReasonHandlerPanic: 1, ReasonConnInFlightLimit: 1}
	if diff := cmp.Diff(want, r.counted()); diff != "" {
		t.Error(diff)
	}
}

// A call that is never answered keeps its chunk, and only that.
func TestPinnedMemoryIsBounded(t *testing.T) {
	in := newIntake(nil, 16380)
	first := in.chunk
	first.pins.Add(1)
	for range 1000 {
		in.start, in.end = in.end, min(in.end+1300, len(in.buf))
		in.makeRoom()
		if len(in.buf)-in.end < len(in.buf)/4 {
			t.Fatalf("got room for %d bytes, want a quarter of %d", len(in.buf)-in.end, len(in.buf))
		}
		if in.chunk != first && in.pinned() {
			t.Fatal("a new chunk is pinned")
		}
	}
	if in.chunk == first {
		t.Error("a pinned chunk was used again")
	}
	if !first.pinned() {
		t.Error("nobody answered, and the chunk is not pinned any more")
	}
}

// A handler that panics may have handed the NOTIFY on.
func TestPanicKeepsTheMemoryOfItsNotify(t *testing.T) {
	var n *Notify
	var reply Reply
	done := make(chan error, 1)
	p := serveUnix(t, Config{Handler: HandlerFunc(func(_ context.Context, got *Notify, r Reply) {
		if got.StreamID() == 1 {
			n, reply = got, r
			panic("handed on")
		}
		_ = r(allow)
	})}).dial()
	p.hello("pipelining,async")
	p.send(wireNotify(1, 1, numbered(1)))
	p.ack(1, 1)
	for id := range uint64(50) {
		p.send(wireNotify(id+2, 1, numbered(2)))
		p.ack(id+2, 1)
	}
	want, err := decodeNotify(wireNotify(1, 1, numbered(1)), "E1")
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, n, cmp.AllowUnexported(Notify{}, mark{})); diff != "" {
		t.Error(diff)
	}
	go func() { done <- reply(allow) }()
	if err := <-done; !errors.Is(err, ErrAnswered) {
		t.Errorf("got error %v, want ErrAnswered", err)
	}
}

// A reply that comes twice is never taken for that of a later NOTIFY.
func TestSecondReplyAnswersNobodyElse(t *testing.T) {
	var old []Reply
	p := serveUnix(t, Config{Handler: HandlerFunc(func(_ context.Context, _ *Notify, reply Reply) {
		for _, r := range old {
			if err := r([]Action{SetString(ScopeTransaction, "decision", "someone else's")}); !errors.Is(err, ErrAnswered) {
				t.Errorf("got error %v, want ErrAnswered", err)
			}
		}
		_ = reply(allow)
		old = append(old, reply)
	})}).dial()
	p.hello("pipelining,async")
	for id := range uint64(100) {
		p.send(wireNotify(id, 1))
		if diff := cmp.Diff(allow, p.ack(id, 1)); diff != "" {
			t.Fatal(diff)
		}
	}
}

func TestCodecAllocatesNothing(t *testing.T) {
	_, payload, err := splitFrame(typical(1, 1))
	if err != nil {
		t.Fatal(err)
	}
	var s scratch
	if got := testing.AllocsPerRun(100, func() {
		s.reset()
		if _, err := s.decode(payload); err != nil {
			t.Error(err)
		}
	}); got != 0 {
		t.Errorf("got %v allocations for a NOTIFY, want 0", got)
	}
	actions := benchActions()
	var b []byte
	if got := testing.AllocsPerRun(100, func() {
		if b, err = appendAck(b[:0], 1, 1, actions, maxWrite); err != nil {
			t.Error(err)
		}
	}); got != 0 {
		t.Errorf("got %v allocations for an ACK, want 0", got)
	}
}

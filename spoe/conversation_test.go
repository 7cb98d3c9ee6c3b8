package spoe

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math"
	"net"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// script turns fuzz input into frames: most of them good, so that the fuzzer gets beyond the handshake.
func script(ops []byte) (sent []byte) {
	for i, op := range ops {
		id, arg := uint64(i), uint64(op>>4)
		switch op & 15 {
		case 0:
			sent = append(sent, haproxyHello(16380, []string{"", "pipelining", "pipelining,async"}[arg%3])...)
		case 1, 2, 3, 4, 5:
			sent = append(sent, wireNotify(id, arg, wireMessage("m", wireItem("op", wireInt(4, uint64(op&15)))))...)
		case 6:
			sent = append(sent, typical(id, arg)...)
		case 7:
			sent = append(sent, wireNotify(id, arg)...)
		case 8:
			sent = append(sent, wireFrame(byte(arg)*17, 1, id, 1)...)
		case 9:
			sent = append(sent, wireDisconnect(status(arg))...)
		case 10:
			sent = append(sent, wireFrame(byte(arg), 0, id, 1)...)
		case 11:
			sent = append(sent, byte(arg))
		case 12:
			sent = append(sent, 0, 0, byte(arg)<<3, byte(arg), 3)
		case 13:
			sent = append(sent, wireNotify(id, arg, ops[i:])...)
		case 14:
			sent = append(sent, wireHello(ops[i:])...)
		case 15:
			sent = append(sent, ops[i:]...)
		}
	}
	return sent
}

// opOf returns what a NOTIFY of a script asks of unsteady.
func opOf(n *Notify) int64 {
	if len(n.Messages()) == 0 {
		return 0
	}
	v, _ := n.Messages()[0].Arg("op")
	op, _ := v.Int()
	return op
}

// unsteady is a handler that does what the first argument says.
func unsteady(_ context.Context, n *Notify, reply Reply) {
	switch opOf(n) {
	case 2:
		go func() { _ = reply(allow) }()
	case 3:
		panic("unsteady")
	case 4:
		_ = reply(nil)
	case 5:
		_ = reply(allow)
		_ = reply(allow)
	default:
		_ = reply(allow)
	}
}

// question is a NOTIFY of which an ACK is to come, and what that is to say.
type question struct {
	streamID, frameID uint64
	decision          string
	later             bool // answered on another goroutine
}

// key is what its ACK shows of q.
func (q question) key() question {
	q.later = false
	return q
}

// course is what must come of the bytes of a peer: the state machine of a connection once more, for bytes that are all there.
type course struct {
	greeted    bool // there is an AGENT-HELLO
	agreed     agreement
	questions  []question
	givenUp    bool    // HAProxy has begun another NOTIFY since the last question, or taken that back
	disconnect *status // of the AGENT-DISCONNECT, if there is one
}

func courseOf(sent []byte) *course {
	c := new(course)
	for limit := uint32(maxHello); len(sent) >= lenPrefix; {
		n := binary.BigEndian.Uint32(sent)
		switch {
		case n < 7 && c.greeted:
			c.end(statusInvalid)
			return c
		case n > limit && c.greeted:
			c.end(statusTooBig)
			return c
		case n < 7, n > limit:
			return c
		case uint64(n)+lenPrefix > uint64(len(sent)):
			c.givenUp = c.givenUp || len(sent) > lenPrefix && sent[lenPrefix] == 3
			return c
		}
		raw := sent[:lenPrefix+n]
		if c.take(raw) {
			return c
		}
		sent = sent[len(raw):]
		limit = c.agreed.maxFrameSize
	}
	return c
}

// end ends the course with an AGENT-DISCONNECT.
func (c *course) end(s status) bool {
	c.disconnect = &s
	return true
}

// take reports whether a frame is the last.
func (c *course) take(raw []byte) bool {
	kind, fin, aborted, ids := raw[4], raw[8]&1 != 0, raw[8]&2 != 0, raw[9:]
	streamID, n, err := varintAt(ids)
	frameID, m, err2 := varintAt(ids[n:])
	bad := err != nil || err2 != nil
	c.givenUp = c.givenUp || kind == 3
	switch {
	case !c.greeted:
		return c.open(raw, kind, fin, bad)
	case bad, kind == 1:
		return c.end(statusInvalid)
	case kind == 0, kind == 3 && !fin:
		return c.end(statusFragmentation)
	case kind == 2:
		if _, _, err := decodeDisconnect(raw); err != nil {
			return c.end(statusInvalid)
		}
		return c.end(statusNormal)
	case kind == 3 && !aborted:
		if checkMessages(ids[n+m:]) != nil {
			return c.end(statusInvalid)
		}
		c.ask(raw, streamID, frameID)
	}
	return false
}

// open takes the first frame.
func (c *course) open(raw []byte, kind byte, fin, bad bool) bool {
	switch {
	case bad, kind > 3, kind == 0:
		return true
	case kind == 2:
		return c.end(statusNormal)
	case kind == 3:
		return c.end(statusInvalid)
	case !fin:
		return c.end(statusFragmentation)
	}
	h, err := decodeHello(raw)
	if err != nil {
		return c.end(statusInvalid)
	}
	c.agreed, err = negotiate(h, DefaultMaxFrameSize, PipeliningAuto, func(uint32) bool { return false })
	if v := (*violation)(nil); errors.As(err, &v) {
		return c.end(v.status)
	}
	c.greeted = true
	return c.agreed.healthcheck
}

func (c *course) ask(raw []byte, streamID, frameID uint64) {
	q := question{streamID: streamID, frameID: frameID, decision: "allow"}
	n, err := codecNotify(raw, "")
	if err != nil {
		return // checkMessages and the codec are held equal elsewhere
	}
	switch opOf(n) {
	case 2:
		q.later = true
	case 3, 4:
		q.decision = "overload"
	}
	c.questions = append(c.questions, q)
	c.givenUp = false
}

// check compares what a server has said with what was to come of it.
func (c *course) check(said []agentFrame) error {
	if c.greeted {
		if len(said) == 0 || said[0].kind != 101 {
			return errors.New("no AGENT-HELLO comes first")
		}
		said = said[1:]
	}
	if c.disconnect != nil {
		last := len(said) - 1
		if last < 0 || said[last].kind != 102 || said[last].items["status-code"] != uint32(*c.disconnect) {
			return fmt.Errorf("no AGENT-DISCONNECT %d comes last", *c.disconnect)
		}
		said = said[:last]
	}
	due := map[question]int{}
	for _, q := range c.questions {
		due[q.key()]++
	}
	answered := map[question]int{}
	for _, f := range said {
		q := question{streamID: f.streamID, frameID: f.frameID}
		for _, decision := range []string{"allow", "overload"} {
			if cmp.Equal(f.actions, []Action{SetString(ScopeTransaction, "decision", decision)}) {
				q.decision = decision
			}
		}
		if answered[q]++; f.kind != 103 || answered[q] > due[q] {
			return fmt.Errorf("frame %d of %d and %d with %v answers nothing", f.kind, f.streamID, f.frameID, f.actions)
		}
	}
	for q, n := range c.certain() {
		if answered[q] < n {
			return fmt.Errorf("%d ACKs of %v, want %d", answered[q], q, n)
		}
	}
	return nil
}

// certain returns how many ACKs of each kind no circumstance can cost: without pipelining that of the last question alone, unless HAProxy
// has given it up, and none of those that are answered later on a connection that a fault ends.
func (c *course) certain() map[question]int {
	asked := c.questions
	if !c.agreed.pipelining && len(asked) > 0 {
		asked = asked[len(asked)-1:]
		if c.givenUp {
			asked = nil
		}
	}
	all := map[question]int{}
	for _, q := range asked {
		if !q.later || c.disconnect == nil {
			all[q.key()]++
		}
	}
	return all
}

// FuzzConversation lets a whole server answer. Whatever it is sent, in pieces of whatever size, it says what courseOf tells: whole frames,
// the HELLO first, exactly one ACK with the right actions for each NOTIFY, the right status at the end, and then it ends.
func FuzzConversation(f *testing.F) {
	for i, r := range recordings(f) {
		f.Add(r.said('>'), []byte{0x01, 0x15, 0x06, 0x0b}[:i%5], uint16(7*i))
	}
	for _, last := range [][]byte{{0x09}, {0x00}, {0x0a}, {0x3a}, {0x2a, 0x01}, {0xac, 0x00}, {0x0c}, {0x0d}, {0x0b, 0x0b, 0x0b, 0x0b}, {0x78, 0x01}} {
		f.Add([]byte{}, append([]byte{0x20, 0x01, 0x02, 0x03}, last...), uint16(0))
		f.Add(haproxyHello(16380, "pipelining"), append([]byte{0x04, 0x05}, last...), uint16(11))
		f.Add([]byte{}, last, uint16(0))
	}
	aborted := wireFrame(3, 3, 2, 1, wireMessage("m"))
	for _, capabilities := range []string{"", "pipelining,async"} {
		f.Add(slices.Concat(haproxyHello(16380, capabilities), wireNotify(1, 1), aborted), []byte{}, uint16(0))
		f.Add(slices.Concat(haproxyHello(16380, capabilities), wireNotify(1, 1), typical(2, 1)[:500]), []byte{}, uint16(0))
		f.Add(slices.Concat(haproxyHello(16380, capabilities), wireNotify(1, 1), wireNotify(2, 1, make([]byte, 300))), []byte{}, uint16(150))
	}
	f.Add([]byte{}, []byte{0x20, 0x01, 0x02, 0x03, 0x04, 0x05, 0x06, 0x07, 0x09}, uint16(0))
	f.Add([]byte{}, []byte{0x10, 0x01, 0x11, 0x21, 0x0a}, uint16(1))
	f.Add([]byte{}, []byte{0x00, 0x06, 0x0b}, uint16(300))
	f.Add([]byte("GET / HTTP/1.1\r\n\r\n"), []byte{}, uint16(3))
	f.Add([]byte{}, []byte{0x20, 0x2d, 0x01, 0x61, 0x00}, uint16(0))
	f.Fuzz(func(t *testing.T, opening, ops []byte, piece uint16) {
		if len(opening) > 16384 || len(ops) > 100 {
			return
		}
		sent := slices.Concat(opening, script(ops))
		synctest.Test(t, func(t *testing.T) {
			said := converseWith(t, sent, int(piece))
			if err := courseOf(sent).check(said); err != nil {
				t.Errorf("%v; got %q in answer to %x", err, outlines(said), sent)
			}
		})
	})
}

// converseWith sends a server of its own what a peer has to say, and returns what it said until it ended the connection. It runs in a
// synctest bubble, so that whatever it leaves behind is found.
func converseWith(t *testing.T, sent []byte, piece int) (said []agentFrame) {
	t.Helper()
	var faults atomic.Int32
	srv, err := New(Config{
		Handler: HandlerFunc(unsteady), Overload: overloaded, Log: slog.New(slog.DiscardHandler), Timeout: time.Minute,
		MaxInFlight: math.MaxInt32, MaxInFlightPerConn: math.MaxInt32,
		Hooks: Hooks{Error: func(k string) {
			if Reason(k) == ReasonServerPanic || Reason(k) == ReasonUnanswerable {
				faults.Add(1)
			}
		}},
	})
	if err != nil {
		t.Fatal(err)
	}
	ours, theirs := net.Pipe()
	srv.admit(theirs)
	if piece == 0 {
		piece = max(1, len(sent))
	}
	var writing sync.WaitGroup
	writing.Go(func() {
		for b := range slices.Chunk(sent, piece) {
			if _, err := ours.Write(b); err != nil {
				break // it has heard enough
			}
		}
		_ = srv.Shutdown(t.Context())
	})
	for {
		f, err := parseAgent(ours)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Errorf("after %x: %v", sent, err)
			break
		}
		said = append(said, f)
	}
	_ = ours.Close()
	writing.Wait()
	if faults.Load() > 0 {
		t.Errorf("the server panicked over %x", sent)
	}
	return said
}

package spoe

import (
	"bytes"
	"context"
	"fmt"
	"strings"
	"testing"
	"time"
	"unsafe"
)

// keptBeside is what an unanswered NOTIFY may keep beside its longest frame:
// the arrays that it is decoded to, its context and its reply.
const keptBeside = 27 << 10

var nullArg = wireItem("", []byte{0})

// crowded is a payload of as many arguments as are allowed, in the fewest bytes.
func crowded(messages int) (payload []byte) {
	for i := range messages {
		args := maxArgs*(i+1)/messages - maxArgs*i/messages
		payload = append(payload, wireMessage("", bytes.Repeat(nullArg, args))...)
		payload[len(payload)-len(nullArg)*args-1] = byte(args)
	}
	return payload
}

// filling is a NOTIFY whose frame is size bytes long.
func filling(streamID uint64, size uint32) []byte {
	build := func(body int) []byte {
		return wireNotify(streamID, 1, wireMessage("m", wireItem("body", wireBinary(strings.Repeat("x", body)))))
	}
	rest := lenPrefix + int(size) - len(build(0))
	return build(rest + 1 - len(wireVarint(uint64(rest))))
}

// Whatever a NOTIFY has in it and whatever comes beside it, while it is not
// answered it keeps no more than a frame of the negotiated size and keptBeside.
func TestUnansweredNotifiesKeepLittle(t *testing.T) {
	const unanswered = 100
	tests := map[string]func(i uint64, size uint32) [][]byte{
		"the most arguments in the fewest bytes": func(i uint64, _ uint32) [][]byte { return [][]byte{wireNotify(i, 1, crowded(1))} },
		"the most messages and arguments":        func(i uint64, _ uint32) [][]byte { return [][]byte{wireNotify(i, 1, crowded(maxMessages))} },
		"the longest frames":                     func(i uint64, size uint32) [][]byte { return [][]byte{filling(i, size)} },
		"nothing at all":                         func(i uint64, _ uint32) [][]byte { return [][]byte{wireNotify(i, 1)} },
		"little behind a long frame that is answered": func(i uint64, size uint32) [][]byte {
			return [][]byte{filling(answered, size), wireNotify(i, 1)}
		},
		"little among many arguments that are answered": func(i uint64, _ uint32) [][]byte {
			return [][]byte{wireNotify(answered, 1, crowded(1)), wireNotify(i, 1, wireMessage("", nullArg)), wireNotify(answered, 1, crowded(maxMessages))}
		},
	}
	for name, frames := range tests {
		for _, size := range []uint32{16380, DefaultMaxFrameSize} {
			t.Run(fmt.Sprint(name, "/", size), func(t *testing.T) {
				h := newHoarder()
				r := serveUnix(t, Config{MaxInFlightPerConn: unanswered + 1, Timeout: time.Minute, Handler: HandlerFunc(func(ctx context.Context, n *Notify, reply Reply) {
					if n.StreamID() == answered {
						_ = reply(allow)
					} else {
						h.ServeSPOE(ctx, n, reply)
					}
				})})
				p := r.dial()
				p.send(haproxyHello(size, "pipelining,async"))
				p.recv()
				before := liveHeap()
				for i := range uint64(unanswered) {
					for _, f := range frames(i, size) {
						p.send(f)
						if f[lenPrefix+5] == answered {
							p.ack(answered, 1)
						}
					}
				}
				r.await("all are in flight", func() bool { return r.flying == unanswered })
				kept := int64(liveHeap()) - int64(before)
				if bound := unanswered*(int64(size)+keptBeside) + 1<<20; kept > bound {
					t.Errorf("got %d bytes kept for %d NOTIFYs, want at most %d", kept, unanswered, bound)
				}
				t.Logf("%d bytes for each NOTIFY", kept/unanswered)
			})
		}
	}
}

// answered is the stream whose NOTIFYs TestUnansweredNotifiesKeepLittle answers.
const answered = 200

// A NOTIFY with more arguments than are allowed is a violation, and is not
// decoded any further.
func TestTooManyArgumentsEndTheConnection(t *testing.T) {
	r := serveUnix(t, Config{})
	p := r.dial()
	p.hello("")
	p.send(wireNotify(1, 1, crowded(1)))
	p.ack(1, 1)
	p.send(wireNotify(2, 1, crowded(1), wireMessage("", nullArg)))
	p.disconnected(statusInvalid)
	if got := r.counted()[ReasonFrameInvalid]; got != 1 {
		t.Errorf("got %d invalid frames, want 1", got)
	}
}

// An ACK that waits for a peer that does not read keeps nothing of its NOTIFY.
func TestQueuedAnswersKeepNoFrames(t *testing.T) {
	const n, size = 100, DefaultMaxFrameSize
	h := newHoarder()
	r := serveUnix(t, Config{Handler: h, Timeout: time.Minute})
	p := r.dial()
	p.send(haproxyHello(size, "pipelining,async"))
	p.recv()
	notify := func() (replies []Reply) {
		for range n {
			p.send(filling(1, size))
			replies = append(replies, <-h.replies)
		}
		return replies
	}
	large := []Action{SetString(ScopeRequest, "a", strings.Repeat("x", 15_900))}
	for _, reply := range notify() { // more than a socket has room for: the first to come waits for it
		go func() { _ = reply(large) }()
	}
	r.await("the large answers are queued", func() bool { return r.flying == 0 })
	before := liveHeap()
	for _, reply := range notify() {
		_ = reply(allow)
	}
	if got := int64(liveHeap()) - int64(before); got > 1<<20 {
		t.Errorf("got %d bytes kept for %d small answers", got, n)
	}
	if got := r.counted(); len(got) != 0 {
		t.Errorf("got errors %v, want none", got)
	}
}

// FuzzDecodeKeeps bounds what is decoded from NOTIFYs that are all unanswered,
// in proportion to their length and in all.
func FuzzDecodeKeeps(f *testing.F) {
	f.Add(crowded(1), uint8(3))
	f.Add(crowded(maxMessages), uint8(200))
	f.Add(crowded(maxMessages)[:20], uint8(200))
	f.Add(bytes.Repeat([]byte("\x00\xff"+strings.Repeat("\x00\x00", 255)), 64), uint8(1))
	if _, payload, err := splitFrame(typical(1, 1)); err == nil {
		f.Add(payload, uint8(60))
	}
	f.Fuzz(func(t *testing.T, payload []byte, times uint8) {
		var s scratch
		args, messages := map[*Arg]int{}, map[*Message]int{} // the arrays and their sizes
		for range times {
			list, err := s.decode(payload)
			if err != nil {
				if list != nil {
					t.Errorf("got %v beside error %v", list, err)
				}
				break
			}
			args[unsafe.SliceData(s.args.all)], messages[unsafe.SliceData(s.messages.all)] = cap(s.args.all), cap(s.messages.all)
			if n := countArgs(list); n > maxArgs || len(list) > maxMessages {
				t.Fatalf("got %d messages with %d arguments", len(list), n)
			}
		}
		kept := 0
		for _, n := range args {
			kept += n * int(unsafe.Sizeof(Arg{}))
		}
		for _, n := range messages {
			kept += n * int(unsafe.Sizeof(Message{}))
		}
		if sent := (len(payload) + lenPrefix + minFrame) * int(times); kept > 100*sent+4<<10 || kept > keptBeside*int(times) {
			t.Errorf("got %d bytes kept for %d", kept, sent)
		}
		s.reset()
		for _, a := range s.args.all[:cap(s.args.all)] {
			if a != (Arg{}) {
				t.Fatal("got an argument after the reset")
			}
		}
	})
}

func countArgs(messages []Message) (n int) {
	for _, m := range messages {
		n += len(m.Args)
	}
	return n
}

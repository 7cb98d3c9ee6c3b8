package spoe

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/negasus/haproxy-spoe-go/action"
	"github.com/negasus/haproxy-spoe-go/frame"
	"github.com/negasus/haproxy-spoe-go/typeddata"
	"github.com/negasus/haproxy-spoe-go/varint"
)

// encodeValue is the inverse of decoding, up to the width of integers.
func encodeValue(v Value) []byte {
	switch v.Kind() {
	case KindBool:
		if b, _ := v.Bool(); b {
			return []byte{0x11}
		}
		return []byte{0x01}
	case KindInt:
		i, ok := v.Int()
		if !ok {
			return wireInt(5, math.MaxUint64)
		}
		return wireInt(4, uint64(i))
	case KindIPv4:
		return append([]byte{6}, v.bytes()...)
	case KindIPv6:
		return append([]byte{7}, v.bytes()...)
	case KindString:
		return wireText(string(v.bytes()))
	case KindBinary:
		return wireBinary(string(v.bytes()))
	}
	return []byte{0}
}

func encodeNotify(n *Notify) []byte {
	var messages [][]byte
	for _, m := range n.Messages() {
		var items [][]byte
		for _, a := range m.Args {
			items = append(items, wireItem(a.Name, encodeValue(a.Value)))
		}
		messages = append(messages, wireMessage(m.Name, items...))
	}
	return wireNotify(n.StreamID(), n.FrameID(), messages...)
}

// plain reports whether a payload has only types and flags that have one
// encoding, so that it must come back as it was.
func plain(payload []byte) bool {
	for len(payload) > 0 {
		rest, _ := skipString(payload)
		args := int(rest[0])
		rest = rest[1:]
		for range args {
			value, _ := skipString(rest)
			if t := value[0]; t > 9 && t != 0x11 || t == 2 || t == 3 || t == 5 {
				return false
			}
			rest, _ = skipValue(value)
		}
		payload = rest
	}
	return true
}

// checkHeader checks a frame's header, and is on purpose another piece of code than decodes it. It returns the payload.
func checkHeader(body []byte) ([]byte, error) {
	if len(body) < 7 {
		return nil, errShort
	}
	_, n, err := varintAt(body[5:])
	if err != nil {
		return nil, fmt.Errorf("stream id: %w", err)
	}
	_, m, err := varintAt(body[5+n:])
	if err != nil {
		return nil, fmt.Errorf("frame id: %w", err)
	}
	return body[5+n+m:], nil
}

// FuzzNotifyDifferential holds our reader against the codec's, and what it
// accepts and refuses against checkHeader and checkMessages. What it accepts it
// also encodes identically.
func FuzzNotifyDifferential(f *testing.F) {
	add := func(payload []byte) { f.Add(wireNotify(3, 4, payload)[lenPrefix:]) }
	add([]byte{})
	add(wireMessage("m", wireItem("a", wireText("x")), wireItem("n", []byte{0}), wireItem("b", []byte{0x11})))
	add(wireMessage("m", wireItem("i", wireInt(2, math.MaxUint64)), wireItem("u", wireInt(5, math.MaxUint64)), wireItem("v4", []byte{6, 1, 2, 3, 4})))
	add([]byte("\x01m\x01\x01a\x04\xf0\x80"))
	for _, u := range []uint64{math.MaxInt32 + 1, math.MaxUint32, math.MaxUint32 + 1, 1 << 63, math.MaxUint64 - math.MaxInt32, math.MaxUint64 - math.MaxInt32 - 1} {
		add(wireMessage("m", wireItem("u", wireInt(3, u))))
		add(wireMessage("m", wireItem("i", wireInt(2, u))))
		f.Add(wireFrame(3, 0xffff_fff0, u, u-1, wireMessage("m"))[lenPrefix:])
	}
	for _, ids := range []string{"", "\x01", "\xf0", "\x01\xf0\x80", "\xff\xff\xff\xff\xff\xff\xff\xff\xff\x7f\x01", "\x01" + strings.Repeat("\xff", 20)} {
		f.Add([]byte("\x03\x00\x00\x00\x01" + ids))
	}
	for _, raw := range append(recordedFrames(f), typical(239, 240), typical(2287, 2288), typical(math.MaxUint64, 1<<40)) {
		f.Add(raw[lenPrefix:])
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		if len(body) > DefaultMaxFrameSize || len(body) > 0 && frame.Type(body[0]) != frame.TypeNotify {
			return
		}
		raw := append(binary.BigEndian.AppendUint32(nil, uint32(len(body))), body...)
		n, err := decodeNotify(raw, "E")
		payload, want := checkHeader(body)
		if want == nil {
			want = checkMessages(payload)
		}
		if errOf(err) != errOf(want) {
			t.Fatalf("got error %v, want %v", err, want)
		}
		if err != nil {
			if n != nil {
				t.Errorf("got %v beside error %v", n, err)
			}
			return
		}
		compareWithCodec(t, raw, n)
		again := encodeNotify(n)
		copy(again[lenPrefix+1:], body[1:5]) // flags
		if plain(payload) && !bytes.Equal(raw, again) {
			t.Errorf("got %x, want %x", again, raw)
		}
		m, err := decodeNotify(again, "E")
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(n, m, cmp.AllowUnexported(Notify{}, mark{})); diff != "" {
			t.Error(diff)
		}
	})
}

// compareWithCodec compares what was read of a frame with what the codec reads.
func compareWithCodec(t *testing.T, raw []byte, n *Notify) {
	t.Helper()
	want, err := codecNotify(raw, "E")
	if err != nil {
		t.Fatalf("got %v of what the codec refuses: %v", n, err)
	}
	if diff := cmp.Diff(want, n, cmp.AllowUnexported(Notify{}, mark{})); diff != "" {
		t.Fatal(diff)
	}
	f, err := readFrame(raw)
	if err != nil {
		t.Fatal(err)
	}
	defer frame.ReleaseFrame(f)
	h, _, err := splitFrame(raw)
	if want := (header{f.Type, f.Flags, f.StreamID, f.FrameID}); err != nil || h != want {
		t.Errorf("got header %v and error %v, want %v", h, err, want)
	}
}

// anyActions makes actions of fuzz input: of each scope, kind and op, also of
// those that are none.
func anyActions(script []byte, text string) (all []Action) {
	for i, op := range script {
		name := text[:min(len(text), i+1)]
		scope := Scope(op >> 4 & 7)
		switch n := int64(binary.BigEndian.Uint64(append(make([]byte, 8), script[:i+1]...)[i+1:])); op & 15 {
		case 0, 1, 2:
			all = append(all, SetString(scope, name, text))
		case 3, 4, 5:
			all = append(all, SetInt(scope, name, n<<(op>>4)))
		case 6, 7, 8:
			all = append(all, SetBool(scope, name, n&1 == 0))
		case 9, 10, 11:
			all = append(all, Unset(scope, name))
		case 12:
			all = append(all, SetString(scope, name, strings.Repeat(text, 100)))
		case 13:
			all = append(all, Action{op: action.Type(op >> 4), scope: scope, name: name, value: Int(n)})
			if a := &all[len(all)-1]; a.IsUnset() {
				a.value = Value{} // which is not written
			}
		default:
			all = append(all, Action{op: action.TypeSetVar, scope: scope, name: name, value: Binary([]byte(text))})
		}
	}
	return all
}

// codecActions decodes the actions of an ACK with what the codec has: it never
// reads actions itself, but their strings are KV-NAMEs and their values
// TYPED-DATA.
func codecActions(b []byte) (all []Action, err error) {
	for len(b) > 0 {
		if len(b) < 3 {
			return nil, io.ErrUnexpectedEOF
		}
		op, args, scope := action.Type(b[0]), b[1], Scope(b[2])
		size, n := varint.Uvarint(b[3:])
		name, rest := string(b[3+n:][:size]), b[3+n:][size:]
		a := Action{op: op, scope: scope, name: name}
		switch {
		case op == action.TypeSetVar && args == 3:
			v, n, err := typeddata.Decode(rest)
			if err != nil {
				return nil, err
			}
			if a.value, err = codecValue(v); err != nil {
				return nil, err
			}
			rest = rest[n:]
		case op == action.TypeUnsetVar && args == 2:
		default:
			return nil, fmt.Errorf("action %d with %d arguments", op, args)
		}
		all, b = append(all, a), rest
	}
	return all, nil
}

// FuzzAckDecodes lets the codec decode each ACK that is written: it must have
// the ids and the actions, and what is not written must leave no trace.
func FuzzAckDecodes(f *testing.F) {
	f.Add(uint64(1), uint64(1), []byte{0x23, 0x26, 0x29, 0x30, 0x35}, "decision", 15_995)
	f.Add(uint64(math.MaxUint64), uint64(240), []byte{0x10, 0xf3, 0x1c}, "\x00\xff", 200)
	f.Add(uint64(0), uint64(0), []byte{0x10, 0x2e}, "a", 300)
	f.Add(uint64(0), uint64(0), []byte{}, "", 300)
	f.Fuzz(func(t *testing.T, streamID, frameID uint64, script []byte, text string, limit int) {
		if len(script) > 100 || len(text) > 1000 {
			return
		}
		actions := anyActions(script, text)
		before := []byte("before")
		b, err := appendAck(before, streamID, frameID, actions, limit)
		if err != nil {
			var bad *unencodable
			if !errors.As(err, &bad) || !slices.Contains(Reasons(), bad.reason) || !bytes.Equal(b, before) {
				t.Errorf("got %.20q and error %v", b, err)
			}
			return
		}
		raw := bytes.TrimPrefix(b, before)
		h, payload, err := splitFrame(raw)
		if err != nil {
			t.Fatal(err)
		}
		if want := (header{frame.TypeAgentAck, flagFin, streamID, frameID}); h != want {
			t.Errorf("got header %v, want %v", h, want)
		}
		if n := len(raw) - lenPrefix; n > limit || int(binary.BigEndian.Uint32(raw)) != n {
			t.Errorf("got %d bytes that say they are %x, want at most %d", n, raw[:lenPrefix], limit)
		}
		got, err := codecActions(payload)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(actions, got); diff != "" {
			t.Error(diff)
		}
	})
}

// FuzzFrame feeds an intake: it must find the frames that are there, whatever
// the reads bring, and never hold more than the longest of them.
func FuzzFrame(f *testing.F) {
	f.Add(append(wireNotify(1, 1), wireDisconnect(0)...), uint8(3))
	f.Add([]byte("GET / HTTP/1.1\r\n\r\n"), uint8(1))
	f.Add(typical(1, 1), uint8(200))
	for i, r := range recordings(f) {
		f.Add(r.said('>'), uint8(64*i))
	}
	f.Fuzz(func(t *testing.T, stream []byte, chunk uint8) {
		const limit = 2048
		ours, theirs := net.Pipe()
		defer func() { _ = ours.Close() }()
		go func() {
			for b := stream; len(b) > 0; {
				n, err := theirs.Write(b[:min(len(b), int(chunk)+1)])
				if err != nil {
					return
				}
				b = b[n:]
			}
			_ = theirs.Close()
		}()
		in := newIntake(ours, limit)
		var taken []byte
		for {
			raw, err := in.next()
			if err != nil {
				n := binary.BigEndian.Uint32(stream[len(taken):])
				if n >= minFrame && n <= limit {
					t.Errorf("got error %v of a length of %d", err, n)
				}
				break
			}
			if raw == nil {
				if err := in.fill(time.Time{}); err != nil {
					if !errors.Is(err, io.EOF) {
						t.Errorf("got error %v, want EOF", err)
					}
					break
				}
				continue
			}
			taken = append(taken, raw...)
			if h, payload, err := splitFrame(raw); err != nil && (h != (header{}) || payload != nil) {
				t.Errorf("got %v, %x beside error %v", h, payload, err)
			}
		}
		if !bytes.HasPrefix(stream, taken) {
			t.Errorf("got %x, want the beginning of %x", taken, stream)
		}
		if len(in.buf) > limit+lenPrefix {
			t.Errorf("got a buffer of %d bytes", len(in.buf))
		}
	})
}

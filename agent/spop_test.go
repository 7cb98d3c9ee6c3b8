package agent

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"net"
	"net/netip"
	"testing"
)

// peer plays HAProxy's side of one SPOP connection, as far as these tests need it. It writes its frames by hand, so that what the agent
// understands is held against SPOE.txt and not against the codec the server uses.
type peer struct {
	t    testing.TB
	conn net.Conn
	in   *bufio.Reader
	next uint64
}

func dial(t testing.TB, path string) *peer {
	t.Helper()
	conn, err := net.Dial("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	p := &peer{t: t, conn: conn, in: bufio.NewReader(conn)}
	var hello []byte
	for _, kv := range [][2]string{{"supported-versions", "2.0"}, {"capabilities", "pipelining,async"}} {
		hello = typedString(pstring(hello, kv[0]), kv[1])
	}
	hello = varint(append(pstring(hello, "max-frame-size"), 3), 65532) // UINT32
	p.send(1, 0, 0, hello)
	if kind, _, _, _ := p.receive(); kind != 101 {
		t.Fatalf("frame type %d after HELLO, want AGENT-HELLO", kind)
	}
	return p
}

// varint is the encoding of SPOE.txt section 3.1.
func varint(b []byte, n uint64) []byte {
	if n < 240 {
		return append(b, byte(n))
	}
	b = append(b, byte(n)|240)
	n = (n - 240) >> 4
	for n >= 128 {
		b = append(b, byte(n)|128)
		n = (n - 128) >> 7
	}
	return append(b, byte(n))
}

func readVarint(b []byte) (uint64, []byte) {
	n := uint64(b[0])
	b = b[1:]
	if n < 240 {
		return n, b
	}
	for shift := 4; ; shift += 7 {
		c := b[0]
		b = b[1:]
		n += uint64(c) << shift
		if c < 128 {
			return n, b
		}
	}
}

func pstring(b []byte, s string) []byte     { return append(varint(b, uint64(len(s))), s...) }
func typedString(b []byte, s string) []byte { return pstring(append(b, 8), s) }
func readString(b []byte) (string, []byte) {
	n, b := readVarint(b)
	return string(b[:n]), b[n:]
}

func (p *peer) send(kind byte, stream, frame uint64, payload []byte) {
	p.t.Helper()
	body := []byte{kind, 0, 0, 0, 1}
	body = append(varint(varint(body, stream), frame), payload...)
	if _, err := p.conn.Write(append(binary.BigEndian.AppendUint32(nil, uint32(len(body))), body...)); err != nil {
		p.t.Fatal(err)
	}
}

func (p *peer) receive() (kind byte, stream, frame uint64, payload []byte) {
	p.t.Helper()
	var size [4]byte
	if _, err := io.ReadFull(p.in, size[:]); err != nil {
		p.t.Fatal(err)
	}
	body := make([]byte, binary.BigEndian.Uint32(size[:]))
	if _, err := io.ReadFull(p.in, body); err != nil {
		p.t.Fatal(err)
	}
	kind, rest := body[0], body[5:]
	stream, rest = readVarint(rest)
	frame, rest = readVarint(rest)
	return kind, stream, frame, rest
}

// arg is one argument: a string, an int, a bool, an address, or nil for NULL.
type arg struct {
	name  string
	value any
}

func encodeMessage(name string, args []arg) []byte {
	b := append(pstring(nil, name), byte(len(args)))
	for _, a := range args {
		b = pstring(b, a.name)
		switch v := a.value.(type) {
		case nil:
			b = append(b, 0)
		case string:
			b = typedString(b, v)
		case []byte:
			b = append(varint(append(b, 9), uint64(len(v))), v...)
		case int:
			b = varint(append(b, 4), uint64(v)) // INT64
		case bool:
			b = append(b, 1)
			if v {
				b[len(b)-1] |= 16
			}
		case netip.Addr:
			b = append(append(b, 6), v.AsSlice()...) // IPv4
		default:
			panic(fmt.Sprintf("argument %s of type %T", a.name, v))
		}
	}
	return b
}

// notify sends messages in one NOTIFY and returns its stream id.
func (p *peer) notify(payload []byte) uint64 {
	p.t.Helper()
	p.next++
	p.send(3, p.next, 1, payload)
	return p.next
}

// variable is one SET-VAR of an ACK.
type variable struct {
	scope byte
	name  string
	value any // string, int64 or bool
}

// ack waits for the ACK of the stream.
func (p *peer) ack(stream uint64) []variable {
	p.t.Helper()
	kind, got, _, b := p.receive()
	if kind != 103 || got != stream {
		p.t.Fatalf("frame type %d for stream %d, want an ACK for %d", kind, got, stream)
	}
	var vars []variable
	for len(b) > 0 {
		if !bytes.HasPrefix(b, []byte{1, 3}) {
			p.t.Fatalf("action % x, want SET-VAR with three arguments", b[:min(8, len(b))])
		}
		v := variable{scope: b[2]}
		v.name, b = readString(b[3:])
		kind, rest := b[0], b[1:]
		switch kind & 15 {
		case 8:
			v.value, b = readStringValue(rest)
		case 2, 3, 4, 5:
			var n uint64
			n, b = readVarint(rest)
			v.value = int64(n)
		case 1:
			v.value, b = kind&16 != 0, rest
		default:
			p.t.Fatalf("variable %s has type %d", v.name, kind)
		}
		vars = append(vars, v)
	}
	return vars
}

func readStringValue(b []byte) (any, []byte) {
	s, rest := readString(b)
	return s, rest
}

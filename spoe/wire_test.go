package spoe

import (
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"slices"
	"testing"
	"time"
)

// What follows is HAProxy's side of the wire, written from SPOE.txt and on
// purpose without the codec.

func wireVarint(u uint64) []byte {
	if u < 240 {
		return []byte{byte(u)}
	}
	b := []byte{byte(u) | 0xf0}
	for u = (u - 240) >> 4; u >= 128; u = (u - 128) >> 7 {
		b = append(b, byte(u)|0x80)
	}
	return append(b, byte(u))
}

func wireString(s string) []byte { return append(wireVarint(uint64(len(s))), s...) }

func wireInt(kind byte, u uint64) []byte { return append([]byte{kind}, wireVarint(u)...) }

func wireText(s string) []byte   { return append([]byte{8}, wireString(s)...) }
func wireBinary(s string) []byte { return append([]byte{9}, wireString(s)...) }

func wireItem(name string, value []byte) []byte { return append(wireString(name), value...) }

func wireMessage(name string, items ...[]byte) []byte {
	return append(append(wireString(name), byte(len(items))), slices.Concat(items...)...)
}

func wireFrame(kind byte, flags uint32, streamID, frameID uint64, payload ...[]byte) []byte {
	b := binary.BigEndian.AppendUint32([]byte{kind}, flags)
	b = slices.Concat(b, wireVarint(streamID), wireVarint(frameID), slices.Concat(payload...))
	return append(binary.BigEndian.AppendUint32(nil, uint32(len(b))), b...)
}

func wireNotify(streamID, frameID uint64, messages ...[]byte) []byte {
	return wireFrame(3, 1, streamID, frameID, messages...)
}

func wireHello(items ...[]byte) []byte { return wireFrame(1, 1, 0, 0, items...) }

// haproxyHello is the HELLO of a HAProxy that offers capabilities.
func haproxyHello(maxFrameSize uint32, capabilities string) []byte {
	return wireHello(
		wireItem("supported-versions", wireText("2.0")),
		wireItem("max-frame-size", wireInt(3, uint64(maxFrameSize))),
		wireItem("capabilities", wireText(capabilities)),
		wireItem("engine-id", wireText("E1")),
	)
}

func wireDisconnect(s status) []byte {
	return wireFrame(2, 1, 0, 0, wireItem("status-code", wireInt(3, uint64(s))), wireItem("message", wireText("bye")))
}

// typical is a NOTIFY of the size that an authorization has.
func typical(streamID, frameID uint64) []byte {
	token := make([]byte, 900)
	for i := range token {
		token[i] = 'a' + byte(i%26)
	}
	return wireNotify(streamID, frameID, wireMessage("authorize",
		wireItem("v", wireInt(4, 1)),
		wireItem("id", wireText("7F000001:C350_7F000001:1F90_65B0C1D2_0001:1F4A")),
		wireItem("attempt", wireInt(4, 1)),
		wireItem("ts", wireInt(4, 1_792_000_000_000)),
		wireItem("src", []byte{6, 127, 0, 0, 1}),
		wireItem("method", wireText("POST")),
		wireItem("uri", wireText("/v1/projects/p/locations/europe-west4/publishers/google/models/gemini-2.5-pro:streamGenerateContent?alt=sse")),
		wireItem("host", wireText("vertex.internal")),
		wireItem("authorization", wireText("Bearer "+string(token))),
		wireItem("authorization_count", wireInt(4, 1)),
		wireItem("content_type", wireText("application/json")),
		wireItem("tls_used", []byte{0x01}),
		wireItem("client_cert", []byte{0}),
	))
}

// agentFrame is a frame of an agent, read strictly.
type agentFrame struct {
	kind              byte
	flags             uint32
	streamID, frameID uint64
	items             map[string]any
	actions           []Action
	size              int
}

type wireReader struct {
	b   []byte
	err error
}

func (r *wireReader) take(n int) []byte {
	if r.err != nil || n < 0 || n > len(r.b) {
		r.err = errors.Join(r.err, io.ErrUnexpectedEOF)
		return make([]byte, max(n, 0)%1024)
	}
	b := r.b[:n]
	r.b = r.b[n:]
	return b
}

func (r *wireReader) byte() byte {
	if b := r.take(1); len(b) == 1 {
		return b[0]
	}
	return 0
}

func (r *wireReader) varint() uint64 {
	u := uint64(r.byte())
	if u < 240 {
		return u
	}
	for shift := 4; r.err == nil; shift += 7 {
		b := r.byte()
		u += uint64(b) << shift
		if b < 128 {
			break
		}
	}
	return u
}

func (r *wireReader) text() string { return string(r.take(int(r.varint()))) }

func (r *wireReader) value() any {
	switch t := r.byte(); t {
	case 0x01:
		return false
	case 0x11:
		return true
	case 3:
		return uint32(r.varint())
	case 4:
		return int64(r.varint())
	case 8:
		return r.text()
	default:
		r.err = fmt.Errorf("type %#x, which an agent has no use for", t)
		return nil
	}
}

func (r *wireReader) action() Action {
	op, args, scope := r.byte(), r.byte(), Scope(r.byte())
	name := r.text()
	switch {
	case op == 1 && args == 3:
		switch v := r.value().(type) {
		case bool:
			return SetBool(scope, name, v)
		case int64:
			return SetInt(scope, name, v)
		case string:
			return SetString(scope, name, v)
		default:
			r.err = fmt.Errorf("a variable of type %T", v)
		}
	case op == 2 && args == 2:
		return Unset(scope, name)
	default:
		r.err = fmt.Errorf("action %d with %d arguments", op, args)
	}
	return Action{}
}

// parseAgent reads one frame of an agent from r.
func parseAgent(from io.Reader) (agentFrame, error) {
	var prefix [4]byte
	if _, err := io.ReadFull(from, prefix[:]); err != nil {
		return agentFrame{}, err
	}
	n := binary.BigEndian.Uint32(prefix[:])
	if n < 7 || n > 1<<16 {
		return agentFrame{}, fmt.Errorf("agent frame of %d bytes", n)
	}
	b := make([]byte, n)
	if _, err := io.ReadFull(from, b); err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return agentFrame{}, fmt.Errorf("cut frame: %w", err)
	}
	r := &wireReader{b: b}
	f := agentFrame{kind: r.byte(), flags: binary.BigEndian.Uint32(r.take(4)), size: int(n)}
	f.streamID, f.frameID = r.varint(), r.varint()
	switch f.kind {
	case 101, 102:
		f.items = map[string]any{}
		for len(r.b) > 0 && r.err == nil {
			name := r.text()
			f.items[name] = r.value()
		}
	case 103:
		for len(r.b) > 0 && r.err == nil {
			f.actions = append(f.actions, r.action())
		}
	default:
		r.err = fmt.Errorf("frame type %d", f.kind)
	}
	if f.flags != 1 {
		r.err = errors.Join(r.err, fmt.Errorf("flags %#x", f.flags))
	}
	return f, r.err
}

// peer is a HAProxy at the other end of a connection.
type peer struct {
	t  testing.TB
	nc net.Conn
}

func (p *peer) send(frames ...[]byte) {
	p.t.Helper()
	if _, err := p.nc.Write(slices.Concat(frames...)); err != nil {
		p.t.Fatalf("write: %v", err)
	}
}

func (p *peer) recv() agentFrame {
	p.t.Helper()
	_ = p.nc.SetReadDeadline(time.Now().Add(patience))
	f, err := parseAgent(p.nc)
	if err != nil {
		p.t.Fatalf("read: %v", err)
	}
	return f
}

// ack receives an ACK for a NOTIFY.
func (p *peer) ack(streamID, frameID uint64) []Action {
	p.t.Helper()
	f := p.recv()
	if f.kind != 103 || f.streamID != streamID || f.frameID != frameID {
		p.t.Fatalf("got frame %d of stream %d frame %d, want an ACK of %d and %d", f.kind, f.streamID, f.frameID, streamID, frameID)
	}
	return f.actions
}

// hello makes the handshake and returns the AGENT-HELLO.
func (p *peer) hello(capabilities string) agentFrame {
	p.t.Helper()
	p.send(haproxyHello(16380, capabilities))
	f := p.recv()
	if f.kind != 101 {
		p.t.Fatalf("got frame %d %v, want an AGENT-HELLO", f.kind, f.items)
	}
	return f
}

// closed waits for the end of the connection, without any more frames.
func (p *peer) closed() {
	p.t.Helper()
	_ = p.nc.SetReadDeadline(time.Now().Add(patience))
	if f, err := parseAgent(p.nc); !errors.Is(err, io.EOF) {
		p.t.Fatalf("got frame %d %v and error %v, want the end", f.kind, f.items, err)
	}
}

// disconnected waits for an AGENT-DISCONNECT and the end.
func (p *peer) disconnected(s status) {
	p.t.Helper()
	f := p.recv()
	if f.kind != 102 || f.items["status-code"] != uint32(s) || f.items["message"] != s.String() {
		p.t.Fatalf("got frame %d %v, want an AGENT-DISCONNECT %d %v", f.kind, f.items, s, s)
	}
	if f.streamID != 0 || f.frameID != 0 {
		p.t.Errorf("got AGENT-DISCONNECT of stream %d frame %d, want 0 and 0", f.streamID, f.frameID)
	}
	p.closed()
}

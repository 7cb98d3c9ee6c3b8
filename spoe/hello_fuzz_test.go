package spoe

import (
	"bytes"
	"errors"
	"math"
	"net"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/negasus/haproxy-spoe-go/frame"
)

// encodeItems is the inverse of the codec's decoding of a KV-LIST.
func encodeItems(f *frame.Frame) (b []byte) {
	for _, item := range f.KV.Data() {
		var value []byte
		switch v := item.Value.(type) {
		case nil:
			value = []byte{0}
		case bool:
			value = []byte{0x01}
			if v {
				value = []byte{0x11}
			}
		case int32:
			value = wireInt(2, uint64(v))
		case uint32:
			value = wireInt(3, uint64(v))
		case int64:
			value = wireInt(4, uint64(v))
		case uint64:
			value = wireInt(5, v)
		case net.IP:
			value = append([]byte{6 + byte(len(v)/net.IPv6len)}, v...)
		case string:
			value = wireText(v)
		case []byte:
			value = wireBinary(string(v))
		}
		b = append(b, wireItem(item.Name, value)...)
	}
	return b
}

// plainList reports whether a KV-LIST has only types and flags that have one encoding.
func plainList(b []byte) bool {
	for len(b) > 0 {
		value, _ := skipString(b)
		kind, flags := value[0]&0x0f, value[0]>>4
		if kind == 1 && flags > 1 || kind != 1 && flags > 0 {
			return false
		}
		b, _ = skipValue(value)
		if u, _, _ := varintAt(value[1:]); kind == 2 && u > math.MaxInt32 && u <= math.MaxUint32 {
			return false // a negative number that was not widened
		}
	}
	return true
}

// encodeAgain returns a HELLO that says what h says.
func encodeAgain(h hello) []byte {
	var items [][]byte
	text := func(name string, s *string) {
		if s != nil {
			items = append(items, wireItem(name, wireText(*s)))
		}
	}
	text("supported-versions", h.versions)
	if h.maxFrameSize != nil {
		items = append(items, wireItem("max-frame-size", wireInt(3, uint64(*h.maxFrameSize))))
	}
	text("capabilities", h.capabilities)
	text("engine-id", &h.engineID)
	if h.healthcheck {
		items = append(items, wireItem("healthcheck", []byte{0x11}))
	}
	return wireHello(items...)
}

// FuzzHello makes the handshake with whatever HELLO. One that is accepted encodes identically, item by item, and what is understood of it
// encodes to one that is understood as it was; what is agreed on is within what both sides want, and the AGENT-HELLO says it.
func FuzzHello(f *testing.F) {
	for _, raw := range recordedFrames(f) {
		if _, payload, err := splitFrame(raw); err == nil && raw[lenPrefix] == byte(frame.TypeHaproxyHello) {
			f.Add(payload, uint8(0), true)
		}
	}
	_, payload, _ := splitFrame(haproxyHello(16380, "pipelining,async"))
	f.Add(payload, uint8(1), false)
	f.Add(wireItem("healthcheck", wireText("true")), uint8(2), false)
	f.Add(wireItem("max-frame-size", wireInt(3, 255)), uint8(0), true)
	f.Fuzz(func(t *testing.T, payload []byte, mode uint8, guardable bool) {
		if len(payload) > maxHello {
			return
		}
		raw := wireHello(payload)
		h, err := decodeHello(raw)
		if err != nil {
			if diff := cmp.Diff(hello{}, h, cmp.AllowUnexported(hello{})); diff != "" {
				t.Error(diff)
			}
			return
		}
		checkReencoding(t, raw, h)
		p := []Pipelining{PipeliningAuto, PipeliningOn, PipeliningOff}[mode%3]
		asked := false
		a, err := negotiate(h, DefaultMaxFrameSize, p, func(offered uint32) bool { asked = offered == *h.maxFrameSize; return guardable })
		var v *violation
		if err != nil {
			if a != (agreement{}) || !errors.As(err, &v) || v.status == statusNormal {
				t.Errorf("got %v and error %v", a, err)
			}
			return
		}
		checkAgreement(t, h, a, p, asked && guardable)
	})
}

// checkReencoding encodes a HELLO that was accepted, and what was understood of it.
func checkReencoding(t *testing.T, raw []byte, h hello) {
	t.Helper()
	f, err := readFrame(raw)
	if err != nil {
		t.Fatalf("got %v of what the codec refuses: %v", h, err)
	}
	defer frame.ReleaseFrame(f)
	_, payload, _ := splitFrame(raw)
	if got := encodeItems(f); plainList(payload) && !bytes.Equal(got, payload) {
		t.Errorf("got %x, want %x", got, payload)
	}
	again, err := decodeHello(encodeAgain(h))
	if err != nil {
		t.Fatalf("got error %v of %v encoded again", err, h)
	}
	if diff := cmp.Diff(h, again, cmp.AllowUnexported(hello{})); diff != "" {
		t.Error(diff)
	}
}

// checkAgreement checks what was agreed on, and what HAProxy is told of it.
func checkAgreement(t *testing.T, h hello, a agreement, p Pipelining, guarded bool) {
	t.Helper()
	if a.maxFrameSize < minFrameSize || a.maxFrameSize > min(*h.maxFrameSize, DefaultMaxFrameSize) || len(a.engineID) > maxEngineID {
		t.Errorf("got %+v", a)
	}
	async := bytes.Contains([]byte(*h.capabilities), []byte("async"))
	if a.pipelining && (a.healthcheck || p == PipeliningOff || p == PipeliningAuto && !async && !guarded) {
		t.Errorf("got pipelining of %q with mode %q, guarded %t", *h.capabilities, p, guarded)
	}
	b, err := encodeHello(a.maxFrameSize, a.capabilities())
	if err != nil {
		t.Fatal(err)
	}
	got, err := parseAgent(bytes.NewReader(b))
	if err != nil {
		t.Fatal(err)
	}
	capabilities := map[bool]string{true: "pipelining", false: ""}[a.pipelining]
	want := map[string]any{"version": "2.0", "max-frame-size": a.maxFrameSize, "capabilities": capabilities}
	if diff := cmp.Diff(want, got.items); diff != "" || got.kind != 101 {
		t.Errorf("frame %d: %s", got.kind, diff)
	}
}

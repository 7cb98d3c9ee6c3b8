package spoe

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestHelloIsAnsweredByWhatHAProxyOffers(t *testing.T) {
	item := wireItem
	version := item("supported-versions", wireText("2.0"))
	size := item("max-frame-size", wireInt(3, 16380))
	none := item("capabilities", wireText(""))
	tests := map[string]struct {
		pipelining Pipelining
		items      [][]byte
		size       uint32
		announced  string
	}{
		"HAProxy 3.0 offers async":              {"", [][]byte{version, size, item("capabilities", wireText("pipelining,async"))}, 16380, "pipelining"},
		"HAProxy 3.2 does not":                  {"", [][]byte{version, size, item("capabilities", wireText("pipelining"))}, 16380, ""},
		"HAProxy 3.2 with no option pipelining": {"", [][]byte{version, size, none}, 16380, ""},
		"pipelining on for HAProxy 3.2":         {PipeliningOn, [][]byte{version, size, item("capabilities", wireText("pipelining"))}, 16380, "pipelining"},
		"pipelining on where it is not offered": {PipeliningOn, [][]byte{version, size, none}, 16380, ""},
		"pipelining off":                        {PipeliningOff, [][]byte{version, size, item("capabilities", wireText("pipelining,async"))}, 16380, ""},
		"spaces and unknown capabilities":       {"", [][]byte{version, size, item("capabilities", wireText(" fragmentation , async,pipelining "))}, 16380, "pipelining"},
		"a capability that begins like another": {PipeliningOn, [][]byte{version, size, item("capabilities", wireText("pipelining2"))}, 16380, ""},
		"several versions":                      {"", [][]byte{item("supported-versions", wireText("1.5, 2.0")), size, none}, 16380, ""},
		"version 2.1, which includes 2.0":       {"", [][]byte{item("supported-versions", wireText("2.1")), size, none}, 16380, ""},
		"any order and unknown items":           {"", [][]byte{none, item("colour", []byte{0}), size, item("x", wireBinary("y")), version}, 16380, ""},
		"the smallest frame size":               {"", [][]byte{version, item("max-frame-size", wireInt(3, 256)), none}, 256, ""},
		"a frame size above ours":               {"", [][]byte{version, item("max-frame-size", wireInt(3, 1<<20)), none}, DefaultMaxFrameSize, ""},
		"a healthcheck that is false":           {"", [][]byte{version, size, none, item("healthcheck", []byte{1})}, 16380, ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			p := serveUnix(t, Config{Pipelining: tt.pipelining}).dial()
			p.send(wireHello(tt.items...))
			got := p.recv()
			want := map[string]any{"version": "2.0", "max-frame-size": tt.size, "capabilities": tt.announced}
			if diff := cmp.Diff(want, got.items); diff != "" || got.kind != 101 || got.streamID+got.frameID != 0 {
				t.Errorf("frame %d of stream %d: %s", got.kind, got.streamID, diff)
			}
			p.send(wireNotify(1, 1))
			p.ack(1, 1)
		})
	}
}

func TestHealthCheckIsAnsweredAndClosed(t *testing.T) {
	r := serveUnix(t, Config{})
	p := r.dial()
	p.send(wireHello(wireItem("supported-versions", wireText("2.0")), wireItem("max-frame-size", wireInt(3, 16380)),
		wireItem("capabilities", wireText("")), wireItem("healthcheck", []byte{0x11})))
	if f := p.recv(); f.kind != 101 {
		t.Errorf("got frame %d, want an AGENT-HELLO", f.kind)
	}
	p.closed()
	if got := r.counted(); len(got) != 0 {
		t.Errorf("got errors %v, want none", got)
	}
}

func TestNewListsEveryFault(t *testing.T) {
	_, err := New(Config{Timeout: -1, MaxConns: -1, MaxFrameSize: 255, Pipelining: "maybe"})
	const want = "spoe: no handler\nno answer to overload\nno log\ntimeout -1ns is negative\nlimit -1 is negative\n" +
		"max frame size 255 is not within 256 and 16777216\npipelining \"maybe\" is not auto, on or off"
	if err == nil || err.Error() != want {
		t.Errorf("got error %v, want %v", err, errors.New(want))
	}
}

package spoe

import (
	"errors"
	"strings"
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

func TestHelloIsRefused(t *testing.T) {
	version := wireItem("supported-versions", wireText("2.0"))
	size := wireItem("max-frame-size", wireInt(3, 16380))
	caps := wireItem("capabilities", wireText("pipelining"))
	tests := map[string]struct {
		hello  []byte
		status status
	}{
		"no versions":                  {wireHello(size, caps), statusNoVersion},
		"no frame size":                {wireHello(version, caps), statusNoFrameSize},
		"no capabilities":              {wireHello(version, size), statusNoCapability},
		"version 1":                    {wireHello(wireItem("supported-versions", wireText("1.0")), size, caps), statusBadVersion},
		"version 2 without a minor":    {wireHello(wireItem("supported-versions", wireText("2")), size, caps), statusBadVersion},
		"no version at all":            {wireHello(wireItem("supported-versions", wireText("")), size, caps), statusBadVersion},
		"frame size 255":               {wireHello(version, wireItem("max-frame-size", wireInt(3, 255)), caps), statusBadFrameSize},
		"versions of another type":     {wireHello(wireItem("supported-versions", wireInt(3, 2)), size, caps), statusInvalid},
		"frame size of another type":   {wireHello(version, wireItem("max-frame-size", wireText("16380")), caps), statusInvalid},
		"frame size that is an INT64":  {wireHello(version, wireItem("max-frame-size", wireInt(4, 16380)), caps), statusInvalid},
		"frame size of 33 bits":        {wireHello(version, wireItem("max-frame-size", wireInt(3, 1<<32+16380)), caps), statusInvalid},
		"capabilities of another type": {wireHello(version, size, wireItem("capabilities", []byte{0x11})), statusInvalid},
		"healthcheck of another type":  {wireHello(version, size, caps, wireItem("healthcheck", wireText("true"))), statusInvalid},
		"engine id of another type":    {wireHello(version, size, caps, wireItem("engine-id", []byte{0})), statusInvalid},
		"engine id that is too long":   {wireHello(version, size, caps, wireItem("engine-id", wireText(strings.Repeat("x", 257)))), statusInvalid},
		"a payload that is cut":        {wireHello([]byte("\x05ab")), statusInvalid},
		"stream id 1":                  {wireFrame(1, 1, 1, 0, version, size, caps), statusInvalid},
		"frame id 1":                   {wireFrame(1, 1, 0, 1, version, size, caps), statusInvalid},
		"a first fragment":             {wireFrame(1, 0, 0, 0, version, size, caps), statusFragmentation},
		"a NOTIFY instead":             {wireNotify(1, 1), statusInvalid},
		"a HAPROXY-DISCONNECT instead": {wireDisconnect(0), statusNormal},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			p := serveUnix(t, Config{}).dial()
			p.send(tt.hello)
			p.disconnected(tt.status)
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

// A peer that does not speak SPOP gets no answer, and costs no log line above
// debug.
func TestOtherProtocolsAreClosed(t *testing.T) {
	tests := map[string]string{
		"an HTTP request":          "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
		"an HTTP/2 preface":        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
		"a TLS hello":              "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
		"a PROXY header":           "\r\n\r\n\x00\r\nQUIT\n",
		"zeros":                    "\x00\x00\x00\x00\x00\x00\x00\x00",
		"a length of 6":            "\x00\x00\x00\x06\x01\x00\x00\x00\x01\x00",
		"a length of 2^32-1":       "\xff\xff\xff\xff",
		"a HELLO that is too long": "\x00\x00\x10\x01\x01",
		"an AGENT-HELLO":           string(wireFrame(101, 1, 0, 0)),
		"an unknown frame":         string(wireFrame(77, 1, 0, 0)),
		"a header that is cut":     "\x00\x00\x00\x07\x01\x00\x00\x00\x01\xff\xff",
	}
	for name, sent := range tests {
		t.Run(name, func(t *testing.T) {
			r := serveUnix(t, Config{})
			p := r.dial()
			p.send([]byte(sent))
			r.awaitError(ReasonNotSPOP, 1)
			if f, err := parseAgent(p.nc); err == nil {
				t.Errorf("got frame %d %v, want no answer", f.kind, f.items)
			}
			if log := r.log.String(); strings.Contains(log, "level=WARN") || strings.Contains(log, "level=ERROR") || !strings.Contains(log, "NOT_SPOP") {
				t.Errorf("got log %s, want a debug line", log)
			}
		})
	}
}

func TestHelloMayComeInPieces(t *testing.T) {
	p := serveUnix(t, Config{}).dial()
	for _, b := range haproxyHello(16380, "") {
		p.send([]byte{b})
	}
	if f := p.recv(); f.kind != 101 {
		t.Errorf("got frame %d, want an AGENT-HELLO", f.kind)
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

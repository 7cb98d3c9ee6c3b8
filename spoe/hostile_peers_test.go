package spoe

import (
	"crypto/tls"
	"errors"
	"io"
	"net"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

// hostile is a peer that does what HAProxy does not.
type hostile struct {
	hello  bool     // it makes the handshake first
	sent   [][]byte // one write each
	slowly bool     // a byte at a time, with time between; or never to its end
	want   []string // what it is told; the connection ends then
	reason Reason   // that is counted, if any
}

// told returns an AGENT-DISCONNECT as an outline.
func told(s status) []string {
	return []string{outline(agentFrame{kind: 102, items: map[string]any{"status-code": uint32(s), "message": s.String()}})}
}

// acked are ACKs of the first NOTIFY, before whatever follows.
func acked(rest ...string) []string { return append([]string{"ACK 1 1"}, rest...) }

func text(s string) [][]byte { return [][]byte{[]byte(s)} }

// arguments returns n items whose values are value.
func arguments(n int, value []byte) (items [][]byte) {
	for i := range n {
		items = append(items, wireItem("a"+strconv.Itoa(i), value))
	}
	return items
}

// tlsHello is what a TLS client says first.
func tlsHello(t *testing.T) []byte {
	ours, theirs := net.Pipe()
	go func() { _ = tls.Client(theirs, &tls.Config{ServerName: "vertex"}).Handshake(); _ = theirs.Close() }()
	b := make([]byte, 4096)
	n, err := ours.Read(b)
	if err != nil {
		t.Fatal(err)
	}
	_ = ours.Close()
	return b[:n]
}

// strangers speak another protocol, or what looks like none. They are told nothing.
func strangers(t *testing.T) map[string]hostile {
	all := map[string]hostile{}
	for name, sent := range map[string]string{
		"an HTTP request":                        "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
		"an HTTP request with a body":            "POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 3000\r\n\r\n" + strings.Repeat("x", 3000),
		"an HTTP/2 preface":                      "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
		"a TLS hello":                            string(tlsHello(t)),
		"a PROXY header":                         "\r\n\r\n\x00\r\nQUIT\n",
		"zeros":                                  strings.Repeat("\x00", 100),
		"a length of 6":                          "\x00\x00\x00\x06\x01\x00\x00\x00\x01\x00",
		"a length of 2^32-1":                     "\xff\xff\xff\xff",
		"a HELLO above the limit":                "\x00\x00\x10\x01\x01",
		"an AGENT-HELLO":                         string(wireFrame(101, 1, 0, 0)),
		"an unknown frame in place of the HELLO": string(wireFrame(77, 1, 0, 0)),
		"a header that is cut":                   "\x00\x00\x00\x07\x01\x00\x00\x00\x01\xff\xff",
	} {
		all[name] = hostile{sent: text(sent), reason: ReasonNotSPOP}
	}
	return all
}

// refused are those whose first frame is no HELLO that can be agreed on. They are told why.
func refused() map[string]hostile {
	version := wireItem("supported-versions", wireText("2.0"))
	size := wireItem("max-frame-size", wireInt(3, 16380))
	caps := wireItem("capabilities", wireText("pipelining"))
	all := map[string]hostile{
		"a first fragment of a HELLO": {sent: [][]byte{wireFrame(1, 0, 0, 0, version, size, caps)}, want: told(statusFragmentation), reason: ReasonFragmented},
		"a NOTIFY before the HELLO":   {sent: [][]byte{wireNotify(1, 1), haproxyHello(16380, "")}, want: told(statusInvalid), reason: ReasonFrameInvalid},
		"a HAPROXY-DISCONNECT first":  {sent: [][]byte{wireDisconnect(0)}, want: told(statusNormal)},
	}
	for name, tt := range map[string]struct {
		hello  []byte
		status status
	}{
		"no versions":                  {wireHello(size, caps), statusNoVersion},
		"no frame size":                {wireHello(version, caps), statusNoFrameSize},
		"no capabilities":              {wireHello(version, size), statusNoCapability},
		"version 1":                    {wireHello(wireItem("supported-versions", wireText("1.0")), size, caps), statusBadVersion},
		"version 3":                    {wireHello(wireItem("supported-versions", wireText("3.0")), size, caps), statusBadVersion},
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
	} {
		all["a HELLO with "+name] = hostile{sent: [][]byte{tt.hello}, want: told(tt.status), reason: ReasonHelloRefused}
	}
	return all
}

// guests make the handshake first.
func guests() map[string]hostile {
	bye := wireDisconnect(statusNormal)
	first := wireNotify(1, 1)
	long := wireBinary(strings.Repeat("x", 16380))
	return map[string]hostile{
		"two HELLOs":                            {sent: [][]byte{first, haproxyHello(16380, "")}, want: acked(told(statusInvalid)...), reason: ReasonFrameInvalid},
		"a frame above the limit":               {sent: [][]byte{first, wireNotify(2, 1, wireMessage("m", wireItem("a", long)))}, want: acked(told(statusTooBig)...), reason: ReasonFrameTooBig},
		"the length of a frame of 4 GiB":        {sent: [][]byte{first, {0xff, 0xff, 0xff, 0xff}}, want: acked(told(statusTooBig)...), reason: ReasonFrameTooBig},
		"a frame of no bytes":                   {sent: [][]byte{first, make([]byte, 4)}, want: acked(told(statusInvalid)...), reason: ReasonFrameInvalid},
		"frames of unknown types":               {sent: [][]byte{wireFrame(77, 0, 1, 1, []byte("x")), wireFrame(255, 9, 1, 1), wireFrame(103, 1, 1, 1), first, bye}, want: acked(told(statusNormal)...)},
		"a fragment":                            {sent: [][]byte{first, wireFrame(0, 1, 1, 1)}, want: acked(told(statusFragmentation)...), reason: ReasonFragmented},
		"a NOTIFY that is fragmented":           {sent: [][]byte{first, wireFrame(3, 0, 2, 1)}, want: acked(told(statusFragmentation)...), reason: ReasonFragmented},
		"no messages":                           {sent: [][]byte{first, wireNotify(2, 1), bye}, want: acked(append([]string{"ACK 2 1"}, told(statusNormal)...)...)},
		"a message of 255 NULL arguments":       {sent: [][]byte{wireNotify(1, 1, wireMessage("m", arguments(255, []byte{0})...)), bye}, want: acked(told(statusNormal)...)},
		"a message of 300 arguments":            {sent: [][]byte{first, wireNotify(2, 1, wireMessage("m", arguments(300, wireText("x"))...))}, want: acked(told(statusInvalid)...), reason: ReasonFrameInvalid},
		"two messages of 300 arguments":         {sent: [][]byte{first, wireNotify(2, 1, wireMessage("m", arguments(255, []byte{0})...), wireMessage("n", arguments(45, []byte{0})...))}, want: acked(told(statusInvalid)...), reason: ReasonFrameInvalid},
		"65 messages":                           {sent: [][]byte{first, wireNotify(2, 1, slices.Repeat([][]byte{wireMessage("m")}, 65)...)}, want: acked(told(statusInvalid)...), reason: ReasonFrameInvalid},
		"a NOTIFY that is cut":                  {sent: [][]byte{first, wireNotify(2, 1, []byte("\x05ab"))}, want: acked(told(statusInvalid)...), reason: ReasonFrameInvalid},
		"a conversation in writes of a byte":    {sent: bytewise(first, bye), want: acked(told(statusNormal)...)},
		"half a NOTIFY, and no more":            {sent: [][]byte{first, typical(2, 1)[:500]}, slowly: true, want: acked(told(statusTimeout)...), reason: ReasonFrameTimeout},
		"a NOTIFY of which a byte now and then": {sent: append([][]byte{first}, bytewise(typical(2, 1))...), slowly: true, want: acked(told(statusTimeout)...), reason: ReasonFrameTimeout},
	}
}

// bytewise cuts frames into their bytes.
func bytewise(frames ...[]byte) (all [][]byte) {
	return slices.Collect(slices.Chunk(slices.Concat(frames...), 1))
}

// idlers never come to the end of their HELLO.
func idlers() map[string]hostile {
	return map[string]hostile{
		"nothing at all":                         {slowly: true, reason: ReasonHelloTimeout},
		"half a HELLO, and no more":              {sent: [][]byte{haproxyHello(16380, "")[:40]}, slowly: true, reason: ReasonHelloTimeout},
		"a HELLO of which a byte now and then":   {sent: bytewise(haproxyHello(16380, "")), slowly: true, reason: ReasonHelloTimeout},
		"an HTTP request of a byte now and then": {sent: bytewise([]byte("\x00\x00GET / HTTP/1.1\r\n\r\n")), slowly: true, reason: ReasonNotSPOP},
	}
}

// play says what h has to say on nc, after the handshake if it makes one, and returns what it is told until the end.
func (h hostile) play(t *testing.T, nc net.Conn) (got []string) {
	t.Helper()
	defer nc.Close()
	_ = nc.SetDeadline(time.Now().Add(time.Minute))
	ended := make(chan struct{})
	var writing sync.WaitGroup
	writing.Go(func() {
		for i, b := range h.sent {
			if h.slowly && i > 1 { // the first is whole
				select {
				case <-ended:
					return
				case <-time.After(200 * time.Millisecond):
				}
			}
			if _, err := nc.Write(b); err != nil {
				return // it has heard enough
			}
		}
	})
	for {
		f, err := parseAgent(nc)
		if err != nil {
			if !errors.Is(err, io.EOF) && !errors.Is(err, syscall.ECONNRESET) {
				t.Errorf("after %q: %v, want the end", got, err)
			}
			break
		}
		got = append(got, outline(f))
	}
	close(ended)
	writing.Wait()
	return got
}

// hostilePeers returns all of them: those that are told at once, and those that time ends.
func hostilePeers(t *testing.T) (quick, slow map[string]hostile) {
	quick, slow = map[string]hostile{}, map[string]hostile{}
	put := func(all map[string]hostile, hello bool) {
		for name, h := range all {
			h.hello = hello
			to := quick
			if h.slowly {
				to = slow
			}
			if _, twice := to[name]; twice {
				t.Fatalf("%q stands twice", name)
			}
			to[name] = h
		}
	}
	put(strangers(t), false)
	put(refused(), false)
	put(idlers(), false)
	put(guests(), true)
	return quick, slow
}

// house is a server on a unix socket and on TCP, with a HAProxy that goes on being served.
type house struct {
	*rig
	tcp        string
	honest     *peer
	asked      uint64
	goroutines int
	heap       uint64
}

func newHouse(t *testing.T) *house {
	h := &house{rig: serveUnix(t, Config{})}
	l, err := Listen(t.Context(), "127.0.0.1:0", ListenOptions{})
	if err != nil {
		t.Fatal(err)
	}
	h.tcp = l.Addr().String()
	h.serve(l)
	h.honest = h.dial()
	h.honest.hello("pipelining,async")
	return h
}

// call connects to the house, and makes the handshake if p does.
func (h *house) call(t *testing.T, network string, p hostile) net.Conn {
	t.Helper()
	address := h.path
	if network == "tcp" {
		address = h.tcp
	}
	nc, err := new(net.Dialer).DialContext(t.Context(), network, address)
	if err != nil {
		t.Fatal(err)
	}
	if p.hello {
		(&peer{t, nc}).hello("pipelining,async")
	}
	return nc
}

// calm notes what the house needs when nobody but HAProxy is there.
func (h *house) calm() {
	h.goroutines, h.heap = runtime.NumGoroutine(), liveHeap()
}

// calmAgain waits until nobody else is there, HAProxy is served, and the house needs no more than it did: a goroutine more is one too many,
// and slack bytes are. Both may take a while on a machine with other work.
func (h *house) calmAgain(t *testing.T, slack uint64) {
	t.Helper()
	h.await("all are gone", func() bool { return h.conns == 1 })
	h.asked++
	h.honest.send(wireNotify(h.asked, 1))
	h.honest.ack(h.asked, 1)
	late := time.After(30 * time.Second)
	tick := time.NewTicker(time.Millisecond)
	defer tick.Stop()
	for {
		heap, goroutines := liveHeap(), runtime.NumGoroutine()
		if goroutines <= h.goroutines && heap <= h.heap+slack {
			return
		}
		select {
		case <-tick.C:
		case <-late:
			t.Fatalf("%d goroutines and %d bytes are there, %d and %d were", goroutines, heap, h.goroutines, h.heap)
		}
	}
}

// forget forgets what was counted and logged, and returns it.
func (h *house) forget() (counted map[Reason]int, log string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	counted, h.errors = h.errors, map[Reason]int{}
	h.log.mu.Lock()
	defer h.log.mu.Unlock()
	log = h.log.b.String()
	h.log.b.Reset()
	return counted, log
}

// TestHostilePeers has every peer of the table call many times, on a unix socket and on TCP. Each is told exactly what it must be, and
// leaves no goroutine and no memory behind, while a HAProxy beside it is served.
func TestHostilePeers(t *testing.T) {
	const times, slack = 20, 256 << 10 // not the 16 kB that a connection reads into for each
	quick, _ := hostilePeers(t)
	h := newHouse(t)
	for name, peer := range quick {
		for _, network := range []string{"unix", "tcp"} {
			t.Run(name+"/"+network, func(t *testing.T) {
				_ = peer.play(t, h.call(t, network, peer)) // what is made but once is there from now on
				h.await("it is gone", func() bool { return h.conns == 1 })
				h.forget()
				h.calm()
				for range times {
					if diff := cmp.Diff(peer.want, peer.play(t, h.call(t, network, peer))); diff != "" {
						t.Fatalf("answers (-want +got):\n%s", diff)
					}
				}
				h.calmAgain(t, slack)
				peer.checkCounted(t, h, times)
			})
		}
	}
}

// checkCounted compares what was counted and logged with what so many calls of h must leave.
func (h hostile) checkCounted(t *testing.T, in *house, times int) {
	t.Helper()
	got, log := in.forget()
	want := map[Reason]int{}
	if h.reason != "" {
		want[h.reason] = times
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("errors (-want +got):\n%s", diff)
	}
	loud := strings.Count(log, "level=WARN") + strings.Count(log, "level=ERROR")
	quiet := h.reason == "" || h.reason == ReasonNotSPOP || h.reason == ReasonHelloTimeout
	if quiet != (loud == 0) || loud > times || h.reason != "" && strings.Count(log, string(h.reason)) != times {
		t.Errorf("got log %.500s, want a line for each with %q, above debug: %t", log, h.reason, !quiet)
	}
}

// TestHostilePeersThatTakeTheirTime has those call together that time ends.
func TestHostilePeersThatTakeTheirTime(t *testing.T) {
	_, slow := hostilePeers(t)
	h := newHouse(t)
	h.calm()
	var calling sync.WaitGroup
	want := map[Reason]int{}
	for name, peer := range slow {
		for _, network := range []string{"unix", "tcp"} {
			want[peer.reason]++
			nc := h.call(t, network, peer)
			calling.Go(func() {
				if diff := cmp.Diff(peer.want, peer.play(t, nc)); diff != "" {
					t.Errorf("%s on %s: answers (-want +got):\n%s", name, network, diff)
				}
			})
		}
	}
	calling.Wait()
	h.calmAgain(t, 256<<10)
	if got, _ := h.forget(); !cmp.Equal(want, got) {
		t.Errorf("errors (-want +got):\n%s", cmp.Diff(want, got))
	}
}

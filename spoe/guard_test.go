package spoe

import (
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"testing"
	"time"
)

func TestGuardHasRoomForTheAnswersInFlight(t *testing.T) {
	full := false
	g := &guard{room: 1000, noRoom: func() { full = true }}
	for i := range 3 * muxStreams {
		if !g.take(1000 / muxStreams) {
			t.Fatalf("no room for answer %d", i)
		}
	}
	if g.take(1000/muxStreams+1) != false || !full {
		t.Error("got room for more than there is")
	}
	for range muxStreams {
		if !g.take(1) {
			t.Fatal("no room for small answers in the place of larger ones")
		}
	}
	if !g.take(1000 - muxStreams + 1) {
		t.Error("no room for one large answer among small ones")
	}
}

func helloOfMux(size int) []byte {
	return wireHello(wireItem("supported-versions", wireText("2.0")), wireItem("max-frame-size", wireInt(3, uint64(size))),
		wireItem("capabilities", wireText("pipelining")))
}

func TestPipeliningWithHAProxyFrom31NeedsAGuard(t *testing.T) {
	tests := map[string]struct {
		network string
		size    int
		want    string
	}{
		"a unix socket and the buffers of the example": {"unix", 65532, "pipelining"},
		"a unix socket and HAProxy's own buffers":      {"unix", 16380, ""},
		"TCP": {"tcp", 65532, ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			r := serveUnix(t, Config{})
			p := r.dial
			if tt.network == "tcp" {
				l, err := Listen(t.Context(), "127.0.0.1:0", ListenOptions{})
				if err != nil {
					t.Fatal(err)
				}
				go func() { _ = r.srv.Serve(l) }()
				p = func() *peer {
					nc, err := new(net.Dialer).DialContext(t.Context(), "tcp", l.Addr().String())
					if err != nil {
						t.Fatal(err)
					}
					t.Cleanup(func() { _ = nc.Close() })
					return &peer{t, nc}
				}
			}
			c := p()
			c.send(helloOfMux(tt.size))
			if got := c.recv().items["capabilities"]; got != tt.want {
				t.Errorf("announced %q, want %q", got, tt.want)
			}
		})
	}
}

// A HAProxy that does not read what it has asked for loses its connection within a second; one that is slow does not.
func TestConnectionThatIsNotReadIsClosed(t *testing.T) {
	r := serveUnix(t, Config{})
	slow, stuck := r.dial(), r.dial()
	for _, p := range []*peer{slow, stuck} {
		p.send(helloOfMux(65532))
		p.recv()
	}
	for i := range muxStreams {
		stuck.send(wireNotify(uint64(2*i+1), 1))
	}
	for i := range uint64(4) {
		slow.send(wireNotify(2*i+1, 1))
		<-time.After(3 * lookPeriod / 2)
		slow.ack(2*i+1, 1)
	}
	r.awaitError(ReasonWedge, 1)
	if err := stuck.nc.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(io.Discard, stuck.nc); errors.Is(err, os.ErrDeadlineExceeded) {
		t.Error("the connection that was not read is still open")
	}
	slow.send(wireNotify(99, 1))
	slow.ack(99, 1)
	if n := r.counted()[ReasonWedge]; n != 1 {
		t.Errorf("got %d connections closed, want 1", n)
	}
}

// When answers get too long for HAProxy's buffer, its connections end together and the next ones do without pipelining.
func TestLongAnswersEndPipelining(t *testing.T) {
	long := []Action{SetString(ScopeRequest, "token", strings.Repeat("t", 12_000))}
	r := serveUnix(t, Config{Handler: answering(long...)})
	first, second := r.dial(), r.dial()
	for _, p := range []*peer{first, second} {
		p.send(helloOfMux(65532))
		p.recv()
	}
	for i := range 5 {
		first.send(wireNotify(uint64(2*i+1), 1))
		first.ack(uint64(2*i+1), 1)
	}
	first.send(wireNotify(11, 1))
	first.closed()
	second.closed()
	third := r.dial()
	third.send(helloOfMux(65532))
	if got := third.recv().items["capabilities"]; got != "" {
		t.Errorf("announced %q, want nothing", got)
	}
	for i := range 30 {
		third.send(wireNotify(uint64(2*i+1), 1))
		third.ack(uint64(2*i+1), 1)
	}
}

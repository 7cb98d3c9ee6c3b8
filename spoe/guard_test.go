package spoe

import (
	"errors"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

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

// A HAProxy that does not read what it has asked for loses its connection soon; one that is slow does not.
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
	if err := stuck.nc.SetReadDeadline(time.Now().Add(patience)); err != nil {
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

// Answers that HAProxy's buffer has no room for wait until HAProxy has read, and all are read in the end.
func TestLongAnswersWaitUntilTheyAreRead(t *testing.T) {
	const size, rounds = 65532, 5
	for _, n := range []int{100, 3_000, 3_300, 8_000, 12_000, maxWrite - 100} {
		t.Run(strconv.Itoa(n), func(t *testing.T) {
			r := serveUnix(t, Config{Handler: answering(SetString(ScopeRequest, "token", strings.Repeat("t", n)))})
			r.srv.watching.Do(func() {}) // nobody looks whether this peer reads: it asks all before it does, and may be slow at that
			p := r.dial()
			p.send(helloOfMux(size))
			if got := p.recv().items["capabilities"]; got != "pipelining" {
				t.Fatalf("announced %q, want pipelining", got)
			}
			id, most := uint64(1), 0
			for range rounds {
				first := id
				for range muxStreams {
					p.send(wireNotify(id, 1))
					id += 2
				}
				for i := first; i < id; i += 2 {
					most = max(most, p.unread())
					p.ack(i, 1)
				}
			}
			t.Logf("at most %d bytes were unread", most)
			if most > size {
				t.Errorf("%d bytes were unread, which fill HAProxy's buffer", most)
			}
			if got := r.counted(); len(got) != 0 {
				t.Errorf("got errors %v, want none", got)
			}
		})
	}
}

// unread returns how many bytes wait at the peer, when no more come.
func (p *peer) unread() (n int) {
	p.t.Helper()
	raw, err := p.nc.(*net.UnixConn).SyscallConn()
	if err != nil {
		p.t.Fatal(err)
	}
	for {
		before := n
		<-time.After(time.Millisecond)
		if err := raw.Control(func(fd uintptr) { n, err = unix.IoctlGetInt(int(fd), unix.SIOCINQ) }); err != nil {
			p.t.Fatal(err)
		}
		if n == before {
			return n
		}
	}
}

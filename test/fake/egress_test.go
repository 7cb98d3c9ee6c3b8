package fake

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// do sends a request and reads the answer whole.
func do(t testing.TB, c *http.Client, req *http.Request) answer {
	t.Helper()
	res, err := c.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer{res.StatusCode, res.Header, string(body)}
}

func dial(t testing.TB, addr string) net.Conn {
	t.Helper()
	var d net.Dialer
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	conn, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(20 * time.Second)); err != nil {
		t.Fatal(err)
	}
	return conn
}

// toEgress sends bytes to the proxy and reads one answer.
func toEgress(t testing.TB, w *World, text string) answer {
	t.Helper()
	conn := dial(t, w.Egress.Addr())
	if _, err := io.WriteString(conn, text); err != nil {
		t.Fatal(err)
	}
	res, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = res.Body.Close() }()
	body, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer{res.StatusCode, res.Header, string(body)}
}

// echo is a party that sends back what it gets, until the other side has ended.
func echo(t *testing.T) string {
	t.Helper()
	ln, err := net.Listen("tcp", loopback)
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	t.Cleanup(func() { _ = ln.Close(); <-done })
	go func() {
		defer close(done)
		conn, err := ln.Accept()
		if err != nil {
			return
		}
		_, _ = io.Copy(conn, conn)
		_ = conn.Close()
	}()
	return ln.Addr().String()
}

func startEgress(t *testing.T, routes map[string]string) *Egress {
	t.Helper()
	e, err := NewEgress("", routes)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := e.Close(); err != nil {
			t.Error(err)
		}
	})
	return e
}

const connectEcho = "CONNECT echo.example:443 HTTP/1.1\r\nHost: echo.example:443\r\n\r\n"

func TestTunnelCarriesEveryByteBothWaysAndTheEnd(t *testing.T) {
	e := startEgress(t, map[string]string{"echo.example:443": echo(t)})
	conn := dial(t, e.Addr())
	// The first bytes travel with the CONNECT itself, before the proxy has answered.
	if _, err := io.WriteString(conn, connectEcho+"early "); err != nil {
		t.Fatal(err)
	}
	r := bufio.NewReader(conn)
	res, err := http.ReadResponse(r, &http.Request{Method: http.MethodConnect})
	if err != nil {
		t.Fatal(err)
	}
	if res.StatusCode != http.StatusOK {
		t.Fatalf("got status %d, want 200", res.StatusCode)
	}
	if _, err := io.WriteString(conn, "late"); err != nil {
		t.Fatal(err)
	}
	if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
		t.Fatal(err)
	}
	got, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	if string(got) != "early late" {
		t.Errorf("got %q, want %q", got, "early late")
	}
	want := []Connect{{Target: "echo.example:443"}}
	if diff := cmp.Diff(want, e.Connects(), cmpopts.IgnoreFields(Connect{}, "Time")); diff != "" {
		t.Error(diff)
	}
}

// openTunnel opens a tunnel to echo and proves that it works.
func openTunnel(t *testing.T, e *Egress) (net.Conn, *bufio.Reader) {
	t.Helper()
	conn := dial(t, e.Addr())
	if _, err := io.WriteString(conn, connectEcho+"x"); err != nil {
		t.Fatal(err)
	}
	r := bufio.NewReader(conn)
	if _, err := http.ReadResponse(r, &http.Request{Method: http.MethodConnect}); err != nil {
		t.Fatal(err)
	}
	if b, err := r.ReadByte(); err != nil || b != 'x' {
		t.Fatalf("got %q, %v", b, err)
	}
	return conn, r
}

func TestCutBreaksTunnelsThatStand(t *testing.T) {
	e := startEgress(t, map[string]string{"echo.example:443": echo(t)})
	_, r := openTunnel(t, e)
	e.Cut("echo.example:443")
	if b, err := r.ReadByte(); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("got %q, %v through a cut tunnel, want it broken", b, err)
	}
	// A tunnel whose target is cut while it is being opened does not open.
	if e.open(new(tunnel), "echo.example:443") {
		t.Error("a tunnel opens to a target that is cut")
	}
	e.Mend("echo.example:443")
	if !e.open(new(tunnel), "echo.example:443") {
		t.Error("no tunnel opens to a target that was mended")
	}
}

func TestCloseBreaksTunnelsThatStand(t *testing.T) {
	e := startEgress(t, map[string]string{"echo.example:443": echo(t)})
	_, r := openTunnel(t, e)
	if err := e.Close(); err != nil {
		t.Fatal(err)
	}
	if b, err := r.ReadByte(); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("got %q, %v through a closed proxy, want it broken", b, err)
	}
}

func TestAPartyThatDoesNotListenIsABadGateway(t *testing.T) {
	e := startEgress(t, nil)
	// The near end of a connection is taken, and so nobody can begin to listen there.
	e.Route("echo.example:443", dial(t, e.Addr()).LocalAddr().String())
	got := toEgress(t, &World{Egress: e}, connectEcho)
	if got.Status != http.StatusBadGateway {
		t.Errorf("got status %d, want 502", got.Status)
	}
}

package spoe

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/negasus/haproxy-spoe-go/action"
	libagent "github.com/negasus/haproxy-spoe-go/agent"
	"github.com/negasus/haproxy-spoe-go/frame"
	"github.com/negasus/haproxy-spoe-go/logger"
	"github.com/negasus/haproxy-spoe-go/request"
)

// benchToken is never written.
var benchToken = "ya29." + strings.Repeat("y", 1019)

// benchActions are an allow of the usual size: 8 variables, one a token of 1 kB.
func benchActions() []Action {
	return []Action{
		SetString(ScopeRequest, "token", benchToken),
		SetString(ScopeTransaction, "subject", "repo:acme/app:ref:refs/heads/main"),
		SetString(ScopeTransaction, "account", "ci@project.iam.gserviceaccount.com"),
		SetString(ScopeTransaction, "rule", "ci-may-generate"),
		SetString(ScopeTransaction, "role", "ci"),
		SetInt(ScopeTransaction, "t_verify", 12),
		SetInt(ScopeTransaction, "status", 200),
		SetString(ScopeTransaction, "decision", "allow"),
	}
}

// BenchmarkDecodeNotify and BenchmarkEncodeAck have the codec beside ours.
func BenchmarkDecodeNotify(b *testing.B) {
	raw := typical(1, 1)
	var s scratch
	ours := func() error {
		_, payload, err := splitFrame(raw)
		if err != nil {
			return err
		}
		s.reset()
		_, err = s.decode(payload)
		return err
	}
	library := func() error {
		f := frame.AcquireFrame()
		defer frame.ReleaseFrame(f)
		return f.Read(bytes.NewReader(raw))
	}
	beside(b, ours, library)
}

func BenchmarkEncodeAck(b *testing.B) {
	actions := benchActions()
	var buf []byte
	ours := func() (err error) {
		buf, err = appendAck(buf[:0], 1, 1, actions, maxWrite)
		return err
	}
	library := func() error {
		f := frame.AcquireFrame()
		defer frame.ReleaseFrame(f)
		f.Type, f.StreamID, f.FrameID = frame.TypeAgentAck, 1, 1
		libraryActions(&f.Actions)
		_, err := f.Encode(io.Discard)
		return err
	}
	beside(b, ours, library)
}

// beside measures two ways to do the same.
func beside(b *testing.B, ours, library func() error) {
	var slow float64 // ns
	measure := func(b *testing.B, f func() error) float64 {
		b.ReportAllocs()
		for b.Loop() {
			if err := f(); err != nil {
				b.Fatal(err)
			}
		}
		return float64(b.Elapsed().Nanoseconds()) / float64(b.N)
	}
	b.Run("library", func(b *testing.B) { slow = measure(b, library) })
	b.Run("ours", func(b *testing.B) { ratio(b, slow, measure(b, ours)) })
}

// ratio reports of/to, if to was measured too.
func ratio(b *testing.B, of, to float64) {
	if to > 0 && of > 0 {
		b.ReportMetric(of/to, "x-library")
	}
}

// BenchmarkRoundTrip measures a handler that answers a constant, beside an agent
// of the codec's own agent package that does the same. x-library is how many
// times as many messages that is; the target for one connection with 64 in
// flight is 5. The peers' own cost is in both.
func BenchmarkRoundTrip(b *testing.B) {
	for _, load := range []struct{ conns, inFlight int }{{1, 1}, {1, 16}, {1, 64}, {64, 1}} {
		b.Run(fmt.Sprintf("conns=%d/inflight=%d", load.conns, load.inFlight), func(b *testing.B) {
			var library float64
			b.Run("library", func(b *testing.B) { library = benchRoundTrip(b, serveLibrary(b), load.conns, load.inFlight) })
			b.Run("ours", func(b *testing.B) {
				ours := benchRoundTrip(b, serveOurs(b), load.conns, load.inFlight)
				ratio(b, ours, library)
			})
		})
	}
}

func serveOurs(b *testing.B) string {
	actions := benchActions()
	srv, err := New(Config{
		Handler:  HandlerFunc(func(_ context.Context, _ *Notify, reply Reply) { _ = reply(actions) }),
		Overload: overloaded,
		Log:      slog.New(slog.DiscardHandler),
	})
	if err != nil {
		b.Fatal(err)
	}
	path := filepath.Join(shortDir(b), "s")
	l := listenAt(b, path)
	done := make(chan error, 1)
	go func() { done <- srv.Serve(l) }()
	b.Cleanup(func() { _ = srv.Close(); <-done })
	return path
}

func serveLibrary(b *testing.B) string {
	path := filepath.Join(shortDir(b), "s")
	l := listenAt(b, path)
	a := libagent.New(func(r *request.Request) { libraryActions(&r.Actions) }, logger.NewNop())
	done := make(chan error, 1)
	go func() { done <- a.Serve(l) }()
	b.Cleanup(func() { _ = l.Close(); <-done })
	return path
}

// benchRoundTrip keeps inFlight NOTIFYs under way on each connection, written
// together as HAProxy does when many streams are ready, and returns how many were
// answered in a second.
func benchRoundTrip(b *testing.B, path string, conns, inFlight int) (perSecond float64) {
	work := make(chan int)
	finished := make(chan error, conns)
	for range conns {
		nc, err := net.Dial("unix", path)
		if err != nil {
			b.Fatal(err)
		}
		defer func() { _ = nc.Close() }()
		p := &peer{b, nc}
		p.hello("pipelining,async")
		go func() { finished <- benchPeer(nc, work, inFlight) }()
	}
	b.ReportAllocs()
	b.ResetTimer()
	for left := b.N; left > 0; left -= inFlight {
		work <- min(left, inFlight)
	}
	close(work)
	for range conns {
		if err := <-finished; err != nil {
			b.Fatal(err)
		}
	}
	perSecond = float64(b.N) / b.Elapsed().Seconds()
	b.ReportMetric(perSecond, "msg/s")
	return perSecond
}

// benchPeer sends as many NOTIFYs as work says and reads as many ACKs.
func benchPeer(nc net.Conn, work <-chan int, inFlight int) error {
	r := bufio.NewReaderSize(nc, 64<<10)
	one := typical(1, 1)
	all := slices.Repeat(one, inFlight)
	for n := range work {
		if _, err := nc.Write(all[:n*len(one)]); err != nil {
			return err
		}
		for range n {
			head, err := r.Peek(lenPrefix)
			if err != nil {
				return err
			}
			size := int(head[0])<<24 | int(head[1])<<16 | int(head[2])<<8 | int(head[3])
			if _, err := r.Discard(lenPrefix + size); err != nil {
				return err
			}
		}
	}
	return nil
}

// libraryActions adds benchActions as the library has them.
func libraryActions(to *action.Actions) {
	for _, a := range benchActions() {
		if i, ok := a.Value().Int(); ok {
			to.SetVar(action.Scope(a.Scope()), a.Name(), i)
		} else {
			text, _ := a.Value().Text()
			to.SetVar(action.Scope(a.Scope()), a.Name(), text)
		}
	}
}

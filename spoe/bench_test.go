package spoe

import (
	"bufio"
	"context"
	"log/slog"
	"net"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/negasus/haproxy-spoe-go/action"
	libagent "github.com/negasus/haproxy-spoe-go/agent"
	"github.com/negasus/haproxy-spoe-go/logger"
	"github.com/negasus/haproxy-spoe-go/request"
)

func benchToken() string { return "ya29." + strings.Repeat("y", 1019) }

// benchActions are an allow of the usual size.
func benchActions() []Action {
	return []Action{
		SetString(ScopeRequest, "token", benchToken()),
		SetString(ScopeTransaction, "subject", "repo:acme/app:ref:refs/heads/main"),
		SetString(ScopeTransaction, "account", "ci@project.iam.gserviceaccount.com"),
		SetString(ScopeTransaction, "rule", "ci-may-generate"),
		SetInt(ScopeTransaction, "status", 200),
		SetString(ScopeTransaction, "decision", "allow"),
	}
}

func BenchmarkDecodeNotify(b *testing.B) {
	raw := typical(1, 1)
	b.ReportAllocs()
	b.SetBytes(int64(len(raw)))
	for b.Loop() {
		if _, err := decodeNotify(raw, "E"); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkFence(b *testing.B) {
	raw := typical(1, 1)
	b.ReportAllocs()
	for b.Loop() {
		_, payload, err := splitFrame(raw)
		if err != nil || checkMessages(payload) != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkEncodeAck(b *testing.B) {
	actions := benchActions()
	var buf []byte
	b.ReportAllocs()
	for b.Loop() {
		var err error
		if buf, err = appendAck(buf[:0], 1, 1, actions, maxWrite); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkRoundTrip measures a handler that answers a constant, beside an agent
// of the codec's own agent package that does the same.
func BenchmarkRoundTrip(b *testing.B) {
	for _, load := range []struct {
		name            string
		conns, inFlight int
	}{{"1 connection, 1 in flight", 1, 1}, {"1 connection, 64 in flight", 1, 64}, {"64 connections, 1 in flight", 64, 1}} {
		b.Run(load.name, func(b *testing.B) {
			b.Run("ours", func(b *testing.B) { benchRoundTrip(b, serveOurs(b), load.conns, load.inFlight) })
			b.Run("library", func(b *testing.B) { benchRoundTrip(b, serveLibrary(b), load.conns, load.inFlight) })
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
	token := benchToken()
	a := libagent.New(func(r *request.Request) {
		r.Actions.SetVar(action.ScopeRequest, "token", token)
		r.Actions.SetVar(action.ScopeTransaction, "subject", "repo:acme/app:ref:refs/heads/main")
		r.Actions.SetVar(action.ScopeTransaction, "account", "ci@project.iam.gserviceaccount.com")
		r.Actions.SetVar(action.ScopeTransaction, "rule", "ci-may-generate")
		r.Actions.SetVar(action.ScopeTransaction, "status", int64(200))
		r.Actions.SetVar(action.ScopeTransaction, "decision", "allow")
	}, logger.NewNop())
	done := make(chan error, 1)
	go func() { done <- a.Serve(l) }()
	b.Cleanup(func() { _ = l.Close(); <-done })
	return path
}

// benchRoundTrip keeps inFlight NOTIFYs under way on each connection, written
// together as HAProxy does when many streams are ready.
func benchRoundTrip(b *testing.B, path string, conns, inFlight int) {
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
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "msg/s")
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

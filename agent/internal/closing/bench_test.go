package closing

import (
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"sync/atomic"
	"testing"

	"vertex-spoa/agent/internal/audit"
)

// discard is a file that takes everything.
type discard struct{}

func (discard) Write(p []byte) (int, error) { return len(p), nil }
func (discard) Close() error                { return nil }

// BenchmarkMessage is what a line costs once it is received: it is parsed, joined, and its closing written.
func BenchmarkMessage(b *testing.B) {
	c, end := benchClosings(b, "unix@"+b.TempDir()+"/s", func(string) {})
	defer end()
	const calls = 20000
	ids, messages := make([]string, calls), make([][]byte, calls)
	for i := range calls {
		ids[i] = fmt.Sprintf("0f6b513a-1d63-4eb5-9573-%012d", i)
		messages[i] = []byte(sampleOf(ids[i]))
	}
	r := allow("", 1)
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		if i%calls == 0 {
			b.StopTimer()
			c.table.expire(0)
			for j := range c.table.parts {
				c.table.parts[j].expire(closed, c.table.now(), calls, nil)
			}
			for _, id := range ids {
				r.ID = id
				c.table.decided(r)
			}
			b.StartTimer()
		}
		c.message(c.socket, messages[i%calls])
	}
}

// BenchmarkStream is the way of a line from the other end of a stream to its closing, with one that takes as long as HAProxy's.
func BenchmarkStream(b *testing.B) {
	var seen atomic.Int64
	done := make(chan struct{})
	path := b.TempDir() + "/s"
	want := int64(b.N)
	_, end := benchClosings(b, "stream+unix@"+path, func(string) {
		if seen.Add(1) == want {
			close(done)
		}
	})
	defer end()
	conn, err := net.Dial("unix", path)
	if err != nil {
		b.Fatal(err)
	}
	defer conn.Close()
	b.ReportAllocs()
	b.ResetTimer()
	for i := range b.N {
		if _, err := io.WriteString(conn, counted(sampleOf(fmt.Sprint(i)))); err != nil {
			b.Fatal(err)
		}
	}
	<-done
}

func benchClosings(b *testing.B, listen string, onLine func(string)) (*Closings, func()) {
	b.Helper()
	c, err := New(b.Context(), Config{
		Listen: listen, Audit: audit.New(discard{}), Log: slog.New(slog.NewTextHandler(os.Stderr, &slog.HandlerOptions{Level: slog.LevelError})),
		OnLine: onLine, Linger: 1,
	})
	if err != nil {
		b.Fatal(err)
	}
	r := &rig{Closings: c, served: make(chan struct{})}
	r.serve()
	return c, r.stop
}

package closing

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"vertex-spoa/agent/internal/audit"
)

// rig is closings with an audit log in memory, and what was told to the hooks.
type rig struct {
	*Closings
	t      *testing.T
	cancel context.CancelFunc
	served chan struct{}
	file   *memory
	log    *audit.Log

	mu      sync.Mutex
	results map[string]int
	lost    int
	written int
	changed *sync.Cond
}

// memory is a file in memory, which can fail.
type memory struct {
	mu  sync.Mutex
	buf bytes.Buffer
	err error
}

func (m *memory) Write(p []byte) (int, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.err != nil {
		return 0, m.err
	}
	return m.buf.Write(p)
}

func (m *memory) Close() error { return nil }

func (m *memory) fail(err error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.err = err
}

// closings returns what was written, by id.
func (m *memory) closings(t *testing.T) map[string]map[string]any {
	t.Helper()
	m.mu.Lock()
	defer m.mu.Unlock()
	got := map[string]map[string]any{}
	for line := range bytes.Lines(m.buf.Bytes()) {
		var c map[string]any
		if err := json.Unmarshal(line, &c); err != nil {
			t.Fatalf("%v in %q", err, line)
		}
		id := c["id"].(string)
		if got[id] != nil {
			t.Errorf("%s is there twice", id)
		}
		got[id] = c
	}
	return got
}

// newRig opens closings at an address. Its Serve has ended before the test does.
func newRig(t *testing.T, address string, change func(*Config)) *rig {
	t.Helper()
	r := &rig{t: t, served: make(chan struct{}), file: &memory{}, results: map[string]int{}}
	r.changed = sync.NewCond(&r.mu)
	r.log = audit.New(r.file)
	cfg := Config{
		Listen: address, Linger: time.Millisecond, Audit: r.log, Log: slog.New(slog.DiscardHandler),
		OnLine:    func(result string) { r.note(func() { r.results[result]++ }) },
		OnLost:    func(n int) { r.note(func() { r.lost += n }) },
		OnClosing: func(*audit.Closing) { r.note(func() { r.written++ }) },
	}
	if change != nil {
		change(&cfg)
	}
	var err error
	if r.Closings, err = New(t.Context(), cfg); err != nil {
		t.Fatal(err)
	}
	r.serve()
	t.Cleanup(r.stop)
	return r
}

func (r *rig) serve() {
	ctx, cancel := context.WithCancel(context.Background())
	r.cancel = cancel
	go func() {
		defer close(r.served)
		r.Serve(ctx)
	}()
}

func (r *rig) stop() {
	r.cancel()
	<-r.served
}

func (r *rig) note(change func()) {
	r.mu.Lock()
	defer r.mu.Unlock()
	change()
	r.changed.Broadcast()
}

// wait waits until what it is given holds; the test's own time limit bounds it.
func (r *rig) wait(holds func() bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for !holds() {
		r.changed.Wait()
	}
}

func (r *rig) waitWritten(n int) { r.t.Helper(); r.wait(func() bool { return r.written >= n }) }

func (r *rig) waitFor(result string, n int) {
	r.t.Helper()
	r.wait(func() bool { return r.results[result] >= n })
}

func dial(t *testing.T, network, address string) net.Conn {
	t.Helper()
	conn, err := net.Dial(network, address)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

func send(t *testing.T, to io.Writer, message string) {
	t.Helper()
	if _, err := io.WriteString(to, message); err != nil {
		t.Fatal(err)
	}
}

func counted(message string) string { return fmt.Sprintf("%d %s", len(message), message) }

// freePort returns an address that nobody listens on. It is one of this process: on 127.0.0.1 another one might take the port meanwhile.
func freePort(t *testing.T) string {
	t.Helper()
	pid := os.Getpid()
	l, err := net.Listen("tcp", fmt.Sprintf("127.%d.%d.%d:0", 1+pid>>16&0x3f, pid>>8&0xff, pid&0xff))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	return l.Addr().String()
}

func TestEveryWayOfHAProxys(t *testing.T) {
	dir := t.TempDir()
	port := freePort(t)
	for _, c := range []struct{ listen, network, address string }{
		{"unix@" + dir + "/1", "unixgram", dir + "/1"},
		{dir + "/2", "unixgram", dir + "/2"},
		{"stream+unix@" + dir + "/3", "unix", dir + "/3"},
		{port, "tcp", port},
		{"tcp@" + port, "tcp", port},
		{"udp@" + port, "udp", port},
	} {
		t.Run(c.listen, func(t *testing.T) {
			r := newRig(t, c.listen, nil)
			r.Decided(allow("a", 1))
			r.Decided(&audit.Record{ID: "d", Attempt: 1, Decision: "deny"})
			r.Decided(&audit.Record{Attempt: 1, Decision: "allow"})
			if n := r.Pending(); n != 1 {
				t.Errorf("%d wait, want 1", n)
			}
			conn := dial(t, c.network, c.address)
			frame := func(m string) string { return m }
			if c.network == "tcp" || c.network == "unix" {
				frame = counted
			}
			for _, m := range []string{sampleOf("a"), sampleOf("b"), `{"id":"d","decision":"deny"}`, `{"id":""}`, "garbage", `{"id":"a"}`, `{"id":"e","spoe_error":1}`} {
				send(t, conn, frame(m))
			}
			r.waitWritten(2)
			r.waitFor(Early, 1)
			r.stop()
			want := map[string]int{Joined: 1, Unjoined: 1, Refused: 1, Foreign: 1, Garbage: 1, Repeated: 1, Early: 1}
			if diff := cmp.Diff(want, r.results); diff != "" {
				t.Errorf("results -want +got:\n%s", diff)
			}
			got := r.file.closings(t)
			if len(got) != 2 || got["a"]["subject"] != "s@example.com" || got["a"]["st"] != 200.0 || got["b"]["unjoined"] != true || got["b"]["subject"] != nil {
				t.Errorf("written: %v", got)
			}
			if diff := cmp.Diff(map[string]any{"input": 16.0, "output": 4.0, "total": 20.0}, got["a"]["usage"]); diff != "" {
				t.Errorf("usage -want +got:\n%s", diff)
			}
			if _, err := os.Lstat(c.address); strings.HasPrefix(c.network, "unix") && !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("the path is still there: %v", err)
			}
		})
	}
}

func TestResultsAreTheClosedSet(t *testing.T) {
	want := []string{"joined", "unjoined", "refused", "early", "repeated", "handed", "foreign", "garbage"}
	if diff := cmp.Diff(want, Results()); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestAUnixSocketIsForItsGroup(t *testing.T) {
	path := filepath.Join(t.TempDir(), "log.sock")
	newRig(t, "unix@"+path, nil)
	info, err := os.Lstat(path)
	if err != nil {
		t.Fatal(err)
	}
	if got := info.Mode(); got.Perm() != 0o660 || got.Type() != fs.ModeSocket {
		t.Errorf("mode %v, want a socket with 0660", got)
	}
	entries, _ := os.ReadDir(filepath.Dir(path))
	if len(entries) != 1 {
		t.Errorf("%v are left beside it", entries)
	}
}

func TestAddressesThatAreRefused(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	long := filepath.Join(dir, strings.Repeat("x", 100))
	for address, want := range map[string]string{
		"":                         "neither unix@/path, stream+unix@/path nor host:port",
		"unix@relative":            "must begin with /",
		"stream+unix@relative":     "must begin with /",
		"unix@" + file:             "not a socket",
		"unix@" + long:             "too long",
		"unix@" + dir + "/no/such": "no such file",
		"tcp@127.0.0.1":            "neither",
		"0.0.0.0:0":                "cross the network in the clear",
		":0":                       "cross the network in the clear",
		"[::]:0":                   "cross the network in the clear",
		"udp@0.0.0.0:0":            "cross the network in the clear",
	} {
		s, err := open(t.Context(), address)
		if err == nil || !strings.Contains(err.Error(), want) || s != nil {
			t.Errorf("%q: %v, want %q", address, err, want)
		}
	}
	if data, err := os.ReadFile(file); err != nil || len(data) != 0 {
		t.Errorf("the file: %v", err)
	}
}

func TestMissingPartsAreErrors(t *testing.T) {
	log := slog.New(slog.DiscardHandler)
	good := Config{Listen: "127.0.0.1:0", Audit: audit.New(&memory{}), Log: log}
	for name, change := range map[string]func(*Config){
		"no audit log":      func(c *Config) { c.Audit = nil },
		"no logger":         func(c *Config) { c.Log = nil },
		"a negative wait":   func(c *Config) { c.Wait = -1 },
		"a negative bound":  func(c *Config) { c.MaxPending = -1 },
		"a negative linger": func(c *Config) { c.Linger = -1 },
		"no address":        func(c *Config) { c.Listen = "" },
	} {
		cfg := good
		change(&cfg)
		if _, err := New(t.Context(), cfg); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	c, err := New(t.Context(), good)
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Close(); err != nil {
		t.Error(err)
	}
}

func TestMissingClosingsAreWritten(t *testing.T) {
	r := newRig(t, "unix@"+filepath.Join(t.TempDir(), "s"), func(c *Config) { c.Wait = 20 * time.Millisecond })
	r.Decided(allow("a", 1))
	r.waitWritten(1)
	c := r.file.closings(t)["a"]
	if c["event"] != audit.EventMissing || c["subject"] != "s@example.com" || c["st"] != nil {
		t.Errorf("got %v", c)
	}
}

func TestAnUndeliveredAnswerIsNotWaitedFor(t *testing.T) {
	r := newRig(t, "unix@"+filepath.Join(t.TempDir(), "s"), nil)
	r.Decided(allow("a", 1))
	r.Undelivered("a", 2)
	if r.Pending() != 1 {
		t.Error("another attempt was taken back")
	}
	r.Undelivered("a", 1)
	if r.Pending() != 0 {
		t.Error("it is waited for")
	}
}

func TestFlagsAreWrittenWithTheClosing(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	r := newRig(t, "unix@"+path, func(c *Config) {
		c.Flags = func(c *audit.Closing) []string { return []string{"TOKEN_SPIKE", c.Subject} }
	})
	r.Decided(allow("a", 1))
	send(t, dial(t, "unixgram", path), sampleOf("a"))
	r.waitWritten(1)
	if diff := cmp.Diff([]any{"TOKEN_SPIKE", "s@example.com"}, r.file.closings(t)["a"]["flags"]); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// A new process takes over the path. What the old one has in its socket it still reads, and nothing that it waits for is missing.
func TestAnotherProcessTakesOverDatagrams(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	release := make(chan struct{})
	r := newRig(t, "unix@"+path, func(c *Config) {
		first, next := sync.Once{}, c.OnLine
		c.OnLine = func(result string) {
			first.Do(func() { <-release }) // the socket fills meanwhile
			next(result)
		}
	})
	for _, id := range []string{"a", "b", "c", "d"} {
		r.Decided(allow(id, 1))
	}
	conn := dial(t, "unixgram", path)
	for _, id := range []string{"a", "b", "c"} {
		send(t, conn, sampleOf(id))
	}
	second := newRig(t, "unix@"+path, nil)
	second.Decided(allow("e", 1))
	again := dial(t, "unixgram", path)
	send(t, again, sampleOf("e"))
	send(t, again, sampleOf("d"))
	second.waitWritten(2)
	r.cancel()
	close(release)
	<-r.served
	if got := r.file.closings(t); len(got) != 3 {
		t.Errorf("the old process has written %v, want a, b and c", got)
	}
	if got := second.file.closings(t); got["e"]["subject"] == nil || got["d"]["unjoined"] != true {
		t.Errorf("the new process has written %v", got)
	}
	if _, err := os.Lstat(path); err != nil {
		t.Errorf("the new process has lost its path: %v", err)
	}
}

// HAProxy's stream stays with the old process for a moment, and brings lines of calls that the new one has decided.
func TestLinesOfTheNewProcessAreHandedOn(t *testing.T) {
	address := "stream+unix@" + filepath.Join(t.TempDir(), "s")
	results := map[string]int{}
	old, err := New(t.Context(), Config{
		Listen: address, Audit: audit.New(&memory{}), Log: slog.New(slog.DiscardHandler), OnLine: func(result string) { results[result]++ },
	})
	if err != nil {
		t.Fatal(err)
	}
	defer old.Close()
	defer old.relay.close()
	old.Decided(allow("old", 1))
	second := newRig(t, address, nil)
	second.Decided(allow("new", 1))
	for _, id := range []string{"old", "new", "unknown"} {
		old.message(old.socket, []byte(sampleOf(id)))
	}
	second.waitWritten(2)
	if got := second.file.closings(t); got["new"]["subject"] != "s@example.com" || got["unknown"]["unjoined"] != true {
		t.Errorf("got %v, want a whole closing and an unjoined one", got)
	}
	second.stop()
	old.message(old.socket, []byte(sampleOf("later"))) // nobody takes it
	if diff := cmp.Diff(map[string]int{Joined: 1, Handed: 2, Unjoined: 1}, results); diff != "" {
		t.Errorf("results -want +got:\n%s", diff)
	}
}

func TestTheOldProcessEndsItsStreams(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	address := "stream+unix@" + path
	r := newRig(t, address, func(c *Config) { c.Wait = 40 * time.Millisecond })
	conn := dial(t, "unix", path)
	send(t, conn, counted(sampleOf("first")))
	r.waitFor(Unjoined, 1)
	second := newRig(t, address, nil)
	for {
		if _, err := io.WriteString(conn, "\n"); err != nil {
			break
		}
	}
	r.Decided(allow("old", 1)) // is not missing: its line goes to the other process
	for r.Pending() > 0 {
		_, _ = os.Lstat(path)
	}
	send(t, dial(t, "unix", path), counted(sampleOf("newer")))
	second.waitWritten(1)
	r.stop()
	if got := r.file.closings(t); len(got) != 1 || got["first"] == nil {
		t.Errorf("the old process has written %v", got)
	}
}

func TestWhatAStreamHasSentIsReadAtTheEnd(t *testing.T) {
	for _, network := range []string{"unix", "tcp"} {
		t.Run(network, func(t *testing.T) {
			address := freePort(t)
			listen := address
			if network == "unix" {
				address = filepath.Join(t.TempDir(), "s")
				listen = "stream+unix@" + address
			}
			begun, release := make(chan struct{}), make(chan struct{})
			r := newRig(t, listen, func(c *Config) {
				first, next := sync.Once{}, c.OnLine
				c.OnLine = func(result string) {
					first.Do(func() { close(begun); <-release })
					next(result)
				}
			})
			conn := dial(t, network, address)
			const lines = 60
			for i := range lines {
				send(t, conn, counted(sampleOf(fmt.Sprint(i))))
			}
			<-begun
			r.cancel()
			close(release)
			go func() { // as HAProxy 2.6 does when it is told that the stream is over
				_, _ = io.Copy(io.Discard, conn)
				_ = conn.Close()
			}()
			<-r.served
			if got := r.file.closings(t); len(got) != lines {
				t.Errorf("%d of %d lines were read", len(got), lines)
			}
		})
	}
}

// What is in the socket when time is up is read, although reading would wait no more.
func TestWhatIsInTheSocketIsReadAtTheEnd(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	s, err := open(t.Context(), "unix@"+path)
	if err != nil {
		t.Fatal(err)
	}
	conn := dial(t, "unixgram", path)
	for range 5 {
		send(t, conn, sample)
	}
	if err := s.datagrams.SetReadDeadline(time.Now()); err != nil {
		t.Fatal(err)
	}
	messages := 0
	r := receive(s, func(*socket, []byte) { messages++ }, func(err error) { t.Error(err) })
	r.stop()
	if messages != 5 {
		t.Errorf("%d messages, want 5", messages)
	}
}

// So it is with a stream.
func TestWhatIsInAStreamIsReadAtTheEnd(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	s, err := open(t.Context(), "stream+unix@"+path)
	if err != nil {
		t.Fatal(err)
	}
	messages, begun, release := 0, make(chan struct{}), make(chan struct{})
	r := receive(s, func(*socket, []byte) {
		if messages++; messages == 1 {
			close(begun)
			<-release
		}
	}, func(err error) { t.Error(err) })
	conn := dial(t, "unix", path)
	send(t, conn, counted(sample))
	<-begun // so that what follows is still in the socket
	for range 5 {
		send(t, conn, counted(sample))
	}
	_ = s.streams.Close()
	r.endStreams()
	r.mu.Lock()
	for conn := range r.streams { // its time is over at once
		if err := conn.SetReadDeadline(time.Now()); err != nil {
			t.Error(err)
		}
	}
	r.mu.Unlock()
	close(release)
	r.work.Wait()
	r.stop()
	if messages != 6 {
		t.Errorf("%d messages, want 6", messages)
	}
}

// Before the last of it is read, the other side of a stream is told that nothing more is taken.
func TestTheEndOfAStreamIsTold(t *testing.T) {
	for _, network := range []string{"unix", "tcp"} {
		address := freePort(t)
		listen := address
		if network == "unix" {
			address = filepath.Join(t.TempDir(), "s")
			listen = "stream+unix@" + address
		}
		s, err := open(t.Context(), listen)
		if err != nil {
			t.Fatal(err)
		}
		begun, release := make(chan struct{}, 1), make(chan struct{})
		r := receive(s, func(*socket, []byte) {
			begun <- struct{}{}
			<-release
		}, func(err error) { t.Error(err) })
		conn := dial(t, network, address)
		send(t, conn, counted(sample))
		<-begun
		r.endStreams()
		if network == "unix" {
			if _, err := io.WriteString(conn, counted(sample)); err == nil {
				t.Error("unix: more is taken")
			}
		} else if _, err := conn.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
			t.Errorf("tcp: read %v, want the end", err)
		}
		close(release)
		_ = conn.Close()
		r.stop()
	}
}

func TestServeLingersForLinesAndNotForLong(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	r := newRig(t, "unix@"+path, func(c *Config) { c.Linger = time.Hour })
	r.Decided(allow("a", 1))
	r.cancel()
	select {
	case <-r.served:
		t.Error("it did not wait for the line")
	case <-time.After(50 * time.Millisecond):
	}
	send(t, dial(t, "unixgram", path), sampleOf("a"))
	<-r.served
	if got := r.file.closings(t)["a"]; got["subject"] == nil {
		t.Errorf("got %v, want a whole closing", got)
	}

	r = newRig(t, "unix@"+path, func(c *Config) { c.Linger = 10 * time.Millisecond })
	r.Decided(allow("a", 1))
	r.stop()
	if got := r.file.closings(t); len(got) != 0 {
		t.Errorf("a process that ends has written %v", got)
	}
}

func TestASocketThatVanishesComesBack(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	for _, c := range []struct{ prefix, network string }{{"unix@", "unixgram"}, {"stream+unix@", "unix"}} {
		r := newRig(t, c.prefix+path, func(c *Config) { c.Wait = 40 * time.Millisecond })
		if err := os.Remove(path); err != nil {
			t.Fatal(err)
		}
		for {
			if _, err := os.Lstat(path); err == nil {
				break
			}
		}
		frame := sampleOf("a")
		if c.network == "unix" {
			frame = counted(frame)
		}
		send(t, dial(t, c.network, path), frame)
		r.waitFor(Unjoined, 1)
		r.stop()
	}
}

// The process that has taken the path over is killed: the lines come to the one before again.
func TestASocketThatIsLeftDeadIsTakenBack(t *testing.T) {
	for _, c := range []struct{ prefix, network string }{{"unix@", "unixgram"}, {"stream+unix@", "unix"}} {
		path := filepath.Join(t.TempDir(), "s")
		r := newRig(t, c.prefix+path, func(c *Config) { c.Wait = 40 * time.Millisecond })
		other, err := open(t.Context(), c.prefix+path)
		if err != nil {
			t.Fatal(err)
		}
		untilReplaced(t, r, true)
		if other.datagrams != nil {
			_ = other.datagrams.Close()
		} else {
			_ = other.streams.Close()
		}
		untilReplaced(t, r, false)
		frame := sampleOf("a")
		if c.network == "unix" {
			frame = counted(frame)
		}
		send(t, dial(t, c.network, path), frame)
		r.waitFor(Unjoined, 1)
		r.stop()
	}
}

// untilReplaced waits until the rig knows whether another process gets the lines.
func untilReplaced(t *testing.T, r *rig, want bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); r.table.replaced.Load() != want; <-time.After(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("that another process gets the lines is still %v", !want)
		}
	}
}

func TestManyStreamsAndGarbageDoNoHarm(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	r := newRig(t, "stream+unix@"+path, nil)
	var conns []net.Conn
	for range maxStreams {
		conns = append(conns, dial(t, "unix", path))
	}
	for _, conn := range conns { // each is taken
		send(t, conn, counted(`{"id":""}`))
	}
	r.waitFor(Foreign, maxStreams)
	extra := dial(t, "unix", path)
	if _, err := extra.Read(make([]byte, 1)); err == nil {
		t.Error("one stream too many is not closed")
	}
	r.waitFor(Garbage, 1)
	send(t, conns[0], "12x")
	r.waitFor(Garbage, 2)
	send(t, conns[1], fmt.Sprintf("%d %s", MaxLine+1, strings.Repeat("x", MaxLine+1))+counted(sampleOf("a")))
	r.waitFor(Unjoined, 1)
	if r.results[Garbage] != 3 {
		t.Errorf("results %v", r.results)
	}
}

func TestALongDatagramIsGarbage(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	r := newRig(t, "unix@"+path, nil)
	conn := dial(t, "unixgram", path)
	send(t, conn, strings.Replace(sampleOf("a"), "search", strings.Repeat("x", MaxLine), 1))
	send(t, conn, "") // is garbage too
	send(t, conn, sampleOf("b"))
	r.waitWritten(1)
	if got := r.file.closings(t); r.results[Garbage] != 2 || got["b"] == nil || len(got) != 1 {
		t.Errorf("results %v, written %v", r.results, got)
	}
}

// Personal data of lines that cannot be read does not get into the log.
func TestGarbageIsNotQuoted(t *testing.T) {
	var out bytes.Buffer
	path := filepath.Join(t.TempDir(), "s")
	r := newRig(t, "unix@"+path, func(c *Config) {
		c.Log = slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{Level: slog.LevelDebug}))
	})
	send(t, dial(t, "unixgram", path), `{"id":"a","subject":"alice@example.com",}`)
	r.waitFor(Garbage, 1)
	r.stop()
	if !strings.Contains(out.String(), "no log line") || strings.Contains(out.String(), "alice") {
		t.Errorf("logged: %s", &out)
	}
}

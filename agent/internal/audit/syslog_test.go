package audit

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// message is a SYSLOG-MSG of RFC 5424 section 6.
type message struct {
	Priority, Version                            int
	Time                                         time.Time
	Host, App, Process, ID, Structured, Contents string
}

// parseMessage reads a message by the grammar of RFC 5424 section 6, strictly; of structured data it knows NILVALUE only.
func parseMessage(text string) (message, error) {
	var m message
	digits, rest, ok := strings.Cut(strings.TrimPrefix(text, "<"), ">")
	n, err := strconv.Atoi(digits)
	if !ok || text[0] != '<' || err != nil || n > 191 || len(digits) > 1 && digits[0] == '0' {
		return m, fmt.Errorf("PRI of %q", text)
	}
	m.Priority = n
	parts := strings.SplitN(rest, " ", 8)
	if len(parts) != 8 {
		return m, fmt.Errorf("%d parts in %q", len(parts), rest)
	}
	if m.Version, err = strconv.Atoi(parts[0]); err != nil || m.Version != 1 {
		return m, fmt.Errorf("VERSION %q", parts[0])
	}
	if _, fraction, _ := strings.Cut(strings.TrimSuffix(parts[1], "Z"), "."); len(fraction) > 6 {
		return m, fmt.Errorf("TIMESTAMP %q has more than six digits behind the seconds", parts[1])
	}
	if m.Time, err = time.Parse(time.RFC3339Nano, parts[1]); err != nil {
		return m, err
	}
	for i, f := range []struct {
		to   *string
		most int
	}{{&m.Host, 255}, {&m.App, 48}, {&m.Process, 128}, {&m.ID, 32}} {
		text := parts[2+i]
		if text == "" || len(text) > f.most || strings.ContainsFunc(text, func(r rune) bool { return r < 33 || r > 126 }) {
			return m, fmt.Errorf("header field %q", text)
		}
		*f.to = text
	}
	if m.Structured = parts[6]; m.Structured != "-" {
		return m, fmt.Errorf("STRUCTURED-DATA %q", m.Structured)
	}
	m.Contents = parts[7]
	return m, nil
}

// readFrame reads a message as RFC 6587 section 3.4.1 frames it: MSG-LEN, which has no leading zero, SP, SYSLOG-MSG.
func readFrame(in *bufio.Reader) (string, error) {
	digits, err := in.ReadString(' ')
	if err != nil {
		return "", err
	}
	n, err := strconv.Atoi(strings.TrimSuffix(digits, " "))
	if err != nil || n < 1 || digits[0] == '0' {
		return "", fmt.Errorf("MSG-LEN %q", digits)
	}
	text := make([]byte, n)
	_, err = io.ReadFull(in, text)
	return string(text), err
}

// daemon is a syslog daemon on one kind of socket.
type daemon struct {
	t       *testing.T
	kind    string
	address string // for Options.Syslog
	path    string
	closer  io.Closer
	ln      net.Listener
	packets *net.UnixConn
	in      *bufio.Reader
	conn    net.Conn
	client  *syslog // whose connection it is
}

// The kinds of sockets.
var daemons = []string{"unixgram", "unix", "tcp"}

func startDaemon(t *testing.T, kind string) *daemon {
	d := &daemon{t: t, kind: kind, path: filepath.Join(t.TempDir(), "log")}
	d.start()
	t.Cleanup(d.stop)
	return d
}

func (d *daemon) start() {
	d.t.Helper()
	var err error
	switch d.kind {
	case "unixgram":
		d.packets, err = net.ListenUnixgram("unixgram", &net.UnixAddr{Name: d.path, Net: "unixgram"})
		d.address, d.closer = "unix@"+d.path, d.packets
	case "unix":
		d.ln, err = net.Listen("unix", d.path)
		d.address, d.closer = "unix@"+d.path, d.ln
	default:
		address := ownLoopback()
		if d.address != "" {
			address = d.address
		}
		if d.ln, err = net.Listen("tcp", address); err == nil {
			d.address, d.closer = d.ln.Addr().String(), d.ln
		}
	}
	if err != nil {
		d.t.Fatal(err)
	}
}

// stop ends the daemon with its connections. Over TCP it takes the other side a moment to see that; nobody writes meanwhile.
func (d *daemon) stop() {
	_ = d.closer.Close()
	if d.conn != nil {
		_ = d.conn.Close()
		d.conn = nil
		for d.client != nil && d.client.conn != nil && !hasEnded(d.client.tries.raw) {
			<-time.After(time.Millisecond)
		}
	}
	_ = os.Remove(d.path)
}

// receive returns the next message.
func (d *daemon) receive() string {
	d.t.Helper()
	if d.kind == "unixgram" {
		_ = d.packets.SetReadDeadline(time.Now().Add(10 * time.Second))
		packet := make([]byte, 1<<20)
		n, err := d.packets.Read(packet)
		if err != nil {
			d.t.Fatal(err)
		}
		return string(packet[:n])
	}
	if d.conn == nil {
		conn, err := d.ln.Accept()
		if err != nil {
			d.t.Fatal(err)
		}
		d.conn, d.in = conn, bufio.NewReader(conn)
	}
	_ = d.conn.SetReadDeadline(time.Now().Add(10 * time.Second))
	var text string
	var err error
	if d.kind == "tcp" {
		text, err = readFrame(d.in)
	} else if text, err = d.in.ReadString('\n'); err == nil {
		text = strings.TrimSuffix(text, "\n")
	}
	if err != nil {
		d.t.Fatal(err)
	}
	return text
}

func openSyslog(t *testing.T, d *daemon, o Options) *Log {
	t.Helper()
	o.Syslog = d.address
	if o.Patience == 0 {
		o.Patience = patient
	}
	l, err := OpenWith(o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	d.client = l.sink.(*syslog)
	return l
}

func TestSyslogMessagesAreOfRFC5424(t *testing.T) {
	host, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	for _, kind := range daemons {
		t.Run(kind, func(t *testing.T) {
			d := startDaemon(t, kind)
			l := openSyslog(t, d, Options{Chain: true})
			odd := record("\u00e9\n\u2028\xff]<13>1 - ")
			lines := []Line{record("a"), odd, &Closing{Time: odd.Time, ID: "c", Missing: true}, &Undelivered{Time: odd.Time, ID: "u"}}
			want := []string{EventDecision, EventDecision, EventMissing, EventUndelivered}
			for _, line := range lines {
				l.Append(line, func(err error) {
					if err != nil {
						t.Error(err)
					}
				})
			}
			l.Flush()
			var contents strings.Builder
			for i := range lines {
				m, err := parseMessage(d.receive())
				if err != nil {
					t.Fatal(err)
				}
				contents.WriteString(m.Contents + "\n")
				if !json.Valid([]byte(m.Contents)) {
					t.Errorf("MSG is no JSON: %q", m.Contents)
				}
				m.Contents = ""
				wanted := message{Priority: 16*8 + 6, Version: 1, Time: odd.Time, Host: host, App: "vertex-spoa", Process: fmt.Sprint(os.Getpid()),
					ID: want[i], Structured: "-"}
				if diff := cmp.Diff(wanted, m); diff != "" {
					t.Errorf("message %d (-want +got):\n%s", i, diff)
				}
			}
			if r := verified(t, contents.String(), VerifyOptions{}); r.First != nil || r.Chained != 4 {
				t.Errorf("verification of what came: %v in %d lines, want no break in 4", r.First, r.Chained)
			}
		})
	}
}

// The daemon is not there, comes, goes and comes back.
func TestSyslogDaemonComesAndGoes(t *testing.T) {
	for _, kind := range daemons {
		t.Run(kind, func(t *testing.T) {
			d := startDaemon(t, kind)
			d.stop()
			l := openSyslog(t, d, Options{})
			if err := waitFor(t, l, record("nobody")); err == nil || !strings.Contains(err.Error(), "syslog") {
				t.Errorf("without a daemon: got %v, want an error", err)
			}
			for range 2 {
				d.start()
				id := comes(t, l)
				for !strings.Contains(d.receive(), `"id":"`+id+`"`) {
				}
				if err := waitFor(t, l, record("more")); err != nil {
					t.Errorf("with a daemon: %v", err)
				}
				if got := d.receive(); !strings.Contains(got, `"id":"more"`) {
					t.Errorf("the daemon got %q, want the line", got)
				}
				d.stop()
				if err := waitFor(t, l, record("gone")); err == nil {
					t.Error("the daemon has closed everything, and a line is said to be written")
				}
				// Nobody writes any more: the owner was told.
				if wait := l.sink.(*syslog).backoff; wait != minBackoff {
					t.Errorf("after the first failure it waits for %s, want %s", wait, minBackoff)
				}
			}
		})
	}
}

// A daemon that is started anew costs no line: that it went is noticed, and the new one is found, with the next.
func TestSyslogDaemonThatRestarts(t *testing.T) {
	for _, kind := range daemons {
		t.Run(kind, func(t *testing.T) {
			d := startDaemon(t, kind)
			l := openSyslog(t, d, Options{})
			for i := range 3 {
				id := fmt.Sprint(i)
				if err := waitFor(t, l, record(id)); err != nil {
					t.Fatal(err)
				}
				if got := d.receive(); !strings.Contains(got, `"id":"`+id+`"`) {
					t.Errorf("the daemon got %q, want line %s", got, id)
				}
				d.stop()
				d.start()
			}
		})
	}
}

// So it is where a write has waited.
func TestSyslogDaemonThatRestartsBetweenWrites(t *testing.T) {
	for _, kind := range daemons {
		t.Run(kind, func(t *testing.T) {
			d := startDaemon(t, kind)
			s, err := newSyslog(d.address)
			if err != nil {
				t.Fatal(err)
			}
			defer s.Close()
			d.client = s
			for i := range 3 {
				if _, err := s.Write(record(fmt.Sprint(i)).appendTo(nil)); err != nil {
					t.Fatal(err)
				}
				if got := d.receive(); !strings.Contains(got, fmt.Sprintf(`"id":"%d"`, i)) {
					t.Errorf("the daemon got %q, want line %d", got, i)
				}
				d.stop()
				d.start()
			}
		})
	}
}

// A daemon that cannot be reached is not asked again at once.
func TestSyslogBacksOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) { // no time passes between the attempts
		s, err := newSyslog("unix@" + filepath.Join(t.TempDir(), "nobody"))
		if err != nil {
			t.Fatal(err)
		}
		line := record("a").appendTo(nil)
		_, first := s.Write(line)
		_, second := s.Write(line)
		_, third := s.TryWrite(line)
		if first == nil || !errors.Is(second, first) || !errors.Is(third, first) {
			t.Errorf("got %v, %v, %v; want the same error thrice", first, second, third)
		}
		for range 20 {
			s.retry = time.Time{}
			if _, err := s.Write(line); err == nil {
				t.Fatal("there is nobody")
			}
		}
		if s.backoff != maxBackoff {
			t.Errorf("backoff %s, want %s at last", s.backoff, maxBackoff)
		}
	})
}

// comes puts lines until one is written, and returns its id.
func comes(t *testing.T, l *Log) string {
	t.Helper()
	limit := time.After(30 * time.Second) // a daemon may take long to start, and then the log waits before it asks again
	for i := 0; ; i++ {
		id := fmt.Sprintf("try %d", i)
		if waitFor(t, l, record(id)) == nil {
			return id
		}
		select {
		case <-limit:
			t.Fatal("no line was written within 30 s of the daemon's coming")
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// A daemon that does not read: owners are told in time, nothing is torn or lost, and what was given up is marked.
func TestSyslogDaemonThatHangs(t *testing.T) {
	for _, kind := range daemons {
		t.Run(kind, func(t *testing.T) {
			d := startDaemon(t, kind)
			l := openSyslog(t, d, Options{Patience: Patience})
			var want []string
			for i := 0; ; i++ {
				id := fmt.Sprintf("%d %s", i, strings.Repeat("x", 20_000))
				err := waitFor(t, l, record(id))
				want = append(want, id)
				if errors.Is(err, ErrStuck) {
					want = append(want, EventUndelivered+" "+id)
					break
				}
				if err != nil || i > 10_000 {
					t.Fatalf("line %d: %v", i, err)
				}
			}
			if err := waitFor(t, l, record("refused")); !errors.Is(err, ErrStuck) {
				t.Errorf("while it hangs: got %v, want ErrStuck", err)
			}
			var got []string
			for range want {
				m, err := parseMessage(d.receive())
				if err != nil {
					t.Fatal(err)
				}
				got = append(got, outline(t, []string{m.Contents})...)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("what came (-want +got):\n%.2000s", diff)
			}
			if err := waitFor(t, l, record("after")); err != nil {
				t.Errorf("after it came back: %v", err)
			}
		})
	}
}

// A datagram that is too large costs its own line only, and the chain closes over it.
func TestADatagramThatIsTooLarge(t *testing.T) {
	d := startDaemon(t, "unixgram")
	l := openSyslog(t, d, Options{Chain: true})
	large := record("large")
	large.URI = strings.Repeat("x", 900_000)
	var got answers
	order := []*Record{record("a"), large, record("b"), record("large too"), record("c")}
	order[3].URI = large.URI
	for _, r := range order {
		l.Append(r, got.owner(t, r.ID))
	}
	l.Flush()
	var contents strings.Builder
	for range 3 {
		m, err := parseMessage(d.receive())
		if err != nil {
			t.Fatal(err)
		}
		contents.WriteString(m.Contents + "\n")
	}
	if err := l.Close(); err != nil { // which waits for the owners
		t.Fatal(err)
	}
	for _, r := range order {
		err, ok := got.told(r.ID)
		if want := r.URI != ""; !ok || errors.Is(err, ErrTooLong) != want || (err == nil) == want {
			t.Errorf("%s was told %v (%t)", r.ID, err, ok)
		}
	}
	if diff := cmp.Diff([]string{"a", "b", "c"}, outline(t, strings.Split(strings.TrimSpace(contents.String()), "\n"))); diff != "" {
		t.Errorf("what came (-want +got):\n%s", diff)
	}
	if r := verified(t, contents.String(), VerifyOptions{}); r.First != nil || r.Chained != 3 {
		t.Errorf("verification found %v in %d lines, want no break in 3", r.First, r.Chained)
	}
}

// unconnected is the descriptor of a connection that has none.
type unconnected struct{ syscall.RawConn }

func (unconnected) Control(func(uintptr)) error { return nil }

// A connection that breaks in the middle of a message: whole messages are not sent again, and none is torn.
func TestAStreamThatBreaksInTheMiddle(t *testing.T) {
	client, server := net.Pipe()
	s, err := newSyslog("127.0.0.1:1")
	if err != nil {
		t.Fatal(err)
	}
	s.form, s.conn, s.tries = counted, client, newTrial(unconnected{}, sendNow)
	var lines []byte
	for _, id := range []string{"a", "b", "c"} {
		lines = record(id).appendTo(lines)
	}
	one := len(s.appendFrame(nil, record("a").appendTo(nil)))
	go func() {
		_, _ = io.CopyN(io.Discard, server, int64(one*3/2))
		_ = server.Close()
	}()
	n, err := s.Write(lines) // and then there is nobody to connect to
	if want := len(record("a").appendTo(nil)); err == nil || n != want {
		t.Errorf("wrote %d bytes (%v), want the first line's %d and an error", n, err, want)
	}
}

// rsyslog takes what is sent as what it is. Where that is not installed, the grammar above is tried all the same.
func TestRsyslogUnderstands(t *testing.T) {
	program, err := exec.LookPath("rsyslogd")
	if err != nil {
		if _, err := os.Stat("/usr/sbin/rsyslogd"); err != nil {
			t.Skip("NOT RUN: rsyslogd is not installed")
		}
		program = "/usr/sbin/rsyslogd"
	}
	port, err := net.Listen("tcp", ownLoopback())
	if err != nil {
		t.Fatal(err)
	}
	address := port.Addr().String()
	host, number, _ := net.SplitHostPort(address)
	_ = port.Close()
	dir := t.TempDir()
	out, socket := filepath.Join(dir, "out"), filepath.Join(dir, "sock")
	config := fmt.Sprintf(`
global(workDirectory=%q maxMessageSize="64k")
module(load="imtcp")
module(load="imuxsock" SysSock.Use="off")
input(type="imtcp" address=%q port=%q)
input(type="imuxsock" Socket=%q useSpecialParser="off" parseHostname="on")
template(name="all" type="string" string="%%syslogfacility-text%%.%%syslogseverity-text%%|%%app-name%%|%%procid%%|%%msgid%%|%%protocol-version%%|%%msg%%\n")
*.* action(type="omfile" file=%q template="all" asyncWriting="off" flushOnTXEnd="on")
`, dir, host, number, socket, out)
	file := filepath.Join(dir, "rsyslog.conf")
	if err := os.WriteFile(file, []byte(config), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), program, "-n", "-f", file, "-i", filepath.Join(dir, "pid"))
	var said bytes.Buffer
	cmd.Stderr = &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
	}()
	var want []string
	for _, to := range []string{address, "unix@" + socket} {
		l, err := OpenWith(Options{Syslog: to, Patience: patient})
		if err != nil {
			t.Fatal(err)
		}
		id := comes(t, l)
		want = append(want, "local0.info|vertex-spoa|"+strconv.Itoa(os.Getpid())+"|decision|1|"+strings.TrimSpace(string(record(id).appendTo(nil))))
		if err := l.Close(); err != nil {
			t.Error(err)
		}
		var text []byte
		for limit := time.Now().Add(10 * time.Second); bytes.Count(text, []byte("vertex-spoa|")) < len(want); <-time.After(5 * time.Millisecond) {
			if text, _ = os.ReadFile(out); time.Now().After(limit) {
				t.Fatalf("rsyslog has written %q after 10 s; it said %s", text, said.String())
			}
		}
		var got []string
		for line := range strings.Lines(string(text)) {
			if strings.Contains(line, "vertex-spoa|") {
				got = append(got, strings.TrimSpace(strings.Replace(line, "| {", "|{", 1)))
			}
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("rsyslog has written (-want +got):\n%s", diff)
		}
	}
}

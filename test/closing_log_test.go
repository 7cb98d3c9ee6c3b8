package test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"vertex-spoa/test/fake"
	"vertex-spoa/test/sandbox"
)

// streamPath is generatePath, streamed as events.
const streamPath = "/v1/projects/acme-ai/locations/europe-west1/publishers/google/models/gemini-2.5-flash:streamGenerateContent?alt=sse"

// haproxyLog receives HAProxy's log as an agent does that writes closing records: datagrams on a unix socket, or frames over TCP.
type haproxyLog struct {
	t     *testing.T
	env   string // what HAProxy's environment has to say of it
	lines chan string
	seen  map[string][]map[string]any // by id
}

// startHAProxyLog starts a receiver for $VERTEX_CLOSING_LOG, or for $VERTEX_CLOSING_RING.
func startHAProxyLog(t *testing.T, ring bool) *haproxyLog {
	t.Helper()
	l := &haproxyLog{t: t, lines: make(chan string, 1024), seen: map[string][]map[string]any{}}
	if ring {
		listener, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = listener.Close() })
		l.env = "VERTEX_CLOSING_RING=" + listener.Addr().String()
		go l.accept(listener)
		return l
	}
	path := filepath.Join(t.TempDir(), "log")
	conn, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	l.env = "VERTEX_CLOSING_LOG=unix@" + path
	go func() {
		buf := make([]byte, 64<<10)
		for {
			n, err := conn.Read(buf)
			if err != nil {
				return
			}
			l.lines <- string(buf[:n])
		}
	}()
	return l
}

// accept reads frames that begin with their length (RFC 6587 section 3.4.1).
func (l *haproxyLog) accept(listener net.Listener) {
	for {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		go func() {
			defer conn.Close()
			for r := bufio.NewReader(conn); ; {
				text, err := r.ReadString(' ')
				if err != nil {
					return
				}
				n, err := strconv.Atoi(strings.TrimSpace(text))
				if err != nil || n <= 0 || n > 64<<10 {
					l.lines <- "no frame: " + text
					return
				}
				frame := make([]byte, n)
				if _, err := io.ReadFull(r, frame); err != nil {
					return
				}
				l.lines <- string(frame)
			}
		}()
	}
}

// header is what stands before the JSON (RFC 5424 section 6): facility local0, no message id, no structured data.
var header = regexp.MustCompile(`^<13[0-7]>1 \d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}[+-]\d\d:\d\d - haproxy\S* \d+ - - `)

// take keeps a line.
func (l *haproxyLog) take(text string) {
	l.t.Helper()
	at := header.FindString(text)
	if at == "" {
		l.t.Errorf("a line begins otherwise: %.200q", text)
		return
	}
	rest := text[len(at):]
	if !strings.HasPrefix(rest, "{") {
		return // what HAProxy says of its servers
	}
	var line map[string]any
	d := json.NewDecoder(strings.NewReader(rest))
	if err := d.Decode(&line); err != nil {
		l.t.Errorf("%v in %.200q", err, text)
		return
	}
	id, _ := line["id"].(string)
	l.seen[id] = append(l.seen[id], line)
}

// line waits for a line of the request.
func (l *haproxyLog) line(id string) map[string]any {
	l.t.Helper()
	for deadline := time.After(30 * time.Second); ; {
		if all := l.seen[id]; len(all) > 0 {
			return all[0]
		}
		select {
		case text := <-l.lines:
			l.take(text)
		case <-deadline:
			l.t.Fatalf("no line of %q came", id)
		}
	}
}

// came reports whether a line of the request has come already.
func (l *haproxyLog) came(id string) bool {
	l.t.Helper()
	for {
		select {
		case text := <-l.lines:
			l.take(text)
		default:
			return len(l.seen[id]) > 0
		}
	}
}

// Every request has one line, at its end, however it ends, on both ways to the agent; and it is the line of HAProxy's own log.
func TestEveryRequestHasOneClosingLine(t *testing.T) {
	onEach(t, haproxySeries(), func(t *testing.T, haproxy string) {
		for _, ring := range []bool{false, true} {
			t.Run(fmt.Sprintf("ring %t", ring), func(t *testing.T) {
				l := startHAProxyLog(t, ring)
				s := startSandbox(t, sandbox.Options{HAProxy: haproxy, Workers: true, HAProxyEnv: []string{l.env, "VERTEX_UPSTREAM_EUROPE_WEST4=" + freeAddr(t)}})
				notAnswered(t, s, l)
				for _, p := range protocols() {
					t.Run(string(p), func(t *testing.T) {
						answered(t, s, l, p)
						streamed(t, s, l, p)
						abortedByTheCaller(t, s, l, p)
						abortedBeforeTheAnswer(t, s, l, p)
					})
				}
				eachHasOneLine(t, s, l)
			})
		}
	})
}

// ended checks the line of a request.
func (l *haproxyLog) ended(id, status, term string) map[string]any {
	l.t.Helper()
	line := l.line(id)
	got := fmt.Sprint(line["st"], " ", line["term"])
	if want := "^(" + status + ") (" + term + ")$"; !regexp.MustCompile(want).MatchString(got) {
		l.t.Errorf("the line says st and term %s, want %s: %v", got, want, line)
	}
	return line
}

// answered makes calls that have an answer, of Google's or of HAProxy's.
func answered(t *testing.T, s *sandbox.Sandbox, l *haproxyLog, p sandbox.Protocol) {
	t.Helper()
	search := callerOf(t, s, "search-eng")
	for _, tt := range []struct {
		name   string
		c      sandbox.Call
		fault  fake.Fault
		status int
		term   string
	}{
		{"allowed", sandbox.Call{Target: generatePath, Token: search, Body: promptBody}, fake.Fault{}, 200, "--"},
		{"denied", sandbox.Call{Target: generatePath, Token: callerOf(t, s, "nobody"), Body: promptBody}, fake.Fault{}, 403, "PR"},
		{"refused by HAProxy", sandbox.Call{Target: generatePath, Token: search, Body: promptBody, Header: http.Header{"Content-Encoding": {"x"}}}, fake.Fault{}, 400, "PR"},
		{"an error of Google's", sandbox.Call{Target: generatePath, Token: search, Body: promptBody}, fake.Fault{Status: 429, Times: 1}, 429, "--"},
		{"no connection to Google", sandbox.Call{Target: strings.Replace(generatePath, "europe-west1", "europe-west4", 1), Token: search, Body: promptBody}, fake.Fault{}, 503, "SC"},
	} {
		s.World.Vertex.Fail(tt.fault)
		tt.c.Protocol = p
		r, err := s.Do(t.Context(), tt.c)
		s.World.Vertex.Heal()
		if err != nil || r.Status != tt.status {
			t.Fatalf("%s: got status %d and error %v, want %d", tt.name, r.Status, err, tt.status)
		}
		l.ended(r.Header.Get("X-Request-Id"), strconv.Itoa(tt.status), tt.term)
	}
}

// notAnswered makes a call whose connection Google cuts. It has to be the first one on that connection: under a later one HAProxy closes the
// connection of the caller too, so that the caller asks again, and logs nothing.
func notAnswered(t *testing.T, s *sandbox.Sandbox, l *haproxyLog) {
	t.Helper()
	s.World.Vertex.Fail(fake.Fault{Reset: true})
	defer s.World.Vertex.Heal()
	r, err := s.Do(t.Context(), sandbox.Call{Target: generatePath, Token: callerOf(t, s, "search-eng"), Body: promptBody})
	if err != nil || r.Status != http.StatusBadGateway {
		t.Fatalf("got status %d and error %v, want 502", r.Status, err)
	}
	l.ended(r.Header.Get("X-Request-Id"), "502", "SH")
}

// begin makes a streamed call and returns when its first chunk is there. The second one waits for the gate.
func begin(ctx context.Context, t *testing.T, s *sandbox.Sandbox, p sandbox.Protocol, gate chan struct{}, script fake.Script) (*http.Response, *bufio.Reader) {
	t.Helper()
	script.Gate = gate
	s.World.Vertex.Play(script)
	client := s.Client(p)
	t.Cleanup(client.CloseIdleConnections)
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, s.URL+streamPath, strings.NewReader(promptBody))
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+callerOf(t, s, "search-eng"))
	req.Header.Set("Content-Type", "application/json")
	res, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = res.Body.Close() })
	gate <- struct{}{}
	r := bufio.NewReader(res.Body)
	if line, err := r.ReadString('\n'); err != nil || !strings.Contains(line, `"one"`) {
		t.Fatalf("the first chunk is %q: %v", line, err)
	}
	return res, r
}

// streamed makes a streamed call, whose line comes when it has ended and not before.
func streamed(t *testing.T, s *sandbox.Sandbox, l *haproxyLog, p sandbox.Protocol) {
	t.Helper()
	gate := make(chan struct{})
	res, r := begin(t.Context(), t, s, p, gate, fake.Script{Chunks: []string{"one", "two"}})
	defer s.World.Vertex.Play(fake.Script{})
	id := res.Header.Get("X-Request-Id")
	if l.came(id) {
		t.Error("the line of a stream came before its end")
	}
	close(gate)
	rest, err := io.ReadAll(r)
	if err != nil || !bytes.Contains(rest, []byte(`"two"`)) {
		t.Fatalf("the rest is %q: %v", rest, err)
	}
	line := l.ended(id, "200", "--")
	if line["usage_output"] != 2.0 || line["usage_input"] == -1.0 {
		t.Errorf("the line says of the use: %v", line)
	}
}

// abortedByTheCaller makes a streamed call and goes away in the middle of it.
func abortedByTheCaller(t *testing.T, s *sandbox.Sandbox, l *haproxyLog, p sandbox.Protocol) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	gate := make(chan struct{})
	chunks := slices.Concat([]string{"one", "two"}, slices.Repeat([]string{"more"}, 1000))
	res, _ := begin(ctx, t, s, p, gate, fake.Script{Chunks: chunks, Interval: 10 * time.Millisecond})
	defer s.World.Vertex.Play(fake.Script{})
	cancel()
	close(gate) // up to 3.2 HAProxy learns it when it sends the next chunk
	line := l.ended(res.Header.Get("X-Request-Id"), "200", "[CS]D")
	if line["usage_output"] != -1.0 {
		t.Errorf("the line says of the use: %v", line)
	}
}

// abortedBeforeTheAnswer goes away while Google thinks. Nobody has told the caller the id; the record has it.
func abortedBeforeTheAnswer(t *testing.T, s *sandbox.Sandbox, l *haproxyLog, p sandbox.Protocol) {
	t.Helper()
	s.World.Vertex.Take()
	gate := make(chan struct{})
	s.World.Vertex.Fail(fake.Fault{Gate: gate})
	defer s.World.Vertex.Heal()
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var call sync.WaitGroup
	token := callerOf(t, s, "search-eng")
	call.Go(func() {
		if r, err := s.Do(ctx, sandbox.Call{Protocol: p, Target: generatePath, Token: token, Body: promptBody}); err == nil && r.Status != http.StatusBadRequest { // which HAProxy says to whoever has hung up
			t.Errorf("an aborted call got %s", r)
		}
	})
	if _, err := s.World.Vertex.Next(limited(t)); err != nil {
		t.Fatal(err)
	}
	cancel()
	call.Wait()
	records, err := s.Audit()
	if err != nil {
		t.Fatal(err)
	}
	id, _ := records[len(records)-1]["id"].(string)
	close(gate) // up to 3.2 HAProxy learns it when it sends the answer, if at all
	l.ended(id, "-1|400|200", "C.|--")
}

// eachHasOneLine compares what came with HAProxy's own log, and with the agent's records.
func eachHasOneLine(t *testing.T, s *sandbox.Sandbox, l *haproxyLog) {
	t.Helper()
	r, err := s.Do(t.Context(), sandbox.Call{Target: generatePath, Token: callerOf(t, s, "search-eng"), Body: promptBody})
	if err != nil {
		t.Fatal(err)
	}
	l.line(r.Header.Get("X-Request-Id")) // the last one
	records, err := s.Audit()
	if err != nil {
		t.Fatal(err)
	}
	for _, record := range records {
		if id, _ := record["id"].(string); len(l.seen[id]) == 0 {
			t.Errorf("no line of %v", record)
		}
	}
	own, err := s.HAProxyLog()
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range own {
		id, _ := line["id"].(string)
		if id == "" {
			continue
		}
		got := l.seen[id]
		if len(got) != 1 {
			t.Errorf("%d lines of %v", len(got), line)
			continue
		}
		want, err := json.Marshal(line)
		if err != nil {
			t.Fatal(err)
		}
		if text, err := json.Marshal(got[0]); err != nil || !bytes.Equal(text, want) {
			t.Errorf("the line is %s, and in HAProxy's own log %s (%v)", text, want, err)
		}
	}
}

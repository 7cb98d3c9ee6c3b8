package test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"
)

// usageRig is a HAProxy with the example's filter alone, before an upstream that answers with whatever bytes a test wants.
type usageRig struct {
	t      *testing.T
	pid    int
	url    string
	client *http.Client
	lines  *net.UnixConn // HAProxy's log
	said   *bytes.Buffer // what it says beside; to be read when it has ended

	mu      sync.Mutex
	scripts map[string]*upstreamScript
	asked   int
}

// upstreamScript is one answer. Each piece leaves when the one before it has come through to the client.
type upstreamScript struct {
	head   string // header lines
	pieces []string
	length bool // the answer has a Content-Length; else each piece is a chunk
	cut    bool // the connection ends after the last piece, and the answer does not

	next chan struct{}
}

const usageConfig = `global
    stats socket %s mode 600
    tune.bufsize 65536
.if version_atleast(3.1)
    tune.lua.bool-sample-conversion normal
.endif
    lua-load-per-thread %s
defaults
    mode http
    log unix@%s len 16384 format raw local0
    timeout connect 10s
    timeout client 60s
    timeout server 60s
    option http-no-delay
frontend rig
    bind %s
    filter lua.vertex-usage
    http-request set-var(txn.vertex.uri) pathq
    log-format '{"id":"%%[var(txn.vertex.uri)]","term":"%%ts","input":%%[var(txn.vertex_usage_input,-1)],"output":%%[var(txn.vertex_usage_output,-1)],"thoughts":%%[var(txn.vertex_usage_thoughts,-1)],"cached":%%[var(txn.vertex_usage_cached,-1)],"total":%%[var(txn.vertex_usage_total,-1)]}'
    default_backend upstream
backend upstream
    http-reuse never
    server upstream %s
`

// startUsageRig starts HAProxy with the filter, changed as the replacer says if there is one.
func startUsageRig(t *testing.T, haproxy string, change *strings.Replacer) *usageRig {
	t.Helper()
	dir := t.TempDir()
	r := &usageRig{t: t, client: &http.Client{Transport: &http.Transport{DisableCompression: true}}, scripts: map[string]*upstreamScript{}, said: new(bytes.Buffer)}
	upstream, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go r.serve(upstream)
	log := filepath.Join(dir, "log")
	if r.lines, err = net.ListenUnixgram("unixgram", &net.UnixAddr{Name: log, Net: "unixgram"}); err != nil {
		t.Fatal(err)
	}
	bind := freeAddr(t)
	r.url = "http://" + bind
	config := filepath.Join(dir, "haproxy.cfg")
	filter := filepath.Join(dir, "vertex-usage.lua")
	lua, err := os.ReadFile(filepath.Join(example(t), "vertex-usage.lua")) // so that go test knows that the result depends on it
	if err != nil {
		t.Fatal(err)
	}
	if change != nil {
		lua = []byte(change.Replace(string(lua)))
	}
	if err := os.WriteFile(filter, lua, 0o600); err != nil {
		t.Fatal(err)
	}
	text := fmt.Sprintf(usageConfig, filepath.Join(dir, "stats"), filter, log, bind, upstream.Addr())
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(haproxy, "-db", "-f", config)
	cmd.Stdout, cmd.Stderr = r.said, r.said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	r.pid = cmd.Process.Pid
	t.Cleanup(func() {
		r.client.CloseIdleConnections()
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		_ = upstream.Close()
		_ = r.lines.Close()
		if strings.Contains(r.said.String(), "sage") != (change != nil) { // of the filter, by whatever name
			t.Errorf("HAProxy says:\n%s", r.said)
		}
	})
	r.waitForHAProxy(bind)
	return r
}

func (r *usageRig) waitForHAProxy(addr string) {
	r.t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for ctx := limited(r.t); ; {
		if conn, err := new(net.Dialer).DialContext(ctx, "tcp", addr); err == nil {
			_ = conn.Close()
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			r.t.Fatalf("HAProxy did not start: %s", r.said)
		}
	}
}

// serve answers each request with the script of its path.
func (r *usageRig) serve(l net.Listener) {
	for {
		conn, err := l.Accept()
		if err != nil {
			return
		}
		go func() {
			defer conn.Close()
			req, err := http.ReadRequest(bufio.NewReader(conn))
			if err != nil {
				return
			}
			r.mu.Lock()
			s := r.scripts[req.URL.Path]
			r.mu.Unlock()
			if s != nil {
				s.play(conn)
			}
		}()
	}
}

func (s *upstreamScript) play(w io.Writer) {
	framing := "Transfer-Encoding: chunked"
	if s.length {
		framing = fmt.Sprint("Content-Length: ", len(strings.Join(s.pieces, "")))
	}
	fmt.Fprintf(w, "HTTP/1.1 200 OK\r\n%s\r\n%s\r\n\r\n", s.head, framing)
	for _, piece := range s.pieces {
		if !s.length {
			piece = fmt.Sprintf("%x\r\n%s\r\n", len(piece), piece)
		}
		if _, err := io.WriteString(w, piece); err != nil {
			return
		}
		<-s.next
	}
	if !s.length && !s.cut {
		_, _ = io.WriteString(w, "0\r\n\r\n")
	}
}

// get asks for the script and returns what the log says of its use. The answer is what the upstream sent, byte for byte, and each piece is
// there before the next one leaves.
func (r *usageRig) get(suffix string, s upstreamScript) string {
	r.t.Helper()
	s.next = make(chan struct{}, len(s.pieces))
	s.pieces = slices.DeleteFunc(slices.Clone(s.pieces), func(piece string) bool { return piece == "" })
	r.mu.Lock()
	r.asked++
	path := fmt.Sprintf("/%d%s", r.asked, suffix)
	r.scripts[path] = &s
	r.mu.Unlock()
	defer func() {
		r.mu.Lock()
		delete(r.scripts, path)
		r.mu.Unlock()
	}()
	ctx, cancel := context.WithTimeout(r.t.Context(), 30*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, r.url+path, nil)
	if err != nil {
		r.t.Fatal(err)
	}
	res, err := r.client.Do(req)
	if err != nil {
		r.t.Fatal(err)
	}
	defer res.Body.Close()
	for i, want := range s.pieces {
		got := make([]byte, len(want))
		if _, err := io.ReadFull(res.Body, got); err != nil {
			r.t.Fatalf("piece %d of %d: %v", i+1, len(s.pieces), err)
		}
		if string(got) != want {
			r.t.Fatalf("piece %d of %d is %q, want %q", i+1, len(s.pieces), got, want)
		}
		s.next <- struct{}{}
	}
	rest, err := io.ReadAll(res.Body)
	if len(rest) > 0 || (err != nil) != s.cut {
		r.t.Fatalf("after the last piece: %q and error %v, cut %t", rest, err, s.cut)
	}
	return r.logged(path)
}

// memory is what HAProxy has in memory, in bytes.
func (r *usageRig) memory() int {
	r.t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/statm", r.pid))
	if err != nil {
		r.t.Fatal(err)
	}
	fields := strings.Fields(string(text))
	pages, err := strconv.Atoi(fields[1])
	if err != nil {
		r.t.Fatal(err)
	}
	return pages * os.Getpagesize()
}

// hold asks for an answer, tells when all of it is there, and lets it end when it is released.
func (r *usageRig) hold(body string, held chan<- struct{}, release <-chan struct{}) {
	s := &upstreamScript{head: eventHead, pieces: []string{body}, next: make(chan struct{})}
	r.mu.Lock()
	r.asked++
	path := fmt.Sprintf("/%d", r.asked)
	r.scripts[path] = s
	r.mu.Unlock()
	req, err := http.NewRequestWithContext(r.t.Context(), http.MethodGet, r.url+path, nil)
	if err != nil {
		r.t.Error(err)
		held <- struct{}{}
		return
	}
	res, err := r.client.Do(req)
	if err != nil {
		r.t.Error(err)
		held <- struct{}{}
		return
	}
	defer res.Body.Close()
	if _, err := io.CopyN(io.Discard, res.Body, int64(len(body))); err != nil {
		r.t.Error(err)
	}
	held <- struct{}{}
	<-release
	close(s.next)
	if _, err := io.Copy(io.Discard, res.Body); err != nil {
		r.t.Error(err)
	}
}

// logged returns what the log says of the use of a request: "input=1 total=2", without what is unknown.
func (r *usageRig) logged(path string) string {
	r.t.Helper()
	if err := r.lines.SetReadDeadline(time.Now().Add(30 * time.Second)); err != nil {
		r.t.Fatal(err)
	}
	buf := make([]byte, 64<<10)
	for {
		n, err := r.lines.Read(buf)
		if err != nil {
			r.t.Fatal(errors.Join(errors.New("no line of "+path), err))
		}
		var line struct {
			ID                                     string
			Input, Output, Thoughts, Cached, Total int64
		}
		if json.Unmarshal(buf[:n], &line) != nil || line.ID != path { // of the connection that looked whether HAProxy is there
			continue
		}
		var known []string
		for _, f := range []struct {
			name   string
			tokens int64
		}{{"input", line.Input}, {"output", line.Output}, {"thoughts", line.Thoughts}, {"cached", line.Cached}, {"total", line.Total}} {
			if f.tokens >= 0 {
				known = append(known, fmt.Sprintf("%s=%d", f.name, f.tokens))
			}
		}
		return strings.Join(known, " ")
	}
}

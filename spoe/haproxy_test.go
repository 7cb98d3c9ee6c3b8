package spoe

import (
	"bufio"
	"context"
	"encoding/csv"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	gocmp "github.com/google/go-cmp/cmp"
)

// onHAProxies runs the test with the HAProxy that $HAPROXY names or, where it
// does not, with the oldest and the newest series of $HAPROXY_VERSIONS; with
// all of them where $TEST_ALL is set. A series that is not to be had on this
// machine is not run. There must be one: what this package promises can be seen
// nowhere else.
func onHAProxies(t *testing.T, test func(t *testing.T, binary string)) {
	t.Helper()
	if named := os.Getenv("HAPROXY"); named != "" {
		binary, err := exec.LookPath(named)
		if err != nil {
			t.Fatalf("$HAPROXY: %v", err)
		}
		test(t, binary)
		return
	}
	series := []string{"2.6", "3.4"}
	if env := strings.Fields(os.Getenv("HAPROXY_VERSIONS")); len(env) > 0 {
		series = env
	} else if os.Getenv("TEST_ALL") != "" {
		series = []string{"2.6", "3.0", "3.2", "3.4"}
	}
	if os.Getenv("TEST_ALL") == "" && len(series) > 2 {
		series = []string{series[0], series[len(series)-1]}
	}
	run := 0
	for _, s := range series {
		t.Run("HAProxy "+s, func(t *testing.T) {
			binary, version := haproxyOf(t.Context(), s)
			if binary == "" {
				t.Skipf("NOT RUN: no HAProxy %s here: `make haproxy-versions` fetches it where it can be had", s)
			}
			run++
			t.Log(version)
			test(t, binary)
		})
	}
	if run == 0 {
		t.Fatalf("there is no HAProxy of %q: install one, or name another in $HAPROXY", series)
	}
}

// haproxyOf returns the program of a series, the installed one or one that
// test/haproxy.sh has fetched, and its version; "" where there is none.
func haproxyOf(ctx context.Context, series string) (binary, version string) {
	fetched, err := filepath.Abs("../.cache/haproxy/haproxy-" + series)
	if err != nil {
		return "", ""
	}
	for _, try := range []string{"haproxy", "/usr/sbin/haproxy", fetched} {
		out, err := exec.CommandContext(ctx, try, "-v").Output()
		if line, _, _ := strings.Cut(string(out), "\n"); err == nil && strings.HasPrefix(line, "HAProxy version "+series+".") {
			return try, line
		}
	}
	return "", ""
}

const haproxyConfig = `
global
	stats socket DIR/stats mode 600 level admin
	tune.bufsize 65536
defaults
	mode http
	timeout connect 2s
	timeout client 10s
	timeout server 10s
frontend front
	bind unix@DIR/front
	filter spoe engine test config DIR/spoe.conf
	http-request wait-for-body time 2s
	http-request send-spoe-group test authorize
	http-request set-var(txn.err1) var(txn.t.err) if { var(txn.t.err) -m found }
	http-request unset-var(txn.t.err) if { var(txn.err1) -m int 256 257 }
	http-request send-spoe-group test authorize if { var(txn.err1) -m int 256 257 }
	http-request return status 503 hdr X-Err "%[var(txn.t.err)] %[var(txn.err1)]" unless { var(txn.t.decision) -m str allow }
	http-request return status 200 hdr X-Path "%[var(txn.t.path)]" hdr X-Ints "%[var(txn.t.minus)] %[var(txn.t.least)] %[var(txn.t.most)]" hdr X-Gone "<%[var(req.t.gone)]>" hdr X-Token "%[var(req.t.token),length]" hdr X-Yes "%[var(txn.t.yes)]"
backend agent
.if version_atleast(3.1)
	mode spop
.else
	mode tcp
.endif
	option spop-check
	timeout server 60s
	timeout check 3s
	server a unix@DIR/agent check inter 100ms rise 1 fall 3
`

const haproxySPOE = `
[test]
spoe-agent test
	groups authorize
	option var-prefix t
	option set-on-error err
	option continue-on-error
	register-var-names decision path minus least most gone token yes
	timeout hello 3s
	timeout idle 30s
	timeout processing 4s
	use-backend agent
spoe-group authorize
	messages authorize
spoe-message authorize
	args src=src method=method path=path absent=req.hdr(x-absent) ten=int(10) minus=int(0),sub(7) yes=bool(true) no=bool(false) body=req.body token=req.hdr(authorization)
`

// haproxy is a running HAProxy in front of an agent.
type haproxy struct {
	t      testing.TB
	dir    string
	client *http.Client
}

func startHAProxy(t testing.TB, binary, dir string) *haproxy {
	t.Helper()
	h := &haproxy{t: t, dir: dir}
	for name, text := range map[string]string{"haproxy.cfg": haproxyConfig, "spoe.conf": haproxySPOE} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(strings.ReplaceAll(text, "DIR", dir)), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var output safeBuffer
	cmd := exec.Command(binary, "-db", "-f", filepath.Join(dir, "haproxy.cfg"))
	cmd.Stdout, cmd.Stderr = &output, &output
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Signal(syscall.SIGTERM)
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("%s said:\n%s", binary, output.String())
		}
	})
	front := func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", filepath.Join(dir, "front"))
	}
	h.client = &http.Client{Transport: &http.Transport{DialContext: front, MaxIdleConnsPerHost: 64}, Timeout: 20 * time.Second}
	t.Cleanup(h.client.CloseIdleConnections)
	return h
}

// ask makes one request.
func (h *haproxy) ask(path string) (*http.Response, error) {
	req, err := http.NewRequest("POST", "http://h"+path, strings.NewReader("{}"))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Authorization", "Bearer "+strings.Repeat("x", 900))
	resp, err := h.client.Do(req)
	if err != nil {
		return nil, err
	}
	_, err = io.Copy(io.Discard, resp.Body)
	_ = resp.Body.Close()
	return resp, err
}

// mustAllow makes one request, which has to be allowed.
func (h *haproxy) mustAllow(path string) *http.Response {
	h.t.Helper()
	resp, err := h.ask(path)
	if err != nil {
		h.t.Fatal(err)
	}
	if resp.StatusCode != 200 || resp.Header.Get("X-Path") != path {
		h.t.Fatalf("%s: got status %d and headers %v, want 200", path, resp.StatusCode, resp.Header)
	}
	return resp
}

// server returns HAProxy's opinion of the agent, as "UP L7OK".
func (h *haproxy) server() string {
	nc, err := net.Dial("unix", filepath.Join(h.dir, "stats"))
	if err != nil {
		return err.Error()
	}
	defer func() { _ = nc.Close() }()
	_, _ = io.WriteString(nc, "show stat\n")
	rows := csv.NewReader(bufio.NewReader(nc))
	rows.FieldsPerRecord = -1
	all, err := rows.ReadAll()
	if err != nil || len(all) == 0 {
		return fmt.Sprint("no statistics: ", err)
	}
	for _, row := range all[1:] {
		if row[0] == "agent" && row[1] == "a" {
			var said []string
			for i, name := range all[0] {
				if name == "status" || name == "check_status" {
					said = append(said, row[i])
				}
			}
			return strings.Join(said, " ")
		}
	}
	return "not there"
}

// until waits until HAProxy's opinion of the agent is want.
func (h *haproxy) until(want string) {
	h.t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	var got string
	for range 500 {
		if got = h.server(); strings.HasPrefix(got, want) {
			return
		}
		<-tick.C
	}
	h.t.Fatalf("the agent is %q for HAProxy, want %q", got, want)
}

// haproxyAgent answers what haproxyConfig asks.
func haproxyAgent(t testing.TB) HandlerFunc {
	return func(_ context.Context, n *Notify, reply Reply) {
		if len(n.Messages()) != 1 {
			t.Errorf("got %d messages, want 1", len(n.Messages()))
			_ = reply(overloaded(n))
			return
		}
		m := n.Messages()[0]
		path, _ := m.Arg("path")
		text, _ := path.Text()
		answer := []Action{
			SetString(ScopeTransaction, "path", strings.Clone(text)),
			SetInt(ScopeTransaction, "minus", -7),
			SetInt(ScopeTransaction, "least", -1<<63),
			SetInt(ScopeTransaction, "most", 1<<63-1),
			SetString(ScopeRequest, "gone", "here"),
			Unset(ScopeRequest, "gone"),
			SetBool(ScopeTransaction, "yes", true),
			SetString(ScopeRequest, "token", strings.Repeat("y", 1024)),
			SetString(ScopeTransaction, "decision", "allow"),
		}
		if n.StreamID()%5 == 0 {
			go func() { _ = reply(answer) }()
			return
		}
		_ = reply(answer)
	}
}

func TestRealHAProxy(t *testing.T) { onHAProxies(t, realHAProxy) }

func realHAProxy(t *testing.T, binary string) {
	t.Helper()
	dir := shortDir(t)
	seen := make(chan []Arg, 1)
	agent := haproxyAgent(t)
	r := newRig(t, Config{Timeout: 3 * time.Second, Handler: HandlerFunc(func(ctx context.Context, n *Notify, reply Reply) {
		if p, _ := n.Messages()[0].Arg("path"); p.Equal(Text("/first")) {
			seen <- keep(n.Messages())[0].Args
		}
		agent(ctx, n, reply)
	})})
	r.serve(listenAt(t, dir+"/agent"))
	h := startHAProxy(t, binary, dir)
	h.until("UP L7OK")

	resp := h.mustAllow("/first")
	got := map[string]string{}
	for _, name := range []string{"X-Ints", "X-Gone", "X-Token", "X-Yes"} {
		got[name] = resp.Header.Get(name)
	}
	want := map[string]string{"X-Ints": "-7 -9223372036854775808 9223372036854775807", "X-Gone": "<>", "X-Token": "1024", "X-Yes": "1"}
	if diff := gocmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	args := []Arg{
		{"src", Value{}}, {"method", Text("POST")}, {"path", Text("/first")}, {"absent", Value{}}, {"ten", Int(10)}, {"minus", Int(-7)},
		{"yes", Bool(true)}, {"no", Bool(false)}, {"body", Binary([]byte("{}"))}, {"token", Text("Bearer " + strings.Repeat("x", 900))},
	}
	if diff := gocmp.Diff(args, <-seen); diff != "" {
		t.Error(diff)
	}
	for i := range 200 {
		h.mustAllow(fmt.Sprintf("/sequential/%d", i))
	}
	h.storm(32, 50, nil)

	if err := r.srv.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	h.until("DOWN")
	if resp, err := h.ask("/down"); err != nil || resp.StatusCode != 503 {
		t.Errorf("got %v and error %v without an agent, want 503", resp, err)
	}
	s := newRig(t, Config{Timeout: 3 * time.Second, Handler: haproxyAgent(t)})
	s.serve(listenAt(t, dir+"/agent"))
	h.until("UP L7OK")
	h.storm(32, 20, nil)
	if err := s.srv.Shutdown(t.Context()); err != nil {
		t.Error(err)
	}
	for _, r := range []*rig{r, s} {
		if got := r.counted(); len(got) != 0 || strings.Contains(r.log.String(), "level=WARN") {
			t.Errorf("got errors %v and log %s, want none", got, r.log.String())
		}
	}
}

// storm makes requests from n clients at once, each of which has to be allowed
// unless failed counts the others.
func (h *haproxy) storm(n, each int, failed *atomic.Int64) {
	h.t.Helper()
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() {
			for j := range each {
				path := fmt.Sprintf("/%d/%d", i, j)
				resp, err := h.ask(path)
				if err == nil && resp.StatusCode == 200 && resp.Header.Get("X-Path") == path {
					continue
				}
				if failed != nil {
					failed.Add(1)
					continue
				}
				if err != nil {
					h.t.Error(err)
					return
				}
				h.t.Errorf("%s: got status %d and headers %v, want 200", path, resp.StatusCode, resp.Header)
			}
		})
	}
	all.Wait()
}

// A new process takes the path over, then the old one drains.
func TestRealHAProxyDuringRestarts(t *testing.T) { onHAProxies(t, duringRestarts) }

func duringRestarts(t *testing.T, binary string) {
	t.Helper()
	const clients, each = 16, 200
	dir := shortDir(t)
	r := newRig(t, Config{Timeout: 3 * time.Second, Handler: haproxyAgent(t)})
	r.serve(listenAt(t, dir+"/agent"))
	h := startHAProxy(t, binary, dir)
	h.until("UP L7OK")
	var asked, failed atomic.Int64
	var load sync.WaitGroup
	over := make(chan struct{})
	end := sync.OnceFunc(func() { close(over) })
	defer end()
	load.Go(func() { // until the last restart, however fast the machine is
		for {
			h.storm(clients, each, &failed)
			asked.Add(clients * each)
			select {
			case <-over:
				return
			default:
			}
		}
	})
	for range 5 {
		r.await("some hundred are answered", func() bool { return r.sent["ACK"] > 400 })
		next := newRig(t, Config{Timeout: 3 * time.Second, Handler: haproxyAgent(t)})
		next.serve(listenAt(t, dir+"/agent"))
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		if err := r.srv.Shutdown(ctx); err != nil {
			t.Errorf("shutdown: %v", err)
		}
		cancel()
		r = next
	}
	end()
	load.Wait()
	t.Logf("%d of %d requests failed over 5 restarts", failed.Load(), asked.Load())
	if failed.Load() > 10 {
		t.Errorf("got %d of %d requests failed, want at most 2 for each restart", failed.Load(), asked.Load())
	}
	h.storm(16, 10, nil)
	_ = r.srv.Close()
}

// HAProxy 3.1 and later stop reading a connection for good when a buffer's worth
// of answers waits on it, which never comes to pass.
func TestRealHAProxyWithLargeTokens(t *testing.T) { onHAProxies(t, withLargeTokens) }

func withLargeTokens(t *testing.T, binary string) {
	t.Helper()
	const clients, each = 60, 50
	dir := shortDir(t)
	agent := haproxyAgent(t)
	token := SetString(ScopeRequest, "token", strings.Repeat("y", 2048))
	r := newRig(t, Config{Timeout: 3 * time.Second, Handler: HandlerFunc(func(ctx context.Context, n *Notify, reply Reply) {
		agent(ctx, n, func(actions []Action) error {
			return reply(append([]Action{token, token, token}, actions...))
		})
	})})
	r.serve(listenAt(t, dir+"/agent"))
	h := startHAProxy(t, binary, dir)
	h.until("UP L7OK")
	h.storm(clients, each, nil)
	if log := r.log.String(); len(r.counted()) > 0 || strings.Contains(log, "level=WARN") {
		t.Errorf("got errors %v and log %s, want none", r.counted(), log)
	}
	_ = r.srv.Close()
}

package google

import (
	"context"
	"crypto/tls"
	"encoding/pem"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"vertex-spoa/agent/internal/secret"
)

// overTLS serves h with a certificate for example.com, and returns the file of its authority.
func overTLS(t *testing.T, h http.Handler, version uint16) (*httptest.Server, string) {
	t.Helper()
	server := httptest.NewUnstartedServer(h)
	server.EnableHTTP2 = true
	server.TLS = &tls.Config{MinVersion: tls.VersionTLS10, MaxVersion: version}
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.StartTLS()
	t.Cleanup(server.Close)
	file := filepath.Join(t.TempDir(), "ca.pem")
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	return server, file
}

func TestEgressTrustsItsAuthoritiesAndReusesConnections(t *testing.T) {
	var conns atomic.Int64
	var proto sync.Map
	server, ca := overTLS(t, http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		if _, seen := proto.LoadOrStore(r.RemoteAddr+r.Proto, true); !seen {
			conns.Add(1)
		}
	}), 0)
	client, err := Egress{CAFile: ca}.Client()
	if err != nil {
		t.Fatal(err)
	}
	for range 10 {
		answer, err := client.Get(server.URL)
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, answer.Body)
		_ = answer.Body.Close()
		if answer.ProtoMajor != 2 {
			t.Errorf("got %s, want HTTP/2", answer.Proto)
		}
	}
	if got := conns.Load(); got != 1 {
		t.Errorf("%d connections for 10 calls, want 1", got)
	}
	others, err := Egress{}.Client()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := others.Get(server.URL); err == nil || !strings.Contains(err.Error(), "authority") {
		t.Errorf("an unknown authority: got %v", err)
	}
}

func TestEgressRefuses(t *testing.T) {
	server, ca := overTLS(t, http.NotFoundHandler(), tls.VersionTLS11)
	client, err := Egress{CAFile: ca}.Client()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.Get(server.URL); err == nil || !strings.Contains(err.Error(), "protocol version") {
		t.Errorf("TLS 1.1: got %v", err)
	}
	empty := filepath.Join(t.TempDir(), "empty.pem")
	if err := os.WriteFile(empty, []byte("nothing"), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, file := range []string{empty, "/does/not/exist"} {
		if c, err := (Egress{CAFile: file}).Client(); err == nil || c != nil {
			t.Errorf("authorities of %s are taken", file)
		}
	}
}

// connectProxy is an egress proxy that knows one destination.
type connectProxy struct {
	to string

	mu    sync.Mutex
	asked []string
}

func (p *connectProxy) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	p.mu.Lock()
	p.asked = append(p.asked, r.Method+" "+r.Host)
	p.mu.Unlock()
	if r.Method != http.MethodConnect {
		http.Error(w, "only CONNECT", http.StatusMethodNotAllowed)
		return
	}
	there, err := (&net.Dialer{}).DialContext(r.Context(), "tcp", p.to)
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadGateway)
		return
	}
	defer func() { _ = there.Close() }()
	here, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return
	}
	defer func() { _ = here.Close() }()
	_, _ = io.WriteString(here, "HTTP/1.1 200 OK\r\n\r\n")
	var group sync.WaitGroup
	group.Go(func() { _, _ = io.Copy(there, here); _ = there.Close() })
	_, _ = io.Copy(here, there)
	_ = here.Close()
	group.Wait()
}

const childVariable = "GOOGLE_TEST_CHILD"

// The environment of a proxy is read once per process, so that this test starts one of its own.
func TestCallsGoThroughTheProxyOfTheEnvironment(t *testing.T) {
	f := &federation{sts: newFakeSTS(t), world: &world{iam: newFakeIAM(t)}}
	server, ca := overTLS(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/v1/token" {
			f.sts.ServeHTTP(w, r)
			return
		}
		f.iam.ServeHTTP(w, r)
	}), 0)
	metadata := startMetadata(t)
	through := &connectProxy{to: server.Listener.Addr().String()}
	proxy := httptest.NewServer(through)
	defer proxy.Close()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	child := exec.CommandContext(ctx, os.Args[0], "-test.run=^TestChildOfTheProxyTest$", "-test.v")
	child.Env = append(os.Environ(), childVariable+"="+ca, "HTTPS_PROXY="+proxy.URL, "HTTP_PROXY="+proxy.URL, "NO_PROXY=", "no_proxy=",
		childVariable+"_SUBJECT="+f.sts.sign().Reveal())
	if output, err := child.CombinedOutput(); err != nil {
		t.Fatalf("%v:\n%s", err, output)
	}
	through.mu.Lock()
	defer through.mu.Unlock()
	if len(through.asked) != 1 || through.asked[0] != "CONNECT example.com:443" {
		t.Errorf("the proxy was asked %q, want one connection, which both services share", through.asked)
	}
	if metadata.tokens != 1 || len(f.iam.seen()) != 1 || len(f.sts.accepted()) != 1 {
		t.Errorf("%d tokens of the metadata server, %d of IAM, %d of STS, want one each", metadata.tokens, len(f.iam.seen()), len(f.sts.accepted()))
	}
}

func TestChildOfTheProxyTest(t *testing.T) {
	ca := os.Getenv(childVariable)
	if ca == "" {
		return // only the test above has use for this one
	}
	client, err := Egress{CAFile: ca}.Client()
	if err != nil {
		t.Fatal(err)
	}
	base, _, err := Credentials(t.Context(), BaseConfig{Client: client})
	if err != nil {
		t.Fatal(err)
	}
	s, err := New(Config{Base: base, Endpoint: "https://example.com", STSEndpoint: "https://example.com", Client: client})
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	if _, err := s.Token(t.Context(), request(alice)); err != nil {
		t.Error(err)
	}
	if _, err := s.Token(t.Context(), direct(secret.New(os.Getenv(childVariable+"_SUBJECT")))); err != nil {
		t.Error(err)
	}
}

func TestWhatIsOnTheLinkIsAskedPastTheProxy(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = fmt.Fprint(w, "direct") }))
	defer server.Close()
	carrier := &http.Transport{Proxy: func(*http.Request) (*url.URL, error) { return url.Parse("http://127.0.0.1:1") }}
	defer carrier.CloseIdleConnections()
	aware := withoutProxyOnLink(carrier)
	q, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := aware.RoundTrip(q)
	if err != nil {
		t.Fatal(err)
	}
	_ = answer.Body.Close()
	if answer, err := carrier.RoundTrip(q); err == nil {
		_ = answer.Body.Close()
		t.Error("the proxy of this test is not used")
	}
	for host, want := range map[string]bool{
		"169.254.169.254": true, "fe80::1": true, "fd00:ec2::254": true, "127.0.0.1": true,
		"fd00:ec2::253": false, "10.0.0.1": false, "sts.googleapis.com": false, "metadata.google.internal": false,
	} {
		if got := onLink(host); got != want {
			t.Errorf("onLink(%q) = %v, want %v", host, got, want)
		}
	}
}

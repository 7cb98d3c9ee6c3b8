package trace

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
)

// tally counts outcomes.
type tally struct {
	mu sync.Mutex
	n  map[Outcome]int
}

func (c *tally) add(o Outcome, n int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.n == nil {
		c.n = map[Outcome]int{}
	}
	c.n[o] += n
}

func (c *tally) of(o Outcome) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.n[o]
}

func (c *tally) all() (sum int) {
	for _, o := range Outcomes() {
		sum += c.of(o)
	}
	return sum
}

// lines is a log.
type lines struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *lines) text() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

func (l *lines) logger() *slog.Logger { return slog.New(slog.NewTextHandler(l, nil)) }

func TestWhatIsSentAndWhere(t *testing.T) {
	for path, want := range map[string]string{
		"": "/v1/traces", "/": "/v1/traces", "/otlp": "/otlp/v1/traces", "/otlp/": "/otlp/v1/traces", "/api/v1/traces": "/api/v1/traces",
	} {
		p := newPeer(t)
		tracer := newTracer(t, p.URL, func(c *Config) {
			c.Endpoint += path
			c.Headers = map[string]string{"X-Key": "hunter2"}
			c.Version, c.Instance = "1.2.3", "host-1"
		})
		tracer.Decided(anAllow())
		flush(t, tracer)
		if diff := cmp.Diff([]string{"POST " + want}, p.paths); diff != "" {
			t.Fatalf("%q: %s", path, diff)
		}
		if got := p.headers[0].Get("X-Key"); got != "hunter2" {
			t.Errorf("got header %q", got)
		}
		resource := map[string]any{keyServiceName: "vertex-spoa", keyServiceVersion: "1.2.3", keyServiceInstance: "host-1"}
		if diff := cmp.Diff(resource, plain(p.batches[0].Resource.Attributes)); diff != "" {
			t.Error(diff)
		}
	}
}

func TestBatchesHaveABound(t *testing.T) {
	p := newPeer(t)
	counts := &tally{}
	tracer := newTracer(t, p.URL, func(c *Config) { c.Batch, c.Delay, c.Count = 10, time.Hour, counts.add })
	for range 50 {
		tracer.Decided(anAllow())
	}
	flush(t, tracer)
	for _, b := range p.batches {
		if n := len(b.ScopeSpans[0].Spans); n > 10 {
			t.Errorf("got a batch of %d spans, want 10 at most", n)
		}
	}
	if got := len(p.spans()); got != 200 || counts.of(Exported) != 200 {
		t.Errorf("got %d spans and count %d, want 200", got, counts.of(Exported))
	}
}

func TestSpansLeaveWithoutAFullBatch(t *testing.T) {
	p := newPeer(t)
	sent := make(chan struct{}, 100)
	tracer := newTracer(t, p.URL, func(c *Config) { c.Delay, c.Count = time.Millisecond, func(Outcome, int) { sent <- struct{}{} } })
	tracer.Decided(anAllow())
	select {
	case <-sent:
	case <-time.After(10 * time.Second):
		t.Fatal("nothing was sent in 10 s")
	}
}

func TestCloseGivesUpInTime(t *testing.T) {
	p := newPeer(t)
	p.answer = func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }
	counts := &tally{}
	tracer := newTracer(t, p.URL, func(c *Config) { c.Delay, c.Count = time.Hour, counts.add })
	for range 1000 {
		tracer.Decided(anAllow())
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	begin := time.Now()
	if err := tracer.Close(ctx); err == nil || !strings.Contains(err.Error(), "spans not delivered") {
		t.Errorf("got %v, want the number of spans that are lost", err)
	}
	if took := time.Since(begin); took > 5*time.Second {
		t.Errorf("Close took %v", took)
	}
	if got := counts.all(); got != 4000 || counts.of(Exported) != 0 {
		t.Errorf("got %v, want 4000 spans accounted for and none exported", counts.n)
	}
}

func TestManyGoroutinesLoseNothingUnseen(t *testing.T) {
	p := newPeer(t)
	counts := &tally{}
	tracer := newTracer(t, p.URL, func(c *Config) { c.Queue, c.Batch, c.Count = 64, 32, counts.add })
	var group sync.WaitGroup
	for range 8 {
		group.Go(func() {
			for i := range 500 {
				r := anAllow()
				r.ID = fmt.Sprint(i)
				tracer.Decided(r)
				tracer.Closed(aClosing(), sampledBy)
			}
		})
	}
	if err := closeTracer(t, tracer); err != nil { // in the middle of it
		t.Error(err)
	}
	group.Wait()
	if got := counts.all(); got != 8*500*5 || counts.of(Exported) != len(p.spans()) {
		t.Errorf("got %v and %d spans, want %d accounted for", counts.n, len(p.spans()), 8*500*5)
	}
}

// Whatever the collector does, decisions go on, every span is accounted for, the log has few lines, and the end comes in time.
func TestABadCollectorHoldsNothingUp(t *testing.T) {
	release := make(chan struct{})
	defer close(release)
	silent, err := net.Listen("tcp", "127.0.0.1:0") // connects, and reads nothing
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	for _, c := range []struct {
		name     string
		endpoint string
		answer   http.HandlerFunc
	}{
		{"is not there", "http://127.0.0.1:1", nil},
		{"is silent", "http://" + silent.Addr().String(), nil},
		{"hangs", "", func(_ http.ResponseWriter, r *http.Request) {
			select {
			case <-release:
			case <-r.Context().Done():
			}
		}},
		{"refuses", "", func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no", http.StatusForbidden) }},
		{"is overloaded", "", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Retry-After", "1000000")
			http.Error(w, "later", http.StatusServiceUnavailable)
		}},
		{"asks to come back soon, always", "", func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "soon", http.StatusTooManyRequests) }},
		{"answers without end", "", func(w http.ResponseWriter, r *http.Request) {
			chunk := bytes.Repeat([]byte("x"), 1<<16)
			for r.Context().Err() == nil {
				if _, err := w.Write(chunk); err != nil {
					return
				}
			}
		}},
		{"answers nonsense", "", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/x-protobuf")
			_, _ = w.Write([]byte("\xff\xff\xff\xff"))
		}},
		{"takes a part", "", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/x-protobuf")
			_, _ = w.Write([]byte("\x0a\x06\x08\x03\x12\x02no"))
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newPeer(t)
			p.answer = c.answer
			if c.endpoint != "" {
				p.URL = c.endpoint
			}
			log, counts := &lines{}, &tally{}
			tracer := newTracer(t, p.URL, func(cfg *Config) {
				cfg.Queue, cfg.Batch, cfg.Delay, cfg.Timeout, cfg.Log, cfg.Count = 16, 8, time.Millisecond, 200*time.Millisecond, log.logger(), counts.add
			})
			const decisions = 20000
			for range decisions {
				tracer.Decided(anAllow())
			}
			ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
			defer cancel()
			begin := time.Now()
			_ = tracer.Close(ctx) // an error where something was left at the end
			if took := time.Since(begin); took > 5*time.Second {
				t.Errorf("Close took %v", took)
			}
			if got := counts.all(); got != 4*decisions || counts.of(Exported) != 0 {
				t.Errorf("got %d spans accounted for, want %d: %v", got, 4*decisions, counts.n)
			}
			if n := strings.Count(log.text(), "\n"); n > 2 {
				t.Errorf("got %d lines of log:\n%s", n, log.text())
			}
			tracer.Decided(anAllow())
			if got := counts.all(); got != 4*decisions+4 {
				t.Errorf("got %d spans accounted for after the end, want %d", got, 4*decisions+4)
			}
		})
	}
}

func TestSecretsStayOutOfTheLog(t *testing.T) {
	p := newPeer(t)
	p.answer = func(w http.ResponseWriter, r *http.Request) {
		http.Error(w, "bad key "+r.Header.Get("X-Key")+strings.Repeat(" \xff long", 1000), http.StatusUnauthorized)
	}
	log := &lines{}
	tracer := newTracer(t, p.URL, func(c *Config) { c.Headers, c.Log = map[string]string{"X-Key": "hunter2", "X-Empty": ""}, log.logger() })
	tracer.Decided(anAllow())
	if err := closeTracer(t, tracer); err == nil {
		t.Error("got no error")
	}
	got := log.text()
	if strings.Contains(got, "hunter2") || !strings.Contains(got, "401 Unauthorized") || !strings.Contains(got, "[redacted]") || len(got) > 1000 {
		t.Errorf("got %d bytes of log: %s", len(got), got)
	}
	if s := fmt.Sprintf("%v %+v", tracer, tracer); strings.Contains(s, "hunter2") {
		t.Errorf("got %s", s)
	}
}

func TestARedirectIsNotFollowed(t *testing.T) {
	other := newPeer(t)
	p := newPeer(t)
	p.answer = func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, other.URL, http.StatusTemporaryRedirect)
	}
	tracer := newTracer(t, p.URL, func(c *Config) { c.Headers = map[string]string{"X-Key": "hunter2"} })
	tracer.Decided(anAllow())
	if err := closeTracer(t, tracer); err == nil {
		t.Error("got no error")
	}
	if got := other.spans(); len(got) != 0 {
		t.Errorf("got %d spans elsewhere", len(got))
	}
}

func TestACollectorWithTLS(t *testing.T) {
	p := &peer{}
	p.Server = httptest.NewUnstartedServer(p)
	p.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug)
	p.StartTLS()
	defer p.Close()
	pool := x509.NewCertPool()
	pool.AddCert(p.Certificate())
	tracer := newTracer(t, p.URL, func(c *Config) { c.TLS = &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12} })
	tracer.Decided(anAllow())
	flush(t, tracer)
	if len(p.spans()) != 4 {
		t.Errorf("got %d spans, want 4", len(p.spans()))
	}

	stranger := newTracer(t, p.URL, nil)
	stranger.Decided(anAllow())
	if err := closeTracer(t, stranger); err == nil || len(p.spans()) != 4 {
		t.Errorf("got error %v and %d spans: a certificate of an unknown authority was accepted", err, len(p.spans()))
	}
}

func TestTheEnvironmentDecidesNothing(t *testing.T) {
	other, p := newPeer(t), newPeer(t)
	for name, value := range map[string]string{
		"OTEL_EXPORTER_OTLP_ENDPOINT": other.URL, "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": other.URL, "OTEL_EXPORTER_OTLP_HEADERS": "x-env=1",
		"OTEL_EXPORTER_OTLP_TRACES_HEADERS": "x-env=1", "OTEL_EXPORTER_OTLP_COMPRESSION": "gzip", "OTEL_EXPORTER_OTLP_PROTOCOL": "http/json",
		"OTEL_EXPORTER_OTLP_TIMEOUT": "1", "OTEL_RESOURCE_ATTRIBUTES": "x.env=1", "OTEL_SERVICE_NAME": "env", "OTEL_TRACES_SAMPLER": "always_off",
		"OTEL_SDK_DISABLED": "true", "OTEL_SPAN_ATTRIBUTE_COUNT_LIMIT": "1",
	} {
		t.Setenv(name, value)
	}
	tracer := newTracer(t, p.URL, nil)
	tracer.Decided(anAllow())
	flush(t, tracer)
	if got := p.spans(); len(got) != 4 || len(got[0].Attributes) < 10 || len(other.spans()) != 0 {
		t.Errorf("got %+v", got)
	}
	if h := p.headers[0]; h.Get("X-Env") != "" || h.Get("Content-Encoding") != "" || h.Get("Content-Type") != "application/x-protobuf" {
		t.Errorf("got %v", h)
	}
}

// The proxy's variables are read once in a process, so that this takes one of its own.
func TestAProxyOfTheEnvironmentIsHeeded(t *testing.T) {
	const child = "TRACE_TEST_BEHIND_A_PROXY"
	if os.Getenv(child) != "" {
		tracer, err := New(t.Context(), Config{Endpoint: "http://collector.example.com:4318", Sample: 1, Log: slog.New(slog.DiscardHandler)})
		if err != nil {
			t.Fatal(err)
		}
		tracer.Decided(anAllow())
		flush(t, tracer)
		return
	}
	var asked []string
	proxy := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { asked = append(asked, r.URL.String()) }))
	defer proxy.Close()
	cmd := exec.CommandContext(t.Context(), os.Args[0], "-test.run=^"+t.Name()+"$")
	cmd.Env = append(os.Environ(), child+"=1", "HTTP_PROXY="+proxy.URL, "http_proxy="+proxy.URL, "NO_PROXY=", "no_proxy=")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if diff := cmp.Diff([]string{"http://collector.example.com:4318/v1/traces"}, asked); diff != "" {
		t.Error(diff)
	}
}

func TestTheLogIsNotFlooded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		log := &lines{}
		s := &sender{log: log.logger(), endpoint: "collector:4318", secrets: strings.NewReplacer()}
		count := func(what string) int { return strings.Count(log.text(), what) }
		for range 3 * 3600 {
			s.reportFailure(4, errors.New("refused"))
			<-time.After(time.Second)
		}
		if got := count("not delivered"); got != 1 {
			t.Errorf("got %d warnings of one failure of three hours, want 1", got)
		}
		s.reportSuccess()
		s.reportSuccess()
		if got := count("delivered again"); got != 1 || !strings.Contains(log.text(), fmt.Sprintf("lost_spans=%d", 4*(3*3600-1))) {
			t.Errorf("got %d lines of the end, want 1:\n%s", got, log.text())
		}
		for range 600 {
			s.reportFailure(4, errors.New("refused"))
			s.reportSuccess()
			<-time.After(time.Second)
		}
		if got := count("\n"); got > 2+2*11 {
			t.Errorf("got %d lines of ten minutes of coming and going", got-2)
		}
	})
}

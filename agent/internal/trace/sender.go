package trace

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"net/url"
	"strings"
	"time"

	"go.opentelemetry.io/otel/exporters/otlp/otlptrace"
	"go.opentelemetry.io/otel/exporters/otlp/otlptrace/otlptracehttp"
	common "go.opentelemetry.io/proto/otlp/common/v1"
	resource "go.opentelemetry.io/proto/otlp/resource/v1"
	proto "go.opentelemetry.io/proto/otlp/trace/v1"
)

const (
	tracesPath  = "/v1/traces" // OTLP specification, OTLP/HTTP request
	maxRequest  = 8 << 20      // bytes; a batch of the largest spans is less
	maxResponse = 64 << 10     // bytes
	quiet       = time.Minute  // between two warnings
)

// sender sends batches, one at a time. It is one goroutine's own.
type sender struct {
	client    otlptrace.Client
	transport *http.Transport
	resource  *resource.Resource
	scope     *common.InstrumentationScope
	endpoint  string
	secrets   *strings.Replacer // blanks the values of headers
	log       *slog.Logger
	count     func(Outcome, int)
	timeout   time.Duration
	delay     time.Duration
	batch     int

	pending []*span

	failing bool      // a warning was logged, and nothing was delivered since
	warned  time.Time // when
	failed  int       // spans, since the last line of the log
}

func newSender(ctx context.Context, cfg *Config) (*sender, error) {
	u, err := endpointURL(cfg.Endpoint)
	if err != nil {
		return nil, err
	}
	s := &sender{
		endpoint: u.Host, log: cfg.Log, count: cfg.Count, timeout: cfg.Timeout, delay: cfg.Delay, batch: cfg.Batch,
		scope: &common.InstrumentationScope{Name: "vertex-spoa", Version: validText(cfg.Version)},
		transport: &http.Transport{
			Proxy:                 http.ProxyFromEnvironment,
			DialContext:           (&net.Dialer{Timeout: 5 * time.Second}).DialContext,
			TLSClientConfig:       cfg.TLS.Clone(), // of nil it is nil
			TLSHandshakeTimeout:   5 * time.Second,
			ResponseHeaderTimeout: cfg.Timeout,
			IdleConnTimeout:       90 * time.Second,
			MaxConnsPerHost:       2,
			ForceAttemptHTTP2:     true,
		},
	}
	var of attributes
	of.text(keyServiceName, cfg.Service)
	of.text(keyServiceVersion, cfg.Version)
	of.text(keyServiceInstance, cfg.Instance)
	s.resource = &resource.Resource{Attributes: of}
	var blank []string
	for _, value := range cfg.Headers {
		if value != "" {
			blank = append(blank, value, "[redacted]")
		}
	}
	s.secrets = strings.NewReplacer(blank...)
	s.client = otlptracehttp.NewClient(s.options(u, cfg)...)
	if err := s.client.Start(ctx); err != nil {
		return nil, fmt.Errorf("trace: start the exporter: %w", err)
	}
	return s, nil
}

// options are all there are, so that the environment decides nothing.
func (s *sender) options(u *url.URL, cfg *Config) []otlptracehttp.Option {
	return []otlptracehttp.Option{
		otlptracehttp.WithEndpointURL(u.String()),
		otlptracehttp.WithHeaders(maps.Clone(cfg.Headers)),
		otlptracehttp.WithCompression(otlptracehttp.NoCompression),
		otlptracehttp.WithEncoding(otlptracehttp.EncodingProtobuf),
		otlptracehttp.WithTLSClientConfig(nil), // the client's transport has it
		otlptracehttp.WithTimeout(cfg.Timeout),
		otlptracehttp.WithMaxRequestSize(maxRequest),
		otlptracehttp.WithMaxResponseSize(maxResponse),
		otlptracehttp.WithRetry(otlptracehttp.RetryConfig{
			Enabled: true, InitialInterval: 500 * time.Millisecond, MaxInterval: 4 * time.Second, MaxElapsedTime: cfg.Timeout,
		}),
		otlptracehttp.WithHTTPClient(&http.Client{
			Transport: s.transport,
			Timeout:   cfg.Timeout,
			// A redirect would take the headers to somebody else.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		}),
	}
}

// endpointURL returns the URL that batches are sent to. A credential in it would end up in errors.
func endpointURL(endpoint string) (*url.URL, error) {
	u, err := url.Parse(endpoint)
	switch {
	case err != nil:
		return nil, errors.New("trace: endpoint is not a URL") // the error quotes it, password included
	case u.Scheme != "http" && u.Scheme != "https", u.Hostname() == "", u.Opaque != "":
		return nil, fmt.Errorf("trace: endpoint %q is not http://HOST:PORT or https://HOST:PORT", u.Redacted())
	case u.User != nil:
		return nil, errors.New("trace: endpoint has a user in it: send a header")
	case u.RawQuery != "", u.Fragment != "":
		return nil, errors.New("trace: endpoint has a query or a fragment")
	}
	if !strings.HasSuffix(u.Path, tracesPath) {
		u = u.JoinPath(tracesPath)
	}
	return u, nil
}

// run makes spans of what comes and sends them until stop, and then what is left. After ctx nothing is sent any more.
func (t *Tracer) run(ctx context.Context, s *sender) {
	defer close(t.done)
	defer s.transport.CloseIdleConnections()
	tick := time.NewTicker(s.delay)
	defer tick.Stop()
	for {
		select {
		case <-t.queue.wake:
			s.addAll(ctx, t.queue.take())
		case <-tick.C:
			s.addAll(ctx, t.queue.take())
			s.send(ctx)
			s.reportDropped(&t.dropped)
		case <-t.stop:
			t.lost = s.addAll(ctx, t.queue.take())
			t.lost += s.send(ctx)
			return
		}
	}
}

// addAll makes the spans of jobs and sends those batches that are full. It returns how many spans were lost.
func (s *sender) addAll(ctx context.Context, jobs []job) (lost int) {
	for _, j := range jobs {
		lost += s.add(ctx, j)
	}
	return lost
}

// add makes the spans of j, and sends if that fills the batch. It returns how many spans were lost.
func (s *sender) add(ctx context.Context, j job) (lost int) {
	if len(s.pending)+j.size() > s.batch {
		lost = s.send(ctx)
	}
	s.pending = j.appendSpans(s.pending)
	return lost
}

// send sends the batch. It returns how many spans were lost.
func (s *sender) send(ctx context.Context) (lost int) {
	n := len(s.pending)
	if n == 0 {
		return 0
	}
	err := s.upload(ctx)
	clear(s.pending)
	s.pending = s.pending[:0]
	if err != nil {
		s.count(Failed, n)
		s.reportFailure(n, err)
		return n
	}
	s.count(Exported, n)
	s.reportSuccess()
	return 0
}

func (s *sender) upload(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, s.timeout)
	defer cancel()
	if err := ctx.Err(); err != nil {
		return err
	}
	return s.client.UploadTraces(ctx, []*proto.ResourceSpans{{
		Resource: s.resource, SchemaUrl: schemaURL,
		ScopeSpans: []*proto.ScopeSpans{{Scope: s.scope, Spans: s.pending, SchemaUrl: schemaURL}},
	}})
}

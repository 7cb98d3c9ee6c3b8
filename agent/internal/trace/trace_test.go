package trace

import (
	"context"
	"encoding/hex"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"
	"unsafe"

	"github.com/google/go-cmp/cmp"
	collector "go.opentelemetry.io/proto/otlp/collector/trace/v1"
	common "go.opentelemetry.io/proto/otlp/common/v1"
	proto "go.opentelemetry.io/proto/otlp/trace/v1"
	protobuf "google.golang.org/protobuf/proto"

	"vertex-spoa/agent/internal/audit"
)

const (
	callID       = "0d9a3c55-6b0e-4e7e-9a3f-3f0a6a3f8e11"
	callRoot     = "9ac24ed9e76949d9dcd618561ef7c23c" // printf %s CALL-ID | sha256sum | cut -c1-32
	callersTrace = "0af7651916cd43dd8448eb211c80319c"
	callersSpan  = "b7ad6b7169203331"
	sampledBy    = "00-" + callersTrace + "-" + callersSpan + "-01"
	unsampledBy  = "00-" + callersTrace + "-" + callersSpan + "-00"
)

var decidedAt = time.Date(2026, 5, 4, 10, 0, 0, 123456000, time.UTC)

// peer is a collector of this test's own: it decodes what comes, and answers as it is told.
type peer struct {
	*httptest.Server
	answer http.HandlerFunc // nil for 200

	mu      sync.Mutex
	batches []*proto.ResourceSpans
	headers []http.Header
	paths   []string
}

func newPeer(t *testing.T) *peer {
	t.Helper()
	p := &peer{}
	p.Server = httptest.NewServer(p)
	t.Cleanup(p.Close)
	return p
}

func (p *peer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return
	}
	if p.answer != nil {
		p.answer(w, r)
		return
	}
	var in collector.ExportTraceServiceRequest
	if err := protobuf.Unmarshal(body, &in); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.batches = append(p.batches, in.ResourceSpans...)
	p.headers = append(p.headers, r.Header.Clone())
	p.paths = append(p.paths, r.Method+" "+r.URL.Path)
}

// view is a span as the tests compare it.
type view struct {
	Name, Kind, Trace, Parent string

	Remote     bool
	Micros     int64
	Error      bool
	Attributes map[string]any

	id    string
	start int64
}

func (p *peer) spans() []view {
	p.mu.Lock()
	defer p.mu.Unlock()
	var all []view
	for _, b := range p.batches {
		for _, s := range b.ScopeSpans {
			for _, span := range s.Spans {
				all = append(all, viewOf(span))
			}
		}
	}
	return all
}

func viewOf(s *proto.Span) view {
	return view{
		Name: s.Name, Kind: strings.TrimPrefix(s.Kind.String(), "SPAN_KIND_"), Trace: hex.EncodeToString(s.TraceId),
		Parent: hex.EncodeToString(s.ParentSpanId), Remote: s.Flags&0x200 != 0, Micros: int64(s.EndTimeUnixNano-s.StartTimeUnixNano) / 1000,
		Error: s.Status.GetCode() == proto.Status_STATUS_CODE_ERROR, Attributes: plain(s.Attributes),
		id: hex.EncodeToString(s.SpanId), start: int64(s.StartTimeUnixNano),
	}
}

func plain(all []*common.KeyValue) map[string]any {
	m := map[string]any{}
	for _, kv := range all {
		m[kv.Key] = plainValue(kv.Value)
	}
	return m
}

func plainValue(v *common.AnyValue) any {
	switch v := v.Value.(type) {
	case *common.AnyValue_StringValue:
		return v.StringValue
	case *common.AnyValue_IntValue:
		return v.IntValue
	case *common.AnyValue_BoolValue:
		return v.BoolValue
	case *common.AnyValue_ArrayValue:
		var list []string
		for _, e := range v.ArrayValue.Values {
			list = append(list, e.GetStringValue())
		}
		return list
	}
	return fmt.Sprintf("%T", v)
}

func newTracer(t *testing.T, endpoint string, change func(*Config)) *Tracer {
	t.Helper()
	cfg := Config{Endpoint: endpoint, Sample: 1, Log: slog.New(slog.DiscardHandler)}
	if change != nil {
		change(&cfg)
	}
	tracer, err := New(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { closeTracer(t, tracer) })
	return tracer
}

func closeTracer(t *testing.T, tracer *Tracer) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	return tracer.Close(ctx)
}

func flush(t *testing.T, tracer *Tracer) {
	t.Helper()
	if err := closeTracer(t, tracer); err != nil {
		t.Fatal(err)
	}
}

func anAllow() *audit.Record {
	return &audit.Record{
		Time: decidedAt, ID: callID, Attempt: 1, Decision: "allow", Status: 200,
		Issuer: "corp", Subject: "alice@example.com", TokenID: "jti-1", Source: "192.0.2.7", Certificate: "thumbprint-1",
		Claims: []byte(`{"email":"alice@example.com"}`), HTTPMethod: "POST", URI: "/v1/projects/p1/x", Detail: "some detail",
		Project: "p1", Location: "europe-west4", Publisher: "google", Model: "gemini-2.5-flash", Method: "streamGenerateContent", Stream: true,
		Role: "search", Rule: "search-flash", Account: "search@p1.iam.gserviceaccount.com", Policy: "sha256:abc", Body: []byte(`{"contents":1}`),
		Shadow: []string{"next:deny"}, Flags: []string{"new_model"}, TokenFingerprint: "0011223344556677", UserAgent: "agent/1",
		TraceParent: sampledBy, VerifyMicros: 120, PolicyMicros: 15, MintMicros: 3000,
	}
}

func TestAnAllowIsAChildOfItsCallersSpan(t *testing.T) {
	p := newPeer(t)
	tracer := newTracer(t, p.URL, func(c *Config) { c.Sample = 0 })
	tracer.Decided(anAllow())
	flush(t, tracer)

	got := p.spans()
	if len(got) != 4 {
		t.Fatalf("got %d spans, want 4: %+v", len(got), got)
	}
	self := got[0].id
	if got[0].Micros < 3135 {
		t.Errorf("the decision takes %d µs, want at least those of its stages", got[0].Micros)
	}
	got[0].Micros = 3135
	want := []view{
		{Name: "vertex-spoa decide", Kind: "SERVER", Trace: callersTrace, Parent: callersSpan, Remote: true, Micros: 3135, Attributes: map[string]any{
			"gen_ai.operation.name": "generate_content", "gen_ai.provider.name": "gcp.vertex_ai", "gen_ai.request.model": "gemini-2.5-flash",
			"gen_ai.request.stream": true, "cloud.region": "europe-west4", "http.request.method": "POST",
			"vertex_spoa.id": callID, "vertex_spoa.attempt": int64(1), "vertex_spoa.decision": "allow", "vertex_spoa.role": "search",
			"vertex_spoa.rule": "search-flash", "vertex_spoa.account": "search@p1.iam.gserviceaccount.com", "vertex_spoa.policy": "sha256:abc",
			"vertex_spoa.project": "p1", "vertex_spoa.publisher": "google", "vertex_spoa.method": "streamGenerateContent",
			"vertex_spoa.shadow": []string{"next:deny"}, "vertex_spoa.flags": []string{"new_model"},
		}},
		{Name: "verify", Kind: "INTERNAL", Trace: callersTrace, Parent: self, Micros: 120, Attributes: map[string]any{}},
		{Name: "policy", Kind: "INTERNAL", Trace: callersTrace, Parent: self, Micros: 15, Attributes: map[string]any{}},
		{Name: "mint", Kind: "INTERNAL", Trace: callersTrace, Parent: self, Micros: 3000, Attributes: map[string]any{}},
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(), ignoreIDs); diff != "" {
		t.Error(diff)
	}
	at := decidedAt.UnixNano()
	for i, span := range got {
		if want := []int64{at, at, at + 120e3, at + 135e3}[i]; span.start != want {
			t.Errorf("%s starts at %d, want %d", span.Name, span.start, want)
		}
	}
}

var ignoreIDs = cmp.FilterPath(func(p cmp.Path) bool {
	f, ok := p.Last().(cmp.StructField)
	return ok && (f.Name() == "id" || f.Name() == "start")
}, cmp.Ignore())

func TestADenialIsNoErrorAndAFailureIs(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*audit.Record)
		error  bool
		want   map[string]any
	}{
		{"a denial by the policy", func(r *audit.Record) { r.Status, r.Reason = 403, "NO_RULE" }, false,
			map[string]any{"http.response.status_code": int64(403), "vertex_spoa.reason": "NO_RULE"}},
		{"a token that is not accepted", func(r *audit.Record) { r.Status, r.Reason, r.Subject = 401, "BAD_SIGNATURE", "" }, false,
			map[string]any{"http.response.status_code": int64(401), "vertex_spoa.reason": "BAD_SIGNATURE"}},
		{"a failure of the agent", func(r *audit.Record) { r.Status, r.Reason = 503, "MINT_UNAVAILABLE" }, true,
			map[string]any{"http.response.status_code": int64(503), "vertex_spoa.reason": "MINT_UNAVAILABLE", "error.type": "MINT_UNAVAILABLE"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newPeer(t)
			tracer := newTracer(t, p.URL, func(c *Config) { c.Calls = true })
			r := &audit.Record{Time: decidedAt, ID: callID, Attempt: 1, Decision: "deny", Subject: "bob", TraceParent: sampledBy}
			c.change(r)
			tracer.Decided(r)
			flush(t, tracer)
			got := p.spans()
			if len(got) != 1 {
				t.Fatalf("got %+v, want one span", got)
			}
			want := map[string]any{"vertex_spoa.id": callID, "vertex_spoa.attempt": int64(1), "vertex_spoa.decision": "deny"}
			for k, v := range c.want {
				want[k] = v
			}
			if diff := cmp.Diff(want, got[0].Attributes); diff != "" {
				t.Error(diff)
			}
			if got[0].Error != c.error || got[0].Parent != callersSpan {
				t.Errorf("got error %v and parent %q, want %v and the caller's", got[0].Error, got[0].Parent, c.error)
			}
		})
	}
}

func aClosing() *audit.Closing {
	return &audit.Closing{
		Time: decidedAt.Add(900 * time.Millisecond), ID: callID, Attempt: 1, DecisionTime: decidedAt, Issuer: "corp", Subject: "alice@example.com",
		Role: "search", Rule: "search-flash", Account: "search@p1.iam.gserviceaccount.com", Project: "p1", Location: "europe-west4",
		Publisher: "google", Model: "gemini-2.5-flash", Method: "generateContent", Policy: "sha256:abc", TokenFingerprint: "0011223344556677",
		Status: 200, Termination: "--", Backend: "vertex-ew4", Server: "ew4", BytesIn: 900, BytesOut: 5000,
		QueueMS: 0, ConnectMS: 12, HeadersMS: 400, ActiveMS: 905,
		Usage: &audit.Usage{Input: 100, Output: 50, Thoughts: 25, Cached: 40, Total: 175},
	}
}

func TestACallIsTheParentOfItsDecisions(t *testing.T) {
	p := newPeer(t)
	tracer := newTracer(t, p.URL, func(c *Config) { c.Calls = true })
	first, second := anAllow(), anAllow()
	second.Attempt = 2
	tracer.Decided(first)
	tracer.Decided(second)
	tracer.Closed(aClosing(), sampledBy)
	flush(t, tracer)

	byName := map[string][]view{}
	ids := map[string]bool{}
	for _, s := range p.spans() {
		byName[s.Name] = append(byName[s.Name], s)
		ids[s.id] = true
	}
	if len(ids) != 9 {
		t.Errorf("got %d different span ids, want 9", len(ids))
	}
	calls := byName["generate_content gemini-2.5-flash"]
	if len(calls) != 1 || len(byName["vertex-spoa decide"]) != 2 {
		t.Fatalf("got %+v", byName)
	}
	want := view{Name: "generate_content gemini-2.5-flash", Kind: "CLIENT", Trace: callersTrace, Parent: callersSpan, Remote: true, Micros: 900000,
		Attributes: map[string]any{
			"gen_ai.operation.name": "generate_content", "gen_ai.provider.name": "gcp.vertex_ai", "gen_ai.request.model": "gemini-2.5-flash",
			"gen_ai.usage.input_tokens": int64(100), "gen_ai.usage.output_tokens": int64(75), "gen_ai.usage.reasoning.output_tokens": int64(25),
			"gen_ai.usage.cache_read.input_tokens": int64(40), "cloud.region": "europe-west4", "http.response.status_code": int64(200),
			"vertex_spoa.id": callID, "vertex_spoa.attempt": int64(1), "vertex_spoa.role": "search", "vertex_spoa.rule": "search-flash",
			"vertex_spoa.account": "search@p1.iam.gserviceaccount.com", "vertex_spoa.policy": "sha256:abc", "vertex_spoa.project": "p1",
			"vertex_spoa.publisher": "google", "vertex_spoa.method": "generateContent", "vertex_spoa.term": "--", "vertex_spoa.server": "ew4",
			"vertex_spoa.bytes_in": int64(900), "vertex_spoa.bytes_out": int64(5000), "vertex_spoa.t_queue": int64(0),
			"vertex_spoa.t_connect": int64(12), "vertex_spoa.t_response": int64(400), "vertex_spoa.t_active": int64(905),
		}}
	if diff := cmp.Diff(want, calls[0], ignoreIDs); diff != "" {
		t.Error(diff)
	}
	for _, d := range byName["vertex-spoa decide"] {
		if d.Parent != calls[0].id || d.Remote || d.Trace != callersTrace {
			t.Errorf("got a decision below %q, want below the call %q", d.Parent, calls[0].id)
		}
	}
}

func TestHowACallEndedIsSaid(t *testing.T) {
	for _, c := range []struct {
		name   string
		change func(*audit.Closing)
		error  string
		absent []string
	}{
		{"well", func(*audit.Closing) {}, "", nil},
		{"with a status of Google's", func(c *audit.Closing) { c.Status = 429 }, "429", nil},
		{"by the server in the middle", func(c *audit.Closing) { c.Termination = "SD" }, "haproxy_SD", nil},
		{"by a timeout before an answer", func(c *audit.Closing) { c.Status, c.Termination = -1, "sH" }, "haproxy_sH", []string{keyHTTPStatus}},
		{"by the caller", func(c *audit.Closing) { c.Termination = "CD" }, "", nil},
		{"unknown", func(c *audit.Closing) { c.Missing = true }, "", []string{keyHTTPStatus, keyInputTokens, "vertex_spoa.term", "vertex_spoa.bytes_out"}},
		{"without usage", func(c *audit.Closing) { c.Usage = nil }, "", []string{keyInputTokens, keyOutputTokens, keyReasoningTokens, keyCachedTokens}},
		{"with a part of the usage", func(c *audit.Closing) {
			c.Usage = &audit.Usage{Input: 0, Output: -1, Thoughts: 7, Cached: -1, Total: -1}
		}, "",
			[]string{keyOutputTokens, keyCachedTokens}},
		{"before it did not come that far", func(c *audit.Closing) { c.ConnectMS, c.HeadersMS = -1, -1 }, "", []string{"vertex_spoa.t_connect", "vertex_spoa.t_response"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newPeer(t)
			tracer := newTracer(t, p.URL, nil)
			closing := aClosing()
			c.change(closing)
			tracer.Closed(closing, "")
			flush(t, tracer)
			got := p.spans()
			if len(got) != 1 {
				t.Fatalf("got %+v", got)
			}
			failed, _ := got[0].Attributes[keyErrorType].(string)
			if failed != c.error || got[0].Error != (c.error != "") {
				t.Errorf("got error.type %q and error %v, want %q", failed, got[0].Error, c.error)
			}
			for _, key := range c.absent {
				if v, ok := got[0].Attributes[key]; ok {
					t.Errorf("got %s %v, which nobody knows", key, v)
				}
			}
			if missing := got[0].Attributes["vertex_spoa.closing_missing"]; (missing == true) != closing.Missing {
				t.Errorf("got closing_missing %v, want %v", missing, closing.Missing)
			}
		})
	}
}

func TestACallWithoutParentIsATraceOfItsOwn(t *testing.T) {
	for _, header := range []string{"", "nonsense", "00-" + strings.ToUpper(callersTrace) + "-" + callersSpan + "-01"} {
		p := newPeer(t)
		tracer := newTracer(t, p.URL, func(c *Config) { c.Calls = true })
		r := anAllow()
		r.TraceParent = header
		tracer.Decided(r)
		tracer.Closed(aClosing(), header)
		flush(t, tracer)
		for _, s := range p.spans() {
			if s.Trace != callRoot {
				t.Errorf("%q: %s is in trace %s, want %s", header, s.Name, s.Trace, callRoot)
			}
			if (s.Parent == "") != (s.Kind == "CLIENT") || s.Remote {
				t.Errorf("%q: %s has parent %q, remote %v", header, s.Name, s.Parent, s.Remote)
			}
		}
	}
}

func TestAClosingWithoutADecisionIsLeftAlone(t *testing.T) {
	p := newPeer(t)
	tracer := newTracer(t, p.URL, nil)
	tracer.Closed(&audit.Closing{Time: decidedAt, ID: callID, Unjoined: true, Status: 200}, "")
	flush(t, tracer)
	if got := p.spans(); len(got) != 0 {
		t.Errorf("got %+v, want nothing", got)
	}
}

func TestTheSubjectIsWrittenOnlyWhereItIsAskedFor(t *testing.T) {
	for _, c := range []struct {
		name    string
		subject func(string) string
		want    map[string]any
	}{
		{"not asked for", nil, map[string]any{keyUser: nil, keyPseudonym: nil}},
		{"plain", func(s string) string { return s }, map[string]any{keyUser: "alice@example.com", keyPseudonym: nil}},
		{"masked", func(string) string { return "hmac:1234" }, map[string]any{keyUser: nil, keyPseudonym: "hmac:1234"}},
		{"dropped", func(string) string { return "" }, map[string]any{keyUser: nil, keyPseudonym: nil}},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newPeer(t)
			tracer := newTracer(t, p.URL, func(cfg *Config) { cfg.Subject = c.subject })
			tracer.Decided(anAllow())
			flush(t, tracer)
			got := p.spans()[0].Attributes
			for key, want := range c.want {
				if got[key] != want {
					t.Errorf("got %s %v, want %v", key, got[key], want)
				}
			}
		})
	}
}

// The names of the record's fields that no span may hold, with what they hold.
func TestNothingElseOfARecordIsSent(t *testing.T) {
	p := newPeer(t)
	tracer := newTracer(t, p.URL, func(c *Config) { c.Calls = true })
	r := anAllow()
	r.Decision, r.Status, r.Reason = "deny", 503, "INTERNAL"
	for _, secret := range []struct {
		field *string
		name  string
	}{
		{&r.Detail, "detail"}, {&r.Subject, "subject"}, {&r.TokenID, "jti"}, {&r.Source, "source"}, {&r.Certificate, "certificate"},
		{&r.RoleAsked, "asked"}, {&r.BreakGlass, "glass"}, {&r.Tier, "tier"}, {&r.SharedTier, "shared"}, {&r.URI, "uri"},
		{&r.URIAsked, "asked"}, {&r.TokenFingerprint, "fingerprint"}, {&r.UserAgent, "user agent"}, {&r.HTTPMethod, "method"}, {&r.Issuer, "issuer"},
	} {
		*secret.field = "SECRET-" + secret.name
	}
	r.Claims, r.Body = []byte(`"SECRET-claims"`), []byte(`"SECRET-body"`)
	tracer.Decided(r)
	tracer.Closed(&audit.Closing{ID: callID, Time: decidedAt, DecisionTime: decidedAt, Issuer: "SECRET-issuer", Subject: "SECRET-subject",
		TokenFingerprint: "SECRET-fingerprint", Backend: "SECRET-backend"}, sampledBy)
	flush(t, tracer)
	if got := fmt.Sprint(p.batches); strings.Contains(got, "SECRET") || len(p.batches) == 0 {
		t.Errorf("got %s", got)
	}
}

func TestTextsOutliveTheMemoryOfTheRequest(t *testing.T) {
	p := newPeer(t)
	tracer := newTracer(t, p.URL, func(c *Config) { c.Subject = func(s string) string { return s } })
	var memory [][]byte
	borrowed := func(s string) string {
		b := []byte(s)
		memory = append(memory, b)
		return unsafe.String(&b[0], len(b))
	}
	r := anAllow()
	for _, f := range []*string{&r.ID, &r.Subject, &r.Project, &r.Location, &r.Publisher, &r.Model, &r.Method, &r.HTTPMethod, &r.Role, &r.Rule,
		&r.Account, &r.Policy, &r.TraceParent, &r.Decision, &r.Shadow[0], &r.Flags[0]} {
		*f = borrowed(*f)
	}
	r.Endpoint, r.Overridden = borrowed("endpoint-1"), []string{borrowed("overridden-1")}
	c := aClosing()
	for _, f := range []*string{&c.ID, &c.Project, &c.Location, &c.Publisher, &c.Model, &c.Method, &c.Role, &c.Rule, &c.Account, &c.Policy,
		&c.Termination, &c.Server} {
		*f = borrowed(*f)
	}
	tracer.Decided(r)
	tracer.Closed(c, borrowed(sampledBy))
	for _, b := range memory {
		for i := range b {
			b[i] = '#'
		}
	}
	flush(t, tracer)
	if got := fmt.Sprint(p.spans()); strings.Contains(got, "#") || !strings.Contains(got, "overridden-1") {
		t.Errorf("got %s", got)
	}
}

func TestNoTextOfACallerCostsABatch(t *testing.T) {
	p := newPeer(t)
	tracer := newTracer(t, p.URL, func(c *Config) { c.Subject = func(s string) string { return s } })
	hostile := strings.Repeat("\xff\x00é\u2028", 1<<16)
	r := &audit.Record{
		ID: hostile, Attempt: -1 << 63, Decision: hostile, Status: -1, Reason: hostile, Subject: hostile, HTTPMethod: hostile, Project: hostile,
		Location: hostile, Publisher: hostile, Model: hostile, Endpoint: hostile, Method: hostile, Role: hostile, Rule: hostile, Account: hostile,
		Policy: hostile, VerifyMicros: 1<<63 - 1, PolicyMicros: -1, MintMicros: 1 << 62,
	}
	for range 1000 {
		r.Shadow, r.Overridden, r.Flags = append(r.Shadow, hostile), append(r.Overridden, hostile), append(r.Flags, hostile)
	}
	tracer.Decided(r)
	r.Time = decidedAt
	tracer.Decided(r)
	tracer.Closed(&audit.Closing{ID: hostile, Model: hostile, Method: "generateContent", Termination: hostile, Server: hostile, Status: -1 << 31,
		Usage: &audit.Usage{Input: -1 << 63, Output: 1<<63 - 1, Thoughts: 1<<63 - 1}, Flags: r.Flags}, "")
	tracer.Decided(anAllow())
	flush(t, tracer)
	got := p.spans()
	if len(got) != 3+3+1+4 {
		t.Fatalf("got %d spans, want 11", len(got))
	}
	for _, b := range p.batches {
		if size := protobuf.Size(b); size > 100<<10 {
			t.Errorf("got a batch of %d bytes", size)
		}
	}
}

func TestAFloodOfStrangersIsNotTraced(t *testing.T) {
	p := newPeer(t)
	tracer := newTracer(t, p.URL, func(c *Config) { c.Sample = 0 })
	r := &audit.Record{Time: decidedAt, Attempt: 1, Decision: "deny", Status: 401, Reason: "BAD_SIGNATURE", TraceParent: sampledBy}
	for i := range 1000 {
		r.ID = fmt.Sprint(i)
		tracer.Decided(r)
	}
	flush(t, tracer)
	if got := len(p.spans()); got < 10 || got > 100 { // a slow machine may need seconds
		t.Errorf("got %d spans of 1000 callers who were not verified, want about 10", got)
	}
}

func TestASpanDoesNotEndBeforeItsStages(t *testing.T) {
	p := newPeer(t)
	tracer := newTracer(t, p.URL, nil)
	r := anAllow()
	r.Time = time.Now().Add(time.Hour) // the clock was set back
	tracer.Decided(r)
	flush(t, tracer)
	if got := p.spans()[0].Micros; got != 3135 {
		t.Errorf("got a decision of %d µs, want the 3135 of its stages", got)
	}
}

func TestANilTracerTracesNothing(t *testing.T) {
	var tracer *Tracer
	tracer.Decided(anAllow())
	tracer.Closed(aClosing(), sampledBy)
	if err := tracer.Close(t.Context()); err != nil {
		t.Error(err)
	}
}

func TestNewRefuses(t *testing.T) {
	log := slog.New(slog.DiscardHandler)
	nan := 0.0
	nan /= nan
	for _, c := range []struct {
		name string
		cfg  Config
		want string
	}{
		{"no logger", Config{Endpoint: "http://127.0.0.1:1"}, "no logger"},
		{"no endpoint", Config{Log: log}, "not http://HOST:PORT"},
		{"another scheme", Config{Log: log, Endpoint: "ftp://127.0.0.1"}, "not http://HOST:PORT"},
		{"no host", Config{Log: log, Endpoint: "http://:4318"}, "not http://HOST:PORT"},
		{"what is no URL", Config{Log: log, Endpoint: "http://user:hunter2@[::1"}, "not a URL"},
		{"a user", Config{Log: log, Endpoint: "https://user:hunter2@collector"}, "send a header"},
		{"a query", Config{Log: log, Endpoint: "https://collector?key=hunter2"}, "query"},
		{"a share above 1", Config{Log: log, Endpoint: "http://127.0.0.1:1", Sample: 1.01}, "from 0 to 1"},
		{"a share that is no number", Config{Log: log, Endpoint: "http://127.0.0.1:1", Sample: nan}, "from 0 to 1"},
		{"a negative bound", Config{Log: log, Endpoint: "http://127.0.0.1:1", Queue: -1}, "negative"},
	} {
		t.Run(c.name, func(t *testing.T) {
			tracer, err := New(t.Context(), c.cfg)
			if err == nil || tracer != nil || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "hunter2") {
				t.Errorf("got %v, want an error with %q", err, c.want)
			}
		})
	}
}

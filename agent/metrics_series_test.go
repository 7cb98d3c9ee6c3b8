package agent

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"vertex-spoa/agent/internal/audit"
	"vertex-spoa/policy"
	"vertex-spoa/spoe"
)

// scrape returns what the metrics tell, by name and labels as they are written.
func scrape(t testing.TB, m *Metrics) map[string]float64 {
	t.Helper()
	rec := httptest.NewRecorder()
	promhttp.HandlerFor(m.Registry, promhttp.HandlerOpts{}).ServeHTTP(rec, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	got := map[string]float64{}
	for lines := bufio.NewScanner(rec.Body); lines.Scan(); {
		line := lines.Text()
		at := strings.LastIndexByte(line, ' ')
		if strings.HasPrefix(line, "#") || at < 0 {
			continue
		}
		value, err := strconv.ParseFloat(line[at+1:], 64)
		if err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		got[strings.TrimPrefix(line[:at], namespace+"_")] = value
	}
	return got
}

// holds compares some series with what they are to be. A negative wish is that there is no such series.
func holds(t *testing.T, m *Metrics, want map[string]float64) {
	t.Helper()
	got := scrape(t, m)
	for name, value := range want {
		is, ok := got[name]
		if value < 0 && ok || value >= 0 && (!ok || is != value) {
			t.Errorf("%s is %v (there: %t), want %v", name, is, ok, value)
		}
	}
}

func TestClosingsAreCounted(t *testing.T) {
	m := NewMetrics()
	holds(t, m, map[string]float64{`closings_total{result="missing"}`: 0, `closings_total{result="joined"}`: 0, "closings_lost_total": 0})
	for _, c := range []audit.Closing{
		{Role: "search", Status: 200, Termination: "--", BytesIn: 10, BytesOut: 2000, HeadersMS: 300, ActiveMS: 1200,
			Usage: &audit.Usage{Input: 7, Output: 11, Thoughts: -1, Cached: 0, Total: 18}},
		{Role: "search", Status: 200, Termination: "--", BytesIn: 1, BytesOut: 1, HeadersMS: 0, ActiveMS: 1},
		{Role: "search", Status: 429, Termination: "--", HeadersMS: 20, ActiveMS: 30},
		{Role: "search", Status: -1, Termination: "CD", BytesIn: 5, BytesOut: -1, HeadersMS: -1, ActiveMS: 50},
		{Unjoined: true, Status: 200, Termination: "--", HeadersMS: 1, ActiveMS: 1, Usage: &audit.Usage{Input: 1, Output: 1, Thoughts: 1, Cached: -1}},
		{Missing: true, Role: "search", Status: 200},
	} {
		m.Closed(&c)
	}
	m.ClosingLine("garbage")
	m.ClosingLost()
	m.WatchClosings(func() int { return 42 })
	holds(t, m, map[string]float64{
		`closings_total{result="joined"}`: 4, `closings_total{result="unjoined"}`: 1, `closings_total{result="missing"}`: 1,
		`call_responses_total{code="2xx",role="search"}`: 2, `call_responses_total{code="4xx",role="search"}`: 1,
		`call_responses_total{code="none",role="search"}`: 1, `call_responses_total{code="2xx",role=""}`: 1,
		`call_terminations_total{state="--"}`: 4, `call_terminations_total{state="CD"}`: 1,
		`call_headers_duration_seconds_count`: 4, `call_duration_seconds_count`: 5,
		`call_bytes_total{direction="in"}`: 16, `call_bytes_total{direction="out"}`: 2001,
		`usage_tokens_total{kind="input",role="search"}`: 7, `usage_tokens_total{kind="output",role="search"}`: 11,
		`usage_tokens_total{kind="cached",role="search"}`: 0, `usage_tokens_total{kind="thoughts",role="search"}`: -1,
		`usage_unknown_total{role="search"}`:    1,
		`closing_lines_total{result="garbage"}`: 1, "closings_lost_total": 1, "closings_pending": 42,
	})
}

func TestWhatWasNotYetIsZero(t *testing.T) {
	m := NewMetrics(Build("v1.2.3"))
	m.ExpectFlags("DENIAL_BURST")
	want := map[string]float64{
		`policy_reloads_total{result="error"}`: 0, `revocation_reloads_total{result="error"}`: 0, "audit_errors_total": 0, "undelivered_total": 0, "closings_pending": 0, "misuse_subjects": 0, "revocations_last_reload_successful": 1,
		`audit_writes_total{result="error"}`: 0, `misuse_flags_total{signal="DENIAL_BURST"}`: 0, "trace_spans_dropped_total": 0,
		`build_info{goversion="` + goVersion() + `",version="v1.2.3"}`: 1,
	}
	for _, r := range spoe.Reasons() {
		want[fmt.Sprintf("spop_errors_total{kind=%q}", r)] = 0
	}
	holds(t, m, want)
	m.Flagged("DENIAL_BURST")
	m.Minted("a@b.c", time.Millisecond, errors.New("no"))
	m.Exchanged("//iam", time.Millisecond, nil)
	m.keysFetched("corp", 0, errors.New("no"))
	m.AuditWrite(time.Millisecond, 3, nil)
	m.AuditWrite(time.Millisecond, 3, errors.New("full"))
	m.SpansDropped(2)
	m.reloaded(nil)
	m.reloaded(errors.New("no"))
	m.Revoked(nil)
	m.waited()
	m.identified(true)
	m.identified(false)
	m.WatchMisuse(func() int { return 7 })
	holds(t, m, map[string]float64{
		`misuse_flags_total{signal="DENIAL_BURST"}`: 1,
		`mints_total{account="a@b.c",result="ok"}`:  0, `mints_total{account="a@b.c",result="error"}`: 1, "mint_duration_seconds_count": 1,
		`exchanges_total{audience="//iam",result="ok"}`: 1, `exchanges_total{audience="//iam",result="error"}`: 0, "exchange_duration_seconds_count": 1,
		`key_fetches_total{issuer="corp",result="ok"}`: 0, `key_fetches_total{issuer="corp",result="error"}`: 1,
		"audit_lines_total": 3, `audit_writes_total{result="ok"}`: 1, `audit_writes_total{result="error"}`: 1, "audit_write_duration_seconds_count": 2,
		"trace_spans_dropped_total": 2, "policy_last_reload_successful": 0, `policy_reloads_total{result="error"}`: 1,
		`revocation_reloads_total{result="ok"}`: 1, "waits_total": 1,
		`caller_lookups_total{result="hit"}`: 1, `caller_lookups_total{result="miss"}`: 1, "misuse_subjects": 7,
	})
	m.reloaded(nil)
	m.Revoked(errors.New("no"))
	holds(t, m, map[string]float64{"policy_last_reload_successful": 1, "revocations_last_reload_successful": 0})
}

func TestTheServersHooksCount(t *testing.T) {
	m := NewMetrics()
	h := m.SPOE()
	for _, delta := range []int{1, 1, -1} {
		h.Connection(delta)
		h.InFlight(delta)
	}
	for _, kind := range []string{"NOTIFY", "NOTIFY", "ACK", "UNKNOWN"} {
		h.Frame(kind)
	}
	h.Error(string(spoe.ReasonLate))
	h.Notify(60 * time.Microsecond)
	holds(t, m, map[string]float64{
		"spop_connections": 1, "spop_connections_opened_total": 2, "spop_in_flight": 1, `spop_frames_total{type="NOTIFY"}`: 2,
		`spop_frames_total{type="ACK"}`: 1, `spop_frames_total{type="UNKNOWN"}`: 1, `spop_errors_total{kind="ANSWER_LATE"}`: 1,
		`answer_duration_seconds_bucket{le="5e-05"}`: 0, `answer_duration_seconds_bucket{le="0.0001"}`: 1,
	})
	if got := scrape(t, m)["time_seconds"]; got < float64(time.Now().Unix()-60) || got > float64(time.Now().Unix()+1) {
		t.Errorf("time_seconds is %f", got)
	}
}

// There are no more series than there may be, whatever is counted, and nothing goes uncounted.
func TestCountersAreBounded(t *testing.T) {
	m := NewMetrics()
	const clients, each = 4, maxDecisions/2 + 100
	var group sync.WaitGroup
	for client := range clients {
		group.Go(func() {
			for i := range each {
				m.decisions.of(decision{policy.Deny, "NO_RULE", "role", fmt.Sprint(client%2, " ", i)}).Inc()
				m.ClosingLine(fmt.Sprint("result ", i))
			}
		})
	}
	group.Wait()
	series, total := map[string]int{}, map[string]float64{}
	for name, value := range scrape(t, m) {
		family, _, _ := strings.Cut(name, "{")
		series[family]++
		total[family] += value
	}
	if got := series["decisions_total"]; got != maxDecisions+1 {
		t.Errorf("%d series of decisions, want %d and one for all others", got, maxDecisions)
	}
	if got := series["closing_lines_total"]; got != 65 {
		t.Errorf("%d series of lines, want 64 and one for all others", got)
	}
	for _, family := range []string{"decisions_total", "closing_lines_total"} {
		if got := total[family]; got != clients*each {
			t.Errorf("%s counts %v in all, want %d", family, got, clients*each)
		}
	}
	holds(t, m, map[string]float64{
		`decisions_total{decision="deny",reason="NO_RULE",role="other",rule="other"}`: 4*each - 2*(maxDecisions-float64(len(Reasons()))),
	})
}

// A caller cannot make a series, whatever it writes where it may write.
func TestNoCallersTextIsALabel(t *testing.T) {
	w := newWorld(t)
	p := dial(t, w.socket)
	const text = "evil-text"
	token := w.token(t, "search-eng", func(c map[string]any) { c["sub"] = text })
	for _, change := range []arg{
		{"role", text}, {"uri", "/v1/" + text}, {"uri", strings.Replace(target, "gemini-2.5-flash", text, 1)}, {"method", text}, {"user_agent", text},
		{"uri", strings.Replace(target, "europe-west1", text, 1)}, {"uri", strings.Replace(target, "acme-ai", text, 1)}, {"authorization", "Bearer " + text},
	} {
		if got := value(p.ask(question(token, change)), "decision"); got == nil {
			t.Errorf("%v: no decision", change)
		}
	}
	p.ask(question(w.token(t, "search-eng", func(c map[string]any) { c["iss"] = "https://" + text })))
	for name := range scrape(t, w.cfg.Metrics) {
		if strings.Contains(name, text) {
			t.Errorf("there is a series %s", name)
		}
	}
}

func TestTheStateIsTold(t *testing.T) {
	w := newWorld(t)
	w.cfg.Callers = 10
	if err := w.Reload(); err != nil {
		t.Fatal(err)
	}
	w.current.Load().issuers.Ready(t.Context())
	m := NewMetrics()
	if err := m.watch(w.Agent); err != nil {
		t.Fatal(err)
	}
	if err := m.watch(w.Agent); err == nil {
		t.Error("metrics are taken for two agents")
	}
	digest := w.current.Load().policy.Digest()
	holds(t, m, map[string]float64{"ready": 0, fmt.Sprintf("policy_info{digest=%q}", digest): 1, "remembered_callers": 0})
	w.WarmUp(t.Context())
	holds(t, m, map[string]float64{"ready": 0})
	w.SetListening(true)
	if got := value(dial(t, w.socket).ask(question(w.token(t, "search-eng"))), "decision"); got != "allow" {
		t.Fatalf("decision %v, want allow", got)
	}
	const mail = "@acme-ai.iam.gserviceaccount.com"
	holds(t, m, map[string]float64{
		"ready": 1, "remembered_callers": 1, "waiting_requests": 0, "waiting_requests_limit": 1024, "revocations": 0,
		`issuer_usable{issuer="corp"}`: 1, `issuer_keys{issuer="corp"}`: 1, `issuer_unusable_keys{issuer="corp"}`: 0, `issuer_unknown_keys_total{issuer="corp"}`: 0,
		`token_failing{account="vx-broken` + mail + `",reason="ACCOUNT_FORBIDDEN"}`: 1, `token_expiry_timestamp_seconds{account="vx-broken` + mail + `"}`: 0,
		"sts_down": 0, "exchange_iam_down": 0,
	})
	got := scrape(t, m)
	for name := range got {
		if strings.HasPrefix(name, "token_failing") && !strings.Contains(name, "vx-broken") || strings.HasPrefix(name, "own_token_failing") {
			t.Errorf("there is %s", name)
		}
	}
	if left := got[`issuer_keys_expiry_timestamp_seconds{issuer="corp"}`] - float64(time.Now().Unix()); left < 86_000 || left > 86_401 {
		t.Errorf("the issuer's keys may serve for another %f s, want a day", left)
	}
	if got["remembered_caller_bytes"] <= 0 {
		t.Error("remembered callers take no memory")
	}
}

// An issuer that the policy no longer has, and an account that it no longer uses, leave nothing behind that an alert would go on about.
func TestWhatThePolicyNoLongerHasIsNotTold(t *testing.T) {
	w := newWorld(t)
	m := NewMetrics()
	if err := m.watch(w.Agent); err != nil {
		t.Fatal(err)
	}
	w.WarmUp(t.Context())
	const mail = "@acme-ai.iam.gserviceaccount.com"
	failing := `token_failing{account="vx-broken` + mail + `",reason="ACCOUNT_FORBIDDEN"}`
	holds(t, m, map[string]float64{failing: 1, `issuer_usable{issuer="corp"}`: 1})
	text := policyText[:strings.Index(policyText, "  broken:")] + policyText[strings.Index(policyText, "rules:"):]
	text = strings.Replace(text, "  broken-gemini: { allow: broken, models: gemini-2.5-* }\n", "", 1)
	text = strings.ReplaceAll(text, "corp", "firm")
	keys := strings.TrimSuffix(w.policy, "policy.d/policy.yaml") + "keys.json"
	w.writePolicy(t, fmt.Sprintf(text, keys))
	if err := w.Reload(); err != nil {
		t.Fatal(err)
	}
	w.current.Load().issuers.Ready(context.Background())
	holds(t, m, map[string]float64{
		failing: -1, `issuer_usable{issuer="corp"}`: -1, `issuer_keys{issuer="corp"}`: -1, `issuer_keys_fetched_timestamp_seconds{issuer="corp"}`: -1, `issuer_keys_expiry_timestamp_seconds{issuer="corp"}`: -1, `issuer_usable{issuer="firm"}`: 1,
	})
}

// Native histograms come beside the classic ones, and only where they are asked for.
func TestNativeHistograms(t *testing.T) {
	for _, on := range []bool{false, true} {
		m := NewMetrics(NativeHistograms(on))
		m.SPOE().Notify(3 * time.Millisecond)
		families, err := m.Registry.Gather()
		if err != nil {
			t.Fatal(err)
		}
		native := map[string]bool{}
		for _, f := range families {
			if h := f.GetMetric()[0].GetHistogram(); h != nil && strings.HasPrefix(f.GetName(), namespace) {
				native[f.GetName()] = h.Schema != nil
				if len(h.GetBucket()) == 0 {
					t.Errorf("%s has no classic buckets", f.GetName())
				}
			}
		}
		want := map[string]bool{}
		for _, name := range []string{"answer", "audit_write", "call", "call_headers", "exchange", "mint", "stage"} {
			want[namespace+"_"+name+"_duration_seconds"] = on
		}
		if diff := cmp.Diff(want, native); diff != "" {
			t.Errorf("native histograms, on %t (-want +got):\n%s", on, diff)
		}
	}
}

func BenchmarkMetrics(b *testing.B) {
	m := NewMetrics()
	a := &answer{effect: policy.Allow, verify: time.Microsecond, decide: time.Microsecond, mint: time.Microsecond,
		decision: policy.Decision{Role: "search", Rule: "search-gemini"}}
	h := m.SPOE()
	closing := &audit.Closing{Role: "search", Status: 200, Termination: "--", HeadersMS: 300, ActiveMS: 900, Usage: &audit.Usage{Input: 1, Output: 2}}
	for _, tt := range []struct {
		name string
		do   func()
	}{
		{"a decision", func() { m.decided(a) }},
		{"the server's hooks", func() { h.InFlight(1); h.Frame("NOTIFY"); h.Notify(time.Millisecond); h.Frame("ACK"); h.InFlight(-1) }},
		{"a write", func() { m.AuditWrite(time.Millisecond, 1, nil) }},
		{"a closing", func() { m.Closed(closing) }},
	} {
		b.Run(tt.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				tt.do()
			}
		})
	}
}

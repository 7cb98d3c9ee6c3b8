package agent

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"vertex-spoa/agent/internal/audit"
	console "vertex-spoa/agent/internal/status"
)

// consoleOf serves the console of an agent.
func consoleOf(t *testing.T, a *Agent, c Console) http.Handler {
	t.Helper()
	h, err := a.AdminConsole(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

func newRecorder(t *testing.T) *console.Recorder {
	t.Helper()
	r, err := console.NewRecorder(0, func(*audit.Record) {})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func fetch(h http.Handler, method, path string) (int, string) {
	rec := httptest.NewRecorder()
	h.ServeHTTP(rec, httptest.NewRequest(method, path, nil))
	return rec.Code, rec.Body.String()
}

func TestTheConsoleNeedsARecorder(t *testing.T) {
	w := newWorld(t)
	if h, err := w.AdminConsole(t.Context(), Console{}); err == nil || h != nil {
		t.Errorf("got %v, %v; want an error", h, err)
	}
}

func TestTheConsoleShowsTheAgent(t *testing.T) {
	w := newWorld(t)
	w.SetListening(true)
	w.WarmUp(t.Context())
	p := dial(t, w.socket)
	p.ask(question(w.token(t, "search-eng")))
	p.ask(question(w.token(t, "nobody")))
	s := w.state(&Console{Version: "v1.2.3", Started: time.Now().Add(-time.Hour), Warnings: func() []string { return []string{"the disk is full"} }})
	if !s.Ready || s.Version != "v1.2.3" || s.Policy != w.current.Load().policy.Digest() || len(s.Issuers) != 1 || !s.Issuers[0].Usable || len(s.Accounts) == 0 {
		t.Errorf("got state %+v", s)
	}
	if diff := cmp.Diff([]string{"the disk is full"}, s.Warnings); diff != "" {
		t.Errorf("warnings (-want +got):\n%s", diff)
	}
	if diff := cmp.Diff([]console.Denial{{Reason: "NO_ROLE", Count: 1}}, s.Denials); diff != "" {
		t.Errorf("denials (-want +got):\n%s", diff)
	}
	hits := map[string]uint64{}
	for _, r := range s.Rules {
		hits[r.Name] = r.Hits()
		if r.Effect == "" || r.At == "" || len(r.Roles) == 0 {
			t.Errorf("rule %+v", r)
		}
	}
	if len(s.Rules) != len(w.current.Load().policy.Model().Rules) || hits["search-gemini"] != 1 {
		t.Errorf("rules %v", hits)
	}
	tiles := map[string]string{}
	for _, tile := range s.Tiles {
		tiles[tile.Name] = tile.Value
	}
	for name, want := range map[string]string{"allowed": "1", "denied": "1", "audit errors": "0", "undelivered": "0", "waiting": "0"} {
		if tiles[name] != want {
			t.Errorf("tile %s is %q, want %q of %v", name, tiles[name], want, tiles)
		}
	}
	found := false
	for _, c := range s.Counters {
		found = found || c.Name == "policy_reloads_total" && c.Labels == "result ok" && c.Value == "1"
	}
	if !found {
		t.Errorf("the reload is not among the counters %+v", s.Counters)
	}
	for _, x := range []string{minted} {
		if strings.Contains(fmt.Sprintf("%+v", s), x) {
			t.Error("a minted token is in the state")
		}
	}
}

// A rule that has decided and is gone is still told of, and the rules that are there come first.
func TestRulesOfPoliciesBefore(t *testing.T) {
	w := newWorld(t)
	rules := shownRules(w.current.Load().policy, []series{
		{name: "decisions_total", labels: map[string]string{"decision": "allow", "rule": "gone"}, value: 3},
		{name: "decisions_total", labels: map[string]string{"decision": "deny", "rule": "gone", "reason": "MINT_UNAVAILABLE"}, value: 1},
		{name: "decisions_total", labels: map[string]string{"decision": "deny", "rule": "", "reason": "NO_ROLE"}, value: 7},
		{name: "decisions_total", labels: map[string]string{"decision": "allow", "rule": "never"}, value: 0},
	})
	last := rules[len(rules)-1]
	if diff := cmp.Diff(console.Rule{Name: "gone", Allowed: 3, Denied: 1}, last); diff != "" || len(rules) != len(w.current.Load().policy.Model().Rules)+1 {
		t.Errorf("the last of %d rules (-want +got):\n%s", len(rules), diff)
	}
}

func TestTheConsoleServesItsPagesAndNoMore(t *testing.T) {
	w := newWorld(t)
	recorder := newRecorder(t)
	recorder.Decided(&audit.Record{ID: "id-1", Decision: "deny", Reason: "NO_RULE"})
	explain := func(context.Context, console.Question) (string, error) { return "explained", nil }
	plain, profiled := consoleOf(t, w.Agent, Console{Recorder: recorder, Explain: explain}), consoleOf(t, w.Agent, Console{Recorder: recorder, Pprof: true})
	for _, tt := range []struct {
		method, path string
		handler      http.Handler
		status       int
		want         string
	}{
		{"GET", "/", plain, 200, "id-1"},
		{"HEAD", "/", plain, 200, ""},
		{"GET", "/?call=/v1/x&issuer=corp", plain, 200, "explained"},
		{"GET", "/debug/decisions", plain, 200, `"reason": "NO_RULE"`},
		{"GET", "/livez", plain, 200, "ok"},
		{"GET", "/metrics", plain, 200, "vertex_spoa_"},
		{"GET", "/readyz", plain, 503, `"ready": false`},
		{"POST", "/reload", plain, 200, `"policy"`},
		{"GET", "/debug/pprof/", profiled, 200, "goroutine"},
		{"GET", "/debug/pprof/heap", profiled, 200, ""},

		{"POST", "/", plain, 405, ""},
		{"GET", "/index.html", plain, 404, ""},
		{"GET", "/favicon.ico", plain, 404, ""},
		{"GET", "/debug/pprof/", plain, 404, ""},
		{"GET", "/debug/pprof/cmdline", plain, 404, ""},
		{"GET", "/debug/", plain, 404, ""},
		{"POST", "/debug/decisions", plain, 405, ""},
		{"GET", "/reload", plain, 405, ""},
	} {
		if code, body := fetch(tt.handler, tt.method, tt.path); code != tt.status || !strings.Contains(body, tt.want) {
			t.Errorf("%s %s: status %d, want %d and %q in\n%.300s", tt.method, tt.path, code, tt.status, tt.want, body)
		}
	}
}

// A page of another site, or of a name that was made to resolve to this host, can neither reload nor read.
func TestOtherSitesCannotReload(t *testing.T) {
	w := newWorld(t)
	before := w.reload.Load()
	server := httptest.NewServer(w.Admin(t.Context()))
	defer server.Close()
	for name, change := range map[string]func(*http.Request){
		"another site":       func(r *http.Request) { r.Header.Set("Sec-Fetch-Site", "cross-site") },
		"another port":       func(r *http.Request) { r.Header.Set("Origin", "http://127.0.0.1:1") },
		"a name of its own":  func(r *http.Request) { r.Host = "evil.example" },
		"all of it together": func(r *http.Request) { r.Host = "evil.example"; r.Header.Set("Origin", "http://evil.example") },
	} {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, server.URL+"/reload", nil)
		if err != nil {
			t.Fatal(err)
		}
		change(req)
		res, err := server.Client().Do(req)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		if res.StatusCode != 403 && res.StatusCode != 421 {
			t.Errorf("%s: status %d, want 403 or 421", name, res.StatusCode)
		}
	}
	if w.reload.Load() != before {
		t.Error("the policy was reloaded")
	}
	res, err := server.Client().Post(server.URL+"/reload", "", nil)
	if err != nil {
		t.Fatal(err)
	}
	res.Body.Close()
	if res.StatusCode != 200 || w.reload.Load() == before {
		t.Errorf("a program: status %d, want 200 and a reload", res.StatusCode)
	}
}

func TestTheHistoryOfReloads(t *testing.T) {
	w := newWorld(t)
	good := w.current.Load().policy.Digest()
	for range 3 {
		if err := w.Reload(); err != nil {
			t.Fatal(err)
		}
	}
	w.writePolicy(t, strings.Repeat("nonsense: [\n", 1000))
	if err := w.Reload(); err == nil {
		t.Fatal("a broken policy was loaded")
	}
	history := w.reload.Load().history()
	if len(history) != 5 || history[0].Error == "" || history[1].Error != "" || history[0].Digest != good {
		t.Fatalf("got %d attempts: %+v", len(history), history)
	}
	for range 2 * maxReloads {
		if err := w.Reload(); err == nil {
			t.Fatal("a broken policy was loaded")
		}
	}
	history = w.reload.Load().history()
	if len(history) != maxReloads {
		t.Errorf("%d attempts are kept, want %d", len(history), maxReloads)
	}
	for i, r := range history {
		if r.before != nil || i > 0 && (len(r.Error) > maxReloadError || r.Time.After(history[i-1].Time)) {
			t.Errorf("attempt %d: %d bytes, a history of %d, at %v", i, len(r.Error), len(r.before), r.Time)
		}
	}
	got := w.state(&Console{}).Reloads
	want := console.Reload{Time: history[0].Time.UTC(), Digest: good, Error: cut(history[0].Error, maxReloadError)}
	if diff := cmp.Diff(want, got[0], cmpopts.EquateApproxTime(0)); diff != "" || len(got) != maxReloads {
		t.Errorf("%d are shown (-want +got):\n%s", len(got), diff)
	}
}

func TestFiguresAreBounded(t *testing.T) {
	var all []series
	for i := range 2 * maxFigures {
		all = append(all, series{name: "x_total", labels: map[string]string{"kind": fmt.Sprint(i)}, value: 1e9})
	}
	if got := figures(all); len(got) != maxFigures+1 || got[0].Value != "1000000000" {
		t.Errorf("%d are shown, the first is %+v", len(got), got[0])
	}
	for _, tt := range []struct {
		name  string
		value float64
		want  string
	}{{"a_timestamp_seconds", 0, "never"}, {"a_timestamp_seconds", 1e9, "2001-09-09 01:46:40"}, {"a", 0.25, "0.25"}} {
		if got := (&series{name: tt.name, value: tt.value}).text(); got != tt.want {
			t.Errorf("%s %v: got %q, want %q", tt.name, tt.value, got, tt.want)
		}
	}
}

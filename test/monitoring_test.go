package test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"vertex-spoa/test/sandbox"
)

// prometheusTool returns the path of prometheus or promtool, as test/prometheus.sh has it. Where there is none the test is not run, and
// `make test` says so at its end.
func prometheusTool(t *testing.T, name string) string {
	t.Helper()
	fetched, err := filepath.Abs("../.cache/prometheus/" + name)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(fetched); err == nil {
		return fetched
	}
	installed, err := exec.LookPath(name)
	if err != nil {
		t.Skipf("NOT RUN: there is no %s: make prometheus", name)
	}
	return installed
}

func promtool(t *testing.T, stdin string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), prometheusTool(t, "promtool"), args...)
	cmd.Dir, cmd.Stdin = filepath.Join(example(t), "monitoring"), strings.NewReader(stdin)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

func monitoringFile(t *testing.T, name string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(example(t), "monitoring", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// The rules are well-formed, each has what whoever is called at night needs, and each is seen to fire.
func TestAlertRules(t *testing.T) {
	promtool(t, "", "check", "config", "vertex-prometheus.yml")
	promtool(t, "", "check", "rules", "vertex-alerts.yml")
	promtool(t, "", "test", "rules", "vertex-alerts_test.yml")
	tests := monitoringFile(t, "vertex-alerts_test.yml")
	rules := strings.Split(monitoringFile(t, "vertex-alerts.yml"), "- alert: ")[1:]
	if len(rules) < 30 {
		t.Errorf("%d alert rules", len(rules))
	}
	for _, rule := range rules {
		name, _, _ := strings.Cut(rule, "\n")
		for _, part := range []string{`labels: \{ severity: (critical|warning|info) \}`, `summary: "[^"]{10,}"`, `description: "[^"]{20,}"`} {
			if !regexp.MustCompile(part).MatchString(rule) {
				t.Errorf("%s has no %s", name, part)
			}
		}
		if fires := fmt.Sprintf(`- { labels: 'ALERTS{alertname=%q,alertstate="firing"`, name); !strings.Contains(tests, fires) {
			t.Errorf("no test in which %s fires", name)
		}
	}
	for _, quiet := range regexp.MustCompile(`expr: ALERTS, eval_time: \w+, exp_samples: (.*) }`).FindAllStringSubmatch(tests, -1) {
		if quiet[1] != "[]" {
			t.Errorf("the gateway in good health has alerts: %s", quiet[1])
		}
	}
}

// elsewhere is a call that the example's policy allows to nobody in these tests.
const elsewhere = "/v1/projects/acme-ai/locations/us-central1/publishers/google/models/gemini-2.5-flash:generateContent"

// expectation is one query of the dashboard.
type expectation struct {
	title, expr string
	annotates   bool // gives something at events alone
}

// dashboardQueries returns every query of the dashboard, as Grafana would send it for all instances.
func dashboardQueries(t *testing.T) []expectation {
	t.Helper()
	var d struct {
		SchemaVersion int
		Templating    struct {
			List []struct{ Name, Type string }
		}
		Annotations struct {
			List []struct{ Name, Expr string }
		}
		Panels []struct {
			ID          int
			Type, Title string
			GridPos     struct{ X, Y, W, H int }
			Datasource  struct{ UID string }
			Targets     []struct {
				RefID, Expr string
				Datasource  struct{ UID string }
			}
		}
	}
	if err := json.Unmarshal([]byte(monitoringFile(t, "vertex-dashboard.json")), &d); err != nil {
		t.Fatal(err)
	}
	if d.SchemaVersion < 36 || len(d.Templating.List) != 2 {
		t.Errorf("schema version %d, %d variables", d.SchemaVersion, len(d.Templating.List))
	}
	variables := strings.NewReplacer("$instance", ".*", "$__rate_interval", "4s", "$__range", "30s")
	var all []expectation
	for _, a := range d.Annotations.List {
		all = append(all, expectation{a.Name, variables.Replace(a.Expr), true})
	}
	ids := map[int]bool{}
	for _, p := range d.Panels {
		if ids[p.ID] || p.GridPos.X+p.GridPos.W > 24 || p.GridPos.W == 0 || p.Title == "" {
			t.Errorf("panel %d %q is not in order", p.ID, p.Title)
		}
		ids[p.ID] = true
		if p.Type != "row" && (len(p.Targets) == 0 || p.Datasource.UID != "${datasource}") {
			t.Errorf("panel %q has no queries or a data source of its own", p.Title)
		}
		for _, target := range p.Targets {
			if target.Datasource.UID != "${datasource}" {
				t.Errorf("panel %q has a query of another data source", p.Title)
			}
			expr := variables.Replace(target.Expr)
			if strings.Contains(expr, "$") {
				t.Errorf("panel %q has a variable that is not known: %s", p.Title, expr)
			}
			all = append(all, expectation{p.Title + " " + target.RefID, expr, false})
		}
	}
	return all
}

// maybeEmpty are metrics without a series, or queries without a result, while nothing is wrong and what they tell of has not happened.
var maybeEmpty = []string{
	"token_failing", "own_token_failing", "spop_errors_total", // trouble
	"exchanges_total",     // the example's policy has no exchange
	"usage_unknown_total", // the models tell
} // never written

// names reports whether the query is about one of the metrics.
func (e expectation) names(metrics []string) bool {
	for _, found := range regexp.MustCompile(`\bvertex_spoa_(\w+)`).FindAllStringSubmatch(e.expr, -1) {
		if slices.Contains(metrics, found[1]) {
			return true
		}
	}
	return false
}

// TestMonitoring has a real Prometheus look at an agent under load. Every query of the dashboard gives something, every alert rule can be
// evaluated and none fires, and the metrics are named as Prometheus wants them.
func TestMonitoring(t *testing.T) {
	for _, tt := range []struct {
		name              string
		agent, prometheus []string // further flags
	}{
		{"classic histograms", []string{"--misuse.signals=on"}, nil},
		{"native histograms", []string{"--misuse.signals=on", "--metrics.native_histograms=on"}, []string{"--enable-feature=native-histograms"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			prometheusTool(t, "promtool")
			s := startSandbox(t, sandbox.Options{AgentFlags: tt.agent, Closings: sandbox.ByRing})
			p := startPrometheus(t, s, tt.prometheus)
			l := startLoad(t, s, 4)
			t.Run("dashboard", func(t *testing.T) { p.answers(t, s, l, dashboardQueries(t)) })
			l.report(l.stop())
			t.Run("alerts", func(t *testing.T) { p.isQuiet(t) })
			t.Run("metrics", func(t *testing.T) { metricsAreInOrder(t, s) })
		})
	}
}

// metricsAreInOrder checks the names of the metrics and that they tell of no caller.
func metricsAreInOrder(t *testing.T, s *sandbox.Sandbox) {
	text := agentMetrics(t, s)
	if said := promtool(t, text, "check", "metrics"); said != "" {
		t.Errorf("promtool check metrics says:\n%s", said)
	}
	if strings.Contains(text, "@example.com") {
		t.Error("the metrics name a caller")
	}
	for _, token := range s.Issued() {
		if strings.Contains(text, token) {
			t.Error("the metrics hold a token")
		}
	}
}

// moving are counters that go up while calls are let through and end.
var moving = []string{
	`decisions_total{decision="allow"}`, `decisions_total{decision="deny",reason="NO_ROLE"}`, `spop_frames_total{type="ACK"}`, `spop_connections_opened_total`,
	`closings_total{result="joined"}`, `closing_lines_total{result="joined"}`, `call_responses_total{code="2xx"}`, `call_bytes_total{direction="out"}`,
	`usage_tokens_total{kind="output"}`, `caller_lookups_total{result="hit"}`, `audit_lines_total`,
} // never written

// answers asks every query until it gives something, while some callers are refused. Those that may give nothing are asked at the end.
func (p *prometheus) answers(t *testing.T, s *sandbox.Sandbox, l *load, queries []expectation) {
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	var left, rest []expectation
	for _, m := range moving {
		left = append(left, expectation{m, "sum(increase(vertex_spoa_" + m + "[4s])) > 0", false})
	}
	for _, e := range queries {
		if e.annotates || e.names(maybeEmpty) {
			rest = append(rest, e)
		} else {
			left = append(left, e)
		}
	}
	for len(left) > 0 && ctx.Err() == nil {
		for _, group := range []string{"search-eng", "nobody"} {
			token, err := s.Caller(group)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := s.Play(ctx, sandbox.Call{Target: elsewhere, Token: token, Body: "{}"}); err != nil {
				t.Fatal(err)
			}
		}
		l.wait(20)
		left = slices.DeleteFunc(left, func(e expectation) bool { return p.series(ctx, t, e) > 0 })
	}
	for _, e := range left {
		t.Errorf("%s: no data: %s", e.title, e.expr)
	}
	for _, e := range rest {
		p.series(ctx, t, e)
	}
}

// series is how many series the query gives now.
func (p *prometheus) series(ctx context.Context, t *testing.T, e expectation) int {
	t.Helper()
	body, err := p.get(ctx, "/api/v1/query?query="+url.QueryEscape(e.expr))
	var answer struct {
		Data struct{ Result []json.RawMessage }
	}
	if err == nil {
		err = json.Unmarshal(body, &answer)
	}
	if err != nil && ctx.Err() == nil {
		t.Errorf("%s: %v", e.title, err)
	}
	return len(answer.Data.Result)
}

// isQuiet checks that Prometheus has evaluated every alert rule and that none fires.
func (p *prometheus) isQuiet(t *testing.T) {
	t.Helper()
	var answer struct {
		Data struct {
			Groups []struct {
				Rules []struct{ Name, Health, State, LastError string }
			}
		}
	}
	p.until("Prometheus has evaluated every rule", func(ctx context.Context) error {
		body, err := p.get(ctx, "/api/v1/rules")
		if err != nil {
			return err
		}
		if bytes.Contains(body, []byte(`"health":"unknown"`)) {
			return errors.New("some are not evaluated yet")
		}
		return json.Unmarshal(body, &answer)
	})
	rules := 0
	for _, g := range answer.Data.Groups {
		for _, r := range g.Rules {
			rules++
			if r.Health != "ok" || r.State == "firing" {
				t.Errorf("%s: health %s, state %s %s", r.Name, r.Health, r.State, r.LastError)
			}
		}
	}
	if want := strings.Count(monitoringFile(t, "vertex-alerts.yml"), "- alert:"); rules != want {
		t.Errorf("Prometheus has %d rules, want %d", rules, want)
	}
}

// agentMetrics returns what the agent tells Prometheus.
func agentMetrics(t *testing.T, s *sandbox.Sandbox) string {
	t.Helper()
	res, err := http.Get(s.AdminURL() + "/metrics")
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK {
		t.Fatalf("/metrics: %d, %v", res.StatusCode, err)
	}
	return string(body)
}

// prometheus is a real one, that scrapes a sandbox's agent and evaluates the example's alert rules.
type prometheus struct {
	t   *testing.T
	url string
}

func startPrometheus(t *testing.T, s *sandbox.Sandbox, flags []string) *prometheus {
	t.Helper()
	program, dir := prometheusTool(t, "prometheus"), t.TempDir()
	config := strings.NewReplacer("127.0.0.1:9902", strings.TrimPrefix(s.AdminURL(), "http://"), "_interval: 15s", "_interval: 500ms").
		Replace(monitoringFile(t, "vertex-prometheus.yml"))
	for name, text := range map[string]string{"prometheus.yml": config, "vertex-alerts.yml": monitoringFile(t, "vertex-alerts.yml")} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	address := freeAddr(t)
	var said bytes.Buffer
	cmd := exec.CommandContext(t.Context(), program, append([]string{"--config.file=" + filepath.Join(dir, "prometheus.yml"),
		"--storage.tsdb.path=" + filepath.Join(dir, "data"), "--web.listen-address=" + address, "--log.level=warn"}, flags...)...)
	cmd.Stdout, cmd.Stderr = &said, &said
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = cmd.Process.Kill()
		_ = cmd.Wait()
		if t.Failed() {
			t.Logf("Prometheus said: %s", said.String())
		}
	})
	p := &prometheus{t: t, url: "http://" + address}
	p.until("Prometheus is ready", func(ctx context.Context) error { _, err := p.get(ctx, "/-/ready"); return err })
	return p
}

func (p *prometheus) get(ctx context.Context, path string) ([]byte, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, p.url+path, nil)
	if err != nil {
		return nil, err
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(res.Body)
	if err == nil && res.StatusCode != http.StatusOK {
		err = fmt.Errorf("%s: %d %s", path, res.StatusCode, body)
	}
	return body, err
}

// until tries again for half a minute at most.
func (p *prometheus) until(what string, ok func(ctx context.Context) error) {
	p.t.Helper()
	ctx, cancel := context.WithTimeout(p.t.Context(), 30*time.Second)
	defer cancel()
	for {
		err := ok(ctx)
		if err == nil {
			return
		}
		select {
		case <-ctx.Done():
			p.t.Fatalf("%s: %v", what, err)
		case <-time.After(250 * time.Millisecond):
		}
	}
}

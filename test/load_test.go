package test

import (
	"bufio"
	"context"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"vertex-spoa/test/fake"
	"vertex-spoa/test/sandbox"
)

// smallBuffers is HAProxy with the tune.bufsize it has where nobody sets it. Three quarters of it are for the request.
var smallBuffers = []string{"VERTEX_BUFSIZE=16384", "VERTEX_MAXREWRITE=4096"}

// Sixty callers at once and large tokens: more answers than one buffer of HAProxy's holds are under way at every instant, which is where
// HAProxy from 3.1 on stops to read the connection of an agent that pipelines and lets them all wait. Every call must be answered.
func TestLoad(t *testing.T) {
	calls := 600
	if everything() {
		calls = 3000
	}
	for _, tt := range []struct {
		name       string
		env        []string
		tokenBytes int
		tcp        bool
	}{
		{"example", nil, 2048, false}, {"example over TCP", nil, 2048, true},
		{"small buffers", smallBuffers, 2048, false}, {"small buffers over TCP", smallBuffers, 2048, true},
		{"largest tokens", nil, 12_000, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			onEach(t, haproxySeries(), func(t *testing.T, haproxy string) {
				s := startSandbox(t, sandbox.Options{HAProxy: haproxy, HAProxyEnv: tt.env, TokenBytes: tt.tokenBytes, TCP: tt.tcp})
				l := startLoad(t, s, 60)
				l.wait(calls)
				l.report(l.stop())
				l.allSucceeded(time.Time{})
			})
		})
	}
}

// What TestLoad looks for is there to be found: HAProxy from 3.1 on lets callers wait in vain when an agent pipelines regardless of its
// buffers.
func TestLoadFindsWhatPipeliningDoes(t *testing.T) {
	if !everything() {
		return
	}
	onEach(t, slices.DeleteFunc(slices.Clone(haproxySeries()), beforeMux), func(t *testing.T, haproxy string) {
		s := startSandbox(t, sandbox.Options{HAProxy: haproxy, HAProxyEnv: smallBuffers, TokenBytes: 2048, AgentFlags: []string{"--spoe.pipelining=on"}})
		l := startLoad(t, s, 60)
		for l.wait(1000); l.Failed() == 0 && l.Done() < 30_000; l.wait(1000) {
		}
		failed := l.stop()
		l.report(failed)
		l.refusedExplicitly(failed)
		if len(failed) == 0 {
			t.Errorf("none of %d calls failed", len(l.shots))
		}
	})
}

// beforeMux reports whether HAProxy of the series is one up to 3.0, where an agent's connections belong to the threads.
func beforeMux(series string) bool { return strings.HasPrefix(series, "2.") || series == "3.0" }

// waiting is a sandbox in which the decisions on some callers wait for Google, until release is called.
type waiting struct {
	t     *testing.T
	s     *sandbox.Sandbox
	calls sync.WaitGroup
	token string // of a caller whose decision waits
	gate  chan struct{}

	mu   sync.Mutex
	told map[string]int // what came of the calls that were made to wait
}

// oneThread is a haproxy.cfg of the user's own: a thread shares its connections to the agent with no other one.
const oneThread = "global\n    nbthread 1\n"

func startWaiting(t *testing.T, o sandbox.Options) *waiting {
	t.Helper()
	o.Base = filepath.Join(t.TempDir(), "haproxy.cfg")
	if err := os.WriteFile(o.Base, []byte(oneThread), 0o600); err != nil {
		t.Fatal(err)
	}
	o.Policy, o.Prepare = exchangingPolicy, prepareExchange
	o.HAProxyEnv = append(slices.Clone(o.HAProxyEnv), "VERTEX_PROCESSING_TIMEOUT=19s")
	o.AgentFlags = append(slices.Clone(o.AgentFlags), "--spoe.timeout=18s")
	s := startSandbox(t, o)
	w := &waiting{t: t, s: s, token: callerOf(t, s, "own"), gate: make(chan struct{}), told: map[string]int{}}
	if got, want := w.ask(), "200 as vx-research"; got != want { // which leaves a connection to the agent
		t.Fatalf("got %s, want %s", got, want)
	}
	s.World.STS.Fail(fake.Fault{Gate: w.gate})
	return w
}

// ask makes a call whose decision need not wait, and tells what came of it.
func (w *waiting) ask() string {
	w.t.Helper()
	return told(w.t, w.s, sandbox.Call{Target: generatePath, Token: callerOf(w.t, w.s, "plain"), Body: promptBody})
}

// begin makes n calls at once whose decision waits.
func (w *waiting) begin(n int) {
	for range n {
		w.calls.Go(func() {
			r, err := w.s.Do(w.t.Context(), sandbox.Call{Target: generatePath, Token: w.token, Body: promptBody})
			what := r.String()
			if err != nil {
				what = err.Error()
			}
			w.mu.Lock()
			defer w.mu.Unlock()
			w.told[what]++
		})
	}
}

// ended is what came of the calls that have ended so far.
func (w *waiting) ended() map[string]int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return maps.Clone(w.told)
}

// settled waits until each of n calls has ended or waits, and returns how many have ended.
func (w *waiting) settled(n int) (ended int) {
	w.t.Helper()
	until(w.t, fmt.Sprintf("%d calls have ended or wait", n), func() string {
		ended = 0
		for _, m := range w.ended() {
			ended += m
		}
		inFlight := w.metric("spop_in_flight")
		if ended+inFlight == n {
			return ""
		}
		return fmt.Sprintf("%d in flight, and ended: %s", inFlight, enumerate(w.ended()))
	})
	return ended
}

// release lets Google answer, and returns what came of all calls that were made to wait.
func (w *waiting) release() map[string]int {
	close(w.gate)
	w.calls.Wait()
	return w.ended()
}

// metric is the value of a metric of the agent's, by its name without the prefix, and its labels.
func (w *waiting) metric(name string) int {
	w.t.Helper()
	for lines := bufio.NewScanner(strings.NewReader(agentMetrics(w.t, w.s))); lines.Scan(); {
		if value, ok := strings.CutPrefix(lines.Text(), "vertex_spoa_"+name+" "); ok {
			n, err := strconv.ParseFloat(value, 64)
			if err != nil {
				w.t.Fatal(err)
			}
			return int(n)
		}
	}
	w.t.Fatalf("there is no metric %s", name)
	return 0
}

// A bound on the requests without an answer refuses the next one at once, in the form that stands for it, while those within the bound
// wait for Google. Afterwards all are served again.
func TestOverload(t *testing.T) {
	const overload = "503 OVERLOADED"
	onEach(t, oldestAndNewest(), func(t *testing.T, haproxy string) {
		t.Run("in all", func(t *testing.T) {
			w := startWaiting(t, sandbox.Options{HAProxy: haproxy, AgentFlags: []string{"--spoe.max_in_flight=2"}})
			w.begin(2)
			w.settled(2)
			w.s.World.Vertex.Take()
			r, err := w.s.Do(limited(t), sandbox.Call{Target: generatePath, Token: callerOf(t, w.s, "plain"), Body: promptBody})
			if err != nil {
				t.Fatal(err)
			}
			if got := len(w.s.World.Vertex.Take()); got > 0 || r.String() != overload {
				t.Errorf("got %s and %d forwarded, want %s and none", r, got, overload)
			}
			if r.Header.Get("Retry-After") != "1" || !strings.Contains(r.Body, `"message":"too many requests at once"`) || !strings.Contains(r.Body, `"status":"UNAVAILABLE"`) {
				t.Errorf("the refusal is %v\n%s", r.Header, r.Body)
			}
			w.isLogged(r.Header.Get("X-Request-Id"))
			if got := w.metric(`spop_errors_total{kind="IN_FLIGHT_LIMIT"}`); got != 1 {
				t.Errorf("%d refusals are counted, want 1", got)
			}
			if got, want := enumerate(w.release()), "2 × 200"; got != want {
				t.Errorf("of those that waited: %s, want %s%s", got, want, w.s.Logs())
			}
			if got, want := w.ask(), "200 as vx-research"; got != want {
				t.Errorf("afterwards: got %s, want %s", got, want)
			}
		})
		t.Run("on a connection", func(t *testing.T) {
			const calls = 16
			w := startWaiting(t, sandbox.Options{HAProxy: haproxy, AgentFlags: []string{"--spoe.max_in_flight_per_connection=1"}})
			w.begin(calls)
			if ended := w.settled(calls); ended == 0 || ended == calls || w.ended()[overload] != ended {
				t.Errorf("%d of %d have ended: %s; want some of each, and all of them %s", ended, calls, enumerate(w.ended()), overload)
			}
			if got := w.metric(`spop_errors_total{kind="CONN_IN_FLIGHT_LIMIT"}`); got != w.ended()[overload] {
				t.Errorf("%d refusals are counted, want %d", got, w.ended()[overload])
			}
			if got := w.release(); got["200"] == 0 || got["200"]+got[overload] != calls {
				t.Errorf("in the end: %s, want %d of 200 and %s%s", enumerate(got), calls, overload, w.s.Logs())
			}
			if got, want := w.ask(), "200 as vx-research"; got != want {
				t.Errorf("afterwards: got %s, want %s", got, want)
			}
		})
	})
}

// isLogged checks that HAProxy's log tells of the refusal as of any other deny.
func (w *waiting) isLogged(id string) {
	w.t.Helper()
	until(w.t, "HAProxy has logged the refusal", func() string {
		lines, err := w.s.HAProxyLog()
		if err != nil {
			return err.Error()
		}
		for _, line := range lines {
			if line["id"] == id {
				if line["decision"] != "deny" || line["reason"] != "OVERLOADED" || line["st"] != 503.0 {
					w.t.Errorf("HAProxy has logged %v", line)
				}
				return ""
			}
		}
		return "no line with the id " + id
	})
}

// HAProxy from 3.1 on has several requests of the example on one connection at once, where the agent says that it may. Older ones open
// connections rather than that, and do not show it.
func TestTheExamplePipelines(t *testing.T) {
	for _, tt := range []struct {
		name    string
		options sandbox.Options
		want    bool
	}{
		{"example", sandbox.Options{}, true},
		{"over TCP", sandbox.Options{TCP: true}, false},
		{"small buffers", sandbox.Options{HAProxyEnv: smallBuffers}, false},
	} {
		t.Run(tt.name, func(t *testing.T) {
			onEach(t, slices.DeleteFunc(slices.Clone(haproxySeries()), beforeMux), func(t *testing.T, haproxy string) {
				const calls = 16
				tt.options.HAProxy = haproxy
				w := startWaiting(t, tt.options)
				w.begin(calls)
				if ended := w.settled(calls); ended > 0 {
					t.Errorf("ended: %s", enumerate(w.ended()))
				}
				if connections := w.metric("spop_connections"); (connections < calls) != tt.want {
					t.Errorf("%d requests wait on %d connections; want several on one: %t", calls, connections, tt.want)
				}
				if got, want := enumerate(w.release()), fmt.Sprintf("%d × 200", calls); got != want {
					t.Errorf("got %s, want %s", got, want)
				}
			})
		})
	}
}

// load is a running load that a test looks at.
type load struct {
	*sandbox.Load
	t     *testing.T
	s     *sandbox.Sandbox
	shots []sandbox.Shot
	began time.Time
	kills int // how often the agent was killed: as many audit lines may be cut off
}

func startLoad(t *testing.T, s *sandbox.Sandbox, clients int) *load {
	t.Helper()
	l, err := s.StartLoad(t.Context(), clients)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Stop() })
	return &load{Load: l, t: t, s: s, began: time.Now()}
}

// wait waits until n more calls have ended.
func (l *load) wait(n int) {
	l.t.Helper()
	ctx, cancel := context.WithTimeoutCause(l.t.Context(), time.Minute, fmt.Errorf("a minute has passed"))
	defer cancel()
	if err := l.Wait(ctx, n); err != nil {
		l.t.Fatal(err)
	}
}

// stop ends the load, checks that nobody was let through without a record of the agent's, and returns the calls that were not answered 200.
func (l *load) stop() (failed []sandbox.Shot) {
	l.t.Helper()
	l.shots = l.Stop()
	l.allowedAreRecorded()
	for _, shot := range l.shots {
		if shot.Status != http.StatusOK {
			failed = append(failed, shot)
		}
	}
	return failed
}

// allowedAreRecorded checks that each call that was answered 200, and each that Vertex AI has seen, has a record of an allow.
func (l *load) allowedAreRecorded() {
	l.t.Helper()
	audit, torn, err := l.s.AuditAfterKill()
	if err != nil {
		l.t.Fatal(err)
	}
	if torn > 0 {
		l.t.Logf("%d audit lines were cut off by the end of an agent", torn)
	}
	if torn > l.kills {
		l.t.Errorf("%d audit lines are broken after %d kills", torn, l.kills)
	}
	allowed := map[any]bool{}
	for _, record := range audit {
		if record["decision"] == "allow" {
			allowed[record["traceparent"]] = true
		}
	}
	for _, shot := range l.shots {
		if shot.Status == http.StatusOK && !allowed[shot.Trace] {
			l.t.Errorf("call %s was answered 200 and the agent has no record of an allow", shot.Trace)
		}
	}
	received := l.s.World.Vertex.Take() // the last 10,000
	seen := map[string]bool{}
	for _, r := range received {
		trace := r.Header.Get("Traceparent")
		if !allowed[trace] || r.Account != sandbox.Search {
			l.t.Errorf("Vertex AI received call %q as %q, allowed: %t", trace, r.Account, allowed[trace])
		}
		if seen[trace] {
			l.t.Errorf("Vertex AI received call %q twice", trace)
		}
		seen[trace] = true
	}
	if len(received) == 0 {
		l.t.Error("Vertex AI received nothing")
	}
}

// report logs the figures of the run.
func (l *load) report(failed []sandbox.Shot) {
	l.t.Helper()
	took := time.Since(l.began)
	var waits []time.Duration
	for _, shot := range l.shots {
		waits = append(waits, shot.Ended.Sub(shot.Began))
	}
	slices.Sort(waits)
	l.t.Logf("%d calls in %s (%.0f/s), %d failed%s%s; median %s, p99 %s, longest %s", len(l.shots), took.Round(time.Millisecond),
		float64(len(l.shots))/took.Seconds(), len(failed), tally(failed), l.spoeErrors(), waits[len(waits)/2], waits[len(waits)*99/100],
		waits[len(waits)-1])
}

// spoeErrors counts what HAProxy has logged of calls that the agent did not answer.
func (l *load) spoeErrors() string {
	l.t.Helper()
	lines, err := l.s.HAProxyLog()
	if err != nil {
		l.t.Fatal(err)
	}
	counts := map[string]int{}
	for _, line := range lines {
		if code := line["spoe_error"]; code != nil && code != 0.0 {
			ms, _ := line["spoe_ms"].(float64)
			counts[fmt.Sprintf("error %v at attempt %v after %d00 ms", code, line["attempt"], int(ms)/100)]++
		}
	}
	if len(counts) == 0 {
		return ""
	}
	return " (" + enumerate(counts) + ")"
}

// tally counts shots by what came of them.
func tally(shots []sandbox.Shot) string {
	counts := map[string]int{}
	for _, shot := range shots {
		counts[shot.String()]++
	}
	if len(counts) == 0 {
		return ""
	}
	return ": " + enumerate(counts)
}

func enumerate(counts map[string]int) string {
	var all []string
	for what, n := range counts {
		all = append(all, fmt.Sprintf("%d × %s", n, what))
	}
	slices.Sort(all)
	return strings.Join(all, ", ")
}

// allSucceeded checks that every call that began after the moment was answered 200.
func (l *load) allSucceeded(after time.Time) {
	l.t.Helper()
	var failed []sandbox.Shot
	for _, shot := range l.shots {
		if shot.Began.After(after) && shot.Status != http.StatusOK {
			failed = append(failed, shot)
		}
	}
	if len(failed) > 0 {
		l.t.Errorf("%d of %d calls failed%s%s", len(failed), len(l.shots), tally(failed), l.s.Logs())
	}
}

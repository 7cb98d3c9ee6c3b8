package test

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

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
	}{{"example", nil, 2048}, {"small buffers", smallBuffers, 2048}, {"largest tokens", nil, 12_000}} {
		t.Run(tt.name, func(t *testing.T) {
			onEach(t, haproxySeries(), func(t *testing.T, haproxy string) {
				s := startSandbox(t, sandbox.Options{HAProxy: haproxy, HAProxyEnv: tt.env, TokenBytes: tt.tokenBytes})
				l := startLoad(t, s, 60)
				l.wait(calls)
				l.report(l.stop())
				l.allSucceeded(time.Time{})
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

package test

import (
	"context"
	"errors"
	"syscall"
	"testing"
	"time"

	"vertex-spoa/test/sandbox"
)

// tolerated is how many of 7,000 calls a restart of the agent may cost, all restarts of a run together.
const tolerated = 5.0 / 7000

// limited is a context for one step of a test.
func limited(t *testing.T) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeoutCause(t.Context(), 30*time.Second, errors.New("30 s have passed"))
	t.Cleanup(cancel)
	return ctx
}

// withinTolerance checks that the calls that failed were refused with an explicit 503, and that they were few.
func (l *load) withinTolerance(failed []sandbox.Shot) {
	l.t.Helper()
	l.refusedExplicitly(failed)
	if allowed := tolerated * float64(len(l.shots)); float64(len(failed)) > allowed {
		l.t.Errorf("%d of %d calls failed%s; want at most %.1f%s", len(failed), len(l.shots), tally(failed), allowed, l.s.Logs())
	}
}

// refusedExplicitly checks that each of the calls was answered, and with the one answer that stands for an agent that is not there.
func (l *load) refusedExplicitly(failed []sandbox.Shot) {
	l.t.Helper()
	var others []sandbox.Shot
	for _, shot := range failed {
		if got := shot.String(); got != "503 AGENT_UNAVAILABLE" {
			others = append(others, shot)
		}
	}
	if len(others) > 0 {
		l.t.Errorf("calls failed otherwise than with 503 AGENT_UNAVAILABLE%s%s", tally(others), l.s.Logs())
	}
}

// The new agent takes the socket over, and the old one drains: by its name, by sharing the address, or because systemd has it.
func TestAgentRestart(t *testing.T) {
	series := oldestAndNewest()
	if everything() {
		series = haproxySeries()
	}
	for _, tt := range []struct {
		name    string
		options sandbox.Options
	}{
		{"unix socket", sandbox.Options{}},
		{"TCP", sandbox.Options{TCP: true}},
		{"socket of systemd", sandbox.Options{Passed: true}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			onEach(t, series, func(t *testing.T, haproxy string) {
				o := tt.options
				o.HAProxy = haproxy
				s := startSandbox(t, o)
				l := startLoad(t, s, 16)
				for range 5 {
					l.wait(1150)
					if err := s.Handover(limited(t), syscall.SIGTERM); err != nil {
						t.Fatal(err)
					}
				}
				l.wait(1150)
				failed := l.stop()
				l.report(failed)
				l.withinTolerance(failed)
			})
		})
	}
}

// The old agent dies in the middle of its work, with the new one on the socket already.
func TestAgentKilledBesideAnother(t *testing.T) {
	onEach(t, oldestAndNewest(), func(t *testing.T, haproxy string) {
		s := startSandbox(t, sandbox.Options{HAProxy: haproxy})
		l := startLoad(t, s, 16)
		const restarts = 3
		for range restarts {
			l.wait(500)
			if err := s.Handover(limited(t), syscall.SIGKILL); err != nil {
				t.Fatal(err)
			}
			l.kills++
		}
		l.wait(500)
		failed := l.stop()
		l.report(failed)
		l.refusedExplicitly(failed)
		// At most what was under way, at each of the restarts.
		if most := 16 * restarts; len(failed) > most {
			t.Errorf("%d of %d calls failed%s; want at most %d", len(failed), len(l.shots), tally(failed), most)
		}
	})
}

// No record, no token: however often the agent is killed in the middle of its work, each call that Vertex AI has received has its line. All
// agents write the same file, which nobody mends in between.
func TestEveryForwardedCallHasItsLineAfterKills(t *testing.T) {
	kills := 3
	if everything() {
		kills = 20
	}
	onEach(t, oldestAndNewest(), func(t *testing.T, haproxy string) {
		s := startSandbox(t, sandbox.Options{HAProxy: haproxy})
		l := startLoad(t, s, 16)
		for range kills {
			l.wait(150)
			s.KillAgent()
			l.kills++
			if err := s.StartAgent(limited(t)); err != nil {
				t.Fatal(err)
			}
		}
		l.wait(150)
		failed := l.stop() // which compares what Vertex AI has received with the lines
		l.report(failed)
		l.refusedExplicitly(failed)
	})
}

// HAProxy's new workers take over from the old ones; the callers see none of it.
func TestHAProxyReload(t *testing.T) {
	onEach(t, oldestAndNewest(), func(t *testing.T, haproxy string) {
		s := startSandbox(t, sandbox.Options{HAProxy: haproxy, Workers: true})
		l := startLoad(t, s, 16)
		for range 3 {
			l.wait(500)
			if err := s.ReloadHAProxy(limited(t)); err != nil {
				t.Fatal(err)
			}
		}
		l.wait(500)
		failed := l.stop()
		l.report(failed)
		l.allSucceeded(time.Time{})
	})
}

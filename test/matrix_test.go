package test

import (
	"context"
	"fmt"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"vertex-spoa/test/sandbox"
)

// Every scenario on every HAProxy, over both kinds of socket. What `make test` has of it beside TestScenarios is the newest HAProxy.
func TestScenariosOnEveryHAProxy(t *testing.T) {
	series := haproxySeries()
	if !everything() {
		series = series[len(series)-1:]
	}
	onEach(t, series, func(t *testing.T, haproxy string) {
		for _, o := range []sandbox.Options{{HAProxy: haproxy}, {HAProxy: haproxy, TCP: true}} {
			t.Run(fmt.Sprintf("TCP %t", o.TCP), func(t *testing.T) {
				s := startSandbox(t, o)
				for _, scenario := range sandbox.Scenarios() {
					t.Run(scenario.Name, func(t *testing.T) { play(t, s, scenario) })
				}
				checkNoSecrets(t, s)
				checkLogsJoin(t, s)
			})
		}
	})
}

func play(t *testing.T, s *sandbox.Sandbox, scenario sandbox.Scenario) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	got, err := scenario.Run(ctx, s)
	if err != nil {
		t.Fatal(err)
	}
	if got != scenario.Want {
		t.Errorf("got  %s\nwant %s", got, scenario.Want)
	}
}

// complaint is what HAProxy says of a configuration that it does not like.
var complaint = regexp.MustCompile(`(?m)^\[(WARNING|ALERT|EMERG)\].*|^.*(?i:deprecat).*`)

// complaints leaves out that HAProxy runs as root: that is for the user's own configuration, and for whoever runs the tests.
func complaints(said string) string {
	bad := slices.DeleteFunc(complaint.FindAllString(said, -1), func(line string) bool { return strings.Contains(line, "was started as") })
	return strings.Join(bad, "\n")
}

// The example is clean on every HAProxy in every variant that its environment can make of it: in the check of the configuration, and in
// what HAProxy says when it starts and serves, which is more.
func TestTheExampleHasNoWarnings(t *testing.T) {
	onEach(t, haproxySeries(), func(t *testing.T, haproxy string) {
		for _, tt := range []struct {
			name    string
			env     func(t *testing.T, s *sandbox.Sandbox) []string
			workers bool
		}{
			{name: "as it is"},
			{name: "as master and worker", workers: true},
			{name: "with client certificates", env: func(_ *testing.T, s *sandbox.Sandbox) []string {
				return []string{"VERTEX_CLIENT_CA=" + s.World.CA.File()}
			}},
			{name: "with a listener without TLS", env: func(t *testing.T, s *sandbox.Sandbox) []string {
				return []string{"VERTEX_PLAIN_BIND=" + freeAddr(t), "VERTEX_BIND=" + strings.TrimPrefix(s.URL, "https://")}
			}},
			{name: "with small buffers", env: func(*testing.T, *sandbox.Sandbox) []string { return smallBuffers }},
		} {
			t.Run(tt.name, func(t *testing.T) {
				s := startSandbox(t, sandbox.Options{HAProxy: haproxy, Workers: tt.workers})
				if tt.env != nil {
					if err := s.RestartHAProxyWith(limited(t), tt.env(t, s)); err != nil {
						t.Fatal(err)
					}
				}
				if err := s.Warm(t.Context()); err != nil {
					t.Fatal(err)
				}
				said, err := s.Notices()
				if err != nil {
					t.Fatal(err)
				}
				if bad := complaints(said); bad != "" {
					t.Errorf("HAProxy says:\n%s", bad)
				}
				checkConfiguration(t, s, haproxy)
			})
		}
	})
}

// checkConfiguration runs haproxy -c on the files that the sandbox runs with, and its environment.
func checkConfiguration(t *testing.T, s *sandbox.Sandbox, haproxy string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), haproxy, append([]string{"-c"}, s.HAProxyFiles()...)...)
	cmd.Env = append(cmd.Environ(), s.HAProxyEnv()...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("haproxy -c: %v\n%s", err, out)
	}
	if bad := complaints(string(out)); bad != "" {
		t.Errorf("haproxy -c says:\n%s", bad)
	}
}

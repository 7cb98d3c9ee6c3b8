package test

import (
	"context"
	"fmt"
	"net"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"vertex-spoa/test/sandbox"
)

// events returns the audit lines of an event by their id and attempt. Two of one call are an error.
func events(t *testing.T, lines []map[string]any, event string) map[string]map[string]any {
	t.Helper()
	found := map[string]map[string]any{}
	for _, line := range lines {
		if line["event"] != event {
			continue
		}
		key := fmt.Sprint(line["id"], " ", line["attempt"])
		if found[key] != nil {
			t.Errorf("two lines %q of call %s", event, key)
		}
		found[key] = line
	}
	return found
}

// untilClosed waits until each allow has its closing, and returns all lines.
func untilClosed(t *testing.T, s *sandbox.Sandbox) []map[string]any {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	for {
		lines, torn, err := s.AuditAfterKill()
		if err != nil {
			t.Fatal(err)
		}
		open := unclosed(lines)
		if torn == 0 && len(open) == 0 {
			return lines
		}
		select {
		case <-ctx.Done():
			t.Errorf("%d allows have no closing, %q for one", len(open), first(open))
			return lines
		case <-time.After(50 * time.Millisecond):
		}
	}
}

func first(all []string) string {
	if len(all) == 0 {
		return ""
	}
	return all[0]
}

// unclosed returns the calls that were let through and have no line of their end yet.
func unclosed(lines []map[string]any) (open []string) {
	ended := map[any]bool{}
	for _, line := range lines {
		switch line["event"] {
		case "closing", "closing_missing", "undelivered":
			ended[line["id"]] = true
		}
	}
	for _, line := range lines {
		if line["decision"] == "allow" && !ended[line["id"]] {
			open = append(open, fmt.Sprint(line["id"]))
		}
	}
	return open
}

// Each call that was let through has two records: the decision, and one of its end, which says what HAProxy's own log says and what the
// decision said. Nobody else has one.
func TestEveryCallIsClosed(t *testing.T) {
	for _, way := range []sandbox.Closings{sandbox.ByDatagram, sandbox.ByRing} {
		t.Run(string(way), func(t *testing.T) {
			onEach(t, haproxySeries(), func(t *testing.T, haproxy string) {
				s := startSandbox(t, sandbox.Options{HAProxy: haproxy, Closings: way})
				for _, scenario := range sandbox.Scenarios() {
					if !strings.Contains(scenario.Name, "agent") { // killed, or stopped: another process closes its calls
						play(t, s, scenario)
					}
				}
				lines := untilClosed(t, s)
				closingsAgree(t, s, lines)
			})
		})
	}
}

// closingsAgree compares closings with the decisions and with HAProxy's log.
func closingsAgree(t *testing.T, s *sandbox.Sandbox, lines []map[string]any) {
	t.Helper()
	decisions, closings := events(t, lines, "decision"), events(t, lines, "closing")
	log, err := s.HAProxyLog()
	if err != nil {
		t.Fatal(err)
	}
	ends := map[any]map[string]any{}
	for _, line := range log {
		ends[line["id"]] = line
	}
	usage := 0
	for key, closing := range closings {
		decision, end := decisions[key], ends[closing["id"]]
		if decision == nil || end == nil || decision["decision"] != "allow" {
			t.Errorf("the closing of %s has no allow, or no line of HAProxy's", key)
			continue
		}
		for _, field := range []string{"issuer", "subject", "role", "rule", "account", "project", "location", "publisher", "model", "method", "policy",
			"stream", "token_fingerprint", "traceparent"} {
			if closing[field] != decision[field] {
				t.Errorf("%s of %s: the closing says %v, the decision %v", field, key, closing[field], decision[field])
			}
		}
		for _, field := range []string{"st", "term", "backend", "server", "bytes_in", "bytes_out", "t_queue", "t_connect", "t_response", "t_active"} {
			if closing[field] != end[field] {
				t.Errorf("%s of %s: the closing says %v, HAProxy %v", field, key, closing[field], end[field])
			}
		}
		if tokens, known := closing["usage"].(map[string]any); known {
			usage++
			for kind, n := range tokens {
				if end["usage_"+kind] != n {
					t.Errorf("%s of %s: the closing says %v, HAProxy %v", kind, key, n, end["usage_"+kind])
				}
			}
		} else if closing["usage"] != "unknown" {
			t.Errorf("usage of %s is %v", key, closing["usage"])
		}
	}
	if len(closings) < 20 || usage < 10 {
		t.Errorf("%d closings, %d of them with usage: too few to tell", len(closings), usage)
	}
}

// A call whose end HAProxy does not tell is not forgotten. Where HAProxy has told of the answer's headers, that is known.
func TestAMissingEndIsSeen(t *testing.T) {
	s := startSandbox(t, sandbox.Options{Closings: sandbox.ByDatagram, AgentFlags: []string{"--closing.wait=1s"}, HAProxyEnv: []string{"VERTEX_RESPONSES=all", "VERTEX_RESPONSE_TIMEOUT=5s"}})
	replaceFile(t, s.LogPath(), nil) // no socket any more, and nothing that the agent would replace
	if got, err := s.Search(t.Context()); err != nil || got != "200 as vx-search" {
		t.Fatalf("got %s (%v)", got, err)
	}
	lines := untilClosed(t, s)
	missing := events(t, lines, "closing_missing")
	for key, decision := range events(t, lines, "decision") {
		if m := missing[key]; decision["decision"] == "allow" && (m == nil || m["subject"] != decision["subject"] || m["st"] != 200.0) {
			t.Errorf("the end of %s is not called missing: %v", key, m)
		}
	}
	if page := string(get(t, s.AdminURL()+"/metrics")); !strings.Contains(page, `vertex_spoa_closings_total{result="missing"} 1`) {
		t.Error("the metrics do not tell of the missing closing")
	}
}

// An agent that does not come to serve, because its policy is broken for one, takes no line away from the one that does.
func TestAnAgentThatDoesNotStartTakesNoClosings(t *testing.T) {
	s := startSandbox(t, sandbox.Options{Closings: sandbox.ByDatagram, AgentFlags: []string{"--closing.wait=5s"}})
	dir := t.TempDir()
	c := exec.CommandContext(limited(t), binary, "serve", "--config="+filepath.Join(example(t), "vertex-spoa.yaml"),
		"--audit.path="+filepath.Join(dir, "audit.jsonl"), "--closing.listen=unix@"+s.LogPath(), "--spoe.listen=unix@"+filepath.Join(dir, "spoa.sock"),
		"--admin.listen=127.0.0.1:0", "--policy.dir="+filepath.Join(dir, "none"))
	if out, err := c.CombinedOutput(); err == nil || !strings.Contains(string(out), "none") {
		t.Fatalf("it ended with %v:\n%s", err, out)
	}
	settled(t, "the agent that serves has its socket again", func() bool {
		conn, err := net.Dial("unixgram", s.LogPath())
		if err == nil {
			_ = conn.Close()
		}
		return err == nil
	})
	if got := search(t, s); got != letThrough {
		t.Fatal(got)
	}
	if missing := events(t, untilClosed(t, s), "closing_missing"); len(missing) > 0 {
		t.Errorf("closings are missing: %v", missing)
	}
}

// An agent takes over from another one under load. Lines of calls that the old one let through come to the new one, which writes their ends
// without knowing the decisions, or to the old one, which still does. HAProxy itself may lose some of a ring when its connection ends.
func TestClosingsAcrossAHandover(t *testing.T) {
	onEach(t, oldestAndNewest(), func(t *testing.T, haproxy string) {
		s := startSandbox(t, sandbox.Options{HAProxy: haproxy, Closings: sandbox.ByRing, AgentFlags: []string{"--closing.wait=3s"}})
		l := startLoad(t, s, 8)
		for range 2 {
			l.wait(300)
			if err := s.Handover(limited(t), syscall.SIGTERM); err != nil {
				t.Fatal(err)
			}
		}
		l.wait(300)
		l.report(l.stop())
		var lines []map[string]any
		var open []string
		settled(t, "nearly every call has its end", func() bool {
			var err error
			if lines, _, err = s.AuditAfterKill(); err != nil {
				t.Fatal(err)
			}
			open = unclosed(lines)
			return len(open)*20 < len(lines)
		})
		joined, unjoined := 0, 0
		for _, c := range events(t, lines, "closing") {
			if c["unjoined"] == true {
				unjoined++
			} else {
				joined++
			}
		}
		missing := len(events(t, lines, "closing_missing"))
		t.Logf("%d closings are joined, %d not, %d missing, %d without", joined, unjoined, missing, len(open))
		if joined < 300 { // those of the first agent, at least
			t.Error("too few closings are joined")
		}
	})
}

// settled waits until ok.
func settled(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(30 * time.Second); !ok(); {
		if time.Now().After(end) {
			t.Errorf("waited in vain until %s", what)
			return
		}
		<-time.After(50 * time.Millisecond)
	}
}

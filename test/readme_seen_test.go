package test

import (
	"encoding/json"
	"flag"
	"net/http"
	"os"
	"regexp"
	"strings"
	"testing"

	"vertex-spoa/test/sandbox"
)

var update = flag.Bool("update", false, "write anew what the README shows of a call")

// seen are the lines that one call leaves behind, as the README shows them, by the mark of the block.
func seen(t *testing.T) map[string]string {
	t.Helper()
	s := startSandbox(t, sandbox.Options{Closings: sandbox.ByDatagram})
	token, err := s.Caller("search-eng")
	if err != nil {
		t.Fatal(err)
	}
	result, err := s.Do(t.Context(), sandbox.Call{
		Target: "/v1/projects/acme-ai/locations/europe-west1/publishers/google/models/gemini-2.5-flash:streamGenerateContent?alt=sse", Token: token,
		Header: http.Header{"User-Agent": {"python-genai"}, "Traceparent": {"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"}},
		Body:   `{"contents":[{"role":"user","parts":[{"text":"Say hello."}]}]}`,
	})
	if err != nil || result.Status != http.StatusOK {
		t.Fatalf("got %v (%v)", result, err)
	}
	untilClosed(t, s)
	audit, err := os.ReadFile(s.AuditPath())
	if err != nil {
		t.Fatal(err)
	}
	haproxy, err := os.ReadFile(s.HAProxyLogPath())
	if err != nil {
		t.Fatal(err)
	}
	found := map[string]string{}
	for line := range strings.Lines(string(audit) + string(haproxy)) {
		switch {
		case !strings.HasPrefix(line, "{") || !strings.Contains(line, "streamGenerateContent"):
		case strings.Contains(line, `"event":"decision"`):
			found["decision"] = line
		case strings.Contains(line, `"event":"closing"`):
			found["closing"] = line
		case strings.Contains(line, `"spoe_ms"`):
			found["haproxy"] = line
		}
	}
	return found
}

// variable matches what differs from call to call: times, ids, addresses, digests and what was measured.
var variable = regexp.MustCompile(`\d{4}-\d\d-\d\dT[\d:.]+Z|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|\b[0-9a-f]{64}\b|"(token_fingerprint|jti)":"[0-9a-f]{16}"|"src_port":\d+|"t_\w+":\d+|"spoe_ms":\d+|"bytes_\w+":\d+`)

// What the README shows of a call is what one leaves behind, but for what differs from call to call.
func TestReadmeShowsWhatYouWillSee(t *testing.T) {
	left := seen(t)
	text, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range blocksFor(t, readsRecord) {
		_, kind, _ := strings.Cut(b.mark, ": ")
		got := broken(t, left[kind])
		if *update {
			text = []byte(strings.Replace(string(text), "<!-- "+b.mark+" -->\n```json\n"+b.text, "<!-- "+b.mark+" -->\n```json\n"+got, 1))
			continue
		}
		if shown := variable.ReplaceAllString(unbroken(b.text), "*"); shown != variable.ReplaceAllString(unbroken(got), "*") {
			t.Errorf("README.md:%d: the %s of a call is not what is shown; run this test with -update:\n%s", b.line, kind, got)
		}
	}
	if *update {
		if err := os.WriteFile("../README.md", text, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// broken breaks a line of JSON for a reader, between members and where the margin is.
func broken(t *testing.T, line string) string {
	t.Helper()
	if !json.Valid([]byte(line)) {
		t.Fatalf("no JSON: %q", line)
	}
	var b strings.Builder
	width := 0
	for _, part := range regexp.MustCompile(`,"`).Split(strings.TrimSpace(line), -1) {
		if b.Len() > 0 {
			part = `"` + part
			if width+len(part)+1 > 138 {
				b.WriteString(",\n ")
				width = 1
			} else {
				b.WriteString(",")
				width++
			}
		}
		b.WriteString(part)
		width += len(part)
	}
	return b.String() + "\n"
}

// unbroken takes the breaks out again.
func unbroken(text string) string {
	return strings.ReplaceAll(strings.TrimSpace(text), "\n ", "")
}

// The settings of the README are taken.
func TestTheSettingsOfTheReadmeLoad(t *testing.T) {
	for _, b := range blocksFor(t, readsSettings) {
		w := newWorkbench(t)
		w.write(t, "vertex-spoa.yaml", b.text, 0o600)
		if code, output := w.shell(t, "vertex-spoa check --config=vertex-spoa.yaml --policy.dir=policy.d"); code != 0 {
			t.Errorf("README.md:%d: vertex-spoa check ended with %d:\n%s", b.line, code, output)
		}
	}
}

// The commands of the README that ask the audit log find something in the log of a sandbox.
func TestReadmeAsksTheAuditLog(t *testing.T) {
	s := startSandbox(t, sandbox.Options{Closings: sandbox.ByDatagram})
	for _, scenario := range sandbox.Scenarios() {
		if strings.HasPrefix(scenario.Name, "role ") {
			play(t, s, scenario)
		}
	}
	untilClosed(t, s)
	log, err := os.ReadFile(s.AuditPath())
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range blocksFor(t, asksAudit) {
		w := newWorkbench(t)
		commands := strings.ReplaceAll(b.text, "/etc/vertex-spoa/policy.d", "policy.d")
		commands = strings.ReplaceAll(commands, "/var/log/vertex-spoa/", "")
		w.write(t, "audit.jsonl", string(log), 0o600)
		for command := range strings.Lines(commands) {
			if command = strings.TrimSpace(command); command == "" {
				continue
			}
			if code, output := w.shell(t, command); code != 0 || strings.TrimSpace(output) == "" {
				t.Errorf("README.md:%d: %s ended with %d and said %q", b.line, command, code, output)
			}
		}
	}
}

package test

import (
	"bytes"
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
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

// binary is the built program. It is built once for all tests of the package.
var binary string

func TestMain(m *testing.M) {
	dir, err := os.MkdirTemp("", "vertex-spoa-bin-")
	if err != nil {
		panic(err)
	}
	binary = filepath.Join(dir, "vertex-spoa")
	build := exec.Command("go", "build", "-o", binary, "../agent/cmd/vertex-spoa")
	if out, err := build.CombinedOutput(); err != nil {
		panic(fmt.Sprintf("build: %v\n%s", err, out))
	}
	code := m.Run()
	_ = os.RemoveAll(dir)
	os.Exit(code)
}

func example(t testing.TB) string {
	t.Helper()
	dir, err := filepath.Abs("../haproxy-example")
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

func startSandbox(t testing.TB, o sandbox.Options) *sandbox.Sandbox {
	t.Helper()
	o.Binary, o.Example = cmp.Or(o.Binary, binary), example(t)
	if o.Dir == "" {
		o.Dir = t.TempDir()
	}
	s, err := sandbox.Start(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(s.Close)
	return s
}

// Every scenario of the demonstration is a test, over both kinds of socket between HAProxy and the agent.
func TestScenarios(t *testing.T) {
	for _, tt := range []struct {
		name string
		o    sandbox.Options
	}{{"unix socket", sandbox.Options{}}, {"TCP", sandbox.Options{TCP: true}}} {
		t.Run(tt.name, func(t *testing.T) {
			s := startSandbox(t, tt.o)
			for _, scenario := range sandbox.Scenarios() {
				t.Run(scenario.Name, func(t *testing.T) {
					ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
					defer cancel()
					got, err := scenario.Run(ctx, s)
					if err != nil {
						t.Fatal(err)
					}
					if got != scenario.Want {
						t.Errorf("got  %s\nwant %s", got, scenario.Want)
					}
				})
			}
			checkNoSecrets(t, s)
			checkLogsJoin(t, s)
		})
	}
}

// checkNoSecrets looks for tokens, of callers and of Google, in everything that was written anywhere.
func checkNoSecrets(t *testing.T, s *sandbox.Sandbox) {
	t.Helper()
	secrets := []string{"eyJ", "ya29.", "AIzaEvil"} // how every JWT and every access token begins; an API key a scenario sends
	if err := s.Warm(t.Context()); err != nil {
		t.Fatal(err)
	}
	received := s.World.Vertex.Take()
	if len(received) == 0 || !strings.HasPrefix(received[0].Header.Get("Authorization"), "Bearer ya29.") {
		t.Fatalf("Vertex AI did not receive a token that begins as expected, so the search below proves nothing")
	}
	texts := map[string][]byte{"metrics": get(t, s.AdminURL()+"/metrics"), "readyz": get(t, s.AdminURL()+"/readyz")}
	for _, file := range []string{"agent.log", "audit.jsonl", "haproxy.log"} {
		text, err := os.ReadFile(filepath.Join(s.Dir, file))
		if err != nil {
			t.Fatal(err)
		}
		texts[file] = text
	}
	for name, text := range texts {
		if len(text) == 0 {
			t.Errorf("%s is empty", name)
		}
		for _, secret := range secrets {
			if at := bytes.Index(text, []byte(secret)); at >= 0 {
				t.Errorf("%s holds %q: …%s…", name, secret, text[max(0, at-80):min(len(text), at+20)])
			}
		}
	}
}

func get(t *testing.T, url string) []byte {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil || res.StatusCode != http.StatusOK {
		t.Fatalf("GET %s: status %d, %v", url, res.StatusCode, err)
	}
	return text
}

// joined are the fields that HAProxy's log line and the audit line share.
var joined = []string{"decision", "reason", "issuer", "subject", "role", "rule", "account", "policy", "location", "http_method", "src"}

// checkLogsJoin pairs HAProxy's log with the audit log by id: what HAProxy was told is what was recorded, and nothing was forwarded
// without a record.
func checkLogsJoin(t *testing.T, s *sandbox.Sandbox) {
	t.Helper()
	audit, err := s.Audit()
	if err != nil {
		t.Fatal(err)
	}
	records := events(t, audit, "decision")
	lines, err := s.HAProxyLog()
	if err != nil {
		t.Fatal(err)
	}
	decided := 0
	for _, line := range lines {
		decision := line["decision"]
		if decision == "" { // refused before the agent was asked, or the agent did not answer
			continue
		}
		decided++
		record := records[fmt.Sprint(line["id"], " ", line["attempt"])]
		if record == nil {
			t.Errorf("HAProxy logged a decision without a record: %v", line)
			continue
		}
		for _, field := range joined {
			want := record[field]
			if want == nil {
				want = ""
			}
			if field == "reason" && line[field] == "UPSTREAM_CREDENTIAL_REJECTED" {
				continue // Google's refusal came after the decision
			}
			if line[field] != want {
				t.Errorf("%s of %v: HAProxy logged %q, the record says %q", field, line["id"], line[field], want)
			}
		}
	}
	if decided < len(sandbox.Scenarios())/2 {
		t.Errorf("only %d of HAProxy's %d log lines have a decision", decided, len(lines))
	}
}

// No record, no token: a full disk under the audit log stops every allow, and the caller learns why.
func TestAFullDiskUnderTheAuditLogDenies(t *testing.T) {
	s := startSandbox(t, sandbox.Options{AgentFlags: []string{"--audit.path=/dev/full"}})
	got, err := s.Search(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if want := "503 AUDIT_UNAVAILABLE, nothing forwarded"; got != want {
		t.Errorf("got %s, want %s", got, want)
	}
}

// Without a policy there is no agent; the problem is told with file and line, and the exit code says that it did not load.
func TestAPolicyThatDoesNotLoadAtStartIsFatal(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "bad.yaml"), []byte("version: 1\nruls: {}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), binary, "serve", "--policy.dir="+dir, "--admin.listen=none",
		"--spoe.listen=unix@"+filepath.Join(dir, "s.sock"))
	out, err := cmd.CombinedOutput()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != 3 {
		t.Errorf("exit %v, want code 3", err)
	}
	for _, want := range []string{`unknown key "ruls" (did you mean "rules"?)`, "bad.yaml:2:1"} {
		if !strings.Contains(string(out), want) {
			t.Errorf("the output lacks %q:\n%s", want, out)
		}
	}
}

// The first command of the README, as it stands there. The excerpt of its output in the README is what comes out, but for ids.
func TestMakeDemo(t *testing.T) {
	cmd := makeCommand(t, "demo")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("make demo: %v\n%s", err, out)
	}
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	if got, want := lines[len(lines)-1], fmt.Sprintf("%d passed, 0 failed", len(sandbox.Scenarios())); got != want {
		t.Errorf("last line %q, want %q", got, want)
	}
	readme, err := os.ReadFile("../README.md")
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(readme), "make demo\n```\n\n```\n")
	excerpt, _, _ := strings.Cut(rest, "\n```\n")
	got := plain(string(out))
	if n := strings.Count(excerpt, "\n"); n < 10 {
		t.Fatalf("the README's excerpt has %d lines", n)
	}
	for line := range strings.Lines(excerpt) {
		if line = strings.TrimSpace(plain(line)); line != "…" && !strings.Contains(got, line) {
			t.Errorf("the README shows a line that does not come out: %s", line)
		}
	}
}

// makeCommand runs make as a person would, also where make runs these tests.
func makeCommand(t *testing.T, target string) *exec.Cmd {
	cmd := exec.CommandContext(t.Context(), "make", target)
	cmd.Dir = ".."
	cmd.Env = slices.DeleteFunc(os.Environ(), func(v string) bool { return strings.HasPrefix(v, "MAKE") || strings.HasPrefix(v, "MFLAGS") })
	return cmd
}

var varying = regexp.MustCompile(`[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|\b[0-9a-f]{16}\b|\d+ audit lines`)

// plain is the text with single spaces and without what differs from run to run.
func plain(text string) string {
	text = regexp.MustCompile(`[ \t]+`).ReplaceAllString(text, " ")
	return varying.ReplaceAllString(text, "*")
}

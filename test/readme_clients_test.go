package test

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"vertex-spoa/test/sandbox"
)

// gateway is what the README calls HAProxy's listener.
const gateway = "https://gateway.example.com:8443"

// The Go of the README, as it stands there, gets an answer through HAProxy.
func TestTheGoOfTheReadme(t *testing.T) {
	s := startSandbox(t, sandbox.Options{})
	token, err := s.Caller("search-eng")
	if err != nil {
		t.Fatal(err)
	}
	for _, b := range blocksFor(t, runsGo) {
		dir := t.TempDir()
		program := `package main

import (
	"context"
	"fmt"
	"net/http"
	"os"

	"google.golang.org/genai"
)

func main() {
	ctx, jwt := context.Background(), os.Getenv("JWT")
` + strings.ReplaceAll(b.text, gateway, s.URL) + `
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	answer, err := client.Models.GenerateContent(ctx, "gemini-2.5-flash", genai.Text("Say hello."), nil)
	if err != nil {
		fmt.Println(err)
		os.Exit(1)
	}
	fmt.Println(answer.Text())
}
`
		// The program is one of this module's, in a folder that is not there.
		here, err := filepath.Abs(".")
		if err != nil {
			t.Fatal(err)
		}
		w := &workbench{dir: dir, env: []string{"JWT=" + token, "SSL_CERT_FILE=" + s.World.CA.File()}}
		source := w.write(t, "main.go", program, 0o600)
		overlay, err := json.Marshal(map[string]any{"Replace": map[string]string{filepath.Join(here, "of-the-readme", "main.go"): source}})
		if err != nil {
			t.Fatal(err)
		}
		build := exec.CommandContext(limited(t), "go", "build", "-overlay", w.write(t, "overlay.json", string(overlay), 0o600),
			"-o", filepath.Join(dir, "program"), "./of-the-readme")
		if out, err := build.CombinedOutput(); err != nil {
			t.Fatalf("README.md:%d: %v\n%s", b.line, err, out)
		}
		if code, out := w.run(t, filepath.Join(dir, "program")); code != 0 || strings.TrimSpace(out) != sandboxText {
			t.Errorf("README.md:%d: exit %d: %s", b.line, code, out)
		}
	}
}

// The JavaScript of the README, as it stands there and all in one program, gets its answers through HAProxy.
func TestTheJavaScriptOfTheReadme(t *testing.T) {
	node := findNode(t)
	s := startSandbox(t, sandbox.Options{})
	token, err := s.Caller("research")
	if err != nil {
		t.Fatal(err)
	}
	program := "const jwt = process.env.JWT;\nconsole.log = (what) => process.stdout.write(`${JSON.stringify(what)}\\n`);\n"
	answers := 0
	for _, b := range blocksFor(t, runsNode) {
		program += b.text
		answers += strings.Count(b.text, "console.log(")
	}
	if answers < 3 {
		t.Fatalf("the README prints %d answers", answers)
	}
	p, err := node.Start(limited(t), filepath.Join(s.Dir, "readme.log"), []string{"JWT=" + token, "NODE_EXTRA_CA_CERTS=" + s.World.CA.File()},
		"--input-type=module", "--eval", strings.ReplaceAll(program, gateway, s.URL))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	for range answers {
		var got string
		if err := p.Line(&got); err != nil {
			t.Fatal(err)
		}
		if got != sandboxText {
			t.Errorf("got %q, want %q", got, sandboxText)
		}
	}
	if got := len(s.World.Vertex.Take()); got != answers {
		t.Errorf("Vertex AI was asked %d times, want %d", got, answers)
	}
}

// The options that the README gives the clients from npm are those that the tests of the clients use.
func TestTheClientsOfTheReadmeAreThoseThatAreTested(t *testing.T) {
	text, err := os.ReadFile("provider/clients.mjs")
	if err != nil {
		t.Fatal(err)
	}
	tested := strings.NewReplacer("`", "'", "${gateway}", gateway, "${project}", "acme-ai", "${location}", "europe-west1").Replace(string(text))
	tested = regexp.MustCompile(`\s+`).ReplaceAllString(tested, " ")
	for _, b := range blocksFor(t, runsNode) {
		for _, line := range strings.Split(b.text, "\n") {
			line = strings.TrimSpace(strings.NewReplacer("holder(jwt)", "holder(token)", "apiKey: jwt", "apiKey: token").Replace(line))
			option := regexp.MustCompile(`^(baseURL|apiKey|authClient|googleAuthOptions|vertexai|client\.|import ).*$`).FindString(line)
			if option != "" && !strings.Contains(tested, option) {
				t.Errorf("README.md:%d: the tests of the clients do not use this: %s", b.line, option)
			}
		}
	}
}

// What the README tells Claude Code is what its documentation names, and makes it ask for paths that the example's policy judges. Claude
// Code itself is not run.
func TestTheEnvironmentOfClaudeCodeInTheReadme(t *testing.T) {
	for _, b := range blocksFor(t, runsClaude) {
		w := newWorkbench(t, "JWT=a.b.c")
		w.write(t, "stubs/claude", "#!/bin/sh\nenv\n", 0o700)
		w.write(t, "claims.json", `{"sub": "rae", "groups": "research"}`, 0o600)
		code, out := w.shell(t, b.text)
		if code != 0 {
			t.Fatalf("README.md:%d: exit %d\n%s", b.line, code, out)
		}
		env := map[string]string{}
		for line := range strings.Lines(out) {
			name, value, _ := strings.Cut(strings.TrimSpace(line), "=")
			env[name] = value
		}
		for name, want := range map[string]string{
			"CLAUDE_CODE_USE_VERTEX": "1", "CLAUDE_CODE_SKIP_VERTEX_AUTH": "1", "ANTHROPIC_AUTH_TOKEN": "a.b.c",
			"ANTHROPIC_VERTEX_BASE_URL": gateway + "/v1", "ANTHROPIC_VERTEX_PROJECT_ID": "acme-ai", "CLOUD_ML_REGION": "europe-west1",
		} {
			if env[name] != want {
				t.Errorf("README.md:%d: %s=%q, want %q", b.line, name, env[name], want)
			}
		}
		// Anthropic's SDK for Vertex AI, which Claude Code uses, appends these to the base URL.
		models := env["ANTHROPIC_VERTEX_BASE_URL"] + "/projects/" + env["ANTHROPIC_VERTEX_PROJECT_ID"] + "/locations/" + env["CLOUD_ML_REGION"] + "/publishers/anthropic/models/"
		body := w.write(t, "body.json", `{"model": "claude-sonnet-4-5@20250929", "messages": [{"role": "user", "content": "Say hello."}]}`, 0o600)
		for call, more := range map[string][]string{
			"claude-sonnet-4-5@20250929:rawPredict": nil, "claude-sonnet-4-5@20250929:streamRawPredict": nil, "count-tokens:rawPredict": {"--body=" + body},
		} {
			args := slices.Concat([]string{"policy", "explain", "policy.d", "--claims=claims.json", "--issuer=corp", "--path=" + models + call}, more)
			if code, out := w.run(t, binary, args...); code != 0 || !strings.Contains(out, "allow research research-anything") {
				t.Errorf("%s: exit %d\n%s", call, code, out)
			}
		}
	}
}

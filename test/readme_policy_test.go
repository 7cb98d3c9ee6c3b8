package test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"vertex-spoa/test/fake"
	"vertex-spoa/test/sandbox"
)

// frame is a policy that the README's snippets are parts of: a section that a snippet has itself is left out.
var frame = []struct{ section, text string }{
	{"version", "version: 1\n"},
	{"defaults", "defaults: { project: acme-ai, locations: [europe-west1, europe-west4], methods: [generate, stream, count, embed, list] }\n"},
	{"issuers", "issuers: { corp: { url: https://login.example.com, audience: vertex }, github: { url: https://token.actions.githubusercontent.com, audience: vertex } }\n"},
	{"roles", `roles:
  search:   { as: vx-search,     who: { corp: { groups: search-eng } } }
  support:  { as: vx-support,    who: { corp: { groups: support } } }
  research: { as: vx-research,   who: { corp: { groups: research } } }
  ci:       { as: vx-ci,         who: { github: { repository: acme/* } } }
  oncall:   { as: vx-breakglass, who: { corp: { groups: oncall } } }
`},
	{"rules", "rules: { embeddings: { allow: \"*\", models: text-embedding-005 } }\n"},
}

// has reports whether a snippet has a section of a policy.
func (b *block) has(section string) bool { return strings.Contains("\n"+b.text, "\n"+section+":") }

// issuers are the names of the issuers in a snippet.
func (b *block) issuers() (names []string) {
	_, section, _ := strings.Cut("\n"+b.text, "\nissuers:\n")
	for _, match := range regexp.MustCompile(`(?m)^  ([a-z0-9-]+):`).FindAllStringSubmatch(section, -1) {
		names = append(names, match[1])
	}
	return names
}

// completed is the frame without what the snippet has itself. Where the snippet has issuers, each has callers.
func (b *block) completed() string {
	var text strings.Builder
	for _, part := range frame {
		switch {
		case part.section == "version":
			text.WriteString(part.text)
		case part.section == "roles" && b.has("issuers") && !b.has("roles"):
			text.WriteString("roles:\n")
			for _, name := range b.issuers() {
				fmt.Fprintf(&text, "  of-%s: { as: vx-search, who: { %s: { sub: somebody } } }\n", name, name)
			}
		case !b.has(part.section):
			text.WriteString(part.text)
		}
	}
	return text.String()
}

// decisions are tests of what the README says of a snippet, by a word of its rules.
var decisions = map[string]string{
	"support-assistant": `callers:
  sue: { corp: { sub: sue, groups: support } }
  sam: { corp: { sub: sam, groups: search-eng } }
tests:
  - { as: sue, call: "gemini-2.5-flash:generateContent", body: { generationConfig: { maxOutputTokens: 1024 } }, want: allow support support-assistant }
  - { as: sue, call: "gemini-2.5-flash:generateContent", body: { generationConfig: { maxOutputTokens: 1025 } }, want: deny NO_RULE }
  - { as: sue, call: "gemini-2.5-flash:generateContent", body: { contents: [] }, want: deny NO_RULE }
  - { as: sue, call: "gemini-2.5-flash:generateContent", body: truncated, want: deny BODY_TRUNCATED }
  - { as: sam, call: "gemini-2.5-flash:generateContent", body: { tools: [{ googleSearch: {} }] }, want: allow search }
  - { as: sam, call: "gemini-2.5-flash:generateContent", body: { tools: [{ codeExecution: {} }] }, want: deny NO_RULE }
`,
	"research-claude": `callers:
  rae:  { corp: { sub: rae, groups: research } }
  sam:  { corp: { sub: sam, groups: search-eng } }
  sue:  { corp: { sub: sue, groups: support } }
  olga: { corp: { sub: olga, groups: oncall } }
  ci:   { github: { sub: ci, repository: acme/app } }
tests:
  - { as: rae, call: "anthropic/claude:rawPredict @europe-west1", at: 2026-11-20T12:00:00Z, want: allow research research-claude,
      uri: /v1/projects/acme-ai/locations/europe-west1/publishers/anthropic/models/claude-sonnet-4-5@20250929:rawPredict }
  - { as: sam, call: "gemini-2.5-pro:generateContent @europe-west1", at: 2026-11-20T12:00:00Z, want: allow search search-cheaper,
      uri: /v1/projects/acme-ai/locations/europe-west1/publishers/google/models/gemini-2.5-flash:generateContent }
  - { as: sam, call: "gemini-2.5-pro:generateContent", at: 2026-11-20T22:00:00Z, want: deny DENIED no-nights }
  - { as: ci, call: "gemini-2.5-flash:generateContent", at: 2026-11-20T12:00:00Z, want: allow ci ci-on-spare-capacity }
  - { as: rae, call: "gemini-2.5-flash:generateContent", headers: { X-Vertex-AI-LLM-Shared-Request-Type: priority }, want: allow research research-in-a-hurry }
  - { as: rae, call: "gemini-2.5-flash:generateContent", headers: { X-Vertex-AI-LLM-Shared-Request-Type: flex }, want: deny NO_RULE }
  - { as: olga, call: "gemini-2.5-pro:generateContent", at: 2026-11-20T22:00:00Z, reason: incident 4711, want: allow oncall oncall-break-glass }
  - { as: olga, call: "gemini-2.5-pro:generateContent", at: 2026-11-20T12:00:00Z, want: deny REASON_REQUIRED }
  - { as: sue, call: "gemini-2.5-pro:generateContent", want: deny NO_RULE, shadow: no-pro-for-support }
  - { as: rae, call: "endpoints/1234567890:predict @europe-west4", want: allow research fraud-model }
  - { as: sam, call: "POST /v1/projects/acme-ai/locations/europe-west1/cachedContents", at: 2026-11-20T12:00:00Z, want: allow search search-caches,
      body: { model: projects/acme-ai/locations/europe-west1/publishers/google/models/gemini-2.5-flash } }
  - { as: sam, call: "GET /v1/projects/acme-ai/locations/europe-west1/cachedContents/4711", at: 2026-11-20T12:00:00Z, want: allow search search-caches }
  - { as: rae, call: "POST /v1/projects/acme-ai/locations/europe-west1/cachedContents", want: deny NO_RULE }
`,
	"research-anything": `callers:
  sam: { corp: { sub: sam, groups: search-eng } }
  rae: { corp: { sub: rae, groups: [search-eng, research] } }
  con: { corp: { sub: con, groups: research, contractor: true } }
tests:
  - { as: sam, call: "gemini-2.5-flash:generateContent @europe-west4", want: allow search search-gemini, account: vx-search }
  - { as: sam, call: "gemini-2.5-flash:generateContent @us-central1", want: deny NO_RULE }
  - { as: sam, call: "gemini-2.5-flash-preview:generateContent", want: deny DENIED preview-models }
  - { as: rae, call: "gemini-2.5-flash:generateContent", want: allow search }
  - { as: rae, call: "gemini-2.5-flash:generateContent", role: research, want: allow research research-anything }
  - { as: rae, call: "gemini-3-pro-preview:generateContent", want: allow research }
  - { as: con, call: "gemini-3-pro:generateContent", want: deny NO_RULE }
`,
	"translate-flash": `callers:
  tom: { corp: { sub: tom, groups: translate } }
tests:
  - { as: tom, call: "gemini-2.5-flash:generateContent @europe-west1", want: allow translate-live translate-flash, account: vx-translate }
`,
}

// Each policy of the README, completed where it is a part of one, loads: into the tools, and with its issuers into the agent. What the
// README says of it is what it decides.
func TestThePoliciesOfTheReadme(t *testing.T) {
	blocks := readmeBlocks(t)
	for i, b := range blocks {
		if b.purpose() != loadsPolicy {
			continue
		}
		t.Run(fmt.Sprintf("line %d", b.line), func(t *testing.T) {
			t.Parallel()
			w := newWorkbench(t, "HTTPS_PROXY=http://127.0.0.1:1", "GCE_METADATA_HOST=127.0.0.1:1")
			if err := os.RemoveAll(filepath.Join(w.dir, "policy.d")); err != nil {
				t.Fatal(err)
			}
			text := b.text
			if !b.has("version") {
				text = "version: 1\n" + text
			}
			all := text
			w.write(t, "policy.d/20-snippet.yaml", strings.ReplaceAll(text, "/var/run/", w.dir+"/run/"), 0o600)
			w.write(t, "policy.d/10-frame.yaml", b.completed(), 0o600)
			for _, next := range blocks[i+1:] {
				if next.purpose() != includesFile || next.before != b {
					break
				}
				name, _ := strings.CutPrefix(next.mark, "included: ")
				w.write(t, "policy.d/"+name, next.text, 0o600)
				all += next.text
			}
			w.certificates(t)
			if code, out := w.run(t, binary, "policy", "check", "policy.d"); code != 0 {
				t.Fatalf("policy check: exit %d\n%s", code, out)
			}
			if b.has("issuers") {
				w.loadsIntoTheAgent(t, b)
			}
			for rule, tests := range decisions {
				if strings.Contains(all, "\n  "+rule+":") {
					w.write(t, "policy.d/readme_test.yaml", tests, 0o600)
					if code, out := w.run(t, binary, "policy", "test", "policy.d"); code != 0 {
						t.Errorf("policy test: exit %d\n%s", code, out)
					}
				}
			}
		})
	}
}

// certificates writes the authorities that the snippets name.
func (w *workbench) certificates(t *testing.T) {
	t.Helper()
	ca, err := fake.NewCA(filepath.Join(w.dir, "ca"))
	if err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(ca.File())
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"machines-ca.pem", "policy.d/machines-ca.pem", "run/secrets/kubernetes.io/serviceaccount/ca.crt"} {
		w.write(t, name, string(text), 0o600)
	}
	w.write(t, "run/secrets/kubernetes.io/serviceaccount/token", "a.b.c", 0o600)
}

// loadsIntoTheAgent checks that the issuers are such as the agent takes. The doctor, which makes them, is told of a proxy that is not there,
// and can say no more of each than that.
func (w *workbench) loadsIntoTheAgent(t *testing.T, b *block) {
	t.Helper()
	code, out := w.run(t, binary, "doctor", "--policy.dir=policy.d", "--timeout=10s")
	if code != 1 {
		t.Fatalf("doctor: exit %d, want 1\n%s", code, out)
	}
	reasons := regexp.MustCompile(`(?m)^. issuer (\S+).*\n    ([A-Z_]+):`).FindAllStringSubmatch(out, -1)
	seen := map[string]string{}
	for _, match := range reasons {
		seen[match[1]] = match[2]
	}
	for _, name := range b.issuers() {
		if reason, failed := seen[name]; failed && reason != "PROXY_UNREACHABLE" || !failed && !strings.Contains(out, "issuer "+name) {
			t.Errorf("issuer %s: %s\n%s", name, reason, out)
		}
	}
}

// The README has a complete issuer for every profile there is.
func TestTheReadmeHasEveryProfile(t *testing.T) {
	var all strings.Builder
	for _, b := range blocksFor(t, loadsPolicy) {
		all.WriteString(b.text)
	}
	code, schema := newWorkbench(t).run(t, binary, "policy", "schema")
	profiles := regexp.MustCompile(`(?s)"profile":.*?"enum":\s*\[(.*?)\]`).FindStringSubmatch(schema)
	if code != 0 || profiles == nil {
		t.Fatalf("policy schema: exit %d, no profiles", code)
	}
	names := regexp.MustCompile(`"([a-z0-9]+)"`).FindAllStringSubmatch(profiles[1], -1)
	if len(names) < 10 {
		t.Fatalf("the schema has %d profiles", len(names))
	}
	for _, name := range names {
		if name[1] != "generic" && !strings.Contains(all.String(), "profile: "+name[1]+"\n") {
			t.Errorf("the README has no issuer of profile %s", name[1])
		}
	}
}

// The unit tests of the README pass on the example's policy.
func TestTheUnitTestsOfTheReadme(t *testing.T) {
	for _, b := range blocksFor(t, runsTests) {
		w := newWorkbench(t)
		w.write(t, "policy.d/policy_test.yaml", b.text, 0o600)
		if code, out := w.run(t, binary, "policy", "test", "policy.d"); code != 0 || !strings.Contains(out, fmt.Sprintf("ok: %d tests passed", strings.Count(b.text, "want:"))) {
			t.Errorf("README.md:%d: exit %d\n%s", b.line, code, out)
		}
		w.edit(t, "policy.d/policy_test.yaml", "want: deny NO_RULE", "want: allow")
		if code, out := w.run(t, binary, "policy", "test", "policy.d"); code != 4 {
			t.Errorf("a test that must fail: exit %d\n%s", code, out)
		}
	}
}

// The deny list of the README refuses whom it names. A key that is misspelled would not go unnoticed.
func TestTheDenyListOfTheReadme(t *testing.T) {
	for _, b := range blocksFor(t, loadsList) {
		w := newWorkbench(t)
		world, err := fake.Start(fake.Options{Dir: filepath.Join(w.dir, "ca"), Issuer: sandbox.Issuer, Audience: sandbox.Audience})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = world.Close() })
		token, err := world.IDP.Token("alice", fake.Groups("search-eng"))
		if err != nil {
			t.Fatal(err)
		}
		w.write(t, "caller.jwt", token, 0o600)
		explain := []string{"policy", "explain", "policy.d", "--token=caller.jwt", "--offline"}
		if code, out := w.run(t, binary, explain...); code != 0 || !strings.Contains(out, "alice") {
			t.Fatalf("without a deny list: exit %d\n%s", code, out)
		}
		w.write(t, "policy.d/revoked.yaml", b.text, 0o600)
		if code, out := w.run(t, binary, explain...); code != 1 || !strings.Contains(out, "REVOKED") {
			t.Errorf("README.md:%d: exit %d\n%s", b.line, code, out)
		}
		for _, key := range []string{"jti", "subject", "issuedBefore", "sid", "kid", "certificate", "certificateIssuer", "serial"} {
			w.write(t, "policy.d/revoked.yaml", strings.Replace(b.text, key+":", "x"+key+":", 1), 0o600)
			if code, out := w.run(t, binary, explain...); code == 0 || !strings.Contains(out, "x"+key) {
				t.Errorf("with x%s in the place of %s: exit %d\n%s", key, key, code, out)
			}
		}
	}
}

// The pipeline of the README passes on the example's policy, and fails on one that is worse.
func TestTheWorkflowOfTheReadme(t *testing.T) {
	command := regexp.MustCompile(`(?m)^      - run: docker run .* "\$IMAGE" (policy .*)$`)
	for _, b := range blocksFor(t, runsWorkflow) {
		found := command.FindAllStringSubmatch(b.text, -1)
		if len(found) != strings.Count(b.text, "run:") || len(found) == 0 {
			t.Fatalf("README.md:%d: not every step is understood:\n%s", b.line, b.text)
		}
		w := newWorkbench(t)
		codes := func() (all []int) {
			for _, match := range found {
				code, out := w.run(t, binary, strings.Fields(match[1])...)
				t.Logf("%s: exit %d\n%s", match[1], code, out)
				all = append(all, code)
			}
			return all
		}
		if got, want := codes(), []int{0, 0, 0}; !slices.Equal(got, want) {
			t.Errorf("README.md:%d: exit codes %v, want %v", b.line, got, want)
		}
		w.edit(t, "policy.d/20-rules.yaml", "locations: \"*\"", "locations: europe-west1")
		w.edit(t, "policy.d/20-rules.yaml", "    allow: search\n", "    allow:    search\n")
		if got, want := codes(), []int{1, 0, 4}; !slices.Equal(got, want) {
			t.Errorf("README.md:%d: exit codes %v of a worse policy, want %v", b.line, got, want)
		}
	}
}

package test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"

	"vertex-spoa/test/fake"
	"vertex-spoa/test/sandbox"
)

// usagePolicy lets one role make every call whose answer tells its use.
const usagePolicy = `version: 1
defaults:
  project: acme-ai
  locations: [europe-west1]
  methods: [generate, stream, count, embed, predict]
issuers:
  corp: { url: https://login.example.com, audience: vertex }
roles:
  all: { as: vx-search, who: { corp: { groups: all } } }
rules:
  all: { allow: all, publishers: "*", models: "*" }
`

// usageCall is a call and what its answer tells of its use, where the prompt has the given number of tokens.
type usageCall struct {
	name, target, body string
	want               func(prompt int) string
}

func usageCalls() []usageCall {
	const gemini, claude = "gemini-2.5-flash", "claude-sonnet-4-5@20250929"
	model := func(publisher, model, method string) string {
		return modelPath("europe-west1", publisher, model, method)
	}
	plain := func(n int) string { return fmt.Sprintf("input=%d output=4 total=%d", n, n+4) }
	message := func(n int) string { return fmt.Sprintf("input=%d output=4 cached=0", n) }
	prompt := func(n int) string { return fmt.Sprintf("input=%d", n) }
	both := func(n int) string { return fmt.Sprintf("input=%d total=%d", n, n) }
	nothing := func(int) string { return "" }
	const (
		contents = `"contents":[{"role":"user","parts":[{"text":"Say hello."}]}]`
		messages = `"messages":[{"role":"user","content":"Say \"usage\":{\"input_tokens\":999}."}]`
		toClaude = `{"anthropic_version":"vertex-2023-10-16","max_tokens":9,` + messages
		chat     = `{"model":"google/gemini-2.5-flash",` + messages
	)
	return []usageCall{
		{"generateContent", model("google", gemini, "generateContent"), "{" + contents + "}", plain},
		{"generateContent that thinks", model("google", gemini, "generateContent"), `{"generationConfig":{"thinkingConfig":{"thinkingBudget":99}},` + contents + "}",
			func(n int) string { return fmt.Sprintf("input=%d output=4 thoughts=28 total=%d", n, n+32) }},
		{"streamGenerateContent as events", model("google", gemini, "streamGenerateContent?alt=sse"), "{" + contents + "}", plain},
		{"streamGenerateContent as an array", model("google", gemini, "streamGenerateContent"), "{" + contents + "}", plain},
		{"countTokens", model("google", gemini, "countTokens"), "{" + contents + "}", nothing},
		{"embedContent", model("google", "gemini-embedding-001", "embedContent"), `{"content":{"parts":[{"text":"x"}]}}`, both},
		{"predict with two texts", model("google", "text-embedding-005", "predict"), `{"instances":[{"content":"x"},{"content":"y"}]}`,
			func(n int) string { return prompt(2 * n) }},
		{"Claude", model("anthropic", claude, "rawPredict"), toClaude + "}", message},
		{"Claude with a cache", model("anthropic", claude, "rawPredict"), toClaude + `,"system":[{"type":"text","text":"x","cache_control":{"type":"ephemeral"}}]}`,
			func(n int) string { return fmt.Sprintf("input=%d output=4 cached=%d", n, n/2) }},
		{"Claude as events", model("anthropic", claude, "streamRawPredict"), toClaude + `,"stream":true}`, message},
		{"Claude counts", countingPath, `{"model":"` + claude + `",` + messages + `}`, nothing},
		{"chat", chatPath, chat + "}", plain},
		{"chat that thinks", chatPath, chat + `,"reasoning_effort":"low"}`, func(n int) string { return fmt.Sprintf("input=%d output=4 thoughts=28 total=%d", n, n+32) }},
		{"chat as events", chatPath, chat + `,"stream":true,"stream_options":{"include_usage":true}}`, plain},
		{"chat as events that do not tell", chatPath, chat + `,"stream":true}`, nothing},
		{"embeddings of OpenAI's shape", embedPath, `{"model":"google/gemini-embedding-001","input":"x"}`, both},
	}
}

// usageIn is the use that a line of HAProxy's log tells, without what is unknown.
func usageIn(line map[string]any) string {
	var known []string
	for _, name := range []string{"input", "output", "thoughts", "cached", "total"} {
		if n, ok := line["usage_"+name].(float64); !ok || n >= 0 {
			known = append(known, fmt.Sprintf("%s=%v", name, line["usage_"+name]))
		}
	}
	return strings.Join(known, " ")
}

// HAProxy's line tells the use of a call of every kind, as the example has it, over both protocols.
func TestTheExampleTellsTheUseOfEveryCall(t *testing.T) {
	onEach(t, haproxySeries(), func(t *testing.T, haproxy string) {
		l := startHAProxyLog(t, true)
		s := startSandbox(t, sandbox.Options{HAProxy: haproxy, Policy: usagePolicy, HAProxyEnv: []string{l.env}})
		for _, c := range usageCalls() {
			for _, p := range protocols() {
				s.World.Vertex.Take()
				r, err := s.Do(t.Context(), sandbox.Call{Protocol: p, Target: c.target, Token: callerOf(t, s, "all"), Body: c.body,
					Header: http.Header{"Accept-Encoding": {"gzip"}}})
				if err != nil || r.Status != http.StatusOK {
					t.Fatalf("%s over %s: %v %v %s", c.name, p, r, err, r.Body)
				}
				line := l.line(r.Header.Get("X-Request-Id"))
				if got, want := usageIn(line), c.want(len(c.body)/4+1); got != want {
					t.Errorf("%s over %s: got %q, want %q", c.name, p, got, want)
				}
				for _, forwarded := range s.World.Vertex.Take() {
					if got := forwarded.Header["Accept-Encoding"]; got != nil {
						t.Errorf("%s over %s: forwarded Accept-Encoding %q", c.name, p, got)
					}
				}
			}
		}
	})
}

// Without the filter everything is unknown, and callers may have compressed answers.
func TestTheExampleWithoutTheFilter(t *testing.T) {
	onEach(t, oldestAndNewest(), func(t *testing.T, haproxy string) {
		l := startHAProxyLog(t, false)
		s := startSandbox(t, sandbox.Options{HAProxy: haproxy, HAProxyEnv: []string{l.env, "VERTEX_USAGE=off", "VERTEX_LUA=/nowhere"}})
		r, err := s.Do(t.Context(), sandbox.Call{Target: generatePath, Token: callerOf(t, s, "search-eng"), Body: promptBody,
			Header: http.Header{"Accept-Encoding": {"gzip"}}})
		if err != nil || r.Status != http.StatusOK {
			t.Fatal(r, err)
		}
		if got := usageIn(l.line(r.Header.Get("X-Request-Id"))); got != "" {
			t.Errorf("got %q, want nothing", got)
		}
		for _, forwarded := range s.World.Vertex.Take() {
			if got := forwarded.Header.Get("Accept-Encoding"); got != "gzip" {
				t.Errorf("forwarded Accept-Encoding %q, want gzip", got)
			}
		}
	})
}

// The line of a stream, of which every chunk came before the next one left, tells its use, although the model's text says otherwise.
func TestUseOfAStreamWhoseTextTellsAnother(t *testing.T) {
	onEach(t, oldestAndNewest(), func(t *testing.T, haproxy string) {
		l := startHAProxyLog(t, true)
		s := startSandbox(t, sandbox.Options{HAProxy: haproxy, HAProxyEnv: []string{l.env}})
		s.World.Vertex.Play(fake.Script{Chunks: []string{`"},"usageMetadata":{"promptTokenCount":999}}`, "\r\n\r\ndata: {\"usageMetadata\":{\"promptTokenCount\":999}}\r\n\r\n"}})
		defer s.World.Vertex.Play(fake.Script{})
		for _, target := range []string{generatePath, streamPath, strings.TrimSuffix(streamPath, "?alt=sse")} {
			r, err := s.Do(t.Context(), sandbox.Call{Target: target, Token: callerOf(t, s, "search-eng"), Body: promptBody})
			if err != nil || r.Status != http.StatusOK {
				t.Fatal(r, err)
			}
			if got, want := usageIn(l.line(r.Header.Get("X-Request-Id"))), "input=16 output=2 total=18"; got != want {
				t.Errorf("%s: got %q, want %q", target, got, want)
			}
		}
	})
}

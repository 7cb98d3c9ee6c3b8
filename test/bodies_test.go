package test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"vertex-spoa/test/fake"
	"vertex-spoa/test/sandbox"
)

// bodiesPolicy has a role whose calls are judged by their bodies, and one whose calls are not.
const bodiesPolicy = `version: 1
defaults:
  project: acme-ai
  locations: [europe-west1]
  methods: [generate, stream, count, embed, list]
issuers:
  corp: { url: https://login.example.com, audience: vertex }
roles:
  short: { as: vx-search, who: { corp: { groups: short } } }
  plain: { as: vx-research, who: { corp: { groups: plain } } }
rules:
  short-answers:
    allow: short
    models: gemini-2.5-*
    body: { maxOutputTokens: 1024, tools: none }
  claude-counts:
    allow: short
    publishers: anthropic
    models: claude-sonnet-*
    methods: count
  plain-gemini:
    allow: plain
    models: gemini-2.5-*
`

const (
	regional     = "/v1/projects/acme-ai/locations/europe-west1"
	chatPath     = regional + "/endpoints/openapi/chat/completions"
	countingPath = regional + "/publishers/anthropic/models/count-tokens:rawPredict"
	embedPath    = regional + "/endpoints/openapi/embeddings"
)

// protocols are those that callers speak.
func protocols() []sandbox.Protocol { return []sandbox.Protocol{sandbox.HTTP1, sandbox.HTTP2} }

// newest is the last of haproxySeries, for what does not depend on HAProxy.
func newest() []string { return haproxySeries()[len(haproxySeries())-1:] }

// callerOf returns a token of a member of the group.
func callerOf(t testing.TB, s *sandbox.Sandbox, group string, options ...fake.TokenOption) string {
	t.Helper()
	token, err := s.Caller(group, options...)
	if err != nil {
		t.Fatal(err)
	}
	return token
}

// told makes a call and tells what came of it.
func told(t testing.TB, s *sandbox.Sandbox, c sandbox.Call) string {
	t.Helper()
	got, err := s.Play(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

const refused = ", nothing forwarded"

// shortBody asks for an answer of so many tokens, with a prompt that makes it as long as wanted.
func shortBody(tokens, size int) string {
	body := fmt.Sprintf(`{"generationConfig":{"maxOutputTokens":%d},"contents":[{"role":"user","parts":[{"text":""}]}]}`, tokens)
	return strings.Replace(body, `"text":""`, `"text":"`+strings.Repeat("x", max(0, size-len(body)))+`"`, 1)
}

// What a rule says of bodies is held against every shape in which callers write them.
func TestBodiesAreJudged(t *testing.T) {
	const with = `{"contents":[{"role":"user","parts":[{"text":"Say hello."}]}],"generationConfig":{"maxOutputTokens":512}`
	onEach(t, oldestAndNewest(), func(t *testing.T, haproxy string) {
		s := startSandbox(t, sandbox.Options{HAProxy: haproxy, Policy: bodiesPolicy})
		for _, tt := range []struct {
			name, group, target, body, want string
		}{
			{"fewer tokens than the most", "short", generatePath, shortBody(512, 0), "200 as vx-search"},
			{"the most tokens", "short", generatePath, shortBody(1024, 0), "200 as vx-search"},
			{"one token more", "short", generatePath, shortBody(1025, 0), "403 NO_RULE" + refused},
			{"any number of tokens", "short", generatePath, promptBody, "403 NO_RULE" + refused},
			{"the number in another spelling", "short", generatePath, strings.NewReplacer("maxOutput", "max_output", "Tokens", "_tokens", "generationConfig", "generation_config").Replace(shortBody(1025, 0)), "403 NO_RULE" + refused},
			{"a tool", "short", generatePath, with + `,"tools":[{"googleSearch":{}}]}`, "403 NO_RULE" + refused},
			{"an empty list of tools", "short", generatePath, with + `,"tools":[]}`, "200 as vx-search"},
			{"no body", "short", generatePath, "", "400 BODY_REQUIRED" + refused},
			{"a key twice", "short", generatePath, `{"generationConfig":{"maxOutputTokens":1,"maxOutputTokens":4096},"contents":[{}]}`, "400 BAD_BODY" + refused},
			{"a key twice, in two spellings", "short", generatePath, `{"generationConfig":{"maxOutputTokens":1,"max_output_tokens":4096},"contents":[{}]}`, "400 BAD_BODY" + refused},
			{"a key twice, once escaped", "short", generatePath, `{"generationConfig":{"maxOutputTokens":1,"maxOutputToken\u0073":4096},"contents":[{}]}`, "400 BAD_BODY" + refused},
			{"a byte order mark", "short", generatePath, "\ufeff" + with + "}", "400 BAD_BODY" + refused},
			{"no UTF-8", "short", generatePath, strings.Replace(shortBody(512, 0), `"text":""`, "\"text\":\"\xc3\x28\"", 1), "400 BAD_BODY" + refused},
			{"UTF-16", "short", generatePath, "{\x00}\x00", "400 BAD_BODY" + refused},
			{"a lone surrogate", "short", generatePath, strings.Replace(shortBody(512, 0), `"text":""`, `"text":"\ud800"`, 1), "400 BAD_BODY" + refused},
			{"something behind", "short", generatePath, shortBody(512, 0) + "{}", "400 BAD_BODY" + refused},
			{"no object", "short", generatePath, "[]", "400 BAD_BODY" + refused},
			{"a number that is none", "short", generatePath, strings.Replace(shortBody(512, 0), "512", `"512x"`, 1), "400 BAD_BODY" + refused},
			{"a negative number", "short", generatePath, shortBody(-1, 0), "400 BAD_BODY" + refused},

			{"a chat with a model that is granted", "plain", chatPath, `{"model":"google/gemini-2.5-flash","messages":[{"role":"user","content":"Hi"}]}`, "200 as vx-research"},
			{"a chat with one that is not", "plain", chatPath, `{"model":"google/gemini-3-pro","messages":[{"role":"user","content":"Hi"}]}`, "403 NO_RULE" + refused},
			{"a chat with another publisher's", "plain", chatPath, `{"model":"meta/gemini-2.5-flash","messages":[{"role":"user","content":"Hi"}]}`, "200 as vx-research"},
			{"a chat without a model", "plain", chatPath, `{"messages":[{"role":"user","content":"Hi"}]}`, "400 BAD_BODY" + refused},
			{"a chat with a model twice", "plain", chatPath, `{"model":"google/gemini-2.5-flash","model":"google/gemini-3-pro","messages":[{"role":"user"}]}`, "400 BAD_BODY" + refused},
			{"a short chat", "short", chatPath, `{"model":"google/gemini-2.5-flash","max_tokens":5,"messages":[{"role":"user","content":"Hi"}]}`, "200 as vx-search"},
			{"a chat with two bounds, of which one is too much", "short", chatPath, `{"model":"google/gemini-2.5-flash","max_tokens":5,"max_completion_tokens":5000,"messages":[{"role":"user"}]}`, "403 NO_RULE" + refused},
			{"a chat without a bound", "short", chatPath, `{"model":"google/gemini-2.5-flash","messages":[{"role":"user","content":"Hi"}]}`, "403 NO_RULE" + refused},
			{"embeddings of a model that is granted", "plain", embedPath, `{"model":"google/gemini-2.5-embedding","input":"Hi"}`, "200 as vx-research"},
			{"embeddings of one that is not", "plain", embedPath, `{"model":"google/text-embedding-005","input":"Hi"}`, "403 NO_RULE" + refused},
			{"counting Claude's tokens", "short", countingPath, `{"model":"claude-sonnet-4-5@20250929","messages":[{"role":"user","content":"Hi"}]}`, "200 as vx-search"},
			{"counting those of a model that is not granted", "short", countingPath, `{"model":"claude-opus-4-5@20251101","messages":[{"role":"user","content":"Hi"}]}`, "403 NO_RULE" + refused},
			{"counting those of no model", "short", countingPath, `{"messages":[{"role":"user","content":"Hi"}]}`, "400 BAD_BODY" + refused},
		} {
			for _, p := range protocols() {
				t.Run(tt.name+" over "+string(p), func(t *testing.T) {
					c := sandbox.Call{Protocol: p, Target: tt.target, Token: callerOf(t, s, tt.group), Body: tt.body}
					if got := told(t, s, c); got != tt.want {
						t.Errorf("got  %s\nwant %s", got, tt.want)
					}
				})
			}
		}
		t.Run("a listing, which has no body", func(t *testing.T) {
			c := sandbox.Call{Method: http.MethodGet, Target: "/v1beta1/publishers/google/models", Token: callerOf(t, s, "plain")}
			if got, want := told(t, s, c), "200 as vx-research"; got != want {
				t.Errorf("got %s, want %s", got, want)
			}
		})
		for p, want := range map[sandbox.Protocol]string{sandbox.HTTP1: "400 TRANSFER_ENCODING_REFUSED", sandbox.HTTP2: "400 LENGTH_REQUIRED"} {
			t.Run("a body of unknown length over "+string(p), func(t *testing.T) {
				c := sandbox.Call{Protocol: p, Target: generatePath, Token: callerOf(t, s, "short"), Body: shortBody(512, 0), NoLength: true}
				if got := told(t, s, c); got != want+refused {
					t.Errorf("got %s, want %s", got, want+refused)
				}
			})
		}
	})
}

// The edge between bodies that are judged and such that are too large is one byte wide, wherever it is: it depends on the buffers and on
// how much of them the headers take. On neither side of it is anything else, least of all a message that HAProxy cannot send.
func TestTheLargestBodyThatIsJudged(t *testing.T) {
	long := func(name string, n int) http.Header { return http.Header{name: {strings.Repeat("u", n)}} }
	onEach(t, oldestAndNewest(), func(t *testing.T, haproxy string) {
		for _, tt := range []struct {
			name   string
			env    []string
			header http.Header
			claim  int // bytes by which the token is larger
			least  int // that have to be judged
			most   int // that may be
		}{
			{"as it is", nil, nil, 0, 50_000, 70_000},
			{"with small buffers", smallBuffers, nil, 0, 11_000, 70_000},
			{"with larger buffers", []string{"VERTEX_BUFSIZE=131072"}, nil, 0, 110_000, 140_000},
			{"with a large token", nil, nil, 8_000, 50_000, 70_000},
			{"with small buffers and a large token", smallBuffers, nil, 5_000, 6_000, 70_000},
			{"with a header that stays", nil, long("User-Agent", 10_000), 0, 40_000, 70_000},
			{"with a header that is put aside", nil, long("X-Vertex-Reason", 20_000), 0, 40_000, 70_000},
			{"with more of these", nil, long("X-Vertex-Reason", 35_000), 8_000, 10_000, 70_000},
		} {
			t.Run(tt.name, func(t *testing.T) {
				s := startSandbox(t, sandbox.Options{HAProxy: haproxy, HAProxyEnv: tt.env, Policy: bodiesPolicy})
				token := callerOf(t, s, "short", fake.Claim("much", strings.Repeat("y", tt.claim)))
				for _, p := range protocols() {
					judged, tooLarge := tt.least, tt.most
					check := func(size int) bool {
						t.Helper()
						got := told(t, s, sandbox.Call{Protocol: p, Target: generatePath, Token: token, Body: shortBody(512, size), Header: tt.header})
						if got != "200 as vx-search" && got != "413 BODY_TRUNCATED"+refused && got != "413 BODY_TOO_LARGE"+refused {
							t.Fatalf("%s: a body of %d bytes: %s%s", p, size, got, s.Logs())
						}
						return strings.HasPrefix(got, "200")
					}
					if !check(judged) || check(tooLarge) {
						t.Errorf("%s: a body of %d bytes is too large, or one of %d is judged", p, judged, tooLarge)
					}
					for tooLarge-judged > 1 {
						if size := (judged + tooLarge) / 2; check(size) {
							judged = size
						} else {
							tooLarge = size
						}
					}
					t.Logf("%s: bodies are judged up to %d bytes", p, judged)
				}
				plain := sandbox.Call{Target: generatePath, Token: callerOf(t, s, "plain"), Body: promptBody}
				if got, want := told(t, s, plain), "200 as vx-research"; got != want {
					t.Errorf("somebody else, afterwards: got %s, want %s%s", got, want, s.Logs())
				}
			})
		}
	})
}

// slowly is a call whose body comes as it is written to the pipe.
type slowly struct {
	*io.PipeWriter
	answered chan string // what came of it
	took     time.Duration
}

// startSlowly begins a call with a body of the length.
func startSlowly(t *testing.T, s *sandbox.Sandbox, p sandbox.Protocol, token string, length int) *slowly {
	t.Helper()
	client := s.Client(p)
	body, pipe := io.Pipe()
	t.Cleanup(func() {
		_ = pipe.Close()
		client.CloseIdleConnections()
	})
	req, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.URL+generatePath, body)
	if err != nil {
		t.Fatal(err)
	}
	req.ContentLength = int64(length)
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Authorization", "Bearer "+token)
	c := &slowly{PipeWriter: pipe, answered: make(chan string, 1)}
	began := time.Now()
	go func() {
		res, err := client.Do(req)
		c.took = time.Since(began)
		if err != nil {
			c.answered <- err.Error()
			return
		}
		defer res.Body.Close()
		text, _ := io.ReadAll(res.Body)
		c.answered <- strings.TrimSpace(fmt.Sprint(res.StatusCode, " ", reasonIn(text)))
	}()
	return c
}

// reasonIn returns the reason in an error's body, as the caller is told it.
func reasonIn(text []byte) string {
	var body struct {
		Error struct{ Details []struct{ Reason string } }
	}
	_ = json.Unmarshal(text, &body)
	for _, d := range body.Error.Details {
		if d.Reason != "" {
			return d.Reason
		}
	}
	return ""
}

// wait returns what came of the call.
func (c *slowly) wait(t *testing.T) string {
	t.Helper()
	select {
	case got := <-c.answered:
		return got
	case <-limited(t).Done():
		t.Fatal("no answer")
		return ""
	}
}

// write writes some of the body; who does not read it is not waited for.
func (c *slowly) write(text string) { _, _ = io.WriteString(c, text) }

// A body is waited for where it decides, for as long as the configuration says, and nowhere else: who is refused without it is told so
// while the body is still on its way.
func TestSlowBodies(t *testing.T) {
	body, long := shortBody(512, 3000), shortBody(4096, 3000)
	onEach(t, oldestAndNewest(), func(t *testing.T, haproxy string) {
		s := startSandbox(t, sandbox.Options{HAProxy: haproxy, HAProxyEnv: []string{"VERTEX_BODY_TIMEOUT=5s"}, Policy: bodiesPolicy})
		short, plain, nobody := callerOf(t, s, "short"), callerOf(t, s, "plain"), callerOf(t, s, "sales")
		for _, p := range protocols() {
			t.Run("in pieces over "+string(p), func(t *testing.T) {
				t.Parallel()
				calls := map[string]*slowly{"200": startSlowly(t, s, p, short, 3000), "403 NOT_ALLOWED": startSlowly(t, s, p, short, 3000)}
				for i := range 6 {
					calls["200"].write(body[i*500 : (i+1)*500])
					calls["403 NOT_ALLOWED"].write(long[i*500 : (i+1)*500])
					<-time.After(220 * time.Millisecond)
				}
				for want, c := range calls {
					_ = c.Close()
					if got := c.wait(t); got != want || c.took < 1100*time.Millisecond {
						t.Errorf("got %s after %v, want %s after 1.1 s at least", got, c.took, want)
					}
				}
			})
			t.Run("never whole over "+string(p), func(t *testing.T) {
				t.Parallel()
				c := startSlowly(t, s, p, short, len(body)+1)
				c.write(body)
				got := c.wait(t)
				if got != "408 REQUEST_TIMEOUT" || c.took < 4900*time.Millisecond || c.took > 9*time.Second { // 10 s where nobody sets it
					t.Errorf("got %s after %v, want 408 REQUEST_TIMEOUT after 5 s", got, c.took)
				}
				if slices.ContainsFunc(s.World.Vertex.Requests(), func(r fake.Request) bool { return r.ContentLength == int64(len(body)+1) }) {
					t.Error("the request was forwarded")
				}
			})
			t.Run("refused without it over "+string(p), func(t *testing.T) {
				c := startSlowly(t, s, p, nobody, len(body))
				c.write(body[:100])
				if got := c.wait(t); got != "403 NOT_ALLOWED" || c.took > 4*time.Second {
					t.Errorf("got %s after %v, want 403 NOT_ALLOWED before the body's time is over", got, c.took)
				}
				t.Logf("refused after %v", c.took)
			})
			t.Run("allowed without it over "+string(p), func(t *testing.T) {
				before := len(auditOf(t, s))
				c := startSlowly(t, s, p, plain, len(body))
				c.write(body[:100])
				until(t, "the call is decided", func() string {
					if lines := auditOf(t, s); len(lines) == before+1 && lines[before]["decision"] == "allow" {
						return ""
					}
					return "no record"
				})
				c.write(body[100:])
				_ = c.Close()
				if got := c.wait(t); got != "200" {
					t.Errorf("got %s, want 200", got)
				}
			})
		}
	})
}

func auditOf(t *testing.T, s *sandbox.Sandbox) []map[string]any {
	t.Helper()
	lines, err := s.Audit()
	if err != nil {
		t.Fatal(err)
	}
	return lines
}

// lastRecord is the audit line of the last decision.
func lastRecord(t *testing.T, s *sandbox.Sandbox) map[string]any {
	t.Helper()
	lines := auditOf(t, s)
	if len(lines) == 0 {
		t.Fatal("no audit line")
	}
	return lines[len(lines)-1]
}

// featuresPolicy has what changes calls, and what is allowed under conditions.
const featuresPolicy = `version: 1
defaults:
  project: acme-ai
  locations: [europe-west1, europe-west4]
  methods: [generate, stream, predict]
issuers:
  corp: { url: https://login.example.com, audience: vertex }
projects:
  acme-ai: 123456789012
endpoints:
  "1234567890": { host: 1234567890.europe-west4-5678.prediction.vertexai.goog, project: acme-ai, location: europe-west4 }
aliases:
  fast: gemini-2.5-flash
  claude: claude-sonnet-4-5@20250929
roles:
  search:  { as: vx-search, who: { corp: { groups: search } } }
  thrifty: { as: vx-search, who: { corp: { groups: thrifty } } }
  urgent:  { as: vx-search, who: { corp: { groups: urgent } } }
  choosy:  { as: vx-search, who: { corp: { groups: choosy } } }
  cacher:  { as: vx-search, who: { corp: { groups: cacher } } }
  tuned:   { as: vx-search, who: { corp: { groups: tuned } } }
  oncall:  { as: vx-breakglass, token: 15m, who: { corp: { groups: oncall } } }
rules:
  by-alias:    { allow: search, models: [fast, claude] }
  cheaper:     { allow: thrifty, models: gemini-2.5-pro, rewrite: { model: fast } }
  urgent:      { allow: urgent, models: gemini-2.5-*, headers: { set: { X-Vertex-AI-LLM-Shared-Request-Type: priority } } }
  choosy:      { allow: choosy, models: gemini-2.5-*, headers: { may: { X-Vertex-AI-LLM-Request-Type: [dedicated, shared] } } }
  caches:      { allow: cacher, methods: cachedContents.create, models: gemini-2.5-flash }
  tuned-model: { allow: tuned, endpoints: "1234567890" }
  emergency:   { allow: oncall, models: "*", breakglass: { reason: required, overrides: no-opus } }
  no-opus:     { deny: "*", models: claude-opus-*, because: the model is too dear }
  no-imagen:   { deny: "*", models: imagen-*, because: there are no images }
  watched:     { deny: search, models: fast, mode: shadow, because: the model is to be withdrawn }
`

// dedicatedBackend is what somebody adds to HAProxy's configuration for a dedicated endpoint, in a file of its own.
const dedicatedBackend = `backend vertex-endpoint-1234567890 from vertex-upstream
    server google %s verifyhost 1234567890.europe-west4-5678.prediction.vertexai.goog sni str(1234567890.europe-west4-5678.prediction.vertexai.goog)
`

// modelPath is a call of a model in a location.
func modelPath(location, publisher, model, method string) string {
	return "/v1/projects/acme-ai/locations/" + location + "/publishers/" + publisher + "/models/" + model + ":" + method
}

// What the policy makes of a call is what Vertex AI receives: target, host and headers.
func TestWhatThePolicyChangesReachesVertex(t *testing.T) {
	const (
		tier, sharedTier = "X-Vertex-Ai-Llm-Request-Type", "X-Vertex-Ai-Llm-Shared-Request-Type"
		claude           = `{"anthropic_version":"vertex-2023-10-16","max_tokens":9,"messages":[{"role":"user","content":"Hi"}]}`
		endpoint         = "/v1/projects/acme-ai/locations/europe-west4/endpoints/1234567890:predict"
	)
	flash := func(model string) string { return modelPath("europe-west1", "google", model, "generateContent") }
	reason := http.Header{"X-Vertex-Reason": {"incident 4711"}}
	onEach(t, oldestAndNewest(), func(t *testing.T, haproxy string) {
		s := startWithDedicatedEndpoint(t, haproxy)
		for _, tt := range []struct {
			name, group, target, body string
			header                    http.Header
			want                      string
			forwarded                 string // target, and what else is of interest
		}{
			{"an alias", "search", flash("fast"), promptBody, nil, "200 as vx-search", flash("gemini-2.5-flash")},
			{"an alias of a model with a version", "search", modelPath("europe-west1", "anthropic", "claude", "rawPredict"), claude, nil,
				"200 as vx-search", modelPath("europe-west1", "anthropic", "claude-sonnet-4-5@20250929", "rawPredict")},
			{"the model behind an alias", "search", flash("gemini-2.5-flash"), promptBody, nil, "200 as vx-search", flash("gemini-2.5-flash")},
			{"a project by its number", "search", strings.Replace(flash("fast"), "acme-ai", "123456789012", 1), promptBody, nil,
				"200 as vx-search", flash("gemini-2.5-flash")},
			{"a rewrite", "thrifty", flash("gemini-2.5-pro"), promptBody, nil, "200 as vx-search", flash("gemini-2.5-flash")},
			{"what is not rewritten is not allowed", "thrifty", flash("gemini-2.5-flash"), promptBody, nil, "403 NO_RULE" + refused, ""},

			{"a tier that is set", "urgent", flash("gemini-2.5-flash"), promptBody, nil, "200 as vx-search", flash("gemini-2.5-flash") + " shared priority"},
			{"a tier that is set, and another asked for", "urgent", flash("gemini-2.5-flash"), promptBody, http.Header{sharedTier: {"flex"}},
				"200 as vx-search", flash("gemini-2.5-flash") + " shared priority"},
			{"a tier that may be asked for", "choosy", flash("gemini-2.5-flash"), promptBody, http.Header{tier: {"dedicated"}},
				"200 as vx-search", flash("gemini-2.5-flash") + " tier dedicated"},
			{"no tier is asked for", "choosy", flash("gemini-2.5-flash"), promptBody, nil, "200 as vx-search", flash("gemini-2.5-flash")},
			{"another tier is asked for", "choosy", flash("gemini-2.5-flash"), promptBody, http.Header{sharedTier: {"priority"}}, "403 NO_RULE" + refused, ""},
			{"a tier that is none", "choosy", flash("gemini-2.5-flash"), promptBody, http.Header{tier: {"golden"}}, "403 NO_RULE" + refused, ""},
			{"a tier that nobody may ask for", "search", flash("fast"), promptBody, http.Header{tier: {"dedicated"}}, "403 NO_RULE" + refused, ""},
			{"a tier twice", "choosy", flash("gemini-2.5-flash"), promptBody, http.Header{tier: {"dedicated", "shared"}}, "400 DUPLICATE_HEADER" + refused, ""},

			{"an emergency without a reason", "oncall", flash("gemini-2.5-pro"), promptBody, nil, "403 REASON_REQUIRED" + refused, ""},
			{"an emergency with a blank reason", "oncall", flash("gemini-2.5-pro"), promptBody, http.Header{"X-Vertex-Reason": {"  "}}, "403 REASON_REQUIRED" + refused, ""},
			{"an emergency with a reason", "oncall", flash("gemini-2.5-pro"), promptBody, reason, "200 as vx-breakglass", flash("gemini-2.5-pro")},
			{"an emergency that overrides", "oncall", modelPath("europe-west1", "anthropic", "claude-opus-4-5", "rawPredict"), claude, reason,
				"200 as vx-breakglass", modelPath("europe-west1", "anthropic", "claude-opus-4-5", "rawPredict")},
			{"an emergency that does not override", "oncall", modelPath("europe-west1", "google", "imagen-4", "predict"), `{"instances":[{}]}`, reason,
				"403 DENIED" + refused, ""},
			{"a reason is nothing to others", "search", flash("gemini-2.5-pro"), promptBody, reason, "403 NO_RULE" + refused, ""},

			{"a surface that is not named", "search", regional + "/cachedContents", `{"model":"projects/acme-ai/locations/europe-west1/publishers/google/models/gemini-2.5-flash"}`, nil,
				"403 NO_RULE" + refused, ""},
			{"a surface that nobody names", "cacher", regional + "/batchPredictionJobs", "{}", nil, "403 SURFACE_OFF" + refused, ""},
			{"a surface with another model", "cacher", regional + "/cachedContents", `{"model":"projects/acme-ai/locations/europe-west1/publishers/google/models/gemini-2.5-pro"}`, nil,
				"403 NO_RULE" + refused, ""},
			{"a dedicated endpoint", "tuned", endpoint, `{"instances":[{}]}`, nil, "200 as vx-search",
				endpoint + " at 1234567890.europe-west4-5678.prediction.vertexai.goog"},
			{"an endpoint of the same id in another location", "tuned", strings.Replace(endpoint, "west4", "west1", 1), `{"instances":[{}]}`, nil, "200 as vx-search",
				strings.Replace(endpoint, "west4", "west1", 1)},
		} {
			for _, p := range protocols() {
				t.Run(tt.name+" over "+string(p), func(t *testing.T) {
					c := sandbox.Call{Protocol: p, Target: tt.target, Token: callerOf(t, s, tt.group), Body: tt.body, Header: tt.header}
					got, forwarded := playAndTake(t, s, c)
					if got != tt.want {
						t.Errorf("got  %s\nwant %s%s", got, tt.want, s.Logs())
					}
					if forwarded != tt.forwarded {
						t.Errorf("forwarded %s\nwant      %s", forwarded, tt.forwarded)
					}
				})
			}
		}
		t.Run("a surface that is named", func(t *testing.T) {
			body := `{"model":"projects/acme-ai/locations/europe-west1/publishers/google/models/gemini-2.5-flash"}`
			_, forwarded := playAndTake(t, s, sandbox.Call{Target: regional + "/cachedContents", Token: callerOf(t, s, "cacher"), Body: body})
			if want := regional + "/cachedContents"; forwarded != want { // the fake does not play it, and answers 404
				t.Errorf("forwarded %s, want %s", forwarded, want)
			}
		})
	})
}

// The record of a decision says what was asked for and what became of it.
func TestRecordsTellWhatThePolicyChanged(t *testing.T) {
	const claude = `{"anthropic_version":"vertex-2023-10-16","max_tokens":9,"messages":[{"role":"user","content":"Hi"}]}`
	onEach(t, newest(), func(t *testing.T, haproxy string) {
		s := startWithDedicatedEndpoint(t, haproxy)
		for _, tt := range []struct {
			name, group, target, body string
			header                    http.Header
			want                      map[string]string
		}{
			{"an alias, and a rule in shadow", "search", modelPath("europe-west1", "google", "fast", "generateContent"), promptBody, nil, map[string]string{
				"decision": "allow", "rule": "by-alias", "model": "gemini-2.5-flash", "uri": modelPath("europe-west1", "google", "gemini-2.5-flash", "generateContent"),
				"uri_asked": modelPath("europe-west1", "google", "fast", "generateContent"), "shadow": "[watched:deny]", "break_glass": "<nil>",
			}},
			{"a rewrite", "thrifty", modelPath("europe-west1", "google", "gemini-2.5-pro", "generateContent"), promptBody, nil, map[string]string{
				"decision": "allow", "rule": "cheaper", "model": "gemini-2.5-flash", "uri_asked": modelPath("europe-west1", "google", "gemini-2.5-pro", "generateContent"),
				"shadow": "<nil>",
			}},
			{"an emergency", "oncall", modelPath("europe-west1", "anthropic", "claude-opus-4-5", "rawPredict"), claude, http.Header{"X-Vertex-Reason": {"incident 4711"}},
				map[string]string{"decision": "allow", "rule": "emergency", "break_glass": "incident 4711", "overridden": "[no-opus]", "account": sandbox.OnCall}},
			{"an emergency without a reason", "oncall", modelPath("europe-west1", "google", "gemini-2.5-pro", "generateContent"), promptBody, nil,
				map[string]string{"decision": "deny", "reason": "REASON_REQUIRED", "rule": "emergency", "break_glass": "<nil>"}},
			{"a tier", "choosy", modelPath("europe-west1", "google", "gemini-2.5-pro", "generateContent"), promptBody, http.Header{"X-Vertex-Ai-Llm-Request-Type": {"dedicated"}},
				map[string]string{"decision": "allow", "tier": "dedicated"}},
			{"a surface", "cacher", regional + "/batchPredictionJobs", "{}", nil,
				map[string]string{"decision": "deny", "reason": "SURFACE_OFF", "method": "batchPredictionJobs.create"}},
			{"a role that is asked for", "search", modelPath("europe-west1", "google", "fast", "generateContent"), promptBody, http.Header{"X-Vertex-Role": {"urgent"}},
				map[string]string{"decision": "deny", "reason": "NO_ROLE", "role_asked": "urgent"}},
		} {
			t.Run(tt.name, func(t *testing.T) {
				told(t, s, sandbox.Call{Target: tt.target, Token: callerOf(t, s, tt.group), Body: tt.body, Header: tt.header})
				record := lastRecord(t, s)
				for field, want := range tt.want {
					if got := fmt.Sprint(record[field]); got != want {
						t.Errorf("%s: got %q, want %q", field, got, want)
					}
				}
			})
		}
	})
}

func startWithDedicatedEndpoint(t *testing.T, haproxy string) *sandbox.Sandbox {
	t.Helper()
	vertex, further := freeAddr(t), filepath.Join(t.TempDir(), "endpoint.cfg")
	if err := os.WriteFile(further, fmt.Appendf(nil, dedicatedBackend, vertex), 0o600); err != nil {
		t.Fatal(err)
	}
	return startSandbox(t, sandbox.Options{HAProxy: haproxy, Policy: featuresPolicy, After: further, Parties: func(o *fake.Options) {
		o.Addrs.Vertex = vertex
		o.Hosts = map[string]string{"1234567890.europe-west4-5678.prediction.vertexai.goog": "europe-west4"}
	}})
}

// playAndTake makes a call, and tells what came of it and what Vertex AI received.
func playAndTake(t *testing.T, s *sandbox.Sandbox, c sandbox.Call) (got, forwarded string) {
	t.Helper()
	s.World.Vertex.Take()
	res, err := s.Do(t.Context(), c)
	if err != nil {
		t.Fatal(err)
	}
	got = res.String()
	received := s.World.Vertex.Take()
	if len(received) == 0 {
		return got + refused, ""
	}
	for _, r := range received {
		forwarded += r.Target
		if host := r.Host; !strings.HasSuffix(host, "-aiplatform.googleapis.com") {
			forwarded += " at " + host
		}
		for name, word := range map[string]string{"X-Vertex-Ai-Llm-Request-Type": " tier ", "X-Vertex-Ai-Llm-Shared-Request-Type": " shared "} {
			if v := r.Header.Values(name); v != nil {
				forwarded += word + strings.Join(v, ",")
			}
		}
		for name := range r.Header {
			if strings.HasPrefix(name, "X-Vertex-R") {
				forwarded += " with " + name
			}
		}
		account, _, _ := strings.Cut(r.Account, "@")
		got += " as " + account
	}
	return got, forwarded
}

// What callers write into bodies stands in no log and no error, whatever becomes of the call.
func TestPromptsAreNotLogged(t *testing.T) {
	const mark = "Z9hushZ9"
	onEach(t, oldestAndNewest(), func(t *testing.T, haproxy string) {
		s := startSandbox(t, sandbox.Options{HAProxy: haproxy, Policy: bodiesPolicy, AgentFlags: []string{"--log.level=debug"}})
		var told []string
		for want, bodies := range map[string][]string{
			"200 as vx-search":      {strings.Replace(shortBody(512, 0), `""`, `"`+mark+`"`, 1)},
			"403 NO_RULE" + refused: {strings.Replace(shortBody(4096, 0), `""`, `"`+mark+`"`, 1)},
			"400 BAD_BODY" + refused: {
				`{"` + mark + `":1,"` + mark + `":2,"contents":[{}]}`,
				`{"generationConfig":{"maxOutputTokens":"` + mark + `"},"contents":[{}]}`,
				`{"generationConfig":"` + mark + `","contents":[{}]}`,
				`{"contents":[{"role":"user","parts":[{"text":"` + mark + `"}]}`,
				mark, `"` + mark, `{"contents":` + mark + `}`, "{\"" + mark + "\xff\":1}",
			},
			"413 BODY_TRUNCATED" + refused: {strings.Replace(shortBody(512, 60_000), `"x`, `"`+mark, 1)},
		} {
			for _, body := range bodies {
				s.World.Vertex.Take()
				res, err := s.Do(t.Context(), sandbox.Call{Target: generatePath, Token: callerOf(t, s, "short"), Body: body})
				if err != nil {
					t.Fatal(err)
				}
				got := res.String() + refused
				if received := s.World.Vertex.Take(); len(received) == 1 && strings.Contains(string(received[0].Body), mark) {
					got = res.String() + " as vx-search"
				}
				if got != want {
					t.Errorf("body %.60q: got %s, want %s", body, got, want)
				}
				told = append(told, res.Body, fmt.Sprint(res.Header))
			}
		}
		outputs := outputsOf(t, s)
		outputs["answers"] = []byte(strings.Join(told, "\n"))
		for name, text := range outputs {
			if at := bytes.Index(text, []byte(mark)); at >= 0 {
				t.Errorf("%s holds a prompt: %q", name, text[max(0, at-200):at+len(mark)])
			}
		}
	})
}

// outputsOf is all that HAProxy and the agent have written and show, by where.
func outputsOf(t *testing.T, s *sandbox.Sandbox) map[string][]byte {
	t.Helper()
	all := map[string][]byte{}
	for name, path := range map[string]string{"metrics": "/metrics", "readyz": "/readyz", "status page": "/?n=1024", "decisions": "/debug/decisions?n=1024"} {
		all[name] = get(t, s.AdminURL()+path)
	}
	for _, file := range []string{"agent.log", "audit.jsonl", "haproxy.log"} {
		text, err := os.ReadFile(filepath.Join(s.Dir, file))
		if err != nil {
			t.Fatal(err)
		}
		if len(text) == 0 {
			t.Errorf("%s is empty", file)
		}
		all[file] = text
	}
	return all
}

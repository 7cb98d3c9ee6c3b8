package sandbox

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"vertex-spoa/test/fake"
)

// Scenario is one story that HAProxy, the agent and the other parties play together. What came of it is told in words and compared with
// what was to come of it.
type Scenario struct {
	Name string
	Want string
	Run  func(ctx context.Context, s *Sandbox) (string, error)
}

// Scenarios returns all scenarios in the order in which they are played. Each leaves the sandbox as it found it.
func Scenarios() []Scenario {
	return slices.Concat(callerScenarios(), streamScenarios(), smugglingScenarios(), clientScenarios(), policyScenarios(), outageScenarios())
}

// Targets of the example policy: "search" may generate with Gemini models in europe-west1, and nothing of it elsewhere.
const (
	base     = "/v1/projects/acme-ai/locations/europe-west1/publishers/google/models/"
	generate = base + "gemini-2.5-flash:generateContent"
	stream   = base + "gemini-2.5-flash:streamGenerateContent?alt=sse"
	chat     = "/v1/projects/acme-ai/locations/europe-west1/endpoints/openapi/chat/completions"
	prompt   = `{"contents":[{"role":"user","parts":[{"text":"Say hello."}]}]}`
)

// Caller returns a token of the identity provider for a member of the group.
func (s *Sandbox) Caller(group string, options ...fake.TokenOption) (string, error) {
	token, err := s.World.IDP.Token(group+"@example.com", append([]fake.TokenOption{fake.Groups(group)}, options...)...)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.issued = append(s.issued, token)
	return token, err
}

// Issued returns every token that Caller has returned.
func (s *Sandbox) Issued() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.issued)
}

// Answers returns the headers and bodies of all answers that Do has got, one after another.
func (s *Sandbox) Answers() []byte {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.answers)
}

// Play makes the call and tells what the caller got, what Vertex AI got, and as whom. It looks for the caller's credential in everything
// that reached Vertex AI.
func (s *Sandbox) Play(ctx context.Context, c Call) (string, error) {
	s.World.Vertex.Take()
	result, err := s.Do(ctx, c)
	if err != nil {
		return "", err
	}
	told := result.String()
	if result.Status == http.StatusUnauthorized && result.Header.Get("WWW-Authenticate") == "" {
		told += " without WWW-Authenticate"
	}
	return told + s.forwarded(c.Token), nil
}

// forwarded tells what has reached Vertex AI since it was asked last.
func (s *Sandbox) forwarded(credential string) string {
	received := s.World.Vertex.Take()
	if len(received) == 0 {
		return ", nothing forwarded"
	}
	var as []string
	for _, r := range received {
		name, _, _ := strings.Cut(r.Account, "@")
		if credential != "" && leaks(r, credential) {
			name += " WITH THE CALLER'S CREDENTIAL"
		}
		as = append(as, name)
	}
	return " as " + strings.Join(as, " and ")
}

// leaks reports whether the request holds the credential anywhere.
func leaks(r fake.Request, credential string) bool {
	return strings.Contains(fmt.Sprint(r.Header, r.Target, string(r.Body)), credential)
}

// calling makes a scenario of one call by a member of a group.
func calling(name, group, want string, c Call, options ...fake.TokenOption) Scenario {
	return Scenario{Name: name, Want: want, Run: func(ctx context.Context, s *Sandbox) (string, error) {
		token, err := s.Caller(group, options...)
		if err != nil {
			return "", err
		}
		c.Token = token
		if c.Body == "" {
			c.Body = prompt
		}
		return s.Play(ctx, c)
	}}
}

func callerScenarios() []Scenario {
	call := Call{Target: generate}
	const refused = ", nothing forwarded"
	anonymous := Scenario{Name: "no token", Want: "401 TOKEN_MISSING" + refused, Run: func(ctx context.Context, s *Sandbox) (string, error) {
		return s.Play(ctx, Call{Target: generate, Body: prompt})
	}}
	return []Scenario{
		calling("role search, allowed model", "search-eng", "200 as vx-search", call),
		calling("the same over HTTP/2", "search-eng", "200 as vx-search", Call{Protocol: HTTP2, Target: generate}),
		calling("role search, another allowed location", "search-eng", "200 as vx-search",
			Call{Target: strings.Replace(generate, "europe-west1", "europe-west4", 1)}),
		calling("role search, token signed with ES256", "search-eng", "200 as vx-search", call, fake.ES256()),
		calling("role search, model not granted", "search-eng", "403 NO_RULE"+refused, Call{Target: base + "imagen-4.0-generate-001:predict"}),
		calling("role search, location not granted", "search-eng", "403 NO_RULE"+refused,
			Call{Target: strings.Replace(generate, "europe-west1", "us-central1", 1)}),
		calling("role search, model denied by a rule", "search-eng", "403 DENIED"+refused,
			Call{Target: base + "gemini-2.5-flash-preview:generateContent"}),
		calling("role search, project of somebody else", "search-eng", "403 NO_RULE"+refused,
			Call{Target: strings.Replace(generate, "acme-ai", "other-project", 1)}),
		calling("role search, model named in the body", "search-eng", "200 as vx-search", Call{
			Target: chat, Body: `{"model":"google/gemini-2.5-flash","messages":[{"role":"user","content":"Say hello."}]}`,
		}),
		calling("role search, another model named in the body", "search-eng", "403 NO_RULE"+refused, Call{
			Target: chat, Body: `{"model":"google/gemini-3-pro","messages":[{"role":"user","content":"Say hello."}]}`,
		}),
		calling("role support, a short answer without tools", "support", "200 as vx-support",
			Call{Target: generate, Body: `{"contents":[{"role":"user","parts":[{"text":"Say hello."}]}],"generationConfig":{"maxOutputTokens":256}}`}),
		calling("role support, a long answer", "support", "403 NO_RULE"+refused,
			Call{Target: generate, Body: `{"contents":[{"role":"user","parts":[{"text":"Say hello."}]}],"generationConfig":{"maxOutputTokens":4096}}`}),
		calling("role support, an answer of any length", "support", "403 NO_RULE"+refused, call),
		calling("role oncall, with a reason", "oncall", "200 as vx-breakglass",
			Call{Target: generate, Header: http.Header{"X-Vertex-Reason": {"incident 4711"}}}, fake.Claim("amr", []string{"pwd", "hwk"})),
		calling("role oncall, without a reason", "oncall", "403 REASON_REQUIRED"+refused, call, fake.Claim("amr", []string{"pwd", "hwk"})),
		calling("role oncall, without a hardware key", "oncall", "403 NO_ROLE"+refused,
			Call{Target: generate, Header: http.Header{"X-Vertex-Reason": {"incident 4711"}}}, fake.Claim("amr", []string{"pwd"})),
		calling("role research, its own service account", "research", "200 as vx-research", call),
		calling("role research, preview model", "research", "200 as vx-research",
			Call{Target: base + "gemini-2.5-flash-preview:generateContent"}),
		calling("role search, a prompt of 4 MB", "search-eng", "200 as vx-search",
			Call{Target: generate, Body: strings.Replace(prompt, "Say hello.", strings.Repeat("Say hello. ", 4<<20/11), 1)}),
		calling("role search, listing the models", "search-eng", "200 as vx-search",
			Call{Method: http.MethodGet, Target: "/v1beta1/publishers/google/models"}),
		calling("caller without a role", "sales", "403 NO_ROLE"+refused, call),
		calling("caller asks for a role it does not have", "search-eng", "403 NO_ROLE"+refused,
			Call{Target: generate, Header: http.Header{"X-Vertex-Role": {"research"}}}),
		anonymous,
		calling("expired token", "search-eng", "401 TOKEN_EXPIRED"+refused, call, fake.Expired()),
		calling("token for another audience", "search-eng", "401 WRONG_AUDIENCE"+refused, call, fake.Audience("elsewhere")),
		calling("token of an unknown issuer", "search-eng", "401 UNKNOWN_ISSUER"+refused, call, fake.Claim("iss", "https://evil.example.com")),
		calling("token signed with a key that is not in the JWKS", "search-eng", "401 UNKNOWN_KEY"+refused, call, fake.UnknownKey()),
		calling("token signed with a forged key of a known id", "search-eng", "401 BAD_SIGNATURE"+refused, call, fake.ForgedKey()),
		calling("token with alg none", "search-eng", "401 ALGORITHM_REFUSED"+refused, call, fake.Unsigned()),
		calling("token signed with the public key as HMAC secret", "search-eng", "401 ALGORITHM_REFUSED"+refused, call, fake.Confused()),
	}
}

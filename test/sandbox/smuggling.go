package sandbox

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"vertex-spoa/test/fake"
)

// smuggled is a request that tries to mean something else to Google than to the policy, with the honest request beside it.
type smuggled struct {
	name    string
	hostile func(c *Call)
	want    string // what the hostile one comes to
	only    Protocol
}

const (
	honest = "200 as vx-search"
	denied = ", nothing forwarded"
)

func header(name string, values ...string) func(*Call) {
	return func(c *Call) { c.Header[name] = values }
}

func target(t string) func(*Call) { return func(c *Call) { c.Target = t } }

func attempts() []smuggled {
	return []smuggled{
		{name: "X-Goog-User-Project", hostile: header("X-Goog-User-Project", "victim"), want: honest},
		{name: "x_goog_user_project", hostile: header("X_goog_user_project", "victim"), want: honest},
		{name: "X-Goog-Api-Key", hostile: header("X-Goog-Api-Key", "AIzaEvil"), want: honest},
		{name: "X-Goog-Request-Reason", hostile: header("X-Goog-Request-Reason", "spoofed"), want: honest},
		{name: "X-HTTP-Method-Override", hostile: header("X-Http-Method-Override", "DELETE"), want: honest},
		{name: "Cookie", hostile: header("Cookie", "SID=1"), want: honest},
		{name: "X-Vertex-AI-LLM-Shared-Request-Type", hostile: header("X-Vertex-Ai-Llm-Shared-Request-Type", "priority"), want: "403 NO_RULE" + denied},
		{name: "Connection: authorization", only: HTTP1, hostile: header("Connection", "authorization"), want: honest},
		{name: "a second Authorization", hostile: func(c *Call) { c.Header.Add("Authorization", "Bearer ya29.evil") }, want: "400 CREDENTIALS_AMBIGUOUS" + denied},
		{name: "?key=", hostile: target(generate + "?key=AIzaEvil"), want: "400 BAD_QUERY" + denied},
		{name: "?access_token=", hostile: target(generate + "?access_token=ya29.evil"), want: "400 BAD_QUERY" + denied},
		{name: "?$httpMethod=", hostile: target(generate + "?$httpMethod=DELETE"), want: "400 BAD_QUERY" + denied},
		{name: "?alt=sse on a unary call", hostile: target(generate + "?alt=sse"), want: "400 BAD_QUERY" + denied},
		{name: "%2e%2e", hostile: target(base + "x/%2e%2e/gemini-2.5-flash:generateContent"), want: "400 BAD_TARGET" + denied},
		{name: "%2F", hostile: target(base + "gemini-2.5-flash%2F..%2Fgemini-2.5-pro:generateContent"), want: "400 BAD_TARGET" + denied},
		{name: "// in the path", hostile: target("/v1//projects/" + strings.TrimPrefix(generate, "/v1/projects/")), want: "400 BAD_TARGET" + denied},
		{name: "//", hostile: target("/" + generate), want: "400 BAD_TARGET" + denied},
		{name: "an encoded verb", hostile: target(base + "gemini-2.5-flash%3AgenerateContent"), want: "400 BAD_TARGET" + denied},
		{name: "Content-Encoding", hostile: header("Content-Encoding", "gzip"), want: "400 CONTENT_ENCODING_REFUSED" + denied},
		{name: "Content-Type of another format", hostile: header("Content-Type", "application/json+protobuf"), want: "400 CONTENT_TYPE" + denied},
		{name: "POST without Content-Length", only: HTTP2, hostile: func(c *Call) { c.NoLength = true }, want: "400 LENGTH_REQUIRED" + denied},
		{name: "POST in chunks", only: HTTP1, hostile: func(c *Call) { c.NoLength = true }, want: "400 TRANSFER_ENCODING_REFUSED" + denied},
		{name: "GET of a POST call", hostile: func(c *Call) { c.Method = http.MethodGet }, want: "400 BAD_HTTP_METHOD" + denied},
	}
}

// smugglingScenarios plays each attempt, and its honest twin, over both protocols.
func smugglingScenarios() []Scenario {
	var all []Scenario
	for _, p := range []Protocol{HTTP1, HTTP2} {
		for _, a := range attempts() {
			if a.only == "" || a.only == p {
				all = append(all, Scenario{
					Name: fmt.Sprintf("smuggling %s over %s, and its twin", a.name, p),
					Want: a.want + " | " + honest,
					Run:  a.run(p),
				})
			}
		}
	}
	return all
}

func (a smuggled) run(p Protocol) func(context.Context, *Sandbox) (string, error) {
	return func(ctx context.Context, s *Sandbox) (string, error) {
		token, err := s.Caller("search-eng")
		if err != nil {
			return "", err
		}
		var told []string
		for _, change := range []func(*Call){a.hostile, func(*Call) {}} {
			c := Call{Protocol: p, Target: generate, Token: token, Body: prompt, Header: http.Header{}}
			change(&c)
			got, err := s.playStrictly(ctx, c)
			if err != nil {
				return "", err
			}
			told = append(told, got)
		}
		return strings.Join(told, " | "), nil
	}
}

// kept are the header fields that may reach Vertex AI: the list of the proxy's configuration and what it sets itself.
var kept = []string{"Accept", "Accept-Encoding", "Anthropic-Beta", "Authorization", "Content-Length", "Content-Type", "Host", "Traceparent",
	"User-Agent", "X-Goog-Api-Client", "X-Goog-Request-Reason", "X-Server-Timeout"}

// playStrictly is play, and tells besides of every header field and target at Vertex AI that the honest request does not have.
func (s *Sandbox) playStrictly(ctx context.Context, c Call) (string, error) {
	s.World.Vertex.Take()
	result, err := s.Do(ctx, c)
	if err != nil {
		return "", err
	}
	received := s.World.Vertex.Requests()
	told := result.String() + s.forwarded(c.Token)
	for _, r := range received {
		told += strange(r)
	}
	return told, nil
}

func strange(r fake.Request) string {
	var odd []string
	for name := range r.Header {
		if !slices.Contains(kept, name) {
			odd = append(odd, name)
		}
	}
	if r.Target != generate {
		odd = append(odd, "target "+r.Target)
	}
	if len(r.Header.Values("Authorization")) != 1 {
		odd = append(odd, "Authorization fields")
	}
	if reason := r.Header.Values("X-Goog-Request-Reason"); len(reason) != 1 || !strings.HasPrefix(reason[0], "decision=") {
		odd = append(odd, fmt.Sprintf("X-Goog-Request-Reason %q", reason)) // the agent's own, and nobody else's
	}
	slices.Sort(odd)
	if len(odd) == 0 {
		return ""
	}
	return " with " + strings.Join(odd, ", ")
}

package policy

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func anyCall(t testing.TB, httpMethod, target string) Call {
	t.Helper()
	c, err := ParseAny(httpMethod, target)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestWithProjectChangesTheProjectAlone(t *testing.T) {
	c := anyCall(t, "POST", "/v1/projects/123/locations/us-central1/publishers/google/models/x:predict")
	got, err := c.WithProject("acme-ai")
	if err != nil {
		t.Fatal(err)
	}
	want := anyCall(t, "POST", "/v1/projects/acme-ai/locations/us-central1/publishers/google/models/x:predict")
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("call (-want +got):\n%s", diff)
	}
	checkRoundTrip(t, got)
	for _, id := range []string{"", "-", "a/b", "a%2Fb", "a:b"} {
		if got, err := c.WithProject(id); err == nil || got != (Call{}) {
			t.Errorf("project %q: got %+v, %v, want an error", id, got, err)
		}
	}
	if _, err := (Call{}).WithProject("p1"); err == nil {
		t.Error("the zero Call: got no error")
	}
}

func TestWithModelIsTheCallToThatModel(t *testing.T) {
	tests := []struct{ from, model, want string }{
		{"/publishers/anthropic/models/claude-default:rawPredict", "claude-sonnet-4-5@20250929", "/publishers/anthropic/models/claude-sonnet-4-5@20250929:rawPredict"},
		{"/publishers/google/models/x:predict", "text-embedding-005", "/publishers/google/models/text-embedding-005:predict"},
		{"/publishers/google/models/x:streamGenerateContent?alt=sse", "gemini-2.5-flash", "/publishers/google/models/gemini-2.5-flash:streamGenerateContent?alt=sse"},
	}
	for _, tt := range tests {
		t.Run(tt.from, func(t *testing.T) {
			got, err := anyCall(t, "POST", parentP1+tt.from).WithModel(tt.model)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(anyCall(t, "POST", parentP1+tt.want), got); diff != "" {
				t.Errorf("call (-want +got):\n%s", diff)
			}
		})
	}
}

func TestWithModelRefuses(t *testing.T) {
	tests := []struct{ name, httpMethod, target, model string }{
		{"a name that is none", "POST", flash + ":predict", "a/b"},
		{"a model that takes its model from the body", "POST", parentP1 + "/publishers/anthropic/models/x:rawPredict", "count-tokens"},
		{"a call that takes its model from the body", "POST", parentP1 + "/publishers/anthropic/models/count-tokens:rawPredict", "x"},
		{"a call to an endpoint", "POST", parentP1 + "/endpoints/1:predict", "x"},
		{"a listing", "GET", "/v1/publishers/google/models/x", "y"},
		{"a surface", "POST", "/v1beta1/projects/p1/locations/us-central1/publishers/google/models/x:export", "y"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got, err := anyCall(t, tt.httpMethod, tt.target).WithModel(tt.model); err == nil || got != (Call{}) {
				t.Errorf("got %+v, %v, want an error", got, err)
			}
		})
	}
}

func TestWithEndpointTakesEverythingFromThePolicy(t *testing.T) {
	e := Endpoint{Host: "1234.europe-west4-5678.prediction.vertexai.goog", Project: "acme-ai", Location: "europe-west4"}
	got, err := anyCall(t, "POST", "/v1/projects/other/locations/us-central1/endpoints/1234:predict").WithEndpoint(e)
	if err != nil {
		t.Fatal(err)
	}
	want := anyCall(t, "POST", "/v1/projects/acme-ai/locations/europe-west4/endpoints/1234:predict")
	if want.UpstreamHost = e.Host; got != want {
		t.Errorf("call: got %+v, want %+v", got, want)
	}
	if got.Host() != e.Host {
		t.Errorf("host: got %q, want %q", got.Host(), e.Host)
	}
}

func TestWithEndpointRefuses(t *testing.T) {
	good := Endpoint{Host: "a.prediction.vertexai.goog", Project: "acme-ai", Location: "europe-west4"}
	tests := []struct {
		name, target string
		change       func(*Endpoint)
	}{
		{"a call to a model", flash + ":predict", func(*Endpoint) {}},
		{"the OpenAI-compatible endpoint", parentP1 + "/endpoints/openapi/chat/completions", func(*Endpoint) {}},
		{"no host", parentP1 + "/endpoints/1:predict", func(e *Endpoint) { e.Host = "" }},
		{"a host of another domain", parentP1 + "/endpoints/1:predict", func(e *Endpoint) { e.Host = "evil.example" }},
		{"a domain that ends alike", parentP1 + "/endpoints/1:predict", func(e *Endpoint) { e.Host = "a.evilprediction.vertexai.goog" }},
		{"the domain alone", parentP1 + "/endpoints/1:predict", func(e *Endpoint) { e.Host = "prediction.vertexai.goog" }},
		{"an empty label", parentP1 + "/endpoints/1:predict", func(e *Endpoint) { e.Host = "a..prediction.vertexai.goog" }},
		{"a port", parentP1 + "/endpoints/1:predict", func(e *Endpoint) { e.Host += ":443" }},
		{"an unknown location", parentP1 + "/endpoints/1:predict", func(e *Endpoint) { e.Location = "mars" }},
		{"no project", parentP1 + "/endpoints/1:predict", func(e *Endpoint) { e.Project = "" }},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			e := good
			tt.change(&e)
			if got, err := anyCall(t, "POST", tt.target).WithEndpoint(e); err == nil || got != (Call{}) {
				t.Errorf("got %+v, %v, want an error", got, err)
			}
		})
	}
	for _, l := range locations {
		if !isEndpointHost(l.host) {
			t.Errorf("host %q of %s: refused", l.host, l.name)
		}
	}
}

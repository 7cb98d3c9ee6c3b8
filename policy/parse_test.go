package policy

import (
	"encoding/json"
	"errors"
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const (
	parentP1 = "/v1/projects/p1/locations/us-central1"
	flash    = parentP1 + "/publishers/google/models/gemini-2.5-flash"
)

// rows returns the lines of a file of tab-separated values, cut up.
func rows(t testing.TB, name string) [][]string {
	t.Helper()
	data, err := os.ReadFile("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	var all [][]string
	for line := range strings.Lines(string(data)) {
		if line = strings.TrimSuffix(line, "\n"); line != "" && line[0] != '#' {
			all = append(all, strings.Split(line, "\t"))
		}
	}
	if len(all) == 0 {
		t.Fatalf("%s is empty", name)
	}
	return all
}

// refused checks that a target is refused with a reason of the closed set and a bounded, printable detail, and returns the reason.
func refused(t testing.TB, httpMethod, target string) Reason {
	t.Helper()
	call, err := ParseCall(httpMethod, target)
	var r *Refusal
	if !errors.As(err, &r) {
		t.Errorf("ParseCall(%q, %q): got call %+v, error %v, want a *Refusal", httpMethod, target, call, err)
		return ""
	}
	if call != (Call{}) {
		t.Errorf("ParseCall(%q, %q): got call %+v beside the error, want the zero Call", httpMethod, target, call)
	}
	if len(r.Detail) == 0 || len(r.Detail) > 300 || strings.ContainsFunc(r.Detail, func(r rune) bool { return r < ' ' || r > '~' }) {
		t.Errorf("ParseCall(%q, %q): detail %q is empty, long or not printable", httpMethod, target, r.Detail)
	}
	if !knownReason(r.Reason) {
		t.Errorf("ParseCall(%q, %q): reason %q is not in Reasons", httpMethod, target, r.Reason)
	}
	return r.Reason
}

func knownReason(r Reason) bool {
	for _, known := range Reasons() {
		if r == known {
			return true
		}
	}
	return false
}

// checkRoundTrip checks that the call is rebuilt from its parts alone.
func checkRoundTrip(t testing.TB, c Call) {
	t.Helper()
	again, err := ParseAny(c.HTTPMethod, c.URI())
	if err != nil {
		t.Fatalf("ParseCall of the call's own URI %q: %v", c.URI(), err)
	}
	if diff := cmp.Diff(c, again); diff != "" {
		t.Errorf("ParseCall of the call's own URI %q (-want +got):\n%s", c.URI(), diff)
	}
}

func TestParseCallReadsWhatACallIs(t *testing.T) {
	base := Call{HTTPMethod: "POST", Version: "v1", Project: "p1", Location: "us-central1"}
	model := func(publisher, model, method string, group Group, change ...func(*Call)) Call {
		c := base
		c.Publisher, c.Model, c.Method, c.Group = publisher, model, method, group
		for _, f := range change {
			f(&c)
		}
		return c
	}
	endpoint := func(id, method string, group Group, change ...func(*Call)) Call {
		c := model("", "", method, group, change...)
		c.Endpoint = id
		return c
	}
	stream := func(c *Call) { c.Stream = true }
	inBody := func(c *Call) { c.ModelInBody = true }
	sse := func(c *Call) { c.Query = "alt=sse" }
	tests := []struct {
		target string
		want   Call
	}{
		{flash + ":generateContent", model("google", "gemini-2.5-flash", "generateContent", GroupGenerate)},
		{flash + ":streamGenerateContent", model("google", "gemini-2.5-flash", "streamGenerateContent", GroupStream, stream)},
		{flash + ":streamGenerateContent?alt=sse", model("google", "gemini-2.5-flash", "streamGenerateContent", GroupStream, stream, sse)},
		{flash + ":countTokens", model("google", "gemini-2.5-flash", "countTokens", GroupCount)},
		{flash + ":computeTokens", model("google", "gemini-2.5-flash", "computeTokens", GroupCount)},
		{flash + ":predict", model("google", "gemini-2.5-flash", "predict", GroupPredict)},
		{flash + ":rawPredict", model("google", "gemini-2.5-flash", "rawPredict", GroupPredict)},
		{flash + ":serverStreamingPredict", model("google", "gemini-2.5-flash", "serverStreamingPredict", GroupStream, stream)},
		{parentP1 + "/publishers/google/models/text-embedding-005:predict", model("google", "text-embedding-005", "predict", GroupEmbed)},
		{parentP1 + "/publishers/google/models/multimodalembedding@001:predict", model("google", "multimodalembedding@001", "predict", GroupEmbed)},
		{parentP1 + "/publishers/other/models/text-embedding-005:predict", model("other", "text-embedding-005", "predict", GroupPredict)},
		{parentP1 + "/publishers/google/models/text-embedding-005:rawPredict", model("google", "text-embedding-005", "rawPredict", GroupPredict)},
		{parentP1 + "/publishers/google/models/gemini-embedding-2-preview:embedContent", model("google", "gemini-embedding-2-preview", "embedContent", GroupEmbed)},
		{parentP1 + "/publishers/google/models/veo-3.0-generate-001:predictLongRunning", model("google", "veo-3.0-generate-001", "predictLongRunning", GroupPredict)},
		{parentP1 + "/publishers/google/models/veo-3.0-generate-001:fetchPredictOperation", model("google", "veo-3.0-generate-001", "fetchPredictOperation", GroupPredict)},
		{parentP1 + "/publishers/anthropic/models/claude-sonnet-4@20250514:rawPredict", model("anthropic", "claude-sonnet-4@20250514", "rawPredict", GroupGenerate)},
		{parentP1 + "/publishers/anthropic/models/claude-sonnet-4@20250514:streamRawPredict", model("anthropic", "claude-sonnet-4@20250514", "streamRawPredict", GroupStream, stream)},
		{parentP1 + "/publishers/anthropic/models/count-tokens:rawPredict", model("anthropic", "count-tokens", "rawPredict", GroupCount, inBody)},
		{parentP1 + "/publishers/anthropic/models/count-tokens@20250514:rawPredict", model("anthropic", "count-tokens@20250514", "rawPredict", GroupCount, inBody)},
		{parentP1 + "/publishers/anthropic/models/count-tokens:streamRawPredict", model("anthropic", "count-tokens", "streamRawPredict", GroupCount, inBody, stream)},
		{parentP1 + "/endpoints/123:generateContent", endpoint("123", "generateContent", GroupGenerate)},
		{parentP1 + "/endpoints/mg-endpoint-1:rawPredict", endpoint("mg-endpoint-1", "rawPredict", GroupPredict)},
		{parentP1 + "/endpoints/123:explain", endpoint("123", "explain", GroupPredict)},
		{parentP1 + "/endpoints/123:directPredict", endpoint("123", "directPredict", GroupPredict)},
		{parentP1 + "/endpoints/123:directRawPredict", endpoint("123", "directRawPredict", GroupPredict)},
		{parentP1 + "/endpoints/123:streamRawPredict?alt=sse", endpoint("123", "streamRawPredict", GroupStream, stream, sse)},
		{parentP1 + "/endpoints/openapi/chat/completions", endpoint("openapi", "chat.completions", GroupGenerate, inBody)},
		{parentP1 + "/endpoints/openapi/embeddings", endpoint("openapi", "embeddings", GroupEmbed, inBody)},
	}
	for _, tt := range tests {
		t.Run(tt.target, func(t *testing.T) {
			got, err := ParseCall("POST", tt.target)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("call (-want +got):\n%s", diff)
			}
			if got.URI() != tt.target {
				t.Errorf("URI: got %q, want %q", got.URI(), tt.target)
			}
			checkRoundTrip(t, got)
		})
	}
}

func TestParseCallReadsListings(t *testing.T) {
	list := Call{HTTPMethod: "GET", Version: "v1beta1", Publisher: "google", Method: "models.list", Group: GroupList}
	tests := []struct{ target, model, query string }{
		{"/v1beta1/publishers/google/models", "", ""},
		{"/v1beta1/publishers/google/models?pageSize=5", "", "pageSize=5"},
		{"/v1beta1/publishers/google/models?pageToken=aB9_-.", "", "pageToken=aB9_-."},
		{"/v1beta1/publishers/google/models?pageToken=x&pageSize=65535", "", "pageSize=65535&pageToken=x"},
		{"/v1/publishers/google/models?pageToken=CgQ%2Ba%2Fb%3D%3D", "", "pageToken=CgQ%2Ba%2Fb%3D%3D"},
		{"/v1beta1/publishers/google/models/gemini-2.5-flash", "gemini-2.5-flash", ""},
	}
	for _, tt := range tests {
		t.Run(tt.target, func(t *testing.T) {
			want := list
			want.Model, want.Query = tt.model, tt.query
			want.Version, _, _ = strings.Cut(tt.target[1:], "/")
			if tt.model != "" {
				want.Method = "models.get"
			}
			got, err := ParseCall("GET", tt.target)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("call (-want +got):\n%s", diff)
			}
			if got.Host() != "" {
				t.Errorf("host of a listing that is not completed: got %q, want none", got.Host())
			}
			checkRoundTrip(t, got)
		})
	}
}

// The requests that client libraries really send.
func TestParseCallOnClientRequests(t *testing.T) {
	for _, row := range rows(t, "client-requests.tsv") {
		httpMethod, target, expect, name := row[0], row[1], row[2], row[3]
		t.Run(name, func(t *testing.T) {
			byPolicy := strings.Contains(target, "/projects/OTHER/")
			switch {
			case strings.HasPrefix(expect, "refused") && !byPolicy:
				refused(t, httpMethod, target)
				return
			case !byPolicy && !strings.HasPrefix(expect, "inference call") && !strings.HasPrefix(expect, "model listing"):
				t.Fatalf("unknown expectation %q", expect)
			}
			c, err := ParseCall(httpMethod, target)
			if err != nil {
				t.Fatalf("%s: got %v, want %s", target, err, expect)
			}
			if inBody := strings.Contains(expect, "model in the body"); c.ModelInBody != inBody {
				t.Errorf("ModelInBody: got %v, want %v", c.ModelInBody, inBody)
			}
			if listing := strings.HasPrefix(expect, "model listing"); (c.Group == GroupList) != listing {
				t.Errorf("group: got %q, want a listing: %v", c.Group, listing)
			}
			if c.URI() != target {
				t.Errorf("URI: got %q, want %q", c.URI(), target)
			}
		})
	}
}

func TestParseCallRefusesHostileRequests(t *testing.T) {
	data, err := os.ReadFile("testdata/hostile-requests.json")
	if err != nil {
		t.Fatal(err)
	}
	var cases []struct{ ID, Category, Method, Target, Why string }
	if err := json.Unmarshal(data, &cases); err != nil || len(cases) == 0 {
		t.Fatalf("hostile requests: %d cases, error %v", len(cases), err)
	}
	want := map[string]Reason{"query": BadQuery, "method": BadHTTPMethod}
	for _, c := range cases {
		t.Run(c.ID, func(t *testing.T) {
			if c.ID == "surface-48" || c.ID == "surface-50" {
				return // another project is refused by Decide: TestDecideRefusesOtherProjects
			}
			if call, err := ParseAny(c.Method, c.Target); err == nil && (c.Category != "surface" || call.Surface == "") {
				t.Errorf("ParseAny(%q): got %+v, want a refusal or a surface", c.Target, call)
			}
			got := refused(t, c.Method, c.Target)
			if w := want[c.Category]; w != "" && got != w {
				t.Errorf("%s (%s): got reason %s, want %s", c.Target, c.Why, got, w)
			}
		})
	}
}

// TestParseCallRefusesWhatItWouldNotWrite holds the classes of which the recorded hostile requests are examples.
func TestParseCallRefusesWhatItWouldNotWrite(t *testing.T) {
	long := "/v1/projects/p1/locations/us-central1/publishers/google/models/" + strings.Repeat("a", maxTarget) + ":predict"
	tests := []struct {
		name, method, target string
		want                 Reason
	}{
		{"nothing", "POST", "", BadTarget},
		{"an asterisk", "OPTIONS", "*", BadTarget},
		{"a lone slash", "GET", "/", BadTarget},
		{"only a query", "GET", "?alt=sse", BadTarget},
		{"only a verb", "POST", "/:predict", BadTarget},
		{"no leading slash", "POST", strings.TrimPrefix(flash, "/") + ":predict", BadTarget},
		{"more than 2,048 bytes", "POST", long, BadTarget},
		{"more than 2,048 bytes with the query", "POST", flash + ":streamGenerateContent?alt=sse" + strings.Repeat("x", 2048), BadTarget},
		{"a NUL", "POST", flash + "\x00:predict", BadTarget},
		{"a tab", "POST", flash + "\t:predict", BadTarget},
		{"a space", "POST", flash + " :predict", BadTarget},
		{"a line break", "POST", flash + ":predict\r\nX: y", BadTarget},
		{"a byte beyond ASCII", "POST", flash + "\xe9:predict", BadTarget},
		{"a fragment", "POST", flash + ":predict#x", BadTarget},
		{"a plus sign", "POST", flash + "+x:predict", BadTarget},
		{"a comma", "POST", flash + ",x:predict", BadTarget},
		{"a tilde", "POST", flash + "~:predict", BadTarget},
		{"an exclamation mark", "POST", flash + "!:predict", BadTarget},
		{"a star as location", "POST", "/v1/projects/p1/locations/*/publishers/google/models/x:predict", BadTarget},
		{"a percent sign in the verb", "POST", flash + ":generate%43ontent", BadTarget},
		{"a dot segment", "POST", "/v1/./projects/p1/locations/us-central1/endpoints/1:predict", BadTarget},
		{"three dots", "POST", "/v1/projects/.../locations/us-central1/endpoints/1:predict", BadTarget},
		{"dots before the verb", "POST", parentP1 + "/publishers/google/models/..:predict", BadTarget},
		{"dots at the end", "GET", "/v1/publishers/google/models/..", BadTarget},
		{"a trailing slash of a list", "GET", "/v1/publishers/google/models/", BadTarget},
		{"a trailing slash of chat", "POST", parentP1 + "/endpoints/openapi/chat/completions/", BadTarget},
		{"an empty verb", "POST", flash + ":", BadTarget},
		{"an empty verb of a listing", "GET", "/v1/publishers/google/models:", BadTarget},
		{"an empty verb of a listed model", "GET", "/v1/publishers/google/models/x:", BadTarget},
		{"an empty verb of embeddings", "POST", parentP1 + "/endpoints/openapi/embeddings:", BadTarget},
		{"two verbs", "POST", flash + ":predict:predict", BadTarget},
		{"a verb before a slash", "POST", flash + ":predict/x", BadTarget},
		{"a colon in the project", "POST", "/v1/projects/example.com:p1/locations/us-central1/publishers/google/models/x:predict", BadTarget},
		{"a dash as project", "POST", "/v1/projects/-/locations/us-central1/publishers/google/models/x:predict", BadTarget},
		{"a dash as model", "POST", parentP1 + "/publishers/google/models/-:predict", BadTarget},
		{"a dash as publisher", "POST", parentP1 + "/publishers/-/models/x:predict", BadTarget},
		{"a dash as endpoint", "POST", parentP1 + "/endpoints/-:predict", BadTarget},
		{"capitals in the model", "POST", parentP1 + "/publishers/google/models/Gemini-2.5-flash:predict", BadTarget},
		{"capitals in the publisher", "POST", parentP1 + "/publishers/Google/models/x:predict", BadTarget},
		{"capitals in the endpoint", "POST", parentP1 + "/endpoints/ABC:predict", BadTarget},
		{"openapi in capitals", "POST", parentP1 + "/endpoints/OpenAPI/chat/completions", SurfaceOff},
		{"a version in the project", "POST", "/v1/projects/p1@1/locations/us-central1/endpoints/1:predict", BadTarget},
		{"a version of the endpoint", "POST", parentP1 + "/endpoints/1@2:predict", BadTarget},
		{"a version without a model", "POST", parentP1 + "/publishers/google/models/@001:predict", BadTarget},
		{"a model that ends with a dot", "POST", flash + ".:predict", BadTarget},
		{"a dot in the endpoint", "POST", parentP1 + "/endpoints/1.2:predict", BadTarget},
		{"an unknown location", "POST", "/v1/projects/p1/locations/mars-north1/endpoints/1:predict", UnknownLocation},
		{"a location in capitals", "POST", "/v1/projects/p1/locations/US-central1/endpoints/1:predict", UnknownLocation},
		{"a zone in place of a region", "POST", "/v1/projects/p1/locations/us-central1-a/endpoints/1:predict", UnknownLocation},
		{"the prefix of a location", "POST", "/v1/projects/p1/locations/us-central/endpoints/1:predict", UnknownLocation},
		{"a verb in another case", "POST", flash + ":GenerateContent", SurfaceOff},
		{"the start of a verb", "POST", flash + ":generate", SurfaceOff},
		{"a verb of endpoints on a model", "POST", flash + ":explain", SurfaceOff},
		{"chat.completions as a verb", "POST", flash + ":chat.completions", SurfaceOff},
		{"models.list as a verb", "POST", parentP1 + "/endpoints/1:models.list", SurfaceOff},
		{"an administrative verb", "POST", parentP1 + "/endpoints/1:undeployModel", SurfaceOff},
		{"a model without a verb", "GET", flash, SurfaceOff},
		{"a tuned model", "POST", parentP1 + "/models/1:generateContent", SurfaceOff},
		{"no version", "POST", strings.TrimPrefix(flash, "/v1") + ":predict", SurfaceOff},
		{"an unknown version", "POST", strings.Replace(flash, "v1", "v2", 1) + ":predict", SurfaceOff},
		{"a prefix before the version", "POST", "/x" + flash + ":predict", SurfaceOff},
		{"a verb after openapi", "POST", parentP1 + "/endpoints/openapi:generateContent", SurfaceOff},
		{"a verb after chat/completions", "POST", parentP1 + "/endpoints/openapi/chat/completions:predict", SurfaceOff},
		{"a verb after embeddings", "POST", parentP1 + "/endpoints/openapi/embeddings:predict", SurfaceOff},
		{"chat at another endpoint", "POST", parentP1 + "/endpoints/1/chat/completions", SurfaceOff},
		{"openapi alone", "POST", parentP1 + "/endpoints/openapi", SurfaceOff},
		{"chat alone", "POST", parentP1 + "/endpoints/openapi/chat", SurfaceOff},
		{"more below chat/completions", "POST", parentP1 + "/endpoints/openapi/chat/completions/1", SurfaceOff},
		{"a listing of another publisher", "GET", "/v1/publishers/anthropic/models", SurfaceOff},
		{"a listing with a verb", "GET", "/v1/publishers/google/models:predict", SurfaceOff},
		{"a listing with a project", "GET", parentP1 + "/publishers/google/models", SurfaceOff},
		{"a publisher alone", "GET", "/v1/publishers/google", SurfaceOff},
		{"more below a model", "GET", "/v1/publishers/google/models/x/y", SurfaceOff},
		{"a model's name below publishers in capitals", "GET", "/v1/publishers/google/models/X", BadTarget},
		{"a location's own verb", "POST", parentP1 + ":evaluateInstances", SurfaceOff},
		{"a folder in place of a project", "POST", "/v1/folders/p1/locations/us-central1/endpoints/1:predict", SurfaceOff},
		{"an organisation in place of a location", "POST", "/v1/projects/p1/organizations/us-central1/endpoints/1:predict", SurfaceOff},
		{"the gateway for JSON RPC", "POST", "/$rpc/x", SurfaceOff},
		{"discovery", "GET", "/$discovery/rest?version=v1", SurfaceOff},
		{"another dollar sign", "GET", "/$other/x", BadTarget},
		{"a WebSocket", "GET", "/ws/google.cloud.aiplatform.v1.LlmBidiService/BidiGenerateContent", SurfaceOff},
		{"a WebSocket with two slashes", "GET", "//ws/google.cloud.aiplatform.v1.LlmBidiService/BidiGenerateContent", BadTarget},
		{"gRPC", "POST", "/google.cloud.aiplatform.v1.PredictionService/Predict", SurfaceOff},
		{"a GET of an inference call", "GET", flash + ":predict", BadHTTPMethod},
		{"a HEAD of a listing", "HEAD", "/v1/publishers/google/models", BadHTTPMethod},
		{"a POST of a listing", "POST", "/v1/publishers/google/models", BadHTTPMethod},
		{"a method in lower case", "post", flash + ":predict", BadHTTPMethod},
		{"a method with a blank", "POST ", flash + ":predict", BadHTTPMethod},
		{"a method with control characters", "P\x00\nST", flash + ":predict", BadHTTPMethod},
		{"a very long method", strings.Repeat("\xff", 5000), flash + ":predict", BadHTTPMethod},
		{"no method", "", flash + ":predict", BadHTTPMethod},
		{"a bare question mark", "POST", flash + ":predict?", BadQuery},
		{"a bare question mark on a stream", "POST", flash + ":streamGenerateContent?", BadQuery},
		{"a bare question mark on a list", "GET", "/v1/publishers/google/models?", BadQuery},
		{"a second question mark", "POST", flash + ":streamGenerateContent?alt=sse?", BadQuery},
		{"alt=json", "POST", flash + ":streamGenerateContent?alt=json", BadQuery},
		{"alt=sse twice", "POST", flash + ":streamGenerateContent?alt=sse&alt=sse", BadQuery},
		{"an ampersand at the end", "POST", flash + ":streamGenerateContent?alt=sse&", BadQuery},
		{"alt=sse with more", "POST", flash + ":streamGenerateContent?alt=sse&key=x", BadQuery},
		{"a query of chat", "POST", parentP1 + "/endpoints/openapi/chat/completions?alt=sse", BadQuery},
		{"a query of models.get", "GET", "/v1/publishers/google/models/x?pageSize=1", BadQuery},
		{"a page of no size", "GET", "/v1/publishers/google/models?pageSize=", BadQuery},
		{"a page of size 0", "GET", "/v1/publishers/google/models?pageSize=0", BadQuery},
		{"a page of size 007", "GET", "/v1/publishers/google/models?pageSize=007", BadQuery},
		{"a page of size +5", "GET", "/v1/publishers/google/models?pageSize=+5", BadQuery},
		{"a huge page", "GET", "/v1/publishers/google/models?pageSize=99999999", BadQuery},
		{"two sizes", "GET", "/v1/publishers/google/models?pageSize=1&pageSize=1", BadQuery},
		{"two tokens", "GET", "/v1/publishers/google/models?pageToken=a&pageToken=b", BadQuery},
		{"an empty token", "GET", "/v1/publishers/google/models?pageToken=", BadQuery},
		{"a token without a value", "GET", "/v1/publishers/google/models?pageToken", BadQuery},
		{"a token encoded in lower case", "GET", "/v1/publishers/google/models?pageToken=a%3d", BadQuery},
		{"a token with a letter encoded", "GET", "/v1/publishers/google/models?pageToken=%41", BadQuery},
		{"a token with a dash encoded", "GET", "/v1/publishers/google/models?pageToken=a%2Db", BadQuery},
		{"a token encoded twice", "GET", "/v1/publishers/google/models?pageToken=a%253D", BadQuery},
		{"a token with an encoded ampersand", "GET", "/v1/publishers/google/models?pageToken=a%26key%3Db", BadQuery},
		{"a token with an encoded NUL", "GET", "/v1/publishers/google/models?pageToken=a%00", BadQuery},
		{"a token with half an escape", "GET", "/v1/publishers/google/models?pageToken=a%3", BadQuery},
		{"a token with an escape across escapes", "GET", "/v1/publishers/google/models?pageToken=%%2BF", BadQuery},
		{"a token with a bare equals sign", "GET", "/v1/publishers/google/models?pageToken=a=", BadQuery},
		{"a token with a bare plus sign", "GET", "/v1/publishers/google/models?pageToken=a+b", BadQuery},
		{"a token with a bare slash", "GET", "/v1/publishers/google/models?pageToken=a/b", BadQuery},
		{"an empty parameter between", "GET", "/v1/publishers/google/models?pageSize=1&&pageToken=a", BadQuery},
		{"a filter", "GET", "/v1/publishers/google/models?filter=x", BadQuery},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := refused(t, tt.method, tt.target); got != tt.want {
				t.Errorf("%s %q: got reason %s, want %s", tt.method, tt.target, got, tt.want)
			}
		})
	}
}

func TestRefusalsDoNotRepeatTheQuery(t *testing.T) {
	for _, query := range []string{"key=MARKER", "MARKER", "MARKER=", "alt=MARKER", "access_token=MARKER&alt=sse", "pageToken=%MARKER"} {
		for _, target := range []string{flash + ":predict", flash + ":streamGenerateContent", "/v1/publishers/google/models", "/v1/batch"} {
			method := "POST"
			if strings.HasSuffix(target, "models") {
				method = "GET"
			}
			_, err := ParseCall(method, target+"?"+query)
			if err == nil || strings.Contains(err.Error(), "MARKER") {
				t.Errorf("ParseCall(%q): got error %v, want one without the query's text", target+"?"+query, err)
			}
		}
	}
}

func TestTheZeroCallIsNothing(t *testing.T) {
	var c Call
	if c.URI() != "" || c.Host() != "" {
		t.Errorf("got URI %q and host %q, want none", c.URI(), c.Host())
	}
}

func TestEveryMethodHasAGroupOfTheTable(t *testing.T) {
	if n := len(methods) + len(groups); n > 32 {
		t.Fatalf("%d methods and groups do not fit into a methodSet", n)
	}
	for _, m := range methods {
		if callBits(Call{Method: m.name, Group: m.group}) == 0 {
			t.Errorf("method %q has group %q, which is not in the table", m.name, m.group)
		}
	}
}

func FuzzParseCall(f *testing.F) {
	for _, row := range rows(f, "client-requests.tsv") {
		f.Add(row[0], row[1])
	}
	f.Add("GET", "/v1beta1/publishers/google/models?pageToken=x%2F%3D&pageSize=5")
	f.Add("POST", parentP1+"/publishers/anthropic/models/count-tokens:rawPredict")
	f.Add("POST", "//v1/projects/p1/../x?alt=sse;key=%41")
	f.Add("PATCH", parentP1+"/cachedContents/1?updateMask=ttl,x.y")
	f.Add("POST", parentP1+":evaluateInstances")
	allowed := regexp.MustCompile(`^/[A-Za-z0-9._@:/-]+(\?([A-Za-z0-9._=&,:*-]|%2B|%2F|%3D)+)?$`)
	f.Fuzz(func(t *testing.T, httpMethod, target string) {
		c, err := ParseAny(httpMethod, target)
		if strict, strictErr := ParseCall(httpMethod, target); err == nil && c.Surface == "" && strict != c {
			t.Errorf("ParseCall(%q): got %+v, %v, want what ParseAny reads", target, strict, strictErr)
		} else if strictErr == nil && strict != c {
			t.Errorf("ParseCall(%q): got %+v, want what ParseAny reads", target, strict)
		}
		if err != nil {
			refused(t, httpMethod, target)
			return
		}
		checkRoundTrip(t, c)
		uri := c.URI()
		path, query, _ := strings.Cut(target, "?")
		if got, _, _ := strings.Cut(uri, "?"); got != path {
			t.Errorf("path: got %q, want %q", got, path)
		}
		if len(uri) != len(target) || (uri != target && !strings.Contains(query, "&")) {
			t.Errorf("URI: got %q, want %q but for the order of parameters", uri, target)
		}
		if !allowed.MatchString(uri) || strings.Contains(uri, "/..") || strings.Contains(uri, "//") {
			t.Errorf("URI %q has bytes or segments that are not allowed", uri)
		}
		if host := c.Host(); (host == "") != c.listing() || host != "" && Locations()[c.Location] != host {
			t.Errorf("host of %q: got %q", uri, host)
		}
		if c.Method == "" || c.Group == "" || (callBits(c) == 0) != (c.Surface != "") || (c.Surface != "") != (c.Group == GroupAdmin) {
			t.Errorf("call %+v has no method or group, or those of another kind of call", c)
		}
	})
}

func BenchmarkParseCall(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if _, err := ParseCall("POST", flash+":streamGenerateContent?alt=sse"); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkParseCallRefused(b *testing.B) {
	b.ReportAllocs()
	for b.Loop() {
		if _, err := ParseCall("POST", flash+"/../x:predict"); err == nil {
			b.Fatal("not refused")
		}
	}
}

func BenchmarkURI(b *testing.B) {
	c, err := ParseCall("POST", flash+":streamGenerateContent?alt=sse")
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		_ = c.URI()
	}
}

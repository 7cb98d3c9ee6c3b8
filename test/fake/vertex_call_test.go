package fake

import (
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

const parentOfX = "/v1beta1/projects/p/locations/global"

func TestParseCallUnderstandsEveryCallOfInference(t *testing.T) {
	post := call{method: http.MethodPost, project: "p", location: "global"}
	with := func(edit func(*call)) call { c := post; edit(&c); return c }
	tests := []struct {
		method, target string
		want           call
	}{
		{"POST", parentOfX + "/publishers/anthropic/models/claude@001:rawPredict",
			with(func(c *call) { c.publisher, c.model, c.verb = "anthropic", "claude@001", "rawPredict" })},
		{"POST", parentOfX + "/publishers/google/models/g:streamGenerateContent?alt=sse",
			with(func(c *call) { c.publisher, c.model, c.verb = "google", "g", "streamGenerateContent" })},
		{"POST", parentOfX + "/endpoints/1:explain", with(func(c *call) { c.endpoint, c.verb = "1", "explain" })},
		{"POST", parentOfX + "/endpoints/openapi/chat/completions", with(func(c *call) { c.endpoint, c.verb = "openapi", verbChat })},
		{"POST", parentOfX + "/endpoints/openapi/embeddings", with(func(c *call) { c.endpoint, c.verb = "openapi", verbEmbeddings })},
		{"GET", "/v1beta1/publishers/google/models?pageSize=1&pageToken=x", call{method: "GET", publisher: "google", verb: "list"}},
		{"GET", "/v1/publishers/google/models/g", call{method: "GET", publisher: "google", model: "g", verb: "get"}},
	}
	for _, test := range tests {
		got, no := parseCall(test.method, test.target)
		if no != nil {
			t.Errorf("%s: refused: %s", test.target, no.reason)
		}
		if diff := cmp.Diff(test.want, got, cmp.AllowUnexported(call{})); diff != "" {
			t.Errorf("%s:\n%s", test.target, diff)
		}
	}
}

func TestParseCallRefusesWhatLooksAlike(t *testing.T) {
	tests := []struct {
		name, method, target string
		want                 Reason
	}{
		{"empty", "POST", "", PathInvalid},
		{"root", "GET", "/", PathInvalid},
		{"asterisk", "OPTIONS", "*", PathInvalid},
		{"trailing slash", "GET", "/v1/publishers/google/models/", PathInvalid},
		{"dots after the version", "GET", "/v1/../v1/publishers/google/models", PathInvalid},
		{"dots before a verb", "POST", parentOfX + "/endpoints/..:predict", PathInvalid},
		{"a colon in the middle", "POST", parentOfX + "/endpoints/1:predict/x", PathInvalid},
		{"a version of nothing", "POST", parentOfX + "/publishers/google/models/@1:predict", PathInvalid},
		{"a space", "POST", parentOfX + "/endpoints/1 :predict", PathInvalid},
		{"a newline", "POST", parentOfX + "/endpoints/1:predict\n", PathInvalid},
		{"beyond ASCII", "POST", parentOfX + "/endpoints/é:predict", PathInvalid},
		{"too short", "POST", "/v1/projects/p", NotFound},
		{"models of another publisher", "GET", "/v1/publishers/anthropic/models", NotFound},
		{"a verb on the listing", "GET", "/v1/publishers/google/models/g:x", NotFound},
		{"more below a model", "GET", "/v1/publishers/google/models/g/x", NotFound},
		{"explain on a publisher's model", "POST", parentOfX + "/publishers/google/models/g:explain", NotFound},
		{"a verb on openapi", "POST", parentOfX + "/endpoints/openapi/embeddings:predict", NotFound},
		{"part of two verbs", "POST", parentOfX + "/endpoints/1:generate", NotFound},
		{"page size on a call", "POST", parentOfX + "/endpoints/1:predict?pageSize=1", QueryInvalid},
		{"an escaped page token", "GET", "/v1/publishers/google/models?pageToken=%41", QueryInvalid},
		{"an escaped name", "GET", "/v1/publishers/google/models?page%53ize=1", QueryInvalid},
		{"a trailing separator", "GET", "/v1/publishers/google/models?pageSize=1&", QueryInvalid},
		{"a second question mark", "GET", "/v1/publishers/google/models?pageSize=1?", QueryInvalid},
		{"a fragment", "GET", "/v1/publishers/google/models?pageSize=1#x", QueryInvalid},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			c, no := parseCall(test.method, test.target)
			if no == nil || no.reason != test.want {
				t.Fatalf("got %+v, want %s", no, test.want)
			}
			if c != (call{}) {
				t.Errorf("got call %+v with the refusal", c)
			}
		})
	}
}

// spell writes the one target of a call, without its query.
func spell(version string, c call) string {
	if c.method == http.MethodGet {
		path := "/" + version + "/publishers/" + c.publisher + "/models"
		if c.verb == "get" {
			path += "/" + c.model
		}
		return path
	}
	parent := "/" + version + "/projects/" + c.project + "/locations/" + c.location
	switch {
	case c.verb == verbChat || c.verb == verbEmbeddings:
		return parent + "/endpoints/openapi/" + c.verb
	case c.endpoint != "":
		return parent + "/endpoints/" + c.endpoint + ":" + c.verb
	}
	return parent + "/publishers/" + c.publisher + "/models/" + c.model + ":" + c.verb
}

func FuzzParseCall(f *testing.F) {
	for _, target := range []string{
		flash + ":streamGenerateContent?alt=sse", claude + ":rawPredict", parentOfX + "/endpoints/1:explain",
		parentOfX + "/endpoints/openapi/chat/completions", parentOfX + "/endpoints/openapi/embeddings", flash + "/../x:predict",
		parentOfX + "/endpoints/1", flash, // without a verb
		central + flash + ":predict", flash + "%2Fx:predict", "//v1/publishers/google/models", "",
	} {
		f.Add("POST", target)
	}
	f.Add("GET", "/v1/publishers/google/models?pageSize=1&pageToken=x")
	f.Add("GET", "/v1beta1/publishers/google/models/gemini-2.5-flash")
	f.Fuzz(func(t *testing.T, method, target string) {
		c, no := parseCall(method, target)
		if no != nil {
			if c != (call{}) {
				t.Errorf("got call %+v with a refusal", c)
			}
			return
		}
		path, _, _ := strings.Cut(target, "?")
		version, _, _ := strings.Cut(path[1:], "/")
		if got := spell(version, c); got != path || method != c.method {
			t.Errorf("%s %q was read as %s %q", method, target, c.method, got)
		}
	})
}

func FuzzParseBody(f *testing.F) {
	for _, body := range []string{prompt, messages, `{"instances":[1]}`, `{}`, `null`, `[]`, `{"contents":null}`, prompt + prompt, ``} {
		f.Add("generateContent", body)
		f.Add("rawPredict", body)
	}
	header := http.Header{"Content-Type": {"application/json"}}
	f.Fuzz(func(t *testing.T, verb, body string) {
		c := call{method: http.MethodPost, publisher: "anthropic", model: "claude", verb: verb}
		members, no := c.parseBody(header, []byte(body))
		if (members == nil) != (no != nil) {
			t.Errorf("got %v with refusal %v", members, no)
		}
		for name := range members {
			_, _ = members.text(name), members.flag(name) // must not panic
		}
	})
}

func FuzzTokenRequest(f *testing.F) {
	f.Add("3600s")
	f.Add("0.5s")
	f.Add("999999999999.999999999s")
	f.Add("1h")
	f.Fuzz(func(t *testing.T, lifetime string) {
		q := tokenRequest{Lifetime: &lifetime}
		d, given, ok := q.life(false)
		if !given || (ok && (d < 1e9 || d > 3600e9 || !strings.HasSuffix(lifetime, "s"))) {
			t.Errorf("%q: got %v, %v, %v", lifetime, d, given, ok)
		}
	})
}

func TestHostsServeOneLocationEach(t *testing.T) {
	seen := make(map[string]bool)
	for _, host := range publicHosts() {
		location, ok := locationOf(host)
		if !ok || seen[location] {
			t.Errorf("%s: got location %q, %v", host, location, ok)
		}
		seen[location] = true
	}
	for _, host := range []string{
		"", "-aiplatform.googleapis.com", "global-aiplatform.googleapis.com", "US-central1-aiplatform.googleapis.com",
		"us-central1-aiplatform.googleapis.com.", "aiplatform.us-central1.rep.googleapis.com",
	} {
		if location, ok := locationOf(host); ok {
			t.Errorf("%s: got location %q", host, location)
		}
	}
}

func BenchmarkGenerateContent(b *testing.B) {
	w := startWorld(b)
	c := speak(b, w, strings.TrimPrefix(central, "https://"), true)
	token := chatToken(b, w)
	b.ReportAllocs()
	for b.Loop() {
		if got := (ask{url: central + flash + ":generateContent", token: token, body: prompt}).send(b, c); got.Status != http.StatusOK {
			b.Fatalf("got %+v", got)
		}
	}
}

package fake

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"regexp"
	"slices"
	"strings"
	"unicode/utf8"
)

// maxPath is the longest path, in bytes, that Vertex takes.
const maxPath = 2048

// call is what a request target asks for.
type call struct {
	method    string // the one HTTP method of the call
	project   string // empty for the listing of models, which has no project
	location  string // empty for the listing of models
	publisher string
	model     string // with its @version; empty for a list and for endpoints
	endpoint  string // endpoint id, or "openapi"
	verb      string // the custom verb, "list" or "get" for models, the rest of the path for openapi
}

// verbsOfModels can be called on a publisher's model, verbsOfEndpoints on an endpoint as well.
const (
	verbsOfModels = " generateContent streamGenerateContent countTokens computeTokens embedContent predict predictLongRunning" +
		" fetchPredictOperation rawPredict streamRawPredict serverStreamingPredict "
	verbsOfEndpoints = " explain directPredict directRawPredict "
)

// parseCall reads a request target as strictly as a canonical one can be read. That is stricter than Google, which decodes and cleans
// what it gets: a target that this fake takes means to Google what it says.
func parseCall(method, target string) (call, *refusal) {
	path, query, marked := strings.Cut(target, "?")
	if !canonical(path) {
		return call{}, refuse(PathInvalid, http.StatusBadRequest, "path is not canonical")
	}
	c, ok := match(strings.Split(path[1:], "/"))
	if !ok || c.method != method {
		return call{}, refuse(NotFound, http.StatusNotFound, "no such method")
	}
	if marked && !c.takes(query) {
		return call{}, refuse(QueryInvalid, http.StatusBadRequest, "query has a parameter this method does not take")
	}
	return c, nil
}

var (
	pathBytes = regexp.MustCompile(`^(/[A-Za-z0-9._-]+(@[A-Za-z0-9._-]+)?)+(:[A-Za-z]+)?$`)
	dots      = regexp.MustCompile(`/\.+(/|:|$)`)
)

func canonical(path string) bool {
	return len(path) <= maxPath && pathBytes.MatchString(path) && !dots.MatchString(path)
}

// match finds the call of a path cut into segments.
func match(segments []string) (call, bool) {
	if segments[0] != "v1" && segments[0] != "v1beta1" {
		return call{}, false
	}
	last, verb, _ := strings.Cut(segments[len(segments)-1], ":")
	segments[len(segments)-1] = last
	s := segments[1:]
	if len(s) >= 3 && s[0] == "publishers" && s[1] == "google" && s[2] == "models" && verb == "" {
		return matchListing(s[3:])
	}
	if len(s) < 6 || s[0] != "projects" || s[2] != "locations" {
		return call{}, false
	}
	c := call{method: http.MethodPost, project: s[1], location: s[3], verb: verb}
	word := " " + verb + " "
	switch s = s[4:]; {
	case len(s) == 4 && s[0] == "publishers" && s[2] == "models":
		c.publisher, c.model = s[1], s[3]
		return c, verb != "" && strings.Contains(verbsOfModels, word)
	case len(s) > 2 && s[0] == "endpoints" && s[1] == "openapi":
		c.endpoint, c.verb = s[1], strings.Join(s[2:], "/")
		return c, verb == "" && (c.verb == verbChat || c.verb == verbEmbeddings)
	case len(s) == 2 && s[0] == "endpoints":
		c.endpoint = s[1]
		return c, verb != "" && strings.Contains(verbsOfModels+verbsOfEndpoints, word)
	}
	return call{}, false
}

const (
	verbChat       = "chat/completions"
	verbEmbeddings = "embeddings"
)

func matchListing(rest []string) (call, bool) {
	c := call{method: http.MethodGet, publisher: "google", verb: "list"}
	if len(rest) == 1 {
		c.model, c.verb = rest[0], "get"
	}
	return c, len(rest) < 2
}

// plainPair is a query parameter in the only spelling that needs no decoding.
var plainPair = regexp.MustCompile(`^[A-Za-z]+=[A-Za-z0-9._-]+$`)

// takes reports whether the call takes this query: each parameter known, plainly spelled, and given once.
func (c call) takes(query string) bool {
	var seen []string
	for pair := range strings.SplitSeq(query, "&") {
		name, value, _ := strings.Cut(pair, "=")
		if !plainPair.MatchString(pair) || slices.Contains(seen, name) {
			return false
		}
		seen = append(seen, name)
		paging := c.verb == "list" && (name == "pageSize" || name == "pageToken")
		sse := name == "alt" && value == "sse" && strings.HasPrefix(strings.ToLower(c.verb), "stream")
		if !paging && !sse {
			return false
		}
	}
	return true
}

// scopes returns the scopes of which a token needs one, as the v1 discovery document of Vertex AI lists them per method.
func (c call) scopes() []string {
	switch c.verb {
	case "countTokens":
		return []string{ScopeCloudPlatform}
	case "list", "get":
		return []string{ScopeCloudPlatform, ScopeReadOnly}
	}
	return []string{ScopeCloudPlatform, ScopeAIPlatform}
}

// fields is the top level of a request's JSON.
type fields map[string]json.RawMessage

// parseBody reads the body of a call: one JSON object with the members without which the method cannot work.
func (c call) parseBody(h http.Header, body []byte) (fields, *refusal) {
	if c.method == http.MethodGet {
		if len(body) > 0 {
			return nil, refuse(BodyInvalid, http.StatusBadRequest, "a GET has no body")
		}
		return nil, nil
	}
	if !isJSON(h) || !utf8.Valid(body) {
		return nil, refuse(BodyInvalid, http.StatusBadRequest, "body is not plain JSON in UTF-8")
	}
	var f fields
	dec := json.NewDecoder(bytes.NewReader(body))
	if err := dec.Decode(&f); err != nil || f == nil {
		return nil, refuse(BodyInvalid, http.StatusBadRequest, "body is not a JSON object")
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, refuse(BodyInvalid, http.StatusBadRequest, "body has more than one JSON document")
	}
	for _, names := range c.needs() {
		if !slices.ContainsFunc(strings.Fields(names), f.filled) {
			return nil, refuse(BodyInvalid, http.StatusBadRequest, "body lacks "+strings.ReplaceAll(names, " ", " or "))
		}
	}
	if c.anthropic() {
		if no := f.checkAnthropic(); no != nil {
			return nil, no
		}
	}
	return f, nil
}

// checkAnthropic checks anthropic_version: the one that Vertex AI alone knows, which clients sent until October 2026, or Anthropic's
// own of then, which has done away with three parameters (https://platform.claude.com/docs/en/api/versioning).
func (f fields) checkAnthropic() *refusal {
	switch f.text("anthropic_version") {
	case "vertex-2023-10-16":
		return nil
	case "2026-10-21":
		for _, name := range []string{"temperature", "top_p", "top_k"} {
			if _, there := f[name]; there {
				return refuse(BodyInvalid, http.StatusBadRequest, name+" is not a parameter of this anthropic_version")
			}
		}
		return nil
	}
	return refuse(BodyInvalid, http.StatusBadRequest, "anthropic_version is neither vertex-2023-10-16 nor 2026-10-21")
}

// needs returns the members a body must have; of several names in one string one is enough.
func (c call) needs() []string {
	switch c.verb {
	case "generateContent", "streamGenerateContent":
		return []string{"contents"}
	case "countTokens", "computeTokens":
		return []string{"contents instances"}
	case "embedContent":
		return []string{"content"}
	case "predict", "predictLongRunning", "explain":
		return []string{"instances"}
	case "directPredict", "serverStreamingPredict":
		return []string{"inputs"}
	case "fetchPredictOperation":
		return []string{"operationName"}
	case verbChat:
		return []string{"model", "messages"}
	case verbEmbeddings:
		return []string{"model", "input"}
	}
	switch {
	case c.countsForAnthropic():
		return []string{"model", "messages"}
	case c.anthropic():
		return []string{"anthropic_version", "messages", "max_tokens"}
	}
	return nil
}

// anthropic reports whether the call takes and answers Anthropic's messages.
func (c call) anthropic() bool {
	return c.publisher == "anthropic" && !c.countsForAnthropic() && (c.verb == "rawPredict" || c.verb == "streamRawPredict")
}

// countsForAnthropic reports whether the call is Anthropic's way to count tokens, which names its model in the body.
func (c call) countsForAnthropic() bool {
	return c.publisher == "anthropic" && c.model == "count-tokens" && c.verb == "rawPredict"
}

// filled reports whether a member is there and is not null, empty or zero.
func (f fields) filled(name string) bool {
	switch string(bytes.TrimSpace(f[name])) {
	case "", "null", `""`, "[]", "{}", "0":
		return false
	}
	return true
}

// text returns a member that is a string, or "".
func (f fields) text(name string) string {
	var s string
	if json.Unmarshal(f[name], &s) != nil {
		return ""
	}
	return s
}

// flag reports whether a member is true.
func (f fields) flag(name string) bool { return string(bytes.TrimSpace(f[name])) == "true" }

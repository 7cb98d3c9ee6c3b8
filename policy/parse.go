package policy

import (
	"strconv"
	"strings"
)

const (
	maxTarget   = 2048 // bytes of path and query
	maxSegments = 15   // the longest path of a known call
)

// ParseCall reads the HTTP method and the target of a request (path and query, as received) as a Vertex call.
//
// It accepts exactly the targets that Call.URI writes, but for the order of paging parameters, and nothing that two readers could
// read differently: no percent-encoding, but for the one of page tokens, no empty, dot or trailing segment, no wildcard, no name in
// another case than the API's own, no query parameter that the call does not need. On error the Call is zero and the error is a *Refusal.
//
// Calls beyond inference and listings are refused as SURFACE_OFF; ParseAny reads them.
func ParseCall(httpMethod, target string) (Call, error) {
	call, refusal := parseCall(httpMethod, target, false)
	if refusal != nil {
		return Call{}, refusal
	}
	return call, nil
}

// ParseAny reads what ParseCall reads, and also the calls beyond inference that a rule may switch on: those of SurfaceMethods. Such a Call
// has a Surface and the group GroupAdmin, and whoever decides on it has to refuse it unless an allow rule names its Method exactly. What
// is in neither is refused as SURFACE_OFF here.
func ParseAny(httpMethod, target string) (Call, error) {
	call, refusal := parseCall(httpMethod, target, true)
	if refusal != nil {
		return Call{}, refusal
	}
	return call, nil
}

func parseCall(httpMethod, target string, surfaces bool) (Call, *Refusal) {
	if len(target) > maxTarget {
		return Call{}, &Refusal{BadTarget, "the target has " + strconv.Itoa(len(target)) + " bytes, more than " + strconv.Itoa(maxTarget)}
	}
	pathText, query, hasQuery := strings.Cut(target, "?")
	p, refusal := splitPath(pathText)
	if refusal != nil {
		return Call{}, refusal
	}
	call, refusal := p.call()
	if surfaces && refusal != nil && refusal.Reason == SurfaceOff {
		call, refusal = p.surface(httpMethod)
	}
	if refusal != nil {
		return Call{}, refusal
	}
	if httpMethod != call.HTTPMethod {
		return Call{}, &Refusal{BadHTTPMethod, call.Method + " takes " + call.HTTPMethod + ", not " + quote(httpMethod)}
	}
	if !hasQuery {
		return call, nil
	}
	call.Query, refusal = parseQuery(call, query)
	return call, refusal
}

// path is a target's path, cut at its slashes and at the colon before the verb.
type path struct {
	text     string // all of it
	segments [maxSegments]string
	n        int // segments of the path; those beyond maxSegments are counted, not kept
	verb     string
}

// splitPath checks every byte of a path and cuts it up.
func splitPath(s string) (path, *Refusal) {
	if s == "" || s[0] != '/' {
		return path{}, &Refusal{BadTarget, "the target does not begin with a slash"}
	}
	// Google serves these two beside the versioned paths; the dollar sign is refused everywhere else.
	for _, prefix := range []string{"/$rpc/", "/$discovery/"} {
		if strings.HasPrefix(s, prefix) {
			return path{}, &Refusal{SurfaceOff, "paths below " + prefix + " are not inference calls"}
		}
	}
	for i := range len(s) {
		if !isAlnum(s[i]) && strings.IndexByte("/-.:@_", s[i]) < 0 {
			return path{}, &Refusal{BadTarget, "byte 0x" + strconv.FormatUint(uint64(s[i]), 16) + " at " + strconv.Itoa(i) + " is not allowed in a path"}
		}
	}
	p, refusal := cutPath(s[1:])
	p.text = s
	return p, refusal
}

// cutPath cuts a path whose bytes are known to be good. Its last segment may end with a colon and a verb.
func cutPath(rest string) (path, *Refusal) {
	var p path
	for more := true; more; p.n++ {
		var segment string
		segment, rest, more = strings.Cut(rest, "/")
		if !more {
			var colon bool
			segment, p.verb, colon = strings.Cut(segment, ":")
			if colon && p.verb == "" {
				return path{}, &Refusal{BadTarget, "the path ends with a colon"}
			}
		}
		if strings.Trim(segment, ".") == "" {
			return path{}, &Refusal{BadTarget, "segment " + strconv.Itoa(p.n+1) + " of the path is empty or made of dots"}
		}
		if strings.Contains(segment, ":") || strings.Contains(p.verb, ":") {
			return path{}, &Refusal{BadTarget, "a colon may stand only once, before the verb at the end of the path"}
		}
		if p.n < maxSegments {
			p.segments[p.n] = segment
		}
	}
	return p, nil
}

// call reads the cut path as one of the known calls.
func (p *path) call() (Call, *Refusal) {
	s := p.segments[:min(p.n, maxSegments)]
	if p.n > maxSegments || s[0] != "v1" && s[0] != "v1beta1" {
		return Call{}, p.unknown()
	}
	switch {
	case p.n >= 4 && s[1] == "publishers":
		return p.listing(s)
	case p.n >= 7 && s[1] == "projects" && s[3] == "locations":
		return p.inference(s)
	}
	return Call{}, p.unknown()
}

// listing reads /V/publishers/google/models and /V/publishers/google/models/{model}.
func (p *path) listing(s []string) (Call, *Refusal) {
	if s[2] != "google" || s[3] != "models" || p.n > 5 || p.verb != "" {
		return Call{}, p.unknown()
	}
	c := Call{HTTPMethod: "GET", Version: s[0], Publisher: s[2], Method: modelsList, Group: GroupList}
	if p.n == 5 {
		c.Model, c.Method = s[4], modelsGet
		if !isModel(c.Model) {
			return Call{}, badName("a model", c.Model)
		}
	}
	return c, nil
}

// inference reads the calls below /V/projects/{project}/locations/{location}.
func (p *path) inference(s []string) (Call, *Refusal) {
	c := Call{HTTPMethod: "POST", Version: s[0], Project: s[2], Location: s[4]}
	var known bool
	switch {
	case s[5] == "publishers" && p.n == 9 && s[7] == "models":
		c.Publisher, c.Model = s[6], s[8]
		known = c.setVerb(p.verb, onModels)
	case s[5] == "endpoints" && s[6] == openAPI:
		c.Endpoint, c.ModelInBody = openAPI, true
		known = c.setOpenAPI(s[7:], p.verb)
	case s[5] == "endpoints" && p.n == 7:
		c.Endpoint = s[6]
		known = c.setVerb(p.verb, onEndpoints)
	}
	if !known {
		return Call{}, p.unknown()
	}
	return c, c.check()
}

// setVerb sets what follows from the verb of a call to a model or an endpoint, whose names are set already.
func (c *Call) setVerb(verb string, on uint8) bool {
	m, ok := findVerb(verb, on)
	if !ok {
		return false
	}
	c.Method, c.Group = m.name, m.group
	c.Stream = m.group == GroupStream
	if on != onModels {
		return true
	}
	model, _, _ := strings.Cut(c.Model, "@")
	switch {
	case model == "count-tokens":
		c.Group, c.ModelInBody = GroupCount, true
	case m.name == "rawPredict" && c.Publisher != "google":
		c.Group = GroupGenerate
	case m.name == "predict" && c.Publisher == "google" && strings.Contains(model, "embedding"):
		c.Group = GroupEmbed
	}
	return true
}

// setOpenAPI sets what follows from the path below endpoints/openapi.
func (c *Call) setOpenAPI(rest []string, verb string) bool {
	switch {
	case verb != "":
		return false
	case len(rest) == 2 && rest[0] == "chat" && rest[1] == "completions":
		c.Method, c.Group = chatCompletions, GroupGenerate
	case len(rest) == 1 && rest[0] == "embeddings":
		c.Method, c.Group = embeddings, GroupEmbed
	default:
		return false
	}
	return true
}

// check refuses names that are not written as the API writes them.
func (c *Call) check() *Refusal {
	if _, ok := locationIndex(c.Location); !ok {
		return &Refusal{UnknownLocation, quote(c.Location) + " is not a known location"}
	}
	switch {
	case !isProject(c.Project):
		return badName("a project", c.Project)
	case c.Endpoint != "" && !isName(c.Endpoint, "-"):
		return badName("an endpoint", c.Endpoint)
	case c.Endpoint != "" || c.Surface != "" && c.Publisher == "":
		return nil
	case !isName(c.Publisher, "-"):
		return badName("a publisher", c.Publisher)
	case !isModel(c.Model) && (c.Surface == "" || c.Model != ""):
		return badName("a model", c.Model)
	}
	return nil
}

func (p *path) unknown() *Refusal {
	detail := "the path, of " + strconv.Itoa(p.n) + " segments below " + quote(p.segments[0])
	if p.verb != "" {
		detail += " with the verb " + quote(p.verb)
	}
	return &Refusal{SurfaceOff, detail + ", is not an inference call"}
}

func badName(what, name string) *Refusal {
	return &Refusal{BadTarget, quote(name) + " is not the name of " + what}
}

func isAlnum(b byte) bool { return isLower(b) || 'A' <= b && b <= 'Z' }

func isLower(b byte) bool { return 'a' <= b && b <= 'z' || '0' <= b && b <= '9' }

// isName reports whether s is made of lower-case letters, digits and, between them, bytes of inner.
func isName(s, inner string) bool {
	if s == "" || !isLower(s[0]) || !isLower(s[len(s)-1]) {
		return false
	}
	for i := range len(s) {
		if !isLower(s[i]) && strings.IndexByte(inner, s[i]) < 0 {
			return false
		}
	}
	return true
}

// isModel reports whether s is a model's name, alone or with @version.
func isModel(s string) bool {
	name, version, found := strings.Cut(s, "@")
	return isName(name, "._-") && (!found || isName(version, "._-"))
}

// isProject reports whether s can stand for a project: an id or a number. Capitals are let through, and then matched by no rule
// but the widest, so that a wrong project is the policy's decision.
func isProject(s string) bool { return isName(strings.ToLower(s), "-") }

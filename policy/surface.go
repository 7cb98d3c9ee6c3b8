package policy

import (
	_ "embed" // the table of methods
	"slices"
	"strings"
	"sync"
)

// surfaceText is the table of the calls beyond inference that a policy can switch on, one a line: HTTP method, path below the location,
// name, versions. It is never written to. It has all methods of Vertex AI that name a project and a location in their path, but for those
// that hand out credentials (generateAccessToken and generateFetchAccessToken), upload media, or pass any path on (invoke).
//
//go:embed surface.tsv
var surfaceText string

// onLocation is the surface of the verbs of a location itself, as evaluateInstances.
const onLocation = "locations"

// The versions of the API.
const (
	inV1 = 1 << iota
	inV1Beta1
)

// surfaceMethod is one call beyond inference.
type surfaceMethod struct {
	name     string
	versions uint8
}

// surfaceNode is what can follow a segment of a path. A segment that is spelled out comes before a placeholder.
type surfaceNode struct {
	next  map[string]*surfaceNode
	calls map[string]surfaceMethod // by HTTP method, colon and verb
}

// surfaceTree reads the table once. Its result is only read.
var surfaceTree = sync.OnceValue(func() *surfaceNode {
	root := &surfaceNode{}
	for line := range strings.Lines(surfaceText) {
		column := strings.Split(strings.TrimSuffix(line, "\n"), "\t")
		if len(column) != 4 {
			continue
		}
		path, verb, _ := strings.Cut(column[1], ":")
		m := surfaceMethod{name: column[2]}
		for version := range strings.SplitSeq(column[3], "+") {
			m.versions |= versionBit(version)
		}
		root.at(path).calls[column[0]+":"+verb] = m
	}
	return root
})

// at returns the node of a path of the table, which it makes if it is not there.
func (n *surfaceNode) at(path string) *surfaceNode {
	for segment := range strings.SplitSeq(path, "/") {
		if segment == "" {
			break
		}
		if n.next[segment] == nil {
			if n.next == nil {
				n.next = map[string]*surfaceNode{}
			}
			n.next[segment] = &surfaceNode{}
		}
		n = n.next[segment]
	}
	if n.calls == nil {
		n.calls = map[string]surfaceMethod{}
	}
	return n
}

// find follows the segments of a path below a location. On the way every name that stands for a placeholder is checked; bad is the
// first that no resource can have.
func (n *surfaceNode) find(segments []string) (found *surfaceNode, bad string) {
	parent := ""
	for _, segment := range segments {
		next := n.next[segment]
		if next == nil && n.next["*"] != nil {
			if next = n.next["*"]; bad == "" && !isResource(segment, parent) {
				bad = segment
			}
		}
		if next == nil {
			return nil, ""
		}
		n, parent = next, segment
	}
	return n, bad
}

func versionBit(version string) uint8 {
	switch version {
	case "v1":
		return inV1
	case "v1beta1":
		return inV1Beta1
	}
	return 0
}

// SurfaceMethods returns the names of all calls that are refused unless a rule names them exactly, sorted: cachedContents.create,
// batchPredictionJobs.cancel, evaluateInstances, … They are the names of the API's discovery documents without
// "aiplatform.projects.locations."; those of a project's own models begin with "projects.models.", because models.list and models.get
// are the listings of publishers. The list is the caller's own.
func SurfaceMethods() []string {
	var names []string
	for line := range strings.Lines(surfaceText) {
		if column := strings.Split(line, "\t"); len(column) == 4 {
			names = append(names, column[2])
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// surface reads a path below /V/projects/{project}/locations/{location} as one of the calls beyond inference. It returns nil for a path
// that is none of them, too.
func (p *path) surface(httpMethod string) (Call, *Refusal) {
	s := p.segments[:min(p.n, maxSegments)]
	if p.n < 5 || p.n > maxSegments || s[1] != "projects" || s[3] != "locations" {
		return Call{}, p.unknown()
	}
	c := Call{HTTPMethod: httpMethod, Version: s[0], Project: s[2], Location: s[4], Group: GroupAdmin, Surface: onLocation}
	node, bad := surfaceTree().find(s[5:])
	if node == nil {
		return Call{}, p.unknown()
	}
	m := node.calls[httpMethod+":"+p.verb]
	if m.versions&versionBit(c.Version) == 0 {
		return Call{}, p.unknown()
	}
	if bad != "" {
		return Call{}, badName("a resource", bad)
	}
	c.Method = m.name
	c.ModelInBody, c.Stream = namesModelInBody(m.name), streams(m.name)
	c.Resource = strings.TrimPrefix(p.text[len("//projects//locations/")+len(s[0])+len(s[2])+len(s[4]):], "/")
	if p.n > 5 {
		c.Surface = s[5]
	}
	switch {
	case c.Surface == "publishers" && p.n >= 9 && s[7] == "models":
		c.Publisher, c.Model = s[6], s[8]
	case c.Surface == "publishers" && p.n >= 7:
		c.Publisher = s[6]
	case c.Surface == "endpoints" && p.n >= 7:
		c.Endpoint = s[6]
	}
	return c, c.check()
}

// namesModelInBody reports whether the call has a model work, and its body alone says which.
func namesModelInBody(name string) bool {
	switch name {
	case "cachedContents.create", "batchPredictionJobs.create", "tuningJobs.create", "interactions.create", "interactions.createStream",
		"interactionsHttp.create", "endpoints.openapi.completions", "endpoints.openapi.responses",
		"publishers.v1.responses", "publishers.v1.responses.compact":
		return true
	}
	return false
}

// streams reports whether the answer to the call is a stream: streamQuery, streamingReadFeatureValues, createStream.
func streams(name string) bool {
	verb := name[strings.LastIndexByte(name, '.')+1:]
	return strings.HasPrefix(verb, "stream") || strings.HasSuffix(verb, "Stream")
}

// isResource reports whether s can be the id of a resource of the collection: letters, digits and, between them, dots, dashes and
// underscores; models of a project may have a version. A lone dash, which stands for all in some calls, is none.
func isResource(s, collection string) bool {
	if collection == "models" {
		name, version, found := strings.Cut(s, "@")
		return isResource(name, "") && (!found || isResource(version, ""))
	}
	return isName(strings.ToLower(s), "._-")
}

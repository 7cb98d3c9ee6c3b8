package policy

// Call is one Vertex call as the rules see it. Only ParseCall and ParseAny make one; the zero Call is refused everywhere. A Call is
// comparable. Its strings may share the memory of the target it was parsed from.
type Call struct {
	HTTPMethod string // POST or GET; for surfaces also PATCH and DELETE
	Version    string // v1 or v1beta1
	Project    string // as written: an id or a number; empty for a listing until Policy.Complete fills it in
	Location   string // one of Locations; empty for a listing until Policy.Complete fills it in
	Publisher  string // empty for calls to endpoints
	Model      string // with @version as written; empty for calls to endpoints and for models.list
	Endpoint   string // the endpoint's id, or "openapi" for the OpenAI-compatible calls; empty for calls to models
	Method     string // Vertex method name: generateContent, chat.completions, models.list, cachedContents.create, …
	Group      Group  // the group of methods the call belongs to
	Query      string // the canonical query without its question mark: empty, alt=sse, or the paging of a list
	Stream     bool   // the answer is a stream by its method (an OpenAI-compatible call says so in its body instead)

	// ModelInBody: the model that answers is named in the body alone. It is so for the OpenAI-compatible calls and for the model
	// "count-tokens" of Anthropic. The optional field `model` in the bodies of countTokens and computeTokens is not covered by it:
	// those calls name a model in their path, and a body that names another is for a reader of bodies to refuse.
	ModelInBody bool

	// Surface names the part of the API that a call beyond inference belongs to: the first collection below its location, as
	// cachedContents or reasoningEngines, or "locations" for a verb of the location itself. It is empty for inference and listings. Such
	// a call, which ParseAny alone makes, is to be refused as SURFACE_OFF unless an allow rule that applies names Method exactly: no
	// group, not even admin, no pattern and no default stands for it.
	Surface  string
	Resource string // what follows the location in the path of such a call: cachedContents/1, batchPredictionJobs/2:cancel

	// UpstreamHost is the host of a dedicated or private endpoint, which only WithEndpoint sets; no target names one.
	UpstreamHost string
}

// openAPI is the endpoint id under which Vertex serves the OpenAI-compatible calls.
const openAPI = "openapi"

// URI returns the canonical path and query of the call, rebuilt from its parts. For every call c made by ParseCall,
// ParseCall(c.HTTPMethod, c.URI()) returns c again, and so it is with ParseAny; it stays so through WithProject, WithModel and
// WithEndpoint, but for UpstreamHost. Policy.Complete does not change the URI. The zero Call has an empty URI.
func (c Call) URI() string {
	if c.Method == "" {
		return ""
	}
	var buf [256]byte
	uri := c.appendPath(buf[:0])
	if c.Query != "" {
		uri = appendAll(uri, "?", c.Query)
	}
	return string(uri)
}

func (c *Call) appendPath(b []byte) []byte {
	b = appendAll(b, "/", c.Version)
	if c.listing() {
		b = appendAll(b, "/publishers/", c.Publisher, "/models")
		if c.Method == modelsGet {
			b = appendAll(b, "/", c.Model)
		}
		return b
	}
	b = appendAll(b, "/projects/", c.Project, "/locations/", c.Location)
	switch {
	case c.Surface == onLocation:
		return appendAll(b, c.Resource)
	case c.Surface != "":
		return appendAll(b, "/", c.Resource)
	case c.Method == chatCompletions:
		return appendAll(b, "/endpoints/"+openAPI+"/chat/completions")
	case c.Method == embeddings:
		return appendAll(b, "/endpoints/"+openAPI+"/embeddings")
	case c.Endpoint != "":
		return appendAll(b, "/endpoints/", c.Endpoint, ":", c.Method)
	}
	return appendAll(b, "/publishers/", c.Publisher, "/models/", c.Model, ":", c.Method)
}

func appendAll(b []byte, parts ...string) []byte {
	for _, part := range parts {
		b = append(b, part...)
	}
	return b
}

// Host returns the host name of Google that serves the call: an entry of Locations or UpstreamHost, never text of the caller. It is empty
// for a call without a known location, thus for a listing that Policy.Complete has not filled in.
func (c Call) Host() string {
	if c.UpstreamHost != "" {
		return c.UpstreamHost
	}
	i, ok := locationIndex(c.Location)
	if !ok {
		return ""
	}
	return locations[i].host
}

// listing reports whether the call is one of the project-less calls by which client libraries list models.
func (c Call) listing() bool { return c.Method == modelsList || c.Method == modelsGet }

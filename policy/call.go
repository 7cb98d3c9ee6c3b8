package policy

// Call is one Vertex call as the rules see it. Only ParseCall makes one; the zero Call is refused everywhere. A Call is comparable. Its
// strings may share the memory of the target it was parsed from.
type Call struct {
	HTTPMethod string // POST or GET
	Version    string // v1 or v1beta1
	Project    string // as written: an id or a number; empty for a listing until Policy.Complete fills it in
	Location   string // one of Locations; empty for a listing until Policy.Complete fills it in
	Publisher  string // empty for calls to endpoints
	Model      string // with @version as written; empty for calls to endpoints and for models.list
	Endpoint   string // the endpoint's id, or "openapi" for the OpenAI-compatible calls; empty for calls to models
	Method     string // Vertex method name: generateContent, chat.completions, models.list, …
	Group      Group  // the group of methods the call belongs to
	Query      string // the canonical query without its question mark: empty, alt=sse, or the paging of a list
	Stream     bool   // the answer is a stream by its method (an OpenAI-compatible call says so in its body instead)

	// ModelInBody: the model that answers is named in the body alone. It is so for the OpenAI-compatible calls and for the model
	// "count-tokens" of Anthropic. The optional field `model` in the bodies of countTokens and computeTokens is not covered by it:
	// those calls name a model in their path, and a body that names another is for a reader of bodies to refuse.
	ModelInBody bool
}

// openAPI is the endpoint id under which Vertex serves the OpenAI-compatible calls.
const openAPI = "openapi"

// URI returns the canonical path and query of the call, rebuilt from its parts. For every call c made by ParseCall,
// ParseCall(c.HTTPMethod, c.URI()) returns c again; Policy.Complete does not change the URI. The zero Call has an empty URI.
func (c Call) URI() string {
	if c.Method == "" {
		return ""
	}
	uri := c.path()
	if c.Query != "" {
		uri += "?" + c.Query
	}
	return uri
}

func (c Call) path() string {
	switch c.Method {
	case modelsList:
		return "/" + c.Version + "/publishers/" + c.Publisher + "/models"
	case modelsGet:
		return "/" + c.Version + "/publishers/" + c.Publisher + "/models/" + c.Model
	}
	parent := "/" + c.Version + "/projects/" + c.Project + "/locations/" + c.Location
	switch {
	case c.Method == chatCompletions:
		return parent + "/endpoints/" + openAPI + "/chat/completions"
	case c.Method == embeddings:
		return parent + "/endpoints/" + openAPI + "/embeddings"
	case c.Endpoint != "":
		return parent + "/endpoints/" + c.Endpoint + ":" + c.Method
	}
	return parent + "/publishers/" + c.Publisher + "/models/" + c.Model + ":" + c.Method
}

// Host returns the host name of Google that serves the call: an entry of Locations, never text of the caller. It is empty for a call
// without a known location, thus for a listing that Policy.Complete has not filled in.
func (c Call) Host() string {
	i, ok := locationIndex(c.Location)
	if !ok {
		return ""
	}
	return locations[i].host
}

// listing reports whether the call is one of the project-less calls by which client libraries list models.
func (c Call) listing() bool { return c.Method == modelsList || c.Method == modelsGet }

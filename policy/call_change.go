package policy

import (
	"errors"
	"fmt"
	"strings"
)

// WithProject returns the call with its project under another name, as with the id in place of the number. The zero Call and a name that
// no project can have are errors, and the Call is then zero.
func (c Call) WithProject(id string) (Call, error) {
	if c.Method == "" || !isProject(id) {
		return Call{}, fmt.Errorf("%q cannot be the project of this call", id)
	}
	c.Project = id
	return c, nil
}

// WithModel returns the call to another model of the same publisher: its group is that of the new model. Only a call whose path names the
// model that answers can be changed so; others are errors, and the Call is then zero. Where the body repeats the model it still names the
// old one, which Asked refuses.
func (c Call) WithModel(model string) (Call, error) {
	if c.Model == "" || c.ModelInBody || c.Surface != "" || c.listing() {
		return Call{}, errors.New("the path of this call does not name the model that answers")
	}
	if !isModel(model) {
		return Call{}, fmt.Errorf("%q is not the name of a model", model)
	}
	c.Model = model
	if !c.setVerb(c.Method, onModels) || c.ModelInBody {
		return Call{}, fmt.Errorf("%q is not a model that answers by itself", model)
	}
	return c, nil
}

// WithEndpoint returns a call to an endpoint with the host, project and location that the policy gives for it; what the caller wrote
// for project and location is replaced. A call to no endpoint, or to the OpenAI-compatible one, is an error, as is a host that is not
// Google's; the Call is then zero.
func (c Call) WithEndpoint(e Endpoint) (Call, error) {
	_, known := locationIndex(e.Location)
	switch {
	case c.Endpoint == "" || c.Endpoint == openAPI:
		return Call{}, errors.New("this call is not to an endpoint of a project")
	case !isEndpointHost(e.Host):
		return Call{}, fmt.Errorf("%q is not a host of an endpoint", e.Host)
	case !isProject(e.Project):
		return Call{}, fmt.Errorf("%q is not the name of a project", e.Project)
	case !known:
		return Call{}, fmt.Errorf("%q is not a known location", e.Location)
	}
	c.Project, c.Location, c.UpstreamHost = e.Project, e.Location, e.Host
	return c, nil
}

// dedicated is the domain of dedicated endpoints.
const dedicated = ".prediction.vertexai.goog"

// isEndpointHost reports whether an endpoint can have the host: one of Locations, or a name below the domain of dedicated endpoints.
func isEndpointHost(host string) bool {
	for i := range locations {
		if locations[i].host == host {
			return true
		}
	}
	name, ok := strings.CutSuffix(host, dedicated)
	if !ok || len(host) > 253 {
		return false
	}
	for label := range strings.SplitSeq(name, ".") {
		if len(label) > 63 || !isName(label, "-") {
			return false
		}
	}
	return true
}

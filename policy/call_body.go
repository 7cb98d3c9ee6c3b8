package policy

import (
	"errors"
	"fmt"
	"strings"

	"vertex-spoa/policy/body"
)

// BodyShape says as whose request the body of the call is to be read. It is body.None for calls that have no body.
func (c Call) BodyShape() body.Shape {
	if c.Surface != "" {
		return c.surfaceShape()
	}
	switch c.Method {
	case "generateContent", "streamGenerateContent", "countTokens", "computeTokens", "embedContent":
		return body.Gemini
	case chatCompletions, embeddings:
		return body.OpenAI
	case "fetchPredictOperation":
		return body.Predict
	case "predict", "predictLongRunning":
		if c.Publisher == "google" {
			return body.Predict
		}
	case "rawPredict", "streamRawPredict":
		switch c.Publisher {
		case "anthropic":
			return body.Anthropic
		case "mistralai", "ai21":
			return body.OpenAI
		}
	}
	if c.HTTPMethod == "POST" {
		return body.Custom
	}
	return body.None
}

func (c Call) surfaceShape() body.Shape {
	switch c.Method {
	case "cachedContents.create":
		return body.Gemini
	case "endpoints.chat.completions", "endpoints.openapi.completions":
		return body.OpenAI
	}
	if c.ModelInBody {
		return body.Job
	}
	if c.HTTPMethod == "POST" || c.HTTPMethod == "PATCH" {
		return body.Custom
	}
	return body.None
}

// Asked returns the publisher and the model that a call asks for, with its body: those of the path, or for ModelInBody those of the body.
// Number is the other name of the call's project, empty when it has none that is known. It is an error when
//
//   - the body has to name a model and does not, or not one that is written as the API writes it;
//   - the path names a model or an endpoint and the body names another, or lets another answer by routingConfig;
//   - the cached content or the operation that the body names is not of the call's own project, location and model.
//
// A caller of Asked has to do so wherever a rule restricts models, and on the call as it will be forwarded. For calls to endpoints, and
// for those whose body says nothing about a model, the names may be empty.
func (c Call) Asked(f *body.Facts, number string) (publisher, model string, err error) {
	own := owner{c, number}
	if f == nil || f.Shape == body.None || f.Shape == body.Custom {
		if c.ModelInBody {
			return "", "", errors.New("the model is named in a body that was not read")
		}
		return c.Publisher, c.Model, nil
	}
	switch {
	case f.CachedContent.Set && !own.has(f.CachedContent.Value, "cachedContents/"):
		return "", "", errors.New("cachedContent is not one of the call's project and location")
	case f.Operation.Set && !own.has(f.Operation.Value, c.parent()+"/operations/"):
		return "", "", errors.New("operationName is not one of the call's model or endpoint")
	}
	publisher, model = c.Publisher, c.Model
	if c.ModelInBody {
		if publisher, model, err = own.inBody(f.Model); err != nil {
			return "", "", err
		}
	} else if f.Model.Set && !own.same(f.Model.Value) {
		return "", "", errors.New("the body names another model than the path")
	}
	if f.RoutingAuto || f.RoutingModel.Set && f.RoutingModel.Value != model {
		return "", "", errors.New("routingConfig lets another model answer")
	}
	return publisher, model, nil
}

// parent is what the path names, below the location: a model or an endpoint.
func (c *Call) parent() string {
	if c.Endpoint != "" {
		return "endpoints/" + c.Endpoint
	}
	return "publishers/" + c.Publisher + "/models/" + c.Model
}

// owner knows the names of the resources of a call.
type owner struct {
	call   Call
	number string
}

// relative cuts the call's own project and location from a resource name. It reports false when the name has others.
func (o owner) relative(name string) (string, bool) {
	rest, full := strings.CutPrefix(name, "projects/")
	if !full {
		return name, true
	}
	project, rest, _ := strings.Cut(rest, "/")
	if project != o.call.Project && (project != o.number || project == "") {
		return "", false
	}
	return strings.CutPrefix(rest, "locations/"+o.call.Location+"/")
}

// has reports whether a resource is one of the call's own project and location, directly below the collection.
func (o owner) has(name, collection string) bool {
	rest, ok := o.relative(name)
	if !ok {
		return false
	}
	id, ok := strings.CutPrefix(rest, collection)
	return ok && isResource(id, "")
}

// same reports whether the body of a call names the same model or endpoint as its path. A model's version may be left out: the path has it.
func (o owner) same(name string) bool {
	rest, ok := o.relative(name)
	if !ok {
		return false
	}
	c := &o.call
	if c.Model == "" {
		return c.Endpoint != "" && rest == "endpoints/"+c.Endpoint
	}
	for _, prefix := range []string{"publishers/" + c.Publisher + "/models/", c.Publisher + "/"} {
		if model, ok := strings.CutPrefix(rest, prefix); ok {
			rest = model
			break
		}
	}
	unversioned, _, _ := strings.Cut(c.Model, "@")
	return rest == c.Model || rest == unversioned
}

// inBody reads the model that the body alone names: publisher/model for the OpenAI-compatible calls, a model of the path's publisher for
// count-tokens, a resource name or a model of Google's for the others.
func (o owner) inBody(asked body.Opt[string]) (publisher, model string, err error) {
	name, ok := o.relative(asked.Value)
	switch {
	case !asked.Set:
		return "", "", errors.New("the body names no model")
	case !ok:
		return "", "", errors.New("the model in the body is of another project or location")
	case o.call.Endpoint == openAPI:
		publisher, model, ok = strings.Cut(name, "/")
		// Beside publishers/model there are resources of a project, which are not models of a publisher: endpoints/1234, models/5678.
		ok = ok && name == asked.Value && publisher != "endpoints" && publisher != "models"
	case o.call.Publisher != "":
		publisher, model = o.call.Publisher, name
	default:
		publisher, model = "google", name
		if rest, resource := strings.CutPrefix(name, "publishers/"); resource {
			publisher, model, ok = strings.Cut(rest, "/models/")
		}
	}
	if !ok || !isName(publisher, "-") || !isModel(model) {
		return "", "", fmt.Errorf("the model in the body, %s, is not the name of a model", quote(asked.Value))
	}
	return publisher, model, nil
}

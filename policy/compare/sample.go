package compare

import (
	"iter"
	"maps"
	"slices"
	"strings"

	"vertex-spoa/policy"
)

// form is how a kind of call is written, with {project}, {location}, {publisher}, {model} and {endpoint} in the places of names.
type form struct {
	httpMethod, target string
	surface            string // the method, of a call beyond inference
}

// The verbs of calls to models and endpoints.
var verbs = [...]string{ // never written
	"generateContent", "streamGenerateContent", "countTokens", "computeTokens", "embedContent", "predict", "predictLongRunning",
	"fetchPredictOperation", "rawPredict", "streamRawPredict", "serverStreamingPredict", "explain", "directPredict", "directRawPredict",
}

const below = "/v1/projects/{project}/locations/{location}/"

// inference returns the forms of all calls but those beyond inference. Some of them no server knows: the parser of calls tells.
func inference() []form {
	var list []form
	for _, verb := range verbs {
		list = append(list,
			form{httpMethod: "POST", target: below + "publishers/{publisher}/models/{model}:" + verb},
			form{httpMethod: "POST", target: below + "endpoints/{endpoint}:" + verb})
	}
	return append(list,
		form{httpMethod: "POST", target: below + "endpoints/openapi/chat/completions"},
		form{httpMethod: "POST", target: below + "endpoints/openapi/embeddings"},
		form{httpMethod: "GET", target: "/v1/publishers/google/models"},
		form{httpMethod: "GET", target: "/v1/publishers/google/models/{model}"})
}

// beyond returns the forms of a call beyond inference.
func beyond(method string) []form {
	var list []form
	for _, t := range policy.SurfaceTargets(method) {
		path := strings.NewReplacer("publishers/*/models/*", "publishers/{publisher}/models/{model}", "publishers/*", "publishers/{publisher}").Replace(t.Path)
		if rest, ok := strings.CutPrefix(path, "endpoints/*"); ok {
			path = "endpoints/{endpoint}" + rest
		}
		target := strings.TrimSuffix("/"+t.Version+strings.TrimPrefix(below, "/v1"), "/")
		if !strings.HasPrefix(path, ":") {
			target += "/"
		}
		list = append(list, form{t.HTTPMethod, target + strings.ReplaceAll(path, "*", "1"), method})
	}
	return list
}

// space is the calls that are looked at for one role.
type space struct {
	forms      []form
	named      map[string]bool // methods that are told apart from the others of their group
	locations  [][]string      // those that all rules treat alike
	projects   []pattern
	publishers []pattern
	models     []pattern
	endpoints  []pattern
	whole      bool // nothing was left out
}

// maxModels is how many samples of models are looked at.
const maxModels = 1500

// newSpace returns the calls that rules can tell apart, and those that a query asks about.
func newSpace(rules []*policy.Rule, models []*policy.Model, q *Query) *space {
	var locations, projects, publishers, names, endpoints patterns
	s := &space{forms: inference(), named: map[string]bool{q.Method: true}}
	publishers.add("google", "anthropic", "*")
	names.add("*")
	for _, r := range rules {
		locations.add(r.Locations...)
		projects.add(r.Projects...)
		publishers.add(r.Publishers...)
		endpoints.add(r.Endpoints...)
		names.add(r.Models...)
		for _, model := range r.Models {
			if r.Effect == policy.Deny && !strings.Contains(model, "@") {
				names.add(model + "@*") // which the rule is about as well
			}
		}
		for _, name := range r.Methods {
			s.named[name] = true
		}
	}
	for _, m := range models {
		names.add(slices.Sorted(maps.Keys(m.Aliases))...)
		projects.add(slices.Sorted(maps.Keys(m.Projects))...)
		endpoints.add(slices.Sorted(maps.Keys(m.Endpoints))...)
	}
	q.add(&names, &publishers, &endpoints, &projects)
	s.whole, s.locations = names.close(maxModels), classes(locations.list)
	for _, ps := range []*patterns{&projects, &publishers, &endpoints} {
		s.whole = ps.close(maxModels) && s.whole
	}
	s.projects, s.publishers, s.models, s.endpoints = projects.list, publishers.list, names.list, endpoints.list
	for _, method := range slices.Sorted(maps.Keys(s.named)) {
		s.forms = append(s.forms, beyond(method)...)
	}
	return s
}

// classes puts the locations together that no pattern tells apart.
func classes(list []pattern) [][]string {
	by := map[string]int{}
	var classes [][]string
	for _, name := range slices.Sorted(maps.Keys(policy.Locations())) {
		key := make([]byte, len(list))
		for i, p := range list {
			if p.match(name) {
				key[i] = 1
			}
		}
		at, ok := by[string(key)]
		if !ok {
			at = len(classes)
			by[string(key)] = at
			classes = append(classes, nil)
		}
		classes[at] = append(classes[at], name)
	}
	return classes
}

// every returns all names that are looked at, of the lists in which all of them can be said by a star.
func (s *space) every() *Calls {
	all := &Calls{Locations: slices.Sorted(slices.Values(slices.Concat(s.locations...)))}
	return all
}

// names are those of one call; what is empty the call does not have.
type names struct{ publisher, model, endpoint, project pattern }

// sampleCall is one call, for all that rules cannot tell from it.
type sampleCall struct {
	policy.Call
	publisher, model string // of the call, or of its body
	at               Calls  // what it stands for
}

// each calls f with each sample, and once with those that differ only in a method that rules do not tell apart.
func (s *space) each(f func(*sampleCall)) {
	seen := map[string]bool{}
	for _, form := range s.forms {
		for _, locations := range choose(form, "{location}", s.locations) {
			for n := range s.names(form, locations) {
				c, ok := s.call(form, locations, n)
				if !ok {
					continue
				}
				key := c.at.Methods[0] + " " + c.Call.Surface + " " + c.publisher + " " + c.model + " " + string(n.endpoint) + " " + c.Location + " " + c.Project
				if !seen[key] {
					seen[key] = true
					f(c)
				}
			}
		}
	}
}

// choose returns what can stand in a place of a form: one that is zero where the form has no such place.
func choose[T any](f form, place string, all []T) []T {
	if strings.Contains(f.target, place) {
		return all
	}
	return make([]T, 1)
}

// names yields the names for a form.
func (s *space) names(f form, locations []string) iter.Seq[names] {
	publishers, models := choose(f, "{publisher}", s.publishers), choose(f, "{model}", s.models)
	if probe, err := f.call(locations, names{"google", "x", "1", "p"}); err == nil && probe.ModelInBody && models[0] == "" {
		publishers, models = s.publishers, s.models
	}
	return func(yield func(names) bool) {
		for _, project := range choose(f, "{project}", s.projects) {
			for _, endpoint := range choose(f, "{endpoint}", s.endpoints) {
				for _, publisher := range publishers {
					for _, model := range models {
						if !yield(names{publisher, model, endpoint, project}) {
							return
						}
					}
				}
			}
		}
	}
}

// call returns the sample for some names, and false when there is no such call.
func (s *space) call(f form, locations []string, n names) (*sampleCall, bool) {
	parsed, err := f.call(locations, n)
	if err != nil {
		return nil, false
	}
	method := string(parsed.Group)
	if s.named[parsed.Method] || parsed.Surface != "" {
		method = parsed.Method
	}
	at := Calls{Methods: []string{method}, Locations: locations}
	for _, name := range []struct {
		name pattern
		to   *[]string
	}{{n.publisher, &at.Publishers}, {n.model, &at.Models}, {n.endpoint, &at.Endpoints}, {n.project, &at.Projects}} {
		if name.name != "" {
			*name.to = []string{string(name.name)}
		}
	}
	return &sampleCall{parsed, n.publisher.sample(), n.model.sample(), at}, true
}

// call reads the form with names filled in.
func (f form) call(locations []string, n names) (policy.Call, error) {
	location := ""
	if len(locations) > 0 {
		location = locations[0]
	}
	return policy.ParseAny(f.httpMethod, strings.NewReplacer("{project}", n.project.sample(), "{location}", location,
		"{publisher}", n.publisher.sample(), "{model}", n.model.sample(), "{endpoint}", n.endpoint.sample()).Replace(f.target))
}

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

// stands are the verbs of which each stands for its group: any other call of the group is one that rules cannot tell from it, unless they
// name its method.
var stands = [...]string{"generateContent", "streamGenerateContent", "countTokens", "embedContent", "predictLongRunning"} // never written

const below = "/v1/projects/{project}/locations/{location}/"

// inference returns the forms of calls that are not beyond inference: one for each group, and those of the methods that are named. Some of
// them no server knows: the parser of calls tells.
func inference(named map[string]bool) []form {
	var list []form
	for _, verb := range verbs {
		if !named[verb] && !slices.Contains(stands[:], verb) {
			continue
		}
		list = append(list,
			form{httpMethod: "POST", target: below + "publishers/{publisher}/models/{model}:" + verb},
			form{httpMethod: "POST", target: below + "endpoints/{endpoint}:" + verb})
	}
	for _, f := range []struct{ method, path string }{{"chat.completions", "chat/completions"}, {"embeddings", "embeddings"}} {
		if named[f.method] {
			list = append(list, form{httpMethod: "POST", target: below + "endpoints/openapi/" + f.path})
		}
	}
	return append(list,
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

// maxModels is how many samples of models, and of other names, are looked at.
const maxModels = 500

// newSpace returns the calls that rules can tell apart, as far as one of some of them, about, can concern them. Where a query asks about
// certain names, these take the place of the names in the rules.
func newSpace(about, rules []*policy.Rule, models []*policy.Model, q *Query) *space {
	s := &space{named: map[string]bool{q.Method: true}, whole: true}
	var locations patterns
	for _, r := range rules {
		locations.add(r.Locations...)
		for _, name := range r.Methods {
			s.named[name] = true
		}
		if r.Duties.Rewrite != "" { // it is not for calls that name their model in the body
			s.named["chat.completions"], s.named["embeddings"] = true, true
		}
	}
	s.locations, s.forms = classes(locations.list), inference(s.named)
	for _, method := range slices.Sorted(maps.Keys(s.named)) {
		s.forms = append(s.forms, beyond(method)...)
	}
	core, all := vocabularyOf(about, models), vocabularyOf(rules, models)
	denies := vocabularyOf(slices.DeleteFunc(slices.Clone(rules), func(r *policy.Rule) bool { return r.Effect == policy.Allow }), nil)
	q.replace(core)
	for _, d := range []struct {
		core, all, denies *patterns
		to                *[]pattern
	}{
		{&core.models, &all.models, &denies.models, &s.models}, {&core.publishers, &all.publishers, &denies.publishers, &s.publishers},
		{&core.endpoints, &all.endpoints, &denies.endpoints, &s.endpoints}, {&core.projects, &all.projects, &denies.projects, &s.projects},
	} {
		s.whole = d.core.meet(d.all.list, maxModels) && d.core.meet(d.denies.list, maxModels) && s.whole
		*d.to = d.core.list
	}
	return s
}

// vocabulary is the names of calls in rules.
type vocabulary struct{ models, publishers, endpoints, projects patterns }

// vocabularyOf returns the names in rules, and those that the models define. Rules that do not name any are about all.
func vocabularyOf(rules []*policy.Rule, models []*policy.Model) *vocabulary {
	v := &vocabulary{}
	v.publishers.add("google", "*") // the groups of some methods are others for models that are not Google's
	for _, r := range rules {
		v.projects.add(orAny(r.Projects)...)
		v.publishers.add(r.Publishers...)
		v.endpoints.add(r.Endpoints...)
		if r.Effect == policy.Deny && r.Models == nil && r.Publishers == nil && r.Endpoints == nil {
			v.endpoints.add("*")
		}
		v.models.add(orAny(r.Models)...)
		if slices.Contains(r.Models, "count-tokens") { // which is a model of Anthropic's that only counts
			v.publishers.add("anthropic")
		}
		for _, model := range r.Models {
			if name, _, versioned := strings.Cut(model, "@"); r.Effect == policy.Deny && versioned {
				v.models.add(name) // which the rule is about as well: nobody knows which version answers
			} else if r.Effect == policy.Deny {
				v.models.add(model + "@*")
			}
		}
	}
	for _, m := range models {
		v.models.add(slices.Sorted(maps.Keys(m.Aliases))...)
		v.projects.add(slices.Sorted(maps.Keys(m.Projects))...)
		v.endpoints.add(slices.Sorted(maps.Keys(m.Endpoints))...)
	}
	return v
}

func orAny(names []string) []string {
	if names == nil {
		return []string{"*"}
	}
	return names
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

// every returns all names there are, of the lists in which all of them can be said by a star.
func every() *Calls { return &Calls{Locations: slices.Sorted(maps.Keys(policy.Locations()))} }

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
				key := c.at.Methods[0] + " " + string(c.Group) + " " + c.Surface + " " + c.publisher + " " + c.model + " " + string(n.endpoint) + " " + c.Location + " " + c.Project
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
	if err == nil && parsed.ModelInBody { // then the path does not show whether there can be such a model
		_, err = form{"POST", below + "publishers/{publisher}/models/{model}:generateContent", ""}.call([]string{"global"}, names{n.publisher, n.model, "", "p"})
	}
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

package policy

import (
	"slices"
	"strings"
)

// rule is one entry of `rules`. In an allow rule every condition is set, if need be from the defaults; only publishers may be nil, for
// any publisher, and one of models and endpoints. In a deny rule a condition that is not written is nil or the full set.
type rule struct {
	name    string
	deny    bool
	because string
	except  []int // roles whose holders the rule does not concern

	methods    methodSet
	locations  locationSet
	projects   globs
	publishers globs
	models     globs
	endpoints  globs
	everything bool // a deny rule without a condition on models, publishers or endpoints
}

// verdict says whether a rule applies to a call.
type verdict uint8

const (
	no      verdict = iota
	unknown         // that depends on the model, which is named in the body
	yes
)

func verdictOf(b bool) verdict {
	if b {
		return yes
	}
	return no
}

// target is a call, made ready for being compared with many rules.
type target struct {
	Call
	methods  methodSet
	location locationSet
	base     string // the model without its @version
	plainID  bool   // the project is written as an id is: not as a number, not with capitals
}

// newTarget returns false for calls that ParseCall and Policy.Complete did not make.
func newTarget(c Call) (target, bool) {
	location, ok := locationIndex(c.Location)
	t := target{Call: c, methods: callBits(c), location: 1 << location}
	t.base, _, _ = strings.Cut(c.Model, "@")
	t.plainID = c.Project != "" && 'a' <= c.Project[0] && c.Project[0] <= 'z' && isName(c.Project, "-")
	return t, ok && t.methods != 0 && c.Project != ""
}

// concerns reports whether the rule is about callers who hold these roles.
func (r *rule) concerns(held []int) bool {
	for _, role := range r.except {
		if slices.Contains(held, role) {
			return false
		}
	}
	return true
}

// applies compares the rule's conditions with the call, cheap ones first.
func (r *rule) applies(t *target) verdict {
	switch {
	case r.methods&t.methods == 0, r.locations&t.location == 0:
		return no
	case r.projects != nil && !r.matchProject(t):
		return no
	case r.everything:
		return yes
	case t.Endpoint != "" && !t.ModelInBody:
		return verdictOf(r.endpoints.match(t.Endpoint))
	}
	return r.matchModel(t)
}

// matchProject: a number may stand for any id, so a deny rule about projects holds for every project that is not written as its id.
func (r *rule) matchProject(t *target) bool {
	return r.deny && !t.plainID || r.projects.match(t.Project)
}

// matchModel compares what the rule says about models with a call that is not to an endpoint.
func (r *rule) matchModel(t *target) verdict {
	switch {
	case r.models == nil && r.publishers == nil:
		return no // the rule is about endpoints
	case t.Publisher != "" && r.publishers != nil && !r.publishers.match(t.Publisher):
		return no
	case t.ModelInBody:
		return unknown
	case r.models == nil:
		return yes
	case t.Method == modelsList:
		return verdictOf(!r.deny) // a list is about no model in particular
	}
	return verdictOf(r.models.match(t.Model) || r.deny && r.matchVersionless(t))
}

// matchVersionless: what a deny rule says about a model without a version holds for each of its versions.
func (r *rule) matchVersionless(t *target) bool {
	for i := range r.models {
		if !strings.Contains(r.models[i].text, "@") && r.models[i].match(t.base) {
			return true
		}
	}
	return false
}

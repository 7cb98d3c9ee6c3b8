package policy

import (
	"slices"
	"strings"
)

// rule is one entry of `rules`, made ready for being compared with calls. In an allow rule every condition is set, if need be from the
// defaults; only publishers may be nil, for any publisher, and one of models and endpoints. In a deny rule a condition that is not
// written is nil or the full set.
type rule struct {
	*Rule
	number int // its place in engine.rules
	deny   bool
	roles  []int // whom it concerns; nil: every role
	except []int // roles whose holders the rule does not concern

	methods    methodSet
	names      []string // the methods as written; nil: all
	locations  locationSet
	projects   globs
	publishers globs
	models     globs
	endpoints  globs
	everything bool // a deny rule without a condition on models, publishers or endpoints

	dynamic bool // there are conditions besides those on the call
	when    *when
	body    *bodyCheck

	shadow     bool  // always in shadow
	overrides  []int // deny rules that do not hold against it, sorted
	imposes    bool  // it can change more about an answer than that it allows
	imposition []RuleDuties
}

// verdict says whether a rule applies to a call. Of several conditions the least decides.
type verdict uint8

const (
	no      verdict = iota
	unknown         // that depends on the body, which was not seen
	closed          // all conditions hold, but none of its windows is open
	failed          // its condition could not be decided
	yes
)

func verdictOf(b bool) verdict {
	if b {
		return yes
	}
	return no
}

// subject says by what rules can tell a call from others.
type subject uint8

const (
	aModel    subject = iota // by the model and its publisher
	someModel                // by the publisher at most: the model is in the body, which was not seen
	anEndpoint
	aList     // by the publisher: it is about no model in particular
	aResource // by its method alone
)

// subjectOf returns by what rules tell a call from others.
func subjectOf(c *Call) subject {
	switch {
	case c.ModelInBody:
		return someModel
	case c.Endpoint != "":
		return anEndpoint
	case c.Model != "":
		return aModel
	case c.Surface == "":
		return aList
	}
	return aResource
}

// target is a call, made ready for being compared with many rules.
type target struct {
	shape
	methods methodSet
	place   locationSet
	plainID bool // the project is written as an id is: not as a number, not with capitals
}

// newTarget returns false for calls that the parser and Policy.Complete did not make.
func newTarget(s shape) (target, bool) {
	location, ok := locationIndex(s.location)
	t := target{shape: s, methods: methodsOfCall(s), place: 1 << location}
	t.plainID = s.project != "" && 'a' <= s.project[0] && s.project[0] <= 'z' && isName(s.project, "-")
	return t, ok && t.methods != 0 && s.project != ""
}

// methodsOfCall returns the set of a call. Those beyond inference have no bit of their own.
func methodsOfCall(s shape) methodSet {
	switch {
	case !s.surface:
		return callBits(Call{Method: s.method, Group: s.group})
	case s.group == GroupAdmin && s.method != "":
		return methodBits(string(GroupAdmin))
	}
	return 0
}

// base returns the model without its @version.
func base(model string) string {
	name, _, _ := strings.Cut(model, "@")
	return name
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

// matchMethod: calls beyond inference are allowed by their names alone, and denied by everything that stands for them.
func (r *rule) matchMethod(t *target) bool {
	if !t.surface {
		return r.methods&t.methods != 0
	}
	return slices.Contains(r.names, t.method) || r.deny && r.methods&t.methods != 0
}

// matchProject: a number may stand for any id, so a deny rule about projects holds for every project that is not written as its id.
func (r *rule) matchProject(t *target) bool {
	return r.projects == nil || r.deny && !t.plainID || r.projects.match(t.project)
}

// matchSubject compares what the rule says about models, publishers and endpoints. It is never failed or closed.
func (r *rule) matchSubject(t *target) verdict {
	switch {
	case r.everything, t.subject == aResource && !r.deny:
		return yes
	case t.subject == anEndpoint:
		return verdictOf(r.endpoints.match(t.endpoint))
	case r.models == nil && r.publishers == nil:
		return no // the rule is about endpoints
	case t.publisher != "" && r.publishers != nil && !r.publishers.match(t.publisher):
		return no
	case t.subject == someModel:
		return unknown
	case t.subject == aResource:
		return no
	case t.subject == aList && r.models != nil:
		return verdictOf(!r.deny) // a list is about no model in particular
	}
	return verdictOf(r.matchModel(t))
}

func (r *rule) matchModel(t *target) bool {
	return r.models == nil || r.models.match(t.model) || r.deny && r.matchVersionless(t)
}

// matchVersionless: what a deny rule says about a model without a version holds for each of its versions. What it says about a version
// holds for a call that leaves the version to Google as well, since that may be the one.
func (r *rule) matchVersionless(t *target) bool {
	name, open := base(t.model), !versioned(t.model)
	for i := range r.models {
		without, _, versioned := strings.Cut(r.models[i].text, "@")
		g := newGlob(without)
		if (!versioned || open) && g.match(name) {
			return true
		}
	}
	return false
}

// versioned reports whether a model is named with a certain version.
func versioned(model string) bool {
	_, version, found := strings.Cut(model, "@")
	return found && version != "default" && version != "latest"
}

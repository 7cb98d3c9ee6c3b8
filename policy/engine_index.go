package policy

import (
	"strings"
	"sync"
)

// shape is what the rules' conditions on calls can tell about a call: calls of one shape meet the same rules.
type shape struct {
	subject   subject
	surface   bool
	group     Group
	method    string
	location  string
	project   string
	publisher string // of the model that answers
	model     string // that answers
	endpoint  string
}

// sight is what is known of all calls of a shape. It is shared and only read.
type sight struct {
	target
	meets packed // the rules whose conditions on the call hold, or may hold once the body is seen
}

// How many shapes are remembered, and how many surroundings.
const (
	shapesKept = 1024
	nearbyKept = 256
)

// index finds the rules whose conditions on the call hold: all but those on the tier, the time, the body and `when`. Deny rules come
// first in the numbering, so that rules below denies deny.
type index struct {
	rules  int
	denies *ruleSet
	allows *ruleSet

	shapes *slots[shape, *sight]        // what was found of late
	nearby *slots[shape, *surroundings] // the same without models and endpoints
	spare  sync.Pool                    // of *ruleSet, empty

	methods   []dimension[methodSet]
	locations []dimension[locationSet]
	surfaces  map[string]*ruleSet // rules that name a method beyond inference
	projects  patterns
	everything,
	anyModel, anyPublisher *ruleSet // rules about models, without a condition on their names or publishers
	models      patterns
	versions    patterns // deny rules' patterns without a version
	unversioned patterns // deny rules' patterns with a version, without it
	publishers  patterns
	endpoints   patterns
	anyProject  *ruleSet
	aboutModel  *ruleSet // rules that can concern calls to models
}

// dimension is the rules that have the same set of values.
type dimension[S methodSet | locationSet] struct {
	values S
	rules  *ruleSet
}

func newIndex(rules []*rule) *index {
	n := len(rules)
	x := &index{
		rules: n, denies: newRuleSet(n), allows: newRuleSet(n), shapes: newSlots[shape, *sight](shapesKept), nearby: newSlots[shape, *surroundings](nearbyKept), surfaces: map[string]*ruleSet{},
		everything: newRuleSet(n), anyModel: newRuleSet(n), anyPublisher: newRuleSet(n), anyProject: newRuleSet(n), aboutModel: newRuleSet(n),
	}
	methods, locations := map[methodSet]*ruleSet{}, map[locationSet]*ruleSet{}
	for _, r := range rules {
		x.add(r)
		grouped(methods, r.methods, n).add(r.number)
		grouped(locations, r.locations, n).add(r.number)
		for _, name := range r.names {
			if methodBits(name) == 0 && name != "*" {
				grouped(x.surfaces, name, n).add(r.number)
			}
		}
	}
	for _, p := range []*patterns{&x.projects, &x.models, &x.versions, &x.unversioned, &x.publishers, &x.endpoints} {
		p.seal(n)
	}
	for values, rules := range methods {
		x.methods = append(x.methods, dimension[methodSet]{values, rules})
	}
	for values, rules := range locations {
		x.locations = append(x.locations, dimension[locationSet]{values, rules})
	}
	return x
}

func grouped[K comparable](m map[K]*ruleSet, key K, rules int) *ruleSet {
	if m[key] == nil {
		m[key] = newRuleSet(rules)
	}
	return m[key]
}

// add enters the rule's names.
func (x *index) add(r *rule) {
	if r.deny {
		x.denies.add(r.number)
	} else {
		x.allows.add(r.number)
	}
	if r.projects == nil {
		x.anyProject.add(r.number)
	}
	x.projects.add(r.number, r.projects)
	x.endpoints.add(r.number, r.endpoints)
	if r.everything {
		x.everything.add(r.number)
		return
	}
	if r.models == nil && r.publishers == nil {
		return
	}
	x.aboutModel.add(r.number)
	if r.publishers == nil {
		x.anyPublisher.add(r.number)
	}
	x.publishers.add(r.number, r.publishers)
	if r.models == nil {
		x.anyModel.add(r.number)
	}
	x.models.add(r.number, r.models)
	if r.deny {
		for _, g := range r.models {
			without, _, versioned := strings.Cut(g.text, "@")
			if versioned {
				x.unversioned.add(r.number, globs{newGlob(without)})
			} else {
				x.versions.add(r.number, globs{g})
			}
		}
	}
}

// find returns what is known of a call whose model is the given one, and false for a call that the parser did not make.
func (x *index) find(c *Call, subject subject, publisher, model string) (*sight, bool) {
	key := shape{subject, c.Surface != "", c.Group, c.Method, c.Location, c.Project, publisher, model, c.Endpoint}
	if found, ok := x.shapes.get(key); ok {
		return found, true
	}
	near, ok := x.around(key)
	if !ok {
		return nil, false
	}
	// What is kept must not keep the request's memory.
	own := near.shape
	own.model, own.endpoint = strings.Clone(model), strings.Clone(c.Endpoint)
	found := &sight{near.target, x.meets(near, &own)}
	found.shape = own
	x.shapes.put(own, found)
	return found, true
}

// surroundings is what calls have in common that differ in their models or endpoints alone.
type surroundings struct {
	target          // without model and endpoint
	within *ruleSet // the rules that hold if they hold for the model or the endpoint
	always *ruleSet // the rules that hold whatever these are
}

// around returns the surroundings of a shape, and false for those of a call that the parser did not make.
func (x *index) around(key shape) (*surroundings, bool) {
	key.model, key.endpoint = "", ""
	if found, ok := x.nearby.get(key); ok {
		return found, true
	}
	for _, s := range []*string{&key.method, &key.location, &key.project, &key.publisher} {
		*s = strings.Clone(*s)
	}
	t, ok := newTarget(key)
	if !ok {
		return nil, false
	}
	found := x.survey(&t)
	x.nearby.put(key, found)
	return found, true
}

// survey finds the surroundings of a target.
func (x *index) survey(t *target) *surroundings {
	found := &surroundings{target: *t, within: x.place(t), always: x.subject(t)}
	found.always.keep(found.within)
	if t.subject == aModel && t.publisher != "" {
		found.within.keep(x.publisher(t.publisher))
	}
	return found
}

// search returns the rules that a call meets, as find does, and remembers nothing.
func (x *index) search(t *target) packed { return x.meets(x.survey(t), &t.shape) }

// meets returns the rules that a call meets; of those whose verdict is unknown it says nothing else.
func (x *index) meets(near *surroundings, own *shape) packed {
	found, _ := x.spare.Get().(*ruleSet)
	if found == nil {
		found = newRuleSet(x.rules)
	}
	switch own.subject {
	case anEndpoint:
		x.endpoints.match(own.endpoint, found)
	case aModel:
		x.models.match(own.model, found)
		x.versions.match(base(own.model), found)
		if !versioned(own.model) {
			x.unversioned.match(base(own.model), found)
		}
	case someModel, aList, aResource:
	}
	found.keep(near.within)
	found.addAll(near.always)
	result := found.pack()
	found.clear()
	x.spare.Put(found)
	return result
}

// place returns the rules whose methods, locations and projects are those of the target.
func (x *index) place(t *target) *ruleSet {
	found := union(x.methods, t.methods, x.rules)
	if t.surface {
		found.keep(x.denies)
		found.addAll(x.surfaces[t.method])
	}
	found.keep(union(x.locations, t.place, x.rules))
	projects := newRuleSet(x.rules)
	projects.addAll(x.anyProject)
	x.projects.match(t.project, projects)
	if !t.plainID {
		projects.addAll(x.denies)
	}
	found.keep(projects)
	return found
}

// union returns the rules of which a value is among the given ones.
func union[S methodSet | locationSet](d []dimension[S], values S, rules int) *ruleSet {
	set := newRuleSet(rules)
	for i := range d {
		if d[i].values&values != 0 {
			set.addAll(d[i].rules)
		}
	}
	return set
}

// subject returns the rules of which rule.matchSubject does not say no, whatever the model or the endpoint is.
func (x *index) subject(t *target) *ruleSet {
	set := newRuleSet(x.rules)
	switch t.subject {
	case someModel:
		set.addAll(x.aboutModel)
	case aList:
		set.addAll(x.aboutModel)
		set.remove(x.denies)
		set.addAll(x.anyModel)
	case aModel:
		set.addAll(x.anyModel)
	case aResource:
		set.addAll(x.allows)
	case anEndpoint:
	}
	if t.publisher != "" && t.subject != aResource && t.subject != anEndpoint {
		set.keep(x.publisher(t.publisher))
	}
	set.addAll(x.everything)
	return set
}

// publisher returns the rules about models of the publisher.
func (x *index) publisher(name string) *ruleSet {
	set := newRuleSet(x.rules)
	set.addAll(x.anyPublisher)
	x.publishers.match(name, set)
	return set
}

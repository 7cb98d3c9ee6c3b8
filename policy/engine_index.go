package policy

import "strings"

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
	meets *ruleSet // the rules whose conditions on the call hold, or may hold once the body is seen
}

const shapesKept = 1024

// index finds the rules whose conditions on the call hold: all but those on the tier, the time, the body and `when`. Deny rules come
// first in the numbering, so that rules below denies deny.
type index struct {
	rules  int
	denies *ruleSet
	allows *ruleSet

	shapes *slots[shape, *sight] // what was found of late

	methods   []dimension[methodSet]
	locations []dimension[locationSet]
	surfaces  map[string]*ruleSet // rules that name a method beyond inference
	projects  patterns
	everything,
	anyModel, anyPublisher *ruleSet // rules about models, without a condition on their names or publishers
	models     patterns
	versions   patterns // deny rules' patterns without a version
	publishers patterns
	endpoints  patterns
	anyProject *ruleSet
	aboutModel *ruleSet // rules that can concern calls to models
}

// dimension is the rules that have the same set of values.
type dimension[S methodSet | locationSet] struct {
	values S
	rules  *ruleSet
}

func newIndex(rules []*rule) *index {
	n := len(rules)
	x := &index{
		rules: n, denies: newRuleSet(n), allows: newRuleSet(n), shapes: newSlots[shape, *sight](shapesKept), surfaces: map[string]*ruleSet{},
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
	for _, p := range []*patterns{&x.projects, &x.models, &x.versions, &x.publishers, &x.endpoints} {
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
			if !strings.Contains(g.text, "@") {
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
	// What is kept must not keep the request's memory.
	for _, s := range []*string{&key.method, &key.location, &key.project, &key.publisher, &key.model, &key.endpoint} {
		*s = strings.Clone(*s)
	}
	t, ok := newTarget(key)
	if !ok {
		return nil, false
	}
	found := &sight{t, x.search(&t)}
	x.shapes.put(key, found)
	return found, true
}

// search returns the rules that the target meets; of those whose verdict is unknown it says nothing else.
func (x *index) search(t *target) *ruleSet {
	found := x.subject(t)
	found.keep(x.method(t))
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

func (x *index) method(t *target) *ruleSet {
	set := union(x.methods, t.methods, x.rules)
	if t.surface {
		set.keep(x.denies)
		set.addAll(x.surfaces[t.method])
	}
	return set
}

// subject returns the rules of which rule.matchSubject does not say no.
func (x *index) subject(t *target) *ruleSet {
	set := newRuleSet(x.rules)
	switch t.subject {
	case anEndpoint:
		x.endpoints.match(t.endpoint, set)
	case aResource:
		set.addAll(x.allows)
	default:
		x.model(t, set)
	}
	set.addAll(x.everything)
	return set
}

func (x *index) model(t *target, set *ruleSet) {
	switch t.subject {
	case someModel:
		set.addAll(x.aboutModel)
	case aList:
		set.addAll(x.aboutModel)
		set.remove(x.denies)
		set.addAll(x.anyModel)
	default:
		set.addAll(x.anyModel)
		x.models.match(t.model, set)
		x.versions.match(base(t.model), set)
	}
	if t.publisher == "" {
		return
	}
	publishers := newRuleSet(x.rules)
	publishers.addAll(x.anyPublisher)
	x.publishers.match(t.publisher, publishers)
	set.keep(publishers)
}

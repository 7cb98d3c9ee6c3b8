package policy

import (
	"cmp"
	"slices"

	"vertex-spoa/policy/strictyaml"
)

// newPolicy makes m ready for deciding. What it finds wrong is added to problems; the policy is then not used.
func newPolicy(m *Model, problems *strictyaml.Problems) *Policy {
	b := builder{m: m, place: make(map[string]int, len(m.Roles)), policy: &Policy{
		issuers: m.Issuers, project: m.Project, location: m.Location, aliases: m.Aliases, endpoints: m.Endpoints,
		callers: map[string]*callers{}, projects: map[string]string{}, numbers: m.Projects, surfaces: map[string]bool{},
		refuseRouting: m.RefuseRouting,
	}}
	for id, number := range m.Projects {
		b.policy.projects[number] = id
	}
	b.roles()
	b.rules()
	b.compile(problems)
	b.link()
	return b.policy
}

// builder makes a Policy of a Model.
type builder struct {
	m      *Model
	policy *Policy
	place  map[string]int // of roles, by name
}

func (b *builder) roles() {
	p := b.policy
	for i := range b.m.Issuers {
		p.callers[b.m.Issuers[i].Name] = &callers{}
	}
	for i := range b.m.Roles {
		r := &b.m.Roles[i]
		b.place[r.Name] = i
		p.roles = append(p.roles, role{Role: r})
		for _, w := range r.Who {
			p.callers[w.Issuer].add(newWay(i, w))
		}
	}
}

func newWay(role int, w Way) way {
	to := way{role: role}
	for _, c := range w.Claims {
		to.claims = append(to.claims, claim{c.Name, newGlobs(c.Patterns)})
	}
	return to
}

// rules numbers the rules, so that the one that is reported does not depend on where it stands: deny rules first, by name, then the allow
// rules for certain roles, by name, then those for every role.
func (b *builder) rules() {
	p := b.policy
	for i := range b.m.Rules {
		p.rules = append(p.rules, b.rule(&b.m.Rules[i]))
	}
	kind := func(r *rule) int {
		switch {
		case r.deny:
			return 0
		case r.roles != nil:
			return 1
		}
		return 2
	}
	slices.SortFunc(p.rules, func(a, b *rule) int { return cmp.Or(kind(a)-kind(b), cmp.Compare(a.ID, b.ID)) })
	for i, r := range p.rules {
		r.number = i
		if r.deny || r.shadow {
			continue
		}
		for _, name := range r.names {
			p.surfaces[name] = true
		}
	}
}

func (b *builder) rule(r *Rule) *rule {
	to := &rule{
		Rule: r, deny: r.Effect == Deny, shadow: r.Mode == Shadow,
		methods: methodsOf(r.Methods), names: r.Methods, locations: locationsOf(r.Locations),
		projects: newGlobs(b.ids(r.Projects)), publishers: newGlobs(r.Publishers), models: newGlobs(r.Models), endpoints: newGlobs(r.Endpoints),
		body: newBodyCheck(r.Body),
	}
	for _, name := range r.Roles {
		to.roles = append(to.roles, b.place[name])
	}
	for _, name := range r.Except {
		to.except = append(to.except, b.place[name])
	}
	if to.deny && to.endpoints == nil {
		// Any model of any publisher is anything at all, so that such a rule also covers calls that name no model.
		if to.models.any() {
			to.models = nil
		}
		if to.publishers.any() {
			to.publishers = nil
		}
		to.everything = to.models == nil && to.publishers == nil
	}
	d := &r.Duties
	to.imposes = d.Rewrite != "" || d.Tier != Tier{} || d.Breakglass != nil || d.Limit != nil || d.Guard != nil || d.Route != nil || d.AuditFull
	to.imposition = []RuleDuties{{r.ID, d}}
	to.dynamic = r.When != nil || to.body != nil || len(r.Active) > 0
	return to
}

// ids puts projects that are known under two names under their ids.
func (b *builder) ids(projects []string) []string {
	list := slices.Clone(projects)
	for i, name := range list {
		if id := b.policy.projects[name]; id != "" {
			list[i] = id
		}
	}
	return list
}

// methodsOf returns the set that a rule's methods are; none are all. Calls beyond inference have no bits.
func methodsOf(names []string) methodSet {
	var set methodSet
	for _, name := range names {
		if name == "*" {
			return allMethods
		}
		set |= methodBits(name)
	}
	if names == nil {
		return allMethods
	}
	return set
}

// locationsOf returns the set that patterns of locations are; none are all.
func locationsOf(patterns []string) locationSet {
	if patterns == nil {
		return allLocations
	}
	var set locationSet
	for _, text := range patterns {
		set |= matchLocations(text)
	}
	return set
}

// matchLocations returns the locations that a pattern matches.
func matchLocations(text string) locationSet {
	var set locationSet
	g := newGlob(text)
	for i := range locations {
		if g.match(locations[i].name) {
			set |= 1 << i
		}
	}
	return set
}

// link gives the rules to the roles they concern, and to each other.
func (b *builder) link() {
	p := b.policy
	n := len(p.rules)
	p.index = newIndex(p.rules)
	p.groups = newSlots[string, *group](groupsKept)
	p.every, p.imposing = newRuleSet(n), newRuleSet(n)
	byID := make(map[string]int, n)
	for _, r := range p.rules {
		if r.deny {
			byID[r.ID] = r.number
		}
		if r.imposes {
			p.imposing.add(r.number)
		}
		p.shadows = p.shadows || r.shadow || r.Percent < 100
		if r.Roles == nil {
			p.every.add(r.number)
		}
		for _, role := range r.roles {
			enter(&p.roles[role].rules, r.number, n)
		}
		for _, role := range r.except {
			enter(&p.roles[role].excepted, r.number, n)
		}
	}
	for _, r := range p.rules {
		if r.Duties.Breakglass == nil || r.deny {
			continue
		}
		for _, id := range r.Duties.Breakglass.Overrides {
			if number, ok := byID[id]; ok {
				r.overrides = append(r.overrides, number)
				p.overriding = true
			}
		}
		slices.Sort(r.overrides)
	}
}

func enter(set **ruleSet, rule, rules int) {
	if *set == nil {
		*set = newRuleSet(rules)
	}
	(*set).add(rule)
}

// issuersOf returns the issuers whose callers a rule can concern.
func (b *builder) issuersOf(r *Rule) []*Issuer {
	names := map[string]bool{}
	for i := range b.m.Roles {
		role := &b.m.Roles[i]
		if r.Roles != nil && !slices.Contains(r.Roles, role.Name) {
			continue
		}
		for _, w := range role.Who {
			names[w.Issuer] = true
		}
	}
	var list []*Issuer
	for i := range b.m.Issuers {
		if names[b.m.Issuers[i].Name] {
			list = append(list, &b.m.Issuers[i])
		}
	}
	return list
}

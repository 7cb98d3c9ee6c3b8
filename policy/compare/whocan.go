package compare

import (
	"slices"
	"strings"

	"vertex-spoa/policy"
)

// Query is which calls WhoCan asks about. What is empty may be anything.
type Query struct {
	Model    string         // pattern of models, with or without publisher/ before it
	Endpoint string         // pattern of ids
	Method   string         // a method, or a group of them
	Location string         // pattern
	Project  string         // pattern
	Caller   *policy.Caller // whose roles count; nil: all roles
}

// Permission is one rule that allows a role some of the calls.
type Permission struct {
	Role    string   `json:"role"`
	Who     []string `json:"who"` // the ways to have the role
	Account string   `json:"account"`
	Permit
	Calls   []Calls  `json:"calls"`
	Refused []string `json:"refused,omitempty"` // deny rules that refuse others of the calls that the query asks about, whatever else holds
}

// model splits the pattern of models.
func (q *Query) model() (publisher, model pattern) {
	before, after, found := strings.Cut(q.Model, "/")
	if !found {
		return "*", pattern(before)
	}
	return pattern(before), pattern(after)
}

// replace puts the names of the query in the place of others.
func (q *Query) replace(v *vocabulary) {
	if q.Model != "" {
		publisher, model := q.model()
		v.models, v.publishers = patterns{}, patterns{}
		v.models.add(string(model))
		v.publishers.add(string(publisher))
	}
	if q.Endpoint != "" {
		v.endpoints = patterns{}
		v.endpoints.add(q.Endpoint)
	}
	if q.Project != "" {
		v.projects = patterns{}
		v.projects.add(q.Project)
	}
}

// asks reports whether the query is about a sample.
func (q *Query) asks(c *sampleCall) bool {
	if q.Model != "" {
		publisher, model := q.model()
		if c.Endpoint != "" && !c.ModelInBody || c.model == "" || !publisher.match(c.publisher) || !model.match(c.model) {
			return false
		}
	}
	if q.Endpoint != "" && (c.Endpoint == "" || c.ModelInBody || !pattern(q.Endpoint).match(c.Endpoint)) {
		return false
	}
	return (q.Method == "" || q.Method == c.Method || q.Method == string(c.Group)) &&
		(q.Location == "" || c.Location != "") &&
		(q.Project == "" || c.Project != "" && pattern(q.Project).match(c.Project))
}

// WhoCan returns which rules allow whom the calls of the query, by role and rule, and whether all samples of calls were looked at. A call
// that a deny rule refuses whatever else holds is not among them.
func WhoCan(p *policy.Policy, q Query) (list []Permission, whole bool) {
	m := p.Model()
	whole = true
	held := map[string]bool{}
	if q.Caller != nil {
		for _, r := range p.Roles(*q.Caller) {
			held[r.Role] = r.Held
		}
	}
	for i := range m.Roles {
		role := &m.Roles[i]
		if q.Caller != nil && !held[role.Name] {
			continue
		}
		found, all := q.role(p, role)
		list, whole = append(list, found...), whole && all
	}
	return list, whole
}

// role returns the permissions of one role.
func (q *Query) role(p *policy.Policy, role *policy.Role) ([]Permission, bool) {
	m := p.Model()
	rules := rulesFor(m, role.Name)
	s := newSpace(rules, rules, []*policy.Model{m}, q)
	if q.Location != "" {
		s.locate(pattern(q.Location))
	}
	var list []Permission
	at := map[string]int{}
	refused := map[string][]string{} // by allow rule
	s.each(func(c *sampleCall) {
		if !q.asks(c) {
			return
		}
		open, shut := permits(p, role.Name, c)
		for _, pair := range shut {
			if !slices.Contains(refused[pair.allow], pair.deny) {
				refused[pair.allow] = append(refused[pair.allow], pair.deny)
			}
		}
		for _, permit := range open {
			key := permit.Rule + "\x00" + permit.key()
			n, ok := at[key]
			if !ok {
				n = len(list)
				at[key] = n
				list = append(list, Permission{Role: role.Name, Who: texts(waysOf(role)), Account: role.Account, Permit: permit})
			}
			list[n].Calls = append(list[n].Calls, c.at)
		}
	})
	for i := range list {
		list[i].Calls = merge(list[i].Calls, every())
		list[i].Refused = refused[list[i].Rule]
	}
	slices.SortStableFunc(list, func(a, b Permission) int { return strings.Compare(a.Rule, b.Rule) })
	return list, s.whole
}

// locate leaves only locations that match.
func (s *space) locate(p pattern) {
	var kept [][]string
	for _, class := range s.locations {
		class = slices.DeleteFunc(slices.Clone(class), func(name string) bool { return !p.match(name) })
		if len(class) > 0 {
			kept = append(kept, class)
		}
	}
	s.locations = kept
}

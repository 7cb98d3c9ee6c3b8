package policy

import (
	"strings"

	"vertex-spoa/policy/strictyaml"
)

// defaults is what an allow rule takes where it says nothing itself.
type defaults struct {
	conditions
	project  string // the one default project
	location string // the first default location that is written without a star
}

// conditions is what rules and defaults say about calls.
type conditions struct {
	loader *loader

	methods    methodSet // 0: nothing said
	admin      *strictyaml.Node
	locations  locationSet // 0: nothing said
	projects   globs
	publishers globs
	models     globs
	endpoints  globs

	firstLocation string
	projectsAt    *strictyaml.Node
	publishersAt  *strictyaml.Node
}

func (l *loader) readDefaults() defaults {
	d := defaults{conditions: conditions{loader: l}}
	if l.defaults == nil {
		return d
	}
	p := &l.problems
	fields := []strictyaml.Field{{Name: "project", Read: func(n *strictyaml.Node) { d.project = l.readProject(n) }}}
	for _, f := range d.fields() {
		if f.Name == "models" || f.Name == "endpoints" {
			f = strictyaml.Field{Name: f.Name, Refused: "is no default: write it into each rule"}
		}
		fields = append(fields, f)
	}
	l.defaults.Object(p, fields)
	if d.admin != nil {
		p.Addf(d.admin, "admin is never a default")
	}
	switch {
	case d.project != "" && d.projects != nil:
		p.Addf(d.projectsAt, "both project and projects: write one of them")
	case d.project != "":
		d.projects = globs{newGlob(d.project)}
	case len(d.projects) == 1 && d.projects[0].literal:
		d.project = d.projects[0].text
	}
	d.location = d.firstLocation
	return d
}

// fields returns how the conditions are read.
func (c *conditions) fields() []strictyaml.Field {
	return []strictyaml.Field{
		{Name: "projects", Read: func(n *strictyaml.Node) {
			c.projectsAt = n
			c.projects = c.loader.readGlobs(n, isProjectID, "a project: an id or a number, * for any text")
		}},
		{Name: "locations", Read: c.readLocations},
		{Name: "methods", Read: c.readMethods},
		{Name: "publishers", Read: func(n *strictyaml.Node) {
			c.publishersAt = n
			c.publishers = c.loader.readGlobs(n, func(s string) bool { return isName(s, "-") }, "a publisher: lower-case letters, digits and dashes, * for any text")
		}},
		{Name: "models", Read: func(n *strictyaml.Node) {
			c.models = c.loader.readGlobs(n, isModel, "a model: its lower-case name without the publisher, with @version where it has one, * for any text")
		}},
		{Name: "endpoints", Read: c.readEndpoints},
	}
}

// readGlobs reads patterns of names. A pattern is right when it is a name with its stars taken for letters. A wrong one is returned as
// well, lest the condition seem to be missing on top.
func (l *loader) readGlobs(n *strictyaml.Node, isName func(string) bool, want string) globs {
	var gs globs
	for _, item := range n.Items(&l.problems) {
		text, ok := item.Text(&l.problems)
		if ok && (!isName(strings.ReplaceAll(text, "*", "x")) || len(text) > 256) {
			l.problems.Addf(item, "%s is not the name of %s", strictyaml.Quote(text), want)
		}
		gs = append(gs, newGlob(text))
	}
	return gs
}

func (l *loader) readProject(n *strictyaml.Node) string {
	text, ok := n.Text(&l.problems)
	if ok && !isProjectID(text) {
		l.problems.Addf(n, "%s is not a project: write its id or its number", strictyaml.Quote(text))
	}
	return text
}

func (c *conditions) readEndpoints(n *strictyaml.Node) {
	c.endpoints = c.loader.readGlobs(n, func(s string) bool { return isName(s, "-") }, "an endpoint: its number or id, * for any text")
	for _, g := range c.endpoints {
		if g.text == openAPI {
			c.loader.problems.Addf(n, "%q is not an endpoint: calls below it name a model in their body, and rules allow them by models", openAPI)
		}
	}
}

func (c *conditions) readLocations(n *strictyaml.Node) {
	p := &c.loader.problems
	for _, item := range n.Items(p) {
		text, ok := item.Text(p)
		if !ok {
			continue
		}
		var names []string
		var set locationSet
		g := newGlob(text)
		for i := range locations {
			names = append(names, locations[i].name)
			if g.match(locations[i].name) {
				set |= 1 << i
			}
		}
		if set == 0 {
			p.Addf(item, "unknown location %s%s", strictyaml.Quote(text), strictyaml.Suggest(text, names))
			set = allLocations // lest the condition seem to be missing on top
		}
		if c.firstLocation == "" && g.literal {
			c.firstLocation = text
		}
		c.locations |= set
	}
}

func (c *conditions) readMethods(n *strictyaml.Node) {
	p := &c.loader.problems
	for _, item := range n.Items(p) {
		text, ok := item.Text(p)
		bits := methodBits(text)
		switch {
		case !ok:
			continue
		case text == "*":
			bits = allMethods
		case text == string(GroupAdmin):
			c.admin = item
		case bits == 0:
			p.Addf(item, "unknown method %s%s", strictyaml.Quote(text), strictyaml.Suggest(text, methodNames()))
			bits = allMethods // lest the condition seem to be missing on top
		}
		c.methods |= bits
	}
}

func methodNames() []string {
	var names []string
	for _, g := range groups {
		names = append(names, string(g))
	}
	for _, m := range methods {
		names = append(names, m.name)
	}
	return names
}

// intoAllow sets the conditions of an allow rule. What neither it nor the defaults say is missing: nothing is allowed by silence.
func (c *conditions) intoAllow(r *rule, key *strictyaml.Node, d *defaults) {
	p := &c.loader.problems
	r.methods, r.locations = c.methods, c.locations
	r.projects, r.publishers, r.models, r.endpoints = c.projects, c.publishers, c.models, c.endpoints
	if r.methods == 0 {
		r.methods = d.methods
	}
	if r.locations == 0 {
		r.locations = d.locations
	}
	if r.projects == nil {
		r.projects = d.projects
	}
	if r.publishers == nil && r.models != nil {
		r.publishers = d.publishers
	}
	missing := func(what string) {
		p.Addf(key, "the rule says no %s and neither do the defaults: write them, or \"*\" for all", what)
	}
	if r.methods == 0 {
		missing("methods")
	}
	if r.locations == 0 {
		missing("locations")
	}
	if r.projects == nil {
		missing("projects")
	}
	switch {
	case r.models == nil && r.endpoints == nil:
		p.Addf(key, "an allow rule needs models or endpoints: write them, or models: \"*\" for all")
	case r.models == nil && c.publishersAt != nil:
		p.Addf(c.publishersAt, "publishers say whose models are meant, and the rule has no models")
	}
	if c.admin != nil {
		p.Addf(c.admin, "\"admin\" %s: its calls are refused for everyone", notEnforced)
	}
}

// intoDeny sets the conditions of a deny rule. It takes no defaults: what it does not say, it denies.
func (c *conditions) intoDeny(r *rule) {
	r.methods, r.locations = c.methods, c.locations
	r.projects, r.publishers, r.models, r.endpoints = c.projects, c.publishers, c.models, c.endpoints
	if r.methods == 0 {
		r.methods = allMethods
	}
	if r.locations == 0 {
		r.locations = allLocations
	}
	for _, g := range r.projects {
		if !strings.ContainsFunc(g.text, func(c rune) bool { return 'a' <= c && c <= 'z' }) && g.text != "*" {
			c.loader.problems.Addf(c.projectsAt, "%s is a number: a deny rule names projects by their ids, and holds for every call that names a project by its number", strictyaml.Quote(g.text))
		}
	}
	if r.endpoints == nil {
		// Any model of any publisher is anything at all, so that such a rule also covers calls that name no model.
		if r.models.any() {
			r.models = nil
		}
		if r.publishers.any() {
			r.publishers = nil
		}
		r.everything = r.models == nil && r.publishers == nil
	}
}

// isProjectID reports whether s is written as a project's id or number, or as a pattern of them.
func isProjectID(s string) bool { return isName(s, "-") && len(s) <= 64 }

func isNumber(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool { return r < '0' || r > '9' })
}

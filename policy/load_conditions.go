package policy

import (
	"slices"
	"strings"

	"vertex-spoa/policy/strictyaml"
)

// conditions is what rules and defaults say about calls. A condition that is nil was not written.
type conditions struct {
	models, publishers, endpoints, projects, locations, methods []string

	publishersAt, projectsAt, surfaceAt *strictyaml.Node
	onlySurfaces                        bool // methods are calls beyond inference alone
}

// oneProject is the shape of a project: an id, or a number.
var oneProject = valueShape{kind: textShape, hint: "a project", examples: []string{"acme-ai"}, scalar: true}

// conditionFields returns the fields of the conditions that rules and defaults share.
func conditionFields[T any](at func(*T) *conditions) []field[T] {
	return []field[T]{
		custom("projects", "Projects, by id or number.", severalOf(oneProject),
			func(l *loader, n *strictyaml.Node, to *T) { l.readProjectPatterns(n, at(to)) }),
		texts("locations", "Locations.",
			textOf("a location", "europe-west4", "europe-*"), func(to *T) *[]string { return &at(to).locations }, (*loader).checkLocations),
		custom("methods",
			"Methods of Vertex, by name or by group: "+groupNames()+". "+
				"Calls beyond inference, such as `cachedContents.create`, are switched on by their exact names alone, and never by default.",
			severalOf(textOf("a method or group", "generate", "embed", "countTokens")),
			func(l *loader, n *strictyaml.Node, to *T) { l.readMethods(n, at(to)) }),
		custom("publishers", "Publishers of models.",
			severalOf(textOf("a publisher", "google", "anthropic")), func(l *loader, n *strictyaml.Node, to *T) {
				at(to).publishersAt = n
				at(to).publishers = l.readTexts(n, patternCheck(isPublisher,
					"a publisher: lower-case letters, digits and dashes, * for any text"))
			}),
	}
}

func isPublisher(s string) bool { return isName(s, "-") }

// patternCheck returns a check of patterns of names. A pattern is right when it is a name with its stars taken for letters.
func patternCheck(isName func(string) bool, want string) func(*loader, *strictyaml.Node, string) {
	return func(l *loader, n *strictyaml.Node, text string) {
		if !isName(strings.ReplaceAll(text, "*", "x")) || len(text) > 256 {
			l.problems.Addf(n, "%s is not the name of %s", strictyaml.Quote(text), want)
		}
	}
}

func (l *loader) readProject(n *strictyaml.Node) string {
	text, ok := n.Text(&l.problems)
	if ok && !isProjectID(text) {
		l.problems.Addf(n, "%s is not a project: write its id or its number", strictyaml.Quote(text))
	}
	return l.projectID(text)
}

func (l *loader) readProjectPatterns(n *strictyaml.Node, c *conditions) {
	c.projectsAt = n
	c.projects = l.readTexts(n, patternCheck(isProjectID, "a project: an id or a number, * for any text"))
	for i, text := range c.projects {
		c.projects[i] = l.projectID(text)
	}
}

func (l *loader) readModels(n *strictyaml.Node, c *conditions) {
	c.models = l.readTexts(n, patternCheck(isModel,
		"a model: its lower-case name without the publisher, with @version where it has one, * for any text"))
	for i, text := range c.models {
		c.models[i] = l.unalias(text)
	}
}

func (l *loader) checkEndpoint(n *strictyaml.Node, text string) {
	if newGlob(text).literal && text == openAPI {
		l.problems.Addf(n, "%q is not an endpoint: calls below it name a model in their body, and rules allow them by models", openAPI)
		return
	}
	patternCheck(isPublisher, "an endpoint: its number or id, * for any text")(l, n, text)
}

func (l *loader) checkLocations(n *strictyaml.Node, text string) {
	if _, ok := locationIndex(text); !ok && matchLocations(text) == 0 {
		l.problems.Addf(n, "unknown location %s%s", strictyaml.Quote(text), strictyaml.Suggest(text, locationNames()))
	}
}

func (l *loader) readMethods(n *strictyaml.Node, c *conditions) {
	c.onlySurfaces = true
	c.methods = l.readTexts(n, func(l *loader, n *strictyaml.Node, text string) {
		switch {
		case text == string(GroupAdmin):
			l.problems.Addf(n, "admin stands for no call: write the exact names of its methods, such as cachedContents.create")
		case text == "*" || methodBits(text) != 0:
			c.onlySurfaces = false
		case l.isSurface(text):
			c.surfaceAt = n
		default:
			l.problems.Addf(n, "unknown method %s%s", strictyaml.Quote(text), strictyaml.Suggest(text, append(methodNames(),
				SurfaceMethods()...)))
		}
	})
}

// isSurface reports whether a text is the name of a call beyond inference.
func (l *loader) isSurface(text string) bool {
	if l.surfaces == nil {
		l.surfaces = map[string]bool{}
		for _, name := range SurfaceMethods() {
			l.surfaces[name] = true
		}
	}
	return l.surfaces[text]
}

func methodNames() []string {
	var names []string
	for _, g := range groups {
		if g != GroupAdmin {
			names = append(names, string(g))
		}
	}
	for _, m := range methods {
		names = append(names, m.name)
	}
	return names
}

func groupNames() string {
	var names []string
	for _, g := range groups {
		if g != GroupAdmin {
			names = append(names, string(g))
		}
	}
	return strings.Join(names, ", ")
}

// defaults is what an allow rule takes where it says nothing itself.
type defaults struct {
	conditions
	project  string // the one default project
	location string // the first default location that is written without a star
	routing  string
}

var defaultsTable = newTable(slices.Concat([]field[defaults]{
	custom("project", "The one default project. Short names of service accounts belong to it.", oneProject,
		func(l *loader, n *strictyaml.Node, d *defaults) { d.project = l.readProject(n) }),
}, conditionFields(func(d *defaults) *conditions { return &d.conditions }), []field[defaults]{
	word("routing", "What becomes of `routingConfig` in a body, by which a caller can ask for another model than the path names. With `refused` the body "+
		"of every generateContent and streamGenerateContent is read where rules are about single models, and such a call is refused; so is one whose body is too "+
		"large to be seen whole. With `ignored`, which is the default, the path counts, and bodies are refused only where they are read anyway.",
		[]string{"ignored", "refused"}, func(d *defaults) *string { return &d.routing }),
	misplaced[defaults]("models", "is no default: write it into each rule"),
	misplaced[defaults]("endpoints", "is no default: write it into each rule"),
})...)

func (l *loader) readDefaults() *defaults {
	d := &defaults{}
	if l.defaults == nil {
		return d
	}
	p := &l.problems
	defaultsTable.read(l, l.defaults, d)
	if d.surfaceAt != nil {
		p.Addf(d.surfaceAt, "%s is never a default: only a rule itself can switch on a call beyond inference",
			strictyaml.Quote(d.surfaceAt.String()))
	}
	switch {
	case d.project != "" && d.projects != nil:
		p.Addf(d.projectsAt, "both project and projects: write one of them")
	case d.project != "":
		d.projects = []string{d.project}
	case len(d.projects) == 1 && !strings.Contains(d.projects[0], "*"):
		d.project = d.projects[0]
	}
	for _, text := range d.locations {
		if d.location == "" && !strings.Contains(text, "*") {
			d.location = text
		}
	}
	return d
}

// intoAllow sets the conditions of an allow rule. What neither it nor the defaults say is missing: nothing is allowed by silence.
func (l *loader) intoAllow(r *ruleText, key *strictyaml.Node, d *defaults) {
	c := &r.conditions
	fill := func(what string, own, preset []string) []string {
		switch {
		case own != nil:
			return own
		case preset == nil && what != "":
			l.problems.Addf(key, "the rule says no %s and neither do the defaults: write them, or \"*\" for all", what)
		}
		return preset
	}
	r.Models, r.Endpoints, r.Publishers = c.models, c.endpoints, c.publishers
	r.Methods = fill("methods", c.methods, d.methods)
	r.Locations = fill("locations", c.locations, d.locations)
	r.Projects = fill("projects", c.projects, d.projects)
	if r.Models != nil {
		r.Publishers = fill("", c.publishers, d.publishers)
	}
	switch {
	case r.Models == nil && r.Endpoints == nil && !c.onlySurfaces:
		l.problems.Addf(key, "an allow rule needs models or endpoints: write them, or models: \"*\" for all")
	case r.Models == nil && c.publishersAt != nil:
		l.problems.Addf(c.publishersAt, "publishers say whose models are meant, and the rule has no models")
	}
}

// intoDeny sets the conditions of a deny rule. It takes no defaults: what it does not say, it denies.
func (l *loader) intoDeny(r *ruleText) {
	c := &r.conditions
	r.Models, r.Endpoints, r.Publishers = c.models, c.endpoints, c.publishers
	r.Methods, r.Locations, r.Projects = c.methods, c.locations, c.projects
	for _, text := range r.Projects {
		if text != "*" && !strings.ContainsFunc(text, func(c rune) bool { return 'a' <= c && c <= 'z' }) {
			l.problems.Addf(c.projectsAt,
				"%s is a number: a deny rule names projects by their ids, and holds for every call that names a project by its number",
				strictyaml.Quote(text))
		}
	}
}

// isProjectID reports whether s is written as a project's id or number, or as a pattern of them.
func isProjectID(s string) bool { return isName(s, "-") && len(s) <= 64 }

func isNumber(s string) bool {
	return s != "" && !strings.ContainsFunc(s, func(r rune) bool { return r < '0' || r > '9' })
}

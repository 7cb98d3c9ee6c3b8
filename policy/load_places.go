package policy

import (
	"strings"

	"vertex-spoa/policy/strictyaml"
)

const (
	projectPattern  = `^[a-z][0-9a-z-]{0,63}$`
	endpointPattern = `^[0-9a-z-]{1,64}$`
	modelPattern    = `^[0-9a-z][0-9a-z._-]*(@[0-9a-z._-]+)?$`
)

func checkProjectName(l *loader, e strictyaml.Entry, _ string) bool {
	return l.checkName(e, isProjectID(e.Name()) && !isNumber(e.Name()) && !strings.Contains(e.Name(), "*"), "is not the id of a project")
}

func checkEndpointName(l *loader, e strictyaml.Entry, _ string) bool {
	ok := isName(e.Name(), "-") && len(e.Name()) <= 64 && e.Name() != openAPI
	return l.checkName(e, ok, "is not the id of an endpoint: write its number or name")
}

func checkAliasName(l *loader, e strictyaml.Entry, _ string) bool {
	return l.checkName(e, isModel(e.Name()), "cannot be an alias: write it as the name of a model, lower-case and without the publisher")
}

// readProjects reads ids and numbers: each id has one number, and each number one id.
func (l *loader) readProjects() {
	l.model.Projects, l.byNumber = map[string]string{}, map[string]string{}
	for _, e := range l.projects.entries {
		number, ok := e.Value.Text(&l.problems)
		switch other := l.byNumber[number]; {
		case !ok:
		case !isNumber(number) || len(number) > 20 || number[0] == '0':
			l.problems.Addf(e.Value, "%s is not the number of a project", strictyaml.Quote(number))
		case other != "":
			l.problems.Addf(e.Value, "%s is the number of project %s already", number, strictyaml.Quote(other))
		default:
			l.model.Projects[e.Name()], l.byNumber[number] = number, e.Name()
		}
	}
}

// projectID returns the id of a project where its number is written and known.
func (l *loader) projectID(text string) string {
	if id := l.byNumber[text]; id != "" {
		return id
	}
	return text
}

var endpointTable = newTable(
	text("host", "The name of its host: …`.prediction.vertexai.goog`, or the host of a location.",
		textOf("a host", "1234.europe-west4-5678.prediction.vertexai.goog"),
		func(e *Endpoint) *string { return &e.Host }, (*loader).checkHost).must(),
	custom("project", "The id of its project.",
		oneProject, func(l *loader, n *strictyaml.Node, e *Endpoint) { e.Project = l.projectID(l.readProject(n)) }).must(),
	text("location", "Its location.",
		textOf("a location", "europe-west4"), func(e *Endpoint) *string { return &e.Location }, (*loader).checkLocation).must(),
)

// checkHost accepts hosts of Google alone: what is sent there carries a token.
func (l *loader) checkHost(n *strictyaml.Node, host string) {
	if !isEndpointHost(host) {
		l.problems.Addf(n, "%s is not a host of Vertex: write …%s, or LOCATION-aiplatform.googleapis.com", strictyaml.Quote(host),
			dedicated)
	}
}

func (l *loader) checkLocation(n *strictyaml.Node, name string) {
	if _, ok := locationIndex(name); !ok {
		l.problems.Addf(n, "unknown location %s%s", strictyaml.Quote(name), strictyaml.Suggest(name, locationNames()))
	}
}

func locationNames() []string {
	var names []string
	for i := range locations {
		names = append(names, locations[i].name)
	}
	return names
}

func (l *loader) readEndpoints() {
	l.model.Endpoints = map[string]Endpoint{}
	for _, e := range l.endpoints.entries {
		var endpoint Endpoint
		endpointTable.read(l, e.Value, &endpoint)
		l.model.Endpoints[e.Name()] = endpoint
	}
}

// readAliases follows each alias to the model at its end.
func (l *loader) readAliases() {
	l.model.Aliases = map[string]string{}
	targets := map[string]string{}
	for _, e := range l.aliases.entries {
		target, ok := e.Value.Text(&l.problems)
		switch {
		case !ok:
		case !isModel(target):
			l.problems.Addf(e.Value,
				"%s is not the name of a model: write one lower-case name without the publisher, with @version where it has one",
				strictyaml.Quote(target))
		default:
			targets[e.Name()] = target
		}
	}
	for _, e := range l.aliases.entries {
		if end, ok := follow(targets, e.Name()); ok {
			l.model.Aliases[e.Name()] = end
		} else if e.Value != nil {
			l.problems.Addf(e.Value, "alias %s leads back to itself", strictyaml.Quote(e.Name()))
		}
	}
}

// follow returns what an alias stands for. It returns false when that never ends.
func follow(targets map[string]string, name string) (string, bool) {
	for range len(targets) + 1 {
		next, alias := targets[name]
		if !alias {
			return name, true
		}
		name = next
	}
	return "", false
}

// unalias returns the model that an alias stands for, and other texts as they are.
func (l *loader) unalias(text string) string {
	if model, ok := l.model.Aliases[text]; ok {
		return model
	}
	return text
}

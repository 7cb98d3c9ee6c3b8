package policy

import "vertex-spoa/policy/strictyaml"

// documentTable is the keys of a file.
var documentTable = newTable(
	custom("version", "The version of the language: 1.",
		valueShape{kind: versionShape}, func(l *loader, n *strictyaml.Node, _ *document) { l.readVersion(n) }),
	own(custom("include", "Files of the folder that others write, and what these may do. An included file holds roles and rules only.",
		listOf(includeTable.valueShape()),
		func(*loader, *strictyaml.Node, *document) {})), // read before all else, by findIncludes
	own(custom("defaults", "What every allow rule takes where it says nothing itself. It stands in one file.", defaultsTable.valueShape(),
		func(l *loader, n *strictyaml.Node, _ *document) { l.addDefaults(n) })),
	own(sectionField("issuers", "The identity providers that are trusted, by the names that roles use.",
		labelPattern, issuerTable.valueShape(), func(l *loader) *section { return &l.issuers })),
	own(sectionField("projects", "Ids of projects with their numbers. A project's id and its number are one project to every rule.",
		projectPattern,
		valueShape{kind: integerShape, least: 1, most: 1<<53 - 1}, func(l *loader) *section { return &l.projects })),
	own(sectionField("endpoints", "Dedicated and private endpoints, by their ids: where their calls are sent.",
		endpointPattern, endpointTable.valueShape(),
		func(l *loader) *section { return &l.endpoints })),
	own(sectionField("aliases", "Names for models. A call that asks for one is forwarded with the model it stands for, and judged as a call to that.",
		modelPattern,
		textOf("a model or another alias", "claude-sonnet-4-5@20250929"), func(l *loader) *section { return &l.aliases })),
	sectionField("roles", "Who a caller can be, and as which service account of Google it then acts.",
		labelPattern, roleTable.valueShape(), func(l *loader) *section { return &l.roles }),
	sectionField("rules", "What is allowed and denied. Their order means nothing.",
		labelPattern, ruleTable.valueShape(), func(l *loader) *section { return &l.rules }),
	own(sectionField("guards", "Examinations of prompts, by the names that rules use.",
		labelPattern, guardTable.valueShape(), func(l *loader) *section { return &l.guards }).later()),
	own(mapping("limits", "Limits of the policy as a whole, and how they count.",
		limitsTable, func(*document) *limits { return &limits{} }).later()),
	own(mapping("audit", "What audit lines hold.", auditTable, func(*document) *audit { return &audit{} }).later()),
)

// sectionField is a field with free names that is united over all files.
func sectionField(name, doc, names string, element valueShape, at func(*loader) *section) field[document] {
	return custom(name, doc, dictionaryOf(names, element), func(l *loader, n *strictyaml.Node, d *document) { l.add(at(l), n, d) })
}

// own returns the field as one that no included file may have.
func own(f field[document]) field[document] {
	read := f.read
	f.read = func(l *loader, n *strictyaml.Node, d *document) {
		if d.may != nil {
			l.problems.Addf(n, "an included file holds roles and rules only, not %s: it is included at %s", f.name, d.may.at)
			return
		}
		read(l, n, d)
	}
	return f
}

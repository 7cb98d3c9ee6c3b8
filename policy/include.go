package policy

import (
	"slices"
	"strings"

	"vertex-spoa/policy/strictyaml"
)

// include is one entry of `include`: files of the folder that others write, and what these may do.
type include struct {
	path string
	at   *strictyaml.Node
	may  grant
	used bool
}

// grant is what an included file may do. The nil grant is that of the policy's own files, which may do everything.
type grant struct {
	at    string // where it is written
	lists [len(grantLists)][]string
}

// The lists of a grant.
const (
	mayRoles = iota
	mayAs
	mayIssuers
	mayModels
	mayEndpoints
	mayPublishers
	mayProjects
	mayLocations
	mayMethods
)

// grantLists are the keys of `may`, in the order of the constants above.
var grantLists = [...]struct{ name, doc string }{
	{"roles", "Roles the file may define, and name in its rules."},
	{"as", "Service accounts its roles may use and reach others through."},
	{"issuers", "Issuers whose callers may have its roles."},
	{"models", "Models its rules may name."},
	{"endpoints", "Endpoints its rules may name."},
	{"publishers", "Publishers its rules may name; those of the defaults when not written."},
	{"projects", "Projects its rules may name; those of the defaults when not written."},
	{"locations", "Locations its rules may name; those of the defaults when not written."},
	{"methods", "Methods and groups its rules may name; those of the defaults when not written. Calls beyond inference only by their exact names."},
}

var grantTable = newGrantTable()

func newGrantTable() *table[grant] {
	var fields []field[grant]
	for i, list := range grantLists {
		fields = append(fields, texts(list.name, list.doc+" `*` stands for any text.", textOf("a pattern"),
			func(g *grant) *[]string { return &g.lists[i] }, nil))
	}
	return newTable(fields...)
}

var includeTable = newTable(
	custom("path", "The file, relative to the policy's folder. `*` stands for any text, also for folders.",
		textOf("a path", "teams/search.yaml", "teams/search/*"),
		func(l *loader, n *strictyaml.Node, i *include) { i.path, _ = n.Text(&l.problems) }).must(),
	custom("may", "What the file may do. What is not named here it may not.", grantTable.valueShape(),
		func(l *loader, n *strictyaml.Node, i *include) { grantTable.read(l, n, &i.may) }).must(),
)

// findIncludes reads what a file includes, before the files are read.
func (l *loader) findIncludes(d *document) {
	n := d.root.Get("include")
	if n == nil {
		return
	}
	for _, item := range n.Elements(&l.problems) {
		i := &include{at: item}
		i.may.at = item.Position()
		if includeTable.read(l, item, i) && i.path != "" {
			l.includes = append(l.includes, i)
		}
	}
}

// grantOf returns what a file may do: nil when nobody includes it.
func (l *loader) grantOf(d *document) *grant {
	var found *include
	for _, i := range l.includes {
		if !matchPath(i.path, d.name) {
			continue
		}
		i.used = true
		if found != nil {
			l.problems.Addf(d.root, "the file is included twice: at %s and at %s", found.may.at, i.may.at)
			continue
		}
		found = i
	}
	if found == nil {
		return nil
	}
	return &found.may
}

func matchPath(pattern, name string) bool {
	g := newGlob(pattern)
	return g.match(name)
}

// checkIncludes adds problems for includes of nothing, and for files beside included ones that nobody includes: whoever may write there
// could otherwise write a file that may do everything.
func (l *loader) checkIncludes(files []file) {
	for _, i := range l.includes {
		if !i.used {
			l.problems.Addf(i.at, "no file of the policy is %s", strictyaml.Quote(i.path))
		}
	}
	delegated := map[string]string{}
	for _, f := range files {
		if i := slices.IndexFunc(l.includes,
			func(i *include) bool { return matchPath(i.path, f.name) }); i >= 0 && strings.Contains(f.name, "/") {
			delegated[folderOf(f.name)] = f.name
		}
	}
	for _, f := range files {
		beside := delegated[folderOf(f.name)]
		if beside != "" && !slices.ContainsFunc(l.includes, func(i *include) bool { return matchPath(i.path, f.name) }) {
			l.problems.AddFile(f.name, "the file stands beside %s, which is included, and is not included itself: include it, or move it",
				beside)
		}
	}
}

func folderOf(name string) string { return name[:strings.LastIndexByte(name, '/')+1] }

// list returns one of the lists, nil for the nil grant.
func (g *grant) list(which int) []string {
	if g == nil {
		return nil
	}
	return g.lists[which]
}

func (g *grant) roles() []string   { return g.list(mayRoles) }
func (g *grant) issuers() []string { return g.list(mayIssuers) }

// accounts returns the patterns of service accounts in full.
func (g *grant) accounts(project string) []string {
	var full []string
	for _, text := range g.list(mayAs) {
		if !strings.Contains(text, "@") {
			text += "@" + project + accountDomain
		}
		full = append(full, text)
	}
	return full
}

// projects returns the patterns of projects, or the default one.
func (g *grant) projects(project string) []string {
	if list := g.list(mayProjects); list != nil || project == "" {
		return list
	}
	return []string{project}
}

// within adds a problem when an included file names something, at n, that its grant does not cover. text may be a pattern.
func (l *loader) within(n *strictyaml.Node, may *grant, what, text string, bound []string) {
	if may != nil && text != "" && !covers(bound, text) {
		l.addReach(n, may, what, text, bound)
	}
}

func (l *loader) addReach(n *strictyaml.Node, may *grant, what, text string, bound []string) {
	l.problems.Addf(n, "%s %s reaches further than the file may: the include at %s grants %s", what, strictyaml.Quote(text), may.at,
		granted(bound))
}

func granted(bound []string) string {
	if len(bound) == 0 {
		return "none"
	}
	return strings.Join(slices.Compact(slices.Sorted(slices.Values(bound))), ", ")
}

// notDelegated adds a problem when an included file has a key that none may have.
func (l *loader) notDelegated(n *strictyaml.Node, may *grant, name string) {
	if may != nil {
		l.problems.Addf(n, "%s is not for included files: this one is included at %s", name, may.at)
	}
}

// covers reports whether everything that a pattern matches is matched by one of the bounds. A star of the pattern can only be matched
// by a star of the bound, since no other part of a bound holds one.
func covers(bounds []string, pattern string) bool {
	return slices.ContainsFunc(bounds, func(bound string) bool {
		g := newGlob(bound)
		return g.match(pattern)
	})
}

// checkReach compares the conditions of an included rule with what its file may do.
func (l *loader) checkReach(r *ruleText, e entry, d *defaults) {
	c := &r.conditions
	at := func(key string) *strictyaml.Node { return e.Value.Get(key) }
	each := func(key string, patterns, bound []string) {
		for _, text := range patterns {
			l.within(at(key), r.may, key, text, bound)
		}
	}
	models := slices.Clone(r.may.list(mayModels))
	for _, text := range models {
		models = append(models, l.unalias(text))
	}
	each("models", c.models, models)
	if n := at("headers"); n != nil {
		l.notDelegated(n, r.may, "headers")
	}
	each("endpoints", c.endpoints, r.may.list(mayEndpoints))
	if r.Effect == Deny {
		if r.Models == nil && r.Endpoints == nil {
			l.problems.Addf(e.Key, "a deny rule of an included file needs models or endpoints: without them it denies everything")
		}
		return
	}
	or := func(which int, preset []string) []string {
		if list := r.may.list(which); list != nil {
			return list
		}
		return preset
	}
	if bound := or(mayPublishers, d.publishers); bound != nil {
		each("publishers", c.publishers, bound)
	}
	each("projects", c.projects, or(mayProjects, d.projects))
	for _, text := range c.methods {
		// As in rules themselves, no pattern, group or default stands for a call beyond inference.
		if bound := r.may.list(mayMethods); !l.isSurface(text) {
			l.within(at("methods"), r.may, "methods", text, or(mayMethods, d.methods))
		} else if !slices.Contains(bound, text) {
			l.addReach(at("methods"), r.may, "methods", text, bound)
		}
	}
	bound := or(mayLocations, d.locations)
	for _, text := range c.locations {
		if matchLocations(text)&^locationsOf(bound) != 0 || bound == nil {
			l.addReach(at("locations"), r.may, "locations", text, bound)
		}
	}
	if r.rewriteAt != nil {
		l.within(r.rewriteAt, r.may, "model", r.Duties.Rewrite, models)
	}
}

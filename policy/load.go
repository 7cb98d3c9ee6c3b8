package policy

import (
	"path/filepath"
	"strings"

	"vertex-spoa/policy/strictyaml"
)

const (
	notEnforced = "is not enforced by this version"

	maxIssuers = 100
	maxRoles   = 10_000
	maxRules   = 100_000
)

// Load reads the policy in dir: every file *.yaml in it and in its folders but those named *_test.yaml, in byte order of their names
// relative to dir. Hidden files and folders and files with other endings are not read; a folder filled by Kubernetes is read as it was at one moment.
// When the policy is not right the error is a *strictyaml.Error with everything that is wrong.
func Load(dir string) (*Policy, error) {
	files, err := readFiles(dir)
	if err != nil {
		return nil, err
	}
	return compile(dir, files)
}

// compile makes a policy of files, whose names it shows as standing in dir.
func compile(dir string, files []file) (*Policy, error) {
	l := newLoader(dir)
	model := l.load(files)
	var policy *Policy
	if l.problems.Len() == 0 {
		policy = newPolicy(model, &l.problems)
	}
	if err := l.problems.Err(); err != nil {
		return nil, err
	}
	policy.digest = digest(files)
	policy.model = model
	model.forgetNodes()
	policy.tellClaims()
	return policy, nil
}

// loader gathers the sections of all files first and reads them then, since each may refer to what stands in a later file.
type loader struct {
	dir      string
	problems strictyaml.Problems

	version  bool
	defaults *strictyaml.Node
	includes []*include

	projects  section
	endpoints section
	aliases   section
	guards    section
	issuers   section
	roles     section
	rules     section

	byNumber map[string]string // the project's id
	surfaces map[string]bool   // SurfaceMethods, once they are asked for
	model    Model
}

func newLoader(dir string) *loader {
	label := func(l *loader, e strictyaml.Entry, what string) bool {
		return l.checkName(e, isLabel(e.Name()), "cannot name one of the "+what+"s: write up to 64 letters, digits, dots, dashes and underscores")
	}
	return &loader{
		dir:       dir,
		projects:  section{what: "project", check: checkProjectName},
		endpoints: section{what: "endpoint", check: checkEndpointName},
		aliases:   section{what: "alias", check: checkAliasName},
		guards:    section{what: "guard", check: label},
		issuers:   section{what: "issuer", check: label},
		roles:     section{what: "role", check: label},
		rules:     section{what: "rule", check: label},
	}
}

func (l *loader) checkName(e strictyaml.Entry, ok bool, refusal string) bool {
	if !ok {
		l.problems.Addf(e.Key, "%s %s", strictyaml.Quote(e.Name()), refusal)
	}
	return ok
}

// load reads files into a model. The model is whole only if there were no problems.
func (l *loader) load(files []file) *Model {
	documents, whole := l.parse(files)
	for i := range documents {
		l.findIncludes(&documents[i])
	}
	for i := range documents {
		d := &documents[i]
		d.may = l.grantOf(d)
		whole = documentTable.read(l, d.root, d) && whole
	}
	l.checkIncludes(files)
	// Where a part could not be read at all, what refers to it would only seem to be wrong.
	if whole {
		l.check()
		l.read()
	}
	return &l.model
}

// parse returns the documents of files, without those that are none, and whether all are.
func (l *loader) parse(files []file) (list []document, whole bool) {
	names, texts := make([]string, len(files)), make([][]byte, len(files))
	for i, f := range files {
		names[i], texts[i] = filepath.Join(l.dir, filepath.FromSlash(f.name)), f.data
	}
	roots := strictyaml.ParseAll(names, texts, &l.problems)
	for i, f := range files {
		if roots[i] != nil {
			list = append(list, document{name: f.name, root: roots[i]})
		}
	}
	return list, len(list) == len(files)
}

// section is one of the mappings with free names, united over all files.
type section struct {
	what    string
	check   func(l *loader, e strictyaml.Entry, what string) bool // adds a problem when e cannot be so named
	broken  bool                                                  // something in it was refused already
	entries []entry
	place   map[string]int // by name, in entries
}

// entry is an entry of a section, with what its file may do; may is nil for the policy's own files.
type entry struct {
	strictyaml.Entry
	may *grant
}

// document is one file.
type document struct {
	name string // relative to the policy's folder, with slashes
	root *strictyaml.Node
	may  *grant // nil for the policy's own files
}

func (l *loader) readVersion(n *strictyaml.Node) {
	l.version = true // what it says is judged here
	if text, ok := n.Text(&l.problems); ok && text != "1" {
		l.problems.Addf(n, "version %s of the language is not known: write version: 1", strictyaml.Quote(text))
	}
}

func (l *loader) addDefaults(n *strictyaml.Node) {
	if l.defaults != nil {
		l.problems.Addf(n, "defaults stand in one file only: they stand at %s already", l.defaults.Position())
		return
	}
	l.defaults = n
}

func (l *loader) add(s *section, n *strictyaml.Node, d *document) {
	if s.place == nil {
		s.place = map[string]int{}
	}
	before := l.problems.Len()
	for _, e := range n.Entries(&l.problems) {
		first, defined := s.place[e.Name()]
		switch {
		case !s.check(l, e, s.what):
		case defined:
			l.problems.Addf(e.Key, "%s %s is defined twice: it stands at %s already", s.what, strictyaml.Quote(e.Name()), s.entries[first].Key.Position())
		default:
			s.place[e.Name()] = len(s.entries)
			s.entries = append(s.entries, entry{e, d.may})
		}
	}
	s.broken = s.broken || l.problems.Len() > before
}

func (s *section) names() []string {
	names := make([]string, len(s.entries))
	for i, e := range s.entries {
		names[i] = e.Name()
	}
	return names
}

// find returns the place of a name that stands at n.
func (s *section) find(p *strictyaml.Problems, n *strictyaml.Node, name string) (int, bool) {
	i, ok := s.place[name]
	if !ok {
		p.Addf(n, "unknown %s %s%s", s.what, strictyaml.Quote(name), strictyaml.Suggest(name, s.names()))
	}
	return i, ok
}

// check adds problems for what is missing or too much in the policy as a whole.
func (l *loader) check() {
	if !l.version {
		l.problems.AddFile(l.dir, "missing key \"version\": write version: 1 into each file")
	}
	for _, s := range []struct {
		*section
		most int
	}{{&l.issuers, maxIssuers}, {&l.roles, maxRoles}, {&l.rules, maxRules}} {
		switch {
		case len(s.entries) == 0 && !s.broken:
			l.problems.AddFile(l.dir, "the policy has no %ss", s.what)
		case len(s.entries) > s.most:
			l.problems.AddFile(l.dir, "the policy has more than %d %ss", s.most, s.what)
		}
	}
}

// read reads the gathered sections, each after those it refers to.
func (l *loader) read() {
	l.readProjects()
	d := l.readDefaults()
	l.model.Project, l.model.Location, l.model.RefuseRouting = d.project, d.location, d.routing == "refused"
	l.readEndpoints()
	l.readAliases()
	l.readGuards()
	for _, e := range l.issuers.entries {
		l.model.Issuers = append(l.model.Issuers, l.readIssuer(e, l.model.Issuers))
	}
	for _, e := range l.roles.entries {
		l.model.Roles = append(l.model.Roles, l.readRole(e, d.project))
	}
	l.model.Rules = make([]Rule, 0, len(l.rules.entries))
	for _, e := range l.rules.entries {
		l.readRule(e, d)
	}
	l.checkOverrides()
	sortRoles(l.model.Roles)
}

// isLabel reports whether s can name an issuer, a role or a rule: these names reach headers, log lines and metric labels.
func isLabel(s string) bool {
	if s == "" || len(s) > 64 || !isAlnum(s[0]) {
		return false
	}
	for i := range len(s) {
		if !isAlnum(s[i]) && strings.IndexByte("._-", s[i]) < 0 {
			return false
		}
	}
	return true
}

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
	l := loader{
		dir:     dir,
		issuers: section{what: "issuer"}, roles: section{what: "role"}, rules: section{what: "rule"},
	}
	whole := true
	for _, f := range files {
		root := strictyaml.Parse(filepath.Join(dir, filepath.FromSlash(f.name)), f.data, &l.problems)
		whole = root != nil && l.file(root) && whole
	}
	// Where a part could not be read at all, what refers to it would only seem to be wrong.
	var policy *Policy
	if whole {
		l.check()
		policy = l.policy()
	}
	if err := l.problems.Err(); err != nil {
		return nil, err
	}
	policy.digest = digest(files)
	return policy, nil
}

// loader gathers the sections of all files first and reads them then, since each may refer to what stands in a later file.
type loader struct {
	dir      string
	problems strictyaml.Problems

	version  bool
	defaults *strictyaml.Node
	issuers  section
	roles    section
	rules    section
}

// section is one of the mappings issuers, roles and rules, united over all files.
type section struct {
	what    string
	broken  bool // something in it was refused already
	entries []strictyaml.Entry
	place   map[string]int // by name, in entries
}

// file adds what stands in one file. It returns false when that is not even a mapping.
func (l *loader) file(root *strictyaml.Node) bool {
	return root.Object(&l.problems, append([]strictyaml.Field{
		{Name: "version", Read: l.readVersion},
		{Name: "defaults", Read: l.addDefaults},
		{Name: "issuers", Read: func(n *strictyaml.Node) { l.add(&l.issuers, n) }},
		{Name: "roles", Read: func(n *strictyaml.Node) { l.add(&l.roles, n) }},
		{Name: "rules", Read: func(n *strictyaml.Node) { l.add(&l.rules, n) }},
	}, later("include", "aliases", "guards", "limits", "projects", "endpoints", "audit")...))
}

// later returns fields for keys of the language that this version knows and does not enforce. Reading on without them would leave a
// caller with more than the policy says.
func later(names ...string) []strictyaml.Field {
	fields := make([]strictyaml.Field, len(names))
	for i, name := range names {
		fields[i] = strictyaml.Field{Name: name, Refused: notEnforced}
	}
	return fields
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

func (l *loader) add(s *section, n *strictyaml.Node) {
	if s.place == nil {
		s.place = map[string]int{}
	}
	before := l.problems.Len()
	defer func() { s.broken = s.broken || l.problems.Len() > before }()
	for _, e := range n.Entries(&l.problems) {
		name := e.Name()
		first, defined := s.place[name]
		switch {
		case !isLabel(name):
			l.problems.Addf(e.Key, "%s cannot name one of the %ss: write up to 64 letters, digits, dots, dashes and underscores", strictyaml.Quote(name), s.what)
		case defined:
			l.problems.Addf(e.Key, "%s %s is defined twice: it stands at %s already", s.what, strictyaml.Quote(name), s.entries[first].Key.Position())
		default:
			s.place[name] = len(s.entries)
			s.entries = append(s.entries, e)
		}
	}
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

// policy reads the gathered sections. The result is whole only if there were no problems.
func (l *loader) policy() *Policy {
	d := l.readDefaults()
	p := &Policy{callers: map[string]*callers{}, project: d.project, location: d.location}
	for _, e := range l.issuers.entries {
		p.issuers = append(p.issuers, l.readIssuer(e, p.issuers))
		p.callers[e.Name()] = &callers{}
	}
	for i, e := range l.roles.entries {
		p.roles = append(p.roles, l.readRole(e, i, d.project, p.callers))
	}
	for _, e := range l.rules.entries {
		if r, names := l.readRule(e, &d); r != nil {
			p.post(r, names)
		}
	}
	p.sort()
	return p
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

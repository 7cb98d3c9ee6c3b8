package policy

import (
	"strings"
	"time"

	"vertex-spoa/policy/strictyaml"
)

const (
	scopePrefix   = "https://www.googleapis.com/auth/"
	cloudPlatform = scopePrefix + "cloud-platform"

	accountDomain = ".iam.gserviceaccount.com"
)

// readRole reads one entry of `roles`, the number-th, and adds the ways to have it to callers.
func (l *loader) readRole(e strictyaml.Entry, number int, project string, callers map[string]*callers) role {
	p := &l.problems
	r := role{name: e.Name(), scopes: []string{cloudPlatform}, lifetime: time.Hour}
	e.Value.Object(p, append([]strictyaml.Field{
		{Name: "as", Required: true, Read: func(n *strictyaml.Node) { r.account, _ = l.readAccount(n, project) }},
		{Name: "who", Required: true, Read: func(n *strictyaml.Node) { l.readWho(n, number, callers) }},
		{Name: "token", Read: func(n *strictyaml.Node) { r.lifetime, _ = n.Duration(p, 5*time.Minute, 12*time.Hour) }},
		{Name: "scopes", Read: func(n *strictyaml.Node) { r.scopes = l.readScopes(n) }},
		{Name: "delegates", Read: func(n *strictyaml.Node) {
			for _, item := range n.Items(p) {
				if account, ok := l.readAccount(item, project); ok {
					r.delegates = append(r.delegates, account)
				}
			}
		}},
		{Name: "project", Read: func(n *strictyaml.Node) { r.userProject = l.readProject(n) }},
	}, later("priority")...))
	return r
}

// readAccount reads a service account: its e-mail, or the name before the @ for an account of the default project.
func (l *loader) readAccount(n *strictyaml.Node, project string) (string, bool) {
	text, ok := n.Text(&l.problems)
	if !ok {
		return "", false
	}
	name, domain, full := strings.Cut(text, "@")
	switch {
	case !isName(name, "-") || len(name) > 63 || full && !isAccountDomain(domain):
		l.problems.Addf(n, "%s is not a service account: write its name, or its e-mail …@….gserviceaccount.com", strictyaml.Quote(text))
		return "", false
	case full:
		return text, true
	case project == "" || isNumber(project):
		l.problems.Addf(n, "%s is a short name: write the full e-mail, or an id as project in the defaults", strictyaml.Quote(text))
		return "", false
	}
	return name + "@" + project + accountDomain, true
}

func isAccountDomain(s string) bool {
	rest, ok := strings.CutSuffix(s, ".gserviceaccount.com")
	for label := range strings.SplitSeq(rest, ".") {
		ok = ok && isName(label, "-")
	}
	return ok && len(s) <= 200
}

// readScopes reads OAuth scopes of Google, written in full or as their last part.
func (l *loader) readScopes(n *strictyaml.Node) []string {
	var list []string
	for _, item := range n.Items(&l.problems) {
		text, ok := item.Text(&l.problems)
		if !ok {
			continue
		}
		short := strings.TrimPrefix(text, scopePrefix)
		if !isName(short, "._-") {
			l.problems.Addf(item, "%s is not a scope such as cloud-platform or %s", strictyaml.Quote(text), cloudPlatform)
			continue
		}
		list = append(list, scopePrefix+short)
	}
	return list
}

// readWho reads the ways to have a role: one mapping from issuers to claims, or several, of which any may hold.
func (l *loader) readWho(n *strictyaml.Node, number int, callers map[string]*callers) {
	p := &l.problems
	for _, item := range n.Items(p) {
		issuers := item.Entries(p)
		if len(issuers) == 0 && item.Kind == strictyaml.Mapping {
			p.Addf(item, "no issuer: write one with the claims its callers must have")
		}
		for _, e := range issuers {
			_, known := l.issuers.find(p, e.Key, e.Name())
			claims := l.readClaims(e.Value)
			if known {
				callers[e.Name()].add(way{number, claims})
			}
		}
	}
}

// readClaims reads claims that have to hold together.
func (l *loader) readClaims(n *strictyaml.Node) []claim {
	p := &l.problems
	var claims []claim
	entries := n.Entries(p)
	if len(entries) == 0 && n.Kind == strictyaml.Mapping {
		p.Addf(n, "no claim: for every caller of the issuer write sub: \"*\"")
	}
	for _, e := range entries {
		c := claim{name: e.Name()}
		texts, ok := e.Value.Texts(p)
		for _, text := range texts {
			c.values = append(c.values, newGlob(text))
		}
		if ok {
			claims = append(claims, c)
		}
	}
	return claims
}

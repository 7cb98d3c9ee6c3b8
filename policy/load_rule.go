package policy

import (
	"cmp"
	"slices"
	"strings"
	"unicode"

	"vertex-spoa/policy/strictyaml"
)

// readRule reads one entry of `rules`. names are the roles it allows or denies. The rule is nil after a problem.
func (l *loader) readRule(e strictyaml.Entry, d *defaults) (*rule, roleNames) {
	p, before := &l.problems, l.problems.Len()
	r := &rule{name: e.Name()}
	var allow, deny roleNames
	c := conditions{loader: l}
	e.Value.Object(p, slices.Concat([]strictyaml.Field{
		{Name: "allow", Read: func(n *strictyaml.Node) { allow = l.readRoles(n) }},
		{Name: "deny", Read: func(n *strictyaml.Node) { deny = l.readRoles(n) }},
		{Name: "except", Read: func(n *strictyaml.Node) { r.except = l.readExcept(n) }},
		{Name: "because", Read: func(n *strictyaml.Node) { r.because = l.readBecause(n) }},
	}, c.fields(), later("when", "body", "active", "mode", "limit", "guard", "route", "rewrite", "headers", "audit", "breakglass")))
	switch {
	case p.Len() > before:
	case allow.at == nil && deny.at == nil:
		p.Addf(e.Key, "neither allow nor deny: write one of them, with the roles it is for")
	case allow.at != nil && deny.at != nil:
		p.Addf(deny.at, "both allow and deny: make two rules of them")
	}
	if p.Len() > before {
		return nil, roleNames{}
	}
	r.deny = deny.at != nil
	if r.deny {
		c.intoDeny(r)
		return r, deny
	}
	c.intoAllow(r, e.Key, d)
	return r, allow
}

// roleNames are the roles of an allow or deny rule.
type roleNames struct {
	at    *strictyaml.Node // nil when the rule has no such key
	every bool
	roles []int
}

func (l *loader) readRoles(n *strictyaml.Node) roleNames {
	names := roleNames{at: n}
	for _, item := range n.Items(&l.problems) {
		text, ok := item.Text(&l.problems)
		if !ok {
			continue
		}
		if text == "*" {
			names.every = true
		} else if i, ok := l.roles.find(&l.problems, item, text); ok && !slices.Contains(names.roles, i) {
			names.roles = append(names.roles, i)
		}
	}
	return names
}

func (l *loader) readExcept(n *strictyaml.Node) []int {
	names := l.readRoles(n)
	if names.every {
		l.problems.Addf(n, "except names single roles: \"*\" would leave the rule without callers")
	}
	return names.roles
}

// readBecause reads a text that clients may see.
func (l *loader) readBecause(n *strictyaml.Node) string {
	const most = 200
	text, ok := n.Text(&l.problems)
	if ok && (len(text) > most || strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) })) {
		l.problems.Addf(n, "because is one printable line of at most %d bytes", most)
	}
	return text
}

// post gives the rule to its roles.
func (p *Policy) post(r *rule, names roleNames) {
	switch {
	case names.every && r.deny:
		p.denies = append(p.denies, r)
	case names.every:
		p.allows = append(p.allows, r)
	default:
		for _, i := range names.roles {
			role := &p.roles[i]
			if r.deny {
				role.denies = append(role.denies, r)
			} else {
				role.allows = append(role.allows, r)
			}
		}
	}
}

// sort orders the rules by name, so that the one that is reported does not depend on where it stands.
func (p *Policy) sort() {
	byName := func(a, b *rule) int { return cmp.Compare(a.name, b.name) }
	slices.SortFunc(p.allows, byName)
	slices.SortFunc(p.denies, byName)
	for i := range p.roles {
		slices.SortFunc(p.roles[i].allows, byName)
		slices.SortFunc(p.roles[i].denies, byName)
	}
}

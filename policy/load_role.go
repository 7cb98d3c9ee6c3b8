package policy

import (
	"cmp"
	"slices"
	"strings"
	"time"

	"vertex-spoa/policy/strictyaml"
)

const (
	scopePrefix   = "https://www.googleapis.com/auth/"
	cloudPlatform = scopePrefix + "cloud-platform"

	accountDomain = ".iam.gserviceaccount.com"

	maxTokenLifetime = 12 * time.Hour
)

// roleText is a role that is being read.
type roleText struct {
	Role
	project string // the default one
	may     *grant
}

// whoShape is claims by issuer.
var whoShape = valueShape{
	kind: dictionaryShape, hint: "by issuer: claims with one value or a list", names: labelPattern, minKeys: 1,
	element: &valueShape{kind: dictionaryShape, minKeys: 1, element: several(valueShape{kind: textShape, scalar: true})},
}

var roleTable = newTable(
	custom("as", "The service account, by its e-mail, or by the name before the @ for one of the default project.",
		textOf("a service account", "vx-search"),
		func(l *loader, n *strictyaml.Node, r *roleText) { r.Account = l.readAccount(n, r) }),
	custom("who",
		"Whose role it is: claims by issuer, all of which must match. Of a list of such mappings one has to. Values may be lists, and patterns.",
		severalOf(whoShape), readWho).must(),
	duration("token", "How long a token of Google is valid; 1h when not written.",
		5*time.Minute, maxTokenLifetime, func(r *roleText) *time.Duration { return &r.Lifetime }),
	custom("scopes", "OAuth scopes, in full or as their last part; cloud-platform when not written.",
		severalOf(textOf("a scope", "cloud-platform.read-only")),
		func(l *loader, n *strictyaml.Node, r *roleText) {
			r.Scopes = l.readScopes(n)
			l.notDelegated(n, r.may, "scopes")
		}),
	custom("delegates", "Service accounts through which the account is reached, in their order.", severalOf(textOf("a service account")),
		func(l *loader, n *strictyaml.Node, r *roleText) {
			for _, item := range n.Elements(&l.problems) {
				if account := l.readAccount(item, r); account != "" {
					r.Delegates = append(r.Delegates, account)
				}
			}
		}),
	custom("project", "The quota project.", oneProject, func(l *loader, n *strictyaml.Node, r *roleText) {
		r.Project = l.readProject(n)
		l.within(n, r.may, "project", r.Project, r.may.projects(r.project))
	}),
	custom("priority", "Of several roles that allow a call, the one with the highest number acts; 0 when not written.",
		valueShape{kind: integerShape, least: -1000, most: 1000},
		func(l *loader, n *strictyaml.Node, r *roleText) {
			r.Priority, _ = n.Int(&l.problems, -1000, 1000)
			l.notDelegated(n, r.may, "priority")
		}),
	custom("exchange", "Exchange the caller's own token for one of Google, instead of using the agent's credentials.",
		exchangeTable.valueShape(),
		func(l *loader, n *strictyaml.Node, r *roleText) {
			r.Exchange = &Exchange{Type: "jwt", Mode: "impersonate"}
			exchangeTable.read(l, n, r.Exchange)
			l.notDelegated(n, r.may, "exchange")
		}),
)

const iamPrefix = "//iam.googleapis.com/"

var exchangeTable = newTable(
	text("audience", "The provider of the workload or workforce identity pool.", patternOf(`^//iam\.googleapis\.com/`, "a provider",
		"//iam.googleapis.com/projects/123456/locations/global/workloadIdentityPools/vertex/providers/corp"),
		func(e *Exchange) *string { return &e.Audience }, func(l *loader, n *strictyaml.Node, text string) {
			if !isPrintable(text) || !strings.HasPrefix(text, iamPrefix) || !strings.Contains(text, "/providers/") {
				l.problems.Addf(n,
					"%s is not a provider of an identity pool: write %sprojects/NUMBER/locations/global/workloadIdentityPools/POOL/providers/PROVIDER",
					strictyaml.Quote(text), iamPrefix)
			}
		}).must(),
	word("type", "What the caller's token is; jwt when not written.",
		[]string{"jwt", "id_token"}, func(e *Exchange) *string { return &e.Type }),
	word("mode", "`direct` uses the exchanged token, `impersonate` mints one of `as` with it; impersonate when not written.",
		[]string{"direct", "impersonate"},
		func(e *Exchange) *string { return &e.Mode }),
	custom("userProject", "The project that is billed, for a workforce pool.",
		oneProject, func(l *loader, n *strictyaml.Node, e *Exchange) { e.UserProject = l.readProject(n) }),
)

// readRole reads one entry of `roles`. project is the default one.
func (l *loader) readRole(e entry, project string) Role {
	r := roleText{Role: Role{Name: e.Name(), At: positionOf(e.Key), Scopes: []string{cloudPlatform}, Lifetime: time.Hour}, project: project, may: e.may}
	if !roleTable.read(l, e.Value, &r) {
		return r.Role
	}
	direct := r.Exchange != nil && r.Exchange.Mode == "direct"
	switch as := e.Value.Get("as"); {
	case direct && as != nil:
		l.problems.Addf(as, "no account is impersonated when the exchanged token is used directly: leave as out")
	case !direct && !e.Value.Has("as"):
		l.problems.Addf(e.Value, "missing key \"as\"")
	}
	l.within(e.Key, e.may, "role", r.Name, e.may.roles())
	return r.Role
}

// readAccount reads a service account. It is empty after a problem.
func (l *loader) readAccount(n *strictyaml.Node, r *roleText) string {
	text, ok := n.Text(&l.problems)
	if !ok {
		return ""
	}
	name, domain, full := strings.Cut(text, "@")
	switch {
	case !isName(name, "-") || len(name) > 63 || full && !isAccountDomain(domain):
		l.problems.Addf(n, "%s is not a service account: write its name, or its e-mail …@….gserviceaccount.com", strictyaml.Quote(text))
		return ""
	case !full && (r.project == "" || isNumber(r.project)):
		l.problems.Addf(n, "%s is a short name: write the full e-mail, or an id as project in the defaults", strictyaml.Quote(text))
		return ""
	case !full:
		text += "@" + r.project + accountDomain
	}
	l.within(n, r.may, "service account", text, r.may.accounts(r.project))
	return text
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
	for _, item := range n.Elements(&l.problems) {
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
func readWho(l *loader, n *strictyaml.Node, r *roleText) {
	p := &l.problems
	for _, item := range n.Elements(p) {
		issuers := item.Entries(p)
		if len(issuers) == 0 && item.Kind == strictyaml.Mapping {
			p.Addf(item, "no issuer: write one with the claims its callers must have")
		}
		for _, e := range issuers {
			_, known := l.issuers.find(p, e.Key, e.Name())
			claims := l.readClaims(e.Value)
			if known {
				l.within(e.Key, r.may, "issuer", e.Name(), r.may.issuers())
				r.Who = append(r.Who, Way{e.Name(), claims})
			}
		}
	}
}

// readClaims reads claims that have to hold together.
func (l *loader) readClaims(n *strictyaml.Node) []ClaimCondition {
	p := &l.problems
	entries := n.Entries(p)
	if len(entries) == 0 && n.Kind == strictyaml.Mapping {
		p.Addf(n, "no claim: for every caller of the issuer write sub: \"*\"")
	}
	claims := make([]ClaimCondition, 0, len(entries))
	for _, e := range entries {
		if texts, ok := e.Value.Texts(p); ok {
			claims = append(claims, ClaimCondition{e.Name(), texts})
		}
	}
	return claims
}

// sortRoles puts roles of a higher priority first.
func sortRoles(roles []Role) {
	slices.SortStableFunc(roles, func(a, b Role) int { return cmp.Compare(b.Priority, a.Priority) })
}

func positionOf(n *strictyaml.Node) Position { return Position{n.File(), n.Line, n.Column} }

package policy

import (
	"slices"
	"strings"
	"unicode"

	"vertex-spoa/policy/strictyaml"
)

// ruleText is a rule that is being read.
type ruleText struct {
	Rule
	conditions
	may         *grant
	allow, deny *strictyaml.Node
	percentAt   *strictyaml.Node
	rewriteAt   *strictyaml.Node
}

var ruleTable = newTable(slices.Concat([]field[ruleText]{
	custom("allow", "The roles that the rule allows, or \"*\" for every role.", severalOf(textOf("a role", "search")),
		func(l *loader, n *strictyaml.Node, r *ruleText) { r.allow = n; r.Roles = l.readRoles(n, r.may) }),
	custom("deny", "The roles that the rule denies, or \"*\" for every role. A rule has either this or `allow`.",
		severalOf(textOf("a role", "*")),
		func(l *loader, n *strictyaml.Node, r *ruleText) { r.deny = n; r.Roles = l.readRoles(n, r.may) }),
	custom("except", "Roles whose holders the rule does not concern, whatever else they hold.", severalOf(textOf("a role")),
		func(l *loader, n *strictyaml.Node, r *ruleText) { r.Except = l.readExcept(n) }),
	custom("models", "Models, by name with @version where they have one, or by alias. `*` stands for any text.",
		severalOf(textOf("a model", "gemini-2.5-*", "claude-*@2025*")),
		func(l *loader, n *strictyaml.Node, r *ruleText) { l.readModels(n, &r.conditions) }),
	texts("endpoints", "Endpoints, by id.", valueShape{kind: textShape, hint: "an endpoint", examples: []string{"1234"}, scalar: true},
		func(r *ruleText) *[]string { return &r.endpoints }, (*loader).checkEndpoint),
}, conditionFields(func(r *ruleText) *conditions { return &r.conditions }), []field[ruleText]{
	custom("when",
		"A condition in CEL over `claims`, `role`, `issuer`, `subject`, `model`, `publisher`, `location`, `project`, `endpoint`, `method`, `body`, `now` and `ip`. "+
			"Quote it, or write it as a block, where it holds `: ` or ` #`.", textOf("an expression", `claims.environment == "evals"`),
		func(l *loader, n *strictyaml.Node, r *ruleText) {
			if text, ok := n.Text(&l.problems); ok {
				r.When = &Expression{text, positionOf(n.Within(1, 0)), n}
			}
		}),
	mapping("body", "What the body of the call must be. What it does not say satisfies nothing.", bodyTable, func(r *ruleText) *BodyRule {
		r.Body = &BodyRule{}
		return r.Body
	}),
	custom("active", "When the rule holds: one window of time, or several of which one must be open.", severalOf(windowTable.valueShape()),
		func(l *loader, n *strictyaml.Node, r *ruleText) { r.Active = l.readWindows(n) }),
	custom("mode", "`enforce`, which is the default, or `shadow`: what the rule would do is reported, and changes nothing.",
		valueShape{kind: textShape, words: []string{"enforce", "shadow"}},
		func(l *loader, n *strictyaml.Node, r *ruleText) {
			if text, _ := n.Enum(&l.problems, "enforce", "shadow"); text == "shadow" {
				r.Mode = Shadow
			}
		}),
	custom("percent", "For how many of a hundred callers the rule is enforced; for the others it is in shadow.",
		valueShape{kind: integerShape, least: 1, most: 99},
		func(l *loader, n *strictyaml.Node, r *ruleText) {
			r.percentAt = n
			r.Percent, _ = n.Int(&l.problems, 1, 99)
		}),
	text("because", "Why a deny rule denies, in one line that clients may see.",
		textOf("one line"), func(r *ruleText) *string { return &r.Because }, checkBecause),
	mapping("limit", "How much may be used.", limitTable, func(r *ruleText) *Limit {
		r.Duties.Limit = &Limit{}
		return r.Duties.Limit
	}).later(),
	texts("guard", "Guards that examine the prompt.",
		textOf("a guard", "pii"), func(r *ruleText) *[]string { return &r.Duties.Guard }, (*loader).checkGuard).later(),
	mapping("route", "Where calls are sent, whatever location they ask for.", routeTable, func(r *ruleText) *Route {
		r.Duties.Route = &Route{}
		return r.Duties.Route
	}).later(),
	custom("rewrite", "What is changed in calls.", rewriteTable.valueShape(), func(l *loader, n *strictyaml.Node, r *ruleText) {
		r.rewriteAt = n
		rewriteTable.read(l, n, &r.Duties)
		r.Duties.Rewrite = l.unalias(r.Duties.Rewrite)
	}),
	mapping("headers", "The headers by which Vertex chooses between provisioned throughput and the kinds of shared capacity.",
		headersTable, func(r *ruleText) *Duties { return &r.Duties }),
	custom("audit", "What the audit line holds: `metadata`, which is the default, or `full`, which does not load yet.",
		valueShape{kind: textShape, words: []string{"metadata", "full"}}, func(l *loader, n *strictyaml.Node, r *ruleText) {
			if text, _ := n.Enum(&l.problems, "metadata", "full"); text == "full" {
				r.Duties.AuditFull = true
				l.problems.Addf(n, "\"audit: full\" %s", notEnforced)
			}
		}),
	mapping("breakglass", "The rule is for emergencies.", breakglassTable, func(r *ruleText) *Breakglass {
		r.Duties.Breakglass = &Breakglass{}
		return r.Duties.Breakglass
	}),
})...)

// readRule reads one entry of `rules` into the model.
func (l *loader) readRule(e entry, d *defaults) {
	p, before := &l.problems, l.problems.Len()
	r := ruleText{Rule: Rule{ID: e.Name(), At: positionOf(e.Key), node: e.Key, Percent: 100}, may: e.may}
	ruleTable.read(l, e.Value, &r)
	if r.deny != nil {
		l.checkDenyDuties(e)
	}
	switch {
	case p.Len() > before:
	case r.allow == nil && r.deny == nil:
		p.Addf(e.Key, "neither allow nor deny: write one of them, with the roles it is for")
	case r.allow != nil && r.deny != nil:
		p.Addf(r.deny, "both allow and deny: make two rules of them")
	case r.percentAt != nil && r.Mode == Shadow:
		p.Addf(r.percentAt, "percent is how much is enforced, and mode: shadow enforces nothing")
	}
	if p.Len() > before {
		return
	}
	if r.allow != nil {
		r.Effect = Allow
		l.intoAllow(&r, e.Key, d)
	} else {
		l.intoDeny(&r)
	}
	if e.may != nil {
		l.checkReach(&r, e, d)
	}
	l.model.Rules = append(l.model.Rules, r.Rule)
}

// readRoles reads names of roles. None are all of them.
func (l *loader) readRoles(n *strictyaml.Node, may *grant) []string {
	every := false
	names := l.readTexts(n, func(l *loader, n *strictyaml.Node, text string) {
		known := text == "*"
		if every = every || known; !known {
			_, known = l.roles.find(&l.problems, n, text)
		}
		if known {
			l.within(n, may, "role", text, may.roles())
		}
	})
	if every {
		return nil
	}
	return names
}

func (l *loader) readExcept(n *strictyaml.Node) []string {
	names := l.readRoles(n, nil)
	if names == nil {
		l.problems.Addf(n, "except names single roles: \"*\" would leave the rule without callers")
	}
	return names
}

// checkBecause judges a text that clients may see.
func checkBecause(l *loader, n *strictyaml.Node, text string) {
	const most = 200
	if len(text) > most || strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) }) {
		l.problems.Addf(n, "because is one printable line of at most %d bytes", most)
	}
}

// checkDenyDuties: duties are imposed on what is allowed.
func (l *loader) checkDenyDuties(e entry) {
	for _, name := range []string{"limit", "guard", "route", "rewrite", "headers", "audit", "breakglass"} {
		if n := e.Value.Get(name); n != nil {
			l.problems.Addf(n, "a deny rule has no %s: that is for calls that are allowed", name)
		}
	}
}

// checkOverrides judges the rules that rules for emergencies name.
func (l *loader) checkOverrides() {
	for i := range l.model.Rules {
		r := &l.model.Rules[i]
		if r.Duties.Breakglass == nil {
			continue
		}
		for _, name := range r.Duties.Breakglass.Overrides {
			l.checkOverride(r, name)
		}
	}
}

func (l *loader) checkOverride(r *Rule, name string) {
	by := l.rules.entries[l.rules.place[r.ID]]
	at := by.Value.Get("breakglass").Get("overrides")
	n, ok := l.rules.find(&l.problems, at, name)
	if !ok {
		return
	}
	denied := l.rules.entries[n]
	switch {
	case !denied.Value.Has("deny"):
		l.problems.Addf(at, "%s is not a deny rule: only those can be overridden", strictyaml.Quote(name))
	case by.may != nil && by.may != denied.may:
		l.problems.Addf(at, "an included file overrides none but its own rules, and %s stands at %s", strictyaml.Quote(name),
			denied.Key.Position())
	}
}

package policy

import (
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"vertex-spoa/policy/strictyaml"
)

var limitTable = newTable(
	custom("requests", "Calls in a time.", patternOf(ratePattern, "a number in a second, minute, hour or day", "600/min"),
		func(l *loader, n *strictyaml.Node, to *Limit) { to.Requests = l.readRate(n) }),
	custom("tokens", "Tokens of prompts and answers in a time.",
		patternOf(ratePattern, "a number in a second, minute, hour or day", "20M/day"),
		func(l *loader, n *strictyaml.Node, to *Limit) { to.Tokens = l.readRate(n) }),
	custom("concurrent", "Calls at one time.",
		valueShape{kind: integerShape, least: 1, most: 1_000_000}, func(l *loader, n *strictyaml.Node, to *Limit) {
			count, _ := n.Int(&l.problems, 1, 1_000_000)
			to.Concurrent = int64(count)
		}),
	texts("per", "What is counted apart: each `role`, `subject`, `issuer`, or value of a claim, `claims.NAME`.",
		textOf("role, subject, issuer or claims.NAME", "subject", "claims.repository"),
		func(to *Limit) *[]string { return &to.Per }, func(l *loader, n *strictyaml.Node, text string) {
			name, claim := strings.CutPrefix(text, "claims.")
			if claim && name == "" || !claim && text != "role" && text != "subject" && text != "issuer" {
				l.problems.Addf(n, "%s is none of role, subject, issuer and claims.NAME", strictyaml.Quote(text))
			}
		}),
)

// readRate reads a number in a time, such as 600/min or 20M/day.
func (l *loader) readRate(n *strictyaml.Node) Rate {
	text, ok := n.Text(&l.problems)
	if !ok {
		return Rate{}
	}
	number, unit, _ := strings.Cut(text, "/")
	per := map[string]time.Duration{"s": time.Second, "min": time.Minute, "hour": time.Hour, "day": 24 * time.Hour}[unit]
	factor := int64(1)
	for suffix, f := range map[string]int64{"k": 1e3, "M": 1e6, "G": 1e9} {
		if rest, ok := strings.CutSuffix(number, suffix); ok {
			number, factor = rest, f
			break
		}
	}
	count, err := strconv.ParseInt(number, 10, 64)
	if err != nil || count < 1 || count > 1e9 || strconv.FormatInt(count, 10) != number || per == 0 {
		l.problems.Addf(n, "%s is not a number in a time such as 600/min or 20M/day: k, M, G; s, min, hour, day", strictyaml.Quote(text))
		return Rate{}
	}
	return Rate{count * factor, per}
}

var routeTable = newTable(
	text("location", "Where calls are sent.",
		textOf("a location", "europe-west4"), func(r *Route) *string { return &r.Location }, (*loader).checkLocation).must(),
	texts("fallback", "Where they are sent when that fails.",
		textOf("a location", "europe-west1"), func(r *Route) *[]string { return &r.Fallback }, (*loader).checkLocation),
)

var rewriteTable = newTable(
	text("model", "The model that is called in place of the one asked for. Deny rules are asked about both.",
		textOf("a model or an alias", "gemini-2.5-flash"),
		func(d *Duties) *string { return &d.Rewrite }, func(l *loader, n *strictyaml.Node, text string) {
			if !isModel(text) {
				l.problems.Addf(n, "%s is not the name of a model: write one lower-case name without the publisher, with @version where it has one",
					strictyaml.Quote(text))
			}
		}).must(),
)

var breakglassTable = newTable(
	custom("reason", "`required`: a caller has to say why, and the reason is in the audit line.",
		valueShape{kind: textShape, words: []string{"required"}},
		func(l *loader, n *strictyaml.Node, _ *Breakglass) { n.Enum(&l.problems, "required") }).must(),
	text("alert", "Whom to tell.", textOf("a name", "oncall-security"), func(b *Breakglass) *string { return &b.Alert }, nil).later(),
	texts("overrides", "Deny rules that do not hold where this rule allows.",
		textOf("a deny rule"), func(b *Breakglass) *[]string { return &b.Overrides }, nil),
)

// The words of the headers that choose a tier.
var (
	requestTypes       = []string{"dedicated", "shared"}
	sharedRequestTypes = []string{"priority", "flex"}
)

const (
	requestTypeHeader       = "X-Vertex-AI-LLM-Request-Type"
	sharedRequestTypeHeader = "X-Vertex-AI-LLM-Shared-Request-Type"
)

var headersTable = newTable(
	custom("set", "Headers that are sent, whatever the caller asks for.", tierShape(func(s valueShape) valueShape { return s }), readTier),
	custom("may", "What a caller may ask for in these headers; what it may not is refused.", tierShape(severalOf), readTierChoice),
)

func tierShape(of func(valueShape) valueShape) valueShape {
	return valueShape{kind: mappingShape, minKeys: 1, keys: []key{
		{name: requestTypeHeader, doc: "Provisioned throughput or shared capacity.", shape: of(valueShape{kind: textShape,
			words: requestTypes})},
		{name: sharedRequestTypeHeader, doc: "The kind of shared capacity.", shape: of(valueShape{kind: textShape,
			words: sharedRequestTypes})},
	}}
}

func readTier(l *loader, n *strictyaml.Node, d *Duties) {
	l.eachHeader(n, func(n *strictyaml.Node) { d.Tier.RequestType, _ = n.Enum(&l.problems, requestTypes...) },
		func(n *strictyaml.Node) { d.Tier.SharedRequestType, _ = n.Enum(&l.problems, sharedRequestTypes...) })
}

func readTierChoice(l *loader, n *strictyaml.Node, d *Duties) {
	each := func(to *[]string, allowed []string) func(*strictyaml.Node) {
		return func(n *strictyaml.Node) {
			for _, item := range n.Elements(&l.problems) {
				if text, ok := item.Enum(&l.problems, allowed...); ok {
					*to = append(*to, text)
				}
			}
		}
	}
	l.eachHeader(n, each(&d.TierMay.RequestType, requestTypes), each(&d.TierMay.SharedRequestType, sharedRequestTypes))
}

// eachHeader calls the reader of each header that is there. Their names are compared as HTTP does.
func (l *loader) eachHeader(n *strictyaml.Node, requestType, sharedRequestType func(*strictyaml.Node)) {
	seen := map[string]bool{}
	for _, e := range n.Entries(&l.problems) {
		name := strings.ToLower(e.Name())
		switch {
		case seen[name]:
			l.problems.Addf(e.Key, "header %s stands twice", strictyaml.Quote(e.Name()))
		case strings.EqualFold(name, requestTypeHeader):
			requestType(e.Value)
		case strings.EqualFold(name, sharedRequestTypeHeader):
			sharedRequestType(e.Value)
		default:
			l.problems.Addf(e.Key, "header %s %s", strictyaml.Quote(e.Name()), notEnforced)
		}
		seen[name] = true
	}
	if len(seen) == 0 && n.Kind == strictyaml.Mapping {
		l.problems.Addf(n, "no header: write %s or %s", requestTypeHeader, sharedRequestTypeHeader)
	}
}

// guard is one entry of `guards`.
type guard struct {
	builtin, match, in []string
	action             string
}

// builtinGuards need no entry.
var builtinGuards = []string{"pii", "injection"}

var guardTable = newTable(
	words("builtin", "What is looked for, of what is known.",
		[]string{"credit_card", "iban", "email", "phone", "ip_address"}, func(g *guard) *[]string { return &g.builtin }),
	texts("match", "Regular expressions (RE2) of what is looked for.",
		textOf("a regular expression"), func(g *guard) *[]string { return &g.match },
		func(l *loader, n *strictyaml.Node, text string) {
			if _, err := regexp.Compile(text); err != nil {
				l.problems.Addf(n, "%s is not a regular expression: %v", strictyaml.Quote(text), err)
			}
		}),
	words("in", "Where it is looked for.", []string{"user", "system", "toolOutput"}, func(g *guard) *[]string { return &g.in }),
	word("action", "What happens when it is found.", []string{"deny", "flag"}, func(g *guard) *string { return &g.action }),
)

func (l *loader) readGuards() {
	for _, e := range l.guards.entries {
		var g guard
		if guardTable.read(l, e.Value, &g) && g.builtin == nil && g.match == nil {
			l.problems.Addf(e.Key, "neither builtin nor match: write what the guard looks for")
		}
	}
}

func (l *loader) checkGuard(n *strictyaml.Node, name string) {
	if _, ok := l.guards.place[name]; !ok && !slices.Contains(builtinGuards, name) {
		l.problems.Addf(n, "unknown guard %s%s", strictyaml.Quote(name), strictyaml.Suggest(name, append(l.guards.names(),
			builtinGuards...)))
	}
}

// limits is the section `limits`.
type limits struct {
	Limit
	cost, onStoreDown string
}

var limitsTable = newTable(
	text("cost", "What a call costs, in CEL.",
		textOf("an expression", "tokens.input + tokens.output*6 + tokens.cached/10"), func(s *limits) *string { return &s.cost }, nil),
	word("onStoreDown", "What happens while the store of limits cannot be reached.",
		[]string{"deny", "local"}, func(s *limits) *string { return &s.onStoreDown }),
	custom("requests", "Calls in a time.",
		patternOf(ratePattern, "a number in a time", "600/min"),
		func(l *loader, n *strictyaml.Node, to *limits) { to.Requests = l.readRate(n) }),
	custom("tokens", "Tokens in a time.",
		patternOf(ratePattern, "a number in a time", "20M/day"),
		func(l *loader, n *strictyaml.Node, to *limits) { to.Tokens = l.readRate(n) }),
)

// audit is the section `audit`.
type audit struct{ mask []string }

var auditTable = newTable(
	texts("mask", "Fields whose values audit lines do not show.",
		textOf("a field", "claims.email"), func(a *audit) *[]string { return &a.mask }, nil),
)

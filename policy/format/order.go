package format

import (
	"slices"
	"strings"

	"vertex-spoa/policy/strictyaml"
)

// order is the keys of the mappings that have fixed ones, by their paths, in the order in which they are written. In a path X stands for
// a free name; elements of a list stand at the list's own path.
type order map[string][]string

// orderOf returns the order of keys for a file of that name.
func orderOf(name string) order {
	if isTest(name) {
		return testOrder()
	}
	return PolicyKeys()
}

func isTest(name string) bool { return strings.HasSuffix(name, "_test.yaml") }

// PolicyKeys returns the keys of a policy's files in the order in which they are written, by the paths of their mappings. In a path X
// stands for a free name. The result is the caller's own.
func PolicyKeys() map[string][]string {
	tiers := []string{"X-Vertex-AI-LLM-Request-Type", "X-Vertex-AI-LLM-Shared-Request-Type"}
	bounds := []string{"min", "max"}
	return map[string][]string{
		"": {"version", "include", "defaults", "issuers", "projects", "endpoints", "aliases", "roles", "rules", "guards", "limits", "audit"},

		"include":     {"path", "may"},
		"include.may": {"roles", "as", "issuers", "models", "publishers", "endpoints", "projects", "locations", "methods"},
		"defaults":    {"project", "projects", "locations", "methods", "publishers", "routing"},

		"issuers.X": {"url", "profile", "audience", "singleAudience", "algorithms", "jwks", "header", "leeway", "maxAge", "maxLifetime", "maxStale",
			"require", "map", "claims", "tenants", "clients", "introspect", "ca", "proxy", "tokenFile", "certificate"},
		"issuers.X.jwks":        {"url", "file", "inline"},
		"issuers.X.map":         {"subject", "groups", "email"},
		"issuers.X.introspect":  {"url", "clientID", "clientSecretFile", "ca", "cacheFor", "opaque"},
		"issuers.X.certificate": {"trustDomains", "dns", "subject", "ca"},

		"endpoints.X":      {"host", "project", "location"},
		"roles.X":          {"as", "who", "token", "scopes", "delegates", "project", "priority", "exchange"},
		"roles.X.exchange": {"audience", "type", "mode", "userProject"},

		"rules.X": {"allow", "deny", "except", "models", "publishers", "endpoints", "projects", "locations", "methods", "when", "body", "active",
			"mode", "percent", "because", "limit", "guard", "route", "rewrite", "headers", "audit", "breakglass"},
		"rules.X.body": {"maxOutputTokens", "temperature", "candidateCount", "tools", "systemInstruction", "safetySettings", "mediaTypes",
			"maxBytes"},
		"rules.X.body.maxOutputTokens": bounds,
		"rules.X.body.temperature":     bounds,
		"rules.X.body.candidateCount":  bounds,
		"rules.X.body.safetySettings":  {"min"},
		"rules.X.active":               {"days", "hours", "tz", "from", "until"},
		"rules.X.limit":                {"requests", "tokens", "concurrent", "per"},
		"rules.X.route":                {"location", "fallback"},
		"rules.X.rewrite":              {"model"},
		"rules.X.headers":              {"set", "may"},
		"rules.X.headers.set":          tiers,
		"rules.X.headers.may":          tiers,
		"rules.X.breakglass":           {"reason", "alert", "overrides"},

		"guards.X": {"builtin", "match", "in", "action"},
		"limits":   {"cost", "onStoreDown", "requests", "tokens"},
		"audit":    {"mask"},
	}
}

// testOrder is the keys of files of tests: what is given, and then what is wanted.
func testOrder() order {
	return order{
		"":      {"at", "callers", "tests"},
		"tests": {"name", "as", "call", "role", "reason", "at", "ip", "id", "headers", "body", "want", "account", "uri", "shadow"},
	}
}

// sort puts the keys of mappings into their order. Free names stay in theirs; unknown keys come last.
func (n *node) sort(by order, path string) {
	keys, fixed := by[path]
	if fixed && n.kind == strictyaml.Mapping {
		rank := func(e *entry) int {
			if i := slices.Index(keys, e.key.text); i >= 0 {
				return i
			}
			return len(keys)
		}
		slices.SortStableFunc(n.entries, func(a, b *entry) int { return rank(a) - rank(b) })
	}
	for _, e := range n.entries {
		switch {
		case n.kind == strictyaml.List:
			e.value.sort(by, path)
		case fixed:
			e.value.sort(by, strings.TrimPrefix(path+"."+e.key.text, "."))
		default:
			e.value.sort(by, path+".X")
		}
	}
}

package policy

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// The sample calls and callers of property tests and fuzzing.
func sampleCalls(t testing.TB) []Call {
	var calls []Call
	add := func(target string) { calls = append(calls, parsed(t, target)) }
	for _, project := range []string{"acme-ai", "acme-ml", "424242", "Acme-ai"} {
		for _, location := range []string{"europe-west1", "us-central1", "global"} {
			parent := "/v1/projects/" + project + "/locations/" + location
			for _, m := range []string{"google/models/gemini-2.5-flash", "google/models/gemini-2.5-flash@001", "google/models/text-embedding-005", "anthropic/models/claude-opus-4@20250514", "anthropic/models/count-tokens", "google/models/gemini-3-preview"} {
				for _, verb := range []string{"generateContent", "streamGenerateContent", "predict", "rawPredict"} {
					add(parent + "/publishers/" + m + ":" + verb)
				}
			}
			for _, e := range []string{"123:predict", "mg-1:generateContent", "openapi/chat/completions", "openapi/embeddings"} {
				add(parent + "/endpoints/" + e)
			}
		}
	}
	add("/v1/publishers/google/models")
	add("/v1/publishers/google/models/gemini-2.5-flash")
	return calls
}

func sampleCallers() []Caller {
	var callers []Caller
	for _, issuer := range []string{"corp", "k8s", "none"} {
		for _, groups := range []any{nil, "g0", []any{"g1"}, []any{"g0", "g2"}, []any{"g3", "g1", "x"}, []any{int64(7), true}} {
			callers = append(callers, Caller{Issuer: issuer, Claims: map[string]any{"groups": groups, "level": int64(5), "sub": "me"}})
		}
	}
	return callers
}

// A spec is a policy as the language's meaning is told: plain texts, and no index or table.
type spec struct {
	roles []specRole
	rules []specRule
}

type specRole struct {
	name string
	who  []specWay
}

type specWay struct {
	issuer string
	claims map[string][]string
}

type specRule struct {
	name                                                                         string
	deny                                                                         bool
	roles, except, models, publishers, endpoints, projects, locations, methodsOf []string
}

func (s *spec) yaml() string {
	var b strings.Builder
	b.WriteString("version: 1\ndefaults: { project: acme-ai, locations: [europe-west1, global], methods: [generate, list] }\nissuers:\n")
	b.WriteString("  corp: { url: https://corp.example, audience: a }\n  k8s: { url: https://k8s.example, audience: a }\nroles:\n")
	for _, r := range s.roles {
		fmt.Fprintf(&b, "  %s:\n    as: %s\n    who:\n", r.name, r.name)
		for _, w := range r.who {
			fmt.Fprintf(&b, "      - %s:\n", w.issuer)
			for name, values := range w.claims {
				fmt.Fprintf(&b, "          %s: %s\n", name, yamlList(values))
			}
		}
	}
	b.WriteString("rules:\n")
	for _, r := range s.rules {
		verb := "allow"
		if r.deny {
			verb = "deny"
		}
		fmt.Fprintf(&b, "  %s:\n    %s: %s\n", r.name, verb, yamlList(r.roles))
		for key, values := range map[string][]string{"except": r.except, "models": r.models, "publishers": r.publishers, "endpoints": r.endpoints, "projects": r.projects, "locations": r.locations, "methods": r.methodsOf} {
			if values != nil {
				fmt.Fprintf(&b, "    %s: %s\n", key, yamlList(values))
			}
		}
	}
	return b.String()
}

func yamlList(values []string) string {
	quoted := make([]string, len(values))
	for i, v := range values {
		quoted[i] = fmt.Sprintf("%q", v)
	}
	return "[" + strings.Join(quoted, ", ") + "]"
}

func anyGlob(patterns []string, text string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool { return naiveGlob(p, text) })
}

func (r specRole) has(c Caller) bool {
	for _, w := range r.who {
		holds := w.issuer == c.Issuer
		for name, patterns := range w.claims {
			list, ok := c.Claims[name].([]any)
			if !ok {
				list = []any{c.Claims[name]}
			}
			holds = holds && slices.ContainsFunc(list, func(v any) bool { return v != nil && anyGlob(patterns, fmt.Sprint(v)) })
		}
		if holds {
			return true
		}
	}
	return false
}

// applies tells the meaning of a rule's conditions: no, yes, or maybe where that depends on the body.
func (r specRule) applies(c Call) string {
	if !r.deny {
		if r.projects == nil {
			r.projects = []string{"acme-ai"}
		}
		if r.locations == nil {
			r.locations = []string{"europe-west1", "global"}
		}
		if r.methodsOf == nil {
			r.methodsOf = []string{"generate", "list"}
		}
	}
	written := !strings.ContainsFunc(c.Project, func(r rune) bool { return 'A' <= r && r <= 'Z' }) && c.Project[0] > '9'
	if r.projects != nil && !anyGlob(r.projects, c.Project) && (!r.deny || written) ||
		r.locations != nil && !anyGlob(r.locations, c.Location) ||
		r.methodsOf != nil && !slices.ContainsFunc(r.methodsOf, func(m string) bool { return m == "*" || m == c.Method || m == string(c.Group) }) {
		return "no"
	}
	return r.appliesTo(c)
}

func (r specRule) appliesTo(c Call) string {
	if r.deny && r.endpoints == nil && (r.models == nil || slices.Contains(r.models, "*")) && (r.publishers == nil || slices.Contains(r.publishers, "*")) {
		return "yes"
	}
	if c.Endpoint != "" && c.Endpoint != "openapi" {
		return yesNo(anyGlob(r.endpoints, c.Endpoint))
	}
	switch {
	case r.models == nil && r.publishers == nil:
		return "no"
	case c.Publisher != "" && r.publishers != nil && !anyGlob(r.publishers, c.Publisher):
		return "no"
	case c.Endpoint == "openapi" || strings.HasPrefix(c.Model, "count-tokens"):
		return "maybe"
	case r.models == nil || r.deny && r.endpoints == nil && slices.Contains(r.models, "*"):
		return "yes"
	case c.Method == "models.list":
		return yesNo(!r.deny)
	}
	base := strings.Split(c.Model, "@")[0]
	return yesNo(slices.ContainsFunc(r.models, func(p string) bool {
		return naiveGlob(p, c.Model) || r.deny && !strings.Contains(p, "@") && naiveGlob(p, base)
	}))
}

func yesNo(b bool) string {
	if b {
		return "yes"
	}
	return "no"
}

// decide tells the meaning of a policy: the reason, and the role and account on allow.
func (s *spec) decide(c Caller, call Call, ask string) (Reason, string) {
	var held []string
	for _, r := range s.roles {
		if r.has(c) {
			held = append(held, r.name)
		}
	}
	if len(held) == 0 || ask != "" && !slices.Contains(held, ask) {
		return NoRole, ""
	}
	if call.Method == "models.list" || call.Method == "models.get" {
		call.Project, call.Location = "acme-ai", "europe-west1"
	}
	has := func(names []string) bool {
		return slices.ContainsFunc(names, func(n string) bool { return slices.Contains(held, n) })
	}
	for _, r := range s.rules {
		if r.deny && (slices.Contains(r.roles, "*") || has(r.roles)) && !has(r.except) && r.applies(call) == "yes" {
			return Denied, ""
		}
	}
	reason := NoRule
	for _, role := range held {
		if ask != "" && role != ask {
			continue
		}
		for _, r := range s.rules {
			if r.deny || !slices.Contains(r.roles, "*") && !slices.Contains(r.roles, role) || has(r.except) {
				continue
			}
			switch r.applies(call) {
			case "yes":
				return "", role
			case "maybe":
				reason = BodyRequired
			}
		}
	}
	return reason, ""
}

func randomSpec(r *rand.Rand) *spec {
	pick := func(from []string, most int) []string {
		var list []string
		for range 1 + r.IntN(most) {
			list = append(list, from[r.IntN(len(from))])
		}
		return list
	}
	maybe := func(from []string, most int) []string {
		if r.IntN(2) == 0 {
			return nil
		}
		return pick(from, most)
	}
	s := &spec{}
	var names []string
	for i := range 1 + r.IntN(5) {
		role := specRole{name: fmt.Sprintf("role%d", i)}
		for range 1 + r.IntN(2) {
			w := specWay{pick([]string{"corp", "k8s"}, 1)[0], map[string][]string{"groups": pick([]string{"g0", "g1", "g2", "g*", "*", "7", "true"}, 2)}}
			if r.IntN(3) == 0 {
				w.claims["level"] = pick([]string{"5", "6", "*"}, 2)
			}
			role.who = append(role.who, w)
		}
		s.roles = append(s.roles, role)
		names = append(names, role.name)
	}
	for i := range r.IntN(8) + 1 {
		rule := specRule{
			name: fmt.Sprintf("rule%d", i), deny: r.IntN(3) == 0, roles: pick(append(names, "*"), 2), except: maybe(names, 1),
			publishers: maybe([]string{"google", "anthropic", "*", "g*"}, 1),
			models:     pick([]string{"gemini-*", "gemini-2.5-flash", "claude-*@2025*", "*", "text-embedding-*", "*-preview", "claude-opus-4"}, 2),
			endpoints:  maybe([]string{"123", "mg-*", "*"}, 1),
			projects:   maybe([]string{"acme-ai", "acme-*", "*"}, 1),
			locations:  maybe([]string{"europe-*", "us-central1", "*", "global"}, 2),
			methodsOf:  maybe([]string{"generate", "stream", "embed", "predict", "count", "list", "*", "generateContent", "rawPredict"}, 2),
		}
		if rule.deny {
			rule.models = maybe(rule.models, 2)
		}
		s.rules = append(s.rules, rule)
	}
	return s
}

// TestDecideMeansWhatANaiveReadingMeans compares decisions under random policies with an evaluator that follows the meaning word by
// word.
func TestDecideMeansWhatANaiveReadingMeans(t *testing.T) {
	seed := rand.Uint64()
	r := rand.New(rand.NewPCG(seed, 0))
	calls, callers := sampleCalls(t), sampleCallers()
	seen := map[Reason]int{}
	for range 60 {
		s := randomSpec(r)
		p := loadText(t, s.yaml())
		for range 400 {
			call, caller, ask := calls[r.IntN(len(calls))], callers[r.IntN(len(callers))], ""
			if r.IntN(3) == 0 {
				ask = fmt.Sprintf("role%d", r.IntN(6))
			}
			got := p.Decide(caller, call, Request{Role: ask})
			reason, role := s.decide(caller, call, ask)
			seen[reason]++
			checkDecision(t, got)
			if got.Reason != reason || (got.Effect == Allow) != (reason == "") || reason == "" && got.Role != role {
				t.Fatalf("seed %d: %+v as %q on %s: got %v %q as role %q, want reason %q, role %q; policy:\n%s",
					seed, caller, ask, call.URI(), got.Effect, got.Reason, got.Role, reason, role, s.yaml())
			}
		}
	}
	for _, reason := range []Reason{"", NoRole, NoRule, Denied, BodyRequired} {
		if seen[reason] == 0 {
			t.Errorf("seed %d: no decision had the reason %q", seed, reason)
		}
	}
}

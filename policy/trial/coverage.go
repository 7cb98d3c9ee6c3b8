package trial

import (
	"cmp"
	"os"
	"slices"
	"strings"

	"vertex-spoa/policy"
	"vertex-spoa/policy/strictyaml"
)

// RuleCoverage is how far the tests tried a rule.
type RuleCoverage struct {
	Rule       string
	At         policy.Position
	Applied    int // in how many tests it applied
	Conditions []ConditionCoverage
}

// ConditionCoverage is how far the tests tried a condition that a rule states itself. Of a condition that was not met because an earlier
// one did not hold nothing is known.
type ConditionCoverage struct {
	Condition   string // except, methods, locations, projects, models, publishers, endpoints, active, body.NAME, when
	True, False int    // in how many tests it held, and did not
}

// ranks is the order in which an explanation goes through conditions. Those of one rank exclude each other.
func ranks() [][]string {
	return [][]string{{"except"}, {"methods"}, {"locations"}, {"projects"}, {"models", "publishers", "endpoints"}, {"headers"}, {"rewrite"},
		{"active"}, {"body"}, {"when"}}
}

func rank(condition string) int {
	first, _, _ := strings.Cut(condition, ".")
	return slices.IndexFunc(ranks(), func(names []string) bool { return slices.Contains(names, first) })
}

// coverage counts while tests run.
type coverage struct {
	rules []RuleCoverage
	place map[string]int // by rule
}

func newCoverage(m *policy.Model) *coverage {
	c := &coverage{place: map[string]int{}}
	if m == nil {
		return c
	}
	files := map[string]*strictyaml.Node{}
	for i := range m.Rules {
		r := &m.Rules[i]
		root, read := files[r.At.File]
		if !read {
			root = parse(r.At.File)
			files[r.At.File] = root
		}
		c.rules = append(c.rules, RuleCoverage{Rule: r.ID, At: r.At, Conditions: stated(r, root)})
	}
	slices.SortStableFunc(c.rules, func(a, b RuleCoverage) int {
		return cmp.Or(cmp.Compare(a.At.File, b.At.File), cmp.Compare(a.At.Line, b.At.Line), cmp.Compare(a.At.Column, b.At.Column))
	})
	for i := range c.rules {
		c.place[c.rules[i].Rule] = i
	}
	return c
}

// parse reads a file of the policy again; nil when that cannot be done.
func parse(name string) *strictyaml.Node {
	data, err := os.ReadFile(name)
	if err != nil {
		return nil
	}
	var ignored strictyaml.Problems
	return strictyaml.Parse(name, data, &ignored)
}

// stated returns the conditions that a rule states itself, and does not take from the defaults, in the order of ranks. root is the
// document the rule stands in; without it all conditions count.
func stated(r *policy.Rule, root *strictyaml.Node) []ConditionCoverage {
	var rule *strictyaml.Node
	if root != nil && root.Get("rules") != nil {
		rule = root.Get("rules").Get(r.ID)
	}
	var list []ConditionCoverage
	for _, names := range ranks() {
		for _, name := range names {
			switch {
			case name == "headers", name == "rewrite", rule != nil && !rule.Has(name):
			case name == "body":
				for _, part := range bodyParts(r.Body) {
					list = append(list, ConditionCoverage{Condition: "body." + part})
				}
			case conditions(r)[name]:
				list = append(list, ConditionCoverage{Condition: name})
			}
		}
	}
	return list
}

// conditions returns which conditions, but that on the body, a rule has.
func conditions(r *policy.Rule) map[string]bool {
	has := func(list []string) bool { return len(list) > 0 && !slices.Contains(list, "*") }
	return map[string]bool{
		"except": has(r.Except), "methods": has(r.Methods), "locations": has(r.Locations), "projects": has(r.Projects), "models": has(r.Models),
		"publishers": has(r.Publishers), "endpoints": has(r.Endpoints), "active": len(r.Active) > 0, "when": r.When != nil,
	}
}

// bodyParts returns the names of the conditions on a body, in the order in which they are told.
func bodyParts(b *policy.BodyRule) []string {
	if b == nil {
		return nil
	}
	var names []string
	for _, part := range []struct {
		name string
		is   bool
	}{
		{"maxBytes", b.MaxBytes > 0},
		{"maxOutputTokens", b.MaxOutputTokens != nil},
		{"candidateCount", b.CandidateCount != nil},
		{"temperature", b.Temperature != nil},
		{"tools", b.NoTools || b.Tools != nil},
		{"systemInstruction", b.SystemInstruction != policy.Anything},
		{"safetySettings", b.SafetyMin != ""},
		{"mediaTypes", b.MediaTypes != nil},
	} {
		if part.is {
			names = append(names, part.name)
		}
	}
	return names
}

// add counts what an explanation tells.
func (c *coverage) add(x *policy.Explanation) {
	for i := range x.Rules {
		check := &x.Rules[i]
		at, known := c.place[check.Rule]
		if !known {
			continue
		}
		rule := &c.rules[at]
		if check.Outcome == policy.Applying {
			rule.Applied++
		}
		rule.add(check)
	}
}

// add counts the conditions up to the one that decided.
func (r *RuleCoverage) add(check *policy.RuleCheck) {
	failed := rank(check.Failed.Condition)
	decided := -1 // the condition that decided, as the rule states it
	if check.Outcome != policy.Applying {
		for i := range r.Conditions {
			name := r.Conditions[i].Condition
			if name == check.Failed.Condition || decided < 0 && rank(name) == failed && failed != rank("body") {
				decided = i
			}
		}
	}
	for i := range r.Conditions {
		switch at := rank(r.Conditions[i].Condition); {
		case check.Outcome == policy.Applying, decided >= 0 && i < decided && at != failed, decided >= 0 && i < decided && at == rank("body"),
			decided < 0 && at < failed:
			r.Conditions[i].True++
		case i == decided && check.Outcome == policy.NotApplying:
			r.Conditions[i].False++
		}
	}
}

// counts returns how many rules applied, and how many of the outcomes of conditions were seen, each with how many there are.
func (c *coverage) counts() (applied, rules, seen, outcomes int) {
	for i := range c.rules {
		rules++
		if c.rules[i].Applied > 0 {
			applied++
		}
		for _, condition := range c.rules[i].Conditions {
			outcomes += 2
			if condition.True > 0 {
				seen++
			}
			if condition.False > 0 {
				seen++
			}
		}
	}
	return applied, rules, seen, outcomes
}

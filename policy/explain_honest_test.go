package policy

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
)

// lifted returns the rule without the condition that Explain found not to hold.
func lifted(r Rule, condition, method string) Rule {
	all := []string{"*"}
	switch key, _, _ := strings.Cut(condition, "."); key {
	case "except":
		r.Except = nil
	case "methods":
		r.Methods = []string{"*", method}
	case "locations":
		r.Locations = all
	case "projects":
		r.Projects = all
	case "models":
		r.Models = all
	case "publishers":
		r.Publishers = nil
	case "endpoints":
		r.Endpoints = all
	case "headers":
		r.Duties.TierMay = TierChoice{requestTypes, sharedRequestTypes}
	case "rewrite":
		r.Duties.Rewrite = ""
	case "active":
		r.Active = nil
	case "body":
		r.Body = nil
	case "when":
		r.When = nil
	}
	return r
}

// A rule that lacks one condition, as Explain tells it, applies once that condition is lifted, or waits for the body.
func TestLiftingTheOneMissingConditionMakesARuleApply(t *testing.T) {
	seed := rand.Uint64()
	t.Logf("seed %d", seed)
	random := rand.New(rand.NewPCG(seed, 0))
	tried := map[string]int{}
	conditions := []string{"except", "methods", "locations", "projects", "models", "publishers", "endpoints", "headers", "active", "when"}
	missing := func() bool { return slices.ContainsFunc(conditions, func(c string) bool { return tried[c] == 0 }) }
	for round := 0; round < 60 || missing() && round < 3000; round++ { // some of them are rare
		data := make([]byte, 4000)
		for i := range data {
			data[i] = byte(random.Uint32())
		}
		d := &dice{data}
		m := d.model()
		p := indexed(t, m)
		for range 12 {
			c, call := d.caller(), d.call(t)
			r := d.request(call)
			x := p.Bind(c).Explain(call, r)
			if x.Nearest != "" {
				checkNearest(t, &x)
			}
			for _, found := range x.Rules {
				if found.Effect != Allow || found.Missing != 1 || found.Outcome != NotApplying {
					continue
				}
				tried[found.Failed.Condition]++
				other := *m
				other.Rules = slices.Clone(m.Rules)
				at := slices.IndexFunc(other.Rules, func(r Rule) bool { return r.ID == found.Rule })
				other.Rules[at] = lifted(other.Rules[at], found.Failed.Condition, x.Decision.Call.Method)
				again := indexed(t, &other).Bind(c).Explain(call, r)
				at = slices.IndexFunc(again.Rules, func(r RuleCheck) bool { return r.Rule == found.Rule })
				if at < 0 || again.Rules[at].Outcome != Applying && again.Rules[at].Outcome != Unknown {
					t.Fatalf("%s of %s %s was all that rule %+v lacked, and without it: %+v", fmt.Sprint(c.Claims), call.URI(), call.Method, found, again.Rules)
				}
			}
		}
	}
	if missing() {
		t.Errorf("got %v, want a rule for each of %v", tried, conditions)
	}
}

// checkNearest: no rule of the acting roles lacks less than the one that is called the nearest.
func checkNearest(t *testing.T, x *Explanation) {
	t.Helper()
	at := slices.IndexFunc(x.Rules, func(r RuleCheck) bool { return r.Rule == x.Nearest })
	for _, r := range x.Rules {
		acting := slices.ContainsFunc(r.Roles, func(role string) bool { return slices.Contains(x.Acting, role) })
		if r.Effect == Allow && !r.Shadow && acting && r.Missing < x.Rules[at].Missing {
			t.Fatalf("nearest is %+v, and %+v lacks less", x.Rules[at], r)
		}
	}
}

func TestTheNearestRuleLacksLeast(t *testing.T) {
	p := allowing(t,
		Rule{ID: "far", Effect: Allow, Roles: []string{"eng"}, Models: []string{"text-*"}, When: &Expression{Text: `claims.env == "test"`}},
		Rule{ID: "near", Effect: Allow, Roles: []string{"eng"}, Models: []string{"gemini-2.5-*"}, Methods: []string{"embed"}},
		Rule{ID: "others", Effect: Allow, Roles: []string{"ops"}, Models: []string{"*"}},
	)
	x := p.Bind(engineer("me")).Explain(geminiCall(t, "gemini-2.5-flash", "generateContent"), Request{Now: baseTime})
	if x.Nearest != "near" {
		t.Errorf("got %q: %+v", x.Nearest, x.Rules)
	}
}

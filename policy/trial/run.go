package trial

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"vertex-spoa/policy"
	"vertex-spoa/policy/body"
)

// Run runs the tests of suites whose names match; nil matches all.
func Run(p *policy.Policy, suites []Suite, match *regexp.Regexp) *Report {
	r := &Report{Policy: p.Digest(), coverage: newCoverage(p.Model())}
	for _, suite := range suites {
		s := SuiteResult{File: suite.File}
		for i := range suite.Tests {
			t := &suite.Tests[i]
			if match == nil || match.MatchString(t.Name) {
				s.Results = append(s.Results, r.run(p, t))
			}
		}
		r.Suites = append(r.Suites, s)
	}
	return r
}

// run runs one test.
func (r *Report) run(p *policy.Policy, t *Test) Result {
	start := time.Now()
	x := explain(p, t)
	result := Result{Test: t, Decision: x.Decision, Wrong: t.Want.differences(&x.Decision)}
	if len(result.Wrong) > 0 {
		result.Nearest = nearest(t, &x)
	}
	r.coverage.add(&x)
	result.Took = time.Since(start)
	return result
}

// explain decides a call as the agent does: the body is looked at when the first answer asks for it.
func explain(p *policy.Policy, t *Test) policy.Explanation {
	call, err := policy.ParseAny(t.Method, t.Target)
	var refusal *policy.Refusal
	if errors.As(err, &refusal) {
		return policy.Explanation{Decision: policy.Decision{Reason: refusal.Reason, Detail: refusal.Detail}}
	}
	s, request := p.Bind(t.Caller), t.Request
	x := s.Explain(call, request)
	if x.Decision.Effect != policy.NeedBody || t.State == policy.BodyNotSeen {
		return x
	}
	request.BodyState = t.State
	if t.State == policy.BodyWhole {
		if request.Body, err = body.Read(call.BodyShape(), t.Body); err != nil {
			request.BodyState, request.Body = policy.BodyInvalid, nil
		}
	}
	x = s.Explain(call, request)
	if err != nil {
		x.Decision.Detail += ": " + err.Error()
	}
	return x
}

// differences returns what of a decision is not as wanted.
func (w *Want) differences(d *policy.Decision) []string {
	var list []string
	if w.line(d) != w.String() {
		list = append(list, "want "+w.String(), "got  "+decisionText(d))
	}
	compare := func(what, want, got string) {
		if want != "" && want != got {
			list = append(list, "want "+what+" "+want, "got  "+what+" "+orNone(got))
		}
	}
	compare("account", w.Account, d.Account)
	uri := ""
	if d.Effect == policy.Allow {
		uri = d.Call.URI()
	}
	compare("uri", w.URI, uri)
	if w.Shadow != nil {
		var got []string
		for _, s := range d.Shadow {
			got = append(got, s.Rule)
		}
		slices.Sort(got)
		compare("shadow", orNone(strings.Join(w.Shadow, ", ")), orNone(strings.Join(got, ", ")))
	}
	return list
}

func orNone(s string) string {
	if s == "" {
		return "none"
	}
	return s
}

// String returns what is wanted as it is written.
func (w *Want) String() string {
	switch w.Effect {
	case policy.Allow:
		return strings.TrimSpace(strings.TrimSpace("allow "+w.Role) + " " + w.Rule)
	case policy.NeedBody:
		return strings.TrimSpace("need_body " + w.Rule)
	case policy.Deny:
	}
	return strings.TrimSpace("deny " + string(w.Reason) + " " + w.Rule)
}

// line returns a decision in the same words, as far as they are wanted.
func (w *Want) line(d *policy.Decision) string {
	got := Want{Effect: d.Effect, Reason: d.Reason}
	if w.Role != "" {
		got.Role = d.Role
	}
	if w.Rule != "" {
		got.Rule = d.Rule
	}
	return got.String()
}

// decisionText returns a whole decision in these words, with its detail.
func decisionText(d *policy.Decision) string {
	w := Want{Effect: d.Effect, Reason: d.Reason, Role: d.Role, Rule: d.Rule}
	if d.Detail != "" && d.Effect == policy.Deny {
		return w.String() + ": " + d.Detail
	}
	return w.String()
}

// nearest tells about the rule that was wanted, or about the one that came nearest to allowing.
func nearest(t *Test, x *policy.Explanation) string {
	name := t.Want.Rule
	if name == "" || name == x.Decision.Rule {
		name = x.Nearest
	}
	if name == "" && x.Decision.Effect == policy.Deny {
		name = x.Decision.Rule
	}
	if x.Decision.Reason == policy.NoRole {
		return nearestRole(t, x)
	}
	if name == "" {
		return ""
	}
	for _, r := range x.Rules {
		if r.Rule == name {
			return ruleText(&r)
		}
	}
	if len(x.Rules) == 0 {
		return ""
	}
	return fmt.Sprintf("%s is not for the caller, who has: %s", name, strings.Join(held(x), ", "))
}

// ruleText says what became of a rule.
func ruleText(r *policy.RuleCheck) string {
	text := fmt.Sprintf("%s at %s", r.Rule, r.At)
	if r.Shadow {
		text += " (shadow)"
	}
	switch r.Outcome {
	case policy.Applying:
		return text + " applies"
	case policy.NotApplying, policy.Unknown, policy.Failing:
	}
	return fmt.Sprintf("%s, %s: want %s, got %s", text, r.Failed.Condition, r.Failed.Want, r.Failed.Got)
}

// nearestRole says which claim keeps a caller from the roles of its issuer.
func nearestRole(t *Test, x *policy.Explanation) string {
	const most = 5
	var list []string
	for _, m := range x.Roles {
		if m.Held {
			continue
		}
		for _, way := range m.Ways {
			if way.Issuer == t.Caller.Issuer && len(list) < most {
				list = append(list, fmt.Sprintf("role %s, %s: want %s, got %s", m.Role, way.Failed.Condition, way.Failed.Want, way.Failed.Got))
			}
		}
	}
	if len(list) == 0 {
		return "no role is for callers of issuer " + t.Caller.Issuer
	}
	return strings.Join(list, "; ")
}

func held(x *policy.Explanation) []string {
	var names []string
	for _, m := range x.Roles {
		if m.Held {
			names = append(names, m.Role)
		}
	}
	return names
}

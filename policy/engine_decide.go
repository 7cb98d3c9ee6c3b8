package policy

import (
	"hash/fnv"
	"slices"
	"strings"
)

// evaluation is one decision under way.
type evaluation struct {
	s *Session
	p *Policy
	r *Request
	d *Decision // as it is known so far

	*sight
	seen bool      // the body is known
	vars variables // filled in when a condition is met that needs them

	denials []int // deny rules that apply or fail, by number; only the first where no rule overrides others
	doubts  []int // deny rules that depend on the body
	closed  *rule // an allow rule that lacks nothing but its time
}

// Decide answers whether the caller may make the call. It depends on nothing but the policy, the caller and its arguments. Where the
// answer is NeedBody it is to be asked again with the body: every other state of the body than BodyNotSeen gets a final answer.
func (s *Session) Decide(call Call, r Request) Decision {
	if s == nil || s.policy == nil || s.policy.digest == "" {
		d := Decision{Call: call}
		d.deny(PolicyError, "no policy is loaded")
		return d
	}
	w, _ := s.policy.work.Get().(*work)
	if w == nil {
		w = &work{}
	}
	w.request, w.decision.Call = r, call
	w.s, w.p, w.r, w.d = s, s.policy, &w.request, &w.decision
	w.decide()
	d := w.decision
	*w = work{evaluation: evaluation{denials: w.denials[:0], doubts: w.doubts[:0]}}
	s.policy.work.Put(w)
	return d
}

// work is an evaluation with the memory it needs. It is used again, and holds nothing of a request between two.
type work struct {
	evaluation
	request  Request
	decision Decision
}

func (e *evaluation) decide() {
	acting := e.begin()
	if len(acting) == 0 {
		return
	}
	e.deny()
	if len(e.denials) > 0 && !e.p.overriding && !e.p.shadows {
		e.denied(e.denials[0])
		return
	}
	for _, at := range acting {
		if e.role(at) {
			return
		}
	}
	e.nothing(acting[0])
}

// begin looks at everything but the rules. It returns the places of the roles the caller acts in among those of its group, and none when
// the decision is made.
func (e *evaluation) begin() []int {
	s, d := e.s, e.d
	if refusal := e.p.canonical(&d.Call); refusal != nil {
		d.deny(refusal.Reason, refusal.Detail)
		return nil
	}
	if !e.look() {
		d.deny(PolicyError, "the call was not made by the parser of calls")
		return nil
	}
	if s.group == nil {
		d.deny(NoRole, "no role for this caller of issuer "+quote(s.caller.Issuer))
		return nil
	}
	acting := s.acting(e.r.Role)
	if len(acting) == 0 {
		d.deny(NoRole, "the caller asks for role "+quote(e.r.Role)+" and does not have it")
		return nil
	}
	d.Role = e.p.roles[s.group.held[acting[0]]].Name
	if e.surface && !e.p.surfaces[e.method] {
		d.deny(SurfaceOff, "no rule names "+e.method)
		return nil
	}
	if !e.readBody() {
		return nil
	}
	return acting
}

// look finds the call's sight by its path.
func (e *evaluation) look() bool {
	c := &e.d.Call
	subject, model := subjectOf(c), c.Model
	if subject == someModel {
		model = ""
	}
	var ok bool
	e.sight, ok = e.p.index.find(c, subject, c.Publisher, model)
	return ok
}

// acting returns the places of the roles that a caller acts in who asks for a role, or for none.
func (s *Session) acting(role string) []int {
	if role == "" {
		return s.group.places
	}
	for i, number := range s.group.held {
		if s.policy.roles[number].Name == role {
			return s.group.places[i : i+1]
		}
	}
	return nil
}

// readBody takes the model that the body names into sight. Where the call and its body contradict each other it denies and reports false.
func (e *evaluation) readBody() bool {
	if e.r.BodyState != BodyWhole {
		return true
	}
	if e.r.Body == nil {
		e.d.deny(BadBody, "the body was not read")
		return false
	}
	publisher, model, err := e.d.Call.Asked(e.r.Body, e.p.numbers[e.project])
	if err != nil {
		e.d.deny(BadBody, err.Error())
		return false
	}
	e.seen = true
	if e.subject == someModel {
		e.sight, _ = e.p.index.find(&e.d.Call, aModel, publisher, model)
	}
	return true
}

// deny finds the deny rules that apply, and those that may once the body is seen. All roles of the caller count, also those it does not
// act in. Without rules that override others, the first one found is enough.
func (e *evaluation) deny() {
	for c := e.meets.common(&e.s.group.denies); ; {
		n := c.next()
		if n < 0 {
			return
		}
		r := e.p.rules[n]
		v := e.denyVerdict(r)
		switch {
		case v == no:
		case e.inShadow(r):
			if v != unknown {
				e.d.Shadow = append(e.d.Shadow, ShadowRule{r.ID, Deny})
			}
		case v == unknown:
			e.doubts = append(e.doubts, n)
		default:
			e.denials = append(e.denials, n)
			if !e.p.overriding && !e.p.shadows {
				return
			}
		}
	}
}

// denyVerdict says whether a deny rule applies to any of the roles that it concerns.
func (e *evaluation) denyVerdict(r *rule) verdict {
	if r.when == nil || !r.when.role {
		return e.verdict(r, "")
	}
	result := no
	for _, role := range e.s.group.held {
		if r.roles == nil || slices.Contains(r.roles, role) {
			result = max(result, e.verdict(r, e.p.roles[role].Name))
		}
	}
	return result
}

// verdict is the verdict of a rule, whose conditions on the call hold or may hold, for a caller who acts in a role. For a deny rule it is
// never closed.
func (e *evaluation) verdict(r *rule, role string) verdict {
	v := yes
	if e.subject == someModel && !r.everything {
		v = unknown
	}
	if !r.deny && (e.r.Tier != Tier{} && !r.allowsTier(e.r.Tier) || r.Duties.Rewrite != "" && e.d.Call.ModelInBody) {
		return no
	}
	switch {
	case !r.dynamic:
		return v
	case anyOpen(r.Active, e.r.Now):
		return e.condition(r, role, v)
	case r.deny && e.r.Now.IsZero(): // it may be open
		return min(failed, e.condition(r, role, v))
	case r.deny:
		return no
	case e.condition(r, role, v) == yes:
		return closed
	}
	return no
}

// condition adds the verdicts of the conditions on the body and in CEL to that of the others.
func (e *evaluation) condition(r *rule, role string, v verdict) verdict {
	if r.body != nil {
		if !e.seen {
			v = min(v, unknown)
		} else if v = min(v, r.body.verdict(e.r.Body, r.deny)); v == no {
			return no
		}
	}
	if r.when != nil {
		return e.when(r.when, role, v)
	}
	return v
}

// when adds the verdict of a condition in CEL to the others. A part that is false outweighs one that fails, as && has it.
func (e *evaluation) when(w *when, role string, v verdict) verdict {
	for _, p := range w.parts {
		switch {
		case p.need == 0:
			v = min(v, e.s.part(p))
		case p.need&needBody != 0 && !e.seen, p.need&needModel != 0 && e.subject == someModel:
			v = min(v, unknown)
		default:
			v = min(v, p.eval(e.variables(role)))
		}
		if v == no {
			return no
		}
	}
	return v
}

// variables returns what conditions are about.
func (e *evaluation) variables(role string) *variables {
	v := &e.vars
	if v.caller == nil {
		*v = variables{caller: &e.s.caller, target: &e.target, now: e.r.Now, ip: e.r.IP}
		if e.seen {
			v.body = e.r.Body
		}
	}
	v.role = role
	return v
}

// allowsTier reports whether the rule lets a caller ask for the tier, or sets another in its place.
func (r *rule) allowsTier(asked Tier) bool {
	d := &r.Duties
	return (asked.RequestType == "" || d.Tier.RequestType != "" || slices.Contains(d.TierMay.RequestType, asked.RequestType)) &&
		(asked.SharedRequestType == "" || d.Tier.SharedRequestType != "" || slices.Contains(d.TierMay.SharedRequestType, asked.SharedRequestType))
}

// inShadow reports whether the rule is only watched for this caller. Which callers a percentage of them are depends on the rule and on
// the caller's issuer and subject alone; of callers without a subject it is a percentage of their requests.
func (e *evaluation) inShadow(r *rule) bool {
	return r.shadow || r.Percent < 100 && !enforcedFor(r.ID, r.Percent, &e.s.caller, e.r.ID)
}

func enforcedFor(rule string, percent int, c *Caller, request string) bool {
	who := c.Subject
	if who == "" {
		who = request
	}
	h := fnv.New64a()
	for _, s := range [...]string{rule, c.Issuer, who} {
		_, _ = h.Write(append([]byte(s), 0)) // a hash never fails to write
	}
	x := h.Sum64()
	x ^= x >> 32 // the low bits of this hash alone are not even
	return int(x%100) < percent
}

// nothing is the answer when no role allows the call. The role that is reported is the first.
func (e *evaluation) nothing(first int) {
	d := e.d
	d.Role = e.p.roles[e.s.group.held[first]].Name
	switch {
	case len(e.denials) > 0:
		e.denied(e.denials[0])
	case e.closed != nil:
		d.Rule = e.closed.ID
		d.deny(NotActive, "rule "+e.closed.ID+" is not active at this time")
	default:
		d.deny(NoRule, describe(&d.Call))
	}
}

// denied is the answer when a deny rule applies, or fails.
func (e *evaluation) denied(number int) {
	r := e.p.rules[number]
	e.d.Rule = r.ID
	if r.dynamic && e.denyVerdict(r) == failed {
		e.d.deny(PolicyError, "the condition of a deny rule failed")
		return
	}
	e.d.deny(Denied, r.Because)
}

// needBody is the answer when the body decides.
func (e *evaluation) needBody(rule *rule) {
	e.d.Rule = rule.ID
	what := "rule " + rule.ID + " depends on the body of " + e.method
	switch e.r.BodyState {
	case BodyNotSeen:
		e.d.deny(BodyRequired, what)
		e.d.Effect = NeedBody
	case BodyTruncated:
		e.d.deny(TruncatedBody, what+", which was not seen whole")
	case BodyInvalid:
		e.d.deny(BadBody, what+", which cannot be read")
	default:
		e.d.deny(BodyRequired, what+", which has none")
	}
}

// blank reports whether s holds nothing that can be read.
func blank(s string) bool { return strings.TrimSpace(s) == "" }

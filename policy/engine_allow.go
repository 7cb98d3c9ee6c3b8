package policy

import "slices"

// found is what was found among the allow rules of one role.
type found struct {
	rule     *rule   // the first that applies, whatever the body says
	possible *rule   // the first that may apply, or may be enough, once the body is seen
	doubtful bool    // a rule that may apply imposes something
	imposing []*rule // the rules that apply and impose something
}

// role answers for one role the caller acts in; it reports false when that role does not allow the call.
func (e *evaluation) role(at int) bool {
	f := e.allowing(at)
	role := e.p.roles[e.s.group.held[at]].Role
	switch {
	case f.rule != nil && !f.doubtful:
		e.d.Role = role.Name
		e.allow(role, &f)
	case f.rule != nil:
		e.d.Role = role.Name
		e.needBody(f.rule)
	case f.possible != nil:
		e.d.Role = role.Name
		e.needBody(f.possible)
	default:
		return false
	}
	return true
}

// allowing goes through the allow rules of a role.
func (e *evaluation) allowing(at int) (f found) {
	role := e.p.roles[e.s.group.held[at]].Name
	all := e.p.shadows || e.s.group.imposing[at]
	for c := e.meets.common(&e.s.group.allows[at]); ; {
		n := c.next()
		if n < 0 {
			return f
		}
		r := e.p.rules[n]
		v := e.verdict(r, role)
		switch {
		case v == no:
		case e.inShadow(r):
			if v == yes {
				e.d.Shadow = append(e.d.Shadow, ShadowRule{r.ID, Allow})
			}
		default:
			e.note(&f, r, v)
			if f.rule != nil && !all {
				return f
			}
		}
	}
}

// note adds a rule to what was found.
func (e *evaluation) note(f *found, r *rule, v verdict) {
	switch v {
	case closed:
		if e.closed == nil {
			e.closed = r
		}
	case failed:
		if e.d.Failed == "" {
			e.d.Failed = r.ID
		}
	case unknown:
		f.doubtful = f.doubtful || r.imposes
		if f.possible == nil && r.overridesAll(e.denials) {
			f.possible = r
		}
	case yes:
		if r.imposes {
			f.imposing = append(f.imposing, r)
		}
		switch {
		case !r.overridesAll(e.denials):
		case f.rule == nil && r.overridesAll(e.doubts):
			f.rule = r
		case f.possible == nil:
			f.possible = r
		}
	}
}

// overridesAll reports whether none of the deny rules holds against the rule.
func (r *rule) overridesAll(denies []int) bool {
	for _, n := range denies {
		if _, ok := slices.BinarySearch(r.overrides, n); !ok {
			return false
		}
	}
	return true
}

// allow is the answer when a role has a rule that applies, if what the rules impose can be had.
func (e *evaluation) allow(role *Role, f *found) {
	d := e.d
	d.Rule = f.rule.ID
	var rewrite *rule
	for _, r := range f.imposing {
		if r.Duties.Breakglass != nil && blank(e.r.Reason) {
			d.Rule = r.ID
			d.deny(ReasonRequired, "rule "+r.ID+" is for emergencies and wants a reason")
			return
		}
		if r.Duties.Rewrite != "" && (rewrite == nil || r.literal(e.model) > rewrite.literal(e.model)) {
			rewrite = r
		}
	}
	if e.namedTwice(f.rule, rewrite) {
		e.needBody(f.rule)
		return
	}
	if rewrite != nil && !e.rewrite(f.rule, rewrite) {
		return
	}
	e.impose(f)
	d.Effect = Allow
	d.Account, d.Delegates, d.Scopes, d.Lifetime = role.Account, role.Delegates, role.Scopes, role.Lifetime
	d.Exchange, d.UserProject = role.Exchange, role.Project
}

// impose adds what the rules that apply impose. Of several that set one header the first by name sets it.
func (e *evaluation) impose(f *found) {
	d := e.d
	d.Tier = e.r.Tier
	for i, r := range f.imposing {
		d.Breakglass = d.Breakglass || r.Duties.Breakglass != nil
		if i == 0 {
			d.Duties = r.imposition
		} else {
			d.Duties = append(d.Duties[:i:i], r.imposition...)
		}
	}
	for _, r := range slices.Backward(f.imposing) {
		if t := r.Duties.Tier.RequestType; t != "" {
			d.Tier.RequestType = t
		}
		if t := r.Duties.Tier.SharedRequestType; t != "" {
			d.Tier.SharedRequestType = t
		}
	}
	for _, n := range e.denials {
		d.Overridden = append(d.Overridden, e.p.rules[n].ID)
	}
}

// namedTwice reports whether the call's body may name another model than its path, and that matters because a rule is about single models:
// the one that allows, one that rewrites, or a deny rule. Calls that count tokens take a model in their body, those that ask for the
// result of another call name that one in it, and routingConfig has another model answer.
func (e *evaluation) namedTwice(r, rewrite *rule) bool {
	if e.seen || e.surface || e.subject != aModel && e.subject != anEndpoint {
		return false
	}
	switch e.method {
	case "countTokens", "computeTokens", "fetchPredictOperation":
	case "generateContent", "streamGenerateContent":
		if !e.p.refuseRouting {
			return false
		}
	default:
		return false
	}
	return rewrite != nil || e.s.group.denyModels || r.single(e.subject)
}

// single reports whether an allow rule that applies to calls of the subject is about single models or endpoints.
func (r *rule) single(s subject) bool {
	return !r.models.any() || r.publishers != nil && !r.publishers.any() || s == anEndpoint && !r.endpoints.any()
}

// rewrite puts the model of the rule that rewrites into the call. The deny rules are then asked about that call as well; when they refuse
// it the answer is theirs, and rewrite reports false.
func (e *evaluation) rewrite(allowed, rewrite *rule) bool {
	d := e.d
	if e.subject != aModel || d.Call.listing() || e.surface || rewrite.Duties.Rewrite == d.Call.Model {
		return true
	}
	call, err := d.Call.WithModel(rewrite.Duties.Rewrite)
	if err != nil {
		d.Rule = rewrite.ID
		d.deny(PolicyError, "rule "+rewrite.ID+" cannot rewrite this call: "+err.Error())
		return false
	}
	after := Decision{Call: call}
	other := evaluation{s: e.s, p: e.p, r: e.r, d: &after}
	if !other.look() || !other.readBody() {
		d.deny(BadBody, after.Detail)
		return false
	}
	other.deny()
	other.d = d // what is in shadow was reported for the call as it was asked
	for _, n := range other.denials {
		if !allowed.overridesAll([]int{n}) {
			other.denied(n)
			return false
		}
		if !slices.Contains(e.denials, n) {
			e.denials = append(e.denials, n)
		}
	}
	if !allowed.overridesAll(other.doubts) {
		other.needBody(e.p.rules[other.doubts[0]])
		return false
	}
	d.Call = call
	return true
}

// literal returns how much of the model's name the rule spells out.
func (r *rule) literal(model string) int {
	most := 0
	for i := range r.models {
		if g := &r.models[i]; g.match(model) {
			most = max(most, len(g.text)-g.stars())
		}
	}
	return most
}

package policy

import (
	"slices"
	"time"
)

// Issuer is one identity provider that the policy trusts.
type Issuer struct {
	Name       string // the name roles use
	URL        string // the exact claim iss
	Audiences  []string
	Algorithms []string      // empty: the verifier's defaults
	JWKSURL    string        // empty: discovered from URL, or JWKSFile
	JWKSFile   string        // a local key set, in place of JWKSURL; a relative name was joined to the policy's folder
	Leeway     time.Duration // 0: the verifier's default
	MaxAge     time.Duration // 0: no limit beyond the token's expiry
}

// Grant is the token that a role gives.
type Grant struct {
	Role      string
	Account   string // e-mail of the service account
	Delegates []string
	Scopes    []string
	Lifetime  time.Duration
}

// Policy is a loaded policy. It is immutable and safe for concurrent use. The zero Policy and the nil one deny every call.
type Policy struct {
	digest  string
	issuers []Issuer
	roles   []role              // in declared order
	callers map[string]*callers // by the issuer's name
	allows  []*rule             // those for every role, sorted by name
	denies  []*rule

	project  string // completes a listing; empty when the defaults name none
	location string
}

// Digest returns the SHA-256 of the policy's files in hex, as DirDigest does. It is empty for the zero Policy.
func (p *Policy) Digest() string {
	if p == nil {
		return ""
	}
	return p.digest
}

// Issuers returns the issuers in declared order. The result is the caller's own.
func (p *Policy) Issuers() []Issuer {
	if p == nil {
		return nil
	}
	list := slices.Clone(p.issuers)
	for i := range list {
		list[i].Audiences = slices.Clone(list[i].Audiences)
		list[i].Algorithms = slices.Clone(list[i].Algorithms)
	}
	return list
}

// Grants returns the token of each role, in declared order. Two roles may share an account. The result is the caller's own.
func (p *Policy) Grants() []Grant {
	if p == nil {
		return nil
	}
	var list []Grant
	for i := range p.roles {
		r := &p.roles[i]
		list = append(list, Grant{r.name, r.account, slices.Clone(r.delegates), slices.Clone(r.scopes), r.lifetime})
	}
	return list
}

// Complete fills the default project and the first default location into a listing, which names none. Other calls are returned as they
// are. Without such defaults the error is a *Refusal and the Call is zero.
func (p *Policy) Complete(c Call) (Call, error) {
	completed, refusal := p.complete(c)
	if refusal != nil {
		return Call{}, refusal
	}
	return completed, nil
}

func (p *Policy) complete(c Call) (Call, *Refusal) {
	switch {
	case !c.listing() || c.Project != "":
		return c, nil
	case p == nil || p.project == "" || p.location == "":
		return c, &Refusal{SurfaceOff, c.Method + " names no project: it needs a project and a location in the policy's defaults"}
	}
	c.Project, c.Location = p.project, p.location
	return c, nil
}

// Decide answers whether the caller may make the call. It has no side effects and depends on nothing but its arguments.
func (p *Policy) Decide(c Caller, call Call, r Request) Decision {
	completed, refusal := p.complete(call)
	d := Decision{Call: completed}
	switch {
	case p == nil || p.digest == "":
		return d.deny(PolicyError, "no policy is loaded")
	case refusal != nil:
		return d.deny(refusal.Reason, refusal.Detail)
	}
	t, ok := newTarget(d.Call)
	if !ok {
		return d.deny(PolicyError, "the call was not made by the parser of calls")
	}
	var few [8]int
	held := p.held(c, few[:0])
	if len(held) == 0 {
		return d.deny(NoRole, "no role for this caller of issuer "+quote(c.Issuer))
	}
	acting := held
	if r.Role != "" {
		if acting = p.chosen(held, r.Role); len(acting) == 0 {
			return d.deny(NoRole, "the caller asks for role "+quote(r.Role)+" and does not have it")
		}
	}
	d.Role = p.roles[acting[0]].name
	if rule := p.denial(held, &t); rule != nil {
		d.Rule = rule.name
		return d.deny(Denied, rule.because)
	}
	return p.allow(d, held, acting, &t)
}

// held returns the roles of a caller in declared order, in buf when they fit.
func (p *Policy) held(c Caller, buf []int) []int {
	callers := p.callers[c.Issuer]
	if callers == nil {
		return nil
	}
	return callers.roles(c.Claims, buf)
}

// chosen returns the part of held that is the one role asked for.
func (p *Policy) chosen(held []int, name string) []int {
	for i, role := range held {
		if p.roles[role].name == name {
			return held[i : i+1]
		}
	}
	return nil
}

// denial returns a deny rule that applies, or nil. All roles of the caller count, also those it does not act in.
func (p *Policy) denial(held []int, t *target) *rule {
	for _, rule := range p.denies {
		if rule.applies(t) == yes && rule.concerns(held) {
			return rule
		}
	}
	for _, role := range held {
		for _, rule := range p.roles[role].denies {
			if rule.applies(t) == yes && rule.concerns(held) {
				return rule
			}
		}
	}
	return nil
}

// allow finds the first role with an allow rule that applies.
func (p *Policy) allow(d Decision, held, acting []int, t *target) Decision {
	var pending Decision // the first rule that might apply once the body is seen
	for _, n := range acting {
		role := &p.roles[n]
		for _, rules := range [2][]*rule{role.allows, p.allows} {
			for _, rule := range rules {
				switch v := rule.applies(t); {
				case v == no || !rule.concerns(held):
				case v == unknown && pending.Rule == "":
					pending = d
					pending.Role, pending.Rule = role.name, rule.name
				case v == yes:
					return d.allow(role, rule)
				}
			}
		}
	}
	if pending.Rule != "" {
		return pending.deny(BodyRequired, "the model of "+t.Method+" is named in the body, which is not read")
	}
	return d.deny(NoRule, "no allow rule of the caller's roles applies to "+describe(&t.Call))
}

func (d Decision) allow(role *role, rule *rule) Decision {
	d.Effect = Allow
	d.Role, d.Rule = role.name, rule.name
	d.Account, d.Delegates, d.Scopes, d.Lifetime = role.account, role.delegates, role.scopes, role.lifetime
	d.UserProject = role.userProject
	return d
}

func (d Decision) deny(reason Reason, detail string) Decision {
	d.Reason, d.Detail = reason, detail
	return d
}

// describe says what a call is about; the names in it were checked by ParseCall and are bounded by the length of a target.
func describe(c *Call) string {
	what := c.Method
	switch {
	case c.Endpoint != "":
		what += " on endpoint " + c.Endpoint
	case c.Model != "":
		what += " on " + c.Publisher + "/" + c.Model
	}
	return what + " in " + c.Location + " of project " + c.Project
}

package policy

import (
	"slices"
	"sync"
	"time"
)

// Grant is the token that a role gives.
type Grant struct {
	Role      string
	Account   string // e-mail of the service account
	Delegates []string
	Scopes    []string
	Lifetime  time.Duration
	Exchange  *Exchange // the token needs a caller's own token; nil: it can be had without
}

// Policy is a loaded policy. It is immutable and safe for concurrent use. The zero Policy and the nil one deny every call.
type Policy struct {
	model   *Model // as it was read
	digest  string
	issuers []Issuer
	roles   []role              // in the order in which they are tried
	callers map[string]*callers // by the issuer's name

	rules    []*rule // by their numbers: deny rules before allow rules, each by name
	index    *index
	every    *ruleSet // the rules for every role
	imposing *ruleSet // the rules that impose something
	groups   *slots[string, *group]
	surfaces map[string]bool // methods that allow rules name
	parts    int             // how many parts of conditions depend on the caller alone

	work sync.Pool                  // of *work
	used map[string]func() []string // what ClaimsUsed answers, by issuer

	overriding    bool // there are rules against which others do not hold
	refuseRouting bool // bodies are asked for where they could route a call to another model
	shadows       bool // there are rules that are in shadow for some callers

	project  string // completes a listing; empty when the defaults name none
	location string

	aliases   map[string]string   // models by alias
	projects  map[string]string   // ids by number
	numbers   map[string]string   // numbers by id
	endpoints map[string]Endpoint // by id
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
		list[i] = list[i].clone()
	}
	return list
}

// Grants returns the token of each role, in the order in which roles are tried. Two roles may share an account. The result is the caller's own.
func (p *Policy) Grants() []Grant {
	if p == nil {
		return nil
	}
	var list []Grant
	for i := range p.roles {
		r := p.roles[i].Role
		list = append(list, Grant{
			Role: r.Name, Account: r.Account, Delegates: slices.Clone(r.Delegates), Scopes: slices.Clone(r.Scopes), Lifetime: r.Lifetime,
			Exchange: r.Exchange,
		})
	}
	return list
}

// Complete fills the default project and the first default location into a listing, which names none. Other calls are returned as they
// are. Without such defaults the error is a *Refusal and the Call is zero.
func (p *Policy) Complete(c Call) (Call, error) {
	if refusal := p.complete(&c); refusal != nil {
		return Call{}, refusal
	}
	return c, nil
}

func (p *Policy) complete(c *Call) *Refusal {
	switch {
	case !c.listing() || c.Project != "":
		return nil
	case p == nil || p.project == "" || p.location == "":
		return &Refusal{SurfaceOff, c.Method + " names no project: it needs a project and a location in the policy's defaults"}
	}
	c.Project, c.Location = p.project, p.location
	return nil
}

// canonical puts a call into the one form that rules are about and that is forwarded: listings are completed, a model's alias gives way to
// the model, a project's number to its id, and a known endpoint gets its host. Where that cannot be done the call is judged and forwarded
// as it is.
func (p *Policy) canonical(c *Call) *Refusal {
	if refusal := p.complete(c); refusal != nil {
		return refusal
	}
	if id := p.projects[c.Project]; id != "" {
		if other, err := c.WithProject(id); err == nil {
			*c = other
		}
	}
	if model := p.aliases[c.Model]; model != "" {
		if other, err := c.WithModel(model); err == nil {
			*c = other
		}
	}
	if e, ok := p.endpoints[c.Endpoint]; ok && e.Project == c.Project && e.Location == c.Location {
		if other, err := c.WithEndpoint(e); err == nil {
			*c = other
		}
	}
	return nil
}

// Decide binds the caller and decides one call. It has no side effects and depends on nothing but its arguments.
func (p *Policy) Decide(c Caller, call Call, r Request) Decision { return p.Bind(c).Decide(call, r) }

func (d *Decision) deny(reason Reason, detail string) {
	d.Effect, d.Reason, d.Detail = Deny, reason, detail
}

// describe says what no rule allows; the names in it were checked by the parser and are bounded by the length of a target.
func describe(c *Call) string {
	const before = "no allow rule of the caller's roles applies to "
	where := c.Location
	switch {
	case c.Endpoint != "":
		return before + c.Method + " on endpoint " + c.Endpoint + " in " + where + " of project " + c.Project
	case c.Model != "":
		return before + c.Method + " on " + c.Publisher + "/" + c.Model + " in " + where + " of project " + c.Project
	}
	return before + c.Method + " in " + where + " of project " + c.Project
}

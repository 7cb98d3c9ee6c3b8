package policy

import (
	"strconv"
	"time"
)

// Caller is a verified identity. Claims hold JSON values: string, bool, numbers, []any, map[string]any, nil; they are only read.
type Caller struct {
	Issuer  string // the issuer's name in the policy
	Subject string
	Claims  map[string]any
}

// Request is what a decision depends on besides the caller and the call.
type Request struct {
	Role string    // the role the caller asks to act in; empty when it asks for none
	Now  time.Time // the time of the request
}

// Effect is the answer of a decision. The zero Effect denies.
type Effect uint8

// The effects.
const (
	Deny     Effect = iota
	Allow           // forward Decision.Call as Decision.Account
	NeedBody        // the decision depends on the request's body; no decision of this version has this effect
)

// String returns deny, allow or need_body.
func (e Effect) String() string {
	switch e {
	case Deny:
		return "deny"
	case Allow:
		return "allow"
	case NeedBody:
		return "need_body"
	}
	return "effect(" + strconv.Itoa(int(e)) + ")"
}

// Decision is the answer to one call. The zero Decision denies. Its slices belong to the policy and are only read.
type Decision struct {
	Effect Effect
	Reason Reason // empty on allow
	Detail string // for the operator; for DENIED it is the rule's `because`, which a client may see
	Role   string // the role the caller acts in; on deny the one it asked for or the first it has
	Rule   string // the rule that allowed, denied, or might allow once the body is seen

	// The token to mint; empty unless allowed.
	Account   string // e-mail of the service account
	Delegates []string
	Scopes    []string
	Lifetime  time.Duration

	UserProject string // the quota project of the role; empty when it names none
	Call        Call   // what is to be forwarded: the call, completed by Policy.Complete
}

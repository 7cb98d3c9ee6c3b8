package policy

import (
	"net/netip"
	"strconv"
	"time"

	"vertex-spoa/policy/body"
)

// Caller is a verified identity. Claims hold JSON values: string, bool, numbers, []any, map[string]any, nil; they are only read.
type Caller struct {
	Issuer  string // the issuer's name in the policy
	Subject string
	Claims  map[string]any
}

// Request is what a decision depends on besides the caller and the call.
type Request struct {
	Role   string     // the role the caller asks to act in; empty when it asks for none
	Reason string     // why the caller breaks the glass; empty when it gives no reason
	Now    time.Time  // the time of the request
	IP     netip.Addr // where the caller connects from; the zero Addr when that is not known
	Tier   Tier       // what the caller asks for

	ID string // of the request; it stands for the caller, where that has no subject, in whether a rule with a percentage holds

	BodyState BodyState
	Body      *body.Facts // what the body says, when BodyState is BodyWhole
}

// BodyState says how much of the request's body was seen.
type BodyState uint8

// The states of a body.
const (
	BodyNotSeen   BodyState = iota // it was not asked for yet
	BodyWhole                      // it was read
	BodyTruncated                  // it is longer than what was seen
	BodyAbsent                     // there is none
	BodyInvalid                    // it is not the body of such a call
)

// Effect is the answer of a decision. The zero Effect denies.
type Effect uint8

// The effects.
const (
	Deny     Effect = iota
	Allow           // forward Decision.Call as Decision.Account
	NeedBody        // the decision depends on the request's body: ask again with it
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
	Exchange  *Exchange

	UserProject string // the quota project of the role; empty when it names none
	Call        Call   // what is to be forwarded: the call, completed by Policy.Complete, with aliases and rewrites done
	Tier        Tier   // what is to be sent in the headers of the tier

	Duties     []RuleDuties // of the applying allow rules that have any
	Breakglass bool         // allowed by a rule for emergencies
	Overridden []string     // the deny rules that did not hold against it
	Shadow     []ShadowRule // what rules in shadow mode would have done
	Failed     string       // an allow rule whose condition could not be decided, so that it did not apply; empty: none was met
}

// RuleDuties is what one rule imposes.
type RuleDuties struct {
	Rule   string
	Duties *Duties
}

// ShadowRule is a rule in shadow mode that applies to the call.
type ShadowRule struct {
	Rule   string
	Effect Effect
}

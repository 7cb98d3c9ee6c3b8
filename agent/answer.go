package agent

import (
	"context"
	"errors"
	"fmt"
	"time"

	"vertex-spoa/agent/internal/google"
	"vertex-spoa/agent/internal/identity"
	"vertex-spoa/policy"
	"vertex-spoa/spoe"
)

// answer is everything that came of one request: what HAProxy is told and what the record says. The zero answer denies.
type answer struct {
	effect policy.Effect
	reason Reason
	detail string // for the operator

	identity identity.Identity
	call     policy.Call
	uri      string // canonical path and query of the call, once it is parsed
	decision policy.Decision
	token    google.Token
	digest   string // of the policy

	retryAfter time.Duration

	verify, decide, mint time.Duration // what each stage took
}

// allowed is the positive proof: an explicit allow with a token. Nothing else forwards.
func (a *answer) allowed() bool {
	return a.effect == policy.Allow && a.token.Value.Len() > 0
}

// settle turns what the stages returned into the final answer.
func (a *answer) settle(err error) {
	if err == nil && a.decision.Effect == policy.Allow && a.token.Value.Len() > 0 {
		a.effect = policy.Allow
		return
	}
	a.refuse(err)
}

// refuse makes a deny of err, and takes back whatever could let a request through.
func (a *answer) refuse(err error) {
	a.effect, a.token = policy.Deny, google.Token{}
	a.reason, a.detail = Internal, "no allow and no reason"
	if err == nil {
		return
	}
	a.detail = err.Error()
	var (
		byPipeline *fault
		byIdentity *identity.Error
		byPolicy   *policy.Refusal
		byGoogle   *google.Error
	)
	switch {
	case errors.As(err, &byPipeline):
		a.reason = byPipeline.reason
	case errors.As(err, &byIdentity):
		a.reason = Reason(byIdentity.Reason)
	case errors.As(err, &byPolicy):
		a.reason = Reason(byPolicy.Reason)
	case errors.As(err, &byGoogle):
		a.reason, a.retryAfter = Reason(byGoogle.Reason), byGoogle.RetryAfter
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		a.reason = DecisionTimeout
	}
}

// message is the text the caller may see. A rule's `because` is written for callers and goes along.
func (a *answer) message() string {
	_, text := explain(a.reason)
	if a.reason == Reason(policy.Denied) && a.decision.Detail != "" {
		return text + ": " + a.decision.Detail
	}
	return text
}

const scope = spoe.ScopeTransaction

// appendActions appends the variables HAProxy gets. The decision is the last one: HAProxy stops at an action it cannot read and keeps
// what came before, so a torn list has no decision. The token is in scope req and gone before HAProxy logs the end of the transaction.
func (a *answer) appendActions(to []spoe.Action) []spoe.Action {
	to = a.appendWho(to)
	if a.allowed() {
		to = append(to,
			spoe.SetString(spoe.ScopeRequest, "token", a.token.Value.Reveal()),
			spoe.SetString(scope, "uri", a.uri),
			spoe.SetString(scope, "host", a.decision.Call.Host()),
			spoe.SetInt(scope, "status", 200))
		return append(to, spoe.SetString(scope, "decision", policy.Allow.String()))
	}
	code, _ := explain(a.reason)
	to = append(to,
		spoe.SetString(scope, "reason", string(a.reason)),
		spoe.SetString(scope, "message", a.message()))
	switch code {
	case unauthenticated:
		to = append(to, spoe.SetString(scope, "www_authenticate", a.challenge()))
	case serviceUnavailable:
		to = append(to, spoe.SetInt(scope, "retry_after", a.retrySeconds()))
	case badRequest, forbidden:
	}
	to = append(to, spoe.SetInt(scope, "status", int64(code)))
	return append(to, spoe.SetString(scope, "decision", policy.Deny.String()))
}

// appendWho appends what is known of the caller and the decision, whichever way it went.
func (a *answer) appendWho(to []spoe.Action) []spoe.Action {
	for _, v := range [...]struct{ name, value string }{
		{"issuer", a.identity.Issuer},
		{"subject", a.identity.Subject},
		{"role", a.decision.Role},
		{"rule", a.decision.Rule},
		{"account", a.decision.Account},
		{"policy", a.digest},
		{"location", a.forwarded().Location},
		{"user_project", a.decision.UserProject},
	} {
		if v.value != "" {
			to = append(to, spoe.SetString(scope, v.name, v.value))
		}
	}
	return append(to,
		spoe.SetInt(scope, "t_verify", a.verify.Microseconds()),
		spoe.SetInt(scope, "t_policy", a.decide.Microseconds()),
		spoe.SetInt(scope, "t_mint", a.mint.Microseconds()))
}

// forwarded is the call as the policy completed it, or as it was parsed if it did not come that far.
func (a *answer) forwarded() policy.Call {
	if a.decision.Call != (policy.Call{}) {
		return a.decision.Call
	}
	return a.call
}

// challenge is the WWW-Authenticate field of a 401 (RFC 6750 section 3): without an error code when no token came.
func (a *answer) challenge() string {
	if a.reason == Reason(identity.TokenMissing) {
		return `Bearer realm="vertex"`
	}
	return fmt.Sprintf(`Bearer realm="vertex", error="invalid_token", error_description=%q`, a.message())
}

func (a *answer) retrySeconds() int64 {
	return max(1, int64((a.retryAfter+time.Second-1)/time.Second))
}

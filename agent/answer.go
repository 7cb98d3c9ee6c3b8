package agent

import (
	"context"
	"errors"
	"fmt"
	"time"

	"vertex-spoa/agent/internal/google"
	"vertex-spoa/agent/internal/identity"
	"vertex-spoa/policy"
	"vertex-spoa/policy/body"
	"vertex-spoa/spoe"
)

// answer is everything that came of one request: what HAProxy is told and what the record says. The zero answer denies.
type answer struct {
	effect policy.Effect
	reason Reason
	detail string // for the operator

	identity identity.Identity
	claims   []byte // of the caller, that the policy uses
	call     policy.Call
	body     *body.Facts // nil where it was not read

	bodyState policy.BodyState

	decision policy.Decision
	token    google.Token
	digest   string // of the policy
	uri      string // of what is forwarded; see path

	requestReason string // for X-Goog-Request-Reason

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
	case errors.As(err, &byPolicy): // also a *refusal
		a.reason = Reason(byPolicy.Reason)
	case errors.As(err, &byGoogle):
		a.reason, a.retryAfter = Reason(byGoogle.Reason), byGoogle.RetryAfter
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		a.reason = DecisionTimeout
	}
}

// message is the text the caller may see. A rule's `because` is written for callers and goes along.
func (a *answer) message() string {
	text := explain(a.reason).message
	if a.reason == Reason(policy.Denied) && a.decision.Detail != "" {
		return text + ": " + a.decision.Detail
	}
	return text
}

const scope = spoe.ScopeTransaction

// needsBody reports that HAProxy is to ask again, with the body.
func (a *answer) needsBody() bool { return a.effect == policy.NeedBody }

// appendActions appends the variables HAProxy gets. The decision is the last one: HAProxy stops at an action it cannot read and keeps
// what came before, so a torn list has no decision. The token is in scope req and gone before HAProxy logs the end of the transaction.
func (a *answer) appendActions(to []spoe.Action) []spoe.Action {
	if a.needsBody() {
		return append(to, spoe.SetString(scope, "decision", policy.NeedBody.String()))
	}
	to = a.appendWho(to)
	if a.allowed() {
		to = append(a.appendForward(to), spoe.SetInt(scope, "status", 200))
		return append(to, spoe.SetString(scope, "decision", policy.Allow.String()))
	}
	told := explain(a.reason)
	to = append(to,
		spoe.SetString(scope, "reason", string(a.reason)),
		spoe.SetString(scope, "public_reason", told.public),
		spoe.SetString(scope, "message", a.message()))
	switch told.status {
	case unauthenticated:
		to = append(to, spoe.SetString(scope, "www_authenticate", a.challenge()))
	case serviceUnavailable, tooManyRequests:
		to = append(to, spoe.SetInt(scope, "retry_after", a.retrySeconds()))
	case badRequest, forbidden, contentTooLarge:
	}
	to = append(to, spoe.SetInt(scope, "status", int64(told.status)))
	return append(to, spoe.SetString(scope, "decision", policy.Deny.String()))
}

// appendForward appends what HAProxy sends to Google in place of what the caller sent.
func (a *answer) appendForward(to []spoe.Action) []spoe.Action {
	call := a.forwarded()
	to = append(to,
		spoe.SetString(spoe.ScopeRequest, "token", a.token.Value.Reveal()),
		spoe.SetString(scope, "token_fingerprint", a.token.Fingerprint),
		spoe.SetString(scope, "uri", a.path()),
		spoe.SetString(scope, "host", call.Host()))
	if call.UpstreamHost != "" {
		to = append(to, spoe.SetString(scope, "endpoint", call.Endpoint))
	}
	return appendTexts(to, [][2]string{
		{"user_project", a.decision.UserProject},
		{"request_reason", a.requestReason},
		{"tier", a.decision.Tier.RequestType},
		{"shared_tier", a.decision.Tier.SharedRequestType},
	})
}

func appendTexts(to []spoe.Action, all [][2]string) []spoe.Action {
	for _, v := range all {
		if v[1] != "" {
			to = append(to, spoe.SetString(scope, v[0], v[1]))
		}
	}
	return to
}

// appendWho appends what is known of the caller and the decision, whichever way it went.
func (a *answer) appendWho(to []spoe.Action) []spoe.Action {
	to = appendTexts(to, [][2]string{
		{"issuer", a.identity.Issuer},
		{"subject", a.identity.Subject},
		{"role", a.decision.Role},
		{"rule", a.decision.Rule},
		{"account", a.decision.Account},
		{"policy", a.digest},
		{"location", a.forwarded().Location},
	})
	return append(to,
		spoe.SetInt(scope, "t_verify", a.verify.Microseconds()),
		spoe.SetInt(scope, "t_policy", a.decide.Microseconds()),
		spoe.SetInt(scope, "t_mint", a.mint.Microseconds()))
}

// forwarded is the call as the policy completed it, or as it was parsed if it did not come that far.
func (a *answer) forwarded() *policy.Call {
	if a.decision.Call.Method != "" {
		return &a.decision.Call
	}
	return &a.call
}

// path is the canonical path and query of the call, empty if there is none.
func (a *answer) path() string {
	if a.uri == "" {
		a.uri = a.forwarded().URI()
	}
	return a.uri
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

package agent

import (
	"net/netip"
	"strings"
	"time"

	"vertex-spoa/agent/internal/audit"
	"vertex-spoa/policy"
)

// What a caller can write into a record is cut to these lengths in bytes.
const (
	maxURI     = 2048
	maxText    = 256
	maxSubject = 512
)

// describe fills the record of the answer. That is made before the answer is given: an allow in it was decided, and given if the record
// could be written.
func (a *answer) describe(rec *audit.Record, r *request, now time.Time) {
	code, verdict := status(200), "allow"
	if !a.allowed() {
		code = explain(a.reason).status
		verdict = "deny"
	}
	call := a.forwarded()
	uri := a.path()
	if uri == "" {
		uri = pathOf(r.URI)
	}
	*rec = audit.Record{
		Time: now, ID: cut(r.ID, maxText), Attempt: r.Attempt,
		Decision: verdict, Status: int(code), Reason: string(a.reason), Detail: cut(a.detail, maxURI),
		Issuer: a.identity.Issuer, Subject: cut(a.identity.Subject, maxSubject), TokenID: cut(a.identity.TokenID, maxText), Source: textOf(r.Source),
		Certificate: a.identity.Thumbprint, Claims: a.claims,
		RoleAsked: cut(r.Role, maxText), BreakGlass: cut(r.Reason, maxText), Tier: cut(r.Tier.RequestType, 64), SharedTier: cut(r.Tier.SharedRequestType, 64),
		HTTPMethod: cut(r.Method, 32), URI: cut(uri, maxURI), URIAsked: a.asked(),
		Project: call.Project, Location: call.Location, Publisher: call.Publisher, Model: call.Model, Endpoint: call.Endpoint,
		Method: call.Method, Stream: call.Stream,
		Role: a.decision.Role, Rule: a.decision.Rule, Account: a.decision.Account, Policy: a.digest,
		Shadow: shadows(a.decision.Shadow), Overridden: a.decision.Overridden,
		UserAgent: cut(r.UserAgent, maxText), TraceParent: cut(r.TraceParent, 64),
		VerifyMicros: a.verify.Microseconds(), PolicyMicros: a.decide.Microseconds(), MintMicros: a.mint.Microseconds(),
	}
	rec.Body = a.recordedBody()
	if x := a.decision.Exchange; x != nil {
		rec.Exchange = x.Audience
	}
	if a.allowed() {
		rec.TokenFingerprint, rec.TokenExpiry = a.token.Fingerprint, a.token.Expiry
	}
}

// asked is the canonical path and query that the caller asked for, empty where that is what is forwarded.
func (a *answer) asked() string {
	if a.decision.Call.Method == "" || a.decision.Call == a.call {
		return ""
	}
	if asked := a.call.URI(); asked != a.path() {
		return cut(asked, maxURI)
	}
	return ""
}

// recordedBody is what the record says of the body: nothing if it was not asked for.
func (a *answer) recordedBody() []byte {
	switch a.bodyState {
	case policy.BodyWhole:
		return a.body.AppendJSON(nil)
	case policy.BodyAbsent:
		return []byte(`"none"`)
	case policy.BodyTruncated:
		return []byte(`"truncated"`)
	case policy.BodyInvalid:
		return []byte(`"unreadable"`)
	case policy.BodyNotSeen:
	}
	return nil
}

func shadows(all []policy.ShadowRule) []string {
	var list []string
	for _, s := range all {
		list = append(list, s.Rule+":"+s.Effect.String())
	}
	return list
}

func textOf(ip netip.Addr) string {
	if !ip.IsValid() {
		return ""
	}
	return ip.String()
}

// pathOf leaves out everything that may be a query: that is where callers put credentials that this agent refuses.
func pathOf(uri string) string {
	if at := strings.IndexAny(uri, "?#;&"); at >= 0 {
		return uri[:at]
	}
	return uri
}

func cut(s string, n int) string {
	if len(s) <= n {
		return s
	}
	return s[:n]
}

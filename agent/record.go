package agent

import (
	"strings"
	"time"

	"vertex-spoa/agent/internal/audit"
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
		code, _ = explain(a.reason)
		verdict = "deny"
	}
	call := a.forwarded()
	uri := a.uri
	if uri == "" {
		uri = pathOf(r.URI)
	}
	*rec = audit.Record{
		Time: now, ID: cut(r.ID, maxText), Attempt: r.Attempt,
		Decision: verdict, Status: int(code), Reason: string(a.reason), Detail: cut(a.detail, maxURI),
		Issuer: a.identity.Issuer, Subject: cut(a.identity.Subject, maxSubject), TokenID: cut(a.identity.TokenID, maxText), Source: r.Source,
		HTTPMethod: cut(r.Method, 32), URI: cut(uri, maxURI),
		Project: call.Project, Location: call.Location, Publisher: call.Publisher, Model: call.Model, Endpoint: call.Endpoint,
		Method: call.Method, Stream: call.Stream,
		Role: a.decision.Role, Rule: a.decision.Rule, Account: a.decision.Account, Policy: a.digest,
		UserAgent: cut(r.UserAgent, maxText), TraceParent: cut(r.TraceParent, 64),
		VerifyMicros: a.verify.Microseconds(), PolicyMicros: a.decide.Microseconds(), MintMicros: a.mint.Microseconds(),
	}
	if a.allowed() {
		rec.TokenFingerprint, rec.TokenExpiry = a.token.Value.Fingerprint(), a.token.Expiry
	}
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

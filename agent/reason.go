package agent

import (
	"vertex-spoa/agent/internal/google"
	"vertex-spoa/agent/internal/identity"
	"vertex-spoa/policy"
)

// Reason says in one word why a request was not let through. It is the metric label, the audit field, HAProxy's variable and the
// reason in the error body that the caller sees. The set is closed: each room has its own, and all of them stand in explain.
type Reason string

// The pipeline's own reasons.
const (
	ArgumentMissing      Reason = "ARGUMENT_MISSING"      // HAProxy's message lacks a mandatory argument
	ContractVersion      Reason = "CONTRACT_VERSION"      // HAProxy's message is of another version of the contract
	CredentialsAmbiguous Reason = "CREDENTIALS_AMBIGUOUS" // more than one Authorization field
	ContentType          Reason = "CONTENT_TYPE"          // a body that is not JSON in UTF-8
	LengthRequired       Reason = "LENGTH_REQUIRED"       // a POST without exactly one Content-Length
	Overloaded           Reason = "OVERLOADED"            // a bound on concurrent work refused the request
	DecisionTimeout      Reason = "DECISION_TIMEOUT"      // keys or a token did not come in time
	AuditUnavailable     Reason = "AUDIT_UNAVAILABLE"     // the audit line could not be written
	Internal             Reason = "INTERNAL"              // a fault of this program
)

// Reasons returns the pipeline's own reasons.
func Reasons() []Reason {
	return []Reason{ArgumentMissing, ContractVersion, CredentialsAmbiguous, ContentType, LengthRequired, Overloaded, DecisionTimeout,
		AuditUnavailable, Internal}
}

// status is the HTTP status HAProxy answers a refused caller with. HAProxy's configuration knows these and no others.
type status int

const (
	badRequest         status = 400
	unauthenticated    status = 401
	forbidden          status = 403
	contentTooLarge    status = 413
	tooManyRequests    status = 429
	serviceUnavailable status = 503
)

// refusal is what becomes of a reason: the status, the reason and the text that the caller gets.
type refusal struct {
	status  status
	public  string // what the caller may know of the reason
	message string
}

// What callers are told. It says what they can do, and nothing about how the decision came about: whether an issuer, a key or a
// subject is known here is not theirs to learn.
var (
	invalidToken  = refusal{unauthenticated, "INVALID_TOKEN", "the bearer token cannot be accepted"}
	badToken      = refusal{unauthenticated, "INVALID_TOKEN", "no well-formed bearer token was sent"}
	staleToken    = refusal{unauthenticated, "TOKEN_EXPIRED", "the bearer token is not valid at this time"}
	invalidCert   = refusal{unauthenticated, "INVALID_CERTIFICATE", "the client certificate cannot be accepted"}
	ambiguous     = refusal{badRequest, "CREDENTIALS_AMBIGUOUS", "send exactly one credential"}
	issuerDown    = refusal{serviceUnavailable, "ISSUER_UNAVAILABLE", "the issuer of the bearer token cannot be asked at the moment"}
	notAllowed    = refusal{forbidden, "NOT_ALLOWED", "the policy does not allow this call"}
	noCredential  = refusal{serviceUnavailable, "CREDENTIAL_UNAVAILABLE", "no Google credential can be had for this call at the moment"}
	notExchanged  = refusal{forbidden, "EXCHANGE_REFUSED", "the bearer token cannot be exchanged for a Google credential"}
	agentFailed   = refusal{serviceUnavailable, "INTERNAL", "the policy agent has failed"}
	badQuestion   = refusal{serviceUnavailable, "INTERNAL", "the proxy's question to the policy agent is not complete"}
	tooMuchAtOnce = refusal{serviceUnavailable, "OVERLOADED", "too many requests at once"}
) // never written

// same is a refusal whose reason the caller may know.
func same[R ~string](s status, r R, message string) refusal { return refusal{s, string(r), message} }

// explain is the one table of reasons. An unknown reason is our own fault and is told as such.
func explain(r Reason) refusal {
	for _, table := range [...]func(Reason) (refusal, bool){explainPolicy, explainIdentity, explainGoogle} {
		if told, ok := table(r); ok {
			return told
		}
	}
	switch r {
	case CredentialsAmbiguous:
		return ambiguous
	case ContentType:
		return same(badRequest, r, "send the body as application/json in UTF-8")
	case LengthRequired:
		return same(badRequest, r, "send the body with exactly one Content-Length")
	case ArgumentMissing, ContractVersion:
		return badQuestion
	case Overloaded:
		return tooMuchAtOnce
	case DecisionTimeout:
		return same(serviceUnavailable, r, "the decision did not come in time")
	case AuditUnavailable:
		return same(serviceUnavailable, r, "the call cannot be recorded at the moment")
	case Internal:
	}
	return agentFailed
}

func explainIdentity(r Reason) (refusal, bool) {
	switch identity.Reason(r) {
	case identity.TokenMissing:
		return same(unauthenticated, r, "send a bearer token in the Authorization header"), true
	case identity.CredentialsTwice:
		return ambiguous, true
	case identity.TokenMalformed, identity.TokenType, identity.WrongHeader:
		return badToken, true
	case identity.TokenExpired, identity.TokenNotYetValid, identity.TokenTooOld:
		return staleToken, true
	case identity.UnknownIssuer, identity.AlgorithmRefused, identity.UnknownKey, identity.KeyRefused, identity.BadSignature,
		identity.LifetimeTooLong, identity.WrongAudience, identity.SeveralAudiences, identity.ClaimMissing, identity.ClaimRefused,
		identity.TenantRefused, identity.ClientRefused, identity.EmailNotVerified, identity.BindingUnsupported, identity.BindingMismatch,
		identity.TokenInactive, identity.IntrospectionMismatch, identity.Revoked:
		return invalidToken, true
	case identity.CertificateMissing, identity.CertificateUnverified, identity.CertificateMalformed, identity.CertificateExpired,
		identity.CertificateNotYetValid, identity.CertificateUnsuitable, identity.CertificateWeak, identity.CertificateUntrusted,
		identity.CertificateUnknown:
		return invalidCert, true
	case identity.IssuerUnavailable, identity.IssuerBusy, identity.IntrospectionUnavailable:
		return issuerDown, true
	}
	return refusal{}, false
}

func explainPolicy(r Reason) (refusal, bool) {
	switch policy.Reason(r) {
	case policy.BadTarget:
		return same(badRequest, r, "the path is not the canonical path of a Vertex AI call"), true
	case policy.BadQuery:
		return same(badRequest, r, "the query is not one this call takes"), true
	case policy.BadHTTPMethod:
		return same(badRequest, r, "the HTTP method is not the one this call takes"), true
	case policy.UnknownLocation:
		return same(badRequest, r, "the location is not one of Vertex AI's"), true
	case policy.BadBody:
		return same(badRequest, r, "the body is not one this call takes"), true
	case policy.BodyRequired:
		return same(badRequest, r, "this call needs a body"), true
	case policy.TruncatedBody:
		return same(contentTooLarge, r, "the body is too large to be judged"), true
	case policy.SurfaceOff:
		return same(forbidden, r, "this part of the Vertex AI API is not available here"), true
	case policy.Denied:
		return same(forbidden, r, "a rule denies this call"), true
	case policy.ReasonRequired:
		return same(forbidden, r, "give a reason in the X-Vertex-Reason header"), true
	case policy.NoRole, policy.NoRule, policy.NotActive, policy.PolicyError:
		return notAllowed, true
	}
	return refusal{}, false
}

func explainGoogle(r Reason) (refusal, bool) {
	switch google.Reason(r) {
	case google.CredentialsUnavailable, google.AccountForbidden, google.MintUnavailable, google.MintInvalid, google.ExchangeUnavailable:
		return noCredential, true
	case google.ExchangeRefused, google.ExchangeUnsupported:
		return notExchanged, true
	case google.ExchangeLimit:
		return tooMuchAtOnce, true
	}
	return refusal{}, false
}

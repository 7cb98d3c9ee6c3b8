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
	serviceUnavailable status = 503
)

// explain is the one table of reasons: the status and the text a caller gets. The text tells callers what they can do and nothing about
// how the decision came about. An unknown reason is our own fault and is told as such.
func explain(r Reason) (status, string) {
	switch r {
	case Reason(identity.TokenMissing):
		return unauthenticated, "send a bearer token in the Authorization header"
	case Reason(identity.TokenMalformed):
		return unauthenticated, "the Authorization header does not hold a well-formed bearer token"
	case Reason(identity.TokenExpired):
		return unauthenticated, "the bearer token has expired"
	case Reason(identity.TokenNotYetValid), Reason(identity.TokenTooOld):
		return unauthenticated, "the bearer token is not valid at this time"
	case Reason(identity.UnknownIssuer), Reason(identity.WrongAudience):
		return unauthenticated, "the bearer token was not issued for this service"
	case Reason(identity.AlgorithmRefused), Reason(identity.UnknownKey), Reason(identity.BadSignature):
		return unauthenticated, "the bearer token's signature cannot be accepted"
	case Reason(identity.ClaimMissing), Reason(identity.BindingUnsupported):
		return unauthenticated, "the bearer token's claims cannot be accepted"
	case Reason(identity.IssuerUnavailable):
		return serviceUnavailable, "the issuer of the bearer token cannot be asked at the moment"

	case CredentialsAmbiguous:
		return badRequest, "send exactly one Authorization header"
	case ContentType:
		return badRequest, "send the body as application/json in UTF-8"
	case LengthRequired:
		return badRequest, "send the body with exactly one Content-Length"
	case Reason(policy.BadTarget):
		return badRequest, "the path is not the canonical path of a Vertex AI call"
	case Reason(policy.BadQuery):
		return badRequest, "the query is not one this call takes"
	case Reason(policy.BadHTTPMethod):
		return badRequest, "the HTTP method is not the one this call takes"
	case Reason(policy.UnknownLocation):
		return badRequest, "the location is not one of Vertex AI's"

	case Reason(policy.SurfaceOff):
		return forbidden, "this part of the Vertex AI API is not available here"
	case Reason(policy.NoRole):
		return forbidden, "the caller has no role here, or not the one it asked for"
	case Reason(policy.NoRule):
		return forbidden, "no rule allows this call"
	case Reason(policy.Denied):
		return forbidden, "a rule denies this call"
	case Reason(policy.PolicyError):
		return forbidden, "the policy could not be applied to this call"
	case Reason(policy.BodyRequired):
		return forbidden, "a call that names its model in the body is not available here"

	case Reason(google.CredentialsUnavailable), Reason(google.AccountForbidden), Reason(google.MintUnavailable), Reason(google.MintInvalid):
		return serviceUnavailable, "no Google credential can be had for this call at the moment"
	case ArgumentMissing, ContractVersion:
		return serviceUnavailable, "the proxy's question to the policy agent is not complete"
	case Overloaded:
		return serviceUnavailable, "too many requests at once"
	case DecisionTimeout:
		return serviceUnavailable, "the decision did not come in time"
	case AuditUnavailable:
		return serviceUnavailable, "the call cannot be recorded at the moment"
	case Internal:
	}
	return serviceUnavailable, "the policy agent has failed"
}

package identity

import (
	"fmt"
	"strconv"
)

// Reason says why a caller was refused. The set is closed: [Reasons] lists it.
type Reason string

// The reasons. All are faults of the credential or of the request, except IssuerUnavailable and IssuerBusy, which are faults on our side
// of the wire: the same request may succeed later.
const (
	TokenMissing       Reason = "TOKEN_MISSING"       // the request carries no credential
	CredentialsTwice   Reason = "CREDENTIALS_TWICE"   // two fields carry a token: it is not clear which counts
	TokenMalformed     Reason = "TOKEN_MALFORMED"     // wrong scheme, serialisation, header, claim type, or too big
	TokenType          Reason = "TOKEN_TYPE"          // an ID, refresh, logout or other token that is not for calling
	WrongHeader        Reason = "WRONG_HEADER"        // the token came in a field in which its issuer does not send tokens
	AlgorithmRefused   Reason = "ALGORITHM_REFUSED"   // none, HS256, or another that the issuer does not use
	UnknownIssuer      Reason = "UNKNOWN_ISSUER"      // no configured issuer has exactly this iss
	UnknownKey         Reason = "UNKNOWN_KEY"         // the issuer has no key that fits kid and algorithm
	KeyRefused         Reason = "KEY_REFUSED"         // the key belongs to another tenant of the provider
	BadSignature       Reason = "BAD_SIGNATURE"       // the key did not sign this token
	TokenExpired       Reason = "TOKEN_EXPIRED"       // exp has passed
	TokenNotYetValid   Reason = "TOKEN_NOT_YET_VALID" // nbf or iat is in the future
	TokenTooOld        Reason = "TOKEN_TOO_OLD"       // iat is further back than the issuer's MaxAge
	LifetimeTooLong    Reason = "LIFETIME_TOO_LONG"   // the token is good for longer than the issuer's MaxLifetime
	WrongAudience      Reason = "WRONG_AUDIENCE"      // the token was made for somebody else
	SeveralAudiences   Reason = "SEVERAL_AUDIENCES"   // the token was made for somebody else as well, and the issuer must not do that
	ClaimMissing       Reason = "CLAIM_MISSING"       // iss, sub, aud, exp or another required claim is absent
	ClaimRefused       Reason = "CLAIM_REFUSED"       // a claim is not of its declared type, or against a rule of its provider
	TenantRefused      Reason = "TENANT_REFUSED"      // the caller belongs to a tenant that is not listed
	ClientRefused      Reason = "CLIENT_REFUSED"      // the token was given to a client that is not listed
	EmailNotVerified   Reason = "EMAIL_NOT_VERIFIED"  // the provider says that the e-mail address may be somebody else's
	BindingUnsupported Reason = "BINDING_UNSUPPORTED" // cnf binds the token to a key that was not checked
	IssuerUnavailable  Reason = "ISSUER_UNAVAILABLE"  // the issuer's keys cannot be had: the caller may try again
	IssuerBusy         Reason = "ISSUER_BUSY"         // too many costly signatures of the issuer at once: the caller may try again
)

// Reasons returns every Reason, in a new slice.
func Reasons() []Reason {
	return []Reason{
		TokenMissing, CredentialsTwice, TokenMalformed, TokenType, WrongHeader, AlgorithmRefused, UnknownIssuer, UnknownKey, KeyRefused,
		BadSignature, TokenExpired, TokenNotYetValid, TokenTooOld, LifetimeTooLong, WrongAudience, SeveralAudiences, ClaimMissing,
		ClaimRefused, TenantRefused, ClientRefused, EmailNotVerified, BindingUnsupported, BindingMismatch, IssuerUnavailable, IssuerBusy,
		CertificateMissing, CertificateUnverified, CertificateMalformed, CertificateExpired, CertificateNotYetValid,
		CertificateUnsuitable, CertificateWeak, CertificateUntrusted, CertificateUnknown,
		Revoked, TokenInactive, IntrospectionMismatch, IntrospectionUnavailable,
	}
}

// Error is a refusal. It never holds more of a token than names out of it, shortened and quoted: of its issuer, key, algorithm, type, and
// SPIFFE ID.
type Error struct {
	Reason Reason // never empty
	Detail string // which check failed and why, for the operator and not for the client; printable ASCII
	Err    error  // the cause, or nil
}

// Error returns reason, detail and cause in one line.
func (e *Error) Error() string {
	s := "verify token: " + string(e.Reason) + ": " + e.Detail
	if e.Err != nil {
		s += ": " + e.Err.Error()
	}
	return s
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// refuse returns an *Error without a cause. Foreign text among args must go through shown.
func refuse(reason Reason, format string, args ...any) error {
	return &Error{Reason: reason, Detail: fmt.Sprintf(format, args...)}
}

// shown makes a name that somebody else chose fit for a log: quoted, ASCII only, and short.
func shown(s string) string {
	const longest = 128
	if len(s) > longest {
		return strconv.QuoteToASCII(s[:longest]) + "..."
	}
	return strconv.QuoteToASCII(s)
}

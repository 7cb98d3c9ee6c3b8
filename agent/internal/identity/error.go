package identity

import (
	"fmt"
	"strconv"
)

// Reason says why a token was refused. The set is closed: [Reasons] lists it.
type Reason string

// The reasons. All are faults of the token or of the request, except IssuerUnavailable, which is a fault on our side of the wire.
const (
	TokenMissing       Reason = "TOKEN_MISSING"       // the request carries no credential
	TokenMalformed     Reason = "TOKEN_MALFORMED"     // wrong scheme, serialisation, header, claim type, or too big
	AlgorithmRefused   Reason = "ALGORITHM_REFUSED"   // none, HS256, or another that the issuer does not use
	UnknownIssuer      Reason = "UNKNOWN_ISSUER"      // no configured issuer has exactly this iss
	UnknownKey         Reason = "UNKNOWN_KEY"         // the issuer has no key that fits kid and algorithm
	BadSignature       Reason = "BAD_SIGNATURE"       // the key did not sign this token
	TokenExpired       Reason = "TOKEN_EXPIRED"       // exp has passed
	TokenNotYetValid   Reason = "TOKEN_NOT_YET_VALID" // nbf or iat is in the future
	WrongAudience      Reason = "WRONG_AUDIENCE"      // the token was made for somebody else
	TokenTooOld        Reason = "TOKEN_TOO_OLD"       // iat is further back than the issuer's MaxAge
	ClaimMissing       Reason = "CLAIM_MISSING"       // iss, sub, aud, exp or a required iat is absent
	BindingUnsupported Reason = "BINDING_UNSUPPORTED" // cnf binds the token to a key that was not checked
	IssuerUnavailable  Reason = "ISSUER_UNAVAILABLE"  // the issuer's keys cannot be had: the caller may try again
)

// Reasons returns every Reason, in a new slice.
func Reasons() []Reason {
	return []Reason{
		TokenMissing, TokenMalformed, AlgorithmRefused, UnknownIssuer, UnknownKey, BadSignature, TokenExpired, TokenNotYetValid,
		WrongAudience, TokenTooOld, ClaimMissing, BindingUnsupported, IssuerUnavailable,
	}
}

// Error is a refusal. It never holds more of a token than its issuer, key id and algorithm names, shortened and quoted.
type Error struct {
	Reason Reason // never empty
	Detail string // for the operator, not for the client; printable ASCII
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

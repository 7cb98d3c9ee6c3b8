package policy

import "strconv"

// Reason says why a call was refused. The set is closed: it serves as metric label, audit field and the reason in the client's error.
type Reason string

// The reasons of this package.
const (
	BadTarget       Reason = "BAD_TARGET"       // the path is not one this package would itself have written
	BadQuery        Reason = "BAD_QUERY"        // a query parameter that the call does not take
	BadHTTPMethod   Reason = "BAD_HTTP_METHOD"  // not the one HTTP method of the call
	UnknownLocation Reason = "UNKNOWN_LOCATION" // a location that is not in the table of Locations
	SurfaceOff      Reason = "SURFACE_OFF"      // a part of the API that is not an inference call, or not one known here
	NoRole          Reason = "NO_ROLE"          // the caller has no role, or not the one it asks for
	NoRule          Reason = "NO_RULE"          // no allow rule of the caller's roles applies
	Denied          Reason = "DENIED"           // a deny rule applies
	PolicyError     Reason = "POLICY_ERROR"     // there is no usable policy, or the call was not made by ParseCall
	BodyRequired    Reason = "BODY_REQUIRED"    // the body decides, and it was not asked for yet, or there is none
	TruncatedBody   Reason = "BODY_TRUNCATED"   // the body decides, and it is longer than what was seen
	BadBody         Reason = "BAD_BODY"         // the body decides, and it cannot be read, or says otherwise than the path which model is called
	ReasonRequired  Reason = "REASON_REQUIRED"  // the rule is for emergencies, and the caller gives no reason
	NotActive       Reason = "NOT_ACTIVE"       // a rule would allow the call at another time
)

// Reasons returns all reasons of this package, in a fixed order.
func Reasons() []Reason {
	return []Reason{
		BadTarget, BadQuery, BadHTTPMethod, UnknownLocation, SurfaceOff,
		NoRole, NoRule, Denied, PolicyError, BodyRequired, TruncatedBody, BadBody, ReasonRequired, NotActive,
	}
}

// Refusal is the error of ParseCall and of Policy.Complete.
type Refusal struct {
	Reason Reason
	Detail string // for the operator: printable ASCII, at most 300 bytes, no value of a query
}

// Error returns the reason and the detail.
func (r *Refusal) Error() string { return "call refused: " + string(r.Reason) + ": " + r.Detail }

// quote returns s in quotes, printable and cut to a bounded length.
func quote(s string) string {
	const most = 48
	if len(s) > most {
		return strconv.QuoteToASCII(s[:most]) + "..."
	}
	return strconv.QuoteToASCII(s)
}

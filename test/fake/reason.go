package fake

import "slices"

// Reason says why a fake refused a request. The set is closed: see [Reasons]. Those that Google itself sends in
// google.rpc.ErrorInfo carry Google's names; the others are never put on the wire and are seen in a [Refusal] only.
type Reason string

// The reasons of all parties, with the HTTP status each is answered with.
const (
	// Any party.
	NotFound      Reason = "NOT_FOUND"      // 404: no such path, or not with this HTTP method
	HostUnknown   Reason = "HOST_UNKNOWN"   // 404: the Host is not one this party answers for
	BodyInvalid   Reason = "BODY_INVALID"   // 400: not the form or JSON this call takes
	BodyTooLarge  Reason = "BODY_TOO_LARGE" // 413: more than this party reads
	MethodRefused Reason = "METHOD_REFUSED" // 405: not an HTTP method this party knows
	LedgerFull    Reason = "LEDGER_FULL"    // 503: more unexpired tokens than a Ledger keeps
	Injected      Reason = "INJECTED"       // any: a Fault was in force

	// Identity provider, token endpoint (RFC 6749 section 5.2).
	ClientUnknown    Reason = "CLIENT_UNKNOWN"    // 401: invalid_client (Google's token endpoints too)
	GrantUnsupported Reason = "GRANT_UNSUPPORTED" // 400: unsupported_grant_type

	// Metadata server.
	FlavorMissing    Reason = "FLAVOR_MISSING"    // 403: no "Metadata-Flavor: Google"
	ForwardedRefused Reason = "FORWARDED_REFUSED" // 403: an X-Forwarded-For, so the request came through a proxy

	// Bearer tokens, at IAM Credentials and at Vertex AI.
	CredentialsMissing   Reason = "CREDENTIALS_MISSING"             // 401: no Authorization, or no bearer in it
	CredentialsRepeated  Reason = "CREDENTIALS_REPEATED"            // 401: more than one Authorization
	TokenTypeUnsupported Reason = "ACCESS_TOKEN_TYPE_UNSUPPORTED"   // 401: not a token of the party that must have issued it
	TokenExpired         Reason = "ACCESS_TOKEN_EXPIRED"            // 401
	ScopeInsufficient    Reason = "ACCESS_TOKEN_SCOPE_INSUFFICIENT" // 403: the token has no scope for this call
	PermissionDenied     Reason = "IAM_PERMISSION_DENIED"           // 403: the account may not do this
	UserProjectDenied    Reason = "USER_PROJECT_DENIED"             // 403: the account may not bill X-Goog-User-Project

	// IAM Credentials.
	NameInvalid      Reason = "NAME_INVALID"      // 400: not projects/-/serviceAccounts/EMAIL
	DelegatesInvalid Reason = "DELEGATES_INVALID" // 400: a delegate that is not such a name
	ScopeMissing     Reason = "SCOPE_MISSING"     // 400: an empty scope list
	ScopeUnknown     Reason = "SCOPE_UNKNOWN"     // 400: a scope Google does not have (the metadata server refuses these too)
	LifetimeInvalid  Reason = "LIFETIME_INVALID"  // 400: not a duration, or out of the account's range
	AccountUnknown   Reason = "ACCOUNT_UNKNOWN"   // 404: no such service account

	// Security Token Service and OAuth (RFC 6749 section 5.2).
	AudienceInvalid        Reason = "AUDIENCE_INVALID"         // 400: invalid_request: no resource name of a provider
	PoolUnknown            Reason = "POOL_UNKNOWN"             // 400: invalid_target: no such provider
	SubjectTypeUnsupported Reason = "SUBJECT_TYPE_UNSUPPORTED" // 400: invalid_request: no subject_token_type, or not the provider's
	SubjectInvalid         Reason = "SUBJECT_INVALID"          // 400: no token at all, or one without the claims that are needed
	SubjectForged          Reason = "SUBJECT_FORGED"           // 400: invalid_grant: no signature of a key that is known
	SubjectIssuer          Reason = "SUBJECT_ISSUER"           // 400: invalid_grant: of another issuer, or another account
	SubjectAudience        Reason = "SUBJECT_AUDIENCE"         // 400: invalid_grant: for another audience
	SubjectExpired         Reason = "SUBJECT_EXPIRED"          // 400: invalid_grant
	SubjectTooOld          Reason = "SUBJECT_TOO_OLD"          // 400: invalid_grant: iat is missing or more than a day ago
	AlgorithmUnsupported   Reason = "ALGORITHM_UNSUPPORTED"    // 400: invalid_grant: not RS256 or ES256
	KeysUnavailable        Reason = "KEYS_UNAVAILABLE"         // 400: invalid_grant: the issuer's key set cannot be fetched
	OptionsInvalid         Reason = "OPTIONS_INVALID"          // 400: invalid_request

	// Amazon's metadata service and its own token service.
	SessionMissing Reason = "SESSION_MISSING" // 401: no session token of IMDSv2, or not one of ours
	RequestForged  Reason = "REQUEST_FORGED"  // 400: a signed request that is none, or not for this purpose

	// Vertex AI.
	HostMismatch     Reason = "HOST_MISMATCH"     // 404: the name of the TLS handshake and the Host differ
	LocationMismatch Reason = "LOCATION_MISMATCH" // 404: the path's location is not the one this host serves
	PathInvalid      Reason = "PATH_INVALID"      // 400: bytes or segments that a canonical path cannot have
	QueryInvalid     Reason = "QUERY_INVALID"     // 400: a parameter this call does not take, or one given twice

	// Egress proxy.
	RouteUnknown Reason = "ROUTE_UNKNOWN" // 403: a CONNECT to a name that is not part of the sandbox
	RouteCut     Reason = "ROUTE_CUT"     // 502: the name is cut off, or its party does not accept connections
)

// Reasons returns every Reason, sorted.
func Reasons() []Reason {
	all := []Reason{
		NotFound, HostUnknown, BodyInvalid, BodyTooLarge, MethodRefused, LedgerFull, Injected,
		ClientUnknown, GrantUnsupported,
		FlavorMissing, ForwardedRefused,
		CredentialsMissing, CredentialsRepeated, TokenTypeUnsupported, TokenExpired, ScopeInsufficient, PermissionDenied,
		UserProjectDenied,
		NameInvalid, DelegatesInvalid, ScopeMissing, ScopeUnknown, LifetimeInvalid, AccountUnknown,
		AudienceInvalid, PoolUnknown, SubjectTypeUnsupported, SubjectInvalid, SubjectForged, SubjectIssuer, SubjectAudience, SubjectExpired,
		SubjectTooOld, AlgorithmUnsupported, KeysUnavailable, OptionsInvalid,
		SessionMissing, RequestForged,
		HostMismatch, LocationMismatch, PathInvalid, QueryInvalid,
		RouteUnknown, RouteCut,
	}
	slices.Sort(all)
	return all
}

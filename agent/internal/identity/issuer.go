package identity

import (
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// Issuer is one configured identity provider, as plain values. What is left empty is the default of its profile.
//
// An issuer with a Certificate and no URL takes callers by their client certificate alone. With both, token and certificate are both
// required.
type Issuer struct {
	Name       string        // the name rules use; unique, 1 to 64 printable bytes without space
	URL        string        // the iss of its tokens, byte for byte; unique, printable, without space
	Audiences  []string      // at least one; a token must name at least one of them
	Algorithms []string      // what it signs with; empty is RS256 and ES256. RS, PS, ES with 256, 384, 512, and EdDSA
	JWKSURL    string        // where its keys are; empty is discovery at URL + /.well-known/openid-configuration
	JWKSFile   string        // or a local file that holds them
	Leeway     time.Duration // clock difference forgiven in exp, nbf and iat: 0 is 30s, at most 120s
	MaxAge     time.Duration // 0 is no limit beyond exp; otherwise iat is required and at most this long ago, without leeway

	// Profile says whose tokens these are: "" or generic, rfc9068, google, iap, entra, kubernetes, github, gitlab, aws, okta, cloudflare,
	// spiffe, keycloak or auth0. It brings defaults, and checks of its own that no other field turns off.
	Profile        string
	SingleAudience bool   // a token must not name any other audience
	JWKS           []byte // the key set document itself, instead of JWKSURL and JWKSFile
	Header         string // the field its tokens come in, and no other: one of the Header constants

	MaxLifetime time.Duration // from iat (from now, without iat) to exp: 0 is 24h, or less by the profile
	MaxStale    time.Duration // how long keys serve after the last fetch that brought them: 0 is 24h, 1m to 168h
	Require     []string      // claims that must be there and not be null

	// Subject, Groups and Email name the claims that become those of the Identity. A name may be a path: members of nested objects are
	// joined by dots, and a name that has dots itself, like a URL, is found first.
	Subject, Groups, Email string
	// Claims declares types: string, int, number, bool, list or map, by the name or path of the claim. A token in which such a claim has
	// another type is refused; it may be missing.
	Claims map[string]string

	// Tenants are the only ones whose callers are let in, by the claim of the profile: tid for entra (required for a URL with
	// {tenantid}), hd for google and iap, org_id for auth0, the account for aws, repository_owner_id for github, namespace_id for gitlab,
	// the namespace for kubernetes, the trust domain for spiffe.
	Tenants []string
	// Clients are the only ones whose tokens are taken, by the claims of the profile: azp and client_id, appid for entra, cid for okta,
	// common_name for cloudflare.
	Clients []string

	CAFile    string // PEM certificates that sign for the hosts keys are fetched from, instead of those of the Client
	ProxyURL  string // through which keys are fetched, instead of the proxy of the Client: http or https
	TokenFile string // holds a bearer token to fetch keys with. This and CAFile are read again for each fetch

	Introspection *Introspection   // asks the issuer whether the token is still good (RFC 7662); nil does not
	Certificate   *CertificateRule // which client certificates name a caller; nil takes no notice of certificates
}

const (
	defaultLeeway   = 30 * time.Second
	maxLeeway       = 120 * time.Second
	defaultLifetime = 24 * time.Hour
	maxName         = 64
)

// issuer is an Issuer ready to judge tokens.
type issuer struct {
	Issuer
	profile      profile
	subjects     []string                     // claims of which the first that is not empty names the caller
	methods      map[string]jwt.SigningMethod // by algorithm: the allow-list
	options      []jwt.ParserOption           // all but issuer and clock
	keys         *keySet                      // nil for an issuer by certificate alone
	costly       *gate
	certificate  *certificateRule // nil takes no notice of certificates
	introspector *introspector    // nil does not ask
}

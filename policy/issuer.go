package policy

import (
	"maps"
	"slices"
	"time"
)

// Issuer is one identity provider that the policy trusts. Texts are as written; what is zero is the verifier's default. Names of files
// that were relative are joined to the policy's folder.
type Issuer struct {
	Name       string // the name roles use
	URL        string // the exact claim iss; empty for an issuer by certificate alone
	Profile    string // one of Profiles; empty: generic
	Audiences  []string
	Algorithms []string
	JWKSURL    string // empty: discovered from URL, or JWKSFile, or JWKS
	JWKSFile   string // a local key set
	JWKS       []byte // a key set written into the policy, as JSON
	Header     string // the field that carries the token, in lower case; empty: authorization, or what the profile says
	CAFile     string // PEM file of the authorities that vouch for the issuer's hosts; empty: the system's
	ProxyURL   string // through which the issuer is reached
	TokenFile  string // file of the bearer token for fetching keys

	SingleAudience bool          // a token must name one audience only
	Leeway         time.Duration // clock difference forgiven
	MaxAge         time.Duration // since iat; 0: no limit beyond the token's expiry
	MaxLifetime    time.Duration // from now to exp
	MaxStale       time.Duration // how long keys are used that could not be fetched again

	Require []string          // claims that every token carries
	Subject string            // the claims that are taken for subject, groups and e-mail
	Groups  string            // "
	Email   string            // "
	Claims  map[string]string // types of claims by name, each one of ClaimTypes: for `when`, and tokens with others are refused
	Tenants []string          // whose tokens are accepted, of an issuer that serves several tenants
	Clients []string          // whose tokens are accepted, by azp, client_id, appid or cid

	Introspection *Introspection   // ask the issuer about each token
	Certificate   *CertificateRule // client certificates that identify callers, alone or beside a token
}

// Introspection is how an issuer is asked about a token (RFC 7662).
type Introspection struct {
	URL              string
	ClientID         string
	ClientSecretFile string
	CAFile           string        // PEM file of the authorities that vouch for the URL's host; empty: the system's
	CacheFor         time.Duration // how long an answer is relied on; 0: the verifier's default
	Opaque           bool          // tokens that are not JWTs are accepted on the issuer's word alone
}

// CertificateRule says which client certificates are accepted: those that one of the lists takes.
type CertificateRule struct {
	TrustDomains []string // of SPIFFE IDs
	DNS          []string // names in the certificate, whose first label may be *
	Subject      []string // distinguished names (RFC 4514), in which * stands for any text within a value
	CAFile       string   // PEM file of the authorities that sign them; empty: HAProxy's verification stands alone
}

// Profiles returns the names of the known kinds of issuers.
func Profiles() []string {
	return []string{
		"generic", "rfc9068", "google", "iap", "entra", "kubernetes", "github", "gitlab", "aws", "okta", "cloudflare", "spiffe",
		"keycloak", "auth0",
	}
}

// ClaimTypes returns the types that claims may be declared with.
func ClaimTypes() []string { return []string{"string", "int", "bool", "number", "list", "map"} }

// clone returns a copy that shares nothing with i.
func (i Issuer) clone() Issuer {
	i.Audiences, i.Algorithms = slices.Clone(i.Audiences), slices.Clone(i.Algorithms)
	i.JWKS, i.Require = slices.Clone(i.JWKS), slices.Clone(i.Require)
	i.Claims, i.Tenants, i.Clients = maps.Clone(i.Claims), slices.Clone(i.Tenants), slices.Clone(i.Clients)
	if i.Introspection != nil {
		introspection := *i.Introspection
		i.Introspection = &introspection
	}
	if c := i.Certificate; c != nil {
		i.Certificate = &CertificateRule{slices.Clone(c.TrustDomains), slices.Clone(c.DNS), slices.Clone(c.Subject), c.CAFile}
	}
	return i
}

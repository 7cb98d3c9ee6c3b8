// Package identity answers one question: who is calling? It verifies bearer JSON Web Tokens of any number of configured issuers, and the
// client certificates that HAProxy has verified.
//
// A token passes three gates. The pre-flight reads the compact form, the header and the claims with this package's own strict reader
// and refuses every ambiguity before a key is looked for. The key set of the one issuer that the token names, kept fresh in the
// background, yields the one key that may have signed it. github.com/golang-jwt/jwt/v5 then checks signature, times, issuer and
// audience. Then the rules of the issuer's profile follow: what Okta, Entra, GitHub and others mean by their claims. Only a token that
// passes all of this becomes an [Identity]; everything else is an [Error] with a [Reason].
package identity

import "time"

// Identity is a caller who was verified. The zero Identity is nobody. Copies share Audience, Groups and Claims: do not change them.
type Identity struct {
	Issuer    string    // Issuer.Name of the configured issuer, the name rules use
	IssuerURL string    // the iss claim; "" for a caller by certificate alone, and for a JWT-SVID that has none
	Subject   string    // who it is to the issuer: 1 to 512 bytes of printable UTF-8, a SPIFFE ID up to 2048
	Audience  []string  // the aud claim, 1 to 32 names; nil for a caller by certificate alone
	TokenID   string    // the jti claim, or ""
	SessionID string    // the sid claim, or ""
	KeyID     string    // the kid of the key that signed, also where the header leaves it out, or ""
	IssuedAt  time.Time // the iat claim, or the zero time; for a caller by certificate alone the beginning of the certificate
	Expiry    time.Time // the exp claim, without leeway; for a caller by certificate alone the end of the certificate

	Groups []string // the claim that the issuer's Groups names, or nil: each not empty, at most 512 bytes
	Email  string   // the claim that the issuer's Email names, or "": also when the issuer says that the address is not verified

	// The client certificate that was presented with the request, whether or not the issuer asks for one; all "" without.
	Thumbprint        string // SHA-256 of the certificate, base64url: x5t#S256 of RFC 8705
	CertificateIssuer string // its issuer's distinguished name
	CertificateSerial string // its serial number, lower case hexadecimal without leading zeros

	// FreshUntil is when whoever remembers an Identity must forget it, even before Expiry: the issuer must be asked again whether the token
	// is active (RFC 7662), or the client certificate ends. It is zero where neither plays a part.
	FreshUntil time.Time

	Generation uint64 // of the issuer's keys it was verified with: see Verifier.Generation

	// Claims holds every claim as a JSON value: string, bool, int64, float64, []any, map[string]any or nil. A number is an int64 when
	// it is written as an integer and fits, a float64 otherwise. Where the issuer asks for a certificate, the member "certificate" is what
	// the certificate says, whatever the token says under that name.
	Claims map[string]any
}

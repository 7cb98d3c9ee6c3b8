// Package identity answers one question: who is calling? It verifies bearer JSON Web Tokens of any number of configured issuers.
//
// A token passes three gates. The pre-flight reads the compact form, the header and the claims with this package's own strict reader
// and refuses every ambiguity before a key is looked for. The key set of the one issuer that the token names, kept fresh in the
// background, yields the one key that may have signed it. github.com/golang-jwt/jwt/v5 then checks signature, times, issuer and
// audience. Only a token that all three accept becomes an [Identity]; everything else is an [Error] with a [Reason].
package identity

import "time"

// Identity is a caller whose token was verified. The zero Identity is nobody. Copies share Audience and Claims: do not change them.
type Identity struct {
	Issuer    string    // Issuer.Name of the configured issuer, the name rules use
	IssuerURL string    // the iss claim, equal to Issuer.URL
	Subject   string    // the sub claim: 1 to 512 bytes of UTF-8 without control, format or line separator characters
	Audience  []string  // the aud claim, 1 to 32 names
	TokenID   string    // the jti claim, or ""
	KeyID     string    // the kid of the header, or ""
	IssuedAt  time.Time // the iat claim, or the zero time
	Expiry    time.Time // the exp claim, without leeway

	Generation uint64 // of the issuer's keys it was verified with: see Verifier.Generation

	// Claims holds every claim as a JSON value: string, bool, int64, float64, []any, map[string]any or nil. A number is an int64 when
	// it is written as an integer and fits, a float64 otherwise.
	Claims map[string]any
}

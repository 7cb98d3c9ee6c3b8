package identity

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/golang-jwt/jwt/v5"
)

// Limits of the claims.
const (
	maxAudiences = 32
	maxSubject   = 512 // bytes: it becomes a HAProxy variable, a header and a log field
	// maxDate is the last second of the year 9999. golang-jwt converts larger values to int64 with overflow, into the far past: a
	// token with nbf 1e19 would count as already valid.
	maxDate = 253402300799
)

// claims is the payload of a token, read once by the strict reader. It implements jwt.Claims itself, because both ready-made types let
// tokens through: jwt.RegisteredClaims matches member names in any case and with Unicode folding, so that "ISS" overrides "iss";
// jwt.MapClaims takes exp 0 for no exp, and a sub or jti of any type.
type claims struct {
	raw []byte         // the JSON object all others were read from
	all map[string]any // every claim

	issuer, subject, id, session string
	audience                     jwt.ClaimStrings
	expiry                       *jwt.NumericDate // nil when absent, as are the next two
	notBefore                    *jwt.NumericDate
	issuedAt                     *jwt.NumericDate
}

var _ jwt.Claims = (*claims)(nil)

func (c *claims) GetExpirationTime() (*jwt.NumericDate, error) { return c.expiry, nil }
func (c *claims) GetIssuedAt() (*jwt.NumericDate, error)       { return c.issuedAt, nil }
func (c *claims) GetNotBefore() (*jwt.NumericDate, error)      { return c.notBefore, nil }
func (c *claims) GetIssuer() (string, error)                   { return c.issuer, nil }
func (c *claims) GetSubject() (string, error)                  { return c.subject, nil }
func (c *claims) GetAudience() (jwt.ClaimStrings, error)       { return c.audience, nil }

var errOtherPayload = errors.New("payload differs from the one that was read")

// UnmarshalJSON is how golang-jwt hands over the payload that it took from the token. Nothing is read again: it must be, byte for byte,
// the payload which the strict reader saw.
func (c *claims) UnmarshalJSON(payload []byte) error {
	if !bytes.Equal(payload, c.raw) {
		return errOtherPayload
	}
	return nil
}

// parseClaims reads the second segment and refuses registered claims of a wrong type. Whether the token says enough, and the truth, is
// decided later.
func parseClaims(segment string) (*claims, error) {
	raw, err := strictBase64.DecodeString(segment)
	if err != nil {
		return nil, refuse(TokenMalformed, "claims are not base64url")
	}
	all, err := parseObject(raw, jsonLimits{depth: 16, values: 4096})
	if err != nil {
		return nil, &Error{Reason: TokenMalformed, Detail: "claims", Err: err}
	}
	c := &claims{raw: bytes.TrimSpace(raw), all: all}
	if err := c.typed(); err != nil {
		return nil, &Error{Reason: TokenMalformed, Detail: "claims", Err: err}
	}
	return c, nil
}

// typed fills the typed claims (RFC 7519 section 4.1; azp and sid of OpenID Connect, client_id of RFC 9068, tid of Entra).
func (c *claims) typed() error {
	var unused string
	for _, s := range []struct {
		name string
		to   *string
	}{{"iss", &c.issuer}, {"sub", &c.subject}, {"jti", &c.id}, {"sid", &c.session}, {"azp", &unused}, {"client_id", &unused}, {"tid", &unused}} {
		if err := c.stringClaim(s.name, s.to); err != nil {
			return err
		}
	}
	for _, d := range []struct {
		name string
		to   **jwt.NumericDate
	}{{"exp", &c.expiry}, {"nbf", &c.notBefore}, {"iat", &c.issuedAt}} {
		if err := c.dateClaim(d.name, d.to); err != nil {
			return err
		}
	}
	if len(c.subject) > maxSPIFFE || strings.ContainsFunc(c.subject, unprintable) {
		return fmt.Errorf("claim \"sub\" is longer than %d bytes or not printable", maxSPIFFE)
	}
	return c.audienceClaim()
}

func (c *claims) stringClaim(name string, to *string) error {
	v, present := c.all[name]
	if !present {
		return nil
	}
	s, ok := v.(string)
	if !ok {
		return fmt.Errorf("claim %q is not a string", name)
	}
	*to = s
	return nil
}

// dateClaim reads a NumericDate (RFC 7519 section 2): a number of seconds, maybe with a fraction.
func (c *claims) dateClaim(name string, to **jwt.NumericDate) error {
	v, present := c.all[name]
	if !present {
		return nil
	}
	var seconds, fraction float64
	switch n := v.(type) {
	case int64:
		seconds = float64(n) // exact where it is accepted below
	case float64:
		seconds, fraction = math.Modf(n)
	}
	if at := seconds + fraction; at <= 0 || at > maxDate {
		return fmt.Errorf("claim %q is not a number of seconds between 1970 and 9999", name)
	}
	*to = &jwt.NumericDate{Time: time.Unix(int64(seconds), int64(fraction*1e9))}
	return nil
}

func (c *claims) audienceClaim() error {
	v, present := c.all["aud"]
	if !present {
		return nil
	}
	list, ok := v.([]any)
	if !ok {
		list = []any{v}
	}
	if len(list) == 0 || len(list) > maxAudiences {
		return fmt.Errorf("claim \"aud\" has %d names, not 1 to %d", len(list), maxAudiences)
	}
	for _, v := range list {
		s, ok := v.(string)
		if !ok || s == "" {
			return errors.New("claim \"aud\" has a value that is not a name")
		}
		c.audience = append(c.audience, s)
	}
	return nil
}

// unprintable reports whether r could make a subject look like another one, or break a line of a log or a header.
func unprintable(r rune) bool {
	return r == utf8.RuneError || unicode.In(r, unicode.Cc, unicode.Cf, unicode.Zl, unicode.Zp)
}

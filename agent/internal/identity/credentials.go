package identity

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"slices"
	"strconv"
	"strings"
	"time"

	"vertex-spoa/agent/internal/secret"
)

// The fields that may carry a token, in lower case: the values of Issuer.Header.
const (
	HeaderAuthorization = "authorization"            // Bearer and the token, RFC 6750 section 2.1
	HeaderCloudflare    = "cf-access-jwt-assertion"  // the token alone
	HeaderIAP           = "x-goog-iap-jwt-assertion" // the token alone
)

// Credentials is everything of one request that may say who sent it. The zero Credentials are of nobody.
type Credentials struct {
	Authorization   secret.Text // complete value of the Authorization field, or empty
	Assertion       secret.Text // complete value of another field that carries a token, or empty
	AssertionHeader string      // lower-case name of that field
	Certificate     ClientCertificate
}

// Digest returns the SHA-256 of everything that Identify looks at: nobody can make two Credentials with the same one that are not judged
// alike. How a scheme is written, and how many spaces follow it, does not count.
func (c *Credentials) Digest() [sha256.Size]byte {
	var stack [2048]byte // most callers need no more
	b := append(stack[:0], "caller 2"...)
	authorization := c.Authorization.Reveal()
	text, bearing := afterScheme(authorization)
	if bearing {
		authorization = text
	}
	b = strconv.AppendBool(b, bearing)
	for _, text := range [...]string{c.AssertionHeader, authorization, c.Assertion.Reveal()} {
		b = append(binary.BigEndian.AppendUint32(b, uint32(len(text))), text...)
	}
	b = strconv.AppendBool(b, c.Certificate.Used)
	b = binary.BigEndian.AppendUint64(b, uint64(c.Certificate.Result))
	b = append(b, c.Certificate.DER...)
	return sha256.Sum256(b)
}

// token returns the token of c and the field it came in. Without one both are empty.
func (c Credentials) token() (text, field string, err error) {
	switch authorized, asserted := c.Authorization.Len() > 0, c.Assertion.Len() > 0; {
	case authorized && asserted:
		return "", "", refuse(CredentialsTwice, "fields %q and %s both carry a token", HeaderAuthorization, shown(c.AssertionHeader))
	case authorized:
		text, err = bearer(c.Authorization.Reveal())
		return text, HeaderAuthorization, err
	case asserted && !slices.Contains([]string{HeaderCloudflare, HeaderIAP}, c.AssertionHeader):
		return "", "", refuse(WrongHeader, "field %s carries no tokens", shown(c.AssertionHeader))
	case asserted:
		return c.Assertion.Reveal(), c.AssertionHeader, checkBytes(c.Assertion.Reveal())
	}
	return "", "", nil
}

// Verify is [Verifier.Identify] for a request with an Authorization field and nothing else.
func (v *Verifier) Verify(ctx context.Context, authorization secret.Text, now time.Time) (Identity, error) {
	return v.Identify(ctx, Credentials{Authorization: authorization}, now)
}

// Identify returns the caller whom the credentials name, at the time now. Every error is an *Error, and the Identity is then zero.
//
// Exactly one token, in the field in which its issuer sends tokens, makes an Identity of that issuer; a client certificate beside it must
// then be one that HAProxy found good, and the one that the token is bound to, if it is (RFC 8705), or that the issuer asks for. A
// certificate without a token makes an Identity of the one issuer that takes it alone.
//
// Most callers need nothing but the keys in hand. Where a fetch might bring the key, Identify causes one and waits at most 300 ms; as long
// at most it waits for its turn to check a costly signature, and for the issuer's answer about the token, where it is asked. When ctx is
// done it does not wait: errors.Is(err, ctx.Err()) then tells that the same call with a live ctx may have another outcome.
func (v *Verifier) Identify(ctx context.Context, c Credentials, now time.Time) (Identity, error) {
	text, field, err := c.token()
	if err != nil {
		return Identity{}, err
	}
	presented, err := readCertificate(c.Certificate, now)
	if err != nil {
		return Identity{}, err
	}
	switch {
	case text == "":
		return v.byCertificate(presented)
	case len(v.opaque) == 1 && strings.Count(text, ".") != 2:
		return v.opaque[0].byOpaque(ctx, text, field, presented, now)
	}
	return v.byToken(ctx, text, field, presented, now)
}

// byCertificate identifies a caller without a token.
func (v *Verifier) byCertificate(presented *certificate) (Identity, error) {
	if presented == nil || len(v.holders) == 0 {
		return Identity{}, refuse(TokenMissing, "no field carries a token, and no client certificate is enough")
	}
	var id Identity
	var refusal error
	for _, i := range v.holders {
		subject, claims, err := i.certificate.identify(presented)
		switch {
		case err != nil:
			refusal = err
			continue
		case id.Issuer != "":
			return Identity{}, refuse(CertificateUnknown, "issuers %q and %q both take the certificate", id.Issuer, i.Name)
		}
		id = Identity{
			Issuer: i.Name, Subject: subject, IssuedAt: presented.leaf.NotBefore, Expiry: presented.leaf.NotAfter, Claims: claims,
		}
	}
	if id.Issuer == "" {
		return Identity{}, refusal
	}
	id.present(presented)
	return id, nil
}

// byToken identifies a caller with a JSON Web Token.
func (v *Verifier) byToken(ctx context.Context, text, field string, presented *certificate, now time.Time) (Identity, error) {
	t, err := parseToken(text)
	if err != nil {
		return Identity{}, err
	}
	i, err := v.issuerOf(t.claims)
	if err != nil {
		return Identity{}, err
	}
	if err := i.checkHeader(t, field); err != nil {
		return Identity{}, err
	}
	k, err := i.keys.find(ctx, t.header.keyID, t.header.algorithm, i.MaxStale)
	if err != nil {
		return Identity{}, err
	}
	if err := i.checkSignature(ctx, t, k, now); err != nil {
		return Identity{}, err
	}
	id, err := i.identity(t, presented, now)
	if err != nil {
		return Identity{}, err
	}
	id.KeyID, id.Generation = k.id, k.generation // also where the header does not name the key
	if i.introspector == nil {
		return id, nil
	}
	until, err := i.introspector.confirm(ctx, secret.New(text), t.claims, presented, now)
	if err != nil {
		return Identity{}, err
	}
	id.forgetAt(until)
	return id, nil
}

// byOpaque identifies a caller whose token only its issuer can read.
func (i *issuer) byOpaque(ctx context.Context, text, field string, presented *certificate, now time.Time) (Identity, error) {
	if field != i.Header {
		return Identity{}, refuse(WrongHeader, "tokens of issuer %q come in field %q, this one in %q", i.Name, i.Header, field)
	}
	who, until, err := i.introspector.resolve(ctx, secret.New(text), presented, now)
	if err != nil {
		return Identity{}, err
	}
	id, err := i.identity(&token{text: text, claims: who}, presented, now)
	if err != nil {
		return Identity{}, err
	}
	id.Generation = i.generation()
	id.forgetAt(until)
	return id, nil
}

// issuerOf returns the one configured issuer in whose name the claims are. Nothing of them is authentic yet.
func (v *Verifier) issuerOf(c *claims) (*issuer, error) {
	_, named := c.all["iss"]
	i := v.byURL[c.issuer]
	if i != nil && named && (i.profile.accepts == nil || i.profile.accepts(i, c)) { // compared again after the signature
		return i, nil
	}
	for _, i := range v.several {
		if i.profile.accepts(i, c) {
			return i, nil
		}
	}
	if !named {
		return nil, refuse(ClaimMissing, "claim \"iss\" is required")
	}
	return nil, refuse(UnknownIssuer, "issuer %s is not configured", shown(c.issuer))
}

package fake

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// OldKeys says what becomes of the keys that a rotation replaces.
type OldKeys int

// What a rotation does with the keys before it.
const (
	Withdraw OldKeys = iota // they vanish from the key set: what they signed must stop working
	Keep                    // they stay in the key set, and no longer sign
)

// keys is one generation of signing keys and what the key set says about them.
type keys struct {
	rsaKID, ecKID string
	rsa           *rsa.PrivateKey
	ec            *ecdsa.PrivateKey
	public        []jwk
}

func newKeys() (keys, error) {
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		return keys{}, fmt.Errorf("generate RSA key: %w", err)
	}
	ecKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return keys{}, fmt.Errorf("generate EC key: %w", err)
	}
	// The uncompressed form is 4 || X || Y, each coordinate of full length, as RFC 7518 section 6.2.1.2 wants it.
	point, err := ecKey.PublicKey.Bytes()
	if err != nil {
		return keys{}, fmt.Errorf("encode EC key: %w", err)
	}
	k := keys{rsaKID: "rs-" + randomID(), ecKID: "es-" + randomID(), rsa: rsaKey, ec: ecKey}
	b64 := base64.RawURLEncoding.EncodeToString
	k.public = []jwk{
		{KeyType: "RSA", Use: "sig", Algorithm: "RS256", KeyID: k.rsaKID,
			N: b64(rsaKey.N.Bytes()), E: b64(big.NewInt(int64(rsaKey.E)).Bytes())},
		{KeyType: "EC", Use: "sig", Algorithm: "ES256", KeyID: k.ecKID, Curve: "P-256", X: b64(point[1:33]), Y: b64(point[33:])},
	}
	return k, nil
}

// rsaPEM returns the public RSA key in the form that people paste into configuration files.
func (k keys) rsaPEM() ([]byte, error) {
	der, err := x509.MarshalPKIXPublicKey(k.rsa.Public())
	if err != nil {
		return nil, fmt.Errorf("encode public key: %w", err)
	}
	return encodePEM("PUBLIC KEY", der), nil
}

func randomID() string {
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails: crypto/rand ends the process instead
	return hex.EncodeToString(b[:])
}

type jwkSet struct {
	Keys []jwk `json:"keys"`
}

// jwk is a public key (RFC 7517 section 4, RFC 7518 section 6).
type jwk struct {
	KeyType   string `json:"kty"`
	Use       string `json:"use"`
	Algorithm string `json:"alg"`
	KeyID     string `json:"kid"`
	N         string `json:"n,omitempty"`
	E         string `json:"e,omitempty"`
	Curve     string `json:"crv,omitempty"`
	X         string `json:"x,omitempty"`
	Y         string `json:"y,omitempty"`
}

// publicKey decodes an RSA key or one of P-256.
func (k jwk) publicKey() (any, error) {
	read := base64.RawURLEncoding.Strict().DecodeString
	if k.KeyType == "RSA" {
		n, errN := read(k.N)
		e, errE := read(k.E)
		return &rsa.PublicKey{N: new(big.Int).SetBytes(n), E: int(new(big.Int).SetBytes(e).Int64())}, errors.Join(errN, errE)
	}
	x, errX := read(k.X)
	y, errY := read(k.Y)
	if err := errors.Join(errX, errY); err != nil || k.Curve != "P-256" {
		return nil, fmt.Errorf("key %q is neither of RSA nor of P-256", k.KeyID)
	}
	return ecdsa.ParseUncompressedPublicKey(elliptic.P256(), slices.Concat([]byte{4}, x, y))
}

// maxOldKeys bounds the generations that stay published.
const maxOldKeys = 4

// Rotate makes new keys, publishes them and signs with them from now on. Of the kept generations the last four stay published. After an
// error nothing has changed.
func (p *IDP) Rotate(old OldKeys) error {
	next, err := newKeys()
	if err != nil {
		return fmt.Errorf("rotate: %w", err)
	}
	p.keysMu.Lock()
	defer p.keysMu.Unlock()
	if old == Keep {
		p.old = append([]keys{p.current}, p.old...)
		p.old = p.old[:min(len(p.old), maxOldKeys)]
	} else {
		p.old = nil
	}
	p.current = next
	return nil
}

// draft is a token before it is signed.
type draft struct {
	method     jwt.SigningMethod
	claims     jwt.MapClaims
	header     map[string]any
	unknownKey bool // a key that was never published
	knownKID   bool // the published key's id, whatever key signs
	confused   bool // the public key as an HMAC secret
}

// A TokenOption changes a token before it is signed.
type TokenOption func(*draft)

// Claim sets a claim, or removes it when value is nil.
func Claim(name string, value any) TokenOption {
	return func(d *draft) {
		if value == nil {
			delete(d.claims, name)
			return
		}
		d.claims[name] = value
	}
}

// Audience sets aud: a string for one audience, an array for several.
func Audience(audience ...string) TokenOption {
	if len(audience) == 1 {
		return Claim("aud", audience[0])
	}
	return Claim("aud", audience)
}

// Issuer sets iss to something that need not be this provider.
func Issuer(issuer string) TokenOption { return Claim("iss", issuer) }

// Groups sets the groups claim.
func Groups(groups ...string) TokenOption { return Claim("groups", groups) }

// Lifetime sets exp to so long from now. A negative lifetime is in the past.
func Lifetime(life time.Duration) TokenOption {
	return func(d *draft) { d.claims["exp"] = time.Now().Add(life).Unix() }
}

// Expired makes a token that was valid until an hour ago.
func Expired() TokenOption {
	return func(d *draft) {
		past := time.Now().Add(-time.Hour)
		d.claims["exp"] = past.Unix()
		d.claims["iat"], d.claims["nbf"] = past.Add(-time.Hour).Unix(), past.Add(-time.Hour).Unix()
	}
}

// NotYet makes a token that is valid in an hour.
func NotYet() TokenOption {
	return func(d *draft) {
		d.claims["nbf"] = time.Now().Add(time.Hour).Unix()
		d.claims["exp"] = time.Now().Add(2 * time.Hour).Unix()
	}
}

// Header sets a member of the JOSE header after the usual ones, or removes it when value is nil.
func Header(name string, value any) TokenOption {
	return func(d *draft) { d.header[name] = value }
}

// ES256 signs with the P-256 key instead of the RSA key.
func ES256() TokenOption { return func(d *draft) { d.method = jwt.SigningMethodES256 } }

// UnknownKey signs with a key that is not in the key set, under a key id that is not there either.
func UnknownKey() TokenOption { return func(d *draft) { d.unknownKey = true } }

// ForgedKey signs with a key that is not in the key set, under the id of one that is.
func ForgedKey() TokenOption { return func(d *draft) { d.unknownKey, d.knownKID = true, true } }

// Unsigned makes a token of alg none, without a signature (RFC 7519 section 6).
func Unsigned() TokenOption { return func(d *draft) { d.method = jwt.SigningMethodNone } }

// Confused signs with HS256 and the published RSA key's PEM as the secret: the attack of RFC 8725 section 2.1.
func Confused() TokenOption {
	return func(d *draft) { d.method, d.confused = jwt.SigningMethodHS256, true }
}

// Token returns a compact JWT for a subject: RS256, from this issuer, for the provider's audience, valid from now for its lifetime, with
// a unique jti. Options apply in order. It fails only when a claim or header cannot be written as JSON.
func (p *IDP) Token(subject string, options ...TokenOption) (string, error) {
	now := time.Now()
	d := &draft{method: jwt.SigningMethodRS256, header: make(map[string]any), claims: jwt.MapClaims{
		"iss": p.options.Issuer, "sub": subject, "aud": p.options.Audience, "jti": randomID(),
		"iat": now.Unix(), "nbf": now.Unix(), "exp": now.Add(p.options.Lifetime).Unix(),
	}}
	for _, option := range options {
		option(d)
	}
	p.keysMu.Lock()
	signing := p.current
	p.keysMu.Unlock()
	text, err := d.sign(signing)
	if err != nil {
		return "", fmt.Errorf("token for %q: %w", subject, err)
	}
	return text, nil
}

func (d *draft) sign(k keys) (string, error) {
	published := k
	if d.unknownKey {
		var err error
		if k, err = newKeys(); err != nil {
			return "", err
		}
	}
	if d.knownKID {
		k.rsaKID, k.ecKID = published.rsaKID, published.ecKID
	}
	token := jwt.NewWithClaims(d.method, d.claims)
	var key any
	switch {
	case d.confused:
		secret, err := k.rsaPEM()
		if err != nil {
			return "", err
		}
		token.Header["kid"], key = k.rsaKID, secret
	case d.method == jwt.SigningMethodNone:
		token.Header["kid"], key = k.rsaKID, jwt.UnsafeAllowNoneSignatureType
	case d.method == jwt.SigningMethodES256:
		token.Header["kid"], key = k.ecKID, k.ec
	default:
		token.Header["kid"], key = k.rsaKID, k.rsa
	}
	for name, value := range d.header {
		token.Header[name] = value
		if value == nil {
			delete(token.Header, name)
		}
	}
	return token.SignedString(key)
}

package identity

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"math/big"
	"slices"
	"strings"
)

// Sizes of RSA keys in bits. The upper bound limits what one signature may cost.
const (
	minRSA = 2048
	maxRSA = 8192
)

// key is one public signature key. It is immutable.
type key struct {
	id        string // kid, or ""
	algorithm string // alg, or "" where the key names none
	public    crypto.PublicKey
	digest    [sha256.Size]byte // of the public key alone

	issuer     string // whose key it is, maybe with a template; "" where that is the issuer of the set
	generation uint64 // of the keyring it stands in
}

// fits reports whether the key may verify signatures of algorithm: its alg, when it has one, type and curve must all agree (RFC 8725
// section 3.1). golang-jwt compares only the length of an ECDSA signature and never the curve.
func (k *key) fits(algorithm string) bool {
	if k.algorithm != "" && k.algorithm != algorithm {
		return false
	}
	switch public := k.public.(type) {
	case *rsa.PublicKey:
		return strings.HasPrefix(algorithm, "RS") || strings.HasPrefix(algorithm, "PS")
	case *ecdsa.PublicKey:
		return algorithm == curveAlgorithm(public.Curve)
	case ed25519.PublicKey:
		return algorithm == "EdDSA"
	}
	return false
}

// curveAlgorithm returns the one algorithm of a curve (RFC 7518 section 3.4), or "".
func curveAlgorithm(c elliptic.Curve) string {
	switch c {
	case elliptic.P256():
		return "ES256"
	case elliptic.P384():
		return "ES384"
	case elliptic.P521():
		return "ES512"
	}
	return ""
}

var errPrivateKey = errors.New("contains a private or symmetric key")

// parseKey reads one JSON Web Key (RFC 7517 section 4) of a source. It returns an error for every key that could not, or must not,
// verify a token of that issuer. The error never tells the content of a member.
func parseKey(raw []byte, from source) (*key, error) {
	m, err := parseObject(raw, jsonLimits{depth: 8, values: 256})
	if err != nil {
		return nil, err
	}
	for _, name := range []string{"d", "p", "q", "dp", "dq", "qi", "oth", "k"} {
		if _, present := m[name]; present {
			return nil, errPrivateKey
		}
	}
	k := &key{}
	if k.id, err = keyID(m); err != nil {
		return nil, err
	}
	if err := checkUse(m, from.use); err != nil {
		return nil, err
	}
	if k.issuer, err = keyOwner(m, from.issuer); err != nil {
		return nil, err
	}
	if k.public, err = publicKey(m); err != nil {
		return nil, err
	}
	if err := checkCertificate(m, k.public); err != nil {
		return nil, err
	}
	if err := k.setAlgorithm(m); err != nil {
		return nil, err
	}
	der, err := x509.MarshalPKIXPublicKey(k.public)
	if err != nil {
		return nil, err
	}
	k.digest = sha256.Sum256(der)
	return k, nil
}

func keyID(m map[string]any) (string, error) {
	v, present := m["kid"]
	if !present {
		return "", nil
	}
	kid, ok := v.(string)
	if !ok || !validKeyID(kid) {
		return "", fmt.Errorf("kid is not a string of 1 to %d printable bytes", maxKeyID)
	}
	return kid, nil
}

// checkUse refuses keys for encryption (RFC 7517 sections 4.2 and 4.3). Some profiles have a word of their own for signatures.
func checkUse(m map[string]any, own string) error {
	if use, present := m["use"]; present && use != "sig" && (own == "" || use != own) {
		return errors.New("use is not sig")
	}
	operations, present := m["key_ops"]
	list, _ := operations.([]any)
	if present && !slices.Contains(list, any("verify")) {
		return errors.New("key_ops does not contain verify")
	}
	return nil
}

// keyOwner honours the issuer member with which Entra ties a key to one tenant, or to all by a template. Without it, the key of
// one tenant could sign for every other tenant that shares the document. Where all tenants are one issuer here, the token decides: then
// keyOwner returns what it must agree with.
func keyOwner(m map[string]any, issuer string) (string, error) {
	v, present := m["issuer"]
	if !present {
		return "", nil
	}
	text, _ := v.(string)
	if text != "" && strings.Contains(issuer, tenantTemplate) {
		return text, nil
	}
	before, after, template := strings.Cut(text, tenantTemplate)
	if !template && text == issuer {
		return "", nil
	}
	tenant, ok := strings.CutPrefix(issuer, before)
	if tenant, fits := strings.CutSuffix(tenant, after); template && ok && fits && tenant != "" && !strings.Contains(tenant, "/") {
		return "", nil
	}
	return "", errors.New("key belongs to another issuer")
}

// signsFor reports whether k may sign in the name of iss, for a tenant.
func (k *key) signsFor(iss, tenant string) bool {
	return k.issuer == "" || strings.Replace(k.issuer, tenantTemplate, tenant, 1) == iss
}

// setAlgorithm takes over alg (RFC 7517 section 4.4), which must be a signature algorithm for this type of key.
func (k *key) setAlgorithm(m map[string]any) error {
	v, present := m["alg"]
	if !present {
		return nil
	}
	algorithm, _ := v.(string)
	if algorithm == "Ed25519" { // RFC 9864 names the curve of EdDSA
		algorithm = "EdDSA"
	}
	if method(algorithm) == nil || !k.fits(algorithm) {
		return errors.New("alg does not fit a signature key of this type")
	}
	k.algorithm = algorithm
	return nil
}

// checkCertificate requires that a key which comes with its certificate is the key in it (RFC 7517 section 4.7). The certificate
// proves nothing else here.
func checkCertificate(m map[string]any, public crypto.PublicKey) error {
	v, present := m["x5c"]
	if !present {
		return nil
	}
	chain, _ := v.([]any)
	if len(chain) == 0 {
		return errors.New("x5c is not a list")
	}
	text, _ := chain[0].(string)
	der, err := base64.StdEncoding.DecodeString(text)
	if err != nil {
		return errors.New("x5c is not base64")
	}
	certificate, err := x509.ParseCertificate(der)
	if err != nil {
		return errors.New("x5c is not a certificate")
	}
	same, ok := public.(interface{ Equal(crypto.PublicKey) bool })
	if !ok || !same.Equal(certificate.PublicKey) {
		return errors.New("x5c is the certificate of another key")
	}
	return nil
}

// publicKey builds the key that kty and its members describe (RFC 7518 section 6, RFC 8037 section 2).
func publicKey(m map[string]any) (crypto.PublicKey, error) {
	kty, _ := m["kty"].(string)
	switch kty {
	case "RSA":
		return rsaKey(m)
	case "EC":
		return ecKey(m)
	case "OKP":
		return ed25519Key(m)
	}
	return nil, errors.New("kty is not RSA, EC or OKP")
}

// rsaKey refuses moduli that are weak, costly or even, and exponents that Go would refuse on every signature or that other readers
// would truncate.
func rsaKey(m map[string]any) (crypto.PublicKey, error) {
	n, err := bytesMember(m, "n")
	if err != nil {
		return nil, err
	}
	e, err := bytesMember(m, "e")
	if err != nil {
		return nil, err
	}
	modulus, exponent := new(big.Int).SetBytes(n), new(big.Int).SetBytes(e)
	if bits := modulus.BitLen(); bits < minRSA || bits > maxRSA || modulus.Bit(0) == 0 {
		return nil, fmt.Errorf("RSA modulus of %d bits is even or not of %d to %d bits", bits, minRSA, maxRSA)
	}
	if exponent.BitLen() > 31 || exponent.Int64() < 3 || exponent.Bit(0) == 0 {
		return nil, errors.New("RSA exponent is even or not of 2 to 31 bits")
	}
	return &rsa.PublicKey{N: modulus, E: int(exponent.Int64())}, nil
}

func ecKey(m map[string]any) (crypto.PublicKey, error) {
	name, _ := m["crv"].(string)
	curve := map[string]elliptic.Curve{"P-256": elliptic.P256(), "P-384": elliptic.P384(), "P-521": elliptic.P521()}[name]
	if curve == nil {
		return nil, errors.New("crv is not P-256, P-384 or P-521")
	}
	x, err := bytesMember(m, "x")
	if err != nil {
		return nil, err
	}
	y, err := bytesMember(m, "y")
	if err != nil {
		return nil, err
	}
	// RFC 7518 section 6.2.1.2: coordinates have the full length of the field.
	if size := (curve.Params().BitSize + 7) / 8; len(x) != size || len(y) != size {
		return nil, fmt.Errorf("coordinates of %d and %d bytes, not of %d", len(x), len(y), size)
	}
	public, err := ecdsa.ParseUncompressedPublicKey(curve, bytes.Join([][]byte{{4}, x, y}, nil))
	if err != nil {
		return nil, errors.New("point is not on the curve")
	}
	return public, nil
}

func ed25519Key(m map[string]any) (crypto.PublicKey, error) {
	if m["crv"] != "Ed25519" {
		return nil, errors.New("crv is not Ed25519")
	}
	x, err := bytesMember(m, "x")
	if err != nil {
		return nil, err
	}
	if err := checkEd25519(x); err != nil {
		return nil, err
	}
	return ed25519.PublicKey(x), nil
}

func bytesMember(m map[string]any, name string) ([]byte, error) {
	s, _ := m[name].(string)
	if s == "" || strings.ContainsAny(s, "\r\n") { // which every decoder of encoding/base64 skips
		return nil, fmt.Errorf("%s is not base64url", name)
	}
	b, err := strictBase64.DecodeString(s)
	if err != nil {
		return nil, fmt.Errorf("%s is not base64url", name)
	}
	return b, nil
}

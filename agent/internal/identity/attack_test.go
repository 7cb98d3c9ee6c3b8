package identity

import (
	"bytes"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"encoding/asn1"
	"encoding/pem"
	"math/big"
	"slices"
	"strings"
	"testing"
)

// forged puts a signature of one's own behind header and claims.
func forged(header, claims string, signature []byte) string {
	return encode(header) + "." + encode(claims) + "." + encode(signature)
}

// order returns the order of P-256.
func order() *big.Int { return elliptic.P256().Params().N }

// split returns r and s of an ES256 token.
func split(t *testing.T, token string) (r, s *big.Int) {
	t.Helper()
	raw, err := strictBase64.DecodeString(token[strings.LastIndexByte(token, '.')+1:])
	if err != nil || len(raw) != 64 {
		t.Fatalf("signature of %d bytes, %v", len(raw), err)
	}
	return new(big.Int).SetBytes(raw[:32]), new(big.Int).SetBytes(raw[32:])
}

func fixed(r, s *big.Int) []byte {
	return append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...)
}

// publicPEM is what an attacker knows of a key, in the form in which libraries have taken it for an HMAC secret.
func publicPEM(t *testing.T, k crypto.PublicKey) []byte {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(k)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
}

// TestSignatureAttacks holds what has broken verifiers before, by its name.
func TestSignatureAttacks(t *testing.T) {
	p := newProvider(t, allKeys()...)
	i := p.issuer()
	i.Algorithms = allAlgorithms
	v := newVerifier(t, options(t), i)
	spendCooldown(t, v, p.URL)
	claims := goodClaims(p.URL).String()
	es, rs, ed, ps := goodHeader("ES256").String(), goodHeader("RS256").String(), goodHeader("EdDSA").String(), goodHeader("PS256").String()
	good := compact("ES256", p256Private(), es, claims)
	r, s := split(t, good)
	zero, one := big.NewInt(0), big.NewInt(1)
	der, err := asn1.Marshal([]*big.Int{r, s})
	if err != nil {
		t.Fatal(err)
	}
	rsaText := encode(rs) + "." + encode(claims)
	rsaGood, err := strictBase64.DecodeString(strings.TrimPrefix(compact("RS256", rsaPrivate(), rs, claims), rsaText+"."))
	if err != nil {
		t.Fatal(err)
	}
	edwards := ed25519.Sign(ed25519Seeds(), []byte(encode(ed)+"."+encode(claims)))
	for name, c := range map[string]attack{
		"psychic signature: r and s zero":            {forged(es, claims, make([]byte, 64)), BadSignature},
		"psychic signature: r and s the order":       {forged(es, claims, fixed(order(), order())), BadSignature},
		"psychic signature: r zero":                  {forged(es, claims, fixed(zero, s)), BadSignature},
		"psychic signature: s zero":                  {forged(es, claims, fixed(r, zero)), BadSignature},
		"psychic signature: r and s one":             {forged(es, claims, fixed(one, one)), BadSignature},
		"ECDSA signature in DER":                     {forged(es, claims, der), BadSignature},
		"ECDSA signature with a byte more":           {forged(es, claims, append(fixed(r, s), 0)), BadSignature},
		"ECDSA signature with a byte less":           {forged(es, claims, fixed(r, s)[:63]), BadSignature},
		"ECDSA signature with a zero in front":       {forged(es, claims, append([]byte{0}, fixed(r, s)...)), BadSignature},
		"ECDSA halves exchanged":                     {forged(es, claims, fixed(s, r)), BadSignature},
		"ECDSA signature over another hash":          {forged(es, claims, overSHA512(t, es, claims)), BadSignature},
		"one byte of the claims changed":             {strings.Replace(good, encode(claims), encode(strings.Replace(claims, "alice", "alicf", 1)), 1), BadSignature},
		"the header of another token":                {strings.Replace(good, encode(es), encode(goodHeader("ES256").with("typ", "at+jwt").String()), 1), BadSignature},
		"the signature of another token":             {forged(es, strings.Replace(claims, "alice", "root", 1), fixed(r, s)), BadSignature},
		"RSA signature of zeros":                     {forged(rs, claims, make([]byte, 256)), BadSignature},
		"RSA signature of one":                       {forged(rs, claims, one.FillBytes(make([]byte, 256))), BadSignature},
		"RSA signature larger than the modulus":      {forged(rs, claims, bytes.Repeat([]byte{0xff}, 256)), BadSignature},
		"RSA signature with a zero in front":         {forged(rs, claims, append([]byte{0}, rsaGood...)), BadSignature},
		"RSA signature cut short":                    {forged(rs, claims, rsaGood[:255]), BadSignature},
		"RSA signature without the hash's name":      {forged(rs, claims, rawPKCS1(t, rs, claims)), BadSignature},
		"RSA signature with PSS for PKCS 1":          {forged(rs, claims, pss(t, rs, claims)), BadSignature},
		"RSA signature with PKCS 1 for PSS":          {forged(ps, claims, pkcs1(t, ps, claims)), BadSignature},
		"Ed25519 signature with s beyond the order":  {forged(ed, claims, beyondOrder(edwards)), BadSignature},
		"Ed25519 signature of zeros":                 {forged(ed, claims, make([]byte, 64)), BadSignature},
		"Ed25519 signature under the identity point": {forged(ed, claims, append([]byte{1}, make([]byte, 63)...)), BadSignature},
		"HS256 keyed with the PEM of an RSA key":     {compact("HS256", publicPEM(t, rsaPrivate().Public()), goodHeader("HS256").with("kid", "k-RS256").String(), claims), AlgorithmRefused},
		"HS256 keyed with the PEM of an EC key":      {compact("HS256", publicPEM(t, p256Private().Public()), goodHeader("HS256").with("kid", "k-ES256").String(), claims), AlgorithmRefused},
		"HS256 keyed with nothing":                   {compact("HS256", []byte{}, goodHeader("HS256").with("kid", "k-ES256").String(), claims), AlgorithmRefused},
		"an RSA algorithm with the kid of an EC key": {compact("RS256", rsaPrivate(), goodHeader("RS256").with("kid", "k-ES256").String(), claims), UnknownKey},
		"an EC algorithm with the kid of an RSA key": {compact("ES256", p256Private(), goodHeader("ES256").with("kid", "k-RS256").String(), claims), UnknownKey},
		"a key in the header":                        {compact("ES256", otherP256(), goodHeader("ES256").with("jwk", jwk(otherP256(), "k-ES256")).String(), claims), BadSignature},
		"a kid that is a query":                      {compact("ES256", otherP256(), goodHeader("ES256").with("kid", "' OR '1'='1").String(), claims), UnknownKey},
		"a kid that is an address":                   {compact("ES256", otherP256(), goodHeader("ES256").with("kid", p.URL+"/keys").String(), claims), UnknownKey},
		"a nested token":                             {compact("ES256", p256Private(), goodHeader("ES256").with("cty", "JWT").String(), good), TokenMalformed},
		"a token in a token's claims":                {compact("ES256", p256Private(), es, `"`+good+`"`), TokenMalformed},
		"compressed claims":                          {compact("ES256", p256Private(), goodHeader("ES256").with("zip", "DEF").String(), claims), TokenMalformed},
		"a detached payload":                         {encode(es) + ".." + encode(fixed(r, s)), TokenMalformed},
		"a payload that is not encoded":              {encode(goodHeader("ES256").with("b64", false, "crit", []string{"b64"}).String()) + "." + encode(claims) + "." + encode(fixed(r, s)), TokenMalformed},
		"password-based encryption for a signature":  {compact("ES256", p256Private(), goodHeader("ES256").with("alg", "PBES2-HS256+A128KW", "p2c", 1<<30).String(), claims), AlgorithmRefused},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := v.Verify(t.Context(), bearerOf(c.token), now)
			if got, want := reasonOf(t, err), c.want; got != want {
				t.Errorf("reason = %q (%v), want %q", got, err, want)
			}
			if got.Subject != "" || got.Claims != nil {
				t.Errorf("refused identity is %+v, want the zero one", got)
			}
		})
	}
}

func overSHA512(t *testing.T, header, claims string) []byte {
	t.Helper()
	digest := sha512.Sum512([]byte(encode(header) + "." + encode(claims)))
	r, s, err := ecdsa.Sign(rand.Reader, p256Private(), digest[:])
	if err != nil {
		t.Fatal(err)
	}
	return fixed(r, s)
}

func rawPKCS1(t *testing.T, header, claims string) []byte { return signRSA(t, header, claims, 0, nil) }
func pkcs1(t *testing.T, header, claims string) []byte {
	return signRSA(t, header, claims, crypto.SHA256, nil)
}

func pss(t *testing.T, header, claims string) []byte {
	return signRSA(t, header, claims, crypto.SHA256, &rsa.PSSOptions{SaltLength: rsa.PSSSaltLengthEqualsHash, Hash: crypto.SHA256})
}

func signRSA(t *testing.T, header, claims string, hash crypto.Hash, o *rsa.PSSOptions) []byte {
	t.Helper()
	digest := sha256.Sum256([]byte(encode(header) + "." + encode(claims)))
	signature, err := rsa.SignPKCS1v15(nil, rsaPrivate(), hash, digest[:])
	if o != nil {
		signature, err = rsa.SignPSS(rand.Reader, rsaPrivate(), hash, digest[:], o)
	}
	if err != nil {
		t.Fatal(err)
	}
	return signature
}

// beyondOrder adds the order of the group to s, which changes nothing in the equation that is checked (RFC 8032 section 5.1.7).
func beyondOrder(signature []byte) []byte {
	l, _ := new(big.Int).SetString("7237005577332262213973186563042994240857116359379907606001950938285454250989", 10)
	little := slices.Clone(signature[32:])
	slices.Reverse(little)
	s := new(big.Int).Add(new(big.Int).SetBytes(little), l).FillBytes(make([]byte, 32))
	slices.Reverse(s)
	return append(slices.Clone(signature[:32]), s...)
}

// An ES256 signature has a second form that everybody can compute. It is the same caller and the same token: what is revoked must not be
// known by the bytes of the token.
func TestSecondFormOfASignatureIsTheSameToken(t *testing.T) {
	v := fuzzVerifier(t)
	head, claims := goodHeader("ES256").String(), goodClaims(fuzzIssuer).String()
	token := compact("ES256", p256Private(), head, claims)
	r, s := split(t, token)
	other := forged(head, claims, fixed(r, new(big.Int).Sub(order(), s)))
	if other == token {
		t.Fatal("the two forms are one")
	}
	first, err := v.Verify(t.Context(), bearerOf(token), now)
	if err != nil {
		t.Fatal(err)
	}
	second, err := v.Verify(t.Context(), bearerOf(other), now)
	if err != nil {
		t.Fatalf("the second form: %v", err)
	}
	if first.TokenID != second.TokenID || first.Subject != second.Subject || first.Issuer != second.Issuer || first.TokenID == "" {
		t.Errorf("two forms are two tokens: %+v and %+v", first, second)
	}
}

package identity

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"encoding/json"
	"math/big"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// strictParser is golang-jwt with every strict option it has, for one issuer.
func strictParser(iss string, at time.Time, algorithms ...string) *jwt.Parser {
	return jwt.NewParser(
		jwt.WithValidMethods(algorithms), jwt.WithIssuer(iss), jwt.WithAudience("vertex"), jwt.WithExpirationRequired(), jwt.WithIssuedAt(),
		jwt.WithStrictDecoding(), jwt.WithLeeway(30*time.Second), jwt.WithTimeFunc(func() time.Time { return at }),
	)
}

// TestFencesAroundGolangJWT proves each fence twice: golang-jwt alone, with every strict option, takes the token, and Verify does not.
// Where the first half fails, the library has been mended.
func TestFencesAroundGolangJWT(t *testing.T) {
	p := newProvider(t, append(allKeys(), jwk(rsaPrivate(), "rsa"))...)
	i := p.issuer()
	i.Algorithms = allAlgorithms
	v := newVerifier(t, options(t), i)
	head, claims := goodHeader("ES256"), goodClaims(p.URL)
	ec := func(header, payload string) string { return compact("ES256", p256Private(), header, payload) }
	type table map[string]struct {
		token  string
		claims jwt.Claims
		want   Reason
	}
	for name, c := range (table{
		"crit is ignored":                  {ec(head.with("crit", []string{"exp"}).String(), claims.String()), jwt.MapClaims{}, TokenMalformed},
		"b64 is ignored":                   {ec(head.with("b64", false).String(), claims.String()), jwt.MapClaims{}, TokenMalformed},
		"zip is ignored":                   {ec(head.with("zip", "DEF").String(), claims.String()), jwt.MapClaims{}, TokenMalformed},
		"typ is ignored":                   {ec(head.with("typ", "logout+jwt").String(), claims.String()), jwt.MapClaims{}, TokenType},
		"cty is ignored":                   {ec(head.with("cty", "JWT").String(), claims.String()), jwt.MapClaims{}, TokenMalformed},
		"a line feed ends the signature":   {ec(head.String(), claims.String()) + "\n", jwt.MapClaims{}, TokenMalformed},
		"nbf in the far future overflows":  {ec(head.String(), claims.with("nbf", json.Number("1e19")).String()), jwt.MapClaims{}, TokenMalformed},
		"iat in the far future overflows":  {ec(head.String(), claims.with("iat", json.Number("1e300")).String()), jwt.MapClaims{}, TokenMalformed},
		"names match in any case":          {ec(head.String(), grow(claims.with("iss", "https://evil").String(), `"ISS":"`+p.URL+`"`)), &jwt.RegisteredClaims{}, UnknownIssuer},
		"names match with folding":         {ec(head.String(), claims.with("sub", absent, "\u017fub", "root").String()), &jwt.RegisteredClaims{}, ClaimMissing},
		"a sub may be a number":            {ec(head.String(), claims.with("sub", 1).String()), jwt.MapClaims{}, TokenMalformed},
		"a jti may be an object":           {ec(head.String(), claims.with("jti", object{}).String()), jwt.MapClaims{}, TokenMalformed},
		"times may be strings":             {ec(head.String(), strings.Replace(claims.String(), `"nbf":`, `"nbf":"1","x":`, 1)), &jwt.RegisteredClaims{}, TokenMalformed},
		"names may come twice":             {ec(head.String(), grow(claims.String(), `"sub":"root"`)), jwt.MapClaims{}, TokenMalformed},
		"a PSS salt may have any length":   {pssWithSalt(t, 20, claims.String()), jwt.MapClaims{}, BadSignature},
		"a PSS salt may be missing":        {pssWithSalt(t, 0, claims.String()), jwt.MapClaims{}, BadSignature},
		"a key for RS256 may verify PS256": {compact("PS256", rsaPrivate(), `{"alg":"PS256","kid":"k-RS256"}`, claims.String()), jwt.MapClaims{}, UnknownKey},
		"a subject is not required":        {ec(head.String(), claims.with("sub", absent).String()), jwt.MapClaims{}, ClaimMissing},
	}) {
		t.Run(name, func(t *testing.T) {
			key := p256Private().Public()
			if strings.Contains(name, "PS") {
				key = rsaPrivate().Public()
			}
			_, err := strictParser(p.URL, now, "ES256", "PS256").ParseWithClaims(c.token, c.claims, func(*jwt.Token) (any, error) { return key, nil })
			if err != nil {
				t.Errorf("golang-jwt refuses it by itself: %v", err)
			}
			_, err = v.Verify(t.Context(), bearerOf(c.token), now)
			if got, want := reasonOf(t, err), c.want; got != want {
				t.Errorf("reason = %q (%v), want %q", got, err, want)
			}
		})
	}
}

// pssWithSalt signs claims with PS256 and a salt of n bytes.
func pssWithSalt(t *testing.T, n int, claims string) string {
	t.Helper()
	text := encode(`{"alg":"PS256","kid":"k-PS256"}`) + "." + encode(claims)
	digest := sha256.Sum256([]byte(text))
	if n > 0 {
		signature, err := rsa.SignPSS(rand.Reader, rsaPrivate(), crypto.SHA256, digest[:], &rsa.PSSOptions{SaltLength: n})
		if err != nil {
			t.Fatal(err)
		}
		return text + "." + encode(signature)
	}
	// crypto/rsa does not sign without a salt. The encoding of RFC 8017 section 9.1.1 by hand: PS, 01, empty salt, masked, H, bc.
	private := rsaPrivate()
	h := sha256.Sum256(append(make([]byte, 8), digest[:]...))
	db := make([]byte, private.Size()-len(h)-1)
	db[len(db)-1] = 1
	for at, counter := 0, byte(0); at < len(db); counter++ {
		mask := sha256.Sum256(append(h[:], 0, 0, 0, counter))
		for _, m := range mask {
			if at < len(db) {
				db[at] ^= m
				at++
			}
		}
	}
	db[0] &= 0x7f
	encoded := new(big.Int).SetBytes(append(append(db, h[:]...), 0xbc))
	signature := encoded.Exp(encoded, private.D, private.N).FillBytes(make([]byte, private.Size()))
	return text + "." + encode(signature)
}

// golang-jwt compares the length of an ECDSA signature and not the curve: an ES256 signature by a key of another curve verifies.
func TestCurveIsBoundToTheAlgorithm(t *testing.T) {
	p224 := newEC(elliptic.P224())
	text := encode(`{"alg":"ES256","kid":"k"}`) + "." + encode(`{}`)
	digest := sha256.Sum256([]byte(text))
	r, s, err := ecdsa.Sign(rand.Reader, p224, digest[:])
	if err != nil {
		t.Fatal(err)
	}
	if err := jwt.SigningMethodES256.Verify(text, append(r.FillBytes(make([]byte, 32)), s.FillBytes(make([]byte, 32))...), p224.Public()); err != nil {
		t.Errorf("golang-jwt refuses it by itself: %v", err)
	}
	k := &key{public: p224.Public()}
	for _, algorithm := range allAlgorithms {
		if k.fits(algorithm) {
			t.Errorf("a P-224 key fits %s", algorithm)
		}
	}
	k = &key{public: p384Private().Public()}
	if k.fits("ES256") || k.fits("ES512") {
		t.Error("a P-384 key fits another curve's algorithm")
	}
}

func TestPSSMethodsAreCopies(t *testing.T) {
	for _, m := range []*jwt.SigningMethodRSAPSS{jwt.SigningMethodPS256, jwt.SigningMethodPS384, jwt.SigningMethodPS512} {
		if got, want := m.VerifyOptions.SaltLength, rsa.PSSSaltLengthAuto; got != want {
			t.Errorf("%s of golang-jwt itself has salt length %d, want %d: it is shared by the whole process", m.Name, got, want)
		}
		ours := method(m.Name).(*jwt.SigningMethodRSAPSS)
		if got, want := ours.VerifyOptions.SaltLength, rsa.PSSSaltLengthEqualsHash; got != want || ours.Alg() != m.Name {
			t.Errorf("method(%q) is %s with salt length %d, want %d", m.Name, ours.Alg(), got, want)
		}
	}
}

func TestAlgorithmTableIsClosed(t *testing.T) {
	for _, name := range allAlgorithms {
		if m := method(name); m == nil || m.Alg() != name {
			t.Errorf("method(%q) = %v, want the one of that name", name, m)
		}
	}
	for _, name := range append(jwt.GetAlgorithms(), "", "none", "ES256K", "RS1", "Ed25519", "Ed448", "rs256") {
		known := false
		for _, a := range allAlgorithms {
			known = known || a == name
		}
		if got := method(name); (got != nil) != known {
			t.Errorf("method(%q) = %v, want known %v", name, got, known)
		}
	}
}

// The payload that golang-jwt verified must be the payload that was judged.
func TestClaimsInsistOnTheirPayload(t *testing.T) {
	c, err := parseClaims(encode(` {"sub":"a"} `))
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal([]byte(` {"sub":"a"} `), c); err != nil {
		t.Errorf("the same payload: %v", err)
	}
	if err := json.Unmarshal([]byte(`{"sub":"b"}`), c); err == nil {
		t.Error("another payload is taken")
	}
}

// An error of golang-jwt that has no translation is still a refusal.
func TestEveryErrorOfGolangJWTIsARefusal(t *testing.T) {
	i := &issuer{Issuer: Issuer{Name: "corp"}}
	for cause, want := range map[error]Reason{
		jwt.ErrTokenSignatureInvalid: BadSignature, jwt.ErrTokenRequiredClaimMissing: ClaimMissing, jwt.ErrTokenExpired: TokenExpired,
		jwt.ErrTokenNotValidYet: TokenNotYetValid, jwt.ErrTokenUsedBeforeIssued: TokenNotYetValid, jwt.ErrTokenInvalidAudience: WrongAudience,
		jwt.ErrTokenInvalidIssuer: UnknownIssuer, jwt.ErrTokenUnverifiable: TokenMalformed, errOtherPayload: TokenMalformed,
	} {
		if got := reasonOf(t, i.refusal(cause)); got != want {
			t.Errorf("refusal(%v) = %q, want %q", cause, got, want)
		}
	}
}

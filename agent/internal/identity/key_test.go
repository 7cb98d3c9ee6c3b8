package identity

import (
	"bytes"
	"crypto"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"log/slog"
	"math/big"
	"strings"
	"testing"
	"time"
)

const keyIssuer = "https://login.example/0e1d/v2.0"

// x5cOf returns a self-signed certificate as x5c holds it.
func x5cOf(t *testing.T, k crypto.Signer) string {
	t.Helper()
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "idp"}, NotAfter: time.Unix(1, 0)}
	der, err := x509.CreateCertificate(rand.Reader, template, template, k.Public(), k)
	if err != nil {
		t.Fatal(err)
	}
	return base64.StdEncoding.EncodeToString(der)
}

func TestParseKeyAccepts(t *testing.T) {
	r, e, o := jwk(rsaPrivate(), "a"), jwk(p256Private(), "a"), jwk(ed25519Seeds(), "a")
	for name, c := range map[string]struct {
		key       object
		algorithm string // it fits
	}{
		"an RSA key without alg":            {r, "RS256"},
		"an RSA key without alg for PSS":    {r, "PS512"},
		"an RSA key with alg":               {r.with("alg", "RS512"), "RS512"},
		"an RSA key of 3072 bits":           {jwk(newRSA(3072), "a"), "RS256"},
		"an RSA exponent of 3":              {r.with("e", "Aw"), "RS256"},
		"the largest RSA exponent":          {r.with("e", encode([]byte{0x7f, 0xff, 0xff, 0xff})), "RS256"},
		"an RSA modulus of 8192 bits":       {r.with("n", encode(modulus(8192))), "RS256"},
		"a P-256 key":                       {e, "ES256"},
		"a P-384 key":                       {jwk(p384Private(), "a"), "ES384"},
		"a P-521 key":                       {jwk(p521Private(), "a"), "ES512"},
		"an Ed25519 key":                    {o, "EdDSA"},
		"an Ed25519 key with its new name":  {o.with("alg", "Ed25519"), "EdDSA"},
		"a key without kid":                 {e.with("kid", absent), "ES256"},
		"use sig":                           {e.with("use", "sig"), "ES256"},
		"key_ops verify":                    {e.with("key_ops", []string{"sign", "verify"}), "ES256"},
		"members that nobody knows":         {e.with("x-vendor", object{"a": []int{1}}, "x5t", "zz"), "ES256"},
		"the certificate of the key":        {e.with("x5c", []string{x5cOf(t, p256Private())}), "ES256"},
		"the issuer of the key":             {e.with("issuer", keyIssuer), "ES256"},
		"the template of the key's issuer":  {e.with("issuer", "https://login.example/{tenantid}/v2.0"), "ES256"},
		"a template with nothing behind it": {e.with("issuer", "https://login.example/0e1d/{tenantid}"), "ES256"},
	} {
		t.Run(name, func(t *testing.T) {
			k, err := parseKey([]byte(c.key.String()), source{issuer: keyIssuer})
			if err != nil {
				t.Fatal(err)
			}
			for _, a := range append(allAlgorithms, "HS256", "none", "", "ES256K") {
				want := a == c.algorithm || c.key["alg"] == nil && c.key["kty"] == "RSA" && (a[:min(2, len(a))] == "RS" || a[:min(2, len(a))] == "PS")
				if got := k.fits(a); got != want {
					t.Errorf("fits(%q) = %v, want %v", a, got, want)
				}
			}
		})
	}
}

func modulus(bits int) []byte {
	n := make([]byte, bits/8)
	n[0], n[len(n)-1] = 0x80, 1
	return n
}

func TestParseKeyRefuses(t *testing.T) {
	r, e, o := jwk(rsaPrivate(), "a"), jwk(p256Private(), "a"), jwk(ed25519Seeds(), "a")
	text := func(v any) string { return v.(string) }
	cases := map[string]fmt.Stringer{
		"a string": literal(`"x"`), "null": literal("null"), "an empty object": object{}, "a duplicate member": literal(grow(e.String(), `"kid":"b"`)),
		"invalid UTF-8": literal(grow(e.String(), "\"x-v\":\"\xff\"")), "a lone surrogate": literal(grow(e.String(), `"x-v":"\ud800"`)),
		"no kty": e.with("kty", absent), "an unknown kty": e.with("kty", "AKP"), "kty in another case": e.with("kty", "ec"), "kty of another key": e.with("kty", "RSA"),
		"a symmetric key": object{"kty": "oct", "k": "c2VjcmV0LXNlY3JldC1zZWNyZXQ", "alg": "HS256"}, "a symmetric key without k": object{"kty": "oct"},
		"a private EC key": e.with("d", "c2VjcmV0"), "a private RSA key": r.with("d", "c2VjcmV0"), "a prime": r.with("p", "c2VjcmV0"), "null as private": e.with("d", nil),
		"use enc": e.with("use", "enc"), "use in capitals": e.with("use", "SIG"), "use null": e.with("use", nil), "use jwt-svid": e.with("use", "jwt-svid"),
		"key_ops sign": e.with("key_ops", []string{"sign"}), "no key_ops": e.with("key_ops", []string{}), "key_ops as text": e.with("key_ops", "verify"), "key_ops null": e.with("key_ops", nil),
		"use and key_ops that disagree": e.with("use", "sig", "key_ops", []string{"encrypt"}),
		"an empty kid":                  e.with("kid", ""), "a number as kid": e.with("kid", 1), "a long kid": e.with("kid", strings.Repeat("k", 257)), "a kid with a line feed": e.with("kid", "a\nb"),
		"an alg for encryption": r.with("alg", "RSA-OAEP"), "alg none": e.with("alg", "none"), "alg HS256": r.with("alg", "HS256"), "alg null": e.with("alg", nil),
		"alg of another type": e.with("alg", "RS256"), "alg of another curve": e.with("alg", "ES384"), "alg RS1": r.with("alg", "RS1"),
		"an RSA key of 1024 bits": r.with("n", encode(modulus(1024))), "an RSA modulus of 2047 bits": r.with("n", encode(append([]byte{0x40}, modulus(2048)[1:]...))),
		"an RSA modulus of 8200 bits": r.with("n", encode(modulus(8200))), "an even RSA modulus": r.with("n", encode(append(modulus(2040), 0))),
		"no modulus": r.with("n", absent), "an empty modulus": r.with("n", ""), "a modulus with padding": r.with("n", text(r["n"])+"="), "a coordinate with trailing bits": e.with("x", trailingBits(text(e["x"]))), "a modulus with a line feed": r.with("n", text(r["n"])+"\n"),
		"exponent 1": r.with("e", "AQ"), "exponent 0": r.with("e", "AA"), "an even exponent": r.with("e", "BA"), "exponent 2^31+1": r.with("e", encode([]byte{0x80, 0, 0, 1})),
		"exponent 2^32+65537": r.with("e", encode([]byte{1, 0, 1, 0, 1})), "exponent 2^64+65537": r.with("e", encode([]byte{1, 0, 0, 0, 0, 0, 1, 0, 1})), "no exponent": r.with("e", absent),
		"secp256k1": e.with("crv", "secp256k1", "alg", "ES256K"), "P-256 in another case": e.with("crv", "p-256"), "the crv of another curve": e.with("crv", "P-384"), "no crv": e.with("crv", absent),
		"a point off the curve": e.with("y", e["x"]), "a short coordinate": e.with("x", encode(make([]byte, 31))), "a long coordinate": e.with("x", "AAAA"+text(e["x"])),
		"a point at infinity": e.with("x", encode(make([]byte, 32)), "y", encode(make([]byte, 32))), "no y": e.with("y", absent),
		"Ed448": o.with("crv", "Ed448"), "X25519": o.with("crv", "X25519"), "a short Ed25519 key": o.with("x", encode(make([]byte, 31))), "a long Ed25519 key": o.with("x", encode(make([]byte, 33))),
		"the certificate of another key": e.with("x5c", []string{x5cOf(t, otherP256())}), "x5c that is no certificate": e.with("x5c", []string{"AAAA"}),
		"x5c that is no base64": e.with("x5c", []string{"%"}), "an empty x5c": e.with("x5c", []string{}), "x5c as text": e.with("x5c", x5cOf(t, p256Private())),
		"another issuer": e.with("issuer", "https://login.example/ffff/v2.0"), "a template of another host": e.with("issuer", "https://evil.example/{tenantid}/v2.0"),
		"a template over several segments": e.with("issuer", "https://login.example/{tenantid}"), "a template that leaves no tenant": e.with("issuer", keyIssuer+"{tenantid}"), "issuer null": e.with("issuer", nil),
	}
	for _, c := range smallOrder(t) {
		cases["Ed25519 point of small order "+c[:8]+c[60:]] = o.with("x", encode(unhex(t, c)))
	}
	point := append(unbase64(t, e["x"]), unbase64(t, e["y"])...)
	cases["coordinates cut in another place"] = e.with("x", encode(point[:31]), "y", encode(point[31:]))
	// y = 2 is on no point of the curve.
	cases["no point of Ed25519"] = o.with("x", encode(unhex(t, "02"+strings.Repeat("00", 31))))
	for name, key := range cases {
		t.Run(name, func(t *testing.T) {
			k, err := parseKey([]byte(key.String()), source{issuer: keyIssuer})
			if err == nil || k != nil {
				t.Fatalf("parseKey = %v, %v, want an error", k, err)
			}
			if strings.Contains(err.Error(), "c2VjcmV0") {
				t.Errorf("error %q shows key material", err)
			}
		})
	}
}

func unbase64(t *testing.T, v any) []byte {
	t.Helper()
	b, err := base64.RawURLEncoding.DecodeString(v.(string))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func unhex(t *testing.T, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// smallOrder returns all 14 encodings of the eight points of small order that a decoder which does not insist on the shortest form takes.
func smallOrder(t *testing.T) []string {
	t.Helper()
	var all []string
	for _, y := range []string{
		"0000000000000000000000000000000000000000000000000000000000000000", // order 4
		"0100000000000000000000000000000000000000000000000000000000000000", // the identity
		"ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f", // order 2
		"edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f", // order 4, not reduced
		"eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f", // the identity, not reduced
		"26e8958fc2b227b045c3f489f2ef98f0d5dfac05d3c63339b13802886d53fc05", // order 8
		"c7176a703d4dd84fba3c0b760d10670f2a2053fa2c39ccc64ec7fd7792ac037a", // order 8
	} {
		b := unhex(t, y)
		all = append(all, hex.EncodeToString(b))
		b[31] |= 0x80
		all = append(all, hex.EncodeToString(b))
	}
	return all
}

// This is why keys of small order are refused: the standard library takes a signature that needs no private key.
func TestSignatureUnderTheIdentityPointIsForged(t *testing.T) {
	identity := unhex(t, "01"+strings.Repeat("00", 31))
	forged := append(bytes.Clone(identity), make([]byte, 32)...)
	if !ed25519.Verify(identity, []byte("any message"), forged) {
		t.Error("the forgery does not verify: the check of small order may go")
	}
}

func TestEd25519KeysOfEverySortAreAccepted(t *testing.T) {
	for i := range 50 {
		seed := make([]byte, 32)
		seed[0] = byte(i)
		public := ed25519.NewKeyFromSeed(seed).Public().(ed25519.PublicKey)
		if err := checkEd25519(public); err != nil {
			t.Errorf("key of seed %d: %v", i, err)
		}
	}
}

// A point whose y is below 19 has a second encoding, y+p, which still fits 255 bits.
func TestEd25519KeysHaveOneEncoding(t *testing.T) {
	points := 0
	for y := byte(2); y < 19; y++ {
		short := append([]byte{y}, make([]byte, 31)...)
		long := bytes.Repeat([]byte{0xff}, 32)
		long[0], long[31] = 0xed+y, 0x7f
		if checkEd25519(short) != nil {
			continue
		}
		points++
		if err := checkEd25519(long); err == nil {
			t.Errorf("y = %d is accepted in its long form", y)
		}
	}
	if points == 0 {
		t.Error("no y below 19 is a point: the test shows nothing")
	}
}

func TestKeySetKeepsWhatItCanUse(t *testing.T) {
	a, b := jwk(p256Private(), "a"), jwk(otherP256(), "b")
	for name, c := range map[string]struct {
		keys          []object
		kept, dropped int
		refused       bool
	}{
		"broken keys beside good ones":              {[]object{{}, a, {"kty": "EC"}, b, {"kty": "oct", "k": "x"}, a.with("kid", "c", "d", "x")}, 2, 4, false},
		"the same key twice":                        {[]object{a, a}, 1, 0, false},
		"the same kid for an RSA and an EC key":     {[]object{a, jwk(rsaPrivate(), "a")}, 2, 0, false},
		"the same kid for encryption":               {[]object{b.with("kid", "a", "use", "enc"), a}, 1, 1, false},
		"the same kid for two EC keys":              {[]object{a, b.with("kid", "a")}, 0, 0, true},
		"the same kid for EC keys of two curves":    {[]object{a, jwk(p384Private(), "a")}, 0, 0, true},
		"the same kid for one RSA key and two algs": {[]object{jwk(rsaPrivate(), "a").with("alg", "RS256"), jwk(rsaPrivate(), "a").with("alg", "PS256")}, 0, 0, true},
		"two keys without kid":                      {[]object{a.with("kid", absent), b.with("kid", absent)}, 2, 0, false},
		"only broken keys":                          {[]object{{}, {"kty": "oct"}}, 0, 0, true},
	} {
		t.Run(name, func(t *testing.T) {
			r, err := parseKeyring([]byte(jwks(c.keys...)), source{issuer: keyIssuer}, now)
			if (err != nil) != c.refused {
				t.Fatalf("error = %v, want refused %v", err, c.refused)
			}
			if c.refused {
				return
			}
			if got, want := fmt.Sprint(len(r.keys), len(r.dropped)), fmt.Sprint(c.kept, c.dropped); got != want {
				t.Errorf("kept and dropped %s, want %s %q", got, want, r.dropped)
			}
		})
	}
}

func TestSameKidOfTwoTypesIsChosenByAlgorithm(t *testing.T) {
	p := newProvider(t, jwk(p256Private(), "a"), jwk(rsaPrivate(), "a"))
	v := newVerifier(t, options(t), p.issuer())
	for _, algorithm := range []string{"ES256", "RS256"} {
		token := compact(algorithm, privateKey(algorithm), object{"alg": algorithm, "kid": "a"}.String(), goodClaims(p.URL).String())
		if _, err := v.Verify(t.Context(), bearerOf(token), now); err != nil {
			t.Errorf("%s: %v", algorithm, err)
		}
	}
}

func TestGenerationDependsOnTheKeysAlone(t *testing.T) {
	a, b := jwk(p256Private(), "a"), jwk(otherP256(), "b")
	generationOf := func(keys ...object) uint64 {
		r, err := parseKeyring([]byte(jwks(keys...)), source{issuer: keyIssuer}, now)
		if err != nil {
			t.Fatal(err)
		}
		return r.generation
	}
	base := generationOf(a, b)
	if got := generationOf(b, object{"kty": "oct"}, a, a); got != base {
		t.Errorf("other order and unusable keys: generation %d, want %d", got, base)
	}
	for name, keys := range map[string][]object{
		"a key less": {a}, "another kid": {a, b.with("kid", "c")}, "another alg": {a, b.with("alg", "ES256")}, "another key": {a, jwk(newEC(elliptic.P256()), "b")},
	} {
		if got := generationOf(keys...); got == base {
			t.Errorf("%s: generation is the same", name)
		}
	}
}

func TestPrivateKeysOfAnIssuerRaiseAnAlarmWithoutShowingThem(t *testing.T) {
	p := newProvider(t, jwk(p256Private(), "a"), jwk(otherP256(), "b").with("d", "c2VjcmV0LXNlY3JldA"))
	var log bytes.Buffer
	o := options(t)
	o.Log = slog.New(slog.NewJSONHandler(&log, nil))
	v := newVerifier(t, o, p.issuer())
	v.Close()
	if got := log.String(); !strings.Contains(got, `"level":"ERROR"`) || strings.Contains(got, "c2VjcmV0") {
		t.Errorf("log = %s, want an error without the key", got)
	}
}

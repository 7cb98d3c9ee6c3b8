package identity

import (
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"vertex-spoa/agent/internal/secret"
)

// threeIssuers returns a verifier of one issuer per field, with the same key, and a token of each.
func threeIssuers(t *testing.T) (v *Verifier, bearer, cloudflare, iap string) {
	t.Helper()
	keys := []byte(jwks(jwk(p256Private(), "k")))
	issuers := []Issuer{
		{Name: "corp", URL: "https://corp.example"}, {Name: "cf", URL: "https://cf.example", Header: HeaderCloudflare},
		{Name: "iap", URL: "https://iap.example", Header: HeaderIAP},
	}
	var tokens []string
	for n := range issuers {
		issuers[n].Audiences, issuers[n].JWKS = []string{"vertex"}, keys
		tokens = append(tokens, compact("ES256", p256Private(), `{"alg":"ES256","kid":"k"}`, goodClaims(issuers[n].URL).String()))
	}
	return newVerifier(t, options(t), issuers...), tokens[0], tokens[1], tokens[2]
}

func TestTokensComeInTheFieldOfTheirIssuer(t *testing.T) {
	v, bearer, cloudflare, iap := threeIssuers(t)
	none := secret.Text{}
	for name, c := range map[string]struct {
		authorization secret.Text
		assertion     string
		header        string
		want          Reason
	}{
		"a bearer token":                           {bearerOf(bearer), "", "", ""},
		"an assertion of Cloudflare":               {none, cloudflare, HeaderCloudflare, ""},
		"an assertion of IAP":                      {none, iap, HeaderIAP, ""},
		"a bearer token in Cloudflare's field":     {none, bearer, HeaderCloudflare, WrongHeader},
		"Cloudflare's assertion as a bearer token": {bearerOf(cloudflare), "", "", WrongHeader},
		"Cloudflare's assertion in IAP's field":    {none, cloudflare, HeaderIAP, WrongHeader},
		"IAP's assertion in Cloudflare's field":    {none, iap, HeaderCloudflare, WrongHeader},
		"an assertion in a field of no issuer":     {none, cloudflare, "x-forwarded-user", WrongHeader},
		"an assertion in a field without name":     {none, cloudflare, "", WrongHeader},
		"an assertion in Authorization":            {none, bearer, HeaderAuthorization, WrongHeader},
		"a field's name in capitals":               {none, cloudflare, "Cf-Access-Jwt-Assertion", WrongHeader},
		"an assertion with a scheme":               {none, "Bearer " + cloudflare, HeaderCloudflare, TokenMalformed},
		"an assertion with a space":                {none, cloudflare + " ", HeaderCloudflare, TokenMalformed},
		"two tokens":                               {bearerOf(bearer), cloudflare, HeaderCloudflare, CredentialsTwice},
		"the same token twice":                     {bearerOf(bearer), bearer, HeaderCloudflare, CredentialsTwice},
		"a token and an empty scheme":              {secret.New("x"), cloudflare, HeaderCloudflare, CredentialsTwice},
		"a token and nonsense":                     {bearerOf(bearer), "x", "x", CredentialsTwice},
		"nothing":                                  {none, "", "", TokenMissing},
		"the name of a field alone":                {none, "", HeaderCloudflare, TokenMissing},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := v.Identify(t.Context(), Credentials{Authorization: c.authorization, Assertion: secret.New(c.assertion), AssertionHeader: c.header}, now)
			if got, want := reasonOf(t, err), c.want; got != want {
				t.Errorf("reason = %q (%v), want %q", got, err, want)
			}
			if err != nil && cmp.Diff(Identity{}, got) != "" {
				t.Errorf("refused identity is %+v, want the zero one", got)
			}
		})
	}
}

// callers of three kinds: by certificate alone, by token alone, and by both.
func certifiedIssuers(t *testing.T) *Verifier {
	t.Helper()
	keys := []byte(jwks(jwk(p256Private(), "k")))
	return newVerifier(
		t, options(t),
		Issuer{Name: "devices", Certificate: &CertificateRule{DNS: []string{"*.devices.example"}}},
		Issuer{Name: "pinned", Certificate: &CertificateRule{DNS: []string{"special.devices.example"}}},
		Issuer{Name: "corp", URL: "https://corp.example", Audiences: []string{"vertex"}, JWKS: keys},
		Issuer{Name: "both", URL: "https://both.example", Audiences: []string{"vertex"}, JWKS: keys, Certificate: &CertificateRule{DNS: []string{"laptop.example"}}},
	)
}

func named(t *testing.T, dns string) ClientCertificate {
	return presented(deviceCA().issue(t, func(c *x509.Certificate) { c.DNSNames = []string{dns} }))
}

func thumbprint(c ClientCertificate) string {
	sum := sha256.Sum256(c.DER)
	return base64.RawURLEncoding.EncodeToString(sum[:])
}

func TestCertificatesAndTokens(t *testing.T) {
	v := certifiedIssuers(t)
	device, special, laptop, stranger := named(t, "a.devices.example"), named(t, "special.devices.example"), named(t, "laptop.example"), named(t, "x.example")
	bad := laptop
	bad.Result = 10
	sign := func(iss string, pairs ...any) secret.Text {
		return bearerOf(compact("ES256", p256Private(), `{"alg":"ES256","kid":"k"}`, goodClaims(iss).with(pairs...).String()))
	}
	bound := func(c ClientCertificate) []any { return []any{"cnf", object{"x5t#S256": thumbprint(c)}} }
	const corp, both = "https://corp.example", "https://both.example"
	for name, c := range map[string]struct {
		authorization secret.Text
		certificate   ClientCertificate
		issuer        string
		subject       string
		want          Reason
	}{
		"a certificate alone":                           {secret.Text{}, device, "devices", "a.devices.example", ""},
		"a certificate that two issuers take":           {secret.Text{}, special, "", "", CertificateUnknown},
		"a certificate that no issuer takes":            {secret.Text{}, stranger, "", "", CertificateUnknown},
		"a certificate that is not enough":              {secret.Text{}, laptop, "", "", CertificateUnknown},
		"a certificate that HAProxy refuses":            {secret.Text{}, bad, "", "", CertificateUnverified},
		"a token alone":                                 {sign(corp), ClientCertificate{}, "corp", "alice", ""},
		"a token and a certificate nobody asks for":     {sign(corp), stranger, "corp", "alice", ""},
		"a token and a device's certificate":            {sign(corp), device, "corp", "alice", ""},
		"a token and a certificate that is refused":     {sign(corp), bad, "", "", CertificateUnverified},
		"a bad token and a device's certificate":        {sign(corp, "aud", "x"), device, "", "", WrongAudience},
		"a malformed token and a device's certificate":  {secret.New("Bearer x"), device, "", "", TokenMalformed},
		"both where both are asked for":                 {sign(both), laptop, "both", "alice", ""},
		"the token alone where both are asked for":      {sign(both), ClientCertificate{}, "", "", CertificateMissing},
		"another certificate where both are asked for":  {sign(both), device, "", "", CertificateUnknown},
		"a bound token with its certificate":            {sign(corp, bound(device)...), device, "corp", "alice", ""},
		"a bound token with another certificate":        {sign(corp, bound(device)...), special, "", "", BindingMismatch},
		"a bound token without certificate":             {sign(corp, bound(device)...), ClientCertificate{}, "", "", BindingMismatch},
		"both, bound to the one presented":              {sign(both, bound(laptop)...), laptop, "both", "alice", ""},
		"both, bound to another":                        {sign(both, bound(device)...), laptop, "", "", BindingMismatch},
		"a binding of another kind with a certificate":  {sign(both, "cnf", object{"jkt": thumbprint(laptop)}), laptop, "", "", BindingUnsupported},
		"a binding of null with a certificate":          {sign(both, "cnf", nil), laptop, "", "", BindingUnsupported},
		"bound to the certificate and to a DPoP key":    {sign(both, "cnf", object{"jkt": "x", "x5t#S256": thumbprint(laptop)}), laptop, "", "", BindingUnsupported},
		"a forged certificate claim beside no rule":     {sign(corp, "certificate", object{"sub": "laptop.example"}), ClientCertificate{}, "corp", "alice", ""},
		"a forged certificate claim in place of a rule": {sign(both, "certificate", object{"sub": "laptop.example"}), ClientCertificate{}, "", "", CertificateMissing},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := v.Identify(t.Context(), Credentials{Authorization: c.authorization, Certificate: c.certificate}, now)
			if got, want := reasonOf(t, err), c.want; got != want {
				t.Fatalf("reason = %q (%v), want %q", got, err, want)
			}
			if got.Issuer != c.issuer || got.Subject != c.subject {
				t.Errorf("Identify = %q of %q, want %q of %q", got.Subject, got.Issuer, c.subject, c.issuer)
			}
			if err == nil && len(c.certificate.DER) > 0 && (got.Thumbprint != thumbprint(c.certificate) || got.CertificateSerial != "a1b2c" || got.FreshUntil.IsZero()) {
				t.Errorf("certificate %q, serial %q, fresh until %v, want those of the one presented", got.Thumbprint, got.CertificateSerial, got.FreshUntil)
			}
			if err != nil && cmp.Diff(Identity{}, got) != "" {
				t.Errorf("refused identity is %+v, want the zero one", got)
			}
		})
	}
}

// What a token says under the name "certificate" must not pass for what the certificate says.
func TestCertificateClaimsAreTheCertificates(t *testing.T) {
	v := certifiedIssuers(t)
	token := bearerOf(compact("ES256", p256Private(), `{"alg":"ES256","kid":"k"}`, goodClaims("https://both.example").with("certificate", object{"sub": "root"}).String()))
	got, err := v.Identify(t.Context(), Credentials{Authorization: token, Certificate: named(t, "laptop.example")}, now)
	if err != nil {
		t.Fatal(err)
	}
	certified, _ := got.Claims["certificate"].(map[string]any)
	if certified["sub"] != "laptop.example" || got.Claims["sub"] != "alice" {
		t.Errorf("claims are %v, want those of the token and the certificate's own", got.Claims)
	}
}

func TestCertificateAloneNeedsNoKeys(t *testing.T) {
	v := newVerifier(t, options(t), Issuer{Name: "devices", Certificate: &CertificateRule{DNS: []string{"*.devices.example"}}})
	device := named(t, "a.devices.example")
	got, err := v.Identify(t.Context(), Credentials{Certificate: device}, now)
	if err != nil {
		t.Fatal(err)
	}
	want := Identity{
		Issuer: "devices", Subject: "a.devices.example", IssuedAt: now.Add(-time.Hour), Expiry: now.Add(time.Hour), FreshUntil: now.Add(time.Hour), Claims: got.Claims,
		Thumbprint: thumbprint(device), CertificateIssuer: "CN=Device CA,O=Acme", CertificateSerial: "a1b2c",
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("Identify (-want +got):\n%s", diff)
	}
	if got := v.Status()[0]; !got.Usable || got.Keys != 0 || v.Generation("devices") != 0 {
		t.Errorf("Status = %+v, want usable and without keys", got)
	}
	if _, err := v.Verify(t.Context(), bearerOf("a.b.c"), now); reasonOf(t, err) != TokenMalformed {
		t.Errorf("a token where there are only certificates: %v", err)
	}
}

func TestIssuersAreAskedAboutTokens(t *testing.T) {
	s := newIntrospectionServer(t)
	asked, plain := s.config(t), s.config(t)
	plain.Opaque = false
	keys := []byte(jwks(jwk(p256Private(), "k")))
	v := newVerifier(
		t, options(t),
		Issuer{Name: "corp", URL: "https://idp.example", Audiences: []string{"vertex"}, JWKS: keys, Introspection: &asked},
		Issuer{Name: "plain", URL: "https://plain.example", Audiences: []string{"vertex"}, JWKS: keys, Introspection: &plain},
	)
	askPatiently(v)
	sign := func(iss string, pairs ...any) string {
		return compact("ES256", p256Private(), `{"alg":"ES256","kid":"k"}`, goodClaims(iss).with(pairs...).String())
	}
	for name, c := range map[string]struct {
		token  string
		answer object
		want   Reason
	}{
		"a token that is active":             {sign("https://idp.example", "x", 1), active(), ""},
		"a token that is revoked":            {sign("https://idp.example", "x", 2), object{"active": false}, TokenInactive},
		"a bad token is not asked about":     {sign("https://idp.example", "aud", "x"), nil, WrongAudience},
		"an answer about another token":      {sign("https://idp.example", "x", 3), active().with("sub", "eve"), IntrospectionMismatch},
		"an opaque token":                    {"opaque-1", active(), ""},
		"an opaque token that is not active": {"opaque-2", object{"active": false}, TokenInactive},
		"an opaque token for somebody else":  {"opaque-3", active().with("aud", "x"), WrongAudience},
		"an opaque token of another issuer":  {"opaque-4", active().with("iss", "https://evil.example"), IntrospectionMismatch},
		"an opaque token for a year":         {"opaque-5", active().with("exp", now.Unix()+365*86400), LifetimeTooLong},
		"an opaque token without subject":    {"opaque-6", active().with("sub", absent), ClaimMissing},
		"an opaque token that is bound":      {"opaque-7", active().with("cnf", object{"x5t#S256": strings.Repeat("A", 43)}), BindingMismatch},
		"an encrypted token is opaque":       {"a.b.c.d.e", active(), ""},
		"three segments are never opaque":    {"a.b.c", nil, TokenMalformed},
		"an issuer that takes no opaque one": {sign("https://plain.example"), active().with("iss", "https://plain.example"), ""},
	} {
		t.Run(name, func(t *testing.T) {
			before := s.questions.Load()
			s.say(c.answer)
			got, err := v.Verify(t.Context(), bearerOf(c.token), now)
			if got, want := reasonOf(t, err), c.want; got != want {
				t.Fatalf("reason = %q (%v), want %q", got, err, want)
			}
			if err == nil && (got.Subject != "alice" || !got.FreshUntil.Equal(now.Add(30*time.Second)) || got.IssuerURL == "") {
				t.Errorf("Verify = %q of %q, fresh until %v, want alice for 30 s", got.Subject, got.IssuerURL, got.FreshUntil)
			}
			if err == nil && got.Generation != v.Generation("corp") && got.Generation != v.Generation("plain") {
				t.Error("the caller's generation is none of its issuer: nobody could remember it")
			}
			if asked := s.questions.Load() > before; asked != (c.answer != nil) {
				t.Errorf("the issuer was asked: %v, want %v", asked, c.answer != nil)
			}
		})
	}
}

// RFC 7662 section 2.2 leaves sub out for tokens that stand for no person.
func TestOpaqueTokensOfClients(t *testing.T) {
	s := newIntrospectionServer(t)
	asked := s.config(t)
	v := newVerifier(t, options(t), Issuer{
		Name: "corp", URL: "https://idp.example", Audiences: []string{"vertex"}, Subject: "client_id", Introspection: &asked,
		JWKS: []byte(jwks(jwk(p256Private(), "k"))),
	})
	askPatiently(v)
	for name, c := range map[string]struct {
		answer object
		want   Reason
	}{
		"a client":        {active().with("sub", absent), ""},
		"nobody by name":  {active().with("sub", absent, "client_id", absent), ClaimMissing},
		"an empty client": {active().with("client_id", ""), ClaimMissing},
	} {
		s.say(c.answer)
		got, err := v.Verify(t.Context(), bearerOf("opaque-"+strings.ReplaceAll(name, " ", "-")), now)
		if reason := reasonOf(t, err); reason != c.want || err == nil && got.Subject != "cli" {
			t.Errorf("%s: %q and %v, want reason %q", name, got.Subject, err, c.want)
		}
	}
}

func TestOnlyOneIssuerTakesOpaqueTokens(t *testing.T) {
	s := newIntrospectionServer(t)
	one := s.config(t)
	a := Issuer{Name: "a", URL: "https://a.example", Audiences: []string{"vertex"}, Introspection: &one}
	b := a
	b.Name, b.URL = "b", "https://b.example"
	_, err := New([]Issuer{a, b}, options(t))
	if err == nil || !strings.Contains(err.Error(), `issuers "a" and "b" both take opaque tokens`) {
		t.Errorf("New = %v, want both named", err)
	}
}

package identity

import (
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"runtime"
	"strings"
	"testing"
	"time"

	"vertex-spoa/agent/internal/secret"
)

// What a provider sends may be small on the wire and large here. The bound is on what comes out.
func TestCompressedKeySetsAreBoundedToo(t *testing.T) {
	for name, c := range map[string]struct {
		encoding string
		size     int // of the document
		usable   bool
	}{
		"within the bound":          {"gzip", 512 << 10, true},
		"beyond it":                 {"gzip", 512<<10 + 1, false},
		"a bomb":                    {"gzip", 1 << 26, false},
		"of a kind not asked for":   {"br", 1 << 10, false},
		"compressed twice, it says": {"gzip, gzip", 1 << 10, false},
	} {
		t.Run(name, func(t *testing.T) {
			p := newProvider(t)
			p.respond(func(w http.ResponseWriter, _ *http.Request) {
				w.Header().Set("Content-Encoding", c.encoding)
				z := gzip.NewWriter(w)
				document := set("a")
				_, _ = io.WriteString(z, document)
				blank := strings.Repeat(" ", 1<<10)
				for rest := c.size - len(document); rest > 0; rest -= len(blank) {
					if _, err := io.WriteString(z, blank[:min(rest, len(blank))]); err != nil {
						return // the reader has seen enough
					}
				}
				_ = z.Close()
			})
			var before, after runtime.MemStats
			runtime.ReadMemStats(&before)
			got := newVerifier(t, options(t), p.issuer()).Status()[0]
			runtime.ReadMemStats(&after)
			if got.Usable != c.usable {
				t.Errorf("Status = %+v, want usable %t", got, c.usable)
			}
			if taken := (after.TotalAlloc - before.TotalAlloc) >> 20; taken > 32 {
				t.Errorf("it took %d MiB", taken)
			}
		})
	}
}

// A provider that sends a byte now and then holds nothing up for longer than a fetch may take.
func TestADocumentThatDripsIsGivenUp(t *testing.T) {
	p := newProvider(t)
	p.respond(func(w http.ResponseWriter, r *http.Request) {
		for {
			if _, err := io.WriteString(w, " "); err != nil {
				return
			}
			_ = http.NewResponseController(w).Flush()
			select {
			case <-r.Context().Done():
				return
			case <-time.After(5 * time.Millisecond):
			}
		}
	})
	ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond) // the fetch's own is 5 s
	defer cancel()
	f := &fetcher{source: source{issuer: p.URL, url: p.URL + "/keys"}, client: &http.Client{}}
	if _, _, err := f.fetch(ctx); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("fetch = %v, want it given up", err)
	}
}

// Credentials that are not judged alike must not be taken for each other, and those that are had better be.
func TestDigestTellsCredentialsApart(t *testing.T) {
	eight := "\x00\x00\x00\x00\x00\x00\x00\x00"
	all := map[string]Credentials{
		"nothing":                          {},
		"a token":                          {Authorization: secret.New("Bearer a.b.c")},
		"a token without scheme":           {Authorization: secret.New("a.b.c")},
		"a token behind a tab":             {Authorization: secret.New("Bearer\ta.b.c")},
		"a token with another scheme":      {Authorization: secret.New("DPoP a.b.c")},
		"a scheme alone":                   {Authorization: secret.New("Bearer")},
		"a token and a space":              {Authorization: secret.New("Bearer a.b.c ")},
		"a space in front":                 {Authorization: secret.New(" Bearer a.b.c")},
		"a token behind two schemes":       {Authorization: secret.New("Bearer Bearer a.b.c")},
		"a scheme in other letters":        {Authorization: secret.New("\u212fearer a.b.c")},
		"the token elsewhere":              {Assertion: secret.New("a.b.c"), AssertionHeader: HeaderIAP},
		"the token in a third field":       {Assertion: secret.New("a.b.c"), AssertionHeader: HeaderCloudflare},
		"name and token run together":      {Assertion: secret.New("tiona.b.c"), AssertionHeader: HeaderIAP[:len(HeaderIAP)-4]},
		"two tokens":                       {Authorization: secret.New("Bearer a.b.c"), Assertion: secret.New("a.b.c")},
		"a certificate":                    {Certificate: ClientCertificate{Used: true, DER: []byte("der")}},
		"a certificate not used":           {Certificate: ClientCertificate{DER: []byte("der")}},
		"a certificate that says so":       {Certificate: ClientCertificate{DER: []byte("\x01" + eight + "der")}},
		"a certificate that says true":     {Certificate: ClientCertificate{DER: []byte("true" + eight + "der")}},
		"a certificate with a fault":       {Certificate: ClientCertificate{Used: true, Result: 10, DER: []byte("der")}},
		"a fault without a certificate":    {Certificate: ClientCertificate{Result: 10}},
		"a token and a certificate":        {Authorization: secret.New("Bearer a.b.c"), Certificate: ClientCertificate{Used: true, DER: []byte("der")}},
		"a token and a longer certificate": {Authorization: secret.New("Bearer a.b.c"), Certificate: ClientCertificate{Used: true, DER: []byte("derr")}},
	}
	seen := map[[32]byte]string{}
	for name, c := range all {
		d := c.Digest()
		if other, twice := seen[d]; twice {
			t.Errorf("%q and %q have one digest", name, other)
		}
		seen[d] = name
	}
	for _, spelling := range []string{"bearer a.b.c", "BEARER a.b.c", "Bearer      a.b.c"} {
		if c := (Credentials{Authorization: secret.New(spelling)}); seen[c.Digest()] != "a token" {
			t.Errorf("%q is another caller's", spelling)
		}
	}
}

// However a document is made up, it takes no longer than a moment to find that a token is nobody's. The bound here is many times that of
// an idle machine, and a small part of what numbers near zero would take.
func TestNoTokenTakesLongToRefuse(t *testing.T) {
	v := fuzzVerifier(t)
	for _, value := range []string{`3e-324`, `9007199254740993.0`, `1090544144181609348671888949248`, `{"":0}`, `{"":{"":{"":{"":0}}}}`, `[[[[[]]]]]`, `"\ud83d\ude00"`, `0`} {
		token := forged(goodHeader("ES256").String(), filled(value), make([]byte, 64))
		const bound = 12 * time.Millisecond
		best := time.Hour
		for range 100 { // one that nothing came between is enough
			begin := time.Now()
			if _, err := v.Verify(t.Context(), bearerOf(token), now); err == nil {
				t.Fatal("accepted")
			}
			if best = min(best, time.Since(begin)); best <= bound {
				break
			}
		}
		if best > bound {
			t.Errorf("a token full of %s takes %v", value, best)
		}
	}
}

// Names that look like an issuer's, or lead to the same host, are not its.
func TestIssuersAreComparedByteForByte(t *testing.T) {
	const iss = "https://idp.example/tenant"
	v := newVerifier(t, options(t), Issuer{Name: "corp", URL: iss, Audiences: []string{"vertex"}, JWKS: []byte(jwks(jwk(p256Private(), "k-ES256")))})
	for _, other := range []string{
		"https://idp.example/tenant/", "https://idp.example//tenant", "https://idp.example/./tenant", "https://idp.example/tenant/../tenant",
		"https://idp.example:443/tenant", "https://idp.example./tenant", "https://IDP.example/tenant", "HTTPS://idp.example/tenant", "https://idp.example/tenant?",
		"https://idp.example/tenant#", "https://idp.example/%74enant", "https://idp.example\\tenant", "https://@idp.example/tenant", "https:/idp.example/tenant",
		"https://\u0456dp.example/tenant", "https://idp\u3002example/tenant", "https://idp.example/tenan\u1d57", "https://id\u200bp.example/tenant",
		"https://idp.ex\u0430mple/tenant", "https://xn--dp-zkc.example/tenant", " https://idp.example/tenant", "https://idp.example/tenant\x00", "https://idp.example/tenant\n",
		"https://idp.exampl\u0065\u0301/tenant",
	} {
		_, err := v.Verify(t.Context(), bearerOf(compact("ES256", p256Private(), goodHeader("ES256").String(), goodClaims(other).String())), now)
		if got, want := reasonOf(t, err), UnknownIssuer; got != want {
			t.Errorf("iss %q: reason = %q, want %q", other, got, want)
		}
	}
	good := strings.ReplaceAll(goodClaims(iss).String(), "/", `\/`) // another spelling of the same text is the same
	if _, err := v.Verify(t.Context(), bearerOf(compact("ES256", p256Private(), goodHeader("ES256").String(), good)), now); err != nil {
		t.Errorf("the issuer itself: %v", err)
	}
}

// A token says what the provider's software says, whatever its user has chosen to be called: claims that look like others do not count.
func TestLookalikeClaimsDoNotCount(t *testing.T) {
	v := fuzzVerifier(t)
	for name, claim := range map[string]string{
		"in capitals": "SUB", "with a long s": "\u017fub", "with a space": "sub ", "with a zero-width space": "sub\u200b", "full width": "\uff53ub", "with a NUL": "sub\x00",
	} {
		claims := goodClaims(fuzzIssuer).with(claim, "root", strings.Replace(claim, "ub", "UB", 1), "root")
		got, err := v.Verify(t.Context(), bearerOf(compact("ES256", p256Private(), goodHeader("ES256").String(), claims.String())), now)
		if err != nil || got.Subject != "alice" {
			t.Errorf("%s: %q, %v, want alice", name, got.Subject, err)
		}
		alone := claims.with("sub", absent)
		_, err = v.Verify(t.Context(), bearerOf(compact("ES256", p256Private(), goodHeader("ES256").String(), alone.String())), now)
		if got, want := reasonOf(t, err), ClaimMissing; got != want {
			t.Errorf("%s, alone: reason = %q, want %q", name, got, want)
		}
	}
}

// The header chooses among the keys of its issuer and does nothing else, whatever it holds.
func TestHeaderDoesNotChangeWhatAKeyIsFor(t *testing.T) {
	keys := jwks(
		jwk(p256Private(), "k-ES256").with("alg", "ES256", "use", "sig"), jwk(rsaPrivate(), "k-RS256").with("alg", "RS256"), jwk(p384Private(), "k-ES384"),
		jwk(otherRSA(), "enc").with("use", "enc"), jwk(otherP256(), "wrap").with("key_ops", []string{"wrapKey"}),
	)
	for name, source := range map[string]Issuer{"in place": {JWKS: []byte(keys)}, "in a file": {JWKSFile: tempFile(t, "keys.json", keys)}} {
		source.Name, source.URL, source.Audiences = "corp", "https://idp.example", []string{"vertex"}
		source.Algorithms = []string{"RS256", "RS512", "PS256", "ES256", "ES384", "EdDSA"}
		v := newVerifier(t, options(t), source)
		spendCooldown(t, v, source.URL)
		for _, c := range []struct {
			algorithm, kid string
			key            any
			want           Reason
		}{
			{"ES256", "k-ES256", p256Private(), ""},
			{"RS256", "k-RS256", rsaPrivate(), ""},
			{"ES384", "k-ES384", p384Private(), ""},
			{"RS512", "k-RS256", rsaPrivate(), UnknownKey},
			{"PS256", "k-RS256", rsaPrivate(), UnknownKey},
			{"ES256", "k-ES384", p256Private(), UnknownKey},
			{"ES256", "k-RS256", p256Private(), UnknownKey},
			{"RS256", "k-ES256", rsaPrivate(), UnknownKey},
			{"EdDSA", "k-ES256", ed25519Seeds(), UnknownKey},
			{"RS256", "enc", otherRSA(), UnknownKey},
			{"ES256", "wrap", otherP256(), UnknownKey},
		} {
			header := object{"alg": c.algorithm, "kid": c.kid}.String()
			_, err := v.Verify(t.Context(), bearerOf(compact(c.algorithm, c.key, header, goodClaims("https://idp.example").String())), now)
			if got := reasonOf(t, err); got != c.want {
				t.Errorf("keys %s, %s with key %s: reason = %q, want %q", name, c.algorithm, c.kid, got, c.want)
			}
		}
		for _, secret := range []string{keys, string(publicPEM(t, rsaPrivate().Public())), "", "null"} {
			token := compact("HS256", []byte(secret), object{"alg": "HS256", "kid": "k-RS256"}.String(), goodClaims("https://idp.example").String())
			if _, err := v.Verify(t.Context(), bearerOf(token), now); reasonOf(t, err) != AlgorithmRefused {
				t.Errorf("keys %s: HS256 ends in %v", name, err)
			}
		}
	}
}

// Keys that change faster than callers may cause fetches cost their callers a refusal that is final, and the provider no more fetches.
func TestKeysThatChangeFasterThanTheCooldown(t *testing.T) {
	p := newProvider(t, jwk(p256Private(), "k0"))
	v := newVerifier(t, options(t), p.issuer())
	spendCooldown(t, v, p.URL)
	before := p.fetches.Load()
	for i := range 20 {
		kid := fmt.Sprint("k", i+1)
		p.publish(jwks(jwk(p256Private(), kid)))
		token := compact("ES256", p256Private(), object{"alg": "ES256", "kid": kid}.String(), goodClaims(p.URL).String())
		if _, err := v.Verify(t.Context(), bearerOf(token), now); reasonOf(t, err) != UnknownKey {
			t.Errorf("key %s: %v, want %s", kid, err, UnknownKey)
		}
	}
	if got := p.fetches.Load(); got != before {
		t.Errorf("%d fetches within the cooldown, want none", got-before)
	}
}

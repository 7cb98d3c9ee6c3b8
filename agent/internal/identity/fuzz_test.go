package identity

import (
	"context"
	"crypto"
	"encoding/json"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/go-cmp/cmp"

	"vertex-spoa/agent/internal/secret"
)

const fuzzIssuer = "https://idp.example"

// fuzzVerifier has one issuer whose keys stand in a file.
func fuzzVerifier(f testing.TB) *Verifier {
	name := filepath.Join(f.TempDir(), "keys.json")
	if err := os.WriteFile(name, []byte(jwks(jwk(ed25519Seeds(), "k-EdDSA"), jwk(p256Private(), "k-ES256"))), 0o600); err != nil {
		f.Fatal(err)
	}
	o := Options{Client: &http.Client{}, Log: slog.New(slog.DiscardHandler)}
	return newVerifier(f, o, Issuer{
		Name: "corp", URL: fuzzIssuer, Audiences: []string{"vertex"}, Algorithms: []string{"EdDSA", "ES256"}, JWKSFile: name,
	})
}

// FuzzVerify feeds both whole headers and, so that the search gets past the signature, headers and claims that it signs itself.
func FuzzVerify(f *testing.F) {
	v := fuzzVerifier(f)
	header, claims := goodHeader("EdDSA"), goodClaims(fuzzIssuer)
	f.Add("", header.String(), claims.String())
	f.Add("Bearer "+compact("EdDSA", ed25519Seeds(), header.String(), claims.String()), "", "")
	f.Add("Bearer ..", `{"alg":"EdDSA"}`, claims.with("aud", []string{"x", "vertex"}, "exp", json.Number("4.1e9")).String())
	f.Add("bearer  a.b.c", header.with("typ", "application/at+jwt").String(), claims.with("x", object{"y": []any{1, nil, "\u00e9"}}).String())
	f.Add("Basic x", header.with("crit", []string{"exp"}).String(), grow(claims.String(), `"\u0073ub":"eve"`))
	f.Fuzz(func(t *testing.T, authorization, header, payload string) {
		for _, a := range []string{authorization, "Bearer " + compact("EdDSA", ed25519Seeds(), header, payload)} {
			got, err := v.Verify(context.Background(), secret.New(a), now)
			if err != nil {
				if reasonOf(t, err) == "" || cmp.Diff(Identity{}, got) != "" {
					t.Fatalf("refused with reason %q and identity %v", reasonOf(t, err), got)
				}
				continue
			}
			if lastSecond(got) {
				continue
			}
			checkAccepted(t, got, strings.TrimLeft(a[len("Bearer"):], " "))
		}
	})
}

// lastSecond reports whether a token has less than a second left. Of its end the other libraries drop the fraction.
func lastSecond(id Identity) bool { return now.Sub(id.Expiry) > defaultLeeway-time.Second }

// checkAccepted holds an accepted token against golang-jwt with its own reader, and against encoding/json.
func checkAccepted(t *testing.T, got Identity, token string) {
	t.Helper()
	claims := jwt.MapClaims{}
	_, err := strictParser(fuzzIssuer, now, "EdDSA", "ES256").ParseWithClaims(token, claims, func(read *jwt.Token) (any, error) {
		return map[string]crypto.PublicKey{"EdDSA": ed25519Seeds().Public(), "ES256": p256Private().Public()}[read.Method.Alg()], nil
	})
	if err != nil {
		t.Fatalf("golang-jwt refuses %q: %v", token, err)
	}
	if got.Issuer != "corp" || got.IssuerURL != claims["iss"] || got.Subject != claims["sub"] || got.Subject == "" {
		t.Fatalf("identity %+v of claims %v", got, claims)
	}
	if diff := cmp.Diff(floats(map[string]any(claims)), floats(got.Claims)); diff != "" {
		t.Fatalf("claims (-golang-jwt +Verify):\n%s", diff)
	}
	if now.Sub(got.Expiry) >= defaultLeeway {
		t.Fatalf("expiry %v has passed at %v", got.Expiry, now)
	}
}

// FuzzKeySet: a document never panics; an error comes without keys; and what was accepted is usable.
func FuzzKeySet(f *testing.F) {
	f.Add([]byte(jwks(allKeys()...)))
	f.Add([]byte(jwks(jwk(p256Private(), "a").with("issuer", "https://{tenantid}"), object{"kty": "oct", "k": "x"})))
	f.Add([]byte(`{"keys":[{"kty":"OKP","crv":"Ed25519","x":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"}]}`))
	f.Fuzz(func(t *testing.T, document []byte) {
		r, err := parseKeyring(document, source{issuer: fuzzIssuer}, now)
		if err != nil {
			if r != nil {
				t.Fatal("keys beside an error")
			}
			return
		}
		if len(r.keys) == 0 || len(r.keys) > maxKeys || r.generation == 0 {
			t.Fatalf("%d keys, generation %d", len(r.keys), r.generation)
		}
		for _, k := range r.keys {
			algorithm := ""
			for _, a := range allAlgorithms {
				if k.fits(a) {
					algorithm = a
				}
			}
			if algorithm == "" {
				t.Fatalf("key %q fits no algorithm", k.id)
			}
			if err := method(algorithm).Verify("a.b", make([]byte, 64), k.public); err == nil {
				t.Fatalf("a signature of zeros verifies with key %q", k.id)
			}
		}
	})
}
